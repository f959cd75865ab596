import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from tests.linux.conftest import Guest

CWD = -100
UNMAPPED = 0x9000000
NOFOLLOW, REMOVEDIR, EMPTY_PATH = 0x100, 0x200, 0x1000
STAT = struct.Struct("<QQIIIIQQqiiqqQqQqQII")


def stat_of(guest: Guest, address: int) -> os.stat_result:
    fields = STAT.unpack(guest.memory.read(address, 128))
    return os.stat_result(
        (fields[2], fields[1], fields[0], fields[3], fields[4], fields[5], fields[8], 0, fields[14], 0)
    )


def test_openat_creates_with_mode_and_inherits_unless_cloexec(guest: Guest) -> None:
    before = os.umask(0o022)
    fd = guest.call("openat", CWD, b"new", os.O_CREAT | os.O_RDWR, 0o777)
    cloexec = guest.call("openat", CWD, b"new", os.O_RDONLY | os.O_CLOEXEC, 0)
    assert os.get_inheritable(fd)
    assert not os.get_inheritable(cloexec)
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o755
    assert guest.call("umask", 0o777077) == 0o022
    assert os.umask(before) == 0o077
    for number in (fd, cloexec):
        os.close(number)


def test_openat_errors(guest: Guest) -> None:
    Path("link").symlink_to("nowhere")
    assert guest.call("openat", CWD, b"missing", 0) == -errno.ENOENT
    assert guest.call("openat", CWD, b"", 0) == -errno.ENOENT
    assert guest.call("openat", CWD, UNMAPPED, 0) == -errno.EFAULT
    assert guest.call("openat", CWD, 0, 0) == -errno.EFAULT
    assert guest.call("openat", 999, b"x", 0) == -errno.EBADF
    assert guest.call("openat", CWD, b"x" * 5000, 0) == -errno.ENAMETOOLONG
    assert guest.call("openat", CWD, b".", os.O_WRONLY) == -errno.EISDIR
    assert guest.call("openat", CWD, b"link", os.O_NOFOLLOW) == -errno.ELOOP


def test_openat_relative_to_a_directory(guest: Guest) -> None:
    os.mkdir("sub")
    directory = os.open("sub", os.O_RDONLY)
    fd = guest.call("openat", directory, b"file", os.O_CREAT | os.O_WRONLY, 0o600)
    assert os.path.exists("sub/file")
    os.close(fd)
    os.close(directory)


