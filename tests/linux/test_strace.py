import io
import os
import struct
from pathlib import Path

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.linux import Exited
from vmjit.linux.strace import FORMATTERS, quoted
from vmjit.linux.table import KINDS

CWD = -100


@pytest.fixture
def trace(guest: Guest) -> io.StringIO:
    stream = io.StringIO()
    guest.process.strace = stream
    return stream


def line(trace: io.StringIO) -> str:
    return trace.getvalue().splitlines()[-1]


def test_open(guest: Guest, trace: io.StringIO) -> None:
    fd = guest.call("openat", CWD, b"/etc/passwd", os.O_CLOEXEC)
    assert line(trace) == f'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC, 000) = {fd}'
    os.close(fd)
    guest.call("openat", 5, b"missing/x", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    assert line(trace).startswith('openat(5, "missing/x", O_RDWR|O_CREAT|O_TRUNC, 0644) = -1 E')
    guest.call("openat", CWD, b"missing", 0)
    assert line(trace).endswith("= -1 ENOENT (No such file or directory)")
    guest.call("openat", CWD, 0, 0)
    assert line(trace) == "openat(AT_FDCWD, NULL, O_RDONLY, 000) = -1 EFAULT (Bad address)"
    guest.call("openat", CWD, 0x9000000, 0)
    assert line(trace).startswith("openat(AT_FDCWD, 0x9000000,")
    guest.call("openat", CWD, b"long/" * 20, 0)
    assert f'"{"long/" * 20}"' in line(trace)


def test_data_is_escaped_and_cut(guest: Guest, trace: io.StringIO) -> None:
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    guest.call("write", fd, guest.put(b'a"\\\n\0\x019\xff'), 8)
    assert line(trace) == f'write({fd}, "a\\"\\\\\\n\\0\\0019\\377", 8) = 8'
    guest.call("write", fd, guest.put(b"x" * 40), 40)
    assert line(trace) == f'write({fd}, "{"x" * 32}"..., 40) = 40'
    guest.call("write", fd, SCRATCH + SCRATCH_SIZE - 4, 40)
    assert line(trace) == f"write({fd}, {SCRATCH + SCRATCH_SIZE - 4:#x}, 40) = 4"
    os.lseek(fd, 0, os.SEEK_SET)
    guest.call("read", fd, guest.space(16), 2)
    assert line(trace) == f'read({fd}, "a\\"", 2) = 2'
    guest.call("read", 999, SCRATCH, 2)
    assert line(trace) == f"read(999, {SCRATCH:#x}, 2) = -1 EBADF (Bad file descriptor)"
    os.close(fd)


def test_quoted() -> None:
    assert quoted(b"\t\r\x1b[0m") == '"\\t\\r\\33[0m"'


def test_memory_calls(guest: Guest, trace: io.StringIO) -> None:
    place = guest.call("mmap", 0, 8192, 3, 0x22, -1, 0)
    assert line(trace) == f"mmap(0, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = {place:#x}"
    guest.call("mprotect", place, 4096, 0)
    assert line(trace) == f"mprotect({place:#x}, 4096, PROT_NONE) = 0"


def test_results_in_memory(guest: Guest, trace: io.StringIO) -> None:
    at = guest.space(8)
    guest.call("pipe2", at, os.O_CLOEXEC)
    first, second = struct.unpack("<ii", guest.memory.read(at, 8))
    # O_RDONLY is what flags of 0 would be called.
    assert line(trace) == f"pipe2([{first}, {second}], O_RDONLY|O_CLOEXEC) = 0"
    os.close(first)
    os.close(second)
    guest.call("pipe2", 0x9000000, 0)
    assert line(trace).startswith("pipe2(0x9000000, ")


def test_names_of_numbers(guest: Guest, trace: io.StringIO) -> None:
    guest.call("rt_sigprocmask", 0, guest.put(struct.pack("<Q", 1 << 9 | 1 << 1)), 0, 8)
    assert line(trace) == "rt_sigprocmask(SIG_BLOCK, [INT USR1], NULL, 8) = 0"
    guest.call("kill", os.getpid(), 0)
    assert line(trace) == f"kill({os.getpid()}, 0) = 0"
    guest.call("lseek", 999, -5, 2)
    assert line(trace).startswith("lseek(999, -5, SEEK_END) = ")
    guest.call("nanosleep", guest.put(struct.pack("<qq", 0, 5)), 0)
    assert line(trace) == "nanosleep({tv_sec=0, tv_nsec=5}, NULL) = 0"
    guest.call("futex", guest.put(bytes(4)), 129, 1)
    assert "FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) = 0" in line(trace)
    guest.call("prlimit64", 0, 3, 0, 0)
    assert line(trace) == "prlimit64(0, RLIMIT_STACK, NULL, NULL) = 0"


def test_execve_lists_arguments(guest: Guest, trace: io.StringIO) -> None:
    guest.call("execve", b"missing", guest.pointers(b"a", b"b c"), 0)
    assert line(trace) == 'execve("missing", ["a", "b c"], NULL) = -1 ENOENT (No such file or directory)'


def test_calls_that_do_not_return(guest: Guest, trace: io.StringIO) -> None:
    with pytest.raises(Exited):
        guest.call("exit_group", 3)
    assert line(trace) == "exit_group(3) = ?"


def test_unknown_calls(guest: Guest, trace: io.StringIO) -> None:
    guest.call("bpf", 1, 2)
    assert line(trace) == "syscall_280(0x1, 0x2, 0x0, 0x0, 0x0, 0x0) = -1 ENOSYS (Function not implemented)"


def test_every_formatter_has_a_kind() -> None:
    assert set(FORMATTERS) <= set(KINDS)


def test_tracing_changes_no_result(guest: Guest, trace: io.StringIO) -> None:
    Path("file").write_bytes(b"abc")
    assert guest.call("newfstatat", CWD, b"file", guest.space(128), 0) == 0
    assert len(trace.getvalue().splitlines()) == 1
