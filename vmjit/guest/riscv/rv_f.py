"""RV64F and RV64D: floating point (unprivileged manual, chapters "F" and "D").

Each family serves .s and .d: the format is a parameter. Registers hold 64 bits; a single is boxed with ones above, and
a register that is not a boxed single reads as the canonical NaN everywhere but in FMV.X.W and FSW. Every arithmetic
result is made canonical; exceptions accrue where the IR says, so only those raised by hand are written here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vmjit.guest.riscv.operands import Field, rv64
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu
from vmjit.isa.instruction import Instruction

ROUNDING = {0: "rne", 1: "rtz", 2: "rdn", 3: "rup", 4: "rmm", 7: "dynamic"}  # by rm
INVALID = 4  # the bit of NV in fflags
BOX = 0xFFFFFFFF << 32


@dataclass(frozen=True)
class Format:
    """An IEEE 754 format: `bits` is the manual's fmt field, `memory` the funct3 of its loads and stores."""

    suffix: str
    width: int
    bits: str
    memory: str
    ext: str
    infinity: int

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def quiet(self) -> int:
        """The bit that makes a NaN quiet: the highest of the significand."""
        return (self.infinity & -self.infinity) >> 1

    @property
    def nan(self) -> int:
        """The canonical NaN."""
        return self.infinity | self.quiet

    def read(self, cpu: Cpu, number: Field) -> Bits:
        """The bits of a register as this format."""
        value: Bits = cpu.f[number]
        if self.width == 64:
            return value
        return cpu.select(value.lshr(32) == 0xFFFFFFFF, value.trunc(32), self.nan)

    def write(self, cpu: Cpu, number: Field, value: Bits) -> None:
        """Set a register to these bits, boxed."""
        cpu.f[number] = value if self.width == 64 else value.zext(64) | BOX

    def magnitude(self, value: Bits) -> Bits:
        return value & (self.sign - 1)

    def is_nan(self, value: Bits) -> Bits:
        return value.like(self.infinity).ult(self.magnitude(value))

    def is_signalling(self, value: Bits) -> Bits:
        return self.is_nan(value) & ((value & self.quiet) == 0)


SINGLE = Format("s", 32, "00", "010", "F", 0x7F800000)
DOUBLE = Format("d", 64, "01", "011", "D", 0x7FF00000_00000000)
FORMATS = (SINGLE, DOUBLE)

Compute = Callable[[Bits, Bits, str], Bits]  # (a, b, rounding)
OnBits = Callable[[Cpu, Format, Bits, Bits], Bits]
Holds = Callable[[Bits, Bits], Bits]
Convert = Callable[[Bits, int, str], Bits]  # (value, width, rounding)


def load(fmt: Format, mnemonic: str) -> Instruction:
    """LOAD-FP: fd = memory[rs1 + imm]."""

    @rv64.instruction(f"{mnemonic} fd, imm(rs1)", f"imm[11:0] rs1 {fmt.memory} fd 0000111", ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, rs1: Field, imm: Field) -> None:
        fmt.write(cpu, fd, cpu.load(cpu.x[rs1] + imm, fmt.width))

    return semantics


def store(fmt: Format, mnemonic: str) -> Instruction:
    """STORE-FP: memory[rs1 + imm] = low bits of fs2, boxed or not."""

    @rv64.instruction(f"{mnemonic} fs2, imm(rs1)", f"imm[11:5] fs2 rs1 {fmt.memory} imm[4:0] 0100111", ext=fmt.ext)
    def semantics(cpu: Cpu, fs2: Field, rs1: Field, imm: Field) -> None:
        cpu.store(cpu.x[rs1] + imm, cpu.f[fs2].trunc(fmt.width))

    return semantics


load(SINGLE, "flw")
store(SINGLE, "fsw")
fld = load(DOUBLE, "fld")
fsd = store(DOUBLE, "fsd")


def op_fp(mnemonic: str, funct5: str, compute: Compute) -> None:
    """OP-FP: fd = compute(fs1, fs2), in both formats."""
    for fmt in FORMATS:
        arithmetic(
            f"{mnemonic}.{fmt.suffix} fd, fs1, fs2{{rm}}", f"{funct5} {fmt.bits} fs2 fs1 rm fd 1010011", fmt, compute
        )


