"""Compiling ahead of time: functions found by decoding, and regions for what may run, without running it.

What decoding reaches stands for what was executed, so regions are formed as with a profile: calls are followed, and
returns lead to the call sites. Indirect jumps lead to what tables hold that the function has the address of, as those
of switch statements. A region that does not know where one leads would be left at each, and, since code in regions is
not counted, for good; so functions with jumps for which no table is found are left to the run.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from vmjit.engine.cache import Kept, Program, Read, Region, name_of
from vmjit.engine.code import PAGE_SIZE, Code
from vmjit.engine.formation import Former
from vmjit.engine.hart import CALL_DEPTH, MOST_PAGES, NEIGHBOURHOOD, REGION_SIZE
from vmjit.engine.trace import Flow, Tracer
from vmjit.engine.translate import translate
from vmjit.errors import CompileError
from vmjit.ir.layout import JUMP_ENTRIES, PAGE_BITS

if TYPE_CHECKING:
    from vmjit.engine.service import Service
    from vmjit.guest import Guest

LARGEST_FUNCTION = 20000  # instructions that are looked at: those of a damaged file may go anywhere
LARGEST_REGION = 2000  # instructions, of a function that has as many: its loops stay in one region
INNER_BYTES, INNER_ENTRIES = 2 * PAGE_SIZE, 60  # of a region for what did not go into another
FARTHEST = 1 << 16  # bytes from a function's start to what its tables hold, where no symbol says where it ends
SMALLEST_TABLE, LARGEST_TABLE = 3, 1024  # entries
WORDS_OF_PAGE = PAGE_SIZE // 2  # one for each halfword


@dataclass(frozen=True)
class Function:
    """What decoding from an address reaches without following calls.

    steps      addresses of instructions
    calls      (address of a call, of the instruction after it, of the function called)
    returns    addresses of instructions that return
    jumps      (address of an indirect jump, where it may lead)
    has_jumps  it goes on at addresses that only a run can tell
    """

    address: int
    steps: frozenset[int]
    calls: tuple[tuple[int, int, int], ...]
    returns: tuple[int, ...]
    jumps: tuple[tuple[int, int], ...] = ()
    has_jumps: bool = False


def _relative(read: Read, table: int, index: int) -> int | None:
    """An entry of 32 bits that counts from the table's start, as compilers make them for code that may be moved."""
    data = read(table + 4 * index, 4)
    return None if data is None else table + int.from_bytes(data, "little", signed=True)


def _absolute(read: Read, table: int, index: int) -> int | None:
    """An address of 32 bits."""
    data = read(table + 4 * index, 4)
    return None if data is None else int.from_bytes(data, "little")


def _pointer(read: Read, table: int, index: int) -> int | None:
    """An address of 64 bits."""
    data = read(table + 8 * index, 8)
    return None if data is None else int.from_bytes(data, "little")


@dataclass(frozen=True)
class Ahead:
    """What was compiled.

    kept       all regions
    made       how many of them are new
    functions  how many begin in a region
    failures   what was wrong with regions that could not be made
    """

    kept: tuple[Kept, ...]
    made: int
    functions: int
    failures: tuple[str, ...]


