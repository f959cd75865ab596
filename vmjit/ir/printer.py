"""The text form of a region, which parser.py reads back.

Invariant: parse_region(print_region(region)) has the structure of `region` whenever verify(region) finds no problem.
A broken region prints too, as far as it goes: `v?` stands for a value that no block of the region defines.
"""

from vmjit.ir.block import Block, Edge, Region, Terminator, Value
from vmjit.ir.types import MASK

DECIMAL_BELOW = 1 << 16  # larger numbers are addresses and masks, which read better in hexadecimal

# Where an operation's attribute stands, by what it holds: before the operands, around the first one, or behind them.
PLACE = {
    "value": "first",
    "register": "first",
    "field": "first",
    "file": "index",
    "order": "last",
    "access": "last",
    "rounding": "last",
}

Names = dict[Value, str]


def print_region(region: Region) -> str:
    """The text of a region, values numbered in order of appearance."""
    names = number_values(region)
    lines = [f"region {region.name} {region.pc:#x}"]
    lines += [f"entry {pc:#x} {block.name}" for pc, block in region.entries.items()]
    for block in region.blocks:
        lines.append(print_header(block, names))
        lines += [f"  {print_operation(value, names)}" for value in block.ops]
        if block.terminator is not None:
            lines.append(f"  {print_terminator(block.terminator, names)}")
    return "\n".join(lines) + "\n"


def number_values(region: Region) -> Names:
    """A name for every value of the region that has a result."""
    names: Names = {}
    for block in region.blocks:
        for value in (*block.params, *block.ops):
            if value.type is not None:
                names.setdefault(value, f"v{len(names)}")
    return names


def print_integer(value: int, type: str | None) -> str:
    """A constant as the text form has it: a bit pattern, decimal when small."""
    if value < 0 and type is not None:
        value &= MASK[type]
    return str(value) if value < DECIMAL_BELOW else f"{value:#x}"


def printed_type(value: Value) -> str | None:
    """The type behind the dot: the result's, or the last operand's where the operation fixes its result."""
    if value.op.result in (None, "i1"):
        return value.args[-1].type if value.args else None
    return value.type


def print_header(block: Block, names: Names) -> str:
    """The line that opens a block."""
    params = ", ".join(f"{_name(param, names)}: {param.type}" for param in block.params)
    return f"block {block.name}({params}):" if params else f"block {block.name}:"


def print_operation(value: Value, names: Names) -> str:
    """One operation, without indentation."""
    type = printed_type(value)
    words = [f"{value.op.name}.{type}" if type is not None else value.op.name, _operands(value, names)]
    if value.type is not None:
        words.insert(0, f"{_name(value, names)} =")
    if value.pc is not None:
        words.append(f"@{value.pc:#x}")
    return " ".join(word for word in words if word)


def print_terminator(end: Terminator, names: Names) -> str:
    """The line that closes a block, without indentation."""
    args = [_name(arg, names) for arg in end.args]
    edges = [_edge(edge, names) for edge in end.edges]
    if end.kind == "chain":
        return f"chain {', '.join(args)} {end.attr}"
    if end.kind == "exit":
        return f"exit {', '.join((str(end.attr), *args))}"
    type = end.args[0].type if end.args else None
    for index, case in enumerate(end.cases[: len(edges)]):
        edges[index] = f"{print_integer(case, type)}: {edges[index]}"
    odds = "" if end.attr is None else f" odds {end.attr}"
    return f"{end.kind} {', '.join((*args, *edges))}{odds}"


def _name(value: Value, names: Names) -> str:
    return names.get(value, "v?")


def _edge(edge: Edge, names: Names) -> str:
    args = ", ".join(_name(arg, names) for arg in edge.args)
    return f"{edge.block.name}({args})" if args else edge.block.name


def _operands(value: Value, names: Names) -> str:
    """Operands and attribute, as PLACE arranges them."""
    args = [_name(arg, names) for arg in value.args]
    attr = print_integer(value.attr, value.type) if isinstance(value.attr, int) else str(value.attr)
    place = PLACE.get(value.op.attr or "")
    if place == "first":
        return ", ".join((attr, *args))
    if place == "index":
        return ", ".join((f"{attr}[{', '.join(args[:1])}]", *args[1:]))
    if place == "last":
        return f"{', '.join(args)} {attr}".lstrip()
    return ", ".join(args)
