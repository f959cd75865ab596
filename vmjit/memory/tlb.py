"""The software TLB, seen from the host: entries and victims in memory that native code reads, and their loss.

An entry has a tag for reading, one for writing and one for executing, each the virtual address of a page or
INVALID_TAG, and what is added to an address of that page to get its offset in memory. The entries are indexed by the
low bits of the page number, victims are searched. Native code fills them: see codegen/walk.py.

Each translation context in use lately has a *bank* of entries and victims of its own. So tags need no ASID, changing
the context is changing words of the state, and its entries are there when it comes back. What is global is in each bank
that met it.

Invariant: no page is in a bank twice, in the entries or among the victims.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from threading import Lock

from vmjit.errors import SettingsError
from vmjit.ir.layout import INVALID_TAG, PAGE_BITS, TLB_ENTRY_SIZE, TLB_LRU, TLB_PREFETCH, TLB_RANDOM, WORD, Layout
from vmjit.memory.address_space import AddressSpace
from vmjit.memory.frames import Frames
from vmjit.memory.reservation import Reservation

PAGE_SIZE = 1 << PAGE_BITS
ENTRY_WORDS = TLB_ENTRY_SIZE // WORD
TAGS = 3  # of an entry; the first words
POLICIES = {"fifo": 0, "random": TLB_RANDOM, "lru": TLB_LRU}
LEAST_ENTRIES, MOST_ENTRIES = 16, 4096
MOST_VICTIMS = 16  # they are searched one after another
MOST_BANKS = 64
# To look for one page costs as much as to forget 4 KiB of entries, and these come back in some 20 ns each.
MOST_PAGES = 16
MOST_REQUESTS = 64  # that a hart remembers; more are one for everything
SEED = 0x9E3779B97F4A7C15  # of the generator of random numbers, any but 0
_INVALID_BYTE = INVALID_TAG & 0xFF


@dataclass(frozen=True)
class Geometry:
    """Sizes and policy: which victim is replaced, the one that came first, any, or the one used least recently."""

    entries: int = 4096  # what lies 1 or 4 MiB apart meets with fewer: kernels/stream.c missed each time with 1024
    victims: int = 8
    policy: str = "fifo"
    prefetch: bool = False  # make an entry for the next page too
    banks: int = 8

    def __post_init__(self) -> None:
        if not LEAST_ENTRIES <= self.entries <= MOST_ENTRIES or self.entries & (self.entries - 1):
            raise SettingsError(
                f"{self.entries} entries of the TLB: the number must be a power of two from {LEAST_ENTRIES} to "
                f"{MOST_ENTRIES}"
            )
        if not 0 <= self.victims <= MOST_VICTIMS:
            raise SettingsError(f"{self.victims} victims of the TLB: there can be 0 to {MOST_VICTIMS}")
        if self.policy not in POLICIES:
            raise SettingsError(f"no TLB policy {self.policy!r}; there are {', '.join(POLICIES)}")
        if not 1 <= self.banks <= MOST_BANKS:
            raise SettingsError(f"{self.banks} banks of the TLB: there can be 1 to {MOST_BANKS}")

    @property
    def flags(self) -> int:
        """The word `tlb_flags`."""
        return POLICIES[self.policy] | (TLB_PREFETCH if self.prefetch else 0)


@dataclass(frozen=True)
class Context:
    """All that a translation depends on but the page table: levels (0 Bare), root, WALK_ flags; and the ASID."""

    levels: int = 0
    root: int = 0
    flags: int = 0
    asid: int = 0


@dataclass(frozen=True)
class Flush:
    """What to forget: the pages of a range, or all (size None); of one address space, or of all (asid None)."""

    start: int = 0
    size: int | None = None
    asid: int | None = None

    def pages(self) -> range | None:
        """Page numbers, modulo 2**52; None when that is all."""
        if self.size is None:
            return None
        return range(self.start >> PAGE_BITS, (self.start + self.size + PAGE_SIZE - 1) >> PAGE_BITS)


EVERYTHING = Flush()


@dataclass(frozen=True)
class Statistics:
    """Counts since the start or the last reset; hits only where code counts them."""

    hits: int
    misses: int  # of the entries
    victim_hits: int
    walks: int
    evictions: int  # of entries that went for another page
    prefetches: int  # entries made for the next page


_OF_BANKS = ("tlb", "victims", "victim_next", "walk_large", "walk_levels", "walk_root", "walk_flags")
_WORDS = (*_OF_BANKS, "tlb_mask", "tlb_flags", "victim_count", "frames")
_COUNTERS = {
    "hits": "tlb_hits",
    "misses": "tlb_misses",
    "victim_hits": "victim_hits",
    "walks": "tlb_walks",
    "evictions": "tlb_evictions",
    "prefetches": "tlb_prefetches",
}
assert list(_COUNTERS) == [counter.name for counter in fields(Statistics)]


@dataclass(slots=True)
class Bank:
    """Entries and victims of one context, and the words of the state that go with them while it is not in use."""

    address: int
    words: memoryview  # first the entries, then the victims
    context: Context | None = None
    victim_next: int = 0
    large: int = 0
    is_empty: bool = True  # surely: it was not in use since it was emptied


@dataclass
class Tlb:
    """The TLB of one hart, whose state is `words`.

    The hart's own thread calls everything here, but for `request`: that one may come from any thread, while guest code
    runs on this hart. It stores tags that no address has, each in one store of 64 bits, and nothing else; a lookup that
    compares before sees the entry as it was, which is an access before the flush, and one that compares later misses.
    Addends stay, so no tag ever comes with that of another entry. What the hart's refill puts back at that very moment,
    because it was moving an entry or had read the page table before, is forgotten by `settle`, which the hart calls
    whenever native code has returned. Whoever has to know that it is done makes the hart return: a store to `limit`.
    """

    layout: Layout
    words: memoryview
    geometry: Geometry = Geometry()
    context: Context = Context()
    _bank: Bank = field(init=False, repr=False)

    def __post_init__(self) -> None:
        entries, victims = self.geometry.entries, self.geometry.victims
        count = (entries + victims) * ENTRY_WORDS
        self._bytes = count * WORD
        self._area = Reservation(self.geometry.banks * self._bytes)
        free = [
            Bank(self._area.base + number * self._bytes, self._area.words(number * self._bytes, count))
            for number in range(self.geometry.banks)
        ]
        self._bank = free[0]
        # By context, the one used last at the end; before them those that were never used.
        self._banks: OrderedDict[Context | int, Bank] = OrderedDict(enumerate(free))
        self._invalid = memoryview(INVALID_TAG.to_bytes(WORD, "little") * (entries + victims)).cast("Q")
        self._lock = Lock()
        self.flushes = 0  # that were asked for: who keeps translations of its own looks whether there were more
        self._requests: list[Flush] = []
        self._group: TlbGroup | None = None
        self._word = {name: self.layout.word(name) for name in (*_WORDS, *_COUNTERS.values())}
        self._bank_words = [self._word[name] for name in _OF_BANKS]
        self._put("tlb_mask", (entries - 1) * TLB_ENTRY_SIZE)
        self._put("tlb_flags", self.geometry.flags)
        self._put("victim_count", victims)
        self._take(self.context)

    def close(self) -> None:
        """Give the memory back; the guest must not be running."""
        if self._group is not None:
            self._group.remove(self)
            if not self._group.tlbs:
                self._group.close()
            self._group = None
        for bank in self._banks.values():
            bank.words.release()
        self._area.close()

    # The context.

    def switch(self, context: Context) -> None:
        """Translate so from now on."""
        if context == self.context:
            return
        with self._lock:
            self._bank.victim_next, self._bank.large = self._get("victim_next"), self._get("walk_large")
            self._take(context)

    def use(self, frames: Frames) -> None:
        """What memory allows is in this table from now on."""
        self._put("frames", frames.base)
        self.flush_all()

    def follow(self, memory: AddressSpace) -> TlbGroup:
        """In user mode: memory allows what the table of its address space says, always; see TlbGroup.follow.

        All harts that follow one address space are a group, which is there until the last of them is closed.
        """
        with memory.lock:
            group = getattr(memory.mapping_changed, "__self__", None)
            if not isinstance(group, TlbGroup):
                group = TlbGroup()
                group.follow(memory)
            group.add(self)
            self._group = group
        return group

    def stay_alone(self) -> None:
        """In the child of a fork: the other harts of the group are not there, nor are threads that held a lock."""
        self._lock = Lock()
        if self._group is not None:
            self._group.become(self)

    def _take(self, context: Context) -> None:
        """The context's bank, or the one that was not used for the longest time."""
        bank = self._banks.pop(context, None)
        if bank is None:
            _, bank = self._banks.popitem(last=False)
            self._empty(bank)
            bank.context, bank.victim_next, bank.large = context, SEED if self.geometry.policy == "random" else 0, 0
        bank.is_empty = False
        self._banks[context] = self._bank = bank
        self.context = context
        victims = bank.address + self.geometry.entries * TLB_ENTRY_SIZE
        values = bank.address, victims, bank.victim_next, bank.large, context.levels, context.root, context.flags
        for word, value in zip(self._bank_words, values, strict=True):
            self.words[word] = value

    # Forgetting.

    def flush_page(self, address: int, asid: int | None = None) -> None:
        """Forget the page of an address, in all address spaces or one."""
        self.flush(Flush(address, 1, asid))

    def flush_range(self, start: int, size: int, asid: int | None = None) -> None:
        """Forget all pages of a range of addresses."""
        self.flush(Flush(start, size, asid))

    def flush_asid(self, asid: int) -> None:
        """Forget one address space, what is global in it too."""
        self.flush(Flush(asid=asid))

    def flush_all(self) -> None:
        """Forget everything."""
        self.flush(EVERYTHING)

    def flush(self, what: Flush) -> None:
        """Forget it, on the hart's own thread."""
        pages = what.pages()
        with self._lock:
            self.flushes += 1
            for bank in self._banks_of(what):
                if pages is None or self._is_large(bank) or len(pages) > MOST_PAGES:
                    self._empty(bank)
                    bank.large = 0
                    if bank is self._bank:
                        self._put("walk_large", 0)
                else:
                    self._forget_pages(bank, pages)

    def request(self, what: Flush) -> None:
        """Forget it, from any thread: at once, and once more at the next `settle`."""
        pages = what.pages()
        with self._lock:
            self.flushes += 1
            if what not in self._requests:
                self._requests = [*self._requests, what] if len(self._requests) < MOST_REQUESTS else [EVERYTHING]
            for bank in self._banks_of(what):
                if pages is None or self._is_large(bank) or len(pages) > MOST_PAGES:
                    self._invalidate_all(bank)
                else:
                    self._forget_pages(bank, pages)

    def settle(self) -> None:
        """To be called when native code has returned: what others asked for is done for good."""
        if self._requests:
            with self._lock:
                requests, self._requests = self._requests, []
            for what in requests:
                self.flush(what)

    def _banks_of(self, what: Flush) -> list[Bank]:
        """Those with entries that it concerns."""
        return [
            bank
            for bank in self._banks.values()
            if not bank.is_empty and bank.context is not None and what.asid in (None, bank.context.asid)
        ]

    def _is_large(self, bank: Bank) -> bool:
        """Whether a page larger than 4 KiB is known: in pieces, any of which may belong to a range."""
        return bool(self._get("walk_large") if bank is self._bank else bank.large)

    def _forget_pages(self, bank: Bank, pages: range) -> None:
        """Of the entries those at the pages' places, whatever they are of; of the victims those with such a tag."""
        entries = self.geometry.entries
        first = pages.start % entries
        end = first + len(pages)
        self._invalidate(bank, first, min(end, entries))
        if end > entries:
            self._invalidate(bank, 0, end - entries)
        victims = bank.words[entries * ENTRY_WORDS :].tolist()
        tags = {page << PAGE_BITS for page in pages}
        if tags.isdisjoint(victims):
            return
        for start in range(0, len(victims), ENTRY_WORDS):
            if not tags.isdisjoint(victims[start : start + TAGS]):  # an addend may look like one
                number = entries + start // ENTRY_WORDS
                self._invalidate(bank, number, number + 1)

    def _empty(self, bank: Bank) -> None:
        """On the hart's own thread."""
        ctypes.memset(bank.address, _INVALID_BYTE, self._bytes)
        bank.is_empty = bank is not self._bank

    def _invalidate_all(self, bank: Bank) -> None:
        """As _empty, but each tag in one store."""
        self._invalidate(bank, 0, len(self._invalid))

    def _invalidate(self, bank: Bank, first: int, end: int) -> None:
        """Of some entries and victims, each tag in one store."""
        invalid = self._invalid[: end - first]
        for tag in range(TAGS):
            bank.words[first * ENTRY_WORDS + tag : end * ENTRY_WORDS : ENTRY_WORDS] = invalid

    # Counting.

    def statistics(self) -> Statistics:
        """What was counted so far."""
        return Statistics(*(self._get(name) for name in _COUNTERS.values()))

    def reset_statistics(self) -> None:
        """Count from 0."""
        for name in _COUNTERS.values():
            self._put(name, 0)

    def _get(self, name: str) -> int:
        return self.words[self._word[name]]

    def _put(self, name: str, value: int) -> None:
        self.words[self._word[name]] = value


