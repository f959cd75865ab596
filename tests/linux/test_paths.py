import os
from pathlib import Path

import pytest

from tests.linux.conftest import Guest

CWD = -100


def contents(guest: Guest, path: bytes) -> bytes:
    fd = guest.call("openat", CWD, path, 0)
    assert fd >= 0, os.strerror(-fd)
    with open(fd, "rb") as file:
        return file.read()


@pytest.fixture
def sysroot(guest: Guest, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_bytes(b"inside")
    (root / "etc/absolute").symlink_to("/etc/passwd")
    (root / "etc/loop").symlink_to("/etc/loop")
    guest.process.sysroot = os.fsencode(root)
    return root


def test_absolute_paths_are_tried_below_the_sysroot(guest: Guest, sysroot: Path, tmp_path: Path) -> None:
    assert contents(guest, b"/etc/passwd") == b"inside"
    assert contents(guest, b"/etc/absolute") == b"inside"
    (tmp_path / "outside").write_bytes(b"host file")
    assert contents(guest, os.fsencode(tmp_path / "outside")) == b"host file"
    at = guest.space(128)
    assert guest.call("newfstatat", CWD, b"/etc/absolute", at, 0x100) == 0
    assert int.from_bytes(guest.memory.read(at + 16, 4), "little") & 0o170000 == 0o120000
    assert guest.call("readlinkat", CWD, b"/etc/absolute", at, 100) == len("/etc/passwd")
    assert guest.call("openat", CWD, b"/etc/loop", 0) < 0


def test_proc_self_exe_is_the_guest(guest: Guest) -> None:
    at = guest.space(256)
    program = guest.process.executable
    for path in (b"/proc/self/exe", b"/proc/%d/exe" % os.getpid(), b"/proc/thread-self/exe"):
        assert guest.call("readlinkat", CWD, path, at, 256) == len(program)
        assert guest.memory.read(at, len(program)) == program
    Path(os.fsdecode(program)).write_bytes(b"guest program")
    assert contents(guest, b"/proc/self/exe") == b"guest program"
    assert guest.call("newfstatat", CWD, b"/proc/self/exe", at, 0) == 0
    assert int.from_bytes(guest.memory.read(at + 8, 8), "little") == os.stat(program).st_ino


def test_proc_self_files_describe_the_guest(guest: Guest) -> None:
    assert contents(guest, b"/proc/self/cmdline") == b"program\0arg\0"
    assert contents(guest, b"/proc/self/environ") == b"HOME=/\0"
    assert contents(guest, b"/proc/self/comm") == b"program\n"
    assert b"rv64" in contents(guest, b"/proc/cpuinfo")
    assert b"Pid:\t%d\n" % os.getpid() in contents(guest, b"/proc/self/status")


def test_proc_self_maps(guest: Guest) -> None:
    guest.process.brk_start = guest.process.brk_end = 0x400000
    guest.call("brk", 0x402000)
    guest.memory.map(0x500000, 4096, 5, shared=True)
    lines = contents(guest, b"/proc/self/maps").decode().splitlines()
    ranges = [line.split()[0] for line in lines]
    assert "400000-402000" in ranges
    assert next(line for line in lines if line.startswith("400000")).endswith("[heap]")
    assert next(line for line in lines if line.startswith("500000")).split()[1] == "r-xs"
