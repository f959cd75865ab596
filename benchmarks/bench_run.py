"""How fast guest programs run, and how fast they start.

The interpreter's figure in nanoseconds per instruction is 1000 / MIPS. Compilation is waited for and done before the
clock starts, except where a docstring says otherwise; `jit` compiles everything that is jumped to, `auto` what is hot.
"""

import os
import re
import shutil
import sys
import tempfile
from subprocess import DEVNULL, Popen, run

from benchmarks import counters, guests

MEASURED = {"interpreter": 50_000_000, "auto": 300_000_000, "jit": 300_000_000}  # instructions: 0.1 s or more
QEMU = "qemu-riscv64"
BRANCHY = ("switched", "json", "trees")
RUNS_BEFORE = {"cold": 0, "warm": 1, "hot": 3}
PROFILES = 3  # times that all runs of a profile are made
PORTION = 10  # whole processes do that part of the work that takes 2 s


def setup_cache() -> str:
    """A folder with the interpreter and the regions of all kernels; it lives as long as the run of a commit."""
    cache = os.path.abspath("compiled")
    guests.run_vmjit(guests.HELLO, cache=cache)
    for kernel in guests.SAMPLE.values():
        for tier in MEASURED:
            if tier != "interpreter":
                warm_up(kernel, tier, cache)
    return cache


def warm_up(kernel: guests.Kernel, tier: str, cache: str) -> None:
    """Compile what this tier compiles of a kernel."""
    with guests.machine(kernel, kernel.rounds, tier, cache) as machine:
        machine.hart.set_limit(kernel.warm)
        machine.run()


class InProcess:
    """Nanoseconds per guest instruction of a kernel that has been running for a while; one stretch of native code."""

    params = (list(guests.SAMPLE), list(MEASURED))
    param_names = ("kernel", "tier")
    unit = "ns per guest instruction"
    version = "1"

    def track_run(self, cache: str, kernel: str, tier: str) -> float:
        return steady(guests.SAMPLE[kernel], tier, cache, MEASURED[tier])


def steady(kernel: guests.Kernel, tier: str, cache: str, count: int) -> float:
    """Seconds per instruction, in ns, of `count` instructions after the kernel's warm-up."""
    with guests.machine(kernel, kernel.rounds, tier, cache) as machine:
        machine.hart.set_limit(kernel.warm)
        machine.run()
        instructions, seconds = machine.hart.instructions, machine.seconds
        machine.hart.set_limit(instructions + count)
        machine.run()
        return (machine.seconds - seconds) / (machine.hart.instructions - instructions) * 1e9


class WholeProcess:
    """Nanoseconds per guest instruction of `python -m vmjit run KERNEL`, a tenth of a full run, with start and end.

    The cache of compiled code is warm. Median of three processes; the instructions are those that --stats counts.
    """

    params = (list(guests.SAMPLE), ["interpreter", "auto"])
    param_names = ("kernel", "tier")
    unit = "ns per guest instruction"
    version = "1"

    def track_run(self, cache: str, kernel: str, tier: str) -> float:
        return whole(guests.SAMPLE[kernel], tier, cache, PORTION)


