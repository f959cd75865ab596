"""RV64C with the loads and stores of D: 16-bit forms that abbreviate other instructions (manual, chapter "C").

Registers of three bits are x8 to x15 (`rdc`, `rs1c`, `rs2c`) and f8 to f15 (`fdc`, `fs2c`). Encodings marked HINT do
nothing because the instruction they stand for writes x0 or changes nothing. Reserved encodings are rows of their own.
"""

from functools import partial

from vmjit.guest.riscv.operands import Field, rv64
from vmjit.guest.riscv.rv_f import fld, fsd
from vmjit.guest.riscv.rv_i import (
    add,
    addi,
    addiw,
    addw,
    and_,
    andi,
    beq,
    bne,
    ebreak,
    jal,
    jalr,
    ld,
    lui,
    lw,
    or_,
    sd,
    slli,
    srai,
    srli,
    sub,
    subw,
    sw,
    xor,
)
from vmjit.isa.instruction import Instruction

abbreviation = partial(rv64.abbreviation, ext="C")
reserved = partial(rv64.reserved, ext="C")

ZERO, RA, SP = 0, 1, 2


def number(three_bits: Field) -> Field:
    """The register that a three-bit field names."""
    return three_bits + 8


# Quadrant 0

c_addi4spn = abbreviation(
    "c.addi4spn rdc, sp, uimm",
    "000 uimm[5:4|9:6|2|3] rdc 00",
    of=addi,
    rd=lambda rdc: number(rdc),
    rs1=lambda: SP,
    imm=lambda uimm: uimm,
)
reserved("000 00000000 rdc 00", within=c_addi4spn)  # among them 0, which is illegal for good


def load(mnemonic: str, funct3: str, immediate: str, of: Instruction) -> None:
    """CL: rd' = memory[rs1' + uimm]."""
    abbreviation(
        f"{mnemonic} rdc, uimm(rs1c)",
        f"{funct3} uimm[5:3] rs1c {immediate} rdc 00",
        of=of,
        rd=lambda rdc: number(rdc),
        rs1=lambda rs1c: number(rs1c),
        imm=lambda uimm: uimm,
    )


def store(mnemonic: str, funct3: str, immediate: str, of: Instruction) -> None:
    """CS: memory[rs1' + uimm] = rs2'."""
    abbreviation(
        f"{mnemonic} rs2c, uimm(rs1c)",
        f"{funct3} uimm[5:3] rs1c {immediate} rs2c 00",
        of=of,
        rs2=lambda rs2c: number(rs2c),
        rs1=lambda rs1c: number(rs1c),
        imm=lambda uimm: uimm,
    )


load("c.lw", "010", "uimm[2|6]", lw)
load("c.ld", "011", "uimm[7:6]", ld)
store("c.sw", "110", "uimm[2|6]", sw)
store("c.sd", "111", "uimm[7:6]", sd)
abbreviation(
    "c.fld fdc, uimm(rs1c)",
    "001 uimm[5:3] rs1c uimm[7:6] fdc 00",
    of=fld,
    fd=lambda fdc: number(fdc),
    rs1=lambda rs1c: number(rs1c),
    imm=lambda uimm: uimm,
)
abbreviation(
    "c.fsd fs2c, uimm(rs1c)",
    "101 uimm[5:3] rs1c uimm[7:6] fs2c 00",
    of=fsd,
    fs2=lambda fs2c: number(fs2c),
    rs1=lambda rs1c: number(rs1c),
    imm=lambda uimm: uimm,
)

# Quadrant 1

c_addi = abbreviation(
    "c.addi rd, imm", "000 imm[5] rd imm[4:0] 01", of=addi, rd=lambda rd: rd, rs1=lambda rd: rd, imm=lambda imm: imm
)
abbreviation("c.nop", "000 0 00000 00000 01", of=addi, within=c_addi, rd=lambda: ZERO, rs1=lambda: ZERO, imm=lambda: 0)
c_addiw = abbreviation(
    "c.addiw rd, imm", "001 imm[5] rd imm[4:0] 01", of=addiw, rd=lambda rd: rd, rs1=lambda rd: rd, imm=lambda imm: imm
)
reserved("001 imm[5] 00000 imm[4:0] 01", within=c_addiw)
abbreviation(
    "c.li rd, imm", "010 imm[5] rd imm[4:0] 01", of=addi, rd=lambda rd: rd, rs1=lambda: ZERO, imm=lambda imm: imm
)
c_lui = abbreviation(
    "c.lui rd, upper", "011 upper[17] rd upper[16:12] 01", of=lui, rd=lambda rd: rd, upper=lambda upper: upper
)
c_addi16sp = abbreviation(
    "c.addi16sp sp, imm",
    "011 imm[9] 00010 imm[4|6|8:7|5] 01",
    of=addi,
    within=c_lui,
    rd=lambda: SP,
    rs1=lambda: SP,
    imm=lambda imm: imm,
)
reserved("011 0 rd 00000 01", within=c_addi16sp)


def shift(mnemonic: str, funct2: str, of: Instruction) -> None:
    """CB, shifts: rd' = rd' shifted by shamt."""
    abbreviation(
        f"{mnemonic} rdc, shamt",
        f"100 shamt[5] {funct2} rdc shamt[4:0] 01",
        of=of,
        rd=lambda rdc: number(rdc),
        rs1=lambda rdc: number(rdc),
        shamt=lambda shamt: shamt,
    )


