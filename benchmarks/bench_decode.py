"""What it costs to find out what an instruction is: in Python for compilation, in native code for the interpreter."""

import os
import statistics
from collections.abc import Callable, Iterable

from benchmarks import guests

STRETCH = 100_000  # instructions: 400 kB of code, and slots of 3 MB that are touched for the first time
MIXED = 50_000
WORDS = 2000
HARTS = 5


class Python:
    """DecodeTable.decode_word over 2000 generated instructions, as when a region is formed; the loop is Python, too."""

    version = "1"

    def setup(self) -> None:
        from vmjit.guest import get

        code = guests.straight(WORDS)
        self.words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, 4 * WORDS, 4)]
        self.table = get("riscv64").decode_table
        self.table.decode_word(self.words[0], 4)

    def time_decode_words(self) -> None:
        decode = self.table.decode_word
        for word in self.words:
            decode(word, 4)


class Native:
    """The interpreter runs generated code without a branch, 100,000 different instructions once, on a bare hart.

    `first` is nanoseconds per instruction when all are decoded on the way (the page faults of their slots included),
    `again` when they have been, `forgotten` when they have been but code was declared changed. Medians of fresh harts.
    """

    params = (["first", "again", "forgotten"],)
    param_names = ("pass",)
    unit = "ns per guest instruction"
    version = "1"

    def setup_cache(self) -> dict[str, float]:
        return measure(STRETCH, HARTS, os.path.abspath("compiled"))

    def track_straight_code(self, measured: dict[str, float], name: str) -> float:
        return measured[name]


class Mix:
    """Nanoseconds to decode an instruction of RV64GC code: the first run of 50,000 instructions less the second.

    A third of them has two bytes, a tenth computes with doubles; the page faults of their slots are included. The best
    of a few harts, for a first run cannot be repeated until the machine is quiet.
    """

    unit = "ns per guest instruction"
    version = "1"

    def track_decode(self) -> float:
        code = guests.mixed(MIXED)
        measured = measure_code(code, MIXED, HARTS, os.path.abspath("compiled"), min)
        return measured["first"] - measured["again"]


def measure(count: int, times: int, cache: str) -> dict[str, float]:
    """Nanoseconds per instruction of straight code by name of the pass; medians of `times` harts."""
    return measure_code(guests.straight(count), count, times, cache)


def measure_code(
    code: bytes, count: int, times: int, cache: str, of: Callable[[Iterable[float]], float] = statistics.median
) -> dict[str, float]:
    """The same for other code; `of` says what is taken of the harts."""
    runs: list[tuple[float, float, float]] = []
    for _ in range(times):
        with guests.hart(code, "interpreter", cache) as hart:
            first = guests.call(hart)
            again = min(guests.call(hart), guests.call(hart))
            hart.code_changed(guests.CODE, len(code))
            runs.append((first, again, guests.call(hart)))
    names = ("first", "again", "forgotten")
    return {name: of(run[i] for run in runs) / count * 1e9 for i, name in enumerate(names)}
