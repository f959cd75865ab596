"""Memory behind the software TLB as guest code sees it: hits, misses, walks, flushes, devices, and harts side by side.

The loops run in compiled code, each load as an instruction of its own with a lookup of its own. bench_tlb.py has what
is in native code and in Python without a guest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from itertools import product
from threading import Barrier, Thread
from time import perf_counter, thread_time
from typing import TYPE_CHECKING

from benchmarks import guests
from benchmarks.bench_memory import UNROLLED, InCode

if TYPE_CHECKING:
    from vmjit.engine.hart import Hart

PAGE, LINE = guests.PAGE, 64
STEP = PAGE + LINE  # from one access to the next: another page, and another set of the host's cache
FRAMES = 4  # that all pages lie in, so that the host has what is loaded in its first-level cache
HITS, MISSES = 1_000_000, 50_000  # loads of a measurement: few ms, so that some are made with nothing else going on
TIMES = 25  # that it is made
WITHIN, BEYOND = 0.5, 4  # pages of a working set for each entry
FEW_ENTRIES, MANY_PAGES = 16, 64  # with which each load walks
DRAWS = 100_000  # pages that are drawn for a rate
RATE_ENTRIES = 256
FLUSHES, RANGE = 100, 16  # of a measurement; pages
DEVICE_ACCESSES, REGISTER_ACCESSES = 400, 2_000_000  # of a measurement
TURNS = 400  # of one hart, and of two

# Loads of zeros from a3 to a1 by steps of a6, as often as a4 says; each link of a `chain` waits for the one before.
BODIES = {
    "strided": ("ld t0, 0(a0)", "add t1, t1, t0", "add a0, a0, a6"),
    "chain": ("ld t0, 0(a0)", "add a0, a0, t0", "add a0, a0, a6"),
}


def loop(body: str) -> bytes:
    lines = ("outer:", "add a0, a3, zero", "again:", *BODIES[body] * UNROLLED, "bltu a0, a1, {again}")
    return guests.program("\n".join((*lines, "addi a4, a4, -1", "bne a4, zero, {outer}", "ecall")))


def spread(pages: int) -> int:
    """Bytes that so many accesses reach over."""
    return pages * STEP + PAGE


def registers(start: int, pages: int) -> dict[str, int]:
    """Of a loop."""
    return {"x13": start, "x11": start + pages * STEP, "x16": STEP, "x6": 0}


def nanoseconds(hart: Hart, start: int, pages: int, loads: int) -> float:
    """For each of so many loads of one page after another, in the least of some measurements."""
    rounds, values = max(1, loads // pages), registers(start, pages)
    for _ in range(2):  # the second time everything is compiled
        guests.call(hart, x14=1, **values)
    return guests.best(lambda: guests.call(hart, x14=rounds, **values), TIMES) / (rounds * pages) * 1e9


class Lookups(InCode):
    """Nanoseconds for a load of eight bytes, each from another page than the one before, over a working set of pages.

    `strided` loads do not wait for each other; in a `chain` the next address is computed from what was loaded. A
    working set `within` the TLB has half as many pages as there are entries, so each lookup hits; `beyond` it has four
    times as many, and each one walks a page table of three levels. All pages lie in four frames, so the host has them
    at hand; what it may not have in its first-level cache are the entries, 128 kB of them, and the page table.
    """

    params = (list(BODIES), [16, 64, 256, 1024, 4096], ["within", "beyond"])
    param_names = ("loads", "entries", "working_set")
    unit = "ns per load"
    version = "1"

    def track_load(self, cache: str, loads: str, entries: int, working_set: str) -> float:
        return lookups(loads, entries, working_set == "within", cache)


def lookups(loads: str, entries: int, hits: bool, cache: str) -> float:
    """Nanoseconds for each."""
    pages = int(entries * (WITHIN if hits else BEYOND))
    code, size, tlb = loop(loads), spread(pages), (f"entries={entries}",)
    with guests.paged_hart(code, "jit", cache, "sv39", size, tlb=tlb, frames=FRAMES) as hart:
        return nanoseconds(hart, guests.PAGED, pages, HITS if hits else MISSES)


class Misses(InCode):
    """Nanoseconds for a load that misses: the loop, the lookup, and a refill that walks a table of 3 or 4 levels.

    The loads go to 64 pages of 4 KiB by turns, in pages of that size or within a larger one, which has fewer levels.
    The TLB has 16 entries and the victims that it always has, so each load walks. The table is in the host's cache.
    """

    params = (["bare", "sv39", "sv48"], ["4 KiB", "2 MiB", "1 GiB"])
    param_names = ("mode", "page")
    unit = "ns per load"
    version = "1"

    def setup(self, cache: str, mode: str, page: str) -> None:
        if mode == "bare" and page != "4 KiB":
            raise NotImplementedError

    def track_load(self, cache: str, mode: str, page: str) -> float:
        return misses(mode, self.params[1].index(page), cache)


def misses(mode: str, level: int, cache: str) -> float:
    """Nanoseconds for each load; all of them walk."""
    tlb = (f"entries={FEW_ENTRIES}",)
    with guests.paged_hart(loop("strided"), "jit", cache, mode, spread(MANY_PAGES), level, tlb) as hart:
        found = nanoseconds(hart, guests.PAGED, MANY_PAGES, MISSES)
        before = walks(hart)
        guests.call(hart, x14=10, **registers(guests.PAGED, MANY_PAGES))
        assert walks(hart) - before == 10 * MANY_PAGES
    return found


def walks(hart: Hart) -> int:
    """So far."""
    assert hart.tlb is not None
    return hart.tlb.statistics().walks


# Draws one of 2 ** s2 pages for each round of a4, and loads from it. t3 is the state of a generator of random numbers
# (Knuth's MMIX), s5 is what of 2 ** 16 goes to a fifth of the pages, the rest to the others; these are the first s3 and
# s4 of an order in which s6, an odd number, scatters all.
DRAW = """
again:
mul t3, t3, s7
add t3, t3, s8
srli t0, t3, 0x30
sltu t0, t0, s5
srli t1, t3, 0x10
slli t1, t1, 0x20
srli t1, t1, 0x20
sub t2, zero, t0
xor t4, s3, s4
and t4, t4, t2
xor t4, t4, s4
mul t1, t1, t4
srli t1, t1, 0x20
xori t2, t2, -1
and t2, t2, s3
add t1, t1, t2
mul t1, t1, s6
and t1, t1, s2
slli t1, t1, 0xc
add t1, t1, a0
ld t0, 0(t1)
addi a4, a4, -1
bne a4, zero, {again}
ecall
"""
MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
SCATTER = 0x9E3779B1
IN_TURN = """
again:
slli t1, t3, 0xc
add t1, t1, a0
ld t0, 0(t1)
addi t3, t3, 1
and t3, t3, s2
addi a4, a4, -1
bne a4, zero, {again}
ecall
"""
ORDERS = {"80/20": (DRAW, 0.8), "uniform": (DRAW, 0.2), "sequential": (IN_TURN, 0.0)}
POLICIES, WORKING_SETS = ["fifo", "random", "lru"], [64, 256, 1024, 4096]


class Rates(InCode):
    """Of a hundred lookups, how many walk, in a TLB of 256 entries and eight victims; the same in every run.

    A program loads from pages of a working set: from a fifth of them four times out of five, where they are scattered
    among the others (`80/20`), from any (`uniform`), or from one after another (`sequential`). It does so 100 000 times
    before it is counted, and 100 000 times then. What is found among the victims does not walk. With `prefetch` a
    refill makes the entry of the next page, too.
    """

    params = (list(ORDERS), WORKING_SETS, POLICIES, ["", "prefetch"])
    param_names = ("order", "pages", "policy", "prefetch")
    unit = "walks per 100 lookups"
    version = "1"

    def track_walks(self, cache: str, order: str, pages: int, policy: str, prefetch: str) -> float:
        tlb = (f"entries={RATE_ENTRIES}", f"policy={policy}", *filter(None, (prefetch,)))
        return rate(order, pages, tlb, cache)


class Sizes(InCode):
    """Of a hundred lookups, how many walk: as Rates, by the number of entries; the default is 4096.

    All is as it is by default but for that number: eight victims, the oldest of which goes, and no prefetching.
    """

    params = (list(ORDERS), WORKING_SETS, [64, 1024, "default"])
    param_names = ("order", "pages", "entries")
    unit = "walks per 100 lookups"
    version = "1"

    def track_walks(self, cache: str, order: str, pages: int, entries: int | str) -> float:
        return rate(order, pages, () if entries == "default" else (f"entries={entries}",), cache)


def rate(order: str, pages: int, tlb: tuple[str, ...], cache: str) -> float:
    """Walks per 100 lookups."""
    code, share = ORDERS[order]
    few = pages // 5
    values = {
        **{"x18": pages - 1, "x19": few, "x20": pages - few, "x21": int(share * (1 << 16))},
        **{"x22": SCATTER, "x23": MULTIPLIER, "x24": INCREMENT, "x14": DRAWS},
    }
    generator = "x28"
    with guests.hart(guests.program(code), "interpreter", cache, pages * PAGE, "tlb", tlb) as hart:
        guests.call(hart, **values, **{generator: 0})
        before = walks(hart)
        guests.call(hart, **values, **{generator: hart.words[hart.guest.layout.word(generator)]})
        return (walks(hart) - before) / DRAWS * 100


class Flushes(InCode):
    """Microseconds to forget a page, 16 pages, an address space or everything, or to switch to another and back.

    A guest that translates by Sv39 has a TLB of the default size and a working set of pages that it loads from, one
    after another, in compiled code, before each call. `call` is the call, by Python. `cycle` is the call and the loads
    after it, which make good what was forgotten; `nothing` is what these take if nothing was. After a switch the bank
    of the other address space has its entries. What begins with `hart` is what instructions come to, sfence.vma of
    everything and a write to satp: code is forgotten, too, and comes from the cache.
    """

    params = (["nothing", "page", "range", "asid", "all", "switch", "hart all", "hart switch"], [64, 1024])
    param_names = ("operation", "pages")
    unit = "us"
    version = "1"

    def track_call(self, cache: str, operation: str, pages: int) -> float:
        return flushes(operation, pages, cache)[0]

    def track_cycle(self, cache: str, operation: str, pages: int) -> float:
        return flushes(operation, pages, cache)[1]


def flushes(operation: str, pages: int, cache: str) -> tuple[float, float]:
    """Medians of the microseconds of a call, and of that with the guest's loads."""
    with guests.paged_hart(loop("strided"), "jit", cache, "sv39", spread(pages), frames=FRAMES) as hart:
        mmu = hart.mmu
        assert mmu is not None
        spaces = itertools.cycle([replace(mmu.settings, asid=1), mmu.settings])

        forget = {
            "nothing": lambda: None,
            "page": lambda: mmu.fence(guests.PAGED),
            "range": lambda: mmu.fence_range(guests.PAGED, RANGE * PAGE),
            "asid": lambda: mmu.fence(asid=mmu.settings.asid),
            "all": lambda: mmu.fence(),
            "switch": lambda: mmu.set(next(spaces)),
            "hart all": lambda: hart.fence_translation(),
            "hart switch": lambda: hart.set_translation(next(spaces)),
        }[operation]

        def load() -> float:
            return guests.call(hart, x14=1, **registers(guests.PAGED, pages))

        for _ in range(4):  # everything is compiled, and both address spaces have their entries
            forget()
            load()
        runs = [(guests.timed(forget), load()) for _ in range(FLUSHES)]
    calls = guests.statistics.median(call for call, _ in runs)
    return calls * 1e6, guests.statistics.median(call + after for call, after in runs) * 1e6