class Finder:
    """Finds functions by decoding; `read` gives the program's constant data."""

    def __init__(self, guest: Guest, code: Code, read: Read) -> None:
        self.code = code
        self.read = read
        self.layout = guest.layout
        self.alignment = guest.alignment
        self.starts: list[int] = []
        self.tracer = Tracer(guest.layout)
        self.former = Former(guest.decode_table, self.tracer)
        self.known: dict[int, tuple[int, Flow | None] | None] = {}

    def functions(self, starts: Iterable[int], note: Callable[[int], None] = lambda count: None) -> dict[int, Function]:
        """Those at these addresses, those that they call, and so on; `note` is told how many there are so far."""
        found: dict[int, Function] = {}
        self.starts = sorted(starts)
        queue = list(self.starts)
        while queue:
            address = queue.pop()
            if address in found or self._instruction(address) is None:
                continue
            found[address] = self.function(address)
            queue += [called for *_, called in found[address].calls]
            note(len(found))
        return dict(sorted(found.items()))

    def may_begin(self, address: int) -> bool:
        """Whether a function may: there is code, and the number is not a round one, which may mean anything."""
        return not address % self.alignment and address % PAGE_SIZE != 0 and self._instruction(address) is not None

    def function(self, address: int) -> Function:
        """The function that begins at an address."""
        targets: set[int] = set()
        while True:
            found = self._walk(address, targets)
            known = self._in_tables(found) if found.has_jumps else targets
            if known <= targets:
                return replace(found, has_jumps=found.has_jumps and not targets)
            targets |= known  # and the code there may have tables, too

    def _walk(self, address: int, targets: Iterable[int]) -> Function:
        """The function, whose indirect jumps lead to `targets`."""
        steps: set[int] = set()
        calls: list[tuple[int, int, int]] = []
        returns: list[int] = []
        jumps: list[int] = []
        queue = [address]
        while queue and len(steps) < LARGEST_FUNCTION:
            at = queue.pop()
            found = None if at in steps else self._instruction(at)
            if found is None:
                continue
            size, flow = found
            steps.add(at)
            if flow is None:
                queue.append(at + size)
                continue
            queue += flow.targets
            calls += [(at, at + size, called) for called in flow.calls]
            if flow.returns:
                queue.append(at + size)
            elif flow.unknown == "return":
                returns.append(at)
            elif flow.unknown:
                jumps.append(at)
                queue += targets
        pairs = tuple((site, target) for site in jumps for target in sorted(targets))
        return Function(address, frozenset(steps), tuple(calls), tuple(returns), pairs, bool(jumps))

    def _in_tables(self, function: Function) -> set[int]:
        """Addresses in the function that are in tables which it has the address of."""
        found: set[int] = set()
        for table in self.constants(function):
            for read_entry in (_relative, _absolute, _pointer):
                entries = self._table(function.address, table, read_entry)
                if len(entries) >= SMALLEST_TABLE:
                    found.update(entries)
        return found

    def constants(self, function: Function) -> list[int]:
        """The numbers that the function computes from nothing."""
        ran = _marked(function.steps)
        code = Code([(page, self.code.pages[page], ran[page].tobytes(), b"") for page in sorted(ran)])
        plan = self.former.form(function.address, code, LARGEST_FUNCTION)
        if plan is None:
            return []
        region = translate(plan, self.layout, self.tracer)
        constants = {value.attr for block in region.blocks for value in block.ops if value.is_const}
        return sorted(constant for constant in constants if isinstance(constant, int))

    def _table(self, function: int, table: int, read_entry: Callable[[Read, int, int], int | None]) -> list[int]:
        """The entries of a table up to the first that is no instruction of the function."""
        position = bisect_right(self.starts, function)
        end = self.starts[position] if position < len(self.starts) else function + FARTHEST
        entries: list[int] = []
        while len(entries) < LARGEST_TABLE:
            entry = read_entry(self.read, table, len(entries))
            if entry is None or not function <= entry < min(end, function + FARTHEST) or entry % self.alignment:
                break
            if self._instruction(entry) is None:
                break
            entries.append(entry)
        return entries

    def _instruction(self, at: int) -> tuple[int, Flow | None] | None:
        """Its size, and where it leads if that is not just the next one; None where there is none."""
        if at not in self.known:
            step = self.former.step(at, self.code)
            if step is None:
                self.known[at] = None
            else:
                traits = step.traits
                flow = self.tracer.flow_of(step.instruction, step.fields, at, step.size) if traits.ends else None
                self.known[at] = step.size, flow
        return self.known[at]


