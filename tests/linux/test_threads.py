import errno
import os
import struct
import threading
import time
from collections.abc import Callable

import pytest

from tests.linux.conftest import Guest
from vmjit.guest import get
from vmjit.linux import Exited, Thread, ThreadExited
from vmjit.linux.signal_frame import UserRegisters

WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET = 0, 1, 3, 4, 5, 9, 10
LOCK_PI, UNLOCK_PI, TRYLOCK_PI, WAIT_REQUEUE_PI, CMP_REQUEUE_PI, LOCK_PI2 = 6, 7, 8, 11, 12, 13
PRIVATE, REALTIME = 128, 256
WAITERS, OWNER_DIED = 1 << 31, 1 << 30
THREAD = 0x3D0F00  # what pthread_create passes: VM FS FILES SIGHAND THREAD SYSVSEM SETTLS PARENT_SETTID CHILD_CLEARTID
STACK, TLS = 0x60000, 0x70000


def word(guest: Guest, value: int) -> int:
    return guest.put(struct.pack("<I", value))


def value_at(guest: Guest, address: int) -> int:
    return int.from_bytes(guest.memory.read(address, 4), "little")


class Waiter:
    """A thread of the guest that makes one call, and is asleep in it when this is made."""

    def __init__(self, guest: Guest, name: str, *arguments: int) -> None:
        self.result: int | None = None
        self.tid = 0

        def run() -> None:
            guest.process.begin_thread(Thread())
            self.tid = threading.get_native_id()
            self.result = guest.call(name, *arguments)
            guest.process.end_thread()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        while not self.tid or self.state() != "S":
            assert self.thread.is_alive()
            time.sleep(0.001)
        time.sleep(0.005)

    def state(self) -> str:
        with open(f"/proc/self/task/{self.tid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]

    def join(self) -> int | None:
        self.thread.join(5)
        assert not self.thread.is_alive()
        return self.result


@pytest.mark.parametrize("scope", [0, PRIVATE])
def test_futex(guest: Guest, scope: int) -> None:
    at = word(guest, 5)
    short = guest.put(struct.pack("<qq", 0, 5_000_000))
    assert guest.call("futex", at, WAKE | scope, 1) == 0
    assert guest.call("futex", at, WAIT | scope, 4) == -errno.EAGAIN
    before = time.monotonic()
    assert guest.call("futex", at, WAIT | scope, 5, short) == -errno.ETIMEDOUT
    assert time.monotonic() - before >= 0.005
    assert guest.call("futex", at, WAIT_BITSET | scope, 5, short, 0, 0xFFFFFFFF) == -errno.ETIMEDOUT
    assert guest.call("futex", at, WAIT_BITSET | scope | REALTIME, 5, short, 0, 1) == -errno.ETIMEDOUT
    assert guest.call("futex", at, WAIT_BITSET | scope, 5, short, 0, 0) == -errno.EINVAL
    assert guest.call("futex", at + 1, WAKE | scope, 1) == -errno.EINVAL
    assert guest.call("futex", 0x9000000, WAIT | scope, 1) == -errno.EFAULT
    assert guest.call("futex", at, WAIT | scope, 5, guest.put(struct.pack("<qq", 0, -1))) == -errno.EINVAL
    assert guest.call("futex", at, 77 | scope, 1) == -errno.ENOSYS


@pytest.mark.parametrize("scope", [0, PRIVATE])
def test_a_lock_with_priority_inheritance(guest: Guest, scope: int) -> None:
    at, tid = word(guest, 0), threading.get_native_id()
    assert guest.call("futex", at, UNLOCK_PI | scope) == -errno.EPERM
    assert guest.call("futex", at, LOCK_PI | scope) == 0
    assert value_at(guest, at) == tid
    assert guest.call("futex", at, LOCK_PI | scope) == -errno.EDEADLK
    for operation, clock in (
        (LOCK_PI, time.time_ns),
        (LOCK_PI2, time.monotonic_ns),
        (LOCK_PI2 | REALTIME, time.time_ns),
    ):
        limit = guest.put(struct.pack("<qq", *divmod(clock() + 10_000_000, 1_000_000_000)))
        assert Waiter(guest, "futex", at, operation | scope, 0, limit).join() == -errno.ETIMEDOUT
    waiter = Waiter(guest, "futex", at, LOCK_PI | scope)
    assert value_at(guest, at) == tid | WAITERS
    assert guest.call("futex", at, UNLOCK_PI | scope) == 0
    assert waiter.join() == 0 and value_at(guest, at) & ~WAITERS == waiter.tid
    nonsense = guest.put(struct.pack("<qq", 0, -1))
    assert guest.call("futex", word(guest, 0), LOCK_PI | scope, 0, nonsense) == -errno.EINVAL
    for operation in (LOCK_PI, LOCK_PI2, UNLOCK_PI, TRYLOCK_PI):
        assert guest.call("futex", at + 1, operation | scope) == -errno.EINVAL
        assert guest.call("futex", 0x9000000, operation | scope) == -errno.EFAULT


def test_waiters_move_to_a_lock_with_priority_inheritance(guest: Guest) -> None:
    at, lock = word(guest, 5), word(guest, 0)
    limit = guest.put(struct.pack("<qq", *divmod(time.monotonic_ns() + 10_000_000, 1_000_000_000)))
    assert guest.call("futex", at, WAIT_REQUEUE_PI | PRIVATE, 4, limit, lock) == -errno.EAGAIN
    assert guest.call("futex", at, WAIT_REQUEUE_PI | PRIVATE, 5, limit, lock) == -errno.ETIMEDOUT
    assert guest.call("futex", at, WAIT_REQUEUE_PI | PRIVATE, 5, 0, at) == -errno.EINVAL
    assert guest.call("futex", at, WAIT_REQUEUE_PI | PRIVATE, 5, 0, 0x9000000) == -errno.EFAULT
    assert guest.call("futex", at, CMP_REQUEUE_PI | PRIVATE, 1, 0, lock + 2, 5) == -errno.EINVAL
    assert guest.call("futex", lock, LOCK_PI | PRIVATE) == 0
    waiter = Waiter(guest, "futex", at, WAIT_REQUEUE_PI | PRIVATE, 5, 0, lock)
    assert guest.call("futex", at, CMP_REQUEUE_PI | PRIVATE, 1, 0, lock, 4) == -errno.EAGAIN
    assert guest.call("futex", at, CMP_REQUEUE_PI | PRIVATE, 1, 0, lock, 5) == 1
    assert waiter.result is None
    assert guest.call("futex", lock, UNLOCK_PI | PRIVATE) == 0
    assert waiter.join() == 0 and value_at(guest, lock) & ~WAITERS == waiter.tid


def test_a_point_in_time_of_the_real_clock(guest: Guest) -> None:
    at = word(guest, 5)
    wanted = time.time_ns() + 10_000_000
    limit = guest.put(struct.pack("<qq", *divmod(wanted, 1_000_000_000)))
    assert guest.call("futex", at, WAIT_BITSET | PRIVATE | REALTIME, 5, limit, 0, 1) == -errno.ETIMEDOUT
    assert time.time_ns() >= wanted


def test_a_futex_wakes_as_many_as_it_is_told(guest: Guest) -> None:
    at = word(guest, 5)
    waiters = [Waiter(guest, "futex", at, WAIT | PRIVATE, 5) for _ in range(3)]
    assert guest.call("futex", at, WAKE | PRIVATE, 2) == 2
    assert guest.call("futex", at, WAKE | PRIVATE, 2) == 1
    assert [waiter.join() for waiter in waiters] == [0, 0, 0]


def test_a_futex_wakes_whom_the_bits_choose(guest: Guest) -> None:
    at = word(guest, 5)
    first, second = (Waiter(guest, "futex", at, WAIT_BITSET | PRIVATE, 5, 0, 0, bits) for bits in (1, 2))
    assert guest.call("futex", at, WAKE_BITSET | PRIVATE, 9, 0, 0, 4) == 0
    assert guest.call("futex", at, WAKE_BITSET | PRIVATE, 9, 0, 0, 2) == 1
    assert second.join() == 0 and first.result is None
    assert guest.call("futex", at, WAKE_BITSET | PRIVATE, 9, 0, 0, 1) == 1
    assert first.join() == 0


def test_waiters_move_to_another_futex(guest: Guest) -> None:
    at, other = word(guest, 5), word(guest, 6)
    waiters = [Waiter(guest, "futex", at, WAIT | PRIVATE, 5) for _ in range(3)]
    assert guest.call("futex", at, CMP_REQUEUE | PRIVATE, 1, 5, other, 4) == -errno.EAGAIN
    assert guest.call("futex", at, CMP_REQUEUE | PRIVATE, 1, 5, other, 5) == 3  # woken and moved
    assert guest.call("futex", at, WAKE | PRIVATE, 9) == 0
    assert guest.call("futex", other, REQUEUE | PRIVATE, 1, 0, at) == 1
    assert guest.call("futex", other, WAKE | PRIVATE, 9) == 1
    assert [waiter.join() for waiter in waiters] == [0, 0, 0]
    assert guest.call("futex", at, REQUEUE | PRIVATE, 1, 1, other + 2) == -errno.EINVAL


def test_a_wake_that_computes(guest: Guest) -> None:
    at, other = word(guest, 5), word(guest, 6)
    waiters = [Waiter(guest, "futex", address, WAIT | PRIVATE, value) for address, value in ((at, 5), (other, 6))]
    add_2_and_wake_if_6 = 1 << 28 | 2 << 12 | 6
    assert guest.call("futex", at, WAKE_OP | PRIVATE, 1, 1, other, add_2_and_wake_if_6) == 2
    assert [waiter.join() for waiter in waiters] == [0, 0]
    assert value_at(guest, other) == 8


def test_the_end_of_a_thread_releases_its_robust_locks(guest: Guest) -> None:
    """The list has two locks, of which one is somebody else's, and one is being taken."""
    head, first, second, third = (guest.space(24) for _ in range(4))
    tids: list[int] = []

    def run() -> None:
        thread = Thread()
        guest.process.begin_thread(thread)
        tid = thread.tid
        tids.append(tid)
        guest.memory.write(head, struct.pack("<QqQ", first, 8, third))
        guest.memory.write(first, struct.pack("<QI", second, tid | WAITERS))
        guest.memory.write(second, struct.pack("<QI", head, 77))
        guest.memory.write(third, struct.pack("<QI", 0, tid))
        guest.call("set_robust_list", head, 24)
        begun.set()
        end.wait(5)
        guest.process.end_thread()

    begun, end = threading.Event(), threading.Event()
    running = threading.Thread(target=run)
    running.start()
    assert begun.wait(5)
    waiter = Waiter(guest, "futex", first + 8, WAIT, tids[0] | WAITERS)
    end.set()
    running.join(5)
    assert waiter.join() == 0
    assert [value_at(guest, at + 8) for at in (first, second, third)] == [WAITERS | OWNER_DIED, 77, OWNER_DIED]


def test_the_end_of_a_thread_passes_on_locks_with_priority_inheritance(guest: Guest) -> None:
    head, entry = guest.space(24), guest.space(24)
    lock = entry + 8

    def run() -> None:
        thread = Thread()
        guest.process.begin_thread(thread)
        guest.memory.write(head, struct.pack("<QqQ", entry | 1, 8, 0))
        guest.memory.write(entry, struct.pack("<QI", head, 0))
        guest.call("set_robust_list", head, 24)
        guest.call("futex", lock, LOCK_PI)
        begun.set()
        end.wait(5)
        guest.process.end_thread()
        marked.append(value_at(guest, lock))

    begun, end = threading.Event(), threading.Event()
    marked: list[int] = []
    running = threading.Thread(target=run)
    running.start()
    assert begun.wait(5)
    waiter = Waiter(guest, "futex", lock, LOCK_PI)
    end.set()
    running.join(5)
    assert waiter.join() == 0
    assert marked == [WAITERS | OWNER_DIED]
    assert value_at(guest, lock) & ~WAITERS == waiter.tid | OWNER_DIED


def test_robust_lists_of_nonsense(guest: Guest) -> None:
    circle = guest.put(struct.pack("<QqQ", 0, 8, 0))
    guest.memory.write(circle, struct.pack("<Q", circle))
    entry = guest.put(struct.pack("<QQ", 0, 0))
    guest.memory.write(entry, struct.pack("<Q", entry))
    for head in (circle, guest.put(struct.pack("<QqQ", entry, 8, 0)), guest.put(struct.pack("<QqQ", 8, 8, 8)), 8):
        guest.call("set_robust_list", head, 24)
        guest.process.end_thread()
        guest.process.begin_thread(guest.process.thread)


def test_a_thread_begins_with_what_clone_says(guest: Guest) -> None:
    process, parent_tid = guest.process, word(guest, 0)
    words = memoryview(bytearray(4096)).cast("Q")
    registers = UserRegisters(words, get("riscv64").layout.word)
    ran: list[tuple[int, int, int]] = []

    def new_thread(thread: Thread, maker: Thread) -> Callable[[], None]:
        thread.registers = registers
        assert maker is main

        def run() -> None:
            assert process.thread is thread
            ran.append((thread.tid, thread.blocked, value_at(guest, parent_tid)))
            end.wait(5)
            process.end_thread()

        return run

    main, end = process.thread, threading.Event()
    main.blocked = 4
    assert guest.call("clone", THREAD, STACK, parent_tid, TLS, parent_tid) == -errno.EAGAIN, "nothing runs it"
    process.new_thread = new_thread
    tid = guest.call("clone", THREAD, STACK, parent_tid, TLS, parent_tid)
    assert tid > 0 and tid != main.tid and set(process.threads) == {tid, main.tid}
    context = registers.get()
    assert (context.x[2], context.x[4], context.x[10]) == (STACK, TLS, 0)
    waiter = Waiter(guest, "futex", parent_tid, WAIT, tid)
    assert ran == [(tid, 4, tid)]
    end.set()
    assert waiter.join() == 0 and value_at(guest, parent_tid) == 0
    assert guest.call("clone", THREAD & ~0x800, STACK) == -errno.EINVAL
    arguments = guest.put(struct.pack("<8Q", THREAD, 0, parent_tid, parent_tid, 0, STACK - 0x1000, 0x1000, TLS))
    end.clear()
    tid = guest.call("clone3", arguments, 64)
    assert tid in process.threads and registers.stack_pointer == STACK
    end.set()
    assert guest.call("clone3", arguments, 63) == -errno.EINVAL
    assert guest.call("clone3", guest.put(struct.pack("<8Q", THREAD, 0, 0, 0, 0, STACK, 0, TLS)), 64) == -errno.EINVAL


def test_exit_of_one_of_several_threads(guest: Guest) -> None:
    guest.process.threads[1] = Thread()
    with pytest.raises(ThreadExited) as caught:
        guest.call("exit", 0x103)
    assert caught.value.status == 3
    with pytest.raises(Exited):
        guest.call("exit_group", 3)


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
