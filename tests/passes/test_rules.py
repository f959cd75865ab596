"""Every peephole rule: both sides have the same value, and what a rule was compiled to does what it says.

rule_prover.py tries all values of small widths; at the real widths come corner and random values.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from rule_prover import (
    SMALL,
    SMALLEST_FLOAT,
    Widths,
    canonical_of,
    compiled,
    disproof,
    first_wrong,
    infinity_of,
    is_nan,
    terms,
    types_of,
    widths_of,
)

from vmjit.ir import softfloat
from vmjit.ir.block import CONST, Block, Region, Terminator, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.interpret import CANONICAL_NAN, MEANING, evaluate
from vmjit.ir.ops import OPS
from vmjit.ir.types import FLOATS, MASK, WIDTH
from vmjit.ir.verify import verify
from vmjit.passes import fold
from vmjit.passes.fold import COMMUTATIVE, CONVERSIONS, RULES, Rule, Sides, Term, Type, infer, literal, select

ALL_RULES = [Rule(name, function) for name, function in RULES.items()]
BY_NAME = {rule.name: rule for rule in ALL_RULES}
REAL = (1, 8, 16, 32, 64, 128)
INTEGERS = tuple(type for type in WIDTH if type not in FLOATS)

for_all_rules = pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)


# The sides of rules


@for_all_rules
def test_sides_of_a_rule_are_equal(rule: Rule) -> None:
    assert disproof(rule) is None


@for_all_rules
def test_sides_of_a_rule_are_equal_at_real_widths(rule: Rule) -> None:
    applies = 0
    for widths in widths_of(rule, REAL):
        sides = compiled(rule, widths)
        for case in samples(rule, widths, 60):
            found = sides(*case)
            applies += found is not None
            assert found is None or found[0] == found[1], (widths, case, found)
    assert applies > 0


def samples(rule: Rule, widths: Widths, count: int) -> Iterator[tuple[int, ...]]:
    """Corner and random values, equal variables among them; constants are corners more often."""
    chance = random.Random(rule.name)
    for _ in range(count):
        yield tuple(sample(chance, widths[variable.type.find()]) for variable in rule.variables)


def sample(chance: random.Random, width: int) -> int:
    ones = (1 << width) - 1
    corners = [0, 1, 2, ones, ones >> 1, ones ^ (ones >> 1), 1 << chance.randrange(width), width - 1, width, width + 1]
    masks = (ones >> chance.randrange(width), ones << chance.randrange(width))
    if width in CANONICAL_NAN:
        infinity = infinity_of(width)
        corners += [infinity, infinity + 1, canonical_of(width), canonical_of(width) + 1, infinity - 1, -infinity]
    return chance.choice((*corners, *masks, chance.getrandbits(width))) & ones


@pytest.mark.parametrize("width", CANONICAL_NAN)
def test_small_floats_are_made_like_the_real_ones(width: int) -> None:
    """The formulas for a few bits give the constants of binary32 and binary64 when told their fraction."""
    assert canonical_of(width) == CANONICAL_NAN[width]
    assert softfloat.is_nan(width, infinity_of(width) + 1) and not softfloat.is_nan(width, infinity_of(width))
    for small in range(SMALLEST_FLOAT, max(SMALL) + 1):
        nans = [bits for bits in range(1 << small) if is_nan(small, bits)]
        fraction = (small - 1) // 2
        assert len(nans) == 2 * ((1 << fraction) - 1) and canonical_of(small) in nans
        assert not is_nan(small, infinity_of(small)) and is_nan(small, infinity_of(small) + 1)


# The prover itself

WRONG: dict[str, Callable[..., Sides]] = {
    "value": lambda x: (x + 0, x + 1),
    "one value of many": lambda x: (x & 0x7F, x, x != 0x80),  # right up to 7 bits
    "carry": lambda x, y: (x + y, x | y),
    "overflow": lambda x, y: (x.slt(y), (x - y).slt(0)),
    "overflow, unsigned": lambda x, y: ((x + y).ult(x), literal(1) ^ (x.uge(y))),
    "sign": lambda x, y: (x.slt(y), x.ult(y)),
    "bound": lambda x: (x.ult(2), x == 0),
    "swapped choice": lambda b, x, y: (select(b, x, y), select(b, y, x)),
    "shift back": lambda x, c: ((x << c).lshr(c), x),
    "shift back, signed": lambda x, c: (x.ashr(c) << c, x),
    "shifts beyond the width": lambda x, c1, c2: (x.lshr(c1).lshr(c2), x.lshr(c1 + c2)),
    "shift by the width": lambda x, c: (x << c, 0, c.uge(8)),
    "sign of a shift": lambda x, c: (x.ashr(c), x.lshr(c)),
    "rotation": lambda x, c: (x.rotl(c), x.rotr(c)),
    "condition too weak": lambda x, c: (x * c, x << c.ctz(), c != 0),
    "condition on the wrong constant": lambda x, c1, c2: ((x & c1) | c2, x | c2, c2 == 0),
    "extension": lambda x: (x.sext().zext(), x.zext()),
    "narrowed constant": lambda x, c: (x.zext() == c, x == c.trunc(x)),
    "narrowed constant, signed": lambda x, c: (x.sext() == c, 0, c.trunc(x).zext() != c),
    "truncated sum": lambda x, c: ((x + c).trunc(), x.trunc(), c.trunc() != 0),
    "truncated shift": lambda x, c: (x.lshr(c).trunc(), x.trunc()),
    "quotient of itself": lambda x: (Term("sdiv", (x, x)), literal(1)),
    "quotient of negative numbers": lambda x: (Term("sdiv", (x, 2)), x.ashr(1)),
    "remainder of negative numbers": lambda x, c: (Term("srem", (x, c)), x & (c - 1), c.ctpop() == 1),
    "quotient by zero": lambda x, c: (Term("udiv", (x, c)), literal(0), x.ult(c) ^ (c == 0)),
    "smallest number by -1": lambda x: (Term("sdiv", (x, -1)).slt(0), literal(0).slt(x)),
    "nan": lambda x: (x.fcanon(), x),
    "bits of a nan": lambda x: (x.fcanon().bitcast(), x.bitcast()),
}
TRUE: dict[str, Callable[..., Sides]] = {
    "quotient and remainder": lambda x, y: (Term("sdiv", (x, y)) * y + Term("srem", (x, y)), x),
    "unsigned ones": lambda x, y: (Term("udiv", (x, y)) * y + Term("urem", (x, y)), x),
    "quotient by -1": lambda x: (Term("sdiv", (x, -1)), -x),
    "quotient by a power of two": lambda x, c: (Term("udiv", (x, c)), x.lshr(c.ctz()), c.ctpop() == 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_disproved(name: str) -> None:
    assert disproof(Rule(name, WRONG[name])) is not None


@pytest.mark.parametrize("name", TRUE)
def test_a_true_rule_is_not_disproved(name: str) -> None:
    assert disproof(Rule(name, TRUE[name])) is None


@pytest.mark.parametrize("rule", [rule for rule in ALL_RULES if rule.when is not None], ids=lambda rule: rule.name)
def test_every_condition_is_needed(rule: Rule) -> None:
    names = ", ".join(variable.name for variable in rule.variables)
    function = eval(f"lambda {names}: function({names})[:2]", {"function": RULES[rule.name]})
    assert disproof(Rule(rule.name, function)) is not None


def test_every_change_of_a_result_is_found() -> None:
    for rule in ALL_RULES:
        names = ", ".join(variable.name for variable in rule.variables)
        function = eval(f"lambda {names}: changed(*function({names}))", {"function": RULES[rule.name], "changed": flip})
        assert disproof(Rule(rule.name, function)) is not None, rule.name


def flip(before: Term, after: Term | int, *when: Term) -> Sides:
    return (before, (after if isinstance(after, Term) else literal(after)) ^ 1, *when)  # type: ignore[return-value]


TWINS = (
    ("add", "sub", "mul", "and", "or", "xor", "shl", "lshr", "ashr", "rotl", "rotr"),
    ("eq", "ne", "slt", "sge", "ult", "uge"),
    ("zext", "sext"),
    ("ctz", "ctpop", "clz"),
)


def mutants(name: str) -> Iterator[Rule]:
    """The rule with one operation replaced by another of its kind."""
    function = RULES[name]
    count = sum(1 for term in terms(BY_NAME[name]) if term.op)
    names = ", ".join(variable.name for variable in BY_NAME[name].variables)
    for place in range(count):
        for other in range(max(map(len, TWINS))):

            def change(*sides: Term | int, place: int = place, other: int = other) -> Sides:
                found = [term for side in sides if isinstance(side, Term) for term in side.walk() if term.op]
                term = found[place]
                twins = next((twins for twins in TWINS if term.op in twins), ())
                term.op = twins[other] if other < len(twins) else term.op
                return sides  # type: ignore[return-value]

            mutant = Rule(name, eval(f"lambda {names}: change(*function({names}))", locals() | {"function": function}))
            if [term.op for term in terms(mutant)] != [term.op for term in terms(BY_NAME[name])]:
                yield mutant


def test_rules_with_another_operation_are_disproved_or_true() -> None:
    """The prover's yes is compared with samples at real widths, which it did not see."""
    kept, refused = 0, 0
    for name in RULES:
        for mutant in mutants(name):
            if any(first_wrong(mutant, widths)[1] for widths in widths_of(mutant, SMALL[:6])):
                refused += 1
                continue
            kept += 1
            for widths in widths_of(mutant, REAL):
                sides = compiled(mutant, widths)
                for case in samples(mutant, widths, 30):
                    found = sides(*case)
                    assert found is None or found[0] == found[1], (name, [t.op for t in terms(mutant)], case, found)
    assert refused > 3 * kept > 0, (refused, kept)


