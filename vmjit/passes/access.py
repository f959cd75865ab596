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
        guard(region, block, _tester(), _exit)
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


def guard(
    region: Region, block: Block, check: Callable[[Value], list[Value]], exit: Callable[[Region, Value], Block]
) -> None:
    """Split a block before its accesses: `check` gives the operations that end in a condition, none where none is
    needed, and `exit` makes the block that is gone to when it does not hold.
    """
    exits: dict[int, Block] = {}
    start, ops, end = 0, block.ops, block.terminator
    here = block
    for index, value in enumerate(ops):
        op = value.op
        if op.writes_state:
            exits.clear()  # an exit from here on must store other registers
        if not (op.reads_memory or op.writes_memory) or not value.args:
            continue
        made = check(value)
        if not made:
            continue
        split = index - (index > 0 and ops[index - 1].op is _SETTLE)  # that stays with its access
        outside = exits.get(value.pc or 0)
        if outside is None:
            outside = exits[value.pc or 0] = exit(region, value)
        rest = region.new_block(f"{block.name}.{split}")
        here.ops = [*ops[start:split], *made]
        here.terminator = Terminator("branch", (made[-1],), (Edge(rest), Edge(outside)))
        here, start = rest, split
    here.ops = ops[start:]
    here.terminator = end


def _tester() -> Callable[[Value], list[Value]]:
    """Tests the root of an address, once in a block."""
    guarded: set[Value] = set()

    def check(access: Value) -> list[Value]:
        root = access.args[0] if access.pc is None else root_of(access.args[0])
        if root in guarded:
            return []
        guarded.add(root)
        return [Value(_IN_GUEST, "i1", (root,))]

    return check


def _exit(region: Region, access: Value) -> Block:
    """For an address outside guest memory."""
    if access.pc is not None:
        return emulate(region, access)
    block = region.new_block()
    pc = Value(_PC, "i64")
    block.ops = [pc]
    block.terminator = Terminator("exit", (pc, access.args[0]), attr="fault")
    return block


def emulate(region: Region, access: Value) -> Block:
    """A block that has the instruction of an access executed by the reference evaluator."""
    block = region.new_block()
    pc = Value(_PC, "i64") if access.pc is None else Value(CONST, "i64", (), access.pc)
    argument = Value(CONST, "i64", (), 0)
    block.ops = [pc, argument]
    block.terminator = Terminator("exit", (pc, argument), attr="emulate")
    return block
