"""What is the same in every run of a commit: instructions executed, sizes of IR and code, regions, exits.

`python -m benchmarks.counters` prints them as JSON, for the vmjit that is found first. asv has those of some kernels
(`bench_run.Compiled`, `bench_compile.Kernels`, `bench_compile.Size`); `gate.py` compares all with the commit before.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from itertools import product

from benchmarks import bench_compile, guests

Counts = dict[str, dict[str, int]]  # of a subject, by name of the counter

PORTION = 50  # kernels do that part of the work that takes 2 s: everything that gets hot is compiled by then
ROUNDS = 3  # at least
SIZES = (100, 500)  # instructions of generated code
# `syscalls` reads the clock, and takes another way when a second is over.
KERNELS = [name for name in guests.KERNELS if name != "syscalls"]
# Those that run behind a TLB as well, which is so small that each misses: loops, calls, addresses at random.
TRANSLATED = ("sieve", "quicksort", "stream", "hash")
TLB = ("entries=16",)


@dataclass(frozen=True)
class Counter:
    """What a number counts, and by which part it may grow without a reason being given."""

    about: str
    growth: float = 0.01


COUNTERS = {
    "guest instructions": Counter("executed by a kernel that runs to its end", growth=0),
    "regions": Counter("compiled in a run with an empty cache, each waited for"),
    "compiled instructions": Counter("guest instructions of these regions, once for each that holds them"),
    "code bytes": Counter("of host code of these regions"),
    "exits": Counter("returns to the host from compiled and interpreted code, of any kind"),
    "ir operations": Counter("left of a region after all passes"),
    "llvm lines": Counter("that a region is lowered to"),
    "tlb misses": Counter("of the entries of the TLB that a kernel runs behind"),
    "tlb walks": Counter("those of which no victim was the page"),
}


def of_run(kernel: guests.Kernel, cache: str) -> dict[str, int]:
    """The counters of a whole run; of what it needs, only the interpreter is in the cache."""
    with guests.machine(kernel, max(ROUNDS, kernel.rounds // PORTION), "auto", cache) as machine:
        result = machine.run()
        assert result.status == 0, result
        counters = machine.hart.counters
        return {
            "guest instructions": machine.hart.instructions,
            "regions": counters.regions,
            "compiled instructions": counters.compiled_instructions,
            "code bytes": counters.code_bytes,
            "exits": counters.exits.total(),
        }


def of_translated(kernel: guests.Kernel, cache: str) -> dict[str, int]:
    """The counters of a whole run behind a small TLB."""
    settings = {"memory": "tlb", "tlb": TLB}
    with guests.machine(kernel, max(ROUNDS, kernel.rounds // PORTION), "auto", cache, **settings) as machine:
        result = machine.run()
        assert result.status == 0, result
        statistics = machine.hart.tlb.statistics()
        return {
            "guest instructions": machine.hart.instructions,
            "code bytes": machine.hart.counters.code_bytes,
            "exits": machine.hart.counters.exits.total(),
            "tlb misses": statistics.misses,
            "tlb walks": statistics.walks,
        }


def of_regions() -> Counts:
    """The sizes of IR and of LLVM's text of generated code and of the largest functions of kernels."""
    bench = bench_compile.Bench()
    found = {}
    for (shape, make), size in product(bench_compile.SHAPES.items(), SIZES):
        code = bench_compile.Code.of(guests.CODE, make(size))
        found[f"{shape} {size}"] = bench.sizes(guests.CODE, code, size)
    for kernel in guests.SAMPLE.values():
        found[f"{kernel.name} {kernel.function}"] = bench.sizes(
            *bench_compile.kernel_code(kernel), bench_compile.LARGEST
        )
    return found


def of_runs(names: list[str]) -> Counts:
    """The counters of runs of some kernels."""
    with tempfile.TemporaryDirectory() as cache:
        guests.run_vmjit(guests.HELLO, cache=cache)
        found = {name: of_run(guests.KERNELS[name], cache) for name in names}
        if guests.has_tlb():
            translated = [guests.KERNELS[name] for name in names if name in TRANSLATED]
            found |= {f"{kernel.name} behind a TLB": of_translated(kernel, cache) for kernel in translated}
        return found


if __name__ == "__main__":
    json.dump(of_runs(sys.argv[1:] or KERNELS) | of_regions(), sys.stdout, indent=1)
