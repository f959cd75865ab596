"""Guards memory accesses: an address outside guest memory leaves before it is used.

In a region the guard tests the root of the address, the value below constant and small offsets, so that one test serves
all accesses through it (passes/bounds.py), and tables are accessed by the test of where they begin. The exit has the
instruction executed by the reference evaluator, which judges exactly. In an interpreter handler the address itself is
tested and the exit is the fault.
"""

from collections.abc import Callable

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import WIDTH, signed

MOST_OFFSET = 1 << 28  # of an access from the address that is tested: far less than a guard area
FEW_BITS = 16
DEEPEST = 4  # operations that a bound is looked for below
# The largest result for the largest operands, where there is no overflow as these are below MOST_OFFSET.
_MOST: dict[str, Callable[..., int]] = {
    "zext": lambda a: a,
    "add": lambda a, b: a + b,
    "or": lambda a, b: (1 << max(a, b).bit_length()) - 1,
    "xor": lambda a, b: (1 << max(a, b).bit_length()) - 1,
    "lshr": lambda a, b: a,
    "shl": lambda a, b: a << b if b < MOST_SHIFT else MOST_OFFSET,
}
MOST_SHIFT = 8

_IN_GUEST, _PC, _ADD, _SETTLE = OPS["in_guest"], OPS["pc"], OPS["add"], OPS["settle"]


def run(region: Region) -> Region:
    """Split blocks before the accesses that need a guard."""
    for block in list(region.blocks):
        _guard(region, block)
    return region


def root_of(address: Value, known: Value | None = None) -> Value:
    """The address without what is added to it and small: constants and numbers of few bits. `known` ends the search."""
    offset = 0
    while address.op is _ADD and address is not known:
        first, second = address.args
        if second.op is CONST:
            assert isinstance(second.attr, int)
            offset += abs(signed(second.attr, 64))
            rest = first
        elif (most := _most(second, DEEPEST)) is not None:
            offset += most
            rest = first
        elif (most := _most(first, DEEPEST)) is not None:
            offset += most
            rest = second
        else:
            break
        if offset >= MOST_OFFSET:
            break
        address = rest
    return address


def _most(value: Value, depth: int) -> int | None:
    """The largest that a value can be, if that is known and small; None if not."""
    most = None
    name, args = value.op.name, value.args
    if name == "const":
        most = value.attr
    elif name == "and" and args[1].op is CONST:
        most = args[1].attr
    elif name in _MOST and depth:
        parts = [_most(arg, depth - 1) for arg in args]
        most = _MOST[name](*parts) if None not in parts else None
    if most is None and name == "zext" and WIDTH[args[0].type or ""] <= FEW_BITS:
        most = (1 << WIDTH[args[0].type or ""]) - 1
    return most if isinstance(most, int) and most < MOST_OFFSET else None


def _guard(region: Region, block: Block) -> None:
    guarded: set[Value] = set()
    exits: dict[int, Block] = {}
    start, ops, end = 0, block.ops, block.terminator
    here = block
    for index, value in enumerate(ops):
        op = value.op
        if op.writes_state:
            exits.clear()  # an exit from here on must store other registers
        if not (op.reads_memory or op.writes_memory) or not value.args:
            continue
        root = value.args[0] if value.pc is None else root_of(value.args[0])
        if root in guarded:
            continue
        guarded.add(root)
        split = index - (index > 0 and ops[index - 1].op is _SETTLE)  # that stays with its access
        test = Value(_IN_GUEST, "i1", (root,))
        outside = exits.get(value.pc or 0)
        if outside is None:
            outside = exits[value.pc or 0] = _exit(region, value)
        rest = region.new_block(f"{block.name}.{split}")
        here.ops = [*ops[start:split], test]
        here.terminator = Terminator("branch", (test,), (Edge(rest), Edge(outside)))
        here, start = rest, split
    here.ops = ops[start:]
    here.terminator = end


def _exit(region: Region, access: Value) -> Block:
    block = region.new_block()
    if access.pc is None:
        pc, reason, argument = Value(_PC, "i64"), "fault", access.args[0]
        block.ops = [pc]
    else:
        pc, reason, argument = Value(CONST, "i64", (), access.pc), "emulate", Value(CONST, "i64", (), 0)
        block.ops = [pc, argument]
    block.terminator = Terminator("exit", (pc, argument), attr=reason)
    return block
