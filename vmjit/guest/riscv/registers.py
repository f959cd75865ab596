"""The registers of a hart and their ABI names (riscv-elf-psabi, "Register Convention").

Beside the architectural registers: the reservation that LR makes, as the address it covers and the value it read.
The address is all ones when there is none, which no aligned address equals.
"""

from vmjit.ir.layout import Layout, RegisterFile

# fmt: off
X = RegisterFile("x", 32, (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
), zero=0)
F = RegisterFile("f", 32, (
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
))
# fmt: on
NO_RESERVATION = -1

LAYOUT = Layout((X, F), ("fflags", "frm", "reserved_address", "reserved_value"), flags="fflags", rounding="frm")
