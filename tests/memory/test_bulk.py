"""Large reads and writes, fills and copies: any alignment and size, across mappings, all or nothing."""

import ctypes
import random
import tempfile
from collections.abc import Callable, Iterator

import numpy
import pytest

from vmjit.errors import MemoryAccessError
from vmjit.memory import address_space
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace

A = 0x100000
RW = READ | WRITE
MAPPED = 8 * PAGE_SIZE
GIB = 1 << 30


@pytest.fixture(params=["anonymous", "shared", "file", "pieces"])
def memory(request: pytest.FixtureRequest) -> Iterator[AddressSpace]:
    """Eight pages at A; all of one kind, or of three."""
    with AddressSpace(4 * GIB, 1 << 20) as space, tempfile.TemporaryFile() as stream:
        stream.truncate(MAPPED)
        match request.param:
            case "anonymous":
                space.map(A, MAPPED, RW)
            case "shared":
                space.map(A, MAPPED, RW, shared=True)
            case "file":
                space.map(A, MAPPED, RW, fd=stream.fileno(), shared=True)
            case _:
                space.map(A, 3 * PAGE_SIZE, RW)
                space.map(A + 3 * PAGE_SIZE, 3 * PAGE_SIZE, RW, fd=stream.fileno())
                space.map(A + 6 * PAGE_SIZE, 2 * PAGE_SIZE, RW | EXECUTE)
        yield space


@pytest.mark.parametrize("probe", [1 << 20, 1000])
def test_random_calls_when_compared_with_a_bytearray(
    memory: AddressSpace, monkeypatch: pytest.MonkeyPatch, probe: int
) -> None:
    """Some of them reach outside of what is mapped, and change nothing."""
    monkeypatch.setattr(address_space, "_PROBE", probe)
    rng, model = random.Random(probe), bytearray(MAPPED)
    done = 0
    for _ in range(400):
        target, source = rng.randrange(-50, MAPPED), rng.randrange(-50, MAPPED)
        size = rng.choice((0, 1, 7, 8, rng.randrange(64), rng.randrange(MAPPED), rng.randrange(3 * PAGE_SIZE)))
        data, call = rng.randbytes(size), rng.choice(("write", "fill", "copy", "near", "read"))
        if call == "near":
            source = target + rng.randrange(-40, 40)
        needed = (source,) if call == "read" else (target,) if call in ("write", "fill") else (target, source)
        inside = size == 0 or all(0 <= place <= MAPPED - size for place in needed)
        calls: dict[str, Callable[[], object]] = {
            "write": lambda: memory.write(A + target, data),  # noqa: B023
            "fill": lambda: memory.fill(A + target, size, 9),  # noqa: B023
            "read": lambda: memory.read(A + source, size),  # noqa: B023
        }
        copy = lambda: memory.copy(A + target, A + source, size)  # noqa: B023, E731
        if not inside:
            with pytest.raises(MemoryAccessError, match=r"guest memory at 0x[0-9a-f]+, \d+ bytes: not mapped at"):
                calls.get(call, copy)()
            continue
        found = calls.get(call, copy)()
        if call == "read":
            assert found == model[max(source, 0) : max(source, 0) + size]
        elif size:
            new = {"write": data, "fill": b"\t" * size}.get(call, bytes(model[source : source + size]))
            model[target : target + size] = new
        done += 1
        assert memory.read(A, MAPPED) == model
    assert done > 150


@pytest.mark.parametrize("lost", [0, MAPPED - PAGE_SIZE])
@pytest.mark.parametrize("permissions", [0, READ, EXECUTE])
def test_call_when_a_page_does_not_allow_it_changes_nothing(memory: AddressSpace, lost: int, permissions: int) -> None:
    memory.write(A, bytes(range(1, 256)))
    memory.map(2 * A, MAPPED, RW)
    memory.protect(A + lost, PAGE_SIZE, permissions)
    calls: list[Callable[[], object]] = [
        lambda: memory.write(A + 1, bytes(MAPPED - 2)),
        lambda: memory.fill(A + 1, MAPPED - 2),
        lambda: memory.copy(A + 1, 2 * A, MAPPED - 2),
    ]
    if permissions != READ:
        calls += [lambda: memory.copy(2 * A, A + 1, MAPPED - 2), lambda: memory.read(A + 1, MAPPED - 2)]
    for call in calls:
        with pytest.raises(MemoryAccessError, match=rf"not (readable|writable) at {A + max(lost, 1):#x}"):
            call()
    memory.protect(A + lost, PAGE_SIZE, READ)
    assert memory.read(A, 256) == bytes((*range(1, 256), 0))
    assert memory.read(2 * A, MAPPED) == bytes(MAPPED)


