"""The compiled regions of one hart: placed in the arena, entered through slots, dropped when code changes."""

from __future__ import annotations

from _thread import RLock
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmjit.errors import InternalError
from vmjit.ir.layout import INTERPRETER_SIZE, LINE_BIAS, PAGE_BITS

if TYPE_CHECKING:
    from vmjit.engine.cache import Ranges, Region
    from vmjit.engine.native import Native
    from vmjit.jit.blob import Blob

SYMBOL = "region"  # the function of a region's module


@dataclass(frozen=True)
class Placed:
    """A region at an arena offset; `ranges` are the guest addresses it was made from."""

    pc: int
    offset: int
    blob: Blob
    entries: tuple[int, ...]
    ranges: Ranges

    def pc_at(self, offset: int) -> int:
        """The guest instruction whose memory access is at an arena offset, see codegen.lines."""
        line = self.blob.line_at(offset - self.offset)
        return self.pc if line is None else self.pc + 2 * (line - LINE_BIAS)


class Regions:
    """All calls may come from any thread; the guest may be running while regions are placed, not while they go."""

    def __init__(self, native: Native) -> None:
        self.native = native
        self.lock = RLock()
        self.by_offset: dict[int, Placed] = {}
        self.by_page: dict[int, set[int]] = {}
        self.epoch = 0  # advances whenever code changes
        self.is_full = False

    def place(self, pc: int, region: Region) -> Placed | None:
        """Make a region known; None when the arena is full, until clear() is called."""
        blob, entries, ranges = region.blob, region.entries, region.ranges
        with self.lock:
            offset = self.native.arena.allocate(len(blob.code))
            if offset is None:
                self.is_full = True
                return None
            self.native.arena.place(offset, blob.code)
            placed = Placed(pc, offset, blob, entries, ranges)
            self.by_offset[offset] = placed
            for page in _pages(ranges):
                self.by_page.setdefault(page, set()).add(offset)
            code = offset + blob.symbols[SYMBOL]
            for entry in entries:
                if entry == pc or self.native.code_of(entry) < INTERPRETER_SIZE:
                    self.native.set_code(entry, code)
            return placed

    def covers(self, pc: int) -> bool:
        """Whether some region was made from the code at an address."""
        with self.lock:
            there = [self.by_offset[offset] for offset in self.by_page.get(pc >> PAGE_BITS, ())]
            return any(start <= pc < end for placed in there for start, end in placed.ranges)

    def find(self, offset: int) -> Placed | None:
        """The region whose code holds an arena offset."""
        with self.lock:
            starts = sorted(self.by_offset)
            index = bisect_right(starts, offset) - 1
            return self.by_offset[starts[index]] if index >= 0 else None

    def pc_at(self, offset: int) -> int:
        """The guest instruction whose memory access is at an arena offset."""
        placed = self.find(offset)
        if placed is None:
            raise InternalError(f"no region has code at {offset:#x} of the arena")
        return placed.pc_at(offset)

    def invalidate(self, start: int, size: int) -> None:
        """Forget everything made from a range of whole pages."""
        with self.lock:
            self.epoch += 1
            first, last = start >> PAGE_BITS, (start + size - 1) >> PAGE_BITS
            pages = range(first, last + 1) if last - first < len(self.by_page) else list(self.by_page)
            for page in pages:
                if first <= page <= last:
                    for offset in tuple(self.by_page.get(page, ())):
                        self._drop(self.by_offset[offset])
            self.native.forget(start, size)

    def clear(self) -> None:
        """Drop all regions."""
        with self.lock:
            self.epoch += 1
            for placed in tuple(self.by_offset.values()):
                self._drop(placed)
            self.is_full = False

    def _drop(self, placed: Placed) -> None:
        del self.by_offset[placed.offset]
        for page in _pages(placed.ranges):
            self.by_page[page].discard(placed.offset)
            if not self.by_page[page]:
                del self.by_page[page]
        code = placed.offset + placed.blob.symbols[SYMBOL]
        for entry in placed.entries:
            if self.native.code_of(entry) == code:
                self.native.set_code(entry, 0)
        self.native.arena.free(placed.offset, len(placed.blob.code))


def _pages(ranges: Ranges) -> set[int]:
    return {page for start, end in ranges for page in range(start >> PAGE_BITS, ((end - 1) >> PAGE_BITS) + 1)}
