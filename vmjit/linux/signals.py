"""Signals as far as they concern a single thread without handler delivery: actions, mask, pending set, kill.

Actions are recorded here and, where the host process must share them (so that a Ctrl-C ends or spares the guest, and
an ignored signal stays ignored across execve), set on the host too. A signal the guest sends itself takes effect
before the call returns. See signal(7), rt_sigaction(2).
"""

import os
import signal
import time
from errno import EAGAIN, EINTR, EINVAL, ENOMEM, ENOSYS

from vmjit.linux.abi import SIGACTION, SIGALTSTACK, ULONG
from vmjit.linux.buffers import timespec
from vmjit.linux.outcome import Killed, SyscallError
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

SIG_DFL, SIG_IGN = 0, 1
SIGABRT, SIGKILL, SIGPIPE, SIGALRM, SIGCHLD, SIGCONT, SIGSTOP, SIGXFSZ = 6, 9, 13, 14, 17, 18, 19, 25
LARGEST = 64
UNBLOCKABLE = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)
IGNORED_BY_DEFAULT = frozenset((SIGCHLD, SIGCONT, 23, 28))  # also SIGURG, SIGWINCH
STOPPING = frozenset((SIGSTOP, 20, 21, 22))  # also SIGTSTP, SIGTTIN, SIGTTOU

# The host action of these is the emulator's own: it fields faults (ILL TRAP BUS FPE SEGV) and wants EPIPE and EFBIG.
HOST_KEEPS = frozenset((4, 5, 7, 8, 11, SIGKILL, SIGPIPE, SIGSTOP, SIGXFSZ))
SHARED = tuple(number for number in range(1, 32) if number not in HOST_KEEPS)

SS_DISABLE = 2
MINSIGSTKSZ = 2048
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2


class Action:
    """The guest's struct sigaction."""

    __slots__ = ("flags", "handler", "mask")

    def __init__(self, handler: int, flags: int = 0, mask: int = 0) -> None:
        self.handler, self.flags, self.mask = handler, flags, mask


DEFAULT = Action(SIG_DFL)
IGNORE = Action(SIG_IGN)


class Signals:
    """Signal state of a process; sets of signals are integers with bit n-1 for signal n, as in sigset_t."""

    def __init__(self) -> None:
        self.actions = {number: IGNORE for number in SHARED if signal.getsignal(number) == signal.SIG_IGN}
        self.blocked = 0
        self.pending = 0
        self.stack = (0, SS_DISABLE, 0)

    def action(self, number: int) -> Action:
        """What happens when this signal arrives."""
        return self.actions.get(number, DEFAULT)


def send_to_self(process: "Process", number: int) -> None:
    """A signal sent by the guest to itself, or by what it does."""
    bit = 1 << (number - 1)
    if process.signals.blocked & bit & ~UNBLOCKABLE:
        process.signals.pending |= bit
        return
    handler = process.signals.action(number).handler
    if handler == SIG_DFL:
        default_action(number)
    elif handler != SIG_IGN:
        process.report(f"signal {number} ({name_of(number)}) has a handler; delivery to handlers is not supported")


def default_action(number: int) -> None:
    """signal(7)'s Term, Core, Ign and Stop."""
    if number in STOPPING:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif number not in IGNORED_BY_DEFAULT:
        raise Killed(number)


def name_of(number: int) -> str:
    """SIGTERM, or SIGRT_8 for a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - 32}"


def set_blocked(process: "Process", mask: int) -> None:
    """Change the mask and let in what it no longer holds back."""
    state = process.signals
    state.blocked = mask & ~UNBLOCKABLE
    ready = state.pending & ~state.blocked
    for number in range(1, LARGEST + 1):
        if ready >> (number - 1) & 1:
            state.pending &= ~(1 << (number - 1))
            send_to_self(process, number)


def share_with_host(number: int, handler: int) -> None:
    """Let the host ignore what the guest ignores."""
    action = signal.SIG_IGN if handler == SIG_IGN else signal.SIG_DFL
    try:
        if signal.getsignal(number) != action:
            signal.signal(number, action)
    except ValueError:
        return  # Python allows this in its main thread only; then the host's action stays


def require_set_size(size: int) -> None:
    """sigsetsize must be that of the kernel's sigset_t."""
    if size != ULONG.size:
        raise SyscallError(EINVAL)


@syscall("signal address address size")
def sys_rt_sigaction(process: "Process", number: int, new: int, old: int, size: int) -> int:
    require_set_size(size)
    if not 1 <= number <= LARGEST or (new and number in (SIGKILL, SIGSTOP)):
        raise SyscallError(EINVAL)
    before = process.signals.action(number)
    if new:
        handler, flags, mask = SIGACTION.unpack(process.memory.read(new, SIGACTION.size))
        process.signals.actions[number] = Action(handler, flags, mask & ~UNBLOCKABLE)
        if number in SHARED:
            share_with_host(number, handler)
    if old:
        process.memory.write(old, SIGACTION.pack(before.handler, before.flags, before.mask))
    return 0


