"""The invariants of a region; every pass must keep them.

1. A region has a block. Names are words, those of blocks unique. Entries name blocks of the region.
2. The first block and entry blocks have no parameters; every block can be reached from one of them.
3. An operation has the operands and the result that ops.OPS states, and what _RULES adds; its attribute is legal.
4. A value is defined once, and used below its definition or in a block that the defining block dominates.
5. A block ends with one terminator, whose operands have the types of _TERMINATORS. Edges lead to blocks of the region
   and give each parameter one value of its type.
"""

import re
from collections.abc import Callable, Iterator

from vmjit.errors import VerifyError
from vmjit.ir.block import PARAM, Block, Region, Terminator, Value
from vmjit.ir.exits import ExitReason
from vmjit.ir.ops import ACCESSES, CHAINS, OPS, ORDERS, ROUNDINGS
from vmjit.ir.printer import Names, number_values, print_integer, print_operation, print_region, print_terminator
from vmjit.ir.types import FLOATS, MASK, WIDTH

_NAME = re.compile(r"[^\s;]+")
_BLOCK_NAME = re.compile(r"[\w.]+", re.ASCII)
_WORD = re.compile(r"\w+", re.ASCII)
_REGISTER_WIDTH = 64

EXITS = tuple(reason.name.lower() for reason in ExitReason)
"""What the attribute of an exit may be."""

_RELEASING = frozenset(("release", "acq_rel"))
_INTEGERS = frozenset(WIDTH) - FLOATS
_IN_MEMORY = frozenset(name for name, width in WIDTH.items() if 8 <= width <= 64)


def _is_integer(type: str | None) -> bool:
    return type in _INTEGERS


def _is_float(type: str | None) -> bool:
    return type in FLOATS


# What Op.operands may say of an operand's type. Arithmetic is on integers; floats have operations of their own.
_KINDS: dict[str, tuple[str, Callable[[str | None], bool]]] = {
    "a": ("an integer", _is_integer),
    "int": ("an integer", _is_integer),
    "float": ("a float", _is_float),
    "any": ("a value", lambda type: type in WIDTH),
    **{name: (name, frozenset((name,)).__contains__) for name in WIDTH},
}
_EQUAL = frozenset(("a", "float"))  # the operands of these kinds have one type
_ANY_KIND = frozenset(("select",))

# What the result r and the operands' types must fulfil beyond the op table.
_RULES: dict[str, tuple[str, Callable[..., bool]]] = {
    "bswap": ("whole bytes, two at least", lambda r, a: WIDTH[r] >= 16),
    "sext": ("a wider integer as result", lambda r, a: _is_integer(r) and WIDTH[r] > WIDTH[a]),
    "zext": ("a wider integer as result", lambda r, a: _is_integer(r) and WIDTH[r] > WIDTH[a]),
    "trunc": ("a narrower integer as result", lambda r, a: _is_integer(r) and WIDTH[r] < WIDTH[a]),
    "bitcast": (
        "integer and float of one width",
        lambda r, a: WIDTH[r] == WIDTH[a] and _is_float(r) != _is_float(a),
    ),
    "fconvert": ("the other float type as result", lambda r, a: _is_float(r) and r != a),
    "sitofp": ("a float as result", lambda r, a: _is_float(r)),
    "uitofp": ("a float as result", lambda r, a: _is_float(r)),
    "fptosi": ("an integer as result", lambda r, a: _is_integer(r)),
    "fptoui": ("an integer as result", lambda r, a: _is_integer(r)),
    **{name: ("i64 as result", lambda r: r == "i64") for name in ("host_flags", "field", "pc", "clock")},
    "translate": ("i64 as result", lambda r, a: r == "i64"),
    "translate_near": ("i64 as result", lambda r, a, b, c: r == "i64"),
    "load": ("a type of 8 to 64 bits", lambda r, a: r in _IN_MEMORY),
    "store": ("a type of 8 to 64 bits", lambda r, a, b: b in _IN_MEMORY),
    "atomic_load": ("an integer of 8 to 64 bits", lambda r, a: r in _IN_MEMORY & _INTEGERS),
    "compare_exchange": ("an integer of 8 to 64 bits", lambda r, a, b, c: b in _IN_MEMORY),
    **{
        op.name: ("operand 2 of the result's type, 8 to 64 bits", lambda r, a, b: r == b and r in _IN_MEMORY)
        for op in OPS.values()
        if op.writes_memory and op.result == "given"  # read-modify-write
    },
    "get": ("a type of 64 bits", lambda r: WIDTH[r] == _REGISTER_WIDTH),
    "set": ("a type of 64 bits", lambda r, a: WIDTH[a] == _REGISTER_WIDTH),
    "get_at": ("a type of 64 bits", lambda r, a: WIDTH[r] == _REGISTER_WIDTH),
    "set_at": ("a type of 64 bits", lambda r, a, b: WIDTH[b] == _REGISTER_WIDTH),
}

