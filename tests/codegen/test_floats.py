"""Native floating point against the reference, bit by bit: results and exceptions, in every rounding mode.

Every operation becomes a handler; a native loop runs it over arrays of operands, with MXCSR set before each and read
after it. Handlers are built for several processors and pass lists, because LLVM chooses other instructions for each.
FLOAT_CASES=20000 asks for that many random cases per operation and rounding mode.
"""

import ctypes
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest

from vmjit.codegen import floats, host, lower
from vmjit.codegen.native import INTERPRETED_ONLY, why_not_native
from vmjit.ir import softfloat
from vmjit.ir.block import CONST, Region, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.interpret import compile_region
from vmjit.ir.layout import STATE_SIZE, Layout, RegisterFile
from vmjit.ir.ops import OPS, ROUNDINGS
from vmjit.ir.types import FLOATS, MASK, WIDTH
from vmjit.jit.arena import Arena
from vmjit.jit.compiler import Compiler

RANDOM_CASES = int(os.environ.get("FLOAT_CASES", "800"))
LAYOUT = Layout((RegisterFile("a", 4),), ("fflags", "frm"), flags="fflags", rounding="frm")
RESULT = "a3"
MODES = (0, 1, 2, 3)  # frm, dynamic
CONTROL = {0: 0x1F80, 1: 0x7F80, 2: 0x3F80, 3: 0x5F80}  # MXCSR for each
TIDY = "sroa,instcombine,simplifycfg,dse"


@dataclass(frozen=True)
class Case:
    """An operation with its types and rounding."""

    op: str
    result: str
    operands: tuple[str, ...]
    attr: str | None

    def __str__(self) -> str:
        return "-".join([self.op, self.result, *self.operands[:1], *([self.attr] if self.attr else [])])

    @property
    def name(self) -> str:
        return str(self).replace("-", "_")


def candidates() -> Iterator[Case]:
    for type in ("f32", "f64"):
        for op in ("fadd", "fsub", "fmul", "fdiv", "fsqrt", "fma"):
            yield Case(op, type, (type,) * len(OPS[op].operands), "dynamic")
        for op in ("feq", "flt", "fle"):
            yield Case(op, "i1", (type, type), None)
        yield Case("fcanon", type, (type,), None)
        for integer, rounding in product(("i32", "i64"), ROUNDINGS):
            for op in ("sitofp", "uitofp"):
                yield Case(op, type, (integer,), rounding)
            for op in ("fptosi", "fptoui"):
                yield Case(op, integer, (type,), rounding)
    for rounding in ROUNDINGS:
        yield Case("fconvert", "f64", ("f32",), rounding)
        yield Case("fconvert", "f32", ("f64",), rounding)


def value_of(case: Case, args: tuple[Value, ...] | None = None) -> Value:
    given = tuple(Value(OPS["get"], type) for type in case.operands) if args is None else args
    return Value(OPS[case.op], case.result, given, case.attr)


CASES = [case for case in candidates() if why_not_native(value_of(case)) is None]


# Regions


Source = int | str  # of an operand: the bits of a constant, or a register
REGISTERS = ("a0", "a1", "a2")


def region_of(case: Case, sources: tuple[Source, ...] = REGISTERS, dropped: bool = False) -> Region:
    """The result, canonical, goes into a3 unless it is dropped."""
    region = Region(case.name)
    emitter = Emitter(region, region.new_block())
    args = [operand(emitter, type, source) for type, source in zip(case.operands, sources, strict=False)]
    value = value_of(case, tuple(args))
    emitter.block.ops.append(value)
    if not dropped:
        emitter.emit("set", None, widened(emitter, value), attr=RESULT)
    emitter.exit("breakpoint", emitter.const("i64", 0), emitter.const("i64", 0))
    return region


def operand(emitter: Emitter, type: str, source: Source) -> Value:
    return emitter.const(type, source) if isinstance(source, int) else emitter.emit("get", type, attr=source)


def widened(emitter: Emitter, value: Value) -> Value:
    """The result as an i64; NaNs of arithmetic are made canonical, as the reference gives no others."""
    if value.type in FLOATS:
        if value.op.raises_flags:
            value = emitter.emit("fcanon", value.type, value)
        value = emitter.emit("bitcast", f"i{WIDTH[value.type or '']}", value)
    return value if value.type == "i64" else emitter.emit("zext", "i64", value)


