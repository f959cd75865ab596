"""Shrinking: what is left is what the defect needs, within a bound of time."""

from dataclasses import replace

from vmjit.fuzz.program import FIRST, Line, Program, Statement, line
from vmjit.fuzz.programs import random_program
from vmjit.fuzz.shrink import Shrinker
from vmjit.fuzz.text import code_text, parse_program


def names(program: Program) -> list[str]:
    return [
        each.decoded.instruction.name
        for statement in program.statements
        for each in statement.lines
        if each.decoded is not None
    ]


def test_only_what_fails_is_left() -> None:
    program = next(made for seed in range(99) if len(names(made := random_program(seed))) > 60)
    program = replace(program, registers={**program.registers, "x10": 99})
    needed = {names(program)[20], names(program)[40]}
    assert len(needed) == 2

    def fails(candidate: Program) -> bool:
        return needed <= set(names(candidate)) and candidate.registers.get("x10", 0) > 3

    small = Shrinker(fails, 60.0).shrink(program)
    assert len(names(small)) == 2 and set(names(small)) == needed
    assert small.registers.keys() == {"x10"} and not small.words
    assert (small.start, small.writable, small.precise, small.hot) == (FIRST, False, False, 1)


def test_labels_stay_as_long_as_they_are_used() -> None:
    text = "    bne a0, a1, @L1\n    addi a2, a2, 1\nL1:\n    addi a3, a3, 7\nL2:\n    ebreak\n"
    program = parse_program(f"\n\n{text}")
    small = Shrinker(lambda candidate: "bne" in names(candidate) and "ebreak" in names(candidate), 60.0).shrink(program)
    assert code_text(small) == "    bne a0, a1, @L1\nL1:\n    ebreak\n"


def test_values_become_simple() -> None:
    program = Program((), {"x1": 1234, "x2": 99, "x3": 5}, {0x20000: 77, 0x20008: 78})

    def fails(candidate: Program) -> bool:
        return candidate.registers.get("x1", 0) > 0 and candidate.words.get(0x20008, 0) > 70

    small = Shrinker(fails, 60.0).shrink(program)
    assert dict(small.registers) == {"x1": 1} and dict(small.words) == {0x20008: 78}


def test_immediates_and_short_forms_become_simple() -> None:
    program = Program((Statement((line("addi", rd=10, rs1=11, imm=-77),)), Statement((line("c.mv", rd=10, rs2=11),))))
    small = Shrinker(lambda candidate: len(names(candidate)) == 2, 60.0).shrink(program)
    assert code_text(small) == "    addi a0, a1, 0\n    add a0, zero, a1\n"


def test_a_change_of_code_keeps_its_fence() -> None:
    fence = Line((0x100F).to_bytes(4, "little"))
    change = Statement((line("addi", rd=7, rs1=0, imm=1), line("sw", rs2=7, rs1=6, imm=0), fence))
    small = Shrinker(lambda candidate: "sw" in names(candidate), 60.0).shrink(Program((change,)))
    assert names(small) == ["addi", "sw", "fence.i"]


def test_the_time_is_bounded() -> None:
    tried: list[Program] = []

    def fails(candidate: Program) -> bool:
        tried.append(candidate)
        return True

    program = random_program(5)
    assert replace(Shrinker(fails, -1.0).shrink(program), statements=()) == replace(program, statements=())
    assert not tried
