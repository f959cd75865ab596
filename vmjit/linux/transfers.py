"""read, write and their kin: bytes between descriptors and guest memory, without a copy in between."""

import fcntl
import os
import re
from contextlib import suppress
from errno import EINVAL, EPERM, ESRCH

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import LONG
from vmjit.linux.buffers import MAX_TRANSFER, READ, WRITE, host_vectors, vectors, view
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

CURRENT_POSITION = -1
DIRENT_LENGTH, DIRENT_NAME = 16, 19  # offsets in struct linux_dirent64


def target(process: "Process", fd: int, address: int, size: int, permissions: int) -> memoryview:
    """The memory of a transfer; a bad descriptor is found before a bad address, as in the kernel."""
    try:
        return view(process.memory, address, size, permissions)
    except MemoryAccessError:
        os.fstat(fd)
        raise


def host_target(process: "Process", fd: int, address: int, size: int, permissions: int) -> tuple[int, int]:
    """The host's address and size of the memory of a transfer."""
    size = len(target(process, fd, address, size, permissions))
    return process.memory.base + (address if size else 0), size


def position(offset: int) -> int:
    """An offset in a file; the host's functions would take -1 for the current position."""
    if offset < 0:
        raise SyscallError(EINVAL)
    return offset


@syscall("fd out_data size")
def sys_read(process: "Process", fd: int, address: int, size: int) -> int:
    return process.interruptible("read", fd, *host_target(process, fd, address, size, WRITE))


@syscall("fd in_data size")
def sys_write(process: "Process", fd: int, address: int, size: int) -> int:
    return process.interruptible("write", fd, *host_target(process, fd, address, size, READ))


@syscall("fd address int")
def sys_readv(process: "Process", fd: int, address: int, count: int) -> int:
    return process.interruptible("readv", fd, *host_vectors(process.memory, address, count, WRITE))


@syscall("fd address int")
def sys_writev(process: "Process", fd: int, address: int, count: int) -> int:
    return process.interruptible("writev", fd, *host_vectors(process.memory, address, count, READ))


@syscall("fd out_data size long")
def sys_pread64(process: "Process", fd: int, address: int, size: int, offset: int) -> int:
    return os.preadv(fd, (target(process, fd, address, size, WRITE),), position(offset))


@syscall("fd in_data size long")
def sys_pwrite64(process: "Process", fd: int, address: int, size: int, offset: int) -> int:
    return os.pwrite(fd, target(process, fd, address, size, READ), position(offset))


@syscall("fd address int long")
def sys_preadv(process: "Process", fd: int, address: int, count: int, offset: int) -> int:
    return os.preadv(fd, vectors(process.memory, address, count, WRITE), position(offset))


@syscall("fd address int long")
def sys_pwritev(process: "Process", fd: int, address: int, count: int, offset: int) -> int:
    return os.pwritev(fd, vectors(process.memory, address, count, READ), position(offset))


@syscall("fd address int long long int")
def sys_preadv2(process: "Process", fd: int, address: int, count: int, offset: int, _high: int, flags: int) -> int:
    if offset == CURRENT_POSITION and not flags:
        return sys_readv(process, fd, address, count)
    return os.preadv(fd, vectors(process.memory, address, count, WRITE), offset, flags)


@syscall("fd address int long long int")
def sys_pwritev2(process: "Process", fd: int, address: int, count: int, offset: int, _high: int, flags: int) -> int:
    if offset == CURRENT_POSITION and not flags:
        return sys_writev(process, fd, address, count)
    return os.pwritev(fd, vectors(process.memory, address, count, READ), offset, flags)


@syscall("fd long whence")
def sys_lseek(_process: "Process", fd: int, offset: int, whence: int) -> int:
    return os.lseek(fd, offset, whence)


def read_offset(process: "Process", address: int) -> int | None:
    """The file offset a pointer names; None for NULL, which means the descriptor's own."""
    if not address:
        return None
    offset: int = LONG.unpack(process.memory.read(address, 8))[0]
    if offset < 0:
        raise SyscallError(EINVAL)
    return offset


def advance(process: "Process", address: int, offset: int | None, count: int) -> None:
    """Store the offset after a transfer through a pointer."""
    if offset is not None:
        process.memory.write(address, LONG.pack(offset + count))


@syscall("fd fd address size")
def sys_sendfile(process: "Process", out: int, source: int, offset_address: int, size: int) -> int:
    offset = read_offset(process, offset_address)
    at = None if offset is None else host.filled(LONG.pack(offset))
    done = process.interruptible("sendfile", out, source, at, min(size, MAX_TRANSFER))
    advance(process, offset_address, offset, done)
    return done


