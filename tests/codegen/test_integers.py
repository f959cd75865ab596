"""Native integer operations against the reference: all values of i1 and i8, corners and random values of wider types.

Every operation becomes a region, with operands from registers and with constants on either side, because LLVM then
chooses other instructions; a native loop runs it over rows of operands.
"""

import ctypes
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from vmjit.codegen.lower import CONVENTION, lower_region
from vmjit.codegen.native import why_not_native
from vmjit.codegen.operations import LOWER
from vmjit.engine.compile import LLVM_PASSES
from vmjit.ir.block import Region, Terminator, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.interpret import evaluate
from vmjit.ir.layout import STATE_SIZE, Layout, RegisterFile
from vmjit.ir.ops import OPS
from vmjit.ir.types import FLOATS, MASK, WIDTH
from vmjit.jit.arena import Arena
from vmjit.jit.compiler import Compiler

LAYOUT = Layout((RegisterFile("a", 8),))
INTEGERS = ("i1", "i8", "i16", "i32", "i64", "i128")
WORDS = 2  # of an operand or result, low one first
OPERANDS = 3
RANDOM_ROWS = 150
BUILDS = {"as regions are": LLVM_PASSES, "without passes": ""}


NONE_FIXED = (None,) * OPERANDS


@dataclass(frozen=True)
class Case:
    """An operation; `fixed` has the operands that are constants."""

    op: str
    result: str
    operands: tuple[str, ...]
    fixed: tuple[int | None, ...] = NONE_FIXED

    def __str__(self) -> str:
        return f"{self.op}-{self.result}-{'-'.join(self.operands)}"


def signatures() -> Iterator[Case]:
    """Every operation of the table of templates, at every type that it can have."""
    for name in LOWER:
        op = OPS[name]
        if name in ("zext", "sext", "trunc"):
            for a, b in itertools.permutations(INTEGERS, 2):
                if (WIDTH[a] > WIDTH[b]) == (name == "trunc"):
                    yield Case(name, b, (a,))
        elif name == "bitcast":
            for integer, real in (("i32", "f32"), ("i64", "f64")):
                yield Case(name, real, (integer,))
                yield Case(name, integer, (real,))
        elif name == "in_guest":
            yield Case(name, "i1", ("i64",))
        else:
            for type in (*INTEGERS, *sorted(FLOATS)) if name == "select" else INTEGERS:
                if name != "bswap" or WIDTH[type] >= 16:
                    operands = tuple(wanted if wanted in WIDTH else type for wanted in op.operands)
                    yield Case(name, type if op.result == "same" else "i1", operands)


def value_of(case: Case) -> Value:
    return Value(OPS[case.op], case.result, tuple(Value(OPS["get"], type) for type in case.operands))


CASES = [case for case in signatures() if why_not_native(value_of(case)) is None]


# Regions


def region_of(case: Case) -> Region:
    """The result of an operation on a0 to a5, in a6 and a7."""
    region = Region("x")
    emitter = Emitter(region, region.new_block())
    args = [
        operand(emitter, type, number) if fixed is None else emitter.const(type, fixed)
        for number, (type, fixed) in enumerate(zip(case.operands, case.fixed, strict=False))
    ]
    value = Value(OPS[case.op], case.result, tuple(args))  # not by emit: it would simplify
    emitter.block.ops.append(value)
    low, high = words_of(emitter, value)
    emitter.emit("set", None, low, attr="a6")
    emitter.emit("set", None, high, attr="a7")
    # An argument that is not 0: the region returns by itself.
    emitter.block.terminator = Terminator("exit", (emitter.const("i64", 0), emitter.const("i64", 1)), attr="breakpoint")
    return region


def operand(emitter: Emitter, type: str, number: int) -> Value:
    low = emitter.emit("get", "i64", attr=f"a{2 * number}")
    if type == "i128":
        high = emitter.convert("zext", "i128", emitter.emit("get", "i64", attr=f"a{2 * number + 1}"))
        shifted = emitter.emit("shl", "i128", high, emitter.const("i128", 64))
        return emitter.emit("or", "i128", shifted, emitter.convert("zext", "i128", low))
    if type in FLOATS:
        return emitter.convert("bitcast", type, emitter.convert("trunc", f"i{WIDTH[type]}", low))
    return emitter.convert("trunc", type, low)


