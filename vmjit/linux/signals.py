"""Signals: actions, masks, pending sets, kill, handlers of what the guest does to itself.

Actions are recorded here and, where the host process must share them (so that a Ctrl-C ends or spares the guest, and
an ignored signal stays ignored across execve), set on the host too. A signal the guest sends itself takes effect
before the call returns; faults reach the guest's handler with exact registers. Signals that come from outside do not
reach handlers yet. See signal(7), rt_sigaction(2).
"""

import os
import signal
import time
from _thread import RLock
from errno import EAGAIN, EINTR, EINVAL, ENOMEM, EPERM, ESRCH

from vmjit.errors import MemoryAccessError
from vmjit.linux.abi import INT, SIGACTION, SIGALTSTACK, ULONG
from vmjit.linux.buffers import EXECUTE, PAGE, READ, WRITE, timespec
from vmjit.linux.outcome import Killed, SyscallError
from vmjit.linux.signal_frame import (
    ALIGNMENT,
    FRAME_SIZE,
    RETURN_CODE,
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
SIGABRT, SIGKILL, SIGSEGV, SIGPIPE, SIGALRM, SIGCHLD, SIGCONT, SIGSTOP, SIGXFSZ = 6, 9, 11, 13, 14, 17, 18, 19, 25
LARGEST = 64
UNBLOCKABLE = 1 << (SIGKILL - 1) | 1 << (SIGSTOP - 1)
IGNORED_BY_DEFAULT = frozenset((SIGCHLD, SIGCONT, 23, 28))  # also SIGURG, SIGWINCH
STOPPING = frozenset((SIGSTOP, 20, 21, 22))  # also SIGTSTP, SIGTTIN, SIGTTOU

# The host action of these is the emulator's own: it fields faults (ILL TRAP BUS FPE SEGV) and wants EPIPE and EFBIG.
HOST_KEEPS = frozenset((4, 5, 7, 8, 11, SIGKILL, SIGPIPE, SIGSTOP, SIGXFSZ))
SHARED = tuple(number for number in range(1, 32) if number not in HOST_KEEPS)

SS_ONSTACK, SS_AUTODISARM = 1, 1 << 31
SA_NOCLDSTOP, SA_ONSTACK, SA_NODEFER, SA_RESETHAND = 1, 0x08000000, 0x40000000, 0x80000000
FAULTS = frozenset((7, SIGSEGV))  # SIGBUS too: a handler sees the registers at an access
SI_USER, SI_TKILL = 0, -6
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
    """What the threads of a process share of signals; `lock` is for all pending sets, those of threads too."""

    def __init__(self) -> None:
        self.actions = {number: IGNORE for number in SHARED if signal.getsignal(number) == signal.SIG_IGN}
        self.lock = RLock()
        self.pending = 0  # signals sent to the process: any thread takes them that does not block them
        self.infos: dict[int, bytes] = {}  # siginfo_t of pending signals
        self.return_address = 0  # of handlers: guest memory with RETURN_CODE

    def action(self, number: int) -> Action:
        """What happens when this signal arrives."""
        return self.actions.get(number, DEFAULT)


def bit_of(number: int) -> int:
    """The set that holds one signal."""
    return 1 << number - 1


def sender_info(number: int, code: int) -> bytes:
    """siginfo_t of a signal that the guest sends to itself."""
    return SIGINFO_SENDER.pack(number, 0, code, 0, os.getpid(), os.getuid(), 0)


def send_to_self(process: "Process", number: int, code: int = SI_USER) -> None:
    """A signal that the current thread sends itself, or causes by what it does."""
    send_to_thread(process, process.thread, number, sender_info(number, code))


def send_to_thread(process: "Process", thread: Thread, number: int, info: bytes) -> None:
    """A signal for one thread; ends the process at once if that is what it does."""
    _send(process, thread, [] if thread.blocked & bit_of(number) & ~UNBLOCKABLE else [thread], number, info)


def send_to_process(process: "Process", number: int, info: bytes) -> None:
    """A signal for whichever thread does not block it; ends the process at once if that is what it does."""
    takers = [thread for thread in process.threads.values() if not thread.blocked & bit_of(number) & ~UNBLOCKABLE]
    _send(process, process.signals, takers, number, info)


def _send(process: "Process", holder: "Signals | Thread", takers: list[Thread], number: int, info: bytes) -> None:
    handler = process.signals.action(number).handler
    if handler > SIG_IGN or not takers:
        with process.signals.lock:
            holder.pending |= bit_of(number)
            holder.infos[number] = info
        if takers and process.thread not in takers:  # which looks before its next instruction
            takers[0].interrupt()
    elif handler == SIG_DFL:
        default_action(number)


def ready_signals(process: "Process") -> int:
    """What is pending for the current thread and not blocked by it."""
    thread = process.thread
    return (thread.pending | process.signals.pending) & ~thread.blocked


def deliver(process: "Process") -> None:
    """Let handlers of the current thread begin for what is ready; it is at an instruction boundary."""
    while ready := ready_signals(process):
        number = (ready & -ready).bit_length()
        info = take(process, number)
        action = process.signals.action(number)
        if info is None:
            continue
        if action.handler > SIG_IGN:
            begin_handler(process, number, info, action)
        elif action.handler == SIG_DFL:
            default_action(number)


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
    thread.blocked |= action.mask | (0 if action.flags & SA_NODEFER else bit_of(number)) & ~UNBLOCKABLE
    arguments = (number, frame, frame + SIGINFO_SIZE)
    registers.begin_handler(action.handler, return_address(process), frame, arguments)


def return_address(process: "Process") -> int:
    """Where handlers return to; mapped when first needed."""
    state = process.signals
    if not state.return_address:
        address = process.memory.find_free(PAGE)
        if address is None:
            raise Killed(SIGSEGV)
        process.memory.map(address, PAGE, READ | WRITE, name="[vdso]")
        process.memory.write(address, RETURN_CODE)
        process.memory.protect(address, PAGE, READ | EXECUTE)
        state.return_address = address
    return state.return_address


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
    process.thread.blocked = mask & ~UNBLOCKABLE
    ready = ready_signals(process)
    for number in range(1, LARGEST + 1):
        if ready & bit_of(number) and process.signals.action(number).handler <= SIG_IGN:
            take(process, number)
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


@syscall("signal address address size", lacks="signals from outside do not reach handlers")
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
        if number in FAULTS and handler > SIG_IGN:
            process.make_faults_precise()
    if old:
        process.memory.write(old, SIGACTION.pack(before.handler, before.flags, before.mask))
    return 0


@syscall("mask_how sigset sigset size", lacks="signals from outside do not reach handlers")
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


@syscall("sigset size", lacks="signals from outside do not reach handlers")
def sys_rt_sigpending(process: "Process", address: int, size: int) -> int:
    require_set_size(size)
    process.memory.write(address, ULONG.pack(process.thread.pending | process.signals.pending))
    return 0


@syscall("sigset size", lacks="of the signals from outside only SIGCHLD reaches its handler")
def sys_rt_sigsuspend(process: "Process", address: int, size: int) -> int:
    require_set_size(size)
    (mask,) = ULONG.unpack(process.memory.read(address, 8))
    state, thread = process.signals, process.thread
    before = thread.blocked
    set_blocked(process, mask)
    if ready_signals(process):
        thread.mask_after = before
        return -EINTR
    child = state.action(SIGCHLD)
    if child.handler > SIG_IGN and not mask >> SIGCHLD - 1 & 1 and process.children:
        from vmjit.linux.processes import wait_for_change

        # A child that has ended and was not waited for yet stands for the signal that it would have sent.
        thread.infos[SIGCHLD] = wait_for_change(process, stops=not child.flags & SA_NOCLDSTOP)
        thread.pending |= bit_of(SIGCHLD)
        thread.mask_after = before
        return -EINTR
    if any(action.handler > SIG_IGN and not mask >> number - 1 & 1 for number, action in state.actions.items()):
        # The program would call us again and again until its handler has run.
        process.report("rt_sigsuspend waits for a signal from outside, whose delivery to handlers is not supported")
        raise Killed(SIGABRT)
    # Nothing tells us of a signal that has no host handler, so the caller's loop has to look; 100 times a second.
    time.sleep(0.01)
    thread.blocked = before
    return -EINTR


@syscall("sigset address timespec size", lacks="signals from outside do not reach handlers")
def sys_rt_sigtimedwait(process: "Process", address: int, info: int, timeout: int, size: int) -> int:
    require_set_size(size)
    wanted: int = ULONG.unpack(process.memory.read(address, 8))[0]
    ready = (process.thread.pending | process.signals.pending) & wanted
    number = (ready & -ready).bit_length()
    found = take(process, number) if ready else None
    if found is None:
        if timeout:
            seconds, nanoseconds = timespec(process.memory, timeout)
            time.sleep(min(seconds, 1 << 30) + nanoseconds / 1e9)
        return -EAGAIN
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
    registers.put(context)
    address, flags, size = stack
    if are_stack_flags(flags):  # else the guest has changed them, and the kernel leaves the stack as it is
        thread.stack = (address, flags & ~SS_ONSTACK, size)
    set_blocked(process, mask)
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
        os.kill(tid, number)
        return 0
    require_signal(number)
    if number:
        send_to_thread(process, thread, number, sender_info(number, SI_TKILL))
    return 0


@syscall("pid pid signal")
def sys_tgkill(process: "Process", tgid: int, tid: int, number: int) -> int:
    if tgid <= 0:
        raise SyscallError(EINVAL)
    if tid in process.threads and tgid != os.getpid():
        raise SyscallError(ESRCH)
    return sys_tkill(process, tid, number)


@syscall("pid signal address")
def sys_rt_sigqueueinfo(process: "Process", pid: int, number: int, info: int) -> int:
    data = process.memory.read(info, SIGINFO_SIZE)
    if pid != os.getpid():
        os.kill(pid, number)
        return 0
    require_signal(number)
    if number:
        send_to_process(process, number, INT.pack(number) + data[INT.size :])
    return 0


@syscall("pid pid signal address")
def sys_rt_tgsigqueueinfo(process: "Process", tgid: int, tid: int, number: int, info: int) -> int:
    data = process.memory.read(info, SIGINFO_SIZE)
    thread = process.threads.get(tid)
    if thread is None or not number:
        return sys_tgkill(process, tgid, tid, number)
    require_signal(number)
    send_to_thread(process, thread, number, INT.pack(number) + data[INT.size :])
    return 0
