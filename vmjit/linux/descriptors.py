"""Calls on open descriptors that move no data (duplicate, close, control, lock), and calls that make descriptors."""

import ctypes
import fcntl
import os
from errno import EINVAL, ENOTTY, EPERM
from struct import Struct

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import FLOCK_SIZE, INT, O_CLOEXEC, from_host_open_flags, to_host_open_flags
from vmjit.linux.buffers import path_string
from vmjit.linux.outcome import SyscallError
from vmjit.linux.sandbox import Sandbox, existing
from vmjit.linux.table import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

O_NONBLOCK = 0o4000
ITIMERSPEC_SIZE = 32
IN_DONT_FOLLOW = 0x02000000
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4

F_GETFL, F_SETFL = 3, 4
# fcntl commands by what their argument is. The numbers are asm-generic's, which x86-64 and AArch64 share.
PLAIN_COMMANDS = frozenset(
    (
        *(0, 1, 2, 8, 9, 10, 11),  # F_DUPFD GETFD SETFD SETOWN GETOWN SETSIG GETSIG
        *(1024, 1025, 1026, 1030),  # F_SETLEASE GETLEASE NOTIFY DUPFD_CLOEXEC
        *(1031, 1032, 1033, 1034),  # F_SETPIPE_SZ GETPIPE_SZ ADD_SEALS GET_SEALS
    )
)
LOCK_COMMANDS = frozenset((5, 6, 7, 36, 37, 38))  # F_GETLK SETLK SETLKW OFD_GETLK OFD_SETLK OFD_SETLKW
OWNER_COMMANDS = {15: 8, 16: 8}  # F_SETOWN_EX GETOWN_EX: struct f_owner_ex

IN, OUT, BOTH = 1, 2, 3
# ioctl requests with a structure: its size, and which way it goes. Layouts are equal on all 64-bit Linux machines.
STRUCTURE_REQUESTS = {
    0x5401: (36, OUT),  # TCGETS
    0x5402: (36, IN),  # TCSETS
    0x5403: (36, IN),  # TCSETSW
    0x5404: (36, IN),  # TCSETSF
    0x802C542A: (44, OUT),  # TCGETS2
    0x402C542B: (44, IN),  # TCSETS2
    0x402C542C: (44, IN),  # TCSETSW2
    0x402C542D: (44, IN),  # TCSETSF2
    0x540F: (4, OUT),  # TIOCGPGRP
    0x5410: (4, IN),  # TIOCSPGRP
    0x5411: (4, OUT),  # TIOCOUTQ
    0x5413: (8, OUT),  # TIOCGWINSZ
    0x5414: (8, IN),  # TIOCSWINSZ
    0x541B: (4, OUT),  # FIONREAD
    0x5421: (4, IN),  # FIONBIO
    0x5452: (4, IN),  # FIOASYNC
    0x5429: (4, OUT),  # TIOCGSID
    0x80045430: (4, OUT),  # TIOCGPTN
    0x40045431: (4, IN),  # TIOCSPTLCK
    0x80086601: (8, OUT),  # FS_IOC_GETFLAGS
    0x4020940D: (32, IN),  # FICLONERANGE
    0x8905: (4, OUT),  # SIOCATMARK
    **dict.fromkeys(
        # SIOCGIFNAME GIFFLAGS GIFADDR GIFDSTADDR GIFBRDADDR GIFNETMASK GIFMETRIC GIFMTU GIFHWADDR GIFINDEX GIFTXQLEN
        (0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942),
        (40, BOTH),  # struct ifreq
    ),
}
SIOCGIFCONF = 0x8912
IFCONF = Struct("<i4xQ")
MOST_INTERFACES_SIZE = 40 << 10  # a thousand
# ioctl requests whose argument is a number or nothing.
PLAIN_REQUESTS = frozenset(
    (
        *(0x5409, 0x540A, 0x540B, 0x5425),  # TCSBRK TCXONC TCFLSH TCSBRKP
        *(0x540C, 0x540D, 0x540E, 0x5422),  # TIOCEXCL TIOCNXCL TIOCSCTTY TIOCNOTTY
        *(0x5450, 0x5451),  # FIONCLEX FIOCLEX
        *(0x40049409, 0x5441),  # FICLONE TIOCGPTPEER
    )
)


@syscall("fd")
def sys_close(_process: "Process", fd: int) -> int:
    os.close(fd)
    return 0


@syscall("uint uint uint")
def sys_close_range(process: "Process", first: int, last: int, flags: int) -> int:
    if first > last or flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC):
        raise SyscallError(EINVAL)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if first <= fd <= last and fd not in process.reserved_fds:
            close_or_mark(fd, bool(flags & CLOSE_RANGE_CLOEXEC))
    return 0


def close_or_mark(fd: int, only_mark: bool) -> None:
    """One descriptor of close_range; that of the listing itself is gone by now."""
    try:
        if only_mark:
            os.set_inheritable(fd, False)
        else:
            os.close(fd)
    except OSError:
        return


@syscall("fd")
def sys_dup(_process: "Process", fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD, 0)


@syscall("fd fd open_flags")
def sys_dup3(_process: "Process", old: int, new: int, flags: int) -> int:
    if flags & ~O_CLOEXEC or old == new:
        raise SyscallError(EINVAL)
    return os.dup2(old, new, inheritable=not flags)


def write_pair(process: "Process", address: int, pair: tuple[int, int]) -> int:
    """Hand two new descriptors to the guest, or neither."""
    try:
        process.memory.write(address, INT.pack(pair[0]) + INT.pack(pair[1]))
    except MemoryAccessError:
        for fd in pair:
            os.close(fd)
        raise
    return 0


