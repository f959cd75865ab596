"""AddressSpace against a model that is a dictionary of pages, and at the edges where a host process would crash."""

import ctypes
import errno
import itertools
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy
import pytest

from vmjit.errors import MemoryAccessError
from vmjit.memory import address_space
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace, Mapping

SIZE = 1 << 30
RW = READ | WRITE
A = 0x100000


@pytest.fixture
def memory() -> Iterator[AddressSpace]:
    with AddressSpace(SIZE, 1 << 20) as space:
        yield space


@pytest.fixture
def changes(memory: AddressSpace) -> list[tuple[int, int]]:
    log: list[tuple[int, int]] = []
    memory.code_changed = lambda addr, size: log.append((addr, size))
    return log


@pytest.fixture
def file() -> Iterator[int]:
    """A descriptor of a file of two and a half pages."""
    with tempfile.TemporaryFile() as stream:
        stream.write(bytes(range(256)) * 40)
        stream.flush()
        yield stream.fileno()


def table(memory: AddressSpace) -> list[tuple[int, int, int]]:
    return [(m.start, m.end, m.permissions) for m in memory.regions()]


def host_spans(memory: AddressSpace) -> list[tuple[int, int, str]]:
    """What the host kernel says of the area: start, end, permissions."""
    spans = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            bounds, permissions = line.split()[:2]
            start, end = (int(text, 16) - memory.base for text in bounds.split("-"))
            if end > 0 and start < SIZE:
                spans.append((max(start, 0), min(end, SIZE), permissions))
    return spans


def assert_host_agrees(memory: AddressSpace) -> None:
    """Every page of the area is reserved, and allows what the table says, but never execution."""
    position = 0
    for start, end, permissions in host_spans(memory):
        assert start == position
        position = end
        for page in range(start, end, PAGE_SIZE) if end - start < 1 << 20 else (start, end - PAGE_SIZE):
            allowed = memory.permissions(page) or 0
            assert permissions[:3] == ("r" if allowed else "-") + ("w" if allowed & WRITE else "-") + "-"
    assert position == SIZE


# Against a model.