# Native code

DRIVER = f"""
define void @drive(ptr %handler, ptr %state, ptr %inputs, ptr %outputs, i64 %count, i32 %control) {{
enter:
  %scratch = alloca i32
  %default = alloca i32
  store i32 {host.MXCSR_DEFAULT}, ptr %default
  br label %loop
loop:
  %i = phi i64 [ 0, %enter ], [ %next, %loop ]
  %input = getelementptr [3 x i64], ptr %inputs, i64 %i
  %registers = getelementptr i8, ptr %state, i64 {LAYOUT.bases["a"]}
  call void @llvm.memcpy.p0.p0.i64(ptr %registers, ptr %input, i64 24, i1 true)
  store volatile i32 %control, ptr %scratch
  call void @llvm.x86.sse.ldmxcsr(ptr %scratch)
  call {lower.CONVENTION} void %handler(ptr null, ptr %state, ptr null, ptr null, ptr null, i64 0)
  call void @llvm.x86.sse.stmxcsr(ptr %scratch)
  call void @llvm.x86.sse.ldmxcsr(ptr %default)
  %flags = load volatile i32, ptr %scratch
  %result.p = getelementptr i8, ptr %state, i64 {LAYOUT.offsets[RESULT]}
  %result = load volatile i64, ptr %result.p
  %output = getelementptr [2 x i64], ptr %outputs, i64 %i
  store i64 %result, ptr %output
  %flags.p = getelementptr i64, ptr %output, i64 1
  %flags.w = zext i32 %flags to i64
  store i64 %flags.w, ptr %flags.p
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@dataclass(frozen=True)
class Build:
    """How handlers are compiled; `needs` are features of the processor."""

    name: str
    cpu: str | None
    passes: str
    needs: tuple[str, ...] = ()


BUILDS = (
    Build("host", None, TIDY),
    Build("host without passes", None, ""),
    Build("host O2", None, "O2"),
    Build("v3", "x86-64-v3", TIDY, ("avx2", "fma", "bmi2", "abm")),
    Build("v2", "x86-64-v2", TIDY, ("sse4_1", "popcnt")),  # without fma
)


Outcomes = tuple[np.ndarray, np.ndarray]  # results, flags


class Native:
    """Regions compiled in one way, run over arrays."""

    def __init__(self, build: Build, regions: dict[str, Region]) -> None:
        handlers = [lower.lower_handler(region, LAYOUT, name, lower.Handler({}, 4)) for name, region in regions.items()]
        blob, _ = Compiler(build.cpu).compile("\n".join([DRIVER, *handlers]), build.passes, verify=True)
        arena = Arena(len(blob.code) + 4096)
        offset = arena.allocate(len(blob.code))
        assert offset is not None
        base = arena.place(offset, blob.code)
        self.build = build
        self.symbols = {name: base + place for name, place in blob.symbols.items()}
        words = [ctypes.c_void_p] * 4 + [ctypes.c_int64, ctypes.c_int32]
        self.drive = ctypes.CFUNCTYPE(None, *words)(self.symbols["drive"])

    def run(self, name: str, inputs: np.ndarray, control: int) -> Outcomes:
        """Results and flags (as RISC-V's fflags) for rows of three operands."""
        state = np.zeros(STATE_SIZE, np.uint8)
        outputs = np.zeros((len(inputs), 2), np.uint64)
        places = (array.ctypes.data for array in (state, inputs, outputs))
        self.drive(self.symbols[name], *places, len(inputs), control)
        return outputs[:, 0], flags_of(outputs[:, 1])


def flags_of(control: np.ndarray) -> np.ndarray:
    pairs = ((0, 4), (2, 3), (3, 2), (4, 1), (5, 0))  # bits of MXCSR and of fflags
    total = np.zeros_like(control)
    for bit, flag in pairs:
        total |= (control >> np.uint64(bit) & np.uint64(1)) << np.uint64(flag)
    return total


def builds() -> list[Build]:
    return [build for build in BUILDS if host.features().issuperset(build.needs)]


def runs_on(build: Build, case: Case) -> bool:
    return case.op != "fma" or build.name != "v2"


@pytest.fixture(scope="module")
def natives() -> list[Native]:
    """All operations, with their results used and dropped."""
    compiled = []
    for build in builds():
        cases = [case for case in CASES if runs_on(build, case)]
        regions = {case.name: region_of(case) for case in cases}
        regions |= {f"{case.name}_dropped": region_of(case, dropped=True) for case in cases}
        compiled.append(Native(build, regions))
    return compiled


def reference(region: Region, inputs: np.ndarray, modes: tuple[int, ...] = MODES) -> dict[int, Outcomes]:
    """What the reference gives in each mode."""
    run = compile_region(region, LAYOUT)
    registers = memoryview(bytearray(LAYOUT.offsets["frm"] + 8)).cast("Q")
    first, result, flags = LAYOUT.word("a0"), LAYOUT.word(RESULT), LAYOUT.word("fflags")
    outcomes = {}
    for mode in modes:
        registers[LAYOUT.word("frm")] = mode
        found = []
        for a, b, c in inputs.tolist():
            registers[first], registers[first + 1], registers[first + 2] = a, b, c
            registers[flags] = 0
            run(registers, None, 0)
            found.append((registers[result], registers[flags]))
        outputs = np.array(found, np.uint64)
        outcomes[mode] = outputs[:, 0], outputs[:, 1]
    return outcomes


def compare(what: str, inputs: np.ndarray, found: Outcomes, expected: Outcomes) -> None:
    wrong = np.flatnonzero((found[0] != expected[0]) | (found[1] != expected[1]))
    lines = [
        f"{' '.join(f'{word:016x}' for word in inputs[i].tolist())}: native {found[0][i]:x} flags {found[1][i]:05b}, "
        f"reference {expected[0][i]:x} flags {expected[1][i]:05b}"
        for i in wrong[:8].tolist()
    ]
    assert not lines, f"{what}: {len(wrong)} of {len(inputs)} differ\n" + "\n".join(lines)


# Operands

PRECISION = {"f32": 24, "f64": 53}
BIAS = {"f32": 127, "f64": 1023}
LANDMARKS = (0, 1, 2, 8, 23, 24, 25, 31, 32, 33, 52, 53, 54, 63, 64, 65)  # exponents: limits of integers and of formats


def nearby(type: str, exponent: int, ulps: int) -> int:
    """The number some units in the last place from 2**exponent."""
    return ((BIAS[type] + exponent) << (PRECISION[type] - 1)) + ulps


@cache
def special(type: str) -> list[int]:
    """The values at which an operation changes behaviour."""
    if type not in FLOATS:
        return integers(WIDTH[type])
    fraction, sign = PRECISION[type] - 1, 1 << (WIDTH[type] - 1)
    infinity = sign - (1 << fraction)
    one, quiet = BIAS[type] << fraction, 1 << (fraction - 1)
    magnitudes = [
        *(0, 1, 2, (1 << fraction) - 1, 1 << fraction, (1 << fraction) + 1, 2 << fraction),  # about subnormals
        *(one - 1, one, one + 1, one + quiet, one - (1 << fraction), one - (1 << fraction) - 1, one - quiet),
        *(infinity - 1, infinity, infinity | 1, infinity | quiet, infinity | quiet | 5),
    ]
    return magnitudes + [magnitude | sign for magnitude in magnitudes]


@cache
def limits(type: str) -> list[int]:
    """Numbers about the limits of integers, with all fractions of a quarter that the format has there."""
    found = set(special(type))
    sign = 1 << (WIDTH[type] - 1)
    for exponent in LANDMARKS:
        for ulps in range(-6, 7):
            found.add(nearby(type, exponent, ulps))
        for quarters in range(-9, 10):
            bits, flags = softfloat.from_int(WIDTH[type], 0, (4 << exponent) + quarters)
            if flags == 0 and bits:
                found.add(bits - (2 << (PRECISION[type] - 1)))
    return sorted(found | {bits ^ sign for bits in found})


@cache
def integers(width: int) -> list[int]:
    found = {0, 1, 2, 3}
    for exponent in (*LANDMARKS, 22, 55, 62):
        for delta in (-2, -1, 0, 1, 2):
            found |= {(1 << exponent) + delta, -(1 << exponent) + delta}
    for precision in (24, 53):  # ties and their neighbours
        for shift in (1, 2, 8, 10, 11):
            for delta, odd in product((-1, 0, 1), (0, 1)):
                value = (((1 << precision) + odd << shift) | 1 << (shift - 1)) + delta
                found |= {value, -value, value >> 1, value << max(63 - precision - shift, 0)}
    return sorted({value & ((1 << width) - 1) for value in found})


def scattered(type: str, rng: random.Random) -> int:
    """A random pattern, or one near a limit, or with long runs of equal bits in the fraction."""
    width = WIDTH[type]
    if type not in FLOATS:
        return rng.getrandbits(rng.randint(1, width)) ^ (MASK[type] if rng.random() < 0.5 else 0)
    kind = rng.random()
    if kind < 0.25:
        return rng.getrandbits(width)
    fraction = PRECISION[type] - 1
    top = (1 << (width - fraction - 1)) - 1
    centre = rng.choice((0, top, BIAS[type], BIAS[type] // 2, BIAS[type] + rng.choice(LANDMARKS)))
    exponent = min(max(centre + rng.randint(-3, 3), 0), top)
    bits = rng.getrandbits(fraction)
    if kind < 0.6:
        cut = rng.randint(0, fraction)
        bits = bits >> cut << cut if rng.random() < 0.5 else bits | (1 << cut) - 1
    return rng.getrandbits(1) << (width - 1) | exponent << fraction | bits


def random_row(case: Case, rng: random.Random) -> list[int]:
    row = [scattered(type, rng) for type in case.operands]
    width = WIDTH[case.operands[0]]
    if len(row) == 2 and rng.random() < 0.3:  # nearly equal: cancellation
        row[1] = (row[0] + rng.randint(-3, 3) ^ rng.getrandbits(1) << (width - 1)) & MASK[case.operands[0]]
    if len(row) == 3 and rng.random() < 0.5:  # nearly -a * b
        product_ = softfloat.mul(width, 0, row[0], row[1])[0] ^ 1 << (width - 1)
        row[2] = (product_ + rng.randint(-2, 2)) & MASK[case.operands[0]]
    return row


def table(rows: list[list[int]]) -> np.ndarray:
    """Rows of operands, filled up to three."""
    return np.array([row + [0] * (3 - len(row)) for row in rows], np.uint64)


@cache
def inputs_of(case: Case) -> np.ndarray:
    type = case.operands[0]
    if len(case.operands) == 1:
        rows = [[bits] for bits in (limits(type) if type in FLOATS else special(type))]
    elif len(case.operands) == 2:
        rows = [list(pair) for pair in product(special(type), repeat=2)]
    else:
        rows = [list(triple) for triple in product(special(type)[::2], repeat=3)]
        rows += [
            [a, b, c] for a, b in product(special(type)[:1] + special(type)[14:19], repeat=2) for c in special(type)
        ]
    rng = random.Random(str(case))
    return table(rows + [random_row(case, rng) for _ in range(RANDOM_CASES)])


# Tests


@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_code_equals_the_reference(case: Case, natives: list[Native]) -> None:
    inputs = inputs_of(case)
    region = region_of(case)
    expected = reference(region, inputs, MODES if case.attr == "dynamic" else MODES[:1])
    for native in natives:
        if not runs_on(native.build, case):
            continue
        for mode in MODES:
            result, flags = expected.get(mode, expected[0])
            what = f"{case} in mode {mode}, {native.build.name}"
            compare(what, inputs, native.run(case.name, inputs, CONTROL[mode]), (result, flags))
            dropped = native.run(f"{case.name}_dropped", inputs, CONTROL[mode])
            compare(f"{what}, dropped", inputs, dropped, (np.zeros_like(result), flags))


def choices(case: Case) -> Iterator[tuple[Source, ...]]:
    """Sources of operands with which LLVM might find something to simplify."""
    rng = random.Random(f"constants of {case}")
    pools = [special(type) for type in case.operands]
    for _ in range(3):
        yield tuple(rng.choice(pool) for pool in pools)
        yield tuple(random_row(case, rng))
    if len(pools) > 1:
        one = nearby(case.operands[0], 0, 0)
        yield from product((one, one | 1 << (WIDTH[case.operands[0]] - 1)), repeat=len(pools))  # zeros of both signs
        yield ("a0",) * len(pools)
        for place, bits in product(range(len(pools)), notable(case.operands[0])):
            yield *REGISTERS[:place], bits, *REGISTERS[place + 1 : len(pools)]


def notable(type: str) -> list[int]:
    """Neutral and absorbing elements."""
    sign, one = 1 << (WIDTH[type] - 1), nearby(type, 0, 0)
    infinity = sign - (1 << (PRECISION[type] - 1))
    return [0, sign, one, one | sign, nearby(type, 1, 0), infinity, infinity + 1, sign - 1]


@pytest.mark.parametrize("build", [BUILDS[0], BUILDS[2]], ids=lambda build: build.name)
def test_llvm_simplifies_nothing_away(build: Build) -> None:
    """Neither exceptions nor the rounding mode, when operands are constants or the same."""
    found = {f"{case.name}_{number}": (case, it) for case in CASES for number, it in enumerate(choices(case))}
    native = Native(build, {name: region_of(*pair) for name, pair in found.items()})
    for name, (case, sources) in found.items():
        column = special(case.operands[0])[:: 1 if "a0" in sources else 1000]
        inputs = table([[a, b, b] for a, b in zip(column, column[1:] + column[:1], strict=True)])
        region = region_of(case, sources)
        for mode, expected in reference(region, inputs).items():
            what = f"{name} in mode {mode}, {build.name}\n{region}"
            compare(what, inputs, native.run(name, inputs, CONTROL[mode]), expected)


@pytest.mark.parametrize("type", ["f32", "f64"])
def test_constants_keep_their_bits(type: str) -> None:
    rng = random.Random(type)
    patterns = special(type) + [scattered(type, rng) for _ in range(200)]
    regions = {f"c{number}": stored_constant(type, bits) for number, bits in enumerate(patterns)}
    nothing = table([[0]])
    for build in BUILDS[:2]:
        native = Native(build, regions)
        for name, bits in zip(regions, patterns, strict=True):
            result, flags = native.run(name, nothing, CONTROL[0])
            assert (result[0], flags[0]) == (bits, 0), f"{type} {bits:x}"


def stored_constant(type: str, bits: int) -> Region:
    region = Region("constant")
    emitter = Emitter(region, region.new_block())
    emitter.emit("set", None, Value(CONST, type, (), bits), attr=RESULT)
    emitter.exit("breakpoint", emitter.const("i64", 0), emitter.const("i64", 0))
    return region


def test_every_conversion_to_an_integer_is_native() -> None:
    native = {(case.result, case.operands, case.attr) for case in CASES if case.op in ("fptosi", "fptoui")}
    assert len(native) == 2 * 2 * len(ROUNDINGS)


@pytest.mark.parametrize(
    ("op", "type", "operand", "attr", "reason"),
    [
        ("fadd", "f64", "f64", "rne", "rounding rne"),
        ("fsqrt", "f32", "f32", "rmm", "rounding rmm"),
        ("fconvert", "f32", "f64", "rtz", "rounding rtz"),
        ("sitofp", "f64", "i64", "rmm", "rounding rmm"),
        ("sitofp", "f32", "i32", "rup", "rounding rup"),
        ("sitofp", "f64", "i128", "dynamic", "no conversion from i128"),
        ("fptosi", "i16", "f64", "rtz", "no conversion to i16"),
        ("udiv", "i128", "i128", None, "no division of 128 bits"),
    ],
)
def test_why_not_native_tells_the_reason(
    op: str, type: str, operand: str | None, attr: str | None, reason: str
) -> None:
    operands = (operand,) if operand else ()
    told = why_not_native(value_of(Case(op, type, operands, attr)))
    assert told is not None and reason in told


def test_exact_conversions_are_native_in_every_rounding() -> None:
    for rounding in ROUNDINGS:
        assert why_not_native(value_of(Case("fconvert", "f64", ("f32",), rounding))) is None
        assert why_not_native(value_of(Case("sitofp", "f64", ("i32",), rounding))) is None


def test_operations_are_native_or_interpreted() -> None:
    """Every operation that raises exceptions has one place."""
    for op in OPS.values():
        if op.raises_flags:
            assert (op.name in floats.LOWER) != (op.name in INTERPRETED_ONLY), op.name
