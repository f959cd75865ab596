"""Every C program of tests/programs/c behaves under vmjit as under qemu-riscv64: same standard output, same exit code.

Each is built static at -O0 and -O2 and run in every tier (the reference tier, the slow one, only sees the -O2 builds).
"""

from pathlib import Path

import pytest
from guest_runs import (
    FAST_TIERS,
    PROGRAMS,
    TIERS,
    Build,
    Invocation,
    Judge,
    run_vmjit,
)

SOURCES = sorted((PROGRAMS / "c").glob("*.c"))
BUILDS = [("-O2", tier) for tier in TIERS] + [("-O0", tier) for tier in FAST_TIERS]


@pytest.mark.parametrize(("optimisation", "tier"), BUILDS, ids=["".join(build) for build in BUILDS])
@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_same_as_qemu(
    source: Path, optimisation: str, tier: str, build_program: Build, judge: Judge, tmp_path: Path
) -> None:
    program = build_program(source, optimisation)
    invocation = Invocation.of_source(source)
    expected = judge(program, invocation)
    if invocation.code is not None:
        assert expected.code == invocation.code
    assert expected.stdout, "a program that prints nothing tests nothing"
    outcome = run_vmjit(tier, program, invocation, tmp_path)
    assert outcome == expected