class Model:
    """Page number -> (permissions, contents)."""

    def __init__(self) -> None:
        self.pages: dict[int, tuple[int, bytearray]] = {}

    def pages_of(self, addr: int, size: int) -> range:
        return range(addr // PAGE_SIZE, (addr + size - 1) // PAGE_SIZE + 1)

    def allows(self, addr: int, size: int, permissions: int) -> bool:
        return all(
            page in self.pages and self.pages[page][0] & permissions == permissions
            for page in self.pages_of(addr, size)
        )

    def read(self, addr: int, size: int) -> bytes:
        first = addr // PAGE_SIZE * PAGE_SIZE
        whole = b"".join(self.pages[page][1] for page in self.pages_of(addr, size))
        return whole[addr - first : addr - first + size]

    def write(self, addr: int, data: bytes) -> None:
        for place, byte in enumerate(data, addr):
            self.pages[place // PAGE_SIZE][1][place % PAGE_SIZE] = byte

    def regions(self) -> list[tuple[int, int, int]]:
        merged: list[tuple[int, int, int]] = []
        for page, (permissions, _) in sorted(self.pages.items()):
            start = page * PAGE_SIZE
            if merged and merged[-1][1:] == (start, permissions):
                start = merged.pop()[0]
            merged.append((start, (page + 1) * PAGE_SIZE, permissions))
        return merged


def step(rng: random.Random, memory: AddressSpace, model: Model) -> None:
    """One random call on both; small addresses, so that ranges meet often."""
    page, pages = rng.randrange(16, 48), rng.randrange(1, 9)
    addr, size, permissions = page * PAGE_SIZE, pages * PAGE_SIZE, rng.choice((0, READ, RW, RW, READ | EXECUTE, 7))
    place, data = addr + rng.randrange(PAGE_SIZE), rng.randbytes(rng.choice((1, 8, 100, 3 * PAGE_SIZE)))
    match rng.randrange(7):
        case 0:
            memory.map(addr, size, permissions)
            model.pages |= {p: (permissions, bytearray(PAGE_SIZE)) for p in range(page, page + pages)}
        case 1:
            memory.unmap(addr, size)
            for p in range(page, page + pages):
                model.pages.pop(p, None)
        case 2 if model.allows(addr, size, 0):
            memory.protect(addr, size, permissions)
            model.pages |= {p: (permissions, model.pages[p][1]) for p in range(page, page + pages)}
        case 2:
            with pytest.raises(OSError) as caught:
                memory.protect(addr, size, permissions)
            assert caught.value.errno == errno.ENOMEM
        case 3:
            step_move(rng, memory, model)
        case 4 if model.allows(place, len(data), WRITE):
            memory.write(place, data)
            model.write(place, data)
        case 4:
            with pytest.raises(MemoryAccessError):
                memory.write(place, data)
        case _ if model.allows(place, len(data), READ):
            assert memory.read(place, len(data)) == model.read(place, len(data))
        case _:
            with pytest.raises(MemoryAccessError):
                memory.read(place, len(data))


def step_move(rng: random.Random, memory: AddressSpace, model: Model) -> None:
    """Move a part of one region somewhere else, cut off or grown."""
    regions = model.regions()
    if not regions:
        return
    start, end, permissions = rng.choice(regions)
    first = rng.randrange(start, end, PAGE_SIZE)
    size = rng.randrange(first, end, PAGE_SIZE) - first + PAGE_SIZE
    new, new_size = rng.randrange(64, 80) * PAGE_SIZE, rng.randrange(1, 12) * PAGE_SIZE
    if first < new + new_size and new < first + size:
        return
    try:
        memory.move(first, size, new, new_size)
    except OSError as error:
        # The kernel may keep what is one region here as several; its refusal unmaps the new place, as mremap does.
        assert error.errno == errno.EFAULT
        moved: list[bytearray] = []
    else:
        moved = [model.pages.pop(p)[1] for p in model.pages_of(first, size)]
        moved += [bytearray(PAGE_SIZE) for _ in range(len(moved), new_size // PAGE_SIZE)]
    for p, contents in itertools.zip_longest(model.pages_of(new, new_size), moved[: new_size // PAGE_SIZE]):
        model.pages.pop(p, None)
        if contents is not None:
            model.pages[p] = (permissions, contents)


@pytest.mark.parametrize("seed", range(8))
def test_random_calls_when_compared_with_a_model(memory: AddressSpace, seed: int) -> None:
    rng, model = random.Random(seed), Model()
    for _ in range(400):
        step(rng, memory, model)
        assert table(memory) == model.regions()
    assert_host_agrees(memory)
    for page, (permissions, contents) in model.pages.items():
        addr = page * PAGE_SIZE
        assert memory.permissions(addr) == permissions
        if permissions & READ:
            assert memory.read(addr, PAGE_SIZE) == contents


# Nothing crashes the host.

EDGES: tuple[int, ...] = (
    -(1 << 64),
    -(1 << 63),
    -1,
    0,
    1,
    A - 1,
    A,
    A + 1,
    A + 4095,
    A + 8191,
    A + 8192,
    SIZE - 1,
    SIZE,
    SIZE + 1,
)
EDGES += ((1 << 38) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 100)
SIZES = (-1, 0, 1, 8, 4096, 4097, 8192, 8193, SIZE, 1 << 63, (1 << 64) - 1, 1 << 64)


@pytest.mark.parametrize("addr", EDGES)
def test_access_when_the_address_is_anything(memory: AddressSpace, addr: int) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    for size in SIZES:
        inside = size == 0 or (size > 0 and addr >= A and addr + size <= A + 2 * PAGE_SIZE)
        assert memory.accessible(addr, size, RW) == inside
        accesses: list[Callable[[], object]] = [
            lambda: memory.read(addr, size),  # noqa: B023
            lambda: memory.fill(addr, size, 1),  # noqa: B023
            lambda: memory.buffer(addr, size, READ),  # noqa: B023
            lambda: memory.view(addr, size, "u1"),  # noqa: B023
        ]
        for access in accesses:
            if inside:
                access()
            else:
                with pytest.raises(MemoryAccessError, match=r"guest memory at -?0x"):
                    access()


@pytest.mark.parametrize("addr", EDGES)
@pytest.mark.parametrize("size", SIZES)
def test_mapping_call_when_the_range_is_anything(memory: AddressSpace, addr: int, size: int) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    calls: list[Callable[[], object]] = [
        lambda: memory.protect(addr, size, 0),
        lambda: memory.unmap(addr, size),
        lambda: memory.move(A, PAGE_SIZE, addr, size),
        lambda: memory.move(addr, size, 2 * A, PAGE_SIZE),
        lambda: memory.map(addr, size, READ),
    ]
    for call in calls:
        try:
            call()
        except OSError as error:
            assert error.errno in (errno.EINVAL, errno.ENOMEM, errno.EFAULT)
    memory.is_free(addr, size)
    memory.find_free(size, addr)
    assert all(0 <= m.start < m.end <= SIZE for m in memory.regions())


def test_access_when_the_address_is_a_numpy_integer_that_would_wrap(memory: AddressSpace) -> None:
    number: Any = numpy
    memory.map(A, PAGE_SIZE, RW)
    memory.write(number.uint64(A), b"abc")
    assert memory.read(number.uint32(A), number.uint8(3)) == b"abc"
    with pytest.raises(MemoryAccessError):
        memory.read(number.uint64((1 << 64) - 4), 8)
    memory.map(SIZE - PAGE_SIZE, PAGE_SIZE, READ)
    assert memory.read(number.int32(SIZE - 256), number.uint8(255)) == bytes(255)


def test_write_when_the_second_page_is_read_only(memory: AddressSpace) -> None:
    memory.map(A, PAGE_SIZE, RW)
    memory.map(A + PAGE_SIZE, PAGE_SIZE, READ)
    with pytest.raises(MemoryAccessError, match="not writable at 0x101000"):
        memory.write(A + PAGE_SIZE - 2, b"abcd")
    with pytest.raises(MemoryAccessError, match="8192 bytes: not writable"):
        memory.fill(A, 2 * PAGE_SIZE, 1)
    assert memory.read(A, PAGE_SIZE) == bytes(PAGE_SIZE)


def test_error_when_memory_is_not_mapped(memory: AddressSpace) -> None:
    memory.map(A, PAGE_SIZE, RW)
    with pytest.raises(MemoryAccessError, match=r"guest memory at 0x100ff8, 16 bytes: not mapped at 0x101000"):
        memory.read(A + PAGE_SIZE - 8, 16)
    memory.protect(A, PAGE_SIZE, 0)
    with pytest.raises(MemoryAccessError, match=r"not readable at 0x100ff8"):
        memory.read(A + PAGE_SIZE - 8, 8)
    with pytest.raises(MemoryAccessError, match=r"not readable and writable"):
        memory.buffer(A, 8, RW)


def test_read_when_executable_only(memory: AddressSpace) -> None:
    memory.map(A, PAGE_SIZE, EXECUTE)
    assert memory.read(A, 4, EXECUTE) == bytes(4)
    with pytest.raises(MemoryAccessError, match="not readable"):
        memory.read(A, 4)


@pytest.mark.parametrize(
    "data", [b"\1\2\3\4", bytearray(b"\1\2\3\4"), memoryview(b"\1\2\3\4"), numpy.array([0x4030201], "<u4")]
)
def test_write_when_given_any_buffer(memory: AddressSpace, data: bytes) -> None:
    memory.map(A, PAGE_SIZE, RW)
    memory.write(A, data)
    assert memory.read(A, 5) == b"\1\2\3\4\0"


def test_close_when_used_afterwards() -> None:
    memory = AddressSpace(SIZE, 0)
    memory.map(A, PAGE_SIZE, RW)
    array = memory.view(A, 4, "u8")
    memory.close()
    memory.close()
    array[:] = 7  # the pages live as long as what was handed out
    assert array.sum() == 28
    assert not list(memory.regions())
    with pytest.raises(MemoryAccessError):
        memory.read(A, 1)
    with pytest.raises(OSError):
        memory.map(A, PAGE_SIZE, RW)
    with pytest.raises(OSError):
        memory.unmap(A, PAGE_SIZE)


def test_address_space_when_dropped_is_returned_to_the_host() -> None:
    # 2000 * 256 GB is more than the 47 bits of host addresses a process has.
    for _ in range(2000):
        AddressSpace()


def test_constructor_when_there_is_no_room() -> None:
    with pytest.raises(OSError) as caught:
        AddressSpace(1 << 60)
    assert caught.value.errno == errno.ENOMEM
    for size in (-PAGE_SIZE, 0, 5000):
        with pytest.raises(ValueError):
            AddressSpace(size)


# Files.


def test_map_when_of_a_file(memory: AddressSpace, file: int) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW, fd=file, offset=PAGE_SIZE)
    assert memory.read(A, 4) == b"\0\1\2\3"
    memory.write(A, b"private")
    assert os.pread(file, 7, PAGE_SIZE) == b"\0\1\2\3\4\5\6"
    (mapping,) = memory.regions()
    assert (mapping.offset, mapping.shared) == (PAGE_SIZE, False)
    assert mapping.name == os.readlink(f"/proc/self/fd/{file}")
    memory.unmap(A, PAGE_SIZE)
    assert [m.offset for m in memory.regions()] == [2 * PAGE_SIZE]


def test_map_when_shared(memory: AddressSpace, file: int) -> None:
    memory.map(A, PAGE_SIZE, RW, fd=file, shared=True)
    memory.write(A + 1, b"shared")
    assert os.pread(file, 8, 0) == b"\0shared\7"
    memory.map(2 * A, PAGE_SIZE, RW, shared=True)
    child = os.fork()
    if child == 0:
        memory.write(2 * A, b"from the child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert memory.read(2 * A, 14) == b"from the child"


def test_fork_when_private(memory: AddressSpace) -> None:
    memory.map(A, PAGE_SIZE, RW)
    memory.write(A, b"parent")
    child = os.fork()
    if child == 0:
        memory.write(A, b"child!")
        os._exit(memory.read(A, 6) != b"child!")
    assert os.waitpid(child, 0)[1] == 0
    assert memory.read(A, 6) == b"parent"


@pytest.mark.parametrize("shared", [False, True])
def test_access_when_behind_the_end_of_the_file(memory: AddressSpace, file: int, shared: bool) -> None:
    memory.map(A, 4 * PAGE_SIZE, RW, fd=file, shared=shared)
    assert memory.read(A + 3 * PAGE_SIZE - 4, 4) == bytes(4)
    accesses: list[Callable[[], object]] = [
        lambda: memory.read(A + 3 * PAGE_SIZE, 1),
        lambda: memory.read(A + 3 * PAGE_SIZE - 1, 2),
        lambda: memory.write(A + 3 * PAGE_SIZE - 1, b"xy"),
        lambda: memory.fill(A, 4 * PAGE_SIZE),
        lambda: memory.view(A, 4 * PAGE_SIZE, "u1"),
        lambda: memory.buffer(A + 3 * PAGE_SIZE, 1, READ),
        lambda: memory.read_cstring(A + 3 * PAGE_SIZE),
    ]
    for access in accesses:
        with pytest.raises(MemoryAccessError, match="not backed by its file"):
            access()
    assert memory.read(A + 3 * PAGE_SIZE - 1, 1) == b"\0"
    os.ftruncate(file, 0)
    with pytest.raises(MemoryAccessError):
        memory.read(A, 1)


def test_access_when_a_sandbox_forbids_the_kernel_to_copy(
    memory: AddressSpace, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(address_space._libc, "process_vm_readv", forbidden)
    monkeypatch.setattr(address_space._libc, "process_vm_writev", forbidden)
    memory.map(A, PAGE_SIZE, RW, fd=file)
    memory.write(A + 1, b"abc")
    assert memory.read(A, 5) == b"\0abc\4"


def test_map_when_the_file_refuses_keeps_the_old_mapping(memory: AddressSpace, tmp_path: os.PathLike[str]) -> None:
    memory.map(A, PAGE_SIZE, RW)
    memory.write(A, b"old")
    directory = os.open(tmp_path, os.O_RDONLY)
    for fd, code in ((directory, errno.ENODEV), (9999, errno.EBADF)):
        with pytest.raises(OSError) as caught:
            memory.map(A, PAGE_SIZE, RW, fd=fd)
        assert caught.value.errno == code
    os.close(directory)
    assert memory.read(A, 3) == b"old"
    assert table(memory) == [(A, A + PAGE_SIZE, RW)]


def test_protect_when_a_shared_file_is_read_only(memory: AddressSpace, tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "file")
    with open(path, "wb") as stream:
        stream.write(bytes(PAGE_SIZE))
    with open(path, "rb") as stream:
        memory.map(A, PAGE_SIZE, READ, fd=stream.fileno(), shared=True)
        memory.map(A - PAGE_SIZE, PAGE_SIZE, READ)
    with pytest.raises(OSError) as caught:
        memory.protect(A - PAGE_SIZE, 2 * PAGE_SIZE, RW)
    assert caught.value.errno == errno.EACCES
    assert table(memory) == [(A - PAGE_SIZE, A, RW), (A, A + PAGE_SIZE, READ)]
    memory.write(A - 4, b"okay")


# Moving.


def test_move_when_a_file_grows(memory: AddressSpace, file: int) -> None:
    memory.map(A, PAGE_SIZE, READ, fd=file)
    memory.move(A, PAGE_SIZE, 2 * A, 2 * PAGE_SIZE)
    assert table(memory) == [(2 * A, 2 * A + 2 * PAGE_SIZE, READ)]
    assert memory.read(2 * A + PAGE_SIZE, 4) == b"\0\1\2\3"
    memory.move(2 * A, 2 * PAGE_SIZE, A, PAGE_SIZE)
    assert_host_agrees(memory)
    assert table(memory) == [(A, A + PAGE_SIZE, READ)]
    assert memory.read(A + 1, 3) == b"\1\2\3"


def test_move_when_it_is_refused(memory: AddressSpace) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    memory.map(A + 2 * PAGE_SIZE, PAGE_SIZE, READ)
    for old_size, new, code in (
        (PAGE_SIZE, A, errno.EINVAL),
        (2 * PAGE_SIZE, A + PAGE_SIZE, errno.EINVAL),
        (3 * PAGE_SIZE, 2 * A, errno.EFAULT),
        (4 * PAGE_SIZE, 2 * A, errno.EFAULT),
    ):
        with pytest.raises(OSError) as caught:
            memory.move(A, old_size, new, 2 * PAGE_SIZE)
        assert caught.value.errno == code
    assert len(list(memory.regions())) == 2


def test_move_when_the_host_has_moved_leaves_no_hole(memory: AddressSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = address_space._libc
    mremap, checks = libc.mremap, []

    def watched(*arguments: int) -> int:
        result: int = mremap(*arguments)
        spans = host_spans(memory)
        checks.append(all(before[1] == after[0] for before, after in itertools.pairwise(spans)))
        return result

    memory.map(A, 2 * PAGE_SIZE, RW)
    monkeypatch.setattr(libc, "mremap", watched)
    memory.move(A, 2 * PAGE_SIZE, 2 * A, 2 * PAGE_SIZE)
    memory.move(2 * A, 2 * PAGE_SIZE, A, 4 * PAGE_SIZE)
    memory.move(A, 4 * PAGE_SIZE, 2 * A, PAGE_SIZE)
    assert checks == [True, True, True]


@pytest.mark.parametrize("call", ["map", "move"])
def test_call_when_the_host_fails_halfway(
    memory: AddressSpace, file: int, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    libc = address_space._libc

    def unmaps_and_fails(*arguments: int) -> int:
        libc.munmap(arguments[4], PAGE_SIZE)
        ctypes.set_errno(errno.ENOMEM)
        return -1

    changed: list[tuple[int, int]] = []
    memory.map(A, PAGE_SIZE, RW)
    memory.map(2 * A, PAGE_SIZE, 7)
    memory.code_changed = lambda addr, size: changed.append((addr, size))
    monkeypatch.setattr(libc, "mremap", unmaps_and_fails)
    with pytest.raises(OSError) as caught:
        if call == "map":
            memory.map(2 * A, PAGE_SIZE, READ, fd=file)
        else:
            memory.move(A, PAGE_SIZE, 2 * A, PAGE_SIZE)
    assert caught.value.errno == errno.ENOMEM
    assert table(memory) == [(A, A + PAGE_SIZE, RW)]
    assert changed == [(2 * A, PAGE_SIZE)]
    assert_host_agrees(memory)


# Strings, buffers, views.


def test_read_cstring_when_it_ends_before_unmapped_memory(memory: AddressSpace) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    memory.fill(A, 2 * PAGE_SIZE, ord("x"))
    with pytest.raises(MemoryAccessError, match="not mapped at 0x102000"):
        memory.read_cstring(A, 1 << 20)
    memory.write(A + 2 * PAGE_SIZE - 1, b"\0")
    assert memory.read_cstring(A, 1 << 20) == b"x" * (2 * PAGE_SIZE - 1)
    assert memory.read_cstring(A + 2 * PAGE_SIZE - 1) == b""
    with pytest.raises(OSError) as caught:
        memory.read_cstring(A)
    assert caught.value.errno == errno.ENAMETOOLONG
    assert memory.read_cstring(A + PAGE_SIZE, PAGE_SIZE) == b"x" * (PAGE_SIZE - 1)


def test_buffer_when_filled_by_the_host(memory: AddressSpace, file: int) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    assert os.preadv(file, [memory.buffer(A + PAGE_SIZE - 2, 4, RW)], 0) == 4
    assert memory.read(A + PAGE_SIZE - 2, 5) == b"\0\1\2\3\0"
    assert memory.buffer(A, 4, READ).readonly
    assert memory.buffer(-5, 0, RW).nbytes == 0


def test_view_when_changed_on_either_side(memory: AddressSpace) -> None:
    memory.map(A, 2 * PAGE_SIZE, RW)
    view = memory.view(A + 1, PAGE_SIZE // 8, numpy.uint64)
    view[0] = 0x0807060504030201
    assert memory.read(A, 9) == bytes(range(9))
    memory.write(A + 1, b"\xff")
    assert view[0] == 0x08070605040302FF
    memory.protect(A, PAGE_SIZE, READ)
    with pytest.raises(ValueError, match="read-only"):
        memory.view(A, 1024, "<u4")[0] = 1
    assert memory.view(A + 3, 0, "u4").shape == (0,)


# Code.


def test_code_changed_when_pages_are_executable(memory: AddressSpace, changes: list[tuple[int, int]]) -> None:
    def expect(*expected: tuple[int, int]) -> None:
        assert changes == list(expected)
        changes.clear()

    memory.map(A, 4 * PAGE_SIZE, RW)
    memory.write(A, b"data")
    expect()
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, READ | EXECUTE)
    expect((A + PAGE_SIZE, PAGE_SIZE))
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, READ | EXECUTE)
    expect()
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, 7)
    expect((A + PAGE_SIZE, PAGE_SIZE))
    memory.write(A + 8, b"data")
    memory.write(A + 2 * PAGE_SIZE, b"")
    expect()
    memory.write(A + 2 * PAGE_SIZE - 1, b"xy")
    expect((A + PAGE_SIZE, 2 * PAGE_SIZE))
    memory.fill(A + PAGE_SIZE + 5, 1)
    expect((A + PAGE_SIZE, PAGE_SIZE))
    memory.move(A + PAGE_SIZE, PAGE_SIZE, 2 * A, 2 * PAGE_SIZE)
    expect((A + PAGE_SIZE, PAGE_SIZE), (2 * A, 2 * PAGE_SIZE))
    memory.map(2 * A, PAGE_SIZE, READ)
    expect((2 * A, PAGE_SIZE))
    memory.unmap(2 * A, 4 * PAGE_SIZE)
    expect((2 * A, 4 * PAGE_SIZE))
    memory.unmap(A, 4 * PAGE_SIZE)
    expect()


def test_code_changed_when_called_sees_the_new_state(memory: AddressSpace) -> None:
    seen = []
    memory.code_changed = lambda addr, size: seen.append((memory.permissions(addr), memory.read(addr, 2)))
    memory.map(A, PAGE_SIZE, 7)
    memory.write(A, b"ab")
    assert seen == [(7, b"\0\0"), (7, b"ab")]


def test_host_pages_when_mapped_are_never_executable(memory: AddressSpace, file: int) -> None:
    memory.map(A, PAGE_SIZE, 7)
    memory.map(A + PAGE_SIZE, PAGE_SIZE, EXECUTE, fd=file)
    assert {permissions for _, _, permissions in host_spans(memory)} == {"---p", "rw-p", "r--p"}


# The table.


def test_regions_when_neighbours_are_equal_are_one(memory: AddressSpace, file: int) -> None:
    memory.map(A, PAGE_SIZE, RW)
    memory.map(A + 2 * PAGE_SIZE, PAGE_SIZE, RW)
    memory.map(A + PAGE_SIZE, PAGE_SIZE, RW)
    whole = Mapping(A, A + 3 * PAGE_SIZE, RW)
    assert list(memory.regions()) == [whole]
    memory.map(A + 3 * PAGE_SIZE, PAGE_SIZE, RW, name="[heap]")
    assert list(memory.regions()) == [whole, replace(whole, start=whole.end, end=whole.end + PAGE_SIZE, name="[heap]")]
    memory.map(A + PAGE_SIZE, 1, RW, fd=file)
    assert [m.offset for m in memory.regions()] == [None, 0, None, None]


def test_find_free_when_there_are_gaps(memory: AddressSpace) -> None:
    memory.mmap_top = 0x200000
    assert memory.find_free(1) == 0x1FF000
    memory.map(0x1FE000, PAGE_SIZE, RW)
    assert memory.find_free(PAGE_SIZE) == 0x1FF000
    assert memory.find_free(2 * PAGE_SIZE) == 0x1FC000
    assert memory.find_free(PAGE_SIZE, top=0x1FEFFF) == 0x1FD000
    assert memory.find_free(PAGE_SIZE, 0x1FDFFF) == 0x1FF000
    assert memory.find_free(PAGE_SIZE, 0x1FC001) == 0x1FD000
    assert memory.find_free(PAGE_SIZE, 0x300000) == 0x300000
    assert memory.find_free(PAGE_SIZE, 5) == 0x1FF000
    assert memory.find_free(PAGE_SIZE, SIZE) == 0x1FF000
    assert memory.find_free(0x1EE000) == 0x10000
    assert memory.find_free(0x1EF000) is None
    assert memory.find_free(1 << 70) is None


def test_map_when_many_threads_do(memory: AddressSpace) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(200):
                addr = (seed * 64 + rng.randrange(32)) * PAGE_SIZE
                memory.map(addr, 4 * PAGE_SIZE, RW)
                memory.write(addr, b"thread %d" % seed)
                assert memory.read(addr, 8) == b"thread %d" % seed
                memory.unmap(addr, PAGE_SIZE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    regions = list(memory.regions())
    assert all(before.end <= after.start for before, after in itertools.pairwise(regions))
