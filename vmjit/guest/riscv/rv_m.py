"""RV64M: multiplication and division (unprivileged manual, chapter "M").

The IR's division already gives what the manual asks for a zero divisor and for overflow.
"""

from collections.abc import Callable
from functools import partial

from vmjit.guest.riscv import rv_i
from vmjit.isa.bits import Bits

op = partial(rv_i.op, ext="M")
op_32 = partial(rv_i.op_32, ext="M")

Extend = Callable[[Bits, int], Bits]


def high(extend_a: Extend, extend_b: Extend) -> rv_i.Binary:
    """The high half of the 128-bit product."""
    return lambda a, b: (extend_a(a, 128) * extend_b(b, 128)).lshr(64).trunc(64)


# fmt: off
op("mul",    "0000001", "000", lambda a, b: a * b)
op("mulh",   "0000001", "001", high(Bits.sext, Bits.sext))
op("mulhsu", "0000001", "010", high(Bits.sext, Bits.zext))
op("mulhu",  "0000001", "011", high(Bits.zext, Bits.zext))
op("div",    "0000001", "100", Bits.sdiv)
op("divu",   "0000001", "101", Bits.udiv)
op("rem",    "0000001", "110", Bits.srem)
op("remu",   "0000001", "111", Bits.urem)

op_32("mulw",  "0000001", "000", lambda a, b: a * b)
op_32("divw",  "0000001", "100", Bits.sdiv)
op_32("divuw", "0000001", "101", Bits.udiv)
op_32("remw",  "0000001", "110", Bits.srem)
op_32("remuw", "0000001", "111", Bits.urem)
# fmt: on
