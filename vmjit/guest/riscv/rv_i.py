"""RV64I: integer computation, loads and stores, control transfer, fences, environment calls.

Unprivileged manual, chapters "RV32I" and "RV64I", in their order; PAUSE is Zihintpause.
"""

from collections.abc import Callable
from functools import partial

from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu
from vmjit.isa.instruction import Instruction

instruction = partial(rv64.instruction, ext="I")

Binary = Callable[[Bits, Bits], Bits]


def op_imm(mnemonic: str, funct3: str, compute: Binary) -> Instruction:
    """OP-IMM: rd = compute(rs1, imm)."""

    @instruction(f"{mnemonic} rd, rs1, imm", f"imm[11:0] rs1 {funct3} rd 0010011")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, imm: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1], cpu.bits(imm))

    return semantics


def shift_imm(mnemonic: str, funct6: str, funct3: str, compute: Binary, ext: str = "I") -> Instruction:
    """OP-IMM, shifts: rd = compute(rs1, shamt)."""

    @rv64.instruction(f"{mnemonic} rd, rs1, shamt", f"{funct6} shamt rs1 {funct3} rd 0010011", ext=ext)
    def semantics(cpu: Cpu, rd: Field, rs1: Field, shamt: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1], cpu.bits(shamt))

    return semantics


def shift_imm_32(mnemonic: str, funct7: str, funct3: str, compute: Binary, ext: str = "I") -> Instruction:
    """OP-IMM-32, shifts: rd = sext(compute(rs1[31:0], shamt))."""

    @rv64.instruction(f"{mnemonic} rd, rs1, shamtw", f"{funct7} shamtw rs1 {funct3} rd 0011011", ext=ext)
    def semantics(cpu: Cpu, rd: Field, rs1: Field, shamtw: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1].trunc(32), cpu.bits(shamtw).trunc(32)).sext(64)

    return semantics


def op(mnemonic: str, funct7: str, funct3: str, compute: Binary, ext: str = "I") -> Instruction:
    """OP: rd = compute(rs1, rs2)."""

    @rv64.instruction(f"{mnemonic} rd, rs1, rs2", f"{funct7} rs2 rs1 {funct3} rd 0110011", ext=ext)
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1], cpu.x[rs2])

    return semantics


def op_32(mnemonic: str, funct7: str, funct3: str, compute: Binary, ext: str = "I") -> Instruction:
    """OP-32: rd = sext(compute(rs1[31:0], rs2[31:0]))."""

    @rv64.instruction(f"{mnemonic} rd, rs1, rs2", f"{funct7} rs2 rs1 {funct3} rd 0111011", ext=ext)
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1].trunc(32), cpu.x[rs2].trunc(32)).sext(64)

    return semantics


# fmt: off
addi = op_imm("addi",  "000", lambda a, imm: a + imm)
op_imm(       "slti",  "010", lambda a, imm: a.slt(imm).zext(64))
op_imm(       "sltiu", "011", lambda a, imm: a.ult(imm).zext(64))
op_imm(       "xori",  "100", lambda a, imm: a ^ imm)
op_imm(       "ori",   "110", lambda a, imm: a | imm)
andi = op_imm("andi",  "111", lambda a, imm: a & imm)

slli = shift_imm("slli", "000000", "001", lambda a, shamt: a << shamt)
srli = shift_imm("srli", "000000", "101", Bits.lshr)
srai = shift_imm("srai", "010000", "101", Bits.ashr)

add = op( "add",  "0000000", "000", lambda a, b: a + b)
sub = op( "sub",  "0100000", "000", lambda a, b: a - b)
op(       "sll",  "0000000", "001", lambda a, b: a << b)
op(       "slt",  "0000000", "010", lambda a, b: a.slt(b).zext(64))
op(       "sltu", "0000000", "011", lambda a, b: a.ult(b).zext(64))
xor = op( "xor",  "0000000", "100", lambda a, b: a ^ b)
op(       "srl",  "0000000", "101", Bits.lshr)
op(       "sra",  "0100000", "101", Bits.ashr)
or_ = op( "or",   "0000000", "110", lambda a, b: a | b)
and_ = op("and",  "0000000", "111", lambda a, b: a & b)

shift_imm_32("slliw", "0000000", "001", lambda a, shamt: a << shamt)
shift_imm_32("srliw", "0000000", "101", Bits.lshr)
shift_imm_32("sraiw", "0100000", "101", Bits.ashr)

addw = op_32("addw", "0000000", "000", lambda a, b: a + b)
subw = op_32("subw", "0100000", "000", lambda a, b: a - b)
op_32(       "sllw", "0000000", "001", lambda a, b: a << b)
op_32(       "srlw", "0000000", "101", Bits.lshr)
op_32(       "sraw", "0100000", "101", Bits.ashr)
# fmt: on


@instruction("addiw rd, rs1, imm", "imm[11:0] rs1 000 rd 0011011")
def addiw(cpu: Cpu, rd: Field, rs1: Field, imm: Field) -> None:
    cpu.x[rd] = (cpu.x[rs1] + imm).trunc(32).sext(64)


