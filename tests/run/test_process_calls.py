"""Calls about processes that qemu-riscv64 lacks or does otherwise; the text is what the program prints on Linux."""

from pathlib import Path

import pytest
from guest_runs import PROGRAMS, TIERS, Build, Invocation, run_vmjit

EXPECTED = {
    "process_descriptors": """\
clone: 3, closed by exec: 1
ended: 1
waited: 1007, then ECHILD
clone3: 3, own id: 1
runs: 0 0
signal: 0, waited: 2015
signal: ESRCH
ignored: 3, ended: 1, waited: ECHILD
their file: 1 1 0
none: EBADF
waited: 2009
two answers in one place: EINVAL
nowhere: EFAULT
no children: ECHILD
""",
    "shared_vfork": """\
program: 0, ended with 7
missing: ENOENT
folder: EACCES
no program: EACCES
file action: ENOENT
vfork: 2 3 6 4 5 210, ended with 9
stores: 3 4 5 6 7 8 2 3 4 5 6 7 8 9, ended with 0
executed: 11, ended with 11
calls: by the kernel, 1, 12, ended with 0
nested: 21, ended with 2
killed: 30, ended with 1015
with threads: 0
from a thread: program: 0, ended with 13
from a thread: missing: ENOENT
program: 0, ended with 7
""",
}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", EXPECTED)
def test_as_on_linux(build_program: Build, name: str, tier: str, tmp_path: Path) -> None:
    program = build_program(PROGRAMS / "without_qemu" / f"{name}.c", "-O2")
    done = run_vmjit(tier, program, Invocation(), tmp_path)
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED[name], 0, b"")