# What rules are compiled to

Typing = dict[Type, str]


def build(term: Term, typing: Typing, variables: dict[str, Value]) -> Value:
    type = typing[term.type.find()]
    if term.name:
        return variables[term.name]
    if not term.op:
        return Value(CONST, type, (), term.literal & MASK[type])
    return Value(OPS[term.op], type, tuple(build(arg, typing, variables) for arg in term.args))


def compute(value: Value, known: dict[Value, int]) -> int:
    if value in known:
        return known[value]
    if value.is_const:
        assert isinstance(value.attr, int)
        return value.attr
    assert value.type is not None
    steering = value.args[1 if value.op.name == "select" else 0].type
    return evaluate(value.op.name, value.type, steering, tuple(compute(arg, known) for arg in value.args))


def pattern_of(rule: Rule) -> Term:
    """What a rule looks for, with no more types equal than the operations there ask for."""
    before, *_ = RULES[rule.name](*(Term("", name=variable.name) for variable in rule.variables))
    assert isinstance(before, Term)
    infer(before)
    return before


def typings(pattern: Term) -> Iterator[Typing]:
    """All types that the IR allows a pattern to have."""
    types = list(dict.fromkeys(term.type.find() for term in pattern.walk()))
    for chosen in itertools.product(WIDTH, repeat=len(types)):
        typing = dict(zip(types, chosen, strict=True))
        if all(type.name in (None, name) for type, name in typing.items()) and is_legal(pattern, typing):
            yield typing