# By what the attribute holds (Op.attr): what is legal, for a message and as a test.
_ATTRIBUTES: dict[str, tuple[str, Callable[[int | str | None, Value], bool]]] = {
    "value": ("a bit pattern of its type", lambda attr, value: value.type in WIDTH and _fits(attr, value.type)),
    "register": ("a word", lambda attr, value: _is_word(attr)),
    "file": ("a word", lambda attr, value: _is_word(attr)),
    "field": ("a word", lambda attr, value: _is_word(attr)),
    "order": (f"one of {' '.join(ORDERS)}; a load releases nothing", lambda attr, value: _is_order(attr, value)),
    "access": (f"one of {' '.join(ACCESSES)}", lambda attr, value: attr in ACCESSES),
    "rounding": (f"one of {' '.join(ROUNDINGS)}", lambda attr, value: attr in ROUNDINGS),
}
_NO_ATTRIBUTE: tuple[str, Callable[[int | str | None, Value], bool]] = ("nothing", lambda attr, value: attr is None)

_ODDS = tuple(str(odds) for odds in range(1, 1000))

# kind -> operand types, edges (None: one more than cases), legal attributes and what a message calls them
_TERMINATORS: dict[str, tuple[tuple[str, ...], int | None, tuple[str | None, ...], str]] = {
    "jump": ((), 1, (None,), "nothing"),
    "branch": (("i1",), 2, (None, *_ODDS), "nothing, or from 1 to 999"),
    "switch": (("int",), None, (None,), "nothing"),
    "chain": (("i64",), 0, CHAINS, f"one of {' '.join(CHAINS)}"),
    "exit": (("i64", "i64"), 0, EXITS, "the name of an ExitReason in lower case"),
}


def verify(region: Region) -> list[str]:
    """What is wrong with the region, one line each; nothing when it is sound."""
    names = number_values(region)
    problems = list(_check_region(region))
    for block in region.blocks:
        problems += [f"{block.name}: {problem}" for problem in _check_block(region, block, names)]
    if region.blocks:
        problems += _check_uses(region, names)
    return problems


def verify_or_raise(region: Region, after: str) -> None:
    """Raise VerifyError, with the region's text, when a pass left it unsound."""
    problems = verify(region)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise VerifyError(f"region {region.name} is unsound after {after}:\n{listed}\n{print_region(region)}")


def _fits(attr: int | str | None, type: str) -> bool:
    return isinstance(attr, int) and 0 <= attr <= MASK[type]


def _is_order(attr: int | str | None, value: Value) -> bool:
    return attr in ORDERS and (value.op.writes_memory or attr not in _RELEASING)


def _is_word(attr: int | str | None) -> bool:
    return isinstance(attr, str) and _WORD.fullmatch(attr) is not None


def _check_region(region: Region) -> Iterator[str]:
    """Invariants 1 and 2, but for reachability."""
    if not _NAME.fullmatch(region.name):
        yield f"region name {region.name!r} must not be empty nor have spaces or semicolons"
    if not region.blocks:
        yield "the region has no block"
    seen: set[str] = set()
    for block in region.blocks:
        if not _BLOCK_NAME.fullmatch(block.name):
            yield f"block name {block.name!r} must consist of letters, digits, _ and ."
        if block.name in seen:
            yield f"block name {block.name} is used twice"
        seen.add(block.name)
    for pc, block in region.entries.items():
        if block not in region.blocks:
            yield f"entry {pc:#x}: {block.name} is not a block of the region"
    for pc in (region.pc, *region.entries):
        if not _fits(pc, "i64"):
            yield f"address {pc:#x} does not fit 64 bits"
    for block in _roots(region):
        if block.params:
            yield f"{block.name}: a block that is entered from outside has no parameters"


def _check_block(region: Region, block: Block, names: Names) -> Iterator[str]:
    """Invariants 3 and 5."""
    for param in block.params:
        if param.op is not PARAM or param.type not in WIDTH or param.args or param.attr is not None:
            yield f"parameter {names.get(param, 'v?')} must be a param of a type, without operands"
    for value in block.ops:
        for problem in _check_operation(value):
            yield f"{print_operation(value, names)}: {problem}"
    if block.terminator is None:
        yield "has no terminator"
    else:
        for problem in _check_terminator(region, block.terminator):
            yield f"{print_terminator(block.terminator, names)}: {problem}"


def _check_operation(value: Value) -> Iterator[str]:
    op = value.op
    if op is PARAM:
        yield "a param belongs to Block.params"
    expected, is_legal = _ATTRIBUTES.get(op.attr or "", _NO_ATTRIBUTE)
    if not is_legal(value.attr, value):
        yield f"attribute {value.attr!r} must be {expected}"
    if value.pc is not None and not _fits(value.pc, "i64"):
        yield f"address {value.pc:#x} does not fit 64 bits"
    if len(value.args) != len(op.operands):
        yield f"has {len(value.args)} operands, not {len(op.operands)}"
        return
    problems = [*_check_operands(value, op.operands), *_check_result(value)]
    yield from problems
    if not problems and op.name in _RULES:
        expected, holds = _RULES[op.name]
        if not holds(value.type, *(arg.type for arg in value.args)):
            yield f"must have {expected}"


