"""What native code works on that one hart has for itself: its words, its counters of jump targets, its notes of jumps.

A hart belongs to the host thread that runs it. Others make it leave native code by a limit of 0, at its next jump or
before its first instruction, and by a signal that ends what it waits for in a system call of native code.
"""

from __future__ import annotations

import ctypes
import os
from _thread import get_native_id
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from vmjit.ir.layout import (
    HEAT_ENTRIES,
    HEAT_OFFSET,
    JUMP_ENTRIES,
    JUMP_OFFSET,
    SLOT_SCALE,
    STATE_SIZE,
    WORD,
    Layout,
)
from vmjit.memory.reservation import Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.memory.tlb import Tlb

FOREVER = (1 << 64) - 1  # an instruction limit that is never reached
HEAT_FULL = 1 << 16
KICK = 64  # the host's last real-time signal: it ends what a thread waits for, as any signal that is caught

_libc = ctypes.CDLL(None, use_errno=True)


def kick(tid: int) -> None:
    """End what a host thread of this process waits for, with EINTR; nothing if the thread is gone."""
    _libc.tgkill(os.getpid(), tid, KICK)


_key = ctypes.c_uint32()  # of the value of each host thread that is the state of the hart which it runs
if _libc.pthread_key_create(ctypes.byref(_key), None):
    raise OSError("no key for values of threads is left")
KEY = _key.value
_libc.pthread_getspecific.restype, _libc.pthread_setspecific.argtypes = (
    ctypes.c_void_p,
    (ctypes.c_uint, ctypes.c_void_p),
)


class State:
    """`words` is what Layout describes; `enter()` runs guest code until it has a reason to return."""

    def __init__(self, layout: Layout, enter: int) -> None:
        """`enter` is the address of the native function of that name."""
        self.area = Reservation(STATE_SIZE)
        self.words = self.area.words(0, HEAT_OFFSET // WORD)
        self.enter: Callable[[], None] = partial(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(enter), self.area.base)
        self.tlb: Tlb | None = None
        self.limit = FOREVER  # instructions; the word of that name is 0 while guest code is kept from running
        self.is_wanted = False  # Hart.run is to return
        self.tid = get_native_id()  # of the host thread that runs it
        self._limit, self._running = layout.word("limit"), layout.word("running")
        self.words[self._limit] = FOREVER

    def begin(self) -> None:
        """The current host thread runs it from now on."""
        self.tid = get_native_id()
        _libc.pthread_setspecific(KEY, self.area.base)

    def set_limit(self, instructions: int) -> None:
        """Guest code stops at the first jump after that many instructions from the start; from any thread."""
        self.limit = instructions
        self.admit()

    def admit(self) -> None:
        """Let guest code run, but for what wants() was told, maybe at this moment by another thread."""
        self.words[self._limit] = self.limit
        if self.is_wanted:
            self.words[self._limit] = 0

    def hold(self) -> None:
        """Guest code stops soon, and does not run until admit(); from any thread."""
        with suppress(ValueError):  # it may be closed by now
            self.words[self._limit] = 0

    def want(self) -> None:
        """Hart.run is to return soon, and what the thread waits for is to end; from any thread."""
        self.is_wanted = True
        self.hold()
        kick(self.tid)

    @property
    def is_running(self) -> bool:
        """Whether native code runs, or was left by a fault whose place is not yet known."""
        return bool(self.words[self._running])

    def left(self) -> None:
        """Nothing depends any more on where native code was left."""
        self.words[self._running] = 0

    def set_heat(self, threshold: int) -> None:
        """Every jump target counts as hot after `threshold` jumps to it."""
        start = HEAT_FULL - min(threshold, HEAT_FULL)
        values = array("H", [start % HEAT_FULL]) * HEAT_ENTRIES
        ctypes.memmove(self.area.base + HEAT_OFFSET, values.tobytes(), 2 * HEAT_ENTRIES)

    def cool(self, slot: int, threshold: int) -> None:
        """Restart the counter of one jump target, given by the host address of its slot."""
        index = (slot >> 4) % HEAT_ENTRIES
        counter = ctypes.c_uint16.from_address(self.area.base + HEAT_OFFSET + 2 * index)
        counter.value = (HEAT_FULL - threshold) % HEAT_FULL

    def jumps(self) -> set[tuple[int, int]]:
        """Calls and indirect jumps that the interpreter did lately, by the slots of both ends."""
        words = self.area.words(JUMP_OFFSET, 2 * JUMP_ENTRIES).tolist()
        return {pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0]}

    def note_jumps(self, jumps: Iterable[tuple[int, int]], slots: int) -> None:
        """As if the interpreter had done these calls and jumps lately; `slots` is the host address of all slots."""
        words = self.area.words(JUMP_OFFSET, 2 * JUMP_ENTRIES)
        for number, (site, target) in enumerate(jumps):
            if number == JUMP_ENTRIES:
                return
            words[2 * number] = slots + site * SLOT_SCALE
            words[2 * number + 1] = slots + target * SLOT_SCALE

    def close(self) -> None:
        """Give back the memory; no guest code may be running on it."""
        if _libc.pthread_getspecific(KEY) == self.area.base:
            _libc.pthread_setspecific(KEY, None)
        self.words.release()
        self.area.close()