def words_of(emitter: Emitter, value: Value) -> tuple[Value, Value]:
    if value.type in FLOATS:
        value = emitter.convert("bitcast", f"i{WIDTH[value.type]}", value)
    if value.type == "i128":
        high = emitter.emit("lshr", "i128", value, emitter.const("i128", 64))
        return emitter.convert("trunc", "i64", value), emitter.convert("trunc", "i64", high)
    return emitter.convert("zext", "i64", value), emitter.const("i64", 0)


# Native code

DRIVER = f"""
define void @drive(ptr %region, ptr %state, ptr %inputs, ptr %outputs, i64 %count) {{
enter:
  %registers = getelementptr i8, ptr %state, i64 {LAYOUT.bases["a"]}
  %results = getelementptr i8, ptr %state, i64 {LAYOUT.offsets["a6"]}
  br label %loop
loop:
  %i = phi i64 [ 0, %enter ], [ %next, %loop ]
  %input = getelementptr [{WORDS * OPERANDS} x i64], ptr %inputs, i64 %i
  call void @llvm.memcpy.p0.p0.i64(ptr %registers, ptr %input, i64 {8 * WORDS * OPERANDS}, i1 true)
  call {CONVENTION} void %region(ptr null, ptr %state, ptr null, ptr null, ptr null, i64 0)
  %output = getelementptr [{WORDS} x i64], ptr %outputs, i64 %i
  call void @llvm.memcpy.p0.p0.i64(ptr %output, ptr %results, i64 {8 * WORDS}, i1 true)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


class Native:
    """Operations compiled in one way, run over arrays."""

    def __init__(self, passes: str, cases: list[Case]) -> None:
        texts = [DRIVER]
        for number, case in enumerate(cases):
            text = lower_region(region_of(case), LAYOUT, f"x{number}")
            texts.append(text.partition("\n!llvm")[0].replace(" !dbg !3", ""))
        blob, _ = Compiler().compile("\n".join(texts), passes, verify=True)
        self.arena = Arena(len(blob.code) + 4096)
        offset = self.arena.allocate(len(blob.code))
        assert offset is not None
        base = self.arena.place(offset, blob.code)
        self.code = {case: base + blob.symbols[f"x{number}"] for number, case in enumerate(cases)}
        words = [ctypes.c_void_p] * 4 + [ctypes.c_int64]
        self.drive = ctypes.CFUNCTYPE(None, *words)(base + blob.symbols["drive"])

    def run(self, case: Case, inputs: np.ndarray) -> list[int]:
        """The result for each row of operands."""
        state = np.zeros(STATE_SIZE, np.uint8)
        state.view(np.uint64)[LAYOUT.word("limit")] = 1
        outputs = np.zeros((len(inputs), WORDS), np.uint64)
        self.drive(self.code[case], *(array.ctypes.data for array in (state, inputs, outputs)), len(inputs))
        low, high = outputs.T.tolist()
        return low if not any(high) else [a | b << 64 for a, b in zip(low, high, strict=True)]


# Operands


@cache
def corners(type: str) -> tuple[int, ...]:
    width, ones = WIDTH[type], MASK[type]
    if width <= 8:
        return tuple(range(1 << width))
    found = {0, 1, 2, 3, 7, 10, ones, ones - 1, ones - 2, ones >> 1, (ones >> 1) + 1, (ones >> 1) + 2}
    for amount in (width - 1, width, width + 1, 2 * width, width // 2, 8, 31, 32, 63, 64):
        found |= {amount & ones, 1 << amount & ones, -1 << amount & ones, (1 << amount) - 1 & ones}
    found |= {0x5555 * (ones // 0xFFFF) & ones, 0x0123456789ABCDEF0123456789ABCDEF & ones}
    return tuple(sorted(found))


def rows_of(case: Case) -> list[tuple[int, ...]]:
    """All combinations of corners, which are all values of small types, and random operands."""
    rows = list(itertools.product(*map(corners, case.operands)))
    chance = random.Random(str(case))
    if len(case.operands) == 3:  # a select: too many combinations
        rows = chance.sample(rows, min(len(rows), 2000))
    if all(WIDTH[type] <= 8 for type in case.operands):
        return rows
    for _ in range(RANDOM_ROWS):
        rows.append(tuple(chance.getrandbits(chance.randint(1, WIDTH[type])) for type in case.operands))
    return rows


def table(rows: list[tuple[int, ...]]) -> np.ndarray:
    words = np.zeros((len(rows), WORDS * OPERANDS), np.uint64)
    for place, column in enumerate(zip(*rows, strict=True)):
        words[:, WORDS * place] = [value & MASK["i64"] for value in column]
        words[:, WORDS * place + 1] = [value >> 64 for value in column]
    return words


@cache
def expectations(case: Case) -> tuple[list[tuple[int, ...]], np.ndarray, list[int]]:
    """Rows of operands, the same as a table, and the results by the reference."""
    rows = rows_of(case) if case.fixed == NONE_FIXED else some_rows(case)
    steering = case.operands[1 if case.op == "select" else 0]
    return rows, table(rows), [evaluate(case.op, case.result, steering, row) for row in rows]


def with_constants(case: Case) -> Iterator[Case]:
    """Operands that are constants: neutral, extreme, shift amounts at and beyond the width, powers of two."""
    for place, type in enumerate(case.operands):
        width, ones = WIDTH[type], MASK[type]
        chosen = {0, 1, ones, (ones >> 1) + 1, ones >> 1, width & ones, (width + 1) & ones, 8 & ones, 10 & ones}
        for bits in sorted(chosen):
            yield Case(case.op, case.result, case.operands, (*NONE_FIXED[:place], bits, *NONE_FIXED[place + 1 :]))


def some_rows(case: Case) -> list[tuple[int, ...]]:
    """Few rows, in which the constants stand."""
    chance = random.Random(str(case))
    pools = [
        (fixed,) if fixed is not None else corners(type) for type, fixed in zip(case.operands, case.fixed, strict=False)
    ]
    rows = list(itertools.product(*pools))
    return chance.sample(rows, min(len(rows), 100))


# Tests


def compare(native: Native, case: Case) -> None:
    rows, inputs, expected = expectations(case)
    found = native.run(case, inputs)
    if found != expected:
        wrong = next(place for place, result in enumerate(found) if result != expected[place])
        operands = ", ".join(f"{value:#x}" for value in rows[wrong])
        pytest.fail(f"{case} of {operands}: natively {found[wrong]:#x}, by meaning {expected[wrong]:#x}")


@pytest.mark.parametrize("passes", BUILDS.values(), ids=BUILDS)
def test_operations_equal_the_reference(passes: str) -> None:
    native = Native(passes, CASES)
    for case in CASES:
        compare(native, case)


def test_operations_on_constants_equal_the_reference() -> None:
    cases = [variant for case in CASES for variant in with_constants(case)]
    native = Native(LLVM_PASSES, cases)
    for case in cases:
        compare(native, case)


def test_operations_without_native_code_are_known() -> None:
    assert {str(case) for case in signatures()} - {str(case) for case in CASES} == {
        f"{op}-i128-i128-i128" for op in ("udiv", "sdiv", "urem", "srem")
    }


@pytest.mark.parametrize(
    ("op", "before", "after"),
    [
        ("shl", "and {t} {1}, {w1}", "or {t} {1}, 0"),
        ("ashr", "ashr", "lshr"),
        ("rotr", "fshr", "fshl"),
        ("urem", "{t} {0}, {t} {r}.q", "{t} 0, {t} {r}.q"),
        ("sdiv", "{t} {r}.m, {t} {r}.q", "{t} {r}.q, {t} {r}.q"),
        ("sge", "sge", "sgt"),
        ("select", "{t} {1}, {t} {2}", "{t} {2}, {t} {1}"),
        ("clz", "i1 false", "i1 true"),
    ],
)
def test_a_wrong_template_is_found(op: str, before: str, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert before in LOWER[op]
    monkeypatch.setitem(LOWER, op, LOWER[op].replace(before, after))
    cases = [case for case in CASES if case.op == op]
    native = Native(LLVM_PASSES, cases)
    with pytest.raises(pytest.fail.Exception, match=f"^{op}-"):
        for case in cases:
            compare(native, case)
