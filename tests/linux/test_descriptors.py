import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from tests.linux.conftest import Guest

UNMAPPED = 0x9000000
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_DUPFD_CLOEXEC, F_GETPIPE_SZ = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    1030,
    1032,
)
O_CLOEXEC, O_NONBLOCK = 0o2000000, 0o4000


def ints(guest: Guest, address: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", guest.memory.read(address, 4 * count))


def test_pipe_dup_close(guest: Guest) -> None:
    at = guest.space(8)
    assert guest.call("pipe2", at, O_NONBLOCK) == 0
    reader, writer = ints(guest, at, 2)
    assert os.get_inheritable(reader)
    assert guest.call("read", reader, guest.space(4), 4) == -errno.EAGAIN
    copy = guest.call("dup", writer)
    assert os.get_inheritable(copy)
    assert guest.call("dup3", writer, copy + 5, O_CLOEXEC) == copy + 5
    assert not os.get_inheritable(copy + 5)
    assert guest.call("dup3", writer, writer, 0) == -errno.EINVAL
    assert guest.call("dup3", 999, 5, 0) == -errno.EBADF
    for fd in (reader, writer, copy, copy + 5):
        assert guest.call("close", fd) == 0
        assert guest.call("close", fd) == -errno.EBADF
    assert guest.call("pipe2", at, 1) == -errno.EINVAL


def test_a_pipe_that_cannot_be_returned_leaks_nothing(guest: Guest) -> None:
    before = os.listdir("/proc/self/fd")
    assert guest.call("pipe2", UNMAPPED, 0) == -errno.EFAULT
    assert os.listdir("/proc/self/fd") == before


def test_close_range_spares_the_emulator(guest: Guest) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    first = fcntl.fcntl(null, F_DUPFD, 300)
    second, mine = os.dup2(null, first + 1), os.dup2(null, first + 2)
    guest.process.reserved_fds.add(mine)
    assert guest.call("close_range", first, 0xFFFFFFFF, 4) == 0
    assert not os.get_inheritable(second)
    assert guest.call("close_range", first, 0xFFFFFFFF, 0) == 0
    assert guest.call("close", first) == -errno.EBADF
    assert guest.call("close", mine) == -errno.EBADF
    assert guest.call("dup3", null, mine, 0) == -errno.EBADF
    os.fstat(mine)
    assert guest.call("close_range", 5, 4, 0) == -errno.EINVAL
    os.close(mine)
    os.close(null)


def test_fcntl_flags(guest: Guest) -> None:
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    high = guest.call("fcntl", fd, F_DUPFD_CLOEXEC, 100)
    assert high >= 100
    assert guest.call("fcntl", high, F_GETFD) == 1
    assert guest.call("fcntl", high, F_SETFD, 0) == 0
    assert os.get_inheritable(high)
    assert guest.call("fcntl", fd, F_SETFL, O_NONBLOCK) == 0
    assert guest.call("fcntl", fd, F_GETFL) & (O_NONBLOCK | 3) == O_NONBLOCK | 2
    assert guest.call("fcntl", fd, 999) == -errno.EINVAL
    assert guest.call("fcntl", 999, 999) == -errno.EBADF
    os.close(fd)
    os.close(high)
    reader, writer = os.pipe()
    assert guest.call("fcntl", reader, F_GETPIPE_SZ) >= 4096
    os.close(reader)
    os.close(writer)


def test_record_locks_exclude_another_process(guest: Guest) -> None:
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    lock = guest.put(struct.pack("<hh4xqqi4x", fcntl.F_WRLCK, 0, 10, 20, 0))
    assert guest.call("fcntl", fd, F_SETLK, lock) == 0
    pid = os.fork()
    if pid == 0:
        asked = guest.put(struct.pack("<hh4xqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        result = guest.call("fcntl", fd, F_GETLK, asked)
        found = struct.unpack("<hh4xqqi4x", guest.memory.read(asked, 32))
        os._exit(0 if result == 0 and found == (fcntl.F_WRLCK, 0, 10, 20, os.getppid()) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert guest.call("fcntl", fd, F_SETLK, UNMAPPED) == -errno.EFAULT
    assert guest.call("flock", fd, fcntl.LOCK_EX) == 0
    os.close(fd)


def test_ioctl_on_a_terminal(guest: Guest) -> None:
    controller, terminal = os.openpty()
    at = guest.space(64)
    assert guest.call("ioctl", terminal, 0x5401, at) == 0
    before = guest.memory.read(at, 36)
    assert guest.call("ioctl", terminal, 0x5402, at) == 0
    assert guest.call("ioctl", terminal, 0x802C542A, at) == 0
    assert guest.memory.read(at, 36) == before
    assert guest.call("ioctl", terminal, 0x5414, guest.put(struct.pack("<4H", 33, 99, 0, 0))) == 0
    assert guest.call("ioctl", terminal, 0x5413, at) == 0
    assert struct.unpack("<4H", guest.memory.read(at, 8)) == (33, 99, 0, 0)
    assert guest.call("ioctl", terminal, 0x5413, UNMAPPED) == -errno.EFAULT
    os.close(controller)
    os.close(terminal)


def test_ioctl_elsewhere(guest: Guest) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"12345")
    at = guest.space(4)
    assert guest.call("ioctl", reader, 0x541B, at) == 0
    assert ints(guest, at, 1) == (5,)
    assert guest.call("ioctl", reader, 0x5421, guest.put(struct.pack("<i", 1))) == 0
    assert not os.get_blocking(reader)
    assert guest.call("ioctl", reader, 0x5401, at) == -errno.ENOTTY
    assert guest.call("ioctl", reader, 0x12345678, at) == -errno.ENOTTY
    assert guest.call("ioctl", 999, 0x12345678, at) == -errno.EBADF
    assert guest.call("ioctl", reader, 0x5451) == 0
    assert not os.get_inheritable(reader)
    os.close(reader)
    os.close(writer)


def test_ioctl_on_interfaces(guest: Guest) -> None:
    with socket.socket() as some:
        request = guest.put(struct.pack("<16s24x", b"lo"))
        assert guest.call("ioctl", some.fileno(), 0x8933, request) == 0  # SIOCGIFINDEX
        assert ints(guest, request + 16, 1) == (socket.if_nametoindex("lo"),)
        guest.memory.write(request, bytes(16))
        assert guest.call("ioctl", some.fileno(), 0x8910, request) == 0  # SIOCGIFNAME
        assert guest.memory.read(request, 16).rstrip(b"\0") == b"lo"
        guest.memory.write(request, b"nowhere\0")
        assert guest.call("ioctl", some.fileno(), 0x8933, request) == -errno.ENODEV
        assert guest.call("ioctl", some.fileno(), 0x8933, UNMAPPED) == -errno.EFAULT


def test_list_of_interfaces(guest: Guest) -> None:
    with socket.socket() as some:
        known = guest.put(struct.pack("<i4xQ", 0, 0))
        assert guest.call("ioctl", some.fileno(), 0x8912, known) == 0
        (size,) = ints(guest, known, 1)
        assert size >= 40 and size % 40 == 0
        room = guest.space(size)
        guest.memory.write(known, struct.pack("<i4xQ", size, room))
        assert guest.call("ioctl", some.fileno(), 0x8912, known) == 0
        listed = guest.memory.read(room, ints(guest, known, 1)[0])
        assert b"lo" in [listed[at : at + 16].rstrip(b"\0") for at in range(0, len(listed), 40)]
        guest.memory.write(known, struct.pack("<i4xQ", 1 << 30, UNMAPPED))
        assert guest.call("ioctl", some.fileno(), 0x8912, known) == -errno.EFAULT
        guest.memory.write(known, struct.pack("<i4xQ", -1, room))
        assert guest.call("ioctl", some.fileno(), 0x8912, known) == 0
        assert ints(guest, known, 1) == (0,)


def test_synchronising(guest: Guest) -> None:
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    assert guest.call("fsync", fd) == 0
    assert guest.call("fdatasync", fd) == 0
    assert guest.call("syncfs", fd) == 0
    assert guest.call("fadvise64", fd, 0, 0, 2) == 0
    assert guest.call("fsync", 999) == -errno.EBADF
    os.close(fd)


def test_descriptors_of_other_kinds(guest: Guest) -> None:
    event = guest.call("eventfd2", 7, O_NONBLOCK)
    at = guest.space(32)
    assert guest.call("read", event, at, 8) == 8
    assert guest.memory.read(at, 8) == (7).to_bytes(8, "little")
    memory = guest.call("memfd_create", b"name", 0)
    assert os.write(memory, b"data") == 4
    timer = guest.call("timerfd_create", 1, 0)
    assert guest.call("timerfd_settime", timer, 0, guest.put(struct.pack("<4q", 0, 0, 0, 1000)), 0) == 0
    assert guest.call("read", timer, at, 8) == 8
    assert guest.call("timerfd_gettime", timer, at) == 0
    assert guest.memory.read(at, 32) == bytes(32)
    watch = guest.call("inotify_init1", O_NONBLOCK)
    assert guest.call("inotify_add_watch", watch, b".", 0x100) == 1
    Path("created").write_bytes(b"")
    assert guest.call("read", watch, guest.space(256), 256) > 16
    assert guest.call("inotify_rm_watch", watch, 1) == 0
    for fd in (event, memory, timer, watch):
        os.close(fd)
