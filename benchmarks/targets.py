"""What is wanted and what asv measured, as a table in docs/performance.md: `python -m benchmarks.targets`.

The figures are those that asv has stored of a commit, HEAD if it has any of that; `asv run 'HEAD^!'` makes them. The
table replaces what is between two comments in the file, and nothing else there. `--print` only prints it.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.comparison import geometric_mean
from benchmarks.guests import ROOT

RESULTS = ROOT / ".asv" / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- targets: python -m benchmarks.targets -->", "<!-- /targets -->"

Parameters = tuple[Any, ...]


class NotMeasured(Exception):
    """The results do not have a figure, or it failed."""


@dataclass(frozen=True)
class Results:
    """What asv stored of one commit on one machine."""

    machine: dict[str, str]
    commit: str
    when: datetime  # the last of it was measured
    figures: dict[str, dict[Parameters, float | None]]  # by benchmark

    def of(self, benchmark: str, *wanted: Any) -> list[float]:
        """The figures for some parameters, each a value, a tuple of values, or ... for all of them."""
        found = [
            value
            for parameters, value in self.figures.get(benchmark, {}).items()
            if all(matches(*pair) for pair in zip(parameters, wanted, strict=True))
        ]
        known = [value for value in found if value is not None and not math.isnan(value)]
        if not known or len(known) < len(found):
            raise NotMeasured(benchmark)
        return known


def matches(parameter: Any, wanted: Any) -> bool:
    return wanted is ... or parameter in (wanted if isinstance(wanted, tuple) else (wanted,))


@dataclass(frozen=True)
class Target:
    """A figure that is to be at most, or at least, so much."""

    about: str
    wanted: float
    unit: str
    measure: Callable[[Results], float]
    larger_is_better: bool = False

    def measured(self, results: Results) -> float | None:
        try:
            return self.measure(results)
        except NotMeasured:
            return None

    def reached(self, value: float) -> bool:
        return value >= self.wanted if self.larger_is_better else value <= self.wanted

    @property
    def limit(self) -> str:
        return f"at {'least' if self.larger_is_better else 'most'} {self.wanted:g} {self.unit}".rstrip()


def worst(benchmark: str, *parameters: Any) -> Callable[[Results], float]:
    return lambda results: max(results.of(benchmark, *parameters))


def mean(benchmark: str, *parameters: Any) -> Callable[[Results], float]:
    return lambda results: geometric_mean(results.of(benchmark, *parameters))


def quotients(above: Iterable[float], below: Iterable[float]) -> Iterator[float]:
    return (one / other for one, other in zip(above, below, strict=True))


READY, ACCESS = "bench_compile.Ready.track_ready", "bench_memory.Widths.track_access"
BULK, MAPPED, PROFILE = (
    "bench_memory.Bulk.track_call",
    "bench_memory.Mapping.track_pages",
    "bench_run.Profile.track_seconds",
)
GUEST = "bench_translation"
LOOKUPS, MISSES = f"{GUEST}.Lookups.track_load", f"{GUEST}.Misses.track_load"
LARGE = ("64 KiB", "16 MiB")
NUMPY = 0.8  # of the speed of numpy's own copy


def throughput(access: str, memory: str) -> Callable[[Results], float]:
    """GiB/s of 8 bytes, of the slowest order and alignment."""
    return lambda results: 8 / max(results.of(ACCESS, access, 8, ..., ..., memory)) * 1e9 / (1 << 30)


def no_dip(access: str, memory: str) -> Callable[[Results], float]:
    """Throughput of 8 bytes as a part of that of 4, one after another."""

    def measure(results: Results) -> float:
        four, eight = (results.of(ACCESS, access, width, "sequential", "aligned", memory)[0] for width in (4, 8))
        return 2 * four / eight

    return measure


def widths() -> Iterator[Target]:
    """How programs reach memory, and how machines do."""
    for where, memory in (("", "flat"), (" behind a TLB", "tlb")):
        for access in ("read", "write"):
            about = f"guest {access}s of 8 bytes{where}, slowest order"
            yield Target(about, 2, "GiB/s", throughput(access, memory), True)
        for access in ("read", "write"):
            about = f"throughput of 8-byte {access}s against 4-byte {access}s{where}"
            yield Target(about, 1, "", no_dip(access, memory), True)


def hit_rate(results: Results) -> float:
    """Per cent, of the largest working set or whichever has the most walks."""
    return 100 - max(results.of(f"{GUEST}.Sizes.track_walks", "80/20", ..., "default"))


def side_by_side(loads: str) -> Callable[[Results], float]:
    """Throughput of two harts by that of one."""
    return lambda results: 2 / results.of(f"{GUEST}.Harts.track_two", loads)[0]


def against_numpy(operation: str) -> Callable[[Results], float]:
    """The slowest of the large sizes."""
    return lambda results: min(quotients(results.of(BULK, "numpy", LARGE), results.of(BULK, operation, LARGE)))


def warm_against_cold(results: Results) -> float:
    """The kernel that gains most: some have few branches that a profile tells anything about."""
    return min(quotients(results.of(PROFILE, ..., "warm"), results.of(PROFILE, ..., "cold")))


TARGETS = (
    Target("code ready to run, below 100 instructions", 1, "ms", worst(READY, "interpreter", (10, 50))),
    Target("code ready to run, 100 to 1000 instructions", 10, "ms", worst(READY, "interpreter", (100, 500, 1000))),
    Target("code ready to run, 5000 instructions", 100, "ms", worst(READY, "interpreter", 5000)),
    Target("native decoding of an RV64GC mix", 70, "ns", worst("bench_decode.Mix.track_decode")),
    Target(
        "compiling a region, us per guest instruction, mean of kernels",
        120,
        "us",
        mean("bench_compile.Kernels.track_compile", ...),
    ),
    Target(
        "regions compiled in a second run, worst kernel",
        0,
        "",
        worst("bench_cache.Warm.track_compiled_by_second_run", ...),
    ),
    *widths(),
    Target("load that hits in the TLB, mean of sizes", 3, "ns", mean(LOOKUPS, "strided", ..., "within")),
    Target("1000 loads that hit in the TLB, slowest size", 5, "us", worst(LOOKUPS, "strided", ..., "within")),
    Target("load that walks a page table of 3 levels, slowest size of page", 60, "ns", worst(MISSES, "sv39", ...)),
    Target("load that walks a page table of 4 levels, slowest size of page", 60, "ns", worst(MISSES, "sv48", ...)),
    Target("hits of the TLB when 80 % of accesses go to 20 % of 64 to 4096 pages", 95, "%", hit_rate, True),
    Target("throughput of two harts against one, loads that hit", 1.8, "", side_by_side("hits"), True),
    Target("throughput of two harts against one, loads that miss", 1.8, "", side_by_side("misses"), True),
    Target("bulk read against a copy by numpy, from 64 KiB", NUMPY, "", against_numpy("read"), True),
    Target("bulk write against a copy by numpy, from 64 KiB", NUMPY, "", against_numpy("write"), True),
    Target("bulk copy against a copy by numpy, from 64 KiB", NUMPY, "", against_numpy("copy"), True),
    Target("map a page", 1, "us", worst(MAPPED, "map", 1)),
    Target("map 100 pages at 100 places", 100, "us", worst(MAPPED, "map", 100)),
    Target("map, write and unmap a page", 2, "us", worst(MAPPED, "cycle", 1)),
    Target("release and allocate a block, in the guest", 2000, "ns", worst("bench_memory.Allocation.track_pair")),
    Target(
        "seconds against qemu, a tenth of the work, worst kernel",
        1,
        "",
        worst("bench_run.Qemu.track_against_qemu", ...),
    ),
    Target("seconds of a warm run against a cold one, a kernel with branches", 0.9, "", warm_against_cold),
)


# asv's files.


def load(folder: Path, commit: str | None) -> Results | None:
    """The results of a commit, or of the one measured last; None if there are none."""
    found = [read(path) for path in sorted(folder.glob("*/*.json")) if path.name != "machine.json"]
    of_commit = [one for one in found if commit is None or one.commit.startswith(commit)]
    return max(of_commit, key=lambda one: one.when, default=None)


def read(path: Path) -> Results:
    """One of the files `<commit>-<environment>.json`."""
    stored = json.loads(path.read_text())
    machine = json.loads(path.with_name("machine.json").read_text())
    rows = {name: dict(zip(stored["result_columns"], row, strict=False)) for name, row in stored["results"].items()}
    when = max((row.get("started_at") or 0 for row in rows.values()), default=0)
    figures = {name: figures_of(row) for name, row in rows.items()}
    return Results(machine, stored["commit_hash"], datetime.fromtimestamp(when / 1000, UTC), figures)


def figures_of(row: dict[str, Any]) -> dict[Parameters, float | None]:
    """The figures of a benchmark by parameters, of which asv stores what repr() makes; no results at all are None."""
    parameters = list(itertools.product(*([ast.literal_eval(text) for text in axis] for axis in row["params"])))
    return dict(zip(parameters, row["result"] or [None] * len(parameters), strict=True))


# The table.


def table(results: Results) -> list[str]:
    """Lines of Markdown."""
    host = results.machine
    memory = f"{int(host['ram']) / (1 << 30):.0f} GiB" if host.get("ram", "").isdigit() else host.get("ram", "")
    rows = [(target, target.measured(results)) for target in TARGETS]
    missed = sum(value is not None and not target.reached(value) for target, value in rows)
    known = sum(value is not None for _, value in rows)
    return [
        f"Measured by asv at commit {results.commit[:12]}, {results.when:%Y-%m-%d}, on a host with {host['num_cpu']} "
        f"processors, {host['cpu']},",
        f"{memory}, {host['os']}. Of {known} figures that have a target, {missed} miss it.",
        "",
        "| figure | wanted | measured | |",
        "|---|---|---|---|",
        *(
            f"| {target.about} | {target.limit} | {shown(value)} | {remark(target, value)} |".replace("|  |", "| |")
            for target, value in rows
        ),
    ]


def shown(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def remark(target: Target, value: float | None) -> str:
    return "not measured" if value is None else "" if target.reached(value) else "**missed**"


def with_table(text: str, lines: Sequence[str]) -> str:
    """The text with the lines between the two comments."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: {BEGIN} … {END}")
    return "\n".join([before + BEGIN, *lines, END + after])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.targets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", help="a hash, or the start of one (default: HEAD, else what was measured last)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: .asv/results")
    parser.add_argument("--print", action="store_true", help="print the table, and write nothing")
    options = parser.parse_args(arguments)
    results = load(options.results, options.commit or head())
    if results is None and options.commit is None:
        results = load(options.results, None)
    if results is None:
        print(f"{options.results} has no results; `asv run 'HEAD^!'` makes those of HEAD", file=sys.stderr)
        return 1
    lines = table(results)
    if options.print:
        print("\n".join(lines))
    else:
        PAGE.write_text(with_table(PAGE.read_text(), lines))
        print(f"{PAGE}: {lines[1]}")
    return 0


def head() -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
