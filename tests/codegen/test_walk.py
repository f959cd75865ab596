"""The native refill: against the reference on random page tables, and against small models of victims and counters."""

import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

import pytest

from tests.codegen.page_tables import KINDS, TABLES, Board, address, board, fill, settings
from tests.codegen.refilling import LAYOUT, Hart, Refill
from vmjit.codegen.walk import refill as refill_text
from vmjit.ir.layout import READ_TAG, WRITE_TAG
from vmjit.jit.compiler import LLVM_PASSES, Compiler
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE
from vmjit.memory.mmu import (
    INDEX_BITS,
    LEVELS,
    PTE_A,
    PTE_D,
    PTE_PPN_SHIFT,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
    Translation,
)
from vmjit.memory.tlb import SEED, Geometry, Statistics

TOP = (1 << 64) - 1
RWXU = PTE_V | PTE_R | PTE_W | PTE_X | PTE_U
GEOMETRIES = (
    Geometry(16, 0),
    Geometry(16, 4),
    Geometry(16, 3, "lru"),
    Geometry(16, 16, "random", prefetch=True),
    Geometry(256, 8, "lru", prefetch=True),
    Geometry(16, 0, prefetch=True),
)


@pytest.fixture(scope="module")
def refill() -> Iterator[Refill]:
    made = Refill(Compiler())
    yield made
    made.close()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_refill_when_compared_with_the_reference(refill: Refill, geometry: Geometry) -> None:
    rng = random.Random(geometry.entries + geometry.victims)
    found = []
    with board(refill, geometry) as it:
        for _ in range(40):
            fill(it, rng)
            it.mmu.fence()
            now, recent = settings(rng), [0]
            for number in range(40):
                if rng.random() < 0.2:
                    now = replace(settings(rng), mode=now.mode, root=now.root)
                it.mmu.set(now)
                vaddr, kind, size = address(rng, now.levels), rng.randrange(3), rng.choice((1, 2, 4, 8))
                vaddr = rng.choice((vaddr, *recent))
                recent = [vaddr, vaddr + PAGE_SIZE & TOP, *recent[:6]]
                before, walks = it.tables(), it.hart.tlb.statistics().walks
                expected = it.expected(vaddr, kind, size)
                after = it.tables()
                it.restore(before)
                assert it.hart(vaddr, kind, size) == expected, (now, hex(vaddr), kind, size)
                assert it.tables() == after
                found.append(expected)
                if number % 8 == 7:
                    check_entries(it)
                if expected is not None and it.hart.tlb.statistics().walks == walks + 1:
                    page = (vaddr if vaddr % PAGE_SIZE + size <= PAGE_SIZE else vaddr + PAGE_SIZE & TOP) & -PAGE_SIZE
                    assert page not in it.hart.entries() or it.hart.entries()[page][0] == it.rights(page)
    assert len(found) / 8 < sum(offset is not None for offset in found) < len(found) * 9 / 10


def check_entries(it: Board) -> None:
    """No entry allows what the page table does not."""
    for page, (tags, offset) in it.hart.entries().items():
        assert all(right or not tag for tag, right in zip(tags, it.rights(page), strict=True))
        assert it.offset(page, tags.index(True), mark=False) == offset


# The page table.


def leaf(page: int, flags: int) -> int:
    return page << PTE_PPN_SHIFT | flags


def map_pages(it: Board, levels: int, leaves: dict[int, int]) -> None:
    """Tables at the pages 0, 1, ... of memory; `leaves` go into the last one, from index 0 of all above."""
    it.restore(bytes(TABLES * PAGE_SIZE))
    for level in range(levels - 1):
        it.bus.store(level * PAGE_SIZE, 8, leaf(level + 1, PTE_V))
    for index, pte in leaves.items():
        it.bus.store((levels - 1) * PAGE_SIZE + 8 * index, 8, pte)


def pte_of(it: Board, levels: int, index: int) -> int:
    found = it.bus.load((levels - 1) * PAGE_SIZE + 8 * index, 8)
    assert found is not None
    return found


@pytest.mark.parametrize("mode", ["sv39", "sv48"])
def test_refill_when_a_page_is_clean_gets_a_write_tag_by_a_write(refill: Refill, mode: str) -> None:
    levels = LEVELS[mode]
    with board(refill) as it:
        map_pages(it, levels, {0: leaf(20, RWXU)})
        it.mmu.set(Translation(mode, user=True))
        assert it.hart(0x10, READ_TAG) == 20 * PAGE_SIZE + 0x10
        assert pte_of(it, levels, 0) == leaf(20, RWXU | PTE_A)
        assert it.hart.entries() == {0: ((True, False, True), 20 * PAGE_SIZE)}
        assert it.hart(0x18, WRITE_TAG) == 20 * PAGE_SIZE + 0x18
        assert pte_of(it, levels, 0) == leaf(20, RWXU | PTE_A | PTE_D)
        assert it.hart.entries() == {0: ((True, True, True), 20 * PAGE_SIZE)}