@syscall("fd address fd address size uint")
def sys_copy_file_range(
    process: "Process", source: int, source_address: int, out: int, out_address: int, size: int, flags: int
) -> int:
    if flags:
        raise SyscallError(EINVAL)
    from_offset, to_offset = read_offset(process, source_address), read_offset(process, out_address)
    done = os.copy_file_range(source, out, min(size, MAX_TRANSFER), from_offset, to_offset)
    advance(process, source_address, from_offset, done)
    advance(process, out_address, to_offset, done)
    return done


@syscall("fd address fd address size uint")
def sys_splice(
    process: "Process", source: int, source_address: int, out: int, out_address: int, size: int, flags: int
) -> int:
    from_offset, to_offset = read_offset(process, source_address), read_offset(process, out_address)
    places = [None if offset is None else host.filled(LONG.pack(offset)) for offset in (from_offset, to_offset)]
    done = process.interruptible("splice", source, places[0], out, places[1], min(size, MAX_TRANSFER), flags)
    advance(process, source_address, from_offset, done)
    advance(process, out_address, to_offset, done)
    return done


@syscall("fd fd size uint")
def sys_tee(process: "Process", source: int, out: int, size: int, flags: int) -> int:
    return process.interruptible("tee", source, out, min(size, MAX_TRANSFER), flags)


@syscall("fd address size uint")
def sys_vmsplice(process: "Process", fd: int, address: int, count: int, flags: int) -> int:
    reads = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    pairs = host_vectors(process.memory, address, count, WRITE if reads else READ)
    return process.interruptible("vmsplice", fd, *pairs, flags)


def between_vectors(name: str, here: int, there: int) -> None:
    """process_vm_readv and process_vm_writev. Memory of other processes is not where they would have it."""

    def move(
        process: "Process", pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
    ) -> int:
        if pid != os.getpid() and pid not in process.threads:
            os.kill(pid, 0)
            raise SyscallError(EPERM if pid > 0 else ESRCH)
        ours = host_vectors(process.memory, local, local_count, here)
        return host.system_call(name, pid, *ours, *host_vectors(process.memory, remote, remote_count, there), flags)

    register(name, "pid address size address size hex", move, lacks="of other processes always EPERM")


between_vectors("process_vm_readv", WRITE, READ)
between_vectors("process_vm_writev", READ, WRITE)


@syscall("fd long long uint")
def sys_sync_file_range(_process: "Process", fd: int, offset: int, size: int, flags: int) -> int:
    return host.call("sync_file_range", fd, offset, size, flags)


@syscall("fd long size")
def sys_readahead(_process: "Process", fd: int, offset: int, size: int) -> int:
    return host.call("readahead", fd, offset, size)


@syscall("fd out_data size")
def sys_getdents64(process: "Process", fd: int, address: int, size: int) -> int:
    buffer = target(process, fd, address, size & 0xFFFFFFFF, WRITE)
    if not buffer:
        raise SyscallError(EINVAL)
    while True:
        found = host.call("getdents64", fd, host.address_of(buffer), len(buffer))
        if not found or not process.reserved_fds or not lists_descriptors(fd):
            return found
        kept = without_reserved(process, buffer[:found].tobytes())
        buffer[: len(kept)] = kept
        if kept:  # nothing at all would be the end
            return len(kept)


def lists_descriptors(fd: int) -> bool:
    """Whether this is our /proc/self/fd, or its kin."""
    with suppress(OSError):
        return (
            re.fullmatch(rb"/proc/%d(/task/\d+)?/fd(info)?" % os.getpid(), os.readlink(b"/proc/self/fd/%d" % fd))
            is not None
        )
    return False


def without_reserved(process: "Process", entries: bytes) -> bytes:
    """The entries of a folder of descriptors, those of the emulator left out."""
    kept = []
    while entries:
        length = int.from_bytes(entries[DIRENT_LENGTH : DIRENT_LENGTH + 2], "little")
        name = entries[DIRENT_NAME : entries.index(b"\0", DIRENT_NAME)]
        if not name.isdigit() or int(name) not in process.reserved_fds:
            kept.append(entries[:length])
        entries = entries[length:]
    return b"".join(kept)


@syscall("out_data size uint")
def sys_getrandom(process: "Process", address: int, size: int, flags: int) -> int:
    buffer = view(process.memory, address, min(size, 1 << 20), WRITE)
    done = 0
    while True:
        part = os.getrandom(len(buffer) - done, flags)
        buffer[done : done + len(part)] = part
        done += len(part)
        if done == len(buffer):
            return done
