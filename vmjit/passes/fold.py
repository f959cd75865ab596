"""Peephole rules, constant folding and reuse of equal values within a block.

A rule is a function of terms that gives what to look for, what to put there, and maybe a condition on constants: `c`,
`c1`, `c2` stand for any constant, other names for any value. Rules are traced once and each becomes a small Python
function. What depends on constants only is computed. A conversion names no width: it gives the type that its place
asks for, and a rule applies only where all types fit. The shape of a value (its operation and those of its first and
last operands) selects the rules to try, so that values without any cost one look-up.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Union

from vmjit.ir.block import CONST, Block, Region, Value
from vmjit.ir.interpret import MEANING, evaluate
from vmjit.ir.ops import OPS, Op
from vmjit.ir.types import FLOATS, MASK, WIDTH
from vmjit.passes.edit import reachable

Operand = Union["Term", int]
Sides = tuple["Term", Operand] | tuple["Term", Operand, "Term"]

applied: Counter[str] = Counter()  # rule -> how often it was


class Type:
    """A type that a rule leaves open, unless `name` says which; types found equal refer to one of them."""

    __slots__ = ("_name", "_same")

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._same: Type | None = None

    def find(self) -> "Type":
        """The one that stands for all types equal to this one."""
        return self if self._same is None else self._same.find()

    @property
    def name(self) -> str | None:
        return self.find()._name

    def equals(self, other: "Type") -> None:
        mine, others = self.find(), other.find()
        if mine is not others:
            others._name = others._name or mine._name
            mine._same = others


def _unary(op: str) -> Callable[["Term"], "Term"]:
    return lambda self: Term(op, (self,))


def _binary(op: str) -> Callable[["Term", Operand], "Term"]:
    return lambda self, other: Term(op, (self, other))


class Term:
    """An operation of a rule; without `op`, a variable if it has a name, else a literal."""

    __slots__ = ("args", "literal", "name", "op", "type")
    __hash__ = object.__hash__

    def __init__(self, op: str, args: tuple[Operand, ...] = (), name: str = "", literal: int = 0) -> None:
        self.op = op
        self.args = tuple(arg if isinstance(arg, Term) else Term("", literal=arg) for arg in args)
        self.name = name
        self.literal = literal
        self.type = Type()

    __add__, __sub__, __mul__ = _binary("add"), _binary("sub"), _binary("mul")
    __and__, __or__, __xor__ = _binary("and"), _binary("or"), _binary("xor")
    __lshift__, lshr, ashr, rotl, rotr = map(_binary, ("shl", "lshr", "ashr", "rotl", "rotr"))
    __eq__, __ne__ = _binary("eq"), _binary("ne")  # type: ignore[assignment]
    slt, sge, ult, uge = map(_binary, ("slt", "sge", "ult", "uge"))
    ctz, ctpop, fcanon = map(_unary, ("ctz", "ctpop", "fcanon"))
    zext, sext, bitcast = map(_unary, ("zext", "sext", "bitcast"))

    def __neg__(self) -> "Term":
        return Term("sub", (0, self))

    def trunc(self, like: "Term | None" = None) -> "Term":
        """The low bits; the type is that of `like`, or what the place asks for."""
        term = Term("trunc", (self,))
        if like is not None:
            term.type.equals(like.type)
        return term

    def ones(self) -> "Term":
        """The largest value of this type."""
        term = Term("", literal=-1)
        term.type.equals(self.type)
        return term

    @property
    def is_constant(self) -> bool:
        """True when the value depends on constants only."""
        if self.op:
            return all(arg.is_constant for arg in self.args)
        return not self.name or self.name.rstrip("0123456789") == "c"

    def walk(self) -> "Iterator[Term]":
        """This term and all below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()


def select(condition: Operand, then: Operand, other: Operand) -> Term:
    return Term("select", (condition, then, other))


def literal(value: int) -> Term:
    """A constant where Python would not see a term: as the left operand."""
    return Term("", literal=value)


