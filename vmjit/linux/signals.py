"""Signals: actions, masks, handlers, sending and waiting. See signal(7), rt_sigaction(2).

The host's kernel does what it can: its threads block what the guest's block, so signals wait there, in its order, with
its siginfo, and are taken by it; what the guest ignores or leaves to the default action, the host does too. Only what
the guest handles is caught, one at a time (see Interrupts), and its handler begins when deliver() is next called.
What the emulator needs for itself is kept here instead: `pending` holds those that the guest sends itself or causes.
"""

import os
import signal
from _thread import RLock
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EINTR, EINVAL, ENOMEM, EPERM

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import INT, SIGACTION, SIGALTSTACK, TIMESPEC, ULONG
from vmjit.linux.buffers import timespec
from vmjit.linux.outcome import RESTART, Killed, Restart, SyscallError
from vmjit.linux.signal_frame import (
    ALIGNMENT,
    FRAME_SIZE,
    SIGINFO_FAULT,
    SIGINFO_SENDER,
    SIGINFO_SIZE,
    pack_frame,
    unpack_frame,
)
from vmjit.linux.table import syscall
from vmjit.linux.thread import SS_DISABLE, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

SIG_DFL, SIG_IGN = 0, 1
SIGKILL, SIGSEGV, SIGPIPE, SIGCHLD, SIGCONT, SIGSTOP, SIGXFSZ = 9, 11, 13, 17, 18, 19, 25
LARGEST = 64
UNBLOCKABLE = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)
IGNORED_BY_DEFAULT = frozenset((SIGCHLD, SIGCONT, 23, 28))  # also SIGURG, SIGWINCH
STOPPING = frozenset((SIGSTOP, 20, 21, 22))  # also SIGTSTP, SIGTTIN, SIGTTOU

# The emulator fields faults (ILL TRAP BUS FPE SEGV), which must never be blocked, and wants EPIPE and EFBIG where the
# kernel would send a signal. The C library has two for itself, as the guest's has.
CAUSED = frozenset((4, 5, 7, 8, SIGSEGV))
SIGSETXID = 33
KICK = LARGEST  # see engine/state.py
KEPT = CAUSED | {SIGPIPE, SIGXFSZ, 32, SIGSETXID, KICK}  # those that the guest sends itself do not go through the host
NEVER_BLOCKED = sum(1 << number - 1 for number in (*CAUSED, SIGSETXID, KICK))
EVERYTHING = (1 << LARGEST) - 1

SS_ONSTACK, SS_AUTODISARM = 1, 1 << 31
SA_ONSTACK, SA_RESTART, SA_NODEFER, SA_RESETHAND = 0x08000000, 0x10000000, 0x40000000, 0x80000000
FAULTS = frozenset((7, SIGSEGV))  # SIGBUS too: a handler sees the registers at an access
SI_USER, SI_TKILL = 0, -6
MINSIGSTKSZ = 2048
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
# Calls that fail with EINTR once a handler has run, SA_RESTART or not.
NEVER_RESTARTED = frozenset(
    (
        *("nanosleep", "clock_nanosleep", "ppoll", "pselect6", "epoll_pwait", "epoll_pwait2"),
        *("rt_sigsuspend", "rt_sigtimedwait", "semop", "semtimedop", "msgsnd", "msgrcv"),
    )
)


class Action:
    """The guest's struct sigaction."""

    __slots__ = ("flags", "handler", "mask")

    def __init__(self, handler: int, flags: int = 0, mask: int = 0) -> None:
        self.handler, self.flags, self.mask = handler, flags, mask


DEFAULT = Action(SIG_DFL)
IGNORE = Action(SIG_IGN)


