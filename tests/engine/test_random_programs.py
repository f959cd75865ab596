"""Random programs end alike in every tier: stop, registers, floating-point flags, count of instructions and memory.

RANDOM_PROGRAMS=1000 asks for that many, RANDOM_SEED=5000 for others; `vmjit fuzz` does it for as long as one likes.
"""

import os
from functools import cache

import pytest

from vmjit.debug import Settings
from vmjit.fuzz.judge import Judge
from vmjit.fuzz.programs import random_program
from vmjit.fuzz.text import differences_text, program_text

COUNT = int(os.environ.get("RANDOM_PROGRAMS", "128"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
GROUP = 8  # programs of one test
TIERS = ("interpreter", "jit", "auto")


@cache
def judge() -> Judge:
    return Judge("reference", TIERS, Settings(verify=True))


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, GROUP))
def test_every_tier_comes_to_the_same_end(first: int) -> None:
    compiled = 0
    for seed in range(first, first + GROUP):
        program = random_program(seed)
        mismatch = judge().judge(program).mismatch
        if mismatch is not None:
            text = mismatch.message or differences_text(mismatch.different)
            pytest.fail(f"seed {seed}: {mismatch.tier} {mismatch.kind}\n{text}\n{program_text(program)}")
        compiled += sum(bench.hart.counters.regions for bench in judge().benches.by_tier.values())
    assert compiled
