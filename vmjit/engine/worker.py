"""The compile worker: a child process that turns requests on standard input into code on standard output.

LLVM holds one lock for all threads and ends the process when it meets what it calls a fatal error, so it does not live
in the process of the guest. Messages are marshalled tuples with their size in front; standard error is the log.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import sys
from array import array
from collections.abc import Callable
from functools import cached_property
from struct import Struct
from time import perf_counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from vmjit.debug import Settings, wants_traceback
from vmjit.engine.cache import (
    REFILL_KEY,
    Cache,
    Region,
    calls_key,
    handlers_key,
    interpreter_key,
    region_key,
    stencils_key,
    variant,
)
from vmjit.engine.code import Code
from vmjit.errors import VmjitError
from vmjit.ir.layout import EMULATED
from vmjit.jit.blob import ALIGNMENT, Blob

if TYPE_CHECKING:
    from vmjit.codegen.calls import Call
    from vmjit.engine.code import Chunk
    from vmjit.engine.formation import Former
    from vmjit.engine.interpreter import Interpreter
    from vmjit.engine.trace import Tracer
    from vmjit.guest import Guest
    from vmjit.jit.compiler import Compiler

# Symbols of the interpreter's core that the host looks up; the names of handlers would only cost time at every start.
INTERPRETER_SYMBOLS = (
    *(
        "enter",
        "fault",
        "cold",
        "leave",
        "syscall",
        "previous",
        "signal",
        "illegal",
        "emulate",
        "missing",
        "handlers",
        "groups",
    ),
    *("interrupt", "gate", "key", "pthread_setspecific", "pthread_getspecific", "exchange32", "exchange64"),
    *("clock", "clock_gettime", "stopped"),
)
REFILL = "refill"  # one more, where memory is reached through a TLB
CALLS_SYMBOLS = ("trap", "descriptors", "clock", "gate")
WORD = 8  # bytes of an entry of the handler table
ANSWER_SECONDS = 60  # an answer takes less than one, on a machine that is not overloaded
LARGEST_MESSAGE = 64 << 20  # bytes; requests and answers have some 100 KB
_HEAD = Struct("<QI")  # of a message: its size and its CRC-32


def send(fd: int, message: tuple[Any, ...]) -> None:
    data = marshal.dumps(message)
    view = memoryview(_HEAD.pack(len(data), crc32(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, await_data: Callable[[], None] = lambda: None) -> tuple[Any, ...] | None:
    """The next message, or None at the end; await_data() is called before each read. ValueError for nonsense."""
    head = _read(fd, _HEAD.size, await_data)
    if head is None:
        return None
    size, checksum = _HEAD.unpack(head)
    if size > LARGEST_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    data = _read(fd, size, await_data)
    if data is None:
        return None
    if crc32(data) != checksum:
        raise ValueError("a message whose checksum does not match")
    try:
        message = marshal.loads(data)
    except (EOFError, MemoryError, TypeError) as error:
        raise ValueError(f"not a message: {error}") from error
    if type(message) is not tuple:
        raise ValueError("a message that is no tuple")
    return message


def _read(fd: int, size: int, await_data: Callable[[], None]) -> bytes | None:
    parts = []
    while size:
        await_data()
        part = os.read(fd, size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def is_answer(number: int, request: tuple[Any, ...], answer: tuple[Any, ...]) -> bool:
    """Whether this is what serve() may answer to that request."""
    if len(answer) != 3 or answer[0] != number or type(answer[1]) is not bool:
        return False
    _, worked, result = answer
    try:
        if not worked:
            return isinstance(result, str)
        if request[0] == "interpreter":
            return set(INTERPRETER_SYMBOLS) <= set(Blob.from_bytes(result).symbols)
        if request[0] == "handlers":
            return "handlers" in Blob.from_bytes(result).symbols
        if request[0] == "stencils":
            return "table" in Blob.from_bytes(result).symbols
        if request[0] == REFILL:
            return REFILL in Blob.from_bytes(result).symbols
        if request[0] == "calls":
            return set(CALLS_SYMBOLS) <= set(Blob.from_bytes(result).symbols)
        if request[0] == "region" and result is not None:
            data, seconds, cached = result
            Region.from_bytes(data)
            return type(cached) is bool and all(type(spent) is float for spent in seconds.values())
    except (AttributeError, TypeError, ValueError):
        return False
    return True


class Worker:
    """Compiles for one guest. Everything that takes a while to import or to make is made when first needed."""

    def __init__(self, guest: Guest, cache: Cache, settings: Settings) -> None:
        self.guest = guest
        self.cache = cache
        self.settings = settings

    @cached_property
    def compiler(self) -> Compiler:
        from vmjit.jit.compiler import Compiler

        return Compiler()

    @cached_property
    def tracer(self) -> Tracer:
        from vmjit.engine.trace import Tracer

        return Tracer(self.guest.layout)

    @cached_property
    def former(self) -> Former:
        from vmjit.engine.formation import Former

        return Former(self.guest.decode_table, self.tracer)

    @cached_property
    def parts(self) -> Interpreter:
        from vmjit.engine.interpreter import Interpreter

        return Interpreter(self.guest.decode_table, self.guest.layout, self.guest.core, self.settings)

    def interpreter(self) -> bytes:
        """The core of tier 0, with its handler table appended, and for each entry the number of its group."""
        from vmjit.jit.compiler import Compiler

        made = self.parts.core()
        # Nobody waits for instructions to be decoded, but for the first of them: level 0 takes a third of the time.
        stub, _ = Compiler(speed=0).compile(self.parts.stub())
        start = -(-len(stub.code) // ALIGNMENT) * ALIGNMENT
        blob = self._handlers(made.text)
        symbols = {name: start + offset for name, offset in blob.symbols.items()}
        symbols["handlers"] = start + len(blob.code)
        table = array("Q", [symbols[made.handlers[entry]] for entry in range(len(made.handlers))])
        symbols["groups"] = symbols["handlers"] + len(table) * WORD
        groups = array("Q", self.parts.groups_of_entries())
        code = stub.code.ljust(start, b"\0") + blob.code + table.tobytes() + groups.tobytes()
        kept = Blob(code, {name: symbols[name] for name in (*INTERPRETER_SYMBOLS, REFILL) if name in symbols})
        self.cache.put(interpreter_key(self.settings.model), kept)
        return kept.to_bytes()

    def handlers(self, group: int) -> bytes:
        """A group of handlers, appended which entries of the handler table are to lead where."""
        made = self.parts.group(group)
        blob = self._handlers(made.text)
        table = array("Q")
        for entry, name in made.handlers.items():
            table.extend((entry, blob.symbols.get(name, EMULATED)))
        kept = Blob(blob.code + table.tobytes(), {"handlers": len(blob.code)})
        self.cache.put(handlers_key(self.settings.model, group), kept)
        return kept.to_bytes()

    def stencils(self, group: int) -> bytes:
        """The stencils of a group of handlers, 0 for those of the core."""
        from vmjit.engine.stencils import stencils_of

        text, sources, holes = self.parts.stencils(group)
        blob = stencils_of(self.compiler.compile_open(text), sources, holes).to_blob()
        self.cache.put(stencils_key(self.settings.model, group), blob)
        return blob.to_bytes()

    def _handlers(self, text: str) -> Blob:
        """The blob of a module of handlers, of whole words. LLVM's passes find nothing to do in them."""
        if not text:
            return Blob(b"", {})
        blob, _ = self.compiler.compile(text)
        return Blob(blob.code + bytes(-len(blob.code) % WORD), blob.symbols)

    def refill(self) -> bytes:
        """What fills a TLB, for regions that have one where the interpreter has none."""
        from vmjit.codegen.walk import refill
        from vmjit.jit.compiler import LLVM_PASSES

        blob, _ = self.compiler.compile(refill(self.guest.layout), LLVM_PASSES)
        self.cache.put(REFILL_KEY, blob)
        return blob.to_bytes()

    def calls(self, descriptors: int, calls: tuple[Call, ...]) -> bytes:
        """The system calls that native code makes itself, see codegen/calls.py."""
        from vmjit.codegen.calls import Registers, trap
        from vmjit.jit.compiler import LLVM_PASSES

        abi = self.guest.syscall
        registers = Registers(abi.number, abi.arguments, abi.result)
        text = trap(self.guest.layout, registers, descriptors, calls)
        blob, _ = self.compiler.compile(text, LLVM_PASSES)
        self.cache.put(calls_key(descriptors, calls), blob)
        return blob.to_bytes()

    def region(
        self,
        pc: int,
        chunks: list[Chunk],
        jumps: list[tuple[int, int]],
        limit: int,
        precise: bool = False,
        entries: tuple[int, ...] = (),
        memory: str = "",
    ) -> tuple[bytes, dict[str, float], bool] | None:
        """A region as cache.Region's bytes, seconds by stage, whether it was cached; None: it cannot be compiled.

        memory: as Settings.memory, where that is not what the region is to reach memory by.
        """
        settings = self.settings.with_memory(memory) if memory else self.settings
        began = perf_counter()
        former = self.former  # the first region waits until it is made
        ready = perf_counter()
        code = Code(chunks, jumps)
        plan = former.form(pc, code, limit, entries)
        seconds = {"tables": ready - began, "form": perf_counter() - ready}
        if plan is None:
            return None
        ranges = plan.ranges()
        parts = b"".join(code.bytes(start, end - start) or b"" for start, end in ranges)
        kind = variant(settings.model, settings.passes_text, precise)
        key = region_key(pc, plan.entries, ranges, plan.shape, parts, kind)
        found = self.cache.get_region(key)
        if found is not None:
            return found.to_bytes(), seconds, True
        from vmjit.engine.compile import compile_region

        made = compile_region(plan, self.guest.layout, self.tracer, self.compiler, settings, precise=precise)
        region = Region(plan.entries, ranges, plan.exits, plan.shape, len(plan.steps), made.blob)
        self.cache.put_region(key, region)
        return region.to_bytes(), {**seconds, **made.seconds}, False


