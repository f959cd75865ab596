"""LLVM text -> Blob, through llvmlite: parse, optimise, emit an object, link.

One Compiler holds what is dear to make (target machine, pass managers); each module has a context of its own that is
freed with it, for a shared one would keep every constant and every debug location for ever.
LLVM ends the process when it meets what it calls a fatal error: compile where that does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from time import perf_counter
from typing import Any

from vmjit.errors import CompileError
from vmjit.jit.blob import Blob
from vmjit.jit.elf_object import Open, link, link_open

Seconds = dict[str, float]  # of each stage in STAGES
Llvm = Any  # llvmlite has no types

STAGES = ("parse", "optimise", "emit", "link")

# Names as in LLVM's `opt -passes=`, where llvmlite has the pass; early-cse, gvn and licm it has only within PIPELINES.
PASSES = {
    "adce": "add_aggressive_dce_pass",
    "aggressive-instcombine": "add_aggressive_instcombine_pass",
    "always-inline": "add_always_inliner_pass",
    "argpromotion": "add_argument_promotion_pass",
    "break-crit-edges": "add_break_critical_edges_pass",
    "constmerge": "add_constant_merge_pass",
    "dce": "add_dead_code_elimination_pass",
    "dse": "add_dead_store_elimination_pass",
    "function-attrs": "add_post_order_function_attributes_pass",
    "globaldce": "add_global_dead_code_eliminate_pass",
    "globalopt": "add_global_opt_pass",
    "instcombine": "add_instruction_combine_pass",
    "ipsccp": "add_ipsccp_pass",
    "jump-threading": "add_jump_threading_pass",
    "lcssa": "add_lcssa_pass",
    "loop-deletion": "add_loop_deletion_pass",
    "loop-reduce": "add_loop_strength_reduce_pass",
    "loop-rotate": "add_loop_rotate_pass",
    "loop-simplify": "add_loop_simplify_pass",
    "loop-unroll": "add_loop_unroll_pass",
    "loop-unroll-and-jam": "add_loop_unroll_and_jam_pass",
    "lower-switch": "add_lower_switch_pass",
    "memcpyopt": "add_mem_copy_opt_pass",
    "mergefunc": "add_merge_functions_pass",
    "newgvn": "add_new_gvn_pass",
    "partial-inliner": "add_partial_inliner_pass",
    "reassociate": "add_reassociate_pass",
    "reg2mem": "add_register_to_memory_pass",
    "rpo-function-attrs": "add_rpo_function_attrs_pass",
    "sccp": "add_sccp_pass",
    "simplifycfg": "add_simplify_cfg_pass",
    "sink": "add_sinking_pass",
    "sroa": "add_sroa_pass",
    "strip-dead-prototypes": "add_strip_dead_prototype_pass",
    "tailcallelim": "add_tail_call_elimination_pass",
    "verify": "add_verifier",
}
# Stock pipelines and their level: they cost 2 to 5 times a list picked by hand; for comparison.
PIPELINES = {"O1": 1, "O2": 2, "O3": 3}

# The passes for regions, by benchmarks/bench_compile.py: see docs/design.md, "What LLVM is asked to do".
LLVM_PASSES = "instcombine,simplifycfg"

_OPTIONS = (
    # Loop strength reduction gives each guest address and counter of a loop a register of its own, for the loop alone,
    # and spills what the region has in registers; kernels/sieve.c takes half as long again with it.
    "-disable-lsr",
    # Hosts order instructions themselves: a fifth of the time for code generation, and no kernel runs slower without.
    "-enable-misched=0",
    "-disable-post-ra",
    # A conditional move from memory would become a branch around the load, volatile or not: a fault would go missing.
    "-x86-cmov-converter-force-mem-operand=false",
    # Two accesses made one would be of neither guest instruction.
    "-enable-tail-merge=false",
)

_ERROR = re.compile(r"<string>:(\d+):\d+: error: (.*)")


class Compiler:
    """Compiles for this host; another `cpu` or `features` (LLVM's names) than the host's must still run on it."""

    def __init__(self, cpu: str | None = None, features: str | None = None, speed: int = 2) -> None:
        import llvmlite.binding as llvm

        for option in _OPTIONS:
            llvm.set_option("vmjit", option)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()  # for the text of inline assembly
        self.cpu = llvm.get_host_cpu_name() if cpu is None else cpu
        if features is None:
            features = llvm.get_host_cpu_features().flatten() if cpu is None else ""
        self.features = features
        self.speed = speed
        self._llvm = llvm
        self._target = llvm.Target.from_default_triple()
        # pic: distances, no addresses, so that code can be placed anywhere; small: a blob is less than 2 GB.
        self._machine = self._target.create_target_machine(
            cpu=self.cpu, features=features, opt=speed, reloc="pic", codemodel="small"
        )
        self._managers: dict[tuple[str, ...], Llvm] = {}

    def compile(self, text: str, passes: str = "", verify: bool = False) -> tuple[Blob, Seconds]:
        """The blob of a module after the passes, names of PASSES separated by commas; and the seconds of each stage."""
        names = _pass_names(passes)
        times = [perf_counter()]
        with self._module(text, verify) as module:
            times.append(perf_counter())
            self._optimise(module, names)
            times.append(perf_counter())
            image = self._emit(self._machine.emit_object, module)
            times.append(perf_counter())
        linking = perf_counter()
        blob = link(image)
        times.append(times[-1] + perf_counter() - linking)
        return blob, {stage: times[i + 1] - times[i] for i, stage in enumerate(STAGES)}

    def compile_open(self, text: str) -> Open:
        """A module as it is, for its functions to be copied."""
        with self._module(text) as module:
            return link_open(self._emit(self._machine.emit_object, module))

    def optimised_text(self, text: str, passes: str = "") -> str:
        """The module's text after the passes."""
        names = _pass_names(passes)
        with self._module(text) as module:
            self._optimise(module, names)
            return str(module)

    def assembly(self, text: str, passes: str = "") -> str:
        """The module's host assembly after the passes."""
        names = _pass_names(passes)
        with self._module(text) as module:
            self._optimise(module, names)
            return str(self._emit(self._machine.emit_assembly, module))

    def identity(self) -> str:
        """What the code depends on, as LLVM sees it; for display, for host_identity() says as much without LLVM."""
        version = ".".join(map(str, self._llvm.llvm_version_info))
        return f"LLVM {version}, {self._target.triple}, {self.cpu}, {self.features}"

    @cached_property
    def _header(self) -> str:
        """Put before every module: without a data layout LLVM takes another alignment for i64, and no native widths."""
        return f'target datalayout = "{self._machine.target_data}" target triple = "{self._target.triple}" '

    @contextmanager
    def _module(self, text: str, verify: bool = False) -> Iterator[Llvm]:
        """The module of a text that does not name its target; freed at the end, and before its context."""
        with self._llvm.create_context() as context, self._parse(text, context) as module:
            if verify:
                try:
                    module.verify()
                except RuntimeError as error:
                    raise CompileError(_why_refused(str(error), text)) from None
            yield module

    def _parse(self, text: str, context: Llvm) -> Llvm:
        try:
            return self._llvm.parse_assembly(self._header + text, context)
        except RuntimeError as error:
            raise CompileError(_why_refused(str(error), text)) from None

    def _optimise(self, module: Llvm, names: tuple[str, ...]) -> None:
        """Consecutive passes run together; a stock pipeline runs on its own."""
        for pipeline, group in groupby(names, key=lambda name: name if name in PIPELINES else ""):
            # A builder for each run: llvmlite leaves callbacks in it that refer to the stack of the run before.
            with self._pass_builder(PIPELINES.get(pipeline, self.speed)) as builder:
                if pipeline:  # can run only once: the inliner moves its passes out of it
                    with builder.getModulePassManager() as manager:
                        manager.run(module, builder)
                else:
                    self._pass_manager(tuple(group)).run(module, builder)

    def _emit(self, emit: Callable[[Llvm], Any], module: Llvm) -> Any:
        try:
            return emit(module)
        except RuntimeError as error:
            raise CompileError(f"LLVM cannot emit the module: {error}") from error

    def _pass_manager(self, names: tuple[str, ...]) -> Llvm:
        """Made once for each list."""
        if names not in self._managers:
            manager = self._llvm.newpassmanagers.create_new_module_pass_manager()
            for name in names:
                getattr(manager, PASSES[name])()
            self._managers[names] = manager
        return self._managers[names]

    @contextmanager
    def _pass_builder(self, level: int) -> Iterator[Llvm]:
        passes = self._llvm.newpassmanagers
        with (
            passes.create_pipeline_tuning_options(level) as options,
            passes.create_pass_builder(self._machine, options) as builder,
        ):
            yield builder


def _pass_names(passes: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in passes.split(",") if name.strip())
    for name in names:
        if name not in PASSES and name not in PIPELINES:
            raise ValueError(f"no pass {name!r}; there are {', '.join([*PASSES, *PIPELINES])}")
    return names


def _why_refused(message: str, text: str) -> str:
    """LLVM's message with the line it is about."""
    found = _ERROR.search(message)
    if found is None:
        return f"LLVM refused the module: {message.strip()}"
    number = int(found[1])
    lines = text.splitlines()
    quoted = lines[number - 1].strip() if number <= len(lines) else "the end of the text"
    return f"LLVM refused the module: line {number}: {found[2]}: {quoted}"
