"""Which instructions are compiled together: the control-flow graph around a hot address.

Direct jumps are followed, and indirect ones to where they went so far. So are calls, once the function that the address
lies in is complete; returns lead to those of their targets that are in the region. Code that never ran is left out when
it is known which did: exits lead there. Addresses that are entered from outside, such as the return points of calls to
functions outside the region, become entries.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vmjit.engine.cache import digest
from vmjit.engine.code import Code
from vmjit.engine.trace import Tracer, Traits
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import Decoded, Instruction

MAX_INSTRUCTIONS = 500  # 0.1 to 0.2 s of compile time
# Bytes within which a branch's other way belongs to the region even if it was never taken: when an inner loop gets hot
# in its first round, the way back of the outer one has not been executed yet.
NEAR = 128
MAX_TARGETS = 128  # of one indirect jump
MAX_ENTRIES = 120  # each costs a case of the switch at the region's start


@dataclass(frozen=True)
class Step:
    """One instruction of a region, in terms of the instruction that has semantics."""

    instruction: Instruction
    fields: Mapping[str, int]
    decoded: Decoded
    size: int  # bytes
    traits: Traits

    def text(self, pc: int) -> str:
        """Assembly text."""
        return self.decoded.text(pc)


@dataclass(frozen=True)
class Plan:
    """A region to be translated.

    leaders  where blocks begin
    entries  blocks that are entered from outside
    targets  by address of an indirect jump: where in the region it went so far
    exits    known addresses outside of the region that it leads to
    odds     by address of a branch: how often of 1000 times it was taken, if that is known
    """

    pc: int
    steps: Mapping[int, Step]
    leaders: frozenset[int]
    entries: tuple[int, ...]
    targets: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    exits: tuple[int, ...] = ()
    odds: Mapping[int, int] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """What besides entries and code makes this the plan it is."""
        return digest(repr((sorted(self.leaders), sorted(self.targets.items()))))

    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The guest addresses that the region was made from, as (start, end), sorted."""
        found: list[tuple[int, int]] = []
        for pc in sorted(self.steps):
            end = pc + self.steps[pc].size
            if found and found[-1][1] >= pc:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((pc, end))
        return tuple(found)


class Former:
    """Forms regions of one guest's code."""

    def __init__(self, table: DecodeTable, tracer: Tracer) -> None:
        self.table = table
        self.tracer = tracer
        self.words: dict[tuple[int, int], Step | None] = {}

    def form(self, pc: int, code: Code, limit: int = MAX_INSTRUCTIONS, entries: Sequence[int] = ()) -> Plan | None:
        """The region around `pc`, entered at `entries` too; None if its first instruction cannot be compiled."""
        return _Formation(self, code, limit).form(pc, entries)

    def step(self, pc: int, code: Code) -> Step | None:
        """The instruction at an address, or None for no instruction or no code."""
        table = self.table
        parcel = code.fetch(pc, table.parcel)
        if parcel is None:
            return None
        size = table.size(parcel)
        word = parcel if size == table.parcel else code.fetch(pc, size) if size else None
        if word is None:
            return None
        key = (word, size)
        if key not in self.words:
            decoded = table.decode_word(word, size)
            if isinstance(decoded, int):
                self.words[key] = None
            else:
                base, fields = decoded.expand()
                self.words[key] = Step(base, fields, decoded, size, self.tracer.traits_of(base, fields, size))
        return self.words[key]


class _Formation:
    """One region in the making."""

    def __init__(self, former: Former, code: Code, limit: int) -> None:
        self.former = former
        self.tracer = former.tracer
        self.code = code
        self.limit = limit
        self.steps: dict[int, Step] = {}
        self.entries: dict[int, None] = {}  # in the order in which they were found
        self.leaders: set[int] = set()
        self.near: set[int] = set()  # what executed code may go to and is close by, executed or not
        self.queue: deque[int] = deque()
        self.called: deque[int] = deque()  # functions, which come when this one is complete
        self.unknown: list[int] = []  # indirect jumps
        self.odds: dict[int, int] = {}
        self.returns: dict[int, list[int]] = {}  # return point -> functions called

    def form(self, pc: int, entries: Sequence[int]) -> Plan | None:
        for entry in (pc, *entries):
            self.enter(entry)
        while self.queue or self.called:
            self.walk(self.queue.popleft() if self.queue else self.called.popleft(), pc)
        if pc not in self.steps:
            return None
        for point, functions in self.returns.items():
            inside = functions and all(function in self.steps for function in functions)
            if not inside:
                self.entries[point] = None
        entries = tuple(entry for entry in self.entries if entry in self.steps)[:MAX_ENTRIES]
        targets = {}
        for site in self.unknown:
            known = tuple(target for target in self.code.targets(site) if target in self.steps)[:MAX_TARGETS]
            if known:
                targets[site] = known
                self.leaders.update(known)
        leaders = frozenset(leader for leader in self.leaders if leader in self.steps)
        exits = tuple(sorted(self.leaders - leaders))
        return Plan(pc, self.steps, leaders, entries, targets, exits, self.odds)

    def walk(self, at: int, pc: int) -> None:
        """Take in instructions until one that ends a block, or one that is there already."""
        while at not in self.steps and len(self.steps) < self.limit and self.is_wanted(at, pc):
            step = self.former.step(at, self.code)
            if step is None:
                return
            traits = step.traits
            following = at + step.size
            if traits.alone:
                if at != pc:
                    self.enter(following)
                return
            self.steps[at] = step
            if traits.ends:
                self.end(at, step)
                return
            if at in self.near and not self.code.executed(at):
                self.near.add(following)
            at = following
        self.leaders.add(at)

    def is_wanted(self, at: int, pc: int) -> bool:
        return at == pc or self.code.executed(at) or at in self.near

    def end(self, at: int, step: Step) -> None:
        """Go on after an instruction that ends a block."""
        flow = self.tracer.flow_of(step.instruction, step.fields, at, step.size)
        self.follow(flow.targets, self.queue)
        odds = self.code.odds(at) if len(flow.targets) > 1 else None
        if odds is not None:
            self.odds[at] = odds
        if self.code.executed(at):
            self.near.update(target for target in flow.targets if abs(target - at) < NEAR)
        functions = [*flow.calls, *self.code.targets(at)] if self.code.is_profiled else []
        if flow.returns:
            self.follow((at + step.size,), self.queue)
            self.follow(functions, self.called)
            self.returns[at + step.size] = functions
        elif flow.unknown and flow.unknown != "return":  # the places that a function returns to come with its calls
            self.follow(functions, self.queue)
        if flow.unknown:
            self.unknown.append(at)

    def follow(self, targets: Iterable[int], queue: deque[int]) -> None:
        self.leaders.update(targets)
        queue.extend(targets)

    def enter(self, address: int) -> None:
        """An address that is entered from outside."""
        self.leaders.add(address)
        self.queue.append(address)
        self.entries[address] = None
