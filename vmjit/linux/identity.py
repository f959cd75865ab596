"""Who and where the process is: ids, process groups, scheduling, limits, names, the system.

Ids, groups, priorities and CPUs are the host process's own. Limits on memory are recorded only: applied to the
emulator they would count its reserved areas. That on descriptors is applied as far as the emulator can bear it.
"""

import os
from collections.abc import Callable
from errno import E2BIG, EFAULT, EINVAL, EPERM
from struct import Struct

from vmjit.linux import host
from vmjit.linux.abi import INT, KERNEL_RELEASE, PLATFORM, SYSINFO_SIZE, TIMESPEC, UINT, UTSNAME
from vmjit.linux.buffers import PAGE, READ, view
from vmjit.linux.files import optional_id
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

PR_SET_NAME, PR_GET_NAME = 15, 16
# Options that the host is asked, because what they are about is its process: PR_SET_PDEATHSIG GET_DUMPABLE SET_DUMPABLE
# GET_KEEPCAPS SET_KEEPCAPS CAPBSET_READ SET_TIMERSLACK GET_TIMERSLACK SET_NO_NEW_PRIVS GET_NO_NEW_PRIVS.
HOST_OPTIONS = frozenset((1, 3, 4, 7, 8, 23, 29, 30, 38, 39))
PR_GET_PDEATHSIG = 2
CAPABILITY_HEADER, CAPABILITY_SETS = 8, {0x19980330: 12, 0x20071026: 24, 0x20080522: 24}  # by version
NEWEST_CAPABILITIES = 0x20080522
NAME_SIZE = 16
RLIMIT_SIZE = 16
RLIMIT_NOFILE = 7
RECORDED_LIMITS = frozenset((2, 3, RLIMIT_NOFILE, 8, 9))  # RLIMIT_DATA STACK, MEMLOCK AS
EMULATOR_DESCRIPTORS = 256
RLIMIT = Struct("<QQ")
MOST_GROUPS = 65536
CPU_MASK_LIMIT = 1024  # bytes
SCHED_ATTR_SIZE = 48  # of the first version


def answer(name: str, function: Callable[[], int]) -> None:
    """A call without arguments that returns a number the host knows."""
    register(name, "", lambda _process: function())


answer("getpid", os.getpid)
answer("getppid", os.getppid)
answer("getuid", os.getuid)
answer("geteuid", os.geteuid)
answer("getgid", os.getgid)
answer("getegid", os.getegid)


def three_ids(name: str, function: Callable[[], tuple[int, int, int]]) -> None:
    """getresuid and getresgid."""

    def get(process: "Process", *addresses: int) -> int:
        for address, number in zip(addresses, function(), strict=True):
            process.memory.write(address, UINT.pack(number))
        return 0

    register(name, "address address address", get)


three_ids("getresuid", os.getresuid)
three_ids("getresgid", os.getresgid)


def set_ids(name: str, kinds: str, function: Callable[..., None]) -> None:
    """A call that changes ids; -1 leaves one as it is."""

    def change(_process: "Process", *ids: int) -> int:
        function(*map(optional_id, ids))
        return 0

    register(name, kinds, change)


set_ids("setuid", "uid", os.setuid)
set_ids("setgid", "uid", os.setgid)
set_ids("setreuid", "uid uid", os.setreuid)
set_ids("setregid", "uid uid", os.setregid)
set_ids("setresuid", "uid uid uid", os.setresuid)
set_ids("setresgid", "uid uid uid", os.setresgid)


def file_system_id(name: str, current: Callable[[], int]) -> None:
    """setfsuid and setfsgid: they never fail and return the old id, which here always equals the effective one."""
    register(name, "uid", lambda _process, _id: current())


file_system_id("setfsuid", os.geteuid)
file_system_id("setfsgid", os.getegid)


@syscall("int address")
def sys_getgroups(process: "Process", size: int, address: int) -> int:
    groups = os.getgroups()
    if size:
        if size < len(groups):
            raise SyscallError(EINVAL)
        process.memory.write(address, b"".join([UINT.pack(group) for group in groups]))
    return len(groups)


@syscall("int address")
def sys_setgroups(process: "Process", size: int, address: int) -> int:
    if not 0 <= size <= MOST_GROUPS:
        raise SyscallError(EINVAL)
    os.setgroups([group for (group,) in UINT.iter_unpack(process.memory.read(address, size * UINT.size))])
    return 0


@syscall("pid")
def sys_getpgid(_process: "Process", pid: int) -> int:
    return os.getpgid(pid)


@syscall("pid pid")
def sys_setpgid(_process: "Process", pid: int, group: int) -> int:
    os.setpgid(pid, group)
    return 0


@syscall("pid")
def sys_getsid(_process: "Process", pid: int) -> int:
    return os.getsid(pid)


@syscall()
def sys_setsid(_process: "Process") -> int:
    os.setsid()
    return os.getpid()