def is_legal(pattern: Term, typing: Typing) -> bool:
    made: list[Value] = []

    def place(term: Term, variables: dict[str, Value]) -> Value:
        value = variables.get(term.name) if term.name else None
        if value is None:
            type = typing[term.type.find()]
            args = tuple(place(arg, variables) for arg in term.args)
            attr = None if term.op else 0
            value = Value(OPS[term.op] if term.op else CONST, type, args, attr)
            variables[term.name] = value
            made.append(value)
        return value

    region = Region("pattern")
    block = region.new_block()
    place(pattern, {})
    address = Value(CONST, "i64", (), 0)
    block.ops = [*made, address]
    block.terminator = Terminator("chain", (address,), attr="fall")
    return not verify(region)


def should_apply(rule: Rule, pattern: Term, typing: Typing) -> Typing | None:
    """The types of the rule's own terms, if it says something about a pattern of these types."""
    found: Typing = {type: type.name for type in types_of(rule) if type.name}
    for term, own in zip(pattern.walk(), rule.before.walk(), strict=True):
        if found.setdefault(own.type.find(), typing[term.type.find()]) != typing[term.type.find()]:
            return None
    others = [term for side in (rule.after, rule.when) if side is not None for term in side.walk()]
    if not all(fits(term, found) for term in others if term.op in CONVERSIONS):
        return None
    return found


