import errno
import os
import signal
import struct
from array import array
from collections.abc import Iterator

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.linux import Killed
from vmjit.linux.host import NoInterrupts
from vmjit.linux.signal_frame import UserRegisters
from vmjit.linux.signals import KICK, SI_TKILL, deliver, fault, send_to_process, sender_info
from vmjit.linux.thread import Thread

HANDLER, RETURN = 0x10400, 0x3FFF6FE560
TERM, USR1, CHLD = signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD
BLOCK, UNBLOCK, SETMASK = 0, 1, 2


@pytest.fixture(autouse=True)
def host_actions() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (TERM, USR1, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def action(guest: Guest, handler: int, flags: int = 0, mask: int = 0) -> int:
    return guest.put(struct.pack("<QQQ", handler, flags, mask))


def bits(*numbers: int) -> int:
    return sum(1 << (number - 1) for number in numbers)


def sigset(guest: Guest, *numbers: int) -> int:
    return guest.put(struct.pack("<Q", bits(*numbers)))


def test_sigaction_returns_what_was_set(guest: Guest) -> None:
    old = guest.space(24)
    assert guest.call("rt_sigaction", USR1, action(guest, HANDLER, 0x10000000, bits(TERM, 9)), 0, 8) == 0
    assert guest.call("rt_sigaction", USR1, 0, old, 8) == 0
    assert struct.unpack("<QQQ", guest.memory.read(old, 24)) == (HANDLER, 0x10000000, bits(TERM))
    assert guest.call("rt_sigaction", 64, action(guest, HANDLER), 0, 8) == 0


def test_sigaction_errors(guest: Guest) -> None:
    new = action(guest, HANDLER)
    assert guest.call("rt_sigaction", 0, new, 0, 8) == -errno.EINVAL
    assert guest.call("rt_sigaction", 65, new, 0, 8) == -errno.EINVAL
    assert guest.call("rt_sigaction", 9, new, 0, 8) == -errno.EINVAL
    assert guest.call("rt_sigaction", 9, 0, guest.space(24), 8) == 0
    assert guest.call("rt_sigaction", USR1, new, 0, 16) == -errno.EINVAL
    assert guest.call("rt_sigaction", USR1, 0x9000000, 0, 8) == -errno.EFAULT


@pytest.mark.parametrize("call", [("kill",), ("tkill",), ("tgkill", os.getpid())])
def test_a_default_action_ends_the_guest(guest: Guest, call: tuple[str | int, ...]) -> None:
    name, *first = call
    assert isinstance(name, str)
    pids = [os.getpid() for _ in first] + [os.getpid()]
    assert guest.call(name, *pids, 0) == 0
    assert guest.call(name, *pids, 65) == -errno.EINVAL
    assert guest.call(name, *pids, CHLD) == 0
    with pytest.raises(Killed) as caught:
        guest.call(name, *pids, TERM)
    assert caught.value.signal == TERM


def test_ignoring_reaches_the_host_too(guest: Guest) -> None:
    guest.call("rt_sigaction", TERM, action(guest, 1), 0, 8)
    assert guest.call("kill", os.getpid(), TERM) == 0
    assert signal.getsignal(TERM) == signal.SIG_IGN
    guest.call("rt_sigaction", TERM, action(guest, 0), 0, 8)
    assert signal.getsignal(TERM) == signal.SIG_DFL


def test_signals_ignored_at_the_start_stay_ignored(guest: Guest) -> None:
    from vmjit.linux.signals import Signals

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert Signals().action(signal.SIGHUP).handler == 1
    assert Signals().action(signal.SIGPIPE).handler == 0


NAMES = ["pc", *(f"x{n}" for n in range(1, 32)), *(f"f{n}" for n in range(32)), "fflags", "frm", "reservation"]
STACK_TOP = SCRATCH + SCRATCH_SIZE
NODEFER, RESETHAND, ONSTACK = 0x40000000, 0x80000000, 0x08000000


@pytest.fixture
def registers(guest: Guest) -> memoryview:
    """A hart's state: every register holds its index, but for the stack pointer."""
    words = memoryview(bytearray(8 * len(NAMES))).cast("Q")
    words[:] = memoryview(array("Q", range(len(NAMES))))
    words[2] = STACK_TOP - 8
    guest.process.thread.registers = UserRegisters(words, NAMES.index, (("reservation", -1),))
    return words


def test_a_handler_begins_with_a_frame(guest: Guest, registers: memoryview) -> None:
    registers[NAMES.index("frm")] = 2
    before = registers.tolist()
    guest.process.signals.return_address = RETURN
    guest.call("rt_sigaction", USR1, action(guest, HANDLER, 4, bits(TERM)), 0, 8)
    guest.call("rt_sigprocmask", SETMASK, sigset(guest, CHLD), 0, 8)
    assert guest.call("tgkill", os.getpid(), os.getpid(), USR1) == 0
    assert guest.process.thread.pending == bits(USR1)
    deliver(guest.process)
    assert guest.process.thread.pending == 0
    assert guest.process.thread.blocked == bits(TERM, USR1, CHLD)
    frame = registers[2]
    assert frame % 16 == 0 and STACK_TOP - 8 - 16 < frame + 1088 <= STACK_TOP - 8
    assert (*registers[:2], *registers[10:13]) == (HANDLER, RETURN, USR1, frame, frame + 128)
    assert registers[NAMES.index("reservation")] == (1 << 64) - 1
    info = guest.memory.read(frame, 128)
    assert struct.unpack_from("<iii4xiI", info) == (USR1, 0, -6, os.getpid(), os.getuid())
    context = guest.memory.read(frame + 128, 960)
    assert struct.unpack_from("<Q", context, 40) == (bits(CHLD),)
    assert list(struct.unpack_from("<64Q", context, 176)) == before[:64]
    assert struct.unpack_from("<I", context, 176 + 64 * 8) == (2 << 5 | before[64],)


def test_a_handler_returns_to_what_the_frame_says(guest: Guest, registers: memoryview) -> None:
    guest.call("rt_sigaction", USR1, action(guest, HANDLER), 0, 8)
    guest.call("kill", os.getpid(), USR1)
    before = registers.tolist()[:64]
    deliver(guest.process)
    frame = registers[2]
    guest.memory.write(frame + 128 + 176 + 5 * 8, (0x1234).to_bytes(8, "little"))  # x5
    guest.memory.write(frame + 128 + 176 + 64 * 8, (3 << 5 | 17).to_bytes(4, "little"))  # fcsr
    guest.memory.write(frame + 128 + 40, bits(TERM, signal.SIGKILL).to_bytes(8, "little"))
    assert guest.call("rt_sigreturn") == before[10]
    before[5] = 0x1234
    assert registers.tolist()[:64] == before
    assert registers.tolist()[64:66] == [17, 3]
    assert guest.process.thread.blocked == bits(TERM)


def test_a_handler_may_be_interrupted_by_others(guest: Guest, registers: memoryview) -> None:
    """The last frame built runs first, and each returns to the one before."""
    for number in (USR1, TERM):
        guest.call("rt_sigaction", number, action(guest, HANDLER + number, NODEFER | RESETHAND), 0, 8)
        guest.call("kill", os.getpid(), number)
    start = registers[0]
    deliver(guest.process)
    assert registers[0] == HANDLER + TERM
    guest.call("rt_sigreturn")
    assert registers[0] == HANDLER + USR1
    guest.call("rt_sigreturn")
    assert registers[0] == start and guest.process.thread.blocked == 0
    assert guest.process.signals.action(USR1).handler == 0, "SA_RESETHAND"


def test_handlers_use_the_alternate_stack(guest: Guest, registers: memoryview) -> None:
    stack, old = guest.space(16384), guest.space(24)
    guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", stack, 0, 16384)), 0)
    guest.call("rt_sigaction", USR1, action(guest, HANDLER, ONSTACK | NODEFER), 0, 8)
    for depth in (1, 2):
        guest.call("kill", os.getpid(), USR1)
        deliver(guest.process)
        assert stack + 16384 - depth * 1200 < registers[2] < stack + 16384
    assert guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", stack, 0, 8192)), 0) == -errno.EPERM
    assert guest.call("sigaltstack", 0, old) == 0
    assert struct.unpack("<Qi4xQ", guest.memory.read(old, 24)) == (stack, 1, 16384)


def test_a_stack_that_is_disarmed_while_a_handler_uses_it(guest: Guest, registers: memoryview) -> None:
    stack, old, armed = guest.space(16384), guest.space(24), 1 << 31
    assert guest.call("sigaltstack", guest.put(struct.pack("<QI4xQ", stack, armed, 16384)), 0) == 0
    guest.call("rt_sigaction", USR1, action(guest, HANDLER, ONSTACK), 0, 8)
    guest.call("kill", os.getpid(), USR1)
    deliver(guest.process)
    assert stack < registers[2] < stack + 16384
    assert guest.call("sigaltstack", 0, old) == 0
    assert struct.unpack("<QI4xQ", guest.memory.read(old, 24)) == (0, 2, 0)
    guest.call("rt_sigreturn")
    assert guest.call("sigaltstack", 0, old) == 0
    assert struct.unpack("<QI4xQ", guest.memory.read(old, 24)) == (stack, armed, 16384)


def test_a_frame_with_flags_that_no_stack_has(guest: Guest, registers: memoryview) -> None:
    guest.call("rt_sigaction", USR1, action(guest, HANDLER), 0, 8)
    guest.call("kill", os.getpid(), USR1)
    deliver(guest.process)
    guest.memory.write(registers[2] + 128 + 24, b"\xff" * 4)
    guest.call("rt_sigreturn")
    assert guest.process.thread.stack == (0, 2, 0)


@pytest.mark.parametrize("stack_pointer", [SCRATCH + 500, 0, 8, (1 << 64) - 8, 1 << 38])
def test_no_room_for_a_frame_ends_the_guest(guest: Guest, registers: memoryview, stack_pointer: int) -> None:
    registers[2] = stack_pointer
    guest.call("rt_sigaction", USR1, action(guest, HANDLER), 0, 8)
    guest.call("kill", os.getpid(), USR1)
    with pytest.raises(Killed) as caught:
        deliver(guest.process)
    assert caught.value.signal == signal.SIGSEGV


def test_a_frame_that_is_gone_ends_the_guest(guest: Guest, registers: memoryview) -> None:
    registers[2] = 0x9000000
    with pytest.raises(Killed) as caught:
        guest.call("rt_sigreturn")
    assert caught.value.signal == signal.SIGSEGV


def test_suspend_lets_a_pending_signal_in(guest: Guest, registers: memoryview) -> None:
    guest.call("rt_sigaction", USR1, action(guest, HANDLER), 0, 8)
    guest.call("rt_sigprocmask", SETMASK, sigset(guest, USR1, CHLD), 0, 8)
    guest.call("kill", os.getpid(), USR1)
    deliver(guest.process)
    assert registers[0] == 0
    assert guest.call("rt_sigsuspend", sigset(guest, TERM), 8) == -errno.EINTR
    deliver(guest.process)
    assert registers[0] == HANDLER
    assert guest.process.thread.blocked == bits(USR1, TERM)
    guest.call("rt_sigreturn")
    assert guest.process.thread.blocked == bits(USR1, CHLD)


def test_faults_reach_their_handler(guest: Guest, registers: memoryview) -> None:
    precise = []
    guest.process.make_faults_precise = precise.append
    assert not fault(guest.process, 11, 1, 0x123)
    guest.call("rt_sigaction", 11, action(guest, 1), 0, 8)
    assert not fault(guest.process, 11, 1, 0x123) and not precise, "ignoring a fault does not help"
    guest.call("rt_sigaction", 11, action(guest, HANDLER), 0, 8)
    assert precise == [11]
    assert fault(guest.process, 11, 1, 0x123)
    assert struct.unpack("<iii4xQ", guest.memory.read(registers[2], 24)) == (11, 0, 1, 0x123)
    assert not fault(guest.process, 11, 1, 0x123), "it is blocked now"


def test_blocked_signals_wait(guest: Guest) -> None:
    old = guest.space(8)
    assert guest.call("rt_sigprocmask", BLOCK, sigset(guest, TERM, signal.SIGKILL), old, 8) == 0
    assert guest.memory.read(old, 8) == bytes(8)
    assert guest.call("kill", os.getpid(), TERM) == 0
    assert guest.call("rt_sigpending", old, 8) == 0
    assert guest.memory.read(old, 8) == struct.pack("<Q", bits(TERM))
    assert guest.call("rt_sigprocmask", BLOCK, sigset(guest, USR1), old, 8) == 0
    assert guest.memory.read(old, 8) == struct.pack("<Q", bits(TERM))
    assert guest.call("rt_sigtimedwait", sigset(guest, TERM), guest.space(128), 0, 8) == TERM
    assert guest.call("kill", os.getpid(), TERM) == 0
    with pytest.raises(Killed):
        guest.call("rt_sigprocmask", UNBLOCK, sigset(guest, TERM), 0, 8)
    assert guest.call("rt_sigprocmask", SETMASK, sigset(guest), 0, 8) == 0
    assert guest.call("rt_sigprocmask", 7, sigset(guest), 0, 8) == -errno.EINVAL
    assert guest.call("rt_sigprocmask", SETMASK, 0x9000000, 0, 8) == -errno.EFAULT


class Caught(NoInterrupts):
    """One signal of the host, which waits to be taken."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def take(self) -> tuple[int, bytes] | None:
        number, self.number = self.number, 0
        return (number, sender_info(number, SI_TKILL)) if number else None


@pytest.mark.parametrize("blocks", [False, True])
def test_what_wakes_a_thread_is_never_the_guests(guest: Guest, blocks: bool) -> None:
    """Nor does it wait until the guest, which creates a thread, no longer blocks everything."""
    thread = guest.process.thread
    thread.interrupts = Caught(KICK)
    thread.blocked = bits(*range(1, 65)) if blocks else 0
    deliver(guest.process)
    assert thread.pending == 0


def test_a_fault_that_was_sent_waits_while_it_is_blocked(guest: Guest) -> None:
    """The host never blocks it."""
    thread = guest.process.thread
    thread.interrupts = Caught(signal.SIGSEGV)
    thread.blocked = bits(signal.SIGSEGV)
    deliver(guest.process)
    assert thread.pending == bits(signal.SIGSEGV)
    with pytest.raises(Killed):
        guest.call("rt_sigprocmask", UNBLOCK, sigset(guest, signal.SIGSEGV), 0, 8)


def test_a_thread_begins_while_a_signal_is_sent(guest: Guest) -> None:
    class Beginning(Thread):
        """When its mask is looked at."""

        @property
        def blocked(self) -> int:
            guest.process.threads.setdefault(1, Thread())
            return bits(TERM)

        @blocked.setter
        def blocked(self, value: int) -> None: ...

    guest.process.threads = {0: Beginning(), 2: guest.process.thread}
    guest.call("rt_sigaction", TERM, action(guest, HANDLER), 0, 8)
    send_to_process(guest.process, TERM, sender_info(TERM, SI_TKILL))
    assert guest.process.signals.pending == bits(TERM)


def test_timedwait_waits(guest: Guest) -> None:
    timeout = guest.put(struct.pack("<qq", 0, 1000))
    assert guest.call("rt_sigtimedwait", sigset(guest, USR1), 0, timeout, 8) == -errno.EAGAIN


def test_sigaltstack(guest: Guest) -> None:
    old = guest.space(24)
    assert guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", 0x50000, 0, 8192)), 0) == 0
    assert guest.call("sigaltstack", 0, old) == 0
    assert struct.unpack("<Qi4xQ", guest.memory.read(old, 24)) == (0x50000, 0, 8192)
    assert guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", 0x50000, 0, 100)), 0) == -errno.ENOMEM
    assert guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", 0, 4, 8192)), 0) == -errno.EINVAL
    assert guest.call("sigaltstack", guest.put(struct.pack("<Qi4xQ", 0, 2, 0)), old) == 0


def test_another_process_gets_the_real_signal(guest: Guest) -> None:
    pid = guest.call("clone", 17)
    if pid == 0:
        signal.pause()
        os._exit(0)
    assert guest.call("kill", pid, signal.SIGKILL) == 0
    status = guest.space(4)
    assert guest.call("wait4", pid, status) == pid
    assert os.WTERMSIG(int.from_bytes(guest.memory.read(status, 4), "little")) == signal.SIGKILL
