"""Robust mutexes with priority inheritance are passed on when their owner ends.

qemu-riscv64 keeps no lists of robust locks, so it is no judge: the text is what the program prints on a Linux machine.
"""

from pathlib import Path

import pytest
from guest_runs import PROGRAMS, TIERS, Build, Invocation, run_vmjit

EXPECTED = """\
ended before: EOWNERDEAD, repaired: 0, unlocked: 0, again: 0
ended before: EOWNERDEAD, unlocked: 0, again: ENOTRECOVERABLE
ended meanwhile: 1, then 2
process ended: EOWNERDEAD, repaired: 0, unlocked: 0
process ended: EOWNERDEAD, repaired: 0, unlocked: 0
"""


@pytest.mark.parametrize("tier", TIERS)
def test_owners_that_end(build_program: Build, tier: str, tmp_path: Path) -> None:
    program = build_program(PROGRAMS / "without_qemu" / "robust_pi.c", "-O2")
    done = run_vmjit(tier, program, Invocation(), tmp_path)
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED, 0, b"")