def _check_operands(value: Value, operands: tuple[str, ...]) -> Iterator[str]:
    """Each operand for itself, then those that must be equal."""
    for number, (arg, wanted) in enumerate(zip(value.args, operands, strict=True), 1):
        yield from _check_type(number, arg, "any" if wanted == "a" and value.op.name in _ANY_KIND else wanted)
    if value.op.result in ("same", "i1"):
        types = {arg.type for arg, wanted in zip(value.args, operands, strict=True) if wanted in _EQUAL}
        if len(types) > 1:
            yield f"operands of types {' and '.join(sorted(map(str, types)))} do not mix"


def _check_type(number: int, arg: Value, wanted: str) -> Iterator[str]:
    expected, holds = _KINDS[wanted]
    if not holds(arg.type):
        yield f"operand {number} is {arg.type or 'no value'}, not {expected}"


def _check_result(value: Value) -> Iterator[str]:
    result = value.op.result
    if result is None:
        if value.type is not None:
            yield f"has a result of type {value.type}, but gives none"
    elif value.type not in WIDTH:
        yield f"has a result of type {value.type}, not one of {' '.join(WIDTH)}"
    elif result == "i1" and value.type != "i1":
        yield f"has a result of type {value.type}, not i1"
    elif result == "same" and value.type != value.args[-1].type:
        yield f"has a result of type {value.type}, not {value.args[-1].type} as its operands"


def _check_terminator(region: Region, end: Terminator) -> Iterator[str]:
    if end.kind not in _TERMINATORS:
        yield f"terminator {end.kind!r} is not one of {' '.join(_TERMINATORS)}"
        return
    operands, edges, attributes, expected = _TERMINATORS[end.kind]
    if end.attr not in attributes:
        yield f"attribute {end.attr!r} must be {expected}"
    if len(end.args) != len(operands):
        yield f"has {len(end.args)} operands, not {len(operands)}"
    for number, (arg, wanted) in enumerate(zip(end.args, operands, strict=False), 1):
        yield from _check_type(number, arg, wanted)
    wanted_edges = len(end.cases) + 1 if edges is None else edges
    if len(end.edges) != wanted_edges:
        yield f"has {len(end.edges)} edges, not {wanted_edges}"
    yield from _check_cases(end)
    yield from _check_edges(region, end)


def _check_cases(end: Terminator) -> Iterator[str]:
    type = end.args[0].type if end.args else None
    if end.cases and end.kind != "switch":
        yield "only a switch has cases"
    if len(set(end.cases)) != len(end.cases):
        yield "has a case twice"
    for case in end.cases:
        if type in WIDTH and not _fits(case, type):
            yield f"case {print_integer(case, None)} does not fit {type}"


def _check_edges(region: Region, end: Terminator) -> Iterator[str]:
    for edge in end.edges:
        if edge.block not in region.blocks:
            yield f"{edge.block.name} is not a block of the region"
        given = [arg.type for arg in edge.args]
        wanted = [param.type for param in edge.block.params]
        if given != wanted:
            yield f"{edge.block.name} takes ({', '.join(map(str, wanted))}), not ({', '.join(map(str, given))})"


def _roots(region: Region) -> list[Block]:
    """The blocks that are entered from outside, each once."""
    return list(dict.fromkeys((*region.blocks[:1], *region.entries.values())))


def _check_uses(region: Region, names: Names) -> Iterator[str]:
    """Invariant 4, and reachability."""
    home: dict[Value, Block] = {}
    for block in region.blocks:
        for value in (*block.params, *block.ops):
            if value in home:
                yield f"{block.name}: {names.get(value, value.op.name)} is defined twice"
            home.setdefault(value, block)
    dominators = _dominators(region)
    for block in region.blocks:
        if block not in dominators:
            yield f"{block.name}: cannot be reached"
            continue
        for value, place in _misplaced(block, home, dominators[block], names):
            yield f"{block.name}: {place}: uses {names.get(value, 'a value of no block')} before its definition"


def _misplaced(
    block: Block, home: dict[Value, Block], dominators: set[Block], names: Names
) -> Iterator[tuple[Value, str]]:
    """The uses in a block of values that are not defined by then, each with the text of its place."""
    above = set(block.params)
    for user in block.ops:
        for arg in user.args:
            if arg not in above and (home.get(arg) is block or home.get(arg) not in dominators):
                yield arg, print_operation(user, names)
        above.add(user)
    end = block.terminator
    if end is not None:
        for arg in (*end.args, *(arg for edge in end.edges for arg in edge.args)):
            if home.get(arg) not in dominators:
                yield arg, print_terminator(end, names)


def _dominators(region: Region) -> dict[Block, set[Block]]:
    """For every block that can be reached, the blocks that every way to it passes, itself included."""
    roots = _roots(region)
    dominators = {block: {block} for block in roots}
    work = list(roots)
    while work:
        block = work.pop()
        for edge in block.terminator.edges if block.terminator is not None else ():
            successor = edge.block
            known = dominators.get(successor)
            reached = dominators[block] | {successor}
            narrowed = reached if known is None else (known & reached)
            if known != narrowed:
                dominators[successor] = narrowed
                work.append(successor)
    return dominators