# (before, after) or (before, after, when). `b` has type i1, which follows from the other side.
RULES: dict[str, Callable[..., Sides]] = {
    # arithmetic
    "add_zero": lambda x: (x + 0, x),
    "add_constants": lambda x, c1, c2: ((x + c1) + c2, x + (c1 + c2)),
    "sub_self": lambda x: (x - x, 0),
    "sub_constant": lambda x, c: (x - c, x + -c),
    "mul_zero": lambda x: (x * 0, 0),
    "mul_power_of_two": lambda x, c: (x * c, x << c.ctz(), c.ctpop() == 1),
    # bits
    "and_zero": lambda x: (x & 0, 0),
    "and_ones": lambda x: (x & -1, x),
    "and_self": lambda x: (x & x, x),
    "and_constants": lambda x, c1, c2: ((x & c1) & c2, x & (c1 & c2)),
    "or_zero": lambda x: (x | 0, x),
    "or_ones": lambda x: (x | -1, -1),
    "or_self": lambda x: (x | x, x),
    "or_constants": lambda x, c1, c2: ((x | c1) | c2, x | (c1 | c2)),
    "xor_zero": lambda x: (x ^ 0, x),
    "xor_self": lambda x: (x ^ x, 0),
    "xor_constants": lambda x, c1, c2: ((x ^ c1) ^ c2, x ^ (c1 ^ c2)),
    # shifts
    "shl_by_zero": lambda x: (x << 0, x),
    "lshr_by_zero": lambda x: (x.lshr(0), x),
    "ashr_by_zero": lambda x: (x.ashr(0), x),
    "rotl_by_zero": lambda x: (x.rotl(0), x),
    "rotr_by_zero": lambda x: (x.rotr(0), x),
    "lshr_of_zext": lambda x, c: (x.zext().lshr(c), 0, x.ones().zext().lshr(c) == 0),
    "lshr_of_boxed": lambda x, c, c1: ((x.zext() | c1).lshr(c), c1.lshr(c), x.ones().zext().lshr(c) == 0),
    # comparisons
    "eq_self": lambda x: (x == x, 1),
    "ne_self": lambda x: (x != x, 0),
    "slt_self": lambda x: (x.slt(x), 0),
    "sge_self": lambda x: (x.sge(x), 1),
    "ult_self": lambda x: (x.ult(x), 0),
    "uge_self": lambda x: (x.uge(x), 1),
    "ult_zero": lambda x: (x.ult(0), 0),
    "uge_zero": lambda x: (x.uge(0), 1),
    "ult_one": lambda x: (x.ult(1), x == 0),
    "uge_one": lambda x: (x.uge(1), x != 0),
    "zero_ult": lambda x: (literal(0).ult(x), x != 0),
    "zero_uge": lambda x: (literal(0).uge(x), x == 0),
    "bool_eq_zero": lambda b: (b == 0, b ^ 1),
    "bool_eq_one": lambda b: (b == 1, b),
    "bool_ne_zero": lambda b: (b != 0, b),
    "bool_ne_one": lambda b: (b != 1, b ^ 1),
    "not_eq": lambda x, y: ((x == y) ^ 1, x != y),
    "not_ne": lambda x, y: ((x != y) ^ 1, x == y),
    "not_slt": lambda x, y: (x.slt(y) ^ 1, x.sge(y)),
    "not_sge": lambda x, y: (x.sge(y) ^ 1, x.slt(y)),
    "not_ult": lambda x, y: (x.ult(y) ^ 1, x.uge(y)),
    "not_uge": lambda x, y: (x.uge(y) ^ 1, x.ult(y)),
    "zext_eq": lambda x, c: (x.zext() == c, x == c.trunc(x), c.trunc(x).zext() == c),
    "zext_eq_never": lambda x, c: (x.zext() == c, 0, c.trunc(x).zext() != c),
    "zext_ne": lambda x, c: (x.zext() != c, x != c.trunc(x), c.trunc(x).zext() == c),
    "zext_ne_always": lambda x, c: (x.zext() != c, 1, c.trunc(x).zext() != c),
    "sext_eq": lambda x, c: (x.sext() == c, x == c.trunc(x), c.trunc(x).sext() == c),
    "sext_ne": lambda x, c: (x.sext() != c, x != c.trunc(x), c.trunc(x).sext() == c),
    # choices
    "select_same": lambda b, x: (select(b, x, x), x),
    "select_true": lambda x, y: (select(1, x, y), x),
    "select_false": lambda x, y: (select(0, x, y), y),
    "select_not": lambda b, x, y: (select(b ^ 1, x, y), select(b, y, x)),
    "select_bool": lambda b: (select(b, 1, 0), b),
    "select_not_bool": lambda b: (select(b, 0, 1), b ^ 1),
    "select_zext": lambda b: (select(b, 1, 0), b.zext()),
    "select_not_zext": lambda b: (select(b, 0, 1), (b ^ 1).zext()),
    # conversions: the type of the result says which of the first six fits
    "trunc_of_zext": lambda x: (x.zext().trunc(), x),
    "trunc_of_wider_zext": lambda x: (x.zext().trunc(), x.zext()),
    "trunc_of_narrower_zext": lambda x: (x.zext().trunc(), x.trunc()),
    "trunc_of_sext": lambda x: (x.sext().trunc(), x),
    "trunc_of_wider_sext": lambda x: (x.sext().trunc(), x.sext()),
    "trunc_of_narrower_sext": lambda x: (x.sext().trunc(), x.trunc()),
    "trunc_of_trunc": lambda x: (x.trunc().trunc(), x.trunc()),
    "trunc_of_or": lambda x, c: ((x | c).trunc(), x.trunc(), c.trunc() == 0),
    "trunc_of_and": lambda x, c: ((x & c).trunc(), x.trunc(), c.trunc() == -1),
    "zext_of_zext": lambda x: (x.zext().zext(), x.zext()),
    "sext_of_sext": lambda x: (x.sext().sext(), x.sext()),
    "sext_of_zext": lambda x: (x.zext().sext(), x.zext()),
    # words, which guest registers hold sign-extended: operations move below the extension, where the next one drops it
    "and_of_sext": lambda x, y: (x.sext() & y.sext(), (x & y).sext()),
    "or_of_sext": lambda x, y: (x.sext() | y.sext(), (x | y).sext()),
    "xor_of_sext": lambda x, y: (x.sext() ^ y.sext(), (x ^ y).sext()),
    "or_sext_constant": lambda x, c: (x.sext() | c, (x | c.trunc(x)).sext(), c.trunc(x).sext() == c),
    "xor_sext_constant": lambda x, c: (x.sext() ^ c, (x ^ c.trunc(x)).sext(), c.trunc(x).sext() == c),
    "bitcast_of_bitcast": lambda x: (x.bitcast().bitcast(), x),
    "fcanon_of_fcanon": lambda x: (x.fcanon().fcanon(), x.fcanon()),
}

