import errno
import os
import stat
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.linux.conftest import Guest
from vmjit.guest import get
from vmjit.linux import Exited, processes
from vmjit.linux.processes import find_program
from vmjit.linux.sandbox import Sandbox
from vmjit.linux.signal_frame import UserRegisters

SIGCHLD = 17
VM, PIDFD, VFORK, THREAD, PARENT_SETTID, CHILD_SETTID = 0x100, 0x1000, 0x4000, 0x10000, 0x100000, 0x1000000
DETACHED = 0x400000
WNOHANG, WEXITED, WNOWAIT = 1, 4, 0x1000000
P_PIDFD = 3
SHOW = "import json,os,sys;print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def number_at(guest: Guest, address: int) -> int:
    return int.from_bytes(guest.memory.read(address, 4), "little", signed=True)


@pytest.mark.parametrize("name", ["exit", "exit_group"])
def test_exit_carries_the_low_byte(guest: Guest, name: str) -> None:
    with pytest.raises(Exited) as caught:
        guest.call(name, 0x1FF03)
    assert caught.value.status == 3


def test_fork_and_wait4(guest: Guest) -> None:
    parent_tid, child_tid, status, usage = (guest.space(144) for _ in range(4))
    pid = guest.call("clone", SIGCHLD | PARENT_SETTID | CHILD_SETTID, 0, parent_tid, 0, child_tid)
    if pid == 0:
        os._exit(7 if number_at(guest, child_tid) == os.getpid() and number_at(guest, parent_tid) == 0 else 1)
    assert pid > 0
    assert number_at(guest, parent_tid) == pid
    assert guest.call("wait4", -1, status, 0, usage) == pid
    assert number_at(guest, status) == 7 << 8
    assert guest.memory.read(usage + 32, 8) != bytes(8)  # ru_maxrss
    assert guest.call("wait4", -1, status, 0, 0) == -errno.ECHILD
    assert guest.call("wait4", -1, status, 0x100, 0) == -errno.EINVAL


