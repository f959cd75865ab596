"""Says what testfloat_gen would, of few operands and by our exact oracle: to try out testfloat.py without TestFloat.

    python testfloat_stand_in.py SPOILT OPTION... FUNCTION

Of the function SPOILT, the results for operands that are NaNs are wrong.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest" / "riscv"))

from exact_floats import FORMATS, execute, number

LEAST = 40  # cases
MODES = ("-rnear_even", "-rminMag", "-rmin", "-rmax", "-rnear_maxMag")
FUNCTIONS = {  # instruction, operands, digits of the result
    "f32_add": ("fadd.s", 2, 8),
    "f32_lt": ("flt.s", 2, 1),
    "f64_mulAdd": ("fmadd.d", 3, 16),
    "f64_to_i64": ("fcvt.l.d", 1, 16),
    "f64_to_ui32": ("fcvt.wu.d", 1, 8),
}


def main(spoilt: str, *options: str) -> None:
    function, count = options[-1], int(options[options.index("-n") + 1])
    if count < LEAST:
        sys.exit(f"testfloat_gen: Too few cases; minimum is {LEAST}.")
    name, arity, digits = FUNCTIONS[function]
    rm = next(rm for rm, option in enumerate(MODES) if option in options)
    fmt, chance = FORMATS["s" if function.startswith("f32") else "d"], random.Random(function)
    for _ in range(count):
        patterns = [fmt.nan - 1 if chance.random() < 0.1 else chance.getrandbits(fmt.width) for _ in range(arity)]
        result, exceptions = execute(name, rm, tuple(fmt.boxed(bits) for bits in patterns))
        if function == spoilt and number(fmt, patterns[0]).is_nan:
            result ^= 1
        operands = " ".join(f"{bits:0{fmt.width // 4}X}" for bits in patterns)
        print(f"{operands} {result % 16**digits:0{digits}X} {exceptions:02X}")


if __name__ == "__main__":
    main(*sys.argv[1:])
