"""What is wrong about a call; what they do is in tests/programs/without_qemu/ipc.c."""

import errno
import os
import struct
from collections.abc import Iterator

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.memory.address_space import READ, WRITE

PRIVATE, MODE, NOWAIT = 0, 0o600, 0o4000
RMID, SET, STAT, GETALL, SETALL, GETPID = 0, 1, 2, 13, 17, 11
RDONLY, RND, REMAP = 0o10000, 0o20000, 0o40000
UNMAPPED, FREE, PAGE = 0x9000000, 0x40000000, 4096
NO_TIME = struct.pack("<qq", 0, 1)


@pytest.fixture
def semaphores(guest: Guest) -> Iterator[int]:
    number = guest.call("semget", PRIVATE, 3, MODE)
    yield number
    assert guest.call("semctl", number, 0, RMID, 0) == 0


@pytest.fixture
def messages(guest: Guest) -> Iterator[int]:
    number = guest.call("msgget", PRIVATE, MODE)
    yield number
    assert guest.call("msgctl", number, RMID, 0) == 0


@pytest.fixture
def segment(guest: Guest) -> Iterator[int]:
    number = guest.call("shmget", PRIVATE, PAGE + 1, MODE)
    yield number
    assert guest.call("shmctl", number, RMID, 0) == 0


def test_semaphores(guest: Guest, semaphores: int) -> None:
    status = guest.space(88)
    assert guest.call("semctl", semaphores, 0, STAT, status) == 0
    words = struct.unpack("<48s5Q", guest.memory.read(status, 88))
    assert words[1] == 0 and words[3:] == (3, 0, 0)
    add = guest.put(struct.pack("<HhH", 0, 1, 0) + struct.pack("<HhH", 2, 5, 0))
    assert guest.call("semop", semaphores, add, 2) == 0
    values = guest.space(8)
    assert guest.call("semctl", semaphores, 0, GETALL, values) == 0
    assert struct.unpack("<4H", guest.memory.read(values, 8)) == (1, 0, 5, 0)
    assert guest.call("semctl", semaphores, 2, GETPID, 0) == os.getpid()
    take = guest.put(struct.pack("<HhH", 1, -1, 0))
    assert guest.call("semtimedop", semaphores, take, 1, guest.put(NO_TIME)) == -errno.EAGAIN
    assert guest.call("semop", semaphores, guest.put(struct.pack("<HhH", 3, 1, 0)), 1) == -errno.EFBIG
    assert guest.call("semop", semaphores, UNMAPPED, 1) == -errno.EFAULT
    assert guest.call("semop", semaphores, SCRATCH, 0) == -errno.EINVAL
    assert guest.call("semop", semaphores, SCRATCH, 501) == -errno.E2BIG
    for command in (STAT, SET, GETALL, SETALL):
        assert guest.call("semctl", semaphores, 0, command, UNMAPPED) == -errno.EFAULT
    assert guest.call("semctl", semaphores, 0, 99, 0) == -errno.EINVAL
    assert guest.call("semctl", -1, 0, GETALL, values) == -errno.EINVAL


def test_messages(guest: Guest, messages: int) -> None:
    message = guest.put(struct.pack("<q4s", 5, b"text"))
    assert guest.call("msgsnd", messages, message, 4, 0) == 0
    assert guest.call("msgsnd", messages, UNMAPPED, 4, 0) == -errno.EFAULT
    assert guest.call("msgsnd", messages, message, -1, 0) == -errno.EINVAL
    assert guest.call("msgsnd", messages, SCRATCH + SCRATCH_SIZE - 10, 3, 0) == -errno.EFAULT
    assert guest.call("msgrcv", messages, message, -1, 0, 0) == -errno.EINVAL
    assert guest.call("msgrcv", messages, message, 3, 0, 0) == -errno.E2BIG
    place = guest.space(16)
    assert guest.call("msgrcv", messages, place, 1 << 40, 0, 0) == 4, "as much as there is"
    assert guest.memory.read(place, 12) == struct.pack("<q4s", 5, b"text")
    assert guest.call("msgrcv", messages, place, 4, 0, NOWAIT) == -errno.ENOMSG
    status = guest.space(120)
    assert guest.call("msgctl", messages, STAT, status) == 0
    assert struct.unpack_from("<ii", guest.memory.read(status, 120), 96) == (os.getpid(), os.getpid())
    assert guest.call("msgctl", messages, SET, status) == 0
    assert guest.call("msgctl", messages, STAT, UNMAPPED) == -errno.EFAULT
    assert guest.call("msgctl", messages, SET, UNMAPPED) == -errno.EFAULT


