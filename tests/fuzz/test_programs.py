"""The generator: what there is to find in its programs, and that limits are kept."""

from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from vmjit.fuzz.end import LIMIT
from vmjit.fuzz.limits import ALL, Limits
from vmjit.fuzz.placement import in_reach
from vmjit.fuzz.program import CODE, CODE_SIZE, FIRST, PAGE, Line, Program, Statement, instruction_set, line
from vmjit.fuzz.programs import COUNTS, ILLEGAL, random_program
from vmjit.fuzz.roles import ALIGNED, COUNTERS, FREE, POINTERS, RESERVED
from vmjit.fuzz.tiers import Benches
from vmjit.fuzz.vocabulary import kinds
from vmjit.guest.riscv.csr import READ_ONLY

PROGRAMS = 400
NARROW = Limits(frozenset(("clz", "fadd.d")), *[False] * 6)


@cache
def programs(limits: Limits = ALL) -> tuple[Program, ...]:
    return tuple(random_program(seed, limits) for seed in range(PROGRAMS))


def lines(limits: Limits = ALL) -> Iterator[Line]:
    return (each for program in programs(limits) for statement in program.statements for each in statement.lines)


def names(limits: Limits = ALL) -> Counter[str]:
    return Counter(each.decoded.instruction.name for each in lines(limits) if each.decoded is not None)


def test_a_seed_is_a_program() -> None:
    assert all(random_program(seed) == programs()[seed] for seed in range(20))
    assert len({program.image for program in programs()}) == PROGRAMS


def test_every_instruction_is_tried() -> None:
    made = {each.name for each in instruction_set().instructions if not each.reserved}
    found = names()
    assert made - found.keys() <= {"wrs.nto", "wrs.sto"}
    tried = {each.name for group in vars(kinds()).values() for each in group}
    assert len(tried) > 150 and min(found[name] for name in tried) > 3


def test_every_kind_of_program_is_tried() -> None:
    end = CODE + CODE_SIZE
    starts = [program.start for program in programs()]
    assert {start == FIRST for start in starts} == {True, False}
    assert any(CODE + PAGE - 4 < at < CODE + PAGE < at + len(code) for p in programs() for at, code, _ in p.lines())
    assert any(at + len(code) > end for p in programs() for at, code, _ in p.lines())
    for flags in ({p.writable for p in programs()}, {p.late for p in programs()}, {p.precise for p in programs()}):
        assert flags == {True, False}
    assert {program.hot for program in programs()} == set(range(1, 7))
    assert len({each.code for each in lines() if each.decoded is None} & set(ILLEGAL)) > len(ILLEGAL) // 2
    assert max(program.count for program in programs()) > 500  # more than a region holds


def test_programs_end_in_every_way() -> None:
    benches = Benches(["interpreter"])
    ends = Counter(benches.run("interpreter", program).reason for program in programs())
    assert ends.keys() == {"BREAKPOINT", "FAULT", "MISALIGNED", "ILLEGAL", LIMIT}
    assert ends["BREAKPOINT"] > PROGRAMS / 3 and ends[LIMIT] < PROGRAMS / 10


def test_registers_with_a_role_are_left_alone() -> None:
    """A random instruction writes free registers; those that count loops are written by what goes round."""
    assert not RESERVED & set(FREE)
    updates = {"addi"}
    for each in lines():
        if each.decoded is not None:
            base, fields = each.decoded.expand()
            if fields.get("rd") in COUNTERS:
                assert base.name in updates
            assert fields.get("rd") not in POINTERS or each.decoded.instruction.name == "c.addi16sp"


def test_limits_are_kept() -> None:
    found = names(NARROW)
    assert not found.keys() & {"clz", "fadd.d", "ecall"} and found["clzw"] and found["fadd.s"]
    assert names()["ecall"] and {"cycle", "instret"} == {READ_ONLY[number].name for number in COUNTS}
    widths = []
    for program in programs(NARROW):
        decoded = [each.decoded for statement in program.statements for each in statement.lines if each.decoded]
        assert not any(each.fields.get("csrro") in COUNTS for each in decoded)
        widths.append({each.instruction.name[3] for each in decoded if each.instruction.name[:3] in ("lr.", "sc.")})
        assert all(each.fields["rs1"] in ALIGNED for each in decoded if each.instruction.name[:3] == "sc.")
        breaks = [at for at, code, _ in program.lines() if code in (line("ebreak").code, line("c.ebreak").code)]
        assert all(at <= CODE + CODE_SIZE - 8 for at in breaks)
    assert max(map(len, widths)) == 1 and {"w"} in widths and {"d"} in widths


def test_a_short_jump_that_does_not_reach_becomes_a_long_one() -> None:
    padding = [Statement((line("addi", rd=0, rs1=0, imm=0),))] * 70  # 280 bytes; c.beqz reaches 254
    far = in_reach((Statement((line("c.beqz", "L1", rs1c=2),)), *padding, Statement(label="L1")))
    near = in_reach((Statement((line("c.beqz", "L1", rs1c=2),)), *padding[:60], Statement(label="L1")))
    first = [statement.lines[0].decoded for statement in (far[0], near[0])]
    assert [each.text() for each in first if each is not None] == ["beq a0, zero, 0x0", "c.beqz a0, 0x0"]
    assert Program(far).image and far[0].lines[0].target == "L1"


@pytest.mark.parametrize("name", ["c.j", "c.bnez"])
def test_long_forms_keep_their_meaning(name: str) -> None:
    fields = {"rs1c": 1} if name == "c.bnez" else {}
    short = line(name, "L1", **fields)
    padding = [Statement((line("addi", rd=0, rs1=0, imm=0),))] * 600
    long = in_reach((Statement((short,)), *padding, Statement(label="L1")))[0].lines[0]
    assert short.decoded is not None and long.decoded is not None
    assert short.decoded.expand()[0] is long.decoded.expand()[0]
