"""The reference of translation, by what the privileged manual says; and memory as programs see it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from tests.codegen.refilling import Hart, Refill
from vmjit.errors import MemoryAccessError
from vmjit.ir.layout import EXECUTE_TAG, READ_TAG, WALK_MXR, WALK_SUM, WALK_USER, WRITE_TAG
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.bus import Bus
from vmjit.memory.mmu import (
    PTE_A,
    PTE_D,
    PTE_G,
    PTE_PPN_SHIFT,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
    AccessFault,
    Mmu,
    PageFault,
    Translation,
    TranslationFault,
    VirtualMemory,
    walk,
)
from vmjit.memory.tlb import EVERYTHING, Context, Geometry

SV39 = Translation("sv39", 0x1000)
USER = Translation("sv39", 0x1000, user=True)
AD = PTE_A | PTE_D
RWX = PTE_V | PTE_R | PTE_W | PTE_X
KINDS = (READ_TAG, WRITE_TAG, EXECUTE_TAG)
HIGH = (1 << 64) - (1 << 39)


def pte(page: int, flags: int) -> int:
    return page << PTE_PPN_SHIFT | flags


@dataclass
class Table:
    """Page table entries by address, and those that cannot be written."""

    words: dict[int, int]
    fixed: frozenset[int] = frozenset()

    def write(self, address: int, value: int) -> bool:
        if address in self.fixed:
            return False
        self.words[address] = value
        return True

    def walk(self, vaddr: int, kind: int, settings: Translation) -> tuple[int, int] | int:
        """Address and size, or the cause of a fault; reads outside of the table fail."""
        try:
            return walk(self.words.get, self.write, vaddr, kind, settings)
        except TranslationFault as fault:
            assert fault.tval == vaddr
            return fault.cause


def sv39(flags: int, page: int = 0x80) -> Table:
    """One page at virtual address 0x3000."""
    return Table({0x1000: pte(2, PTE_V), 0x2000: pte(3, PTE_V), 0x3018: pte(page, flags)})


@pytest.mark.parametrize(
    ("flags", "settings", "causes"),  # of load, store and fetch; 0 for none
    [
        (RWX | AD, SV39, (0, 0, 0)),
        (RWX | AD | PTE_G, SV39, (0, 0, 0)),
        (RWX | AD | 1 << 8 | 1 << 9, SV39, (0, 0, 0)),  # for the supervisor's own use
        (0, SV39, (13, 15, 12)),
        (RWX & ~PTE_V | AD, SV39, (13, 15, 12)),
        (PTE_V | PTE_R | AD, SV39, (0, 15, 12)),
        (PTE_V | PTE_R | PTE_W | AD, SV39, (0, 0, 12)),
        (PTE_V | PTE_X | AD, SV39, (13, 15, 0)),
        (PTE_V | PTE_X | AD, Translation("sv39", 0x1000, mxr=True), (0, 15, 0)),
        (PTE_V | PTE_W | AD, SV39, (13, 15, 12)),
        (PTE_V | PTE_W | PTE_X | AD, Translation("sv39", 0x1000, mxr=True), (13, 15, 12)),
        (PTE_V, SV39, (13, 15, 12)),  # a pointer in the last level
        (RWX | AD | 1 << 54, SV39, (13, 15, 12)),
        (RWX | AD | 1 << 61, SV39, (13, 15, 12)),
        (RWX | AD | 1 << 63, SV39, (13, 15, 12)),
        (RWX | AD, USER, (13, 15, 12)),
        (RWX | AD | PTE_U, USER, (0, 0, 0)),
        (RWX | AD | PTE_U, SV39, (13, 15, 12)),
        (RWX | AD | PTE_U, Translation("sv39", 0x1000, sum=True), (0, 0, 12)),
        (PTE_V | PTE_X | PTE_U | AD, Translation("sv39", 0x1000, sum=True, mxr=True), (0, 15, 12)),
        (PTE_V | PTE_X | PTE_U | AD, Translation("sv39", 0x1000, user=True, mxr=True), (0, 15, 0)),
    ],
)
def test_walk_when_the_leaf_is(flags: int, settings: Translation, causes: tuple[int, ...]) -> None:
    found = [sv39(flags).walk(0x3456, kind, settings) for kind in KINDS]
    assert found == [cause or (0x80456, 0x1000) for cause in causes]


def test_walk_sets_a_and_d() -> None:
    for kind, marked in ((READ_TAG, PTE_A), (EXECUTE_TAG, PTE_A), (WRITE_TAG, AD)):
        table = sv39(RWX)
        assert table.walk(0x3000, kind, SV39) == (0x80000, 0x1000)
        assert table.words == sv39(RWX | marked).words
    refused = sv39(PTE_V | PTE_R)
    assert refused.walk(0x3000, WRITE_TAG, SV39) == 15
    assert refused.words == sv39(PTE_V | PTE_R).words


def test_walk_when_a_table_cannot_be_accessed() -> None:
    assert [Table({}).walk(0, kind, SV39) for kind in KINDS] == [5, 7, 1]
    fixed = Table(sv39(RWX | PTE_A).words, frozenset([0x3018]))
    assert [fixed.walk(0x3000, kind, SV39) for kind in KINDS] == [(0x80000, 0x1000), 7, (0x80000, 0x1000)]


@pytest.mark.parametrize("bit", [PTE_W, PTE_U, PTE_A, PTE_D, 1 << 54, 1 << 62])
def test_walk_when_a_pointer_has_what_is_reserved(bit: int) -> None:
    table = sv39(RWX | AD)
    table.words[0x1000] |= bit
    assert table.walk(0x3000, READ_TAG, SV39) == 13


@pytest.mark.parametrize(
    ("levels", "page", "expected"),
    [
        (1, 0, (0x3456, 1 << 30)),
        (1, 1 << 18, ((1 << 30) + 0x3456, 1 << 30)),
        (1, 1 << 17, 13),
        (1, 1, 13),
        (2, 1 << 9, ((1 << 21) + 0x3456, 1 << 21)),
        (2, 1 << 8, 13),
    ],
)
def test_walk_when_a_page_is_large(levels: int, page: int, expected: object) -> None:
    table = Table({0x1000: pte(2, PTE_V), 0x2000: pte(3, PTE_V), 0x3018: 0})
    table.words[levels << 12] = pte(page, RWX | AD)
    assert table.walk(0x3456, READ_TAG, SV39) == expected


@pytest.mark.parametrize("mode", ["sv39", "sv48"])
def test_walk_when_the_address_is_not_canonical(mode: str) -> None:
    bits = {"sv39": 39, "sv48": 48}[mode]
    table = Table({0x1000: pte(0, RWX | AD), 0x1000 + 8 * 511: pte(0, RWX | AD)})
    settings, size = Translation(mode, 0x1000), 1 << bits - 9
    last = (1 << 64) - 1
    assert table.walk(last, READ_TAG, settings) == (size - 1, size)
    assert table.walk(5, READ_TAG, settings) == (5, size)
    for vaddr in (1 << bits - 1, 1 << bits, last ^ 1 << 63, last ^ 1 << bits - 1, last ^ 1 << bits, 1 << 63):
        assert table.walk(vaddr, READ_TAG, settings) == 13


def test_walk_when_bare() -> None:
    assert Table({}).walk(1 << 63, READ_TAG, Translation()) == (1 << 63, PAGE_SIZE)


# Settings.


@pytest.mark.parametrize(
    ("satp", "expected"),
    [
        (0, Translation()),
        (8 << 60 | 3 << 44 | 0x80200, Translation("sv39", 0x80200000, 3)),
        (9 << 60 | 0xFFFF << 44 | (1 << 44) - 1, Translation("sv48", (1 << 56) - 4096, 0xFFFF)),
    ],
)
def test_translation_from_satp(satp: int, expected: Translation) -> None:
    assert Translation.from_satp(satp) == expected
    assert expected.satp == satp


def test_translation_when_it_means_nothing() -> None:
    with pytest.raises(ValueError, match="no mode 10"):
        Translation.from_satp(10 << 60)
    with pytest.raises(ValueError, match="no mode 'sv57' of translation; there are bare, sv39, sv48"):
        Translation("sv57")
    with pytest.raises(ValueError, match="not a page"):
        Translation("sv39", 0x1001)
    with pytest.raises(ValueError, match="ASID 65536"):
        Translation("sv39", 0x1000, 1 << 16)


def test_context_leaves_out_what_makes_no_difference() -> None:
    assert Translation("bare", 0x1000, 3, True, True, True).context == Context()
    assert Translation("sv39", 0x1000, 3, user=True, sum=True).context == Context(3, 0x1000, WALK_USER, 3)
    assert Translation("sv48", sum=True, mxr=True).context == Context(4, 0, WALK_SUM | WALK_MXR)


# Memory through an Mmu: pages 0 to 2 of memory are tables, 0x4000 is mapped to RAM at 0x10000, and so on.

PAGES = {
    0x4: (0x10, RWX | AD),
    0x5: (0x12, RWX),  # not behind it in memory
    0x6: (0x11, PTE_V | PTE_R | AD),
    0x7: (0x13, PTE_V | PTE_X | AD),
    0x8: (0x100, RWX | AD),  # a device of 16 bytes at the page's end, and nothing before
    0x9: (0x101, RWX | AD),  # which goes on here
    0xA: (1 << 26, RWX | AD),  # above all memory
    0xB: (0x14, RWX | AD),  # a frame that can only be read
}


@dataclass
class Machine:
    memory: AddressSpace
    bus: Bus
    hart: Hart
    mmu: Mmu
    virtual: VirtualMemory
    log: list[tuple[int, ...]]


@pytest.fixture
def machine(refill: Refill) -> Iterator[Machine]:
    with AddressSpace(1 << 38, 1 << 16) as memory:
        bus = Bus(memory)
        bus.add_ram(0, 0x20000)
        log: list[tuple[int, ...]] = []

        def read(offset: int, size: int) -> int:
            log.append((offset, size))
            return offset

        bus.add_device(0x100FF0, 0x20, read, lambda *written: log.append(written))
        bus.store(0, 8, pte(1, PTE_V))
        bus.store(0x1000, 8, pte(2, PTE_V))
        for index, (page, flags) in PAGES.items():
            bus.store(0x2000 + 8 * index, 8, pte(page, flags))
        bus.frames.set(0x14000, PAGE_SIZE, READ)
        hart = Hart(refill, memory.base, Geometry(16, 4))
        mmu = Mmu(hart.tlb, bus, Translation("sv39", 0))
        yield Machine(memory, bus, hart, mmu, VirtualMemory(mmu), log)
        hart.close()
        bus.frames.close()


def test_access_when_it_crosses_pages_apart_in_memory(machine: Machine) -> None:
    machine.virtual.store(0x4FFC, 8, 0x1122334455667788)
    assert machine.bus.load(0x10FFC, 4) == 0x55667788
    assert machine.bus.load(0x12000, 4) == 0x11223344
    assert machine.virtual.load(0x4FFC, 8) == 0x1122334455667788
    assert machine.virtual.read(0x4FFE, 4, EXECUTE) == b"\x66\x55\x44\x33"
    assert machine.bus.load(0x2028, 8) == pte(0x12, RWX | AD)
    assert machine.hart(0x4FFC, WRITE_TAG, 8) is None


def test_access_when_the_second_page_refuses(machine: Machine) -> None:
    """Nothing is stored, and the fault is at the first byte refused."""
    with pytest.raises(PageFault, match="store page fault at 0x6000") as caught:
        machine.virtual.store(0x5FFD, 8, (1 << 64) - 1)
    assert (caught.value.cause, caught.value.tval) == (15, 0x6000)
    assert machine.bus.load(0x12FF8, 8) == 0
    with pytest.raises(PageFault) as caught:
        machine.virtual.read(0x6FFF, 2)
    assert (caught.value.cause, caught.value.tval) == (13, 0x7000)
    with pytest.raises(PageFault) as caught:
        machine.virtual.read(0x5FFF, 2, EXECUTE)
    assert (caught.value.cause, caught.value.tval) == (12, 0x6000)


@pytest.mark.parametrize(
    ("access", "cause", "tval"),
    [
        (lambda memory: memory.load(0x8FE0, 8), 5, 0x8FE0),
        (lambda memory: memory.load(0x900C, 8), 5, 0x9010),
        (lambda memory: memory.store(0x9010, 1, 0), 7, 0x9010),
        (lambda memory: memory.read(0x8FF0, 2, EXECUTE), 1, 0x8FF0),
        (lambda memory: memory.load(0xA000, 1), 5, 0xA000),
        (lambda memory: memory.store(0xB000, 1, 0), 7, 0xB000),
        (lambda memory: memory.load(0xBFFE, 4), 13, 0xC000),
        (lambda memory: memory.load(1 << 40, 4), 13, 1 << 40),
        (lambda memory: memory.load(HIGH - 1, 4), 13, HIGH - 1),
    ],
)
def test_access_when_it_faults(
    machine: Machine, access: Callable[[VirtualMemory], object], cause: int, tval: int
) -> None:
    with pytest.raises(TranslationFault) as caught:
        access(machine.virtual)
    assert (caught.value.cause, caught.value.tval) == (cause, tval)
    assert isinstance(caught.value, AccessFault if cause < 8 else PageFault)
    assert isinstance(caught.value, MemoryAccessError)
    assert machine.log == []


def test_access_when_it_is_of_a_device(machine: Machine) -> None:
    assert machine.virtual.load(0x8FF4, 4) == 4
    machine.virtual.store(0x9008, 8, 1 << 63)
    assert machine.virtual.load(0x8FFE, 4) == 0x0010000E
    assert machine.log == [(4, 4), (0x18, 8, 1 << 63), (0xE, 2), (0x10, 2)]
    assert machine.hart(0x8FF4, READ_TAG, 4) is None


@pytest.mark.parametrize(
    "forget",
    [
        lambda mmu: mmu.fence(),
        lambda mmu: mmu.fence(0x8FF4),
        lambda mmu: mmu.tlb.request(EVERYTHING),
        lambda mmu: mmu.set(replace(mmu.settings, mxr=True)),
    ],
)
def test_access_when_a_device_has_moved(machine: Machine, forget: Callable[[Mmu], None]) -> None:
    """Where a device's page lies is kept, as in a TLB, until it is to be forgotten."""
    machine.bus.store(0x2040, 8, pte(0x100, PTE_V | PTE_R | PTE_W))
    machine.virtual.store(0x8FF8, 4, 7)
    assert machine.bus.load(0x2040, 8) == pte(0x100, PTE_V | PTE_R | PTE_W | AD)
    machine.bus.store(0x2040, 8, pte(0x10, RWX | AD))
    machine.bus.store(0x10FF8, 4, 9)
    machine.virtual.store(0x8FF8, 4, 8)
    forget(machine.mmu)
    assert machine.virtual.load(0x8FF8, 4) == 9
    machine.virtual.store(0x8FF8, 4, 10)
    assert machine.bus.load(0x10FF8, 4) == 10
    assert machine.log == [(8, 4, 7), (8, 4, 8)]


