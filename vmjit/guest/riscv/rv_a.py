"""RV64A: load-reserved/store-conditional and atomic memory operations (unprivileged manual, chapter "A").

A reservation is the address and the value that LR read; SC compares and exchanges. A value that changed and came back
therefore goes unnoticed (ABA), which is more than the manual allows and what other emulators do too.
Addresses that are not naturally aligned trap.
"""

from functools import partial

from vmjit.guest.riscv.operands import Field, rv64
from vmjit.guest.riscv.registers import NO_RESERVATION
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu

instruction = partial(rv64.instruction, ext="A")

ORDER = ("relaxed", "release", "acquire", "seq_cst")  # indexed by aqrl
LOAD_ORDER = ("relaxed", "relaxed", "acquire", "seq_cst")  # rl alone means nothing for a load
WIDTHS = (("w", "010", 32), ("d", "011", 64))


def aligned(cpu: Cpu, address: Bits, width: int) -> Bits:
    """`address`, after a trap unless it is a multiple of the access size."""
    cpu.trap_if((address & (width // 8 - 1)) != 0, "misaligned", address)
    return address


def load_reserved(suffix: str, funct3: str, width: int) -> None:
    """LR: rd = memory[rs1], and reserve it."""

    @instruction(f"lr.{suffix}{{aqrl}} rd, (rs1)", f"00010 aqrl 00000 rs1 {funct3} rd 0101111")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, aqrl: int) -> None:
        address = aligned(cpu, cpu.x[rs1], width)
        value = cpu.atomic_load(address, width, LOAD_ORDER[aqrl])
        cpu.write("reserved_address", address)
        cpu.write("reserved_value", value.zext(64))
        cpu.x[rd] = value.sext(64)


def store_conditional(suffix: str, funct3: str, width: int) -> None:
    """SC: if rs1 is reserved and unchanged, memory[rs1] = rs2 and rd = 0, else rd = 1."""

    @instruction(f"sc.{suffix}{{aqrl}} rd, rs2, (rs1)", f"00011 aqrl rs2 rs1 {funct3} rd 0101111")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field, aqrl: int) -> None:
        address = aligned(cpu, cpu.x[rs1], width)
        reserved = cpu.read("reserved_address") == address
        old = cpu.read("reserved_value").trunc(width)
        # Without a reservation the exchange replaces a value by itself, and the result is not looked at.
        new = cpu.select(reserved, cpu.x[rs2].trunc(width), old)
        exchanged = cpu.compare_exchange(address, old, new, ORDER[aqrl])
        cpu.write("reserved_address", NO_RESERVATION)
        cpu.x[rd] = (~(reserved & exchanged)).zext(64)


def amo(mnemonic: str, funct5: str, name: str) -> None:
    """AMO: rd = memory[rs1]; memory[rs1] = operation(memory[rs1], rs2), atomically."""
    for suffix, funct3, width in WIDTHS:
        atomic(f"{mnemonic}.{suffix}{{aqrl}} rd, rs2, (rs1)", f"{funct5} aqrl rs2 rs1 {funct3} rd 0101111", name, width)


def atomic(syntax: str, row: str, name: str, width: int) -> None:
    """One atomic memory operation of one width."""

    @instruction(syntax, row)
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field, aqrl: int) -> None:
        address = aligned(cpu, cpu.x[rs1], width)
        cpu.x[rd] = cpu.atomic_rmw(name, address, cpu.x[rs2].trunc(width), ORDER[aqrl]).sext(64)


for width_row in WIDTHS:
    load_reserved(*width_row)
    store_conditional(*width_row)

# fmt: off
amo("amoswap", "00001", "xchg")
amo("amoadd",  "00000", "add")
amo("amoxor",  "00100", "xor")
amo("amoand",  "01100", "and")
amo("amoor",   "01000", "or")
amo("amomin",  "10000", "min")
amo("amomax",  "10100", "max")
amo("amominu", "11000", "umin")
amo("amomaxu", "11100", "umax")
# fmt: on
