"""A cache folder that anything may have happened to: what is wrong counts as absent, and the guest notices nothing."""

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmjit.engine import cache
from vmjit.engine.cache import Cache, Region, region_key
from vmjit.jit.blob import Blob

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "tests" / "programs" / "elf" / "fib"
NOBODY = 65534
DAMAGES = int(os.environ.get("VMJIT_FUZZ_FILES", "600"))
BLOB = Blob(b"\x90\xc3" * 50, {"region": 0, "other": 2}, array("Q", [0, 4]), array("I", [1, 2]))
REGION = Region((0x1000, 0x1004), ((0x1000, 0x1008), (0x1010, 0x1014)), (), "", 3, BLOB)
CODE = bytes(range(12))
KEY = region_key(0x1000, REGION.entries, REGION.ranges, "", CODE, "")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def fresh(root: Path) -> Cache:
    """As the next run sees it."""
    return Cache(str(root), "toy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a cache that has a blob and a region."""
    made = fresh(tmp_path)
    made.put("key", BLOB)
    made.put_region(KEY, REGION)
    assert made.folder is not None
    return Path(made.folder)


def found(folder: Path) -> list[object]:
    """What the next run finds, of three ways to look."""
    seen = fresh(folder.parent)
    assert seen.folder == str(folder)
    return [seen.get("key"), seen.get_region(KEY), seen.find_region(0x1000, read, "")]


def read(address: int, size: int) -> bytes | None:
    """CODE, as the two ranges of REGION have it."""
    memory = dict(enumerate(CODE[:8], 0x1000)) | dict(enumerate(CODE[8:], 0x1010))
    return bytes(memory[address + n] for n in range(size)) if address in memory else None


EVERYTHING, NOTHING = [BLOB, REGION, REGION], [None] * 3


def store_again(folder: Path) -> None:
    again = fresh(folder.parent)
    again.put("key", BLOB)
    again.put_region(KEY, REGION)


# Files.


def test_nothing_wrong(folder: Path) -> None:
    assert found(folder) == EVERYTHING


def test_random_damage(folder: Path) -> None:
    choose, seen = random.Random(1), fresh(folder.parent)
    for path in folder.iterdir():
        whole = path.read_bytes()
        for _ in range(DAMAGES):
            data = bytearray(whole)
            at, size = choose.randrange(len(data)), choose.choice((1, 2, 16, 200))
            data[at : at + size] = choose.choice((choose.randbytes(size), b"", bytes(size), data[:size]))
            path.write_bytes(data)
            assert (seen.get(path.name) or seen.get_region(path.name)) is None or data == whole
        path.write_bytes(whole)
    assert found(folder) == EVERYTHING


def test_contents_of_another_name(folder: Path) -> None:
    """They are whole, but not what was asked for."""
    first, second = sorted(folder.iterdir())
    shutil.copy(first, folder / "third")
    first_content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_content)
    assert found(folder) == NOTHING and fresh(folder.parent).get("third") is None


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def make_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def make_enormous(path: Path) -> None:
    os.truncate(path, 1 << 40)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [make_directory, make_pipe, make_link, make_loop, make_device, make_enormous, empty])
def test_what_is_no_file_of_ours(folder: Path, change: Callable[[Path], None]) -> None:
    for path in sorted(folder.iterdir()):
        change(path)
    assert found(folder) == NOTHING
    store_again(folder)
    assert found(folder) == (NOTHING if change is make_directory else EVERYTHING)


@is_root
def test_files_of_somebody_else(folder: Path) -> None:
    for path in folder.iterdir():
        os.chown(path, NOBODY, NOBODY)
    assert found(folder) == NOTHING
    store_again(folder)
    assert found(folder) == EVERYTHING


def as_somebody_else(look: Callable[[], bool]) -> bool:
    """What a process finds that is neither root nor the one that wrote the files."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os._exit(0 if look() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@is_root
def test_somebody_else_reads_nothing(folder: Path) -> None:
    for path in (folder.parent.parent, folder.parent, folder):
        path.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    assert as_somebody_else(lambda: found(folder) == NOTHING)


@is_root
def test_files_that_must_not_be_read(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0)
        os.chown(path, NOBODY, NOBODY)
    os.chown(folder, NOBODY, NOBODY)
    for path in (folder.parent.parent, folder.parent):
        path.chmod(0o755)
    assert as_somebody_else(lambda: found(folder) == NOTHING)


def test_files_of_another_user_by_their_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root: the folder is ours, the files in it are not."""
    original = os.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(original(fd))
        fields[4] += 1
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)
    assert found(folder) == NOTHING


