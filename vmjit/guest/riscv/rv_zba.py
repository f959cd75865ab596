"""Zba: address generation (unprivileged manual, chapter "B", extension "Zba")."""

from functools import partial

from vmjit.guest.riscv import rv_i
from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu

op = partial(rv_i.op, ext="Zba")


def op_uw(mnemonic: str, funct7: str, funct3: str, compute: rv_i.Binary) -> None:
    """OP-32: rd = compute(zext(rs1[31:0]), rs2)."""

    @rv64.instruction(f"{mnemonic} rd, rs1, rs2", f"{funct7} rs2 rs1 {funct3} rd 0111011", ext="Zba")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
        cpu.x[rd] = compute(low_word(cpu.x[rs1]), cpu.x[rs2])


def low_word(value: Bits) -> Bits:
    return value & 0xFFFFFFFF


# fmt: off
op("sh1add", "0010000", "010", lambda a, b: (a << 1) + b)
op("sh2add", "0010000", "100", lambda a, b: (a << 2) + b)
op("sh3add", "0010000", "110", lambda a, b: (a << 3) + b)

op_uw("add.uw",    "0000100", "000", lambda a, b: a + b)
op_uw("sh1add.uw", "0010000", "010", lambda a, b: (a << 1) + b)
op_uw("sh2add.uw", "0010000", "100", lambda a, b: (a << 2) + b)
op_uw("sh3add.uw", "0010000", "110", lambda a, b: (a << 3) + b)
# fmt: on


@rv64.instruction("slli.uw rd, rs1, shamt", "000010 shamt rs1 001 rd 0011011", ext="Zba")
def slli_uw(cpu: Cpu, rd: Field, rs1: Field, shamt: Field) -> None:
    cpu.x[rd] = low_word(cpu.x[rs1]) << cpu.bits(shamt)
