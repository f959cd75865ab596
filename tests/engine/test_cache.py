"""The cache on disk: what was stored comes back, and whatever is wrong with a file or a folder only costs time."""

import os
from array import array
from pathlib import Path

import pytest

from vmjit.engine import cache
from vmjit.engine.cache import (
    Cache,
    Kept,
    Program,
    Region,
    calls_key,
    digest,
    files_in,
    handlers_key,
    identity,
    interpreter_key,
    region_key,
)
from vmjit.jit.blob import Blob

BLOB = Blob(b"\x90\xc3" * 50, {"region": 0, "other": 2}, array("Q", [0, 4]), array("I", [1, 2]))
REGION = Region((0x1000, 0x1004), ((0x1000, 0x1008), (0x1010, 0x1014)), (), "", 3, BLOB)
CODE = bytes(range(12))
KEY = region_key(0x1000, REGION.entries, REGION.ranges, "", CODE, "")


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "vmjit"), "toy")


def file_of(kept: Cache, key: str) -> Path:
    assert kept.folder is not None
    return Path(kept.folder) / key


def read(address: int, size: int) -> bytes | None:
    """CODE, as the two ranges of REGION have it."""
    memory = dict(enumerate(CODE[:8], 0x1000)) | dict(enumerate(CODE[8:], 0x1010))
    return bytes(memory[address + n] for n in range(size)) if address in memory else None


def test_round_trip(kept: Cache) -> None:
    assert kept.get("key") is None and kept.get_region(KEY) is None
    kept.put("key", BLOB)
    kept.put_region(KEY, REGION)
    assert kept.get("key") == BLOB and kept.get_region(KEY) == REGION
    assert Region.from_bytes(REGION.to_bytes()) == REGION


def test_nothing_is_left_beside_the_file(kept: Cache) -> None:
    kept.put("key", BLOB)
    assert [path.name for path in file_of(kept, "key").parent.iterdir()] == ["key"]
    assert file_of(kept, "key").parent.stat().st_mode & 0o777 == 0o700


def test_storing_again_replaces(kept: Cache) -> None:
    kept.put("key", BLOB)
    other = Blob(b"other", {})
    kept.put("key", other)
    assert kept.get("key") == other


def test_all_files_are_known_as_ours(kept: Cache) -> None:
    """`vmjit cache` counts and removes no others."""
    tlb = "tlb-count"
    of_interpreter = (interpreter_key("flat"), interpreter_key(tlb), handlers_key("flat", 12), handlers_key(tlb, 3))
    names = (*of_interpreter, calls_key(1, ()), f"{handlers_key('flat', 3)}.{'0' * 16}")
    for name in (*names, "handlers-flat-", "handlers-flat-1x", "interpreter-1"):
        kept.put(name, BLOB)
    assert sorted(name for name, _ in files_in(kept.folder or "")) == sorted(names)


def test_a_damaged_file_counts_as_absent(kept: Cache) -> None:
    kept.put("key", BLOB)
    kept.put_region(KEY, REGION)
    for key, get in (("key", kept.get), (KEY, kept.get_region)):
        path = file_of(kept, key)
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            assert get(key) is None, f"byte {at} of {key}"
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            assert get(key) is None, f"{size} bytes of {key}"
        path.write_bytes(whole)
        assert get(key) is not None


def test_a_region_whose_checksum_is_right_may_still_be_none() -> None:
    for body in (b"", b"N", b"i\x01\x00\x00\x00", b"(\x00\x00\x00\x00"):
        data = cache.crc32(body).to_bytes(4, "little") + body
        with pytest.raises(ValueError):
            Region.from_bytes(data)


def test_a_file_of_another_user_is_not_run(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.put("key", BLOB)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(file_of(kept, "key")).st_uid + 1)
    assert kept.get("key") is None


@pytest.mark.parametrize("root", ["/proc/vmjit", "/dev/null/vmjit"])
def test_a_folder_that_cannot_be_made_costs_the_cache_only(root: str) -> None:
    kept = Cache(root, "toy")
    kept.put("key", BLOB)
    kept.trim()
    assert kept.get("key") is None and kept.find_region(0x1000, read, "") is None


