import errno
import os
import struct
import time
from collections.abc import Iterator

import pytest

from tests.linux.conftest import Guest

UNMAPPED = 0x9000000
POLLIN, POLLOUT, POLLNVAL = 1, 4, 32


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_ppoll(guest: Guest, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    entries = guest.put(struct.pack("<ihhihhihh", reader, POLLIN, 0, writer, POLLOUT, 0, 999, POLLIN, 0))
    zero = guest.put(bytes(16))
    assert guest.call("ppoll", entries, 3, zero, 0, 8) == 2
    assert struct.unpack("<ihhihhihh", guest.memory.read(entries, 24))[2::3] == (0, POLLOUT, POLLNVAL)
    os.write(writer, b"x")
    assert guest.call("ppoll", entries, 1, 0, 0, 8) == 1
    assert guest.call("ppoll", UNMAPPED, 1, zero, 0, 8) == -errno.EFAULT
    assert guest.call("ppoll", entries, 1 << 30, zero, 0, 8) == -errno.EINVAL
    before = time.monotonic()
    assert guest.call("ppoll", 0, 0, guest.put(struct.pack("<qq", 0, 5_000_000)), 0, 8) == 0
    assert time.monotonic() - before >= 0.005


def test_pselect(guest: Guest, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    zero = guest.put(bytes(16))
    readable, writable = (
        guest.put((1 << reader).to_bytes(16, "little")),
        guest.put((1 << writer).to_bytes(16, "little")),
    )
    count = max(pipe) + 1
    assert guest.call("pselect6", count, readable, writable, 0, zero, 0) == 1
    assert guest.memory.read(readable, 8) == bytes(8)
    assert int.from_bytes(guest.memory.read(writable, 16), "little") == 1 << writer
    assert guest.call("pselect6", -1, 0, 0, 0, zero, 0) == -errno.EINVAL
    assert guest.call("pselect6", 0, 0, 0, 0, zero, 0) == 0
    assert guest.call("pselect6", count, UNMAPPED, 0, 0, zero, 0) == -errno.EFAULT


def test_epoll_keeps_all_64_bits_of_data(guest: Guest, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    epoll = guest.call("epoll_create1", 0o2000000)
    event = guest.put(struct.pack("<I4xQ", POLLIN, 0x1122334455667788))
    assert guest.call("epoll_ctl", epoll, 1, reader, event) == 0
    assert guest.call("epoll_ctl", epoll, 1, reader, event) == -errno.EEXIST
    found = guest.space(64)
    assert guest.call("epoll_pwait", epoll, found, 4, 0, 0, 8) == 0
    os.write(writer, b"x")
    assert guest.call("epoll_pwait", epoll, found, 4, -1, 0, 8) == 1
    assert struct.unpack("<I4xQ", guest.memory.read(found, 16)) == (POLLIN, 0x1122334455667788)
    assert guest.call("epoll_ctl", epoll, 2, reader, 0) == 0
    assert guest.call("epoll_pwait", epoll, found, 0, 0, 0, 8) == -errno.EINVAL
    os.close(epoll)


def test_epoll_pwait2_takes_a_timespec(guest: Guest, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    epoll = guest.call("epoll_create1", 0o2000000)
    assert guest.call("epoll_ctl", epoll, 1, reader, guest.put(struct.pack("<I4xQ", POLLIN, 7))) == 0
    found, soon = guest.space(64), guest.put(struct.pack("<qq", 0, 1))
    assert guest.call("epoll_pwait2", epoll, found, 4, soon, 0, 8) == 0
    os.write(writer, b"x")
    assert guest.call("epoll_pwait2", epoll, found, 4, 0, 0, 8) == 1
    assert guest.call("epoll_pwait2", epoll, found, 4, guest.put(struct.pack("<qq", 0, -1)), 0, 8) == -errno.EINVAL
    os.close(epoll)