def test_compare_exchange_when_anything(machine: Machine) -> None:
    virtual = machine.virtual
    assert virtual.compare_exchange(0x4008, 4, 0, 5)
    assert not virtual.compare_exchange(0x4008, 4, 0, 6)
    assert virtual.load(0x4008, 8) == 5
    assert virtual.compare_exchange(0x8FF4, 4, 4, 9)
    assert not virtual.compare_exchange(0x8FF8, 8, 4, 9)
    assert machine.log == [(4, 4), (4, 4, 9), (8, 8)]
    for address, cause in ((0x6000, 15), (0xB000, 7), (0x8000, 7), (0xD000, 15), (0x4001, 7)):
        with pytest.raises(TranslationFault) as caught:
            virtual.compare_exchange(address, 8, 0, 1)
        assert (caught.value.cause, caught.value.tval) == (cause, address)


def test_accessible_changes_nothing(machine: Machine) -> None:
    assert machine.virtual.accessible(0x4FFC, 8, READ | WRITE)
    assert machine.virtual.accessible(0x5000, 0x1001, READ)
    assert not machine.virtual.accessible(0x5000, 0x1001, WRITE)
    assert machine.virtual.accessible(0, 0, WRITE)
    found = [machine.virtual.permissions(page << 12) for page in range(4, 13)]
    assert found == [7, 7, READ, EXECUTE, None, READ | WRITE, None, READ, None]
    assert machine.bus.load(0x2028, 8) == pte(0x12, RWX)


