"""The memory management unit of the RISC-V privileged manual in plain Python: the reference for codegen/walk.py.

`walk` is the algorithm of 12.3.2, Virtual Address Translation Process, for Sv39 and Sv48 with hardware that sets A and
D (Svadu) and without Svnapot and Svpbmt, whose bits are reserved. Python comes here for what native code does not do:
faults, devices, accesses that cross into a page elsewhere in memory, and instructions of the reference evaluator.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vmjit.errors import MemoryAccessError
from vmjit.ir.layout import (
    ADDRESS_BITS,
    EXECUTE_TAG,
    PAGE_BITS,
    READ_TAG,
    WALK_MXR,
    WALK_SUM,
    WALK_USER,
    WRITE_TAG,
)
from vmjit.memory.address_space import EXECUTE, READ, WRITE
from vmjit.memory.tlb import Context, Tlb

if TYPE_CHECKING:
    from vmjit.memory.bus import Bus

PAGE_SIZE = 1 << PAGE_BITS
INDEX_BITS = 9
PTE_SIZE = 8
PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_G, PTE_A, PTE_D = (1 << bit for bit in range(8))
PTE_PPN_SHIFT = 10
PTE_PPN = ((1 << 44) - 1) << PTE_PPN_SHIFT
PTE_RESERVED = ((1 << 10) - 1) << 54  # N, PBMT and those without a name

BARE, SV39, SV48 = "bare", "sv39", "sv48"
LEVELS = {BARE: 0, SV39: 3, SV48: 4}
SATP_MODES = {BARE: 0, SV39: 8, SV48: 9}
SATP_MODE_SHIFT, SATP_ASID_SHIFT = 60, 44
SATP_ASID, SATP_PPN = (1 << 16) - 1, (1 << 44) - 1

# Exception codes by kind of access, table 14 (Supervisor cause register).
PAGE_FAULTS = {READ_TAG: 13, WRITE_TAG: 15, EXECUTE_TAG: 12}
ACCESS_FAULTS = {READ_TAG: 5, WRITE_TAG: 7, EXECUTE_TAG: 1}
RIGHTS = {READ_TAG: READ, WRITE_TAG: WRITE, EXECUTE_TAG: EXECUTE}
KINDS = {right: kind for kind, right in RIGHTS.items()}
NAMES = {READ_TAG: "load", WRITE_TAG: "store", EXECUTE_TAG: "instruction"}

_ADDRESSES = (1 << 64) - 1


class TranslationFault(MemoryAccessError):
    """An access that traps: `cause` is the exception code, `tval` the virtual address of the first byte refused."""

    causes = ACCESS_FAULTS
    what = "access fault"

    def __init__(self, tval: int, kind: int) -> None:
        super().__init__(f"{NAMES[kind]} {self.what} at {tval:#x}")
        self.tval = tval
        self.cause = self.causes[kind]


class AccessFault(TranslationFault):
    """Nothing answers for the physical address, or it refuses."""


class PageFault(TranslationFault):
    """The page table does not allow it."""

    causes = PAGE_FAULTS
    what = "page fault"


@dataclass(frozen=True)
class Translation:
    """How addresses are translated: satp, the effective privilege (U, or S), and SUM and MXR of sstatus.

    Machine mode, and whoever has no paging, is "bare".
    """

    mode: str = BARE
    root: int = 0  # physical address of the root page table
    asid: int = 0
    user: bool = False
    sum: bool = False
    mxr: bool = False

    def __post_init__(self) -> None:
        if self.mode not in LEVELS:
            raise ValueError(f"no mode {self.mode!r} of translation; there are {', '.join(LEVELS)}")
        if self.root % PAGE_SIZE or self.root >> PAGE_BITS > SATP_PPN:
            raise ValueError(f"a page table at {self.root:#x}: not a page below 2**56")
        if not 0 <= self.asid <= SATP_ASID:
            raise ValueError(f"ASID {self.asid}: not below {SATP_ASID + 1}")

    @classmethod
    def from_satp(cls, value: int, *, user: bool = False, sum: bool = False, mxr: bool = False) -> Translation:
        """From the register's value; ValueError for a mode that there is not, which a write to satp ignores."""
        mode = next((mode for mode, number in SATP_MODES.items() if number == value >> SATP_MODE_SHIFT), None)
        if mode is None:
            raise ValueError(f"satp {value:#x}: no mode {value >> SATP_MODE_SHIFT}; there are {SATP_MODES}")
        asid = value >> SATP_ASID_SHIFT & SATP_ASID
        return cls(mode, (value & SATP_PPN) << PAGE_BITS, asid, user, sum, mxr)

    @property
    def satp(self) -> int:
        """The register's value."""
        return SATP_MODES[self.mode] << SATP_MODE_SHIFT | self.asid << SATP_ASID_SHIFT | self.root >> PAGE_BITS

    @property
    def levels(self) -> int:
        """Of the page table, 0 if there is none."""
        return LEVELS[self.mode]

    @cached_property
    def context(self) -> Context:
        """The same for native code. What makes no difference is left out, so that fewer contexts have banks."""
        if not self.levels:
            return Context()
        user = WALK_USER if self.user else 0
        flags = user | (WALK_SUM if self.sum and not self.user else 0) | (WALK_MXR if self.mxr else 0)
        return Context(self.levels, self.root, flags, self.asid)


