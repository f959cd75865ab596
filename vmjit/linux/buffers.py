"""Guest memory as system calls use it: buffers, vectors of buffers, strings, small structures.

Every address comes from the guest and may be anything; a bad one raises MemoryAccessError, which the dispatcher turns
into EFAULT. Buffers are views of guest memory, never copies. Like the kernel, a transfer stops at the first page it may
not touch and fails only if that is the first page.
"""

from errno import E2BIG, EINVAL, ENAMETOOLONG

from vmjit.errors import MemoryAccessError
from vmjit.linux.abi import IOVEC, PATH_MAX, TIMESPEC, ULONG
from vmjit.linux.outcome import SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.memory.address_space import AddressSpace

READ, WRITE, EXECUTE = 1, 2, 4
PAGE = 4096
MAX_TRANSFER = 0x7FFFF000  # MAX_RW_COUNT: one read or write never moves more
MAX_VECTORS = 1024  # UIO_MAXIOV
MAX_STRING = 32 * PAGE  # MAX_ARG_STRLEN
MAX_STRINGS = 6 << 20  # bytes of argv or envp with their pointers: what Linux allows with the largest stack limit


def accessible_prefix(memory: "AddressSpace", address: int, size: int, permissions: int) -> int:
    """How many of the size bytes at address are accessible before the first that is not."""
    if not memory.accessible(address, 1, permissions):
        return 0
    low, high = 1, size  # invariant: low bytes are accessible, more than high are not wanted
    while low < high:
        middle = (low + high + 1) // 2
        if memory.accessible(address, middle, permissions):
            low = middle
        else:
            high = middle - 1
    return low


def view(memory: "AddressSpace", address: int, size: int, permissions: int) -> memoryview:
    """The buffer at address, cut where memory ends."""
    if size == 0:
        return memoryview(bytearray())
    wanted = min(size, MAX_TRANSFER)
    try:
        return memory.buffer(address, wanted, permissions)
    except MemoryAccessError:
        if address + size > memory.size:  # access_ok() of the kernel: not even a part
            raise
        length = accessible_prefix(memory, address, wanted, permissions)
        if not length:
            raise
        return memory.buffer(address, length, permissions)


def spans(memory: "AddressSpace", address: int, count: int, permissions: int) -> list[tuple[int, memoryview]]:
    """The buffers of an iovec array with their addresses, cut where memory or the transfer limit ends."""
    if not 0 <= count <= MAX_VECTORS:
        raise SyscallError(EINVAL)
    entries = list(IOVEC.iter_unpack(memory.read(address, count * IOVEC.size))) if count else []
    if any(size >= 1 << 63 for _, size in entries):
        raise SyscallError(EINVAL)
    found: list[tuple[int, memoryview]] = []
    room = MAX_TRANSFER
    for start, size in entries:
        wanted = min(size, room)
        if not wanted:
            continue
        try:
            part = view(memory, start, wanted, permissions)
        except MemoryAccessError:
            if not found:
                raise
            break
        found.append((start, part))
        room -= wanted
        if len(part) < wanted:
            break
    return found


def vectors(memory: "AddressSpace", address: int, count: int, permissions: int) -> list[memoryview]:
    """The buffers of an iovec array, cut where memory or the transfer limit ends."""
    return [part for _, part in spans(memory, address, count, permissions)]


def host_vectors(memory: "AddressSpace", address: int, count: int, permissions: int) -> tuple[bytes, int]:
    """The host's iovec array for an iovec array of the guest, and how many it has."""
    entries = [IOVEC.pack(memory.base + at, len(part)) for at, part in spans(memory, address, count, permissions)]
    return b"".join(entries), len(entries)


def path_string(memory: "AddressSpace", address: int) -> bytes:
    """The path name at address."""
    path = memory.read_cstring(address, PATH_MAX)
    if len(path) >= PATH_MAX:
        raise SyscallError(ENAMETOOLONG)
    return path


def strings(memory: "AddressSpace", address: int) -> list[bytes]:
    """The NULL-terminated array of strings at address, as argv and envp are; NULL is an empty array."""
    found: list[bytes] = []
    room = MAX_STRINGS
    while address:
        (pointer,) = ULONG.unpack(memory.read(address, 8))
        if not pointer:
            break
        text = memory.read_cstring(pointer, MAX_STRING)
        room -= len(text) + 1 + 8
        if len(text) >= MAX_STRING or room < 0:
            raise SyscallError(E2BIG)
        found.append(text)
        address += 8
    return found


def timespec(memory: "AddressSpace", address: int) -> tuple[int, int]:
    """(seconds, nanoseconds) of a duration or point in time; EINVAL as the kernel's timespec64_valid has it."""
    seconds, nanoseconds = TIMESPEC.unpack(memory.read(address, TIMESPEC.size))
    if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
        raise SyscallError(EINVAL)
    return seconds, nanoseconds
