import errno
import struct
import time

from tests.linux.conftest import Guest

UNMAPPED = 0x9000000
REALTIME, MONOTONIC = 0, 1
ABSTIME = 1


def timespec(guest: Guest, seconds: int, nanoseconds: int) -> int:
    return guest.put(struct.pack("<qq", seconds, nanoseconds))


def nanoseconds_at(guest: Guest, address: int) -> int:
    both: tuple[int, int] = struct.unpack("<qq", guest.memory.read(address, 16))
    return both[0] * 1_000_000_000 + both[1]


def test_clocks(guest: Guest) -> None:
    at = guest.space(16)
    before = time.time_ns()
    assert guest.call("clock_gettime", REALTIME, at) == 0
    assert before <= nanoseconds_at(guest, at) <= time.time_ns()
    assert guest.call("clock_getres", MONOTONIC, at) == 0
    assert 0 < nanoseconds_at(guest, at) < 1_000_000_000
    assert guest.call("clock_getres", MONOTONIC, 0) == 0
    assert guest.call("clock_gettime", 99, at) == -errno.EINVAL
    assert guest.call("clock_gettime", REALTIME, UNMAPPED) == -errno.EFAULT
    assert guest.call("gettimeofday", at, 0) == 0
    seconds, microseconds = struct.unpack("<qq", guest.memory.read(at, 16))
    assert abs(seconds + microseconds / 1e6 - time.time()) < 1
    assert guest.call("clock_settime", REALTIME, at) == -errno.EPERM


def test_sleeping(guest: Guest) -> None:
    before = time.monotonic()
    assert guest.call("nanosleep", timespec(guest, 0, 10_000_000), 0) == 0
    assert guest.call("clock_nanosleep", MONOTONIC, 0, timespec(guest, 0, 10_000_000), 0) == 0
    until = time.monotonic_ns() + 10_000_000
    assert guest.call("clock_nanosleep", MONOTONIC, ABSTIME, timespec(guest, *divmod(until, 10**9)), 0) == 0
    assert time.monotonic() - before >= 0.03
    assert guest.call("clock_nanosleep", MONOTONIC, ABSTIME, timespec(guest, 0, 0), 0) == 0
    assert guest.call("nanosleep", timespec(guest, -1, 0), 0) == -errno.EINVAL
    assert guest.call("nanosleep", timespec(guest, 0, 1_000_000_000), 0) == -errno.EINVAL
    assert guest.call("nanosleep", UNMAPPED, 0) == -errno.EFAULT


def test_times_and_usage(guest: Guest) -> None:
    at = guest.space(144)
    assert guest.call("times", at) > 0
    assert guest.call("times", 0) > 0
    assert guest.call("getrusage", 0, at) == 0
    assert nanoseconds_at(guest, at) > 0
    assert guest.call("getrusage", 77, at) == -errno.EINVAL


def test_interval_timers(guest: Guest) -> None:
    at = guest.space(32)
    assert guest.call("setitimer", 1, guest.put(struct.pack("<4q", 0, 0, 1000, 0)), 0) == 0
    assert guest.call("getitimer", 1, at) == 0
    assert 990 < struct.unpack("<4q", guest.memory.read(at, 32))[2] <= 1000
    assert guest.call("setitimer", 1, guest.put(bytes(32)), at) == 0
    assert 990 < struct.unpack("<4q", guest.memory.read(at, 32))[2] <= 1000


def test_timers_of_posix(guest: Guest) -> None:
    timer, at = guest.space(4), guest.space(32)
    event = guest.put(struct.pack("<QiiI44x", 5, 10, 1, 0))  # SIGUSR1 would come; SIGEV_NONE
    assert guest.call("timer_create", MONOTONIC, event, timer) == 0
    (number,) = struct.unpack("<i", guest.memory.read(timer, 4))
    assert guest.call("timer_settime", number, 0, guest.put(struct.pack("<4q", 7, 0, 100, 0)), at) == 0
    assert guest.memory.read(at, 32) == bytes(32)
    assert guest.call("timer_gettime", number, at) == 0
    interval, _, left, _ = struct.unpack("<4q", guest.memory.read(at, 32))
    assert interval == 7 and 98 <= left <= 100
    assert guest.call("timer_getoverrun", number) == 0
    assert guest.call("timer_delete", number) == 0
    assert guest.call("timer_delete", number) == -errno.EINVAL
    assert guest.call("timer_create", MONOTONIC, event, UNMAPPED) == -errno.EFAULT
    assert guest.call("timer_create", 99, event, timer) == -errno.EINVAL