def test_a_full_disk_costs_the_cache_only(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    kept.put("key", BLOB)
    assert kept.get("key") is None


def test_without_a_root_nothing_is_kept() -> None:
    kept = Cache(None, "toy")
    kept.put("key", BLOB)
    kept.put_region(KEY, REGION)
    kept.trim()
    assert kept.get("key") is None and kept.get_region(KEY) is None and kept.find_region(0x1000, read, "") is None


def test_guests_and_versions_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Cache(str(tmp_path), "toy"), Cache(str(tmp_path), "other")
    assert first.folder != second.folder
    monkeypatch.setattr(cache, "__version__", "another")
    assert Cache(str(tmp_path), "toy").folder not in (first.folder, second.folder)


def test_identity_names_every_module_that_makes_code() -> None:
    named = identity()
    for module in (
        "codegen/lower.py",
        "engine/interpreter.py",
        "guest/riscv/rv_i.py",
        "ir/softfloat.py",
        "passes/fold.py",
    ):
        assert module in named
    assert identity() == named


# Regions found by guest memory.


def test_a_region_is_found_by_the_code_it_was_made_from(kept: Cache) -> None:
    kept.put_region(KEY, REGION)
    assert kept.find_region(0x1000, read, "") == REGION
    assert Cache(None, "").find_region(0x1000, read, "") is None


def test_regions_of_other_addresses_code_and_passes_are_not_found(kept: Cache) -> None:
    kept.put_region(KEY, REGION)
    assert kept.find_region(0x1004, read, "") is None
    assert kept.find_region(0x1000, read, "fold") is None
    assert kept.find_region(0x1000, lambda address, size: bytes(size), "") is None
    assert kept.find_region(0x1000, lambda address, size: None, "") is None


def test_the_largest_region_is_taken(kept: Cache) -> None:
    small = Region((0x1000,), ((0x1000, 0x1004),), (), "", 1, BLOB)
    large = Region((0x1000,), ((0x1000, 0x1008),), (), "", 9, BLOB)
    foreign = Region((0x1000,), ((0x1000, 0x1008), (0x2000, 0x2008)), (), "", 20, BLOB)
    for region, code in ((small, CODE[:4]), (large, CODE[:8]), (REGION, CODE), (foreign, bytes(16))):
        kept.put_region(region_key(0x1000, region.entries, region.ranges, "", code, ""), region)
    assert kept.find_region(0x1000, read, "") == large


PROGRAM = Program((Kept(0x1000, KEY, (0x1004,), REGION),), ((0x1000, 0x2000),))


def test_what_a_program_leaves(kept: Cache) -> None:
    assert kept.get_program("it", "") == Program()
    kept.put_program("it", "", PROGRAM)
    assert kept.get_program("it", "") == PROGRAM
    assert kept.get_program("it", "precise") == kept.get_program("other", "") == Program()
    assert Cache(None, "").get_program("it", "") == Program()


@pytest.mark.parametrize(
    "left",
    [
        Program((Kept(0x2000, KEY, (), REGION),)),
        Program((Kept(0x1000, KEY, (0x1008,), REGION),)),
        Program((), ((0x1000, 1 << 38),)),
        Program((), ((-2, 0x1000),)),
        Program((), (("a", 0x1000),)),  # type: ignore[arg-type]
        Program((), (5,)),  # type: ignore[arg-type]
        Program((Kept(0x1000, KEY, 7, REGION),)),  # type: ignore[arg-type]
    ],
)
def test_what_no_program_leaves_is_passed_over(kept: Cache, left: Program) -> None:
    kept.put_program("it", "", left)
    assert kept.get_program("it", "") == Program()


def test_damaged_regions_and_strange_files_are_passed_over(kept: Cache) -> None:
    kept.put_region(KEY, REGION)
    damaged = file_of(kept, KEY.replace(KEY[-4:], "0000"))
    damaged.write_bytes(b"damaged")
    for name in ("region", "region-", "interpreter", f"{KEY}.1234", "region-1000"):
        file_of(kept, name).write_bytes(b"strange")
    assert kept.find_region(0x1000, read, "") == REGION


def test_a_name_that_is_no_address_is_passed_over(kept: Cache) -> None:
    kept.put_region(KEY, REGION)
    file_of(kept, "region-what-ever").write_bytes(b"strange")
    assert kept.find_region(0x1000, read, "") == REGION


def test_digest_tells_where_parts_end() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4
    assert digest("abc") == digest(b"abc")


# Size.


def test_trim_keeps_the_newest_half(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        kept.put(f"key{number}", BLOB)
        os.utime(file_of(kept, f"key{number}"), (number, number))
    size = file_of(kept, "key0").stat().st_size
    monkeypatch.setattr(cache, "MAX_BYTES", 10 * size)
    kept.trim()
    assert len(list(file_of(kept, "").iterdir())) == 10
    monkeypatch.setattr(cache, "MAX_BYTES", 8 * size)
    kept.trim()
    assert sorted(path.name for path in file_of(kept, "").iterdir()) == [f"key{number}" for number in range(6, 10)]


def test_what_cannot_be_deleted_is_passed_over(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        kept.put(f"key{number}", BLOB)
        os.utime(file_of(kept, f"key{number}"), (number, number))
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path.endswith("key0"):
            raise PermissionError(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(cache, "MAX_BYTES", 2 * file_of(kept, "key0").stat().st_size)
    kept.trim()
    assert sorted(path.name for path in file_of(kept, "").iterdir()) == ["key0"]
