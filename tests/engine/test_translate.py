"""Plan -> IR: sound, counts instructions exactly, and means what the reference evaluator does one by one."""

import random

import pytest
import toy
from machines import CODE, DATA, LOOP, assemble, code_at, guest_named, memory_with

from vmjit.engine.formation import Former, Plan
from vmjit.engine.reference import Reference, ReferenceMemory
from vmjit.engine.state import FOREVER
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import MOST_COPIES, translate
from vmjit.ir.block import Region
from vmjit.ir.interpret import compile_region
from vmjit.ir.verify import verify_or_raise
from vmjit.passes.pipeline import PIPELINE

TRACER = Tracer(toy.LAYOUT)
LIMIT, INSTRET = toy.LAYOUT.word("limit"), toy.LAYOUT.word("instret")
BRANCHES = """\
    bnez r1, @left
    li r2, 3
    even r2
    li r3, 4
left:
    ld r4, 0(r7)
    bnez r4, @right
    st r3, 8(r7)
right:
    step r3, up
    call r5, 0x10100
    halt
"""


def plan_of(code: bytes, guest: str = "toy") -> Plan:
    found = guest_named(guest)
    plan = Former(found.decode_table, Tracer(found.layout)).form(CODE, code_at(code))
    assert plan is not None
    return plan


def region_of(code: bytes, *, passes: bool) -> Region:
    region = translate(plan_of(code), toy.LAYOUT, TRACER)
    verify_or_raise(region, "translate")
    for name, run in PIPELINE if passes else ():
        verify_or_raise(run(region), name)
    return region


def state(values: dict[str, int]) -> memoryview:
    words = memoryview(bytearray(4096)).cast("Q")
    words[LIMIT] = FOREVER
    for name, value in values.items():
        words[toy.LAYOUT.word(name)] = value
    return words


def values_in(words: memoryview) -> dict[str, int]:
    return {name: words[toy.LAYOUT.word(name)] for name in (*toy.LAYOUT.registers(), "instret")}


@pytest.mark.parametrize("passes", [False, True], ids=["as translated", "after all passes"])
@pytest.mark.parametrize("text", [LOOP, BRANCHES], ids=["loop", "branches"])
def test_a_region_does_what_its_instructions_do(text: str, passes: bool) -> None:
    """The reference executes as many instructions as the region counted; then all registers agree."""
    code, chance = assemble(text), random.Random(text)
    region = region_of(code, passes=passes)
    run = compile_region(region, toy.LAYOUT)
    for pc in (region.pc, *region.entries):
        for _ in range(8):
            values = {f"r{n}": chance.choice((0, 1, 2, chance.getrandbits(64))) for n in range(1, 7)}
            start = state(values | {"r7": DATA, "status": chance.getrandbits(64)})
            end = state({})
            end[:] = start
            with memory_with(code) as memory, memory_with(code) as other:
                kind, target, *_ = run(end, ReferenceMemory(memory), pc)
                reference = Reference(toy.guest, other, start)
                at, reason = pc, None
                while reason is None and start[INSTRET] < end[INSTRET]:
                    reason, at, _ = reference.step(at)
                if kind not in ("chain", "limit", "syscall") and reason is None:
                    reason, at, _ = reference.step(at)  # what traps is not counted
                assert (at, values_in(end)) == (target, values_in(start)), f"{pc:#x} {values}"
                assert memory.read(DATA, 64) == other.read(DATA, 64)
                assert reason is None or reason.name.lower() == kind


def test_a_loop_stops_at_the_limit() -> None:
    """Small loops are checked once for several rounds."""
    code = assemble("li r1, 1\nagain:\nadd r2, r2, r1\nbnez r1, @again")
    run = compile_region(region_of(code, passes=True), toy.LAYOUT)
    for limit in (0, 1, 10, 100):
        words = state({"limit": limit})
        with memory_with(code) as memory:
            kind, target, _, _ = run(words, ReferenceMemory(memory), CODE)
        assert (kind, target) == ("limit", CODE + 2)
        assert limit <= words[INSTRET] <= limit + 1 + 2 * MOST_COPIES
        assert words[INSTRET] == 1 + 2 * words[toy.LAYOUT.word("r2")]


def test_only_small_loops_are_copied() -> None:
    def blocks(length: int) -> int:
        body = "add r2, r2, r1\n" * length
        region = translate(plan_of(assemble(f"again:\n{body}bnez r1, @again\nbrk")), toy.LAYOUT, TRACER)
        return sum(block.name.startswith("x10000") for block in region.blocks)

    assert (blocks(1), blocks(6), blocks(100)) == (MOST_COPIES, MOST_COPIES, 1)
    assert 1 < blocks(14) < MOST_COPIES


def test_each_entry_has_a_block_of_its_own() -> None:
    region = translate(plan_of(assemble("call r5, 0x10000\nli r1, 1\nhalt\nbrk")), toy.LAYOUT, TRACER)
    assert list(region.entries) == [CODE, CODE + 2, CODE + 6]
    assert len(set(region.entries.values())) == 3
    inner = {block for source in region.blocks for block in source.successors()}
    assert not inner & set(region.entries.values()), "promotion reads registers there"


@pytest.mark.parametrize("text", ["li r1, 1\nbrk", "bnez r1, 0x10004\nbrk\nbrk"])
def test_an_instruction_that_traps_is_not_counted(text: str) -> None:
    words = state({})
    with memory_with(assemble(text)) as memory:
        kind, target, *_ = compile_region(region_of(assemble(text), passes=True), toy.LAYOUT)(
            words, ReferenceMemory(memory), CODE
        )
    assert (kind, target, words[INSTRET]) == ("breakpoint", CODE + 2, 1)


def test_the_count_of_instructions_is_exact_where_it_is_read() -> None:
    text = "addi a1, zero, 1\naddi a1, zero, 2\ncsrrs a2, instret, zero\necall"
    layout = guest_named("riscv64").layout
    code = assemble(text, guest="riscv64")
    region = translate(plan_of(code, "riscv64"), layout, Tracer(layout))
    for _, run in PIPELINE:
        run(region)
    words = memoryview(bytearray(4096)).cast("Q")
    with memory_with(code) as memory:
        compile_region(region, layout)(words, ReferenceMemory(memory), CODE)
    assert words[layout.word("x12")] == 2