def test_refill_when_a_victim_gets_new_rights_is_not_there_twice(refill: Refill) -> None:
    with board(refill, Geometry(16, 2)) as it:
        map_pages(it, 3, {0: leaf(20, RWXU), 16: leaf(21, RWXU)})
        it.mmu.set(Translation("sv39", user=True))
        for page in (0, 16):
            it.hart(page * PAGE_SIZE, READ_TAG)
        assert it.hart.victims() == [0, None]
        it.hart(0, WRITE_TAG)
        assert it.hart.victims() == [16 * PAGE_SIZE, None]
        assert it.hart.entries()[0][0] == (True, True, True)
        assert it.hart.tlb.statistics() == Statistics(0, 3, 0, 3, 0, 0)


def test_refill_when_the_table_of_the_page_cannot_be_written(refill: Refill) -> None:
    with board(refill) as it:
        map_pages(it, 3, {0: leaf(20, RWXU), 1: leaf(20, RWXU | PTE_A | PTE_D)})
        it.bus.frames.set(2 * PAGE_SIZE, PAGE_SIZE, READ)
        it.mmu.set(Translation("sv39", user=True))
        assert it.hart(0, READ_TAG) is None
        assert it.hart(PAGE_SIZE, WRITE_TAG) == 20 * PAGE_SIZE
        it.bus.frames.set(2 * PAGE_SIZE, PAGE_SIZE, 0)
        it.mmu.fence()
        assert it.hart(PAGE_SIZE, WRITE_TAG) is None


def test_refill_when_two_harts_mark_the_same_pages(refill: Refill) -> None:
    """Neither A nor D gets lost."""
    count = 1 << INDEX_BITS
    with board(refill, Geometry(16, 0)) as it:
        other = Hart(refill, it.memory.base, Geometry(16, 0))
        other.tlb.use(it.bus.frames)
        settings = Translation("sv39", user=True)
        it.mmu.set(settings)
        other.tlb.switch(settings.context)
        for _ in range(30):
            map_pages(it, 3, dict.fromkeys(range(count), leaf(20, RWXU)))
            it.mmu.fence()
            other.tlb.flush_all()
            thread = threading.Thread(target=other.sweep, args=(0, WRITE_TAG, count))
            thread.start()
            assert it.hart.sweep(0, READ_TAG, count) == count
            thread.join()
            assert {pte_of(it, 3, index) for index in range(count)} == {leaf(20, RWXU | PTE_A | PTE_D)}
        other.close()


def test_refill_when_pages_are_large(refill: Refill) -> None:
    large = LAYOUT.word("walk_large")
    with board(refill) as it:
        map_pages(it, 2, {0: leaf(0, RWXU | PTE_A), 1: leaf(1, RWXU | PTE_A)})
        it.mmu.set(Translation("sv39", user=True))
        assert it.hart(0x1234, READ_TAG) == 0x1234
        assert it.hart.words[large]
        assert it.hart(0x201234, READ_TAG) is None  # not aligned
        it.mmu.fence()
        assert not it.hart.words[large]
        map_pages(it, 3, {0: leaf(9, RWXU | PTE_A)})
        assert it.hart(0x234, READ_TAG) == 9 * PAGE_SIZE + 0x234
        assert not it.hart.words[large]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_refill_when_an_access_crosses_pages(refill: Refill, size: int) -> None:
    flags = RWXU | PTE_A | PTE_D
    with board(refill) as it:
        map_pages(it, 3, {0: leaf(20, flags), 1: leaf(21, flags), 2: leaf(30, flags)})
        it.mmu.set(Translation("sv39", user=True))
        for vaddr in range(PAGE_SIZE - 8, PAGE_SIZE + 1):
            assert it.hart(vaddr, WRITE_TAG, size) == 20 * PAGE_SIZE + vaddr
            second = PAGE_SIZE + vaddr
            apart = second < 2 * PAGE_SIZE < second + size
            assert it.hart(second, WRITE_TAG, size) == (None if apart else it.offset(second, WRITE_TAG))
        assert it.hart(3 * PAGE_SIZE - 4, READ_TAG, 8) is None
        assert sorted(it.hart.entries()) == [0, PAGE_SIZE, 2 * PAGE_SIZE]


def test_refill_when_an_access_crosses_into_offset_0_after_a_fault(refill: Refill) -> None:
    with board(refill) as it:
        map_pages(it, 3, {1: leaf(0, RWXU | PTE_A)})
        it.mmu.set(Translation("sv39", user=True))
        assert it.hart(PAGE_SIZE - 1, READ_TAG, 8) is None


