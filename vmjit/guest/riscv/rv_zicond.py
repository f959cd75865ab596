"""Zicond: conditional zero (unprivileged manual, chapter "Zicond")."""

from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.cpu import Cpu


@rv64.instruction("czero.eqz rd, rs1, rs2", "0000111 rs2 rs1 101 rd 0110011", ext="Zicond")
def czero_eqz(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
    cpu.x[rd] = cpu.select(cpu.x[rs2] == 0, 0, cpu.x[rs1])


@rv64.instruction("czero.nez rd, rs1, rs2", "0000111 rs2 rs1 111 rd 0110011", ext="Zicond")
def czero_nez(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
    cpu.x[rd] = cpu.select(cpu.x[rs2] != 0, 0, cpu.x[rs1])
