"""Operands for floating-point instructions, as they stand in registers, and what the exact oracle says comes of them.

`special` registers are those at which an instruction changes its behaviour; `rows` has all pairs of them, and random
operands that are related in such a way that results are cancelled, tie, vanish or overflow.
"""

import random
from functools import cache
from itertools import cycle, product

import exact_floats as exact
import numpy as np
from exact_floats import DOUBLE, SINGLE, Format
from float_loops import Operation, Vectors

UNBOXED = (
    *(0, 0x3F800000, 0xBF800000, 0x7F800000, 0x7F800001),  # zeros above
    *(0xFFFFFFFE3F800000, 0x7FFFFFFF3F800000, 0xFFFFFFFE7FC00000, 0x7FFFFFFFFF800001),  # but one bit of the box
    *(0x3FF0000000000000, 0x7FF0000000000001, 0xFFF8000000000000),  # doubles
)
INTEGRAL = (8, 16, 23, 24, 25, 31, 32, 33, 52, 53, 54, 63, 64, 65)  # exponents: limits of integers and of formats


def formats_of(name: str) -> tuple[Format, ...]:
    """Of each operand; (): an integer."""
    operation = Operation(name)
    if operation.operands == ["rs1"]:
        return ()
    if name in ("fmv.x.w", "flw", "fsw") or name.endswith(".s"):
        return (SINGLE,) * len(operation.operands)
    return (DOUBLE,) * len(operation.operands)


