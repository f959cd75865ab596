"""What a threading library asks of the kernel, for a process that has one thread: futexes, thread ids, barriers.

A futex of the process alone can only be woken by another of its threads, and there is none. A shared futex is the
host's own, so processes can wait for each other. See futex(2).
"""

import os
import time
from _thread import get_native_id
from errno import EAGAIN, EINVAL, ENOSYS, EPERM, ETIMEDOUT

from vmjit.linux import host
from vmjit.linux.abi import TIMESPEC, UINT, ULONG
from vmjit.linux.buffers import READ, WRITE, timespec
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import syscall
from vmjit.linux.time_calls import SECOND, sleep_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP = 0, 1, 3, 4, 5
FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 9, 10
FUTEX_PRIVATE, FUTEX_CLOCK_REALTIME = 128, 256
WAITS = (FUTEX_WAIT, FUTEX_WAIT_BITSET)
WAKES = (FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_WAKE_BITSET)
ROBUST_LIST_HEAD_SIZE = 24
MEMBARRIER_COMMANDS = 0x1FF


@syscall(
    "address futex_operation uint timespec address uint",
    lacks="threads, so waits of private futexes end at once; priority inheritance",
)
def sys_futex(
    process: "Process", address: int, operation: int, value: int, timeout: int, address2: int, value3: int
) -> int:
    command = operation & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME)
    if address % 4:
        raise SyscallError(EINVAL)
    if command not in WAITS and command not in WAKES:
        raise SyscallError(ENOSYS)
    (current,) = UINT.unpack(process.memory.read(address, 4))
    if not operation & FUTEX_PRIVATE:
        return shared_futex(process, address, operation, value, timeout, address2, value3)
    if command in WAKES:
        return 0
    if current != value:
        raise SyscallError(EAGAIN)
    if not timeout:
        process.report(f"futex wait at {address:#x} would wait for ever: threads are not supported; returned EAGAIN")
        raise SyscallError(EAGAIN)
    wait(process, command, operation, timeout)
    raise SyscallError(ETIMEDOUT)


def wait(process: "Process", command: int, operation: int, timeout: int) -> None:
    """Let the timeout of a wait pass: relative for FUTEX_WAIT, a point in time for FUTEX_WAIT_BITSET."""
    seconds, nanoseconds = timespec(process.memory, timeout)
    clock = time.CLOCK_REALTIME if operation & FUTEX_CLOCK_REALTIME else time.CLOCK_MONOTONIC
    start = time.clock_gettime_ns(clock) if command == FUTEX_WAIT else 0
    sleep_until(clock, start + seconds * SECOND + nanoseconds)


def shared_futex(
    process: "Process", address: int, operation: int, value: int, timeout: int, address2: int, value3: int
) -> int:
    """A futex that other processes may know: the host's, on the same memory."""
    command = operation & ~FUTEX_CLOCK_REALTIME
    limit = None
    if command in WAITS and timeout:
        limit = TIMESPEC.pack(*timespec(process.memory, timeout))
    second = 0
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP):
        second = host.address_of(process.memory.buffer(address2, 4, READ | WRITE))
    process.memory.buffer(address, 4, READ)
    first = process.memory.base + address
    return process.interruptible("futex", first, operation, value, limit, second, value3)


@syscall("address")
def sys_set_tid_address(process: "Process", address: int) -> int:
    process.thread.clear_child_tid = address
    return get_native_id()


@syscall()
def sys_gettid(_process: "Process") -> int:
    return get_native_id()


@syscall("address size", lacks="the list is kept, and not looked at")
def sys_set_robust_list(process: "Process", head: int, size: int) -> int:
    if size != ROBUST_LIST_HEAD_SIZE:
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
    process.memory.write(size, ULONG.pack(ROBUST_LIST_HEAD_SIZE))
    return 0


@syscall("int uint int", lacks="threads")
def sys_membarrier(_process: "Process", command: int, flags: int, _cpu: int) -> int:
    """With one thread a barrier is no work; 0, "query", answers with the set of commands."""
    if flags or (command and (command & ~MEMBARRIER_COMMANDS or command & command - 1)):
        raise SyscallError(EINVAL)
    return 0 if command else MEMBARRIER_COMMANDS
