"""Every peephole rule: both sides have the same value, and what a rule was compiled to does what it says.

Rules know no widths, so they are evaluated with widths that no region has: for all values of up to four bits. At the
real widths come corner and random values.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from vmjit.ir.block import CONST, Block, Region, Terminator, Value
from vmjit.ir.interpret import CANONICAL_NAN, MEANING, NAMES, evaluate
from vmjit.ir.ops import OPS
from vmjit.ir.types import MASK, WIDTH
from vmjit.passes import fold
from vmjit.passes.fold import CONVERSIONS, RULES, Rule, Term, Type

ALL_RULES = [Rule(name, function) for name, function in RULES.items()]
ON_FLOATS = frozenset(("fcanon",))
SMALL = (1, 2, 4)
REAL = (1, 8, 16, 32, 64, 128)

Widths = dict[Type, int]
Wrong = tuple[dict[str, int], int, int]  # the variables, before, after

_compiled: dict[tuple[str, int, int], Callable[..., int]] = {}


def meaning(op: str, width: int, operand: int) -> Callable[..., int]:
    """The meaning of an operation at any widths, of its result and of the operand that steers it."""
    key = (op, width, operand)
    if key not in _compiled:
        known = {"m": (1 << width) - 1, "w": width, "w1": width - 1, "n": operand, "h": 1 << (operand - 1)}
        known["nan"] = CANONICAL_NAN.get(operand, 0)
        names = [f"a{index}" for index in range(len(OPS[op].operands))]
        source = MEANING[op].format(*names, **known)
        _compiled[key] = eval(f"lambda {', '.join(names)}: int({source})", dict(NAMES))
    return _compiled[key]


def value_of(term: Term, widths: Widths, values: dict[str, int]) -> int:
    width = widths[term.type.find()]
    if not term.op:
        return values[term.name] if term.name else term.literal & ((1 << width) - 1)
    args = [value_of(arg, widths, values) for arg in term.args]
    steering = term.args[1 if term.op == "select" else 0]
    return meaning(term.op, width, widths[steering.type.find()])(*args)


def terms(rule: Rule) -> list[Term]:
    return [term for side in (rule.before, rule.after, rule.when) if side is not None for term in side.walk()]


def widths_of(rule: Rule, choices: Sequence[int]) -> Iterator[Widths]:
    """All ways to give the types of a rule widths that its conversions allow."""
    types = list(dict.fromkeys(term.type.find() for term in terms(rule)))
    free = [type for type in types if type.name is None]
    if any(term.op in ON_FLOATS for term in terms(rule)):
        choices = [width for width in choices if width in CANONICAL_NAN]
    for chosen in itertools.product(choices, repeat=len(free)):
        widths = dict(zip(free, chosen, strict=True)) | {type: WIDTH[type.name] for type in types if type.name}
        if all(allowed(term, widths) for term in terms(rule)):
            yield widths


def allowed(term: Term, widths: Widths) -> bool:
    if term.op not in CONVERSIONS:
        return True
    source, result = widths[term.args[0].type.find()], widths[term.type.find()]
    return source == result if term.op == "bitcast" else source > result if term.op == "trunc" else source < result


def wrong(rule: Rule, widths: Widths, cases: Iterator[tuple[int, ...]]) -> tuple[int, Wrong | None]:
    """How many cases the rule applies to, and the first where it is wrong."""
    applies = 0
    for case in cases:
        values = dict(zip((variable.name for variable in rule.variables), case, strict=True))
        if rule.when is not None and not value_of(rule.when, widths, values):
            continue
        applies += 1
        before, after = (value_of(side, widths, values) for side in (rule.before, rule.after))
        if before != after:
            return applies, (values, before, after)
    return applies, None


def all_values(rule: Rule, widths: Widths) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(1 << widths[variable.type.find()]) for variable in rule.variables))


def samples(rule: Rule, widths: Widths, count: int = 60) -> Iterator[tuple[int, ...]]:
    """Corner and random values, equal variables among them; constants are corners more often."""
    chance = random.Random(rule.name)
    for _ in range(count):
        yield tuple(sample(chance, widths[variable.type.find()]) for variable in rule.variables)


def sample(chance: random.Random, width: int) -> int:
    ones = (1 << width) - 1
    corners = (0, 1, 2, ones, ones >> 1, ones ^ (ones >> 1), 1 << chance.randrange(width), width - 1, width // 2)
    masks = (ones >> chance.randrange(width), ones << chance.randrange(width))
    return chance.choice((*corners, *masks, chance.getrandbits(width))) & ones


def first_wrong(rule: Rule) -> Wrong | None:
    """The first case found where the two sides of a rule differ; asserts that it applies somewhere."""
    applies = 0
    for choices, cases in ((SMALL, all_values), (REAL, samples)):
        for widths in widths_of(rule, choices):
            count, found = wrong(rule, widths, cases(rule, widths))
            applies += count
            if found is not None:
                return found
    assert applies > 0, f"{rule.name} was not tried"
    return None


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_sides_of_a_rule_are_equal(rule: Rule) -> None:
    assert first_wrong(rule) is None


def test_wrong_rule_is_found() -> None:
    assert first_wrong(Rule("wrong", lambda x: (x + 0, x + 1))) == ({"x": 0}, 0, 1)
    assert first_wrong(Rule("wrong_when", lambda x, c: (x * c, x << c.ctz(), c != 0))) is not None
    assert first_wrong(Rule("wrong_extension", lambda x: (x.sext().zext(), x.zext()))) is not None
    assert first_wrong(Rule("wrong_narrow", lambda x, c: (x.zext() == c, x == c.trunc(x)))) is not None


def build(term: Term, types: dict[Type, str], variables: dict[str, Value]) -> Value:
    type = types[term.type.find()]
    if term.name:
        return variables[term.name]
    if not term.op:
        return Value(CONST, type, (), term.literal & MASK[type])
    return Value(OPS[term.op], type, tuple(build(arg, types, variables) for arg in term.args))


def compute(value: Value, known: dict[Value, int]) -> int:
    if value in known:
        return known[value]
    if value.is_const:
        assert isinstance(value.attr, int)
        return value.attr
    assert value.type is not None
    steering = value.args[1 if value.op.name == "select" else 0].type
    return evaluate(value.op.name, value.type, steering, tuple(compute(arg, known) for arg in value.args))


def type_names(rule: Rule, widths: Widths) -> dict[Type, str]:
    """Types of these widths: integers, or floats where the rule is about them."""
    floats = {term.type.find() for term in terms(rule) if term.op in ON_FLOATS}
    floats |= {term.args[0].type.find() for term in terms(rule) if term.op == "bitcast"}
    floats -= {term.type.find() for term in terms(rule) if term.op == "bitcast" and term is rule.before}
    return {type: f"{'f' if type in floats and width in (32, 64) else 'i'}{width}" for type, width in widths.items()}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_compiled_rule_does_what_it_says(rule: Rule) -> None:
    tried = 0
    for widths in widths_of(rule, REAL):
        types = type_names(rule, widths)
        for case in samples(rule, widths, 20):
            values = dict(zip((variable.name for variable in rule.variables), case, strict=True))
            variables = {}
            for term in rule.variables:
                op, attr = (CONST, values[term.name]) if term.is_constant else (OPS["get"], None)
                variables[term.name] = Value(op, types[term.type.find()], (), attr)
            before = build(rule.before, types, variables)
            after = rule.rewrite(before, Value, lambda type, bits: Value(CONST, type, (), bits))
            applies = rule.when is None or value_of(rule.when, widths, values) != 0
            assert (after is not None) == applies, (values, types)
            if after is not None:
                tried += 1
                known = {variables[name]: value for name, value in values.items()}
                assert after.type == before.type
                assert compute(after, known) == compute(before, known), (values, types)
    assert tried > 0


def test_rule_asks_for_the_types_it_needs() -> None:
    """select(b, 1, 0) is no extension when it gives a float, and x == 0 no negation when x is wide."""
    condition, one, zero = Value(OPS["get"], "i1"), Value(CONST, "f32", (), 1), Value(CONST, "f32", (), 0)
    assert folded(Value(OPS["select"], "f32", (condition, one, zero))).op.name == "select"
    wide, null = Value(OPS["get"], "i64"), Value(CONST, "i64", (), 0)
    assert folded(Value(OPS["eq"], "i1", (wide, null))).op.name == "eq"


def test_applied_rules_are_counted() -> None:
    before = fold.applied["add_zero"]
    assert folded(Value(OPS["add"], "i64", (Value(OPS["get"], "i64"), Value(CONST, "i64", (), 0)))).op.name == "get"
    assert fold.applied["add_zero"] == before + 1


def folded(value: Value) -> Value:
    """What the pass makes of a value and its operands, all in one block."""
    region = Region("main")
    block = Block("b0")
    region.blocks.append(block)
    user = Value(OPS["fence"], None, (value,))  # not a legal one, but the pass only looks at operands
    block.ops = [*value.args, value, user]
    block.terminator = Terminator("exit")
    fold.run(region)
    return user.args[0]
