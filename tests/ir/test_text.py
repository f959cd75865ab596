"""The text form: regions built from the table of operations read back, and what does not read is explained."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verify import FLOATS, INTEGERS, signatures

from vmjit.errors import ParseError
from vmjit.ir.block import Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import ACCESSES, CHAINS, OPS, ORDERS, ROUNDINGS, Op
from vmjit.ir.parser import parse_region
from vmjit.ir.printer import print_region
from vmjit.ir.types import MASK
from vmjit.ir.verify import EXITS, verify


def attributes(op: Op, result: str | None) -> st.SearchStrategy[int | str | None]:
    """Legal attributes."""
    words = {"register": ("x1", "x10", "f0", "v1"), "file": ("x", "f"), "field": ("rd", "imm")}
    orders = [order for order in ORDERS if op.writes_memory or order not in ("release", "acq_rel")]
    names = {"order": orders, "rounding": ROUNDINGS, "access": ACCESSES, **words}
    if op.attr in names:
        return st.sampled_from(names[op.attr])
    if op.attr == "value":
        return st.integers(0, MASK[result or "i64"])
    return st.none()


ADDRESSES = st.integers(0, MASK["i64"])
GENERATED = [op for op in OPS.values() if signatures(op)]


class _Builder:
    """Grows one region; a block sees its own values and those of the first block, which dominates all."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.region = Region(draw(st.sampled_from(("main", "poly<double>", "a.b"))), draw(ADDRESSES))
        self.shared: list[Value] = []

    def value(self, block: Block, type: str) -> Value:
        """A value of the type: one in sight, or a new constant."""
        known = [v for v in (*self.shared, *block.params, *block.ops) if v.type == type]
        if known and self.draw(st.integers(0, 3)) > 0:
            return self.draw(st.sampled_from(known))
        block.ops.append(Value(OPS["const"], type, (), self.draw(st.integers(0, MASK[type]))))
        return block.ops[-1]

    def operation(self, block: Block) -> None:
        op = self.draw(st.sampled_from(GENERATED))
        result, operands = self.draw(st.sampled_from(signatures(op)))
        args = tuple(self.value(block, type) for type in operands)
        pc = self.draw(st.none() | ADDRESSES)
        block.ops.append(Value(op, result, args, self.draw(attributes(op, result)), pc))

    def edge(self, block: Block, target: Block) -> Edge:
        return Edge(target, tuple(self.value(block, str(param.type)) for param in target.params))

    def terminate(self, block: Block, following: Block | None) -> None:
        """End a block; the way to the following one keeps that reachable."""
        kinds = ("jump", "branch", "switch") if following is not None else ("chain", "exit")
        kind = self.draw(st.sampled_from(kinds))
        if following is None:
            args = tuple(self.value(block, "i64") for _ in range(1 if kind == "chain" else 2))
            attrs = CHAINS if kind == "chain" else EXITS
            block.terminator = Terminator(kind, args, attr=self.draw(st.sampled_from(attrs)))
            return
        type = self.draw(st.sampled_from(INTEGERS)) if kind == "switch" else "i1"
        args = (self.value(block, type),) if kind != "jump" else ()
        count = {"jump": 0, "branch": 1}.get(kind, 2)
        cases = self.draw(st.sets(st.integers(0, MASK[type]), min_size=2, max_size=2)) if kind == "switch" else ()
        others = [self.draw(st.sampled_from(self.region.blocks)) for _ in range(count)]
        edges = tuple(self.edge(block, target) for target in (*others, following))
        block.terminator = Terminator(kind, args, edges, cases=tuple(cases))


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """A region of one to four blocks that breaks no invariant."""
    build = _Builder(draw)
    region = build.region
    order = [region.new_block() for _ in range(draw(st.integers(1, 4)))]
    for block in order[1:]:
        for type in draw(st.lists(st.sampled_from((*INTEGERS, *FLOATS)), max_size=2)):
            block.add_param(type)
    for block, following in zip(order, [*order[1:], None], strict=True):
        for _ in range(draw(st.integers(0, 5))):
            build.operation(block)
        build.terminate(block, following)
        build.shared = order[0].ops
    region.blocks[1:] = draw(st.permutations(order[1:]))
    region.entries = {pc: order[0] for pc in draw(st.lists(ADDRESSES, unique=True, max_size=2))}
    return region


def shape(region: Region) -> object:
    """The structure of a region with values and blocks replaced by their positions."""
    blocks = {block: index for index, block in enumerate(region.blocks)}
    places = {
        value: (blocks[block], index)
        for block in region.blocks
        for index, value in enumerate((*block.params, *block.ops))
    }

    def edge(way: Edge) -> object:
        return blocks[way.block], [places[arg] for arg in way.args]

    def operation(value: Value) -> object:
        return value.op.name, value.type, [places[arg] for arg in value.args], value.attr, value.pc

    def ending(end: Terminator) -> object:
        return end.kind, [places[arg] for arg in end.args], [edge(way) for way in end.edges], end.attr, end.cases

    def content(block: Block) -> object:
        return block.name, [operation(v) for v in block.params], [operation(v) for v in block.ops], ending(block.end)

    entries = [(pc, blocks[block]) for pc, block in region.entries.items()]
    return region.name, region.pc, entries, [content(block) for block in region.blocks]


