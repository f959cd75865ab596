"""Random regions and handlers, lowered and run natively: state, memory and exit are what the meaning of their IR says.

LOWERED_REGIONS=2000 asks for that many of each kind, RANDOM_SEED for another beginning.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from native_regions import ARRIVED, BASES, Bench, Given, Lowered
from random_ir import FIELDS, LAYOUT, START, Shape, random_region, random_registers
from shrink_ir import shrink

from vmjit.codegen.native import INTERPRETED_ONLY
from vmjit.codegen.operations import LOWER
from vmjit.engine.native import FOREVER
from vmjit.ir.block import Block, Edge, Region, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.ops import OPS
from vmjit.ir.parser import parse_region
from vmjit.ir.verify import verify_or_raise
from vmjit.jit.compiler import Compiler
from vmjit.passes import access, promote
from vmjit.passes.pipeline import PIPELINE, Pass

REGIONS = int(os.environ.get("LOWERED_REGIONS", "60"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
BATCH = 20  # regions of a module
RUNS = 4  # of an entry
LIMITS = (60, 60, 60, 0, FOREVER)

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
}
# What regions cannot have, or what the tests below are for.
NOT_HERE = {
    "clock": "only the reference evaluator executes it",
    "host_flags": "alone in its handler",
    "clear_host_flags": "alone in its handler",
    "set_rounding": "alone in its handler",
}

executed: Counter[tuple[str, str]] = Counter()  # (operation, type) -> regions that ran it
reasons: Counter[str] = Counter()


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
    entries = tuple(lowered.region.entries) or (START,)
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
    expected = lowered.meant(given)
    reasons[expected.reason] += 1
    return expected.differences(lowered.natively(given))


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
                count_executed(lowered)


def report(bench: Bench, lowered: Lowered, given: Given, wrong: str, handlers: bool) -> None:
    """Fails with a small region that goes wrong in the same way."""

    def fails(region: Region) -> bool:
        with bench.compiled([region], handlers=handlers) as (small,):
            return bool(difference(small, given))

    small = shrink(parse_region(str(lowered.region)), fails)
    raise AssertionError(f"{wrong}\nsmallest region:\n{small}")


def count_executed(lowered: Lowered) -> None:
    blocks = [lowered.region.blocks[number] for number in lowered.blocks]
    values = [value for block in blocks for value in (*block.params, *block.ops)]
    executed.update({(value.op.name, type_of(value)) for value in values})
    executed.update({(block.end.kind, block.end.attr or "") for block in blocks})