def test_refill_when_bare(refill: Refill) -> None:
    """Permissions are those of the frames, and what can be written can be read."""
    with board(refill) as it:
        for page, permissions in enumerate((0, READ, WRITE, EXECUTE, READ | EXECUTE)):
            it.bus.frames.set(page * PAGE_SIZE, PAGE_SIZE, permissions)
        allowed = {
            page: [it.hart(page * PAGE_SIZE + 5, kind) == page * PAGE_SIZE + 5 for kind in KINDS] for page in range(5)
        }
        assert allowed == {
            0: [False, False, False],
            1: [True, False, False],
            2: [True, True, False],
            3: [False, False, True],
            4: [True, False, True],
        }
        assert it.hart(1 << 38, READ_TAG) is None
        assert it.hart(TOP, READ_TAG) is None


def test_refill_when_it_makes_the_next_entry_too(refill: Refill) -> None:
    """Unless that needs a change of the page table."""
    with board(refill, Geometry(16, 2, prefetch=True)) as it:
        map_pages(it, 3, {0: leaf(20, RWXU), 1: leaf(30, RWXU | PTE_A), 2: leaf(31, RWXU), 3: leaf(32, 0)})
        it.mmu.set(Translation("sv39", user=True))
        it.hart(0, READ_TAG)
        assert it.hart.entries()[PAGE_SIZE] == ((True, False, True), 30 * PAGE_SIZE)
        it.hart(PAGE_SIZE, READ_TAG)
        assert sorted(it.hart.entries()) == [0, PAGE_SIZE]
        it.hart(2 * PAGE_SIZE, READ_TAG)
        assert sorted(it.hart.entries()) == [0, PAGE_SIZE, 2 * PAGE_SIZE]
        assert [pte_of(it, 3, index) & PTE_A for index in range(4)] == [PTE_A, PTE_A, PTE_A, 0]
        assert it.hart.tlb.statistics() == Statistics(0, 2, 0, 2, 0, 1)


# Victims.


@dataclass
class Model:
    """Entries and victims by page number. Each place of a victim holds a page or None."""

    geometry: Geometry
    seed: int
    entries: dict[int, int] = field(default_factory=dict)
    victims: list[int | None] = field(default_factory=list)
    turn: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def access(self, page: int) -> None:
        index = page % self.geometry.entries
        old = self.entries.get(index)
        if old == page:
            return
        self.counts["misses"] += 1
        place = None
        if page in self.victims:
            self.counts["victim_hits"] += 1
            place = self.victims.index(page)
            self.victims[place] = None
        else:
            self.counts["walks"] += 1
            if None in self.victims:
                place = self.victims.index(None)
        self.entries[index] = page
        if old is None:
            return
        if place is None:
            self.counts["evictions"] += 1
        if self.victims:
            self.receive(old, place)

    def receive(self, page: int, place: int | None) -> None:
        if self.geometry.policy == "lru":
            self.victims.pop(len(self.victims) - 1 if place is None else place)
            self.victims.insert(0, page)
            return
        if place is None:
            place = self.choose()
        self.victims[place] = page

    def choose(self) -> int:
        if self.geometry.policy == "fifo":
            self.turn, chosen = (self.turn + 1) % len(self.victims), self.turn
            return chosen
        for shift in (13, -7, 17):
            self.seed ^= (self.seed << shift if shift > 0 else self.seed >> -shift) & TOP
        return (self.seed >> 32) * len(self.victims) >> 32


@pytest.mark.parametrize("policy", ["fifo", "random", "lru"])
@pytest.mark.parametrize("victims", [0, 1, 3, 8, 16])
def test_victims_when_compared_with_a_model(refill: Refill, policy: str, victims: int) -> None:
    geometry = Geometry(16, victims, policy)
    rng = random.Random(victims)
    with board(refill, geometry) as it:
        model = Model(geometry, SEED, victims=[None] * victims)
        for _ in range(1500):
            page = rng.choice((rng.randrange(64), rng.randrange(0, 64, 16)))
            if rng.random() < 0.02:
                it.hart.tlb.flush_page(page * PAGE_SIZE)
                model.entries.pop(page % 16, None)
                model.victims = [None if victim == page else victim for victim in model.victims]
            model.access(page)
            assert it.hart(page * PAGE_SIZE, READ_TAG) == page * PAGE_SIZE
            assert it.hart.victims() == [None if victim is None else victim * PAGE_SIZE for victim in model.victims]
        counted = it.hart.tlb.statistics()
        assert model.counts == Counter({name: count for name, count in asdict(counted).items() if count})


def test_refill_needs_no_vector_registers_and_calls_only_itself() -> None:
    """Its caller has guest registers in all of the host's, and expects them there afterwards."""
    assembly = Compiler().assembly(refill_text(LAYOUT), LLVM_PASSES)
    assert not re.search(r"%[xyz]mm", assembly)
    assert {target.split("@")[0] for target in re.findall(r"\bcall\w*\s+(\S+)", assembly)} == {"refill"}