class Signals:
    """What the threads of a process share of signals; `lock` is for all pending sets, those of threads too."""

    def __init__(self, ignored: Iterable[int] = ()) -> None:
        """Signals that the host's process ignores are ignored; `ignored` are those of KEPT that are too."""
        of_host = [number for number in range(1, LARGEST + 1) if signal.getsignal(number) == signal.SIG_IGN]
        self.actions = dict.fromkeys([*(number for number in of_host if number not in KEPT), *ignored], IGNORE)
        self.lock = RLock()
        self.pending = 0  # signals sent to the process: any thread takes them that does not block them
        self.infos: dict[int, bytes] = {}  # siginfo_t of pending signals
        self.return_address = 0  # of handlers

    def action(self, number: int) -> Action:
        """What happens when this signal arrives."""
        return self.actions.get(number, DEFAULT)


def bit_of(number: int) -> int:
    """The set that holds one signal."""
    return 1 << number - 1


def sender_info(number: int, code: int) -> bytes:
    """siginfo_t of a signal that the guest sends to itself."""
    return SIGINFO_SENDER.pack(number, 0, code, 0, os.getpid(), os.getuid(), 0)


def reset_handlers(process: "Process") -> None:
    """Handlers give way to default actions; what is ignored stays so."""
    for number, action in tuple(process.signals.actions.items()):
        if action.handler > SIG_IGN:
            process.signals.actions[number] = DEFAULT
            share_with_host(process, number)


def send_to_self(process: "Process", number: int, code: int = SI_USER) -> None:
    """A signal that the current thread sends itself, or causes by what it does."""
    send_to_thread(process, process.thread, number, sender_info(number, code))


def send_to_thread(process: "Process", thread: Thread, number: int, info: bytes) -> None:
    """A signal for one thread; ends the process at once if that is what it does."""
    _send(process, thread, [] if thread.blocked & bit_of(number) & ~UNBLOCKABLE else [thread], number, info)


def send_to_process(process: "Process", number: int, info: bytes) -> None:
    """A signal for whichever thread does not block it; ends the process at once if that is what it does."""
    masked = bit_of(number) & ~UNBLOCKABLE
    takers = [thread for thread in tuple(process.threads.values()) if not thread.blocked & masked]
    _send(process, process.signals, takers, number, info)


def _send(process: "Process", holder: "Signals | Thread", takers: list[Thread], number: int, info: bytes) -> None:
    handler = process.signals.action(number).handler
    if handler > SIG_IGN or not takers:
        if process.thread.interrupts.catches and number not in KEPT:
            send_by_host(holder, number, info)
            return
        with process.signals.lock:
            holder.pending |= bit_of(number)
            holder.infos[number] = info
        if takers and process.thread not in takers:  # which looks before its next instruction
            takers[0].interrupt()
    elif handler == SIG_DFL:
        default_action(number)


def send_by_host(holder: "Signals | Thread", number: int, info: bytes) -> None:
    """A signal of the guest to itself that is caught, or waits in the host."""
    pid, thread = os.getpid(), holder if isinstance(holder, Thread) else None
    _, _, code, *_ = SIGINFO_SENDER.unpack(info)
    if code in (SI_USER, SI_TKILL):  # what only the kernel may say, unless the first thread does
        os.kill(pid, number) if thread is None else host.system_call("tgkill", pid, thread.tid, number)
    elif thread is None:
        host.system_call("rt_sigqueueinfo", pid, number, info)
    else:
        host.system_call("rt_tgsigqueueinfo", pid, thread.tid, number, info)


def ready_signals(process: "Process") -> int:
    """What is pending for the current thread and not blocked by it."""
    thread = process.thread
    return (thread.pending | process.signals.pending) & ~thread.blocked


def deliver(process: "Process") -> None:
    """Let handlers of the current thread begin for what is ready; it is at an instruction boundary."""
    thread = process.thread
    while True:
        found = take_ready(process)
        if found is not None:
            act(process, *found)
        elif thread.mask_after is not None:  # nothing that a call let in was of interest
            thread.blocked, thread.mask_after = thread.mask_after, None
        with suppress(Restart):  # another waits already
            show_mask(process)
        if found is None and thread.interrupts.peek() is None:
            return


def act(process: "Process", number: int, info: bytes) -> None:
    """Do what the guest wants with a signal."""
    action = process.signals.action(number)
    if action.handler > SIG_IGN:
        begin_handler(process, number, info, action)
    elif action.handler == SIG_DFL:
        default_action(number)


