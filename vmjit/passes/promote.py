"""Guest registers become SSA values inside a region; what changed is stored where the region is left.

After it, registers are read at the entries only, and written in leaving blocks and before `settle` only, and there only
those that differ from the state at that very point. Values meeting at a join become block parameters, made on demand as
in Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", 2013.
"""

from dataclasses import dataclass
from itertools import pairwise

from vmjit.ir.block import Block, Region, Value
from vmjit.ir.layout import ENGINE_WORDS
from vmjit.ir.ops import OPS

_GET, _SET, _SETTLE = OPS["get"], OPS["set"], OPS["settle"]
# Words that the host changes while guest code runs are read each time; the count of instructions is a register.
_VOLATILE = frozenset(ENGINE_WORDS) - {"instret"}

Stores = dict[Block | Value, list[Value]]  # what to store at the end of a block, or before a `settle`


def run(region: Region) -> Region:
    """Entry blocks must not be entered from inside the region."""
    _Promotion(region).run()
    return region


@dataclass(frozen=True)
class Written:
    """Registers written between two `settle`s of a block, with their values; `settle` is the first of the two."""

    settle: Value | None
    values: dict[str, Value]


class _Promotion:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.predecessors = {
            block: list(dict.fromkeys(p for p, _ in found)) for block, found in region.predecessors().items()
        }
        self.at_end: dict[Block, dict[str, Value]] = {}  # register -> its value at the end of a block
        self.at_start: dict[Block, dict[str, Value]] = {}
        self.replaced: dict[Value, Value] = {}
        self.types: dict[str, str] = {}
        self.params: list[tuple[Block, str, Value]] = []
        self.written: dict[Block, list[Written]] = {}

    def run(self) -> None:
        blocks = self.region.blocks
        for block in blocks:
            self.local(block)
        dirty = self.dirty()
        pending = []
        for block in blocks:
            for value in block.ops:
                if value.op is _GET and value.attr not in _VOLATILE:
                    pending.append((block, value))
        for block, value in pending:
            if value not in self.replaced:
                self.replaced[value] = self.read_start(block, str(value.attr))
        stores: Stores = {}
        for block in blocks:
            stores |= self.settled(block, dirty[block])
            if block.end.leaves:
                stores[block] = [
                    _set(register, self.read_end(block, register)) for register in sorted(self.after(block, dirty))
                ]
        self.rewrite(stores)

    def local(self, block: Block) -> None:
        """Forward values inside a block; note the registers that it writes."""
        now: dict[str, Value] = {}
        written = [Written(None, {})]
        for value in block.ops:
            if value.op is _GET and value.attr not in _VOLATILE:
                register = str(value.attr)
                self.types[register] = value.type or "i64"
                if register in now:
                    self.replaced[value] = now[register]
            elif value.op is _SET:
                register = str(value.attr)
                self.types.setdefault(register, value.args[0].type or "i64")
                now[register] = written[-1].values[register] = value.args[0]
            elif value.op is _SETTLE:
                written.append(Written(value, {}))
        self.at_end[block] = now
        self.at_start[block] = {}
        self.written[block] = written

    def dirty(self) -> dict[Block, frozenset[str]]:
        """For each block, the registers that differ from the state where it begins, by some way to it."""
        found: dict[Block, frozenset[str]] = dict.fromkeys(self.region.blocks, frozenset())
        work = list(self.region.blocks)
        while work:
            block = work.pop()
            after = self.after(block, found)
            for successor in block.successors():
                if not after <= found[successor]:
                    found[successor] |= after
                    work.append(successor)
        return found

    def after(self, block: Block, dirty: dict[Block, frozenset[str]]) -> frozenset[str]:
        """The registers that differ from the state where the block ends."""
        *before, last = self.written[block]
        if not before:
            return dirty[block] | last.values.keys()
        counts = "instret" in dirty[block] or any("instret" in part.values for part in before)
        return frozenset(last.values) | ({"instret"} if counts else frozenset())

    def settled(self, block: Block, dirty: frozenset[str]) -> Stores:
        """What to store before each `settle` of a block; the count of instructions has a word of its own there."""
        stores: Stores = {}
        now: dict[str, Value] = {}
        pending = set(dirty)
        for part, following in pairwise(self.written[block]):
            assert following.settle is not None
            now |= part.values
            pending |= part.values.keys()
            pending.discard("instret")
            value_of = {register: now.get(register) or self.read_start(block, register) for register in pending}
            made = [_set(register, value_of[register]) for register in sorted(pending)]
            count = now.get("instret") or self.read_start(block, "instret")
            stores[following.settle] = [*made, _set("access_instret", count)]
            pending.clear()
        return stores

    def read_end(self, block: Block, register: str) -> Value:
        value = self.at_end[block].get(register)
        if value is None:
            value = self.at_end[block][register] = self.read_start(block, register)
        return value

    def read_start(self, block: Block, register: str) -> Value:
        """The value of a register where a block begins. Walks up without recursion: regions can be deep."""
        chain = []
        while True:
            value = self.at_start[block].get(register)
            if value is not None:
                break
            chain.append(block)
            predecessors = self.predecessors[block]
            if not predecessors:
                value = Value(_GET, self.types.get(register, "i64"), (), register)
                block.ops.insert(0, value)
                break
            if len(predecessors) > 1:
                value = block.add_param(self.types.get(register, "i64"))
                self.params.append((block, register, value))
                break
            block = predecessors[0]
            value = self.at_end[block].get(register)
            if value is not None:
                break
        for passed in chain:
            self.at_start[passed][register] = value
            self.at_end[passed].setdefault(register, value)
        return value

    def rewrite(self, stores: Stores) -> None:
        self.fill_params()
        resolve = self.resolve
        for block in self.region.blocks:
            kept = []
            for value in block.ops:
                if value.op is _SET or value in self.replaced:
                    continue
                if value.op is _SETTLE:
                    kept += stores[value]
                kept.append(value)
            kept += stores.get(block, ())
            for value in kept:
                if value.args:
                    value.args = tuple([resolve(a) for a in value.args])
            block.ops = kept
            end = block.end
            end.args = tuple([resolve(a) for a in end.args])
            for edge in end.edges:
                edge.args = tuple([resolve(a) for a in edge.args])

    def fill_params(self) -> None:
        """Give each edge the values of the parameters made; reading them may make more."""
        edges: dict[Block, list[tuple[str, Value]]] = {}
        done = 0
        while done < len(self.params):
            block, register, param = self.params[done]
            done += 1
            edges.setdefault(block, []).append((register, param))
            for predecessor in self.predecessors[block]:
                self.read_end(predecessor, register)
        for block in self.region.blocks:
            for edge in block.end.edges:
                edge.args = (*edge.args, *(self.at_end[block][register] for register, _ in edges.get(edge.block, ())))

    def resolve(self, value: Value) -> Value:
        while value in self.replaced:
            value = self.replaced[value]
        return value


def _set(register: str, value: Value) -> Value:
    return Value(_SET, None, (value,), register)
