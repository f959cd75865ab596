"""The same kernels as native code, under qemu-riscv64 and under vmjit, side by side: `python -m benchmarks.peers`.

native    the kernel's source, compiled for this host with gcc -O2
qemu      qemu-riscv64 with the shipped ELF file
vmjit     `python -m vmjit run` with the same file and a cache that an unmeasured run has filled
cold      the same with an empty cache

What is measured is the whole process, seconds by the wall clock; `--clock cpu` compares processor time instead, that of
the compile worker included: the better figure on a machine that does other things. In each round every peer runs once,
in turn, so that what else the machine does at that time concerns all of them; medians are compared. All must print the
same: who prints something else, fails or takes too long is left out and named, and the exit code is 1. Peers that this
machine does not have are left out.

The kernels are in kernels/*.c, listed in guests.py; the groups and what vmjit is to reach with them in comparison.py.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from benchmarks import page, surroundings
from benchmarks.comparison import CLOCKS, GROUPS, PEERS, Comparison, Measured, Run
from benchmarks.guests import KERNELS, Kernel

COMPILER, QEMU = "gcc", "qemu-riscv64"
# As the shipped files are compiled, see tests/programs/build.py: the same operations on doubles, in the same order.
FLAGS = ("-O2", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno")
ROUNDS = 5
PR_SET_CHILD_SUBREAPER = 36
TIMEOUT = 600  # seconds: a hundred times what the slowest kernel takes in qemu


class Bench:
    """The peers of this machine; `scratch` is a folder for what is compiled."""

    def __init__(self, scratch: Path, peers: Sequence[str], timeout: float = TIMEOUT) -> None:
        self.scratch = scratch
        self.peers = [peer for peer in peers if why_missing(peer) is None]
        self.timeout = timeout

    def measure(self, kernel: Kernel, rounds: int, work: int) -> Measured:
        """Run all peers `rounds` times, with `work` as the kernel's argument; one that failed once does not run again.

        What the first peer prints that does not fail, native code if it is there, is what all must print.
        """
        if "native" in self.peers:
            self.compile(kernel)
        if "vmjit" in self.peers:
            self.run("vmjit", kernel, work)  # fills the cache
        runs: dict[str, list[Run]] = {peer: [] for peer in self.peers}
        expected: bytes | None = None
        for _ in range(rounds):
            for peer in self.peers:
                if runs[peer] and runs[peer][-1].fault is not None:
                    continue
                run = checked(self.run(peer, kernel, work), expected)
                runs[peer].append(run)
                if run.fault is None:
                    expected = run.output
        return Measured(kernel, work, runs)

    def compile(self, kernel: Kernel) -> None:
        """Make the native program."""
        command = [COMPILER, *FLAGS, str(kernel.source), "-o", str(self.scratch / kernel.name)]
        subprocess.run(command, check=True)

    def run(self, peer: str, kernel: Kernel, work: int) -> Run:
        """One process of a peer."""
        if peer == "cold":
            shutil.rmtree(self.scratch / "cold", ignore_errors=True)
        return run(self.command(peer, kernel, work), self.timeout)

    def command(self, peer: str, kernel: Kernel, work: int) -> list[str]:
        """How a peer runs a kernel."""
        if peer == "native":
            return [str(self.scratch / kernel.name), str(work)]
        if peer == "qemu":
            return [QEMU, str(kernel.elf), str(work)]
        cache = str(self.scratch / peer)
        return [sys.executable, "-m", "vmjit", "run", "--cache-dir", cache, str(kernel.elf), str(work)]


def environment() -> dict[str, str]:
    """Ours, but Python keeps bytecode, as it does for users: else each start, cold or warm, compiles all modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(command: Sequence[str], timeout: float) -> Run:
    """Run a process to its end."""
    cpu, began = processor_time(), perf_counter()
    output, fault = b"", None
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=timeout, env=environment())
        output, fault = done.stdout, f"exit code {done.returncode}" if done.returncode else None
    except subprocess.TimeoutExpired:
        fault = f"not done after {timeout:g} s"
    wall = perf_counter() - began
    wait_for_orphans()
    return Run(wall, processor_time() - cpu, output, fault)


