"""Proves peephole rules: both sides are computed for all values of all small widths.

Rules know no widths, so they are tried at widths that no region has, too. Shift amounts are taken modulo the width and
the float formats are those of IEEE 754 with few bits, so a case that a rule gets wrong at a real width has its like
among few bits. A rule at certain widths becomes one Python function with a loop for each variable.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence

from vmjit.ir import softfloat
from vmjit.ir.interpret import CANONICAL_NAN, MEANING, NAMES
from vmjit.ir.types import WIDTH
from vmjit.passes.fold import CONVERSIONS, Rule, Term, Type

SMALL = (1, 2, 3, 4, 5, 6, 7, 8)
# Of all variables together: two of 8 bits and a truth value, or three of 6 bits. RULE_BITS=24 asks for three of 8 bits.
MOST_BITS = int(os.environ.get("RULE_BITS", "18"))
FLOAT_OPS = frozenset(("fcanon",))
SMALLEST_FLOAT = 3  # bits: sign, exponent, fraction

Widths = dict[Type, int]
Wrong = tuple[dict[str, int], int, int]  # the variables, before, after

# A width that is no power of two has no mask for shift amounts.
_MEANING = {op: text.replace("& {w1}", "% {w}") for op, text in MEANING.items()}


def infinity_of(width: int) -> int:
    """The pattern of infinity in a float format of any width; above it are NaNs."""
    if width in CANONICAL_NAN:
        return CANONICAL_NAN[width] - (CANONICAL_NAN[width] & -CANONICAL_NAN[width])
    return (1 << (width - 1)) - (1 << (width - 1) // 2)


def canonical_of(width: int) -> int:
    """The quiet NaN without sign and payload."""
    return infinity_of(width) | (infinity_of(width) & -infinity_of(width)) >> 1


def is_nan(width: int, bits: int) -> bool:
    if width in CANONICAL_NAN:
        return softfloat.is_nan(width, bits)
    return bits & ((1 << (width - 1)) - 1) > infinity_of(width)


def terms(rule: Rule) -> list[Term]:
    return [term for side in (rule.before, rule.after, rule.when) if side is not None for term in side.walk()]


def types_of(rule: Rule) -> list[Type]:
    return list(dict.fromkeys(term.type.find() for term in terms(rule)))


def widths_of(rule: Rule, choices: Sequence[int]) -> Iterator[Widths]:
    """All ways to give the types of a rule widths that its conversions allow."""
    types = types_of(rule)
    free = [type for type in types if type.name is None]
    if any(term.op in FLOAT_OPS for term in terms(rule)):
        choices = [width for width in choices if width >= SMALLEST_FLOAT and (width in SMALL or width in CANONICAL_NAN)]
    for chosen in itertools.product(choices, repeat=len(free)):
        widths = dict(zip(free, chosen, strict=True)) | {type: WIDTH[type.name] for type in types if type.name}
        if all(_is_possible(term, widths) for term in terms(rule)):
            yield widths


def _is_possible(term: Term, widths: Widths) -> bool:
    if term.op not in CONVERSIONS:
        return True
    source, result = widths[term.args[0].type.find()], widths[term.type.find()]
    return source == result if term.op == "bitcast" else source > result if term.op == "trunc" else source < result


def expression(term: Term, widths: Widths) -> str:
    """Python source of the value of a term; variables stand under their names."""
    width = widths[term.type.find()]
    if not term.op:
        return term.name or str(term.literal & ((1 << width) - 1))
    args = [expression(arg, widths) for arg in term.args]
    steering = widths[term.args[1 if term.op == "select" else 0].type.find()]
    known = {"m": (1 << width) - 1, "w": width, "n": steering, "h": 1 << (steering - 1)}
    if term.op in FLOAT_OPS:
        known["nan"] = canonical_of(steering)
    return f"({_MEANING[term.op].format(*args, **known)})"


def compiled(rule: Rule, widths: Widths) -> Callable[..., tuple[int, int] | None]:
    """A function of the variables that gives both sides, or None where the rule's condition does not hold."""
    names = ", ".join(variable.name for variable in rule.variables)
    return eval(f"lambda {names}: {_sides(rule, widths)}", _names())  # type: ignore[no-any-return]


def _sides(rule: Rule, widths: Widths) -> str:
    when = "" if rule.when is None else f" if {expression(rule.when, widths)} else None"
    return f"(int({expression(rule.before, widths)}), int({expression(rule.after, widths)})){when}"


def _names() -> dict[str, object]:
    return {**NAMES, "isnan": is_nan}


def first_wrong(rule: Rule, widths: Widths) -> tuple[int, Wrong | None]:
    """How many of all values the rule applies to, and the first where its sides differ."""
    names = [variable.name for variable in rule.variables]
    lines = ["def search():", " applies = 0"]
    indent = " "
    for variable in rule.variables:
        lines.append(f"{indent}for {variable.name} in range({1 << widths[variable.type.find()]}):")
        indent += " "
    if rule.when is not None:
        lines.append(f"{indent}if not {expression(rule.when, widths)}: continue")
    before, after = (expression(side, widths) for side in (rule.before, rule.after))
    found = ", ".join(f"{name!r}: {name}" for name in names)
    lines.append(f"{indent}applies += 1")
    lines.append(f"{indent}if {before} != {after}: return applies, ({{{found}}}, int({before}), int({after}))")
    lines.append(" return applies, None")
    namespace = _names()
    exec("\n".join(lines), namespace)
    return namespace["search"]()  # type: ignore[operator, no-any-return]


def disproof(rule: Rule) -> Wrong | None:
    """The first case where a rule is wrong among all values of all widths in SMALL; it must apply to some."""
    applies = 0
    for widths in widths_of(rule, SMALL):
        if sum(widths[variable.type.find()] for variable in rule.variables) > MOST_BITS:
            continue
        count, found = first_wrong(rule, widths)
        applies += count
        if found is not None:
            return found
    assert applies > 0, f"{rule.name} was not tried"
    return None
