"""Attempts to leave the root, to change files, to reach a network."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.linux.conftest import Guest
from vmjit.linux.processes import share_environment
from vmjit.linux.sandbox import Root, Sandbox

CWD, CREAT, EXCL, WRONLY, RDWR, DIRECTORY, NOFOLLOW = -100, 0o100, 0o200, 1, 2, 0o200000, 0o400000
UNLINK_FOLDER, FOLLOW = 0x200, 0x400


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a secret, next to the root."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "file").write_text("mine")
    (folder / "sub" / "up").symlink_to("../../../../../../../../../../..")
    (folder / "absolute").symlink_to(outside)
    (folder / "relative").symlink_to("../outside")
    (folder / "direct").symlink_to(outside / "secret")
    (folder / "own").symlink_to("/file")
    return folder


@pytest.fixture
def confined(guest: Guest, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.chdir(root)
    guest.process.sandbox = Sandbox(root=str(root))
    guest.process.root = Root(str(root))
    guest.process.reserved_fds.add(guest.process.root.fd)
    yield guest
    os.close(guest.process.root.fd)


@pytest.fixture
def reader(guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    """One that may not change files."""
    (tmp_path / "file").write_text("text")
    monkeypatch.chdir(tmp_path)
    guest.process.sandbox = Sandbox(writes=False)
    return guest


def ways_out(outside: Path) -> list[bytes]:
    """Paths that would lead to the secret."""
    secret = os.fsencode(outside / "secret")
    return [
        secret,
        b"/../outside/secret",
        b"../outside/secret",
        b"sub/../../outside/secret",
        b"/absolute/secret",
        b"absolute/secret",
        b"relative/secret",
        b"/direct",
        b"sub/up" + secret,
        b"/proc/self/root" + secret,
        b"/proc/self/cwd/../outside/secret",
        b"/proc/1/root" + secret,
        b"/dev/../.." + secret,
        b"//" + secret,
    ]


def test_no_path_leads_out(confined: Guest, outside: Path) -> None:
    call, at = confined.call, confined.space(512)
    listed = sorted(os.listdir(outside))
    for path in ways_out(outside):
        results = [
            call("openat", CWD, path, 0),
            call("openat", CWD, path, os.O_PATH),
            call("openat", CWD, path, WRONLY | os.O_TRUNC),
            call("newfstatat", CWD, path, at),
            call("statx", CWD, path, 0, 0xFFF, at),
            call("statfs", path, at) if path != b"/direct" else -1,
            call("faccessat", CWD, path, 0),
            call("truncate", path, 0),
            call("fchmodat", CWD, path, 0o777),
            call("fchownat", CWD, path, os.getuid(), os.getgid()),
            call("utimensat", CWD, path, 0),
            call("setxattr", path, b"user.a", confined.put(b"x"), 1, 0),
            call("execve", path, 0, 0),
            call("chdir", os.path.dirname(path) or b"/nowhere") if path.count(b"outside") else -1,
            call("unlinkat", CWD, path, 0) if path != b"/direct" else -1,
            call("linkat", CWD, path, CWD, b"/taken", FOLLOW),
            call("renameat2", CWD, path, CWD, b"/taken") if path != b"/direct" else -1,
            call("mkdirat", CWD, os.path.dirname(path) + b"/new", 0o777) if path != b"/direct" else -1,
        ]
        assert all(result < 0 for result in results), (path, results)
    assert (outside / "secret").read_text() == "secret" and sorted(os.listdir(outside)) == listed


def test_paths_from_folders(confined: Guest, root: Path, outside: Path) -> None:
    call = confined.call
    deep = call("openat", CWD, b"sub/deep", DIRECTORY)
    assert deep >= 0
    assert call("openat", deep, b"../../../outside/secret", 0) == -errno.ENOENT
    found = call("openat", deep, b"../../../../../file", 0)
    assert os.read(found, 10) == b"mine"
    foreign = os.open(outside, os.O_RDONLY)
    assert call("openat", foreign, b"secret", 0) == -errno.ENOENT
    assert call("unlinkat", foreign, b"secret", 0) == -errno.ENOENT
    assert call("fchdir", foreign) == -errno.ENOENT
    assert call("fchdir", deep) == 0
    text = confined.space(100)
    assert call("getcwd", text, 100) == len(b"/sub/deep\0")
    assert confined.memory.read_cstring(text, 100) == b"/sub/deep"
    assert call("newfstatat", CWD, b"../../own", confined.space(128)) == 0
    os.chdir(outside)
    assert call("openat", CWD, b"secret", 0) == -errno.ENOENT
    assert call("getcwd", text, 100) == -errno.ENOENT
    for fd in (deep, found, foreign):
        os.close(fd)


def test_what_is_inside_works(confined: Guest, root: Path) -> None:
    call, at = confined.call, confined.space(200)
    fd = call("openat", CWD, b"/sub/new", CREAT | EXCL | RDWR, 0o640)
    assert os.write(fd, b"abc") == 3
    os.close(fd)
    assert (root / "sub/new").read_text() == "abc"
    assert call("linkat", CWD, b"/sub/new", CWD, b"/other") == 0
    assert call("renameat2", CWD, b"other", CWD, b"sub/third") == 0
    assert call("symlinkat", b"/sub/third", CWD, b"/link") == 0
    assert call("readlinkat", CWD, b"link", at, 100) == len(b"/sub/third")
    assert call("readlinkat", CWD, b"file", at, 100) == -errno.EINVAL
    assert call("truncate", b"/link", 1) == 0 and (root / "sub/third").read_text() == "a"
    assert call("fchmodat", CWD, b"/own", 0o600) == 0 and (root / "file").stat().st_mode & 0o777 == 0o600
    assert call("newfstatat", CWD, b"/link", at, 0x100) == 0
    assert struct.unpack("<I", confined.memory.read(at + 16, 4))[0] & 0o170000 == 0o120000
    assert call("mkdirat", CWD, b"/made/", 0o700) == 0 and call("unlinkat", CWD, b"made", UNLINK_FOLDER) == 0
    assert call("mkdirat", CWD, b"/", 0o700) == -errno.EBUSY
    assert call("mknodat", CWD, b"/node", 0o20600, 0x103) == -errno.EPERM
    assert call("openat", CWD, b"", 0) == -errno.ENOENT
    assert call("chdir", b"/sub/up/sub") == 0 and os.getcwd() == str(root / "sub")


def test_what_is_there_besides(confined: Guest, outside: Path) -> None:
    call, at = confined.call, confined.space(100)
    null = call("openat", CWD, b"/dev/null", WRONLY)
    assert null >= 0 and os.write(null, b"x") == 1
    assert call("openat", CWD, b"/dev/mem", 0) == -errno.ENOENT
    assert call("openat", CWD, b"/proc/self/mem", RDWR) == -errno.ENOENT
    status = call("openat", CWD, b"/proc/self/status", 0)
    assert b"Threads:" in os.read(status, 1000)
    assert call("readlinkat", CWD, b"/proc/self/root", at, 100) == 1
    assert call("readlinkat", CWD, b"/proc/self/cwd", at, 100) == 1
    foreign = os.open(outside / "secret", os.O_RDONLY)
    assert call("readlinkat", CWD, b"/proc/self/fd/%d" % foreign, at, 100) == len("(unreachable)")
    assert call("openat", CWD, b"/proc/self/fd/%d" % foreign, RDWR) == -errno.EACCES
    assert call("truncate", b"/dev/fd/%d" % foreign, 0) == -errno.ENOENT
    again = call("openat", CWD, b"/dev/fd/%d" % foreign, 0)
    assert os.read(again, 10) == b"secret"
    assert confined.process.root is not None
    assert call("openat", CWD, b"/dev/fd/%d" % confined.process.root.fd, 0) == -errno.EBADF
    for fd in (null, status, foreign, again):
        os.close(fd)


def test_a_host_that_is_all_inside(guest: Guest) -> None:
    """With / as root, the kernel's files of the emulator's process are still out of reach."""
    guest.process.sandbox, guest.process.root = Sandbox(root="/"), Root("/")
    for path in (b"/proc/self/mem", b"/proc/self/maps/../mem", b"/proc/%d/mem" % os.getpid(), b"/sys/kernel/mm"):
        assert guest.call("openat", CWD, path, 0) in (-errno.EACCES, -errno.ENOENT, -errno.ENOTDIR), path
    assert guest.call("openat", CWD, b"/proc/self/root/etc", 0) < 0
    os.close(guest.process.root.fd)


def unix(path: bytes) -> bytes:
    return struct.pack("<H", socket.AF_UNIX) + path + b"\0"


def test_sockets_have_their_names_inside(confined: Guest, root: Path, outside: Path) -> None:
    call = confined.call

    def with_address(name: str, fd: int, address: bytes) -> int:
        return call(name, fd, confined.put(address), len(address))

    server = socket.socket(socket.AF_UNIX)
    server.bind(str(outside / "server"))
    server.listen()
    first, second = call("socket", 1, 1, 0), call("socket", 1, 1, 0)
    for path in (os.fsencode(outside / "server"), b"/relative/server", b"../outside/server"):
        assert with_address("connect", first, unix(path)) == -errno.ENOENT
    assert with_address("bind", first, unix(b"/relative/mine")) == -errno.ENOENT
    assert with_address("bind", first, unix(b"/sub/mine")) == 0
    assert (root / "sub/mine").is_socket()
    at, size = confined.space(128), confined.put(struct.pack("<i", 128))
    assert call("getsockname", first, at, size) == 0
    assert confined.memory.read(at, 12) == unix(b"/sub/mine")
    assert call("listen", first, 1) == 0
    assert with_address("connect", second, unix(b"sub/../sub/mine")) == 0
    server.close()
    os.close(first)
    os.close(second)


def test_a_root_that_is_none() -> None:
    with pytest.raises(FileNotFoundError):
        Root("/no/such/folder")


def test_nothing_is_changed(reader: Guest, tmp_path: Path) -> None:
    call, erofs = reader.call, -errno.EROFS
    before = (tmp_path / "file").stat()
    for name, *arguments in (
        ("openat", CWD, b"file", WRONLY),
        ("openat", CWD, b"file", os.O_TRUNC),
        ("openat", CWD, b"new", CREAT, 0o600),
        ("openat", CWD, b".", 0o20000000 | DIRECTORY | RDWR, 0o600),
        ("mkdirat", CWD, b"new", 0o700),
        ("mknodat", CWD, b"new", 0o600),
        ("symlinkat", b"file", CWD, b"new"),
        ("linkat", CWD, b"file", CWD, b"new"),
        ("unlinkat", CWD, b"file"),
        ("renameat2", CWD, b"file", CWD, b"new"),
        ("truncate", b"file", 0),
        ("fchmodat", CWD, b"file", 0),
        ("fchmodat2", CWD, b"file", 0, 0),
        ("fchownat", CWD, b"file", 0, 0),
        ("utimensat", CWD, b"file", 0),
        ("setxattr", b"file", b"user.a", 0, 0),
        ("removexattr", b"file", b"user.a"),
        ("faccessat", CWD, b"file", os.W_OK),
    ):
        assert call(str(name), *arguments) == erofs, name
    assert call("openat", CWD, b"file", CREAT | EXCL) == -errno.EEXIST
    assert call("mkdirat", CWD, b"file", 0o700) == -errno.EEXIST
    assert call("openat", CWD, b"none", 0) == -errno.ENOENT
    fd = call("openat", CWD, b"file", CREAT)
    assert os.read(fd, 10) == b"text"
    assert call("fchmod", fd, 0) == call("fsetxattr", fd, b"user.a", 0, 0) == call("utimensat", fd, 0, 0) == erofs
    os.close(fd)
    address = unix(b"socket")
    server = call("socket", 1, 1, 0)
    assert call("bind", server, reader.put(address), len(address)) == erofs
    os.close(server)
    after = (tmp_path / "file").stat()
    assert sorted(os.listdir(tmp_path)) == ["file"] and after[:9] == before[:9]


def test_pipes_and_devices_are_written(reader: Guest, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = reader.call("openat", CWD, b"fifo", RDWR)
    null = reader.call("openat", CWD, b"/dev/null", WRONLY | CREAT | os.O_TRUNC)
    assert os.write(fifo, b"x") == os.write(null, b"x") == 1
    os.close(fifo)
    os.close(null)


def test_no_network(guest: Guest) -> None:
    guest.process.sandbox = Sandbox(network=False)
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, 40):
        assert guest.call("socket", family, 1, 0) == -errno.EACCES
    assert guest.call("socketpair", socket.AF_INET, 1, 0, guest.space(8)) == -errno.EACCES
    fd = guest.call("socket", socket.AF_UNIX, 1, 0)
    assert fd >= 0
    os.close(fd)


def test_a_sandboxed_guest_does_not_configure_the_emulator(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else it could name a folder with code for it."""
    process = guest.process
    process.env_option, process.unset_option = b"--env", b"--unset"
    monkeypatch.setattr(os, "environb", {b"HOME": b"/home", b"VMJIT_SYSROOT": b"/r"})
    given = {b"HOME": b"/home", b"VMJIT_CACHE_DIR": b"/mine"}
    assert share_environment(process, given) == (given, [])
    process.sandbox = Sandbox(network=False)
    ours, options = share_environment(process, given)
    assert ours == os.environb
    assert options == [b"--unset", b"VMJIT_SYSROOT", b"--env", b"VMJIT_CACHE_DIR=/mine"]
