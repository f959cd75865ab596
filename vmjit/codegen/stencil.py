"""Stencils: handlers with holes for their operands, to be copied one behind another (Xu and Kjolstad, Copy-and-Patch
Compilation, OOPSLA 2021).

A stencil does what the handler of its instruction does. Its operands are addresses of symbols that nobody defines, so
the object file says where in the code they stand; that of a register is the place of the register in the state. The
slot and the count of instructions stay those of the copy's start: what an instruction adds to them are holes, too, so
only what leaves the copy computes them. The next instruction is the function `next`, which nobody defines either: it is
the copy that follows.

What leaves the copy for a reason that is rare is a function of its own, the side of the stencil, which is copied behind
the last instruction: back to the handler, where nothing has changed yet, or the way that a branch mostly does not go.
A stencil does not note which way a branch goes: the handler did when it was executed often enough to be copied.
"""

from collections.abc import Iterable
from typing import NamedTuple

from vmjit.codegen.lower import CONVENTION, PARAMETERS, Handler, Lowering, label_of
from vmjit.codegen.runtime import put, word
from vmjit.codegen.ways import FALL, JUMP, PLAIN
from vmjit.ir.block import Block, Region, Terminator, Value
from vmjit.ir.layout import WORD, Layout

NEXT = "next"
SIDE = "side"
HANDLER = "handler"  # that the stencil does the same as
BEGIN = "begin"  # what stands before the first instruction of a copy that accesses memory
GO = "go"  # what goes on at a slot, behind the last instruction; counted, or nothing would copy what is there
OF_COPY = PARAMETERS.replace("%slot,", "%copy,").replace("%instret", "%before")
REPEATABLE = ("fault", "emulate", "misaligned")  # exits that are rare, and that the handler takes, too
UNCHANGED = "ptr %copy, ptr %state, ptr %memory, ptr %slots, ptr %code, i64 %before"


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

    @property
    def text(self) -> str:
        return f'ptrtoint (ptr @"{self.name}" to i64)'


MOST = (1 << 31) - 1
AT = Hole("at", 0, 1, 0, MOST)  # bytes from the slot that the copy begins at to that of the instruction
BEFORE = Hole("before", 0, 1, 0, MOST)  # instructions of the copy before it
HERE = f"""\
%slot = getelementptr i8, ptr %copy, i64 {AT.text}
%instret = add i64 %before, {BEFORE.text}"""


def lower_stencil(
    region: Region, layout: Layout, name: str, handler: Handler, counts: bool, way: str = PLAIN
) -> tuple[str, set[Hole]]:
    """The functions of a stencil, its side if it has one, and their holes; `counts` as for lower_handler().

    way: which of ways() leads to the next copy.
    """
    main = _Stencil(region, layout, name, handler, None, counts)
    main.way = way
    texts, holes = [main.text()], main.holes
    if main.rare and way == PLAIN:
        texts.append(_function(f"{name}.{SIDE}", HERE, _tail_call(f"@{HANDLER}")))
    elif main.rare:
        side = _Side(region, layout, f"{name}.{SIDE}", handler, None, counts)
        side.way = way
        texts.append(side.text())
        holes |= side.holes
    return "\n".join(texts), holes


def ways(region: Region) -> tuple[str, ...]:
    """The ways to the next copy that an instruction may have a stencil for."""
    leaving = [block for block in region.blocks if block.end.leaves]
    if taken_field(region) and all(block.end.kind == "chain" for block in leaving):
        if len(leaving) == 1:
            return PLAIN, JUMP
        first = region.blocks[0]
        ends = {edge.block for edge in first.end.edges}
        if first.end.kind == "branch" and ends == set(leaving) and not any(block.params for block in leaving):
            return PLAIN, JUMP, FALL
    return (PLAIN,)


def taken_field(region: Region) -> str:
    """The field that is added to pc where an instruction jumps to; empty if that is not all that it does."""
    jumps = [block.end for block in region.blocks if block.end.leaves and block.end.attr in ("jump", "call")]
    if len(jumps) != 1:
        return ""
    target = jumps[0].args[0]
    if target.op.name != "add" or {arg.op.name for arg in target.args} != {"pc", "field"}:
        return ""
    return next(str(arg.attr) for arg in target.args if arg.op.name == "field")


