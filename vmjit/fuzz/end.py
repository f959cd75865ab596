"""How a program ended: everything that can be seen of it, and what differs between two ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmjit.fuzz.program import CODE, CODE_SIZE, DATA

WORD = 8
Differences = dict[str, tuple[str, str]]  # what -> expected, found

LIMIT = "LIMIT"  # the reason of a program that had not ended
DEFAULT_LIMIT = 5_000  # instructions; few random programs that end are longer


@dataclass(frozen=True)
class End:
    """
    reason     the name of an ExitReason
    argument   of the reason; None when it is not known
    registers  by their names in the layout, and `instret`, the count of instructions; those that are known
    memory     all of the code, and of both kinds of data
    calls      system calls that were made on the way
    """

    reason: str
    pc: int
    argument: int | None
    registers: Mapping[str, int]
    memory: bytes
    calls: int = 0


def differences(expected: End, found: End) -> Differences:
    """What both know and do not agree about."""
    different: Differences = {}
    if expected.reason != found.reason:
        different["reason"] = (expected.reason, found.reason)
    if expected.pc != found.pc:
        different["pc"] = (hex(expected.pc), hex(found.pc))
    if expected.argument is not None and found.argument is not None and expected.argument != found.argument:
        different["argument"] = (hex(expected.argument), hex(found.argument))
    for name, value in expected.registers.items():
        other = found.registers.get(name, value)
        if other != value:
            different[name] = (hex(value), hex(other))
    if expected.memory != found.memory:
        ours, theirs = words_of(expected.memory), words_of(found.memory)
        different |= {
            f"[{address_of(index):#x}]": (hex(a), hex(b))
            for index, (a, b) in enumerate(zip(ours, theirs, strict=True))
            if a != b
        }
    return different


def words_of(memory: bytes) -> memoryview:
    """Memory as 64-bit words."""
    return memoryview(memory).cast("Q")


def address_of(index: int) -> int:
    """The address of a word of an end's memory."""
    return CODE + index * WORD if index * WORD < CODE_SIZE else DATA + index * WORD - CODE_SIZE


def index_of(address: int) -> int:
    """The inverse of address_of."""
    return (address - CODE if address < CODE + CODE_SIZE else address - DATA + CODE_SIZE) // WORD
