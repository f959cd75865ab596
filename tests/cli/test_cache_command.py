"""`vmjit cache`: what it shows, and that it removes what vmjit made and nothing else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vmjit.cli import main
from vmjit.engine.cache import Cache, Kept, Program, Region
from vmjit.jit.blob import Blob

BLOB = Blob(b"\x90\xc3" * 50, {"region": 0})
REGION = Region((0x1000,), ((0x1000, 0x1008),), (), "", 1234, BLOB)
PROGRAM = Program((Kept(0x1000, "name", (0x1000,), REGION),), (), "/bin/a b\x1b 12345 678")
OLD = "0123456789abcdef" * 2
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with a present and an old version."""
    kept = Cache(str(tmp_path / "vmjit"), "riscv64")
    kept.put("interpreter", BLOB)
    kept.put_region(f"region-1000-{OLD}", REGION)
    kept.put_program("it", "", PROGRAM)
    old = tmp_path / "vmjit" / OLD
    old.mkdir(mode=0o700)
    (old / "interpreter").write_bytes(b"12345")
    (old / f"calls-{OLD}.{OLD[:16]}").write_bytes(b"678")
    return tmp_path / "vmjit"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], root: Path) -> Run:
    def run(*arguments: str) -> tuple[int, list[str]]:
        code = main(["cache", *arguments, "--cache-dir", str(root)])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    return run


def present(root: Path) -> Path:
    return Path(Cache(str(root), "riscv64").folder or "")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_list(run: Run, root: Path) -> None:
    code, lines = run("list")
    size = size_of(present(root))
    program = next(present(root).glob("program-*")).stat().st_size
    assert code == 0 and sorted(lines[:2]) == sorted(
        (
            f"{present(root).name}  present  {size:,} bytes  1 region  1 program",
            f"{OLD}  old  8 bytes  0 regions  0 programs",
        )
    )
    assert lines[2:] == [rf"/bin/a b\x1b  1 region  1,234 instructions  {program:,} bytes"]


def test_size(run: Run, root: Path) -> None:
    total = size_of(present(root)) + 8
    assert run("size") == (0, [f"{total:,} bytes in 5 files: {root}"])


def test_clear(run: Run, root: Path) -> None:
    total = size_of(present(root)) + 8
    assert run("clear") == (0, [f"removed {total:,} bytes in 5 files"])
    assert list(root.iterdir()) == []
    assert run("clear") == (0, ["removed 0 bytes in 0 files"])


def test_clear_old(run: Run, root: Path) -> None:
    assert run("clear", "--old") == (0, ["removed 8 bytes in 2 files"])
    assert list(root.iterdir()) == [present(root)]


def test_what_vmjit_did_not_make_stays(run: Run, root: Path) -> None:
    (root / "notes").write_text("mine")
    (root / "more").mkdir()
    (root / "more" / "interpreter").write_text("mine")
    (root / OLD / "notes").write_text("mine")
    (root / OLD / "interpreter.bak").write_text("mine")
    assert run("size")[1][0].endswith(f"in 5 files: {root}")
    assert run("clear") == (1, [f"left {root / OLD}: something else is in it", run_total(5, root)])
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == sorted(
        ("notes", "more", "more/interpreter", OLD, f"{OLD}/notes", f"{OLD}/interpreter.bak")
    )


def run_total(files: int, root: Path) -> str:
    """What is removed where the present version has 3 files and the old one 8 bytes."""
    kept = Cache(str(root.parent / "again"), "riscv64")
    kept.put("interpreter", BLOB)
    kept.put_region(f"region-1000-{OLD}", REGION)
    kept.put_program("it", "", PROGRAM)
    return f"removed {size_of(Path(kept.folder or '')) + 8:,} bytes in {files} files"


def test_links_are_not_followed(run: Run, root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / OLD)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "interpreter").write_text("not there")
    (root / OLD).symlink_to(elsewhere)
    (present(root) / f"calls-{OLD}").symlink_to(elsewhere / "interpreter")
    code, lines = run("clear")
    assert code == 1 and f"left {root / OLD}: it is no folder" in lines
    assert (elsewhere / "interpreter").read_text() == "not there" and (root / OLD).is_symlink()


def test_folders_that_others_may_write_to_are_left(run: Run, root: Path) -> None:
    (root / OLD).chmod(0o777)
    assert f"{OLD}  old  ignored: others may write to it" in run("list")[1]
    assert run("clear", "--old") == (1, [f"left {root / OLD}: others may write to it", "removed 0 bytes in 0 files"])
    assert (root / OLD / "interpreter").exists()


def test_folders_of_others_are_left(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    code, lines = run("clear")
    assert code == 1 and lines[-1] == "removed 0 bytes in 0 files"
    assert all(line.endswith(": it belongs to another user") for line in lines[:-1]) and len(lines) == 3


@pytest.mark.parametrize("action", ["list", "size", "clear"])
def test_no_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path, action: str) -> None:
    assert main(["cache", action, "--cache-dir", str(tmp_path / "absent")]) == 0
    assert capsys.readouterr() == (f"no cache: there is no folder {tmp_path / 'absent'}\n", "")
    assert main(["cache", action, "--cache-dir", ""]) == 0
    assert capsys.readouterr() == ("no cache: no folder is set for it\n", "")
    (tmp_path / "file").touch()
    assert main(["cache", action, "--cache-dir", str(tmp_path / "file")]) == 126
    assert capsys.readouterr() == ("", f"vmjit: {tmp_path / 'file'}: Not a directory\n")


def test_bad_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "shrink"]) == 2
    assert "shrink" in capsys.readouterr().err