def test_call_when_the_file_ends_changes_nothing() -> None:
    with AddressSpace(GIB, 1 << 20) as memory, tempfile.TemporaryFile() as stream:
        stream.truncate(PAGE_SIZE)
        memory.map(A, 2 * PAGE_SIZE, RW)
        memory.map(A + 2 * PAGE_SIZE, 2 * PAGE_SIZE, RW, fd=stream.fileno(), shared=True)
        calls: list[Callable[[], object]] = [
            lambda: memory.fill(A, 4 * PAGE_SIZE, 1),
            lambda: memory.write(A, b"1" * 4 * PAGE_SIZE),
            lambda: memory.copy(A, A + PAGE_SIZE, 3 * PAGE_SIZE),
            lambda: memory.copy(A + PAGE_SIZE, A, 3 * PAGE_SIZE),
        ]
        for call in calls:
            with pytest.raises(MemoryAccessError, match="not backed by its file"):
                call()
        assert memory.read(A, 3 * PAGE_SIZE) == bytes(3 * PAGE_SIZE)


def test_copy_when_it_changes_code_says_so() -> None:
    with AddressSpace(GIB, 1 << 20) as memory:
        memory.map(A, PAGE_SIZE, RW)
        memory.map(2 * A, 4 * PAGE_SIZE, RW | EXECUTE)
        changed: list[tuple[int, int]] = []
        memory.code_changed = lambda addr, size: changed.append((addr, size))
        memory.copy(A, 2 * A, 100)
        memory.copy(2 * A + PAGE_SIZE, A, 0)
        assert changed == []
        memory.copy(2 * A + 2 * PAGE_SIZE - 1, A, 2)
        assert changed == [(2 * A + PAGE_SIZE, 2 * PAGE_SIZE)]


@pytest.mark.parametrize("size", [-1, 1 << 40, 1 << 64, -(1 << 64)])
def test_copy_when_the_size_is_anything(memory: AddressSpace, size: int) -> None:
    with pytest.raises(MemoryAccessError):
        memory.copy(A, A + PAGE_SIZE, size)
    with pytest.raises(MemoryAccessError):
        memory.copy(size, A, 8)


def test_write_when_the_data_is_not_contiguous(memory: AddressSpace) -> None:
    memory.write(A + 1, memoryview(bytes(range(100)))[::3])
    memory.write(A + 50, numpy.arange(12, dtype="<u2").reshape(3, 4).T)  # type: ignore[arg-type]
    assert memory.read(A, 36) == bytes((0, *range(0, 100, 3), 0))
    assert numpy.frombuffer(memory.read(A + 50, 24), "<u2").tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_write_when_the_data_is_guest_memory_itself(memory: AddressSpace) -> None:
    memory.write(A, bytes(range(256)))
    memory.write(A + 1, memory.buffer(A, 255, READ))
    assert memory.read(A, 256) == bytes((0, *range(255)))


def test_view_when_of_any_alignment_and_kind(memory: AddressSpace) -> None:
    memory.write(A + 3, numpy.arange(2000, dtype="<u8").tobytes())
    view = memory.view(A + 3, 2000, "<u8")
    assert view.flags.writeable and not view.flags.owndata
    assert view.tolist() == list(range(2000))
    view[1000] = 7
    assert memory.read(A + 3 + 8000, 8) == b"\7" + bytes(7)
    pairs = memory.view(A + 3, 10, [("low", "<u4"), ("high", "<u4")])
    assert pairs["low"].tolist() == list(range(10))
    memory.protect(A + PAGE_SIZE, PAGE_SIZE, READ)
    assert not memory.view(A + 3, 2000, "<u8").flags.writeable
    for n in (-1, 1 << 40, 1 << 64):
        with pytest.raises(MemoryAccessError):
            memory.view(A, n, "<u8")


def test_gigabytes_when_pages_are_never_written() -> None:
    """Reads of memory that was never written take no memory: all of it is the kernel's page of zeros."""
    size = GIB + PAGE_SIZE + 1
    with AddressSpace(4 * GIB, 1 << 20) as memory:
        memory.map(A, size, READ)
        assert memory.buffer(A + 3, size - 3, READ).nbytes == size - 3
        assert memory.view(A + 3, (size - 3) // 8, "<u8")[:: 1 << 18].sum() == 0
        with pytest.raises(MemoryAccessError, match=r"1073745921 bytes: not writable at 0x100000"):
            memory.fill(A, size)
        with pytest.raises(MemoryAccessError, match="not writable"):
            memory.copy(A, A + 1, size - 1)
        memory.map(A + 2 * GIB, PAGE_SIZE, RW)
        with pytest.raises(MemoryAccessError, match=r"not mapped at 0x80101000"):
            memory.copy(A + 2 * GIB, A, GIB)


def test_fill_when_larger_than_what_the_host_would_build_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill of shared memory works in parts, whatever its size."""
    made: list[int] = []
    with AddressSpace(GIB, 1 << 20) as memory:
        memory.map(A, 4 << 20, RW, shared=True)
        copy_in = memory._copy_in

        def watched(addr: int, data: bytes) -> None:
            made.append(len(data))
            copy_in(addr, data)

        monkeypatch.setattr(memory, "_copy_in", watched)
        memory.fill(A + 1, (4 << 20) - 1, 5)
        assert max(made) <= 1 << 20
        assert ctypes.string_at(memory.base + A, 4 << 20) == b"\0" + b"\5" * ((4 << 20) - 1)
