"""What the registers of a random program are for, and what registers and memory hold before it.

Registers with a role are written only by the statements that the role is for, so control may go anywhere forward.
"""

from __future__ import annotations

import random

from vmjit.fuzz.program import CODE, CODE_SIZE, CONSTANT, CONSTANT_SIZE, DATA, DATA_SIZE, MASK, PAGE

SEAM = DATA + PAGE  # accesses may cross it
END = CONSTANT + CONSTANT_SIZE
# What base registers of accesses may be, and where they point to. x8 and x9 serve compressed forms, x2 those for sp.
MISALIGNED = 18  # atomic accesses through it stop the program
STACK_POINTER = 2
ALIGNED = (STACK_POINTER, 8, 9)
POINTERS = {STACK_POINTER: DATA + 0x800, 8: SEAM, 9: DATA + 0x400, MISALIGNED: DATA + 0xB01}
WALKERS = (19, 20)  # pointers that loops advance
STRIDES = (3, 4)  # what they advance by, besides constants
STACK = 21  # of return addresses
EDGES = (22, 23, 24, 25)  # pointers that accesses through may fault
BAD_TARGET = 27  # where no code is
COUNTERS = (29, 30, 31)  # of nested loops: they count down, and a loop ends when its counter is not above 0
DEPTH = 26  # of recursion, likewise
LINKS = (1, 5)  # of calls
SCRATCH, WORD = 6, 7  # within statements of several instructions
FREE = (0, 10, 11, 12, 13, 14, 15, 16, 17, 28)  # few, so that values meet
RESERVED = frozenset(range(32)) - frozenset(FREE)

NOWHERE = (0, 1 << 37, (1 << 38) - 4, 1 << 38, (1 << 38) + 8, (1 << 47) - 4, 1 << 63, MASK - 3)
NOT_CODE = (0, 2, DATA + 0x10, CONSTANT, CODE + CODE_SIZE, CODE - 2, 1 << 37, 1 << 38, 1 << 63, MASK - 1)

SPECIALS = (
    *(sign | value for sign in (0, 1 << 63) for value in (
        0, 1, 0x3FF0000000000000, 0x7FF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0x0010000000000000,
        0x7FEFFFFFFFFFFFFF, 0x4340000000000000, 0x43E0000000000000, 0x3FE0000000000000, 0x7FF8000000000123,
        0x000FFFFFFFFFFFFF, 0x36A0000000000000, 0x47EFFFFFF0000000, 0x41DFFFFFFFC00000,
    )),
    *(0xFFFFFFFF00000000 | sign | value for sign in (0, 1 << 31) for value in (
        0, 1, 0x3F800000, 0x7F800000, 0x7FC00000, 0x7F800001, 0x00800000, 0x7F7FFFFF, 0x4F000000, 0x3F000000,
        0x7FC00123, 0x007FFFFF, 0x5F000000, 0x3FC00000,
    )),
)  # fmt: skip


def random_value(chance: random.Random) -> int:
    """An integer or the bits of a float."""
    kind = chance.randrange(8)
    if kind < 3:
        return chance.choice(SPECIALS)
    if kind == 3:
        return chance.choice((0, 1, MASK))
    if kind == 4:
        return 1 << chance.randrange(64)
    small = chance.getrandbits(64) >> chance.randrange(64)
    return -small & MASK if kind == 5 else small


def random_registers(chance: random.Random) -> dict[str, int]:
    """What all registers hold before."""
    values = {f"{file}{n}": random_value(chance) for file in "xf" for n in range(32) if (file, n) != ("x", 0)}
    values |= {f"x{number}": address for number, address in POINTERS.items()}
    values |= {f"x{number}": DATA + chance.randrange(0, DATA_SIZE, 4) for number in WALKERS}
    values |= {f"x{number}": _random_edge(chance) for number in EDGES}
    values |= {f"x{number}": chance.randrange(4) for number in (*COUNTERS, DEPTH)}
    values |= {f"x{number}": _random_stride(chance) for number in STRIDES}
    values |= {f"x{STACK}": DATA + 0xD00, f"x{BAD_TARGET}": chance.choice(NOT_CODE)}
    values["frm"] = chance.choice((0, 0, 0, 0, 0, 0, 1, 2, 3, chance.randrange(8)))
    values["fflags"] = chance.choice((0, 0, 31, chance.getrandbits(5)))
    return values


def _random_stride(chance: random.Random) -> int:
    """Small, or so large that the next address is far from what is mapped."""
    if chance.random() < 0.85:
        return chance.choice((0, 1, 4, 8, 8, 16, 0x40, -1, -8, -24)) & MASK
    return chance.choice((1 << 31, 1 << 33, 1 << 37, 1 << 38, 1 << 47, 1 << 63, -(1 << 37), -(1 << 38))) & MASK


def _random_edge(chance: random.Random) -> int:
    """An address near which some accesses may be made and others not, or none."""
    if chance.random() < 0.3:
        return chance.choice(NOWHERE)
    return chance.choice((DATA, SEAM, CONSTANT, END, CODE, CODE + CODE_SIZE)) + chance.randrange(-8, 8)


def random_words(chance: random.Random) -> dict[int, int]:
    """What the data holds before, around what the pointers point to."""
    places = {
        address & -8
        for pointer in (*POINTERS.values(), CONSTANT, END)
        for address in range(pointer - 0x40, pointer + 0x40, 8)
        if DATA <= address & -8 < END and chance.random() < 0.6
    }
    return {address: random_value(chance) for address in sorted(places)}
