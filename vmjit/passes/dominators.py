"""Which blocks every way to a block passes."""

from collections.abc import Mapping, Sequence

from vmjit.ir.block import Block, Region
from vmjit.passes.edit import reachable

Blocks = int  # a set of them: bit n for the block with number n


class Dominators:
    """Those of the blocks that an entry leads to, as the region was when this was made.

    Blocks are numbered so that each has a higher number than those that dominate it.
    """

    def __init__(self, region: Region, predecessors: Mapping[Block, Sequence[Block]]) -> None:
        self.blocks = reachable(region)
        self.number = {block: number for number, block in enumerate(self.blocks)}
        roots = {region.blocks[0], *region.entries.values()}
        self.found = found = {block: 1 << n if block in roots else -1 for block, n in self.number.items()}
        work = [(block, 1 << n, predecessors[block]) for block, n in self.number.items() if block not in roots]
        changed = True
        while changed:
            changed = False
            for block, bit, before in work:
                above = -1
                for other in before:
                    above &= found.get(other, -1)
                above |= bit
                if above != found[block]:
                    found[block] = above
                    changed = True

    def dominates(self, block: Block, other: Block) -> bool:
        """Whether every way to `other` passes `block`, or they are the same; not so for blocks made later."""
        return bool(self.found.get(other, 0) >> self.number[block] & 1)

    def immediate(self, block: Block) -> Block | None:
        """The last block that every way to a block passes before it; None if there is none."""
        above = self.found[block] ^ 1 << self.number[block]
        return self.blocks[above.bit_length() - 1] if above else None
