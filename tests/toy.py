"""A guest of a dozen 16-bit instructions: what tests of the core use, so that no real architecture leaks into it.

Eight registers of 64 bits, r0 reads as zero. Offsets of branches count from the branch. Memory of zeros halts.
"""

from dataclasses import replace

from vmjit.guest import Guest, SyscallAbi
from vmjit.ir.layout import Layout, RegisterFile
from vmjit.isa.bits import Operandlike
from vmjit.isa.cpu import Cpu
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import InstructionSet
from vmjit.isa.operand import Operand

R = RegisterFile("r", 8, tuple(f"r{n}" for n in range(8)), zero=0)
LAYOUT = Layout((R,), ("status",))

toy = InstructionSet(
    "toy",
    {
        "rd": Operand(3, file=R, written=True),
        "ra": Operand(3, file=R),
        "rb": Operand(3, file=R),
        "imm": Operand(signed=True),
        "offset": Operand(signed=True, relative=True),
        "step": Operand(1, structural=(0, 1), names=("up", "down")),
    },
)


@toy.instruction("halt", "0000 000 000 000 000", ext="toy")
def halt(cpu: Cpu) -> None:
    cpu.exit("syscall")


@toy.instruction("li rd, imm", "0001 rd imm[8:0]", ext="toy")
def li(cpu: Cpu, rd: Operandlike, imm: Operandlike) -> None:
    cpu.r[rd] = imm


@toy.instruction("add rd, ra, rb", "0010 rd ra rb 000", ext="toy")
def add(cpu: Cpu, rd: Operandlike, ra: Operandlike, rb: Operandlike) -> None:
    cpu.r[rd] = cpu.r[ra] + cpu.r[rb]


@toy.instruction("ld rd, imm(ra)", "0011 rd ra imm[6:1]", ext="toy")
def ld(cpu: Cpu, rd: Operandlike, ra: Operandlike, imm: Operandlike) -> None:
    cpu.r[rd] = cpu.load(cpu.r[ra] + imm, 64)


@toy.instruction("st rb, imm(ra)", "0100 rb ra imm[6:1]", ext="toy")
def st(cpu: Cpu, rb: Operandlike, ra: Operandlike, imm: Operandlike) -> None:
    cpu.store(cpu.r[ra] + imm, cpu.r[rb])


@toy.instruction("bnez ra, offset", "0101 ra offset[9:1]", ext="toy")
def bnez(cpu: Cpu, ra: Operandlike, offset: Operandlike) -> None:
    cpu.branch_if(cpu.r[ra] != 0, cpu.pc + offset)


@toy.instruction("call rd, offset", "0110 rd offset[9:1]", ext="toy")
def call(cpu: Cpu, rd: Operandlike, offset: Operandlike) -> None:
    cpu.r[rd] = cpu.next_pc
    cpu.jump(cpu.pc + offset, "call")


@toy.instruction("jr ra", "0111 ra 000 000 000", ext="toy")
def jr(cpu: Cpu, ra: Operandlike) -> None:
    cpu.jump(cpu.r[ra], "indirect")


@toy.instruction("flush", "1000 000 000 000 000", ext="toy")
def flush(cpu: Cpu) -> None:
    cpu.exit("flush_code")


@toy.instruction("clock rd", "1001 rd 000 000 000", ext="toy")
def clock(cpu: Cpu, rd: Operandlike) -> None:
    cpu.r[rd] = cpu.clock()


@toy.instruction("brk", "1010 000 000 000 000", ext="toy")
def brk(cpu: Cpu) -> None:
    cpu.trap("breakpoint")


@toy.instruction("even ra", "1011 ra 000 000 000", ext="toy")
def even(cpu: Cpu, ra: Operandlike) -> None:
    cpu.trap_if((cpu.r[ra] & 1) != 0, "misaligned", cpu.r[ra])


@toy.instruction("step ra, step", "1100 ra step 00 000 000", ext="toy")
def step_status(cpu: Cpu, ra: Operandlike, step: int) -> None:
    status = cpu.read("status")
    cpu.write("status", status - cpu.r[ra] if step else status + cpu.r[ra])


@toy.instruction("third rd, ra", "1101 rd ra 000 000", ext="toy")
def third(cpu: Cpu, rd: Operandlike, ra: Operandlike) -> None:
    """Only the reference evaluator divides 128 bits."""
    cpu.r[rd] = cpu.r[ra].zext(128).udiv(3).trunc(64)


toy.abbreviation(
    "mov rd, ra", "0010 rd ra 000 000", of=add, ext="toy", within=add, rd=lambda rd: rd, ra=lambda ra: ra, rb=lambda: 0
)

decode_table = DecodeTable(toy, lengths=((0, 0, 2),))

guest = Guest(
    name="toy",
    elf_machine=0,
    layout=LAYOUT,
    alignment=2,
    stack_pointer="r7",
    thread_pointer="r6",
    syscall=SyscallAbi(number="r1", arguments=("r2", "r3"), result="r1", size=2),
    hwcap=0,
    trap_sets=(),
    registers=tuple(f"r{n}" for n in range(8)),
    description="toy",
    core=("toy",),
)

bare = replace(guest, name="bare toy", core=())
"""The same without a core: each instruction is missing until it is met."""


def assemble(text: str, pc: int) -> bytes:
    """The code of one instruction a line, from `pc` on; `;` begins a comment."""
    code = b""
    for line in text.splitlines():
        if line := line.partition(";")[0].strip():
            code += toy.assemble(line, pc + len(code))
    return code
