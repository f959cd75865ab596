"""The compiled regions: placed in the arena, entered through slots, dropped when code changes."""

from __future__ import annotations

from _thread import RLock
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmjit.errors import InternalError
from vmjit.ir.layout import ADDRESS_BITS, INTERPRETER_SIZE, LINE_BIAS, PAGE_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vmjit.engine.cache import Ranges, Region
    from vmjit.engine.native import Native

SYMBOL = "region"  # the function of a region's module
MOST_CHANGES = 256  # that are known: what began before the earliest of them counts as changed


@dataclass(frozen=True)
class Placed:
    """A region at an arena offset, asked for at `pc`."""

    pc: int
    offset: int
    region: Region

    @property
    def code(self) -> int:
        """The arena offset that slots of entries hold."""
        return self.offset + self.region.blob.symbols[SYMBOL]

    def pc_at(self, offset: int) -> int:
        """The guest instruction whose memory access is at an arena offset, see codegen.lines."""
        line = self.region.blob.line_at(offset - self.offset)
        return self.pc if line is None else self.pc + 2 * (line - LINE_BIAS)


class Regions:
    """All calls may come from any thread. Guest code may run while regions are placed; while they go it is paused.

    Of the locks that a thread holds at the same time it takes that of the service first, then that of the memory, then
    Native.exclusive, and the one here last.
    """

    def __init__(self, native: Native) -> None:
        self.native = native
        self.lock = RLock()
        self.by_offset: dict[int, Placed] = {}
        self.by_page: dict[int, set[int]] = {}
        self.forgotten: Callable[[int, int], None] | None = None  # told of whole pages whose slots were cleared
        self.epoch = 0  # advances whenever code changes
        self.changes: list[tuple[int, int, int]] = []  # the latest: the epoch that began with it, start and end
        self.is_full = False
        self.has_ended = False

    def place(
        self, pc: int, region: Region, entries: Sequence[int] | None = None, instead: Placed | None = None
    ) -> Placed | None:
        """Make a region known; None when the arena is full, until clear() is called.

        It is entered at `entries`; by default at pc, and at those of its entries where no other region begins, but for
        the one whose place it takes.
        """
        native_code = region.blob.code
        with self.lock:
            offset = self.native.arena.allocate(len(native_code))
            if offset is None:
                self.is_full = True
                return None
            self.native.arena.place(offset, native_code)
            placed = Placed(pc, offset, region)
            self.by_offset[offset] = placed
            for page in _pages(region.ranges):
                self.by_page.setdefault(page, set()).add(offset)
            if entries is None:
                before = None if instead is None else instead.code
                codes = {entry: self.native.code_of(entry) for entry in region.entries}
                entries = [e for e, code in codes.items() if e == pc or code < INTERPRETER_SIZE or code == before]
            for entry in entries:
                self.native.set_code(entry, placed.code)
            return placed

    def entered(self) -> list[tuple[Placed, tuple[int, ...]]]:
        """The regions that are in use, in the order they were placed, and where they are entered."""
        with self.lock:
            found = []
            for placed in self.by_offset.values():
                entries = tuple(e for e in placed.region.entries if self.native.code_of(e) == placed.code)
                if entries:
                    found.append((placed, entries))
            return found

    def in_page(self, page: int) -> list[tuple[int, int]]:
        """The parts of a page of code, as offsets, that regions were made from."""
        base = page << PAGE_BITS
        size = 1 << PAGE_BITS
        with self.lock:
            ranges = [r for offset in self.by_page.get(page, ()) for r in self.by_offset[offset].region.ranges]
        parts = [(max(start - base, 0), min(end - base, size)) for start, end in ranges]
        return [(start, end) for start, end in parts if start < end]

    def covering(self, pc: int) -> list[Placed]:
        """The regions that were made from the code at an address."""
        with self.lock:
            there = [self.by_offset[offset] for offset in self.by_page.get(pc >> PAGE_BITS, ())]
            return [placed for placed in there if any(start <= pc < end for start, end in placed.region.ranges)]

    def leading_to(self, pc: int) -> list[Placed]:
        """The regions that are left for an address."""
        with self.lock:
            return [placed for placed in self.by_offset.values() if pc in placed.region.exits]

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

    def changed_since(self, epoch: int, ranges: Ranges) -> bool:
        """Whether any of this code may have changed since an epoch, or all regions were dropped."""
        with self.lock:
            if epoch == self.epoch:
                return False
            if not self.changes or self.changes[0][0] > epoch + 1:
                return True
            later = [(start, end) for began, start, end in self.changes if began > epoch]
            return any(a < end and start < b for a, b in ranges for start, end in later)

    def _change(self, start: int, end: int) -> None:
        self.epoch += 1
        self.changes = [*self.changes[1 - MOST_CHANGES :], (self.epoch, start, end)]

    def invalidate(self, start: int, size: int) -> list[Placed]:
        """Forget everything made from a range of whole pages; the regions that went."""
        went: list[Placed] = []
        with self.native.paused(), self.lock:
            self._change(start, start + size)
            first, last = start >> PAGE_BITS, (start + size - 1) >> PAGE_BITS
            pages = range(first, last + 1) if last - first < len(self.by_page) else list(self.by_page)
            for page in pages:
                if first <= page <= last:
                    for offset in tuple(self.by_page.get(page, ())):
                        went.append(self.by_offset[offset])
                        self._drop(went[-1])
            self.native.forget(start, size)
            if self.forgotten is not None:
                self.forgotten(start, size)
        return went

    def clear(self) -> None:
        """Drop all regions."""
        with self.native.paused(), self.lock:
            self._change(0, 1 << ADDRESS_BITS)
            for placed in tuple(self.by_offset.values()):
                self._drop(placed)
            self.is_full = False

    def end(self) -> None:
        """Nothing is to be placed any more that was asked for until now."""
        with self.lock:
            self.has_ended = True
            self._change(0, 1 << ADDRESS_BITS)

    def _drop(self, placed: Placed) -> None:
        del self.by_offset[placed.offset]
        for page in _pages(placed.region.ranges):
            self.by_page[page].discard(placed.offset)
            if not self.by_page[page]:
                del self.by_page[page]
        for entry in placed.region.entries:
            if self.native.code_of(entry) == placed.code:
                self.native.set_code(entry, 0)
        self.native.arena.free(placed.offset, len(placed.region.blob.code))


def _pages(ranges: Ranges) -> set[int]:
    return {page for start, end in ranges for page in range(start >> PAGE_BITS, ((end - 1) >> PAGE_BITS) + 1)}
