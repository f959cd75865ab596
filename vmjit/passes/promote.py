"""Guest registers become SSA values inside a region; what changed is stored where the region is left.

After it, registers are read at the entries only, and written in leaving blocks and before `settle` only, and there only
those that differ from the state at that very point. Different values that meet become block parameters, made on demand
as in Braun et al., "Simple and Efficient Construction of Static Single Assignment Form", 2013, and only where dominance
frontiers say that values may differ: of those that Braun's way makes, flow.py would remove two thirds again.
"""

from dataclasses import dataclass
from itertools import pairwise

from vmjit.ir.block import Block, Region, Value
from vmjit.ir.layout import ENGINE_WORDS
from vmjit.ir.ops import OPS
from vmjit.passes.dominators import Dominators
from vmjit.passes.edit import substitute

_GET, _SET, _SETTLE = OPS["get"], OPS["set"], OPS["settle"]
# Words that the host changes while guest code runs are read each time; the count of instructions is a register.
_VOLATILE = frozenset(ENGINE_WORDS) - {"instret"}

Stores = dict[Block | Value, list[Value]]  # what to store at the end of a block, or before a `settle`
Registers = int  # a set of them: bit n for the register with number n


def run(region: Region) -> Region:
    """Entry blocks must not be entered from inside the region, and lead to all other blocks."""
    _Promotion(region).run()
    return region


@dataclass(frozen=True)
class Written:
    """Registers written between two `settle`s of a block, with their values; `settle` is the first of the two."""

    settle: Value | None
    values: dict[str, Value]


class _Scope:
    """Values of registers at one place of the region; what is not known there is as in the scope above.

    A block that writes nothing ends in the scope that it begins in, and one with one predecessor begins in the scope
    where that ends: so the many small blocks that leave the region have no scopes of their own.
    """

    __slots__ = ("above", "block", "values")

    def __init__(self, block: Block, values: dict[str, Value], above: "_Scope | None" = None) -> None:
        self.block = block
        self.values = values
        self.above = above


