"""Semaphores, messages and shared memory of System V, and message queues of POSIX: all the host's.

Who may use one is the host's business too: they belong to its namespace of them, which no sandbox changes. Structures
are equal on all 64-bit Linux machines but for one. See sysvipc(7), mq_overview(7).
"""

import os
from errno import EFAULT, EINVAL, ENOMEM
from struct import Struct

from vmjit.linux import host
from vmjit.linux.abi import TIMESPEC, UINT, to_host_open_flags
from vmjit.linux.buffers import PAGE, READ, WRITE, path_string, timespec, view
from vmjit.linux.memory_calls import MMAP_MIN_ADDR, page_up
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import syscall
from vmjit.memory.address_space import EXECUTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

IPC_SET, IPC_STAT, IPC_INFO = 1, 2, 3
GETALL, SETVAL, SETALL, SEM_STAT, SEM_INFO, SEM_STAT_ANY = 13, 16, 17, 18, 19, 20
MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
SHM_STAT, SHM_INFO, SHM_STAT_ANY = 13, 14, 15

SEMID = Struct("<48s5Q")  # permissions, times of the last operation and change, number of semaphores, two unused
X86_SEMID = Struct("<48sQ8xQ8x3Q")  # each time has a word more
SEMBUF_SIZE, MOST_OPERATIONS = 6, 500  # SEMOPM
# What commands pass by their pointer: sizes of what goes in, and of what comes out.
MSG_IN, MSG_OUT = {IPC_SET: 120}, {IPC_STAT: 120, MSG_STAT: 120, MSG_STAT_ANY: 120, IPC_INFO: 32, MSG_INFO: 32}
SHM_IN, SHM_OUT = {IPC_SET: 112}, {IPC_STAT: 112, SHM_STAT: 112, SHM_STAT_ANY: 112, IPC_INFO: 72, SHM_INFO: 48}
SEM_OUT = {IPC_INFO: 40, SEM_INFO: 40}
MESSAGE_TYPE = 8  # bytes before the text
LARGEST_MESSAGE = 1 << 20  # more than hosts allow

SEGMENT_NAME = "/SYSV"  # and the key, in /proc/self/maps
SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000

MQ_ATTR_SIZE = 64
SIGEVENT, SIGEVENT_SIZE, SIGEV_THREAD = Struct("<Qii"), 64, 2  # value, signal, kind
COOKIE_SIZE = 32  # NOTIFY_COOKIE_LEN


def control(
    process: "Process",
    name: str,
    number: int,
    command: int,
    address: int,
    reads: dict[int, int],
    writes: dict[int, int],
) -> int:
    """msgctl and shmctl."""
    if command in reads:
        return host.system_call(name, number, command, process.memory.read(address, reads[command]))
    size = writes.get(command, 0)
    told = host.zeroed(size) if size else None
    result = host.system_call(name, number, command, told)
    if told is not None:
        process.memory.write(address, told.raw)
    return result


# Semaphores.


@syscall("int int hex")
def sys_semget(_process: "Process", key: int, count: int, flags: int) -> int:
    return host.system_call("semget", key, count, flags & 0xFFFFFFFF)


@syscall("int address size")
def sys_semop(process: "Process", number: int, operations: int, count: int) -> int:
    return sys_semtimedop(process, number, operations, count, 0)


@syscall("int address size timespec")
def sys_semtimedop(process: "Process", number: int, operations: int, count: int, timeout: int) -> int:
    data = process.memory.read(operations, min(count & 0xFFFFFFFF, MOST_OPERATIONS) * SEMBUF_SIZE)
    limit = TIMESPEC.pack(*timespec(process.memory, timeout)) if timeout else None
    return process.interruptible("semtimedop", number, data, count & 0xFFFFFFFF, limit)


@syscall("int int int hex")
def sys_semctl(process: "Process", number: int, index: int, command: int, argument: int) -> int:
    memory = process.memory
    if command in (IPC_STAT, SEM_STAT, SEM_STAT_ANY):
        result, told = semaphore_status(number, command)
        memory.write(argument, SEMID.pack(*told))
        return result
    if command == IPC_SET:
        told = SEMID.unpack(memory.read(argument, SEMID.size))
        return host.system_call("semctl", number, index, command, host_semid().pack(*told))
    if command in (GETALL, SETALL):
        size = 2 * semaphore_status(number, IPC_STAT)[1][3]
        memory.buffer(argument, size, WRITE if command == GETALL else READ)
        return host.system_call("semctl", number, index, command, memory.base + argument)
    if command in SEM_OUT:
        return control(process, "semctl", 0, command, argument, {}, SEM_OUT)
    return host.system_call("semctl", number, index, command, argument & 0xFFFFFFFF if command == SETVAL else 0)


def host_semid() -> Struct:
    """struct semid64_ds of the host."""
    return X86_SEMID if os.uname().machine == "x86_64" else SEMID


def semaphore_status(number: int, command: int) -> tuple[int, tuple[bytes, int, int, int, int, int]]:
    """What the call returns, and the fields of the structure."""
    layout = host_semid()
    told = host.zeroed(layout.size)
    result = host.system_call("semctl", number, 0, command, told)
    permissions, used, changed, count, *_ = layout.unpack(told.raw)
    return result, (permissions, used, changed, count, 0, 0)


# Messages.


@syscall("int hex")
def sys_msgget(_process: "Process", key: int, flags: int) -> int:
    return host.system_call("msgget", key, flags & 0xFFFFFFFF)


@syscall("int address long int")
def sys_msgsnd(process: "Process", number: int, message: int, size: int, flags: int) -> int:
    if not 0 <= size <= LARGEST_MESSAGE:
        raise SyscallError(EINVAL)
    process.memory.buffer(message, MESSAGE_TYPE + size, READ)
    return process.interruptible("msgsnd", number, process.memory.base + message, size, flags)