def take_ready(process: "Process") -> tuple[int, bytes] | None:
    """A signal for the current thread that it does not block, the one that was caught first."""
    thread = process.thread
    caught = thread.interrupts.take()
    if caught is not None:
        thread.host_blocked = None
        number, info = caught
        if is_for_guest(process, number, info):
            if not thread.blocked & bit_of(number):
                return caught
            with process.signals.lock:  # one of CAUSED, which was sent
                thread.pending |= bit_of(number)
                thread.infos[number] = info
    while ready := ready_signals(process):
        number = (ready & -ready).bit_length()
        own = take(process, number)
        if own is not None:
            return number, own
    return None


def is_for_guest(process: "Process", number: int, info: bytes) -> bool:
    """Whether a signal that was caught is none that the emulator caused: by a broken pipe, or a child of its own."""
    _, _, code, _, sender, _, _ = SIGINFO_SENDER.unpack(info)
    if number == KICK:
        return False
    if number == SIGPIPE:
        return not (code == SI_USER and sender == os.getpid())
    if number == SIGCHLD and code > 0 and sender in process.hidden_children.ever:
        return any(has_changed(pid) for pid in tuple(process.children))  # whose signal was merged with that one
    return True


def discard_interruption(process: "Process") -> bool:
    """Whether a call was interrupted, or not made, for nothing that is of interest to the guest: it may be made now."""
    interrupts = process.thread.interrupts
    found = interrupts.peek()
    if found is None or is_for_guest(process, *found) or process.is_ending or ready_signals(process):
        return False
    interrupts.take()
    process.thread.host_blocked = None
    show_mask(process)
    return True


def has_changed(pid: int) -> bool:
    """Whether a child can be waited for."""
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def result_of_interrupted(process: "Process", name: str) -> int:
    """What a call returns that a signal has interrupted: it is made again if no handler runs, or one that allows it."""
    found, ready = process.thread.interrupts.peek(), ready_signals(process)
    if found is None and not ready:  # the process was stopped, or the host's program has a handler of its own
        return -EINTR if name in NEVER_RESTARTED else RESTART
    if found is not None and is_for_guest(process, *found):
        action = process.signals.action(found[0])
    else:
        action = process.signals.action((ready & -ready).bit_length()) if ready else IGNORE
    if action.handler > SIG_IGN and (name in NEVER_RESTARTED or not action.flags & SA_RESTART):
        return -EINTR
    return RESTART


def fault(process: "Process", number: int, code: int, address: int) -> bool:
    """A signal that the instruction at the pc causes; False when no handler can take it, which ends the guest."""
    action = process.signals.action(number)
    if action.handler <= SIG_IGN or process.thread.blocked & bit_of(number):
        return False
    begin_handler(process, number, SIGINFO_FAULT.pack(number, 0, code, 0, address), action)
    return True


def take(process: "Process", number: int) -> bytes | None:
    """It is not pending any more; its siginfo_t, or None if another thread was faster."""
    with process.signals.lock:
        for holder in (process.thread, process.signals):
            if holder.pending & bit_of(number):
                holder.pending &= ~bit_of(number)
                return holder.infos.pop(number)
    return None


def are_stack_flags(flags: int) -> bool:
    """What sigaltstack(2) takes."""
    return flags & ~SS_AUTODISARM in (0, SS_ONSTACK, SS_DISABLE)


def on_stack(stack: tuple[int, int, int], stack_pointer: int) -> bool:
    """Whether this is the alternate stack, and in use."""
    address, flags, size = stack
    return not flags & SS_DISABLE and address < stack_pointer <= address + size


