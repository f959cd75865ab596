"""Floating point -> LLVM text, bit-exact in result and exceptions.

While guest code runs, the host's own rounding mode and sticky exceptions are the guest's. So everything written here,
corrections included, must raise what IEEE 754-2019 (7) asks for and nothing else: arithmetic is by strict constrained
intrinsics, tests are integer comparisons of bit patterns, and what is rare stands in cold blocks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmjit.codegen import host
from vmjit.ir.block import Value
from vmjit.ir.types import WIDTH

Lower = Callable[[Value, str, list[str]], Iterator[str]]

_INTRINSIC = "@llvm.experimental.constrained"
# Without nobuiltin LLVM folds what raises nothing as if rounding were to nearest: it gives +0 for 1 - 1 rounded down.
_STRICT = 'metadata !"fpexcept.strict") strictfp nobuiltin'
_ROUNDED = 'metadata !"round.dynamic", ' + _STRICT
_COLD = ', !prof !{!"branch_weights", i32 1, i32 1000}'
_HOT = ', !prof !{!"branch_weights", i32 1000, i32 1}'


@dataclass(frozen=True)
class _Format:
    """A binary interchange format: bits of the fraction and exponent, and its spellings in LLVM."""

    type: str  # LLVM's type
    suffix: str  # in names of intrinsics
    bits: str  # the integer type of its bit patterns
    fraction: int
    width: int

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    @property
    def infinity(self) -> int:
        return self.sign - (1 << self.fraction)

    def of_integer(self, value: int) -> int:
        """The bit pattern of a positive integer, which must be exact."""
        bias = (1 << (self.width - self.fraction - 2)) - 1
        exponent = value.bit_length() - 1
        assert value & ((1 << max(exponent - self.fraction, 0)) - 1) == 0, f"{value} is not exact"
        return ((bias + exponent) << self.fraction) + (value << self.fraction >> exponent) - (1 << self.fraction)


_FORMATS = {"f32": _Format("float", "f32", "i32", 23, 32), "f64": _Format("double", "f64", "i64", 52, 64)}


def constant(type: str, bits: int) -> str:
    """A float constant as LLVM writes it. Its float literals are spelt as doubles, which loses signalling NaNs."""
    if type == "f64":
        return f"0x{bits:016X}"
    return f"bitcast (i32 {bits} to float)"


# Arithmetic.


def _arithmetic(intrinsic: str) -> Lower:
    def lower(value: Value, result: str, args: list[str]) -> Iterator[str]:
        yield _rounded(result, _FORMATS[value.type or ""], intrinsic, args)

    return lower


def _rounded(result: str, fmt: _Format, intrinsic: str, args: list[str]) -> str:
    """Operands and result of one format, in the rounding mode in force."""
    operands = ", ".join(f"{fmt.type} {arg}" for arg in args)
    return f"{result} = call {fmt.type} {_INTRINSIC}.{intrinsic}.{fmt.suffix}({operands}, {_ROUNDED}"


# IEEE 754 leaves open whether infinity * 0 + quiet NaN is invalid. RISC-V says yes and x86 no; they agree when the sum
# is no NaN. {i}: infinity without its sign bit.
_MULTIPLY_ADD = """\
{fused}
{r}.n = call i1 {intrinsic}.fcmp.{s}({f} {r}.a, {f} {r}.a, metadata !"uno", {strict}
br i1 {r}.n, label %{l}.cold, label %{l}.number{cold}
{l}.number:
br label %{l}.done
{l}.cold:
{r}.x = bitcast {f} {0} to {b}
{r}.y = bitcast {f} {1} to {b}
{r}.p = shl {b} {r}.x, 1
{r}.q = shl {b} {r}.y, 1
{r}.g = call {b} @llvm.umax.{b}({b} {r}.p, {b} {r}.q)
{r}.h = call {b} @llvm.umin.{b}({b} {r}.p, {b} {r}.q)
{r}.i = icmp eq {b} {r}.g, {i}
{r}.z = icmp eq {b} {r}.h, 0
{r}.j = and i1 {r}.i, {r}.z
br i1 {r}.j, label %{l}.invalid, label %{l}.done
{l}.invalid:
{invalid}
br label %{l}.done
{l}.done:
{r} = phi {f} [ {r}.a, %{l}.number ], [ {nan}, %{l}.cold ], [ {nan}, %{l}.invalid ]"""


def _multiply_add(value: Value, result: str, args: list[str]) -> Iterator[str]:
    fmt = _FORMATS[value.type or ""]
    fused = _rounded(f"{result}.a", fmt, "fma", args)
    yield from _lines(_MULTIPLY_ADD, fmt, result, *args, fused=fused, i=2 * fmt.infinity, nan=_NAN)


_NAN = "0x7FF8000000000000"  # canonical, and as a float too

# A branch, not a select: that would wait for the comparison. A dependent chain on a host with AVX-512, where LLVM has a
# mask register made for the select, takes 4.4 ns an operation so and 1.0 by branches. The NaN is hidden from LLVM: it
# would copy it before the branch and then the number over it, two moves on the way of every number.
_CANONICAL = """\
{test}
br i1 {r}.n, label %{l}.cold, label %{l}.number{cold}
{l}.number:
br label %{l}.done
{l}.cold:
{r}.q = call {f} asm "", "={register},0"({f} {nan})
br label %{l}.done
{l}.done:
{r} = phi {f} [ {0}, %{l}.number ], [ {r}.q, %{l}.cold ]"""

_IS_NAN = """\
{r}.b = bitcast {f} {0} to {b}
{r}.m = and {b} {r}.b, {magnitude}
{r}.n = icmp ugt {b} {r}.m, {infinity}"""


def _canonical(value: Value, result: str, args: list[str]) -> Iterator[str]:
    """Any NaN -> the canonical one, raising nothing: a float comparison would raise for a signalling NaN."""
    fmt = _FORMATS[value.type or ""]
    operation = value.args[0].op
    if operation.name == "fma":  # canonical as it is
        yield f"{result} = bitcast {fmt.type} {args[0]} to {fmt.type}"
        return
    if operation.quiets:
        test = _compared(f"{result}.n", fmt, "fcmp", "uno", args[0], args[0])
    else:
        test = "\n".join(_lines(_IS_NAN, fmt, result, args[0], magnitude=fmt.sign - 1))
    yield from _lines(_CANONICAL, fmt, result, args[0], test=test, nan=_NAN, register=host.FLOAT_REGISTER)


def _comparison(intrinsic: str, predicate: str) -> Lower:
    """fcmp is invalid for signalling NaNs only, fcmps for all."""

    def lower(value: Value, result: str, args: list[str]) -> Iterator[str]:
        yield _compared(result, _FORMATS[value.args[0].type or ""], intrinsic, predicate, *args)

    return lower


def _compared(result: str, fmt: _Format, intrinsic: str, predicate: str, a: str, b: str) -> str:
    call = f"call i1 {_INTRINSIC}.{intrinsic}.{fmt.suffix}({fmt.type} {a}, {fmt.type} {b}, "
    return f'{result} = {call}metadata !"{predicate}", {_STRICT}'


# Conversions to floats.


def _convert(value: Value, result: str, args: list[str]) -> Iterator[str]:
    source, target = _FORMATS[value.args[0].type or ""], _FORMATS[value.type or ""]
    name, tail = ("fpext", _STRICT) if source.width < target.width else ("fptrunc", _ROUNDED)
    call = f"call {target.type} {_INTRINSIC}.{name}.{target.suffix}.{source.suffix}({source.type} {args[0]}, {tail}"
    yield f"{result} = {call}"


def _from_signed(value: Value, result: str, args: list[str]) -> Iterator[str]:
    yield _from_integer(result, _FORMATS[value.type or ""], value.args[0].type or "", args[0])


def _from_integer(result: str, fmt: _Format, integer: str, arg: str) -> str:
    call = f"call {fmt.type} {_INTRINSIC}.sitofp.{fmt.suffix}.{integer}({integer} {arg}, {_ROUNDED}"
    return f"{result} = {call}"


# Hosts convert signed integers. The upper half of unsigned ones is halved first; the bit shifted out stays in the
# lowest place, far below the last one kept, so that rounding sees it; and doubling is exact.
_FROM_UPPER_HALF = """\
{r}.n = icmp slt i64 {0}, 0
br i1 {r}.n, label %{l}.cold, label %{l}.hot{cold}
{l}.hot:
{direct}
br label %{l}.done
{l}.cold:
{r}.a = lshr i64 {0}, 1
{r}.b = and i64 {0}, 1
{r}.c = or i64 {r}.a, {r}.b
{half}
{double}
br label %{l}.done
{l}.done:
{r} = phi {f} [ {r}.h, %{l}.hot ], [ {r}.e, %{l}.cold ]"""


def _from_unsigned(value: Value, result: str, args: list[str]) -> Iterator[str]:
    fmt, integer = _FORMATS[value.type or ""], value.args[0].type or ""
    if WIDTH[integer] < 64:
        yield f"{result}.w = zext {integer} {args[0]} to i64"
        yield _from_integer(result, fmt, "i64", f"{result}.w")
        return
    yield from _lines(
        _FROM_UPPER_HALF,
        fmt,
        result,
        args[0],
        direct=_from_integer(f"{result}.h", fmt, "i64", args[0]),
        half=_from_integer(f"{result}.d", fmt, "i64", f"{result}.c"),
        double=_rounded(f"{result}.e", fmt, "fadd", [f"{result}.d", f"{result}.d"]),
    )


# Conversions to integers. The host's conversion truncates; what does not fit is invalid to it too, and gives the least
# integer (x86; AArch64 saturates, and only its 0 for a NaN would need correction). Other roundings round to a float
# first.

_ROUND_STATIC = {"rne": "roundeven", "rtz": "trunc", "rdn": "floor", "rup": "ceil"}

# To nearest, ties away: both the fraction cut off and the last addition are exact. {o} has the sign of the operand.
_ROUND_AWAY = """\
{t} = call {f} {intrinsic}.trunc.{s}({f} {0}, {strict}
{t}.d = call {f} {intrinsic}.fsub.{s}({f} {0}, {f} {t}, {rounded}
{t}.b = bitcast {f} {t}.d to {b}
{t}.m = and {b} {t}.b, {magnitude}
{t}.c = icmp uge {b} {t}.m, {half}
{t}.s = select i1 {t}.c, {b} {one}, {b} 0
{t}.x = bitcast {f} {0} to {b}
{t}.y = and {b} {t}.x, {sign}
{t}.z = or {b} {t}.s, {t}.y
{t}.o = bitcast {b} {t}.z to {f}
{name} = call {f} {intrinsic}.fadd.{s}({f} {t}, {f} {t}.o, {rounded}"""


def _integral(result: str, fmt: _Format, mode: str, arg: str) -> str:
    """`arg` rounded to an integral value; nothing is raised but invalid for a signalling NaN."""
    if mode == "dynamic":
        return _rounded(result, fmt, "nearbyint", [arg])
    if mode == "rmm":
        one = fmt.of_integer(1)
        half = one - (1 << fmt.fraction)
        magnitude = fmt.sign - 1
        known = {"t": f"{result}.t", "name": result, "one": one, "half": half, "magnitude": magnitude}
        return "\n".join(_lines(_ROUND_AWAY, fmt, result, arg, **known))
    call = f"call {fmt.type} {_INTRINSIC}.{_ROUND_STATIC[mode]}.{fmt.suffix}({fmt.type} {arg}, {_STRICT}"
    return f"{result} = {call}"


def _inexact(result: str, fmt: _Format, arg: str) -> str:
    """Raise inexact if arg is not integral, whatever its size."""
    return _rounded(result, fmt, "rint", [arg])


def _to_integer(result: str, fmt: _Format, integer: str, arg: str) -> str:
    """Truncate; raises invalid or inexact."""
    call = f"call {integer} {_INTRINSIC}.fptosi.{integer}.{fmt.suffix}({fmt.type} {arg}, {_STRICT}"
    return f"{result} = {call}"


def _converted(result: str, fmt: _Format, integer: str, mode: str, arg: str) -> str:
    """Round and convert what fits, raising inexact."""
    if mode == "rtz":
        return _to_integer(result, fmt, integer, arg)
    if mode == "dynamic":
        return "\n".join((_inexact(f"{result}.i", fmt, arg), _to_integer(result, fmt, integer, f"{result}.i")))
    return "\n".join(
        (
            _inexact(f"{result}.j", fmt, arg),
            _integral(f"{result}.i", fmt, mode, arg),
            _to_integer(result, fmt, integer, f"{result}.i"),
        )
    )


# The result for what does not fit: {g} holds for positive numbers and NaNs.
_SATURATE = """\
{r}.e = bitcast {f} {0} to {b}
{r}.f = xor {b} {r}.e, {sign}
{r}.g = icmp ugt {b} {r}.f, {infinity}
{r}.s = select i1 {r}.g, {i} {most}, {i} {least}"""

# Signed, if what is not integral always fits: the host raises the right exceptions, and {least} betrays the misfits.
_TO_SIGNED = f"""\
br label %{{l}}.hot
{{l}}.hot:
{{converted}}
{{r}}.o = icmp eq {{i}} {{r}}.v, {{least}}
br i1 {{r}}.o, label %{{l}}.cold, label %{{l}}.done{{cold}}
{{l}}.cold:
{_SATURATE}
br label %{{l}}.done
{{l}}.done:
{{r}} = phi {{i}} [ {{r}}.v, %{{l}}.hot ], [ {{r}}.s, %{{l}}.cold ]"""

# Otherwise what certainly fits is told first; near the limits inexact is raised only when the rounded number fits.
_TO_SIGNED_NEAR_LIMITS = f"""\
{{r}}.b = bitcast {{f}} {{0}} to {{b}}
{{r}}.m = and {{b}} {{r}}.b, {{magnitude}}
{{r}}.h = icmp ule {{b}} {{r}}.m, {{limit}}
br i1 {{r}}.h, label %{{l}}.hot, label %{{l}}.cold{{hot}}
{{l}}.hot:
{{converted}}
br label %{{l}}.done
{{l}}.cold:
{{integral}}
{{r}}.w = call {{i}} {{intrinsic}}.fptosi.{{i}}.{{s}}({{f}} {{r}}.n, {{strict}}
{{r}}.x = call {{f}} {{intrinsic}}.sitofp.{{s}}.{{i}}({{i}} {{r}}.w, {{rounded}}
{{r}}.y = bitcast {{f}} {{r}}.x to {{b}}
{{r}}.z = bitcast {{f}} {{r}}.n to {{b}}
{{r}}.q = icmp eq {{b}} {{r}}.y, {{r}}.z
br i1 {{r}}.q, label %{{l}}.fits, label %{{l}}.outside
{{l}}.fits:
{{inexact}}
br label %{{l}}.done
{{l}}.outside:
{_SATURATE}
br label %{{l}}.done
{{l}}.done:
{{r}} = phi {{i}} [ {{r}}.v, %{{l}}.hot ], [ {{r}}.w, %{{l}}.fits ], [ {{r}}.s, %{{l}}.outside ]"""

# Unsigned: from 0 to the limit by the host's signed conversion to 64 bits. What fits besides has rounded to -0, or lies
# in the {span} patterns from that of {first} on.
_TO_UNSIGNED = f"""\
{{r}}.b = bitcast {{f}} {{0}} to {{b}}
{{r}}.h = icmp ult {{b}} {{r}}.b, {{limit}}
br i1 {{r}}.h, label %{{l}}.hot, label %{{l}}.cold{{hot}}
{{l}}.hot:
{{converted}}
{{narrowed}}
br label %{{l}}.done
{{l}}.cold:
{{integral}}
{{r}}.z = bitcast {{f}} {{r}}.n to {{b}}
{{r}}.w = icmp eq {{b}} {{r}}.z, {{sign}}
{{r}}.x = sub {{b}} {{r}}.z, {{first}}
{{r}}.y = icmp ult {{b}} {{r}}.x, {{span}}
{{r}}.q = or i1 {{r}}.w, {{r}}.y
br i1 {{r}}.q, label %{{l}}.fits, label %{{l}}.outside
{{l}}.fits:
{{inexact}}
{{large}}
{{r}}.t = select i1 {{r}}.w, {{i}} 0, {{i}} {{r}}.l
br label %{{l}}.done
{{l}}.outside:
{{invalid}}
{_SATURATE}
br label %{{l}}.done
{{l}}.done:
{{r}} = phi {{i}} [ {{r}}.u, %{{l}}.hot ], [ {{r}}.t, %{{l}}.fits ], [ {{r}}.s, %{{l}}.outside ]"""


def _to_signed(value: Value, result: str, args: list[str]) -> Iterator[str]:
    fmt, integer, mode = _FORMATS[value.args[0].type or ""], value.type or "", str(value.attr)
    width = WIDTH[integer]
    most = (1 << (width - 1)) - 1
    known: dict[str, object] = {"i": integer, "most": most, "least": -most - 1}
    known["converted"] = _converted(f"{result}.v", fmt, integer, mode, args[0])
    if mode == "rtz" or width > fmt.fraction + 1:
        yield from _lines(_TO_SIGNED, fmt, result, args[0], **known)
        return
    known["magnitude"], known["limit"] = fmt.sign - 1, fmt.of_integer(most)
    known["integral"] = _integral(f"{result}.n", fmt, mode, args[0])
    known["inexact"] = _inexact(f"{result}.j", fmt, args[0])
    yield from _lines(_TO_SIGNED_NEAR_LIMITS, fmt, result, args[0], **known)


def _to_unsigned(value: Value, result: str, args: list[str]) -> Iterator[str]:
    fmt, integer, mode = _FORMATS[value.args[0].type or ""], value.type or "", str(value.attr)
    limit, first, span, narrowed, large = _UNSIGNED[integer](fmt, result)
    yield from _lines(
        _TO_UNSIGNED,
        fmt,
        result,
        args[0],
        i=integer,
        most=-1,
        least=0,
        limit=limit,
        first=first,
        span=span,
        narrowed=narrowed,
        large=large,
        converted=_converted(f"{result}.v", fmt, "i64", mode, args[0]),
        integral=_integral(f"{result}.n", fmt, mode, args[0]),
        inexact=_inexact(f"{result}.j", fmt, args[0]),
    )


def _unsigned_64(fmt: _Format, result: str) -> tuple[int, int, int, str, str]:
    """From 2**63 on, the fraction with its hidden bit is shifted to the top."""
    first, end = fmt.of_integer(1 << 63), fmt.of_integer(1 << 64)
    widened = f"{result}.k = zext i32 {result}.z to i64\n" if fmt.width == 32 else ""
    bits = f"{result}.k" if widened else f"{result}.z"
    shift = 63 - fmt.fraction
    large = f"{widened}{result}.p = shl i64 {bits}, {shift}\n{result}.l = or i64 {result}.p, {1 << 63}"
    return first, first, end - first, f"{result}.u = add i64 {result}.v, 0", large


def _unsigned_32(fmt: _Format, result: str) -> tuple[int, int, int, str, str]:
    """What a format has between 2**32 - 1 and 2**32 may round to either."""
    most = (1 << 32) - 1
    exact = fmt.fraction >= 32
    first = fmt.of_integer(most) if exact else fmt.of_integer(most + 1)
    narrowed = f"{result}.u = trunc i64 {result}.v to i32"
    return first + exact, first, int(exact), narrowed, f"{result}.l = add i32 0, {most}"


_UNSIGNED = {"i64": _unsigned_64, "i32": _unsigned_32}


def _lines(template: str, fmt: _Format, result: str, *args: str, **known: object) -> Iterator[str]:
    """The lines of a template with its operands, its names and those of the format filled in."""
    text = template.format(
        *args,
        r=result,
        l=result.removeprefix("%"),
        f=fmt.type,
        s=fmt.suffix,
        b=fmt.bits,
        sign=fmt.sign,
        infinity=fmt.infinity,
        intrinsic=_INTRINSIC,
        strict=_STRICT,
        rounded=_ROUNDED,
        cold=_COLD,
        hot=_HOT,
        # 0 / 0: no constant that would have to be loaded
        invalid=f"{result}.invalid.q = call {fmt.type} {_INTRINSIC}.fdiv.{fmt.suffix}"
        f"({fmt.type} 0.0, {fmt.type} 0.0, {_ROUNDED}",
        **known,
    )
    return iter(text.split("\n"))


LOWER: dict[str, Lower] = {
    "fadd": _arithmetic("fadd"),
    "fsub": _arithmetic("fsub"),
    "fmul": _arithmetic("fmul"),
    "fdiv": _arithmetic("fdiv"),
    "fsqrt": _arithmetic("sqrt"),
    "fma": _multiply_add,
    "feq": _comparison("fcmp", "oeq"),
    "flt": _comparison("fcmps", "olt"),
    "fle": _comparison("fcmps", "ole"),
    "fconvert": _convert,
    "sitofp": _from_signed,
    "uitofp": _from_unsigned,
    "fptosi": _to_signed,
    "fptoui": _to_unsigned,
    "fcanon": _canonical,
}


# What the host cannot do.

_TO_INTEGER = frozenset(("fptosi", "fptoui"))
_FROM_INTEGER = frozenset(("sitofp", "uitofp"))


def why_not_native(value: Value) -> str | None:
    """Why a floating-point operation has no lowering here; None if it has."""
    operation = value.op.name
    if operation == "fma" and not host.has_fused_multiply_add():
        return "the host has no fused multiply-add"
    if operation in _TO_INTEGER:
        if not host.has_integral_rounding():
            return "the host has no rounding to an integral number"
        return None if value.type in _UNSIGNED else f"no conversion to {value.type}"
    if operation in _FROM_INTEGER and WIDTH[value.args[0].type or ""] not in (32, 64):
        return f"no conversion from {value.args[0].type}"
    if value.op.attr == "rounding" and value.attr != "dynamic" and not _is_exact(value):
        return f"rounding {value.attr} need not be the mode in force"
    return None


def _is_exact(value: Value) -> bool:
    """Whether a conversion never rounds: every number of the operand's type is one of the result's."""
    operation, operand = value.op.name, value.args[0].type or ""
    if operation == "fconvert":
        return WIDTH[operand] < WIDTH[value.type or ""]
    return operation in _FROM_INTEGER and WIDTH[operand] <= _FORMATS[value.type or ""].fraction