Make = Callable[[Op, str, tuple[Value, ...]], Value]
Constant = Callable[[str, int], Value]
Rewrite = Callable[[Value, Make, Constant], Value | None]  # what stands for the value; None where the rule says nothing

FOLDED = frozenset(OPS[name] for name in MEANING)
CONVERSIONS = frozenset(("zext", "sext", "trunc", "bitcast"))
COMMUTATIVE = frozenset(("add", "mul", "and", "or", "xor", "eq", "ne"))


class Rule:
    """A traced rule with the types of all its terms."""

    def __init__(self, name: str, function: Callable[..., Sides]) -> None:
        self.name = name
        code = function.__code__
        self.variables = [Term("", name=variable) for variable in code.co_varnames[: code.co_argcount]]
        before, after, *when = function(*self.variables)
        assert isinstance(before, Term)
        self.before = before
        self.after = after if isinstance(after, Term) else Term("", literal=after)
        self.when = when[0] if when else None
        self.source = _Source(self).text()

    @cached_property
    def rewrite(self) -> Rewrite:
        """The rule as a function; compiled when first needed, as most processes need few."""
        namespace = {"CONST": CONST, "MASK": MASK, "evaluate": evaluate, "fits": fits}
        namespace |= {f"op_{name}": op for name, op in OPS.items()}
        exec(compile(self.source, f"<rule {self.name}>", "exec"), namespace)
        return namespace["rewrite"]  # type: ignore[return-value]

    def may_match(self, first: str, last: str) -> bool:
        """False when the operations of the first and the last operand rule a match out."""
        pattern = self.before.args
        return all(
            op == (term.op or "const") or not (term.op or term.is_constant)
            for term, op in ((pattern[0], first), (pattern[-1], last))
        )