@syscall("out_pair open_flags")
def sys_pipe2(process: "Process", address: int, flags: int) -> int:
    return write_pair(process, address, os.pipe2(to_host_open_flags(flags)))


@syscall("fd fcntl_command hex")
def sys_fcntl(process: "Process", fd: int, command: int, argument: int) -> int:
    if command in PLAIN_COMMANDS:
        return fcntl.fcntl(fd, command, signed(argument))
    if command == F_GETFL:
        return from_host_open_flags(fcntl.fcntl(fd, command))
    if command == F_SETFL:
        return fcntl.fcntl(fd, command, to_host_open_flags(signed(argument)))
    size = FLOCK_SIZE if command in LOCK_COMMANDS else OWNER_COMMANDS.get(command)
    if size is None:
        os.fstat(fd)
        raise SyscallError(EINVAL)
    before = process.memory.read(argument, size)
    after = host.filled(before)
    process.interruptible("fcntl", fd, command, after)
    if after.raw != before:
        process.memory.write(argument, after.raw)
    return 0


def signed(argument: int) -> int:
    """The low 32 bits of a register as a C int."""
    return ((argument & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


@syscall("fd request hex", lacks="other requests than those of terminals, pipes, sockets and file flags")
def sys_ioctl(process: "Process", fd: int, request: int, argument: int) -> int:
    if request in PLAIN_REQUESTS:
        return process.interruptible("ioctl", fd, request, signed(argument))
    if request == SIOCGIFCONF:
        return list_interfaces(process, fd, argument)
    size, direction = STRUCTURE_REQUESTS.get(request, (0, 0))
    if not size:
        os.fstat(fd)
        raise SyscallError(ENOTTY)
    contents = process.memory.read(argument, size) if direction & IN else bytes(size)
    contents = fcntl.ioctl(fd, request, contents)
    if direction & OUT:
        process.memory.write(argument, contents)
    return 0


def list_interfaces(process: "Process", fd: int, address: int) -> int:
    """SIOCGIFCONF: netdevice(7). Without a buffer it tells the size of one for all."""
    size, to = IFCONF.unpack(process.memory.read(address, IFCONF.size))
    found = host.zeroed(min(max(size, 0), MOST_INTERFACES_SIZE)) if to else None
    told = IFCONF.pack(len(found or b""), ctypes.addressof(found) if found is not None else 0)
    size, _ = IFCONF.unpack(fcntl.ioctl(fd, SIOCGIFCONF, told))
    if found is not None:
        process.memory.write(to, found.raw[:size])
    process.memory.write(address, INT.pack(size))
    return 0


@syscall("fd int")
def sys_flock(process: "Process", fd: int, operation: int) -> int:
    return process.interruptible("flock", fd, operation)


@syscall("fd")
def sys_fsync(_process: "Process", fd: int) -> int:
    os.fsync(fd)
    return 0


@syscall("fd")
def sys_fdatasync(_process: "Process", fd: int) -> int:
    os.fdatasync(fd)
    return 0


@syscall("fd")
def sys_syncfs(_process: "Process", fd: int) -> int:
    return host.call("syncfs", fd)


@syscall()
def sys_sync(_process: "Process") -> int:
    os.sync()
    return 0


@syscall("fd long long int")
def sys_fadvise64(_process: "Process", fd: int, offset: int, size: int, advice: int) -> int:
    os.posix_fadvise(fd, offset, size, advice)
    return 0


@syscall("fd fd uint")
def sys_pidfd_getfd(process: "Process", pidfd: int, wanted: int, flags: int) -> int:
    if process.sandbox != Sandbox():
        raise SyscallError(EPERM)  # the other process may not be confined
    return host.system_call("pidfd_getfd", pidfd, wanted, flags)


@syscall("uint int")
def sys_eventfd2(_process: "Process", value: int, flags: int) -> int:
    return os.eventfd(value, flags)


@syscall("text uint")
def sys_memfd_create(process: "Process", name: int, flags: int) -> int:
    return os.memfd_create(os.fsdecode(process.memory.read_cstring(name, 250)), flags)


@syscall("clock int")
def sys_timerfd_create(_process: "Process", clock: int, flags: int) -> int:
    return host.call("timerfd_create", clock, flags)


@syscall("fd int address address")
def sys_timerfd_settime(process: "Process", fd: int, flags: int, new: int, old: int) -> int:
    before = host.zeroed(ITIMERSPEC_SIZE)
    result = host.call("timerfd_settime", fd, flags, process.memory.read(new, ITIMERSPEC_SIZE), before)
    if old:
        process.memory.write(old, before.raw)
    return result


@syscall("fd address")
def sys_timerfd_gettime(process: "Process", fd: int, address: int) -> int:
    value = host.zeroed(ITIMERSPEC_SIZE)
    result = host.call("timerfd_gettime", fd, value)
    process.memory.write(address, value.raw)
    return result


@syscall("int")
def sys_inotify_init1(_process: "Process", flags: int) -> int:
    return host.call("inotify_init1", flags)


@syscall("fd path hex")
def sys_inotify_add_watch(process: "Process", fd: int, path: int, mask: int) -> int:
    follow = not mask & IN_DONT_FOLLOW
    with existing(process, path_string(process.memory, path), follow, in_sysroot=False) as (_, name, follow):
        mask = mask & ~IN_DONT_FOLLOW if follow else mask | IN_DONT_FOLLOW
        return host.call("inotify_add_watch", fd, name, mask & 0xFFFFFFFF)


@syscall("fd int")
def sys_inotify_rm_watch(_process: "Process", fd: int, watch: int) -> int:
    return host.call("inotify_rm_watch", fd, watch)
