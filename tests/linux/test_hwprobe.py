"""What riscv_hwprobe says, beside the manual's key numbers."""

import os
import struct

import pytest

from tests.linux.conftest import Guest
from vmjit.guest.riscv import EXTENSIONS
from vmjit.guest.riscv.operands import rv64

PAIR = struct.Struct("<qQ")
EINVAL, EFAULT = 22, 14


def probe(guest: Guest, *keys: int) -> list[tuple[int, int]]:
    at = guest.put(b"".join(PAIR.pack(key, 0) for key in keys))
    assert guest.call("riscv_hwprobe", at, len(keys), 0, 0, 0) == 0
    return list(PAIR.iter_unpack(guest.memory.read(at, len(keys) * PAIR.size)))


def test_known_keys_have_values_and_others_become_minus_one(guest: Guest) -> None:
    assert probe(guest, 3, 5, 99, 9) == [(3, 1), (5, 3), (-1, 0), (9, 3)]
    assert guest.call("riscv_hwprobe", 0, 0, 0, 0, 0) == 0


def test_extensions_are_those_that_are_decoded(guest: Guest) -> None:
    ((_, value),) = probe(guest, 4)
    assert value == sum(1 << bit for bit in (0, 1, 3, 4, 5, 35, 36))
    assert not value >> 2 & 1, "no vectors"


def test_the_list_of_extensions_is_that_of_the_instructions() -> None:
    import vmjit.guest.riscv.instructions  # noqa: F401

    described = {instruction.extension.lower() for instruction in rv64.instructions}
    assert set(EXTENSIONS) == described | {"zicntr"}


@pytest.mark.parametrize(
    ("key", "value", "matches"), [(4, 0b11, True), (4, 1 << 2, False), (99, 0, False), (5, 3, True)]
)
def test_which_cpus_have_something(guest: Guest, key: int, value: int, matches: bool) -> None:
    pair, cpus = guest.put(PAIR.pack(key, value)), guest.space(8)
    assert guest.call("riscv_hwprobe", pair, 1, 8, cpus, 1) == 0
    present = sum(1 << cpu for cpu in os.sched_getaffinity(0))
    assert int.from_bytes(guest.memory.read(cpus, 8), "little") == (present if matches else 0)


def test_bad_arguments(guest: Guest) -> None:
    pair = guest.put(PAIR.pack(4, 0))
    none = guest.space(8)
    assert guest.call("riscv_hwprobe", pair, 1, 0, 0, 2) == -EINVAL
    assert guest.call("riscv_hwprobe", pair, 1, 8, none, 0) == -EINVAL  # no CPU is in the set
    assert guest.call("riscv_hwprobe", pair, 1, 0, 0, 1) == -EINVAL
    assert guest.call("riscv_hwprobe", 8, 1, 0, 0, 0) == -EFAULT
    assert guest.call("riscv_hwprobe", pair, 1 << 60, 0, 0, 0) == -EFAULT
