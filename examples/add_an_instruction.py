"""A new instruction, from one place: encoding, assembly and meaning; then assembled, disassembled and executed."""

from vmjit.engine.trace import trace_alone
from vmjit.guest import get
from vmjit.guest.riscv.operands import OPERANDS, Field, rv64
from vmjit.ir.interpret import compile_region
from vmjit.ir.layout import STATE_SIZE
from vmjit.isa.cpu import Cpu
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import InstructionSet

extended = InstructionSet("rv64 with averages", OPERANDS)
extended.instructions += rv64.instructions


@extended.instruction("average rd, rs1, rs2", "0000000 rs2 rs1 000 rd 0001011", ext="Xaverage")
def average(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
    """The opcode is custom-0, which the manual leaves to everyone; the sum cannot overflow."""
    a, b = cpu.x[rs1], cpu.x[rs2]
    cpu.x[rd] = (a & b) + (a ^ b).lshr(1)


guest = get("riscv64")
table = DecodeTable(extended, guest.decode_table.lengths)  # an encoding that overlaps another would be an error
code = extended.assemble("average a0, a1, a2")
decoded = table.decode_word(int.from_bytes(code, "little"), len(code))
print(f"{code.hex()}  {decoded.text()}")

region, cpu = trace_alone(guest.layout, *decoded.expand(), 0x10000, decoded.size)
cpu.end_with(cpu.next_pc, "fall")
print(region)

words = memoryview(bytearray(STATE_SIZE)).cast("Q")
words[guest.layout.word("x11")], words[guest.layout.word("x12")] = 2**64 - 2, 2**64 - 6
compile_region(region, guest.layout)(words, None, 0x10000)
print(f"a0 = {words[guest.layout.word('x10')]:#x}")
