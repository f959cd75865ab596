"""The native refill: against the reference on random page tables, and against small models of victims and counters."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.codegen.page_tables import Board, address, board, fill, settings
from tests.codegen.refilling import Refill
from vmjit.ir.layout import EXECUTE_TAG, READ_TAG, WRITE_TAG
from vmjit.jit.compiler import Compiler
from vmjit.memory.address_space import PAGE_SIZE, READ, WRITE
from vmjit.memory.mmu import PTE_A, PTE_D, PTE_R, PTE_V, PTE_W, PTE_X, Translation
from vmjit.memory.tlb import Context, Geometry

TOP = (1 << 64) - 1
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
        for _ in range(60):
            fill(it, rng)
            it.mmu.fence()
            now, recent = settings(rng), [0]
            for _ in range(40):
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
                check_entries(it)
                if expected is not None and it.hart.tlb.statistics().walks == walks + 1:
                    page = (vaddr if vaddr % PAGE_SIZE + size <= PAGE_SIZE else vaddr + PAGE_SIZE & TOP) & -PAGE_SIZE
                    assert page not in it.hart.entries() or it.hart.entries()[page][0] == it.rights(page)
    assert len(found) / 10 < sum(offset is not None for offset in found) < len(found) * 9 / 10


def check_entries(it: Board) -> None:
    """No entry allows what the page table does not."""
    for page, (tags, offset) in it.hart.entries().items():
        assert all(right or not tag for tag, right in zip(tags, it.rights(page), strict=True))
        assert it.offset(page, tags.index(True), mark=False) == offset
