import errno
import os
import signal
import struct
from collections.abc import Iterator

import pytest

from tests.linux.conftest import Guest
from vmjit.linux import Killed

HANDLER = 0x10400
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


def test_a_handler_is_reported_once(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    guest.call("rt_sigaction", USR1, action(guest, HANDLER), 0, 8)
    assert guest.call("kill", os.getpid(), USR1) == 0
    assert guest.call("kill", os.getpid(), USR1) == 0
    message = "vmjit: signal 10 (SIGUSR1) has a handler; delivery to handlers is not supported\n"
    assert capfd.readouterr().err == message


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


def test_sigreturn_is_not_expected(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    assert guest.call("rt_sigreturn") == -errno.ENOSYS
    assert "rt_sigreturn" in capfd.readouterr().err


def test_another_process_gets_the_real_signal(guest: Guest) -> None:
    pid = guest.call("clone", 17)
    if pid == 0:
        signal.pause()
        os._exit(0)
    assert guest.call("kill", pid, signal.SIGKILL) == 0
    status = guest.space(4)
    assert guest.call("wait4", pid, status) == pid
    assert os.WTERMSIG(int.from_bytes(guest.memory.read(status, 4), "little")) == signal.SIGKILL