# Scheduling.


@syscall("int uint")
def sys_getpriority(_process: "Process", which: int, who: int) -> int:
    return 20 - os.getpriority(which, who)  # the kernel shifts it so that no result is negative


@syscall("int uint int")
def sys_setpriority(_process: "Process", which: int, who: int, priority: int) -> int:
    os.setpriority(which, who, priority)
    return 0


@syscall()
def sys_sched_yield(_process: "Process") -> int:
    os.sched_yield()
    return 0


@syscall("pid size address")
def sys_sched_getaffinity(process: "Process", pid: int, size: int, address: int) -> int:
    mask = sum(1 << cpu for cpu in os.sched_getaffinity(pid))
    length = (mask.bit_length() + 63) // 64 * 8
    size &= 0xFFFFFFFF
    if size % 8 or size < length:
        raise SyscallError(EINVAL)
    process.memory.write(address, mask.to_bytes(length, "little"))
    return length


@syscall("pid size address")
def sys_sched_setaffinity(process: "Process", pid: int, size: int, address: int) -> int:
    mask = int.from_bytes(process.memory.read(address, min(size & 0xFFFFFFFF, CPU_MASK_LIMIT)), "little")
    os.sched_setaffinity(pid, [cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1])
    return 0


@syscall("pid")
def sys_sched_getscheduler(_process: "Process", pid: int) -> int:
    return os.sched_getscheduler(pid)


@syscall("pid int address")
def sys_sched_setscheduler(process: "Process", pid: int, policy: int, address: int) -> int:
    (priority,) = INT.unpack(process.memory.read(address, 4))
    os.sched_setscheduler(pid, policy, os.sched_param(priority))
    return 0


@syscall("pid address")
def sys_sched_getparam(process: "Process", pid: int, address: int) -> int:
    process.memory.write(address, INT.pack(os.sched_getparam(pid).sched_priority))
    return 0


@syscall("pid address")
def sys_sched_setparam(process: "Process", pid: int, address: int) -> int:
    (priority,) = INT.unpack(process.memory.read(address, 4))
    os.sched_setparam(pid, os.sched_param(priority))
    return 0


@syscall("pid address")
def sys_sched_rr_get_interval(process: "Process", pid: int, address: int) -> int:
    process.memory.write(address, TIMESPEC.pack(*divmod(round(os.sched_rr_get_interval(pid) * 1e9), 1_000_000_000)))
    return 0


@syscall("pid address uint uint")
def sys_sched_getattr(process: "Process", pid: int, address: int, size: int, flags: int) -> int:
    if not SCHED_ATTR_SIZE <= size <= PAGE:
        raise SyscallError(EINVAL)
    told = host.zeroed(size)
    host.system_call("sched_getattr", pid, told, size, flags)
    process.memory.write(address, told.raw[: UINT.unpack_from(told)[0]])
    return 0


@syscall("pid address uint")
def sys_sched_setattr(process: "Process", pid: int, address: int, flags: int) -> int:
    (size,) = UINT.unpack(process.memory.read(address, UINT.size))
    if size and not SCHED_ATTR_SIZE <= size <= PAGE:
        process.memory.write(address, UINT.pack(SCHED_ATTR_SIZE))
        raise SyscallError(E2BIG)
    return host.system_call("sched_setattr", pid, process.memory.read(address, size or SCHED_ATTR_SIZE), flags)


@syscall("int int")
def sys_ioprio_get(_process: "Process", which: int, who: int) -> int:
    return host.system_call("ioprio_get", which, who)


@syscall("int int int")
def sys_ioprio_set(_process: "Process", which: int, who: int, priority: int) -> int:
    return host.system_call("ioprio_set", which, who, priority)


@syscall("int")
def sys_sched_get_priority_max(_process: "Process", policy: int) -> int:
    return os.sched_get_priority_max(policy)


@syscall("int")
def sys_sched_get_priority_min(_process: "Process", policy: int) -> int:
    return os.sched_get_priority_min(policy)


@syscall("address address address")
def sys_getcpu(process: "Process", cpu: int, node: int, _cache: int) -> int:
    found = host.zeroed(UINT.size), host.zeroed(UINT.size)
    host.system_call("getcpu", *found)
    for address, number in zip((cpu, node), found, strict=True):
        if address:
            process.memory.write(address, number.raw)
    return 0


# Limits.


def host_limit(pid: int, resource: int, new: bytes | None) -> bytes:
    """The limit before the change, if any."""
    before = host.zeroed(RLIMIT_SIZE)
    host.call("prlimit", pid, resource, new, before)
    return before.raw