# Four bytes at a5, UNROLLED times for each of a4.
ACCESSES = {"read": "lw t0, 0(a5)", "write": "sw t1, 0(a5)"}


class Devices(InCode):
    """Nanoseconds for a read or a write of four bytes of a device, in compiled code, unrolled eight times.

    `registers` are plain memory that Python looks at when it likes; a `callback` is a function in Python, which each
    access leaves compiled code for. Physical addresses (`bare`), and a page table of three levels.
    """

    params = (["registers", "callback"], ["read", "write"], ["bare", "sv39"])
    param_names = ("kind", "access", "mode")
    unit = "ns per access"
    version = "1"

    def track_access(self, cache: str, kind: str, access: str, mode: str) -> float:
        return devices(kind, access, mode, cache)


def devices(kind: str, access: str, mode: str, cache: str) -> float:
    import numpy

    count = REGISTER_ACCESSES if kind == "registers" else DEVICE_ACCESSES
    lines = ("again:", *(ACCESSES[access],) * UNROLLED, "addi a4, a4, -1", "bne a4, zero, {again}", "ecall")
    with guests.paged_hart(guests.program("\n".join(lines)), "jit", cache, mode, PAGE) as hart:
        assert hart.mmu is not None
        hart.mmu.bus.add_device(guests.DEVICES, PAGE, lambda offset, size: 5, lambda offset, size, value: None)
        hart.mmu.bus.add_registers(guests.DEVICES + PAGE, numpy.zeros(8, "u4"))
        at = guests.DEVICES + (PAGE if kind == "registers" else 0)
        for _ in range(2):
            guests.call(hart, x15=at, x14=1)
        rounds = max(1, count // UNROLLED)
        return guests.best(lambda: guests.call(hart, x15=at, x14=rounds), TIMES) / (rounds * UNROLLED) * 1e9


WORK = {"hits": (4096, 0.25, HITS // 2), "misses": (16, 64.0, MISSES // 2)}  # entries, pages for each, loads


class Harts(InCode):
    """How many times as long two harts take for the work of one each as one takes for its own; 1 if they do not meet.

    Each runs in a thread of its own, with its own TLB, on the same memory: strided loads as in Lookups, of which all
    hit or all miss. Native code runs without Python's lock. `two` is the longer of two turns, one of each hart, that
    fell together by half of either: the least of such, against the least of one hart alone. 2 / 1.8 is 1.8 times the
    throughput; one free processor gives 2. `processor` is the processor time of a turn, the least mean of two, by that
    of one hart alone; it says nothing of who waits for whom.
    """

    params = (list(WORK),)
    param_names = ("loads",)
    unit = "seconds of two against one"
    version = "1"

    def track_two(self, cache: str, loads: str) -> float:
        return side_by_side(loads, cache)[0]

    def track_processor(self, cache: str, loads: str) -> float:
        return side_by_side(loads, cache)[1]


@dataclass(frozen=True)
class Turn:
    """Work that a hart did once."""

    began: float
    ended: float
    processor: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def together(self, other: Turn) -> bool:
        """Whether half of either is a time of both."""
        common = min(self.ended, other.ended) - max(self.began, other.began)
        return 2 * common >= max(self.seconds, other.seconds)


def side_by_side(loads: str, cache: str) -> tuple[float, float]:
    """The seconds of two harts by those of one, and the processor seconds."""
    entries, for_each, count = WORK[loads]
    pages = int(entries * for_each)
    rounds, values = max(1, count // pages), registers(guests.DATA, pages)
    with guests.harts(2, loop("strided"), "jit", cache, spread(pages), "tlb", (f"entries={entries}",)) as harts:
        for hart, _ in product(harts, range(2)):
            guests.call(hart, x14=1, **values)
        alone = [turn for _ in range(TURNS) for turn in turns(harts[:1], rounds, values)]
        both = [(one, other) for one, other in (turns(harts, rounds, values) for _ in range(TURNS))]
    pairs = [(one, other) for one, other in both if one.together(other)]
    if not pairs:
        raise NotImplementedError  # the two never ran at the same time
    seconds = min(max(one.seconds, other.seconds) for one, other in pairs)
    processor = min(one.processor + other.processor for one, other in both) / 2
    return seconds / min(turn.seconds for turn in alone), processor / min(turn.processor for turn in alone)


def turns(harts: list[Hart], rounds: int, values: dict[str, int]) -> list[Turn]:
    """A turn of each hart at the same time; in new threads, for these go to what processor is free."""
    barrier = Barrier(len(harts))
    done: list[Turn] = []

    def work(hart: Hart) -> None:
        barrier.wait()
        began, used = perf_counter(), thread_time()
        guests.call(hart, x14=rounds, **values)
        done.append(Turn(began, perf_counter(), thread_time() - used))

    threads = [Thread(target=work, args=(hart,)) for hart in harts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done
