"""What each F and D instruction gives, by exact rational arithmetic: an oracle that shares nothing with vmjit.

Operands and results are whole 64-bit registers, `execute(name, rm, registers)` gives (result, exceptions). A finite
number is a fraction numerator / denominator; an operation is carried out on fractions, and the result is rounded once,
by `rounded`, from the definitions: IEEE 754-2019 (4.3 and 7) and the unprivileged manual, chapters "F" and "D".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import isqrt

RNE, RTZ, RDN, RUP, RMM = MODES = range(5)
"""Rounding modes, as in frm."""

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
"""Exceptions, as in fflags."""

Registers = tuple[int, ...]
Outcome = tuple[int, int]  # result, exceptions
Exact = tuple[int, int]  # numerator, which has the sign, and denominator
Execute = Callable[[int, Registers], Outcome]

ONES = (1 << 32) - 1


@dataclass(frozen=True)
class Format:
    """An interchange format: `precision` counts the hidden bit, normal numbers are from 2**least to below 2**end."""

    width: int
    precision: int
    least: int
    end: int

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def hidden(self) -> int:
        """The weight of the hidden bit among the bits of a pattern."""
        return 1 << (self.precision - 1)

    @property
    def infinity(self) -> int:
        return self.sign - self.hidden

    @property
    def nan(self) -> int:
        """The canonical one."""
        return self.infinity + self.hidden // 2

    @property
    def last(self) -> int:
        """The exponent of the last place of subnormals."""
        return self.least - self.precision + 1

    def unboxed(self, register: int) -> int:
        """The pattern in a register; what is not boxed is the canonical NaN."""
        if self.width == 64:
            return register
        return register & ONES if register >> 32 == ONES else self.nan

    def boxed(self, bits: int) -> int:
        return bits if self.width == 64 else ONES << 32 | bits


SINGLE = Format(32, 24, -126, 128)
DOUBLE = Format(64, 53, -1022, 1024)
FORMATS = {"s": SINGLE, "d": DOUBLE}


# Numbers.


@dataclass(frozen=True)
class Number:
    """`kind` is finite, infinite, quiet or signalling; `value` is that of a finite one."""

    kind: str
    negative: bool
    value: Exact = (0, 1)

    @property
    def is_nan(self) -> bool:
        return self.kind in ("quiet", "signalling")

    @property
    def is_zero(self) -> bool:
        return self.kind == "finite" and self.value[0] == 0

    def negated(self) -> "Number":
        return Number(self.kind, not self.negative, (-self.value[0], self.value[1]))


@lru_cache(1 << 16)
def number(fmt: Format, bits: int) -> Number:
    negative, magnitude = bool(bits & fmt.sign), bits & ~fmt.sign
    if magnitude >= fmt.infinity:
        fraction = magnitude - fmt.infinity
        kind = "infinite" if fraction == 0 else "quiet" if fraction >= fmt.hidden // 2 else "signalling"
        return Number(kind, negative)
    field, fraction = divmod(magnitude, fmt.hidden)
    count, place = (fraction + fmt.hidden, field - 1 + fmt.last) if field else (fraction, fmt.last)
    return Number("finite", negative, times_power((-count if negative else count, 1), place))


def times_power(value: Exact, exponent: int) -> Exact:
    """value * 2**exponent."""
    numerator, denominator = value
    return (numerator << exponent, denominator) if exponent > 0 else (numerator, denominator << -exponent)


def plus(a: Exact, b: Exact) -> Exact:
    return a[0] * b[1] + b[0] * a[1], a[1] * b[1]


def times(a: Exact, b: Exact) -> Exact:
    return a[0] * b[0], a[1] * b[1]


def less(a: Exact, b: Exact) -> bool:
    return a[0] * b[1] < b[0] * a[1]


# Rounding.


def whole(rm: int, value: Exact) -> tuple[int, bool]:
    """The magnitude of the integer that a value rounds to, and whether that is not the value."""
    numerator, denominator = value
    below, rest = divmod(abs(numerator), denominator)
    return below + (rest > 0 and goes_away(rm, numerator < 0, below, 2 * rest - denominator)), rest > 0


def goes_away(rm: int, negative: bool, below: int, past_half: int) -> bool:
    """Whether what is between `below` and the next rounds to that; `past_half` is negative if `below` is nearer."""
    if rm == RNE:
        return past_half > 0 or (past_half == 0 and below % 2 == 1)
    return past_half >= 0 if rm == RMM else rm == (RDN if negative else RUP)


def exponent_of(value: Exact) -> int:
    """The e for which 2**e <= |value| < 2**(e + 1)."""
    magnitude = abs(value[0]), value[1]
    exponent = magnitude[0].bit_length() - magnitude[1].bit_length()
    return exponent - less(times_power(magnitude, -exponent), (1, 1))


def rounded(fmt: Format, rm: int, value: Exact) -> Outcome:
    """The pattern of a value that is not zero, and its exceptions."""
    sign = fmt.sign if value[0] < 0 else 0
    exponent = exponent_of(value)
    place = max(exponent, fmt.least) - fmt.precision + 1
    count, inexact = whole(rm, times_power(value, -place))
    if exponent >= fmt.end or count >= 1 << (fmt.end - place):
        return sign | fmt.infinity - (not overflows_to_infinity(rm, sign != 0)), OF | NX
    if not inexact:
        return sign | pattern(fmt, count, place), 0
    # Tininess is told after rounding as if exponents had no limits.
    unbounded, _ = whole(rm, times_power(value, fmt.precision - 1 - exponent))
    is_tiny = exponent < fmt.least - 1 or (exponent < fmt.least and unbounded < 2 * fmt.hidden)
    return sign | pattern(fmt, count, place), UF | NX if is_tiny else NX


def overflows_to_infinity(rm: int, negative: bool) -> bool:
    """Or else to the largest number."""
    return rm in (RNE, RMM) or rm == (RDN if negative else RUP)


def pattern(fmt: Format, count: int, place: int) -> int:
    """That of count * 2**place, which the format has."""
    if count == 2 * fmt.hidden:
        count, place = fmt.hidden, place + 1
    if count < fmt.hidden:
        assert place == fmt.last
        return count
    return (place - fmt.last + 1) * fmt.hidden + count - fmt.hidden


# Operations on numbers; each gives a pattern.


def invalid(fmt: Format) -> Outcome:
    return fmt.nan, NV


def of_nans(fmt: Format, *operands: Number) -> Outcome:
    """What operands of which one is a NaN give."""
    return fmt.nan, NV if any(operand.kind == "signalling" for operand in operands) else 0


def infinite(fmt: Format, negative: bool) -> Outcome:
    return fmt.infinity | (fmt.sign if negative else 0), 0


def zero(fmt: Format, negative: bool) -> Outcome:
    return fmt.sign if negative else 0, 0


def add(fmt: Format, rm: int, a: Number, b: Number) -> Outcome:
    if a.is_nan or b.is_nan:
        return of_nans(fmt, a, b)
    if a.kind == "infinite" and b.kind == "infinite" and a.negative != b.negative:
        return invalid(fmt)
    if a.kind == "infinite" or b.kind == "infinite":
        return infinite(fmt, a.negative if a.kind == "infinite" else b.negative)
    value = plus(a.value, b.value)
    if value[0] == 0:
        return zero(fmt, a.negative if a.negative == b.negative else rm == RDN)
    return rounded(fmt, rm, value)


def subtract(fmt: Format, rm: int, a: Number, b: Number) -> Outcome:
    return add(fmt, rm, a, b.negated())


def multiply(fmt: Format, rm: int, a: Number, b: Number) -> Outcome:
    if a.is_nan or b.is_nan:
        return of_nans(fmt, a, b)
    negative = a.negative != b.negative
    if a.kind == "infinite" or b.kind == "infinite":
        return invalid(fmt) if a.is_zero or b.is_zero else infinite(fmt, negative)
    if a.is_zero or b.is_zero:
        return zero(fmt, negative)
    return rounded(fmt, rm, times(a.value, b.value))


def divide(fmt: Format, rm: int, a: Number, b: Number) -> Outcome:
    if a.is_nan or b.is_nan:
        return of_nans(fmt, a, b)
    negative = a.negative != b.negative
    if a.kind == b.kind == "infinite" or (a.is_zero and b.is_zero):
        return invalid(fmt)
    if a.kind == "infinite":
        return infinite(fmt, negative)
    if a.is_zero or b.kind == "infinite":
        return zero(fmt, negative)
    if b.is_zero:
        return infinite(fmt, negative)[0], DZ
    numerator, denominator = times(a.value, (b.value[1], b.value[0]))
    return rounded(fmt, rm, (numerator, denominator) if denominator > 0 else (-numerator, -denominator))


def multiply_add(fmt: Format, rm: int, a: Number, b: Number, c: Number) -> Outcome:
    """a * b + c; infinity times zero is invalid whatever c is."""
    if (a.kind == "infinite" and b.is_zero) or (a.is_zero and b.kind == "infinite"):
        return invalid(fmt)
    if a.is_nan or b.is_nan or c.is_nan:
        return of_nans(fmt, a, b, c)
    is_infinite = "infinite" in (a.kind, b.kind)
    product = Number("infinite" if is_infinite else "finite", a.negative != b.negative, times(a.value, b.value))
    return add(fmt, rm, product, c)


ROOT_PLACES = 700  # binary ones of a root: even that of the least subnormal, 2**-537, has far more than it needs


def square_root(fmt: Format, rm: int, a: Number) -> Outcome:
    if a.is_nan:
        return of_nans(fmt, a)
    if a.is_zero:
        return zero(fmt, a.negative)
    if a.negative:
        return invalid(fmt)
    if a.kind == "infinite":
        return infinite(fmt, False)
    square, rest = divmod(a.value[0] << 2 * ROOT_PLACES, a.value[1])
    assert rest == 0
    root = isqrt(square)
    # An irrational root lies between two of these places, and so does the number half-way, which rounds as it does.
    return rounded(fmt, rm, (2 * root + (root * root != square), 1 << (ROOT_PLACES + 1)))


def convert(target: Format, rm: int, a: Number) -> Outcome:
    if a.is_nan:
        return of_nans(target, a)
    if a.kind == "infinite":
        return infinite(target, a.negative)
    return zero(target, a.negative) if a.is_zero else rounded(target, rm, a.value)


# Families of instructions: from registers to a register.


def arithmetic(fmt: Format, compute: Callable[..., Outcome], rm: int, registers: Registers) -> Outcome:
    bits, exceptions = compute(fmt, rm, *(number(fmt, fmt.unboxed(register)) for register in registers))
    return fmt.boxed(bits), exceptions


def fused(fmt: Format, negate_product: bool, negate_addend: bool, rm: int, registers: Registers) -> Outcome:
    a, b, c = (number(fmt, fmt.unboxed(register)) for register in registers)
    product = a.negated() if negate_product else a
    bits, exceptions = multiply_add(fmt, rm, product, b, c.negated() if negate_addend else c)
    return fmt.boxed(bits), exceptions


def between_formats(source: Format, target: Format, rm: int, registers: Registers) -> Outcome:
    bits, exceptions = convert(target, rm, number(source, source.unboxed(registers[0])))
    return target.boxed(bits), exceptions


@dataclass(frozen=True)
class Integer:
    """An integer type, in a register."""

    width: int
    signed: bool

    @property
    def limits(self) -> tuple[int, int]:
        top = 1 << (self.width - self.signed)
        return (-top if self.signed else 0), top - 1

    def value(self, register: int) -> int:
        bits = register & ((1 << self.width) - 1)
        return bits - (1 << self.width) if self.signed and bits >> (self.width - 1) else bits

    def register(self, value: int) -> int:
        """Words are sign-extended, unsigned ones too."""
        return Integer(self.width, True).value(value) & ((1 << 64) - 1)


INTEGERS = {"w": Integer(32, True), "wu": Integer(32, False), "l": Integer(64, True), "lu": Integer(64, False)}


def to_integer(fmt: Format, integer: Integer, rm: int, registers: Registers) -> Outcome:
    a = number(fmt, fmt.unboxed(registers[0]))
    least, most = integer.limits
    if a.kind != "finite":
        return integer.register(least if a.kind == "infinite" and a.negative else most), NV
    magnitude, inexact = whole(rm, a.value)
    value = -magnitude if a.negative else magnitude
    if not least <= value <= most:
        return integer.register(least if a.negative else most), NV
    return integer.register(value), NX if inexact else 0


def from_integer(fmt: Format, integer: Integer, rm: int, registers: Registers) -> Outcome:
    value = integer.value(registers[0])
    bits, exceptions = rounded(fmt, rm, (value, 1)) if value else (0, 0)
    return fmt.boxed(bits), exceptions


def with_sign(fmt: Format, choose: Callable[[int, int], int], rm: int, registers: Registers) -> Outcome:
    a, b = (fmt.unboxed(register) for register in registers)
    sign = choose(a >> (fmt.width - 1), b >> (fmt.width - 1))
    return fmt.boxed(a % fmt.sign + sign * fmt.sign), 0


def extreme(fmt: Format, largest: bool, rm: int, registers: Registers) -> Outcome:
    """FMIN and FMAX: IEEE's minimumNumber and maximumNumber; -0 is less than +0."""
    patterns = [fmt.unboxed(register) for register in registers]
    _, exceptions = of_nans(fmt, *(number(fmt, bits) for bits in patterns))
    numbers = [bits for bits in patterns if not number(fmt, bits).is_nan]
    if not numbers:
        return fmt.boxed(fmt.nan), exceptions
    first, last = numbers[0], numbers[-1]
    return fmt.boxed(last if precedes(fmt, first, last) == largest else first), exceptions


