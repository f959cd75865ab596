"""The IR's data: values in blocks, blocks in a region.

A `Value` is an operation and its result at once. Values are compared and hashed by identity. A `Block` has parameters
(instead of phi nodes), operations in order, and one terminator. A `Region` is the unit of compilation; `entries` maps
guest addresses to the blocks that execute from there.
"""

from collections.abc import Iterator

from vmjit.ir.ops import OPS, Op


class Value:
    """One operation; also the name of its result (`type` is None when it has none)."""

    __slots__ = ("args", "attr", "op", "pc", "type")

    def __init__(
        self,
        op: Op,
        type: str | None,
        args: "tuple[Value, ...]" = (),
        attr: int | str | None = None,
        pc: int | None = None,
    ) -> None:
        self.op = op
        self.type = type
        self.args = args
        self.attr = attr
        self.pc = pc  # guest address of the instruction, kept where a fault may be reported

    @property
    def is_const(self) -> bool:
        return self.op is CONST


CONST = OPS["const"]
PARAM = OPS["param"]


class Edge:
    """A way into `block`, with a value for each of its parameters."""

    __slots__ = ("args", "block")

    def __init__(self, block: "Block", args: tuple[Value, ...] = ()) -> None:
        self.block = block
        self.args = args


class Terminator:
    """How a block ends; `kind` is a key of ops.TERMINATORS.

    branch: args (condition,), edges (then, else), attr how often of 1000 times it goes the first way, if that is known.
    switch: args (value,), cases as ints, edges cases + default.
    chain: args (address,), attr one of ops.CHAINS. exit: args (pc, argument), attr the reason's name.
    """

    __slots__ = ("args", "attr", "cases", "edges", "kind")

    def __init__(
        self,
        kind: str,
        args: tuple[Value, ...] = (),
        edges: tuple[Edge, ...] = (),
        attr: str | None = None,
        cases: tuple[int, ...] = (),
    ) -> None:
        self.kind = kind
        self.args = args
        self.edges = edges
        self.attr = attr
        self.cases = cases

    @property
    def leaves(self) -> bool:
        """True when control leaves the region."""
        return self.kind in ("chain", "exit")


class Block:
    """Operations executed in order, then the terminator."""

    __slots__ = ("name", "ops", "params", "terminator")

    def __init__(self, name: str) -> None:
        self.name = name
        self.params: list[Value] = []
        self.ops: list[Value] = []
        self.terminator: Terminator | None = None

    @property
    def end(self) -> Terminator:
        """The terminator of a finished block."""
        assert self.terminator is not None, f"block {self.name} is not finished"
        return self.terminator

    def successors(self) -> "Iterator[Block]":
        return (edge.block for edge in self.end.edges)

    def add_param(self, type: str) -> Value:
        value = Value(PARAM, type)
        self.params.append(value)
        return value


class Region:
    """Blocks compiled together. The first block runs first, or the one that `entries` has for the pc."""

    __slots__ = ("blocks", "entries", "name", "names", "pc")

    def __init__(self, name: str, pc: int = 0) -> None:
        self.name = name
        self.pc = pc
        self.blocks: list[Block] = []
        self.entries: dict[int, Block] = {}
        self.names: set[str] = set()  # of all blocks ever made here

    def new_block(self, name: str | None = None) -> Block:
        """A block at the end; without a name it gets one that no other had."""
        block = Block(self._unused_name() if name is None else name)
        self.names.add(block.name)
        self.blocks.append(block)
        return block

    def _unused_name(self) -> str:
        number = len(self.names)
        while f"b{number}" in self.names:
            number += 1
        return f"b{number}"

    def predecessors(self) -> dict[Block, list[tuple[Block, Edge]]]:
        """For each block, the (block, edge) pairs that enter it, in order."""
        found: dict[Block, list[tuple[Block, Edge]]] = {block: [] for block in self.blocks}
        for block in self.blocks:
            for edge in block.end.edges:
                found[edge.block].append((block, edge))
        return found

    def __str__(self) -> str:
        from vmjit.ir.printer import print_region

        return print_region(self)
