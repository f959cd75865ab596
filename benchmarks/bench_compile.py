"""What compiling a region costs, stage by stage, and what comes out.

Compilation happens while the program runs in the interpreter, but costs a core and delays the fast code.
"""

from __future__ import annotations

import os
import statistics
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks import bench_decode, guests
from vmjit.engine.code import Code

if TYPE_CHECKING:
    from vmjit.ir.block import Region

STAGES = ("form", "trace", "passes", "lower", "parse", "optimise", "emit", "link", "load", "all")
SHAPES = {"straight": guests.straight, "loopy": guests.loopy}
SIZES = (10, 50, 100, 500, 1000, 5000)
LARGEST = 500  # instructions of a region, as in a run
REPETITIONS = 5
FEW = 2  # repetitions for what is larger, which takes seconds, and comes later
# Microseconds for an instruction beyond which nothing larger of that shape is compiled: asv measures also commits whose
# passes/hoist.py took minutes for 5000 instructions of loopy code.
TOO_SLOW = 10_000
LEVELS = (0, 1, 2, 3)  # of LLVM's code generation; regions are made at level 2

Measured = dict[str, float]  # us per guest instruction of each stage; counts for the region as a whole


class Bench:
    """The parts of the compile worker, in this process; what they keep between regions is warm."""

    def __init__(self, level: int = 2) -> None:
        from vmjit.debug import Settings
        from vmjit.engine.formation import Former
        from vmjit.engine.trace import Tracer
        from vmjit.guest import get
        from vmjit.jit.arena import Arena
        from vmjit.jit.compiler import Compiler

        self.guest = get("riscv64")
        self.tracer = Tracer(self.guest.layout)
        self.former = Former(self.guest.decode_table, self.tracer)
        self.compiler = Compiler(speed=level)
        self.settings = Settings()
        self.arena = Arena(64 << 20)

    def measure(self, pc: int, code: Code, limit: int) -> Measured:
        """Compile the region around `pc` a few times; medians of the durations, and the counts."""
        if limit > LARGEST:
            runs = [self.once(pc, code, limit) for _ in range(FEW)]
        else:
            runs = [self.once(pc, code, limit) for _ in range(REPETITIONS + 1)][1:]  # the first pays for tables, traits
        return {name: statistics.median(run[name] for run in runs) for name in runs[0]}

    def once(self, pc: int, code: Code, limit: int) -> Measured:
        """Everything from guest bytes to code in its place."""
        from vmjit.engine.compile import compile_region
        from vmjit.jit.blob import Blob

        began = perf_counter()
        plan = self.former.form(pc, code, limit)
        formed = perf_counter()
        assert plan is not None
        made = compile_region(plan, self.guest.layout, self.tracer, self.compiler, self.settings)
        data = made.blob.to_bytes()
        loading = perf_counter()
        blob = Blob.from_bytes(data)
        offset = self.arena.allocate(len(blob.code))
        assert offset is not None
        self.arena.place(offset, blob.code)
        seconds = {"form": formed - began, **made.seconds, "load": perf_counter() - loading}
        self.arena.free(offset, len(blob.code))
        count = len(plan.steps)
        durations = {stage: seconds[stage] / count * 1e6 for stage in STAGES if stage != "all"}
        return {
            **durations,
            "all": sum(durations.values()),
            "instructions": count,
            "bytes": len(blob.code),
            "operations": self.operations(plan),
        }

    def operations(self, plan: object) -> int:
        """What is left in the IR after all passes."""
        return sum(len(block.ops) + 1 for block in self.region(plan).blocks)

    def region(self, plan: object) -> Region:
        """What becomes of a plan before LLVM sees it."""
        from vmjit.engine.compile import run_passes
        from vmjit.engine.translate import translate

        region = translate(plan, self.guest.layout, self.tracer)
        run_passes(region, self.settings)
        return region

    def sizes(self, pc: int, code: Code, limit: int) -> dict[str, int]:
        """What counters.py counts of the region around `pc`; nothing of it is compiled."""
        from vmjit.codegen.lower import lower_region
        from vmjit.engine.regions import SYMBOL

        plan = self.former.form(pc, code, limit)
        assert plan is not None
        operations = self.operations(plan)
        text = lower_region(self.region(plan), self.guest.layout, SYMBOL)
        return {"ir operations": operations, "llvm lines": text.count("\n")}


