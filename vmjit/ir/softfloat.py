"""IEEE 754-2019 binary32 and binary64 arithmetic in integers: what the IR's floating-point operations mean.

Values are raw bit patterns; every operation returns (result, flags) and is exact in both. A finite value is
significand * 2**exponent in unbounded integers, so an operation is computed exactly (or with its lowest bit set when
anything was cut off below it) and rounded once, in `_round`. NaN results are the canonical quiet NaN, tininess is
detected after rounding, and conversions saturate as in the RISC-V unprivileged manual, chapters "F" and "D".
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

RNE, RTZ, RDN, RUP, RMM = range(5)
"""Rounding modes, numbered as RISC-V's `frm`."""

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
"""Exception flags, placed as in RISC-V's `fflags`."""


@dataclass(frozen=True, slots=True)
class _Format:
    """The constants of one interchange format; `precision` counts the hidden bit."""

    precision: int
    sign: int
    magnitude: int
    infinity: int
    hidden: int
    nan: int
    least: int  # exponent of the last place of subnormals, the smallest there is


def _format(width: int, precision: int) -> _Format:
    sign = 1 << (width - 1)
    hidden = 1 << (precision - 1)
    infinity = sign - hidden
    bias = (1 << (width - precision - 1)) - 1
    return _Format(precision, sign, sign - 1, infinity, hidden, infinity | hidden >> 1, 2 - bias - precision)


_FORMATS = {32: _format(32, 24), 64: _format(64, 53)}

# What is added to a magnitude before its low bits are cut off, from (negative, lowest kept bit, half a unit).
_ADDEND: tuple[Callable[[bool, int, int], int], ...] = (
    lambda negative, odd, half: half - 1 + odd,
    lambda negative, odd, half: 0,
    lambda negative, odd, half: 2 * half - 1 if negative else 0,
    lambda negative, odd, half: 0 if negative else 2 * half - 1,
    lambda negative, odd, half: half,
)


def _split(form: _Format, magnitude: int) -> tuple[int, int]:
    """(significand, exponent) of a finite value."""
    field = magnitude >> (form.precision - 1)
    if field:
        return magnitude & (form.hidden - 1) | form.hidden, field - 1 + form.least
    return magnitude, form.least


def _shift_right(rm: int, negative: bool, magnitude: int, shift: int) -> tuple[int, bool]:
    """(magnitude / 2**shift rounded to an integer, whether that was inexact), for shift > 0."""
    addend = _ADDEND[rm](negative, magnitude >> shift & 1, 1 << (shift - 1))
    return (magnitude + addend) >> shift, magnitude & ((1 << shift) - 1) != 0


def _round(form: _Format, rm: int, negative: bool, significand: int, exponent: int) -> tuple[int, int]:
    """Round significand * 2**exponent, which is not zero, to the format.

    A significand whose lowest bit stands for cut-off bits must be at least two bits longer than the precision.
    """
    sign = form.sign if negative else 0
    normal = exponent + significand.bit_length() - form.precision
    last = normal if normal > form.least else form.least
    shift = last - exponent
    if shift > 0:
        kept, inexact = _shift_right(rm, negative, significand, shift)
    else:
        kept, inexact = significand << -shift, False
    # The hidden bit adds one to the exponent field, and so does a carry out of the rounding.
    bits = ((last - form.least) << (form.precision - 1)) + kept
    if bits >= form.infinity:
        # A mode that moves a magnitude of 1.5 to 2 goes to infinity; one that cuts it stays at the largest number.
        away = _ADDEND[rm](negative, 1, 1) != 0
        return sign | (form.infinity if away else form.infinity - 1), OF | NX
    if not inexact:
        return sign | bits, 0
    if normal < form.least and _is_tiny(form, rm, negative, significand, shift, bits):
        return sign | bits, UF | NX
    return sign | bits, NX


def _is_tiny(form: _Format, rm: int, negative: bool, significand: int, shift: int, bits: int) -> bool:
    """Whether a magnitude below the normal numbers, rounded to `bits`, stays below them at full precision too."""
    if bits < form.hidden:
        return True
    # It reached the least normal number, so it lies less than a unit below that: full precision has one more bit.
    return shift == 1 or _shift_right(rm, negative, significand, shift - 1)[0] >> form.precision == 0


