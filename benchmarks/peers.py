"""The same kernels as native code, under qemu-riscv64 and under vmjit, side by side: `python -m benchmarks.peers`.

native    the kernel's source, compiled for this host with gcc -O2
qemu      qemu-riscv64 with the shipped ELF file
vmjit     `python -m vmjit run` with the same file and a cache that an unmeasured run has filled
cold      the same with an empty cache

What is measured is the whole process, seconds by the wall clock. In each round every peer runs once, in turn, so that
what else the machine does at that time concerns all of them; medians are compared. All must print the same. Peers that
this machine does not have are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.guests import KERNELS, Kernel, timed

PEERS = ("native", "qemu", "vmjit", "cold")
RATIOS = (("vmjit", "native"), ("qemu", "vmjit"), ("cold", "native"))
COMPILER, QEMU = "gcc", "qemu-riscv64"
# As the shipped files are compiled, see tests/programs/build.py: the same operations on doubles, in the same order.
FLAGS = ("-O2", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno")
ROUNDS = 5

Seconds = dict[str, list[float]]  # peer -> one figure for each round


class Bench:
    """The peers of this machine; `scratch` is a folder for what is compiled."""

    def __init__(self, scratch: Path, peers: Sequence[str]) -> None:
        self.scratch = scratch
        self.peers = [peer for peer in peers if why_missing(peer) is None]

    def measure(self, kernel: Kernel, rounds: int, work: int) -> Seconds:
        """Run all peers `rounds` times, with `work` as the kernel's argument."""
        seconds: Seconds = {peer: [] for peer in self.peers}
        if "native" in self.peers:
            command = [COMPILER, *FLAGS, str(kernel.source), "-o", str(self.scratch / kernel.name)]
            subprocess.run(command, check=True)
        expected = None
        if "vmjit" in self.peers:
            expected = run(self.command("vmjit", kernel, work))  # fills the cache
        for _ in range(rounds):
            for peer in self.peers:
                took, output = self.run_once(peer, kernel, work)
                seconds[peer].append(took)
                expected = output if expected is None else expected
                if output != expected:
                    raise SystemExit(f"peers: {kernel.name}: {peer} printed {output!r}, not {expected!r}")
        return seconds

    def run_once(self, peer: str, kernel: Kernel, work: int) -> tuple[float, bytes]:
        """The seconds of a whole process, and its output."""
        if peer == "cold":
            shutil.rmtree(self.scratch / "cold", ignore_errors=True)
        command, output = self.command(peer, kernel, work), []
        return timed(lambda: output.append(run(command))), output[0]

    def command(self, peer: str, kernel: Kernel, work: int) -> list[str]:
        """How a peer runs a kernel."""
        if peer == "native":
            return [str(self.scratch / kernel.name), str(work)]
        if peer == "qemu":
            return [QEMU, str(kernel.elf), str(work)]
        cache = str(self.scratch / peer)
        return [sys.executable, "-m", "vmjit", "run", "--cache-dir", cache, str(kernel.elf), str(work)]


def run(command: Sequence[str]) -> bytes:
    """What a process prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def why_missing(peer: str) -> str | None:
    """Why this machine cannot run a peer, or None."""
    tool = {"native": COMPILER, "qemu": QEMU}.get(peer)
    return f"{tool} is not installed" if tool is not None and shutil.which(tool) is None else None


def ratio(seconds: Seconds, above: str, below: str) -> float | None:
    """The quotient of the medians of two peers; None if one is missing."""
    if above not in seconds or below not in seconds:
        return None
    return statistics.median(seconds[above]) / statistics.median(seconds[below])


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def table(results: dict[str, Seconds], peers: Sequence[str]) -> list[str]:
    """Medians of all kernels in seconds and the ratios, and below them the geometric means of the ratios."""
    ratios = [pair for pair in RATIOS if set(pair) <= set(peers)]
    columns = [*peers, *(f"{above}/{below}" for above, below in ratios)]
    lines = [row("", columns)]
    for name, seconds in results.items():
        medians = [f"{statistics.median(seconds[peer]):.3f} s" for peer in peers]
        lines.append(row(name, [*medians, *(f"{ratio(seconds, *pair):.2f}" for pair in ratios)]))
    means = [geometric_mean([ratio(seconds, *pair) or 1 for seconds in results.values()]) for pair in ratios]
    lines.append(row("geometric mean", [*("" for _ in peers), *(f"{mean:.2f}" for mean in means)]))
    return lines


def row(name: str, cells: Sequence[str]) -> str:
    return f"{name:15}" + "".join(f"{cell:>14}" for cell in cells)


def report(results: dict[str, Seconds], peers: Sequence[str], portion: float) -> dict[str, object]:
    """Everything that was measured, for --json."""
    return {
        "host": {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        "peers": list(peers),
        "portion": portion,
        "seconds": results,
        "medians": {n: {p: statistics.median(s) for p, s in seconds.items()} for n, seconds in results.items()},
        "ratios": {
            f"{above}/{below}": {name: ratio(seconds, above, below) for name, seconds in results.items()}
            for above, below in RATIOS
            if {above, below} <= set(peers)
        },
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"default: all, {', '.join(KERNELS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each peer (default: {ROUNDS})")
    parser.add_argument("--portion", type=float, default=1, help="part of the work that takes 2 s (default: 1)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="default: all that are there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    options = parser.parse_args(arguments)
    unknown = set(options.kernels) - KERNELS.keys()
    if unknown:
        parser.error(f"no kernel is named {', '.join(sorted(unknown))}; there are {', '.join(KERNELS)}")
    if options.rounds < 1 or options.portion <= 0:
        parser.error("--rounds and --portion must be above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    for peer in options.peers:
        if reason := why_missing(peer):
            print(f"{peer} is left out: {reason}")
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), options.peers)
        for name in options.kernels or KERNELS:
            kernel = KERNELS[name]
            work = max(1, round(kernel.rounds * options.portion))
            results[name] = bench.measure(kernel, options.rounds, work)
    print(f"whole processes, medians of {options.rounds}")
    print("\n".join(table(results, bench.peers)))
    if options.json:
        options.json.write_text(json.dumps(report(results, bench.peers, options.portion), indent=1) + "\n")


if __name__ == "__main__":
    main()
