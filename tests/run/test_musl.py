"""Programs on another C library than GNU's, as Alpine Linux has them: shipped ones, see tests/programs/musl/main.c."""

import os
from pathlib import Path

import pytest
from guest_runs import FAST_TIERS, PROGRAMS, Invocation, Outcome, run_vmjit

# What qemu-riscv64 makes of it.
EXPECTED = Outcome(b"10000 4000 2.4901922555080249 2\n0 4\n000000ff|ab    |+7|last\n7\n", 3)


@pytest.mark.parametrize("tier", FAST_TIERS)
def test_static(tier: str, tmp_path: Path) -> None:
    assert run_vmjit(tier, PROGRAMS / "musl" / "static", Invocation(("last",)), tmp_path) == EXPECTED


def test_dynamic(tmp_path: Path) -> None:
    sysroot = Path(os.environ.get("VMJIT_TEST_SYSROOT", "/nowhere"))
    if not (sysroot / "lib" / "ld-musl-riscv64.so.1").exists():
        pytest.skip("VMJIT_TEST_SYSROOT names no folder with musl's dynamic linker")
    program = PROGRAMS / "musl" / "dynamic"
    assert run_vmjit("auto", program, Invocation(("last",)), tmp_path, ("-L", str(sysroot))) == EXPECTED
