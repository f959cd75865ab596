"""A program that executes another goes on in the same process of the host, as execve(2) says.

qemu-riscv64 runs a program that a guest executes only where the host's kernel calls it for that, so it is no judge.
"""

from pathlib import Path

import pytest
from guest_runs import PROGRAMS, Build, Invocation, run_vmjit

SOURCE, CHAIN = (PROGRAMS / "without_qemu" / f"{name}.c" for name in ("execute_itself", "execute_chain"))
EXPECTED = """\
-1 1 -1 1
same process: 1
child: 1 42
descriptors: 1 0
blocked: 1 0, pending: 1
ignored: 1 0 1
timer: 1, limit: 100, mask: 27
arguments: another name, environment: hello
"""
SIGUSR2 = 12


@pytest.mark.parametrize("tier", ["interpreter", "auto", "tlb"])
def test_what_a_process_keeps(build_program: Build, tier: str, tmp_path: Path) -> None:
    done = run_vmjit(tier, build_program(SOURCE, "-O2"), Invocation(), tmp_path)
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED, 128 + SIGUSR2, b"")


def test_many_programs_one_after_another(build_program: Build, tmp_path: Path) -> None:
    """Each gives back the memory of the one before, or address space would run out."""
    done = run_vmjit("auto", build_program(CHAIN, "-O2"), Invocation(args=("200",)), tmp_path)
    assert (done.stdout, done.code, done.stderr) == (b"end\n", 0, b"")
