"""Runs the cases of Berkeley TestFloat as guest code, in every tier of vmjit, under qemu or through our exact oracle.

    python tests/conformance/testfloat.py TESTFLOAT_GEN [--cases N] [--level 1|2] [--tier TIER]... [--operation NAME]...

TESTFLOAT_GEN is that program of TestFloat 3e, http://www.jhauser.us/arithmetic/TestFloat.html, linked with a SoftFloat
built with SPECIALIZE_TYPE=RISCV. Every operation that TestFloat has is run in each rounding mode, as the one in force
and as the one that the instruction names. The exit code is 0 if all agreed, 1 if any did not, 2 if nothing was run.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "guest" / "riscv")]  # when run as a script

import numpy as np  # noqa: E402
from exact_floats import execute  # noqa: E402
from float_loops import (  # noqa: E402
    DYNAMIC,
    HOST_MODES,
    KINDS,
    MODES,
    QEMU,
    Array,
    Operation,
    Vectors,
    differences,
    names,
    why_not_qemu,
)

OURS = ("interpreter", "copies", "jit", "reference")
EXACT = "exact"  # the tier that is our oracle
ROUNDING = {"rne": "-rnear_even", "rtz": "-rminMag", "rdn": "-rmin", "rup": "-rmax", "rmm": "-rnear_maxMag"}
ONES = np.uint64(0xFFFFFFFF00000000)
CHUNK = 1 << 18  # cases held at a time
SHOWN = 5  # differences of an operation and mode


# Functions of TestFloat.


@dataclass(frozen=True)
class Type:
    """A column of cases: hexadecimal digits, and the bits above that a register has besides."""

    digits: int
    above: str = "zeros"

    def register(self, values: Array) -> Array:
        if self.above == "zeros":
            return values
        if self.above == "ones":
            return values | ONES
        return values.astype(np.uint32).astype(np.int32).astype(np.int64).astype(np.uint64)


TYPES = {
    "f32": Type(8, "ones"),
    "f64": Type(16),
    "i32": Type(8, "sign"),
    "ui32": Type(8, "sign"),
    "i64": Type(16),
    "ui64": Type(16),
    "bool": Type(1),
    "flags": Type(2),
}
OURS_TO_THEIRS = {"s": "f32", "d": "f64", "w": "i32", "wu": "ui32", "l": "i64", "lu": "ui64"}
ARITHMETIC = {"fadd": "add", "fsub": "sub", "fmul": "mul", "fdiv": "div", "fsqrt": "sqrt"}
FUSED = {"fmadd": (0, 0), "fmsub": (0, 1), "fnmsub": (1, 0), "fnmadd": (1, 1)}  # whether operands 0 and 2 are negated
COMPARISONS = {"feq": "eq", "flt": "lt", "fle": "le"}


@dataclass(frozen=True)
class Function:
    """One of TestFloat's, with the columns of its cases; the last one is the result."""

    name: str
    columns: tuple[str, ...]

    @property
    def width(self) -> int:
        """Bytes of a line."""
        return sum(TYPES[column].digits + 1 for column in (*self.columns, "flags"))


def function_of(name: str) -> Function | None:
    """What computes the same as an instruction."""
    kind, *suffixes = name.split(".")
    types = [OURS_TO_THEIRS.get(suffix, "") for suffix in suffixes]
    if kind == "fcvt":
        return Function(f"{types[1]}_to_{types[0]}", (types[1], types[0]))
    if kind in FUSED:
        return Function(f"{types[0]}_mulAdd", (types[0],) * 4)
    if kind in ARITHMETIC:
        return Function(f"{types[0]}_{ARITHMETIC[kind]}", (types[0],) * (2 + (kind != "fsqrt")))
    if kind in COMPARISONS:
        return Function(f"{types[0]}_{COMPARISONS[kind]}", (types[0], types[0], "bool"))
    return None


def known_functions(wanted: Sequence[str]) -> dict[Function, list[str]]:
    """Every function with the instructions that compute it."""
    found: dict[Function, list[str]] = {}
    for name in wanted:
        function = function_of(name)
        if function is not None:
            found.setdefault(function, []).append(name)
    return found


# Cases.


