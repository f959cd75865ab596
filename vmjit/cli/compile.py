"""`vmjit compile`: the regions of a program, made before it runs; the next `vmjit run` begins with all of them.

Regions that runs have left stay as they are: those were formed with a profile. What was done goes to standard output in
one line, progress to standard error when that is a terminal.
"""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING

from vmjit.cli.options import settings_of_cache
from vmjit.engine.ahead import Compiler, Finder, Surroundings
from vmjit.engine.cache import Program
from vmjit.engine.code import PAGE_SIZE, Code
from vmjit.engine.service import Service
from vmjit.errors import UsageError
from vmjit.ir.layout import PAGE_BITS
from vmjit.machine import Machine
from vmjit.memory.address_space import EXECUTE, READ

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vmjit.engine.cache import Read

OK, FAILED = 0, 1
EVERY = 0.1  # seconds between two looks of the bar
POINTER = 8  # bytes
WIDTH = 30  # of the bar
CLEAR_REST = "\x1b[K"  # of a terminal's line


def main(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # workers end when we do
    began = monotonic()
    chosen = settings_of_cache(options)
    if chosen.cache_dir is None:
        raise UsageError("compile: no cache folder is set, so nothing could be kept")
    machine = Machine(options.program, settings=chosen)  # this makes what every program needs, if it is not there yet
    try:
        return _compile(machine, options, began)
    finally:
        machine.close()


def _compile(machine: Machine, options: argparse.Namespace, began: float) -> int:
    hart, cache = machine.hart, machine.cache
    entry = hart.words[machine.guest.layout.word("pc")]
    code = code_of(machine)
    finder = Finder(machine.guest, code, reader_of(machine))
    starts = [symbol.address for symbol in machine.symbols.functions()]
    if not starts:  # the entry passes on where `main` is
        starts = [*filter(finder.may_begin, (*finder.constants(finder.function(entry)), *pointers_of(machine)))]
    finding = Bar(None, began)
    found = finder.functions([entry, *starts], finding)
    finding.clear()
    jobs = options.jobs or len(os.sched_getaffinity(0))
    services = [
        Service(machine.guest.name, machine.settings.cache_dir, machine.settings.for_child(), set(), set())
        for _ in range(jobs)
    ]
    before = cache.get_program(hart.program, hart.variant)
    surroundings = Surroundings(code, found)
    bar = Bar(len(found), began)
    made = Compiler(surroundings, services, hart.variant, before, options.limit, bar).run(entry, found.values())
    bar.clear()
    for service in services:
        service.close()
    for failure in made.failures:
        print(f"vmjit: not compiled: {failure}", file=sys.stderr)
    left = Program(made.kept, before.jumps or surroundings.all_jumps(), hart.program)
    cache.put_program(hart.program, hart.variant, left)
    if cache.get_program(hart.program, hart.variant) != left:
        raise OSError(None, f"compile: nothing can be kept in {cache.folder}; vmjit doctor may say why")
    instructions = sum(kept.region.instructions for kept in made.kept)
    size = sum(len(kept.region.blob.code) for kept in made.kept)
    parts = [
        f"{made.functions} of {len(found)} functions in {len(made.kept)} regions ({made.made} new)",
        f"{instructions} instructions",
        f"{size} bytes of code",
        f"{monotonic() - began:.1f} s",
    ]
    print(", ".join(parts))
    return FAILED if made.failures else OK


def code_of(machine: Machine) -> Code:
    """All code in the program's file, of which nobody knows what will run."""
    image = machine.image
    pages: dict[int, bytes] = {}
    for segment in image.executable.segments:
        start = segment.vaddr + image.bias
        if segment.permissions & EXECUTE and segment.file_size:
            for page in range(start >> PAGE_BITS, ((start + segment.file_size - 1) >> PAGE_BITS) + 1):
                pages[page] = machine.memory.read(page << PAGE_BITS, PAGE_SIZE, EXECUTE)
    return Code([(page, data, b"", b"") for page, data in pages.items()])


def pointers_of(machine: Machine) -> Iterator[int]:
    """What may be addresses in the program's data: each of its words, once."""
    image = machine.image
    for segment in image.executable.segments:
        start, end = segment.vaddr + image.bias, segment.vaddr + segment.file_size + image.bias
        start, end = -(-start // POINTER) * POINTER, end // POINTER * POINTER
        if start < end and segment.permissions & READ and not segment.permissions & EXECUTE:
            yield from set(memoryview(machine.memory.read(start, end - start, READ)).cast("Q"))


def reader_of(machine: Machine) -> Read:
    """Reads what the program has in memory when it starts."""
    memory = machine.memory

    def read(address: int, size: int) -> bytes | None:
        return memory.read(address, size, READ) if memory.accessible(address, size, READ) else None

    return read


class Bar:
    """Shows on a terminal how far it is; nothing elsewhere. Without a total functions are still being found."""

    def __init__(self, total: int | None, began: float) -> None:
        self.total = total
        self.began = began
        self.is_shown = sys.stderr is not None and sys.stderr.isatty()
        self.next = 0.0

    def __call__(self, functions: int) -> None:
        if not self.is_shown or monotonic() < self.next:
            return
        self.next = monotonic() + EVERY
        seconds = f"{self.next - self.began:.0f} s"
        if self.total is None:
            text = f"{functions} functions found, {seconds}"
        else:
            full = WIDTH * functions // max(1, self.total)
            text = f"[{'#' * full}{'.' * (WIDTH - full)}] {functions}/{self.total} functions, {seconds}"
        print(f"\r{text}{CLEAR_REST}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.is_shown:
            print(f"\r{CLEAR_REST}", end="", file=sys.stderr, flush=True)
