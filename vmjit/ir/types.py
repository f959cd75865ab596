"""The types of IR values: integers by width, and the two IEEE 754 binary formats.

Integer types carry no sign; operations do. A value of a float type is its bit pattern wherever Python holds it.
"""

WIDTH = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "i128": 128, "f32": 32, "f64": 64}  # bits
MASK = {name: (1 << width) - 1 for name, width in WIDTH.items()}
FLOATS = frozenset(("f32", "f64"))


def integer(width: int) -> str:
    """The integer type of `width` bits."""
    name = f"i{width}"
    if name not in WIDTH:
        raise ValueError(f"no integer type of {width} bits; use one of {sorted(w for n, w in WIDTH.items())}")
    return name


def floating(width: int) -> str:
    """The float type of `width` bits: 32 or 64."""
    name = f"f{width}"
    if name not in FLOATS:
        raise ValueError(f"no float type of {width} bits; use 32 or 64")
    return name


def signed(value: int, width: int) -> int:
    """The two's complement reading of the low `width` bits of `value`."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value
