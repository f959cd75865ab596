"""The stencils of the interpreter's handlers: made by the worker, read by whoever copies them.

A file of them has the code of one group of handlers, behind it a table of what is in it.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any, NamedTuple

from vmjit.ir.layout import SLOT_OPERANDS
from vmjit.jit.blob import Blob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmjit.codegen.lower import Place
    from vmjit.codegen.stencil import Hole
    from vmjit.jit.elf_object import Open, Reference

_JUMP = 0xE9  # x86-64: jmp with a distance of 32 bits
_BYTE = 8  # bits


class Filling(NamedTuple):
    """A hole: `size` bytes at an offset for base + scale * field, the field's `width` bits from bit `shift` of the
    operands in the slot on.
    """

    at: int
    size: int
    base: int
    scale: int
    shift: int
    width: int
    signed: bool


class Stencil(NamedTuple):
    """Code of an instruction of `size` bytes, without the jump to the next if that stands at its end.

    nexts      where distances to the end of the code go, and what is added to them
    handlers   where distances to the instruction's handler go, likewise
    constants  where distances to an offset of the file's code go
    follows    whether it goes on with the next instruction at all
    mask       the bits of the operands that the code depends on
    jumps      None, or that it goes on where the instruction jumps to: shift, width and sign, as for a filling, of the
               field that is added to its address
    """

    code: bytes
    size: int
    mask: int
    fillings: tuple[Filling, ...]
    nexts: tuple[tuple[int, int], ...]
    handlers: tuple[tuple[int, int], ...]
    constants: tuple[tuple[int, int], ...]
    follows: bool
    jumps: tuple[int, int, bool] | None


class Stencils(NamedTuple):
    """`entries` are those of the handler table that each stencil is for; `go` goes on at a slot."""

    code: bytes
    go: bytes
    made: tuple[tuple[tuple[int, ...], Stencil], ...]

    def to_blob(self) -> Blob:
        made = [(entries, _plain(stencil)) for entries, stencil in self.made]
        table = marshal.dumps((self.go, made))
        return Blob(self.code + table, {"table": len(self.code)})

    @staticmethod
    def from_blob(blob: Blob) -> Stencils:
        """The inverse of to_blob; ValueError for anything else."""
        try:
            size = blob.symbols["table"]
            go, made = marshal.loads(blob.code[size:])
            return Stencils(blob.code[:size], go, tuple((entries, _stencil_from(*plain)) for entries, plain in made))
        except (EOFError, KeyError, MemoryError, TypeError, ValueError) as error:
            raise ValueError(f"not stencils: {error!r}") from error


def _plain(stencil: Stencil) -> tuple[Any, ...]:
    """What can be marshalled."""
    return [tuple(filling) for filling in stencil.fillings], *stencil._replace(fillings=())


def _stencil_from(fillings: list[Any], *fields: Any) -> Stencil:
    return Stencil(*fields)._replace(fillings=tuple(Filling(*filling) for filling in fillings))


class Source(NamedTuple):
    """What a stencil is made of besides its code."""

    entries: tuple[int, ...]
    size: int
    places: Mapping[str, Place]
    taken: str  # as for lower_stencil()


def stencils_of(linked: Open, sources: Mapping[str, Source], holes: set[Hole]) -> Stencils:
    """The stencils of functions, by name."""
    from vmjit.codegen.stencil import GO

    known = {hole.name: hole for hole in holes}
    starts = sorted((start, name) for name, (start, _) in linked.functions.items())
    inside: dict[str, list[Reference]] = {name: [] for name in linked.functions}
    at = 0
    for reference in sorted(linked.references, key=lambda reference: reference.at):
        while at + 1 < len(starts) and starts[at + 1][0] <= reference.at:
            at += 1
        inside[starts[at][1]].append(reference)
    made = []
    for name, source in sources.items():
        start, size = linked.functions[name]
        code = linked.code[start : start + size]
        made.append((source.entries, _stencil(code, start, source, inside[name], known)))
    start, size = linked.functions[GO]
    return Stencils(linked.code, linked.code[start : start + size], tuple(made))


def _stencil(code: bytes, start: int, source: Source, references: list[Reference], known: dict[str, Hole]) -> Stencil:
    from vmjit.codegen.stencil import HANDLER, NEXT
    from vmjit.errors import CompileError

    fillings, nexts, handlers, constants = [], [], [], []
    for reference in references:
        at = reference.at - start
        if reference.name == NEXT and reference.is_distance:
            nexts.append((at, reference.target))
        elif reference.name == HANDLER and reference.is_distance:
            handlers.append((at, reference.target))
        elif reference.name in known and not reference.is_distance:
            fillings.append(_filling(at, reference, known[reference.name], source.places))
        elif not reference.name and reference.is_distance:
            constants.append((at, reference.target))
        else:
            raise CompileError(f"a stencil refers to {reference.name or 'an address of its own'!r}")
    follows = bool(nexts)
    last = len(code) - 4
    if (last, -4) in nexts and code[last - 1] == _JUMP:
        nexts.remove((last, -4))
        code = code[: last - 1]
    mask = 0
    for filling in fillings:
        mask |= ((1 << filling.width) - 1) << filling.shift
    jumps = None
    if source.taken:
        place = source.places[source.taken]
        jumps = _BYTE * (place.offset - SLOT_OPERANDS), place.width, place.signed
    sites = tuple(nexts), tuple(handlers), tuple(constants)
    return Stencil(code, source.size, mask, tuple(fillings), *sites, follows, jumps)


def _filling(at: int, reference: Reference, hole: Hole, places: Mapping[str, Place]) -> Filling:
    place = places[hole.field]
    shift = _BYTE * (place.offset - SLOT_OPERANDS)
    base = hole.base + reference.target
    return Filling(at, reference.size, base, hole.scale, shift, place.width, place.signed)
