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
_PLACE_SIZE = 4  # bytes


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


Places = tuple[tuple[int, int], ...]  # offsets of numbers of 4 bytes, and what is added to them


class Piece(NamedTuple):
    """Code with holes.

    fillings   those for operands
    nexts      where distances to the end of the code go
    sides      where distances to the side go
    handlers   where distances to the instruction's handler go
    constants  where distances to an offset of the file's code go
    ats        where the bytes from the copy's first slot to the instruction's go
    befores    where the number of instructions before it goes
    """

    code: bytes
    fillings: tuple[Filling, ...] = ()
    nexts: Places = ()
    sides: Places = ()
    handlers: Places = ()
    constants: Places = ()
    ats: Places = ()
    befores: Places = ()


class Stencil(NamedTuple):
    """Code of an instruction of `size` bytes, without the jump to the next if that stands at its end.

    way        that leads to the next copy, see codegen/ways.py
    side       what its code jumps to, if it does, without code otherwise
    mask       the bits of the operands that the code depends on
    follows    whether it goes on with a next copy at all
    accesses   whether it accesses memory
    jumps      None, or where the instruction jumps to: shift, width and sign, as for a filling, of the field that is
               added to its address
    """

    way: str
    size: int
    main: Piece
    side: Piece
    mask: int
    follows: bool
    accesses: bool
    jumps: tuple[int, int, bool] | None


class Stencils(NamedTuple):
    """`begin` and `go` are what is around the instructions of a copy, see codegen/stencil.py; `made` has for each
    stencil the entries of the handler table that it is for.
    """

    code: bytes
    begin: Piece
    go: Piece
    made: tuple[tuple[tuple[int, ...], Stencil], ...]

    def to_blob(self) -> Blob:
        table = marshal.dumps(_plain(self[1:]))
        return Blob(self.code + table, {"table": len(self.code)})

    @staticmethod
    def from_blob(blob: Blob) -> Stencils:
        """The inverse of to_blob; ValueError for anything else."""
        try:
            size = blob.symbols["table"]
            begin, go, made = marshal.loads(blob.code[size:])
            stencils = tuple((entries, _stencil_from(*plain)) for entries, plain in made)
            return Stencils(blob.code[:size], _piece_from(*begin), _piece_from(*go), stencils)
        except (EOFError, KeyError, MemoryError, TypeError, ValueError) as error:
            raise ValueError(f"not stencils: {error!r}") from error


def _plain(value: Any) -> Any:
    """What can be marshalled: tuples without names."""
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _piece_from(code: bytes, fillings: tuple[Any, ...], *places: Any) -> Piece:
    return Piece(code, tuple(Filling(*filling) for filling in fillings), *places)


def _stencil_from(way: str, size: int, main: Any, side: Any, *fields: Any) -> Stencil:
    return Stencil(way, size, _piece_from(*main), _piece_from(*side), *fields)


class Source(NamedTuple):
    """What a stencil is made of besides its code; `field` is what is added to the address where it jumps to."""

    entries: tuple[int, ...]
    way: str
    size: int
    places: Mapping[str, Place]
    accesses: bool
    field: str


def stencils_of(linked: Open, sources: Mapping[str, Source], holes: set[Hole]) -> Stencils:
    """The stencils of functions, by name."""
    from vmjit.codegen.stencil import BEGIN, GO, SIDE
    from vmjit.errors import CompileError

    known = {hole.name: hole for hole in holes}
    starts = sorted((start, name) for name, (start, _) in linked.functions.items())
    inside: dict[str, list[Reference]] = {name: [] for name in linked.functions}
    at = 0
    for reference in sorted(linked.references, key=lambda reference: reference.at):
        while at + 1 < len(starts) and starts[at + 1][0] <= reference.at:
            at += 1
        inside[starts[at][1]].append(reference)

    def piece(name: str, places: Mapping[str, Place]) -> Piece:
        start, size = linked.functions[name]
        return _piece(linked.code[start : start + size], start, inside[name], known, places)

    made = []
    for name, source in sources.items():
        main = piece(name, source.places)
        follows = bool(main.nexts)
        side = piece(f"{name}.{SIDE}", source.places) if main.sides else Piece(b"")
        if side.nexts or side.sides:
            raise CompileError(f"the side of {name} does not leave the copy")
        mask = 0
        for filling in (*main.fillings, *side.fillings):
            mask |= ((1 << filling.width) - 1) << filling.shift
        jumps = None
        if source.field:
            place = source.places[source.field]
            jumps = _BYTE * (place.offset - SLOT_OPERANDS), place.width, place.signed
        main = _without_last_jump(main)
        stencil = Stencil(source.way, source.size, main, side, mask, follows, source.accesses, jumps)
        made.append((source.entries, stencil))
    return Stencils(linked.code, _without_last_jump(piece(BEGIN, {})), piece(GO, {}), tuple(made))


def _piece(
    code: bytes, start: int, references: list[Reference], known: dict[str, Hole], places: Mapping[str, Place]
) -> Piece:
    from vmjit.codegen.stencil import AT, BEFORE, HANDLER, NEXT, SIDE
    from vmjit.errors import CompileError

    fillings: list[Filling] = []
    distances: dict[str, list[tuple[int, int]]] = {NEXT: [], SIDE: [], HANDLER: [], "": []}
    numbers: dict[str, list[tuple[int, int]]] = {AT.name: [], BEFORE.name: []}
    for reference in references:
        at, name = reference.at - start, reference.name
        if name in distances and reference.is_distance and reference.size == _PLACE_SIZE:
            distances[name].append((at, reference.target))
        elif name in numbers and not reference.is_distance and reference.size == _PLACE_SIZE:
            numbers[name].append((at, reference.target))
        elif name in known and not reference.is_distance:
            fillings.append(_filling(at, reference, known[name], places))
        else:
            raise CompileError(f"a stencil refers to {name or 'an address of its own'!r}")
    return Piece(
        code,
        tuple(fillings),
        nexts=tuple(distances[NEXT]),
        sides=tuple(distances[SIDE]),
        handlers=tuple(distances[HANDLER]),
        constants=tuple(distances[""]),
        ats=tuple(numbers[AT.name]),
        befores=tuple(numbers[BEFORE.name]),
    )


def _without_last_jump(piece: Piece) -> Piece:
    """A piece that goes on where it ends need not jump there."""
    last = len(piece.code) - 4
    if (last, -4) not in piece.nexts or piece.code[last - 1] != _JUMP:
        return piece
    nexts = tuple(place for place in piece.nexts if place != (last, -4))
    return piece._replace(code=piece.code[: last - 1], nexts=nexts)


def _filling(at: int, reference: Reference, hole: Hole, places: Mapping[str, Place]) -> Filling:
    place = places[hole.field]
    shift = _BYTE * (place.offset - SLOT_OPERANDS)
    base = hole.base + reference.target
    return Filling(at, reference.size, base, hole.scale, shift, place.width, place.signed)
