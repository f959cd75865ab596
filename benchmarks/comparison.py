"""What was measured when peers ran the same kernels, and what follows: medians, ratios, their means, what falls short.

Means are geometric, over the kernels that have the ratio; a peer that failed at a kernel has none there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.guests import Kernel

PEERS = ("native", "qemu", "vmjit", "cold")
CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Ratio:
    """A quotient of the medians of two peers."""

    above: str
    below: str
    about: str
    larger_is_better: bool

    def __str__(self) -> str:
        return f"{self.above}/{self.below}"

    def reached(self, value: float, wanted: float) -> bool:
        return value >= wanted if self.larger_is_better else value <= wanted

    def limit(self, wanted: float) -> str:
        return f"at {'least' if self.larger_is_better else 'most'} {wanted:g}"


SPEED = Ratio("qemu", "vmjit", "how many times as fast as qemu", True)
DISTANCE = Ratio("vmjit", "native", "how many times the time of native code", False)
START = Ratio("cold", "vmjit", "how many times the time when the cache is empty at first", False)
RATIOS = (SPEED, DISTANCE, START)


@dataclass(frozen=True)
class Group:
    """Kernels with something in common, and the means that vmjit is to reach with them."""

    about: str
    qemu: float  # SPEED, at least
    native: float  # DISTANCE, at most
    cold: float = 1.25  # START, at most: half a second or so until everything that is hot is compiled

    def wanted(self, ratio: Ratio) -> float:
        return {SPEED: self.qemu, DISTANCE: self.native, START: self.cold}[ratio]


# Which kernels belong to a group stands with the kernels, in guests.KERNELS. No group is to be slower than under qemu.
GROUPS = {
    "integer": Group("hashes, ciphers, remainders, compression", qemu=1, native=1.5),
    "loops": Group("loops without calls", qemu=1, native=1.15),
    "calls": Group("recursion, functions behind pointers, an allocator", qemu=1, native=2),
    "interpreters": Group("indirect jumps and branches on data", qemu=1, native=2.5),
    "floats": Group("doubles, and single precision", qemu=1, native=1.5),
    "memory": Group("more than fits in caches, strings", qemu=1, native=1.5),
    "system": Group("system calls that do next to nothing", qemu=1, native=1.5),
}
WHOLE = {SPEED: 4.5, DISTANCE: 1.5, START: 1.25}  # the means over all kernels


@dataclass(frozen=True)
class Run:
    """One process: seconds, what it printed, and what was wrong with it, if anything was."""

    wall: float
    cpu: float  # of all its threads and the processes it started
    output: bytes = b""
    fault: str | None = None

    def seconds(self, clock: str) -> float:
        return self.wall if clock == "wall" else self.cpu


@dataclass(frozen=True)
class Measured:
    """The runs of a kernel, by peer; a peer's runs end with the first that has a fault."""

    kernel: Kernel
    work: int
    runs: dict[str, list[Run]]

    def faults(self) -> Iterator[str]:
        for peer, runs in self.runs.items():
            for run in runs:
                if run.fault is not None:
                    yield f"{self.kernel.name}: {peer}: {run.fault}"

    def median(self, peer: str, clock: str) -> float | None:
        """Seconds; None if the peer failed or did not run."""
        runs = self.runs.get(peer)
        if not runs or any(run.fault is not None for run in runs):
            return None
        return statistics.median(run.seconds(clock) for run in runs)

    def ratio(self, ratio: Ratio, clock: str) -> float | None:
        above, below = self.median(ratio.above, clock), self.median(ratio.below, clock)
        return None if above is None or not below else above / below


@dataclass(frozen=True)
class Comparison:
    """All that was measured, and on what."""

    peers: Sequence[str]
    rounds: int
    portion: float
    clock: str
    kernels: Sequence[Measured]
    surroundings: dict[str, str]

    @property
    def ratios(self) -> list[Ratio]:
        """Those whose peers ran."""
        return [ratio for ratio in RATIOS if {ratio.above, ratio.below} <= set(self.peers)]

    @property
    def groups(self) -> dict[str, list[Measured]]:
        """The kernels of each group that has any, in the order of GROUPS."""
        members = {name: [one for one in self.kernels if one.kernel.group == name] for name in GROUPS}
        return {name: found for name, found in members.items() if found}

    def ratio(self, measured: Measured, ratio: Ratio) -> float | None:
        return measured.ratio(ratio, self.clock)

    def mean(self, ratio: Ratio, kernels: Sequence[Measured]) -> float | None:
        """The geometric mean of a ratio over those of the kernels that have it."""
        values = [value for one in kernels if (value := self.ratio(one, ratio)) is not None]
        return geometric_mean(values) if values else None

    def faults(self) -> list[str]:
        return [fault for one in self.kernels for fault in one.faults()]

    def slower_than_qemu(self) -> list[str]:
        """Kernels, the slowest first, with how much of qemu's speed they reach."""
        speeds = {one.kernel.name: self.ratio(one, SPEED) for one in self.kernels}
        slow = {name: speed for name, speed in speeds.items() if speed is not None and speed < 1}
        return [f"{name} ({slow[name]:.2f})" for name in sorted(slow, key=slow.__getitem__)]

    def short_of_target(self) -> list[str]:
        """Groups whose means are not what they are to be, and the whole, if no group is missing."""
        found = []
        for name, kernels in self.groups.items():
            for ratio in self.ratios:
                mean, wanted = self.mean(ratio, kernels), GROUPS[name].wanted(ratio)
                if mean is not None and not ratio.reached(mean, wanted):
                    found.append(f"{name} {ratio} {mean:.2f} ({ratio.limit(wanted)})")
        for ratio in self.ratios if len(self.groups) == len(GROUPS) else ():
            mean = self.mean(ratio, self.kernels)
            if mean is not None and not ratio.reached(mean, WHOLE[ratio]):
                found.append(f"all {ratio} {mean:.2f} ({ratio.limit(WHOLE[ratio])})")
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "surroundings": self.surroundings,
            "peers": list(self.peers),
            "rounds": self.rounds,
            "portion": self.portion,
            "clock": self.clock,
            "kernels": {one.kernel.name: self.kernel_to_json(one) for one in self.kernels},
            "groups": {name: self.means_to_json(kernels) for name, kernels in self.groups.items()},
            "all": self.means_to_json(self.kernels),
            "targets": {name: {str(ratio): GROUPS[name].wanted(ratio) for ratio in RATIOS} for name in self.groups},
            "slower than qemu": self.slower_than_qemu(),
            "short of target": self.short_of_target(),
            "faults": self.faults(),
        }

    def kernel_to_json(self, one: Measured) -> dict[str, object]:
        return {
            "group": one.kernel.group,
            "argument": one.work,
            "seconds": {
                clock: {peer: [run.seconds(clock) for run in runs] for peer, runs in one.runs.items()}
                for clock in CLOCKS
            },
            "medians": {peer: one.median(peer, self.clock) for peer in self.peers},
            "ratios": {str(ratio): self.ratio(one, ratio) for ratio in self.ratios},
        }

    def means_to_json(self, kernels: Sequence[Measured]) -> dict[str, float | None]:
        return {str(ratio): self.mean(ratio, kernels) for ratio in self.ratios}


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))
