"""Regions whose registers are exact wherever an access faults."""

import pytest
from machines import CODE, DATA, PAGE, assemble, harts, registers, set_registers

from vmjit.engine.check import CheckedHart
from vmjit.engine.hart import Hart, Tier
from vmjit.ir.exits import ExitReason
from vmjit.memory.address_space import EXECUTE, READ, WRITE

# Two loops, one without accesses; registers change between the accesses and on both ways to one.
PROGRAM = """\
addi t0, zero, 0
addi t1, zero, 1
again:
addi t0, t0, 1
fadd.d ft1, ft1, ft2
sd t0, 0(a0)
andi t2, t0, 1
beq t2, zero, @even
add t1, t1, t0
even:
addi s0, zero, 3
inner:
addi s0, s0, -1
mul t1, t1, s1
bne s0, zero, @inner
fdiv.d ft3, ft1, ft4
lw a1, 4(a0)
addi a0, a0, 8
xor a2, a2, t1
jal zero, @again
"""


def run(tier: Tier, precise: bool = True) -> tuple[dict[str, int], int, int, int, Hart]:
    with harts(assemble(PROGRAM, guest="riscv64"), tier, guest="riscv64") as hart:
        set_registers(hart, x9=0x123456789ABCDEF, x10=DATA + 16, f1=0x3FF0000000000000, f2=0x3FB999999999999A, f4=3)
        if precise:
            hart.make_precise()
        hart.memory.map(DATA + PAGE, PAGE, READ)
        stop = hart.run()
        assert stop.reason is ExitReason.FAULT
        return registers(hart), stop.pc, stop.argument, hart.counters.regions, hart


def test_registers_count_and_flags_are_exact_at_a_fault() -> None:
    expected, pc, address, _, _ = run(Tier.REFERENCE)
    assert address == DATA + PAGE and pc == CODE + 16
    for tier in (Tier.INTERPRETER, Tier.JIT):
        found, *where, regions, _ = run(tier)
        assert found == expected and where == [pc, address]
        assert regions or tier is Tier.INTERPRETER


def test_what_it_is_good_for() -> None:
    """Without it, a region keeps its registers to itself."""
    expected, pc, address, _, _ = run(Tier.REFERENCE)
    found, *where, _, _ = run(Tier.JIT, precise=False)
    assert found != expected and where == [pc, address]


def test_regions_made_before_are_dropped() -> None:
    with harts(assemble(PROGRAM, guest="riscv64"), Tier.JIT, guest="riscv64") as hart:
        set_registers(hart, x10=DATA)
        hart.run()
        assert hart.regions.by_offset
        hart.make_precise()
        assert not hart.regions.by_offset
        first = hart.words[hart.guest.layout.word("x10")]
        hart.memory.map(DATA + PAGE, PAGE, READ | WRITE)
        stop = hart.run()
        assert hart.regions.by_offset and stop.argument == DATA + 2 * PAGE > first
        hart.make_precise()
        assert hart.regions.by_offset, "nothing changes"


@pytest.mark.parametrize("make", [Hart, CheckedHart])
@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
@pytest.mark.parametrize("pc", [CODE + 1, 1 << 38, (1 << 64) - 2, DATA], ids=hex)
def test_a_pc_from_outside_may_be_anything(make: type[Hart], tier: Tier, pc: int) -> None:
    """A signal handler returns to whatever it likes."""
    with harts(assemble(PROGRAM, guest="riscv64"), tier, guest="riscv64", make=make) as hart:
        set_registers(hart, pc=pc)
        stop = hart.run()
        assert (stop.reason, stop.pc, stop.argument) == (ExitReason.FAULT, pc, pc)
        assert not (hart.memory.permissions(DATA) or 0) & EXECUTE


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
def test_a_rounding_mode_from_outside_may_be_reserved(tier: Tier) -> None:
    with harts(assemble("fadd.d ft1, ft2, ft3\necall", guest="riscv64"), tier, guest="riscv64") as hart:
        set_registers(hart, frm=5)
        stop = hart.run()
        assert (stop.reason, stop.pc) == (ExitReason.ILLEGAL, CODE)
        set_registers(hart, frm=4, pc=CODE, f2=0x3FF0000000000000, f3=0x3CA0000000000000)  # 1 + half an ulp
        assert hart.run().reason is ExitReason.SYSCALL
        assert registers(hart)["f1"] == 0x3FF0000000000001
