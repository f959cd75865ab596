import ctypes
import errno
import os
from pathlib import Path

import pytest

from vmjit.errors import MemoryAccessError
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.watch import Watch, differences

A = 0x100000
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def memory() -> AddressSpace:
    made = AddressSpace(1 << 30)
    made.map(A, 8 * PAGE_SIZE, READ | WRITE)
    made.write(A, b"before")
    return made


def host_writes(memory: AddressSpace, address: int) -> bool:
    """Whether the host's kernel lets a byte be written."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    done = LIBC.read(reader, ctypes.c_void_p(memory.base + address), 1)
    os.close(reader)
    os.close(writer)
    assert done == 1 or ctypes.get_errno() == errno.EFAULT
    return bool(done == 1)


@pytest.mark.parametrize("size", [1, 64, 100, PAGE_SIZE])
def test_differences(size: int) -> None:
    before, now = bytes(size), bytearray(size)
    assert not list(differences(before, bytes(now)))
    for start, data in ((0, b"a"), (60, b"bcdefgh"), (size - 2, b"ij")):
        now[start : start + len(data)] = data
    now = now[:size]
    rebuilt = bytearray(before)
    found = list(differences(before, bytes(now)))
    for start, data in found:
        assert 0 not in data
        rebuilt[start : start + len(data)] = data
    assert rebuilt == now


def test_ranges() -> None:
    watch = Watch([(0x1000, 0x4000), (0x6000, 0x8000)])
    assert list(watch.unkept(0x1FFF, 0x2001)) == [0x1000, 0x2000]
    assert list(watch.unkept(0, 0x10000)) == [0x1000, 0x2000, 0x3000, 0x6000, 0x7000]
    assert not list(watch.unkept(0x4000, 0x6000)) and not list(watch.unkept(0x2000, 0x2000))
    watch.kept[0x2000] = b""
    watch.forget(0x2000, 0x7000)
    assert watch.ranges == [(0x1000, 0x2000), (0x7000, 0x8000)] and not watch.kept
    assert list(watch.unkept(0, 1 << 60)) == [0x1000, 0x7000]


def test_what_is_written_is_noted(memory: AddressSpace) -> None:
    assert not memory.keep(A, 1) and not memory.written()
    memory.watch()
    assert memory.read(A, 6) == b"before" and not memory.written()
    memory.write(A, b"beFOre")
    memory.write(A + 2 * PAGE_SIZE - 1, b"xy")
    memory.fill(A + 5 * PAGE_SIZE, 3, 7)
    memory.copy(A + 6 * PAGE_SIZE, A, 2)
    assert memory.written() == [
        (A + 2, b"FO"),
        (A + 2 * PAGE_SIZE - 1, b"x"),
        (A + 2 * PAGE_SIZE, b"y"),
        (A + 5 * PAGE_SIZE, b"\7\7\7"),
        (A + 6 * PAGE_SIZE, b"be"),
    ]
    assert not memory.written()
    memory.write(A, b"a")
    assert memory.written() == [(A, b"a")]


def test_the_host_lets_only_what_was_kept_be_written(memory: AddressSpace) -> None:
    memory.watch()
    assert not host_writes(memory, A)
    assert memory.keep(A, 1) and not memory.keep(A, 1)
    assert host_writes(memory, A) and not host_writes(memory, A + PAGE_SIZE)
    assert memory.written() == [(A, b"x")]
    assert memory.buffer(A + PAGE_SIZE, 1, READ) is not None and not host_writes(memory, A + PAGE_SIZE)
    assert memory.buffer(A + PAGE_SIZE, 1, WRITE) is not None and host_writes(memory, A + PAGE_SIZE)
    assert memory.written() == [(A + PAGE_SIZE, b"x")]
    memory.unwatch()
    assert host_writes(memory, A + 2 * PAGE_SIZE) and not memory.written()


def test_only_private_memory_of_then_is_watched(memory: AddressSpace, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(PAGE_SIZE))
    shared, text, made, short = (A + i * 16 * PAGE_SIZE for i in range(1, 5))
    memory.map(shared, PAGE_SIZE, READ | WRITE, shared=True)
    memory.map(text, PAGE_SIZE, READ | EXECUTE)
    with file.open("r+b") as opened:
        memory.map(short, 2 * PAGE_SIZE, READ | WRITE, fd=opened.fileno())
    memory.watch()
    memory.map(made, PAGE_SIZE, READ | WRITE)
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, READ)
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, READ | WRITE)
    for address in (shared, made, A + PAGE_SIZE):
        assert host_writes(memory, address)
    for address in (shared, made, text, A + PAGE_SIZE):
        assert not memory.keep(address, 1)
    memory.write(short, b"private")
    with pytest.raises(MemoryAccessError):
        memory.write(short + PAGE_SIZE, b"behind the end")
    memory.write(A, b"B")
    memory.unmap(A, PAGE_SIZE)
    assert memory.written() == [(short, b"private")]
