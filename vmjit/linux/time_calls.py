"""Clocks, sleeping, interval timers, accounts of time used. The guest's clocks are the host's."""

import os
import time
from errno import EINVAL, EPERM

from vmjit.linux import host
from vmjit.linux.abi import CLOCK_TICKS, INT, RUSAGE_SIZE, TIMES, TIMESPEC, TIMEVAL
from vmjit.linux.buffers import timespec
from vmjit.linux.outcome import SyscallError
from vmjit.linux.signals import SIG_DFL, SIG_IGN, SIGALRM
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

SECOND = 1_000_000_000
TIMER_ABSTIME = 1
LONGEST_SLEEP = 1 << 30  # seconds in one host sleep; time.sleep refuses what does not fit its clock
ITIMERVAL_SIZE = 32
ITIMER_REAL = 0
CLOCK_MONOTONIC = time.CLOCK_MONOTONIC

pack_timespec = TIMESPEC.pack


@syscall("clock out_timespec")
def sys_clock_gettime(process: "Process", clock: int, address: int) -> int:
    now = time.clock_gettime_ns(clock)
    process.memory.write(address, pack_timespec(now // SECOND, now % SECOND))
    return 0


@syscall("clock out_timespec")
def sys_clock_getres(process: "Process", clock: int, address: int) -> int:
    resolution = round(time.clock_getres(clock) * SECOND)
    if address:
        process.memory.write(address, pack_timespec(resolution // SECOND, resolution % SECOND))
    return 0


@syscall("address address")
def sys_gettimeofday(process: "Process", address: int, timezone: int) -> int:
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    if address:
        process.memory.write(address, TIMEVAL.pack(now // SECOND, now % SECOND // 1000))
    if timezone:
        process.memory.write(timezone, INT.pack(0) + INT.pack(0))
    return 0


def sleep_until(clock: int, deadline: int) -> None:
    """Sleep until this clock shows the deadline, in nanoseconds."""
    while True:
        left = deadline - time.clock_gettime_ns(clock)
        if left <= 0:
            return
        time.sleep(min(left / SECOND, LONGEST_SLEEP))


@syscall("timespec address")
def sys_nanosleep(process: "Process", wanted: int, _left: int) -> int:
    seconds, nanoseconds = timespec(process.memory, wanted)
    sleep_until(CLOCK_MONOTONIC, time.monotonic_ns() + seconds * SECOND + nanoseconds)
    return 0


@syscall("clock int timespec address")
def sys_clock_nanosleep(process: "Process", clock: int, flags: int, wanted: int, _left: int) -> int:
    seconds, nanoseconds = timespec(process.memory, wanted)
    if clock == time.CLOCK_THREAD_CPUTIME_ID:
        raise SyscallError(EINVAL)  # it stands still meanwhile
    now = time.clock_gettime_ns(clock)
    start = 0 if flags & TIMER_ABSTIME else now
    sleep_until(clock, start + seconds * SECOND + nanoseconds)
    return 0


@syscall("address")
def sys_times(process: "Process", address: int) -> int:
    used = os.times()
    if address:
        process.memory.write(address, TIMES.pack(*(int(seconds * CLOCK_TICKS) for seconds in used[:4])))
    return int(used.elapsed * CLOCK_TICKS)


@syscall("int address")
def sys_getrusage(process: "Process", who: int, address: int) -> int:
    usage = host.zeroed(RUSAGE_SIZE)
    host.call("getrusage", who, usage)
    process.memory.write(address, usage.raw)
    return 0


@syscall("int address")
def sys_getitimer(process: "Process", which: int, address: int) -> int:
    value = host.zeroed(ITIMERVAL_SIZE)
    host.call("getitimer", which, value)
    process.memory.write(address, value.raw)
    return 0


@syscall("int address address", lacks="handlers of SIGALRM are not run")
def sys_setitimer(process: "Process", which: int, new: int, old: int) -> int:
    value = process.memory.read(new, ITIMERVAL_SIZE) if new else bytes(ITIMERVAL_SIZE)
    if which == ITIMER_REAL and any(value) and process.signals.action(SIGALRM).handler not in (SIG_DFL, SIG_IGN):
        # The host would end the program, which means to handle the signal; better no alarm than that.
        process.report("setitimer for a SIGALRM handler has no effect; delivery to handlers is not supported")
        value = bytes(ITIMERVAL_SIZE)
    before = host.zeroed(ITIMERVAL_SIZE)
    host.call("setitimer", which, value, before)
    if old:
        process.memory.write(old, before.raw)
    return 0


def not_permitted(_process: "Process", *_arguments: int) -> int:
    """Setting the host's clocks is refused, even to root."""
    raise SyscallError(EPERM)


register("clock_settime", "clock timespec", not_permitted, lacks="always EPERM")
register("settimeofday", "address address", not_permitted, lacks="always EPERM")
