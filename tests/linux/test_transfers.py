import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.linux import Killed
from vmjit.memory.address_space import READ, WRITE

PAGE = 4096
END = SCRATCH + SCRATCH_SIZE
UNMAPPED = 0x9000000


@pytest.fixture
def fd(guest: Guest) -> Iterator[int]:
    number = os.open("file", os.O_RDWR | os.O_CREAT)
    os.write(number, b"0123456789")
    os.lseek(number, 0, os.SEEK_SET)
    yield number
    os.close(number)


def iovec(guest: Guest, *pairs: tuple[int, int]) -> int:
    return guest.put(b"".join(struct.pack("<QQ", *pair) for pair in pairs))


def test_tee_leaves_what_it_copies(guest: Guest) -> None:
    reader, writer = os.pipe()
    other, copy = os.pipe()
    os.write(writer, b"text")
    assert guest.call("tee", reader, copy, 3, 0) == 3
    assert os.read(other, 9) == b"tex" and os.read(reader, 9) == b"text"
    assert guest.call("tee", reader, copy, 3, 2) == -errno.EAGAIN
    assert guest.call("tee", reader, writer, 3, 0) == -errno.EINVAL
    for number in (reader, writer, other, copy):
        os.close(number)


def test_memory_goes_into_pipes_and_comes_out(guest: Guest) -> None:
    reader, writer = os.pipe()
    text, place = guest.put(b"some text"), guest.space(16)
    assert guest.call("vmsplice", writer, iovec(guest, (text, 4), (text + 5, 4)), 2, 0) == 8
    assert guest.call("vmsplice", reader, iovec(guest, (place, 3), (place + 8, 9)), 2, 0) == 8
    assert guest.memory.read(place, 16) == b"som\0\0\0\0\0etext\0\0\0"
    assert guest.call("vmsplice", reader, iovec(guest, (place, 3)), 1, 2) == -errno.EAGAIN
    assert guest.call("vmsplice", writer, iovec(guest, (UNMAPPED, 3)), 1, 0) == -errno.EFAULT
    assert guest.call("vmsplice", writer, UNMAPPED, 1, 0) == -errno.EFAULT
    for number in (reader, writer):
        os.close(number)
    assert guest.call("vmsplice", reader, text, 1, 0) == -errno.EBADF


def test_memory_of_the_process_itself(guest: Guest) -> None:
    text, place, pid = guest.put(b"some text"), guest.space(16), os.getpid()
    here, there = iovec(guest, (place, 16)), iovec(guest, (text, 4), (text + 5, 4))
    assert guest.call("process_vm_readv", pid, here, 1, there, 2, 0) == 8
    assert guest.memory.read(place, 9) == b"sometext\0"
    assert guest.call("process_vm_writev", pid, there, 2, iovec(guest, (place + 8, 8)), 1, 0) == 8
    assert guest.memory.read(place, 16) == b"sometextsometext"
    assert guest.call("process_vm_readv", pid, here, 1, iovec(guest, (UNMAPPED, 4)), 1, 0) == -errno.EFAULT
    assert guest.call("process_vm_readv", pid, here, 1, there, 2, 1) == -errno.EINVAL
    assert guest.call("process_vm_readv", os.getppid(), here, 1, there, 2, 0) == -errno.EPERM
    assert guest.call("process_vm_writev", 0x3FFFFFFF, here, 1, there, 2, 0) == -errno.ESRCH


def test_read_and_write(guest: Guest, fd: int) -> None:
    buffer = guest.space(16)
    assert guest.call("read", fd, buffer, 4) == 4
    assert guest.memory.read(buffer, 5) == b"0123\0"
    assert guest.call("write", fd, guest.put(b"xy"), 2) == 2
    assert guest.call("lseek", fd, -3, os.SEEK_CUR) == 3
    assert guest.call("read", fd, buffer, 16) == 7
    assert guest.memory.read(buffer, 7) == b"3xy6789"
    assert guest.call("read", fd, buffer, 16) == 0
    assert guest.call("read", fd, UNMAPPED, 0) == 0