def begin_handler(process: "Process", number: int, info: bytes, action: Action) -> None:
    """Put a frame on the stack, and the handler's arguments into the registers."""
    thread, registers = process.thread, process.thread.registers
    assert registers is not None
    context = registers.get()
    top, stack = context.x[2], thread.stack
    address, flags, size = stack
    within = on_stack(stack, top) and not flags & SS_AUTODISARM
    if action.flags & SA_ONSTACK and not flags & SS_DISABLE and not within:
        top = address + size
    frame = (top - FRAME_SIZE) & -ALIGNMENT
    mask = thread.blocked if thread.mask_after is None else thread.mask_after
    data = pack_frame(info, (address, flags | SS_ONSTACK if within else flags, size), mask, context)
    try:
        if within and frame < address:
            raise MemoryAccessError("no room")
        process.memory.write(frame, data)
    except MemoryAccessError:
        process.report(f"no room on the stack at {frame:#x} for the handler of signal {number} ({name_of(number)})")
        raise Killed(SIGSEGV) from None
    thread.mask_after = None
    if flags & SS_AUTODISARM:
        thread.stack = (0, SS_DISABLE, 0)
    if action.flags & SA_RESETHAND:
        process.signals.actions[number] = DEFAULT
        share_with_host(process, number)
    thread.blocked |= action.mask | (0 if action.flags & SA_NODEFER else bit_of(number)) & ~UNBLOCKABLE
    arguments = (number, frame, frame + SIGINFO_SIZE)
    registers.begin_handler(action.handler, process.signals.return_address, frame, arguments)


def default_action(number: int) -> None:
    """signal(7)'s Term, Core, Ign and Stop."""
    if number in STOPPING:
        os.kill(os.getpid(), number)
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
    thread = process.thread
    before, thread.blocked = thread.blocked, mask & ~UNBLOCKABLE
    try:
        show_mask(process)
    except Restart:  # by a signal that came before
        thread.blocked = before
        raise
    ready = ready_signals(process)
    for number in range(1, LARGEST + 1):
        if ready & bit_of(number) and process.signals.action(number).handler <= SIG_IGN:
            take(process, number)
            send_to_self(process, number)


def host_set(mask: int | None) -> bytes | None:
    """A set of signals for the host's thread, without those that it must not block; None stays NULL."""
    return None if mask is None else ULONG.pack(mask & ~NEVER_BLOCKED)


def show_mask(process: "Process") -> None:
    """Let the host's thread block what that of the guest blocks. Raises Restart when a signal was caught before."""
    thread = process.thread
    if thread.interrupts.catches and thread.host_blocked != thread.blocked:
        process.interruptible("rt_sigprocmask", SIG_SETMASK, host_set(thread.blocked), None, ULONG.size)
        thread.host_blocked = thread.blocked


def begin_thread(process: "Process") -> None:
    """Signals may come to the current thread from now on."""
    with suppress(Restart):  # one has come
        show_mask(process)


def hand_on(process: "Process") -> None:
    """The current thread ends: a signal that it has caught and not seen is for another one, if it was not its own."""
    found = process.thread.interrupts.take()
    if found is None or len(process.threads) == 1 or process.is_ending or not is_for_guest(process, *found):
        return
    number, info = found
    if SIGINFO_SENDER.unpack(info)[2] != SI_TKILL:
        os.kill(os.getpid(), number)


@contextmanager
def signals_held(process: "Process") -> Iterator[None]:
    """No signal is caught meanwhile. Raises Restart when one was before."""
    thread = process.thread
    if thread.interrupts.catches:
        process.interruptible("rt_sigprocmask", SIG_SETMASK, host_set(EVERYTHING), None, ULONG.size)
        thread.host_blocked = None
    try:
        yield
    finally:
        with suppress(Restart):
            show_mask(process)


@contextmanager
def temporary_mask(process: "Process", mask: int | None) -> Iterator[None]:
    """A call waits with another mask: handlers of what interrupts it begin with that, and return to the one before."""
    thread = process.thread
    try:
        if mask is not None and (thread.pending | process.signals.pending) & ~mask:
            raise InterruptedError(EINTR, os.strerror(EINTR))
        yield
    except InterruptedError:
        if mask is not None:
            thread.mask_after, thread.blocked = thread.blocked, mask & ~UNBLOCKABLE
        raise


