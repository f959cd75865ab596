"""Stencils: handlers with holes for their operands, to be copied one behind another (Xu and Kjolstad, Copy-and-Patch
Compilation, OOPSLA 2021).

A stencil does what the handler of its instruction does. Its operands are addresses of symbols that nobody defines, so
the object file says where in the code they stand; that of a register is the place of the register in the state. The
next instruction is the function `next`, which nobody defines either: it is the copy that follows. What rarely happens
and has changed nothing yet is left to the handler, so copies of loads and stores are short.
A stencil does not note which way a branch goes: the handler did when it was executed often enough to be copied.
"""

from collections.abc import Iterable
from typing import NamedTuple

from vmjit.codegen.lower import CONVENTION, PARAMETERS, Handler, Lowering
from vmjit.codegen.runtime import tail
from vmjit.ir.block import Block, Region, Terminator, Value
from vmjit.ir.layout import SLOT_SCALE, WORD, Layout

NEXT = "next"
HANDLER = "handler"  # that the stencil does the same as
GO = "go"  # what goes on at a slot, behind the last copy


class Hole(NamedTuple):
    """What stands in a hole: `base + scale * field`, within `low` and `high`."""

    field: str
    base: int
    scale: int
    low: int
    high: int

    @property
    def name(self) -> str:
        """Of its symbol."""
        return ".".join((str(self.base), str(self.scale), self.field))


def lower_stencil(
    region: Region, layout: Layout, name: str, handler: Handler, counts: bool, taken: str = ""
) -> tuple[str, set[Hole]]:
    """The function of a stencil, and its holes; `counts` as for lower_handler().

    taken: as taken_field() says, if the next copy is that of where the instruction jumps to.
    """
    lowering = _Stencil(region, layout, name, handler, None, counts)
    lowering.holes, lowering.unchanged, lowering.taken = set(), _unchanged(region), taken
    return lowering.text(), lowering.holes


def taken_field(region: Region) -> str:
    """The field that is added to pc where an instruction jumps to; empty if that is not all that it does."""
    jumps = [block.end for block in region.blocks if block.end.leaves and block.end.attr in ("jump", "call")]
    if len(jumps) != 1:
        return ""
    target = jumps[0].args[0]
    if target.op.name != "add" or {arg.op.name for arg in target.args} != {"pc", "field"}:
        return ""
    return next(str(arg.attr) for arg in target.args if arg.op.name == "field")


def module(functions: Iterable[str], holes: Iterable[Hole]) -> str:
    """The module of stencils. What LLVM knows of a hole's range tells it which instructions can hold it."""
    parts = [*functions, *map(_declared, (NEXT, HANDLER)), _go()]
    for number, hole in enumerate(sorted(holes)):
        parts.append(f'@"{hole.name}" = external global i8, !absolute_symbol !{number}')
        parts.append(f"!{number} = !{{i64 {hole.low}, i64 {hole.high + 1}}}")
    return "\n".join(parts) + "\n"


def _declared(name: str) -> str:
    return f"declare {CONVENTION} void @{name}({PARAMETERS})"


def _go() -> str:
    return f"""\
define {CONVENTION} void @{GO}({PARAMETERS}) nounwind {{
{tail("%slot", "go")}
}}"""


def _unchanged(region: Region) -> set[Block]:
    """The blocks at whose end nothing that the guest can see has changed."""
    writing = {block for block in region.blocks if any(_changes(value) for value in block.ops)}
    pending = list(writing)
    while pending:
        after = {edge.block for edge in pending.pop().end.edges} - writing
        writing |= after
        pending += after
    return set(region.blocks) - writing


def _changes(value: Value) -> bool:
    op = value.op
    return op.writes_memory or op.writes_state or op.raises_flags


class _Stencil(Lowering):
    holes: set[Hole]
    unchanged: set[Block]
    taken: str

    def block(self, block: Block) -> tuple[list[str], str, dict[int, str]]:
        self.repeatable = block in self.unchanged
        return super().block(block)

    def hole(self, hole: Hole) -> str:
        self.holes.add(hole)
        return f'ptrtoint (ptr @"{hole.name}" to i64)'

    def register(self, value: Value) -> str:
        number = value.args[0]
        if number.op.name != "field":
            return super().register(value)
        base = self.layout.bases[str(value.attr)]
        place = self.hole(Hole(str(number.attr), base, WORD, 0, (1 << 31) - 1))
        pointer = self.fresh()
        self.emit(f"{pointer} = getelementptr i8, ptr %state, i64 {place}")
        return pointer

    def op_field(self, value: Value) -> None:
        assert self.handler is not None
        signed = self.handler.places[str(value.attr)].signed
        self.names[value] = self.hole(Hole(str(value.attr), 0, 1, -(1 << 31) if signed else 0, (1 << 31) - 1))

    def chain(self, end: Terminator) -> None:
        if self.taken and end.attr != "fall":
            distance = self.hole(Hole(self.taken, 0, SLOT_SCALE, -(1 << 31), (1 << 31) - 1))
            slot = self.fresh()
            self.emit(f"{slot} = getelementptr i8, ptr %slot, i64 {distance}")
            self.go(f"@{NEXT}", slot)
        else:
            super().chain(end)

    def fall(self, slot: str) -> None:
        if self.taken:
            super().fall(slot)
        else:
            self.go(f"@{NEXT}", slot)

    def note_way(self, taken: bool) -> None:
        """Left out."""

    def exit(self, reason: str, pc: str, argument: str) -> None:
        if self.repeatable and reason in ("fault", "emulate"):
            self.go(f"@{HANDLER}", "%slot")
        else:
            super().exit(reason, pc, argument)
