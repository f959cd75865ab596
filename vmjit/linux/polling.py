"""Waiting for descriptors: ppoll, pselect6, epoll."""

import ctypes
import os
from errno import EINVAL
from struct import Struct

from vmjit.linux import host
from vmjit.linux.abi import EPOLL_EVENT, TIMESPEC, ULONG
from vmjit.linux.buffers import READ, WRITE, timespec
from vmjit.linux.outcome import SyscallError
from vmjit.linux.signals import host_set, read_set, temporary_mask
from vmjit.linux.table import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

POLLFD_SIZE = 8
MOST_DESCRIPTORS = 1 << 16  # of one poll; above any usual RLIMIT_NOFILE of a program that polls
LONGEST_WAIT = (1 << 31) - 1  # milliseconds
MOST_EVENTS = 4096  # of one epoll_pwait; the rest is reported by the next
HOST_EPOLL_EVENT = Struct("<IQ" if os.uname().machine == "x86_64" else "<I4xQ")
EPOLL_CTL_DEL = 2
SET_AND_SIZE = Struct("<QQ")  # the last argument of pselect6


def host_timeout(process: "Process", address: int) -> ctypes.Array[ctypes.c_char] | None:
    """A copy of a timespec, validated, which the kernel counts down; None (for ever) for NULL."""
    return host.filled(TIMESPEC.pack(*timespec(process.memory, address))) if address else None


@syscall("address uint timespec sigset size")
def sys_ppoll(process: "Process", address: int, count: int, timeout: int, mask: int, size: int) -> int:
    if count > MOST_DESCRIPTORS:
        raise SyscallError(EINVAL)
    limit = host_timeout(process, timeout)
    wanted = read_set(process, mask, size) if mask else None
    entries = process.memory.buffer(address, count * POLLFD_SIZE, READ | WRITE) if count else None
    with temporary_mask(process, wanted):
        where = None if entries is None else host.address_of(entries)
        return process.interruptible("ppoll", where, count, limit, host_set(wanted), ULONG.size)


@syscall("int address address address timespec address")
def sys_pselect6(
    process: "Process", count: int, readable: int, writable: int, exceptional: int, timeout: int, mask_and_size: int
) -> int:
    if count < 0:
        raise SyscallError(EINVAL)
    count = min(count, MOST_DESCRIPTORS)
    limit = host_timeout(process, timeout)
    mask, mask_size = SET_AND_SIZE.unpack(process.memory.read(mask_and_size, 16)) if mask_and_size else (0, 0)
    wanted = read_set(process, mask, mask_size) if mask else None
    size = (count + 63) // 64 * 8
    addresses = (readable, writable, exceptional)
    sets = [host.filled(process.memory.read(address, size)) if address else None for address in addresses]
    host_mask = host.filled(host_set(wanted) or b"")
    second = SET_AND_SIZE.pack(host.address(host_mask) if host_mask else 0, ULONG.size)
    with temporary_mask(process, wanted):
        result = process.interruptible("pselect6", count, *sets, limit, second)
    for address, bits in zip(addresses, sets, strict=True):
        if bits is not None:
            process.memory.write(address, bits.raw)
    return result


@syscall("int")
def sys_epoll_create1(_process: "Process", flags: int) -> int:
    return host.call("epoll_create1", flags)


@syscall("fd int fd address")
def sys_epoll_ctl(process: "Process", epoll: int, operation: int, fd: int, address: int) -> int:
    if operation == EPOLL_CTL_DEL:
        return host.call("epoll_ctl", epoll, operation, fd, None)
    events, data = EPOLL_EVENT.unpack(process.memory.read(address, EPOLL_EVENT.size))
    return host.call("epoll_ctl", epoll, operation, fd, HOST_EPOLL_EVENT.pack(events, data))


@syscall("fd address int int sigset size")
def sys_epoll_pwait(
    process: "Process", epoll: int, address: int, most: int, milliseconds: int, mask: int, size: int
) -> int:
    if most <= 0:
        raise SyscallError(EINVAL)
    most = min(most, MOST_EVENTS)
    found = host.zeroed(most * HOST_EPOLL_EVENT.size)
    wanted = read_set(process, mask, size) if mask else None
    with temporary_mask(process, wanted):
        count = process.interruptible("epoll_pwait", epoll, found, most, milliseconds, host_set(wanted), ULONG.size)
    events = HOST_EPOLL_EVENT.iter_unpack(found.raw[: count * HOST_EPOLL_EVENT.size])
    process.memory.write(address, b"".join([EPOLL_EVENT.pack(*event) for event in events]))
    return count


@syscall("fd address int timespec sigset size", lacks="times are rounded up to milliseconds")
def sys_epoll_pwait2(
    process: "Process", epoll: int, address: int, most: int, timeout: int, mask: int, size: int
) -> int:
    milliseconds = -1
    if timeout:
        seconds, nanoseconds = timespec(process.memory, timeout)
        milliseconds = min(seconds * 1000 + -(-nanoseconds // 1_000_000), LONGEST_WAIT)
    return sys_epoll_pwait(process, epoll, address, most, milliseconds, mask, size)