def take_over(process: "Process", interrupts: "host.Interrupts") -> None:
    """From now on signals of the host are the guest's, which begins with what the host's thread blocks."""
    thread = process.thread
    mask = host.zeroed(ULONG.size)
    host.system_call("rt_sigprocmask", SIG_BLOCK, None, mask, ULONG.size)
    (thread.blocked,) = ULONG.unpack(mask.raw)
    thread.interrupts = interrupts
    share_with_host(process, SIGPIPE)


def share_with_host(process: "Process", number: int) -> None:
    """Let the host ignore a signal, do its default action, or catch it for the guest's handler."""
    action, interrupts = process.signals.action(number), process.thread.interrupts
    if number in FAULTS or (number in KEPT and number not in CAUSED and number != SIGPIPE):
        return
    if action.handler > SIG_IGN or (number == SIGPIPE and action.handler == SIG_DFL):
        interrupts.catch(number, action.flags)
    else:
        interrupts.leave(number, action.handler, action.flags)


def require_set_size(size: int) -> None:
    """sigsetsize must be that of the kernel's sigset_t."""
    if size != ULONG.size:
        raise SyscallError(EINVAL)


def read_set(process: "Process", address: int, size: int) -> int:
    """A set of signals that the guest passes."""
    require_set_size(size)
    mask: int = ULONG.unpack(process.memory.read(address, ULONG.size))[0]
    return mask


@syscall("signal address address size")
def sys_rt_sigaction(process: "Process", number: int, new: int, old: int, size: int) -> int:
    require_set_size(size)
    if not 1 <= number <= LARGEST or (new and number in (SIGKILL, SIGSTOP)):
        raise SyscallError(EINVAL)
    before = process.signals.action(number)
    if new:
        handler, flags, mask = SIGACTION.unpack(process.memory.read(new, SIGACTION.size))
        process.signals.actions[number] = Action(handler, flags, mask & ~UNBLOCKABLE)
        share_with_host(process, number)
        if number in FAULTS and handler > SIG_IGN:
            process.make_faults_precise(number)
    if old:
        process.memory.write(old, SIGACTION.pack(before.handler, before.flags, before.mask))
    return 0


@syscall("mask_how sigset sigset size")
def sys_rt_sigprocmask(process: "Process", how: int, new: int, old: int, size: int) -> int:
    require_set_size(size)
    before = process.thread.blocked
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
    thread, of_host = process.thread, host.zeroed(ULONG.size)
    host.system_call("rt_sigpending", of_host, ULONG.size)
    pending = ULONG.unpack(of_host.raw)[0] | thread.pending | process.signals.pending
    process.memory.write(address, ULONG.pack(pending & thread.blocked))
    return 0


@syscall("sigset size")
def sys_rt_sigsuspend(process: "Process", address: int, size: int) -> int:
    mask = read_set(process, address, size)
    with temporary_mask(process, mask):
        return process.interruptible("rt_sigsuspend", host_set(mask), ULONG.size)


@syscall("sigset address timespec size")
def sys_rt_sigtimedwait(process: "Process", address: int, info: int, timeout: int, size: int) -> int:
    wanted = read_set(process, address, size)
    limit = TIMESPEC.pack(*timespec(process.memory, timeout)) if timeout else None
    ready = (process.thread.pending | process.signals.pending) & wanted
    number = (ready & -ready).bit_length()
    found = take(process, number) if ready else None
    if found is None:
        told = host.zeroed(SIGINFO_SIZE)
        number = process.interruptible("rt_sigtimedwait", host_set(wanted), told, limit, ULONG.size)
        found = told.raw
        if not is_for_guest(process, number, found):
            raise Restart
    if info:
        process.memory.write(info, found)
    return number


