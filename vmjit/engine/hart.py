"""A hart: runs guest code in the tier it was asked for and acts on the exits that are the engine's business.

The world (Linux) sees a hart stop for what only it can answer: a system call, a fault, an illegal instruction, a limit.
Everything else, hot code, code that changed, instructions for the reference evaluator, is dealt with here.
Harts of one process, each run by a host thread of its own, share all but their State: code, regions, what is known of
the program. What is shared is changed by single operations on sets and dictionaries, or under a lock.
"""

from __future__ import annotations

import signal
from _thread import allocate_lock
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vmjit.engine.cache import (
    REFILL_KEY,
    Cache,
    Kept,
    Program,
    Region,
    calls_key,
    handlers_key,
    interpreter_key,
    name_of,
    stencils_key,
    variant,
)
from vmjit.engine.interrupts import Interrupts
from vmjit.engine.jumps import Jumps
from vmjit.engine.native import Native
from vmjit.engine.regions import Regions
from vmjit.engine.state import FOREVER, State
from vmjit.errors import MemoryAccessError, SettingsError
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import ADDRESS_BITS, HANDLERS_SIZE, INTERPRETER_SIZE, PAGE_BITS, SLOT_SCALE
from vmjit.jit.blob import Blob
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, WRITE, AddressSpace

if TYPE_CHECKING:
    from vmjit.codegen.calls import Call
    from vmjit.debug import Settings
    from vmjit.engine.copies import Copies
    from vmjit.engine.reference import Reference
    from vmjit.engine.regions import Placed
    from vmjit.engine.service import Service
    from vmjit.guest import Guest
    from vmjit.memory.bus import Bus
    from vmjit.memory.mmu import Mmu, Translation, VirtualMemory
    from vmjit.memory.tlb import Tlb

HOST_ROUNDINGS = 4  # frm below this is a mode that the host has
NEIGHBOURHOOD = 2  # pages of code on both sides of a hot address that a region may be made from
CALL_DEPTH, MOST_PAGES = 2, 24  # and of what is called from there, and called in turn
HOT_AUTO = 1000  # jumps; see docs/design.md, "When code is hot"
HOT_COPIES = 2  # jumps to a target: at the first nothing of it is decoded
HOT_JIT = 1  # every jump target at once
AGAIN_JIT = 64  # jumps to one that could not be compiled, or is not yet: less would mean a return to the host for each
CALLS_HOT = 1000  # system calls by Python, 5 us each, until native code for them is made, which takes as long
AGAIN = 60000  # jumps until a target that was asked for is looked at again
SLOT_WORD = 4  # bytes of Native.executed for each byte of code
MOST_EXTENSIONS = 8  # of one region
MOST_AWAITED = 500  # regions of libraries that did not come that are kept: some may have been replaced for good
MOST_COOLED = 500  # counters that are restarted one by one, in 2 us each; all of them take 1 ms
OWN = ("reference", "shadow")  # what a hart makes for itself when it is needed
REGION_SIZE = 500  # instructions, 0.1 to 0.2 s of compile time in the background


class Tier(Enum):
    """What executes the guest."""

    AUTO = "auto"  # the interpreter first, compiled regions where it is hot
    REFERENCE = "reference"
    INTERPRETER = "interpreter"
    COPIES = "copies"  # the interpreter, and everything hot copied from it, without the compiler
    JIT = "jit"  # as auto, but everything is hot


@dataclass
class Counters:
    """What --stats prints."""

    exits: Counter[str] = field(default_factory=Counter)
    regions: int = 0
    compiled_instructions: int = 0
    compiled_here: int = 0  # regions that LLVM made in this run
    cache_hits: int = 0
    refused: int = 0
    code_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # by stage of compilation
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stop:
    """Why the hart stopped; `pc` is where it would go on, `argument` as ExitReason says."""

    reason: ExitReason
    pc: int
    argument: int
    signal: int = 0  # the host's signal behind a fault
    cause: int | None = None  # exception code of a fault, where an MMU translates; the argument is its tval then


@dataclass(frozen=True)
class Calls:
    """System calls that native code may make: the request for it, and after how many that Python made."""

    request: tuple[Any, ...]
    descriptors: int
    after: int


class Shared:
    """What changes and is the same for all harts of a process."""

    def __init__(self) -> None:
        self.is_learned = True  # nothing was compiled since the program's file was read
        self.awaited: list[Kept] = []  # regions that earlier runs left whose code, a library's, is not mapped yet
        self.mapped: list[tuple[int, int]] = []  # start and size of what changed since those were looked for
        self.recalling = allocate_lock()  # held by who looks
        self.precise = False  # regions have all registers in the state at each access
        self.handles_faults = False  # the guest does
        self.only_interprets = False  # for a fault is to leave everything as it was: there are no regions
        self.looks_up = False  # regions look addresses up in a TLB, handlers do not
        self.calls: Calls | None = None  # that native code is to make, once it pays
        self.copies: Copies | None = None  # made when they are first wanted
        self.groups: set[int] = set()  # of handlers that are there
        self.unavailable: set[int] = set()  # and those that cannot be had
        self.references: list[Reference] = []
        self.retired = 0  # instructions of harts that are no more


