"""NaNs are made canonical only where somebody sees which NaN it is.

Arithmetic takes its operands as they are: a NaN among them makes its result a NaN, which is made canonical in its turn.
What only blocks further on need, those that leave a loop or the region as a rule, is made canonical on the way there,
and so is what makes bits, or a boxed single, of it.
"""

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import FLOATS

_FCANON, _BITCAST, _ZEXT, _OR = OPS["fcanon"], OPS["bitcast"], OPS["zext"], OPS["or"]
# Operations whose results are quiet NaNs if they are NaNs; they and some more do not care which NaN an operand is.
_QUIET = frozenset(OPS[name] for name in ("fadd", "fsub", "fmul", "fdiv", "fsqrt", "fma", "fconvert"))
_BLIND = _QUIET | {OPS[name] for name in ("feq", "flt", "fle", "fptosi", "fptoui")}
MOST_PLACES = 4  # that a value is computed in rather than in one that is executed more often

Place = Block | Edge  # where a block begins, or on the way along an edge
Values = dict[Value, Value]  # value -> its copy


def run(region: Region) -> Region:
    """Replace operands, then move what can be moved."""
    movable: dict[Value, Block] = {}
    for block in region.blocks:
        for value in block.ops:
            if value.op in _BLIND:
                value.args = tuple([_raw(arg) for arg in value.args])
            elif _is_movable(value, movable):
                movable[value] = block
    if movable:
        _sink(region, movable)
    return region


def _raw(value: Value) -> Value:
    return value.args[0] if value.op is _FCANON and value.args[0].op in _QUIET else value


def _is_movable(value: Value, movable: dict[Value, Block]) -> bool:
    """What makes a result canonical, and bits or a boxed single of that."""
    if value.op is _FCANON:
        return value.args[0].op in _QUIET
    if value.op is _BITCAST:
        return value.args[0].type in FLOATS
    if value.op is _ZEXT:
        return value.args[0] in movable
    return value.op is _OR and value.args[0] in movable and value.args[1].op is CONST


def _sink(region: Region, movable: dict[Value, Block]) -> None:
    """Move values to where they are used, unless that is their own block."""
    places = _places(region, movable)
    for block in region.blocks:
        for value in reversed(block.ops):  # users before what they use
            used = places.get(value)
            if used is not None and (block in used or len(used) > MOST_PLACES):
                del movable[value], places[value]
                for arg in value.args:
                    if arg in movable:
                        places.setdefault(arg, set()).add(block)
    for block in set(movable.values()):
        block.ops = [value for value in block.ops if value not in movable]
    wanted: dict[Place, list[Value]] = {}
    for value in places:
        for place in places[value]:
            wanted.setdefault(place, []).append(value)
    for place, values in wanted.items():
        ops: list[Value] = []
        made: Values = {}
        for value in values:
            _copy(value, movable, made, ops)
        if isinstance(place, Edge):
            _split(region, place, made, ops)
        else:
            _use(place, made, ops)


def _places(region: Region, movable: dict[Value, Block]) -> dict[Value, set[Place]]:
    """Where the values are used, but for uses by each other in one block."""
    places: dict[Value, set[Place]] = {}
    for block in region.blocks:
        end = block.end
        inside = [end.args]
        ways = end.edges
        if len(ways) == 1:
            inside.append(ways[0].args)
            ways = ()
        inside += [value.args for value in block.ops if movable.get(value) is not block]
        used = {arg for args in inside for arg in args if arg in movable}
        for value in used:
            places.setdefault(value, set()).add(block)
        for edge in ways:
            for arg in edge.args:
                if arg in movable and arg not in used:
                    places.setdefault(arg, set()).add(edge)
    return places


def _copy(value: Value, movable: dict[Value, Block], made: Values, ops: list[Value]) -> Value:
    """A value again, with all that it needs and that moves with it."""
    if value not in movable:
        return value
    found = made.get(value)
    if found is None:
        args = tuple([_copy(arg, movable, made, ops) for arg in value.args])
        found = made[value] = Value(value.op, value.type, args)
        ops.append(found)
    return found


def _use(block: Block, made: Values, ops: list[Value]) -> None:
    block.ops = [*ops, *block.ops]
    for value in block.ops:
        value.args = _replace(value.args, made)
    block.end.args = _replace(block.end.args, made)
    for edge in block.end.edges:
        edge.args = _replace(edge.args, made)


def _split(region: Region, edge: Edge, made: Values, ops: list[Value]) -> None:
    """A block on the way."""
    block = region.new_block()
    block.ops = ops
    block.terminator = Terminator("jump", (), (Edge(edge.block, _replace(edge.args, made)),))
    edge.block, edge.args = block, ()


def _replace(args: tuple[Value, ...], made: Values) -> tuple[Value, ...]:
    return tuple([made.get(arg, arg) for arg in args])
