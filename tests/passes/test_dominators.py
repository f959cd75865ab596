"""Dominators, against the definition: a block dominates those that no way reaches without it."""

import pytest
from random_ir import Shape, random_region

from vmjit.ir.block import Block, Region
from vmjit.passes.dominators import Dominators
from vmjit.passes.edit import remove_unreachable


def reached_without(region: Region, avoided: Block) -> set[Block]:
    work = [block for block in (region.blocks[0], *region.entries.values()) if block is not avoided]
    found = set(work)
    while work:
        for block in work.pop().successors():
            if block is not avoided and block not in found:
                found.add(block)
                work.append(block)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_dominators_are_what_every_way_passes(seed: int) -> None:
    region = random_region(seed, Shape(loops=0.4, size=20))
    remove_unreachable(region)
    predecessors = {block: [before for before, _ in found] for block, found in region.predecessors().items()}
    dominators = Dominators(region, predecessors)
    dominated = {block: set(region.blocks) - reached_without(region, block) for block in region.blocks}
    for block in region.blocks:
        assert {other for other in region.blocks if dominators.dominates(block, other)} == dominated[block]
        above = [other for other in region.blocks if other is not block and block in dominated[other]]
        last = dominators.immediate(block)
        assert last is None if not above else last in above and all(last in dominated[other] for other in above)


def test_a_block_made_later_is_dominated_by_none() -> None:
    region = random_region(1, Shape())
    dominators = Dominators(region, {block: [p for p, _ in found] for block, found in region.predecessors().items()})
    assert not dominators.dominates(region.blocks[0], region.new_block())
