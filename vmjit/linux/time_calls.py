"""Clocks, sleeping, interval timers, accounts of time used. The guest's clocks are the host's."""

import os
import time
from errno import EPERM

from vmjit.linux import host
from vmjit.linux.abi import CLOCK_TICKS, INT, RUSAGE_SIZE, TIMES, TIMESPEC, TIMEVAL
from vmjit.linux.buffers import timespec
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

SECOND = 1_000_000_000
TIMER_ABSTIME = 1
LONGEST_SLEEP = 1 << 30  # seconds in one host sleep; time.sleep refuses what does not fit its clock
ITIMERVAL_SIZE = ITIMERSPEC_SIZE = 32
SIGEVENT_SIZE = 64
ITIMERS = (0, 1, 2)  # ITIMER_REAL, VIRTUAL, PROF
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
def sys_nanosleep(process: "Process", wanted: int, left: int) -> int:
    return sys_clock_nanosleep(process, CLOCK_MONOTONIC, 0, wanted, left)


@syscall("clock int timespec address")
def sys_clock_nanosleep(process: "Process", clock: int, flags: int, wanted: int, left: int) -> int:
    rest = host.zeroed(TIMESPEC.size)
    try:
        duration = TIMESPEC.pack(*timespec(process.memory, wanted))
        return process.interruptible("clock_nanosleep", clock, flags, duration, rest)
    except InterruptedError:
        if left and not flags & TIMER_ABSTIME:
            process.memory.write(left, rest.raw)
        raise


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


@syscall("int address address")
def sys_setitimer(process: "Process", which: int, new: int, old: int) -> int:
    value = process.memory.read(new, ITIMERVAL_SIZE) if new else bytes(ITIMERVAL_SIZE)
    before = host.zeroed(ITIMERVAL_SIZE)
    host.call("setitimer", which, value, before)
    if old:
        process.memory.write(old, before.raw)
    return 0


# Timers of POSIX: the host's, of which the emulator has none for itself. Their structures are equal on all 64-bit
# Linux machines, and the id that SIGEV_THREAD_ID names is a thread's own.


@syscall("clock address address")
def sys_timer_create(process: "Process", clock: int, event: int, timer: int) -> int:
    made = host.zeroed(INT.size)
    process.memory.write(timer, made.raw)  # a timer that nobody knows of would stay
    host.system_call("timer_create", clock, process.memory.read(event, SIGEVENT_SIZE) if event else None, made)
    process.memory.write(timer, made.raw)
    process.timers.update(INT.unpack(made.raw))
    return 0


@syscall("int int address address")
def sys_timer_settime(process: "Process", timer: int, flags: int, new: int, old: int) -> int:
    before = host.zeroed(ITIMERSPEC_SIZE)
    host.system_call("timer_settime", timer, flags, process.memory.read(new, ITIMERSPEC_SIZE), before)
    if old:
        process.memory.write(old, before.raw)
    return 0


@syscall("int address")
def sys_timer_gettime(process: "Process", timer: int, address: int) -> int:
    value = host.zeroed(ITIMERSPEC_SIZE)
    host.system_call("timer_gettime", timer, value)
    process.memory.write(address, value.raw)
    return 0


@syscall("int")
def sys_timer_getoverrun(_process: "Process", timer: int) -> int:
    return host.system_call("timer_getoverrun", timer)


@syscall("int")
def sys_timer_delete(process: "Process", timer: int) -> int:
    result = host.system_call("timer_delete", timer)
    process.timers.discard(timer)
    return result


def end_timers(process: "Process", *, is_executed: bool = False) -> None:
    """When the guest ends, and the process of the host goes on; with another program, if it executed one."""
    for which in () if is_executed else ITIMERS:
        host.call("setitimer", which, bytes(ITIMERVAL_SIZE), None)
    for timer in tuple(process.timers):
        host.system_call("timer_delete", timer)


def not_permitted(_process: "Process", *_arguments: int) -> int:
    """Setting the host's clocks is refused, even to root."""
    raise SyscallError(EPERM)


register("clock_settime", "clock timespec", not_permitted, lacks="always EPERM")
register("settimeofday", "address address", not_permitted, lacks="always EPERM")
