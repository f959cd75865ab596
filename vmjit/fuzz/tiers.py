"""Runs programs in the tiers of the engine, in this process: one hart for each tier, used again for each program.

Memory and slots are forgotten in between as they are when a guest's code changes, which is tried by that as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from vmjit.debug import Settings
from vmjit.engine.cache import Cache, handlers_key, interpreter_key, stencils_key
from vmjit.engine.hart import Counters, Hart, Stop, Tier
from vmjit.engine.worker import Worker
from vmjit.errors import CompileError
from vmjit.fuzz.end import DEFAULT_LIMIT, End
from vmjit.fuzz.program import CODE, CODE_SIZE, CONSTANT, CONSTANT_SIZE, DATA, DATA_SIZE, MASK, Program
from vmjit.guest import Guest, get
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import JUMP_ENTRIES, JUMP_OFFSET
from vmjit.memory.address_space import EXECUTE, READ, WRITE, AddressSpace

if TYPE_CHECKING:
    from vmjit.engine.service import Done, Make, Service

TIERS = tuple(tier.value for tier in Tier)
NO_SUCH_CALL = -38  # ENOSYS: what every system call of a program answers
DEFAULT_SETTINGS = Settings()
NO_JUMPS = memoryview(bytes(16 * JUMP_ENTRIES)).cast("Q")  # none that the interpreter remembers
NO_RESERVATION = MASK  # no address is that


class Compiling:
    """The compile service without its process: the caller does the work, and gets it when it submits something else."""

    def __init__(self, guest: Guest, settings: Settings) -> None:
        self.cache = Cache(settings.cache_dir, guest.name)  # for the interpreter only: no region comes twice
        self.settings = settings
        self.worker = Worker(guest, Cache(None, ""), settings)
        self.waiting: list[tuple[tuple[Any, ...], Done]] = []

    @cached_property
    def maker(self) -> Worker:
        """Of the interpreter."""
        return Worker(self.worker.guest, self.cache, self.settings)

    def interpreter(self, kind: str, *group: int) -> bytes:
        """Its core, or of a group handlers or stencils."""
        keys: dict[str, Callable[..., str]] = {
            "interpreter": interpreter_key,
            "handlers": handlers_key,
            "stencils": stencils_key,
        }
        found = self.cache.get(keys[kind](self.settings.model, *group))
        made: bytes = getattr(self.maker, kind)(*group) if found is None else found.to_bytes()
        return made

    def prefer(self, key: Any) -> None:
        """Nothing overtakes here."""

    def submit(self, key: Any, make: Make, done: Done, *, first: bool = False) -> None:
        request = make()
        if first:
            assert request is not None
            done(True, self.wait(request))
        elif request is not None:
            self.waiting.append((request, done))
        if len(self.waiting) > 1:
            request, done = self.waiting.pop(0)
            done(True, self.wait(request))

    def wait(self, request: tuple[Any, ...]) -> Any:
        kind, *arguments = request
        if kind != "region":
            return self.interpreter(kind, *arguments)
        return self.worker.region(*arguments)


class FuzzedHart(Hart):
    """Each program chooses when `auto` compiles: after how many jumps, and whether it waits for the region."""

    def choose(self, program: Program) -> None:
        self.shared.precise = program.precise
        self.native.state.area.words(JUMP_OFFSET, 2 * JUMP_ENTRIES)[:] = NO_JUMPS
        if self.tier is Tier.AUTO:
            self._threshold = program.hot
            self.sync = not program.late


class Bench:
    """One tier's hart and memory."""

    def __init__(self, tier: Tier, compiling: Service, settings: Settings) -> None:
        self.tier = tier
        self.memory = AddressSpace()
        self.memory.map(CODE, CODE_SIZE, READ | WRITE)
        self.memory.map(DATA, DATA_SIZE, READ | WRITE)
        self.memory.map(CONSTANT, CONSTANT_SIZE, READ)
        guest = get("riscv64")
        self.hart = FuzzedHart(guest, self.memory, compiling, Cache(None, ""), settings, tier=tier, sync=True)
        layout = guest.layout
        self.words = {name: layout.word(name) for name in (*layout.registers(), "instret")}
        self.pc, self.result = layout.word("pc"), layout.word(guest.syscall.result)

    def prepare(self, program: Program, limit: int) -> None:
        """Put everything that the program sees in the state it begins with."""
        memory, hart = self.memory, self.hart
        memory.protect(CODE, CODE_SIZE, READ | WRITE)
        memory.write(CODE, program.image)
        memory.write(DATA, program.data[:DATA_SIZE])
        memory.protect(CONSTANT, CONSTANT_SIZE, READ | WRITE)
        memory.write(CONSTANT, program.data[DATA_SIZE:])
        memory.protect(CONSTANT, CONSTANT_SIZE, READ)
        hart.choose(program)
        hart.counters = Counters()
        memory.protect(CODE, CODE_SIZE, READ | EXECUTE | (WRITE if program.writable else 0))
        for name, word in self.words.items():
            hart.words[word] = program.registers.get(name, 0)
        hart.words[self.words["reserved_address"]] = NO_RESERVATION
        hart.words[self.pc] = CODE
        hart.set_limit(limit)

    def run(self, program: Program, limit: int = DEFAULT_LIMIT) -> End:
        """How the program ends, or where it is after `limit` instructions."""
        self.prepare(program, limit)
        stop, calls = self.hart.run(), 0
        while stop.reason is ExitReason.SYSCALL:
            calls += 1
            self.hart.words[self.result] = NO_SUCH_CALL & MASK
            stop = self.hart.run()
        if self.hart.counters.failures:
            raise CompileError("; ".join(self.hart.counters.failures))
        return self.end(stop, calls)

    def end(self, stop: Stop, calls: int) -> End:
        words = self.hart.words
        registers = {name: words[word] for name, word in self.words.items() if name not in self.unknown(stop)}
        memory = self.memory.read(CODE, CODE_SIZE) + self.memory.read(DATA, DATA_SIZE + CONSTANT_SIZE)
        return End(stop.reason.name, stop.pc, stop.argument, registers, memory, calls)

    def unknown(self, stop: Stop) -> Collection[str]:
        """The registers that need not be exact where a region faults."""
        if not stop.signal or not self.hart.counters.regions:
            return ()
        return () if self.hart.shared.precise else self.words

    def close(self) -> None:
        self.hart.close()
        self.memory.close()


class Benches:
    """All tiers asked for, by name."""

    def __init__(self, tiers: Iterable[str] = TIERS, settings: Settings = DEFAULT_SETTINGS) -> None:
        self.compiling = Compiling(get("riscv64"), settings)
        service = cast("Service", self.compiling)
        self.by_tier = {tier: Bench(Tier(tier), service, settings) for tier in tiers}

    def run(self, tier: str, program: Program, limit: int = DEFAULT_LIMIT) -> End:
        self.compiling.waiting.clear()
        return self.by_tier[tier].run(program, limit)

    def close(self) -> None:
        for bench in reversed(self.by_tier.values()):  # each hands on faults to the one made before it
            bench.close()
