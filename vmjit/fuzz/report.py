"""What a mismatch is shown as, and the golden file that keeps it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from vmjit.debug import Settings
from vmjit.engine.code import Code
from vmjit.engine.compile import run_passes
from vmjit.engine.formation import Former
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import translate
from vmjit.fuzz.end import End
from vmjit.fuzz.judge import Mismatch, Verdict
from vmjit.fuzz.program import CODE, CODE_SIZE, Program
from vmjit.fuzz.text import ARROW, differences_text, end_text, listing, program_text
from vmjit.fuzz.tiers import Benches
from vmjit.guest import get

SHOWN = 12  # differences of one mismatch


@dataclass(frozen=True)
class Finding:
    """A program that shows a defect; `seed` is that of the program it was before it was shrunk."""

    seed: int
    oracle: str
    program: Program
    verdict: Verdict

    @property
    def mismatch(self) -> Mismatch:
        assert self.verdict.mismatch is not None
        return self.verdict.mismatch


def summary(finding: Finding) -> str:
    """One line."""
    mismatch = finding.mismatch
    if mismatch.message:
        return f"seed {finding.seed}: {mismatch.tier} {mismatch.kind}: {mismatch.message.splitlines()[-1]}"
    names = ", ".join(list(mismatch.different)[:SHOWN]) + (", ..." if len(mismatch.different) > SHOWN else "")
    return f"seed {finding.seed}: {mismatch.tier} {mismatch.kind} from {finding.oracle}: {names}"


def report(finding: Finding) -> str:
    """All there is to see: differences, program, code, IR."""
    return "\n".join(f"== {title}\n{text.rstrip()}\n" for title, text in _parts(finding))


def _parts(finding: Finding) -> Iterator[tuple[str, str]]:
    mismatch, program = finding.mismatch, finding.program
    yield summary(finding), f"again: vmjit fuzz --seed {finding.seed} --programs 1 --oracle {finding.oracle}"
    if mismatch.message:
        yield "message", mismatch.message
    if mismatch.different:
        yield "differences", differences_text(mismatch.different)
    yield "program", program_text(program)
    yield "code", listing(program)
    yield from _ir(program)


def _ir(program: Program) -> Iterator[tuple[str, str]]:
    """The region at the program's start, as for a program of which nothing has run yet."""
    guest = get("riscv64")
    tracer = Tracer(guest.layout)
    plan = Former(guest.decode_table, tracer).form(program.start, Code.of(CODE, program.image[:CODE_SIZE]))
    if plan is None:
        return
    region = translate(plan, guest.layout, tracer, precise=program.precise)
    yield "ir", str(region)
    run_passes(region, Settings())
    yield "ir after all passes", str(region)


def golden_text(finding: Finding) -> str:
    """The program and how it should end: as the oracle says, or where that said nothing, the reference."""
    end = finding.verdict.end or _reference_end(finding.program)
    return f"; {summary(finding)}\n{program_text(finding.program)}{ARROW}{end_text(end, finding.program)}"


def _reference_end(program: Program) -> End:
    benches = Benches(("reference",))
    try:
        return benches.run("reference", program)
    finally:
        benches.close()


def save(finding: Finding, folder: str) -> str:
    """Write a golden file; its path."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{finding.mismatch.tier}_{finding.seed}.txt")
    with open(path, "w") as file:
        file.write(golden_text(finding))
    return path
