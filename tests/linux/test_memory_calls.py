import errno
import mmap
import os
import struct
from pathlib import Path

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.loader.elf import LOW
from vmjit.memory.address_space import EXECUTE, READ, WRITE

PAGE = 4096
SHARED, PRIVATE, FIXED, ANONYMOUS, NOREPLACE = 1, 2, 0x10, 0x20, 0x100000


def anonymous(guest: Guest, size: int, flags: int = PRIVATE, protection: int = READ | WRITE, address: int = 0) -> int:
    return guest.call("mmap", address, size, protection, flags | ANONYMOUS, -1, 0)


def test_brk_grows_shrinks_and_refuses(guest: Guest) -> None:
    guest.process.brk_start = guest.process.brk_end = 0x400000
    assert guest.call("brk", 0) == 0x400000
    assert guest.call("brk", 0x400010) == 0x400010
    guest.memory.write(0x400000, b"abc")
    assert guest.call("brk", 0x403000) == 0x403000
    assert guest.memory.read(0x400000, 3) == b"abc"
    assert guest.call("brk", 0x400FFF) == 0x400FFF
    assert guest.memory.permissions(0x401000) is None
    guest.memory.map(0x402000, PAGE, READ)
    assert guest.call("brk", 0x403000) == 0x400FFF
    assert guest.call("brk", 1 << 50) == 0x400FFF
    assert guest.call("brk", 0x3FFFFF) == 0x400FFF
    # What comes back is zeros.
    assert guest.call("brk", 0x400000) == 0x400000
    assert guest.call("brk", 0x400010) == 0x400010
    assert guest.memory.read(0x400000, 3) == bytes(3)


def test_mmap_anonymous_then_munmap(guest: Guest) -> None:
    place = anonymous(guest, 5000)
    assert place > 0
    assert place % PAGE == 0
    guest.memory.write(place + 2 * PAGE - 1, b"x")
    assert guest.call("munmap", place, 5000) == 0
    assert not guest.memory.is_mapped(place, 1)
    assert guest.call("munmap", place + 1, 5000) == -errno.EINVAL
    assert guest.call("munmap", place, 0) == -errno.EINVAL


