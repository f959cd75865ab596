"""Guest registers become SSA values inside a region; what changed is stored where the region is left.

After it, registers are read at the entries only and written in leaving blocks only, and there only those that differ
from the state at that very point. Values meeting at a join become block parameters, made on demand as in Braun et al.,
"Simple and Efficient Construction of Static Single Assignment Form", 2013.
"""

from vmjit.ir.block import Block, Region, Value
from vmjit.ir.layout import ENGINE_WORDS
from vmjit.ir.ops import OPS

_GET, _SET = OPS["get"], OPS["set"]
# Words that the host changes while guest code runs are read each time; the count of instructions is a register.
_VOLATILE = frozenset(ENGINE_WORDS) - {"instret"}


def run(region: Region) -> Region:
    """Entry blocks must not be entered from inside the region."""
    _Promotion(region).run()
    return region


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

    def run(self) -> None:
        blocks = self.region.blocks
        written = {block: self.local(block) for block in blocks}
        dirty = self.dirty(written)
        pending = []
        for block in blocks:
            for value in block.ops:
                if value.op is _GET and value.attr not in _VOLATILE:
                    pending.append((block, value))
        for block, value in pending:
            if value not in self.replaced:
                self.replaced[value] = self.read_start(block, str(value.attr))
        stores: dict[Block, list[Value]] = {}
        for block in blocks:
            if block.end.leaves:
                stores[block] = [
                    Value(_SET, None, (self.read_end(block, register),), register) for register in sorted(dirty[block])
                ]
        self.rewrite(stores)

    def local(self, block: Block) -> frozenset[str]:
        """Forward values inside a block; the registers it writes."""
        now: dict[str, Value] = {}
        written = set()
        for value in block.ops:
            if value.op is _GET and value.attr not in _VOLATILE:
                register = str(value.attr)
                self.types[register] = value.type or "i64"
                if register in now:
                    self.replaced[value] = now[register]
            elif value.op is _SET:
                register = str(value.attr)
                now[register] = value.args[0]
                written.add(register)
        self.at_end[block] = now
        self.at_start[block] = {}
        return frozenset(written)

    def dirty(self, written: dict[Block, frozenset[str]]) -> dict[Block, frozenset[str]]:
        """For each block, the registers that some way from an entry to its end has written."""
        found = dict(written)
        work = list(self.region.blocks)
        while work:
            block = work.pop()
            here = found[block]
            for successor in block.successors():
                if not here <= found[successor]:
                    found[successor] |= here
                    work.append(successor)
        return found

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

    def rewrite(self, stores: dict[Block, list[Value]]) -> None:
        self.fill_params()
        resolve = self.resolve
        for block in self.region.blocks:
            kept = []
            for value in block.ops:
                if value.op is _SET or value in self.replaced:
                    continue
                if value.args:
                    value.args = tuple([resolve(a) for a in value.args])
                kept.append(value)
            for value in stores.get(block, ()):
                value.args = (resolve(value.args[0]),)
                kept.append(value)
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
