import errno
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


def test_the_root_is_its_own_parent(guest: Guest, sysroot: Path, tmp_path: Path) -> None:
    (tmp_path / "above").write_bytes(b"above the sysroot")
    assert contents(guest, b"/.././../etc/passwd") == b"inside"
    assert guest.call("openat", CWD, b"/../above", 0) == -errno.ENOENT
    found = []
    for path in (b"/", b"/..", b"/."):
        at = guest.space(128)
        assert guest.call("newfstatat", CWD, path, at, 0x100) == 0
        found.append(int.from_bytes(guest.memory.read(at + 8, 8), "little"))
    assert found == [os.stat(sysroot).st_ino] * 3


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
    assert b"isa\t\t: rv64imafdc_zicntr_" in contents(guest, b"/proc/cpuinfo")


def test_proc_self_status_is_the_hosts_with_names_memory_and_signals_of_the_guest(guest: Guest) -> None:
    guest.memory.map(0x800000, 1 << 20, 7)
    handler = guest.put((0x1234).to_bytes(8, "little") + bytes(16))
    assert guest.call("rt_sigaction", 10, handler, 0, 8) == 0
    lines = dict(line.split(b":\t", 1) for line in contents(guest, b"/proc/self/status").splitlines())
    assert lines[b"Name"] == b"program"
    assert lines[b"Pid"] == b"%d" % os.getpid()
    assert lines[b"Threads"] == b"1"
    assert lines[b"VmSize"].strip() == b"2048 kB"  # with the test's scratch memory
    assert int(lines[b"SigCgt"], 16) == 1 << 9
    size, resident, *_ = map(int, contents(guest, b"/proc/self/statm").split())
    assert 0 < resident <= size == 512


def test_proc_self_stat(guest: Guest) -> None:
    guest.process.name = b"a) b"
    guest.process.brk_start, guest.process.code, guest.process.initial_sp = 0x77000, (0x10000, 0x12000), 0x3FF0
    line = contents(guest, b"/proc/self/stat")
    name = b"%d (a) b) " % os.getpid()
    assert line.startswith(name)
    fields = [b"", b"", b"", *line[len(name) :].split()]
    assert len(fields) == 53
    assert int(fields[4]) == os.getppid()
    assert [int(fields[n]) for n in (20, 23, 26, 27, 28, 47)] == [1, 1 << 20, 0x10000, 0x12000, 0x3FF0, 0x77000]


@pytest.mark.parametrize(
    "path", [b"/proc//self/./comm", b"/proc/self/fd/../comm", b"/proc/self/task/%d/comm", b"/proc/%d/comm"]
)
def test_own_files_have_many_names(guest: Guest, path: bytes) -> None:
    assert contents(guest, path % os.getpid() if b"%" in path else path) == b"program\n"


def test_own_files_relative_to_a_folder(guest: Guest) -> None:
    folder = guest.call("openat", CWD, b"/proc/self", 0o200000)
    assert folder >= 0
    at = guest.space(256)
    fd = guest.call("openat", folder, b"comm", 0)
    assert guest.call("read", fd, at, 100) == 8
    assert guest.call("readlinkat", folder, b"exe", at, 256) == len(guest.process.executable)
    os.chdir("/proc/self")
    assert contents(guest, b"cmdline") == b"program\0arg\0"


def test_what_a_sysroot_has_empty_is_the_hosts(guest: Guest, sysroot: Path) -> None:
    for name in ("dev", "proc", "sys", "devel"):
        (sysroot / name).mkdir()
        (sysroot / name / "null").write_bytes(b"below the sysroot")
    at = guest.space(128)
    assert guest.call("newfstatat", CWD, b"/dev/null", at, 0) == 0
    assert int.from_bytes(guest.memory.read(at + 16, 4), "little") & 0o170000 == 0o020000
    assert guest.call("newfstatat", CWD, b"/proc/null", at, 0) < 0
    assert contents(guest, b"/devel/null") == b"below the sysroot"


def test_proc_self_maps(guest: Guest) -> None:
    guest.process.brk_start = guest.process.brk_end = 0x400000
    guest.call("brk", 0x402000)
    guest.memory.map(0x500000, 4096, 5, shared=True)
    lines = contents(guest, b"/proc/self/maps").decode().splitlines()
    ranges = [line.split()[0] for line in lines]
    assert "400000-402000" in ranges
    assert next(line for line in lines if line.startswith("400000")).endswith("[heap]")
    assert next(line for line in lines if line.startswith("500000")).split()[1] == "r-xs"


def test_proc_self_maps_names_files(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(3 * 4096))
    fd = os.open(path, os.O_RDONLY)
    guest.memory.map(0x600000, 8192, 1, fd=fd, offset=4096)
    os.close(fd)
    lines = contents(guest, b"/proc/self/maps").decode().splitlines()
    _, _, offset, device, inode, name = next(line for line in lines if line.startswith("600000")).split()
    found = path.stat()
    assert (offset, name) == ("00001000", str(path))
    assert (device, int(inode)) == (f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", found.st_ino)
