"""Threads, and what a threading library asks of the kernel: futexes, thread ids, lists of robust locks, barriers.

A guest thread is a host thread, and a futex is the host's own on the same memory: threads wait for each other, and
processes that share memory too. See clone(2), futex(2), set_robust_list(2).
"""

import os
import time
from _thread import allocate_lock, get_native_id, start_new_thread
from contextlib import suppress
from errno import EAGAIN, EINVAL, ENOSYS, EPERM
from struct import Struct

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import INT, TIMESPEC, UINT, ULONG
from vmjit.linux.buffers import READ, WRITE, timespec
from vmjit.linux.outcome import SyscallError
from vmjit.linux.signals import signals_held
from vmjit.linux.table import syscall
from vmjit.linux.thread import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vmjit.linux.process import Process

SECOND = 1_000_000_000

# What threads share: CLONE_VM FS FILES SIGHAND.
CLONE_SHARED = 0x100 | 0x200 | 0x400 | 0x800
CLONE_SETTLS, CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x80000, 0x100000, 0x200000, 0x1000000

FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP = 0, 1, 3, 4, 5
FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 9, 10
FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_LOCK_PI2 = 6, 7, 8, 13
FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI = 11, 12
FUTEX_PRIVATE, FUTEX_CLOCK_REALTIME = 128, 256
WAITS = (FUTEX_WAIT, FUTEX_WAIT_BITSET)
WAKES = (FUTEX_WAKE, FUTEX_WAKE_BITSET)
# Locks that lend their owner the priority of who waits. The kernel restarts all these waits after a handler by itself.
LOCKS = (FUTEX_LOCK_PI, FUTEX_LOCK_PI2)
TRIES = (FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI)
OF_TWO = {  # what they do with the second futex
    FUTEX_REQUEUE: READ,
    FUTEX_CMP_REQUEUE: READ,
    FUTEX_WAKE_OP: READ | WRITE,
    FUTEX_WAIT_REQUEUE_PI: READ | WRITE,
    FUTEX_CMP_REQUEUE_PI: READ | WRITE,
}
ANY_BITS = 0xFFFFFFFF
FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK = 1 << 31, 1 << 30, (1 << 30) - 1

ROBUST_LIST_HEAD = Struct("<QqQ")  # first entry, offset of the futex in an entry, an entry that comes or goes
ROBUST_LIST_LIMIT = 2048  # entries; a list may be circular
IS_PRIORITY_INHERITING = 1  # in the lowest bit of the address of an entry

MEMBARRIER_COMMANDS = 0x1FF


# clone