def test_only_the_low_half_of_a_descriptor_counts(guest: Guest, fd: int) -> None:
    assert guest.call("read", 0xDEADBEEF00000000 | fd, guest.space(4), 4) == 4


def test_bad_addresses_and_descriptors(guest: Guest, fd: int) -> None:
    for bad in (0, UNMAPPED, 1 << 40, (1 << 64) - 1):
        assert guest.call("read", fd, bad, 4) == -errno.EFAULT
        assert guest.call("write", fd, bad, 4) == -errno.EFAULT
    assert guest.call("read", 999, UNMAPPED, 4) == -errno.EBADF
    guest.memory.map(0xA000000, PAGE, READ)
    assert guest.call("read", fd, 0xA000000, 4) == -errno.EFAULT
    assert guest.call("write", fd, 0xA000000, 4) == 4


def test_a_transfer_stops_where_memory_stops(guest: Guest, fd: int) -> None:
    assert guest.call("read", fd, END - 4, 10) == 4
    assert guest.memory.read(END - 4, 4) == b"0123"
    assert guest.call("write", fd, END - 4, 1 << 30) == 4
    assert guest.call("read", fd, SCRATCH, (1 << 31) + 5) == 2
    assert guest.call("pwrite64", fd, END - 4, (1 << 40), 0) == -errno.EFAULT


def test_vectors(guest: Guest, fd: int) -> None:
    first, second = guest.space(3), guest.space(16)
    assert guest.call("readv", fd, iovec(guest, (first, 3), (UNMAPPED, 0), (second, 16)), 3) == 10
    assert guest.memory.read(first, 3) + guest.memory.read(second, 7) == b"0123456789"
    out = iovec(guest, (guest.put(b"ab"), 2), (guest.put(b"c"), 1))
    assert guest.call("pwritev", fd, out, 2, 5) == 3
    assert guest.call("preadv", fd, iovec(guest, (second, 5)), 1, 4) == 5
    assert guest.memory.read(second, 5) == b"4abc8"
    assert guest.call("writev", fd, out, 0) == 0
    assert guest.call("preadv2", fd, iovec(guest, (second, 5)), 1, 0, 0, 0) == 5
    os.lseek(fd, 0, os.SEEK_SET)
    assert guest.call("preadv2", fd, iovec(guest, (second, 5)), 1, -1, -1, 0) == 5
    assert os.lseek(fd, 0, os.SEEK_CUR) == 5


def test_vectors_are_checked(guest: Guest, fd: int) -> None:
    buffer = guest.space(4)
    assert guest.call("readv", fd, UNMAPPED, 1) == -errno.EFAULT
    assert guest.call("readv", fd, buffer, -1) == -errno.EINVAL
    assert guest.call("readv", fd, buffer, 1025) == -errno.EINVAL
    assert guest.call("readv", fd, iovec(guest, (buffer, 1 << 63)), 1) == -errno.EINVAL
    assert guest.call("readv", fd, iovec(guest, (UNMAPPED, 4), (buffer, 4)), 2) == -errno.EFAULT
    assert guest.call("readv", fd, iovec(guest, (buffer, 4), (UNMAPPED, 4)), 2) == 4


def test_positioned(guest: Guest, fd: int) -> None:
    buffer = guest.space(4)
    assert guest.call("pread64", fd, buffer, 4, 6) == 4
    assert guest.memory.read(buffer, 4) == b"6789"
    assert guest.call("pread64", fd, buffer, 4, -1) == -errno.EINVAL
    assert guest.call("pwrite64", fd, buffer, 4, 0) == 4
    assert guest.call("lseek", fd, 0, 99) == -errno.EINVAL


