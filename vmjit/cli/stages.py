"""`vmjit stages`: the code at an address through every stage: decoded, IR, IR after each pass, LLVM, host assembly.

The region is formed as for a program of which nothing has run yet, so it is larger than what a run compiles there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vmjit.cli.dis import address_of
from vmjit.debug import Settings
from vmjit.engine.code import PAGE_SIZE, Code
from vmjit.engine.compile import compile_region
from vmjit.engine.formation import Former
from vmjit.engine.trace import Tracer
from vmjit.errors import UsageError
from vmjit.guest import GUEST, get
from vmjit.ir.layout import PAGE_BITS
from vmjit.jit.compiler import Compiler
from vmjit.loader import elf
from vmjit.memory.address_space import EXECUTE, AddressSpace

if TYPE_CHECKING:
    import argparse

LARGEST = 200  # instructions: more would not be read


def main(options: argparse.Namespace) -> int:
    guest = get(GUEST)
    executable = elf.read_executable(options.file, machine=guest.elf_machine)
    memory = AddressSpace()
    elf.load(executable, memory, bias=0)
    pc = address_of(options.at, elf.symbols(options.file))

    pages = (p for m in memory.regions() if m.permissions & EXECUTE for p in range(m.start, m.end, PAGE_SIZE))
    code = Code([(page >> PAGE_BITS, memory.read(page, PAGE_SIZE, EXECUTE), b"", b"") for page in pages])
    tracer = Tracer(guest.layout)
    former = Former(guest.decode_table, tracer)
    plan = former.form(pc, code, LARGEST)
    if plan is None:
        step = former.step(pc, code) if pc % guest.alignment == 0 else None
        what = "there is no instruction" if step is None else f"{step.text(pc)}: only the interpreter executes it"
        raise UsageError(f"stages: {pc:#x}: {what}")

    def show(stage: str, text: object) -> None:
        sys.stdout.write(f"== {stage}\n{str(text).rstrip()}\n\n")

    show(
        "bytes",
        "\n".join(f"{start:#x}  {memory.read(start, end - start, EXECUTE).hex()}" for start, end in plan.ranges()),
    )
    made = compile_region(plan, guest.layout, tracer, Compiler(), Settings.from_environment(), show)
    show("code", f"{len(made.blob.code)} bytes")
    return 0
