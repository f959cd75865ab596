"""Passes on random regions: sound afterwards, and a run means what it meant before, as refinement.py has it.

RANDOM_REGIONS=2000 asks for that many regions of each kind, RANDOM_SEED for another beginning.
"""

import os
import random
from collections.abc import Iterator

import pytest
from random_ir import START, Shape, random_region, random_registers
from refinement import END, Run, Runner, Wrong, had_to_be, is_emulated, why_not
from shrink_ir import shrink

from vmjit.ir.block import Block, Region, Value
from vmjit.ir.ops import OPS, Op
from vmjit.ir.parser import parse_region
from vmjit.ir.verify import verify, verify_or_raise
from vmjit.passes import access, bounds, dead, flow, fold, hoist, kinds, nearby, promote, sink
from vmjit.passes.fold import Rule
from vmjit.passes.pipeline import PIPELINE, PIPELINES, TLB_PIPELINE, Pass

REGIONS = int(os.environ.get("RANDOM_REGIONS", "30"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
SHAPES = {
    "as traced": Shape(),
    "precise": Shape(precise=True),
    "checks": Shape(checks=True),
    "loops": Shape(loops=0.4, size=20, wildness=(0,)),
    "hasty": Shape(loops=0.4, size=15, wildness=(0, 0.1), hasty=0.4),
    "floats": Shape(loops=0.3, size=20, floats=0.5),
    "wild": Shape(loops=0.3, size=15, wildness=(0.2, 0.5)),
}
STAGES = dict((*PIPELINE, *TLB_PIPELINE))
PASSES = {name: run for name, run in STAGES.items() if name != "clean"}  # "clean" is flow again
GUARDS = ("access", "lookup")
AFTER_GUARDS = ("flow", "fold", "kinds", "hoist", "bounds", "nearby", "dead", "sink")

Case = tuple[int, list[int], int]  # pc, registers, rounding mode
Passes = tuple[tuple[str, Pass], ...]

for_all_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def cases_of(region: Region, seed: int) -> list[Case]:
    chance = random.Random(seed)
    entries = [*region.entries, START - 4]  # that is none: the first block executes
    return [(pc, random_registers(chance, Shape().bases), chance.choice((0, 0, 1, 2, 3, 4))) for pc in entries * 3]


class Trial:
    """A region and its runs before any pass."""

    def __init__(self, region: Region, shape: Shape, cases: list[Case]) -> None:
        self.text = str(region)
        self.shape = shape
        self.cases = cases
        runner = Runner(region, guarded=False)
        self.before = [runner.run(*case) for case in cases]
        self.emulated: list[bool] = []  # for each run that ended so: whether it had to
        self.hoisted = False  # tests in front of loops know strides by their bounds only

    def problems(self, passes: Passes, *, at_the_end: bool = False) -> Iterator[str]:
        """What goes wrong: after each pass, or at the end only. Each leaves the region sound."""
        region = parse_region(self.text)
        names: list[str] = []
        guarded = False
        self.hoisted = False
        for name, run in passes:
            before = str(region) if name == "hoist" else ""
            region = run(region)
            names.append(name)
            guarded |= name in GUARDS
            self.hoisted |= name == "hoist" and str(region) != before
            if problems := verify(region):
                yield f"unsound after {name}: {problems}"
                return
            if not at_the_end:
                yield from self.differences(region, names, guarded)
        text = str(region)
        assert str(parse_region(text)) == text, f"the text reads differently after {names}"
        if at_the_end:
            yield from self.differences(region, names, guarded)

    def differences(self, region: Region, names: list[str], guarded: bool) -> Iterator[str]:
        runner = Runner(region, guarded=guarded)
        self.emulated = []
        for case, before in zip(self.cases, self.before, strict=True):
            after = self.run(runner, case)
            reason = after if isinstance(after, str) else self.why_not(before, after, names)
            if reason:
                yield f"after {names} {case}: {reason}"
            elif isinstance(after, Run) and is_emulated(before, after):
                self.emulated.append(had_to_be(before, after, by_root="access" in names))
                if not self.emulated[-1] and not self.hoisted:
                    yield f"after {names} {case}: an address inside guest memory is left to the evaluator"

    @staticmethod
    def run(runner: Runner, case: Case) -> Run | str:
        try:
            return runner.run(*case)
        except Wrong as wrong:
            return str(wrong)

    def why_not(self, before: Run, after: Run, names: list[str]) -> str | None:
        return why_not(before, after, settled=self.shape.precise, counted="promote" in names)

    def check(self, passes: Passes, *, at_the_end: bool = False) -> None:
        """Fails with a small region that goes wrong in the same passes."""
        first = next(self.problems(passes, at_the_end=at_the_end), None)
        if first is None:
            return
        small = shrink(parse_region(self.text), lambda region: self.goes_wrong(region, passes))
        raise AssertionError(f"{first[:1000]}\nsmallest region:\n{small}")

    def goes_wrong(self, region: Region, passes: Passes) -> bool:
        try:
            smaller = Trial(region, self.shape, self.cases)
        except Wrong:  # what ended a loop is gone
            return False
        return any(True for _ in smaller.problems(passes))


def trials(shape: Shape, count: int = REGIONS) -> Iterator[Trial]:
    for seed in range(FIRST, FIRST + count):
        region = random_region(seed, shape)
        verify_or_raise(region, after=f"random_region({seed})")
        yield Trial(region, shape, cases_of(region, seed))


def named(*names: str) -> Passes:
    return tuple((name, STAGES[name]) for name in names)


@pytest.mark.parametrize("memory", PIPELINES)
@for_all_shapes
def test_every_stage_of_the_pipeline_means_the_same(shape: Shape, memory: str) -> None:
    runs, accesses, emulated = 0, 0, []
    for trial in trials(shape):
        trial.check(PIPELINES[memory])
        runs += len(trial.before)
        accesses += sum(len(run.accesses) for run in trial.before)
        emulated += trial.emulated
    assert accesses > runs
    assert emulated.count(True) > 2 * emulated.count(False)


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_alone_means_the_same(name: str) -> None:
    """On what tracing makes, and on guarded accesses, where there is more to do for some."""
    guards = named("lookup" if name == "nearby" else "access", "promote") if name in AFTER_GUARDS else ()
    changed = 0
    for trial in trials(SHAPES["checks"], REGIONS // 2):
        trial.check(named(name))
        trial.check((*guards, (name, STAGES[name])))
        changed += changes((*guards, *named("flow")) if name == "hoist" else guards, name, trial.text)
    assert changed > 1


def test_guards_of_handlers_tell_the_fault() -> None:
    """What is outside guest memory never gets as far as the access."""
    shape = Shape(handler=True, counter="steps", bound=40)
    told = 0
    for trial in trials(shape):
        trial.check(named("access"))
        runner = Runner(access.run(parse_region(trial.text)), guarded=True)
        for case, before in zip(trial.cases, trial.before, strict=True):
            after = trial.run(runner, case)
            assert isinstance(after, Run)
            outside = before.outcome is None and before.accesses[-1].address >= END
            assert (after.outcome != before.outcome) == outside
            if outside:
                told += 1
                assert after.outcome is not None and after.outcome[:2] == ("fault", case[0])
    assert told > 0


def changes(before: Passes, name: str, text: str) -> bool:
    region = parse_region(text)
    for _, run in before:
        region = run(region)
    text = str(region)
    return str(STAGES[name](region)) != text


@for_all_shapes
def test_passes_in_other_orders_mean_the_same(shape: Shape) -> None:
    """Guards come before promotion, which gives their exits what to store; all else may come as it likes."""
    for number, trial in enumerate(trials(shape)):
        order = random.Random(number).choices(AFTER_GUARDS, k=7)
        trial.check(named("access", "promote", *order), at_the_end=True)


@pytest.mark.parametrize("name", [name for name in AFTER_GUARDS if name != "sink"])  # one place leads to the next
def test_second_run_finds_nothing(name: str) -> None:
    """Each pass in its place. Guards would be set again, and so would what is stored before `settle`."""
    for seed in range(FIRST, FIRST + REGIONS):
        region = random_region(seed, SHAPES["precise" if seed % 2 else "checks"])
        for stage, run in TLB_PIPELINE if name == "nearby" else PIPELINE:
            region = run(region)
            if stage == name:
                break
        once = str(region)
        assert str(STAGES[name](region)) == once, f"seed {seed}"


def test_every_rule_is_applied_and_means_the_same() -> None:
    for rule in fold.RULES:
        before = fold.applied[rule]
        for trial in trials(Shape(rule=rule, size=20), 40):
            trial.check(named("fold"))
            if fold.applied[rule] > before:
                break
        assert fold.applied[rule] > before, rule


# Defects, each put into a pass for a while.


def droppable(op: str) -> frozenset[Op]:
    return dead._DROPPABLE | {OPS[op]}


def nothing_settled(self: object, block: Block, dirty: object) -> dict[Value, list[Value]]:
    return {value: [] for value in block.ops if value.op.name == "settle"}


def drop_all_below(self: hoist._Loops, header: Block, leaves: object, strides: object) -> None:
    for block in self.region.blocks:
        checked = block is not header and block.terminator is not None and hoist._checked(block) is not None
        if checked and self.dominates(header, block):
            self.drop(block)


WRONG_RULES = (Rule("wrong", lambda x, c: (x + c, x | c)),)
DEFECTS: dict[str, tuple[str, object, str, object]] = {
    "offsets beyond the guard": ("wild", access, "MOST_OFFSET", 1 << 63),
    "an exit that stores nothing": ("as traced", promote._Promotion, "after", lambda self, block, dirty: 0),
    "registers not settled": ("precise", promote._Promotion, "settled", nothing_settled),
    "a count that is not known": ("as traced", promote, "_VOLATILE", frozenset(("instret",))),
    "parameters used below": ("loops", flow, "_with_params_used_below", lambda *given: set()),
    "a wrong rule": (
        "as traced",
        fold,
        "_rules_for",
        lambda shape: WRONG_RULES if shape[::2] == ("add", "const") else (),
    ),
    "no load for its fault": ("as traced", dead, "_DROPPABLE", droppable("load")),
    "no exchange for its effect": ("as traced", dead, "_DROPPABLE", droppable("atomic_xchg")),
    "checks that decide others far away": ("wild", bounds, "REACH", 1 << 62),
    "checks known without one": ("wild", bounds, "_known", lambda region, bits: dict.fromkeys(region.blocks, -1)),
    "strides that are large": ("wild", hoist, "STRIDE_BITS", 62),
    "constants that are large": ("wild", hoist, "MOST_CONSTANT", 1 << 63),
    "strides that change": ("loops", hoist._Loops, "is_invariant", lambda *given: True),
    "singles that are not boxed": ("floats", kinds, "_is_boxed", lambda value: True),
    "an entry where nothing is boxed": ("floats", kinds._Singles, "guard", lambda *given: None),
    "values that are used where they were": ("as traced", sink._Sinking, "may_move", lambda *given: True),
    "a header with effects": ("loops", hoist._Loops, "can_copy", lambda *given: True),
    "checks below that are far away": ("wild", hoist._Loops, "drop_dependent", drop_all_below),
    "reads that serve writes": ("as traced", nearby, "_serves", lambda *given: True),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, place, attribute, defect = DEFECTS[name]
    monkeypatch.setattr(place, attribute, defect)
    monkeypatch.setattr(fold, "_by_shape", {})
    for seed in range(400):
        region = random_region(seed, SHAPES[shape])
        trial = Trial(region, SHAPES[shape], cases_of(region, seed))
        passes = TLB_PIPELINE if place is nearby else PIPELINE
        if next(trial.problems(passes, at_the_end=True), None):
            return
    pytest.fail("not in 400 regions")


def test_a_region_that_goes_wrong_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead, "_DROPPABLE", droppable("load"))
    with pytest.raises(AssertionError, match="smallest region") as raised:
        for trial in trials(SHAPES["as traced"], 20):
            trial.check(named("dead"))
    smallest = str(raised.value).partition("smallest region:\n")[2]
    assert "load" in smallest and len(smallest.splitlines()) <= 12
