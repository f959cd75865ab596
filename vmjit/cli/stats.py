"""The counters of a run, for `vmjit run --stats`: on stderr, one subject a line."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmjit.machine import Machine


def print_stats(machine: Machine) -> None:
    """Print them when the guest has ended."""
    for subject, text in rows(machine):
        print(f"{subject + ':':22} {text}", file=sys.stderr)


def rows(machine: Machine) -> list[tuple[str, str]]:
    """Subject and text."""
    hart, counters = machine.hart, machine.hart.counters
    instructions, seconds = hart.instructions, machine.seconds
    stages = {**counters.seconds}
    spent = sum(stages.values())
    copies = hart.shared.copies
    found = [
        ("guest instructions", f"{instructions:,}"),
        ("run time", f"{seconds:.3f} s, {instructions / max(seconds, 1e-9) / 1e6:.1f} MIPS"),
        (
            "regions",
            f"{counters.regions} of {counters.compiled_instructions} instructions, {counters.code_bytes} bytes of code",
        ),
        ("copies", f"{copies.made} of {copies.instructions} instructions" if copies else "none"),
        ("cache hits", f"{counters.cache_hits} of {counters.regions} regions"),
        ("compiled", f"{counters.compiled_here}, {counters.refused} refused, {len(counters.failures)} failed"),
        ("compile time", f"{spent:.3f} s in the worker" if spent else "none"),
        *((f"  {stage}", f"{time * 1000:.1f} ms") for stage, time in stages.items()),
        ("exits", f"{counters.exits.total():,}"),
        *((f"  {reason.lower()}", f"{count:,}") for reason, count in counters.exits.most_common()),
    ]
    if hart.tlb is not None:
        counted = asdict(hart.tlb.statistics())
        if not hart.settings.counts_hits:
            del counted["hits"]
        found += [("TLB", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counted.items()))]
    return found + [("failed", text) for text in counters.failures]
