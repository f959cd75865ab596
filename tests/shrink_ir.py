"""Makes a region that shows a defect small: what can go without the defect going, goes."""

from collections.abc import Callable, Iterator

from vmjit.ir.block import CONST, Block, Region, Terminator, Value
from vmjit.ir.parser import parse_region
from vmjit.ir.verify import verify
from vmjit.passes.edit import remove_unreachable, substitute

Fails = Callable[[Region], bool]
Change = Callable[[Region], None]


def shrink(region: Region, fails: Fails) -> Region:
    """A region, sound like the one given, that still fails, and none of whose single changes does."""
    text, found = str(region), True
    while found:
        found = False
        for change in _changes(parse_region(text)):
            smaller = _changed(text, change)
            if smaller is not None and fails(parse_region(smaller)):
                text, found = smaller, True
    return parse_region(text)


def _changed(text: str, change: Change) -> str | None:
    """The text after a change; None where it makes nothing smaller, or no sound region, or came too late."""
    region = parse_region(text)
    cost = _cost(region)
    try:
        change(region)
        remove_unreachable(region)
    except IndexError:
        return None
    return str(region) if _cost(region) < cost and not verify(region) else None


def _cost(region: Region) -> tuple[int, int]:
    values = [value for block in region.blocks for value in (*block.params, *block.ops)]
    return len(values) + sum(not value.is_const for value in values), len(str(region))


def _changes(region: Region) -> Iterator[Change]:
    """Large ones first, last places first, so that a change leaves the places of the others; each works on a copy."""
    if len(region.entries) > 1:
        for pc in region.entries:
            yield lambda copy, pc=pc: copy.entries.pop(pc) and None  # type: ignore[misc]
    for number, block in enumerate(region.blocks):
        if block.end.kind != "exit":
            yield lambda copy, number=number: _leave(copy.blocks[number])  # type: ignore[misc]
        for edge in range(len(block.end.edges) if block.end.kind != "jump" else 0):
            yield lambda copy, number=number, edge=edge: _jump(copy.blocks[number], edge)  # type: ignore[misc]
    for number, block in reversed(list(enumerate(region.blocks))):
        for place in reversed(range(len(block.ops))):
            yield lambda copy, number=number, place=place: _drop(copy, number, place)  # type: ignore[misc]
        for place in range(len(block.params)):
            yield lambda copy, number=number, place=place: _drop_param(copy, number, place)  # type: ignore[misc]
        if block.end.kind == "jump":
            yield lambda copy, number=number: _merge(copy, copy.blocks[number])  # type: ignore[misc]


def _leave(block: Block) -> None:
    zero = Value(CONST, "i64", (), 0)
    block.ops.append(zero)
    block.terminator = Terminator("exit", (zero, zero), attr="syscall")


def _jump(block: Block, edge: int) -> None:
    block.terminator = Terminator("jump", (), (block.end.edges[edge],))


def _drop(region: Region, number: int, place: int) -> None:
    """Take an operation away; what uses it gets zero."""
    block = region.blocks[number]
    value = block.ops[place]
    if not _is_used(region, value):
        del block.ops[place]
    elif not value.is_const:
        block.ops[place] = zero = Value(CONST, value.type, (), 0)
        substitute(region, {value: zero})
    else:
        value.attr = 0


def _is_used(region: Region, value: Value) -> bool:
    for block in region.blocks:
        ends = (block.end, *block.end.edges)
        if any(value in user.args for user in (*block.ops, *ends)):
            return True
    return False


def _drop_param(region: Region, number: int, place: int) -> None:
    block = region.blocks[number]
    param = block.params.pop(place)
    block.ops.insert(0, zero := Value(CONST, param.type, (), 0))
    for other in region.blocks:
        for edge in other.end.edges:
            if edge.block is block:
                edge.args = edge.args[:place] + edge.args[place + 1 :]
    substitute(region, {param: zero})


def _merge(region: Region, block: Block) -> None:
    """Make a block and the one it jumps to one, if that has no other way in."""
    edge = block.end.edges[0]
    entering = [other for other, _ in region.predecessors()[edge.block]]
    if entering == [block] and edge.block is not block and edge.block not in region.entries.values():
        block.ops += edge.block.ops
        block.terminator = edge.block.terminator
        substitute(region, dict(zip(edge.block.params, edge.args, strict=True)))