class _Promotion:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.predecessors = {
            block: list(dict.fromkeys(p for p, _ in found)) for block, found in region.predecessors().items()
        }
        self.start: dict[Block, _Scope] = {}
        self.end: dict[Block, _Scope] = {}
        self.joins: dict[str, set[Block]] = {}  # register -> where different values of it meet
        self.replaced: dict[Value, Value] = {}
        self.types: dict[str, str] = {}
        self.params: list[tuple[Block, str, Value]] = []
        self.written: dict[Block, list[Written]] = {}
        self.pending: list[tuple[Block, Value]] = []  # registers that are read before the block writes them
        self.number: dict[str, int] = {}  # of the registers, in alphabetical order
        self.effects: dict[Block, tuple[Registers, Registers]] = {}

    def run(self) -> None:
        blocks = self.region.blocks
        for block in blocks:
            self.local(block)
        for block in blocks:
            self.open_scopes(block)
        self.find_joins()
        dirty = self.dirty()
        for block, value in self.pending:
            self.replaced[value] = self.read_start(block, str(value.attr))
        stores: Stores = {}
        for block in blocks:
            if len(self.written[block]) > 1:
                stores |= self.settled(block, dirty[block])
            if block.end.leaves:
                stores[block] = [
                    _set(register, self.read_end(block, register)) for register in self.names(self.after(block, dirty))
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
                else:
                    self.pending.append((block, value))
            elif value.op is _SET:
                register = str(value.attr)
                self.types.setdefault(register, value.args[0].type or "i64")
                now[register] = written[-1].values[register] = value.args[0]
            elif value.op is _SETTLE:
                written.append(Written(value, {}))
        self.written[block] = written

    def open_scopes(self, block: Block) -> None:
        """The scopes of a block, and those of the blocks above that it depends on."""
        work = []
        while block not in self.start:
            work.append(block)
            if len(self.predecessors[block]) != 1:
                break
            (block,) = self.predecessors[block]
        for block in reversed(work):
            found = self.predecessors[block]
            start = self.start[block] = self.end[found[0]] if len(found) == 1 else _Scope(block, {})
            now = {register: value for part in self.written[block] for register, value in part.values.items()}
            self.end[block] = _Scope(block, now, start) if now else start

    def find_joins(self) -> None:
        """By dominance frontiers, as in Cytron et al., "Efficiently Computing Static Single Assignment Form", 1991."""
        self.dominators = Dominators(self.region, self.predecessors)
        frontiers = self.frontiers()
        writing: dict[str, list[Block]] = {}
        for block, parts in self.written.items():
            for register in dict.fromkeys(register for part in parts for register in part.values):
                writing.setdefault(register, []).append(block)
        entries = [block for block, found in self.predecessors.items() if not found]
        everywhere = _iterated(frontiers, entries)
        for register in self.types:
            self.joins[register] = _iterated(frontiers, writing.get(register, [])) | everywhere

    def frontiers(self) -> dict[Block, set[Block]]:
        """For each block, where ways from it meet ways that do not pass it."""
        immediate = self.dominators.immediate
        found: dict[Block, set[Block]] = {}
        for block, predecessors in self.predecessors.items():
            if len(predecessors) > 1:
                end = immediate(block)
                for before in predecessors:
                    at: Block | None = before
                    while at is not None and at is not end:
                        found.setdefault(at, set()).add(block)
                        at = immediate(at)
        return found

    def dirty(self) -> dict[Block, Registers]:
        """For each block, the registers that differ from the state where it begins, by some way to it."""
        self.number = {register: number for number, register in enumerate(sorted(self.types))}
        for block in self.region.blocks:
            self.effects[block] = self.effect(block)
        found: dict[Block, Registers] = dict.fromkeys(self.region.blocks, 0)
        work = self.region.blocks[::-1]  # from the top down
        while work:
            block = work.pop()
            after = self.after(block, found)
            for edge in block.end.edges:
                if after & ~found[edge.block]:
                    found[edge.block] |= after
                    work.append(edge.block)
        return found

    def effect(self, block: Block) -> tuple[Registers, Registers]:
        """Which of the registers that are dirty where the block begins are so where it ends, and which are in any case.

        What a `settle` stores is clean, but for the count of instructions, which has another word there.
        """
        *before, last = self.written[block]
        made = sum(1 << self.number[register] for register in last.values)
        if not before:
            return -1, made
        count = 1 << self.number["instret"] if "instret" in self.number else 0
        return count, made | (count if any("instret" in part.values for part in before) else 0)

    def after(self, block: Block, dirty: dict[Block, Registers]) -> Registers:
        """The registers that differ from the state where the block ends."""
        kept, made = self.effects[block]
        return dirty[block] & kept | made

    def names(self, registers: Registers) -> list[str]:
        """In alphabetical order, as their numbers are."""
        return [register for register, number in self.number.items() if registers >> number & 1]

    def settled(self, block: Block, dirty: Registers) -> Stores:
        """What to store before each `settle` of a block; the count of instructions has a word of its own there."""
        stores: Stores = {}
        now: dict[str, Value] = {}
        pending = set(self.names(dirty))
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
        end = self.end[block]
        return end.values.get(register) or self.read(end, register)

    def read_start(self, block: Block, register: str) -> Value:
        return self.read(self.start[block], register)

    def read(self, scope: _Scope, register: str) -> Value:
        """The value of a register in a scope. Walks up without recursion: regions can be deep."""
        passed = []
        while (value := scope.values.get(register)) is None:
            passed.append(scope)
            above = scope.above or self.dominating(scope.block, register)
            if above is None:
                value = self.enter(scope.block, register)
                break
            scope = above
        for scope in passed:
            scope.values[register] = value
        return value

    def dominating(self, block: Block, register: str) -> _Scope | None:
        """The scope above that all ways to a block with several predecessors have the register from, if one has."""
        above = self.dominators.immediate(block)
        return None if above is None or block in self.joins.get(register, ()) else self.end[above]

    def enter(self, block: Block, register: str) -> Value:
        """The value of a register where a block begins that is an entry or has several predecessors."""
        type = self.types.get(register, "i64")
        if self.predecessors[block]:
            value = block.add_param(type)
            self.params.append((block, register, value))
        else:
            value = Value(_GET, type, (), register)
            block.ops.insert(0, value)
        return value

    def rewrite(self, stores: Stores) -> None:
        self.fill_params()
        for block in self.region.blocks:
            kept = []
            for value in block.ops:
                if value.op is _SET or value in self.replaced:
                    continue
                if value.op is _SETTLE:
                    kept += stores[value]
                kept.append(value)
            kept += stores.get(block, ())
            block.ops = kept
        substitute(self.region, self.replaced)

    def fill_params(self) -> None:
        """Give each edge the values of the parameters made; reading them may make more."""
        made: dict[Block, list[str]] = {}
        for block, register, _ in self.params:
            made.setdefault(block, []).append(register)
            for predecessor in self.predecessors[block]:
                self.read_end(predecessor, register)
        for block in self.region.blocks:
            for edge in block.end.edges:
                registers = made.get(edge.block)
                if registers:
                    values = self.end[block].values
                    edge.args = (*edge.args, *[values[register] for register in registers])


def _iterated(frontiers: dict[Block, set[Block]], blocks: list[Block]) -> set[Block]:
    """The frontiers of blocks, those of these, and so on."""
    found: set[Block] = set()
    work = list(blocks)
    while work:
        new = frontiers.get(work.pop(), found) - found
        found |= new
        work += new
    return found


def _set(register: str, value: Value) -> Value:
    return Value(_SET, None, (value,), register)