@instruction("lui rd, upper", "upper[31:12] rd 0110111")
def lui(cpu: Cpu, rd: Field, upper: Field) -> None:
    cpu.x[rd] = upper


@instruction("auipc rd, upper", "upper[31:12] rd 0010111")
def auipc(cpu: Cpu, rd: Field, upper: Field) -> None:
    cpu.x[rd] = cpu.pc + upper


LINKS = (1, 5)  # ra and t0: the manual's hints for return-address prediction


def jump_kind(rd: Field) -> str:
    """How a direct jump that links to rd goes on; an interpreter handler serves calls too."""
    return "call" if not isinstance(rd, int) or rd in LINKS else "jump"


def indirect_kind(rd: Field, rs1: Field) -> str:
    """How an indirect jump through rs1 that links to rd goes on, where that is known."""
    return "return" if isinstance(rd, int) and rd not in LINKS and rs1 in LINKS else "indirect"


@instruction("jal rd, offset", "offset[20|10:1|11|19:12] rd 1101111")
def jal(cpu: Cpu, rd: Field, offset: Field) -> None:
    target = cpu.pc + offset
    cpu.x[rd] = cpu.next_pc
    cpu.jump(target, jump_kind(rd))


@instruction("jalr rd, imm(rs1)", "imm[11:0] rs1 000 rd 1100111")
def jalr(cpu: Cpu, rd: Field, rs1: Field, imm: Field) -> None:
    target = (cpu.x[rs1] + imm) & -2  # before rd is written: it may be rs1
    cpu.x[rd] = cpu.next_pc
    cpu.jump(target, indirect_kind(rd, rs1))


def branch(mnemonic: str, funct3: str, taken: Binary) -> Instruction:
    """BRANCH: if taken(rs1, rs2), pc += offset."""

    @instruction(f"{mnemonic} rs1, rs2, offset", f"offset[12|10:5] rs2 rs1 {funct3} offset[4:1|11] 1100011")
    def semantics(cpu: Cpu, rs1: Field, rs2: Field, offset: Field) -> None:
        cpu.branch_if(taken(cpu.x[rs1], cpu.x[rs2]), cpu.pc + offset)

    return semantics


# fmt: off
beq = branch("beq",  "000", lambda a, b: a == b)
bne = branch("bne",  "001", lambda a, b: a != b)
branch(      "blt",  "100", Bits.slt)
branch(      "bge",  "101", Bits.sge)
branch(      "bltu", "110", Bits.ult)
branch(      "bgeu", "111", Bits.uge)
# fmt: on


def load(mnemonic: str, funct3: str, width: int, extend: Callable[[Bits, int], Bits]) -> Instruction:
    """LOAD: rd = extend(memory[rs1 + imm])."""

    @instruction(f"{mnemonic} rd, imm(rs1)", f"imm[11:0] rs1 {funct3} rd 0000011")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, imm: Field) -> None:
        cpu.x[rd] = extend(cpu.load(cpu.x[rs1] + imm, width), 64)

    return semantics


def store(mnemonic: str, funct3: str, width: int) -> Instruction:
    """STORE: memory[rs1 + imm] = rs2."""

    @instruction(f"{mnemonic} rs2, imm(rs1)", f"imm[11:5] rs2 rs1 {funct3} imm[4:0] 0100011")
    def semantics(cpu: Cpu, rs1: Field, rs2: Field, imm: Field) -> None:
        cpu.store(cpu.x[rs1] + imm, cpu.x[rs2].trunc(width))

    return semantics


# fmt: off
load(     "lb",  "000",  8, Bits.sext)
load(     "lh",  "001", 16, Bits.sext)
lw = load("lw",  "010", 32, Bits.sext)
ld = load("ld",  "011", 64, Bits.sext)
load(     "lbu", "100",  8, Bits.zext)
load(     "lhu", "101", 16, Bits.zext)
load(     "lwu", "110", 32, Bits.zext)

store(     "sb", "000",  8)
store(     "sh", "001", 16)
sw = store("sw", "010", 32)
sd = store("sd", "011", 64)
# fmt: on


@instruction("fence pred, succ", "fm pred succ rs1 000 rd 0001111")
def fence(cpu: Cpu) -> None:
    cpu.fence("seq_cst")


@instruction("fence.tso", "1000 0011 0011 rs1 000 rd 0001111", within=fence)
def fence_tso(cpu: Cpu) -> None:
    cpu.fence("acq_rel")


@rv64.instruction("pause", "0000 0001 0000 00000 000 00000 0001111", ext="Zihintpause", within=fence)
def pause(cpu: Cpu) -> None:
    cpu.pause()


@instruction("ecall", "000000000000 00000 000 00000 1110011")
def ecall(cpu: Cpu) -> None:
    cpu.exit("syscall")


@instruction("ebreak", "000000000001 00000 000 00000 1110011")
def ebreak(cpu: Cpu) -> None:
    cpu.trap("breakpoint")
