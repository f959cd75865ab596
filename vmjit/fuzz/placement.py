"""Where random code lies, and jumps that reach their targets from there."""

from __future__ import annotations

import random

from vmjit.errors import EncodingError
from vmjit.fuzz.program import CODE, CODE_SIZE, FIRST, PAGE, Line, Program, Statement, line

LOOKS_AHEAD = 8  # bytes from a breakpoint on


def random_start(chance: random.Random, size: int) -> int:
    """Where code of this size begins: at once, across a page boundary, or so that it ends with the last page."""
    end = CODE + CODE_SIZE
    if size >= CODE_SIZE - PAGE or (kind := chance.random()) < 0.4:
        return FIRST
    if kind < 0.8:
        return CODE + PAGE - chance.randrange(2, size + 2, 2)
    return end - size + chance.choice((0, 0, 2))  # the last instruction may reach beyond


def breaks_at_the_end(program: Program) -> bool:
    codes = (line("ebreak").code, line("c.ebreak").code)
    return any(code in codes and at > CODE + CODE_SIZE - LOOKS_AHEAD for at, code, _ in program.lines())


def in_reach(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The statements with the long form of every compressed jump whose target is too far away."""
    while True:
        program = Program(statements)
        labels, at, far = program.addresses, program.start, False
        made = []
        for statement in statements:
            lines = []
            for each in statement.lines:
                lines.append(each if _reaches(each, at, labels) else _long_form(each))
                far = far or lines[-1] is not each
                at += len(each.code)
            made.append(Statement(tuple(lines), statement.label))
        if not far:
            return statements
        statements = tuple(made)


def _reaches(each: Line, at: int, labels: dict[str, int]) -> bool:
    try:
        each.placed(at, labels)
    except EncodingError:
        return False
    return True


def _long_form(each: Line) -> Line:
    assert each.decoded is not None and each.decoded.size == 2
    base, fields = each.decoded.expand()
    return line(base.name, each.target, **fields)
