"""Whatever a guest passes, a call returns a number: never a Python exception, never a crash of the host.

The calls are made in a child process: descriptors they hit, files they make and crashes they cause are its own.
"""

import io
import os
import random
import resource
import traceback
from collections.abc import Callable

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.linux.table import TABLE

CALLS_OF_A_SEED = 1000
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


def in_a_child(body: Callable[[], None]) -> tuple[int, str]:
    """Run this with no descriptors but /dev/null; its wait status and what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        message = ""
        try:
            high = os.dup2(writer, 900)
            os.closerange(0, 900)
            for _ in range(3):
                os.open("/dev/null", os.O_RDWR)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            resource.setrlimit(resource.RLIMIT_NOFILE, (800, 800))
            body()
        except BaseException:
            message = traceback.format_exc()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            os.write(high, message.encode())
            os._exit(bool(message))
    os.close(writer)
    with open(reader) as output:
        text = output.read()
    return os.waitpid(pid, 0)[1], text


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


def random_calls(guest: Guest, seed: int) -> None:
    choose = random.Random(seed)
    files = (os.open("data", os.O_RDWR | os.O_CREAT), os.open(".", os.O_RDONLY), 700)
    # Structures in memory are random too: their words are pointers that are good, sizes, zeros.
    words = [choose.choice((SCRATCH + 8 * choose.randrange(99), 8, 0)) for _ in range(512)]
    contents = b"".join([word.to_bytes(8, "little") for word in words])
    numbers = sorted(entry.number for entry in TABLE.values() if entry.name not in EXCLUDED)
    assert len(numbers) > 100
    for _ in range(CALLS_OF_A_SEED):
        if not guest.memory.accessible(SCRATCH, SCRATCH_SIZE, 3):
            guest.memory.map(SCRATCH, SCRATCH_SIZE, 3)
        guest.memory.write(SCRATCH, contents)
        number = choose.choice(numbers)
        args = [argument(choose, files) for _ in range(6)]
        result = guest.process.syscall(number, args)
        assert type(result) is int, (number, args, result)
        assert -4096 < result < 1 << 64, (number, args, result)


def extreme_calls(guest: Guest) -> None:
    for entry in TABLE.values():
        if entry.name in EXCLUDED:
            continue
        for value in (0, (1 << 64) - 1, 1 << 63, 1 << 38, SCRATCH + SCRATCH_SIZE - 1):
            result = guest.process.syscall(entry.number, [value] * 6)
            assert type(result) is int, (entry.name, value, result)


@pytest.mark.parametrize("traced", [False, True], ids=["quiet", "traced"])
@pytest.mark.parametrize("seed", range(3))
def test_random_calls_return_numbers(guest: Guest, seed: int, traced: bool) -> None:
    guest.process.strace = io.StringIO() if traced else None
    assert in_a_child(lambda: random_calls(guest, seed)) == (0, "")


def test_every_call_survives_the_extremes(guest: Guest) -> None:
    assert in_a_child(lambda: extreme_calls(guest)) == (0, "")