def infer(term: Term) -> None:
    """Find types equal that the table of operations says are."""
    for arg in term.args:
        infer(arg)
    if term.op:
        op = OPS[term.op]
        for arg, wanted in zip(term.args, op.operands, strict=True):
            if wanted == "i1":
                arg.type.equals(Type("i1"))
            elif op.result == "same":
                arg.type.equals(term.type)
            elif wanted == "a":
                arg.type.equals(term.args[0].type)
        if op.result == "i1":
            term.type.equals(Type("i1"))


def fits(conversion: str, source: str, result: str) -> bool:
    """Whether a conversion that a rule introduces is possible between two types."""
    narrow, wide = (result, source) if conversion == "trunc" else (source, result)
    return WIDTH[narrow] < WIDTH[wide] and narrow not in FLOATS and wide not in FLOATS


class _Source:
    """Writes a rule as a Python function: one `if` with all tests, which binds the variables, and the replacement."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.tests: list[str] = []
        self.bound: set[str] = set()
        self.types: dict[Type, str] = {}  # -> source of its name

    def text(self) -> str:
        rule = self.rule
        infer(rule.before)
        self.match(rule.before, "v")
        self.fix_types()
        if rule.when is not None:
            self.tests.append(self.bits(rule.when))
        tests = " and ".join(self.tests)
        return f"def rewrite(v, make, constant):\n if {tests}:\n  return {self.value(rule.after)}\n"

    def match(self, term: Term, place: str) -> None:
        """Tests that the value at `place` (an expression) is what the pattern has there."""
        if term.name in self.bound:
            self.tests.append(f"{place} is {term.name}")
            return
        name = term.name or f"v{len(self.tests)}"
        value = f"({name} := {place})"
        self.types.setdefault(term.type.find(), f"{name}.type")
        if term.op:
            self.tests.append(f"{value}.op is op_{term.op}")
            for index, arg in enumerate(term.args):
                self.match(arg, f"{name}.args[{index}]")
        elif not term.name:
            bits = f"MASK[{name}.type]" if term.literal < 0 else term.literal
            self.tests.append(f"{value}.op is CONST and {name}.attr == {bits}")
        else:
            self.bound.add(name)
            self.tests.append(f"{value}.op is CONST" if term.is_constant else f"{value} is not None")

    def fix_types(self) -> None:
        """Infer the types of the other sides; what they demand beyond the pattern becomes tests."""
        rule = self.rule
        open_types = [(type, place) for type, place in self.types.items() if type.name is None]
        terms = [term for side in (rule.after, rule.when) if side is not None for term in side.walk()]
        for side in (rule.after, rule.when):
            if side is not None:
                infer(side)
        rule.after.type.equals(rule.before.type)
        for term in terms:
            if term.type.name is None and term.type.find() not in {type.find() for type in self.types}:
                term.type.equals(rule.before.type)  # trunc() in a condition that does not say to what
        self.types = {type.find(): place for type, place in reversed(self.types.items())}
        for type, place in open_types:
            wanted = self.type_source(type)
            if place != wanted:
                self.tests.append(f"{place} == {wanted}")
        given = [_conversion(term) for term in rule.before.walk() if term.op in CONVERSIONS]
        for term in terms:
            if term.op in CONVERSIONS and _conversion(term) not in given:
                source, result = self.type_source(term.args[0].type), self.type_source(term.type)
                self.tests.append(f"fits({term.op!r}, {source}, {result})")

    def type_source(self, type: Type) -> str:
        return repr(type.name) if type.name else self.types[type.find()]

    def value(self, term: Term) -> str:
        """Source of the value that a term of the replacement gives."""
        if term.is_constant:
            return f"constant({self.type_source(term.type)}, {self.bits(term)})"
        if term.name:
            return term.name
        args = "".join(self.value(arg) + ", " for arg in term.args)
        return f"make(op_{term.op}, {self.type_source(term.type)}, ({args}))"

    def bits(self, term: Term) -> str:
        """Source of the bit pattern of a term of constants."""
        if term.name:
            return f"{term.name}.attr"
        if not term.op:
            return f"MASK[{self.type_source(term.type)}] & {term.literal}"
        args = "".join(self.bits(arg) + ", " for arg in term.args)
        return f"evaluate({term.op!r}, {self.type_source(term.type)}, {self.type_source(term.args[0].type)}, ({args}))"


def _conversion(term: Term) -> tuple[str, Type, Type]:
    return term.op, term.type.find(), term.args[0].type.find()


Shape = tuple[str, str, str]  # the operations of a value, of its first and of its last operand
_rules = [Rule(name, function) for name, function in RULES.items()]
_by_shape: dict[Shape, tuple[Rule, ...]] = {}  # filled as shapes are met


def _rules_for(shape: Shape) -> tuple[Rule, ...]:
    name, first, last = shape
    rules = tuple(rule for rule in _rules if rule.before.op == name and rule.may_match(first, last))
    _by_shape[shape] = rules
    return rules


def run(region: Region) -> Region:
    """Apply the rules until none fits."""
    replaced: dict[Value, Value] = {}
    for block in reachable(region):  # definitions before uses, so one walk replaces everything
        _fold_block(block, replaced)
        if replaced:
            end = block.end
            end.args = _replace(end.args, replaced)
            for edge in end.edges:
                edge.args = _replace(edge.args, replaced)
    return region


def _replace(args: tuple[Value, ...], replaced: dict[Value, Value]) -> tuple[Value, ...]:
    return tuple([replaced.get(arg, arg) for arg in args])


def _fold_block(block: Block, replaced: dict[Value, Value]) -> None:
    ops: list[Value] = []
    constants: dict[tuple[str, int], Value] = {}
    equal: dict[tuple[str, str | None, tuple[Value, ...]], Value] = {}

    def constant(type: str, bits: int) -> Value:
        key = (type, bits)
        value = constants.get(key)
        if value is None:
            value = constants[key] = Value(CONST, type, (), bits)
            ops.append(value)
        return value

    def make(op: Op, type: str, args: tuple[Value, ...]) -> Value:
        return settle(Value(op, type, args))

    def settle(value: Value) -> Value:
        """What stands for a value: itself, one it equals, or a simpler one; appended with all that needs."""
        name = value.op.name
        args = value.args
        first, last = args[0].op, args[-1].op
        if first is CONST:
            if last is CONST and all([arg.op is CONST for arg in args]):
                steering = args[1].type if name == "select" else args[0].type
                bits = evaluate(name, value.type, steering, tuple([arg.attr for arg in args]))  # type: ignore[arg-type,misc]
                return constant(value.type, bits)  # type: ignore[arg-type]
            if name in COMMUTATIVE:
                value.args = args = (args[1], args[0])
                first, last = last, first
        shape = (name, first.name, last.name)
        rules = _by_shape.get(shape)
        for rule in _rules_for(shape) if rules is None else rules:
            found = rule.rewrite(value, make, constant)
            if found is not None:
                applied[rule.name] += 1
                return found
        key = (name, value.type, args)
        found = equal.get(key)
        if found is None:
            found = equal[key] = value
            ops.append(value)
        return found

    for value in block.ops:
        if replaced:
            for arg in value.args:
                if arg in replaced:
                    value.args = _replace(value.args, replaced)
                    break
        if value.op in FOLDED:
            found = settle(value)
            if found is not value:
                replaced[value] = found
        elif value.op is CONST:
            known = constants.setdefault((value.type, value.attr), value)  # type: ignore[arg-type]
            if known is value:
                ops.append(value)
            else:
                replaced[value] = known
        else:
            ops.append(value)
    block.ops = ops
