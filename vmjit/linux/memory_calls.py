"""brk, mmap and the other calls about the address space. See brk(2), mmap(2), mremap(2), madvise(2)."""

from errno import EBADF, EEXIST, EFAULT, EINVAL, ENOMEM

from vmjit.linux import host
from vmjit.linux.buffers import PAGE, READ, WRITE
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import register, syscall
from vmjit.loader.elf import LOW
from vmjit.memory.address_space import EXECUTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process
    from vmjit.memory.address_space import Mapping

PROTECTIONS = 7
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE = 1, 2, 3
MAP_TYPE, MAP_FIXED, MAP_ANONYMOUS, MAP_HUGETLB, MAP_FIXED_NOREPLACE = 0xF, 0x10, 0x20, 0x40000, 0x100000
MAP_DENYWRITE = 0x800
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_DONTNEED, MADV_REMOVE, MADV_FREE, MADV_DONTNEED_LOCKED = 4, 9, 8, 24
# Advice that changes nothing the program can see: hints about use, huge pages, dumps, merging.
HINTS = frozenset((0, 1, 2, 3, MADV_FREE, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 25))
MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4
MMAP_MIN_ADDR = 0x10000


def page_up(value: int) -> int:
    """The next multiple of the page size."""
    return -(-value // PAGE) * PAGE


@syscall("hex", result="hex")
def sys_brk(process: "Process", wanted: int) -> int:
    if wanted < process.brk_start or wanted > process.memory.size:
        return process.brk_end
    old, new = page_up(process.brk_end), page_up(wanted)
    if new > old:
        if not process.memory.is_free(old, new - old):
            return process.brk_end
        process.memory.map(old, new - old, READ | WRITE)
    elif new < old:
        process.memory.unmap(new, old - new)
    process.brk_end = wanted
    return wanted


def mapping_size(process: "Process", size: int) -> int:
    """A size in whole pages, checked."""
    if not size:
        raise SyscallError(EINVAL)
    if size > process.memory.size:
        raise SyscallError(ENOMEM)
    return page_up(size)


def choose_address(process: "Process", address: int, size: int, flags: int, is_library: bool) -> int:
    """Where a new mapping goes; libraries near the program, because compiled code knows low addresses best."""
    if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        hint = address if address + size <= process.memory.size else 0
        found = process.memory.find_free(size, hint, top=LOW) if is_library else None
        if found is None:
            found = process.memory.find_free(size, hint)
        if found is None:
            raise SyscallError(ENOMEM)
        return found
    if address % PAGE:
        raise SyscallError(EINVAL)
    if address + size > process.memory.size or address < MMAP_MIN_ADDR:
        raise SyscallError(ENOMEM)
    if flags & MAP_FIXED_NOREPLACE and not process.memory.is_free(address, size):
        raise SyscallError(EEXIST)
    return address


@syscall("hex size protection map_flags int hex", result="hex", lacks="huge pages, MAP_GROWSDOWN")
def sys_mmap(process: "Process", address: int, size: int, protection: int, flags: int, fd: int, offset: int) -> int:
    kind = flags & MAP_TYPE
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE) or offset % PAGE or flags & MAP_HUGETLB:
        raise SyscallError(EINVAL)
    size = mapping_size(process, size)
    memory, permissions, shared = process.memory, protection & PROTECTIONS, kind != MAP_PRIVATE
    # Dynamic linkers of the GNU C library still say DENYWRITE of every library, others ask for what can be executed.
    is_library = not flags & MAP_ANONYMOUS and bool(flags & MAP_DENYWRITE or permissions & EXECUTE)
    with memory.lock:
        place = choose_address(process, address, size, flags, is_library)
        if flags & MAP_ANONYMOUS:
            memory.map(place, size, permissions, shared=shared)
        elif fd < 0 or fd in process.reserved_fds:
            raise SyscallError(EBADF)
        else:
            memory.map(place, size, permissions, fd=fd, offset=offset, shared=shared)
    return place


@syscall("hex size")
def sys_munmap(process: "Process", address: int, size: int) -> int:
    process.memory.unmap(address, size)
    return 0


@syscall("hex size protection")
def sys_mprotect(process: "Process", address: int, size: int, protection: int) -> int:
    if protection & ~PROTECTIONS:
        raise SyscallError(EINVAL)
    process.memory.protect(address, size, protection)
    return 0