class TlbGroup:
    """The TLBs of all harts that share memory, and the table of what memory allows.

    Every method may be called from any thread.
    """

    def __init__(self, frames: Frames | None = None) -> None:
        self.frames = Frames() if frames is None else frames
        self.tlbs: tuple[Tlb, ...] = ()
        self._memory: AddressSpace | None = None
        self._lock = Lock()

    def add(self, tlb: Tlb) -> None:
        """Let a hart belong to it that does not run yet."""
        tlb.use(self.frames)
        with self._lock:
            self.tlbs = (*self.tlbs, tlb)

    def remove(self, tlb: Tlb) -> None:
        """To be called before the TLB is closed."""
        with self._lock:
            self.tlbs = tuple(other for other in self.tlbs if other is not tlb)

    def become(self, tlb: Tlb) -> None:
        """Have this member only, whoever holds the lock; see Tlb.stay_alone."""
        self._lock = Lock()
        self.tlbs = (tlb,)

    def request(self, what: Flush = EVERYTHING) -> None:
        """Let all harts forget it, see Tlb.request."""
        flush_harts(self.tlbs, what)

    def follow(self, memory: AddressSpace) -> None:
        """Memory allows what the table of this address space says, from now on and after each change of it."""
        with memory.lock:
            self._memory = memory
            self.frames.copy_table(memory, 0, memory.size)
            memory.mapping_changed = self._mapping_changed
        self.request()

    def close(self) -> None:
        """Follow no longer, and give the table back; no hart of the group may run."""
        if self._memory is not None:
            self._memory.mapping_changed = None
        self.frames.close()

    def _mapping_changed(self, start: int, size: int) -> None:
        assert self._memory is not None
        self.frames.copy_table(self._memory, start, size)
        self.request(Flush(start, size))


def flush_harts(tlbs: Iterable[Tlb], what: Flush) -> None:
    """Let some harts forget it, as a remote fence of the supervisor's firmware does; see Tlb.request."""
    for tlb in tlbs:
        tlb.request(what)


def geometry(items: Iterable[str]) -> Geometry:
    """From texts like `entries=512` and `prefetch`; `count` is for who makes code. Raises SettingsError."""
    values: dict[str, object] = {}
    for item in items:
        name, _, text = item.partition("=")
        if name in ("entries", "victims", "banks") and text.isdecimal():
            values[name] = int(text)
        elif name == "policy":
            values[name] = text
        elif item == "prefetch":
            values[name] = True
        elif item != "count":
            raise SettingsError(f"TLB {item!r}: none of entries=N, victims=N, banks=N, policy=NAME, prefetch, count")
    return Geometry(**values)  # type: ignore[arg-type]