def precedes(fmt: Format, first: int, last: int) -> bool:
    """Whether a number that is no NaN comes before another one."""
    a, b = number(fmt, first), number(fmt, last)
    if a.negative != b.negative:
        return a.negative
    if "infinite" in (a.kind, b.kind):
        return a.kind != b.kind and (a.kind == "infinite") == a.negative
    return less(a.value, b.value)


def compare(fmt: Format, name: str, rm: int, registers: Registers) -> Outcome:
    """FEQ is quiet, FLT and FLE are not."""
    a, b = (fmt.unboxed(register) for register in registers)
    x, y = number(fmt, a), number(fmt, b)
    if x.is_nan or y.is_nan:
        return 0, of_nans(fmt, x, y)[1] if name == "feq" else NV
    equal = a == b or (x.is_zero and y.is_zero)
    below = not equal and precedes(fmt, a, b)
    return int({"feq": equal, "flt": below, "fle": below or equal}[name]), 0


def classify(fmt: Format, rm: int, registers: Registers) -> Outcome:
    bits = fmt.unboxed(registers[0])
    a = number(fmt, bits)
    if a.is_nan:
        return 1 << (9 if a.kind == "quiet" else 8), 0
    if a.kind == "infinite":
        size = 3
    elif a.is_zero:
        size = 0
    else:
        size = 1 if exponent_of(a.value) < fmt.least else 2
    return 1 << (3 - size if a.negative else 4 + size), 0