# Folders.


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o722])
def test_a_folder_that_others_may_write_to(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert found(folder) == NOTHING
    before = sorted(folder.iterdir())
    store_again(folder)
    assert sorted(folder.iterdir()) == before
    folder.chmod(0o700)
    assert found(folder) == EVERYTHING


def test_a_root_that_others_may_write_to(folder: Path) -> None:
    """Like /tmp: the folder in it is ours all the same."""
    folder.parent.chmod(0o1777)
    assert found(folder) == EVERYTHING


@is_root
def test_a_folder_of_somebody_else(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    assert found(folder) == NOTHING


def test_a_folder_behind_a_link(folder: Path) -> None:
    """Whoever may place it here decides what is in it."""
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")
    assert found(folder) == NOTHING


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    assert found(folder) == NOTHING
    store_again(folder)
    assert found(folder) == NOTHING


def test_another_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "__version__", "another")
    seen = fresh(folder.parent)
    assert seen.folder != str(folder) and seen.get("key") is None and seen.find_region(0x1000, read, "") is None


# Writing.


class Refuses:
    """A file that takes so many bytes."""

    def __init__(self, path: str, room: int) -> None:
        self.file, self.room = open(path, "xb"), room  # noqa: SIM115

    def __enter__(self) -> "Refuses":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: self.room])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("room", [0, 100])
def test_a_full_disk(folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr(cache, "open", lambda path, mode: Refuses(path, room), raising=False)
    store_again(folder)
    monkeypatch.undo()
    assert found(folder) == NOTHING
    assert not list(folder.iterdir()), "what was begun is removed"
    store_again(folder)
    assert found(folder) == EVERYTHING


def test_a_limit_of_file_sizes(folder: Path) -> None:
    """What a guest may have set, and a disk that is full in earnest looks like."""
    for path in folder.iterdir():
        path.unlink()
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        store_again(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, action)
    assert not list(folder.iterdir())


def test_many_writers_and_readers(folder: Path) -> None:
    """Each of them sees a whole file or none."""
    pids = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for round_number in range(60):
                    store_again(folder)
                    if round_number % 20 == number:
                        (folder / KEY).unlink(missing_ok=True)
                    if any(a not in (None, b) for a, b in zip(found(folder), EVERYTHING, strict=True)):
                        break
                else:
                    status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 6
    store_again(folder)
    assert found(folder) == EVERYTHING
    assert sorted(path.name for path in folder.iterdir()) == sorted(("key", KEY))


# Contents whose seal is right, and which are wrong all the same.


@pytest.mark.parametrize(
    "region",
    [
        Region((0x1000,), ((0x1000, 0x1000),), (), "", 1, BLOB),
        Region((0x2000,), ((0x1000, 0x1008),), (), "", 1, BLOB),
        Region((-2,), ((-2, 8),), (), "", 1, BLOB),
        Region((1 << 38,), ((1 << 38, (1 << 38) + 8),), (), "", 1, BLOB),
        Region((0x1000,), ((0x1000, 1 << 64),), (), "", 1, BLOB),
        Region((0x1000,), ((0x1000, 0x1008),), (), "", 1, Blob(b"code", {"other": 0})),
        Region((0x1000,), ((0x1000, 0x1008),), (), "", 1, Blob(b"code", {"region": 4})),
        Region((0x1000,), ((0x1000, 0x1008),), (), "", "1", BLOB),  # type: ignore[arg-type]
        Region(("a",), ((0x1000, 0x1008),), (), "", 1, BLOB),  # type: ignore[arg-type]
        Region((0x1000,), ((0x1000,),), (), "", 1, BLOB),  # type: ignore[arg-type]
        Region(5, 6, 7, "", 8, BLOB),  # type: ignore[arg-type]
    ],
)
def test_a_region_with_addresses_that_are_none(folder: Path, region: Region) -> None:
    with pytest.raises(ValueError, match="not a region"):
        Region.from_bytes(region.to_bytes())
    fresh(folder.parent).put_region(KEY, region)
    assert found(folder)[1:] == [None, None]


# A whole run.


def run(root: Path) -> tuple[int, bytes, bytes]:
    line = [sys.executable, "-m", "vmjit", "run", "--tier", "jit", "--sync", "--cache-dir", root, PROGRAM]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, env=environment, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tuple[int, bytes, bytes]]]:
    """A root that a run has filled, and how that run ended."""
    root = tmp_path_factory.mktemp("filled")
    yield root, run(root)


@pytest.mark.parametrize("change", [flip_a_bit, make_pipe])
def test_a_run_with_bad_files(
    tmp_path: Path, filled: tuple[Path, tuple[int, bytes, bytes]], change: Callable[[Path], None]
) -> None:
    root = tmp_path / "cache"
    shutil.copytree(filled[0], root)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 1 and filled[1][0] == 0
    for path in files:
        change(path)
    assert run(root) == filled[1]
    assert all(stat.S_ISREG(path.lstat().st_mode) and path.stat().st_size > 100 for path in files), "not repaired"


def test_a_run_with_a_folder_that_others_may_write_to(
    tmp_path: Path, filled: tuple[Path, tuple[int, bytes, bytes]]
) -> None:
    root = tmp_path / "cache"
    shutil.copytree(filled[0], root)
    for path in root.rglob("*"):
        if path.is_dir():
            path.chmod(0o777)
        else:
            path.write_bytes(b"\xcc" * 1000)
    assert run(root) == filled[1]
    assert all(path.read_bytes() == b"\xcc" * 1000 for path in root.rglob("*") if path.is_file())
