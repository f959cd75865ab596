"""Which loops each block is in. Loops with several ways in, as a region with several entries has them, count too."""

from collections.abc import Iterable

from vmjit.ir.block import Block, Region

Loops = frozenset[int]


def loops_of(region: Region) -> dict[Block, Loops]:
    """The numbers of the loops around each block.

    A loop is a strongly connected part of the graph; without the blocks where it is entered, the loops in it are those
    of what is left (Steensgaard, "Sequentializing Program Dependence Graphs for Irreducible Programs", 1993).
    """
    found: dict[Block, Loops] = dict.fromkeys(region.blocks, frozenset())
    predecessors = region.predecessors()
    entries = {region.blocks[0], *region.entries.values()}
    work = [set(region.blocks)]
    number = 0
    while work:
        for part in _connected(work.pop()):
            members = set(part)
            if len(part) == 1 and part[0] not in part[0].successors():
                continue
            number += 1
            for block in part:
                found[block] |= {number}
            heads = {
                block
                for block in part
                if block in entries or any(before not in members for before, _ in predecessors[block])
            }
            work.append(members - heads)
    return found


def _connected(blocks: set[Block]) -> Iterable[list[Block]]:
    """The strongly connected parts of a graph, by Tarjan's algorithm without recursion."""
    index: dict[Block, int] = {}
    lowest: dict[Block, int] = {}
    path: list[Block] = []
    parts: list[list[Block]] = []
    done: set[Block] = set()
    for root in blocks:
        if root in index:
            continue
        index[root] = lowest[root] = len(index)
        path.append(root)
        calls = [(root, root.successors())]
        while calls:
            block, rest = calls[-1]
            for following in rest:
                if following not in blocks or following in done:
                    continue
                if following not in index:
                    index[following] = lowest[following] = len(index)
                    path.append(following)
                    calls.append((following, following.successors()))
                    break
                lowest[block] = min(lowest[block], index[following])
            else:
                calls.pop()
                if calls:
                    above = calls[-1][0]
                    lowest[above] = min(lowest[above], lowest[block])
                if lowest[block] == index[block]:
                    start = path.index(block)
                    part = path[start:]
                    del path[start:]
                    done.update(part)
                    parts.append(part)
    return parts