class Hart:
    """`words` is the state, indexed by layout.word(name)."""

    def __init__(
        self,
        guest: Guest,
        memory: AddressSpace | Bus,
        service: Service,
        cache: Cache,
        settings: Settings,
        *,
        tier: Tier = Tier.AUTO,
        sync: bool = False,
        program: str = "",
    ) -> None:
        """program: what is run, if it learns from what earlier runs left in the cache and leaves something to later.

        memory: that of a process, or what a machine has, which the hart's `mmu` translates virtual addresses to.
        """
        self.guest = guest
        self.service = service
        self.cache = cache
        self.settings = settings
        self.tier = tier
        self.sync = sync
        self.program = program if tier is Tier.AUTO and settings.pgo else ""
        self.shared = Shared()
        self.counters = Counters()
        self._dumps_exits = settings.wants("exit")
        self.physical = memory
        self.space = memory if isinstance(memory, AddressSpace) else memory.memory  # what native code reaches
        self.native = Native(guest.layout, self.space, self._interpreter(cache))
        self.regions = Regions(self.native)
        self.jumps = Jumps(self.native, always_fresh=sync)
        self.written_code: dict[int, bytes] = {}  # page that is writable and executable -> content when first decoded
        self.decoded: set[int] = set()  # pages whose slots may be filled, where an MMU translates
        self.asked: set[int] = set()
        self.covered: set[int] = set()  # hot addresses that were in a region already
        self.extended: Counter[int] = Counter()  # how often regions were made anew, by the address they began with
        layout = guest.layout
        self._pc, self._instret, self._limit = map(layout.word, ("pc", "instret", "limit"))
        self._reason, self._arg, self._access_slot = map(layout.word, ("reason", "arg", "access_slot"))
        self._rounding = layout.word(layout.rounding) if layout.rounding else None
        self._threshold = {Tier.AUTO: HOT_AUTO, Tier.COPIES: HOT_COPIES, Tier.JIT: HOT_JIT}.get(tier, AGAIN)
        self.native.set_heat(self._threshold)
        self.space.code_changed = self.code_changed
        self._take_state(self.native.state)

    def _take_state(self, state: State) -> None:
        self.state = state
        self.words = state.words
        self.mmu: Mmu | None = None
        self.memory = self._reach(self.physical)
        self.interrupts = Interrupts(self.native, state)
        self._handlers: dict[ExitReason, Callable[[int, int], Stop | None]] = {
            ExitReason.LIMIT: self._limited,
            ExitReason.HOT: self._hot,
            ExitReason.UNDECODED: self._undecoded,
            ExitReason.EMULATE: self._emulate,
            ExitReason.FLUSH_CODE: self._flush_code,
            ExitReason.ROUNDING: self._rounding_changed,
            ExitReason.HOST_FAULT: self._host_fault,
            ExitReason.MISSING: self._missing,
        }
        if self.shared.calls is not None:
            self._handlers[ExitReason.SYSCALL] = self._count_call

    def sibling(self) -> Hart:
        """Another hart of the process, for another host thread; it begins with the registers of this one."""
        made = copy(self)
        for name in OWN:
            vars(made).pop(name, None)
        made._take_state(self.native.add_state(self.state))
        made.words[self._instret] = 0
        self.native.set_heat(self._threshold)
        if self.shared.handles_faults:
            self.make_precise()
        return made

    def begin(self) -> None:
        """From now on the current host thread runs this hart."""
        self.state.begin()

    def end(self) -> None:
        """This hart is no more, and others go on."""
        if self.tlb is not None:
            self.tlb.close()
        with self.native.exclusive:
            self.shared.retired += self.words[self._instret]
            self.native.remove_state(self.state)

    def _reach(self, memory: AddressSpace | Bus) -> AddressSpace | VirtualMemory:
        """Memory as programs see it; makes the TLB and what it is filled from."""
        if self.settings.memory == "flat":
            if not isinstance(memory, AddressSpace):
                raise SettingsError("a machine's memory is reached through a TLB: the settings must have memory='tlb'")
            return memory
        from vmjit.memory.mmu import Mmu, VirtualMemory

        tlb = self._add_tlb(self.state)
        if isinstance(memory, AddressSpace):
            tlb.follow(memory)
            return memory
        self.mmu = Mmu(tlb, memory)
        return VirtualMemory(self.mmu)

    def _add_tlb(self, state: State) -> Tlb:
        from vmjit.memory.tlb import Tlb, geometry

        state.tlb = made = Tlb(self.guest.layout, state.words, geometry(self.settings.tlb))
        return made

    def _interpreter(self, cache: Cache) -> Blob:
        found = cache.get(interpreter_key(self.settings.model))
        if found is None:
            found = Blob.from_bytes(self.service.wait(("interpreter",)))
        return found

    @cached_property
    def reference(self) -> Reference:
        return self._reference(self.words)

    def _reference(self, words: memoryview) -> Reference:
        from vmjit.engine.reference import Reference

        made = Reference(self.guest, self.memory, words)
        self.shared.references.append(made)
        return made

    def make_calls(self, calls: tuple[Call, ...], descriptors: int, count: int, after: int = 0) -> None:
        """Let native code make these system calls itself, on descriptors that a table of `count` bytes allows.

        All others stop the hart as ever; if the code cannot be had, all do. What is not in the cache is made now, or
        in the background when `after` calls have stopped the hart: most programs make few.
        """
        from vmjit.errors import CompileError

        self.shared.calls = made = Calls(("calls", count, calls), descriptors, after)
        found = self.cache.get(calls_key(count, calls))
        if found is not None:
            self._take_calls(True, found.to_bytes())
        elif after:
            self._handlers[ExitReason.SYSCALL] = self._count_call
        else:
            try:
                self._take_calls(True, self.service.wait(made.request))
            except CompileError as error:
                self._take_calls(False, str(error))

    def _count_call(self, pc: int, argument: int) -> Stop:
        calls = self.shared.calls
        if calls is None:
            del self._handlers[ExitReason.SYSCALL]
        elif self.counters.exits["SYSCALL"] >= calls.after:
            del self._handlers[ExitReason.SYSCALL]
            self.service.submit(calls, lambda: calls.request, self._take_calls)
        return Stop(ExitReason.SYSCALL, pc, argument)

    def _take_calls(self, worked: bool, result: Any) -> None:
        """The code of system calls, or why there is none."""
        with self.native.exclusive, self.regions.lock:
            calls, self.shared.calls = self.shared.calls, None
            if calls is None:
                return
            if worked:
                self.native.place_calls(Blob.from_bytes(result), calls.descriptors)
            else:
                self.counters.failures.append(f"system calls: {result}")

    # Running.

    def run(self) -> Stop:
        """Run guest code from the state's pc until something happens that the world must answer."""
        if self.tier is Tier.REFERENCE:
            return self._run_reference()
        if self.shared.mapped:
            self._recall_mapped()
        stop = self._check_resumption()
        if stop is not None:
            return stop
        enter = self.state.enter
        while True:
            enter()
            stop = self.act()
            if stop is not None:
                return stop

    def _check_resumption(self) -> Stop | None:
        """Native code relies on a pc that is one and a rounding mode of the host; the world may have set others."""
        pc = self.words[self._pc]
        if pc >> ADDRESS_BITS or pc % self.guest.alignment:
            return Stop(ExitReason.FAULT, pc, pc)
        if self._rounding is not None and self.words[self._rounding] >= HOST_ROUNDINGS:
            return self._rounding_changed(0, 0)
        return None

    def act(self) -> Stop | None:
        """Deal with the exit that guest code has just taken; a stop if the world must."""
        words = self.words
        if self.state.tlb is not None:
            self.state.tlb.settle()
        reason = ExitReason(words[self._reason])
        self.counters.exits[reason.name] += 1
        if self._dumps_exits and self.settings.selects(words[self._pc]):
            self.settings.dump("exit", f"{reason.name.lower()} at {words[self._pc]:#x}, {words[self._arg]:#x}")
        handle = self._handlers.get(reason)
        if handle is None:
            return self._fetch_fault(reason, words[self._pc], words[self._arg])
        stop = handle(words[self._pc], words[self._arg])
        if stop is not None:
            words[self._pc] = stop.pc
        return stop

    def make_precise(self, *, files: bool = True) -> None:
        """From now on all registers are exact at a fault, because the guest may look at them; the guest is not running.

        Without it, pc and address are exact, and registers that a region holds are those of its entry. Regions look
        addresses up in a TLB then, and leave before an access that would fault. Behind a lookup may be a page of a file
        that got shorter, or one whose rights another thread takes away just then: where that is to be exact, too
        (`files`, or there are threads), regions have all registers in the state at each access, which takes twice the
        time.
        """
        shared = self.shared
        shared.handles_faults = True
        behind = files or len(self.native.states) > 1
        if shared.precise or (not behind and (shared.looks_up or self.settings.memory == "tlb")):
            return
        shared.precise = behind or not self._look_up()
        self.regions.clear()
        self.forget_asked()
        self.native.set_heat(self._threshold)
        self.recall()

    def interpret(self, only: bool) -> None:
        """Whether to do without regions, so that an access that faults can be made again; the guest is not running."""
        self.shared.only_interprets = only
        if only:
            self.regions.clear()
        else:
            self.forget_asked()
            self.native.set_heat(self._threshold)

    def _look_up(self) -> bool:
        """Let regions have a TLB, each hart its own; False if what fills it cannot be had."""
        from vmjit.errors import CompileError

        try:
            found = self.cache.get(REFILL_KEY) or Blob.from_bytes(self.service.wait(("refill",)))
            with self.native.exclusive, self.regions.lock:
                self.native.place_refill(found)
        except (CompileError, ValueError) as error:
            self.counters.failures.append(f"refill: {error}")
            return False
        for state in tuple(self.native.states):
            self._add_tlb(state).follow(self.space)
        self.shared.looks_up = True
        return True

    @property
    def tlb(self) -> Tlb | None:
        """What accesses go through, or those of regions only."""
        return self.state.tlb

    @property
    def region_memory(self) -> str:
        """As Settings.memory, for regions."""
        return "tlb" if self.shared.looks_up and not self.shared.precise else self.settings.memory

    def stop(self) -> None:
        """Make run() of all harts return soon, from any thread."""
        with self.native.exclusive:  # or one may end
            for state in self.native.states:
                state.set_limit(0)

    def set_limit(self, instructions: int | None) -> None:
        """run() stops at the first jump after that many instructions of this hart from its start."""
        self.state.set_limit(FOREVER if instructions is None else instructions)

    def interrupt(self) -> None:
        """Make run() return soon with reason INTERRUPT, once, from any thread; what waits in the host gets EINTR."""
        self.state.want()

    @property
    def instructions(self) -> int:
        """Retired so far by all harts; what regions count is exact at their exits."""
        with self.native.exclusive:
            return self.shared.retired + sum(state.words[self._instret] for state in self.native.states)

    def _limited(self, pc: int, _: int) -> Stop | None:
        """The limit is reached, or a signal set it to 0, or another thread for a while or to tell us something."""
        state = self.state
        with self.native.exclusive:
            if state.is_wanted:
                state.is_wanted = False
                state.admit()
                return Stop(ExitReason.INTERRUPT, pc, 0)
        if self.interrupts.waiting:
            return Stop(ExitReason.INTERRUPT, pc, 0)
        if self.words[self._instret] >= state.limit:
            return Stop(ExitReason.LIMIT, pc, 0)
        return None

    def _run_reference(self) -> Stop:
        while True:
            if self.words[self._instret] >= self.words[self._limit]:  # also after what is dealt with here
                stop = self._limited(self.words[self._pc], 0)
                if stop is not None:
                    return stop
            reason, pc, argument = self.reference.run()
            self.counters.exits[reason.name] += 1
            if reason is ExitReason.FLUSH_CODE:
                self.reference.forget()
            elif reason not in (ExitReason.ROUNDING, ExitReason.LIMIT):
                return self._fetch_fault(reason, pc, argument)

    def _fetch_fault(self, reason: ExitReason, pc: int, argument: int) -> Stop:
        """Code that may not be executed is a fault at its own address."""
        if reason in (ExitReason.UNDECODED, ExitReason.FETCH):
            return self._fault(pc, argument if reason is ExitReason.UNDECODED else pc, EXECUTE)
        if reason is ExitReason.FAULT:
            return Stop(reason, pc, argument, cause=self.reference.cause)
        return Stop(reason, pc, argument)

    def _fault(self, pc: int, address: int, permissions: int) -> Stop:
        """A refused access."""
        cause = None
        if self.mmu is not None:
            from vmjit.memory.mmu import TranslationFault

            try:
                self.memory.read(address, 1, permissions)
            except TranslationFault as fault:
                cause = fault.cause
        return Stop(ExitReason.FAULT, pc, address, cause=cause)

    # Exits that are dealt with here: None to go on.

    def _undecoded(self, pc: int, address: int) -> Stop | None:
        with self.space.lock:  # another thread may be unmapping it
            permissions = self.memory.permissions(address)
            if permissions is None or not permissions & EXECUTE:
                return self._fault(pc, address, EXECUTE)
            page = address >> PAGE_BITS
            if permissions & WRITE:
                try:
                    self.written_code[page] = self.memory.read(page << PAGE_BITS, PAGE_SIZE, EXECUTE)
                except MemoryAccessError:  # behind the end of the file that is mapped there
                    return Stop(ExitReason.FAULT, pc, address, signal.SIGBUS)
            self.native.allow_decoding(page)
            if self.mmu is not None:
                self.decoded.add(page)
        return None

    def _emulate(self, pc: int, _: int) -> Stop | None:
        if self.settings.wants("unimplemented"):
            self.settings.dump("unimplemented", f"{pc:#x}: executed by the reference evaluator")
        reason, target, argument = self.reference.step(pc)
        if reason is None:
            self.words[self._pc] = target
            return None
        handle = self._handlers.get(reason)
        if handle is None or reason is ExitReason.UNDECODED:
            return self._fetch_fault(reason, target, argument)
        self.words[self._pc] = target
        return handle(target, argument)

    def _missing(self, pc: int, entry: int) -> Stop | None:
        """Get the handlers of a group, from the cache or made now; the instruction is decoded again and finds its."""
        from vmjit.errors import CompileError

        self.native.set_code(pc, 0)
        if self.words[self._access_slot] != self.native.slots.base + pc * SLOT_SCALE:
            return None  # another hart decoded it, so `entry` is not its
        group = self.native.group_of(entry)
        if group in self.shared.groups:
            return None
        if group in self.shared.unavailable:
            return self._emulate(pc, 0)
        try:
            found = self.cache.get(handlers_key(self.settings.model, group))
            if found is None:
                found = Blob.from_bytes(self.service.wait(("handlers", group)))
            with self.regions.lock:
                if group not in self.shared.groups:
                    self.native.place_handlers(found)
                    self.shared.groups.add(group)
        except (CompileError, ValueError) as error:
            self.shared.unavailable.add(group)
            self.counters.failures.append(f"handlers {group}: {error}")
            return self._emulate(pc, 0)
        return None

    def _flush_code(self, pc: int, _: int) -> Stop | None:
        """Instruction fence: only pages that the guest can write may have changed unseen."""
        for page, content in tuple(self.written_code.items()):
            if self._code(page << PAGE_BITS, PAGE_SIZE) not in (content, None):
                self.code_changed(page << PAGE_BITS, PAGE_SIZE)
        return None

    def _rounding_changed(self, pc: int, _: int) -> Stop | None:
        """While a mode is in force that the host lacks, the reference evaluator executes everything."""
        assert self._rounding is not None
        while self.words[self._rounding] >= HOST_ROUNDINGS:
            reason, target, argument = self.reference.run()
            if reason is ExitReason.FLUSH_CODE:
                self.code_changed_everywhere()
            elif reason is not ExitReason.ROUNDING:
                return self._fetch_fault(reason, target, argument)
        return None

    def _host_fault(self, _: int, number: int) -> Stop | None:
        layout, words = self.guest.layout, self.words
        address = words[layout.word("fault_address")] - self.space.base
        code = words[layout.word("fault_code")] - self.native.arena.base
        if code in self.native.calls:  # on an address that the guest passed; nothing was done
            self.state.left()
            return Stop(ExitReason.SYSCALL, words[self._pc], 0)
        in_region = code >= INTERPRETER_SIZE
        if in_region:
            pc, before = self.regions.pc_at(code), 0
        else:
            pc, before = (words[self._access_slot] - self.native.slots.base) // SLOT_SCALE, 0
            if code >= HANDLERS_SIZE and self.shared.copies is not None:
                ahead, before = self.shared.copies.place_of(code)
                pc += ahead
        if self.shared.precise or not in_region:
            words[self._instret] = words[layout.word("access_instret")] + before
        self.state.left()
        return Stop(ExitReason.FAULT, pc, address % (1 << 64), number)

    def _hot(self, pc: int, _: int) -> Stop | None:
        self.native.cool(pc, AGAIN)
        interprets = self.tier is Tier.INTERPRETER or self.shared.only_interprets
        if interprets or pc in self.asked or self.native.code_of(pc) >= INTERPRETER_SIZE:
            if self.tier is Tier.JIT:
                self.native.cool(pc, AGAIN_JIT)  # other targets share the counter
            elif pc in self.asked and not self.sync:
                self.service.prefer(pc)  # it was executed AGAIN times while others were compiled
            return None
        if self.regions.is_full:
            self.regions.clear()
            self.forget_asked()
        if not self.native.may_decode(pc >> PAGE_BITS):
            self.native.cool(pc, self._threshold)  # nothing of it ran yet
            return self._undecoded(pc, pc)
        if self.tier is Tier.COPIES:
            self._copy(pc)
            return None
        self.asked.add(pc)
        epoch, replaced = self.regions.epoch, []  # type: int, list[Placed]
        stored = self.cache.find_region(pc, self._code, self.variant)
        if stored is not None:
            self.counters.cache_hits += 1
            self._place(pc, stored, epoch)
        elif self.sync:
            self._compile_now(pc)
        else:
            if self.tier is Tier.AUTO:
                self._copy(pc)
            self.service.submit(
                pc,
                lambda: self._request_if_wanted(pc, epoch, replaced),
                lambda worked, result: self._take(pc, epoch, worked, result, replaced),
            )
        if self.tier is Tier.JIT:
            self.native.cool(pc, HOT_JIT)
        return None

    def _copy(self, pc: int) -> None:
        """Let an address execute from a copy of its handlers."""
        with self.regions.lock:
            if self.regions.has_ended:
                return
            if self.shared.copies is None:
                from vmjit.engine.copies import Copies

                self.shared.copies = Copies(self.native)
                self.regions.forgotten = self.shared.copies.forget
            group = self.shared.copies.copy(pc)
        if group is None:
            return
        request = "stencils", group
        found = self.cache.get(stencils_key(self.settings.model, group))
        if found is not None:
            self._take_stencils(group, True, found.to_bytes())
        elif self.sync:
            self._wait_for_stencils(group)
        else:
            done = partial(self._take_stencils, group)
            self.service.submit(request, lambda: request, done, first=True)

    def _wait_for_stencils(self, group: int) -> None:
        from vmjit.errors import CompileError

        try:
            self._take_stencils(group, True, self.service.wait(("stencils", group)))
        except CompileError as error:
            self._take_stencils(group, False, str(error))

    def _take_stencils(self, group: int, worked: bool, result: Any) -> None:
        """The stencils of a group of handlers, or why there are none."""
        from vmjit.engine.stencils import Stencils

        copies = self.shared.copies
        assert copies is not None
        try:
            if not worked:
                raise ValueError(result)
            with self.regions.lock:
                if not self.regions.has_ended:
                    copies.add(Stencils.from_blob(Blob.from_bytes(result)))
        except ValueError as error:
            self.counters.failures.append(f"stencils {group}: {error}")
        with self.regions.lock:
            waiting = copies.settle(group)
        for pc in waiting:
            self._copy(pc)

    def _code(self, address: int, size: int) -> bytes | None:
        """Guest code; None when it is not all executable. Its pages count as decoded from now on."""
        with self.space.lock:
            if not self.memory.accessible(address, size, EXECUTE):
                return None
            for page in range(address >> PAGE_BITS, ((address + size - 1) >> PAGE_BITS) + 1):
                if not self.native.may_decode(page):
                    self._undecoded(page << PAGE_BITS, page << PAGE_BITS)
            try:
                return self.memory.read(address, size, EXECUTE)
            except MemoryAccessError:  # behind the end of the file that is mapped there
                return None

    def _compile_now(self, pc: int) -> None:
        from vmjit.errors import CompileError

        epoch, replaced = self.regions.epoch, []  # type: int, list[Placed]
        request = self._request_if_wanted(pc, epoch, replaced) if self.tier is Tier.AUTO else self._request(pc)
        if request is None:
            return
        try:
            self._take(pc, epoch, True, self.service.wait(request), replaced)
        except CompileError as error:
            self._take(pc, epoch, False, str(error), replaced)

    def _request_if_wanted(self, pc: int, epoch: int, replaced: list[Placed]) -> tuple[Any, ...] | None:
        """The request when its turn comes: code may have changed since, or be in a region made in the meantime.

        A region that the one asked for takes the place of is added to `replaced`.
        """
        if self.regions.changed_since(epoch, ((pc, pc + 1),)):
            return None
        covering = self.regions.covering(pc)
        if covering and pc not in self.covered:
            self.covered.add(pc)  # if it gets hot once more, that region does not serve it
            self.asked.discard(pc)
            self.native.cool(pc, AGAIN)
            return None
        host = self._to_extend(pc, covering)
        if host is None:
            return self._request(pc)
        replaced.append(host)
        self.extended[host.pc] += 1
        entries = [entry for entry in host.region.entries if self.native.code_of(entry) == host.code]
        return self._request(host.pc, (*entries, pc) if covering else tuple(entries))

    def _to_extend(self, pc: int, covering: list[Placed]) -> Placed | None:
        """The region that is made anew to serve a hot address, as an entry or behind what was an exit so far.

        The regions that there are then do not grow in number, each with a copy of the code that they share.
        """
        if self.tier is not Tier.AUTO:
            return None
        found = [
            placed
            for placed in covering or self.regions.leading_to(pc)
            if self.extended[placed.pc] < MOST_EXTENSIONS
            and self.native.code_of(placed.pc) == placed.code
            and (covering or placed.region.instructions < REGION_SIZE)
        ]
        return max(found, key=lambda placed: placed.region.instructions, default=None)

    # Compilation.

    def _request(self, pc: int, entries: tuple[int, ...] = ()) -> tuple[Any, ...]:
        """A request for the worker: the code around a hot address, what of it was ever executed, where its jumps went.

        Code that jumps in the neighbourhood led to belongs to it, and what that led to.
        """
        jumps = {} if self.tier is Tier.JIT else self.jumps.by_page()
        pages = self._neighbours(pc)
        for _ in range(CALL_DEPTH):
            for page in sorted(pages, key=lambda page: abs(page - (pc >> PAGE_BITS))):
                for _, target in jumps.get(page, ()):
                    if target >> PAGE_BITS not in pages and len(pages) < MOST_PAGES:
                        pages |= self._neighbours(target)
        chunks = []
        for page in sorted(pages):
            start = page << PAGE_BITS
            executed = b"" if self.tier is Tier.JIT else self._executed(page)
            ways = self.native.branches(start, PAGE_SIZE) if executed else b""
            text = self._code(start, PAGE_SIZE)
            if text is not None:
                chunks.append((page, text, executed, ways))
        known = [jump for page in sorted(pages) for jump in jumps.get(page, ())]
        return "region", pc, chunks, known, REGION_SIZE, self.shared.precise, entries, self.region_memory

    def _executed(self, page: int) -> bytes:
        """Native.executed of a page; what regions were made from counts too, as regions of earlier runs may have it."""
        found = bytearray(self.native.executed(page << PAGE_BITS, PAGE_SIZE))
        for start, end in self.regions.in_page(page):
            size = (end - start) * SLOT_WORD
            found[start * SLOT_WORD : end * SLOT_WORD] = b"\1" * size
        return bytes(found)

    def _neighbours(self, pc: int) -> set[int]:
        """The pages of code around an address that follow each other and were executed."""
        first = last = pc >> PAGE_BITS
        while first > max(0, (pc >> PAGE_BITS) - NEIGHBOURHOOD) and self.native.may_decode(first - 1):
            first -= 1
        while last < (pc >> PAGE_BITS) + NEIGHBOURHOOD and self.native.may_decode(last + 1):
            last += 1
        return set(range(first, last + 1)) if self.native.may_decode(pc >> PAGE_BITS) else set()

    def _take(self, pc: int, epoch: int, worked: bool, result: Any, replaced: list[Placed]) -> None:
        """Take in what the worker made. Runs in the service's thread unless compiling is synchronous."""
        counters = self.counters
        if not worked:
            counters.failures.append(f"{pc:#x}: {result}")
            return
        if result is None:
            counters.refused += 1
            return
        data, seconds, cached = result
        began = perf_counter()
        region = Region.from_bytes(data)
        for host in replaced:
            self._place(host.pc, region, epoch, instead=host)
            self._dismiss(pc)
        if not replaced:
            self._place(pc, region, epoch)
        counters.cache_hits += cached
        counters.compiled_here += not cached
        for stage, spent in seconds.items():
            counters.seconds[stage] += spent
        counters.seconds["load"] += perf_counter() - began

    def _place(
        self,
        pc: int,
        region: Region,
        epoch: int,
        entries: tuple[int, ...] | None = None,
        instead: Placed | None = None,
    ) -> None:
        """Place a region, unless its code has changed since it was made of it or compared with it in this epoch."""
        with self.regions.lock:
            is_late = self.regions.changed_since(epoch, region.ranges) or self.shared.only_interprets
            placed = None if is_late else self.regions.place(pc, region, entries, instead)
        if is_late:
            self._dismiss(pc)
        if placed is not None:
            self.shared.is_learned = False
            self.counters.regions += 1
            self.counters.compiled_instructions += region.instructions
            self.counters.code_bytes += len(region.blob.code)

    def _dismiss(self, pc: int) -> None:
        """It may be asked for again. Not under the lock of the regions: whoever stops harts takes theirs first."""
        self.asked.discard(pc)
        self.native.cool(pc, self._threshold)

    def begin_as_child(self) -> None:
        """What was asked for will not come; the guest was forked."""
        self.native.keep_only(self.state)
        self.shared.recalling = allocate_lock()  # another thread may have held it
        if self.tlb is not None:
            self.tlb.stay_alone()
        self.forget_asked()
        if self.shared.copies is not None:
            self.shared.copies.forget_asked()
        if self.shared.calls is not None:
            self._handlers[ExitReason.SYSCALL] = self._count_call

    def forget_asked(self) -> None:
        """Whatever gets hot may be asked for again."""
        self.asked.clear()
        self.covered.clear()
        self.extended.clear()

    # What runs of a program leave to the next.

    @property
    def variant(self) -> str:
        """See cache.variant."""
        model = self.settings.model if self.settings.memory == "tlb" else self.region_memory
        return variant(model, self.settings.passes_text, self.shared.precise)

    def recall(self) -> None:
        """Place the regions that the last run of the program ended with, those whose code is there by now."""
        if not self.program:
            return
        left = self.cache.get_program(self.program, self.variant)
        with self.shared.recalling:
            self.shared.awaited, self.shared.mapped = self._recall(left.regions), []
        self.native.note_jumps(left.jumps)
        self.shared.is_learned = True

    def _recall(self, left: Iterable[Kept]) -> list[Kept]:
        """Place those whose code is there; returns those for which there is none at all."""
        absent = []
        for kept in left:
            epoch = self.regions.epoch
            name = name_of(kept.pc, kept.region, self._code, self.variant)
            if name is None:
                absent.append(kept)
            elif name == kept.name:
                self.asked.add(kept.pc)
                self.counters.cache_hits += 1
                self._place(kept.pc, kept.region, epoch, kept.entries)
        return absent

    def _recall_mapped(self) -> None:
        """A library may have come that regions were left for."""
        shared = self.shared
        with shared.recalling:
            changed, shared.mapped = shared.mapped, []
            is_learned = shared.is_learned
            come, still = [], []  # type: list[Kept], list[Kept]
            for kept in shared.awaited:
                touched = any(a < start + size and start < b for a, b in kept.region.ranges for start, size in changed)
                (come if touched else still).append(kept)
            shared.awaited = still + self._recall(come)
            shared.is_learned = is_learned

    def learn(self) -> None:
        """Leave the regions in use to the next run, if some are new; the guest is not running any more."""
        if not self.program or self.shared.is_learned:
            return
        regions = []
        for placed, entries in self.regions.entered():
            name = name_of(placed.pc, placed.region, self._code, self.variant)
            if name is not None:
                regions.append(Kept(placed.pc, name, entries, placed.region))
        known = {kept.name for kept in regions}
        of_others = [kept for kept in self.shared.awaited if kept.name not in known]  # libraries that other runs loaded
        regions += of_others[:MOST_AWAITED]
        left = Program(tuple(regions), tuple(self.native.jumps()), self.program)
        self.cache.put_program(self.program, self.variant, left)

    # Translation that changes, for a machine: the guest is not running.

    def set_translation(self, settings: Translation) -> None:
        """Write satp, or what else decides how addresses are translated; code is decoded anew where it leads to."""
        assert self.mmu is not None, "a process has no page table"
        if settings.context != self.mmu.settings.context:
            self._forget_decoded()
        self.mmu.set(settings)

    def fence_translation(self, vaddr: int | None = None, asid: int | None = None) -> None:
        """SFENCE.VMA: translations of an address or all, in an address space or all, are looked up again."""
        assert self.mmu is not None, "a process has no page table"
        self.mmu.fence(vaddr, asid)
        if vaddr is None:
            self._forget_decoded()
        elif vaddr >> ADDRESS_BITS == 0:
            self.code_changed(vaddr, 1)

    def _forget_decoded(self) -> None:
        """Slots belong to virtual addresses."""
        for page in self.decoded:
            self.code_changed(page << PAGE_BITS, PAGE_SIZE)
        self.decoded.clear()
        self.reference.forget()

    # Code that changes.

    def code_changed(self, start: int, size: int) -> None:
        """Forget what was made from these whole pages."""
        start, size = _whole_pages(start, size)
        if self.shared.awaited:
            self.shared.mapped.append((start, size))
        self._ask_again(start, start + size, self.regions.invalidate(start, size))
        self._forget_traces()
        for page in tuple(self.written_code):
            if start <= page << PAGE_BITS < start + size:
                self.written_code.pop(page, None)

    def _ask_again(self, start: int, end: int, went: list[Placed]) -> None:
        """What was asked for in a range of code that changed, and in regions that went with it."""
        spans = [(start, end), *[span for placed in went for span in placed.region.ranges]]
        known = {*self.asked, *self.covered, *self.extended}
        forgotten = {pc for pc in known if any(first <= pc < last for first, last in spans)}
        self.asked -= forgotten
        self.covered -= forgotten
        for pc in forgotten:
            self.extended.pop(pc, None)
        if self.tier is Tier.COPIES or len(forgotten) > MOST_COOLED:  # nobody knows what was copied
            self.native.set_heat(self._threshold)
        else:
            for pc in forgotten:
                self.native.cool(pc, self._threshold)

    def _forget_traces(self) -> None:
        for reference in tuple(self.shared.references):
            reference.forget()

    def code_changed_everywhere(self) -> None:
        """After an instruction fence, all pages that the guest can write."""
        self._flush_code(0, 0)
        self._forget_traces()

    def close(self) -> None:
        """Give back the memory; the guest must not be running."""
        with self.regions.lock:
            self.shared.calls = None
            self.regions.end()
        if self.tlb is not None:
            self.tlb.close()
        self.native.close()


def _whole_pages(start: int, size: int) -> tuple[int, int]:
    first = start >> PAGE_BITS << PAGE_BITS
    end = -(-(start + size) >> PAGE_BITS) << PAGE_BITS
    return first, end - first