def walk(
    read_pte: Callable[[int], int | None],
    write_pte: Callable[[int, int], bool],
    vaddr: int,
    kind: int,
    settings: Translation,
) -> tuple[int, int]:
    """The physical address, and the size of the page it is in; raises PageFault or AccessFault.

    read_pte(address) is None, and write_pte(address, value) False, where memory cannot be accessed so.
    """
    if not settings.levels:
        return vaddr, PAGE_SIZE
    if not is_canonical(vaddr, settings.levels):
        raise PageFault(vaddr, kind)
    table = settings.root
    for level in reversed(range(settings.levels)):
        size = PAGE_SIZE << INDEX_BITS * level
        address = table + vaddr // size % (1 << INDEX_BITS) * PTE_SIZE
        pte = read_pte(address)
        if pte is None:
            raise AccessFault(vaddr, kind)
        if not pte & PTE_V or pte & PTE_RESERVED or (pte & PTE_W and not pte & PTE_R):
            raise PageFault(vaddr, kind)
        target = (pte & PTE_PPN) >> PTE_PPN_SHIFT << PAGE_BITS
        if pte & (PTE_R | PTE_X):
            if not _allows(pte, kind, settings) or target % size:
                raise PageFault(vaddr, kind)
            marked = pte | PTE_A | (PTE_D if kind == WRITE_TAG else 0)
            if marked != pte and not write_pte(address, marked):
                raise AccessFault(vaddr, kind)
            return target | vaddr % size, size
        if pte & (PTE_U | PTE_A | PTE_D):
            raise PageFault(vaddr, kind)
        table = target
    raise PageFault(vaddr, kind)


def is_canonical(vaddr: int, levels: int) -> bool:
    """Whether the bits above those translated are all equal to the highest of these."""
    upper = vaddr >> PAGE_BITS + INDEX_BITS * levels - 1
    return upper in (0, _ADDRESSES >> PAGE_BITS + INDEX_BITS * levels - 1)


def _allows(pte: int, kind: int, settings: Translation) -> bool:
    """R, W, X and U of a leaf, with SUM and MXR."""
    if settings.user:
        if not pte & PTE_U:
            return False
    elif pte & PTE_U and (kind == EXECUTE_TAG or not settings.sum):
        return False
    if kind == READ_TAG:
        return bool(pte & PTE_R or (settings.mxr and pte & PTE_X))
    return bool(pte & (PTE_W if kind == WRITE_TAG else PTE_X))


class Mmu:
    """Translation of one hart: the settings in force, its TLB, and physical memory."""

    def __init__(self, tlb: Tlb, bus: Bus, settings: Translation = Translation()) -> None:
        self.tlb = tlb
        self.bus = bus
        self.settings = settings
        # Page of a device and kind of access -> physical page: what native code leaves to the host each time. A TLB as
        # good as the other, for it is empty after each flush and each change of the settings.
        self._device_pages: dict[tuple[int, int], int] = {}
        self._flushes = 0  # of the TLB, when it was emptied last
        tlb.use(bus.frames)
        tlb.switch(settings.context)

    def set(self, settings: Translation) -> None:
        """Translate so from now on. As on hardware nothing is forgotten: writing satp is no fence."""
        self.settings = settings
        self._device_pages.clear()
        self.tlb.switch(settings.context)

    def translate(self, vaddr: int, kind: int, *, mark: bool = True) -> int:
        """The physical address by the page table as it is now, whatever the TLB has; raises PageFault or AccessFault.

        That of a device may be what it was since the last flush. Sets A and D, unless not to `mark`. Not atomically:
        native code, which comes first, has set them already if the walk succeeded there.
        """
        if self._flushes != self.tlb.flushes:
            self._flushes = self.tlb.flushes  # before the walk: a flush that comes during it is seen the next time
            self._device_pages.clear()
        page, offset = vaddr >> PAGE_BITS, vaddr % PAGE_SIZE
        known = self._device_pages.get((page, kind))
        if known is not None:
            return known | offset
        write_pte = self._write_pte if mark else self._could_write_pte
        paddr = walk(self._read_pte, write_pte, vaddr, kind, self.settings)[0]
        if mark and not self.bus.frames.allowed(paddr):
            self._device_pages[page, kind] = paddr - offset
        return paddr

    # Fences, by the operands of SFENCE.VMA.

    def fence(self, vaddr: int | None = None, asid: int | None = None) -> None:
        """SFENCE.VMA: forget what was translated, of all addresses or one, of all address spaces or one."""
        if vaddr is not None:
            self.tlb.flush_page(vaddr, asid)
        elif asid is not None:
            self.tlb.flush_asid(asid)
        else:
            self.tlb.flush_all()

    def fence_range(self, start: int, size: int, asid: int | None = None) -> None:
        """As many fences as there are pages in the range."""
        self.tlb.flush_range(start, size, asid)

    # The page table, which must lie in memory, not in a device.

    def _read_pte(self, address: int) -> int | None:
        if not self._is_memory(address, READ | WRITE):
            return None
        return ctypes.c_uint64.from_address(self.bus.memory.base + address).value

    def _write_pte(self, address: int, value: int) -> bool:
        return self._is_memory(address, WRITE) and self.bus.store(address, PTE_SIZE, value)

    def _could_write_pte(self, address: int, value: int) -> bool:
        return self._is_memory(address, WRITE)

    def _is_memory(self, address: int, some: int) -> bool:
        return bool(self.bus.frames.allowed(address) & some)


