"""What programs ask of the emulated system: system calls, signals, mappings, threads; and atomic instructions.

All loop in guest code that has been compiled, so what is measured is what a program sees.
"""

import os
import tempfile
from pathlib import Path

from benchmarks import guests
from benchmarks.bench_memory import UNROLLED, InCode, walks

CALLS = {"syscalls": 6000, "write1": 5000}  # in a round of the kernel
NATIVE_CALLS, PYTHON_CALLS = 600_000, 30_000
SIGNALS = 2000
MAPPINGS = 2000
ATOMICS = 5_000_000
PARTS, PART_RUNS = 4000, 5  # of programs/parallel.c: half a second for one thread


class Calls:
    """Nanoseconds for a system call of a loop in compiled code, whole runs with compiled code from the cache.

    `syscalls` makes lseek, getpid and clock_gettime by turns, `write1` writes one byte to /dev/null. `native`: compiled
    code makes them itself; `python`: it must not, so each leaves compiled code, as all other system calls do.
    """

    params = (list(CALLS), ["native", "python"])
    param_names = ("kernel", "made_by")
    unit = "ns per call"
    version = "1"

    def track_call(self, kernel: str, made_by: str) -> float:
        count = NATIVE_CALLS if made_by == "native" else PYTHON_CALLS
        return call(kernel, max(1, count // CALLS[kernel]), os.path.abspath("compiled"), made_by == "python")


def call(kernel: str, rounds: int, cache: str, slow: bool) -> float:
    """Nanoseconds for a call; the first run fills the cache."""

    def seconds() -> float:
        with guests.machine(guests.KERNELS[kernel], rounds, "auto", cache, slow_calls=slow) as machine:
            assert machine.run().status == 0
            return machine.seconds

    seconds()
    return guests.median(seconds, 3) / (rounds * CALLS[kernel]) * 1e9


# A program sends itself SIGUSR1 as often as s2 says. The jump over the handler puts its address into t0; a handler
# returns to code of the system, which makes the system call rt_sigreturn.
SIGNAL = """
jal t0, {main}
jalr zero, 0(ra)
main:
addi sp, sp, -32
sd t0, 0(sp)
sd zero, 8(sp)
sd zero, 16(sp)
addi a0, zero, 10
add a1, sp, zero
addi a2, zero, 0
addi a3, zero, 8
addi a7, zero, 134
ecall
bne a0, zero, {end}
addi a7, zero, 172
ecall
add s0, a0, zero
addi a7, zero, 178
ecall
add s1, a0, zero
addi s2, zero, %d
again:
add a0, s0, zero
add a1, s1, zero
addi a2, zero, 10
addi a7, zero, 131
ecall
bne a0, zero, {end}
addi s2, s2, -1
bne s2, zero, {again}
end:
addi a7, zero, 93
ecall
"""
# mmap of four pages, a write to one, munmap.
MAPPING = """
addi s2, zero, %d
again:
addi a0, zero, 0
lui a1, 0x4
addi a2, zero, 3
addi a3, zero, 34
addi a4, zero, -1
addi a5, zero, 0
addi a7, zero, 222
ecall
sd s2, 0(a0)
lui a1, 0x4
addi a7, zero, 215
ecall
bne a0, zero, {end}
addi s2, s2, -1
bne s2, zero, {again}
end:
addi a7, zero, 93
ecall
"""


class Signals:
    """Microseconds for a signal that a program sends itself with tgkill: the call, the handler and its return."""

    unit = "us per signal"
    version = "1"

    def track_signal(self) -> float:
        return repeated(SIGNAL, SIGNALS, os.path.abspath("compiled"))


class Mappings:
    """Microseconds for mmap of four pages, a write to the first, and munmap, in a loop of a program."""

    unit = "us per cycle"
    version = "1"

    def track_cycle(self) -> float:
        return repeated(MAPPING, MAPPINGS, os.path.abspath("compiled"))


class TwoThreads:
    """How many times as much two threads do as one in the same time, work that shares no data; 2 is all there is.

    programs/parallel.c in compiled code, without the start of vmjit; it needs two processors that nothing else uses.
    """

    unit = "times"
    version = "1"

    def setup(self) -> None:
        if len(os.sched_getaffinity(0)) < 2:
            raise NotImplementedError

    def track_work(self) -> float:
        return speedup(2, PARTS, os.path.abspath("compiled"))


def speedup(threads: int, parts: int, cache: str) -> float:
    """The time that one thread takes by that which so many take; the best of some, as others disturb both."""

    def seconds(count: int) -> float:
        with guests.program_machine(guests.PARALLEL, [f"{parts}{count}"], "auto", cache) as machine:
            assert machine.run().status == 0
            return machine.seconds

    seconds(1)  # what is hot is compiled, for the runs after it
    alone, together = zip(*[(seconds(1), seconds(threads)) for _ in range(PART_RUNS)], strict=True)
    return min(alone) / min(together)


def repeated(text: str, count: int, cache: str) -> float:
    """Microseconds for each round of a program that makes so many; one that makes a single one is taken off."""
    with tempfile.TemporaryDirectory() as folder:

        def seconds(rounds: int) -> float:
            path = Path(folder) / str(rounds)
            path.write_bytes(guests.executable(guests.program(text % rounds)))
            with guests.program_machine(path, [], "auto", cache) as machine:
                result = machine.run()
                assert result.status == 0, result
                return machine.seconds

        seconds(count)  # what is hot is compiled, for the runs after it
        return (guests.median(lambda: seconds(count), 3) - seconds(1)) / (count - 1) * 1e6


# One operation on a word that a0 points to, again and again. A loop of lr and sc succeeds at once: there is one hart.
OPERATIONS = {
    "load and store": ("ld t0, 0(a0)", "addi t0, t0, 1", "sd t0, 0(a0)"),
    "amoadd": ("amoadd.d t0, t1, (a0)",),
    "amoadd.aqrl": ("amoadd.d.aqrl t0, t1, (a0)",),
    "amoswap.w": ("amoswap.w t0, t1, (a0)",),
    "lr, sc": ("lr.d t0, (a0)", "addi t0, t0, 1", "sc.d t0, t0, (a0)"),
    "fence": ("fence rw, rw",),
}


class Atomics(InCode):
    """Nanoseconds for an atomic operation in compiled code, unrolled eight times, on one word of one hart.

    `load and store` adds 1 with a load and a store, as `lr, sc` does, but not atomically: the measure for the others.
    """

    params = (list(OPERATIONS),)
    param_names = ("operation",)
    unit = "ns per operation"
    version = "1"

    def track_operation(self, cache: str, operation: str) -> float:
        return atomic(operation, ATOMICS, cache)


def atomic(operation: str, count: int, cache: str) -> float:
    """Nanoseconds for each."""
    # `walks` goes from a3 to a1 by UNROLLED bytes; a0 is put back each time, so a walk of one step is the loop.
    code = walks([*(line for _ in range(UNROLLED) for line in OPERATIONS[operation])], UNROLLED)
    rounds = max(1, count // UNROLLED)
    registers = {"x11": guests.DATA + UNROLLED, "x13": guests.DATA, "x12": guests.DATA, "x6": 1}
    with guests.hart(code, "jit", cache) as hart:
        for _ in range(2):  # the second time everything is compiled
            guests.call(hart, x14=1, **registers)
        return guests.best(lambda: guests.call(hart, x14=rounds, **registers)) / (rounds * UNROLLED) * 1e9
