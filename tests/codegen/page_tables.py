"""Random page tables, sound or not, in a small physical memory."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from tests.codegen.refilling import Hart, Refill
from vmjit.ir.layout import ADDRESS_BITS, EXECUTE_TAG, PAGE_BITS, READ_TAG, WRITE_TAG
from vmjit.memory.address_space import PAGE_SIZE, AddressSpace
from vmjit.memory.bus import Bus
from vmjit.memory.mmu import (
    INDEX_BITS,
    LEVELS,
    PTE_A,
    PTE_D,
    PTE_G,
    PTE_PPN_SHIFT,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
    Mmu,
    Translation,
    TranslationFault,
)
from vmjit.memory.tlb import Geometry

TABLES = 12  # pages of page tables, at address 0
RAM_PAGES = 64
SIZE = RAM_PAGES * PAGE_SIZE
INDICES = (0, 1, 2, 3, 255, 256, 510, 511)  # of tables, that are filled
SOUND = (PTE_V | PTE_R, PTE_V | PTE_R | PTE_W, PTE_V | PTE_R | PTE_X, PTE_V | PTE_X, PTE_V | PTE_R | PTE_W | PTE_X)
ALL = 7
KINDS = (READ_TAG, WRITE_TAG, EXECUTE_TAG)
QUARTER = TABLES // 4
POINTERS = (0.9, 0.8, 0.7, 0.02)  # their share of the entries, in each quarter of the tables


@dataclass
class Board:
    """Physical memory with page tables, and a hart that walks them natively and by the reference."""

    memory: AddressSpace
    bus: Bus
    hart: Hart
    mmu: Mmu

    def tables(self) -> bytes:
        return self.memory.read(0, TABLES * PAGE_SIZE)

    def restore(self, contents: bytes) -> None:
        self.memory.write(0, contents)

    def expected(self, vaddr: int, kind: int, size: int) -> int | None:
        """What refill should return, by the reference, with its effects on the page table."""
        end = vaddr + size
        first = self.offset(vaddr, kind)
        boundary = (vaddr & -PAGE_SIZE) + PAGE_SIZE
        if first is None or end <= boundary:
            return first
        second = self.offset(boundary % (1 << 64), kind)
        return first if second == first + boundary - vaddr else None

    def offset(self, vaddr: int, kind: int, mark: bool = True) -> int | None:
        """Of one byte."""
        try:
            paddr = self.mmu.translate(vaddr, kind, mark=mark)
        except TranslationFault:
            return None
        allowed = self.bus.frames.allowed(paddr)
        allowed |= allowed >> 1 & 1
        return paddr if allowed >> kind & 1 else None

    def rights(self, page: int) -> tuple[bool, ...]:
        """What an entry of this page may allow: what needs no change of the page table."""
        with mock.patch.object(self.mmu, "_could_write_pte", return_value=False):
            return tuple(self.offset(page, kind, mark=False) is not None for kind in KINDS)


@contextmanager
def board(refill: Refill, geometry: Geometry = Geometry()) -> Iterator[Board]:  # noqa: B008
    with AddressSpace(1 << 26, 1 << 16) as memory:
        bus = Bus(memory)
        bus.add_ram(0, SIZE)
        hart = Hart(refill, memory.base, geometry)
        yield Board(memory, bus, hart, Mmu(hart.tlb, bus))
        hart.close()
        bus.frames.close()


def fill(board: Board, rng: random.Random) -> None:
    """Other tables, and other permissions of some pages of memory."""
    board.restore(bytes(TABLES * PAGE_SIZE))
    user = rng.choice((0, PTE_U))
    for table in range(TABLES):
        for index in INDICES:
            board.bus.store(table * PAGE_SIZE + 8 * index, 8, entry(rng, table, user))
    board.bus.frames.set(0, SIZE, ALL)
    for _ in range(rng.choice((0, 6))):
        board.bus.frames.set(rng.randrange(RAM_PAGES) * PAGE_SIZE, PAGE_SIZE, rng.randrange(8))


def entry(rng: random.Random, table: int, user: int) -> int:
    """Mostly a pointer into the next quarter of the tables, or a leaf in the last one; now and then anything."""
    if rng.random() < 0.04:
        reserved = rng.choice((0, 1 << rng.randrange(8, 10), 1 << rng.randrange(54, 64)))
        return rng.randrange(RAM_PAGES) << PTE_PPN_SHIFT | rng.randrange(1 << 8) | reserved
    quarter = table // QUARTER
    if rng.random() < POINTERS[quarter]:
        first = min(TABLES - QUARTER, (quarter + 1) * QUARTER)
        there = first + rng.randrange(QUARTER) if rng.random() < 0.9 else rng.randrange(TABLES)
        return there << PTE_PPN_SHIFT | PTE_V
    flags = rng.choice(SOUND) | rng.choice((user, user, user, PTE_U)) | rng.choice((0, PTE_G))
    ppn = rng.choice((0, 1 << INDEX_BITS, 1 << 2 * INDEX_BITS, 1 << 43, rng.randrange(RAM_PAGES)))
    if quarter == len(POINTERS) - 1:
        ppn = rng.randrange(RAM_PAGES)
    return ppn << PTE_PPN_SHIFT | flags | rng.choice((0, PTE_A, PTE_A | PTE_D))


def settings(rng: random.Random) -> Translation:
    mode = rng.choice(("bare", "sv39", "sv39", "sv48", "sv48"))
    root = (4 - max(3, LEVELS[mode])) * QUARTER + rng.randrange(QUARTER)
    if rng.random() < 0.1:
        root = rng.choice((*range(TABLES + 1), 1 << 30))
    return Translation(mode, root * PAGE_SIZE, rng.randrange(4), *(rng.random() < 0.5 for _ in range(3)))


def address(rng: random.Random, levels: int) -> int:
    """One that walks through filled entries, mostly; some are not canonical, some lie above memory."""
    if not levels:
        return rng.choice((rng.randrange(SIZE), rng.randrange(SIZE), rng.randrange(1 << 64), (1 << ADDRESS_BITS) + 5))
    vaddr = 0
    for _ in range(levels):
        vaddr = vaddr << INDEX_BITS | rng.choice(INDICES)
    bits = levels * INDEX_BITS + PAGE_BITS
    vaddr = vaddr << PAGE_BITS | rng.choice((0, 8, PAGE_SIZE - 1, PAGE_SIZE - 7, rng.randrange(PAGE_SIZE)))
    if vaddr >> bits - 1:
        vaddr |= (1 << 64) - (1 << bits)
    return vaddr ^ (1 << rng.randrange(bits - 1, 64)) if rng.random() < 0.03 else vaddr