@dataclass(frozen=True)
class Generator:
    """The program, and how many cases are wanted: from `least` on, and of more than `most` that many by chance."""

    program: str
    level: int
    least: int
    most: int

    def command(self, function: str, mode: str, *more: str) -> tuple[str, ...]:
        options = ("-level", str(self.level), "-tininessafter", "-exact", ROUNDING[mode])
        return (self.program, *options, *more, function)

    def cases(self, function: Function, mode: str) -> Iterator[tuple[list[Array], Array, Array]]:
        """Chunks of operands, results and exceptions, as in registers."""
        count = max(self.least, self.of_level(function.name))
        chance, share = np.random.default_rng(count), self.most / count
        command = self.command(function.name, mode, "-n", str(count))
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            chosen: list[Array] = []
            while text := process.stdout.read(function.width * CHUNK):
                lines = np.frombuffer(text, np.uint8).reshape(-1, function.width)
                chosen.append(lines[chance.random(len(lines)) < share])
                if sum(map(len, chosen)) >= CHUNK:
                    yield columns(function, np.concatenate(chosen))
                    chosen = []
            if sum(map(len, chosen)):
                yield columns(function, np.concatenate(chosen))
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)

    @cache  # noqa: B019
    def of_level(self, function: str) -> int:
        """How many cases the level has, which the program tells if asked for fewer; 0: fewer than it was asked for."""
        done = subprocess.run(self.command(function, "rne", "-n", "1"), capture_output=True, text=True, check=False)
        _, _, number = done.stderr.rstrip().rstrip(".").rpartition("minimum is ")
        return int(number) if number.isdecimal() else 0


NIBBLE = np.zeros(256, np.uint64)
for _digit, _value in zip(b"0123456789ABCDEF", range(16), strict=True):
    NIBBLE[_digit] = _value


def columns(function: Function, lines: Array) -> tuple[list[Array], Array, Array]:
    """The numbers of lines: operands, results and exceptions."""
    found, at = [], 0
    for name in (*function.columns, "flags"):
        kind = TYPES[name]
        value = np.zeros(len(lines), np.uint64)
        for place in range(at, at + kind.digits):
            value = value << np.uint64(4) | NIBBLE[lines[:, place]]
        found.append(kind.register(value))
        at += kind.digits + 1
    return found[:-2], found[-2], found[-1]


def vectors_of(name: str, mode: str, operands: list[Array], results: Array, flags: Array) -> Vectors:
    """Cases for one instruction, which may negate what the function does not."""
    table = np.zeros((len(results), 3), np.uint64)
    kind, _, suffix = name.partition(".")
    negated = FUSED.get(kind, (0, 0))
    sign = np.uint64(1 << 31 if suffix == "s" else 1 << 63)
    for slot, operand in enumerate(operands):
        table[:, slot] = operand ^ sign if slot in (0, 2) and negated[slot // 2] else operand
    return Vectors(table, np.full(len(results), MODES[mode], np.uint64), results, flags)


# Running.


@dataclass
class Outcome:
    """Of one operation and mode."""

    cases: int = 0
    executed: int = 0  # how often the instruction was, in all loops and tiers
    wrong: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, executed: int, found: list[str], tier: str) -> None:
        self.executed += executed
        self.wrong += len(found)
        self.shown += [f"{tier}: {line}" for line in islice(found, SHOWN - len(self.shown))]


def ways(name: str, mode: str, vectors: Vectors) -> Iterator[tuple[Operation, Vectors]]:
    """Rounded by the mode in force, and by the one that the instruction names while another is."""
    if not Operation(name).has_rounding:
        yield Operation(name), vectors
        return
    yield Operation(name, DYNAMIC), vectors
    yield Operation(name, MODES[mode]), replace(vectors, frm=(vectors.frm + np.uint64(1)) % np.uint64(HOST_MODES))


def is_fast(operation: Operation, vectors: Vectors, tier: str) -> bool:
    """Whether it is not Python that executes every instruction."""
    return tier == QEMU or (tier != "reference" and operation.is_native and bool(np.all(vectors.frm < HOST_MODES)))


def check(name: str, mode: str, vectors: Vectors, tiers: Sequence[str], slow: int, outcome: Outcome) -> None:
    """Run a chunk of cases; at most `slow` where Python executes them."""
    outcome.cases += len(vectors)
    for tier in tiers:
        if tier == EXACT:
            few = vectors.at_most(slow)
            outcome.add(len(few), unlike_the_oracle(name, mode, few), tier)
            continue
        for operation, given in ways(name, mode, vectors):
            some = given if is_fast(operation, given, tier) else given.at_most(slow)
            outcome.add(len(some) * len(KINDS), differences(operation, some, tier), tier)