@syscall("mask_how sigset sigset size")
def sys_rt_sigprocmask(process: "Process", how: int, new: int, old: int, size: int) -> int:
    require_set_size(size)
    before = process.signals.blocked
    if new:
        (mask,) = ULONG.unpack(process.memory.read(new, 8))
        if how not in (SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK):
            raise SyscallError(EINVAL)
        after = mask if how == SIG_SETMASK else before | mask if how == SIG_BLOCK else before & ~mask
        if old:
            process.memory.write(old, ULONG.pack(before))
        set_blocked(process, after)
    elif old:
        process.memory.write(old, ULONG.pack(before))
    return 0


@syscall("sigset size")
def sys_rt_sigpending(process: "Process", address: int, size: int) -> int:
    require_set_size(size)
    process.memory.write(address, ULONG.pack(process.signals.pending))
    return 0


@syscall("sigset size")
def sys_rt_sigsuspend(process: "Process", address: int, size: int) -> int:
    require_set_size(size)
    (mask,) = ULONG.unpack(process.memory.read(address, 8))
    before = process.signals.blocked
    set_blocked(process, mask)
    actions = process.signals.actions.items()
    if any(action.handler > SIG_IGN and not mask >> number - 1 & 1 for number, action in actions):
        # The program would call us again and again until its handler has run.
        process.report("rt_sigsuspend waits for a signal with a handler; delivery to handlers is not supported")
        raise Killed(SIGABRT)
    # Nothing tells us of a signal that has no host handler, so the caller's loop has to look; 100 times a second.
    time.sleep(0.01)
    process.signals.blocked = before
    return -EINTR


@syscall("sigset address timespec size")
def sys_rt_sigtimedwait(process: "Process", address: int, info: int, timeout: int, size: int) -> int:
    require_set_size(size)
    wanted: int = ULONG.unpack(process.memory.read(address, 8))[0]
    ready = process.signals.pending & wanted
    if not ready:
        if timeout:
            seconds, nanoseconds = timespec(process.memory, timeout)
            time.sleep(min(seconds, 1 << 30) + nanoseconds / 1e9)
        return -EAGAIN
    number = (ready & -ready).bit_length()
    process.signals.pending &= ~(1 << (number - 1))
    if info:
        process.memory.write(info, number.to_bytes(4, "little") + bytes(124))
    return number


@syscall("address address")
def sys_sigaltstack(process: "Process", new: int, old: int) -> int:
    before = process.signals.stack
    if new:
        address, flags, size = SIGALTSTACK.unpack(process.memory.read(new, SIGALTSTACK.size))
        if flags & ~SS_DISABLE & 0x7FFFFFFF:  # SS_AUTODISARM is bit 31
            raise SyscallError(EINVAL)
        if flags & SS_DISABLE:
            address = size = 0
        elif size < MINSIGSTKSZ:
            raise SyscallError(ENOMEM)
        process.signals.stack = (address, flags, size)
    if old:
        process.memory.write(old, SIGALTSTACK.pack(*before))
    return 0


@syscall()
def sys_rt_sigreturn(process: "Process") -> int:
    process.report("rt_sigreturn without a signal handler running; returned ENOSYS")
    return -ENOSYS


@syscall("pid signal")
def sys_kill(process: "Process", pid: int, number: int) -> int:
    if pid == os.getpid():
        return signal_self(process, number)
    os.kill(pid, number)
    return 0


@syscall("pid signal")
def sys_tkill(process: "Process", tid: int, number: int) -> int:
    if tid <= 0:
        raise SyscallError(EINVAL)
    return sys_kill(process, tid, number)


@syscall("pid pid signal")
def sys_tgkill(process: "Process", tgid: int, tid: int, number: int) -> int:
    if tgid <= 0 or tid <= 0:
        raise SyscallError(EINVAL)
    return sys_kill(process, tid, number)


def signal_self(process: "Process", number: int) -> int:
    if not 0 <= number <= LARGEST:
        raise SyscallError(EINVAL)
    if number:
        send_to_self(process, number)
    return 0


def signal_queued(process: "Process", *arguments: int) -> int:
    """rt_sigqueueinfo and rt_tgsigqueueinfo: the value that travels with the signal would need a handler."""
    return sys_kill(process, *arguments[-3:-1])


register("rt_sigqueueinfo", "pid signal address", signal_queued)
register("rt_tgsigqueueinfo", "pid pid signal address", signal_queued)
