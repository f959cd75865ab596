"""Control and status registers that user-mode programs have: number, name, how to read and to write.

Writable ones (`READ_WRITE`) belong to floating point; counters (`READ_ONLY`) are user-level shadows. Every other
number decodes as illegal. Exceptions of native code accumulate in the host and are merged when read.
Unprivileged manual: "F" section 'Floating-Point Control and Status Register', "Zicntr".
"""

from collections.abc import Callable
from dataclasses import dataclass

from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu

FLAGS_MASK = 0x1F
ROUNDING_SHIFT = 5
ROUNDING_MASK = 7


def read_fflags(cpu: Cpu) -> Bits:
    return cpu.read("fflags") | cpu.host_flags()


def read_frm(cpu: Cpu) -> Bits:
    return cpu.read("frm")


def read_fcsr(cpu: Cpu) -> Bits:
    return read_frm(cpu) << ROUNDING_SHIFT | read_fflags(cpu)


def read_instret(cpu: Cpu) -> Bits:
    return cpu.read("instret")


def read_time(cpu: Cpu) -> Bits:
    return cpu.clock()


def write_fflags(cpu: Cpu, value: Bits) -> None:
    cpu.clear_host_flags()
    cpu.write("fflags", value & FLAGS_MASK)


def write_frm(cpu: Cpu, value: Bits) -> Bits:
    """Returns whether the host must be told: the old or the new mode is one that it lacks."""
    old, new = cpu.read("frm"), value & ROUNDING_MASK
    cpu.write("frm", new)
    cpu.set_rounding(cpu.select(new.ult(4), new, 0))
    return (old | new).uge(4)


def write_fcsr(cpu: Cpu, value: Bits) -> Bits:
    write_fflags(cpu, value)
    return write_frm(cpu, value.lshr(ROUNDING_SHIFT))


@dataclass(frozen=True)
class Csr:
    """`write` returns the condition under which the host must act ("rounding"), or None for never."""

    name: str
    read: Callable[[Cpu], Bits]
    write: Callable[[Cpu, Bits], Bits | None] | None = None


READ_WRITE = {
    0x001: Csr("fflags", read_fflags, write_fflags),
    0x002: Csr("frm", read_frm, write_frm),
    0x003: Csr("fcsr", read_fcsr, write_fcsr),
}
READ_ONLY = {
    0xC00: Csr("cycle", read_instret),
    0xC01: Csr("time", read_time),
    0xC02: Csr("instret", read_instret),
}
