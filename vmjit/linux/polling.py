"""Waiting for descriptors: ppoll, pselect6, epoll."""

import os
from errno import EINVAL
from struct import Struct

from vmjit.linux import host
from vmjit.linux.abi import EPOLL_EVENT, TIMESPEC
from vmjit.linux.buffers import READ, WRITE, timespec
from vmjit.linux.outcome import SyscallError
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


def packed_timeout(process: "Process", address: int) -> bytes | None:
    """A timespec, validated; None (for ever) for NULL."""
    return TIMESPEC.pack(*timespec(process.memory, address)) if address else None


@syscall("address uint timespec sigset size", lacks="the signal mask is not set")
def sys_ppoll(process: "Process", address: int, count: int, timeout: int, _mask: int, _size: int) -> int:
    if count > MOST_DESCRIPTORS:
        raise SyscallError(EINVAL)
    limit = packed_timeout(process, timeout)
    if not count:
        return host.call("ppoll", None, 0, limit, None)
    entries = process.memory.buffer(address, count * POLLFD_SIZE, READ | WRITE)
    return host.call("ppoll", host.address_of(entries), count, limit, None)


@syscall("int address address address timespec address", lacks="the signal mask is not set")
def sys_pselect6(
    process: "Process", count: int, readable: int, writable: int, exceptional: int, timeout: int, _mask: int
) -> int:
    if count < 0:
        raise SyscallError(EINVAL)
    count = min(count, MOST_DESCRIPTORS)
    limit = packed_timeout(process, timeout)
    size = (count + 63) // 64 * 8
    addresses = (readable, writable, exceptional)
    sets = [host.filled(process.memory.read(address, size)) if address else None for address in addresses]
    result = host.call("pselect", count, *sets, limit, None)
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


@syscall("fd address int int sigset size", lacks="the signal mask is not set")
def sys_epoll_pwait(
    process: "Process", epoll: int, address: int, most: int, milliseconds: int, _mask: int, _size: int
) -> int:
    return epoll_wait(process, epoll, address, most, milliseconds)


@syscall(
    "fd address int timespec sigset size", lacks="the signal mask is not set; times are rounded up to milliseconds"
)
def sys_epoll_pwait2(
    process: "Process", epoll: int, address: int, most: int, timeout: int, _mask: int, _size: int
) -> int:
    milliseconds = -1
    if timeout:
        seconds, nanoseconds = timespec(process.memory, timeout)
        milliseconds = min(seconds * 1000 + -(-nanoseconds // 1_000_000), LONGEST_WAIT)
    return epoll_wait(process, epoll, address, most, milliseconds)


def epoll_wait(process: "Process", epoll: int, address: int, most: int, milliseconds: int) -> int:
    """Wait for events and store them as the guest lays them out."""
    if most <= 0:
        raise SyscallError(EINVAL)
    most = min(most, MOST_EVENTS)
    found = host.zeroed(most * HOST_EPOLL_EVENT.size)
    count = host.call("epoll_pwait", epoll, found, most, milliseconds, None)
    events = HOST_EPOLL_EVENT.iter_unpack(found.raw[: count * HOST_EPOLL_EVENT.size])
    process.memory.write(address, b"".join([EPOLL_EVENT.pack(*event) for event in events]))
    return count