def test_mmap_file_private_and_shared(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a" * PAGE + b"b" * 10)
    fd = os.open("data", os.O_RDWR)
    try:
        private = guest.call("mmap", 0, 2 * PAGE, READ | WRITE, PRIVATE, fd, 0)
        shared = guest.call("mmap", 0, PAGE, READ | WRITE, SHARED, fd, PAGE)
        assert guest.memory.read(private + PAGE, 11) == b"b" * 10 + b"\0"
        guest.memory.write(private, b"private")
        guest.memory.write(shared, b"shared")
        assert guest.call("msync", shared, PAGE, 4) == 0
        assert (tmp_path / "data").read_bytes() == b"a" * PAGE + b"sharedbbbb"
        assert guest.call("mmap", 0, PAGE, READ, PRIVATE, fd, 100) == -errno.EINVAL
    finally:
        os.close(fd)


def test_mmap_errors(guest: Guest) -> None:
    assert guest.call("mmap", 0, 0, READ, PRIVATE | ANONYMOUS, -1, 0) == -errno.EINVAL
    assert guest.call("mmap", 0, PAGE, READ, ANONYMOUS, -1, 0) == -errno.EINVAL
    assert guest.call("mmap", 0, PAGE, READ, PRIVATE, -1, 0) == -errno.EBADF
    assert guest.call("mmap", 0, PAGE, READ, PRIVATE, 999, 0) == -errno.EBADF
    assert anonymous(guest, 1 << 62) == -errno.ENOMEM
    assert anonymous(guest, PAGE, PRIVATE | FIXED, READ, 0x300001) == -errno.EINVAL
    assert anonymous(guest, PAGE, PRIVATE | FIXED, READ, 1 << 60) == -errno.ENOMEM
    read_end, write_end = os.pipe()
    assert guest.call("mmap", 0, PAGE, READ, PRIVATE, read_end, 0) == -errno.ENODEV
    os.close(read_end)
    os.close(write_end)


def test_mmap_fixed_replaces_and_noreplace_does_not(guest: Guest) -> None:
    place = anonymous(guest, 2 * PAGE)
    guest.memory.write(place, b"old")
    assert anonymous(guest, PAGE, PRIVATE | FIXED, READ | WRITE, place) == place
    assert guest.memory.read(place, 3) == bytes(3)
    assert anonymous(guest, PAGE, PRIVATE | NOREPLACE, READ, place) == -errno.EEXIST
    hinted = anonymous(guest, PAGE, PRIVATE, READ, 0x5000000)
    assert hinted == 0x5000000
    assert anonymous(guest, PAGE, PRIVATE, READ, 0x5000000) not in (hinted, -errno.EEXIST)


def test_mprotect(guest: Guest) -> None:
    place = anonymous(guest, 2 * PAGE)
    assert guest.call("mprotect", place, PAGE, READ) == 0
    assert guest.memory.permissions(place) == READ
    assert guest.memory.permissions(place + PAGE) == READ | WRITE
    assert guest.call("mprotect", place, 4 * PAGE, READ) == -errno.ENOMEM
    assert guest.call("mprotect", place + 1, PAGE, READ) == -errno.EINVAL
    assert guest.call("mprotect", place, PAGE, 0x100) == -errno.EINVAL
    assert guest.call("mprotect", place, 0, READ) == 0


def test_mremap_grows_in_place_moves_and_shrinks(guest: Guest) -> None:
    place = anonymous(guest, PAGE, address=0x7000000)
    guest.memory.write(place, b"contents")
    assert guest.call("mremap", place, PAGE, 4 * PAGE, 0) == place
    assert guest.memory.read(place + 3 * PAGE, 4) == bytes(4)
    anonymous(guest, PAGE, PRIVATE | FIXED, READ, place + 4 * PAGE)
    assert guest.call("mremap", place, 4 * PAGE, 8 * PAGE, 0) == -errno.ENOMEM
    moved = guest.call("mremap", place, 4 * PAGE, 8 * PAGE, 1)
    assert moved > 0
    assert moved != place
    assert guest.memory.read(moved, 8) == b"contents"
    assert not guest.memory.is_mapped(place, 1)
    assert guest.call("mremap", moved, 8 * PAGE, PAGE, 0) == moved
    assert guest.memory.is_free(moved + PAGE, 7 * PAGE)
    assert guest.call("mremap", moved, PAGE, PAGE, 3, 0x8000000) == 0x8000000
    assert guest.memory.read(0x8000000, 8) == b"contents"
    assert guest.call("mremap", 0x9000000, PAGE, 2 * PAGE, 1) == -errno.EFAULT
    assert guest.call("mremap", 0x8000001, PAGE, PAGE, 1) == -errno.EINVAL
    assert guest.call("mremap", 0x8000000, PAGE, 0, 1) == -errno.EINVAL


def test_madvise_dontneed_drops_contents(guest: Guest) -> None:
    place = anonymous(guest, 2 * PAGE)
    guest.memory.write(place, b"x" * 2 * PAGE)
    assert guest.call("madvise", place, PAGE, mmap.MADV_DONTNEED) == 0
    assert guest.memory.read(place, PAGE + 1) == bytes(PAGE) + b"x"
    assert guest.call("madvise", place, PAGE, mmap.MADV_FREE) == 0
    assert guest.call("madvise", place + 1, PAGE, mmap.MADV_DONTNEED) == -errno.EINVAL
    assert guest.call("madvise", place, PAGE, 12345) == -errno.EINVAL
    assert guest.call("madvise", 0x9000000, PAGE, mmap.MADV_DONTNEED) == -errno.ENOMEM


def test_locking_and_residence(guest: Guest) -> None:
    place = anonymous(guest, 2 * PAGE)
    assert guest.call("mlock", place + 5, 10) == 0
    assert guest.call("munlock", place, 2 * PAGE) == 0
    assert guest.call("mlock", 0x9000000, PAGE) == -errno.ENOMEM
    assert guest.call("mlockall", 1) == 0
    result = guest.space(2)
    assert guest.call("mincore", place, 2 * PAGE, result) == 0
    assert guest.memory.read(result, 2) == b"\1\1"


@pytest.mark.parametrize(
    ("start", "end", "flushed"),
    [(0x10000, 0x10010, (0x10000, 0x10)), (0, 0, (0, 1 << 38)), (5, 1 << 63, (5, (1 << 38) - 5))],
)
def test_flush_icache_reaches_the_engine(guest: Guest, start: int, end: int, flushed: tuple[int, int]) -> None:
    calls: list[tuple[int, int]] = []
    guest.process.flush_code = lambda address, size: calls.append((address, size))
    assert guest.call("riscv_flush_icache", start, end, 1) == 0
    assert calls == [flushed]
    assert guest.call("riscv_flush_icache", start, end, 2) == -errno.EINVAL


def test_shared_memory_is_seen_by_a_forked_child(guest: Guest) -> None:
    place = anonymous(guest, PAGE, SHARED)
    pid = guest.call("clone", 17)
    if pid == 0:
        guest.memory.write(place, struct.pack("<Q", 42))
        os._exit(0)
    assert guest.call("wait4", pid) == pid
    assert guest.memory.read(place, 8) == struct.pack("<Q", 42)


def test_code_pages_can_be_mapped(guest: Guest) -> None:
    place = anonymous(guest, PAGE, PRIVATE, READ | EXECUTE)
    assert guest.memory.permissions(place) == READ | EXECUTE


def test_libraries_go_near_the_program_as_long_as_there_is_room(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(b"code".ljust(2 * PAGE, b"\0"))
    fd = os.open(path, os.O_RDONLY)
    denywrite = guest.call("mmap", 0, 2 * PAGE, 1, 0x802, fd, 0)  # as the GNU C library's linker maps any
    executable = guest.call("mmap", 0, 2 * PAGE, 5, 2, fd, 0)
    assert denywrite == LOW - 2 * PAGE
    assert executable == denywrite - 2 * PAGE
    data = guest.call("mmap", 0, 2 * PAGE, 1, 2, fd, 0)
    assert data > LOW < guest.call("mmap", 0, PAGE, 5, 0x22, -1, 0)
    guest.memory.map(SCRATCH + SCRATCH_SIZE, executable - SCRATCH - SCRATCH_SIZE, 0)
    assert guest.call("mmap", 0, SCRATCH, 5, 2, fd, 0) > LOW
    os.close(fd)
