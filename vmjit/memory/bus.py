"""Physical memory of a machine: RAM, registers that are plain memory, and devices that Python answers for.

Everything lies in one AddressSpace, host address = base + physical address, and each page has a byte in `frames`. RAM
and registers allow native code to access them; a device's pages allow nothing, so each access to one comes here.
What nothing answers is a value, not an exception: the hart makes an access fault of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmjit.errors import DescriptionError
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.frames import LIMIT, Frames

if TYPE_CHECKING:
    import numpy

RAM_ALLOWS = READ | WRITE | EXECUTE
REGISTERS_ALLOW = READ | WRITE
UNIT = 8  # bytes that one access to a device has at most
_UNITS = (1, 2, 4, UNIT)


@dataclass(frozen=True)
class Area:
    """What answers for start <= address < end; `read` and `write` are those of a device."""

    start: int
    end: int
    kind: str
    read: Callable[[int, int], int] | None = None
    write: Callable[[int, int, int], None] | None = None

    def __str__(self) -> str:
        return f"{self.kind} at {self.start:#x}-{self.end:#x}"


class Bus:
    """The map of a machine's physical addresses, all below 2**ADDRESS_BITS. Areas are added before harts run."""

    def __init__(self, memory: AddressSpace, frames: Frames | None = None) -> None:
        self.memory = memory
        self.frames = Frames() if frames is None else frames
        self.areas: list[Area] = []  # sorted, none overlap
        self._starts: list[int] = []  # of the areas

    # What there is.

    def add_ram(self, start: int, size: int) -> None:
        """Whole pages of zeros that may be read, written and executed; view() shows them as an array."""
        self._add_memory(Area(start, start + size, "RAM"), RAM_ALLOWS)

    def add_registers(
        self, start: int, array: numpy.typing.NDArray[numpy.generic]
    ) -> numpy.typing.NDArray[numpy.generic]:
        """Whole pages of plain memory that begin with the contents of an array; returns the array that lies there.

        Guest code accesses them as fast as RAM, and Python looks at them when it likes: nobody is told of accesses.
        """
        size = -(-max(array.nbytes, 1) // PAGE_SIZE) * PAGE_SIZE
        self._add_memory(Area(start, start + size, "registers"), REGISTERS_ALLOW)
        self.memory.write(start, array.tobytes())
        return self.memory.view(start, array.size, array.dtype).reshape(array.shape)

    def add_device(
        self,
        start: int,
        size: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
    ) -> None:
        """Accesses of 1, 2, 4 or 8 bytes call read(offset, size) and write(offset, size, value)."""
        self._add(Area(start, start + size, "device", read, write))

    def view(self, address: int, n: int, dtype: numpy.typing.DTypeLike) -> numpy.typing.NDArray[numpy.generic]:
        """`n` elements of RAM or registers as an array, not a copy."""
        return self.memory.view(address, n, dtype)

    def area(self, address: int) -> Area | None:
        """What answers for an address."""
        position = bisect_right(self._starts, address) - 1
        return self.areas[position] if position >= 0 and address < self.areas[position].end else None

    def _add_memory(self, area: Area, permissions: int) -> None:
        if area.start % PAGE_SIZE or area.end % PAGE_SIZE:
            raise DescriptionError(f"{area}: must begin and end at multiples of {PAGE_SIZE}")
        self._add(area)
        self.memory.map(area.start, area.end - area.start, permissions, name=f"[{area.kind}]")
        self.frames.set(area.start, area.end - area.start, permissions)

    def _add(self, area: Area) -> None:
        top = min(LIMIT, self.memory.size)
        if not 0 <= area.start < area.end <= top:
            raise DescriptionError(f"{area}: must not be empty and lie below {top:#x}")
        position = bisect_right(self._starts, area.start)
        for other in self.areas[max(position - 1, 0) : position + 1]:
            if other.start < area.end and area.start < other.end:
                raise DescriptionError(f"{area}: overlaps {other}")
        self.areas.insert(position, area)
        self._starts.insert(position, area.start)

    # Accesses.

    def allows(self, address: int, size: int, permissions: int) -> bool:
        """Whether something answers for all of a range within one page, and may be accessed so.

        What can be written can be read, as refill has it in codegen/walk.py. A device cannot be executed.
        """
        area = self.area(address)
        if area is None or address + size > area.end:
            return False
        if area.read is not None:
            return not permissions & EXECUTE
        allowed = self.frames.allowed(address)
        return not permissions & ~(allowed | (READ if allowed & WRITE else 0))

    def load(self, address: int, size: int) -> int | None:
        """The number at an address; None if nothing answers for all of it."""
        area = self.area(address)
        if area is None or address + size > area.end:
            return None
        if area.read is None:
            return int.from_bytes(self.memory.read(address, size), "little")
        value = 0
        for offset, unit in units(address - area.start, size):
            part = area.read(offset, unit) & ((1 << 8 * unit) - 1)
            value |= part << 8 * (offset + area.start - address)
        return value

    def store(self, address: int, size: int, value: int) -> bool:
        """Store a number; False if nothing answers for all of it."""
        area = self.area(address)
        if area is None or address + size > area.end:
            return False
        if area.write is None:
            self.memory.write(address, value.to_bytes(size, "little"))
            return True
        for offset, unit in units(address - area.start, size):
            part = value >> 8 * (offset + area.start - address)
            area.write(offset, unit, part & ((1 << 8 * unit) - 1))
        return True

    def compare_exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        """Store `new` if a number is `expected`, and whether it was; something answers for all of it.

        One step for memory; of a device it is a read and a write.
        """
        area = self.area(address)
        if area is not None and area.read is None:
            return self.memory.compare_exchange(address, size, expected, new)
        return self.load(address, size) == expected and self.store(address, size, new)


def units(offset: int, size: int) -> list[tuple[int, int]]:
    """A range as the fewest pieces of 1, 2, 4 or 8 bytes that are multiples of their size."""
    if size in _UNITS and not offset % size:
        return [(offset, size)]
    pieces, end = [], offset + size
    while offset < end:
        unit = UNIT
        while offset % unit or offset + unit > end:
            unit //= 2
        pieces.append((offset, unit))
        offset += unit
    return pieces
