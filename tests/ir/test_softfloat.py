"""softfloat against two oracles that share nothing with it.

The host's SSE and FMA instructions, run on raw bit patterns from an executable page with MXCSR set around each, judge
results and flags in the four hardware rounding modes. Exact rational arithmetic, rounded by the definitions of
IEEE 754-2019 (sections 4.3 and 7), judges every mode including RMM, and runs on any host. Literals pin what RISC-V
decides differently from x86.
"""

import ctypes
import mmap
import platform
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from vmjit.ir import softfloat
from vmjit.ir.softfloat import DZ, NV, NX, OF, RDN, RMM, RNE, RTZ, RUP, UF

Binary = Callable[[int, int, int, int], tuple[int, int]]
Host = Callable[..., tuple[int, int]]

WIDTHS = (32, 64)
HARDWARE_MODES = (RNE, RTZ, RDN, RUP)
ALL_MODES = (*HARDWARE_MODES, RMM)
PRECISION = {32: 24, 64: 53}
LEAST_NORMAL = {32: -126, 64: -1022}
LARGEST = {32: Fraction((2**24 - 1) * 2**104), 64: Fraction((2**53 - 1) * 2**971)}
CANONICAL_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}
INFINITY = {32: 0x7F800000, 64: 0x7FF0000000000000}
PACK = {32: ("<f", "<I"), 64: ("<d", "<Q")}
BINARY: dict[str, Binary] = {
    "add": softfloat.add,
    "sub": softfloat.sub,
    "mul": softfloat.mul,
    "div": softfloat.div,
}


# Operands