def whole(kernel: guests.Kernel, tier: str, cache: str, portion: int) -> float:
    """Nanoseconds per instruction of a process that does one `portion`-th of the kernel's full work."""
    rounds = str(kernel.rounds // portion)
    _, counters = guests.run_vmjit(kernel.elf, rounds, tier=tier, cache=cache, stats=True)
    found = re.search(r"guest instructions: +([\d,]+)", counters)
    assert found is not None, counters
    instructions = int(found[1].replace(",", ""))
    seconds = guests.median(lambda: guests.run_vmjit(kernel.elf, rounds, tier=tier, cache=cache)[0], 3)
    return seconds / instructions * 1e9


class Compiled:
    """What the run of a kernel's first instructions, as many as it needs to be warm, compiles: the same in every run.

    Instructions are counted once for each region that holds them.
    """

    params = (list(guests.SAMPLE),)
    param_names = ("kernel",)
    version = "1"

    def setup(self, cache: str, kernel: str) -> None:
        with guests.machine(guests.SAMPLE[kernel], guests.SAMPLE[kernel].rounds, "auto", cache) as machine:
            machine.hart.set_limit(guests.SAMPLE[kernel].warm)
            machine.run()
            self.counters = machine.hart.counters

    def track_compiled_instructions(self, cache: str, kernel: str) -> int:
        return self.counters.compiled_instructions

    def track_code_bytes(self, cache: str, kernel: str) -> int:
        return self.counters.code_bytes

    def track_regions(self, cache: str, kernel: str) -> int:
        return self.counters.regions

    track_compiled_instructions.unit = "instructions"
    track_code_bytes.unit = "bytes"
    track_regions.unit = "regions"


class FromEmpty:
    """What a run of a kernel does that begins with nothing but the interpreter: the same in every run of a commit.

    A fiftieth of the work that takes two seconds, to its end; see counters.COUNTERS. gate.py compares these, too.
    """

    params = (list(guests.SAMPLE),)
    param_names = ("kernel",)
    version = "1"

    def setup_cache(self) -> counters.Counts:
        return counters.of_runs(list(guests.SAMPLE))

    def track_guest_instructions(self, measured: counters.Counts, kernel: str) -> int:
        return measured[kernel]["guest instructions"]

    def track_exits(self, measured: counters.Counts, kernel: str) -> int:
        return measured[kernel]["exits"]

    def track_regions_compiled(self, measured: counters.Counts, kernel: str) -> int:
        return measured[kernel]["regions"]

    def track_all_code_bytes(self, measured: counters.Counts, kernel: str) -> int:
        return measured[kernel]["code bytes"]

    track_guest_instructions.unit = "instructions"
    track_exits.unit = "exits"
    track_regions_compiled.unit = "regions"
    track_all_code_bytes.unit = "bytes"


class Qemu:
    """Seconds of a whole process that runs a tenth of a kernel's full work, as a part of what qemu-riscv64 takes.

    The cache of compiled code is warm. Medians of three, by turns; `benchmarks.peers` measures all kernels, in full.
    """

    params = (list(guests.SAMPLE),)
    param_names = ("kernel",)
    unit = "times qemu's seconds"
    version = "1"

    def setup(self, cache: str, kernel: str) -> None:
        if shutil.which(QEMU) is None:
            raise NotImplementedError

    def track_against_qemu(self, cache: str, kernel: str) -> float:
        return against_qemu(guests.SAMPLE[kernel], cache, PORTION)


def against_qemu(kernel: guests.Kernel, cache: str, portion: int) -> float:
    """How many times qemu's seconds; the first run of ours is not counted."""
    rounds = str(kernel.rounds // portion)
    commands = guests.run_command(kernel.elf, rounds, cache=cache), [QEMU, str(kernel.elf), rounds]
    runs = [
        [guests.timed(lambda command=command: run(command, check=True, stdout=DEVNULL)) for command in commands]
        for _ in range(4)
    ][1:]
    ours, theirs = (guests.statistics.median(side) for side in zip(*runs, strict=True))
    return ours / theirs


class Profile:
    """Seconds of a whole process that runs a tenth of a kernel with many branches and calls, by what was known before.

    `cold`: the cache has the interpreter only. `warm`: one run has been before. `hot`: three have. Medians of three.
    """

    params = (list(BRANCHY), ["cold", "warm", "hot"])
    param_names = ("kernel", "state")
    unit = "seconds"
    version = "1"

    def track_seconds(self, cache: str, kernel: str, state: str) -> float:
        return profile(guests.KERNELS[kernel], RUNS_BEFORE[state], PORTION)


def profile(kernel: guests.Kernel, before: int, portion: int) -> float:
    """Seconds of the run after so many others."""
    rounds = str(max(1, kernel.rounds // portion))

    def once() -> float:
        with tempfile.TemporaryDirectory() as cache:
            guests.run_vmjit(guests.HELLO, cache=cache)
            for _ in range(before):
                guests.run_vmjit(kernel.elf, rounds, cache=cache)
            return guests.run_vmjit(kernel.elf, rounds, cache=cache)[0]

    return guests.median(once, PROFILES)


class Memory:
    """The largest part of a whole process that was ever in memory; the cache of compiled code is warm."""

    params = (["hello", *guests.SAMPLE],)
    param_names = ("program",)
    unit = "kB"
    version = "1"

    def track_peak(self, cache: str, program: str) -> int:
        kernel = guests.SAMPLE.get(program)
        arguments = [str(kernel.rounds // PORTION)] if kernel else []
        return peak(guests.run_command(kernel.elf if kernel else guests.HELLO, *arguments, cache=cache))


def peak(command: list[str]) -> int:
    """Kilobytes that the process, not what it starts, had in memory at most."""
    child = Popen(command, stdout=DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_maxrss


class Start:
    """Seconds of a whole process that runs `hello`, about a hundred guest instructions; median of five.

    `warm`: the interpreter comes from the cache. `cold`: it is made, once, and nothing is kept; one process.
    `python`: an interpreter of Python that does nothing, which no start can be faster than. `import`: one that imports
    vmjit's front door, vmjit.machine.
    """

    unit = "seconds"
    version = "1"

    def track_hello_seconds(self, cache: str) -> float:
        return guests.median(lambda: guests.run_vmjit(guests.HELLO, cache=cache)[0])

    def track_hello_cold_seconds(self, cache: str) -> float:
        with tempfile.TemporaryDirectory() as empty:
            return guests.run_vmjit(guests.HELLO, cache=empty)[0]

    def track_python_seconds(self, cache: str) -> float:
        return guests.median(lambda: guests.timed(lambda: run([sys.executable, "-c", ""], check=True, stdout=DEVNULL)))

    def track_import_seconds(self, cache: str) -> float:
        command = [sys.executable, "-c", "import vmjit.machine"]
        return guests.median(lambda: guests.timed(lambda: run(command, check=True, stdout=DEVNULL)))
