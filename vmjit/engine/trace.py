"""Tracing instructions into regions: the semantics run, and what they compute becomes IR.

Inside a block a register that was read or written is known, so addresses and constants fold while tracing. Where an
instruction goes on is decided here: at a block of the region, or outside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from vmjit.codegen.native import INTERPRETED_ONLY, why_not_native
from vmjit.ir.block import Block, Edge, Region, Terminator, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.layout import ENGINE_WORDS, SLOT_SCALE, SLOT_SIZE, Layout
from vmjit.ir.ops import Op
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu
from vmjit.isa.instruction import Instruction

_VOLATILE = frozenset(ENGINE_WORDS) - {"instret"}
FLOWS = 4096  # to remember: a program has fewer branches and calls that differ in more than how far they go
SOMEWHERE, FAR = 1 << 30, 1 << 20  # an address and an offset that come up by no other way
DISPATCH_SHIFT = (SLOT_SIZE // SLOT_SCALE).bit_length() - 1  # instructions start at multiples of this power of two


class ForwardingEmitter(Emitter):
    """Knows the registers of the block it appends to; `precise` ones are to be in the state at each access."""

    def __init__(self, region: Region, block: Block, *, precise: bool = False) -> None:
        super().__init__(region, block)
        self.known: dict[str, Value] = {}
        self.precise = precise

    def begin(self, block: Block) -> None:
        self.block = block
        self.known = {}

    def before_access(self, op: Op) -> None:
        if self.precise and op.operands:  # fences have none
            self.emit("settle", None)

    def get(self, register: str) -> Value:
        known = self.known.get(register)
        if known is None:
            known = super().get(register)
            self.know(register, known)
        return known

    def set(self, register: str, value: Value) -> None:
        self.know(register, value)
        super().set(register, value)

    def know(self, register: str, value: Value) -> None:
        if register not in _VOLATILE:
            self.known[register] = value


class RegionCpu(Cpu):
    """Traces one instruction after another at known addresses.

    blocks   those of the region, by address
    targets  by address of an indirect jump: where in the region it may go
    """

    def __init__(
        self,
        emitter: ForwardingEmitter,
        layout: Layout,
        blocks: Mapping[int, Block],
        targets: Mapping[int, tuple[int, ...]] | None = None,
        odds: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(emitter, layout)
        self.forwarding = emitter
        self.blocks = blocks
        self.targets = targets or {}
        self.odds = odds or {}
        self.at = 0
        self.leader = 0
        self.again: Block | None = None
        self.count: Value | None = None  # of retired instructions where the block begins

    def begin(self, block: Block, leader: int, again: Block | None = None) -> None:
        """Trace into a block of which nothing is known; its jumps to itself, `leader`, go to `again`, a copy of it."""
        self.forwarding.begin(block)
        self.count = None
        self.leader = leader
        self.again = again

    def step(self, instruction: Instruction, fields: Mapping[str, int], pc: int, size: int) -> None:
        """Trace one instruction."""
        assert instruction.semantics is not None
        self.at = self.emitter.pc = pc
        self.pc = self.const(pc)
        self.size = size
        self.ended = False
        instruction.semantics(self, **fields)

    def retire(self, count: int) -> None:
        """Note that `count` instructions of this block are done."""
        if count:
            if self.count is None:
                self.count = self.read("instret").value
            self.write("instret", self.wrap(self.count) + count)

    def goto(self, target: Bits, kind: str) -> Block:
        address = target.constant
        if address is None or address not in self.blocks:
            return super().goto(target, kind)
        if address == self.leader and self.again is not None:
            return self.again
        block = self.blocks[address]
        return block if address > self.at else self.checked(target, block)

    def checked(self, target: Bits, block: Block) -> Block:
        """A way back inside the region: every loop has one, and leaves there when the instruction limit is reached."""
        emitter, region = self.emitter, self.emitter.region
        here = emitter.block
        test, stop = region.new_block(), region.new_block()
        emitter.block = test
        in_time = self.read("instret").ult(self.read("limit"))
        emitter.branch(in_time.value, block, stop)
        emitter.block = stop
        emitter.exit("limit", target.value, self.const(0).value)
        emitter.block = here
        return test

    def branch_if(self, condition: Bits, target: Bits) -> None:
        here = self.emitter.block
        super().branch_if(condition, target)
        if self.at in self.odds:
            here.end.attr = str(self.odds[self.at])

    def end_with(self, target: Bits, kind: str) -> None:
        address = target.constant
        if address is not None and address in self.blocks:
            self.emitter.terminate(Terminator("jump", edges=(Edge(self.goto(target, kind)),)))
        elif address is None and self.at in self.targets:
            self.dispatch(target, kind, self.targets[self.at])
        else:
            self.emitter.chain(target.value, kind)
        self.ended = True

    def dispatch(self, target: Bits, kind: str, known: tuple[int, ...]) -> None:
        """An indirect jump that stays in the region if it goes where it went before."""
        rotated = target.rotr(DISPATCH_SHIFT).value  # so that cases lie close together
        edges = [Edge(self.goto(self.const(address), "jump")) for address in known]
        elsewhere = self.emitter.region.new_block()
        cases = tuple(address >> DISPATCH_SHIFT for address in known)
        self.emitter.terminate(Terminator("switch", (rotated,), (*edges, Edge(elsewhere)), cases=cases))
        self.emitter.block = elsewhere
        self.emitter.chain(target.value, kind)


@dataclass(frozen=True)
class Traits:
    """What region formation must know of an instruction, learned by tracing it once.

    ends       control does not simply go on with the next instruction
    may_leave  it accesses memory, has an exit or reads the count, so the registers must be right when it starts
    alone      only the interpreter executes it
    traps      it ends with the program counter on itself, and so is not retired
    """

    ends: bool
    may_leave: bool
    alone: bool
    traps: bool = False


@dataclass(frozen=True)
class Flow:
    """Where control goes after an instruction that ends a block.

    targets  known addresses that a region may follow
    calls    known addresses of functions that it calls
    unknown  how it goes on at an address that is not known: "indirect", "return" or not at all
    returns  the next instruction is likely to be entered from outside: after a call or a system call
    """

    targets: tuple[int, ...]
    returns: bool
    calls: tuple[int, ...] = ()
    unknown: str = ""


def trace_alone(
    layout: Layout, instruction: Instruction, fields: Mapping[str, int], pc: int, size: int
) -> tuple[Region, RegionCpu]:
    """One instruction in a region of its own."""
    region = Region(instruction.name, pc)
    cpu = RegionCpu(ForwardingEmitter(region, region.new_block()), layout, {})
    cpu.step(instruction, fields, pc, size)
    return region, cpu


class Tracer:
    """Traits and flow of the instructions of one guest."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.traits = cache(self._traits)
        self.flow = lru_cache(FLOWS)(self._flow)

    def traits_of(self, instruction: Instruction, fields: Mapping[str, int], size: int) -> Traits:
        structural = tuple((n, v) for n, v in fields.items() if instruction.operands[n].structural is not None)
        return self.traits(instruction, structural, size)

    def _traits(self, instruction: Instruction, structural: tuple[tuple[str, int], ...], size: int) -> Traits:
        # Any fields will do, but for the structural ones: the others do not steer the semantics.
        fields = dict.fromkeys(instruction.parameters, 1) | dict(structural)
        region, cpu = trace_alone(self.layout, instruction, fields, 0, size)
        values = [value for block in region.blocks for value in block.ops]
        leaves = [block for block in region.blocks if block.terminator is not None and block.end.kind == "exit"]
        ends = [block.end for block in region.blocks if block.terminator is not None and block.end.leaves]
        return Traits(
            ends=cpu.ended,
            traps=cpu.ended and all(end.kind == "exit" and end.args[0].attr == region.pc for end in ends),
            may_leave=cpu.ended
            or bool(leaves)
            or any(value.op.reads_memory or value.op.writes_memory or value.attr == "instret" for value in values),
            alone=any(value.op.name in INTERPRETED_ONLY or why_not_native(value) for value in values),
        )

    def flow_of(self, instruction: Instruction, fields: Mapping[str, int], pc: int, size: int) -> Flow:
        """Where an instruction that ends a block leads: traced once with the same fields, but for how far it jumps."""
        offset, others = 0, []
        for name, value in fields.items():
            if instruction.operands[name].relative:
                offset, value = value, FAR
            others.append((name, value))
        flow = self.flow(instruction, tuple(others), size)
        if not flow.targets and not flow.calls:
            return flow
        targets, calls = (tuple([_moved(each, pc, offset) for each in found]) for found in (flow.targets, flow.calls))
        return Flow(targets, flow.returns, calls, flow.unknown)

    def _flow(self, instruction: Instruction, fields: tuple[tuple[str, int], ...], size: int) -> Flow:
        """Where it leads from address SOMEWHERE."""
        region, _ = trace_alone(self.layout, instruction, dict(fields), SOMEWHERE, size)
        targets: list[int] = []
        calls: list[int] = []
        unknown, returns = "", False
        following = SOMEWHERE + size
        for block in region.blocks:
            end = block.end
            address = end.args[0].attr if end.leaves and end.args[0].is_const else None
            if end.kind == "chain" and address is not None:
                (calls if end.attr == "call" else targets).append(int(address))
            elif end.kind == "chain":
                unknown = str(end.attr)
            elif end.kind == "exit" and address == following:
                returns = True
            returns = returns or any(
                value.op.name == "set" and value.args[0].is_const and value.args[0].attr == following
                for value in block.ops
            )
        return Flow(tuple(targets), returns, tuple(calls), unknown)


def _moved(address: int, pc: int, offset: int) -> int:
    """The address that an instruction at `pc` leads to, by that which it leads to from SOMEWHERE with offset FAR."""
    if address == SOMEWHERE + FAR:
        return (pc + offset) % (1 << 64)
    return pc + address - SOMEWHERE if SOMEWHERE <= address < SOMEWHERE + FAR else address