@settings(max_examples=150, deadline=None)
@given(regions())
def test_region_when_printed_reads_back_and_verifies(region: Region) -> None:
    assert verify(region) == []
    text = print_region(region)
    again = parse_region(text)
    assert shape(again) == shape(region)
    assert print_region(again) == text


@given(st.integers(0, 2**64 - 1))
def test_constant_when_printed_is_its_bit_pattern(pattern: int) -> None:
    region = Region("main")
    block = region.new_block()
    block.ops.append(Value(OPS["const"], "i64", (), pattern))
    printed = print_region(region).split()[-1]
    assert int(printed, 0) == pattern
    assert printed.startswith("0x") == (pattern >= 1 << 16)


def test_negative_constant_when_printed_is_cut_to_its_type() -> None:
    region = Region("main")
    region.new_block().ops.append(Value(OPS["const"], "i8", (), -1))
    assert print_region(region) == "region main 0x0\nblock b0:\n  v0 = const.i8 255\n"


def test_value_of_no_block_when_printed_is_marked() -> None:
    region = Region("main")
    stray = Value(OPS["const"], "i64", (), 1)
    region.new_block().terminator = Terminator("chain", (stray,), attr="fall")
    assert print_region(region).endswith("  chain v? fall\n")


BODY = "region main 0x0\nblock b0:\n  v0 = get.i64 x1\n  v1 = get.f64 f1\n"
BROKEN = {
    "": "region <name> <pc>",
    "block b0:": "region <name> <pc>",
    "region main 0x0\n  pause": "block <name>:",
    "region main 0x0\nblock b0": "block <name>",
    "region main 0x0\nblock b0(v0 i64):": "<value>: <type>",
    "region main 0x0\nblock b0(v0: i65):": "one of the types",
    "region main 0x0\nblock b0:\nblock b0:": "b0 is taken",
    "region main 0x0\nentry 0x0 b1\nblock b0:": "the name of a block, not 'b1'",
    "region main 0x0\nentry 0x0 b0\nentry 0x0 b0\nblock b0:": "each pc once",
    BODY + "entry 0x0 b0": "entries above the first block",
    BODY + "v2 = frob.i64 v0": "an operation of ir/ops.py or a terminator, not 'frob'",
    BODY + "frob v0": "an operation of ir/ops.py or a terminator, not 'frob'",
    BODY + "v2 = param.i64": "an operation of ir/ops.py",
    BODY + "v2 = add.i65 v0, v0": "one of the types",
    BODY + "v2 = add v0, v0": "a type: add.<type>",
    BODY + "add.i64 v0, v0": "<value> = add.<type>",
    BODY + "v2 = store.i64 v0, v0": "no result, store has none",
    BODY + "v0 = add.i64 v0, v0": "v0 is taken",
    BODY + "v2 = add.i64 v0, v9": "the name of a value, not 'v9'",
    BODY + "v2 = eq.i32 v0, v0": "eq.i64, the type of the last operand",
    BODY + "store.i64 v0, v1": "store.f64, the type of the last operand",
    BODY + "store v0, v1": "store.f64, the type of the last operand",
    BODY + "fence.i64 seq_cst": "fence, no type",
    BODY + "fence": "the order behind the operands",
    BODY + "v2 = fadd.f64 v1, v1": "the rounding behind the operands",
    BODY + "v2 = get.i64": "the register in front of the operands",
    BODY + "v2 = get_at.i64 x": "get_at.<type> <file>[<value>]",
    BODY + "v2 = const.i64 five": "integer",
    BODY + "v2 = const.i64 010": "integer",
    BODY + "jump b7": "the name of a block, not 'b7'",
    BODY + "jump b0\njump b0": "block <name>: as b0 has its terminator",
    BODY + "branch v0": "branch <value>, <edges>",
    BODY + "switch v0, b0, b0": "<case>: <edge> before the last edge",
    BODY + "chain fall": "the name of a value",
    BODY + "v2 = add-i64 v0": "<value> = <op>.<type> <operands>",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text.removeprefix(BODY) or "nothing")
def test_parse_when_text_is_broken_names_line_and_expectation(text: str) -> None:
    with pytest.raises(ParseError) as raised:
        parse_region(text)
    message = str(raised.value)
    lines = text.split("\n")
    assert BROKEN[text] in message.partition(": expected ")[2]
    number = int(message.removeprefix("line ").partition(":")[0])
    assert message.startswith(f"line {number}: {lines[number - 1].strip()!r}: ")