def module(functions: Iterable[str], holes: Iterable[Hole], layout: Layout) -> str:
    """The module of stencils. What LLVM knows of a hole's range tells it which instructions can hold it."""
    begin = (
        put(layout, "access_slot", "ptr", "%copy", "b"),
        put(layout, "access_instret", "i64", "%before", "b"),
        _next(),
    )
    go = HERE, word(layout, "%cold", "cold", "ptr"), _tail_call("%cold")
    parts = [*functions, _function(BEGIN, *begin), _function(GO, *go), *map(_declared, (NEXT, SIDE, HANDLER))]
    for number, hole in enumerate(sorted({*holes, AT, BEFORE})):
        parts.append(f'@"{hole.name}" = external global i8, !absolute_symbol !{number}')
        parts.append(f"!{number} = !{{i64 {hole.low}, i64 {hole.high + 1}}}")
    return "\n".join(parts) + "\n"


def _declared(name: str) -> str:
    return f"declare {CONVENTION} void @{name}({PARAMETERS})"


def _function(name: str, *body: str) -> str:
    text = "\n".join(body)
    return f"define {CONVENTION} void @{name}({OF_COPY}) {_Stencil.attributes} {{\n{text}\n}}"


def _next(to: str = NEXT) -> str:
    """Text that goes on in a part of the same copy."""
    return f"musttail call {CONVENTION} void @{to}({UNCHANGED})\nret void"


def _tail_call(to: str) -> str:
    arguments = UNCHANGED.replace("%copy", "%slot").replace("%before", "%instret")
    return f"musttail call {CONVENTION} void {to}({arguments})\nret void"


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
    parameters = OF_COPY
    # To optimise for size is also what makes LLVM jump to the side, and the next, by the condition's own instruction.
    attributes = "nounwind optsize"
    way = PLAIN

    def text(self) -> str:
        self.holes: set[Hole] = set()
        self.rare: set[Block] = set()  # blocks that go on at the side
        self.unchanged = _unchanged(self.region)
        return super().text()

    def prologue(self) -> None:
        self.emit(HERE)
        super().prologue()

    def block(self, block: Block) -> tuple[list[str], str, dict[int, str]]:
        self.at = block
        return super().block(block)

    def ordered(self, blocks: list[Block]) -> list[Block]:
        """LLVM jumps by a condition to what stands further below."""
        return sorted(blocks, key=self.rare.__contains__)

    def hole(self, hole: Hole) -> str:
        self.holes.add(hole)
        return hole.text

    def register(self, value: Value) -> str:
        number = value.args[0]
        if number.op.name != "field":
            return super().register(value)
        base = self.layout.bases[str(value.attr)]
        place = self.hole(Hole(str(number.attr), base, WORD, 0, MOST))
        pointer = self.fresh()
        self.emit(f"{pointer} = getelementptr i8, ptr %state, i64 {place}")
        return pointer

    def op_field(self, value: Value) -> None:
        assert self.handler is not None
        signed = self.handler.places[str(value.attr)].signed
        self.names[value] = self.hole(Hole(str(value.attr), 0, 1, -MOST - 1 if signed else 0, MOST))

    def note_access(self) -> None:
        """Left out: the copy's begin notes where it is, and the place of the fault in it tells the rest."""

    def note_way(self, taken: bool) -> None:
        """Left out."""

    def chain(self, end: Terminator) -> None:
        way = FALL if end.attr == "fall" else JUMP
        if self.way == way or (self.way == PLAIN and way == FALL):
            self.emit(_next())
        elif self.way == PLAIN:
            super().chain(end)
        else:
            self.aside()

    def aside(self) -> None:
        self.rare.add(self.at)
        self.emit(_next(SIDE))

    def exit(self, reason: str, pc: str, argument: str) -> None:
        if self.way == PLAIN and self.at in self.unchanged and reason in REPEATABLE:
            self.aside()
        else:
            super().exit(reason, pc, argument)


class _Side(_Stencil):
    """The way that is not to the next copy, which is known to be the one to go."""

    def ordered(self, blocks: list[Block]) -> list[Block]:
        return [blocks[0], self.gone()]

    def gone(self) -> Block:
        """The block that does not lead to the next copy."""
        edges = self.region.blocks[0].end.edges
        return next(edge.block for edge in edges if (edge.block.end.attr == "fall") == (self.way == JUMP))

    def branch(self, end: Terminator) -> dict[int, str]:
        self.emit(f"br label %{label_of(self.gone())}")
        return {}

    def chain(self, end: Terminator) -> None:
        Lowering.chain(self, end)

    def fall(self, slot: str) -> None:
        """As a jump, to be counted."""
        self.go(self.pointer_word("cold"), slot)
