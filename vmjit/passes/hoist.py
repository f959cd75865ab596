"""Moves address checks out of loops whose addresses advance by little.

A loop's header that checks p + i + c, p one of its parameters and i invariant, needs no check after a way back that
passes p + strides: the access behind the check did not fault, so its address was in guest memory, and the next one is a
few strides away, which is guest memory or a guard area that faults (see bounds.py). So the check goes to all other
edges into the header, with a test that strides not known are small. Checks further down in the loop go as
well: of an address that is strides away from the header's, and of one that advances like it, or stays, and that each
round accesses. Where a test fails, the region is left as the header's check would.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import signed
from vmjit.passes.access import root_of
from vmjit.passes.dominators import Dominators
from vmjit.passes.edit import remove_unreachable

STRIDE_BITS = 29  # a stride that is not known must be below 2**29 in size
MOST_STRIDES = 4  # with one round's strides below 2**31 and constants below 2**30, the way is less than a guard, 2**32
MOST_CONSTANT = 1 << 28
DEEPEST = 8  # additions that an address is taken apart into

_ADD, _AND, _ULT, _IN_GUEST = OPS["add"], OPS["and"], OPS["ult"], OPS["in_guest"]

Leaves = tuple[tuple[Value, ...], int]  # values and a constant that add up to an address
Test = tuple[Value, tuple[Value, ...]]  # an address and its strides


def run(region: Region) -> Region:
    """Every header of the region, as it is found."""
    candidates = [block for block in region.blocks if block.params and _checked(block) is not None]
    if candidates:
        loops = _Loops(region)
        for header in candidates:
            loops.hoist(header)
        remove_unreachable(region)
    return region


def _checked(block: Block) -> Value | None:
    """The address that the block ends with a check of."""
    end = block.end
    return end.args[0].args[0] if end.kind == "branch" and end.args[0].op is _IN_GUEST else None


def _accesses(block: Block, address: Value) -> bool:
    """Whether the first thing a block does is an access near an address."""
    for value in block.ops:
        if value.op.reads_memory or value.op.writes_memory:
            return bool(value.args) and root_of(value.args[0], address) is address
        if value.op.raises_flags:
            return False
    return False


def _leaves(address: Value) -> Leaves:
    """The values that are added up; a deep address keeps sums as leaves."""
    found: list[Value] = []
    constant, work = 0, [address]
    for _ in range(DEEPEST):
        if not work:
            break
        value = work.pop()
        if value.op is _ADD:
            work += value.args
        elif value.op is CONST:
            assert isinstance(value.attr, int)
            constant += value.attr
        else:
            found.append(value)
    return (*found, *work), signed(constant, 64)


def _without(values: tuple[Value, ...], removed: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """`values` less `removed`, each as often as it stands there; None if one is missing."""
    left = list(values)
    for value in removed:
        if value not in left:
            return None
        left.remove(value)
    return tuple(left)


def _stride(edge: Edge, number: int, param: Value) -> tuple[Value, ...] | None:
    """What an edge adds to a parameter of its block, besides a constant; None if it gives another value, or much."""
    leaves, constant = _leaves(edge.args[number])
    strides = _without(leaves, (param,))
    return None if strides is None or len(strides) > MOST_STRIDES or abs(constant) >= MOST_CONSTANT else strides


@dataclass(frozen=True)
class Loop:
    """Rounds from a block, through the last block and edge of each way back."""

    header: Block
    ways: tuple[tuple[Block, Edge], ...]


class _Loops:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.predecessors = region.predecessors()
        before = {block: [other for other, _ in found] for block, found in self.predecessors.items()}
        self.dominators = Dominators(region, before)
        self.dominates = self.dominators.dominates

    @cached_property
    def home(self) -> dict[Value, Block]:
        """Where values are defined, but for those of the tests that are added."""
        return {value: block for block in self.dominators.blocks for value in (*block.params, *block.ops)}

    def hoist(self, header: Block) -> None:
        """Hoist the check of one block, if its address advances by little on ways back; other ways back enter anew.

        Loops within each other that begin at the same block are told apart so.
        """
        address = _checked(header)
        backs = [way for way in self.predecessors[header] if self.dominates(header, way[0])]
        if address is None or not backs:
            return
        leaves, constant = _leaves(address)
        for number, param in enumerate(header.params):
            others = _without(leaves, (param,))
            if others is None or param in others:
                continue
            loop = Loop(header, tuple([way for way in backs if _stride(way[1], number, param) is not None]))
            strides = self.strides(loop, number)
            if strides is None or abs(constant) >= MOST_CONSTANT or not self.can_copy(header):
                continue
            if not all(self.is_invariant(value, loop) for value in others):
                continue
            self.drop_dependent(header, leaves, strides)
            others_too = self.in_every_round(loop)
            tests = [(address, strides), *others_too.values()]
            for way in self.predecessors[header]:
                if way not in loop.ways:
                    self.guard(way[1], header, tests)
            self.drop(header)
            for block in others_too:
                self.drop(block)
            return

    def is_invariant(self, value: Value, loop: Loop) -> bool:
        """Whether it is the same in every round: defined above the header, or a parameter that stays as it is."""
        home, header = self.home.get(value), loop.header
        if home is header and value in header.params:
            number = header.params.index(value)
            return all(edge.args[number] is value for _, edge in loop.ways)
        return home is not None and home is not header and self.dominates(home, header)

    def strides(self, loop: Loop, number: int) -> tuple[Value, ...] | None:
        """What the parameter may advance by in one round, besides constants; None if it does more than advance."""
        found: list[Value] = []
        for _, edge in loop.ways:
            stride = _stride(edge, number, loop.header.params[number])
            if stride is None or not all(self.is_invariant(value, loop) for value in stride):
                return None
            found += stride
        return tuple(dict.fromkeys(found)) if loop.ways else None

    def in_every_round(self, loop: Loop) -> dict[Block, Test]:
        """The other checks that may go: each round makes them and what they guard, and the address advances by little.

        Before the loop they are made of what enters the header, and leave where the header's own would.
        """
        found: dict[Block, Test] = {}
        for block in self.region.blocks:
            address = _checked(block) if block is not loop.header and block.terminator is not None else None
            if address is None or not self.is_in_every_round(loop, block.end.edges[0].block, address):
                continue
            test = self.advancing(loop, address)
            if test is not None:
                found[block] = test
        return found

    def is_in_every_round(self, loop: Loop, block: Block, address: Value) -> bool:
        """Whether none of the ways back passes by a block, which accesses that address."""
        return (
            self.dominates(loop.header, block)
            and all(self.dominates(block, back) for back, _ in loop.ways)
            and _accesses(block, address)
        )

    def advancing(self, loop: Loop, address: Value) -> Test | None:
        """An address made of invariants, a constant and at most one parameter of the header; and its strides."""
        leaves, constant = _leaves(address)
        moving = [(number, param) for number, param in enumerate(loop.header.params) if param in leaves]
        moving = [(number, param) for number, param in moving if not self.is_invariant(param, loop)]
        if len(moving) > 1 or abs(constant) >= MOST_CONSTANT:
            return None
        if not moving:
            return (address, ()) if all(self.is_invariant(value, loop) for value in leaves) else None
        ((number, param),) = moving
        others = _without(leaves, (param,))
        strides = self.strides(loop, number)
        if others is None or param in others or strides is None:
            return None
        if not all(self.is_invariant(value, loop) for value in others):
            return None
        return address, strides

    def can_copy(self, header: Block) -> bool:
        """Whether the exit can be taken before the loop: the header does nothing that it would leave out."""
        cold = header.end.edges[1].block
        if header.end.edges[1].args or cold.params or cold.end.kind != "exit":
            return False
        return all(value.op.is_pure for value in header.ops) and all(
            value.op.is_pure or value.op.name == "set" for value in cold.ops
        )

    def needed(self, header: Block, cold: Block) -> set[Value]:
        """The operations of the two blocks that the exit depends on, and the check."""
        work = [*cold.end.args, *cold.ops, header.end.args[0]]
        found: set[Value] = set()
        while work:
            value = work.pop()
            if value not in found and self.home.get(value) in (header, cold) and value not in header.params:
                found.add(value)
                work += value.args
        return found

    def guard(self, edge: Edge, header: Block, tests: list[Test]) -> None:
        """Test on one way into the loop what the header tested, and what was tested further down."""
        copies = dict(zip(header.params, edge.args, strict=True))
        cold = header.end.edges[1].block
        needed = self.needed(header, cold)
        test, outside = self.region.new_block(), self.region.new_block()
        for value in header.ops:
            if value in needed:
                test.ops.append(self.copy(value, copies))
        for value in cold.ops:
            outside.ops.append(self.copy(value, copies))
        condition = copies[header.end.args[0]]
        for address, _ in tests[1:]:
            inside = Value(_IN_GUEST, "i1", (self.copy_sum(address, copies, test.ops),))
            condition = Value(_AND, "i1", (condition, inside))
            test.ops += [inside, condition]
        moved = dict.fromkeys(copies.get(stride, stride) for _, strides in tests for stride in strides)
        for value in _small(tuple(moved), condition):
            test.ops.append(value)
            condition = value
        test.terminator = Terminator("branch", (condition,), (Edge(header, edge.args), Edge(outside)))
        end = cold.end
        args = tuple(copies.get(arg, arg) for arg in end.args)
        outside.terminator = Terminator(end.kind, args, (), end.attr)
        edge.block, edge.args = test, ()

    def copy_sum(self, address: Value, copies: dict[Value, Value], ops: list[Value]) -> Value:
        """An address of `advancing`, in terms of what enters the loop."""
        if address in copies:
            return copies[address]
        if address.op is CONST:
            made = Value(CONST, address.type, (), address.attr)
        elif address.op is _ADD:
            made = Value(_ADD, address.type, tuple([self.copy_sum(arg, copies, ops) for arg in address.args]))
        else:
            return address
        ops.append(made)
        copies[address] = made
        return made

    @staticmethod
    def copy(value: Value, copies: dict[Value, Value]) -> Value:
        args = tuple([copies.get(arg, arg) for arg in value.args])
        made = copies[value] = Value(value.op, value.type, args, value.attr, value.pc)
        return made

    @staticmethod
    def drop(block: Block) -> None:
        block.terminator = Terminator("jump", (), block.end.edges[:1])

    def drop_dependent(self, header: Block, leaves: tuple[Value, ...], strides: tuple[Value, ...]) -> None:
        """Checks below the header, of addresses that are some strides away from the header's."""
        for block in self.region.blocks:
            address = _checked(block) if block is not header and block.terminator is not None else None
            if address is None or not self.dominates(header, block):
                continue
            others, constant = _leaves(address)
            more = _without(others, leaves)
            near = more is not None and len(more) <= MOST_STRIDES and all(stride in strides for stride in more)
            if near and abs(constant) < MOST_CONSTANT:
                self.drop(block)


def _small(strides: tuple[Value, ...], condition: Value) -> Iterator[Value]:
    """Operations that end in: the condition holds and all strides are small."""
    for stride in strides:
        bias, span = (Value(CONST, "i64", (), 1 << bits) for bits in (STRIDE_BITS, STRIDE_BITS + 1))
        moved = Value(_ADD, "i64", (stride, bias))
        small = Value(_ULT, "i1", (moved, span))
        condition = Value(_AND, "i1", (condition, small))
        yield from (bias, span, moved, small, condition)