def moved(compute: Callable[[Registers], int], rm: int, registers: Registers) -> Outcome:
    """Patterns as they are: moves, FLW, and FSW, which overwrites half of the memory that is its other operand."""
    return compute(registers), 0


def table() -> dict[str, Execute]:
    """Every instruction by name, for those that round with the mode in force."""
    found: dict[str, Execute] = {}
    for suffix, fmt in FORMATS.items():
        for name, compute in (("fadd", add), ("fsub", subtract), ("fmul", multiply), ("fdiv", divide)):
            found[f"{name}.{suffix}"] = partial(arithmetic, fmt, compute)
        found[f"fsqrt.{suffix}"] = partial(arithmetic, fmt, square_root)
        found[f"fmadd.{suffix}"] = partial(fused, fmt, False, False)
        found[f"fmsub.{suffix}"] = partial(fused, fmt, False, True)
        found[f"fnmsub.{suffix}"] = partial(fused, fmt, True, False)
        found[f"fnmadd.{suffix}"] = partial(fused, fmt, True, True)
        found[f"fsgnj.{suffix}"] = partial(with_sign, fmt, lambda a, b: b)
        found[f"fsgnjn.{suffix}"] = partial(with_sign, fmt, lambda a, b: 1 - b)
        found[f"fsgnjx.{suffix}"] = partial(with_sign, fmt, lambda a, b: (a + b) % 2)
        found[f"fmin.{suffix}"] = partial(extreme, fmt, False)
        found[f"fmax.{suffix}"] = partial(extreme, fmt, True)
        for name in ("feq", "flt", "fle"):
            found[f"{name}.{suffix}"] = partial(compare, fmt, name)
        found[f"fclass.{suffix}"] = partial(classify, fmt)
        for kind, integer in INTEGERS.items():
            found[f"fcvt.{kind}.{suffix}"] = partial(to_integer, fmt, integer)
            found[f"fcvt.{suffix}.{kind}"] = partial(from_integer, fmt, integer)
    found["fcvt.s.d"] = partial(between_formats, DOUBLE, SINGLE)
    found["fcvt.d.s"] = partial(between_formats, SINGLE, DOUBLE)
    found["fmv.x.w"] = partial(moved, lambda registers: INTEGERS["w"].register(registers[0]))
    found["fmv.w.x"] = partial(moved, lambda registers: ONES << 32 | registers[0] & ONES)
    found["flw"] = found["fmv.w.x"]
    found["fsw"] = partial(moved, lambda registers: registers[1] & ONES << 32 | registers[0] & ONES)
    found["fmv.x.d"] = found["fmv.d.x"] = partial(moved, lambda registers: registers[0])
    return found


TABLE = table()


def execute(name: str, rm: int, registers: Registers) -> Outcome:
    """The register that an instruction writes, and the exceptions that it raises."""
    return TABLE[name](rm, registers)
