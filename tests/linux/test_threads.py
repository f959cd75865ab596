import errno
import os
import struct
import threading
import time

import pytest

from tests.linux.conftest import Guest

WAIT, WAKE, WAIT_BITSET, PRIVATE = 0, 1, 9, 128


def word(guest: Guest, value: int) -> int:
    return guest.put(struct.pack("<I", value))


def test_private_futex(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    at = word(guest, 5)
    short = guest.put(struct.pack("<qq", 0, 5_000_000))
    assert guest.call("futex", at, WAKE | PRIVATE, 1) == 0
    assert guest.call("futex", at, WAIT | PRIVATE, 4) == -errno.EAGAIN
    before = time.monotonic()
    assert guest.call("futex", at, WAIT | PRIVATE, 5, short) == -errno.ETIMEDOUT
    assert time.monotonic() - before >= 0.005
    assert guest.call("futex", at, WAIT_BITSET | PRIVATE, 5, short, 0, 0xFFFFFFFF) == -errno.ETIMEDOUT
    assert capfd.readouterr().err == ""
    assert guest.call("futex", at, WAIT | PRIVATE, 5) == -errno.EAGAIN
    assert "wait for ever" in capfd.readouterr().err
    assert guest.call("futex", at + 1, WAKE | PRIVATE, 1) == -errno.EINVAL
    assert guest.call("futex", 0x9000000, WAIT | PRIVATE, 1) == -errno.EFAULT
    assert guest.call("futex", at, 77 | PRIVATE, 1) == -errno.ENOSYS


def test_a_shared_futex_wakes_another_process(guest: Guest) -> None:
    shared = guest.call("mmap", 0, 4096, 3, 0x21, -1, 0)
    pid = guest.call("clone", 17)
    if pid == 0:
        time.sleep(0.02)
        guest.memory.write(shared, struct.pack("<I", 1))
        os._exit(0 if guest.call("futex", shared, WAKE, 1) in (0, 1) else 1)
    limit = guest.put(struct.pack("<qq", 10, 0))
    assert guest.call("futex", shared, WAIT, 0, limit) in (0, -errno.EAGAIN)
    assert guest.memory.read(shared, 4) == struct.pack("<I", 1)
    status = guest.space(4)
    assert guest.call("wait4", pid, status) == pid
    assert guest.memory.read(status, 4) == bytes(4)


def test_thread_bookkeeping(guest: Guest) -> None:
    at = guest.space(16)
    assert guest.call("gettid") == threading.get_native_id()
    assert guest.call("set_tid_address", at) == threading.get_native_id()
    assert guest.call("set_robust_list", 0x1234, 24) == 0
    assert guest.call("set_robust_list", 0x1234, 25) == -errno.EINVAL
    assert guest.call("get_robust_list", 0, at, at + 8) == 0
    assert struct.unpack("<QQ", guest.memory.read(at, 16)) == (0x1234, 24)
    assert guest.call("rseq", at, 32, 0, 0) == -errno.ENOSYS


def test_membarrier(guest: Guest) -> None:
    commands = guest.call("membarrier", 0)
    assert commands & 8  # private expedited
    assert guest.call("membarrier", 16) == 0
    assert guest.call("membarrier", 8) == 0
    assert guest.call("membarrier", 3) == -errno.EINVAL
