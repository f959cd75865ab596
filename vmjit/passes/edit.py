"""What several passes do to a whole region."""

from vmjit.ir.block import Block, Region, Value


def substitute(region: Region, replaced: dict[Value, Value]) -> None:
    """Use replaced[v] for v everywhere; a replacement may be replaced itself."""
    for value, other in replaced.items():
        while other in replaced:
            other = replaced[other]
        replaced[value] = other
    get = replaced.get
    for block in region.blocks:
        for value in block.ops:
            for arg in value.args:
                if arg in replaced:
                    value.args = tuple([get(arg, arg) for arg in value.args])
                    break
        end = block.end
        end.args = tuple([get(arg, arg) for arg in end.args])
        for edge in end.edges:
            edge.args = tuple([get(arg, arg) for arg in edge.args])


def reachable(region: Region) -> list[Block]:
    """The blocks that an entry leads to, each below those that dominate it, as every search finds them."""
    found = list(dict.fromkeys((region.blocks[0], *region.entries.values())))
    seen = set(found)
    for block in found:
        for edge in block.end.edges:
            if edge.block not in seen:
                seen.add(edge.block)
                found.append(edge.block)
    return found


def remove_unreachable(region: Region) -> None:
    """Drop the blocks that no entry leads to."""
    reached = set(reachable(region))
    if len(reached) < len(region.blocks):
        region.blocks = [block for block in region.blocks if block in reached]
