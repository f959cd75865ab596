"""Tier 0 in a hurry: copies of the handlers of a straight line of code, one behind another, operands filled in.

An address that is hot gets such a copy at once, and runs nearly twice as fast while the compiler makes a region of it,
which takes a thousand times as long; and much code never gets hot enough for that to pay. Copies do what the
handlers do, one instruction after the other, with all that is exact about them: state, counts, faults. They lie among
the handlers in the arena, so all that is said of interpreted code holds for them. A copy notes for faults where it
begins; how far in it an access lies is known here, by the place of its code.

A copy is entered through the slot of its first instruction. All of its instructions lie in one page, so whatever
forgets code clears that slot with the others. Copies follow what branches mostly do, but only forwards: at a way back
the jump looks at the limit and counts, as the handler's does, so whatever loops does.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from vmjit.codegen.ways import FALL, JUMP, PLAIN
from vmjit.engine.stencils import Piece
from vmjit.ir.layout import HANDLERS_SIZE, INTERPRETER_SIZE, PAGE_BITS, SLOT_ODDS, SLOT_OPERANDS, SLOT_SCALE, WORD
from vmjit.jit.blob import ALIGNMENT

if TYPE_CHECKING:
    from vmjit.engine.native import Native
    from vmjit.engine.stencils import Stencil, Stencils

LONGEST = 64  # instructions: more rarely run to their end
LEAST = 2  # instructions: one alone gains nothing
CHUNK = 8192  # bytes of the arena for copies of one guest page; what takes more, 64 branches, is not copied
MEMO = 1 << 10  # filled forms of a stencil that are kept: programs repeat most of their instructions
ODDS_SHIFT = 8 * (SLOT_ODDS - SLOT_OPERANDS)  # of how often a branch was taken, in the operands
PAGE_MASK = (1 << PAGE_BITS) - 1

Marks = list[tuple[int, int]]  # of a copy, for each instruction: where its code ends, what is added to the copy's pc


class Filled(NamedTuple):
    """A stencil with operands in it: the code of its pieces; `placed` where there is nothing left to be filled in."""

    stencil: Stencil
    main: bytes
    side: bytes
    placed: bool


class Known:
    """A stencil, and what it was filled with."""

    def __init__(self, stencil: Stencil) -> None:
        self.stencil = stencil
        self.mask = stencil.mask
        self.filled: dict[int, Filled | None] = {}  # by what is of operands in `mask`

    def fill(self, operands: int) -> Filled | None:
        """None if an operand does not fit."""
        if len(self.filled) >= MEMO:
            self.filled.clear()
        main, side = _filled(self.stencil.main, operands), _filled(self.stencil.side, operands)
        made = None
        if main is not None and side is not None:
            piece = self.stencil.main
            loose = piece.sides or piece.handlers or piece.constants or piece.ats or piece.befores
            made = Filled(self.stencil, main, side, not loose)
        self.filled[operands & self.mask] = made
        return made


class Found(NamedTuple):
    """An instruction that is to be copied, `at` bytes behind the first, and the arena offset of its handler."""

    filled: Filled
    at: int
    handler: int


class Copies:
    """Of one process. Whoever calls holds the lock that code comes and goes under."""

    def __init__(self, native: Native) -> None:
        self.native = native
        self.stencils: dict[int, dict[str, Known]] = {}  # by the arena offset of the handler, then by way
        self.origins: dict[int, int] = {}  # by the former: where the code lies that came with the stencil
        self.begin = self.go = Piece(b"")
        self.groups: dict[int, int] = {}  # by the same, also where there is no stencil
        self.settled: set[int] = set()  # groups whose stencils are there, or will never be
        self.pending: set[int] = set()  # those that were asked for
        self.waiting: list[int] = []  # addresses that are copied when these are there
        self.fresh = HANDLERS_SIZE  # arena offset from which on nothing was ever placed
        self.free: list[int] = []  # arena offsets of chunks
        self.rooms: dict[int, list[tuple[int, int]]] = {}  # guest page -> its chunks: offset, bytes in use
        self.marks: dict[int, list[tuple[int, Marks]]] = {}  # chunk -> the arena offsets of its copies, and their marks
        self.made = self.instructions = 0

    def add(self, stencils: Stencils) -> None:
        """Make the stencils of a group of handlers known. ValueError if there is no room for what they refer to."""
        origin = self.native.place_behind(stencils.code)
        self.begin, self.go = stencils.begin, stencils.go
        self.groups = self.native.groups_of_handlers()
        for entries, stencil in stencils.made:
            for entry in entries:
                offset = self.native.handler_of(entry)
                if offset in self.groups:
                    self.stencils.setdefault(offset, {})[stencil.way] = Known(stencil)
                    self.origins[offset] = origin

    def settle(self, group: int) -> list[int]:
        """There will be no more stencils of a group than there are; the addresses that waited, maybe for others too."""
        self.pending.discard(group)
        self.settled.add(group)
        waiting, self.waiting = self.waiting, []
        return waiting

    def forget_asked(self) -> None:
        """What was asked for will not come."""
        self.pending.clear()
        self.waiting.clear()

    def forget(self, start: int, size: int) -> None:
        """No slot leads to the copies of these pages any more, and no hart is in them."""
        for page in [page for page in self.rooms if start <= page << PAGE_BITS < start + size]:
            for chunk, _ in self.rooms.pop(page):
                self.marks.pop(chunk, None)
                self.free.append(chunk)

    def copy(self, pc: int) -> int | None:
        """Let an address execute from a copy, if its instructions are decoded and have stencils.

        A group of handlers if its stencils are to be asked for first; the address is among those that wait then.
        """
        if self.native.code_of(pc) >= HANDLERS_SIZE:
            return None  # it is one already: what is hot is asked for anew when code has changed
        line, end, lacking = self._line(pc)
        if lacking is not None:
            self.waiting.append(pc)
            if lacking in self.pending:
                return None
            self.pending.add(lacking)
            return lacking
        if len(line) < LEAST:
            return None
        made = _Copy()
        if any(found.filled.stencil.accesses for found in line):
            made.add(self.begin, self.begin.code)
        code = made.code
        for before, found in enumerate(line):
            filled = found.filled
            if filled.placed:
                code += filled.main
            else:
                made.add(filled.stencil.main, filled.main, found.at, before, self._bases(found))
            made.marks.append((len(code), found.at))
        if end is not None:
            made.add(self.go, self.go.code, end, len(line))
        for before, places in made.sides:
            found = line[before]
            made.lead(places)
            made.add(found.filled.stencil.side, found.filled.side, found.at, before, self._bases(found))
        start = self._room(pc >> PAGE_BITS, len(made.code))
        if start is not None:
            self.marks.setdefault(_chunk_of(start), []).append((start, made.marks))
            self.native.arena.place(start, made.code_at(start))
            self.native.set_code(pc, start)
            self.made += 1
            self.instructions += len(line)
        return None

    def place_of(self, code: int) -> tuple[int, int]:
        """Of the instruction whose code in a copy is at an arena offset: what is added to the copy's pc, and how many
        instructions come before it. For a hart that counts as being in the copy still: it needs no lock.
        """
        copies = self.marks[_chunk_of(code)]
        start, marks = copies[bisect_right(copies, code, key=_first) - 1]
        before = bisect_right(marks, code - start, key=_first)
        return marks[before][1], before

    def _line(self, pc: int) -> tuple[list[Found], int | None, int | None]:
        """The instructions of a copy; how far behind the first it goes on at a slot, if it does; or the group whose
        stencils it lacks.
        """
        start = pc & ~PAGE_MASK
        words = self.native.slots.words(start * SLOT_SCALE, (PAGE_MASK + 1) * SLOT_SCALE // WORD)
        room, first = start + PAGE_MASK + 1 - pc, pc - start
        stencils = self.stencils
        found: list[Found] = []
        at = 0
        while at < room and len(found) < LONGEST:
            handler, operands = words[first + at], words[first + at + 1]
            known, ahead, filled = stencils.get(handler), 0, None
            if known is not None:
                chosen = known[PLAIN]
                if len(known) > 1:
                    chosen, ahead = _way(known, operands, room - at)
                filled = chosen.filled.get(operands & chosen.mask) or chosen.fill(operands)
            if filled is None:
                lacking = self._lacking(handler)
                if lacking is not None:
                    return [], None, lacking
                break
            if at + filled.stencil.size > room:
                break
            found.append(Found(filled, at, handler))
            if not filled.stencil.follows:
                return found, None, None
            at += ahead or filled.stencil.size
        return found, at, None

    def _bases(self, found: Found) -> tuple[int, int]:
        """The arena offsets that an instruction's distances to its handler and to constants count from."""
        return found.handler, self.origins[found.handler]

    def _lacking(self, handler: int) -> int | None:
        """The group of a handler that has no stencil, if that may still come."""
        if not 0 < handler < HANDLERS_SIZE:
            return None
        if handler not in self.groups:
            self.groups = self.native.groups_of_handlers()
        group = self.groups.get(handler)
        return None if group in self.settled else group

    def _room(self, page: int, size: int) -> int | None:
        """The arena offset of room for a copy of code in a guest page; None if there is none."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        rooms = self.rooms.setdefault(page, [])
        if not rooms or rooms[-1][1] + size > CHUNK:
            if size > CHUNK:
                return None
            if self.free:
                chunk = self.free.pop()
            elif self.fresh + CHUNK <= INTERPRETER_SIZE:
                chunk, self.fresh = self.fresh, self.fresh + CHUNK
            else:
                return None
            rooms.append((chunk, 0))
        chunk, used = rooms[-1]
        rooms[-1] = chunk, used + size
        return chunk + used


def _way(known: dict[str, Known], operands: int, room: int) -> tuple[Known, int]:
    """Which way a copy follows a jump or a branch, and how far it jumps on that; less than `room`."""
    if FALL in known and not 0 < operands >> ODDS_SHIFT & 0xFFFF < 0x8000:
        return known[FALL], 0
    chosen = known[JUMP]
    assert chosen.stencil.jumps is not None
    ahead = _field(operands, *chosen.stencil.jumps)
    return (chosen, ahead) if 0 < ahead < room else (known[PLAIN], 0)


class _Copy:
    """A copy in the making.

    sides      for each instruction that has one, by number: the places of distances to its side
    distances  places of distances to arena offsets, and these plus what is added to them
    """

    def __init__(self) -> None:
        self.code = bytearray()
        self.marks: Marks = []
        self.sides: list[tuple[int, list[tuple[int, int]]]] = []
        self.distances: list[tuple[int, int]] = []

    def add(self, piece: Piece, code: bytes, at: int = 0, before: int = 0, bases: tuple[int, int] = (0, 0)) -> None:
        """A piece with operands in it, of an instruction `at` bytes and `before` instructions behind the first."""
        start = len(self.code)
        self.code += code
        for place, added in piece.ats:
            _put(self.code, start + place, at * SLOT_SCALE + added)
        for place, added in piece.befores:
            _put(self.code, start + place, before + added)
        if piece.sides:
            self.sides.append((before, [(start + place, added) for place, added in piece.sides]))
        for place, added in piece.handlers:
            self.distances.append((start + place, bases[0] + added))
        for place, added in piece.constants:
            self.distances.append((start + place, bases[1] + added))

    def lead(self, places: list[tuple[int, int]]) -> None:
        """Distances to what is added next."""
        for place, added in places:
            _put(self.code, place, len(self.code) + added - place)

    def code_at(self, start: int) -> bytes:
        """The code, to be placed at an arena offset."""
        for place, target in self.distances:
            _put(self.code, place, target - start - place)
        return bytes(self.code)


def _chunk_of(code: int) -> int:
    return code - (code - HANDLERS_SIZE) % CHUNK


def _field(operands: int, shift: int, width: int, signed: bool) -> int:
    field = operands >> shift & ((1 << width) - 1)
    return field - (1 << width) if signed and field >> (width - 1) else field


def _filled(piece: Piece, operands: int) -> bytes | None:
    """The code with operands in it; None if they do not fit."""
    code = bytearray(piece.code)
    for at, size, base, scale, shift, width, signed in piece.fillings:
        value = base + scale * _field(operands, shift, width, signed)
        if not -(1 << 31) <= value < 1 << 31:
            return None
        code[at : at + size] = value.to_bytes(size, "little", signed=True)
    for at, added in piece.nexts:
        _put(code, at, len(code) + added - at)
    return bytes(code)


_first = itemgetter(0)
_put = Struct("<i").pack_into