def serve(worker: Worker, source: int, target: int, patience: int = 0) -> None:
    """Answer requests until there are no more; end the process when one takes longer than `patience`, in seconds."""
    makers: dict[str, Callable[..., Any]] = {
        "interpreter": worker.interpreter,
        "handlers": worker.handlers,
        "stencils": worker.stencils,
        "refill": worker.refill,
        "calls": worker.calls,
        "region": worker.region,
    }
    # What a request leaves behind goes when it is answered. Left to itself Python would look for it again and again,
    # and at all tables with it, which takes an eighth of the time.
    gc.disable()
    met: set[str] = set()
    while (request := receive(source)) is not None:
        if patience:
            signal.alarm(patience)
        kind, number, *arguments = request
        answer: tuple[Any, ...]
        try:
            answer = (number, True, makers[kind](*arguments))
        except VmjitError as error:
            answer = (number, False, f"{type(error).__name__}: {error}")
        except (MemoryError, RecursionError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            # A defect of ours: the guest goes on without this region, and the message says what to report.
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = (number, False, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        if patience:
            signal.alarm(0)
        send(target, answer)
        gc.collect()
        if kind not in met:  # its tables stay
            met.add(kind)
            gc.freeze()


def main(guest_name: str, cache_root: str, *, dump_settings: dict[str, Any]) -> None:
    """The child's life: it ends when its standard input does."""
    from vmjit.guest import get

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the guest, and its end is ours
    source, target = os.dup(0), os.dup(1)
    os.umask(0o077)  # the guest's may keep us from using the cache
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    settings = Settings.from_environment(**dump_settings)
    if not settings.categories and not wants_traceback():
        os.dup2(null, 2)  # it may be a pipe that somebody reads to the end, which the guest closes
    os.dup2(2, 1)  # whatever LLVM prints is no message
    cache = Cache(cache_root or None, guest_name)
    try:
        # The service is not patient for longer, but the guest may have ended meanwhile.
        serve(Worker(get(guest_name), cache, settings), source, target, 2 * ANSWER_SECONDS)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
    cache.trim()
