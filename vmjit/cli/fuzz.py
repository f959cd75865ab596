"""`vmjit fuzz`: random programs end alike in every tier, and as an oracle says; what does not is shrunk and shown.

The exit code is 1 if anything differed. What is shown goes to standard output, progress to standard error when that is
a terminal.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from vmjit.debug import Settings
from vmjit.fuzz.campaign import SHRUNK, Plan, Progress, run, shrunk
from vmjit.fuzz.jobs import Setup
from vmjit.fuzz.report import Finding, report, save, summary
from vmjit.fuzz.tiers import TIERS

if TYPE_CHECKING:
    import argparse

OK, MISMATCH = 0, 1
FRESH_SEEDS = 1 << 32
EVERY = 0.5  # seconds between two lines of progress


def main(options: argparse.Namespace) -> int:
    seed = random.SystemRandom().randrange(FRESH_SEEDS) if options.seed is None else options.seed
    Settings.from_environment()  # the jobs look at it: better complain here
    setup = Setup(options.oracle, tuple(options.tiers or TIERS))
    jobs = options.jobs or len(os.sched_getaffinity(0))
    progress = Progress()
    try:
        run(Plan(setup, seed, options.seconds, options.programs, jobs), progress, Display())
        show(progress.findings, setup, options.save)
    finally:  # also when it is interrupted
        print(
            f"{progress.programs} programs, {progress.instructions} instructions, "
            f"{len(progress.findings)} mismatches (seed {seed})"
        )
    return MISMATCH if progress.findings else OK


def show(findings: list[Finding], setup: Setup, folder: str | None) -> None:
    """Shrink and print the first of them, name the others."""
    for finding in findings[:SHRUNK]:
        small = shrunk(finding, setup)
        print(report(small))
        if folder is not None:
            print(f"saved as {save(small, folder)}\n")
    for finding in findings[SHRUNK:]:
        print(summary(finding))


@dataclass
class Display:
    """Says how it is going: each mismatch at once, and a line of counts on a terminal."""

    shown: int = 0  # mismatches
    next: float = 0.0

    def __call__(self, progress: Progress) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        for finding in progress.findings[self.shown :]:
            print(summary(finding), file=sys.stderr, flush=True)
            self.shown += 1
        if terminal and monotonic() >= self.next:
            self.next = monotonic() + EVERY
            rate = progress.programs / max(progress.seconds, 1e-9)
            text = f"{progress.programs} programs, {rate:.1f} a second, {len(progress.findings)} mismatches"
            print(text, end="\r", file=sys.stderr, flush=True)