def test_shared_memory(guest: Guest, segment: int) -> None:
    memory = guest.memory
    assert guest.call("shmat", segment, FREE + 1, 0) == -errno.EINVAL
    assert guest.call("shmat", segment, memory.size, 0) == -errno.EINVAL
    assert guest.call("shmat", segment, SCRATCH, 0) == -errno.EINVAL
    assert guest.call("shmat", segment, 0, REMAP) == -errno.EINVAL
    assert guest.call("shmat", -1, 0, 0) == -errno.EINVAL
    assert guest.call("shmat", segment, FREE + 1, RND) == FREE
    memory.write(FREE, b"seen")
    other = guest.call("shmat", segment, 0, RDONLY)
    assert memory.read(other, 4) == b"seen" and memory.permissions(other) == READ
    assert {mapping.name for mapping in memory.regions(FREE, FREE + PAGE)} == {"/SYSV00000000 (deleted)"}
    assert guest.call("mprotect", other, PAGE, READ | WRITE) == -errno.EACCES
    status = guest.space(112)
    assert guest.call("shmctl", segment, STAT, status) == 0
    assert struct.unpack_from("<Q", memory.read(status, 112), 48) == (PAGE + 1,)
    assert struct.unpack_from("<Q", memory.read(status, 112), 88) == (2,)
    assert guest.call("shmat", segment, other, REMAP) == other and memory.permissions(other) == READ | WRITE
    assert guest.call("shmdt", FREE + PAGE) == -errno.EINVAL
    memory.map(FREE, PAGE, READ | WRITE)
    assert guest.call("shmdt", FREE) == 0
    assert memory.is_mapped(FREE, PAGE) and not memory.is_mapped(FREE + PAGE, 1), "what else is there stays"
    assert guest.call("shmdt", FREE) == -errno.EINVAL
    assert guest.call("shmdt", other) == 0
    assert guest.call("shmctl", segment, STAT, status) == 0
    assert struct.unpack_from("<Q", memory.read(status, 112), 88) == (0,)


def test_queues(guest: Guest) -> None:
    name = b"test-of-vmjit-%d" % os.getpid()
    attributes = guest.put(struct.pack("<8q", 0, 4, 16, 0, 0, 0, 0, 0))
    queue = guest.call("mq_open", name, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE, attributes)
    assert queue >= 0
    try:
        text, place, priority = guest.put(b"some text"), guest.space(16), guest.space(4)
        assert guest.call("mq_timedsend", queue, text, 9, 3, 0) == 0
        assert guest.call("mq_timedsend", queue, UNMAPPED, 9, 3, 0) == -errno.EFAULT
        assert guest.call("mq_timedsend", queue, SCRATCH + SCRATCH_SIZE - 4, 9, 3, 0) == -errno.EFAULT
        assert guest.call("mq_timedsend", queue, text, 17, 3, 0) == -errno.EMSGSIZE
        assert guest.call("mq_timedreceive", queue, place, 15, 0, 0) == -errno.EMSGSIZE
        assert guest.call("mq_timedreceive", queue, place, 16, priority, 0) == 9
        assert guest.memory.read(place, 9) == b"some text" and guest.memory.read(priority, 1) == b"\3"
        assert guest.call("mq_timedreceive", queue, place, 16, 0, guest.put(NO_TIME)) == -errno.ETIMEDOUT
        assert guest.call("mq_getsetattr", queue, 0, attributes) == 0
        assert struct.unpack_from("<4q", guest.memory.read(attributes, 64)) == (0, 4, 16, 0)
        assert guest.call("mq_notify", queue, guest.put(struct.pack("<Qii48x", UNMAPPED, 0, 2))) == -errno.EFAULT
        assert guest.call("mq_notify", queue, 0) == 0
        guest.process.reserved_fds.add(queue)
        assert guest.call("mq_getsetattr", queue, 0, attributes) == -errno.EBADF
    finally:
        assert guest.call("mq_unlink", name) == 0
        os.close(queue)
    assert guest.call("mq_unlink", name) == -errno.ENOENT
    assert guest.call("mq_open", b"with/slash", os.O_RDWR, 0, 0) in (-errno.EACCES, -errno.ENOENT)
