"""Guards memory accesses: an address outside guest memory leaves before it is used.

In a region the guard tests the root of the address, the value below constant offsets, so that one test serves all
accesses through it (passes/bounds.py); the exit has the instruction executed by the reference evaluator, which judges
exactly. In an interpreter handler the address itself is tested and the exit is the fault.
"""

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import signed

MOST_OFFSET = 1 << 28  # of an access from the address that is tested: far less than a guard area

_IN_GUEST, _PC, _ADD, _SETTLE = OPS["in_guest"], OPS["pc"], OPS["add"], OPS["settle"]


def run(region: Region) -> Region:
    """Split blocks before the accesses that need a guard."""
    for block in list(region.blocks):
        _guard(region, block)
    return region


def root_of(address: Value) -> Value:
    """The address without the constants added to it, as long as they are small."""
    offset = 0
    while address.op is _ADD and address.args[1].op is CONST:
        assert isinstance(address.args[1].attr, int)
        offset += signed(address.args[1].attr, 64)
        if abs(offset) >= MOST_OFFSET:
            break
        address = address.args[0]
    return address


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