def _sum(form: _Format, rm: int, x: tuple[bool, int, int], y: tuple[bool, int, int]) -> tuple[int, int]:
    """The rounded sum of two finite (negative, significand, exponent)."""
    x_negative, x_significand, x_exponent = x
    y_negative, y_significand, y_exponent = y
    exponent = min(x_exponent, y_exponent)
    x_significand <<= x_exponent - exponent
    y_significand <<= y_exponent - exponent
    total = (-x_significand if x_negative else x_significand) + (-y_significand if y_negative else y_significand)
    if total:
        return _round(form, rm, total < 0, abs(total), exponent)
    negative = x_negative if x_negative == y_negative else rm == RDN
    return form.sign if negative else 0, 0


def _nan(form: _Format, *operands: int) -> tuple[int, int]:
    """The result of an operation of which at least one operand is a NaN."""
    quiet = form.hidden >> 1
    for operand in operands:
        if operand & form.magnitude > form.infinity and not operand & quiet:
            return form.nan, NV
    return form.nan, 0


def is_nan(width: int, a: int) -> bool:
    """Whether a is a NaN of either kind."""
    form = _FORMATS[width]
    return a & form.magnitude > form.infinity


def is_signalling(width: int, a: int) -> bool:
    """Whether a is a signalling NaN."""
    form = _FORMATS[width]
    return a & form.magnitude > form.infinity and not a & form.hidden >> 1


def add(width: int, rm: int, a: int, b: int) -> tuple[int, int]:
    """a + b."""
    form = _FORMATS[width]
    x, y = a & form.magnitude, b & form.magnitude
    infinity = form.infinity
    if x < infinity and y < infinity:
        return _sum(form, rm, (a != x, *_split(form, x)), (b != y, *_split(form, y)))
    if x > infinity or y > infinity:
        return _nan(form, a, b)
    if x == y and a != b:
        return form.nan, NV
    return (a if x == infinity else b), 0


def sub(width: int, rm: int, a: int, b: int) -> tuple[int, int]:
    """a - b."""
    return add(width, rm, a, b ^ _FORMATS[width].sign)


def mul(width: int, rm: int, a: int, b: int) -> tuple[int, int]:
    """a * b."""
    form = _FORMATS[width]
    x, y = a & form.magnitude, b & form.magnitude
    infinity = form.infinity
    sign = (a ^ b) & form.sign
    if x < infinity and y < infinity:
        if not x or not y:
            return sign, 0
        x_significand, x_exponent = _split(form, x)
        y_significand, y_exponent = _split(form, y)
        return _round(form, rm, sign != 0, x_significand * y_significand, x_exponent + y_exponent)
    if x > infinity or y > infinity:
        return _nan(form, a, b)
    if not x or not y:
        return form.nan, NV
    return sign | infinity, 0


def div(width: int, rm: int, a: int, b: int) -> tuple[int, int]:
    """a / b."""
    form = _FORMATS[width]
    x, y = a & form.magnitude, b & form.magnitude
    infinity = form.infinity
    sign = (a ^ b) & form.sign
    if x > infinity or y > infinity:
        return _nan(form, a, b)
    if x == y and (x == infinity or not x):
        return form.nan, NV
    if x == infinity:
        return sign | infinity, 0
    if not x or y == infinity:
        return sign, 0
    if not y:
        return sign | infinity, DZ
    x_significand, x_exponent = _split(form, x)
    y_significand, y_exponent = _split(form, y)
    # The dividend may be a single bit and the divisor is shorter than 2**precision.
    shift = 2 * form.precision + 2
    quotient, remainder = divmod(x_significand << shift, y_significand)
    return _round(form, rm, sign != 0, quotient | (remainder != 0), x_exponent - y_exponent - shift)