@syscall("address address")
def sys_sigaltstack(process: "Process", new: int, old: int) -> int:
    thread = process.thread
    before = thread.stack
    within = thread.registers is not None and on_stack(before, thread.registers.stack_pointer)
    if new:
        address, flags, size = SIGALTSTACK.unpack(process.memory.read(new, SIGALTSTACK.size))
        if within:
            raise SyscallError(EPERM)
        if not are_stack_flags(flags):
            raise SyscallError(EINVAL)
        flags &= ~SS_ONSTACK
        if flags & SS_DISABLE:
            address = size = 0
        elif size < MINSIGSTKSZ:
            raise SyscallError(ENOMEM)
        thread.stack = (address, flags, size)
    if old:
        address, flags, size = before
        process.memory.write(old, SIGALTSTACK.pack(address, flags | SS_ONSTACK if within else flags, size))
    return 0


@syscall("", "hex")
def sys_rt_sigreturn(process: "Process") -> int:
    thread, registers = process.thread, process.thread.registers
    assert registers is not None
    frame = registers.stack_pointer
    try:
        stack, mask, context = unpack_frame(process.memory.read(frame, FRAME_SIZE))
    except MemoryAccessError:
        process.report(f"rt_sigreturn: no signal frame at {frame:#x}")
        raise Killed(SIGSEGV) from None
    set_blocked(process, mask)
    registers.put(context)
    address, flags, size = stack
    if are_stack_flags(flags):  # else the guest has changed them, and the kernel leaves the stack as it is
        thread.stack = (address, flags & ~SS_ONSTACK, size)
    return context.x[10]  # which the result of a call would replace


def require_signal(number: int) -> None:
    """A signal that can be sent, or 0, which only asks whether the receiver is there."""
    if not 0 <= number <= LARGEST:
        raise SyscallError(EINVAL)


@syscall("pid signal")
def sys_kill(process: "Process", pid: int, number: int) -> int:
    if pid != os.getpid():
        os.kill(pid, number)
        return 0
    require_signal(number)
    if number:
        send_to_process(process, number, sender_info(number, SI_USER))
    return 0


@syscall("pid signal")
def sys_tkill(process: "Process", tid: int, number: int) -> int:
    if tid <= 0:
        raise SyscallError(EINVAL)
    thread = process.threads.get(tid)
    if thread is None:
        return host.system_call("tkill", tid, number)
    require_signal(number)
    if number:
        send_to_thread(process, thread, number, sender_info(number, SI_TKILL))
    return 0


@syscall("pid pid signal")
def sys_tgkill(process: "Process", tgid: int, tid: int, number: int) -> int:
    if tgid <= 0:
        raise SyscallError(EINVAL)
    if tid in process.threads and tgid == os.getpid():
        return sys_tkill(process, tid, number)
    return host.system_call("tgkill", tgid, tid, number)


@syscall("pid signal address")
def sys_rt_sigqueueinfo(process: "Process", pid: int, number: int, info: int) -> int:
    data = process.memory.read(info, SIGINFO_SIZE)
    if pid != os.getpid():
        return host.system_call("rt_sigqueueinfo", pid, number, data)
    require_signal(number)
    if number:
        send_to_process(process, number, INT.pack(number) + data[INT.size :])
    return 0


@syscall("pid pid signal address")
def sys_rt_tgsigqueueinfo(process: "Process", tgid: int, tid: int, number: int, info: int) -> int:
    data = process.memory.read(info, SIGINFO_SIZE)
    thread = process.threads.get(tid)
    if thread is None or tgid != os.getpid():
        return host.system_call("rt_tgsigqueueinfo", tgid, tid, number, data)
    if not number:
        return 0
    require_signal(number)
    send_to_thread(process, thread, number, INT.pack(number) + data[INT.size :])
    return 0


@syscall("fd sigset size open_flags")
def sys_signalfd4(process: "Process", fd: int, address: int, size: int, flags: int) -> int:
    return host.system_call("signalfd4", fd, host_set(read_set(process, address, size)), size, flags)


@syscall("pid uint")
def sys_pidfd_open(_process: "Process", pid: int, flags: int) -> int:
    return os.pidfd_open(pid, flags)


@syscall("fd signal address uint")
def sys_pidfd_send_signal(process: "Process", fd: int, number: int, info: int, flags: int) -> int:
    data = process.memory.read(info, SIGINFO_SIZE) if info else None
    return host.system_call("pidfd_send_signal", fd, number, data, flags)
