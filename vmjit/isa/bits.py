"""Traced values: what the semantics of an instruction compute with.

Operators that do not care about sign are operators (`+ - * & | ^ ~ << ==  !=`); the rest are named as in LLVM and the
manual. Python ints take the type of the other operand. Widths never convert silently, and a traced value has no
Python truth: using one where only a known value will do is an error that says what to write instead.
"""

from typing import NoReturn, Union

from vmjit.ir.block import Value
from vmjit.ir.emit import Emitter
from vmjit.ir.types import WIDTH, floating, integer

Operandlike = Union["Bits", int]


class Bits:
    """A value of the IR while an instruction is traced."""

    __slots__ = ("emitter", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, emitter: Emitter, value: Value) -> None:
        self.emitter = emitter
        self.value = value

    @property
    def type(self) -> str:
        assert self.value.type is not None
        return self.value.type

    @property
    def width(self) -> int:
        """Width in bits."""
        return WIDTH[self.type]

    @property
    def constant(self) -> int | None:
        """The value when it is known while tracing, else None."""
        return self.value.attr if self.value.is_const else None  # type: ignore[return-value]

    def _other(self, other: Operandlike) -> Value:
        return other.value if isinstance(other, Bits) else self.emitter.const(self.type, other)

    def like(self, value: int) -> "Bits":
        """A constant of this value's type."""
        return Bits(self.emitter, self.emitter.const(self.type, value))

    def _same(self, op: str, other: Operandlike) -> "Bits":
        return Bits(self.emitter, self.emitter.emit(op, self.type, self.value, self._other(other)))

    def _truth(self, op: str, other: Operandlike) -> "Bits":
        return Bits(self.emitter, self.emitter.emit(op, "i1", self.value, self._other(other)))

    def _unary(self, op: str, type: str, attr: str | None = None) -> "Bits":
        return Bits(self.emitter, self.emitter.emit(op, type, self.value, attr=attr))

    def __add__(self, other: Operandlike) -> "Bits":
        return self._same("add", other)

    def __radd__(self, other: int) -> "Bits":
        return self._same("add", other)

    def __sub__(self, other: Operandlike) -> "Bits":
        return self._same("sub", other)

    def __rsub__(self, other: int) -> "Bits":
        return Bits(self.emitter, self._other(other))._same("sub", self)

    def __mul__(self, other: Operandlike) -> "Bits":
        return self._same("mul", other)

    def __and__(self, other: Operandlike) -> "Bits":
        return self._same("and", other)

    def __or__(self, other: Operandlike) -> "Bits":
        return self._same("or", other)

    def __xor__(self, other: Operandlike) -> "Bits":
        return self._same("xor", other)

    def __invert__(self) -> "Bits":
        return self._same("xor", -1)

    def __neg__(self) -> "Bits":
        return 0 - self

    def __lshift__(self, other: Operandlike) -> "Bits":
        return self._same("shl", other)

    def __eq__(self, other: object) -> "Bits":  # type: ignore[override]
        assert isinstance(other, Bits | int)
        return self._truth("eq", other)

    def __ne__(self, other: object) -> "Bits":  # type: ignore[override]
        assert isinstance(other, Bits | int)
        return self._truth("ne", other)

    def __bool__(self) -> NoReturn:
        raise TypeError("a guest value has no Python truth: use cpu.select(), cpu.branch_if() or cpu.exit_if()")

    def _unsigned_or_signed(self, other: object) -> NoReturn:
        raise TypeError("say the sign: slt, sge, ult, uge for < and >=, lshr or ashr for >>, udiv or sdiv for //")

    __lt__ = __le__ = __gt__ = __ge__ = __rshift__ = __floordiv__ = __mod__ = __truediv__ = _unsigned_or_signed

    def slt(self, other: Operandlike) -> "Bits":
        return self._truth("slt", other)

    def sge(self, other: Operandlike) -> "Bits":
        return self._truth("sge", other)

    def ult(self, other: Operandlike) -> "Bits":
        return self._truth("ult", other)

    def uge(self, other: Operandlike) -> "Bits":
        return self._truth("uge", other)

    def lshr(self, other: Operandlike) -> "Bits":
        return self._same("lshr", other)

    def ashr(self, other: Operandlike) -> "Bits":
        return self._same("ashr", other)

    def rotl(self, other: Operandlike) -> "Bits":
        return self._same("rotl", other)

    def rotr(self, other: Operandlike) -> "Bits":
        return self._same("rotr", other)

    def udiv(self, other: Operandlike) -> "Bits":
        return self._same("udiv", other)

    def sdiv(self, other: Operandlike) -> "Bits":
        return self._same("sdiv", other)

    def urem(self, other: Operandlike) -> "Bits":
        return self._same("urem", other)

    def srem(self, other: Operandlike) -> "Bits":
        return self._same("srem", other)

    def clz(self) -> "Bits":
        return self._unary("clz", self.type)

    def ctz(self) -> "Bits":
        return self._unary("ctz", self.type)

    def ctpop(self) -> "Bits":
        return self._unary("ctpop", self.type)

    def bswap(self) -> "Bits":
        return self._unary("bswap", self.type)

    def _converted(self, op: str, type: str) -> "Bits":
        return Bits(self.emitter, self.emitter.convert(op, type, self.value))

    def sext(self, width: int) -> "Bits":
        return self._converted("sext", integer(width))

    def zext(self, width: int) -> "Bits":
        return self._converted("zext", integer(width))

    def trunc(self, width: int) -> "Bits":
        return self._converted("trunc", integer(width))

    def as_float(self) -> "Bits":
        """The same bits as a float of this width."""
        return self._converted("bitcast", floating(self.width))

    def as_int(self) -> "Bits":
        """The same bits as an integer of this width."""
        return self._converted("bitcast", integer(self.width))

    def bit(self, index: int) -> "Bits":
        """Bit `index` as an i1."""
        return self.lshr(index).trunc(1)

    # Floating point; operands and results are floats, rounding is a name of ops.ROUNDINGS.
    def _float(self, op: str, rounding: str, *others: "Bits") -> "Bits":
        args = (self.value, *(other.value for other in others))
        return Bits(self.emitter, self.emitter.emit(op, self.type, *args, attr=rounding))

    def fadd(self, other: "Bits", rounding: str) -> "Bits":
        return self._float("fadd", rounding, other)

    def fsub(self, other: "Bits", rounding: str) -> "Bits":
        return self._float("fsub", rounding, other)

    def fmul(self, other: "Bits", rounding: str) -> "Bits":
        return self._float("fmul", rounding, other)

    def fdiv(self, other: "Bits", rounding: str) -> "Bits":
        return self._float("fdiv", rounding, other)

    def fsqrt(self, rounding: str) -> "Bits":
        return self._float("fsqrt", rounding)

    def fma(self, factor: "Bits", addend: "Bits", rounding: str) -> "Bits":
        return self._float("fma", rounding, factor, addend)

    def fcanon(self) -> "Bits":
        return self._unary("fcanon", self.type)

    def feq(self, other: "Bits") -> "Bits":
        return self._truth("feq", other)

    def flt(self, other: "Bits") -> "Bits":
        return self._truth("flt", other)

    def fle(self, other: "Bits") -> "Bits":
        return self._truth("fle", other)

    def fconvert(self, width: int, rounding: str) -> "Bits":
        return self._unary("fconvert", floating(width), rounding)

    def sitofp(self, width: int, rounding: str) -> "Bits":
        return self._unary("sitofp", floating(width), rounding)

    def uitofp(self, width: int, rounding: str) -> "Bits":
        return self._unary("uitofp", floating(width), rounding)

    def fptosi(self, width: int, rounding: str) -> "Bits":
        return self._unary("fptosi", integer(width), rounding)

    def fptoui(self, width: int, rounding: str) -> "Bits":
        return self._unary("fptoui", integer(width), rounding)
