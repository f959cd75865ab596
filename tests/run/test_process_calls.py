"""Calls about and between processes that qemu-riscv64 lacks or does otherwise; the text is what Linux makes of it."""

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
    "ipc": """\
set: 0 1 2 3 7 of 3, mode 600, own 1, changed 1
mode: 640
no wait: EAGAIN
in time: EAGAIN
waited: 0
left: 0
removed: 0, then EINVAL
sent: 0 0, there: 2, bytes 13
of kind 1: 6 1 first
too long: E2BIG
cut: 3 2 sec
none: ENOMSG
interrupted: EINTR
received: 13 9 from a child
no kind: EINVAL
removed: 0
segment: 10000 bytes, 2 times, creator 1
same: 42, apart: 1
of the child: 43
detached: 0, then EINVAL
in place: 1 43
taken: EINVAL
removed: 0
still there: 43
gone: EINVAL
queue: 0, again: EEXIST
sent: 0 0 EMSGSIZE
holds 2 of 4, each at most 32
received: 5 5 high
received: 4 1 low
in time: ETIMEDOUT
notify: 0
told: 1 99
empty: EAGAIN
unlinked: 0, then ENOENT
""",
}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", EXPECTED)
def test_as_on_linux(build_program: Build, name: str, tier: str, tmp_path: Path) -> None:
    program = build_program(PROGRAMS / "without_qemu" / f"{name}.c", "-O2")
    done = run_vmjit(tier, program, Invocation(), tmp_path)
    assert (done.stdout.decode(), done.code, done.stderr) == (EXPECTED[name], 0, b"")