def unlike_the_oracle(name: str, mode: str, vectors: Vectors) -> list[str]:
    found = []
    rows = zip(vectors.operands.tolist(), vectors.results.tolist(), vectors.flags.tolist(), strict=True)
    for operands, result, flags in rows:
        outcome = execute(name, MODES[mode], tuple(operands[: len(Operation(name).operands)]))
        if outcome != (result, flags):
            found.append(f"{name}, {mode}: {operands} gives {outcome}, not {(result, flags)}")
    return found


def run(
    generator: Generator, wanted: Sequence[str], tiers: Sequence[str], slow: int
) -> Iterator[tuple[str, str, Outcome]]:
    """The outcome of each operation and mode."""
    for function, members in known_functions(wanted).items():
        for mode in MODES:
            outcomes = {name: Outcome() for name in members}
            for operands, results, flags in generator.cases(function, mode):
                for name, outcome in outcomes.items():
                    check(name, mode, vectors_of(name, mode, operands, results, flags), tiers, slow, outcome)
            for name, outcome in outcomes.items():
                yield name, mode, outcome


# What a NaN becomes as an integer is where specializations differ: RISC-V's the largest integer.
SPECIALIZED, MOST = Function("f64_to_i64", ("f64", "i64")), np.uint64((1 << 63) - 1)


def is_nan(doubles: Array) -> Array:
    return doubles << np.uint64(1) > np.uint64(0xFFE0000000000000)


def why_not(generator: Generator, tiers: Sequence[str]) -> str | None:
    """Why nothing can be run, or None."""
    if shutil.which(generator.program) is None:
        return f"{generator.program} is no program"
    if QEMU in tiers and why_not_qemu() is not None:
        return why_not_qemu()
    for operands, results, _ in generator.cases(SPECIALIZED, "rne"):
        if np.any(results[is_nan(operands[0])] != MOST):
            return "its SoftFloat was not built with SPECIALIZE_TYPE=RISCV"
    return None


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="run the cases of TestFloat as guest code")
    parser.add_argument("generator", metavar="TESTFLOAT_GEN")
    add = parser.add_argument
    add("--cases", type=int, default=10_000, metavar="N", help="of an operation and mode, at least; default: 10000")
    add("--most", type=int, default=50_000, metavar="N", help="thin out what the level has more; default: 50000")
    add("--slow", type=int, metavar="N", help="at most, where Python executes each; default: as --cases")
    add("--level", type=int, default=1, choices=(1, 2), help="of TestFloat; default: %(default)s")
    add("--tier", action="append", choices=(*OURS, QEMU, EXACT), help=f"may be repeated; default: {', '.join(OURS)}")
    add("--operation", action="append", choices=names(), metavar="NAME", help="may be repeated; default: all")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    wanted = arguments(given)
    operations, tiers = wanted.operation or names(), wanted.tier or list(OURS)
    generator = Generator(wanted.generator, wanted.level, wanted.cases, max(wanted.most, wanted.cases))
    reason = why_not(generator, tiers)
    if reason is not None:
        print(f"testfloat: {reason}", file=sys.stderr)
        return 2
    total = Outcome()
    print(f"{'':10}{'mode':>5}{'cases':>10}{'executed':>12}{'wrong':>8}")
    for name, mode, outcome in run(generator, operations, tiers, wanted.slow or wanted.cases):
        print(f"{name:10}{mode:>5}{outcome.cases:10}{outcome.executed:12}{outcome.wrong:8}", flush=True)
        for line in outcome.shown:
            print(f"FAILED {line}")
        total.cases, total.wrong = total.cases + outcome.cases, total.wrong + outcome.wrong
        total.executed += outcome.executed
    print(f"{'total':15}{total.cases:10}{total.executed:12}{total.wrong:8}")
    left_out = [name for name in operations if function_of(name) is None]
    print(f"TestFloat does not have: {', '.join(left_out) or 'none'}")
    return 1 if total.wrong else 0 if total.cases else 2


if __name__ == "__main__":
    sys.exit(main())