@cache
def special(width: int) -> list[int]:
    """Both signs of the values at which formats change behaviour."""
    fraction = PRECISION[width] - 1
    bias = 1 - LEAST_NORMAL[width]
    one, infinity = bias << fraction, INFINITY[width]
    quiet = 1 << (fraction - 1)
    magnitudes = [
        *(0, 1, 2, 3, quiet, (1 << fraction) - 1),  # subnormals
        *(1 << fraction, (1 << fraction) + 1, 2 << fraction),  # least normals
        *(one - 1, one, one + 1, one + quiet, one + quiet + 1, one - (1 << fraction), one + (1 << fraction)),
        *((bias - fraction - 1) << fraction, ((bias - fraction - 1) << fraction) + 1),  # half a unit of one, and above
        *((bias + fraction) << fraction, ((bias + fraction) << fraction) + 1, (bias + fraction - 1 << fraction) + 1),
        *((bias + fraction + 1) << fraction, ((bias + 31) << fraction) - 1, (bias + 63) << fraction),
        *((bias // 2 << fraction) + 1, (bias + bias // 2 << fraction) | quiet),  # products near the limits
        *(infinity - 1, infinity - (1 << fraction), infinity),
        *(infinity + 1, infinity | quiet, infinity | quiet | 5),  # a signalling and two quiet NaNs
    ]
    return magnitudes + [magnitude | 1 << (width - 1) for magnitude in magnitudes]


@cache
def scattered(width: int, count: int, seed: int) -> list[int]:
    """Random patterns; most have an exponent near another one's and long runs of equal bits in the fraction."""
    rng = random.Random(seed)
    fraction = PRECISION[width] - 1
    bias = 1 - LEAST_NORMAL[width]
    centres = (0, bias // 2, bias, bias, bias + fraction, bias + bias // 2, 2 * bias)
    patterns = []
    for _ in range(count):
        if rng.random() < 0.25:
            patterns.append(rng.getrandbits(width))
            continue
        exponent = min(max(rng.choice(centres) + rng.randint(-4, 4), 0), 2 * bias + 1)
        bits = rng.getrandbits(fraction)
        if rng.random() < 0.5:
            run = (1 << rng.randint(0, fraction)) - 1
            bits = bits | run if rng.random() < 0.5 else bits & ~run
        patterns.append(rng.getrandbits(1) << (width - 1) | exponent << fraction | bits)
    return patterns


@cache
def tuples(width: int, arity: int, count: int) -> list[tuple[int, ...]]:
    """`count` random operand tuples; those of three are also such that the sum nearly cancels or nearly ties."""
    rng = random.Random(arity)
    columns = [scattered(width, count, seed) for seed in range(arity)]
    result: list[tuple[int, ...]] = list(zip(*columns, strict=True))
    if arity == 3:
        flip = 1 << (width - 1)
        for a, b, _ in result[: count // 2]:
            nearby = softfloat.mul(width, RNE, a, b)[0]
            result.append((a, b, (nearby ^ flip) + rng.randint(-1, 1) & (1 << width) - 1))
    return result


@cache
def pairs(width: int) -> list[tuple[int, ...]]:
    return list(product(special(width), repeat=2)) + tuples(width, 2, 2000)


# The host processor

ROUNDING_CONTROL = {RNE: 0, RDN: 1, RUP: 2, RTZ: 3}
MXCSR_FLAGS = {1: NV, 4: DZ, 8: OF, 16: UF, 32: NX}  # bit 1, "denormal operand", is x86's own
FFLAGS = [sum(flag for bit, flag in MXCSR_FLAGS.items() if mxcsr & bit) for mxcsr in range(64)]
ALL_MASKED = 0x1F80

# movq xmm0, rdi; movq xmm1, rsi; movq xmm2, rdx; stmxcsr [rcx+4]; ldmxcsr [rcx]
PROLOGUE = "66480f6ec7 66480f6ece 66480f6ed2 0fae5904 0fae11"
# stmxcsr [rcx]; ldmxcsr [rcx+4]; ret
EPILOGUE = "0fae19 0fae5104 c3"
RETURN_XMM0 = "66480f7ec0"  # movq rax, xmm0
CODE = {
    ("add", 32): "f30f58c1" + RETURN_XMM0,
    ("add", 64): "f20f58c1" + RETURN_XMM0,
    ("sub", 32): "f30f5cc1" + RETURN_XMM0,
    ("sub", 64): "f20f5cc1" + RETURN_XMM0,
    ("mul", 32): "f30f59c1" + RETURN_XMM0,
    ("mul", 64): "f20f59c1" + RETURN_XMM0,
    ("div", 32): "f30f5ec1" + RETURN_XMM0,
    ("div", 64): "f20f5ec1" + RETURN_XMM0,
    ("sqrt", 32): "f30f51c0" + RETURN_XMM0,
    ("sqrt", 64): "f20f51c0" + RETURN_XMM0,
    ("fma", 32): "c4e271a9c2" + RETURN_XMM0,  # vfmadd213ss xmm0, xmm1, xmm2
    ("fma", 64): "c4e2f1a9c2" + RETURN_XMM0,
    ("convert", 32): "f30f5ac0" + RETURN_XMM0,  # cvtss2sd: named by its source
    ("convert", 64): "f20f5ac0" + RETURN_XMM0,
    ("from_int", 32): "f3480f2ac7" + RETURN_XMM0,  # cvtsi2ss xmm0, rdi
    ("from_int", 64): "f2480f2ac7" + RETURN_XMM0,
    ("to_int", 32): "f3480f2dc0",  # cvtss2si rax, xmm0
    ("to_int", 64): "f2480f2dc0",
    ("round_to_integral", 32): "660f3a0ac004" + RETURN_XMM0,  # roundss xmm0, xmm0, by MXCSR
    ("round_to_integral", 64): "660f3a0bc004" + RETURN_XMM0,
    ("eq", 32): "f30fc2c100" + RETURN_XMM0,  # cmpeqss xmm0, xmm1
    ("eq", 64): "f20fc2c100" + RETURN_XMM0,
    ("lt", 32): "f30fc2c101" + RETURN_XMM0,
    ("lt", 64): "f20fc2c101" + RETURN_XMM0,
    ("le", 32): "f30fc2c102" + RETURN_XMM0,
    ("le", 64): "f20fc2c102" + RETURN_XMM0,
}


def has_fma() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and " fma " in cpuinfo.read_text()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """host(name, width, rm, *operands) -> (raw result of the instruction, fflags)."""
    if platform.machine() != "x86_64":
        pytest.skip("the instructions are x86-64")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    anchor = ctypes.c_char.from_buffer(page)
    prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, *(ctypes.c_uint64,) * 3, ctypes.c_void_p)
    functions = {}
    for key, code in CODE.items():
        functions[key] = prototype(ctypes.addressof(anchor) + page.tell())
        page.write(bytes.fromhex(PROLOGUE + code + EPILOGUE))
    control = (ctypes.c_uint32 * 2)()
    control_address = ctypes.addressof(control)

    def run(name: str, width: int, rm: int, a: int, b: int = 0, c: int = 0) -> tuple[int, int]:
        control[0] = ALL_MASKED | ROUNDING_CONTROL[rm] << 13
        result = functions[name, width](a, b, c, control_address)
        return result, FFLAGS[control[0] & 63]

    yield run
    del anchor
    page.close()


def canonical(width: int, raw: int) -> int:
    """The low `width` bits, every NaN being the canonical one."""
    bits = raw & ((1 << width) - 1)
    return CANONICAL_NAN[width] if bits & ~(1 << (width - 1)) > INFINITY[width] else bits


def assert_all(mismatches: Iterable[object]) -> None:
    first = next(iter(mismatches), None)
    assert first is None, f"operands, got, want: {first}"


def show(operands: tuple[int, ...], got: tuple[int, int], want: tuple[int, int]) -> str:
    return f"{[hex(operand) for operand in operands]} {got[0]:#x}/{got[1]:#x} {want[0]:#x}/{want[1]:#x}"


def against_host(
    host: Host,
    name: str,
    width: int,
    rm: int,
    operands: Iterable[tuple[int, ...]],
    compute: Callable[..., tuple[int, int]],
    result_width: int,
) -> Iterator[str]:
    for values in operands:
        got = compute(*values)
        raw, flags = host(name, width, rm, *values)
        want = canonical(result_width, raw), flags
        if got != want:
            yield show(values, got, want)


@pytest.mark.parametrize("rm", HARDWARE_MODES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operation_equals_the_host(host: Host, name: str, width: int, rm: int) -> None:
    operation = BINARY[name]
    assert_all(against_host(host, name, width, rm, pairs(width), lambda a, b: operation(width, rm, a, b), width))


@pytest.mark.parametrize("rm", HARDWARE_MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_unary_operations_equal_the_host(host: Host, width: int, rm: int) -> None:
    operands = [(a,) for a in special(width) + scattered(width, 4000, 7)]
    other = 96 - width
    assert_all(
        against_host(host, "sqrt", width, rm, operands, lambda a: softfloat.sqrt(width, rm, a), width),
    )
    assert_all(
        against_host(host, "convert", width, rm, operands, lambda a: softfloat.convert(width, other, rm, a), other),
    )
    assert_all(
        against_host(
            host,
            "round_to_integral",
            width,
            rm,
            operands,
            lambda a: softfloat.round_to_integral(width, rm, a),
            width,
        )
    )


@pytest.mark.parametrize("rm", HARDWARE_MODES)
def test_narrowing_near_the_limits_of_binary32_equals_the_host(host: Host, rm: int) -> None:
    rng = random.Random(rm)
    near = [softfloat.convert(32, 64, RNE, a)[0] for a in special(32) + scattered(32, 1000, 11)]
    operands = [(a + rng.choice((-1, 0, 1, 1 << 28, (1 << 28) + 1)) & (1 << 64) - 1,) for a in near]
    assert_all(against_host(host, "convert", 64, rm, operands, lambda a: softfloat.convert(64, 32, rm, a), 32))


@pytest.mark.parametrize("rm", HARDWARE_MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_fma_equals_the_host(host: Host, width: int, rm: int) -> None:
    if not has_fma():
        pytest.skip("the processor has no fused multiply-add")
    nan, infinity = CANONICAL_NAN[width], INFINITY[width]
    triples = random.Random(rm).sample(list(product(special(width), repeat=3)), 8000) + tuples(width, 3, 2000)
    for values in triples:
        raw, flags = host("fma", width, rm, *values)
        want = canonical(width, raw), flags
        if sorted(value & ~(1 << (width - 1)) for value in values[:2]) == [0, infinity]:
            want = nan, NV  # x86 lets a quiet NaN addend hide the invalid product
        got = softfloat.fma(width, rm, *values)
        assert got == want, show(values, got, want)


@pytest.mark.parametrize("rm", HARDWARE_MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_integer_conversions_equal_the_host(host: Host, width: int, rm: int) -> None:
    for a in special(width) + scattered(width, 2000, 13):
        raw, flags = host("to_int", width, rm, a)
        value, got_flags = softfloat.to_int(width, rm, a, 64, True)
        assert got_flags == flags, hex(a)
        assert flags == NV or value == ctypes.c_int64(raw).value, hex(a)
    rng = random.Random(rm)
    for _ in range(2000):
        value = rng.getrandbits(64) >> rng.randint(0, 63) & -1 << rng.randint(0, 40)
        value = ctypes.c_int64(value * rng.choice((1, -1)) + rng.randint(-1, 1)).value
        raw, flags = host("from_int", width, rm, value & 2**64 - 1)
        assert softfloat.from_int(width, rm, value) == (canonical(width, raw), flags), value


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["eq", "lt", "le"])
def test_comparison_equals_the_host(host: Host, name: str, width: int) -> None:
    compare = getattr(softfloat, name)
    same = [(a, a) for a, _ in tuples(width, 2, 100)]
    for a, b in pairs(width) + same:
        raw, flags = host(name, width, RNE, a, b)
        assert compare(width, a, b) == (raw & 1, flags), (hex(a), hex(b))


# Exact rational arithmetic


def value_of(width: int, a: int) -> Fraction:
    decimal, raw = PACK[width]
    return Fraction(struct.unpack(decimal, struct.pack(raw, a))[0])


def bits_of(width: int, value: Fraction, negative: bool) -> int:
    """The pattern of a value the format has; zero takes its sign from `negative`."""
    decimal, raw = PACK[width]
    bits: int = struct.unpack(raw, struct.pack(decimal, float(abs(value))))[0]
    return bits | negative << (width - 1)


def to_integer(rm: int, value: Fraction) -> int:
    """The integer `value` rounds to."""
    below = value.numerator // value.denominator
    rest = value - below
    if not rest:
        return below
    past_half = 2 * rest.numerator - rest.denominator
    up = {
        RNE: past_half > 0 or (past_half == 0 and below % 2 == 1),
        RTZ: value < 0,
        RDN: False,
        RUP: True,
        RMM: past_half > 0 or (past_half == 0 and value > 0),
    }
    return below + up[rm]


@cache
def power_of_two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def exponent_of(value: Fraction) -> int:
    """floor(log2(|value|))."""
    estimate = abs(value.numerator).bit_length() - value.denominator.bit_length()
    return estimate if abs(value) >= power_of_two(estimate) else estimate - 1


def at_exponent(rm: int, value: Fraction, exponent: int, precision: int) -> Fraction:
    """`value` rounded to a multiple of the last place that numbers with this exponent have."""
    place = power_of_two(exponent - precision + 1)
    return to_integer(rm, value / place) * place


def exactly(width: int, rm: int, value: Fraction, zero_negative: bool = False) -> tuple[int, int]:
    """IEEE 754-2019, 7.4 and 7.5: the rounded value with unbounded exponent decides overflow and tininess."""
    if not value:
        return bits_of(width, value, zero_negative), 0
    precision, exponent = PRECISION[width], exponent_of(value)
    negative = value < 0
    unbounded = at_exponent(rm, value, exponent, precision)
    if abs(unbounded) > LARGEST[width]:
        toward_zero = rm == RTZ or rm == (RUP if negative else RDN)
        magnitude = INFINITY[width] - (1 if toward_zero else 0)
        return magnitude | negative << (width - 1), OF | NX
    rounded = at_exponent(rm, value, max(exponent, LEAST_NORMAL[width]), precision)
    tiny = abs(unbounded) < power_of_two(LEAST_NORMAL[width])
    flags = 0 if rounded == value else NX | UF if tiny else NX
    return bits_of(width, rounded, negative), flags


def finite(width: int, operands: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    limit = INFINITY[width]
    return [values for values in operands if all(value & ~(1 << (width - 1)) < limit for value in values)]


def is_negative(width: int, a: int) -> bool:
    return bool(a >> (width - 1))


@pytest.mark.parametrize("width", WIDTHS)
def test_binary_operations_are_exact_in_every_mode(width: int) -> None:
    for a, b in finite(width, tuples(width, 2, 600)):
        x, y = value_of(width, a), value_of(width, b)
        sign_differs = is_negative(width, a) != is_negative(width, b)
        exact = {"mul": x * y}
        exact |= {"add": x + y} if x + y else {}
        exact |= {"sub": x - y} if x - y else {}
        exact |= {"div": x / y} if y else {}
        for (name, value), rm in product(exact.items(), ALL_MODES):
            got = BINARY[name](width, rm, a, b)
            want = exactly(width, rm, value, zero_negative=sign_differs)
            assert got == want, (name, rm, show((a, b), got, want))


@pytest.mark.parametrize("width", WIDTHS)
def test_binary_operations_on_special_values_are_exact_in_rmm(width: int) -> None:
    for a, b in product(special(width), repeat=2):
        both_finite = bool(finite(width, [(a, b)]))
        x, y = (value_of(width, a), value_of(width, b)) if both_finite else (Fraction(0), Fraction(0))
        exact = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y if y else Fraction(0)}
        for name, value in exact.items():
            got = BINARY[name](width, RMM, a, b)
            # Only rounding can tell the two modes to nearest apart.
            want = exactly(width, RMM, value) if value else BINARY[name](width, RNE, a, b)
            assert got == want, (name, show((a, b), got, want))


@pytest.mark.parametrize("width", WIDTHS)
def test_fma_is_exact_in_every_mode(width: int) -> None:
    some = random.Random(3).sample(list(product(special(width), repeat=3)), 1000)
    for a, b, c in finite(width, some + tuples(width, 3, 700)):
        value = value_of(width, a) * value_of(width, b) + value_of(width, c)
        product_negative = is_negative(width, a) != is_negative(width, b)
        for rm in ALL_MODES:
            cancelled = is_negative(width, c) if is_negative(width, c) == product_negative else rm == RDN
            got = softfloat.fma(width, rm, a, b, c)
            want = exactly(width, rm, value, zero_negative=cancelled)
            assert got == want, (rm, show((a, b, c), got, want))


@pytest.mark.parametrize("width", WIDTHS)
def test_square_root_brackets_the_exact_one(width: int) -> None:
    for (a,) in finite(width, [(abs_a,) for abs_a in special(width) + scattered(width, 1500, 5)]):
        value = value_of(width, a)
        if value <= 0:
            continue
        down, flags = softfloat.sqrt(width, RDN, a)
        up = softfloat.sqrt(width, RUP, a)[0]
        x, y = value_of(width, down), value_of(width, up)
        exact = x * x == value
        assert (flags, up - down) == ((0, 0) if exact else (NX, 1)), hex(a)
        assert x * x <= value <= y * y, hex(a)
        middle = (x + y) / 2
        assert middle * middle != value or exact, hex(a)
        nearest = down if middle * middle >= value else up
        assert softfloat.sqrt(width, RTZ, a) == (down, flags)
        assert softfloat.sqrt(width, RNE, a) == softfloat.sqrt(width, RMM, a) == (nearest, flags), hex(a)


@pytest.mark.parametrize("rm", ALL_MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_conversions_are_exact(width: int, rm: int) -> None:
    other = 96 - width
    for (a,) in finite(width, [(a,) for a in special(width) + scattered(width, 700, 17)]):
        value, negative = value_of(width, a), is_negative(width, a)
        assert softfloat.convert(width, other, rm, a) == exactly(other, rm, value, negative), hex(a)
        rounded = to_integer(rm, value)
        flags = 0 if rounded == value else NX
        integral = bits_of(width, Fraction(rounded), negative)
        assert softfloat.round_to_integral(width, rm, a) == (integral, flags), hex(a)
        for bits, signed in product((8, 32, 64), (False, True)):
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            want = (rounded, flags) if low <= rounded <= high else (high if rounded > 0 else low, NV)
            assert softfloat.to_int(width, rm, a, bits, signed) == want, (hex(a), bits, signed)


@pytest.mark.parametrize("rm", ALL_MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_integers_of_any_size_convert_exactly(width: int, rm: int) -> None:
    rng = random.Random(width)
    edges = [sign * (2**n + delta) for n, delta, sign in product((0, 24, 25, 53, 54, 63, 64), (-1, 0, 1), (1, -1))]
    large = [rng.getrandbits(rng.randint(1, 200)) * rng.choice((1, -1)) for _ in range(300)]
    largest = int(LARGEST[width])
    limits = [largest, largest + 1, -largest - 1, largest * 2, 10**400, -(10**400)]
    for value in edges + large + limits:
        assert softfloat.from_int(width, rm, value) == exactly(width, rm, Fraction(value)), value


# What the standard leaves to the architecture, and the decisions easiest to get wrong


@pytest.mark.parametrize("width", WIDTHS)
def test_to_int_saturates_as_riscv_does(width: int) -> None:
    infinity, nan = INFINITY[width], CANONICAL_NAN[width]
    negative = 1 << (width - 1)
    for bits, signed in product((32, 64), (False, True)):
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        for a in (infinity, nan, nan | negative, infinity + 1, infinity + 1 | negative):
            assert softfloat.to_int(width, RNE, a, bits, signed) == (high, NV)
        assert softfloat.to_int(width, RNE, infinity | negative, bits, signed) == (low, NV)


def test_to_int_of_small_negative_numbers_to_unsigned() -> None:
    minus_half = 0xBF000000
    assert softfloat.to_int(32, RTZ, minus_half, 32, False) == (0, NX)
    assert softfloat.to_int(32, RNE, minus_half, 32, False) == (0, NX)
    assert softfloat.to_int(32, RMM, minus_half, 32, False) == (0, NV)
    assert softfloat.to_int(32, RDN, minus_half, 32, False) == (0, NV)
    assert softfloat.to_int(32, RNE, 0x80000000, 32, False) == (0, 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_fma_of_infinity_and_zero_is_invalid_whatever_is_added(width: int) -> None:
    infinity, nan = INFINITY[width], CANONICAL_NAN[width]
    for c in (0, infinity, nan, infinity + 1):
        assert softfloat.fma(width, RNE, infinity, 0, c) == (nan, NV)
        assert softfloat.fma(width, RNE, 0, infinity, c) == (nan, NV)
    assert softfloat.fma(width, RNE, infinity, nan, 0) == (nan, 0)


def test_tininess_is_detected_after_rounding() -> None:
    least_normal = 0x00800000
    just_below_one, just_above_one, largest_subnormal = 0x3F7FFFFF, 0x3F800001, 0x007FFFFF
    assert softfloat.mul(32, RNE, just_below_one, least_normal) == (least_normal, UF | NX)
    assert softfloat.mul(32, RNE, just_above_one, largest_subnormal) == (least_normal, NX)
    assert softfloat.mul(32, RTZ, just_above_one, largest_subnormal) == (largest_subnormal, UF | NX)
    assert softfloat.mul(32, RUP, just_above_one, largest_subnormal) == (least_normal, NX)
    assert softfloat.mul(32, RNE, 0x3F000000, least_normal) == (0x00400000, 0)
    # Only one bit is cut off: 8388607.5 times the least subnormal fits the precision but not the exponent.
    assert softfloat.mul(32, RNE, 0x4AFFFFFF, 1) == (least_normal, UF | NX)


def test_ties_go_away_from_zero_only_in_rmm() -> None:
    one, half_unit = 0x3F800000, 0x33800000
    sign = 0x80000000
    assert softfloat.add(32, RNE, one, half_unit) == (one, NX)
    assert softfloat.add(32, RMM, one, half_unit) == (one + 1, NX)
    assert softfloat.add(32, RMM, one | sign, half_unit | sign) == (one + 1 | sign, NX)
    assert softfloat.sub(32, RMM, one, 0x33000000) == (one, NX)
    assert softfloat.add(32, RMM, one, half_unit - 1) == (one, NX)
    assert softfloat.round_to_integral(32, RMM, 0x3F000000) == (one, NX)


@pytest.mark.parametrize("width", WIDTHS)
def test_sign_of_an_exact_zero_sum(width: int) -> None:
    zero, minus_zero, one = 0, 1 << (width - 1), softfloat.from_int(width, RNE, 1)[0]
    for rm in ALL_MODES:
        want = (minus_zero if rm == RDN else zero), 0
        assert softfloat.add(width, rm, zero, minus_zero) == want
        assert softfloat.sub(width, rm, zero, zero) == want
        assert softfloat.sub(width, rm, one, one) == want
        assert softfloat.fma(width, rm, one, one, one | minus_zero) == want
        assert softfloat.fma(width, rm, zero, one, minus_zero) == want
        assert softfloat.add(width, rm, minus_zero, minus_zero) == (minus_zero, 0)
        assert softfloat.fma(width, rm, minus_zero, one, minus_zero) == (minus_zero, 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_division_by_zero_and_invalid_quotients(width: int) -> None:
    infinity, nan, sign = INFINITY[width], CANONICAL_NAN[width], 1 << (width - 1)
    one = softfloat.from_int(width, RNE, 1)[0]
    assert softfloat.div(width, RNE, one, sign) == (infinity | sign, DZ)
    assert softfloat.div(width, RNE, infinity, 0) == (infinity, 0)
    assert softfloat.div(width, RNE, 0, sign) == (nan, NV)
    assert softfloat.div(width, RNE, infinity, infinity | sign) == (nan, NV)


@pytest.mark.parametrize("width", WIDTHS)
def test_kinds_of_nan(width: int) -> None:
    infinity, sign = INFINITY[width], 1 << (width - 1)
    quiet, signalling = CANONICAL_NAN[width] | sign | 3, infinity + 1 | sign
    assert [softfloat.is_nan(width, a) for a in (quiet, signalling, infinity, 0)] == [True, True, False, False]
    assert [softfloat.is_signalling(width, a) for a in (quiet, signalling, infinity, 0)] == [False, True, False, False]
    assert softfloat.convert(width, 96 - width, RNE, quiet) == (CANONICAL_NAN[96 - width], 0)
    assert softfloat.convert(width, width, RNE, signalling) == (CANONICAL_NAN[width], NV)
    assert softfloat.eq(width, quiet, 0) == (0, 0)
    assert softfloat.eq(width, 0, signalling) == (0, NV)
    assert softfloat.lt(width, 0, quiet) == softfloat.le(width, quiet, quiet) == (0, NV)


def test_a_reserved_rounding_mode_is_an_error() -> None:
    with pytest.raises(IndexError):
        softfloat.div(32, 5, 0x3F800000, 0x40400000)
