"""Values that floating point uses are floats from where they come from to where they are stored.

Guest registers and memory hold bits. A host keeps floats in registers of their own, and a move between the two kinds
costs as much as an addition. Three steps:

- A parameter that only boxed singles reach holds just the single. What an entry reads from the state must be boxed for
  that: a test leaves the region where it is not, and the reference evaluator executes one instruction.
- Loads, registers read from the state and parameters that floating point uses more than integer operations do get a
  float's type, and so does what is stored.
- Arithmetic takes its operands as they are: a NaN among them makes its result a NaN, canonical in its turn.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from vmjit.ir.block import CONST, PARAM, Block, Edge, Region, Terminator, Value
from vmjit.ir.layout import ENGINE_WORDS
from vmjit.ir.ops import OPS
from vmjit.ir.types import FLOATS
from vmjit.passes.edit import substitute

_SELECT, _AND, _OR, _LSHR, _EQ = (OPS[name] for name in ("select", "and", "or", "lshr", "eq"))
_ZEXT, _TRUNC, _BITCAST = OPS["zext"], OPS["trunc"], OPS["bitcast"]
_GET, _SET, _LOAD, _STORE, _FCANON = (OPS[name] for name in ("get", "set", "load", "store", "fcanon"))

HALF = 32  # bits of a single, and of the ones above it
ONES = (1 << HALF) - 1
BOX = ONES << HALF
FLOAT_OF = {"i32": "f32", "i64": "f64"}
BITS_OF = {"f32": "i32", "f64": "i64"}
# Operations that do not care which quiet NaN an operand is.
_BLIND = frozenset(op for op in OPS.values() if op.quiets or op.name in ("feq", "flt", "fle", "fptosi", "fptoui"))


def run(region: Region) -> Region:
    """All three steps; a region without floating point stays as it is."""
    if any(value.type in FLOATS for block in region.blocks for value in block.ops):
        _Singles(region).run()
        _Kinds(region).run()
        _take_raw(region)
    return region


def _arguments(region: Region, type: str) -> dict[Value, list[Value]]:
    """What reaches the parameters of a type, in the order of the edges."""
    params = [param for block in region.blocks for param in block.params if param.type == type]
    found: dict[Value, list[Value]] = {param: [] for param in params}
    for edge in _edges(region):
        for param, arg in zip(edge.block.params, edge.args, strict=True):
            if param in found:
                found[param].append(arg)
    return found


def _edges(region: Region) -> Iterator[Edge]:
    return (edge for block in region.blocks for edge in block.end.edges)


def _convert_uses(
    block: Block,
    changed: AbstractSet[Value],
    convert: Callable[[Value], list[Value]],
    takes: Callable[[Value, int], bool],
) -> None:
    """Use what operands convert to that have changed: the last of the values that convert(operand) gives.

    takes(user, index) says that an operation, or an edge's parameter, takes that operand as it is.
    """
    ops: list[Value] = []
    converted: dict[Value, Value] = {}

    def converted_of(value: Value) -> Value:
        if value not in changed:
            return value
        if value not in converted:
            made = convert(value)
            ops.extend(made)
            converted[value] = made[-1]
        return converted[value]

    for value in block.ops:
        if not changed.isdisjoint(value.args):
            value.args = tuple([arg if takes(value, i) else converted_of(arg) for i, arg in enumerate(value.args)])
        ops.append(value)
    end = block.end
    end.args = tuple([converted_of(arg) for arg in end.args])
    for edge in end.edges:
        pairs = zip(edge.block.params, edge.args, strict=True)
        edge.args = tuple([arg if takes(param, 0) else converted_of(arg) for param, arg in pairs])
    block.ops = ops


# Singles.


def _single_in(value: Value) -> Value | None:
    """The single in a boxed one."""
    if value.op is _OR and value.type == "i64":
        low, box = value.args
        if box.op is CONST and box.attr == BOX and low.op is _ZEXT and low.args[0].type == "i32":
            return low.args[0]
    return None


def _is_boxed(value: Value) -> bool:
    if value.op is CONST:
        return isinstance(value.attr, int) and value.attr >> HALF == ONES
    return _single_in(value) is not None


def _register_read(value: Value) -> Value | None:
    """What a value is the single of: select(high half is ones, low half, canonical NaN)."""
    if value.op is not _SELECT or value.type != "i32":
        return None
    test, low, _ = value.args
    if test.op is not _EQ or low.op is not _TRUNC:
        return None
    high, ones = test.args
    if high.op is not _LSHR or ones.op is not CONST or ones.attr != ONES or high.args[0] is not low.args[0]:
        return None
    shift = high.args[1]
    return low.args[0] if shift.op is CONST and shift.attr == HALF else None


class _Singles:
    def __init__(self, region: Region) -> None:
        self.region = region

    def run(self) -> None:
        reads: dict[Value, Value] = {}  # single that is read -> register
        for block in self.region.blocks:
            for value in block.ops:
                register = _register_read(value)
                if register is not None and register.op is PARAM:
                    reads[value] = register
        given = _arguments(self.region, "i64") if reads else {}
        narrowed = self.narrowed(given, set(reads.values()))
        if narrowed:
            self.guard({arg for param in narrowed for arg in given[param] if arg.op is _GET})
            self.narrow(narrowed, {value: param for value, param in reads.items() if param in narrowed})

    def narrowed(self, given: dict[Value, list[Value]], read: set[Value]) -> set[Value]:
        """The parameters that may hold just a single: it is read, here or further on, and nothing else reaches them."""
        sources = {value for block in self.region.entries.values() for value in _first_reads(block)}
        wanted: set[Value] = set()
        work = list(read)
        while work:
            param = work.pop()
            if param in given and param not in wanted:
                wanted.add(param)
                work += given[param]
        while True:
            kept = {
                param
                for param in wanted
                if all(arg in wanted or arg in sources or _is_boxed(arg) for arg in given[param])
            }
            if len(kept) == len(wanted):
                return kept
            wanted = kept

    def guard(self, gets: set[Value]) -> None:
        """Leave where a register read at an entry is no boxed single."""
        for pc, block in self.region.entries.items():
            found = [value for value in block.ops if value in gets]
            if not found:
                continue
            split = block.ops.index(found[-1]) + 1
            rest, outside = self.region.new_block(), self.region.new_block()
            rest.ops, rest.terminator = block.ops[split:], block.terminator
            block.ops = block.ops[:split]
            test = _all_boxed(block, found)
            block.terminator = Terminator("branch", (test,), (Edge(rest), Edge(outside)))
            at, nothing = Value(CONST, "i64", (), pc), Value(CONST, "i64", (), 0)
            outside.ops = [at, nothing]
            outside.terminator = Terminator("exit", (at, nothing), attr="emulate")

    def narrow(self, narrowed: set[Value], reads: dict[Value, Value]) -> None:
        for block in self.region.blocks:
            _narrow_arguments(block, narrowed)
        for param in narrowed:
            param.type = "i32"
        for block in self.region.blocks:
            block.ops = [value for value in block.ops if value not in reads]
            _convert_uses(block, narrowed, _box, _takes_single)
        substitute(self.region, dict(reads))


def _first_reads(block: Block) -> Iterator[Value]:
    """The registers that are read before anything happens in a block."""
    for value in block.ops:
        if value.op is _GET and value.attr not in ENGINE_WORDS and value.type == "i64":
            yield value
        elif not value.op.is_pure and value.op is not _GET:
            return


def _all_boxed(block: Block, registers: list[Value]) -> Value:
    common, *others = registers
    for other in others:
        common = Value(_AND, "i64", (common, other))
        block.ops.append(common)
    shift, ones = Value(CONST, "i64", (), HALF), Value(CONST, "i64", (), ONES)
    high = Value(_LSHR, "i64", (common, shift))
    test = Value(_EQ, "i1", (high, ones))
    block.ops += [shift, ones, high, test]
    return test


def _narrow_arguments(block: Block, narrowed: set[Value]) -> None:
    """Give the parameters the single of each argument."""
    for edge in block.end.edges:
        args = []
        for param, arg in zip(edge.block.params, edge.args, strict=True):
            if param in narrowed and arg not in narrowed:
                arg = _single_in(arg) or _low_half(block, arg)
            args.append(arg)
        edge.args = tuple(args)


def _low_half(block: Block, value: Value) -> Value:
    if value.op is CONST:
        assert isinstance(value.attr, int)
        low = Value(CONST, "i32", (), value.attr & ONES)
    else:
        low = Value(_TRUNC, "i32", (value,))
    block.ops.append(low)
    return low


def _box(single: Value) -> list[Value]:
    wide, ones = Value(_ZEXT, "i64", (single,)), Value(CONST, "i64", (), BOX)
    return [wide, ones, Value(_OR, "i64", (wide, ones))]


def _takes_single(user: Value, _: int) -> bool:
    return user.type == "i32" and user.op is PARAM


# Kinds.


class _Kinds:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.joined: dict[Value, Value] = {}  # loads, registers and parameters; each leads to one of its class

    def run(self) -> None:
        votes = self.votes()
        floats = {value for value in self.joined if votes.get(self.find(value), 0) > 0}
        if floats:
            self.make_floats(floats)
        for block in self.region.blocks:
            for value in block.ops:
                stored = value.args[-1] if value.op in (_SET, _STORE) else None
                if stored is not None and stored.op is _BITCAST and stored.type in FLOAT_OF:
                    value.args = (*value.args[:-1], stored.args[0])

    def find(self, value: Value) -> Value:
        """The one that stands for all values of a class."""
        while (other := self.joined[value]) is not value:
            self.joined[value] = value = self.joined[other]
        return value

    def votes(self) -> dict[Value, int]:
        """Joins the classes; for each, how many more of its uses are floats than integers."""
        joined, find = self.joined, self.find
        for block in self.region.blocks:
            for value in (*block.params, *block.ops):
                if value.op in (PARAM, _LOAD, _GET) and value.type in FLOAT_OF and value.attr not in ENGINE_WORDS:
                    joined[value] = value
        found: list[tuple[Value, int]] = []
        for block in self.region.blocks:
            for value in block.ops:
                if value.op is _ZEXT or value.op is _SET:
                    continue
                for index, arg in enumerate(value.args):
                    if arg in joined and not _stores(value, index):
                        found.append((arg, 1 if value.op is _BITCAST else -1))
            found += [(arg, -1) for arg in block.end.args if arg in joined]
        for edge in _edges(self.region):
            for param, arg in zip(edge.block.params, edge.args, strict=True):
                if param in joined and arg in joined:
                    joined[find(arg)] = find(param)
                elif param in joined and arg.op is not CONST:
                    found.append((param, 1 if arg.op is _BITCAST else -1))
        votes: dict[Value, int] = {}
        for value, vote in found:
            votes[find(value)] = votes.get(find(value), 0) + vote
        return votes

    def make_floats(self, floats: set[Value]) -> None:
        for block in self.region.blocks:
            _float_arguments(block, floats)
        for value in floats:
            value.type = FLOAT_OF[value.type or ""]
        replaced = {}
        for block in self.region.blocks:
            kept = []
            for value in block.ops:
                if value.op is _BITCAST and value.args[0] in floats:
                    replaced[value] = value.args[0]
                else:
                    kept.append(value)
            block.ops = kept
            _convert_uses(block, floats, _bits, _takes_float)
        substitute(self.region, replaced)


def _stores(user: Value, index: int) -> bool:
    """Whether an operand goes to memory or to the state as it is."""
    return user.op is _SET or (user.op is _STORE and index > 0)


def _takes_float(user: Value, index: int) -> bool:
    return user.type in FLOATS if user.op is PARAM else _stores(user, index)


def _float_arguments(block: Block, floats: AbstractSet[Value]) -> None:
    """Give the parameters floats. Their types are still those of the bits."""
    for edge in block.end.edges:
        args = []
        for param, arg in zip(edge.block.params, edge.args, strict=True):
            if param in floats and arg not in floats:
                type = FLOAT_OF[param.type or ""]
                if arg.op is _BITCAST:
                    arg = arg.args[0]
                else:
                    constant = arg.op is CONST
                    arg = Value(CONST, type, (), arg.attr) if constant else Value(_BITCAST, type, (arg,))
                    block.ops.append(arg)
            args.append(arg)
        edge.args = tuple(args)


def _bits(value: Value) -> list[Value]:
    return [Value(_BITCAST, BITS_OF[value.type or ""], (value,))]


# NaNs.


def _take_raw(region: Region) -> None:
    for block in region.blocks:
        for value in block.ops:
            if value.op in _BLIND:
                value.args = tuple([_raw(arg) for arg in value.args])


def _raw(value: Value) -> Value:
    return value.args[0] if value.op is _FCANON and value.args[0].op.quiets else value
