"""Tidies the control flow: what can be decided is decided, what stands in between goes.

Rounds, until nothing changes, of: branches with one way out become jumps; blocks that cannot be reached go; parameters
that are the same value on all ways in are that value; a block merges into its only predecessor if that leads nowhere
else; edges lead past empty blocks. Entry blocks, the first block among them, stay.
"""

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.passes.edit import remove_unreachable, substitute

Substitution = dict[Value, Value]


def run(region: Region) -> Region:
    """Decide, thread and merge until nothing changes."""
    changed = True
    while changed:
        changed = _decide(region)
        remove_unreachable(region)
        replaced = _same_on_all_edges(region)
        _merge(region, replaced)
        if replaced:
            substitute(region, replaced)
        if _thread(region):
            remove_unreachable(region)
            changed = True
        changed |= bool(replaced)
    return region


def _decide(region: Region) -> bool:
    """Terminators with only one way out become jumps."""
    changed = False
    for block in region.blocks:
        end = block.end
        if end.kind in ("branch", "switch"):
            edge = _only_way(end)
            if edge is not None:
                block.terminator = Terminator("jump", (), (edge,))
                changed = True
    return changed


def _only_way(end: Terminator) -> Edge | None:
    """The edge that a branch or switch always takes, if that is known."""
    first, *others = end.edges
    if end.args[0].op is CONST:
        value = end.args[0].attr
        if end.kind == "branch":
            return first if value else others[0]
        return next((edge for case, edge in zip(end.cases, end.edges, strict=False) if case == value), end.edges[-1])
    if all(edge.block is first.block and edge.args == first.args for edge in others):
        return first
    return None


def _same_on_all_edges(region: Region) -> Substitution:
    """Remove the parameters that stand for one value; says which.

    `stands` holds what a parameter stands for: nothing yet, one value, or itself when its arguments differ. It only
    moves in that order, and parameters that feed each other round a loop are seen through.
    """
    sources = _sources(region)
    users: dict[Value, list[Value]] = {}  # parameter -> parameters it is an argument of
    for param, args in sources.items():
        for arg in args:
            if arg in sources:
                users.setdefault(arg, []).append(param)
    stands: Substitution = {}
    work = list(sources)
    for param in work:
        if stands.get(param) is not param:
            found = {stands.get(arg) if arg in sources else arg for arg in sources[param]}
            found.discard(None)
            value = found.pop() if len(found) == 1 else param if found else None
            if value is not None and stands.get(param) is not value:
                stands[param] = value
                work += users.get(param, ())
    removed = {param: value for param, value in stands.items() if param is not value}
    if removed:
        _remove_params(region, removed)
    return removed


def _sources(region: Region) -> dict[Value, set[Value]]:
    """The arguments of each parameter but for itself; equal constants are one value."""
    given: dict[Block, list[tuple[Value, ...]]] = {}
    for block in region.blocks:
        for edge in block.end.edges:
            if edge.args:
                given.setdefault(edge.block, []).append(edge.args)
    constants: dict[tuple[str | None, object], Value] = {}
    found: dict[Value, set[Value]] = {}
    for block, rows in given.items():
        for param, args in zip(block.params, zip(*rows, strict=True), strict=True):
            different = set(args)
            different.discard(param)
            found[param] = {
                constants.setdefault((arg.type, arg.attr), arg) if arg.op is CONST else arg for arg in different
            }
    return found


def _remove_params(region: Region, removed: Substitution) -> None:
    """Take away parameters and their arguments; a constant gets a copy in the block where it may be needed."""
    for block in region.blocks:
        for edge in block.end.edges:
            params = edge.block.params
            if any(param in removed for param in params):
                edge.args = tuple(arg for param, arg in zip(params, edge.args, strict=True) if param not in removed)
    for block in region.blocks:
        for param in block.params:
            value = removed.get(param)
            if value is not None and value.op is CONST:
                removed[param] = copy = Value(CONST, value.type, (), value.attr)
                block.ops.insert(0, copy)
        block.params = [param for param in block.params if param not in removed]


def _thread(region: Region) -> bool:
    """Lead edges past blocks that only jump."""
    empty = {block for block in region.blocks if not block.ops and block.end.kind == "jump"}
    empty -= _with_params_used_below(region, {block for block in empty if block.params})
    changed = False
    for block in region.blocks if empty else ():
        for edge in block.end.edges:
            before = edge.block
            passed = {block}  # an empty loop ends where it began
            while edge.block in empty and edge.block not in passed and _may_pass(block.end, edge):
                passed.add(edge.block)
                edge.block, edge.args = _behind(edge)
            changed |= edge.block is not before
    return changed


def _with_params_used_below(region: Region, blocks: set[Block]) -> set[Block]:
    """Those of the empty blocks whose parameters are needed for more than the arguments of their jump."""
    home = {param: block for block in blocks for param in block.params}
    if not home:
        return set()
    found: set[Block] = set()
    for block in region.blocks:
        end = block.end
        uses = [arg for value in block.ops for arg in value.args]
        uses += end.args
        if block not in blocks:
            uses += [arg for edge in end.edges for arg in edge.args]
        else:
            uses += [arg for arg in end.edges[0].args if home.get(arg, block) is not block]
        found.update(home[arg] for arg in uses if arg in home)
    return found


def _behind(edge: Edge) -> tuple[Block, tuple[Value, ...]]:
    """Where an edge to a block that only jumps leads in the end, and with which arguments."""
    given = dict(zip(edge.block.params, edge.args, strict=True))
    jump = edge.block.end.edges[0]
    return jump.block, tuple(given.get(arg, arg) for arg in jump.args)


def _may_pass(end: Terminator, edge: Edge) -> bool:
    """False where two edges of one terminator would give one block different arguments: a phi could not."""
    block, args = _behind(edge)
    return all(other.block is not block or other.args == args for other in end.edges if other is not edge)


def _merge(region: Region, replaced: Substitution) -> None:
    """Merge blocks into their only predecessor where that only leads to them."""
    entering: dict[Block, int] = dict.fromkeys((region.blocks[0], *region.entries.values()), 2)
    for block in region.blocks:
        for edge in block.end.edges:
            entering[edge.block] = entering.get(edge.block, 0) + 1
    merged = set()
    for block in region.blocks:
        if block in merged:
            continue
        while block.end.kind == "jump" and entering[block.end.edges[0].block] == 1:
            edge = block.end.edges[0]
            replaced.update(zip(edge.block.params, edge.args, strict=True))
            block.ops += edge.block.ops
            block.terminator = edge.block.terminator
            merged.add(edge.block)
    if merged:
        region.blocks = [block for block in region.blocks if block not in merged]
