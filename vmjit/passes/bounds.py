"""Removes repeated address checks: a branch on `in_guest` that is decided on every path to it becomes a jump.

A check is of r + c, r an SSA value (block parameters are values of their own) and c a constant. Checks of one r whose
constants differ by less than REACH form a group, and one of them decides the others: guard areas of 4 GiB that fault
lie on both sides of guest memory, so with one address of the group in guest memory the others are in guest memory or
in a guard, and an access that slips through faults in the host, precisely, where it is reported as the guest's fault.

The facts known at a place are the groups checked on all ways to it, one bit each: a forward dataflow analysis that
intersects over predecessors, gains a group along the edge where its check held, and starts loops optimistically. A
fact cannot outlive its value: the first way to the definition of r has no check of r, so no fact of r arrives there.
"""

from collections.abc import Iterable

from vmjit.ir.address import address_of
from vmjit.ir.block import Block, Region, Terminator, Value
from vmjit.passes.edit import remove_unreachable

REACH = 1 << 31  # half of a guard area, so that the size of an access does not matter


def run(region: Region) -> Region:
    """Turn the branches whose check is known to hold into jumps."""
    checks: dict[Block, tuple[Value, int]] = {}  # blocks that end in a branch on a check -> root, constant
    for block in region.blocks:
        end = block.end
        if end.kind == "branch" and end.args[0].op.name == "in_guest":
            checks[block] = address_of(end.args[0].args[0])
    if len(checks) > 1:
        groups = _groups(checks.values())
        bits = {block: groups[check] for block, check in checks.items()}
        known = _known(region, bits)
        for block, bit in bits.items():
            if known[block] & bit:
                block.terminator = Terminator("jump", (), block.end.edges[:1])
        remove_unreachable(region)
    return region


def _groups(checks: Iterable[tuple[Value, int]]) -> dict[tuple[Value, int], int]:
    """The bit of each check's group."""
    by_root: dict[Value, set[int]] = {}
    for root, offset in checks:
        by_root.setdefault(root, set()).add(offset)
    bits = {}
    bit = 1
    for root, offsets in by_root.items():
        first = min(offsets)
        for offset in sorted(offsets):
            if offset - first >= REACH:
                first, bit = offset, bit << 1
            bits[root, offset] = bit
        bit <<= 1
    return bits


def _known(region: Region, bits: dict[Block, int]) -> dict[Block, int]:
    """For each block, the groups checked on all ways to it."""
    known = dict.fromkeys(region.blocks, -1)
    work = [region.blocks[0], *region.entries.values()]
    for block in work:
        known[block] = 0
    while work:
        block = work.pop()
        here = known[block]
        after = here | bits.get(block, 0)
        for edge in block.end.edges:
            before = known[edge.block]
            if before & ~after:
                known[edge.block] = before & after
                work.append(edge.block)
            after = here  # the second edge of a check is the one where it did not hold
    return known
