"""Tier 0 in a hurry: copies of the handlers of a straight line of code, one behind another, operands filled in.

An address that is hot gets such a copy at once, and runs nearly twice as fast while the compiler makes a region of it,
which takes a thousand times as long; and much code never gets hot enough for that to pay. Copies do what the
handlers do, one instruction after the other, with all that is exact about them: state, counts, faults. They lie among
the handlers in the arena, so all that is said of interpreted code holds for them.

A copy is entered through the slot of its first instruction. All of its instructions lie in one page, so whatever
forgets code clears that slot with the others. Copies follow what branches mostly do, but only forwards: at a way back
the handler's own jump looks at the limit and counts, so whatever loops does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmjit.ir.layout import HANDLERS_SIZE, INTERPRETER_SIZE, PAGE_BITS, SLOT_ODDS, SLOT_OPERANDS, SLOT_SCALE, WORD
from vmjit.jit.blob import ALIGNMENT

if TYPE_CHECKING:
    from vmjit.engine.native import Native
    from vmjit.engine.stencils import Stencil, Stencils

LONGEST = 64  # instructions: more rarely run to their end
LEAST = 2  # instructions: one alone gains nothing
CHUNK = 8192  # bytes of the arena for copies of one guest page; more than the longest takes
MEMO = 1 << 14  # filled stencils that are kept: programs repeat most of their instructions
ODDS_SHIFT = 8 * (SLOT_ODDS - SLOT_OPERANDS)  # of how often a branch was taken, in the operands
PAGE_MASK = (1 << PAGE_BITS) - 1

Places = tuple[tuple[int, int], ...]
Filled = tuple[bytes, int, bool, Places, Places]  # code, then size, follows, handlers, constants of Stencil


class Copies:
    """Of one process. Whoever calls holds the lock that code comes and goes under."""

    def __init__(self, native: Native) -> None:
        self.native = native
        self.stencils: dict[int, Stencil] = {}  # by the arena offset of the handler
        self.taken: dict[int, Stencil] = {}  # those that go on where the instruction jumps to
        self.origins: dict[int, int] = {}  # by the same: where the file's code lies in the arena
        self.go = b""
        self.groups: dict[int, int] = {}  # by the same, also where there is no stencil
        self.known: set[int] = set()  # groups whose stencils are there, or will never be
        self.pending: set[int] = set()  # those that were asked for
        self.waiting: list[int] = []  # addresses that are copied when these are there
        self.filled: dict[tuple[int, int, bool], Filled | None] = {}
        self.fresh = HANDLERS_SIZE  # arena offset from which on nothing was ever placed
        self.free: list[int] = []  # arena offsets of chunks
        self.rooms: dict[int, list[tuple[int, int]]] = {}  # guest page -> its chunks: offset, bytes in use
        self.made = self.instructions = 0

    def add(self, stencils: Stencils) -> None:
        """Make the stencils of a group of handlers known. ValueError if there is no room for what they refer to."""
        origin = self.native.place_behind(stencils.code)
        self.go = stencils.go
        self.groups = self.native.groups_of_handlers()
        for entries, stencil in stencils.made:
            for entry in entries:
                offset = self.native.handler_of(entry)
                if offset in self.groups:
                    (self.taken if stencil.jumps else self.stencils)[offset] = stencil
                    self.origins[offset] = origin

    def settle(self, group: int) -> list[int]:
        """There will be no more stencils of a group than there are; the addresses that waited, maybe for others too."""
        self.pending.discard(group)
        self.known.add(group)
        waiting, self.waiting = self.waiting, []
        return waiting

    def forget_asked(self) -> None:
        """What was asked for will not come."""
        self.pending.clear()
        self.waiting.clear()

    def forget(self, start: int, size: int) -> None:
        """No slot leads to the copies of these pages any more, and no hart is in them."""
        for page in [page for page in self.rooms if start <= page << PAGE_BITS < start + size]:
            self.free += [offset for offset, _ in self.rooms.pop(page)]

    def copy(self, pc: int) -> int | None:
        """Let an address execute from a copy, if its instructions are decoded and have stencils.

        A group of handlers if its stencils are to be asked for first; the address is among those that wait then.
        """
        parts, fixed, size, lacking = self._line(pc)
        if lacking is not None:
            self.waiting.append(pc)
            if lacking in self.pending:
                return None
            self.pending.add(lacking)
            return lacking
        start = self._room(pc >> PAGE_BITS, size) if len(parts) > LEAST else None
        if start is not None:
            made = bytearray().join(parts)
            for place, target in fixed:
                made[place : place + 4] = (target - start - place).to_bytes(4, "little", signed=True)
            self.native.arena.place(start, bytes(made))
            self.native.set_code(pc, start)
            self.made += 1
            self.instructions += len(parts) - 1
        return None

    def _line(self, pc: int) -> tuple[list[bytes], list[tuple[int, int]], int, int | None]:
        """The parts of a copy, what goes on at a slot last; offsets in it, and arena offsets that distances go to from
        there; its size in bytes; the group whose stencils it lacks.
        """
        page_end = (pc | PAGE_MASK) + 1
        words = self.native.slots.words(pc * SLOT_SCALE, (page_end - pc) * SLOT_SCALE // WORD)
        parts: list[bytes] = []
        fixed: list[tuple[int, int]] = []
        at = size = 0
        follows = True
        while follows and at < len(words) and len(parts) < LONGEST:
            handler, operands = words[at], words[at + 1]
            ahead = self._ahead(handler, operands)
            jumps = 0 < ahead < len(words) - at
            filled = self._fill(handler, operands, jumps)
            if filled is None:
                lacking = self._lacking(handler)
                if lacking is not None:
                    return [], [], 0, lacking
                break
            if at + filled[1] > len(words):
                break
            code, step, follows, handlers, constants = filled
            fixed += [(size + place, handler + added) for place, added in handlers]
            if constants:
                origin = self.origins[handler]
                fixed += [(size + place, origin + target) for place, target in constants]
            parts.append(code)
            size += len(code)
            at += ahead if jumps else step
        parts.append(self.go if follows else b"")
        return parts, fixed, size + len(parts[-1]), None

    def _lacking(self, handler: int) -> int | None:
        """The group of a handler that has no stencil, if that may still come."""
        if not 0 < handler < HANDLERS_SIZE:
            return None
        if handler not in self.groups:
            self.groups = self.native.groups_of_handlers()
        group = self.groups.get(handler)
        return None if group in self.known else group

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

    def _ahead(self, handler: int, operands: int) -> int:
        """How far an instruction jumps, if it mostly does."""
        taken = self.taken.get(handler)
        if taken is None or taken.jumps is None:
            return 0
        if self.stencils[handler].follows and not 0 < operands >> ODDS_SHIFT & 0xFFFF < 0x8000:
            return 0
        shift, width, signed = taken.jumps
        return _field(operands, shift, width, signed)

    def _fill(self, handler: int, operands: int, jumps: bool) -> Filled | None:
        """The stencil of a handler with operands in its holes."""
        stencil = (self.taken if jumps else self.stencils).get(handler)
        if stencil is None:
            return None
        key = handler, operands & stencil.mask, jumps
        found = self.filled.get(key)
        if found is None:
            if len(self.filled) >= MEMO:
                self.filled.clear()
            found = self.filled[key] = _filled(stencil, operands)
        return found


def _field(operands: int, shift: int, width: int, signed: bool) -> int:
    field = operands >> shift & ((1 << width) - 1)
    return field - (1 << width) if signed and field >> (width - 1) else field


def _filled(stencil: Stencil, operands: int) -> Filled | None:
    code = bytearray(stencil.code)
    for at, size, base, scale, shift, width, signed in stencil.fillings:
        value = base + scale * _field(operands, shift, width, signed)
        if not -(1 << 31) <= value < 1 << 31:
            return None
        code[at : at + size] = value.to_bytes(size, "little", signed=True)
    for at, added in stencil.nexts:
        code[at : at + 4] = (len(code) + added - at).to_bytes(4, "little", signed=True)
    return bytes(code), stencil.size, stencil.follows, stencil.handlers, stencil.constants