class VirtualMemory:
    """Memory as a hart's programs see it. All or nothing: what crosses pages is translated before anything is touched.

    Refused accesses raise PageFault or AccessFault, which are MemoryAccessErrors; an address is taken modulo 2**64.
    """

    def __init__(self, mmu: Mmu) -> None:
        self.mmu = mmu

    def load(self, address: int, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.read(address, size), "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store a number in so many bytes."""
        self.write(address, value.to_bytes(size, "little"))

    def read(self, address: int, size: int, permissions: int = READ) -> bytes:
        """A copy of `size` bytes; pass EXECUTE to fetch instructions."""
        parts = []
        for vaddr, paddr, part in self._pieces(address, size, permissions):
            found = self.mmu.bus.load(paddr, part)
            if found is None:
                raise AccessFault(vaddr, KINDS[permissions])
            parts.append(found.to_bytes(part, "little"))
        return b"".join(parts)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store all of `data`."""
        contents, at = bytes(data), 0
        for vaddr, paddr, part in self._pieces(address, len(contents), WRITE):
            if not self.mmu.bus.store(paddr, part, int.from_bytes(contents[at : at + part], "little")):
                raise AccessFault(vaddr, WRITE_TAG)
            at += part

    def compare_exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        """Store `new` if the `size` bytes at a multiple of it hold `expected`, little-endian; whether they did.

        Faults are those of a store.
        """
        if address % size:
            raise AccessFault(address, WRITE_TAG)
        ((_, paddr, _),) = self._pieces(address, size, WRITE)
        return self.mmu.bus.compare_exchange(paddr, size, expected, new)

    def accessible(self, address: int, size: int, permissions: int) -> bool:
        """Whether the whole range allows the access; A and D stay as they are."""
        try:
            for kind in [kind for kind, right in RIGHTS.items() if right & permissions]:
                list(self._pieces(address, size, RIGHTS[kind], mark=False))
        except TranslationFault:
            return False
        return True

    def permissions(self, address: int) -> int | None:
        """What the page of this address allows now; None if that is nothing."""
        return sum(right for right in RIGHTS.values() if self.accessible(address, 1, right)) or None

    def _pieces(self, address: int, size: int, permissions: int, mark: bool = True) -> list[tuple[int, int, int]]:
        """Virtual and physical address and size of the part in each page, all of which allow the access."""
        kind = KINDS[permissions]
        pieces = []
        is_within = 0 < size <= PAGE_SIZE - address % PAGE_SIZE
        for vaddr, part in ((address & _ADDRESSES, size),) if is_within else pages_of(address, size):
            paddr = self.mmu.translate(vaddr, kind, mark=mark)
            if paddr >> ADDRESS_BITS or not self.mmu.bus.allows(paddr, part, permissions):
                raise AccessFault(self._first_refused(vaddr, paddr, part, permissions), kind)
            pieces.append((vaddr, paddr, part))
        return pieces

    def _first_refused(self, vaddr: int, paddr: int, size: int, permissions: int) -> int:
        """Within a page, where a device may end."""
        refused = (i for i in range(size) if not self.mmu.bus.allows(paddr + i, 1, permissions))
        return vaddr + next(refused, 0)


def pages_of(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Address and size of the part of a range in each page that it touches."""
    while size > 0:
        part = min(size, PAGE_SIZE - address % PAGE_SIZE)
        yield address & _ADDRESSES, part
        address, size = address + part, size - part
