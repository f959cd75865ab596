"""`vmjit stages`: the code at an address through every stage: decoded, IR, IR after each pass, LLVM, host assembly.

The region is formed as for a program of which nothing has run yet, so it is larger than what a run compiles there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vmjit.cli.dis import address_of
from vmjit.debug import Settings
from vmjit.engine.compile import compile_region
from vmjit.engine.formation import Former
from vmjit.engine.trace import Tracer
from vmjit.errors import MemoryAccessError, UsageError
from vmjit.guest import get
from vmjit.jit.compiler import Compiler
from vmjit.loader import elf
from vmjit.memory.address_space import EXECUTE, AddressSpace

if TYPE_CHECKING:
    import argparse

LARGEST = 200  # instructions: more would not be read


def main(options: argparse.Namespace) -> int:
    guest = get("riscv64")
    executable = elf.read_executable(options.file, machine=guest.elf_machine)
    memory = AddressSpace()
    elf.load(executable, memory, bias=0)
    pc = address_of(options.at, elf.symbols(options.file))

    def fetch(address: int, size: int) -> int | None:
        try:
            return int.from_bytes(memory.read(address, size, EXECUTE), "little")
        except MemoryAccessError:
            return None

    tracer = Tracer(guest.layout)
    former = Former(guest.decode_table, tracer)
    plan = former.form(pc, fetch, lambda _: True, LARGEST)
    if plan is None:
        step = former.step(pc, fetch) if pc % guest.alignment == 0 else None
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
