"""A campaign: jobs try one program after another until the time is over; then what was found is shrunk and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from time import monotonic

from vmjit.fuzz.jobs import Done, Job, Setup
from vmjit.fuzz.report import Finding
from vmjit.fuzz.shrink import Shrinker

BATCH = 8  # seeds of one request
ENOUGH = 20  # mismatches: more would not say more
SHRINKING = 60.0  # seconds for one mismatch
SHRUNK = 5  # mismatches; the others are named by their seeds


@dataclass
class Progress:
    """What was done so far."""

    programs: int = 0
    instructions: int = 0
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """`programs` is None for as many as there is time for."""

    setup: Setup
    seed: int
    seconds: float
    programs: int | None = None
    jobs: int = 1


Say = Callable[[Progress], None]


def run(plan: Plan, progress: Progress, say: Say) -> None:
    """Try programs; `say` is called every now and then, and for each mismatch."""
    began = monotonic()
    batches = _batches(plan)
    jobs = [Job(plan.setup) for _ in range(plan.jobs)]
    try:
        busy = {job for job in jobs if _go_on(job, batches)}
        while busy:
            wait([job.connection for job in busy], 1.0)
            for job in list(busy):
                done = job.take()
                if done is not None:
                    _count(plan, progress, done)
                if not job.seeds and not (_may_go_on(plan, progress, began) and _go_on(job, batches)):
                    busy.discard(job)
            progress.seconds = monotonic() - began
            say(progress)
    finally:
        for job in jobs:
            job.stop()


def _batches(plan: Plan) -> Iterator[range]:
    seed, end = plan.seed, None if plan.programs is None else plan.seed + plan.programs
    while end is None or seed < end:
        following = seed + BATCH if end is None else min(end, seed + BATCH)
        yield range(seed, following)
        seed = following


def _go_on(job: Job, batches: Iterator[range]) -> bool:
    seeds = next(batches, None)
    if seeds is not None:
        job.ask_seeds(seeds)
    return seeds is not None


def _may_go_on(plan: Plan, progress: Progress, began: float) -> bool:
    return monotonic() - began < plan.seconds and len(progress.findings) < ENOUGH


def _count(plan: Plan, progress: Progress, done: Done) -> None:
    progress.programs += done.seed is not None
    progress.instructions += done.verdict.instructions
    if done.verdict.mismatch is not None:
        assert done.seed is not None and done.program is not None
        progress.findings.append(Finding(done.seed, plan.setup.oracle, done.program, done.verdict))


def shrunk(finding: Finding, setup: Setup, seconds: float = SHRINKING) -> Finding:
    """The finding with a program as small as it will be."""
    job = Job(replace(setup, limit=setup.limit // 4, patience=min(setup.patience, seconds / 12)))
    mismatch = finding.mismatch
    try:
        shrinker = Shrinker(lambda program: mismatch.is_like(job.judge(program, mismatch.tier).mismatch), seconds)
        program = shrinker.shrink(finding.program)
        verdict = job.judge(program, mismatch.tier)
    finally:
        job.stop()
    return replace(finding, program=program, verdict=verdict) if verdict.mismatch is not None else finding
