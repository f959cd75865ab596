"""Runs a few instructions in every tier that executes guest code of its own, to the place where they stop."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machines import CODE, DATA, PAGE, assemble, guest_named, harts, instructions_of, set_registers

from vmjit.engine.hart import Hart, Tier
from vmjit.ir.layout import INTERPRETER_SIZE
from vmjit.isa.encoding import Encoding
from vmjit.memory.address_space import READ, WRITE

TIERS = (Tier.REFERENCE, Tier.INTERPRETER, Tier.COPIES, Tier.JIT)
rv64 = instructions_of("riscv64")
LAYOUT = guest_named("riscv64").layout
ABI = {name: f"{file.name}{number}" for file in LAYOUT.files for number, name in enumerate(file.names)}
MASK = (1 << 64) - 1
START = CODE + 4  # of the code under test: before it lies a jump, because regions begin where jumps lead
JUMP = assemble(f"jal zero, {START:#x}", CODE, "riscv64")

every_tier = pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.value)


def assembled(text: str, pc: int = START) -> bytes:
    return assemble(text, pc, "riscv64")


@contextmanager
def hart_with(
    code: bytes | str, tier: Tier, *, data: bytes = b"", writable: bool = False, **values: int
) -> Iterator[Hart]:
    """A hart that is about to jump to `code` at START; `data` lies at DATA, and registers go by their ABI names."""
    code = assembled(code) if isinstance(code, str) else code
    with harts(JUMP + code, tier, guest="riscv64", writable_code=writable) as hart:
        if len(data) > PAGE:
            hart.memory.map(DATA, -(-len(data) // PAGE) * PAGE, READ | WRITE)
        hart.memory.write(DATA, data)
        put(hart, **values)
        yield hart
        assert not hart.counters.failures


def put(hart: Hart, **values: int) -> None:
    set_registers(hart, **{ABI.get(name, name): value for name, value in values.items()})


def get(hart: Hart, name: str) -> int:
    return hart.words[LAYOUT.word(ABI.get(name, name))]


def run(hart: Hart, pc: int = CODE) -> tuple[str, int, int]:
    """Why and where the hart stopped, and what was wrong there: an address, or an instruction."""
    put(hart, pc=pc)
    stop = hart.run()
    assert get(hart, "pc") == stop.pc
    assert get(hart, "zero") == 0
    return stop.reason.name, stop.pc, stop.argument


def is_compiled(hart: Hart, pc: int) -> bool:
    """Whether a region is entered at an address."""
    return hart.native.code_of(pc) >= INTERPRETER_SIZE


def state(hart: Hart) -> dict[str, int]:
    """All registers that a program has."""
    names = (*LAYOUT.registers(), "fflags", "frm")
    return {name: hart.words[LAYOUT.word(name)] for name in names}


def words(values: list[int] | tuple[int, ...]) -> bytes:
    """Doublewords as they lie in memory."""
    return b"".join((value & MASK).to_bytes(8, "little") for value in values)


def load(hart: Hart, address: int, size: int = 8) -> int:
    return int.from_bytes(hart.memory.read(address, size), "little")


def encoded(encoding: Encoding, **fields: int) -> bytes:
    return encoding.encode(**fields).to_bytes(encoding.size, "little")


def op(mnemonic: str, **fields: int) -> bytes:
    """An instruction by its fields."""
    return encoded(rv64.named(mnemonic).encoding, **fields)