@pytest.mark.parametrize("name", ["fstat", "newfstatat"])
def test_stat_has_the_guest_layout(guest: Guest, name: str) -> None:
    Path("file").write_bytes(b"x" * 5000)
    os.utime("file", ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    fd, at = os.open("file", os.O_RDONLY), guest.space(128)
    assert (guest.call("fstat", fd, at) if name == "fstat" else guest.call("newfstatat", CWD, b"file", at, 0)) == 0
    real, fields = os.stat("file"), STAT.unpack(guest.memory.read(at, 128))
    os.close(fd)
    assert fields[:7] == (
        real.st_dev,
        real.st_ino,
        real.st_mode,
        real.st_nlink,
        real.st_uid,
        real.st_gid,
        real.st_rdev,
    )
    assert fields[8:12] == (5000, real.st_blksize, 0, real.st_blocks)
    assert fields[12:16] == (1_500_000_000, 123_456_789, 1_600_000_000, 987_654_321)


def test_newfstatat_flags(guest: Guest) -> None:
    Path("file").write_bytes(b"x")
    Path("link").symlink_to("file")
    at = guest.space(128)
    assert guest.call("newfstatat", CWD, b"link", at, NOFOLLOW) == 0
    assert stat.S_ISLNK(stat_of(guest, at).st_mode)
    assert guest.call("newfstatat", CWD, b"link", at, 0) == 0
    assert stat.S_ISREG(stat_of(guest, at).st_mode)
    fd = os.open("file", os.O_RDONLY)
    assert guest.call("newfstatat", fd, b"", at, EMPTY_PATH) == 0
    assert stat_of(guest, at).st_ino == os.stat("file").st_ino
    assert guest.call("newfstatat", CWD, 0, at, EMPTY_PATH) == 0
    assert stat_of(guest, at).st_ino == os.stat(".").st_ino
    assert guest.call("newfstatat", fd, b"", at, 0) == -errno.ENOENT
    assert guest.call("newfstatat", CWD, b"file", UNMAPPED, 0) == -errno.EFAULT
    assert guest.call("newfstatat", CWD, b"file", at, 0x8000) == -errno.EINVAL
    assert guest.call("fstat", 999, at) == -errno.EBADF
    os.close(fd)


def test_statx(guest: Guest) -> None:
    Path("file").write_bytes(b"x" * 77)
    at = guest.space(256)
    assert guest.call("statx", CWD, b"file", 0, 0x7FF, at) == 0
    data = guest.memory.read(at, 256)
    assert struct.unpack_from("<H", data, 28)[0] == os.stat("file").st_mode
    assert struct.unpack_from("<QQ", data, 32) == (os.stat("file").st_ino, 77)
    assert guest.call("statx", CWD, b"missing", 0, 0x7FF, at) == -errno.ENOENT


def test_statfs(guest: Guest) -> None:
    at = guest.space(120)
    assert guest.call("statfs", b".", at) == 0
    _, block_size, blocks = struct.unpack_from("<qqq", guest.memory.read(at, 120))
    assert (block_size, blocks) == (os.statvfs(".").f_bsize, os.statvfs(".").f_blocks)
    fd = os.open(".", os.O_RDONLY)
    assert guest.call("fstatfs", fd, at) == 0
    os.close(fd)
    assert guest.call("statfs", b"missing", at) == -errno.ENOENT


def test_readlinkat(guest: Guest) -> None:
    Path("link").symlink_to("target")
    at = guest.space(16)
    assert guest.call("readlinkat", CWD, b"link", at, 16) == 6
    assert guest.memory.read(at, 7) == b"target\0"
    assert guest.call("readlinkat", CWD, b"link", at, 3) == 3
    assert guest.call("readlinkat", CWD, b"link", at, 0) == -errno.EINVAL
    assert guest.call("readlinkat", CWD, b".", at, 16) == -errno.EINVAL


def test_access(guest: Guest) -> None:
    Path("file").write_bytes(b"")
    os.chmod("file", 0o644)
    assert guest.call("faccessat", CWD, b"file", os.R_OK) == 0
    assert guest.call("faccessat", CWD, b"file", os.X_OK) == -errno.EACCES
    assert guest.call("faccessat", CWD, b"missing", os.F_OK) == -errno.ENOENT
    assert guest.call("faccessat", CWD, b"file", 0x100) == -errno.EINVAL
    assert guest.call("faccessat2", CWD, b"file", os.R_OK, 0x200) == 0


def test_directory_entries(guest: Guest) -> None:
    assert guest.call("mkdirat", CWD, b"dir", 0o700) == 0
    assert guest.call("mkdirat", CWD, b"dir", 0o700) == -errno.EEXIST
    assert guest.call("mknodat", CWD, b"dir/fifo", stat.S_IFIFO | 0o600, 0) == 0
    assert stat.S_ISFIFO(os.stat("dir/fifo").st_mode)
    assert guest.call("symlinkat", b"fifo", CWD, b"dir/link") == 0
    assert os.readlink("dir/link") == "fifo"
    assert guest.call("linkat", CWD, b"dir/fifo", CWD, b"dir/second", 0) == 0
    assert guest.call("renameat2", CWD, b"dir/second", CWD, b"dir/third", 0) == 0
    assert guest.call("renameat2", CWD, b"dir/third", CWD, b"dir/fifo", 1) == -errno.EEXIST
    assert sorted(os.listdir("dir")) == ["fifo", "link", "third"]
    assert guest.call("unlinkat", CWD, b"dir", 0) in (-errno.EISDIR, -errno.EPERM)
    assert guest.call("unlinkat", CWD, b"dir", REMOVEDIR) == -errno.ENOTEMPTY
    for name in (b"fifo", b"link", b"third"):
        assert guest.call("unlinkat", CWD, b"dir/" + name, 0) == 0
    assert guest.call("unlinkat", CWD, b"dir", REMOVEDIR) == 0
    assert guest.call("unlinkat", CWD, b"dir", 0x40) == -errno.EINVAL


def test_sizes(guest: Guest) -> None:
    Path("file").write_bytes(b"12345")
    fd = os.open("file", os.O_RDWR)
    assert guest.call("ftruncate", fd, 3) == 0
    assert guest.call("truncate", b"file", 2) == 0
    assert guest.call("truncate", b"file", -1) == -errno.EINVAL
    assert guest.call("fallocate", fd, 0, 0, 100) == 0
    assert os.stat("file").st_size == 100
    os.close(fd)


def test_attributes(guest: Guest) -> None:
    Path("file").write_bytes(b"")
    fd = os.open("file", os.O_RDWR)
    assert guest.call("fchmod", fd, 0o640) == 0
    assert stat.S_IMODE(os.stat("file").st_mode) == 0o640
    assert guest.call("fchmodat", CWD, b"file", 0o600) == 0
    assert stat.S_IMODE(os.stat("file").st_mode) == 0o600
    assert guest.call("fchown", fd, -1, -1) == 0
    assert guest.call("fchownat", CWD, b"file", os.getuid(), -1, 0) == 0
    os.close(fd)


def test_utimensat(guest: Guest) -> None:
    Path("file").write_bytes(b"")
    fd = os.open("file", os.O_RDWR)
    omit = (1 << 30) - 2
    assert guest.call("utimensat", CWD, b"file", guest.put(struct.pack("<4q", 10, 20, 30, 40)), 0) == 0
    assert (os.stat("file").st_atime_ns, os.stat("file").st_mtime_ns) == (10_000_000_020, 30_000_000_040)
    assert guest.call("utimensat", fd, 0, guest.put(struct.pack("<4q", 0, omit, 50, 60)), 0) == 0
    assert (os.stat("file").st_atime_ns, os.stat("file").st_mtime_ns) == (10_000_000_020, 50_000_000_060)
    assert guest.call("utimensat", CWD, b"file", 0, 0) == 0
    assert os.stat("file").st_mtime > 1e9
    assert guest.call("utimensat", CWD, b"file", guest.put(struct.pack("<4q", 0, 1 << 40, 0, 0)), 0) == -errno.EINVAL
    os.close(fd)


def test_working_directory(guest: Guest, tmp_path: Path) -> None:
    os.mkdir("dir")
    assert guest.call("chdir", b"dir") == 0
    at, path = guest.space(4096), os.fsencode(tmp_path / "dir")
    assert guest.call("getcwd", at, 4096) == len(path) + 1
    assert guest.memory.read_cstring(at) == path
    assert guest.call("getcwd", at, len(path)) == -errno.ERANGE
    assert guest.call("getcwd", UNMAPPED, 4096) == -errno.EFAULT
    fd = os.open("..", os.O_RDONLY)
    assert guest.call("fchdir", fd) == 0
    assert Path.cwd() == tmp_path
    assert guest.call("chdir", b"missing") == -errno.ENOENT
    os.close(fd)


def test_extended_attributes(guest: Guest) -> None:
    Path("file").write_bytes(b"")
    at, value = guest.space(64), guest.put(b"value")
    set_result = guest.call("setxattr", b"file", b"user.key", value, 5, 0)
    if set_result == -errno.ENOTSUP:
        assert guest.call("getxattr", b"file", b"user.key", at, 64) == -errno.ENOTSUP
        return
    assert set_result == 0
    assert guest.call("getxattr", b"file", b"user.key", at, 64) == 5
    assert guest.memory.read(at, 5) == b"value"
    assert guest.call("getxattr", b"file", b"user.key", 0, 0) == 5
    assert guest.call("getxattr", b"file", b"user.key", at, 2) == -errno.ERANGE
    assert guest.call("llistxattr", b"file", at, 64) >= 9
    assert b"user.key\0" in guest.memory.read(at, 64)
    fd = os.open("file", os.O_RDONLY)
    assert guest.call("fremovexattr", fd, b"user.key") == 0
    assert guest.call("fgetxattr", fd, b"user.key", at, 64) == -errno.ENODATA
    os.close(fd)