def _marked(addresses: Iterable[int]) -> dict[int, array[int]]:
    """By page: what Native.executed would be if the instructions at these addresses had been executed."""
    pages: dict[int, array[int]] = {}
    for at in addresses:
        page = at >> PAGE_BITS
        if page not in pages:
            pages[page] = array("Q", bytes(8 * WORDS_OF_PAGE))
        pages[page][at % PAGE_SIZE // 2] = 1
    return pages


class Surroundings:
    """What requests for the worker hold: pages of code, what of it may run, and where its calls and returns lead.

    Functions with jumps that only a run can tell count as code that never runs.
    """

    def __init__(self, code: Code, functions: Mapping[int, Function]) -> None:
        self.code = code
        self.ran = _marked(at for f in functions.values() if not f.has_jumps for at in f.steps)
        self.jumps: dict[int, set[tuple[int, int]]] = defaultdict(set)  # page -> calls and returns there, their targets
        for function in functions.values():
            for jump in function.jumps:
                self.jumps[jump[0] >> PAGE_BITS].add(jump)
            for site, point, called in function.calls:
                if called in functions:
                    self.jumps[site >> PAGE_BITS].add((site, called))
                    for back in functions[called].returns:
                        self.jumps[back >> PAGE_BITS].add((back, point))

    def may_run(self, at: int) -> bool:
        """Whether decoding reached an address."""
        ran = self.ran.get(at >> PAGE_BITS)
        return ran is not None and ran[at % PAGE_SIZE // 2] != 0

    def request(self, pc: int, size: int = REGION_SIZE, entries: tuple[int, ...] = ()) -> tuple[Any, ...]:
        """As Hart makes it for a hot address."""
        pages = self._neighbours(pc >> PAGE_BITS)
        for _ in range(CALL_DEPTH):
            for target in sorted({target >> PAGE_BITS for page in pages for _, target in self.jumps.get(page, ())}):
                if target not in pages and len(pages) < MOST_PAGES:
                    pages |= self._neighbours(target)
        chunks = [(page, self.code.pages[page], self.ran[page].tobytes(), b"") for page in sorted(pages)]
        jumps = [jump for page in pages for jump in self.jumps.get(page, ()) if jump[1] >> PAGE_BITS in pages]
        return "region", pc, chunks, sorted(jumps), size, False, entries

    def all_jumps(self) -> tuple[tuple[int, int], ...]:
        """What a hart is to know of them, as code in regions tells it nothing; as many as it can."""
        return tuple(sorted(jump for jumps in self.jumps.values() for jump in jumps)[:JUMP_ENTRIES])

    def _neighbours(self, page: int) -> set[int]:
        near = range(page - NEIGHBOURHOOD, page + NEIGHBOURHOOD + 1)
        return {found for found in near if found in self.ran and found in self.code.pages}


class Regions:
    """The regions so far, and which of them is entered at an address: as engine.regions, without memory."""

    def __init__(self, kept: Iterable[Kept]) -> None:
        self.kept = list(kept)
        self.owner: dict[int, int] = {}  # entry -> index
        self.covered: set[int] = set()
        for index, found in enumerate(self.kept):
            self._enter(index, found.entries)

    def add(self, pc: int, name: str, region: Region) -> None:
        self.kept.append(Kept(pc, name, (), region))
        self._enter(len(self.kept) - 1, [e for e in region.entries if e == pc or e not in self.owner])

    def _enter(self, index: int, entries: Iterable[int]) -> None:
        self.owner.update(dict.fromkeys(entries, index))
        for start, end in self.kept[index].region.ranges:
            self.covered.update(range(start, end, 2))

    def finished(self) -> tuple[Kept, ...]:
        """Those that are entered anywhere."""
        entries: dict[int, list[int]] = defaultdict(list)
        for entry, index in self.owner.items():
            entries[index].append(entry)
        return tuple(
            Kept(found.pc, found.name, tuple(entries[index]), found.region)
            for index, found in enumerate(self.kept)
            if entries[index]
        )


class Compiler:
    """Compiles with several workers at once, and gets the same whatever their number.

    `limit` is the number of regions to ask for; `watch` is told now and then how many functions begin in a region.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        services: Sequence[Service],
        variant: str,
        left: Program,
        limit: int | None = None,
        watch: Callable[[int], None] = lambda functions: None,
    ) -> None:
        self.surroundings = surroundings
        self.services: SimpleQueue[Service] = SimpleQueue()
        for service in services:
            self.services.put(service)
        self.pool = ThreadPoolExecutor(len(services))
        self.variant = variant
        self.regions = Regions(kept for kept in left.regions if self._name(kept.pc, kept.region) == kept.name)
        self.limit = limit
        self.watch = watch
        self.asked: set[int] = set()
        self.functions: Mapping[int, Function] = {}
        self.made = 0
        self.failures: list[str] = []

    def run(self, entry: int, functions: Iterable[Function]) -> Ahead:
        """Compile what is reached from the entry, then functions that none calls, then what is still in no region."""
        self.functions = {function.address: function for function in functions}
        called = {target for f in self.functions.values() for *_, target in f.calls if target != f.address}
        self._closure([entry])
        self._closure([address for address in self.functions if address not in called])
        for address in self.functions:
            if address not in self.regions.covered:
                self._closure([address])
        self.pool.shutdown()
        return Ahead(self.regions.finished(), self.made, self._covered(), tuple(self.failures))

    def _covered(self) -> int:
        return sum(address in self.regions.covered for address in self.functions)

    def _closure(self, addresses: Iterable[int]) -> None:
        """Compile regions at these addresses, then where those lead to, and so on."""
        while groups := self._groups(addresses):
            self.asked.update(group[0] for group in groups)
            exits: set[int] = set()
            for group, region in zip(groups, self.pool.map(self._compile, groups), strict=True):
                name = None if region is None else self._name(group[0], region)
                if region is None or name is None:
                    continue
                self.made += 1
                self.regions.add(group[0], name, region)
                exits.update(region.exits)
                self.watch(self._covered())
            addresses = exits

    def _groups(self, addresses: Iterable[int]) -> list[list[int]]:
        """The entries of the next regions: a function has its own; ways on in one that is too large for one share one.

        Otherwise each of those would get a region with a copy of much the same code.
        """
        groups: list[list[int]] = []
        inner: list[int] = []
        for at in sorted(addresses):
            if at in self.regions.owner or at in self.asked or not self.surroundings.may_run(at):
                continue
            if at in self.functions:
                groups.append([at])
            elif inner and at - inner[0] < INNER_BYTES and len(inner) < INNER_ENTRIES:
                inner.append(at)
            else:
                inner = [at]
                groups.append(inner)
        return groups if self.limit is None else groups[: max(0, self.limit - len(self.asked))]

    def _compile(self, group: Sequence[int]) -> Region | None:
        pc, *entries = group
        function = self.functions.get(pc)
        size = REGION_SIZE if function is None else max(REGION_SIZE, min(LARGEST_REGION, len(function.steps)))
        service = self.services.get()
        try:
            result = service.wait(self.surroundings.request(pc, size, tuple(entries)))
        except CompileError as error:
            self.failures.append(f"{pc:#x}: {error}")
            return None
        finally:
            self.services.put(service)
        return None if result is None else Region.from_bytes(result[0])

    def _name(self, pc: int, region: Region) -> str | None:
        return name_of(pc, region, self.surroundings.code.bytes, self.variant)