def fits(term: Term, typing: Typing) -> bool:
    source, result = typing[term.args[0].type.find()], typing[term.type.find()]
    if source in FLOATS or result in FLOATS:
        return False
    return WIDTH[source] > WIDTH[result] if term.op == "trunc" else WIDTH[source] < WIDTH[result]


@for_all_rules
def test_compiled_rule_does_what_it_says_and_no_more(rule: Rule) -> None:
    pattern, tried, refused = pattern_of(rule), 0, 0
    for typing in typings(pattern):
        own = should_apply(rule, pattern, typing)
        widths = {type: WIDTH[name] for type, name in (own or {}).items()}
        sides = compiled(rule, widths) if own else lambda *case: None
        for case in cases_of(rule, pattern, typing):
            values = dict(zip((variable.name for variable in rule.variables), case, strict=True))
            variables = {
                term.name: Value(
                    CONST if term.is_constant else OPS["get"],
                    typing[term.type.find()],
                    (),
                    values[term.name] if term.is_constant else None,
                )
                for term in pattern.walk()
                if term.name
            }
            before = build(pattern, typing, variables)
            after = rule.rewrite(before, Value, lambda type, bits: Value(CONST, type, (), bits))
            assert (after is not None) == (sides(*case) is not None), (values, typing.values())
            if after is not None:
                tried += 1
                known = {value: values[name] for name, value in variables.items()}
                assert after.type == before.type
                assert compute(after, known) == compute(before, known), (values, typing.values())
            else:
                refused += 1
    assert tried > 0, (tried, refused)


def cases_of(rule: Rule, pattern: Term, typing: Typing) -> Iterator[tuple[int, ...]]:
    types = {term.name: typing[term.type.find()] for term in pattern.walk() if term.name}
    chance = random.Random(f"{rule.name} {types}")
    for _ in range(20):
        yield tuple(sample(chance, WIDTH[types[variable.name]]) for variable in rule.variables)


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


# What is simplified without a rule


@pytest.mark.parametrize("op", sorted(COMMUTATIVE))
def test_operands_that_are_exchanged_may_be(op: str) -> None:
    type = OPS[op].result if OPS[op].result != "same" else "i8"
    assert type is not None
    for a, b in itertools.combinations(range(256), 2):
        assert evaluate(op, type, "i8", (a, b)) == evaluate(op, type, "i8", (b, a))


def test_constants_are_exchanged_only_where_they_may_be() -> None:
    for op in two_operands():
        type = "i8" if OPS[op].result == "same" else "i1"
        constant, other = Value(CONST, "i8", (), 3), Value(OPS["get"], "i8")
        made = folded(Value(OPS[op], type, (constant, other)))
        for bits in range(256):
            assert compute(made, {other: bits}) == evaluate(op, type, "i8", (3, bits)), op


def two_operands() -> Sequence[str]:
    return [op.name for op in OPS.values() if op.operands == ("a", "a") and op.name in MEANING]


@pytest.mark.parametrize("op", two_operands())
def test_what_the_emitter_simplifies_is_equal(op: str) -> None:
    for type, constant, side in itertools.product(INTEGERS, (0, 1, -1), (0, 1)):
        emitter = Emitter(Region("main"), Block("b0"))
        other = Value(OPS["get"], type)
        args = (emitter.const(type, constant), other)[:: 1 if side else -1]
        result = type if OPS[op].result == "same" else "i1"
        made = emitter.emit(op, result, *args)
        chance = random.Random(op)
        width = WIDTH[type]
        for bits in (0, MASK[type], *(sample(chance, width) for _ in range(20))):
            given = tuple(constant & MASK[type] if arg is not other else bits for arg in args)
            assert made.type == result
            assert compute(made, {other: bits}) == evaluate(op, result, type, given), (type, given)