def arithmetic(syntax: str, row: str, fmt: Format, compute: Compute) -> None:
    """One operation on two operands in one format."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, fs1: Field, fs2: Field, rm: int) -> None:
        a, b = fmt.read(cpu, fs1).as_float(), fmt.read(cpu, fs2).as_float()
        fmt.write(cpu, fd, compute(a, b, ROUNDING[rm]).fcanon().as_int())


# fmt: off
op_fp("fadd", "00000", Bits.fadd)
op_fp("fsub", "00001", Bits.fsub)
op_fp("fmul", "00010", Bits.fmul)
op_fp("fdiv", "00011", Bits.fdiv)
# fmt: on


def square_root(fmt: Format, mnemonic: str) -> None:
    """OP-FP: fd = square root of fs1."""

    @rv64.instruction(f"{mnemonic} fd, fs1{{rm}}", f"01011 {fmt.bits} 00000 fs1 rm fd 1010011", ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, fs1: Field, rm: int) -> None:
        fmt.write(cpu, fd, fmt.read(cpu, fs1).as_float().fsqrt(ROUNDING[rm]).fcanon().as_int())


square_root(SINGLE, "fsqrt.s")
square_root(DOUBLE, "fsqrt.d")


def multiply_add(mnemonic: str, opcode: str, negate_product: bool, negate_addend: bool) -> None:
    """MADD and its kin: fd = ±(fs1 * fs2) ± fs3, in both formats."""
    for fmt in FORMATS:
        row = f"fs3 {fmt.bits} fs2 fs1 rm fd {opcode}"
        fused(f"{mnemonic}.{fmt.suffix} fd, fs1, fs2, fs3{{rm}}", row, fmt, negate_product, negate_addend)


def fused(syntax: str, row: str, fmt: Format, negate_product: bool, negate_addend: bool) -> None:
    """One fused operation; operands are negated, not the result, whose rounding would then go the other way."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, fs1: Field, fs2: Field, fs3: Field, rm: int) -> None:
        a = fmt.read(cpu, fs1) ^ (fmt.sign if negate_product else 0)
        b = fmt.read(cpu, fs2)
        c = fmt.read(cpu, fs3) ^ (fmt.sign if negate_addend else 0)
        result = a.as_float().fma(b.as_float(), c.as_float(), ROUNDING[rm])
        fmt.write(cpu, fd, result.fcanon().as_int())


# fmt: off
multiply_add("fmadd",  "1000011", negate_product=False, negate_addend=False)
multiply_add("fmsub",  "1000111", negate_product=False, negate_addend=True)
multiply_add("fnmsub", "1001011", negate_product=True,  negate_addend=False)
multiply_add("fnmadd", "1001111", negate_product=True,  negate_addend=True)
# fmt: on


def on_bits(mnemonic: str, funct5: str, funct3: str, compute: OnBits) -> None:
    """OP-FP without rounding: fd = compute(fs1, fs2) on bit patterns, in both formats."""
    for fmt in FORMATS:
        row = f"{funct5} {fmt.bits} fs2 fs1 {funct3} fd 1010011"
        on_bits_of(f"{mnemonic}.{fmt.suffix} fd, fs1, fs2", row, fmt, compute)


