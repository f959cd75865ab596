"""Zicsr: read, write, set and clear control and status registers (unprivileged manual, chapter "Zicsr").

Reading has no side effects, so rd = zero needs no care; setting or clearing nothing writes back what was there.
Writing a read-only register is illegal: for those only the forms that never write exist, as rows of their own.
"""

from collections.abc import Callable
from functools import partial

from vmjit.guest.riscv.csr import READ_ONLY, READ_WRITE
from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu
from vmjit.isa.instruction import Instruction

instruction = partial(rv64.instruction, ext="Zicsr")

Update = Callable[[Bits, Bits], Bits]


def access(cpu: Cpu, rd: Field, number: int, operand: Bits, update: Update) -> None:
    """rd = csr; csr = update(csr, operand)."""
    csr = READ_WRITE[number]
    assert csr.write is not None
    old = csr.read(cpu)
    cpu.x[rd] = old
    host_must_act = csr.write(cpu, update(old, operand))
    if host_must_act is not None:
        cpu.exit_if(host_must_act, "rounding")


def read_only(mnemonic: str, operand: str, funct3: str, within: Instruction) -> None:
    """CSRRS and CSRRC with operand 0: rd = csr."""

    @instruction(f"{mnemonic} rd, csrro, {operand}", f"csrro 00000 {funct3} rd 1110011", within=within)
    def semantics(cpu: Cpu, rd: Field, csrro: int) -> None:
        cpu.x[rd] = READ_ONLY[csrro].read(cpu)


def csrr(mnemonic: str, funct3: str, update: Update) -> Instruction:
    """CSRR*: with the operand in a register."""

    @instruction(f"{mnemonic} rd, csr, rs1", f"csr rs1 {funct3} rd 1110011")
    def semantics(cpu: Cpu, rd: Field, csr: int, rs1: Field) -> None:
        access(cpu, rd, csr, cpu.x[rs1], update)

    return semantics


def csrri(mnemonic: str, funct3: str, update: Update) -> Instruction:
    """CSRR*I: with the operand in the instruction."""

    @instruction(f"{mnemonic} rd, csr, zimm", f"csr zimm {funct3} rd 1110011")
    def semantics(cpu: Cpu, rd: Field, csr: int, zimm: Field) -> None:
        access(cpu, rd, csr, cpu.bits(zimm), update)

    return semantics


# fmt: off
csrr(         "csrrw",  "001", lambda old, operand: operand)
csrrs = csrr( "csrrs",  "010", lambda old, operand: old | operand)
csrrc = csrr( "csrrc",  "011", lambda old, operand: old & ~operand)
csrri(        "csrrwi", "101", lambda old, operand: operand)
csrrsi = csrri("csrrsi", "110", lambda old, operand: old | operand)
csrrci = csrri("csrrci", "111", lambda old, operand: old & ~operand)

read_only("csrrs",  "zero", "010", within=csrrs)
read_only("csrrc",  "zero", "011", within=csrrc)
read_only("csrrsi", "0",    "110", within=csrrsi)
read_only("csrrci", "0",    "111", within=csrrci)
# fmt: on
