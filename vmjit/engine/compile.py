"""Everything between guest bytes and native code, in order."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from vmjit.codegen.lower import lower_region
from vmjit.debug import Settings
from vmjit.engine.formation import Plan
from vmjit.engine.regions import SYMBOL
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import translate
from vmjit.ir.block import Region
from vmjit.ir.layout import Layout
from vmjit.ir.verify import verify_or_raise
from vmjit.jit.blob import Blob
from vmjit.jit.compiler import LLVM_PASSES
from vmjit.passes.pipeline import PIPELINES

if TYPE_CHECKING:
    from vmjit.jit.compiler import Compiler

Seconds = dict[str, float]  # of each stage
Observe = Callable[[str, object], None]  # category of debug.py, what to show


@dataclass(frozen=True)
class Compiled:
    """A region ready to be placed."""

    blob: Blob
    seconds: Seconds


def compile_region(
    plan: Plan,
    layout: Layout,
    tracer: Tracer,
    compiler: "Compiler",
    settings: Settings,
    observe: Observe | None = None,
    *,
    precise: bool = False,
) -> Compiled:
    """From a plan to position-independent code; `observe` is shown what each stage makes; `precise` as in translate."""
    if observe is None and settings.categories and settings.selects(plan.pc):
        observe = settings.dump
    clock = perf_counter()
    region = translate(plan, layout, tracer, precise=precise)
    traced = perf_counter()
    if observe:
        observe("decode", decoded_text(plan))
        observe("ir", region)
    run_passes(region, settings, observe)
    passed = perf_counter()
    text = lower_region(region, layout, SYMBOL, settings.counts_hits)
    lowered = perf_counter()
    if observe:
        observe("llvm", text)
        if settings.wants("asm") or observe is not settings.dump:
            observe("asm", compiler.assembly(text, LLVM_PASSES))
    blob, seconds = compiler.compile(text, LLVM_PASSES)
    stages = {"trace": traced - clock, "passes": passed - traced, "lower": lowered - passed}
    return Compiled(blob, {**stages, **seconds})


def run_passes(region: Region, settings: Settings, observe: Observe | None = None) -> None:
    """The pipeline, or what the settings name of it."""
    if settings.verify:
        verify_or_raise(region, "translate")
    for name, run in PIPELINES[settings.memory]:
        if settings.passes is not None and name not in settings.passes:
            continue
        run(region)
        if observe:
            observe(f"ir.{name}", region)
        if settings.verify:
            verify_or_raise(region, name)


def decoded_text(plan: Plan) -> str:
    """The instructions of a plan, one a line."""
    lines = []
    for pc, step in sorted(plan.steps.items()):
        mark = ">" if pc in plan.entries else ":" if pc in plan.leaders else " "
        lines.append(f"{mark} {pc:#x}  {step.text(pc)}")
    return "\n".join(lines) + "\n"