def test_sendfile_and_copy_file_range_advance_their_offsets(guest: Guest, fd: int) -> None:
    out = os.open("out", os.O_RDWR | os.O_CREAT)
    offset = guest.put(struct.pack("<q", 2))
    assert guest.call("sendfile", out, fd, offset, 3) == 3
    assert guest.memory.read(offset, 8) == struct.pack("<q", 5)
    assert guest.call("copy_file_range", fd, offset, out, 0, 2, 0) == 2
    assert guest.memory.read(offset, 8) == struct.pack("<q", 7)
    assert guest.call("sendfile", out, fd, 0, 100) == 10
    os.close(out)
    assert Path("out").read_bytes() == b"23456" + b"0123456789"
    assert guest.call("copy_file_range", fd, 0, fd, 0, 1, 1) == -errno.EINVAL


def test_splice_moves_from_a_pipe(guest: Guest) -> None:
    read_end, write_end = os.pipe()
    out = os.open("out", os.O_RDWR | os.O_CREAT)
    os.write(write_end, b"piped")
    assert guest.call("splice", read_end, 0, out, 0, 100, 0) == 5
    for number in (read_end, write_end, out):
        os.close(number)
    assert Path("out").read_bytes() == b"piped"


def test_getdents64_lists_the_directory(guest: Guest, fd: int) -> None:
    os.mkdir("sub")
    directory = os.open(".", os.O_RDONLY)
    buffer, names = guest.space(512), {}
    size = guest.call("getdents64", directory, buffer, 512)
    data = guest.memory.read(buffer, size)
    while data:
        inode, _, length, kind = struct.unpack_from("<QqHB", data)
        names[data[19 : data.index(0, 19)]] = (inode, kind)
        data = data[length:]
    assert set(names) == {b".", b"..", b"file", b"sub"}
    assert names[b"file"] == (os.stat("file").st_ino, 8)
    assert names[b"sub"][1] == 4
    assert guest.call("getdents64", directory, buffer, 512) == 0
    assert guest.call("getdents64", directory, UNMAPPED, 512) == -errno.EFAULT
    assert guest.call("getdents64", fd, buffer, 512) == -errno.ENOTDIR
    os.close(directory)


def test_getdents64_hides_the_descriptors_of_the_emulator(guest: Guest, fd: int) -> None:
    guest.process.reserved_fds.add(fd)
    buffer = guest.space(4096)
    for path in ("/proc/self/fd", f"/proc/self/task/{os.getpid()}/fdinfo"):
        directory, names = os.open(path, os.O_RDONLY), []
        while size := guest.call("getdents64", directory, buffer, 48):  # hardly more than one entry
            data = guest.memory.read(buffer, size)
            while data:
                names.append(data[19 : data.index(0, 19)])
                data = data[struct.unpack_from("<H", data, 16)[0] :]
        assert b"%d" % directory in names and b"0" in names and b"%d" % fd not in names
        os.close(directory)
    guest.process.reserved_fds.discard(fd)


def test_getrandom(guest: Guest) -> None:
    buffer = guest.space(1000)
    assert guest.call("getrandom", buffer, 1000, 0) == 1000
    assert guest.memory.read(buffer, 1000).count(0) < 100
    assert guest.call("getrandom", buffer, 8, 0x100) == -errno.EINVAL
    assert guest.call("getrandom", UNMAPPED, 8, 0) == -errno.EFAULT


def test_a_broken_pipe_kills_unless_ignored(guest: Guest) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    data = guest.put(b"x")
    with pytest.raises(Killed, match="13"):
        guest.call("write", write_end, data, 1)
    guest.call("rt_sigaction", 13, guest.put(struct.pack("<QQQ", 1, 0, 0)), 0, 8)
    assert guest.call("write", write_end, data, 1) == -errno.EPIPE
    os.close(write_end)


def test_writable_means_writable(guest: Guest, fd: int) -> None:
    guest.memory.map(0xA000000, PAGE, WRITE)
    assert guest.call("read", fd, 0xA000000, 4) == 4
