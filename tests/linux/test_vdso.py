import struct

import pytest

from tests.linux.conftest import Guest
from vmjit.errors import GuestError
from vmjit.linux.abi import NUMBERS
from vmjit.linux.vdso import FILE, library, map_vdso
from vmjit.loader import elf
from vmjit.memory.address_space import EXECUTE, READ, WRITE

FUNCTIONS = ("gettimeofday", "clock_gettime", "clock_getres", "getcpu", "riscv_flush_icache", "riscv_hwprobe")
ECALL, RET = bytes.fromhex("73000000"), bytes.fromhex("8280")
STACK = 1 << 20
NAMES = {"riscv_flush_icache": "__vdso_flush_icache"}


def set_number(name: str) -> bytes:
    """li a7, number"""
    return struct.pack("<I", NUMBERS[name] << 20 | 17 << 7 | 0x13)


def test_each_function_makes_its_call(guest: Guest) -> None:
    base, _ = map_vdso(guest.memory)
    symbols = elf.symbols(FILE, bias=base)
    assert len(symbols.functions()) == len(FUNCTIONS) + 1
    for call in FUNCTIONS:
        address = symbols.address(NAMES.get(call, f"__vdso_{call}"))
        assert address is not None
        assert guest.memory.read(address, 10, EXECUTE) == set_number(call) + ECALL + RET


def test_handlers_return_to_it(guest: Guest) -> None:
    """Unwinders know these instructions."""
    base, handlers_return = map_vdso(guest.memory)
    assert handlers_return == elf.symbols(FILE, bias=base).address("__vdso_rt_sigreturn")
    assert guest.memory.read(handlers_return, 8, EXECUTE) == set_number("rt_sigreturn") + ECALL


def test_where_it_is(guest: Guest) -> None:
    guest.memory.map(guest.memory.size - STACK, STACK, READ | WRITE)
    base, _ = map_vdso(guest.memory)
    mapping = next(mapping for mapping in guest.memory.regions() if mapping.start == base)
    assert (mapping.end, mapping.permissions, mapping.name) == (guest.memory.size - STACK, READ | EXECUTE, "[vdso]")
    assert guest.memory.read(base, len(library()[0])) == library()[0]


def test_a_program_that_leaves_no_room_is_an_error(guest: Guest) -> None:
    guest.memory.map(0, guest.memory.size, 0)
    with pytest.raises(GuestError, match="no room for the vDSO"):
        map_vdso(guest.memory)
