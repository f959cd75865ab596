"""The host memory that native guest code works on, and the way into it.

Slots, decodable pages and the code arena, which the harts of a process share; the interpreter lies at the arena's
start. Slots hold offsets in the arena, and 0 leads to the decode stub, so forgetting what was decoded or compiled is
clearing slots. What each hart has for itself is its State.
"""

from __future__ import annotations

import ctypes
import signal
import time
from _thread import RLock
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vmjit.engine.interrupts import Action, native_action, set_action
from vmjit.engine.state import KEY, KICK, State, kick
from vmjit.ir.layout import (
    ADDRESS_BITS,
    EMULATED,
    HANDLERS_SIZE,
    INTERPRETER_SIZE,
    PAGE_BITS,
    SLOT_ODDS,
    SLOT_SCALE,
    SLOT_SIZE,
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
LOOK_SECONDS, KICK_SECONDS = 0.00005, 0.001  # how often a hart that is to leave native code is looked at, and kicked

_FAULT_SIGNALS = (signal.SIGSEGV, signal.SIGBUS)

_libc = ctypes.CDLL(None, use_errno=True)


class Native:
    """`state` is that of the hart which a process begins with, `words` and `enter()` are its."""

    def __init__(self, layout: Layout, memory: AddressSpace, interpreter: Blob) -> None:
        self.layout = layout
        self.memory = memory
        self.arena = Arena(ARENA_SIZE)
        self.slots = Reservation(ADDRESSES * SLOT_SCALE + PAGE_SIZE)  # one more: code may fall off the end
        self.pages = Reservation((ADDRESSES >> PAGE_BITS) + PAGE_SIZE)
        self.exclusive = RLock()  # whoever holds it may keep harts from running, see paused()
        self.interpreter = interpreter
        if len(interpreter.code) > HANDLERS_SIZE:
            raise ValueError(f"the interpreter has {len(interpreter.code)} bytes, more than {HANDLERS_SIZE}")
        self.arena.allocate(INTERPRETER_SIZE)
        self.arena.place(0, interpreter.code)
        self.state = State(layout, self.symbol("enter"))
        self.states = [self.state]
        self.words, self.enter = self.state.words, self.state.enter
        for name, value in (
            ("memory", memory.base),
            ("slots", self.slots.base),
            ("code", self.arena.base),
            ("pages", self.pages.base),
            ("handlers", self.symbol("handlers")),
            ("cold", self.symbol("cold")),
            ("leave", self.symbol("leave")),
            ("clock", self.symbol("clock")),
            ("trap", self.symbol("syscall")),
            ("tlb_refill", self.symbol("refill") if "refill" in interpreter.symbols else 0),
        ):
            self.words[layout.word(name)] = value
        ctypes.c_uint64.from_address(self.symbol("clock_gettime")).value = _address(_libc.clock_gettime)
        for width, word in ((32, ctypes.c_uint32), (64, ctypes.c_uint64)):
            exchange = ctypes.CFUNCTYPE(word, ctypes.c_void_p, word, word)(self.symbol(f"exchange{width}"))
            memory.exchanges[width // 8] = exchange
        self.actions: dict[int, Action] = {}  # those of the host before ours, by signal: see Interrupts
        self.calls = range(0)  # arena offsets of the code that `trap` leads to
        self._used = len(interpreter.code)  # of HANDLERS_SIZE
        self._catch_faults()

    def symbol(self, name: str) -> int:
        """The host address of a function or table of the interpreter."""
        return self.arena.base + self.interpreter.symbols[name]

    def place_calls(self, blob: Blob, descriptors: int) -> None:
        """Let system calls go to this code, made by codegen/calls.py; `descriptors` is the address of its table."""
        start = self.place_behind(blob.code)
        self.calls = range(start, start + len(blob.code))
        base = self.arena.base + start
        ctypes.c_uint64.from_address(base + blob.symbols["clock"]).value = _address(_libc.clock_gettime)
        ctypes.c_uint64.from_address(base + blob.symbols["descriptors"]).value = descriptors
        ctypes.c_uint64.from_address(base + blob.symbols["gate"]).value = self.symbol("gate")
        with self.exclusive:
            for state in self.states:
                state.words[self.layout.word("trap")] = base + blob.symbols["trap"]

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
        start = self.place_behind(blob.code)
        for entry, offset in pairs:
            code = self.interpreter.symbols["emulate"] if offset == EMULATED else start + offset
            ctypes.c_uint64.from_address(first + WORD * entry).value = code

    def place_refill(self, blob: Blob) -> None:
        """Let regions fill their TLB by this code, see Worker.refill."""
        code = self.arena.base + self.place_behind(blob.code) + blob.symbols["refill"]
        with self.exclusive:
            for state in self.states:
                state.words[self.layout.word("tlb_refill")] = code

    def handler_of(self, entry: int) -> int:
        """The arena offset that an entry of the handler table leads to."""
        return ctypes.c_uint64.from_address(self.symbol("handlers") + WORD * entry).value

    def groups_of_handlers(self) -> dict[int, int]:
        """The group of each handler that is there, by its arena offset; 0: the core."""
        entries = (self.interpreter.symbols["groups"] - self.interpreter.symbols["handlers"]) // WORD
        found = {self.handler_of(entry): self.group_of(entry) for entry in range(entries)}
        for name in ("emulate", "illegal", "missing"):  # what serves many instructions is the handler of none
            found.pop(self.interpreter.symbols[name], None)
        return found

    def group_of(self, entry: int) -> int:
        """The number of the group that an entry of the handler table belongs to."""
        return ctypes.c_uint64.from_address(self.symbol("groups") + WORD * entry).value

    def place_behind(self, code: bytes) -> int:
        """Put code behind what there is of the interpreter; its offset. ValueError if there is no room."""
        start = -(-self._used // ALIGNMENT) * ALIGNMENT
        if start + len(code) > HANDLERS_SIZE:
            raise ValueError(f"the interpreter would have {start + len(code)} bytes, more than {HANDLERS_SIZE}")
        self.arena.place(start, code)
        self._used = start + len(code)
        return start

    def stop_clock(self, ticks: int) -> None:
        """Let the `clock` operation tell this time; 0: let it go on."""
        ctypes.c_uint64.from_address(self.symbol("stopped")).value = ticks

    def set_heat(self, threshold: int) -> None:
        """Every jump target counts as hot after `threshold` jumps to it by one hart."""
        with self.exclusive:
            for state in self.states:
                state.set_heat(threshold)

    def cool(self, pc: int, threshold: int) -> None:
        """Restart the counters of one jump target."""
        with self.exclusive:
            for state in self.states:
                state.cool(self.slots.base + pc * SLOT_SCALE, threshold)

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
        base = self.slots.base
        with self.exclusive:
            pairs = set().union(*[state.jumps() for state in self.states])  # one may be there twice
        return [((site - base) // SLOT_SCALE, (target - base) // SLOT_SCALE) for site, target in pairs]

    def note_jumps(self, jumps: Iterable[tuple[int, int]]) -> None:
        """As if the interpreter had done these calls and jumps lately."""
        self.state.note_jumps(jumps, self.slots.base)

    def allow_decoding(self, page: int) -> None:
        ctypes.c_uint8.from_address(self.pages.base + page).value = 1

    def may_decode(self, page: int) -> bool:
        return bool(ctypes.c_uint8.from_address(self.pages.base + page).value)

    # Harts.

    def add_state(self, like: State) -> State:
        """The state of another hart, with the registers of one that is not running."""
        made = State(self.layout, self.symbol("enter"))
        made.words[:] = like.words
        made.left()
        made.set_limit(like.limit)
        with self.exclusive:
            made.words[self.layout.word("trap")] = self.words[self.layout.word("trap")]
            self.states.append(made)
        return made

    def remove_state(self, state: State) -> None:
        """A hart is no more."""
        with self.exclusive:
            self.states.remove(state)
            state.close()

    def keep_only(self, state: State) -> None:
        """In a forked child, where no other hart runs any more."""
        for other in self.states:
            if other is not state:
                other.close()
        self.states = [state]
        self.state, self.words, self.enter = state, state.words, state.enter
        state.begin()

    def heed_kicks(self) -> None:
        """From now on a kick ends what a host thread that runs a hart waits for."""
        set_action(KICK, native_action(self.symbol("interrupt")))

    def ignore_kicks(self) -> None:
        """Neither kicks to come nor those on their way do anything, wherever they find a thread."""
        set_action(KICK, Action(signal.SIG_IGN))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No hart is in native code meanwhile, nor has left it by a fault whose place is not yet known.

        Only for a host thread that is not in the middle of either.
        """
        with self.exclusive:
            for state in self.states:
                state.hold()
            for state in self.states:
                _await_leaving(state)
            try:
                yield
            finally:
                for state in self.states:
                    state.admit()

    def forget(self, start: int, size: int) -> None:
        """Nothing in this range of whole pages is decoded any more, nor may be until it is allowed again."""
        # An instruction of four bytes may have begun two bytes before the range.
        before = 2 if start else 0
        self.slots.clear((start - before) * SLOT_SCALE, (size + before) * SLOT_SCALE)
        self.pages.clear(start >> PAGE_BITS, size >> PAGE_BITS)

    def _catch_faults(self) -> None:
        """Route the host's memory faults through the interpreter's handler, which passes on those not of the guest."""
        base = self.arena.base
        ctypes.c_uint32.from_address(self.symbol("key")).value = KEY
        for name in ("signal", "pthread_setspecific", "pthread_getspecific"):
            ctypes.c_uint64.from_address(self.symbol(name)).value = _address(getattr(_libc, name))
        self.heed_kicks()
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
        self.ignore_kicks()
        self.memory.exchanges.clear()
        with self.exclusive:  # a thread that takes in what the worker made may be about to change their counters
            states, self.states = self.states, []
            for state in states:
                state.close()
        for area in (self.slots, self.pages):
            area.close()
        self.arena.close()


def _await_leaving(state: State) -> None:
    """Until a hart that is held is not in native code; a signal ends what it waits for there."""
    deadline = time.monotonic() + KICK_SECONDS
    while state.is_running:
        time.sleep(LOOK_SECONDS)
        if time.monotonic() > deadline:
            kick(state.tid)
            deadline = time.monotonic() + KICK_SECONDS


def _address(function: object) -> int:
    """Of a function of the C library."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
