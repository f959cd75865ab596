"""Which instructions are compiled together: the control-flow graph around a hot address.

Direct jumps are followed and calls passed over, so a region is about the function that the address lies in. Code that
never ran is left out when it is known which did: exits lead there. Addresses that are entered from outside, such as
the return points of calls, become entries.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vmjit.engine.trace import Tracer
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import Decoded, Instruction

MAX_INSTRUCTIONS = 500  # about 50 ms of compile time
# Bytes within which a branch's other way belongs to the region even if it was never taken: when an inner loop gets hot
# in its first round, the way back of the outer one has not been executed yet.
NEAR = 128
MAX_ENTRIES = 24  # each costs a case of the switch at the region's start


@dataclass(frozen=True)
class Step:
    """One instruction of a region, in terms of the instruction that has semantics."""

    instruction: Instruction
    fields: Mapping[str, int]
    decoded: Decoded

    @property
    def size(self) -> int:
        """Bytes."""
        return self.decoded.size

    def text(self, pc: int) -> str:
        """Assembly text."""
        return self.decoded.text(pc)


@dataclass(frozen=True)
class Plan:
    """A region to be translated: blocks begin at `leaders`, and `entries` are those entered from outside."""

    pc: int
    steps: Mapping[int, Step]
    leaders: frozenset[int]
    entries: tuple[int, ...]

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
    """Forms regions of one guest's code. `fetch(address, size)` gives little-endian bits, or None outside the code."""

    def __init__(self, table: DecodeTable, tracer: Tracer) -> None:
        self.table = table
        self.tracer = tracer
        self.words: dict[tuple[int, int], Step | None] = {}

    def form(
        self,
        pc: int,
        fetch: Callable[[int, int], int | None],
        executed: Callable[[int], bool],
        limit: int = MAX_INSTRUCTIONS,
    ) -> Plan | None:
        """The region around `pc`; None if its first instruction cannot be compiled."""
        steps: dict[int, Step] = {}
        leaders, entries = {pc}, [pc]
        queue = deque([pc])
        near: set[int] = set()  # what executed code may go to and is close by, executed or not
        while queue:
            at = queue.popleft()
            while at not in steps and len(steps) < limit and (at == pc or executed(at) or at in near):
                step = self.step(at, fetch)
                if step is None:
                    break
                traits = self.tracer.traits_of(step.instruction, step.fields, step.size)
                following = at + step.size
                if traits.alone:
                    if at != pc:
                        _enter(following, leaders, entries, queue)
                    break
                steps[at] = step
                if traits.ends:
                    flow = self.tracer.flow_of(step.instruction, step.fields, at, step.size)
                    leaders.update(flow.targets)
                    if executed(at):
                        near.update(target for target in flow.targets if abs(target - at) < NEAR)
                    queue.extend(flow.targets)
                    if flow.returns:
                        _enter(following, leaders, entries, queue)
                    break
                if at in near and not executed(at):
                    near.add(following)
                at = following
            else:
                leaders.add(at)
        if pc not in steps:
            return None
        known = tuple(entry for entry in entries if entry in steps)[:MAX_ENTRIES]
        return Plan(pc, steps, frozenset(leader for leader in leaders if leader in steps), known)

    def step(self, pc: int, fetch: Callable[[int, int], int | None]) -> Step | None:
        """The instruction at an address, or None for no instruction or no code."""
        table = self.table
        parcel = fetch(pc, table.parcel)
        if parcel is None:
            return None
        size = table.size(parcel)
        word = parcel if size == table.parcel else fetch(pc, size) if size else None
        if word is None:
            return None
        key = (word, size)
        if key not in self.words:
            decoded = table.decode_word(word, size)
            if isinstance(decoded, int):
                self.words[key] = None
            else:
                base, fields = decoded.expand()
                self.words[key] = Step(base, fields, decoded)
        return self.words[key]


def _enter(address: int, leaders: set[int], entries: list[int], queue: deque[int]) -> None:
    leaders.add(address)
    queue.append(address)
    if address not in entries:
        entries.append(address)
