"""verify(): accepts what the table of operations says and nothing else; tests/golden/verify has whole regions.

`signatures` states a second time, independently of ops.py and verify.py, which types each operation takes.
"""

from collections.abc import Callable, Iterator

import pytest

from vmjit.errors import VerifyError
from vmjit.ir.block import Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS, TERMINATORS, Op
from vmjit.ir.parser import parse_region
from vmjit.ir.types import WIDTH
from vmjit.ir.verify import verify, verify_or_raise

Signature = tuple[str | None, tuple[str, ...]]  # result, operands

INTEGERS = ("i1", "i8", "i16", "i32", "i64", "i128")
FLOATS = ("f32", "f64")
IN_MEMORY = ("i8", "i16", "i32", "i64", "f32", "f64")
ATOMIC = ("i8", "i16", "i32", "i64")
REGISTER = ("i64", "f64")


def _pairs(wider: bool) -> list[Signature]:
    size = INTEGERS.index
    return [(r, (a,)) for r in INTEGERS for a in INTEGERS if (size(r) > size(a) if wider else size(r) < size(a))]


# Operations whose result the table gives as "given", or whose operands are narrower than it says.
_SPECIAL: dict[str, list[Signature]] = {
    "param": [],
    "const": [(t, ()) for t in (*INTEGERS, *FLOATS)],
    "undefined": [(t, ()) for t in (*INTEGERS, *FLOATS)],
    **{name: [("i64", ())] for name in ("field", "pc", "clock", "host_flags")},
    "bswap": [(t, (t,)) for t in ("i16", "i32", "i64", "i128")],
    "select": [(t, ("i1", t, t)) for t in (*INTEGERS, *FLOATS)],
    "sext": _pairs(wider=True),
    "zext": _pairs(wider=True),
    "trunc": _pairs(wider=False),
    "bitcast": [("i32", ("f32",)), ("i64", ("f64",)), ("f32", ("i32",)), ("f64", ("i64",))],
    "fconvert": [("f32", ("f64",)), ("f64", ("f32",))],
    "sitofp": [(f, (i,)) for f in FLOATS for i in INTEGERS],
    "uitofp": [(f, (i,)) for f in FLOATS for i in INTEGERS],
    "fptosi": [(i, (f,)) for f in FLOATS for i in INTEGERS],
    "fptoui": [(i, (f,)) for f in FLOATS for i in INTEGERS],
    "load": [(t, ("i64",)) for t in IN_MEMORY],
    "store": [(None, ("i64", t)) for t in IN_MEMORY],
    "atomic_load": [(t, ("i64",)) for t in ATOMIC],
    "compare_exchange": [("i1", ("i64", t, t)) for t in ATOMIC],
    "in_guest": [("i1", ("i64",))],
    "translate": [("i64", ("i64",))],
    "translate_near": [("i64", ("i64", "i64", "i64"))],
    "is_translated": [("i1", ("i64",))],
    "get": [(t, ()) for t in REGISTER],
    "set": [(None, (t,)) for t in REGISTER],
    "get_at": [(t, ("i64",)) for t in REGISTER],
    "set_at": [(None, ("i64", t)) for t in REGISTER],
}


def signatures(op: Op) -> list[Signature]:
    """Every legal pair of result and operand types."""
    if op.name in _SPECIAL:
        return _SPECIAL[op.name]
    if op.name.startswith("atomic_"):
        return [(t, ("i64", t)) for t in ATOMIC]
    free = {"a": INTEGERS, "float": FLOATS}.get(op.operands[0]) if op.operands else None
    if free is None:
        assert op.result is None, f"state the signatures of {op.name}"
        return [(None, op.operands)]
    return [(t if op.result == "same" else op.result, (t,) * len(op.operands)) for t in free]


ATTRIBUTES: dict[str | None, int | str | None] = {
    None: None,
    "host": None,
    "value": 1,
    "register": "x1",
    "file": "x",
    "field": "rd",
    "order": "seq_cst",
    "rounding": "rne",
    "access": "write4",
}
BAD_ATTRIBUTES: dict[str | None, tuple[int | str | None, ...]] = {
    None: (1, "x"),
    "host": (1, "x"),
    "value": (None, -1, 1 << 128, "1"),
    "register": (None, 1, "", "x 1"),
    "file": (None, 1, "", "x[1]"),
    "field": (None, 1, "", "r-d"),
    "order": (None, 1, "monotonic"),
    "rounding": (None, 1, "up"),
    "access": (None, 1, "read", "read3", "execute4"),
}
CHECKED = [op for op in OPS.values() if op.name != "param"]


