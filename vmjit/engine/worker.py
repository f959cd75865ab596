"""The compile worker: a child process that turns requests on standard input into code on standard output.

LLVM holds one lock for all threads and ends the process when it meets what it calls a fatal error, so it does not live
in the process of the guest. Messages are marshalled tuples with their size in front; standard error is the log.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
from array import array
from collections.abc import Callable
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vmjit.debug import Settings, wants_traceback
from vmjit.engine.cache import Cache, Region, region_key
from vmjit.errors import VmjitError
from vmjit.jit.blob import Blob

if TYPE_CHECKING:
    from vmjit.engine.formation import Former
    from vmjit.engine.trace import Tracer
    from vmjit.guest import Guest
    from vmjit.jit.compiler import Compiler

# Symbols of the interpreter that the host looks up; the names of handlers would only cost time at every start.
INTERPRETER_SYMBOLS = ("enter", "fault", "cold", "leave", "previous", "signal", "illegal", "emulate", "handlers")
INTERPRETER_KEY = "interpreter"
WORD = 8  # bytes of the code word of a slot


def send(fd: int, message: tuple[Any, ...]) -> None:
    data = marshal.dumps(message)
    view = memoryview(len(data).to_bytes(8, "little") + data)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> tuple[Any, ...] | None:
    """The next message, or None at the end."""
    head = _read(fd, 8)
    data = head and _read(fd, int.from_bytes(head, "little"))
    return marshal.loads(data) if data else None


def _read(fd: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(fd, size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


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

    def interpreter(self) -> bytes:
        """Tier 0, its handler table appended."""
        from vmjit.engine.compile import LLVM_PASSES
        from vmjit.engine.interpreter import build

        made = build(self.guest.decode_table, self.guest.layout)
        blob, _ = self.compiler.compile(made.text, LLVM_PASSES)
        code = blob.code + bytes(-len(blob.code) % WORD)
        table = array("Q", [blob.symbols[name] for name in made.handlers])
        symbols = {**blob.symbols, "handlers": len(code)}
        kept = Blob(code + table.tobytes(), {name: symbols[name] for name in INTERPRETER_SYMBOLS})
        self.cache.put(INTERPRETER_KEY, kept)
        return kept.to_bytes()

    def region(
        self, pc: int, start: int, code: bytes, executed: bytes | None, limit: int
    ) -> tuple[bytes, dict[str, float], bool] | None:
        """A region as cache.Region's bytes, seconds by stage, whether it was cached; None: it cannot be compiled."""
        began = perf_counter()
        plan = self.former.form(pc, _fetcher(start, code), _ran(start, executed), limit)
        seconds = {"form": perf_counter() - began}
        if plan is None:
            return None
        ranges = plan.ranges()
        parts = b"".join(code[first - start : end - start] for first, end in ranges)
        key = region_key(pc, plan.entries, ranges, parts, self.settings.passes_text)
        found = self.cache.get_region(key)
        if found is not None:
            return found.to_bytes(), seconds, True
        from vmjit.engine.compile import compile_region

        made = compile_region(plan, self.guest.layout, self.tracer, self.compiler, self.settings)
        region = Region(plan.entries, ranges, len(plan.steps), made.blob)
        self.cache.put_region(key, region)
        return region.to_bytes(), {**seconds, **made.seconds}, False


def _fetcher(start: int, code: bytes) -> Callable[[int, int], int | None]:
    end = start + len(code)

    def fetch(address: int, size: int) -> int | None:
        if not start <= address <= end - size:
            return None
        return int.from_bytes(code[address - start : address - start + size], "little")

    return fetch


def _ran(start: int, executed: bytes | None) -> Callable[[int], bool]:
    if executed is None:
        return lambda pc: True
    words = memoryview(executed).cast("Q")
    return lambda pc: 0 <= pc - start < 2 * len(words) and words[(pc - start) // 2] != 0


def serve(worker: Worker, source: int, target: int) -> None:
    """Answer requests until there are no more."""
    while (request := receive(source)) is not None:
        kind, number, *arguments = request
        answer: tuple[Any, ...]
        try:
            result = worker.interpreter() if kind == "interpreter" else worker.region(*arguments)
            answer = (number, True, result)
        except VmjitError as error:
            answer = (number, False, f"{type(error).__name__}: {error}")
        except (MemoryError, RecursionError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            # A defect of ours: the guest goes on without this region, and the message says what to report.
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = (number, False, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        send(target, answer)


def main(guest_name: str, cache_root: str, *, dump_settings: dict[str, Any]) -> None:
    """The child's life: it ends when its standard input does."""
    from vmjit.guest import get

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the guest, and its end is ours
    source, target = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)  # whatever LLVM prints is no message
    settings = Settings.from_environment(**dump_settings)
    if not settings.categories and not wants_traceback():
        os.dup2(null, 2)  # it may be a pipe that somebody reads to the end, which the guest closes
    cache = Cache(cache_root or None, guest_name)
    try:
        serve(Worker(get(guest_name), cache, settings), source, target)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
    cache.trim()