def sqrt(width: int, rm: int, a: int) -> tuple[int, int]:
    """The square root of a."""
    form = _FORMATS[width]
    x = a & form.magnitude
    if x > form.infinity:
        return _nan(form, a)
    if not x:
        return a, 0
    if a != x:
        return form.nan, NV
    if x == form.infinity:
        return a, 0
    significand, exponent = _split(form, x)
    # The exponent left over must be even, and even a one-bit significand must give precision + 2 bits of root.
    shift = 2 * form.precision + 4 + (exponent & 1)
    square = significand << shift
    root = isqrt(square)
    return _round(form, rm, False, root | (root * root != square), (exponent - shift) // 2)


def fma(width: int, rm: int, a: int, b: int, c: int) -> tuple[int, int]:
    """a * b + c, rounded once; infinity times zero is invalid even when c is a quiet NaN."""
    form = _FORMATS[width]
    x, y, z = a & form.magnitude, b & form.magnitude, c & form.magnitude
    infinity = form.infinity
    negative = (a ^ b) & form.sign != 0
    if x < infinity and y < infinity and z < infinity:
        x_significand, x_exponent = _split(form, x)
        y_significand, y_exponent = _split(form, y)
        product = negative, x_significand * y_significand, x_exponent + y_exponent
        return _sum(form, rm, product, (c != z, *_split(form, z)))
    if (x == infinity and not y) or (y == infinity and not x):
        return form.nan, NV
    if x > infinity or y > infinity or z > infinity:
        return _nan(form, a, b, c)
    if x < infinity and y < infinity:
        return c, 0
    if z == infinity and (c != z) != negative:
        return form.nan, NV
    return (form.sign if negative else 0) | infinity, 0


def convert(source_width: int, target_width: int, rm: int, a: int) -> tuple[int, int]:
    """a, in another format."""
    source, target = _FORMATS[source_width], _FORMATS[target_width]
    x = a & source.magnitude
    if x > source.infinity:
        return target.nan, _nan(source, a)[1]
    sign = 0 if a == x else target.sign
    if x == source.infinity:
        return sign | target.infinity, 0
    if not x:
        return sign, 0
    return _round(target, rm, a != x, *_split(source, x))


def from_int(width: int, rm: int, value: int) -> tuple[int, int]:
    """An integer of any size, as a float; zero is +0."""
    if not value:
        return 0, 0
    return _round(_FORMATS[width], rm, value < 0, abs(value), 0)


def to_int(width: int, rm: int, a: int, bits: int, signed: bool) -> tuple[int, int]:
    """a rounded to an integer; what does not fit is invalid and saturates, a NaN like +infinity."""
    form = _FORMATS[width]
    x = a & form.magnitude
    negative = a != x
    low, high = (-1 << (bits - 1), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if x >= form.infinity:
        return (low if negative and x == form.infinity else high), NV
    significand, exponent = _split(form, x)
    if exponent < 0:
        magnitude, inexact = _shift_right(rm, negative, significand, -exponent)
    else:
        magnitude, inexact = significand << exponent, False
    value = -magnitude if negative else magnitude
    if value > high:
        return high, NV
    if value < low:
        return low, NV
    return value, NX if inexact else 0


def round_to_integral(width: int, rm: int, a: int) -> tuple[int, int]:
    """a rounded to an integral value of the same format and sign."""
    form = _FORMATS[width]
    x = a & form.magnitude
    if x > form.infinity:
        return _nan(form, a)
    significand, exponent = _split(form, x)
    if exponent >= 0 or not x:
        return a, 0
    magnitude, inexact = _shift_right(rm, a != x, significand, -exponent)
    sign = a & form.sign
    bits = _round(form, RTZ, False, magnitude, 0)[0] if magnitude else 0
    return sign | bits, NX if inexact else 0


def _order(form: _Format, a: int) -> int:
    """A key that sorts as the values do, both zeros being equal."""
    return -(a ^ form.sign) if a & form.sign else a


def eq(width: int, a: int, b: int) -> tuple[int, int]:
    """a == b, quiet: only a signalling NaN is invalid."""
    form = _FORMATS[width]
    if a & form.magnitude > form.infinity or b & form.magnitude > form.infinity:
        return 0, _nan(form, a, b)[1]
    return int(_order(form, a) == _order(form, b)), 0


def lt(width: int, a: int, b: int) -> tuple[int, int]:
    """a < b, signalling: any NaN is invalid."""
    form = _FORMATS[width]
    if a & form.magnitude > form.infinity or b & form.magnitude > form.infinity:
        return 0, NV
    return int(_order(form, a) < _order(form, b)), 0


def le(width: int, a: int, b: int) -> tuple[int, int]:
    """a <= b, signalling: any NaN is invalid."""
    form = _FORMATS[width]
    if a & form.magnitude > form.infinity or b & form.magnitude > form.infinity:
        return 0, NV
    return int(_order(form, a) <= _order(form, b)), 0
