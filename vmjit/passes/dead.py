"""Drops what nobody uses: values without effect, and block parameters with the arguments given for them.

A value is live when an operation with effects or a terminator needs it, directly or through live values; what a
parameter needs are its arguments on all edges. So parameters that only feed each other round a loop go too. Loads
stay: they may fault.
"""

from vmjit.ir.block import Edge, Region, Value
from vmjit.ir.ops import OPS

_DROPPABLE = frozenset(
    op
    for op in OPS.values()
    if op.result is not None and not (op.reads_memory or op.writes_memory or op.writes_state or op.raises_flags)
)


def run(region: Region) -> Region:
    """Remove dead values and parameters."""
    live = _live(region)
    for block in region.blocks:
        block.ops = [value for value in block.ops if value.op not in _DROPPABLE or value in live]
    for block in region.blocks:
        for edge in block.end.edges:
            _drop_arguments(edge, live)
    for block in region.blocks:
        if block.params:
            block.params = [param for param in block.params if param in live]
    return region


def _live(region: Region) -> set[Value]:
    work: list[Value] = []
    sources: dict[Value, list[Value]] = {}  # parameter -> its arguments
    for block in region.blocks:
        for value in block.ops:
            if value.op not in _DROPPABLE:
                work += value.args
        end = block.end
        work += end.args
        for edge in end.edges:
            for param, arg in zip(edge.block.params, edge.args, strict=True):
                sources.setdefault(param, []).append(arg)
    live: set[Value] = set()
    while work:
        value = work.pop()
        if value not in live:
            live.add(value)
            work += value.args or sources.get(value, ())
    return live


def _drop_arguments(edge: Edge, live: set[Value]) -> None:
    """Keep the arguments of live parameters; the parameters themselves must still be there."""
    params = edge.block.params
    if params and not live.issuperset(params):
        edge.args = tuple(arg for param, arg in zip(params, edge.args, strict=True) if param in live)