def region_with(op: Op, signature: Signature, attr: int | str | None) -> Region:
    """One block that holds the operation, on operands of the given types."""
    result, operands = signature
    region = Region("main")
    block = region.new_block()
    args = tuple(Value(OPS["undefined"], type) for type in operands)
    pc = Value(OPS["pc"], "i64")
    block.ops = [pc, *args, Value(op, result, args, attr)]
    block.terminator = Terminator("chain", (pc,), attr="fall")
    return region


def neighbours(signature: Signature) -> Iterator[Signature]:
    """The signature with one type replaced, one operand more or one less."""
    result, operands = signature
    for other in (*WIDTH, None):
        yield other, operands
    for index in range(len(operands)):
        for other in WIDTH:
            yield result, (*operands[:index], other, *operands[index + 1 :])
    yield result, (*operands, "i64")
    if operands:
        yield result, operands[:-1]


@pytest.mark.parametrize("op", CHECKED, ids=lambda op: op.name)
def test_operation_when_types_vary_is_sound_exactly_for_its_signatures(op: Op) -> None:
    legal = set(signatures(op))
    tried = legal | {near for signature in legal for near in neighbours(signature)}
    attr = ATTRIBUTES[op.attr]
    accepted = {signature for signature in tried if not verify(region_with(op, signature, attr))}
    assert accepted == legal


@pytest.mark.parametrize("op", CHECKED, ids=lambda op: op.name)
def test_attribute_when_illegal_is_a_problem(op: Op) -> None:
    signature = signatures(op)[0]
    for attr in BAD_ATTRIBUTES[op.attr]:
        problems = verify(region_with(op, signature, attr))
        assert len(problems) == 1, attr
        assert f"attribute {attr!r} must be" in problems[0]


@pytest.mark.parametrize(("order", "legal"), [("acquire", True), ("release", False), ("acq_rel", False)])
def test_order_when_a_load_would_release_is_a_problem(order: str, legal: bool) -> None:
    for op in (op for op in OPS.values() if op.attr == "order"):
        assert (verify(region_with(op, signatures(op)[0], order)) == []) == (legal or op.writes_memory)


@pytest.mark.parametrize("type", WIDTH)
def test_constant_when_it_does_not_fit_is_a_problem(type: str) -> None:
    highest = (1 << WIDTH[type]) - 1
    assert verify(region_with(OPS["const"], (type, ()), highest)) == []
    assert len(verify(region_with(OPS["const"], (type, ()), highest + 1))) == 1


def sound_region() -> Region:
    return parse_region("""
        region main 0x10
        entry 0x10 b0
        block b0:
          v0 = get.i64 x1
          v1 = const.i1 1
          branch v1, b1(v0), b1(v0)
        block b1(v2: i64):
          chain v2 fall
    """)


def b0(region: Region) -> Block:
    return region.blocks[0]


def foreign_target(region: Region) -> None:
    b0(region).terminator = Terminator("jump", edges=(Edge(Block("other")),))


def foreign_entry(region: Region) -> None:
    region.entries[0x20] = Block("other")


def entry_with_parameter(region: Region) -> None:
    region.entries[0x20] = region.blocks[1]


def first_block_with_parameter(region: Region) -> None:
    region.blocks.reverse()


def same_block_name(region: Region) -> None:
    region.blocks[1].name = "b0"


def unreadable_block_name(region: Region) -> None:
    region.blocks[1].name = "b 1"


def unreadable_region_name(region: Region) -> None:
    region.name = "ma;in"


def wide_address(region: Region) -> None:
    region.pc = 1 << 64


def wide_pc_of_operation(region: Region) -> None:
    b0(region).ops[0].pc = 1 << 64


def value_twice(region: Region) -> None:
    region.blocks[1].ops.append(b0(region).ops[0])


def param_among_operations(region: Region) -> None:
    b0(region).ops.append(Value(OPS["param"], "i64"))


def operation_among_params(region: Region) -> None:
    region.blocks[1].params[0] = Value(OPS["const"], "i64", (), 1)


def value_of_no_block(region: Region) -> None:
    region.blocks[1].terminator = Terminator("chain", (Value(OPS["const"], "i64", (), 1),), attr="fall")


