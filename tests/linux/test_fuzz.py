"""Whatever a guest passes, a call returns a number: never a Python exception, never a crash of the host."""

import io
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.linux.table import TABLE

CALLS_OF_A_SEED = 1000
# What could hurt the test process or its surroundings, or wait for ever.
_EXCLUDED = """
exit exit_group kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo clone execve wait4 waitid
setuid setgid setreuid setregid setresuid setresgid setgroups setsid setpgid setpriority
sched_setscheduler sched_setparam sched_setaffinity prlimit64 setrlimit
unlinkat renameat2 linkat symlinkat mknodat mkdirat truncate fchmodat fchmodat2 fchownat utimensat chdir fchdir
setxattr lsetxattr removexattr lremovexattr openat umask sync syncfs
close close_range dup3 ioctl flock setitimer
nanosleep clock_nanosleep rt_sigtimedwait rt_sigsuspend ppoll pselect6 epoll_pwait futex
accept accept4 connect bind listen recvfrom recvmsg rt_sigprocmask
"""
EXCLUDED = frozenset(_EXCLUDED.split())
UNMAPPED = (0, 1, 8, 0xFFF, 0x9000000, (1 << 38) - 8, 1 << 38, 1 << 47, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 24, 100, 4096, 65536, 1 << 20, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62)


@pytest.fixture(autouse=True)
def few_descriptors() -> Iterator[None]:
    """Calls that make descriptors must not leave the rest of the tests without."""
    before = set(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    actions = {number: signal.getsignal(number) for number in range(1, 32)}
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for number, action in actions.items():
        if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) != action:
            signal.signal(number, action)
    for name in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(name))
        except OSError:
            continue


def argument(choose: random.Random, files: tuple[int, ...]) -> int:
    kind = choose.randrange(6)
    if kind == 0:
        return choose.choice(UNMAPPED)
    if kind == 1:
        return choose.choice(files)
    if kind == 2:
        return SCRATCH + choose.choice((0, 1, 4, 4096, SCRATCH_SIZE - 4, SCRATCH_SIZE - 1))
    if kind == 3:
        return choose.getrandbits(choose.choice((4, 12, 32, 64)))
    if kind == 4:
        return (1 << 64) - choose.choice((1, 2, 100, 4096))
    return choose.choice(NUMBERS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("traced", [False, True], ids=["quiet", "traced"])
def test_random_calls_return_numbers(guest: Guest, seed: int, traced: bool) -> None:
    choose = random.Random(seed)
    data = os.open("data", os.O_RDWR | os.O_CREAT)
    directory = os.open(".", os.O_RDONLY)
    if traced:
        guest.process.strace = io.StringIO()
    # Random contents: pointers, sizes and flags of structures are random too; some are good pointers.
    contents = b"".join(
        [choose.choice((SCRATCH + 8 * choose.randrange(99), 8, 0)).to_bytes(8, "little") for _ in range(512)]
    )
    numbers = sorted(entry.number for entry in TABLE.values() if entry.name not in EXCLUDED)
    assert len(numbers) > 100
    for _ in range(CALLS_OF_A_SEED):
        if not guest.memory.accessible(SCRATCH, SCRATCH_SIZE, 3):
            guest.memory.map(SCRATCH, SCRATCH_SIZE, 3)
        guest.memory.write(SCRATCH, contents)
        number = choose.choice(numbers)
        args = [argument(choose, (data, directory, 999)) for _ in range(6)]
        guest.process.signals.pending = 0
        result = guest.process.syscall(number, args)
        assert type(result) is int, (number, args)
        assert -4096 < result < 1 << 64, (number, args)


def test_every_call_survives_the_extremes(guest: Guest) -> None:
    for entry in TABLE.values():
        if entry.name in EXCLUDED:
            continue
        for value in (0, (1 << 64) - 1, 1 << 63, 1 << 38, SCRATCH + SCRATCH_SIZE - 1):
            result = guest.process.syscall(entry.number, [value] * 6)
            assert type(result) is int, (entry.name, value)
    assert sys.exc_info() == (None, None, None)