@syscall("pid resource address address", lacks="limits of memory are kept, and not applied")
def sys_prlimit64(process: "Process", pid: int, resource: int, new: int, old: int) -> int:
    limits = process.memory.read(new, RLIMIT_SIZE) if new else None
    if resource in RECORDED_LIMITS and pid in (0, os.getpid()):
        before = process.limits.get(resource) or host_limit(0, resource, None)
        if limits is not None:
            record_limit(process, resource, limits, before)
            if resource == RLIMIT_NOFILE:
                limit_descriptors(limits)
    else:
        before = host_limit(pid, resource, limits)
    if old:
        process.memory.write(old, before)
    return 0


def record_limit(process: "Process", resource: int, limits: bytes, before: bytes) -> None:
    """Keep a limit that is not applied, by the rules of one that is."""
    soft, hard = RLIMIT.unpack(limits)
    if soft > hard:
        raise SyscallError(EINVAL)
    if hard > RLIMIT.unpack(before)[1] and os.geteuid():
        raise SyscallError(EPERM)
    process.limits[resource] = limits


def limit_descriptors(limits: bytes) -> None:
    """The host's limit follows the guest's, but leaves the emulator some: it loads modules when it first needs them."""
    enough = min(EMULATOR_DESCRIPTORS, *RLIMIT.unpack(host_limit(0, RLIMIT_NOFILE, None)))
    host_limit(0, RLIMIT_NOFILE, RLIMIT.pack(*[max(limit, enough) for limit in RLIMIT.unpack(limits)]))


@syscall("resource address")
def sys_getrlimit(process: "Process", resource: int, address: int) -> int:
    if not address:
        raise SyscallError(EFAULT)
    return sys_prlimit64(process, 0, resource, 0, address)


@syscall("resource address", lacks="limits of memory are kept, and not applied")
def sys_setrlimit(process: "Process", resource: int, address: int) -> int:
    if not address:
        raise SyscallError(EFAULT)
    return sys_prlimit64(process, 0, resource, address, 0)


# Names and the system.


def not_permitted(_process: "Process", *_arguments: int) -> int:
    """Setting the host's names is refused, even to root."""
    raise SyscallError(EPERM)


register("sethostname", "address size", not_permitted, lacks="always EPERM")
register("setdomainname", "address size", not_permitted, lacks="always EPERM")


@syscall("address")
def sys_uname(process: "Process", address: int) -> int:
    node = os.fsencode(os.uname().nodename)[:64]
    names = UTSNAME.pack(b"Linux", node, KERNEL_RELEASE, b"#1 SMP vmjit", PLATFORM, b"(none)")
    process.memory.write(address, names)
    return 0


@syscall("address")
def sys_sysinfo(process: "Process", address: int) -> int:
    result = host.zeroed(SYSINFO_SIZE)
    host.call("sysinfo", result)
    process.memory.write(address, result.raw)
    return 0


@syscall(
    "int hex hex hex hex", lacks="options other than those of names, capabilities, dumps, death signals, timer slack"
)
def sys_prctl(process: "Process", option: int, argument: int, *rest: int) -> int:
    if option in HOST_OPTIONS:
        return host.call("prctl", option, *map(signed_long, (argument, *rest)))
    if option == PR_GET_PDEATHSIG:
        result = host.zeroed(INT.size)
        host.call("prctl", option, host.address(result), 0, 0, 0)
        process.memory.write(argument, result.raw)
        return 0
    if option == PR_SET_NAME:
        name = view(process.memory, argument, NAME_SIZE - 1, READ).tobytes().split(b"\0")[0]
        if process.thread.tid == os.getpid():
            process.name = name
        else:
            process.thread.name = name
        return 0
    if option == PR_GET_NAME:
        name = process.name if process.thread.name is None else process.thread.name
        process.memory.write(argument, name.ljust(NAME_SIZE, b"\0"))
        return 0
    raise SyscallError(EINVAL)


def signed_long(value: int) -> int:
    """A register as a C long."""
    return (value ^ 1 << 63) - (1 << 63)


@syscall("address address")
def sys_capget(process: "Process", header: int, data: int) -> int:
    contents = process.memory.read(header, CAPABILITY_HEADER)
    (version,) = UINT.unpack(contents[:4])
    size = CAPABILITY_SETS.get(version)
    if size is None:
        process.memory.write(header, UINT.pack(NEWEST_CAPABILITIES))
        if data:
            raise SyscallError(EINVAL)
        return 0
    result = host.zeroed(size)
    host.call("capget", contents, result)
    if data:
        process.memory.write(data, result.raw)
    return 0


@syscall("address address")
def sys_capset(process: "Process", header: int, data: int) -> int:
    contents = process.memory.read(header, CAPABILITY_HEADER)
    (version,) = UINT.unpack(contents[:4])
    if version not in CAPABILITY_SETS:
        process.memory.write(header, UINT.pack(NEWEST_CAPABILITIES))
        raise SyscallError(EINVAL)
    return host.call("capset", contents, process.memory.read(data, CAPABILITY_SETS[version]))


@syscall("uint", lacks="PER_LINUX only")
def sys_personality(_process: "Process", _persona: int) -> int:
    return 0  # PER_LINUX
