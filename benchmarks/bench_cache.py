"""The cache of compiled code: what it costs to find a region there, or none, and that a second run compiles nothing."""

import os
from typing import Any

from benchmarks import guests

FINDS = 300
PORTION = 50  # kernels do that part of the work that takes 2 s
KERNEL = "md5"  # has regions of some hundred instructions
ROUNDS = 1000
WAYS = ("hit", "miss", "stale")


class Find:
    """Microseconds of Cache.find_region, in Python, as when an address is hot; the file is in the host's memory.

    hit    a region is found, read and compared with the guest's code
    miss   there is none for the address
    stale  there is one, for other code at the same address
    """

    params = (list(WAYS),)
    param_names = ("way",)
    unit = "us"
    version = "1"

    def setup_cache(self) -> dict[str, float]:
        return find(os.path.abspath("compiled"), FINDS)

    def track_find(self, measured: dict[str, float], way: str) -> float:
        return measured[way]


def find(cache: str, times: int) -> dict[str, float]:
    """Microseconds by way; medians."""
    for _ in range(2):  # the second run finds what the first compiled
        with guests.machine(guests.KERNELS[KERNEL], ROUNDS, "auto", cache, pgo=False) as machine:
            hits = noted_hits(machine.hart.cache)
            machine.run()
            if hits:
                return found_again(machine.hart.cache, max(hits, key=lambda hit: hit[0])[1], times)
    raise AssertionError("the second run found nothing")


def noted_hits(cache: Any) -> list[tuple[int, tuple[Any, ...]]]:
    """A list that gets the size and the arguments of each find_region that finds something."""
    look, hits = cache.find_region, []

    def noting(*arguments: Any) -> Any:
        found = look(*arguments)
        if found is not None:
            hits.append((found.instructions, arguments))
        return found

    cache.find_region = noting
    return hits


def found_again(cache: Any, hit: tuple[Any, ...], times: int) -> dict[str, float]:
    """Microseconds to find what was found once, and what is not there."""
    del cache.find_region  # what takes notes
    pc, code, variant = hit
    ways = {
        "hit": (pc, code, variant),
        "miss": (pc + 2, code, variant),
        "stale": (pc, lambda address, size: bytes(size), variant),
    }
    assert [cache.find_region(*ways[way]) is not None for way in WAYS] == [True, False, False]

    def look(way: str) -> float:
        return guests.timed(lambda: cache.find_region(*ways[way]))

    return {way: guests.median(lambda way=way: look(way), times) * 1e6 for way in WAYS}


class Warm:
    """Regions that LLVM made in the second run of a kernel, each compilation waited for: the same in every run, 0."""

    params = (list(guests.SAMPLE),)
    param_names = ("kernel",)
    unit = "regions"
    version = "1"

    def track_compiled_by_second_run(self, kernel: str) -> int:
        return second_run(guests.SAMPLE[kernel], os.path.abspath("warm"), PORTION)


def second_run(kernel: guests.Kernel, cache: str, portion: int) -> int:
    """How many regions are compiled in it."""
    for _ in range(2):
        with guests.machine(kernel, max(3, kernel.rounds // portion), "auto", cache) as machine:
            machine.run()
            compiled = machine.hart.counters.compiled_here
    return compiled
