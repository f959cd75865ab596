"""What programs find in their vDSO. qemu-riscv64 has none before version 8.2, so it is no judge."""

import subprocess
from pathlib import Path

import pytest
from conftest import BUILD_SECONDS, COMPILER
from guest_runs import PROGRAMS, TIERS, Build, Invocation, run_vmjit

SOURCE = PROGRAMS / "without_qemu" / "vdso.c"
SYSROOT = Path("/usr/riscv64-linux-gnu")
EXPECTED = """\
segment 101
name linux-vdso.so.1
mapping 1 r-xp
__vdso_rt_sigreturn 1
__vdso_gettimeofday 1
__vdso_clock_gettime 1
__vdso_clock_getres 1
__vdso_getcpu 1
__vdso_flush_icache 1
__vdso_riscv_hwprobe 1
clocks 15000
resolution 0 1
getcpu 0 1 1
flush_icache 0
hwprobe 0 1
returns to it 1
unwound 1 1
"""


@pytest.mark.parametrize("tier", [tier for tier in TIERS if tier != "reference"])
def test_static(build_program: Build, tier: str, tmp_path: Path) -> None:
    done = run_vmjit(tier, build_program(SOURCE, "-O2"), Invocation(), tmp_path)
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED, 0, b"")


def test_dynamic(build_program: Build, tmp_path: Path) -> None:
    if not (SYSROOT / "lib").exists():
        pytest.skip(f"{SYSROOT} has no C library for riscv64")
    program = tmp_path / "program"
    subprocess.run([COMPILER, "-O2", str(SOURCE), "-o", str(program)], check=True, timeout=BUILD_SECONDS)
    done = run_vmjit("auto", program, Invocation(), tmp_path, ("-L", str(SYSROOT)))
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED, 0, b"")