def clone_thread(process: "Process", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    """Begin a thread; its id."""
    if flags & CLONE_SHARED != CLONE_SHARED:
        raise SyscallError(EINVAL)
    made = NewThread(process, flags, stack, parent_tid, tls, child_tid)
    try:
        with signals_held(process):  # until there is a hart that takes them
            start_new_thread(made.run, ())
    except RuntimeError:
        raise SyscallError(EAGAIN) from None
    made.begun.acquire()
    if made.error is not None:
        raise made.error
    return made.tid


class NewThread:
    """A thread that is about to begin, while the one that makes it waits for `begun`."""

    def __init__(self, process: "Process", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> None:
        self.process, self.maker, self.flags = process, process.thread, flags
        self.stack, self.tls = stack, tls if flags & CLONE_SETTLS else None
        self.parent_tid, self.child_tid = parent_tid, child_tid
        self.begun = allocate_lock()
        self.begun.acquire()
        self.tid = 0
        self.error: SyscallError | None = None

    def run(self) -> None:
        """The life of the host thread."""
        try:
            run = self.begin()
        except (OSError, MemoryError):
            self.error = SyscallError(EAGAIN)
        self.begun.release()
        if self.error is None:
            run()

    def begin(self) -> "Callable[[], None]":
        """Be the thread; what then runs it."""
        process, flags = self.process, self.flags
        if process.new_thread is None:
            raise OSError(EAGAIN, "nothing to run it")
        thread = Thread(blocked=self.maker.blocked)
        run = process.new_thread(thread, self.maker)
        if thread.registers is not None:
            thread.registers.begin_child(self.stack, self.tls)
        thread.clear_child_tid = self.child_tid if flags & CLONE_CHILD_CLEARTID else 0
        process.begin_thread(thread)
        self.tid = thread.tid
        if flags & CLONE_PARENT_SETTID:
            write_tid(process, self.parent_tid, thread.tid)
        if flags & CLONE_CHILD_SETTID:
            write_tid(process, self.child_tid, thread.tid)
        return run


def write_tid(process: "Process", address: int, tid: int) -> None:
    """Store a thread id; like the kernel, which does it when nothing can fail any more, in vain at a bad address."""
    with suppress(MemoryAccessError):
        process.memory.write(address, INT.pack(tid))


def tell_end(process: "Process", thread: Thread) -> None:
    """Clear the word that set_tid_address or clone named, and wake who waits for that: a thread that joins this one."""
    address = thread.clear_child_tid
    if address:
        write_tid(process, address, 0)
        wake_one(process, address)


def wake_one(process: "Process", address: int) -> None:
    """Wake a waiter of a futex; like the kernel, one who did not call it private."""
    with suppress(OSError, MemoryAccessError):
        process.memory.buffer(address, UINT.size, READ)
        host.system_call("futex", process.memory.base + address, FUTEX_WAKE, 1)


def release_robust_futexes(process: "Process", thread: Thread) -> None:
    """Mark the locks that a thread held at its end as those of a dead owner: exit_robust_list() of the kernel."""
    head, _ = thread.robust_list
    if not head:
        return
    with suppress(MemoryAccessError):
        entry, offset, pending = ROBUST_LIST_HEAD.unpack(process.memory.read(head, ROBUST_LIST_HEAD.size))
        for _ in range(ROBUST_LIST_LIMIT):
            at, inherits = entry & ~IS_PRIORITY_INHERITING, bool(entry & IS_PRIORITY_INHERITING)
            if at == head:
                break
            (entry,) = ULONG.unpack(process.memory.read(at, ULONG.size))
            if at != pending & ~IS_PRIORITY_INHERITING:
                release_robust_futex(process, thread, at + offset, inherits)
        if pending:
            at, inherits = pending & ~IS_PRIORITY_INHERITING, bool(pending & IS_PRIORITY_INHERITING)
            release_robust_futex(process, thread, at + offset, inherits, pending=True)


def release_robust_futex(
    process: "Process", thread: Thread, address: int, inherits: bool, pending: bool = False
) -> None:
    """One lock; `pending`: the thread was about to take or to leave it, and may have cleared it without waking.

    `inherits`: it has priority inheritance, so the host's kernel passes it on when the host thread ends.
    """
    while True:
        (value,) = UINT.unpack(process.memory.read(address, UINT.size))
        owner = value & FUTEX_TID_MASK
        if pending and not inherits and not owner:
            wake_one(process, address)
        if owner != thread.tid:
            return
        died = value & FUTEX_WAITERS | FUTEX_OWNER_DIED
        if process.memory.compare_exchange(address, UINT.size, value, died):
            if value & FUTEX_WAITERS and not inherits:
                wake_one(process, address)
            return


# futex


@syscall(
    "address futex_operation uint timespec address uint",
    lacks="locks with priority inheritance are not passed on when the first thread ends before the others",
)
def sys_futex(
    process: "Process", address: int, operation: int, value: int, timeout: int, address2: int, value3: int
) -> int:
    command = operation & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME)
    if command not in (*WAITS, *WAKES, *LOCKS, *TRIES, *OF_TWO):
        raise SyscallError(ENOSYS)
    if address % 4:
        raise SyscallError(EINVAL)
    process.memory.buffer(address, UINT.size, READ | WRITE if command in LOCKS + TRIES else READ)
    first = process.memory.base + address
    if command in WAITS:
        bits = value3 if command == FUTEX_WAIT_BITSET else ANY_BITS
        limit = deadline(process, command, timeout) if timeout else None
        clock = operation & (FUTEX_CLOCK_REALTIME if command == FUTEX_WAIT_BITSET else 0)
        operation = FUTEX_WAIT_BITSET | operation & FUTEX_PRIVATE | clock
        return process.interruptible("futex", first, operation, value, limit, None, bits)
    if command in WAKES:
        return host.system_call("futex", first, operation, value, None, None, value3)
    if command in LOCKS:
        limit = deadline(process, command, timeout) if timeout else None
        return process.interruptible("futex", first, operation, value, limit)
    if command in TRIES:
        return host.system_call("futex", first, operation)
    if address2 % 4:
        raise SyscallError(EINVAL)
    process.memory.buffer(address2, UINT.size, OF_TWO[command])
    second = process.memory.base + address2
    if command == FUTEX_WAIT_REQUEUE_PI:
        limit = deadline(process, command, timeout) if timeout else None
        return process.interruptible("futex", first, operation, value, limit, second, value3)
    # In place of the timeout these have a number.
    return host.system_call("futex", first, operation, value, timeout & ANY_BITS, second, value3)


def deadline(process: "Process", command: int, timeout: int) -> bytes:
    """A point in time; FUTEX_WAIT names a duration, which would begin again whenever the wait is resumed."""
    seconds, nanoseconds = timespec(process.memory, timeout)
    if command == FUTEX_WAIT:
        nanoseconds += time.monotonic_ns()
    return TIMESPEC.pack(seconds + nanoseconds // SECOND, nanoseconds % SECOND)


# What each thread tells.


@syscall("address")
def sys_set_tid_address(process: "Process", address: int) -> int:
    process.thread.clear_child_tid = address
    return get_native_id()


@syscall()
def sys_gettid(_process: "Process") -> int:
    return get_native_id()


@syscall("address size")
def sys_set_robust_list(process: "Process", head: int, size: int) -> int:
    if size != ROBUST_LIST_HEAD.size:
        raise SyscallError(EINVAL)
    process.thread.robust_list = (head, size)
    return 0


@syscall("pid address address")
def sys_get_robust_list(process: "Process", pid: int, head: int, size: int) -> int:
    thread = process.threads.get(pid) if pid else process.thread
    if thread is None:
        os.kill(pid, 0)
        raise SyscallError(EPERM)
    process.memory.write(head, ULONG.pack(thread.robust_list[0]))
    process.memory.write(size, ULONG.pack(ROBUST_LIST_HEAD.size))
    return 0


@syscall("int uint int")
def sys_membarrier(process: "Process", command: int, flags: int, cpu: int) -> int:
    try:
        return host.system_call("membarrier", command, flags, cpu)
    except OSError as error:
        if error.errno != ENOSYS or len(process.threads) > 1:
            raise
    # One thread needs no barrier; 0, "query", answers with the set of commands.
    if flags or (command and (command & ~MEMBARRIER_COMMANDS or command & command - 1)):
        raise SyscallError(EINVAL)
    return 0 if command else MEMBARRIER_COMMANDS