shift("c.srli", "00", srli)
shift("c.srai", "01", srai)
abbreviation(
    "c.andi rdc, imm",
    "100 imm[5] 10 rdc imm[4:0] 01",
    of=andi,
    rd=lambda rdc: number(rdc),
    rs1=lambda rdc: number(rdc),
    imm=lambda imm: imm,
)


def arithmetic(mnemonic: str, funct6: str, funct2: str, of: Instruction) -> None:
    """CA: rd' = rd' operation rs2'."""
    abbreviation(
        f"{mnemonic} rdc, rs2c",
        f"{funct6} rdc {funct2} rs2c 01",
        of=of,
        rd=lambda rdc: number(rdc),
        rs1=lambda rdc: number(rdc),
        rs2=lambda rs2c: number(rs2c),
    )


# fmt: off
arithmetic("c.sub",  "100011", "00", sub)
arithmetic("c.xor",  "100011", "01", xor)
arithmetic("c.or",   "100011", "10", or_)
arithmetic("c.and",  "100011", "11", and_)
arithmetic("c.subw", "100111", "00", subw)
arithmetic("c.addw", "100111", "01", addw)
# fmt: on

abbreviation(
    "c.j offset", "101 offset[11|4|9:8|10|6|7|3:1|5] 01", of=jal, rd=lambda: ZERO, offset=lambda offset: offset
)


def branch(mnemonic: str, funct3: str, of: Instruction) -> None:
    """CB: branch on rs1' compared with zero."""
    abbreviation(
        f"{mnemonic} rs1c, offset",
        f"{funct3} offset[8|4:3] rs1c offset[7:6|2:1|5] 01",
        of=of,
        rs1=lambda rs1c: number(rs1c),
        rs2=lambda: ZERO,
        offset=lambda offset: offset,
    )


branch("c.beqz", "110", beq)
branch("c.bnez", "111", bne)

# Quadrant 2

abbreviation(
    "c.slli rd, shamt",
    "000 shamt[5] rd shamt[4:0] 10",
    of=slli,
    rd=lambda rd: rd,
    rs1=lambda rd: rd,
    shamt=lambda shamt: shamt,
)


def load_sp(mnemonic: str, funct3: str, immediate: str, of: Instruction) -> None:
    """CI, loads: rd = memory[sp + uimm]; rd = zero is reserved."""
    made = abbreviation(
        f"{mnemonic} rd, uimm(sp)",
        f"{funct3} uimm[5] rd {immediate} 10",
        of=of,
        rd=lambda rd: rd,
        rs1=lambda: SP,
        imm=lambda uimm: uimm,
    )
    reserved(f"{funct3} uimm[5] 00000 {immediate} 10", within=made)


def store_sp(mnemonic: str, funct3: str, immediate: str, of: Instruction) -> None:
    """CSS: memory[sp + uimm] = rs2."""
    abbreviation(
        f"{mnemonic} rs2, uimm(sp)",
        f"{funct3} {immediate} rs2 10",
        of=of,
        rs2=lambda rs2: rs2,
        rs1=lambda: SP,
        imm=lambda uimm: uimm,
    )


load_sp("c.lwsp", "010", "uimm[4:2|7:6]", lw)
load_sp("c.ldsp", "011", "uimm[4:3|8:6]", ld)
store_sp("c.swsp", "110", "uimm[5:2|7:6]", sw)
store_sp("c.sdsp", "111", "uimm[5:3|8:6]", sd)
abbreviation(
    "c.fldsp fd, uimm(sp)",
    "001 uimm[5] fd uimm[4:3|8:6] 10",
    of=fld,
    fd=lambda fd: fd,
    rs1=lambda: SP,
    imm=lambda uimm: uimm,
)
abbreviation(
    "c.fsdsp fs2, uimm(sp)",
    "101 uimm[5:3|8:6] fs2 10",
    of=fsd,
    fs2=lambda fs2: fs2,
    rs1=lambda: SP,
    imm=lambda uimm: uimm,
)

c_mv = abbreviation("c.mv rd, rs2", "100 0 rd rs2 10", of=add, rd=lambda rd: rd, rs1=lambda: ZERO, rs2=lambda rs2: rs2)
c_jr = abbreviation(
    "c.jr rs1", "100 0 rs1 00000 10", of=jalr, within=c_mv, rd=lambda: ZERO, rs1=lambda rs1: rs1, imm=lambda: 0
)
reserved("100 0 00000 00000 10", within=c_jr)
c_add = abbreviation(
    "c.add rd, rs2", "100 1 rd rs2 10", of=add, rd=lambda rd: rd, rs1=lambda rd: rd, rs2=lambda rs2: rs2
)
c_jalr = abbreviation(
    "c.jalr rs1", "100 1 rs1 00000 10", of=jalr, within=c_add, rd=lambda: RA, rs1=lambda rs1: rs1, imm=lambda: 0
)
abbreviation("c.ebreak", "100 1 00000 00000 10", of=ebreak, within=c_jalr)
