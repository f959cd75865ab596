"""Random regions and handlers, lowered and run natively: state, memory and exit are what the meaning of their IR says.

LOWERED_REGIONS=2000 asks for that many of each kind, RANDOM_SEED for another beginning.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from native_regions import BASES, Bench, Endless, Given, Lowered
from random_ir import (
    ARITHMETIC,
    BINARY,
    COMPARISONS,
    DIVISIONS,
    FLOAT_COMPARISONS,
    HANDLED_SIZE,
    IN_MEMORY,
    INTEGERS,
    LAYOUT,
    RMW,
    START,
    Shape,
    random_region,
    random_registers,
)
from shrink_ir import shrink

from vmjit.codegen import lower, operations
from vmjit.codegen.native import INTERPRETED_ONLY
from vmjit.codegen.operations import LOWER
from vmjit.engine.state import FOREVER
from vmjit.ir.block import Region, Terminator, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.ops import CHAINS, OPS, ORDERS
from vmjit.ir.parser import parse_region
from vmjit.ir.printer import printed_type
from vmjit.ir.types import FLOATS, WIDTH
from vmjit.ir.verify import EXITS, verify_or_raise
from vmjit.jit.compiler import Compiler
from vmjit.passes import access, lookup, promote
from vmjit.passes.pipeline import PIPELINE, TLB_PIPELINE, Pass

REGIONS = int(os.environ.get("LOWERED_REGIONS", "40"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
BATCH = 20  # regions of a module
RUNS = 3  # of an entry
LIMITS = (60, 60, 60, 1, FOREVER)  # guest code is not entered at all with 0

# Without guards addresses stay in guest memory and near it, and without promotion only what leaves may count.
_RAW = Shape(counter="steps", bound=40, wild=False, bases=BASES, window=0xFFF)
_WHOLE = Shape(bases=BASES)
_ALL = tuple(run for _, run in PIPELINE)
KINDS: dict[str, tuple[Shape, tuple[Pass, ...]]] = {
    "as they are": (_RAW, ()),
    "settled": (replace(_RAW, precise=True), ()),
    "guarded and promoted": (_WHOLE, (access.run, promote.run)),
    "after all passes": (_WHOLE, _ALL),
    "precise, after all passes": (replace(_WHOLE, precise=True), _ALL),
    "loops, after all passes": (replace(_WHOLE, loops=0.4, size=20, precise=True), _ALL),
    "handlers": (replace(_RAW, handler=True), ()),
    "guarded handlers": (replace(_RAW, handler=True, wild=True), (access.run,)),
    "behind a TLB": (_WHOLE, tuple(run for _, run in TLB_PIPELINE)),
    "behind a TLB, translated": (_WHOLE, (lookup.run, promote.run)),
    "handlers behind a TLB": (replace(_RAW, handler=True, wild=True), (lookup.run,)),
}
# What regions cannot have, or what the tests below are for.
NOT_HERE = {
    "clock": "no two runs agree on it",
    "host_flags": "alone in its handler",
    "clear_host_flags": "alone in its handler",
    "set_rounding": "alone in its handler",
}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench(Compiler())
    yield made
    made.close()


def made_region(seed: int, kind: str) -> Region:
    shape, passes = KINDS[kind]
    region = random_region(seed, shape)
    for run in passes:
        region = run(region)
    verify_or_raise(region, after=f"making region {seed}")
    return region


def runs_of(lowered: Lowered, seed: int, kind: str) -> list[Given]:
    chance = random.Random(seed)
    shape, _ = KINDS[kind]
    entries = (START,) if shape.handler else (*lowered.region.entries, START - 4)  # at which no entry is
    limits = LIMITS if shape.counter == "steps" else LIMITS[:1]
    return [
        Given(
            entry,
            tuple(random_registers(chance, BASES)),
            chance.randrange(4),
            chance.choice(limits),
            chance.choice((0, 0, 59)),
            (chance.getrandbits(8), chance.getrandbits(32) - (1 << 31)),
        )
        for entry in entries * RUNS
    ]


def difference(lowered: Lowered, given: Given) -> str:
    return lowered.meant(given).differences(lowered.natively(given))


@pytest.mark.parametrize("kind", KINDS)
def test_native_code_means_what_its_ir_means(kind: str, bench: Bench) -> None:
    handlers = "handlers" in kind
    for first in range(FIRST, FIRST + REGIONS, BATCH):
        seeds = range(first, min(first + BATCH, FIRST + REGIONS))
        with bench.compiled([made_region(seed, kind) for seed in seeds], handlers=handlers) as found:
            for seed, lowered in zip(seeds, found, strict=True):
                for given in runs_of(lowered, seed, kind):
                    wrong = difference(lowered, given)
                    if wrong:
                        report(bench, lowered, given, f"seed {seed}, {given}: {wrong}", handlers)


def report(bench: Bench, lowered: Lowered, given: Given, wrong: str, handlers: bool) -> None:
    """Fails with a small region that goes wrong in the same way."""

    def fails(region: Region) -> bool:
        with bench.compiled([region], handlers=handlers) as (small,), suppress(Endless):
            return bool(difference(small, given))
        return False

    small = shrink(parse_region(str(lowered.region)), fails)
    raise AssertionError(f"{wrong}\nsmallest region:\n{small}")


# What the regions consist of.

REGIONS_ENOUGH = 1000


def expected() -> set[tuple[str, str]]:
    """What must have run: every operation at every type that it has native code for, and every way to end a block."""
    found = {(op.name, "") for op in OPS.values()} - {(name, "") for name in NOT_HERE}
    found |= {(op, type) for op in (*BINARY, *COMPARISONS, "clz", "ctz", "ctpop") for type in INTEGERS}
    found -= {(op, "i128") for op in DIVISIONS}
    found |= {("bswap", type) for type in INTEGERS if WIDTH[type] >= 16}
    found |= {(op, type) for op in ("select", "param", "const") for type in WIDTH}
    found |= {(op, type) for op in ("load", "store") for type in IN_MEMORY}
    found |= {(op, type) for op in (*RMW, "atomic_load", "compare_exchange") for type in IN_MEMORY[:4]}
    found |= {(op, type) for op in (*ARITHMETIC, *FLOAT_COMPARISONS) for type in FLOATS}
    found |= {(op, type) for op in ("zext", "sext") for type in INTEGERS[1:]}
    found |= {("trunc", type) for type in INTEGERS[:-1]}
    found |= {(op, type) for op in ("fconvert", "sitofp", "uitofp", "fcanon") for type in FLOATS}
    found |= {(op, type) for op in ("fptosi", "fptoui") for type in ("i32", "i64")}
    found |= {("bitcast", type) for type in ("i32", "i64", "f32", "f64")}
    found |= {("fence", order) for order in ORDERS} | {("chain", how) for how in CHAINS}
    return found | {("exit", reason) for reason in EXITS} | {("jump", ""), ("branch", ""), ("switch", "")}


def executed_by(lowered: Lowered) -> set[tuple[str, str]]:
    found = set()
    for block in (lowered.region.blocks[number] for number in lowered.blocks):
        found.add((block.end.kind, block.end.attr or ""))
        for value in (*block.params, *block.ops):
            found |= {(value.op.name, ""), (value.op.name, printed_type(value) or str(value.attr))}
    return found


def test_every_operation_is_executed(bench: Bench) -> None:
    """In one process, so with regions of its own."""
    left = expected()
    kinds = ("as they are", "settled", "handlers", "behind a TLB")
    for first in range(FIRST + REGIONS, FIRST + REGIONS + REGIONS_ENOUGH, BATCH):
        kind = kinds[first // BATCH % len(kinds)]
        regions = [made_region(seed, kind) for seed in range(first, first + BATCH)]
        with bench.compiled(regions, handlers=kind == "handlers") as found:
            for seed, lowered in enumerate(found, first):
                for given in runs_of(lowered, seed, kind):
                    assert not difference(lowered, given), f"{kind}, seed {seed}, {given}"
                left -= executed_by(lowered)
        if not left:
            return
    pytest.fail(f"never executed: {sorted(left)}")


# Accesses alone: every width, order and alignment.

VALUES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x80000000, 0x7FFFFFFF, 1 << 63, (1 << 64) - 1, 0x0123456789ABCDEF)


def access_region(name: str, type: str, order: str | None) -> Region:
    """r1 is stored at r0, then the access, with r2 and r3 as its operands; its result goes to r3."""
    region = Region("access", START)
    emitter = Emitter(region, region.new_block())
    region.entries[START] = emitter.block
    address, *operands = (emitter.emit("get", "i64", attr=f"r{number}") for number in range(4))
    old, new, other = (_of_type(emitter, type, operand) for operand in operands)
    emitter.pc = START + 4
    emitter.emit("store", None, address, old)
    emitter.pc = START + 8
    result = "i1" if name == "compare_exchange" else None if name == "store" else type
    given = {"load": (), "atomic_load": (), "compare_exchange": (new, other)}.get(name, (new,))
    value = emitter.emit(name, result, address, *given, attr=order)
    if result is not None:
        emitter.emit("set", None, _as_word(emitter, value), attr="r3")
    emitter.exit("syscall", emitter.const("i64", 0x3000), emitter.const("i64", 0))
    return region


def _of_type(emitter: Emitter, type: str, word: Value) -> Value:
    return emitter.convert("bitcast", type, emitter.convert("trunc", f"i{WIDTH[type]}", word))


def _as_word(emitter: Emitter, value: Value) -> Value:
    assert value.type is not None
    return emitter.convert("zext", "i64", emitter.convert("bitcast", f"i{WIDTH[value.type]}", value))


def accesses() -> Iterator[tuple[str, str, str | None]]:
    yield from ((name, type, None) for name in ("load", "store") for type in IN_MEMORY)
    for type in IN_MEMORY[:4]:
        yield from (("atomic_load", type, order) for order in ("relaxed", "acquire", "seq_cst"))
        orders = ORDERS if type == "i32" else ORDERS[-1:]
        yield from ((name, type, order) for name in (*RMW, "compare_exchange") for order in orders)


def test_accesses_of_every_width_and_order(bench: Bench) -> None:
    """At every alignment where it does not matter, across pages and at the end of guest memory, too."""
    cases = list(accesses())
    chance = random.Random(FIRST)
    with bench.compiled([access_region(*case) for case in cases]) as found:
        for (name, type, order), lowered in zip(cases, found, strict=True):
            size = WIDTH[type] // 8
            last = BASES[-1] + 0x1000 - size
            places = range(0x20FF8, 0x21004, size if order else 1)
            for address in (*places, last + (0 if order else 1), last + size, 0x22FFF & -(size if order else 1), 8):
                values = chance.choices(VALUES, k=3)
                given = Given(START, (address, *values, 0, 0))
                wrong = difference(lowered, given)
                assert not wrong, f"{name}.{type} {order} {given}: {wrong}"
            if name == "compare_exchange":  # with what is there
                assert not difference(lowered, Given(START, (0x20010, 5, 5, 7, 0, 0)))


# The host's floating-point environment: operations that stand alone in handlers.


def handler_of(*ops: tuple[str, str | None, str | None]) -> Region:
    """Operations as (name, operand register, result register), then the next instruction."""
    region = Region("handler", START)
    emitter = Emitter(region, region.new_block())
    for name, operand, result in ops:
        args = [emitter.emit("get", "i64", attr=operand)] if operand else []
        value = emitter.emit(name, "i64" if result else None, *args)
        if result:
            emitter.emit("set", None, value, attr=result)
    pc = emitter.emit("pc", "i64")
    emitter.chain(emitter.emit("add", "i64", pc, emitter.const("i64", HANDLED_SIZE)), "fall")
    return region


def inexact_sum() -> Region:
    """r5 = 1 + r4 * 2**-60, in the mode in force."""
    region = Region("handler", START)
    emitter = Emitter(region, region.new_block())
    tiny = emitter.convert("bitcast", "f64", emitter.emit("get", "i64", attr="r4"))
    total = emitter.emit("fadd", "f64", emitter.const("f64", 0x3FF << 52), tiny, attr="dynamic")
    emitter.emit("set", None, emitter.convert("bitcast", "i64", total), attr="r5")
    pc = emitter.emit("pc", "i64")
    emitter.chain(emitter.emit("add", "i64", pc, emitter.const("i64", HANDLED_SIZE)), "fall")
    return region


ENVIRONMENT = (
    handler_of(("host_flags", None, "r0"), ("set_rounding", "r1", None)),
    inexact_sum(),
    handler_of(("host_flags", None, "r2"), ("clear_host_flags", None, None)),
    handler_of(("host_flags", None, "r3")),
)


@pytest.mark.parametrize(
    ("mode", "sign", "result"), [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 1), (2, 1, -1), (1, 1, -1)]
)
def test_the_floating_point_environment(mode: int, sign: int, result: int, bench: Bench) -> None:
    """Four instructions in a row: rounding is set, an inexact sum made, flags are read and forgotten."""
    one = 0x3FF << 52
    tiny = (0x3FF - 60) << 52 | sign << 63
    expected = one + result
    with bench.compiled(list(ENVIRONMENT), handlers=True) as found:
        words = bench.native.words
        found[0].prepare(words, Given(START, (9, mode, 9, 9, tiny, 0)))
        for number, handler in enumerate(found):
            bench.native.set_code(START + HANDLED_SIZE * number, handler.code)
        bench.native.enter()
        for number in range(len(found)):
            bench.native.set_code(START + HANDLED_SIZE * number, 0)
    registers = [words[LAYOUT.word(f"r{number}")] for number in range(6)]
    assert registers == [0, mode, 1, 0, tiny, expected]
    assert words[LAYOUT.word("fflags")] == 0 and words[LAYOUT.word("pc")] == START + HANDLED_SIZE * len(ENVIRONMENT)


def test_what_is_not_here_is_said() -> None:
    assert set(NOT_HERE) == INTERPRETED_ONLY


# Defects, each put into lowering for a while.


def template(op: str, before: str, after: str) -> tuple[object, str, object]:
    assert before in LOWER[op]
    return operations.LOWER, op, LOWER[op].replace(before, after)


def instead(method: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> tuple[object, str, object]:
    """A method of lowering by what is made of it."""
    return lower.Lowering, method, make(getattr(lower.Lowering, method))


def exchanging_edges(branch: Callable[..., Any]) -> Callable[..., Any]:
    def lowered(self: lower.Lowering, end: Terminator) -> Any:
        edges = end.edges[::-1] if not any(edge.args for edge in end.edges) else end.edges
        return branch(self, Terminator(end.kind, end.args, edges, end.attr, end.cases))

    return lowered


def without_argument(exit: Callable[..., None]) -> Callable[..., None]:
    return lambda self, reason, pc, argument: exit(self, reason, pc, "0")


DEFECTS: dict[str, tuple[str, tuple[object, str, object]]] = {
    "a comparison of the other sign": ("as they are", template("slt", "slt", "ult")),
    "an extension of the other sign": ("as they are", template("sext", "sext", "zext")),
    "edges exchanged": ("after all passes", instead("branch", exchanging_edges)),
    "an exit without argument": ("guarded handlers", instead("exit", without_argument)),
    "a limit that is not looked at": ("handlers", instead("require_time", lambda method: lambda self, pc: None)),
    "a limit that a region does not look at": (
        "as they are",
        instead("require_time_first", lambda method: lambda self: None),
    ),
    "a count that is not kept": ("after all passes", instead("op_set", lambda method: lambda self, value: None)),
    "an access of another instruction": ("as they are", (lower.Lines, "attachment", lambda self, pc: ", !dbg !3")),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, (place, attribute, defect) = DEFECTS[name]
    if isinstance(place, dict):
        monkeypatch.setitem(place, attribute, defect)
    else:
        monkeypatch.setattr(place, attribute, defect)
    for first in range(0, 200, BATCH):
        regions = [made_region(seed, kind) for seed in range(first, first + BATCH)]
        with bench.compiled(regions, handlers="handlers" in kind) as found:
            for seed, lowered in enumerate(found, first):
                if any(difference(lowered, given) for given in runs_of(lowered, seed, kind)):
                    return
    pytest.fail("not in 200 regions")
