"""The host memory that native guest code works on, and the way into it.

State, slots, decodable pages and the code arena of one hart; the interpreter lies at the arena's start. Slots hold
offsets in the arena, and 0 leads to the decode stub, so forgetting what was decoded or compiled is clearing slots.
"""

from __future__ import annotations

import ctypes
import signal
from array import array
from collections.abc import Callable, Iterable
from functools import partial

from vmjit.engine.interrupts import Action, native_action, set_action
from vmjit.ir.layout import (
    ADDRESS_BITS,
    EMULATED,
    HEAT_ENTRIES,
    HEAT_OFFSET,
    INTERPRETER_SIZE,
    JUMP_ENTRIES,
    JUMP_OFFSET,
    PAGE_BITS,
    SLOT_ODDS,
    SLOT_SCALE,
    SLOT_SIZE,
    STATE_SIZE,
    WORD,
    Layout,
)
from vmjit.jit.arena import Arena
from vmjit.jit.blob import ALIGNMENT, Blob
from vmjit.memory.address_space import AddressSpace
from vmjit.memory.reservation import Reservation

PAGE_SIZE = 1 << PAGE_BITS
ADDRESSES = 1 << ADDRESS_BITS
ARENA_SIZE = 256 << 20  # bytes; only what is used takes memory
FOREVER = (1 << 64) - 1  # an instruction limit that is never reached
HEAT_FULL = 1 << 16

_FAULT_SIGNALS = (signal.SIGSEGV, signal.SIGBUS)