@syscall("int address long long int")
def sys_msgrcv(process: "Process", number: int, message: int, size: int, kind: int, flags: int) -> int:
    if size < 0:
        raise SyscallError(EINVAL)
    size = min(size, LARGEST_MESSAGE)
    told = host.zeroed(MESSAGE_TYPE + size)
    length = process.interruptible("msgrcv", number, told, size, kind, flags)
    process.memory.write(message, told.raw[: MESSAGE_TYPE + length])
    return length


@syscall("int int address")
def sys_msgctl(process: "Process", number: int, command: int, address: int) -> int:
    return control(process, "msgctl", number, command, address, MSG_IN, MSG_OUT)


# Shared memory. A segment is mapped by the host somewhere, and moved to where the guest has it.


@syscall("int size hex")
def sys_shmget(_process: "Process", key: int, size: int, flags: int) -> int:
    return host.system_call("shmget", key, size, flags & 0xFFFFFFFF)


@syscall("int hex int", result="hex")
def sys_shmat(process: "Process", number: int, address: int, flags: int) -> int:
    memory = process.memory
    if address % PAGE and flags & SHM_RND:
        address -= address % PAGE
    if address % PAGE or (flags & SHM_REMAP and not address):
        raise SyscallError(EINVAL)
    status = host.zeroed(SHM_OUT[IPC_STAT])
    host.system_call("shmctl", number, IPC_STAT, status)
    size = page_up(int.from_bytes(status.raw[48:56], "little"))
    permissions = READ | (0 if flags & SHM_RDONLY else WRITE) | (EXECUTE if flags & SHM_EXEC else 0)
    with memory.lock:
        place = address or memory.find_free(size)
        if place is None:
            raise SyscallError(ENOMEM)
        if place < MMAP_MIN_ADDR or place + size > memory.size:
            raise SyscallError(EINVAL)
        if address and not flags & SHM_REMAP and not memory.is_free(place, size):
            raise SyscallError(EINVAL)
        found = host.system_call("shmat", number, 0, flags & SHM_RDONLY)
        memory.adopt(place, size, permissions, found, f"{SEGMENT_NAME}{UINT.unpack_from(status)[0]:08x} (deleted)")
        process.segments[place] = size
    return place


@syscall("hex")
def sys_shmdt(process: "Process", address: int) -> int:
    size = process.segments.pop(address, None)
    if size is None:
        raise SyscallError(EINVAL)
    for mapping in process.memory.regions(address, address + size):
        if mapping.name.startswith(SEGMENT_NAME):  # else the guest has put something else there
            process.memory.unmap(mapping.start, mapping.end - mapping.start)
    return 0


@syscall("int int address")
def sys_shmctl(process: "Process", number: int, command: int, address: int) -> int:
    return control(process, "shmctl", number, command, address, SHM_IN, SHM_OUT)


# Queues of POSIX. Their descriptors are like others.


@syscall("text open_flags mode address")
def sys_mq_open(process: "Process", name: int, flags: int, mode: int, attributes: int) -> int:
    wanted = process.memory.read(attributes, MQ_ATTR_SIZE) if attributes else None
    path = path_string(process.memory, name)
    return host.system_call("mq_open", path, to_host_open_flags(flags), mode, wanted)


@syscall("text")
def sys_mq_unlink(process: "Process", name: int) -> int:
    return host.system_call("mq_unlink", path_string(process.memory, name))


def point_in_time(process: "Process", address: int) -> bytes | None:
    """When a call gives up."""
    return TIMESPEC.pack(*timespec(process.memory, address)) if address else None


@syscall("fd in_data size uint timespec")
def sys_mq_timedsend(process: "Process", fd: int, message: int, size: int, priority: int, timeout: int) -> int:
    length = len(view(process.memory, message, size, READ))
    if length < size:
        raise SyscallError(EFAULT)
    start = process.memory.base + (message if size else 0)
    return process.interruptible("mq_timedsend", fd, start, size, priority, point_in_time(process, timeout))


@syscall("fd out_data size address timespec")
def sys_mq_timedreceive(process: "Process", fd: int, message: int, size: int, priority: int, timeout: int) -> int:
    told, number = host.zeroed(min(size, LARGEST_MESSAGE)), host.zeroed(UINT.size)
    limit = point_in_time(process, timeout)
    length = process.interruptible("mq_timedreceive", fd, told, min(size, LARGEST_MESSAGE), number, limit)
    process.memory.write(message, told.raw[:length])
    if priority:
        process.memory.write(priority, number.raw)
    return length


@syscall("fd address")
def sys_mq_notify(process: "Process", fd: int, event: int) -> int:
    if not event:
        return host.system_call("mq_notify", fd, None)
    data = process.memory.read(event, SIGEVENT_SIZE)
    value, number, kind = SIGEVENT.unpack_from(data)
    if kind == SIGEV_THREAD:  # the value is where the kernel finds what to send
        process.memory.buffer(value, COOKIE_SIZE, READ)
        data = SIGEVENT.pack(process.memory.base + value, number, kind) + data[SIGEVENT.size :]
    return host.system_call("mq_notify", fd, data)


@syscall("fd address address")
def sys_mq_getsetattr(process: "Process", fd: int, new: int, old: int) -> int:
    wanted = process.memory.read(new, MQ_ATTR_SIZE) if new else None
    before = host.zeroed(MQ_ATTR_SIZE)
    host.system_call("mq_getsetattr", fd, wanted, before)
    if old:
        process.memory.write(old, before.raw)
    return 0
