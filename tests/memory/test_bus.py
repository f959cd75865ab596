"""Physical memory: RAM, registers, devices, and what nothing answers."""

from collections.abc import Iterator

import numpy
import pytest

from vmjit.errors import DescriptionError
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.bus import Bus, units

RAM, REGISTERS, DEVICE = 0x80000000, 0x10001000, 0x10000000


class Device:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.log: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.log.append((offset, size))
        return 0x1122334455667788 >> 8 * offset

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append((offset, size, value))


@pytest.fixture
def bus() -> Iterator[Bus]:
    with AddressSpace() as memory:
        bus = Bus(memory)
        bus.add_ram(RAM, 4 * PAGE_SIZE)
        yield bus
        bus.frames.close()


@pytest.fixture
def device(bus: Bus) -> Device:
    device = Device()
    bus.add_device(DEVICE, 0x100, device.read, device.write)
    return device


def test_ram_when_seen_as_an_array(bus: Bus) -> None:
    array = bus.view(RAM + 8, 4, "<u4")
    assert bus.store(RAM + 12, 4, 0xCAFE)
    assert array.tolist() == [0, 0xCAFE, 0, 0]
    array[2] = 5
    assert bus.load(RAM + 12, 8) == 0x5_0000CAFE
    assert bus.frames.allowed(RAM + 3 * PAGE_SIZE) == READ | WRITE | EXECUTE


def test_registers_when_python_and_the_guest_use_them(bus: Bus) -> None:
    array = bus.add_registers(REGISTERS, numpy.arange(6, dtype="<u2").reshape(2, 3))
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert bus.load(REGISTERS + 8, 2) == 4
    assert bus.store(REGISTERS + 8, 2, 77)
    assert array[1, 1] == 77
    array[0, 0] = 9
    assert bus.load(REGISTERS, 1) == 9
    assert bus.frames.allowed(REGISTERS) == READ | WRITE
    assert bus.allows(REGISTERS, PAGE_SIZE, READ) and not bus.allows(REGISTERS, 1, EXECUTE)


def test_device_when_accessed(bus: Bus, device: Device) -> None:
    assert bus.load(DEVICE + 4, 2) == 0x3344
    assert bus.store(DEVICE + 0xFF, 1, 0x5)
    assert device.log == [(4, 2), (0xFF, 1, 5)]
    assert bus.frames.allowed(DEVICE) == 0
    assert bus.allows(DEVICE, 4, READ | WRITE) and not bus.allows(DEVICE, 4, EXECUTE)


def test_device_when_an_access_is_not_aligned(bus: Bus, device: Device) -> None:
    assert bus.load(DEVICE + 1, 4) == 0x44556677
    assert bus.store(DEVICE + 3, 4, 0xAABBCCDD)
    assert device.log == [(1, 1), (2, 2), (4, 1), (3, 1, 0xDD), (4, 2, 0xBBCC), (6, 1, 0xAA)]


@pytest.mark.parametrize("offset", range(16))
@pytest.mark.parametrize("size", range(20))
def test_units_are_aligned_and_follow_one_another(offset: int, size: int) -> None:
    at = offset
    for start, unit in units(offset, size):
        assert start == at and unit in (1, 2, 4, 8) and start % unit == 0
        at += unit
    assert at == offset + size


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (0, 1),
        (RAM - 1, 1),
        (RAM - 1, 2),
        (RAM + 4 * PAGE_SIZE - 1, 2),
        (DEVICE + 0xFF, 2),
        (DEVICE + 0x100, 1),
        (-1, 1),
        (1 << 38, 8),
        (1 << 63, 8),
    ],
)
def test_access_when_nothing_answers_for_all_of_it(bus: Bus, device: Device, address: int, size: int) -> None:
    assert bus.load(address, size) is None
    assert not bus.store(address, size, 0)
    assert not bus.allows(address, size, READ)
    assert device.log == []


def test_add_when_areas_overlap(bus: Bus, device: Device) -> None:
    overlap = r"device at 0x80003fff-0x80004000: overlaps RAM at 0x80000000-0x80004000"
    with pytest.raises(DescriptionError, match=overlap):
        bus.add_device(RAM + 4 * PAGE_SIZE - 1, 1, device.read, device.write)
    for start, size in (
        (RAM - PAGE_SIZE, 2 * PAGE_SIZE),
        (RAM - PAGE_SIZE, 8 * PAGE_SIZE),
        (RAM + PAGE_SIZE, PAGE_SIZE),
    ):
        with pytest.raises(DescriptionError, match="overlaps"):
            bus.add_ram(start, size)
    with pytest.raises(DescriptionError, match="overlaps device"):
        bus.add_registers(DEVICE, numpy.zeros(1))
    bus.add_device(DEVICE + 0x100, 0x100, device.read, device.write)
    bus.add_device(DEVICE - 0x100, 0x100, device.read, device.write)
    assert [area.start for area in bus.areas] == [DEVICE - 0x100, DEVICE, DEVICE + 0x100, RAM]


@pytest.mark.parametrize(
    ("start", "size", "message"),
    [
        (0x1001, PAGE_SIZE, "must begin and end at multiples of 4096"),
        (0x1000, 100, "must begin and end at multiples of 4096"),
        (0x1000, 0, "must not be empty"),
        (0x1000, -PAGE_SIZE, "must not be empty"),
        (-PAGE_SIZE, PAGE_SIZE, "lie below 0x4000000000"),
        ((1 << 38) - PAGE_SIZE, 2 * PAGE_SIZE, "lie below 0x4000000000"),
    ],
)
def test_add_ram_when_it_cannot_be(bus: Bus, start: int, size: int, message: str) -> None:
    with pytest.raises(DescriptionError, match=message):
        bus.add_ram(start, size)