def on_bits_of(syntax: str, row: str, fmt: Format, compute: OnBits) -> None:
    """One operation on bit patterns in one format."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, fs1: Field, fs2: Field) -> None:
        fmt.write(cpu, fd, compute(cpu, fmt, fmt.read(cpu, fs1), fmt.read(cpu, fs2)))


def signed_as(cpu: Cpu, fmt: Format, a: Bits, sign: Bits) -> Bits:
    """The magnitude of a with the sign bit of another value."""
    return fmt.magnitude(a) | (sign & fmt.sign)


def in_order(fmt: Format, a: Bits) -> Bits:
    """A key that sorts, as a signed integer, as the numbers do, -0 before +0: comparing it raises no exception."""
    return a ^ a.ashr(fmt.width - 1).lshr(1)


def smaller(cpu: Cpu, fmt: Format, a: Bits, b: Bits) -> Bits:
    return number_of(cpu, fmt, a, b, cpu.select(in_order(fmt, a).slt(in_order(fmt, b)), a, b))


def larger(cpu: Cpu, fmt: Format, a: Bits, b: Bits) -> Bits:
    return number_of(cpu, fmt, a, b, cpu.select(in_order(fmt, a).slt(in_order(fmt, b)), b, a))


def number_of(cpu: Cpu, fmt: Format, a: Bits, b: Bits, chosen: Bits) -> Bits:
    """`chosen` if both are numbers, else the one that is, else the canonical NaN; signalling NaNs are invalid."""
    invalid = fmt.is_signalling(a) | fmt.is_signalling(b)
    cpu.write("fflags", cpu.read("fflags") | (invalid.zext(64) << INVALID))
    without_a = cpu.select(fmt.is_nan(b), fmt.nan, b)
    return cpu.select(fmt.is_nan(a), without_a, cpu.select(fmt.is_nan(b), a, chosen))


# fmt: off
on_bits("fsgnj",  "00100", "000", signed_as)
on_bits("fsgnjn", "00100", "001", lambda cpu, fmt, a, b: signed_as(cpu, fmt, a, ~b))
on_bits("fsgnjx", "00100", "010", lambda cpu, fmt, a, b: signed_as(cpu, fmt, a, a ^ b))
on_bits("fmin",   "00101", "000", smaller)
on_bits("fmax",   "00101", "001", larger)
# fmt: on


def compare(mnemonic: str, funct3: str, holds: Holds) -> None:
    """OP-FP: rd = holds(fs1, fs2), in both formats."""
    for fmt in FORMATS:
        compare_in(f"{mnemonic}.{fmt.suffix} rd, fs1, fs2", f"10100 {fmt.bits} fs2 fs1 {funct3} rd 1010011", fmt, holds)


def compare_in(syntax: str, row: str, fmt: Format, holds: Holds) -> None:
    """One comparison in one format."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, rd: Field, fs1: Field, fs2: Field) -> None:
        cpu.x[rd] = holds(fmt.read(cpu, fs1).as_float(), fmt.read(cpu, fs2).as_float()).zext(64)


# fmt: off
compare("feq", "010", Bits.feq)
compare("flt", "001", Bits.flt)
compare("fle", "000", Bits.fle)
# fmt: on


def classify(fmt: Format, mnemonic: str) -> None:
    """FCLASS: rd has one bit set, which says what fs1 is."""

    @rv64.instruction(f"{mnemonic} rd, fs1", f"11100 {fmt.bits} 00000 fs1 001 rd 1010011", ext=fmt.ext)
    def semantics(cpu: Cpu, rd: Field, fs1: Field) -> None:
        value = fmt.read(cpu, fs1)
        magnitude = fmt.magnitude(value)
        normal = cpu.select(magnitude.ult(fmt.infinity), cpu.const(6), 7)
        small = cpu.select(magnitude == 0, cpu.const(4), 5)
        positive = cpu.select(magnitude.ult(fmt.quiet << 1), small, normal)
        number = cpu.select(value.bit(fmt.width - 1), 7 - positive, positive)
        nan = cpu.select((value & fmt.quiet) == 0, cpu.const(8), 9)
        cpu.x[rd] = cpu.const(1) << cpu.select(fmt.is_nan(value), nan, number)


classify(SINGLE, "fclass.s")
classify(DOUBLE, "fclass.d")


def convert_to_integer(mnemonic: str, kind: str, width: int, convert: Convert) -> None:
    """OP-FP: rd = fs1 as an integer, sign-extended whether it is signed or not; from both formats."""
    for fmt in FORMATS:
        row = f"11000 {fmt.bits} {kind} fs1 rm rd 1010011"
        to_integer(f"{mnemonic}.{fmt.suffix} rd, fs1{{rm}}", row, fmt, width, convert)