@pytest.mark.parametrize("flags", [SIGCHLD, SIGCHLD | VM | VFORK, SIGCHLD | PIDFD | VFORK])
def test_a_fork_that_fails_leaves_nothing_behind(guest: Guest, flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    guest.process.before_fork = lambda: called.append("before")
    guest.process.after_fork_in_parent = lambda: called.append("parent")

    def fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", fork)
    before = os.listdir("/proc/self/fd")
    assert guest.call("clone", flags, 0, guest.space(4)) == -errno.EAGAIN
    assert called == ["before", "parent"] and os.listdir("/proc/self/fd") == before


def test_a_descriptor_of_the_child(guest: Guest) -> None:
    at, before = guest.space(4), len(os.listdir("/proc/self/fd"))
    lowest = os.dup(0)
    os.close(lowest)
    pid = guest.call("clone", SIGCHLD | PIDFD, 0, at)
    if pid == 0:
        os._exit(7 if number_at(guest, at) == 0 else 1)
    pidfd = number_at(guest, at)
    assert pidfd == lowest and not os.get_inheritable(pidfd)
    assert len(os.listdir("/proc/self/fd")) == before + 1 and not guest.process.gates
    info = guest.space(128)
    assert guest.call("waitid", P_PIDFD, pidfd, info, WEXITED, 0) == 0
    assert struct.unpack_from("<iii4xiIi", guest.memory.read(info, 128))[3:] == (pid, os.getuid(), 7)
    assert not guest.process.children
    os.close(pidfd)


def test_who_gets_no_descriptor_gets_no_child(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    at = guest.space(4)
    for flags in (PARENT_SETTID, DETACHED, THREAD | 0xF00):
        assert guest.call("clone", SIGCHLD | PIDFD | flags, 0, at) == -errno.EINVAL
    assert guest.call("clone", SIGCHLD | PIDFD, 0, 8) == -errno.EFAULT

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "no more descriptors")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = os.listdir("/proc/self/fd")
    for flags in (0, VFORK):
        pid = guest.call("clone", SIGCHLD | PIDFD | flags, 0, at)
        if pid == 0:
            os._exit(1)
        assert pid == -errno.EMFILE
    assert os.listdir("/proc/self/fd") == before
    assert guest.call("wait4", -1) == -errno.ECHILD


def test_clone3_has_a_place_for_the_descriptor(guest: Guest) -> None:
    pidfd, tid = guest.space(4), guest.space(4)
    same = guest.put(struct.pack("<8Q", PIDFD | PARENT_SETTID, tid, 0, tid, SIGCHLD, 0, 0, 0))
    assert guest.call("clone3", same, 64) == -errno.EINVAL
    arguments = guest.put(struct.pack("<8Q", PIDFD | PARENT_SETTID, pidfd, 0, tid, SIGCHLD, 0, 0, 0))
    pid = guest.call("clone3", arguments, 64)
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    assert number_at(guest, tid) == pid
    assert guest.call("pidfd_send_signal", number_at(guest, pidfd), 9, 0, 0) == 0
    assert guest.call("wait4", pid) == pid
    os.close(number_at(guest, pidfd))
    chosen = guest.put(struct.pack("<10Q", 0, 0, 0, 0, SIGCHLD, 0, 0, 0, tid, 1))
    assert guest.call("clone3", chosen, 80) == -errno.E2BIG
    assert guest.call("clone3", guest.put(struct.pack("<8Q", 1 << 33, 0, 0, 0, SIGCHLD, 0, 0, 0)), 64) == -errno.EINVAL


def test_a_descriptor_of_another_process(guest: Guest) -> None:
    own = os.pidfd_open(os.getpid())
    reader, writer = os.pipe()
    copy = guest.call("pidfd_getfd", own, writer, 0)
    assert copy >= 0 and not os.get_inheritable(copy)
    os.write(copy, b"x")
    assert os.read(reader, 1) == b"x"
    assert guest.call("pidfd_getfd", own, 999, 0) == -errno.EBADF
    assert guest.call("pidfd_getfd", own, writer, 1) == -errno.EINVAL
    guest.process.reserved_fds.add(writer)
    assert guest.call("pidfd_getfd", own, writer, 0) == -errno.EBADF
    guest.process.sandbox = Sandbox(writes=False)
    assert guest.call("pidfd_getfd", own, reader, 0) == -errno.EPERM
    for fd in (own, reader, writer, copy):
        os.close(fd)


def test_fork_does_not_mind_bad_addresses_for_ids(guest: Guest) -> None:
    """As in Linux, which stores them when the child is there."""
    pid = guest.call("clone", SIGCHLD | PARENT_SETTID | CHILD_SETTID, 0, 8, 0, 8)
    if pid == 0:
        os._exit(3)
    status = guest.space(4)
    assert pid > 0 and guest.call("wait4", pid, status) == pid
    assert number_at(guest, status) == 3 << 8


def test_execve_ends_the_children_of_the_emulator(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be the next program's."""
    hidden = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    guest.process.hidden_children.add(hidden)
    guest.process.emulator_argv = [b"emulator"]
    monkeypatch.setattr(processes, "find_program", lambda process, path, argv: (path, argv))
    assert guest.call("execve", b"program", 0, 0) == -errno.ENOENT
    with pytest.raises(ProcessLookupError):
        os.kill(hidden, 0)


def test_fork_calls_the_hooks(guest: Guest) -> None:
    called: list[str] = []
    process = guest.process
    process.before_fork = lambda: called.append("before")
    process.after_fork_in_parent = lambda: called.append("parent")
    process.after_fork_in_child = lambda: called.append("child")
    words = memoryview(bytearray(4096)).cast("Q")
    registers = process.thread.registers = UserRegisters(words, get("riscv64").layout.word)
    pid = guest.call("clone", SIGCHLD | VM | VFORK, 0x60000)
    if pid == 0:
        os._exit(0 if called == ["before", "child"] and registers.stack_pointer == 0x60000 else 1)
    assert called == ["before", "parent"]
    status = guest.space(4)
    assert guest.call("wait4", pid, status) == pid
    assert number_at(guest, status) == 0


def test_vfork_waits_for_the_child(guest: Guest) -> None:
    started = time.monotonic()
    before = os.listdir("/proc/self/fd")
    pid = guest.call("clone", SIGCHLD | VM | VFORK)
    if pid == 0:
        time.sleep(0.05)
        os._exit(0)
    assert time.monotonic() - started >= 0.05
    assert os.listdir("/proc/self/fd") == before
    assert guest.call("wait4", pid) == pid


def test_a_vfork_parent_sees_what_the_child_wrote(guest: Guest) -> None:
    """But nothing that was next to it, which another thread of the parent may have written meanwhile."""
    at, other = guest.put(b"....."), guest.put(b"other")
    waits, goes = os.pipe()
    other_thread = threading.Thread(target=lambda: os.read(waits, 1) and guest.memory.write(at, b"B"))
    other_thread.start()
    pid = guest.call("clone", SIGCHLD | VM | VFORK)
    if pid == 0:
        guest.memory.write(at + 2, b"A")
        os.write(goes, b"x")
        time.sleep(0.05)
        assert not any(guest.process.reserved_fds.usable)
        guest.process.end_thread()
        os._exit(0)
    other_thread.join()
    assert guest.memory.read(at, 5) == b"B.A.." and guest.memory.read(other, 5) == b"other"
    status = guest.space(4)
    assert guest.call("wait4", pid, status) == pid and number_at(guest, status) == 0
    assert all(guest.process.reserved_fds.usable)
    for fd in (waits, goes):
        os.close(fd)


@pytest.mark.parametrize("flags", [VFORK, VM, 0])
def test_other_parents_see_nothing(guest: Guest, flags: int) -> None:
    at = guest.put(b"parent")
    pid = guest.call("clone", SIGCHLD | flags)
    if pid == 0:
        guest.memory.write(at, b"child!")
        guest.process.end_thread()
        os._exit(0)
    assert guest.call("wait4", pid) == pid
    assert guest.memory.read(at, 6) == b"parent"


def test_a_child_of_a_vfork_child_has_its_own_memory(guest: Guest) -> None:
    at, status = guest.put(b"parent"), guest.space(4)
    pid = guest.call("clone", SIGCHLD | VM | VFORK)
    if pid == 0:
        below = guest.call("clone", SIGCHLD)
        if below == 0:
            guest.memory.write(at, b"below!")
            guest.process.end_thread()
            os._exit(0 if all(guest.process.reserved_fds.usable) else 1)
        guest.call("wait4", below, status)
        guest.process.end_thread()
        os._exit(0)
    assert guest.call("wait4", pid, 0) == pid
    assert guest.memory.read(at, 6) == b"parent" and number_at(guest, status) == 0


def test_waitid_reports_without_reaping(guest: Guest) -> None:
    pid, info = guest.call("clone", SIGCHLD), guest.space(128)
    if pid == 0:
        os._exit(9)
    assert guest.call("waitid", 1, pid, info, WEXITED | WNOWAIT, 0) == 0
    assert guest.call("waitid", 0, 0, info, WEXITED, 0) == 0
    fields = struct.unpack_from("<iii4xiIi", guest.memory.read(info, 128))
    assert fields == (SIGCHLD, 0, 1, pid, os.getuid(), 9)
    assert guest.call("waitid", 0, 0, info, WEXITED, 0) == -errno.ECHILD
    assert guest.call("waitid", 0, 0, info, 0, 0) == -errno.EINVAL


def test_children_of_the_emulator_stay_hidden(guest: Guest) -> None:
    mine = os.fork()
    if mine == 0:
        os._exit(0)
    guest.process.hidden_children.add(mine)
    assert guest.call("wait4", -1, 0, WNOHANG) == -errno.ECHILD
    pid = guest.call("clone", SIGCHLD)
    if pid == 0:
        os._exit(0 if not guest.process.hidden_children else 1)
    assert guest.call("wait4", -1, 0, 0) == pid
    slow = guest.call("clone", SIGCHLD)
    if slow == 0:
        time.sleep(0.05)
        os._exit(0)
    assert guest.call("wait4", 0, 0, WNOHANG) == 0
    assert guest.call("waitid", 0, 0, 0, WEXITED, 0) == 0
    assert guest.call("wait4", -1, 0, 0) == -errno.ECHILD
    assert os.waitpid(mine, 0)[0] == mine


def elf(machine: int = 243, kind: int = 2) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", kind, machine) + bytes(44)


def program(name: str, contents: bytes, mode: int = 0o755) -> bytes:
    path = Path(name)
    path.write_bytes(contents)
    path.chmod(mode)
    return os.fsencode(path.resolve())


def test_execve_runs_the_emulator(guest: Guest) -> None:
    import json

    path = program("-guest", elf())
    guest.process.emulator_argv = [os.fsencode(word) for word in (sys.executable, "-I", "-c", SHOW)]
    guest.process.argv0_option, guest.process.env_option, guest.process.unset_option = b"--argv0", b"--env", b"--unset"
    reader, writer = os.pipe()
    pid = guest.call("clone", SIGCHLD)
    if pid == 0:
        os.dup2(writer, 1)
        guest.call(
            "execve", b"-guest", guest.pointers(b"zero", b"one"), guest.pointers(b"NAME=a=b", b"rubbish", b"LD_X=y")
        )
        os._exit(1)
    os.close(writer)
    with open(reader) as output:
        arguments, environment = json.load(output)
    assert guest.call("wait4", pid) == pid
    assert arguments == ["--argv0", "zero", "--env", "LD_X=y", os.fsdecode(path), "one"]
    assert environment["NAME"] == "a=b"
    assert "HOME" not in environment and "LD_X" not in environment


def test_execveat_names_a_file_by_folder_or_descriptor(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr("vmjit.linux.processes.execute", lambda process, path, argv, env: asked.append(path) or 0)
    path = program("guest", elf())
    folder, file = os.open(".", os.O_RDONLY), os.open("guest", os.O_RDONLY)
    for arguments in ((folder, b"guest", 0, 0, 0), (file, b"", 0, 0, 0x1000), (folder, path, 0, 0, 0)):
        assert guest.call("execveat", *arguments) == 0
    assert asked == [path] * 3
    os.symlink("guest", "link")
    assert guest.call("execveat", -100, b"link", 0, 0, 0x100) == -errno.ELOOP
    assert guest.call("execveat", file, b"", 0, 0, 0) == -errno.ENOENT
    assert guest.call("execveat", -100, b"guest", 0, 0, 1) == -errno.EINVAL
    os.close(folder)
    os.close(file)


def test_scripts_run_their_interpreter(guest: Guest) -> None:
    interpreter = program("interp", elf(kind=3))
    script = program("script", b"#! " + interpreter + b"  -x  y \nrest")
    nested = program("nested", b"#!" + script + b"\n")
    assert find_program(guest.process, b"script", [b"zero", b"one"]) == (
        interpreter,
        [interpreter, b"-x  y", b"script", b"one"],
    )
    assert find_program(guest.process, nested, [b"zero"]) == (
        interpreter,
        [interpreter, b"-x  y", script, nested],
    )


@pytest.mark.parametrize(
    ("contents", "mode", "expected"),
    [
        (elf(), 0o644, errno.EACCES),
        (elf(machine=62), 0o755, errno.ENOEXEC),
        (elf(kind=1), 0o755, errno.ENOEXEC),
        (b"echo text\n", 0o755, errno.ENOEXEC),
        (b"#!\n", 0o755, errno.ENOEXEC),
        (b"#!/no/such/interpreter\n", 0o755, errno.ENOENT),
        (b"", 0o755, errno.ENOEXEC),
    ],
)
def test_execve_errors_come_before_the_exec(guest: Guest, contents: bytes, mode: int, expected: int) -> None:
    program("program", contents, mode)
    assert guest.call("execve", b"program", 0, 0) == -expected


def test_execve_errors_of_paths(guest: Guest) -> None:
    program("ok", elf())
    program("recursive", b"#!recursive\n")
    assert guest.call("execve", b"missing", 0, 0) == -errno.ENOENT
    assert guest.call("execve", b"ok/below", 0, 0) == -errno.ENOTDIR
    assert guest.call("execve", b".", 0, 0) == -errno.EACCES
    assert guest.call("execve", b"recursive", 0, 0) == -errno.ELOOP
    assert guest.call("execve", b"ok", 0x9000000, 0) == -errno.EFAULT
    assert guest.call("execve", b"ok", guest.put(struct.pack("<Q", 0x9000000)), 0) == -errno.EFAULT
    assert stat.S_ISREG(os.stat("ok").st_mode)