def adopt_orphans() -> None:
    """Processes whose parent ends before them become children of this one, and so can be waited for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans() -> None:
    """A compile worker ends a moment after its emulator; until then it would disturb what is measured next."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def processor_time() -> float:
    """Seconds of all processes that were waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def checked(run: Run, expected: bytes | None) -> Run:
    """A run, with a fault if it printed something else than expected."""
    if run.fault is not None or expected is None or run.output == expected:
        return run
    return Run(run.wall, run.cpu, run.output, f"printed {run.output!r}, not {expected!r}")


def why_missing(peer: str) -> str | None:
    """Why this machine cannot run a peer, or None."""
    tool = {"native": COMPILER, "qemu": QEMU}.get(peer)
    return f"{tool} is not installed" if tool is not None and shutil.which(tool) is None else None


# What is printed.


def table(comparison: Comparison) -> list[str]:
    """Medians of all kernels in seconds and the ratios, with the means of each group and of all."""
    peers, ratios = comparison.peers, comparison.ratios
    lines = [row("", [*peers, *map(str, ratios)])]
    for name, kernels in comparison.groups.items():
        lines.append(f"{name}: {GROUPS[name].about}")
        for one in kernels:
            medians = [figure(one.median(peer, comparison.clock), "{:.3f} s") for peer in peers]
            lines.append(row(f"  {one.kernel.name}", [*medians, *(figure(comparison.ratio(one, r)) for r in ratios)]))
        lines.append(means("  mean", comparison, kernels))
    return [*lines, means("geometric mean", comparison, comparison.kernels)]


def means(name: str, comparison: Comparison, kernels: Sequence[Measured]) -> str:
    values = [figure(comparison.mean(ratio, kernels)) for ratio in comparison.ratios]
    return row(name, ["" for _ in comparison.peers] + values)


def row(name: str, cells: Sequence[str]) -> str:
    return f"{name:15}" + "".join(f"{cell:>14}" for cell in cells)


def figure(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)


def notes(comparison: Comparison) -> list[str]:
    """What is not as it should be."""
    slow, short = comparison.slower_than_qemu(), comparison.short_of_target()
    return [
        *([f"slower than qemu: {', '.join(slow)}"] if slow else []),
        *([f"short of what is wanted: {'; '.join(short)}"] if short else []),
        *(f"wrong: {fault}" for fault in comparison.faults()),
    ]


def listing() -> list[str]:
    """All kernels: name, group, the argument of a full run, what it does."""
    return [f"{one.name:12}{one.group:14}{one.rounds:>7}  {one.about}" for one in KERNELS.values()]


# The command line.


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed; `names` becomes names of kernels only."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"kernels or groups: {', '.join(GROUPS)}; default: all"
    )
    parser.add_argument("--list", action="store_true", help="print the kernels and their groups, and run nothing")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each peer (default: {ROUNDS})")
    parser.add_argument("--portion", type=float, default=1, help="part of the work that takes 2 s (default: 1)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="default: all that are there")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="seconds that are compared (default: wall)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help=f"seconds for a process (default: {TIMEOUT})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts to a file")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - KERNELS.keys() - GROUPS.keys()
    if unknown:
        parser.error(f"no kernel or group is named {', '.join(sorted(unknown))}; see --list")
    if options.rounds < 1 or options.portion <= 0:
        parser.error("--rounds and --portion must be above 0")
    options.names = chosen(options.names)
    options.peers = [peer for peer in PEERS if peer in options.peers]
    return options


def chosen(names: Sequence[str]) -> list[str]:
    """The kernels that are named, or whose groups are; all if none is."""
    return [one.name for one in KERNELS.values() if not names or one.name in names or one.group in names]


def compare(options: argparse.Namespace) -> Iterator[Comparison]:
    """Run what was asked for: after each kernel, all that was measured so far. Says on stderr how far it is."""
    adopt_orphans()
    around = surroundings.describe(COMPILER, QEMU)
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), options.peers, options.timeout)
        for number, name in enumerate(options.names, 1):
            print(f"{number}/{len(options.names)} {name}", file=sys.stderr, flush=True)
            work = max(1, round(KERNELS[name].rounds * options.portion))
            measured.append(bench.measure(KERNELS[name], options.rounds, work))
            yield Comparison(bench.peers, options.rounds, options.portion, options.clock, tuple(measured), around)


def save(comparison: Comparison, options: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if options.json:
        options.json.write_text(json.dumps(comparison.to_json(), indent=1) + "\n")
    if options.html:
        options.html.write_text(page.render(comparison))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.list:
        print("\n".join(listing()))
        return 0
    for peer in options.peers:
        if reason := why_missing(peer):
            print(f"{peer} is left out: {reason}")
    for comparison in compare(options):
        save(comparison, options)  # each time, so that an interruption loses nothing
    print(f"whole processes, {options.clock} seconds, medians of {options.rounds}")
    print("\n".join([*table(comparison), *notes(comparison)]))
    return 1 if comparison.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