class Native:
    """`words` is the state; `enter()` runs guest code until it has a reason to return."""

    def __init__(self, layout: Layout, memory: AddressSpace, interpreter: Blob) -> None:
        self.layout = layout
        self.arena = Arena(ARENA_SIZE)
        self.slots = Reservation(ADDRESSES * SLOT_SCALE + PAGE_SIZE)  # one more: code may fall off the end
        self.pages = Reservation((ADDRESSES >> PAGE_BITS) + PAGE_SIZE)
        self.state = Reservation(STATE_SIZE)
        self.words = self.state.words(0, HEAT_OFFSET // WORD)
        self.interpreter = interpreter
        if len(interpreter.code) > INTERPRETER_SIZE:
            raise ValueError(f"the interpreter has {len(interpreter.code)} bytes, more than {INTERPRETER_SIZE}")
        self.arena.allocate(INTERPRETER_SIZE)
        self.arena.place(0, interpreter.code)
        for name, value in (
            ("limit", FOREVER),
            ("memory", memory.base),
            ("slots", self.slots.base),
            ("code", self.arena.base),
            ("pages", self.pages.base),
            ("handlers", self.symbol("handlers")),
            ("cold", self.symbol("cold")),
            ("leave", self.symbol("leave")),
            ("trap", self.symbol("syscall")),
        ):
            self.words[layout.word(name)] = value
        enter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.symbol("enter"))
        state = self.state.base
        self.enter: Callable[[], None] = partial(enter, state)
        self.calls = range(0)  # arena offsets of the code that `trap` leads to
        ctypes.c_uint64.from_address(self.symbol("owner")).value = state
        self._used = len(interpreter.code)  # of INTERPRETER_SIZE
        self._catch_faults()

    def symbol(self, name: str) -> int:
        """The host address of a function or table of the interpreter."""
        return self.arena.base + self.interpreter.symbols[name]

    def place_calls(self, blob: Blob, descriptors: int) -> None:
        """Let system calls go to this code, made by codegen/calls.py; `descriptors` is the address of its table."""
        start = self._place(blob.code)
        self.calls = range(start, start + len(blob.code))
        base = self.arena.base + start
        clock = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0
        ctypes.c_uint64.from_address(base + blob.symbols["clock"]).value = clock
        ctypes.c_uint64.from_address(base + blob.symbols["descriptors"]).value = descriptors
        ctypes.c_uint64.from_address(base + blob.symbols["gate"]).value = self.symbol("gate")
        self.words[self.layout.word("trap")] = base + blob.symbols["trap"]

    def place_handlers(self, blob: Blob) -> None:
        """Let instructions be executed by these handlers, see Worker.handlers. ValueError if they are none."""
        code_size = blob.symbols.get("handlers", len(blob.code))
        table = array("Q", blob.code[code_size:])
        first = self.symbol("handlers")
        entries = (self.interpreter.symbols["groups"] - self.interpreter.symbols["handlers"]) // WORD
        pairs = list(zip(table[::2], table[1::2], strict=False))
        is_sound = all(entry < entries and (offset < code_size or offset == EMULATED) for entry, offset in pairs)
        if not pairs or len(table) % 2 or not is_sound:
            raise ValueError("handlers that are none")
        start = self._place(blob.code)
        for entry, offset in pairs:
            code = self.interpreter.symbols["emulate"] if offset == EMULATED else start + offset
            ctypes.c_uint64.from_address(first + WORD * entry).value = code

    def group_of(self, entry: int) -> int:
        """The number of the group that an entry of the handler table belongs to."""
        return ctypes.c_uint64.from_address(self.symbol("groups") + WORD * entry).value

    def _place(self, code: bytes) -> int:
        """Put code behind what there is of the interpreter; its offset. ValueError if there is no room."""
        start = -(-self._used // ALIGNMENT) * ALIGNMENT
        if start + len(code) > INTERPRETER_SIZE:
            raise ValueError(f"the interpreter would have {start + len(code)} bytes, more than {INTERPRETER_SIZE}")
        self.arena.place(start, code)
        self._used = start + len(code)
        return start

    def set_heat(self, threshold: int) -> None:
        """Every jump target counts as hot after `threshold` jumps to it."""
        start = HEAT_FULL - min(threshold, HEAT_FULL)
        values = array("H", [start % HEAT_FULL]) * HEAT_ENTRIES
        ctypes.memmove(self.state.base + HEAT_OFFSET, values.tobytes(), 2 * HEAT_ENTRIES)

    def cool(self, pc: int, threshold: int) -> None:
        """Restart the counter of one jump target."""
        index = ((self.slots.base + pc * SLOT_SCALE) >> 4) % HEAT_ENTRIES
        counter = ctypes.c_uint16.from_address(self.state.base + HEAT_OFFSET + 2 * index)
        counter.value = (HEAT_FULL - threshold) % HEAT_FULL

    def code_of(self, pc: int) -> int:
        """The arena offset in the slot of an address."""
        return ctypes.c_uint64.from_address(self.slots.base + pc * SLOT_SCALE).value

    def set_code(self, pc: int, offset: int) -> None:
        """Let an address execute from an arena offset; 0: decode it again."""
        ctypes.c_uint64.from_address(self.slots.base + pc * SLOT_SCALE).value = offset

    def executed(self, start: int, size: int) -> bytes:
        """The slots' code words of a range of addresses, 8 bytes each: not zero where something was decoded."""
        words = self.slots.words(start * SLOT_SCALE, size * SLOT_SCALE // WORD)
        return words[::2].tobytes()

    def branches(self, start: int, size: int) -> bytes:
        """Which way branches went lately, for a range of addresses: 16 bits for each slot, see SLOT_ODDS."""
        words = self.slots.words(start * SLOT_SCALE, size * SLOT_SCALE // WORD)
        return words.cast("B").cast("H")[SLOT_ODDS // 2 :: SLOT_SIZE // 2].tobytes()

    def jumps(self) -> list[tuple[int, int]]:
        """Calls and indirect jumps that the interpreter did lately: address and target, each once, in no order."""
        words = self.state.words(JUMP_OFFSET, 2 * JUMP_ENTRIES).tolist()
        base = self.slots.base
        pairs = {pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0]}  # note_jumps may double some
        return [((site - base) // SLOT_SCALE, (target - base) // SLOT_SCALE) for site, target in pairs]

    def note_jumps(self, jumps: Iterable[tuple[int, int]]) -> None:
        """As if the interpreter had done these calls and jumps lately."""
        words = self.state.words(JUMP_OFFSET, 2 * JUMP_ENTRIES)
        base = self.slots.base
        for number, (site, target) in enumerate(jumps):
            if number == JUMP_ENTRIES:
                return
            words[2 * number] = base + site * SLOT_SCALE
            words[2 * number + 1] = base + target * SLOT_SCALE

    def allow_decoding(self, page: int) -> None:
        ctypes.c_uint8.from_address(self.pages.base + page).value = 1

    def may_decode(self, page: int) -> bool:
        return bool(ctypes.c_uint8.from_address(self.pages.base + page).value)

    def forget(self, start: int, size: int) -> None:
        """Nothing in this range of whole pages is decoded any more, nor may be until it is allowed again."""
        # An instruction of four bytes may have begun two bytes before the range.
        before = 2 if start else 0
        self.slots.clear((start - before) * SLOT_SCALE, (size + before) * SLOT_SCALE)
        self.pages.clear(start >> PAGE_BITS, size >> PAGE_BITS)

    def _catch_faults(self) -> None:
        """Route the host's memory faults through the interpreter's handler, which passes on those not of the guest."""
        libc = ctypes.CDLL(None, use_errno=True)
        base = self.arena.base
        set_signal = ctypes.cast(libc.signal, ctypes.c_void_p).value or 0
        ctypes.c_uint64.from_address(self.symbol("signal")).value = set_signal
        for number in _FAULT_SIGNALS:
            old = set_action(number, native_action(self.symbol("fault")))
            # One hart after another in a process: the handler of the one before leads to memory that is gone.
            previous = old.handler or 0
            if not base <= previous < base + INTERPRETER_SIZE:
                ctypes.c_uint64.from_address(self.symbol("previous") + 8 * number).value = previous

    def close(self) -> None:
        """Give back everything; the guest must not be running."""
        for number in _FAULT_SIGNALS:
            previous = ctypes.c_uint64.from_address(self.symbol("previous") + 8 * number).value
            set_action(number, native_action(previous) if previous > 1 else Action(previous))
        self.words.release()
        for area in (self.slots, self.pages, self.state):
            area.close()
        self.arena.close()