def mapping_at(process: "Process", address: int) -> "Mapping":
    """The mapping that holds an address."""
    for mapping in process.memory.regions():
        if mapping.start <= address < mapping.end:
            return mapping
    raise SyscallError(EFAULT)


def grow_in_place(process: "Process", address: int, old_size: int, new_size: int) -> bool:
    """Let a private anonymous mapping grow into free memory behind it; whether that was possible."""
    mapping = mapping_at(process, address)
    end = address + old_size
    if mapping.shared or mapping.offset is not None or end != mapping.end:
        return False
    if not process.memory.is_free(end, new_size - old_size):
        return False
    process.memory.map(end, new_size - old_size, mapping.permissions, name=mapping.name)
    return True


@syscall("hex size size hex hex", result="hex", lacks="MREMAP_DONTUNMAP")
def sys_mremap(process: "Process", old: int, old_size: int, new_size: int, flags: int, new: int) -> int:
    if old % PAGE or flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED) or not old_size:
        raise SyscallError(EINVAL)
    if flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE:
        raise SyscallError(EINVAL)
    memory = process.memory
    old_size, new_size = mapping_size(process, old_size), mapping_size(process, new_size)
    with memory.lock:
        if flags & MREMAP_FIXED:
            memory.move(old, old_size, new, new_size)
            return new
        if not memory.is_mapped(old, old_size):
            raise SyscallError(EFAULT)
        if new_size <= old_size:
            if new_size < old_size:
                memory.unmap(old + new_size, old_size - new_size)
            return old
        if grow_in_place(process, old, old_size, new_size):
            return old
        place = memory.find_free(new_size) if flags & MREMAP_MAYMOVE else None
        if place is None:
            raise SyscallError(ENOMEM)
        memory.move(old, old_size, place, new_size)
    return place


def require_pages(process: "Process", address: int, size: int) -> None:
    """A page-aligned range, all of it mapped."""
    if address % PAGE:
        raise SyscallError(EINVAL)
    if not process.memory.is_mapped(address, page_up(size)):
        raise SyscallError(ENOMEM)


@syscall("hex size advice")
def sys_madvise(process: "Process", address: int, size: int, advice: int) -> int:
    if advice not in HINTS and advice not in (MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_REMOVE):
        raise SyscallError(EINVAL)
    require_pages(process, address, size)
    if advice in HINTS or not size:
        return 0
    # The host's pages are the guest's, so it does what it would do for a program of its own.
    return host.call("madvise", process.memory.base + address, page_up(size), advice)


@syscall("hex size int")
def sys_msync(process: "Process", address: int, size: int, flags: int) -> int:
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or (flags & MS_ASYNC and flags & MS_SYNC):
        raise SyscallError(EINVAL)
    require_pages(process, address, size)
    return host.call("msync", process.memory.base + address, page_up(size), flags) if size else 0


@syscall("hex size address", lacks="all pages count as resident")
def sys_mincore(process: "Process", address: int, size: int, result: int) -> int:
    require_pages(process, address, size)
    process.memory.write(result, b"\1" * (page_up(size) // PAGE))
    return 0


def locked(process: "Process", address: int, size: int, *_flags: int) -> int:
    """mlock and its kin: memory of the guest is never where the guest could miss it."""
    start = address & -PAGE
    require_pages(process, start, address + size - start)
    return 0


def all_locked(_process: "Process", *_flags: int) -> int:
    """mlockall and munlockall."""
    return 0


register("mlock", "hex size", locked, lacks="checks the range only")
register("mlock2", "hex size int", locked, lacks="checks the range only")
register("munlock", "hex size", locked, lacks="checks the range only")
register("mlockall", "int", all_locked, lacks="does nothing")
register("munlockall", "", all_locked, lacks="does nothing")


@syscall("hex hex hex")
def sys_riscv_flush_icache(process: "Process", start: int, end: int, flags: int) -> int:
    if flags & ~1:  # SYS_RISCV_FLUSH_ICACHE_LOCAL
        raise SyscallError(EINVAL)
    limit = process.memory.size
    # Linux flushes everything whatever the range, so an odd one must not flush less.
    first, last = (start, min(end, limit)) if start < end and start < limit else (0, limit)
    process.flush_code(first, last - first)
    return 0