def value_without_result(region: Region) -> None:
    fence = Value(OPS["fence"], None, (), "seq_cst")
    b0(region).ops += [fence, Value(OPS["ctz"], "i64", (fence,))]


def param_of_other_block(region: Region) -> None:
    b0(region).ops.append(Value(OPS["ctz"], "i64", (region.blocks[1].params[0],)))


def own_result(region: Region) -> None:
    value = Value(OPS["ctz"], "i64")
    value.args = (value,)
    b0(region).ops.append(value)


def unknown_terminator(region: Region) -> None:
    region.blocks[1].terminator = Terminator("return")


def cases_of_a_jump(region: Region) -> None:
    b0(region).terminator = Terminator("jump", (), b0(region).end.edges[:1], cases=(1,))


def attribute_of_a_branch(region: Region) -> None:
    b0(region).end.attr = "fall"


def exit_of_upper_case(region: Region) -> None:
    pc = b0(region).ops[0]
    b0(region).terminator = Terminator("exit", (pc, pc), attr="SYSCALL")


def no_terminator(region: Region) -> None:
    region.blocks[1].terminator = None


def unreachable_block(region: Region) -> None:
    region.new_block().terminator = region.blocks[0].terminator


DAMAGE: dict[Callable[[Region], None], str] = {
    foreign_target: "b0: jump other: other is not a block of the region",
    foreign_entry: "entry 0x20: other is not a block of the region",
    entry_with_parameter: "b1: a block that is entered from outside has no parameters",
    first_block_with_parameter: "b1: a block that is entered from outside has no parameters",
    same_block_name: "block name b0 is used twice",
    unreadable_block_name: "block name 'b 1' must consist of letters, digits, _ and .",
    unreadable_region_name: "region name 'ma;in' must not be empty nor have spaces or semicolons",
    wide_address: "address 0x10000000000000000 does not fit 64 bits",
    wide_pc_of_operation: "address 0x10000000000000000 does not fit 64 bits",
    value_twice: "b1: v0 is defined twice",
    param_among_operations: "a param belongs to Block.params",
    operation_among_params: "b1: parameter v2 must be a param of a type, without operands",
    value_of_no_block: "b1: chain v? fall: uses a value of no block before its definition",
    value_without_result: "operand 1 is no value, not an integer",
    param_of_other_block: "b0: v2 = ctz.i64 v3: uses v3 before its definition",
    own_result: "b0: v2 = ctz.i64 v2: uses v2 before its definition",
    unknown_terminator: "terminator 'return' is not one of jump branch switch chain exit",
    cases_of_a_jump: "only a switch has cases",
    attribute_of_a_branch: "attribute 'fall' must be nothing",
    exit_of_upper_case: "attribute 'SYSCALL' must be the name of an ExitReason in lower case",
    no_terminator: "b1: has no terminator",
    unreachable_block: "b2: cannot be reached",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_region_when_damaged_says_how(damage: Callable[[Region], None]) -> None:
    region = sound_region()
    assert verify(region) == []
    damage(region)
    assert any(DAMAGE[damage] in problem for problem in verify(region)), verify(region)


def test_region_when_empty_is_a_problem() -> None:
    assert verify(Region("main")) == ["the region has no block"]


@pytest.mark.parametrize("kind", TERMINATORS)
def test_terminator_when_bare_is_a_problem(kind: str) -> None:
    region = sound_region()
    b0(region).terminator = Terminator(kind)
    assert any(problem.startswith(f"b0: {kind}") for problem in verify(region))


def test_value_when_only_one_way_defines_it_is_a_problem_behind_the_join() -> None:
    text = """
        region main 0x0
        entry 0x10 b1
        block b0:
          v0 = get.i64 x1
          jump b1
        block b1:
          chain v0 fall
    """
    assert verify(parse_region(text)) == ["b1: chain v0 fall: uses v0 before its definition"]
    assert verify(parse_region(text.replace("entry 0x10 b1", "entry 0x10 b0"))) == []


def test_verify_or_raise_when_unsound_gives_stage_problems_and_text() -> None:
    region = sound_region()
    verify_or_raise(region, after="fold")
    no_terminator(region)
    with pytest.raises(VerifyError) as raised:
        verify_or_raise(region, after="fold")
    assert str(raised.value) == f"region main is unsound after fold:\n  b1: has no terminator\n{region}"
