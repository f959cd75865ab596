"""Runs of regions by the IR's meaning, and when one region may stand for another.

Guest memory has holes, and 4 GiB that fault on both sides; an access further out would reach memory of the host. What
guards of accesses may change is this: a run may end with `emulate` at an access that was next, or in a handler with
`fault` if its address is outside, everything being as it was just before that access; and with `emulate` at once, if a
register holds no boxed single. What is stored in the registers when an access faults matters only after `settle`.
"""

from array import array
from dataclasses import dataclass, field

from random_ir import FIELDS, LAYOUT, NOTED_PC, NOTED_ROOT, REGISTERS, SINGLE, START, noting

from vmjit.ir.block import Region
from vmjit.ir.interpret import compile_region
from vmjit.ir.layout import ADDRESS_BITS, NOT_TRANSLATED

END, GUARD = 1 << ADDRESS_BITS, 1 << 32
PAGE = 0x1000
HOLES = 16  # every such page is missing
ELSEWHERE = 40  # a translation is the address and, from this bit on, something that depends on the page
FOR_WRITING = 1 << 62  # and this, if it is one for a write
LIMIT = 60  # instructions: what ends loops
MOST_BLOCKS = 20_000  # of a run
VISIBLE = (*(f"r{number}" for number in range(REGISTERS)), "steps", "fflags", "frm", "instret")
ENTRIES = (START, START + 4, START + 8)
_SINGLE = VISIBLE.index(SINGLE)
_WORDS = [LAYOUT.word(name) for name in VISIBLE]
_PC, _ROOT, _LAST_COUNT = (LAYOUT.word(name) for name in (NOTED_PC, NOTED_ROOT, "access_instret"))


class Fault(Exception):
    """An access that guest memory refuses."""


class Wrong(AssertionError):
    """A run that no sound region has."""


@dataclass(frozen=True)
class Access:
    """`registers` are those just before it."""

    pc: int
    address: int
    size: int
    value: int | None
    root: int = field(compare=False)
    registers: tuple[int, ...] = field(compare=False)


@dataclass(frozen=True)
class Run:
    """`outcome` is None when the last of `accesses` faulted."""

    outcome: tuple[str, int, int, str] | None
    registers: tuple[int, ...]
    last_count: int
    accesses: list[Access]
    first: tuple[int, ...]  # the registers at the start


