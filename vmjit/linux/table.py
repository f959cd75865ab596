"""The table of implemented calls. `@syscall("fd out_data size")` puts sys_read into it.

The words name the arguments' kinds. A kind fixes the C type (so that registers are truncated and sign-extended as the
kernel does) and how strace prints the argument; both follow from this one string.
"""

from collections.abc import Callable
from struct import Struct

from vmjit.linux.abi import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Function = TypeVar("Function", bound=Callable[..., int])

INT, UINT, LONG, ULONG = "i4x", "I4x", "q", "Q"

KINDS = {
    # plain numbers
    "int": INT,
    "uint": UINT,
    "long": LONG,
    "size": ULONG,
    "hex": ULONG,
    "mode": UINT,
    "fd": INT,
    "dirfd": INT,
    "pid": INT,
    "uid": UINT,
    # addresses
    "address": ULONG,
    "path": ULONG,
    "text": ULONG,
    "in_data": ULONG,  # the next argument is its size
    "out_data": ULONG,  # the result is its size
    "argv": ULONG,
    "timespec": ULONG,
    "out_timespec": ULONG,
    "sigset": ULONG,
    "out_int": ULONG,
    "out_pair": ULONG,
    # names
    "open_flags": INT,
    "access_mode": INT,
    "at_flags": INT,
    "whence": INT,
    "fcntl_command": INT,
    "request": UINT,
    "protection": ULONG,
    "map_flags": ULONG,
    "clone_flags": ULONG,
    "wait_flags": INT,
    "signal": INT,
    "mask_how": INT,
    "clock": INT,
    "resource": INT,
    "advice": INT,
    "futex_operation": INT,
}


class Syscall:
    """One implemented call; result is "int", "hex" (an address) or "none" (the call does not return).

    `lacks` is what the call does not do that Linux does, in words for docs/syscalls.md.
    """

    __slots__ = ("descriptors", "function", "kinds", "lacks", "name", "number", "result", "unpack")

    def __init__(self, name: str, kinds: str, function: Callable[..., int], result: str, lacks: str) -> None:
        self.name, self.number = name, NUMBERS[name]
        self.kinds = tuple(kinds.split())
        self.descriptors = tuple([i for i, kind in enumerate(self.kinds) if kind in ("fd", "dirfd")])
        self.function, self.result, self.lacks = function, result, lacks
        self.unpack = Struct("<" + "".join([KINDS[kind] for kind in self.kinds])).unpack_from


TABLE: dict[int, Syscall] = {}


def register(name: str, kinds: str, function: Callable[..., int], result: str = "int", lacks: str = "") -> None:
    """Add a call whose name is not that of its function."""
    entry = Syscall(name, kinds, function, result, lacks)
    TABLE[entry.number] = entry


def syscall(kinds: str = "", result: str = "int", lacks: str = "") -> "Callable[[Function], Function]":
    """Add the decorated function, `sys_` and the call's name, which takes (process, *arguments of these kinds)."""

    def add(function: "Function") -> "Function":
        register(function.__name__.removeprefix("sys_"), kinds, function, result, lacks)
        return function

    return add
