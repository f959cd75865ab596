"""What tracing one instruction tells: traits, where control goes on, and what folds on the way."""

import random

import pytest
import toy
from machines import CODE, guest_named, instructions_of

from vmjit.engine.trace import Flow, ForwardingEmitter, Tracer, Traits, trace_alone
from vmjit.ir.block import Region
from vmjit.isa.instruction import Decoded

AT_ONCE = Traits(ends=False, may_leave=False, alone=False)
ACCESS = Traits(ends=False, may_leave=True, alone=False)
END = Traits(ends=True, may_leave=True, alone=False)


def decoded(text: str, guest: str = "toy") -> Decoded:
    word = int.from_bytes(instructions_of(guest).assemble(text, CODE), "little")
    found = guest_named(guest).decode_table.decode(lambda at, size: word & ((1 << 8 * size) - 1), CODE)
    assert isinstance(found, Decoded)
    return found


def traits(text: str, guest: str = "toy") -> Traits:
    found = decoded(text, guest)
    instruction, fields = found.expand()
    return Tracer(guest_named(guest).layout).traits_of(instruction, fields, found.size)


def flow(text: str, guest: str = "toy") -> Flow:
    found = decoded(text, guest)
    instruction, fields = found.expand()
    return Tracer(guest_named(guest).layout).flow_of(instruction, fields, CODE, found.size)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("add r1, r2, r3", AT_ONCE),
        ("mov r1, r2", AT_ONCE),
        ("ld r1, 0(r2)", ACCESS),
        ("st r1, 0(r2)", ACCESS),
        ("even r1", ACCESS),
        ("bnez r1, 0x10000", END),
        ("call r5, 0x10000", END),
        ("jr r1", END),
        ("halt", END),
        ("brk", Traits(ends=True, may_leave=True, alone=False, traps=True)),
        ("flush", END),
        ("clock r1", Traits(ends=False, may_leave=False, alone=True)),
    ],
)
def test_traits(text: str, expected: Traits) -> None:
    assert traits(text) == expected


def test_structural_fields_have_traits_of_their_own() -> None:
    """To nearest, ties away, is a rounding mode that no host has; the dynamic one may be native."""
    dynamic, away = traits("fadd.s fa0, fa1, fa2", "riscv64"), traits("fadd.s fa0, fa1, fa2, rmm", "riscv64")
    assert (dynamic.alone, away.alone) == (False, True)


@pytest.mark.parametrize("text", ["csrrs a0, fflags, zero", "csrrw zero, frm, a0", "csrrs a0, time, zero"])
def test_what_touches_the_host_is_alone(text: str) -> None:
    assert traits(text, "riscv64").alone


THERE, NEXT = CODE + 16, CODE + 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bnez r1, 0x10010", Flow((THERE, NEXT), False)),
        ("bnez r1, 0xfff0", Flow((CODE - 16, NEXT), False)),
        ("call r5, 0x10010", Flow((), True, calls=(THERE,))),
        ("call r0, 0x10010", Flow((), False, calls=(THERE,))),
        ("jr r1", Flow((), False, unknown="indirect")),
        ("halt", Flow((), True)),
        ("flush", Flow((), True)),
        ("brk", Flow((), False)),
    ],
)
def test_flow(text: str, expected: Flow) -> None:
    assert flow(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jal zero, 0x10010", Flow((THERE,), False)),
        ("jal ra, 0x10010", Flow((), True, calls=(THERE,))),
        ("jalr ra, 0(a0)", Flow((), True, unknown="indirect")),
        ("jalr zero, 0(a0)", Flow((), False, unknown="indirect")),
        ("jalr zero, 0(ra)", Flow((), False, unknown="return")),
        ("c.beqz a0, 0x10010", Flow((THERE, NEXT), False)),
        ("c.j 0x10010", Flow((THERE,), False)),
        ("ecall", Flow((), True)),
        ("ebreak", Flow((), False)),
    ],
)
def test_flow_of_riscv(text: str, expected: Flow) -> None:
    assert flow(text, "riscv64") == expected


def test_registers_are_read_once_and_known_after_a_write() -> None:
    region = Region("main")
    emitter = ForwardingEmitter(region, region.new_block())
    first = emitter.get("r1")
    assert emitter.get("r1") is first
    emitter.set("r2", first)
    assert emitter.get("r2") is first
    emitter.begin(region.new_block())
    assert emitter.get("r1") is not first


def test_what_the_host_changes_is_read_each_time() -> None:
    region = Region("main")
    emitter = ForwardingEmitter(region, region.new_block())
    assert emitter.get("limit") is not emitter.get("limit")


def test_known_fields_fold() -> None:
    """No address is computed for a branch, and writing the zero register writes nothing."""
    found = decoded("add r0, r1, r2")
    region, _ = trace_alone(toy.LAYOUT, *found.expand(), CODE, 2)
    assert not any(value.op.writes_state for value in region.blocks[0].ops)
    found = decoded("bnez r1, 0x10010")
    region, _ = trace_alone(toy.LAYOUT, *found.expand(), CODE, 2)
    assert all(block.end.args[0].is_const for block in region.blocks if block.end.kind == "chain")


@pytest.mark.parametrize("name", ["toy", "riscv64"])
def test_flow_is_remembered_for_other_addresses_and_offsets(name: str) -> None:
    """What one tracer knows from other instructions is what another finds out."""
    guest = guest_named(name)
    one, chance, ends = Tracer(guest.layout), random.Random(1), set()
    for variant in guest.decode_table.variants:
        word = variant.match | (chance.getrandbits(32) & ~variant.mask)
        for pc, more in ((CODE, 0), (CODE + 0x12344, 0x7FF00000)):
            found = guest.decode_table.decode_word(word ^ (more & ~variant.mask), variant.instruction.encoding.size)
            if not isinstance(found, Decoded):
                continue
            base, fields = found.expand()
            if one.traits_of(base, fields, found.size).ends:
                ends.add(base.name)
                assert one.flow_of(base, fields, pc, found.size) == Tracer(guest.layout).flow_of(
                    base, fields, pc, found.size
                )
                direct = {
                    block.end.args[0].attr
                    for block in trace_alone(guest.layout, base, fields, pc, found.size)[0].blocks
                    if block.terminator is not None and block.end.kind == "chain" and block.end.args[0].is_const
                }
                flow = one.flow_of(base, fields, pc, found.size)
                assert {*flow.targets, *flow.calls} == direct
    assert len(ends) > 3