class Memory:
    """Bytes depend on their address until they are stored."""

    def __init__(self, words: memoryview, guarded: bool) -> None:
        self.words = words
        self.guarded = guarded
        self.translates = False
        self.stored: dict[int, int] = {}
        self.accesses: list[Access] = []
        self.blocks = 0

    def clock(self) -> int:
        """Called by each block."""
        self.blocks += 1
        if self.blocks > MOST_BLOCKS:
            raise Wrong("does not end")
        return 0

    def translate(self, address: int, access: str) -> int:
        """Of all that is in guest memory; its holes fault when they are accessed."""
        self.translates = True
        if address + int(access[-1]) > END:
            return NOT_TRANSLATED
        place = address | (address // PAGE * 0x9E37 % (1 << 20)) << ELSEWHERE
        return place | FOR_WRITING if access.startswith("write") else place

    def load(self, address: int, size: int) -> int:
        address = self.located(address)
        self.note(address, size, None)
        return sum(self.byte(address + index) << 8 * index for index in range(size))

    def store(self, address: int, size: int, value: int) -> None:
        if self.translates and not address & FOR_WRITING:
            raise Wrong(f"{address:#x} was translated for a read")
        address = self.located(address)
        self.note(address, size, value)
        for index in range(size):
            self.stored[address + index] = value >> 8 * index & 0xFF

    def located(self, place: int) -> int:
        """The address of what is accessed."""
        if not self.translates:
            return place
        address = place % (1 << ELSEWHERE)
        if self.translate(address, "read1") != place & ~FOR_WRITING:
            raise Wrong(f"{place:#x} is no translation")
        return address

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        """Nobody else writes, so it is what was loaded just now."""
        self.store(address, size, new)
        return True

    def byte(self, address: int) -> int:
        return self.stored.get(address, (address * 0x9E3779B97F4A7C15 >> 40) & 0xFF)

    def note(self, address: int, size: int, value: int | None) -> None:
        words = self.words
        registers = tuple([words[word] for word in _WORDS])
        self.accesses.append(Access(words[_PC], address, size, value, words[_ROOT], registers))
        if address + size <= END:
            if address // PAGE % HOLES == 2 or (address + size - 1) // PAGE % HOLES == 2:
                raise Fault
        elif self.guarded and END + GUARD - size < address < (1 << 64) - GUARD:
            raise Wrong(f"access of {address:#x} at {words[_PC]:#x}")
        else:
            raise Fault


class Runner:
    """Runs one region, as it is now, as often as wanted; of a guarded one no access may escape."""

    def __init__(self, region: Region, *, guarded: bool) -> None:
        with noting(region):
            self.run_once = compile_region(region, LAYOUT, FIELDS)
        self.guarded = guarded

    def run(self, pc: int, registers: list[int], rounding: int = 0) -> Run:
        words = memoryview(array("Q", [0] * 256))
        for number, value in enumerate(registers):
            words[LAYOUT.word(f"r{number}")] = value
        words[LAYOUT.word("frm")] = rounding
        words[LAYOUT.word("limit")] = LIMIT
        memory = Memory(words, self.guarded)
        first = tuple([words[word] for word in _WORDS])
        try:
            outcome = self.run_once(words, memory, pc, 3, 5)
        except Fault:
            outcome = None
        return Run(outcome, tuple([words[word] for word in _WORDS]), words[_LAST_COUNT], memory.accesses, first)


def why_not(before: Run, after: Run, *, settled: bool, counted: bool = True) -> str | None:
    """Why the second run may not stand for the first; None if it may.

    settled: registers are in the state when an access faults, and counted: so is the count, in its own word.
    """
    done = len(after.accesses)
    if after.outcome is not None and after.outcome != before.outcome:
        if after.outcome[0] == "emulate":
            return _why_not_emulated(before, after)
        if after.outcome[0] == "fault":
            return _why_not_told(before, after)
    if after.accesses != before.accesses[:done] or done != len(before.accesses):
        return f"accesses differ: {before.accesses}\n{after.accesses}"
    if after.outcome != before.outcome:
        return f"{before.outcome} became {after.outcome}"
    if after.outcome is not None:
        return _why_not_equal(before.registers, after.registers)
    if not settled:
        return None
    last = before.accesses[-1].registers
    if counted and after.last_count != last[-1]:
        return f"the count was {last[-1]}, noted is {after.last_count}"
    return _why_not_equal(last[:-1], after.registers[:-1])


def _why_not_emulated(before: Run, after: Run) -> str | None:
    done = len(after.accesses)
    if after.accesses != before.accesses[:done]:
        return f"accesses before emulation differ: {before.accesses}\n{after.accesses}"
    assert after.outcome is not None
    if is_left_at_entry(after):
        return None if after.first[_SINGLE] >> 32 != 0xFFFFFFFF else "all was boxed"
    if done == len(before.accesses) or (before.accesses[done].pc, 0) != after.outcome[1:3]:
        return f"{after.outcome[1]:#x} was not the next access: {before.accesses[done : done + 1]}"
    return _why_not_equal(before.accesses[done].registers, after.registers)


def _why_not_told(before: Run, after: Run) -> str | None:
    done = len(after.accesses)
    if before.outcome is not None or after.accesses != before.accesses[:-1]:
        return f"accesses before a fault differ: {before.accesses}\n{after.accesses}"
    assert after.outcome is not None
    address = before.accesses[done].address
    if address < END or after.outcome[2] != address:
        return f"a fault at {after.outcome[2]:#x} is told, not at {address:#x}"
    return _why_not_equal(before.accesses[done].registers, after.registers)


def _why_not_equal(before: tuple[int, ...], after: tuple[int, ...]) -> str | None:
    wrong = [f"{n}: {b:#x} became {a:#x}" for n, b, a in zip(VISIBLE, before, after, strict=False) if a != b]
    return ", ".join(wrong) or None


def is_left_at_entry(run: Run) -> bool:
    """Whether nothing happened but that the region was left, at an entry, to the evaluator."""
    assert run.outcome is not None
    return not run.accesses and run.outcome[1] in ENTRIES and run.registers == run.first


def is_emulated(before: Run, after: Run) -> bool:
    changed = after.outcome is not None and after.outcome != before.outcome
    return changed and after.outcome[0] == "emulate" and not is_left_at_entry(after)  # type: ignore[index]


def had_to_be(before: Run, after: Run, *, by_root: bool) -> bool:
    """Whether the access that was left to the evaluator, or the root of its address, is outside of guest memory."""
    access = before.accesses[len(after.accesses)]
    return access.root >= END if by_root else access.address + access.size > END
