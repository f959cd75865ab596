"""Zifencei: instruction fetches see the stores before them (unprivileged manual, chapter "Zifencei")."""

from vmjit.guest.riscv.operands import rv64
from vmjit.isa.cpu import Cpu


@rv64.instruction("fence.i", "uimm[11:0] rs1 001 rd 0001111", ext="Zifencei")
def fence_i(cpu: Cpu) -> None:
    cpu.exit("flush_code")
