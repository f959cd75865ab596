"""Zbb: basic bit manipulation (unprivileged manual, chapter "B", extension "Zbb")."""

from collections.abc import Callable
from functools import partial

from vmjit.guest.riscv import rv_i
from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu

op = partial(rv_i.op, ext="Zbb")
op_32 = partial(rv_i.op_32, ext="Zbb")
shift_imm = partial(rv_i.shift_imm, ext="Zbb")
shift_imm_32 = partial(rv_i.shift_imm_32, ext="Zbb")
instruction = partial(rv64.instruction, ext="Zbb")

BYTES = 0x01010101_01010101  # the lowest bit of each byte


def unary(mnemonic: str, row: str, compute: Callable[[Bits], Bits]) -> None:
    """rd = compute(rs1)."""

    @instruction(f"{mnemonic} rd, rs1", row)
    def semantics(cpu: Cpu, rd: Field, rs1: Field) -> None:
        cpu.x[rd] = compute(cpu.x[rs1])


def choose(mnemonic: str, funct3: str, first: rv_i.Binary) -> None:
    """OP: rd = rs1 if first(rs1, rs2), else rs2."""

    @instruction(f"{mnemonic} rd, rs1, rs2", f"0000101 rs2 rs1 {funct3} rd 0110011")
    def semantics(cpu: Cpu, rd: Field, rs1: Field, rs2: Field) -> None:
        a, b = cpu.x[rs1], cpu.x[rs2]
        cpu.x[rd] = cpu.select(first(a, b), a, b)


def or_combine(a: Bits) -> Bits:
    """Each byte becomes all ones unless it is zero."""
    low = 0x7F * BYTES
    high = (((a & low) + low) | a) & ~low  # the highest bit of each byte that is not zero
    return (high << 1) - high.lshr(7)  # modulo 2**64: each such bit b7 gives b8 - b0


# fmt: off
op("andn", "0100000", "111", lambda a, b: a & ~b)
op("orn",  "0100000", "110", lambda a, b: a | ~b)
op("xnor", "0100000", "100", lambda a, b: ~(a ^ b))
op("rol",  "0110000", "001", Bits.rotl)
op("ror",  "0110000", "101", Bits.rotr)

op_32("rolw", "0110000", "001", Bits.rotl)
op_32("rorw", "0110000", "101", Bits.rotr)

choose("min",  "100", Bits.slt)
choose("minu", "101", Bits.ult)
choose("max",  "110", Bits.sge)
choose("maxu", "111", Bits.uge)

shift_imm(   "rori",  "011000",  "101", Bits.rotr)
shift_imm_32("roriw", "0110000", "101", Bits.rotr)

unary("clz",    "011000000000 rs1 001 rd 0010011", Bits.clz)
unary("ctz",    "011000000001 rs1 001 rd 0010011", Bits.ctz)
unary("cpop",   "011000000010 rs1 001 rd 0010011", Bits.ctpop)
unary("clzw",   "011000000000 rs1 001 rd 0011011", lambda a: a.trunc(32).clz().zext(64))
unary("ctzw",   "011000000001 rs1 001 rd 0011011", lambda a: a.trunc(32).ctz().zext(64))
unary("cpopw",  "011000000010 rs1 001 rd 0011011", lambda a: a.trunc(32).ctpop().zext(64))
unary("sext.b", "011000000100 rs1 001 rd 0010011", lambda a: a.trunc(8).sext(64))
unary("sext.h", "011000000101 rs1 001 rd 0010011", lambda a: a.trunc(16).sext(64))
unary("zext.h", "000010000000 rs1 100 rd 0111011", lambda a: a & 0xFFFF)
unary("rev8",   "011010111000 rs1 101 rd 0010011", Bits.bswap)
unary("orc.b",  "001010000111 rs1 101 rd 0010011", or_combine)
# fmt: on