@cache
def special(fmt: Format) -> list[int]:
    fraction, one = fmt.precision - 1, power(fmt, 0)
    magnitudes = [
        *(0, 1, 2, 3, fmt.hidden - 1, fmt.hidden, fmt.hidden + 1, 2 * fmt.hidden - 1),  # about the least normal
        *(one - 1, one, one + 1, one + fmt.hidden // 2, power(fmt, 1), power(fmt, 1) + fmt.hidden // 4),  # 1, 1.5, 2.5
        *(power(fmt, -1) - 1, power(fmt, -1), power(fmt, -1) + 1, power(fmt, -fmt.precision), power(fmt, fraction) + 1),
        *(power(fmt, fmt.least // 2), power(fmt, fmt.end // 2) - 1, fmt.infinity - 1, fmt.infinity),
        *(fmt.infinity + 1, fmt.nan - 1, fmt.nan, fmt.nan + 5),
    ]
    boxed = [fmt.boxed(bits) for magnitude in magnitudes for bits in (magnitude, magnitude | fmt.sign)]
    return boxed + (list(UNBOXED) if fmt is SINGLE else [])


def power(fmt: Format, exponent: int) -> int:
    """The pattern of 2**exponent, a normal number."""
    return exact.pattern(fmt, fmt.hidden, exponent - fmt.precision + 1)


@cache
def near_integers(fmt: Format) -> list[int]:
    """About powers of two, and where the format has quarters, about them."""
    found = set()
    for exponent in INTEGRAL:
        for step in range(-5, 6):
            found.add(power(fmt, exponent) + step)
            quarters = (1 << exponent) * 4 + step
            if quarters.bit_length() <= fmt.precision:
                found.add(exact.rounded(fmt, exact.RNE, (quarters, 4))[0])
    for quarters in range(1, 20):
        found.add(exact.rounded(fmt, exact.RNE, (quarters, 4))[0])
    return special(fmt) + [fmt.boxed(bits | sign) for bits in sorted(found) for sign in (0, fmt.sign)]


@cache
def integers() -> list[int]:
    found = {0, 1, 2, 3, 0xAAAAAAAAAAAAAAAA, 0x5555555555555555}
    for exponent, step in product((*INTEGRAL, 22, 55, 62), range(-2, 3)):
        found |= {(1 << exponent) + step, -(1 << exponent) + step}
    for precision, shift, odd, step in product((24, 53), (1, 2, 7, 8, 10, 11), (0, 1), (-1, 0, 1)):
        tie = ((1 << precision | odd) << shift) // 2 * 2 + (1 << shift - 1) + step
        found |= {tie, -tie, tie << max(63 - precision - shift, 0)}
    return sorted({value & (1 << 64) - 1 for value in found})


# Random ones.


def integer(chance: random.Random) -> int:
    """Of any length, with a run of ones or zeros at either end."""
    value = chance.getrandbits(chance.randint(1, 64))
    run = (1 << chance.randint(0, 40)) - 1
    return chance.choice((value, value | run, value & ~run, ~value, -(value & ~run))) & (1 << 64) - 1


def pattern(fmt: Format, chance: random.Random, exponent: int | None = None) -> int:
    """A finite number of either sign, or anything; often with few bits, or with all."""
    if exponent is None and chance.random() < 0.1:
        return chance.getrandbits(fmt.width)
    field = chance.randrange(fmt.infinity // fmt.hidden) if exponent is None else exponent - fmt.least + 1
    fraction = chance.getrandbits(fmt.precision - 1)
    run = (1 << chance.randint(0, fmt.precision - 1)) - 1
    fraction = chance.choice((fraction, fraction | run, fraction & ~run))
    field = min(max(field, 0), fmt.infinity // fmt.hidden - 1)
    return chance.getrandbits(1) * fmt.sign + field * fmt.hidden + fraction


def moderate(fmt: Format, chance: random.Random) -> int:
    """With an exponent that products and quotients stand."""
    return pattern(fmt, chance, chance.randint(-fmt.precision, fmt.precision))


def stepped(fmt: Format, bits: int, chance: random.Random) -> int:
    """Some units in the last place further, perhaps with the other sign."""
    return ((bits + chance.randint(-2, 2)) ^ chance.getrandbits(1) * fmt.sign) % (2 * fmt.sign)


def rounded_to_nearest(fmt: Format, compute: str, *patterns: int) -> int:
    suffix = "s" if fmt is SINGLE else "d"
    result, _ = exact.execute(f"{compute}.{suffix}", exact.RNE, tuple(fmt.boxed(bits) for bits in patterns))
    return fmt.unboxed(result)


def related(name: str, fmt: Format, chance: random.Random) -> list[int]:
    """Patterns that make it difficult for an instruction."""
    a, b = moderate(fmt, chance), moderate(fmt, chance)
    kind = name.partition(".")[0]
    if kind == "fsqrt":
        return [stepped(fmt, rounded_to_nearest(fmt, "fmul", a, a), chance)]
    if kind == "fcvt":
        return [pattern(fmt, chance, chance.choice((-1, 0, 1, *INTEGRAL)) + chance.randint(-2, 1))]
    if kind == "fdiv":
        product_ = stepped(fmt, rounded_to_nearest(fmt, "fmul", a, b), chance)
        return chance.choice(([product_, b], between(fmt, chance, quotient=True)))
    if kind == "fmul":
        return between(fmt, chance, quotient=False)
    if len(Operation(name).operands) == 3:
        factors = chance.choice(([a, b], between(fmt, chance, quotient=False)))
        return [*factors, stepped(fmt, rounded_to_nearest(fmt, "fmul", *factors), chance)]
    other = pattern(fmt, chance)
    return [other, chance.choice((stepped(fmt, other, chance), near(fmt, other, chance)))][
        : len(Operation(name).operands)
    ]


def between(fmt: Format, chance: random.Random, quotient: bool) -> list[int]:
    """Two whose product or quotient is about one of the limits of normal and of subnormal numbers."""
    limit = chance.choice((fmt.last, fmt.least, fmt.least, fmt.end)) + chance.randint(-3, 2)
    first = limit // 2 + chance.randint(-20, 20)
    second = limit - first
    return [pattern(fmt, chance, first), pattern(fmt, chance, -second if quotient else second)]


def near(fmt: Format, bits: int, chance: random.Random) -> int:
    """With an exponent so close that a sum has to be rounded."""
    exponent = bits % fmt.sign // fmt.hidden + fmt.least - 1
    return pattern(fmt, chance, exponent + chance.randint(-fmt.precision - 2, fmt.precision + 2))


def at_limit(name: str, fmt: Format, chance: random.Random) -> list[int]:
    """Patterns whose result is hardly a normal number, or hardly none, or hardly not too large."""
    limit = chance.choice((fmt.hidden, fmt.infinity - 1))
    a, kind = moderate(fmt, chance), name.partition(".")[0]
    if name == "fcvt.s.d":
        single = chance.choice((SINGLE.least, SINGLE.end))
        quarters = chance.randint(-9, 9) << DOUBLE.precision - SINGLE.precision - 2
        return [power(DOUBLE, single) + quarters + chance.randint(-1, 1)]
    if kind == "fmul":
        return [a, stepped(fmt, rounded_to_nearest(fmt, "fdiv", limit, a), chance)]
    if kind == "fdiv":
        return [stepped(fmt, rounded_to_nearest(fmt, "fmul", limit, a), chance), a]
    # What is added to the limit is about half of its last place.
    half = (fmt.least if limit == fmt.hidden else fmt.end - 1) - fmt.precision + chance.randint(-1, 1)
    if len(Operation(name).operands) == 3:
        first = half // 2 + chance.randint(-9, 9)
        return [pattern(fmt, chance, first), pattern(fmt, chance, half - first), stepped(fmt, limit, chance)]
    return [stepped(fmt, fmt.infinity - 1, chance), pattern(fmt, chance, fmt.end - 1 - fmt.precision)]


LIMITED = ("fadd", "fsub", "fmul", "fdiv", "fmadd", "fmsub", "fnmsub", "fnmadd")


def random_row(name: str, chance: random.Random) -> tuple[int, ...]:
    formats = formats_of(name)
    if not formats:
        return (integer(chance),)
    fmt, kind = formats[0], chance.random()
    if kind < 0.3:
        patterns = [pattern(fmt, chance) for _ in formats]
    elif kind < 0.5 and name.startswith((*LIMITED, "fcvt.s.d")):
        patterns = at_limit(name, fmt, chance)
    else:
        patterns = related(name, fmt, chance)
    boxed = [fmt.boxed(bits) for bits in patterns]
    if chance.random() < 0.05:
        boxed[chance.randrange(len(boxed))] = chance.getrandbits(64)
    return tuple(boxed)


def special_rows(name: str, addends: int) -> list[tuple[int, ...]]:
    """All that one or two operands can be; three are all pairs of factors, each with some addends, and few with all."""
    formats = formats_of(name)
    if not formats:
        return [(value,) for value in integers()]
    if len(formats) == 1:
        return [(value,) for value in near_integers(formats[0])]
    fmt, found = formats[0], special(formats[0])
    pairs = list(product(found, repeat=2))
    if len(formats) == 2:
        return pairs
    few = [fmt.boxed(bits) for bits in (0, fmt.sign, power(fmt, 0), fmt.infinity, fmt.infinity | fmt.sign)]
    turns = cycle([*found, found[0]])  # one more than a row of pairs, so that a factor meets all of them
    return list(product(few, few, found)) + [(*pair, next(turns)) for pair in pairs for _ in range(addends)]


@cache
def rows(name: str, count: int, addends: int = 3) -> list[tuple[int, ...]]:
    """All special ones, and `count` random ones."""
    chance = random.Random(name)
    return special_rows(name, addends) + [random_row(name, chance) for _ in range(count)]


def vectors(name: str, rows: list[tuple[int, ...]], rm: int, frm: int) -> Vectors:
    """What is to come of operands that are rounded by `rm` while `frm` is in force."""
    outcomes = [exact.execute(name, rm, row) for row in rows]
    operands = np.array([row + (0,) * (3 - len(row)) for row in rows], np.uint64)
    results, flags = np.array(outcomes, np.uint64).T
    return Vectors(operands, np.full(len(rows), frm, np.uint64), results, flags)
