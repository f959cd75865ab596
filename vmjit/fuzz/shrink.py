"""Makes a program that shows a defect as small as it will: fewer statements, fewer and simpler values.

Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) over each part of a
program in turn, until nothing helps or the time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from vmjit.errors import EncodingError
from vmjit.fuzz.program import FIRST, Line, Program, Statement

Part = TypeVar("Part")
Key = TypeVar("Key")
Fails = Callable[[Program], bool]
FENCE = "fence.i"  # what changes code before it means nothing without it
SIMPLE = (0, 1, (1 << 64) - 1, 1 << 63)


class Shrinker:
    """`fails` says whether a program still shows the defect."""

    def __init__(self, fails: Fails, seconds: float) -> None:
        self.fails = fails
        self.end = monotonic() + seconds
        self.tried = 0

    def shrink(self, program: Program) -> Program:
        """The smallest program found that fails, as `program` does."""
        before = None
        while before != program and not self.is_over():
            before = program
            program = self.fewer_statements(program)
            program = self.plainer(program)
            program = self.fewer_registers(program)
            program = self.fewer_words(program)
            program = self.simpler_lines(program)
        return program

    def is_over(self) -> bool:
        return monotonic() > self.end

    def still(self, program: Program) -> bool:
        """Whether the program, if it is one, fails."""
        if self.is_over():
            return False
        self.tried += 1
        try:
            program.image  # noqa: B018
        except (EncodingError, KeyError):  # a label is gone, or out of reach
            return False
        return self.fails(program)

    def fewer_statements(self, program: Program) -> Program:
        program = _without_unused_labels(program)

        def with_statements(statements: Sequence[Statement]) -> Program:
            return _without_unused_labels(replace(program, statements=tuple(statements)))

        kept = self.minimal(program.statements, lambda statements: self.still(with_statements(statements)))
        return with_statements(kept)

    def fewer_registers(self, program: Program) -> Program:
        """Registers that may as well be 0, or something else that is simple."""
        return replace(
            program, registers=self.fewer(program.registers, lambda found: replace(program, registers=found))
        )

    def fewer_words(self, program: Program) -> Program:
        """Likewise memory."""
        return replace(program, words=self.fewer(program.words, lambda found: replace(program, words=found)))

    def fewer(self, values: Mapping[Key, int], made: Callable[[dict[Key, int]], Program]) -> dict[Key, int]:
        items = [item for item in values.items() if item[1]]
        kept = dict(self.minimal(items, lambda fewer: self.still(made(dict(fewer)))))
        for key, value in kept.items():
            for simple in SIMPLE:
                if simple < value and self.still(made(kept | {key: simple})):
                    kept[key] = simple
                    break
        return kept

    def plainer(self, program: Program) -> Program:
        """The defaults of how the program is run."""
        changes: tuple[Callable[[Program], Program], ...] = (
            lambda program: replace(program, start=FIRST),
            lambda program: replace(program, writable=False),
            lambda program: replace(program, late=False),
            lambda program: replace(program, precise=False),
            lambda program: replace(program, hot=1),
        )
        for change in changes:
            changed = change(program)
            if changed != program and self.still(changed):
                program = changed
        return program

    def simpler_lines(self, program: Program) -> Program:
        """Statements of several lines with one less, immediates that are 0 or 1, long forms of compressed lines."""
        index = 0
        while index < len(program.statements):
            for simpler in _simpler(program.statements[index]):
                statements = (*program.statements[:index], simpler, *program.statements[index + 1 :])
                changed = replace(program, statements=statements)
                if self.still(changed):
                    program = changed
                    break
            else:
                index += 1
        return program

    def minimal(self, parts: Sequence[Part], fails: Callable[[Sequence[Part]], bool]) -> Sequence[Part]:
        """Few parts that fail; all of them do."""
        size = len(parts) // 2
        while size:
            start = 0
            while start < len(parts):
                fewer = (*parts[:start], *parts[start + size :])
                if fails(fewer):
                    parts = fewer
                else:
                    start += size
            size //= 2
        return parts


def _without_unused_labels(program: Program) -> Program:
    used = {line.target for statement in program.statements for line in statement.lines}
    kept = [
        statement if statement.label in used or not statement.label else replace(statement, label="")
        for statement in program.statements
    ]
    return replace(program, statements=tuple(each for each in kept if each.lines or each.label))


def _simpler(statement: Statement) -> Iterator[Statement]:
    lines = statement.lines
    if len(lines) > 1 and not any(each.decoded and each.decoded.instruction.name == FENCE for each in lines):
        for index in range(len(lines)):
            yield replace(statement, lines=(*lines[:index], *lines[index + 1 :]))
    for index, each in enumerate(lines):
        for simpler in _simpler_line(each):
            yield replace(statement, lines=(*lines[:index], simpler, *lines[index + 1 :]))


def _simpler_line(each: Line) -> Iterator[Line]:
    decoded = each.decoded
    if decoded is None:
        return
    made = decoded.instruction
    for name, value in decoded.fields.items():
        if made.operands[name].file is None and made.operands[name].structural is None and value not in (0, 1):
            for simple in (0, 1):
                if made.encoding.fields[name].why_not(simple) is None:
                    code = made.encoding.encode(**{**decoded.fields, name: simple})
                    yield Line(code.to_bytes(decoded.size, "little"), each.target)
    if made.of is not None:
        base, fields = decoded.expand()
        if base.encoding.fields.keys() == fields.keys():
            yield Line(base.encoding.encode(**fields).to_bytes(base.encoding.size, "little"), each.target)