def test_mmu_when_settings_change(machine: Machine) -> None:
    assert machine.hart(0x4000, READ_TAG) == 0x10000
    machine.mmu.set(Translation("sv39", 0, user=True))
    assert machine.hart(0x4000, READ_TAG) is None
    with pytest.raises(PageFault):
        machine.virtual.load(0x4000, 1)
    machine.mmu.set(Translation())
    assert machine.hart(0x4000, READ_TAG) == 0x4000
    assert machine.virtual.load(0x2020, 8) == pte(0x10, RWX | AD)


@pytest.mark.parametrize("how", [{}, {"vaddr": 0x4000}, {"asid": 0}, {"vaddr": 0x4567, "asid": 0}, None])
def test_fence_when_the_page_table_has_changed(machine: Machine, how: dict[str, int] | None) -> None:
    assert machine.hart(0x4000, READ_TAG) == 0x10000
    machine.bus.store(0x2020, 8, pte(0x15, RWX | AD))
    assert machine.mmu.translate(0x4000, READ_TAG) == 0x15000
    assert machine.hart(0x4000, READ_TAG) == 0x10000
    machine.mmu.fence(asid=9)
    assert machine.hart(0x4000, READ_TAG) == 0x10000
    if how is None:
        machine.mmu.fence_range(0x3000, 0x2000)
    else:
        machine.mmu.fence(**how)
    assert machine.hart(0x4000, READ_TAG) == 0x15000
