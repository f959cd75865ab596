"""One function of a guest program through every stage, as the compile worker takes it; `vmjit stages` shows more."""

from pathlib import Path

from vmjit.codegen.lower import lower_region
from vmjit.engine.code import Code
from vmjit.engine.formation import Former
from vmjit.engine.regions import SYMBOL
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import translate
from vmjit.guest import get
from vmjit.loader import elf
from vmjit.memory.address_space import EXECUTE, AddressSpace
from vmjit.passes.pipeline import PIPELINE

program = str(Path(__file__).parent.parent / "benchmarks" / "kernels" / "elf" / "fib")
guest, memory = get("riscv64"), AddressSpace()
elf.load(elf.read_executable(program, machine=guest.elf_machine), memory)
pc = elf.symbols(program).address("fib")
assert pc is not None

# Which instructions belong together: here all that can be reached, at most 50.
tracer = Tracer(guest.layout)
former = Former(guest.decode_table, tracer)
plan = former.form(pc, Code.of(pc, memory.read(pc, 256, EXECUTE)), 50)
assert plan is not None
for at, step in sorted(plan.steps.items()):
    print(f"{at:#x}  {step.text(at)}")

region = translate(plan, guest.layout, tracer)  # the semantics of each instruction run, and leave IR behind
print(f"\n{region}")
for _, run in PIPELINE:
    run(region)
print(region)
print(lower_region(region, guest.layout, SYMBOL))
