"""A board: a hart, physical memory and devices, without an operating system or anything that Linux would do.

What runs on it is instructions that somebody put into RAM, behind a page table if they like; what they ask for, an
ecall, a fault, makes run() return.
"""

from __future__ import annotations

from collections.abc import Mapping

from vmjit.debug import Settings
from vmjit.engine.cache import Cache
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.service import Service
from vmjit.guest import GUEST, get
from vmjit.memory.address_space import AddressSpace
from vmjit.memory.bus import Bus
from vmjit.memory.mmu import Translation

__all__ = ["Board", "Stop", "Translation"]


class Board:
    """One hart; RAM and devices are added to `bus` before it runs.

    tier, sync  see Tier; sync waits for each compilation
    settings    where the cache is, and the TLB's shape; memory is always reached through a TLB
    """

    def __init__(self, *, tier: Tier = Tier.AUTO, sync: bool = False, settings: Settings | None = None) -> None:
        self.guest = get(GUEST)
        self.settings = (Settings.from_environment() if settings is None else settings).with_memory("tlb")
        self.space = AddressSpace()
        self.bus = Bus(self.space)
        cache = Cache(self.settings.cache_dir, self.guest.name)
        self.service = Service(self.guest.name, self.settings.cache_dir, self.settings.for_child(), set(), set())
        self.hart = Hart(self.guest, self.bus, self.service, cache, self.settings, tier=tier, sync=sync)
        self.hart.begin()

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at a physical address, in RAM."""
        self.space.write(address, data)

    def translate(self, settings: Translation) -> None:
        """Write satp, and what else translation depends on; TLB entries of before stay, see fence()."""
        self.hart.set_translation(settings)

    def fence(self, vaddr: int | None = None, asid: int | None = None) -> None:
        """SFENCE.VMA: changes of page tables are seen, those for an address or an address space if one is given."""
        self.hart.fence_translation(vaddr, asid)

    def run(self, pc: int, registers: Mapping[str, int] | None = None) -> Stop:
        """Execute from a virtual address, with some registers (x1 to x31) set, until the hart needs somebody.

        A fault's stop has the exception code as `cause`, and tval as `argument`.
        """
        layout, words = self.guest.layout, self.hart.words
        for name, value in {**(registers or {}), "pc": pc}.items():
            words[layout.word(name)] = value & 0xFFFFFFFFFFFFFFFF
        return self.hart.run()

    def register(self, name: str) -> int:
        """The value of x0 to x31, pc or another register of the layout."""
        return self.hart.words[self.guest.layout.word(name)]

    def close(self) -> None:
        """Give back memory and end the worker."""
        self.service.close()
        self.hart.close()
        self.bus.frames.close()
        self.space.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