def kernel_code(kernel: guests.Kernel) -> tuple[int, Code]:
    """The address of a kernel's function that does the work, and its code."""
    from vmjit.engine.code import PAGE_SIZE
    from vmjit.guest import get
    from vmjit.loader import elf
    from vmjit.memory.address_space import EXECUTE, AddressSpace

    memory = AddressSpace()
    elf.load(elf.read_executable(str(kernel.elf), machine=get("riscv64").elf_machine), memory, bias=0)
    pages = (p for m in memory.regions() if m.permissions & EXECUTE for p in range(m.start, m.end, PAGE_SIZE))
    code = Code([(page // PAGE_SIZE, memory.read(page, PAGE_SIZE, EXECUTE), b"", b"") for page in pages])
    return elf.symbols(str(kernel.elf)).address(kernel.function), code


def setup_cache() -> dict[str | tuple[str, int], Measured]:
    """All regions are compiled in one process: asv runs this once for a commit, and the benchmarks only look up."""
    bench = Bench()
    measured: dict[str | tuple[str, int], Measured] = {}
    for shape, make in SHAPES.items():
        for size in SIZES:
            found = measured[shape, size] = bench.measure(guests.CODE, Code.of(guests.CODE, make(size)), size)
            if found["all"] > TOO_SLOW:
                break
    for kernel in guests.SAMPLE.values():
        pc, code = kernel_code(kernel)
        measured[kernel.name] = bench.measure(pc, code, LARGEST)
    for level in LEVELS:
        bench = Bench(level)
        for kernel in guests.SAMPLE.values():
            measured[kernel.name, level] = bench.measure(*kernel_code(kernel), LARGEST)
    return measured


setup_cache.timeout = 1800  # seconds: large regions take some, and machines are busy


class Stages:
    """Microseconds per guest instruction of one stage of compiling generated code of some size.

    `straight` code has no branch; in `loopy` code one instruction in eight is one, every other backwards. `form`
    decodes and follows the control flow, `load` reads the finished code and copies it to its place, `all` is the sum.
    Medians of a few compilations in one process; trace, passes and lower are Python, the others LLVM.
    """

    params = (list(SHAPES), list(SIZES), list(STAGES))
    param_names = ("shape", "instructions", "stage")
    unit = "us per guest instruction"
    version = "1"

    def setup(self, measured: dict, shape: str, size: int, stage: str) -> None:
        if (shape, size) not in measured:
            raise NotImplementedError

    def track_compile(self, measured: dict, shape: str, size: int, stage: str) -> float:
        return measured[shape, size][stage]


class Ready:
    """Milliseconds until a block of straight code, of which nothing is known yet, has been made ready by a tier.

    interpreter  a bare hart runs it for the first time, in which it is decoded: see bench_decode.Native
    region       it is compiled, all stages of Stages together; a run does that while the interpreter runs the code
    """

    params = (["interpreter", "region"], list(SIZES))
    param_names = ("tier", "instructions")
    unit = "ms"
    version = "1"

    def track_ready(self, measured: dict, tier: str, size: int) -> float:
        if tier == "region":
            return measured["straight", size]["all"] * measured["straight", size]["instructions"] / 1000
        return bench_decode.measure(size, REPETITIONS, os.path.abspath("compiled"))["first"] * size / 1e6


class Levels:
    """The regions of Kernels at the four levels of LLVM's code generation; our own stages are the same at all.

    The duration is that of emitting the code, which is what the level changes.
    """

    params = (list(guests.SAMPLE), list(LEVELS))
    param_names = ("kernel", "level")
    version = "1"

    def track_emit(self, measured: dict, kernel: str, level: int) -> float:
        return measured[kernel, level]["emit"]

    def track_level_code_bytes(self, measured: dict, kernel: str, level: int) -> float:
        return measured[kernel, level]["bytes"]

    track_emit.unit = "us per guest instruction"
    track_level_code_bytes.unit = "bytes"


class Size:
    """Bytes of host code per guest instruction of generated code, see Stages: the same in every run of a commit."""

    params = (list(SHAPES), list(SIZES))
    param_names = ("shape", "instructions")
    unit = "bytes per guest instruction"
    version = "1"

    def setup(self, measured: dict, shape: str, size: int) -> None:
        if (shape, size) not in measured:
            raise NotImplementedError

    def track_code_bytes(self, measured: dict, shape: str, size: int) -> float:
        return measured[shape, size]["bytes"] / measured[shape, size]["instructions"]


class Kernels:
    """The region around the function that does a kernel's work, everything reachable included, compiled as in Stages.

    Bytes of host code, operations left in the IR after all passes and guest instructions are those of the whole region
    and the same in every run of a commit; the duration is the sum of all stages.
    """

    params = (list(guests.SAMPLE),)
    param_names = ("kernel",)
    version = "1"

    def track_compile(self, measured: dict, kernel: str) -> float:
        return measured[kernel]["all"]

    def track_region_code_bytes(self, measured: dict, kernel: str) -> float:
        return measured[kernel]["bytes"]

    def track_ir_operations(self, measured: dict, kernel: str) -> float:
        return measured[kernel]["operations"]

    def track_region_instructions(self, measured: dict, kernel: str) -> float:
        return measured[kernel]["instructions"]

    track_compile.unit = "us per guest instruction"
    track_region_code_bytes.unit = "bytes"
    track_ir_operations.unit = "operations"
    track_region_instructions.unit = "instructions"