def to_integer(syntax: str, row: str, fmt: Format, width: int, convert: Convert) -> None:
    """One conversion to an integer from one format."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, rd: Field, fs1: Field, rm: int) -> None:
        cpu.x[rd] = convert(fmt.read(cpu, fs1).as_float(), width, ROUNDING[rm]).sext(64)


# fmt: off
convert_to_integer("fcvt.w",  "00000", 32, Bits.fptosi)
convert_to_integer("fcvt.wu", "00001", 32, Bits.fptoui)
convert_to_integer("fcvt.l",  "00010", 64, Bits.fptosi)
convert_to_integer("fcvt.lu", "00011", 64, Bits.fptoui)
# fmt: on


def convert_to_float(syntax: str, row: str, fmt: Format, width: int, convert: Convert) -> None:
    """OP-FP: fd = rs1 as a float."""

    @rv64.instruction(syntax, row, ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, rs1: Field, rm: int) -> None:
        fmt.write(cpu, fd, convert(cpu.x[rs1].trunc(width), fmt.width, ROUNDING[rm]).as_int())


def convert_exactly(syntax: str, row: str, convert: Convert) -> None:
    """OP-FP: fd = rs1[31:0] as a double, which is exact, but illegal when it asks for a mode in force that is none."""

    @rv64.instruction(syntax, row, ext="D")
    def semantics(cpu: Cpu, fd: Field, rs1: Field, rme: int) -> None:
        DOUBLE.write(cpu, fd, convert(cpu.x[rs1].trunc(32), 64, ROUNDING[rme]).as_int())


# fmt: off
convert_to_float("fcvt.s.w fd, rs1{rm}",  "11010 00 00000 rs1 rm fd 1010011", SINGLE, 32, Bits.sitofp)
convert_to_float("fcvt.s.wu fd, rs1{rm}", "11010 00 00001 rs1 rm fd 1010011", SINGLE, 32, Bits.uitofp)
convert_to_float("fcvt.s.l fd, rs1{rm}",  "11010 00 00010 rs1 rm fd 1010011", SINGLE, 64, Bits.sitofp)
convert_to_float("fcvt.s.lu fd, rs1{rm}", "11010 00 00011 rs1 rm fd 1010011", SINGLE, 64, Bits.uitofp)
convert_to_float("fcvt.d.l fd, rs1{rm}",  "11010 01 00010 rs1 rm fd 1010011", DOUBLE, 64, Bits.sitofp)
convert_to_float("fcvt.d.lu fd, rs1{rm}", "11010 01 00011 rs1 rm fd 1010011", DOUBLE, 64, Bits.uitofp)
convert_exactly("fcvt.d.w fd, rs1{rme}",  "11010 01 00000 rs1 rme fd 1010011", Bits.sitofp)
convert_exactly("fcvt.d.wu fd, rs1{rme}", "11010 01 00001 rs1 rme fd 1010011", Bits.uitofp)
# fmt: on


@rv64.instruction("fcvt.s.d fd, fs1{rm}", "01000 00 00001 fs1 rm fd 1010011", ext="D")
def fcvt_s_d(cpu: Cpu, fd: Field, fs1: Field, rm: int) -> None:
    value = DOUBLE.read(cpu, fs1).as_float().fconvert(32, ROUNDING[rm])
    SINGLE.write(cpu, fd, value.fcanon().as_int())


@rv64.instruction("fcvt.d.s fd, fs1{rme}", "01000 01 00000 fs1 rme fd 1010011", ext="D")
def fcvt_d_s(cpu: Cpu, fd: Field, fs1: Field, rme: int) -> None:
    value = SINGLE.read(cpu, fs1).as_float().fconvert(64, ROUNDING[rme])
    DOUBLE.write(cpu, fd, value.fcanon().as_int())


def move_to_integer(fmt: Format, mnemonic: str) -> None:
    """FMV.X: rd = the low bits of fs1, sign-extended, boxed or not."""

    @rv64.instruction(f"{mnemonic} rd, fs1", f"11100 {fmt.bits} 00000 fs1 000 rd 1010011", ext=fmt.ext)
    def semantics(cpu: Cpu, rd: Field, fs1: Field) -> None:
        cpu.x[rd] = cpu.f[fs1].trunc(fmt.width).sext(64)


def move_to_float(fmt: Format, mnemonic: str) -> None:
    """FMV to a float register: fd = the low bits of rs1."""

    @rv64.instruction(f"{mnemonic} fd, rs1", f"11110 {fmt.bits} 00000 rs1 000 fd 1010011", ext=fmt.ext)
    def semantics(cpu: Cpu, fd: Field, rs1: Field) -> None:
        fmt.write(cpu, fd, cpu.x[rs1].trunc(fmt.width))


move_to_integer(SINGLE, "fmv.x.w")
move_to_integer(DOUBLE, "fmv.x.d")
move_to_float(SINGLE, "fmv.w.x")
move_to_float(DOUBLE, "fmv.d.x")
