"""The instructions of random programs, by what a program may do with them, and fields for them.

They come from the guest's tables, so a new one is tried without further ado.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, cached_property

from vmjit.engine.trace import Tracer, trace_alone
from vmjit.fuzz.program import instruction_set
from vmjit.guest import get
from vmjit.isa.instruction import Instruction
from vmjit.isa.operand import Operand

EXCLUDED = frozenset(("fence.i", "wrs.nto", "wrs.sto"))  # the first is in statements of its own


@dataclass(frozen=True)
class Kinds:
    """Instructions by what a program may do with them."""

    pure: tuple[Instruction, ...]
    accesses: tuple[Instruction, ...]
    floats: tuple[Instruction, ...]
    branches: tuple[Instruction, ...]

    @cached_property
    def updates(self) -> tuple[Instruction, ...]:
        """Those that may have the same register as result and first operand."""
        return tuple(made for made in self.pure if {"rd", "rs1"} <= made.encoding.fields.keys())


@cache
def kinds(excluded: frozenset[str] = frozenset()) -> Kinds:
    """All but the excluded ones."""
    found: dict[str, list[Instruction]] = {"pure": [], "accesses": [], "floats": [], "branches": []}
    tracer = Tracer(get("riscv64").layout)
    for made in instruction_set().instructions:
        if not made.reserved and made.name not in EXCLUDED | excluded:
            kind = _kind(made, tracer)
            if kind:
                found[kind].append(made)
    return Kinds(*(tuple(found[name]) for name in ("pure", "accesses", "floats", "branches")))


def _kind(made: Instruction, tracer: Tracer) -> str | None:
    base, fields = made.expand(random_fields(made, random.Random(1)))
    region, _ = trace_alone(tracer.layout, base, fields, 0, made.encoding.size)
    if tracer.traits_of(base, fields, made.encoding.size).ends:
        exits = {str(block.end.attr) for block in region.blocks if block.end.kind == "exit"}
        flow = tracer.flow_of(base, fields, 0x1000, made.encoding.size)
        return "branches" if len(flow.targets) == 2 else "floats" if "rounding" in exits else None
    ops = [value.op for block in region.blocks for value in block.ops]
    if any(op.name == "clock" for op in ops):
        return None
    if any((op.reads_memory or op.writes_memory) and op.operands for op in ops):
        return "accesses"
    is_float = any(op.raises_flags for op in ops) or any(name.startswith("f") for name in base.parameters)
    return "floats" if is_float else "pure"


def random_fields(made: Instruction, chance: random.Random) -> dict[str, int]:
    """Values that the encoding holds, the interesting ones more often."""
    fields = {}
    for name, choices, held, width, signed in _shapes(made):
        value = chance.choice((0, -1, 1, 8, chance.getrandbits(width))) & held
        if signed and value >> (width - 1):
            value -= 1 << width
        fields[name] = chance.choice(choices) if choices else value
    return fields


@cache
def _shapes(made: Instruction) -> tuple[tuple[str, tuple[int, ...] | None, int, int, bool], ...]:
    """For each field: name, values if only some mean anything, bits that the encoding holds, width, is it signed."""
    return tuple(
        (
            name,
            made.operands[name].structural,
            sum(((1 << part.width) - 1) << part.low for part in encoded.slices),
            encoded.width,
            encoded.signed,
        )
        for name, encoded in made.encoding.fields.items()
    )


def numbers(operand: Operand, among: tuple[int, ...]) -> tuple[int, ...]:
    """Those of some register numbers that an operand can name."""
    return _between(operand.first, 1 << (operand.width or 5), among)


@cache
def _between(first: int, count: int, among: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(number for number in among if first <= number < first + count)


def written(instruction: Instruction, fields: dict[str, int]) -> list[tuple[str, int]]:
    """The registers that an instruction writes: file and number."""
    return [
        (file.name, value)
        for name, value in fields.items()
        if instruction.operands[name].written and (file := instruction.operands[name].file) is not None
    ]
