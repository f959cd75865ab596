"""Signals of the host that are meant for the guest: which are caught, and the one that waits to be taken.

The native side of it is in codegen/interrupts.py. A signal that was caught waits in the state, with all others blocked,
until take(); whoever takes it also sets the mask anew, by a call through `gate`, which is not made while another waits.
"""

from __future__ import annotations

import ctypes
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vmjit.ir.layout import SIGINFO_OFFSET, SIGINFO_SIZE

if TYPE_CHECKING:
    from vmjit.engine.native import Native
    from vmjit.engine.state import State

CAUSED = frozenset((4, 5, 7, 8, 11))  # by instructions, unless sent: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV
_SA_SIGINFO, _SA_ONSTACK = 4, 0x08000000
_SIG_SETMASK = 2
_PASSED_FLAGS = 1 | 2  # SA_NOCLDSTOP, SA_NOCLDWAIT: what the host's kernel does for the guest

_libc = ctypes.CDLL(None, use_errno=True)


Mask = ctypes.c_uint64 * 16  # sigset_t of libc
EVERYTHING = Mask(*[0xFFFFFFFFFFFFFFFF] * 16)


class Action(ctypes.Structure):
    """struct sigaction of libc on 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", Mask),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def set_action(number: int, action: Action) -> Action:
    """sigaction(2); the action before. Raises OSError."""
    old = Action()
    if _libc.sigaction(int(number), ctypes.byref(action), ctypes.byref(old)):
        raise OSError(ctypes.get_errno(), f"cannot handle signal {number}")
    return old


def native_action(handler: int, flags: int = 0) -> Action:
    """That of a handler in native code, during which other signals wait."""
    return Action(handler, EVERYTHING, flags | _SA_SIGINFO | _SA_ONSTACK)


def set_mask(mask: ctypes.Array[ctypes.c_uint64] | None) -> ctypes.Array[ctypes.c_uint64]:
    """Block these signals in the current thread, or leave it at what it blocks; what it blocked before."""
    before = Mask()
    _libc.pthread_sigmask(_SIG_SETMASK, mask, before)
    return before


def start_thread(function: Callable[..., object], *arguments: object) -> None:
    """A thread of the emulator's own, to which the kernel gives no signals. Raises RuntimeError."""
    before = set_mask(EVERYTHING)
    try:
        start_new_thread(function, arguments)
    finally:
        set_mask(before)


class Interrupts:
    """The signals of one hart, which come to the host thread that runs it.

    gate(number, six arguments) makes a system call of the host, see codegen/interrupts.py; integers, bytes, ctypes
    arrays and None may be passed.
    """

    catches = True

    def __init__(self, native: Native, state: State) -> None:
        self._native, self._state = native, state
        self._words, self._word = state.words, native.layout.word("interrupt")
        self._handler, self._fault_handler = native.symbol("interrupt"), native.symbol("fault")
        self._info = state.area.base + SIGINFO_OFFSET
        pointer, long = ctypes.c_void_p, ctypes.c_long
        gate = ctypes.CFUNCTYPE(long, pointer, long, *[pointer] * 6)(native.symbol("gate"))
        self.gate: Callable[..., int] = partial(gate, state.area.base)

    @property
    def waiting(self) -> bool:
        """Whether a signal waits to be taken."""
        return self._words[self._word] != 0

    def peek(self) -> tuple[int, bytes] | None:
        """Number and siginfo of the signal that waits. All others are blocked."""
        number = self._words[self._word]
        return (number, ctypes.string_at(self._info, SIGINFO_SIZE)) if number else None

    def take(self) -> tuple[int, bytes] | None:
        """The signal that waits, which does not any more. All others are blocked until the mask is set."""
        found = self.peek()
        if found is not None:
            self._words[self._word] = 0
            with self._native.exclusive:  # or else it may be another thread that holds this one
                self._state.admit()
        return found

    def catch(self, number: int, flags: int = 0) -> None:
        """Let this signal wait in the state when it arrives."""
        handler = self._fault_handler if number in CAUSED else self._handler
        self._set(number, native_action(handler, flags & _PASSED_FLAGS))

    def leave(self, number: int, handler: int, flags: int = 0) -> None:
        """Let the host do what SIG_DFL or SIG_IGN says."""
        self._set(number, Action(handler, flags=flags & _PASSED_FLAGS))

    def _set(self, number: int, action: Action) -> None:
        old = set_action(number, action)
        self._native.actions.setdefault(number, old)

    def close(self) -> None:
        """Give the host its own actions back."""
        for number, action in tuple(self._native.actions.items()):
            set_action(number, action)
        self._native.actions.clear()
