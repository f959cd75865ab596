"""What each page of memory allows: a byte for each, which native code reads when it makes an entry of the TLB.

0 leads to the host: nothing is there, or a device. In user mode the bytes follow the table of the address space; for a
machine memory/bus.py sets them. One table serves all harts.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from vmjit.ir.layout import ADDRESS_BITS, PAGE_BITS
from vmjit.memory.reservation import Reservation

if TYPE_CHECKING:
    from vmjit.memory.address_space import AddressSpace

LIMIT = 1 << ADDRESS_BITS  # what lies there or above allows nothing
COUNT = LIMIT >> PAGE_BITS


class Frames:
    """`base` is the host address of the bytes, for the word `frames` of the state."""

    def __init__(self) -> None:
        self._area = Reservation(COUNT)
        self.base = self._area.base
        self._bytes = memoryview((ctypes.c_ubyte * COUNT).from_address(self.base)).cast("B")

    def allowed(self, address: int) -> int:
        """READ, WRITE and EXECUTE of the page that an address is in."""
        return self._bytes[address >> PAGE_BITS] if 0 <= address < LIMIT else 0

    def set(self, start: int, size: int, permissions: int) -> None:
        """Let whole pages allow this; what is above LIMIT is left out."""
        first, end = start >> PAGE_BITS, min(start + size, LIMIT) >> PAGE_BITS
        if permissions:
            ctypes.memset(self.base + first, permissions, max(0, end - first))
        elif first < end:
            self._area.clear(first, end - first)

    def copy_table(self, memory: AddressSpace, start: int, size: int) -> None:
        """Let pages allow what the table of the address space says now."""
        with memory.lock:
            self.set(start, size, 0)
            for mapping in memory.regions(start, start + size):
                self.set(mapping.start, mapping.end - mapping.start, mapping.permissions)

    def close(self) -> None:
        """Give the memory back; no hart may use it any more."""
        self._bytes.release()
        self._area.close()
