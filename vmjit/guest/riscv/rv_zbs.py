"""Zbs: single bits (unprivileged manual, chapter "B", extension "Zbs"). Indices are taken modulo 64."""

from functools import partial

from vmjit.guest.riscv import rv_i
from vmjit.isa.bits import Bits

op = partial(rv_i.op, ext="Zbs")
op_imm = partial(rv_i.shift_imm, ext="Zbs")


def mask(index: Bits) -> Bits:
    return index.like(1) << index


def clear(a: Bits, index: Bits) -> Bits:
    return a & ~mask(index)


def extract(a: Bits, index: Bits) -> Bits:
    return a.lshr(index) & 1


def invert(a: Bits, index: Bits) -> Bits:
    return a ^ mask(index)


def set_(a: Bits, index: Bits) -> Bits:
    return a | mask(index)


# fmt: off
op("bclr", "0100100", "001", clear)
op("bext", "0100100", "101", extract)
op("binv", "0110100", "001", invert)
op("bset", "0010100", "001", set_)

op_imm("bclri", "010010", "001", clear)
op_imm("bexti", "010010", "101", extract)
op_imm("binvi", "011010", "001", invert)
op_imm("bseti", "001010", "001", set_)
# fmt: on
