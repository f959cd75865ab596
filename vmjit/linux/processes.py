"""Processes: exit, fork, wait, execve.

A guest process is a host process, so fork is the host's fork, and execve replaces the emulator by a new one for the new
program. vfork and the clone of posix_spawn become fork too: the parent waits, and is told what the child has written
when that executes a program or ends. Threads are in threads.py.
"""

import ctypes
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import E2BIG, EACCES, ECHILD, EINVAL, ELOOP, ENOENT, ENOEXEC
from struct import Struct

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    CLONE_ARGS,
    ELF_MACHINE,
    INT,
    IOVEC,
    RUSAGE_SIZE,
    SIGINFO_CHILD,
    TIMESPEC,
    ULONG,
)
from vmjit.linux.buffers import PAGE, WRITE, path_string, strings
from vmjit.linux.outcome import Executed, Exited, SyscallError, ThreadExited
from vmjit.linux.sandbox import Sandbox, existing, folder
from vmjit.linux.signal_frame import SIGINFO_SIZE
from vmjit.linux.signals import (
    KEPT,
    LARGEST,
    NEVER_BLOCKED,
    SIG_IGN,
    SIG_SETMASK,
    SIGCHLD,
    SIGKILL,
    SIGSTOP,
    reset_handlers,
    signals_held,
)
from vmjit.linux.table import syscall
from vmjit.linux.threads import (
    CLONE_CHILD_CLEARTID,
    CLONE_CHILD_SETTID,
    CLONE_PARENT_SETTID,
    CLONE_SETTLS,
    clone_thread,
    write_tid,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

CLONE_VM, CLONE_PIDFD, CLONE_VFORK, CLONE_THREAD, CLONE_DETACHED = 0x100, 0x1000, 0x4000, 0x10000, 0x400000
CLONE_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP .. NEWNET
CLONE_CLEAR_SIGHAND = 0x100000000  # this and the next by clone3 only
CLONE3_REFUSED = 0x200000000 | 0x8000 | 0xFF  # CLONE_INTO_CGROUP, PARENT, what is a signal for clone

WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x1000000
WAIT4_OPTIONS = WNOHANG | WUNTRACED | WCONTINUED | 0xE0000000  # __WNOTHREAD, __WALL, __WCLONE
ANY_CHILD = -1
P_ALL, P_PID, P_PGID = 0, 1, 2
LOOK_AGAIN = TIMESPEC.pack(0, 50_000_000)  # a pidfd tells of an exit at once, but not of a stop
PIPE_SIZE = 65536
POLLFD, POLLIN = Struct("<ihh"), 1
ENDS = (1, 2, 3)  # CLD_EXITED, KILLED, DUMPED
GATE_FD = 200  # above what shells use for redirections, below any usual RLIMIT_NOFILE

# What the host's dynamic linker and C library would take for themselves.
LINKER_VARIABLES = (b"LD_", b"GLIBC_TUNABLES", b"GCONV_PATH", b"LOCPATH", b"MALLOC_")

MOST_INTERPRETERS = 5  # the kernel's limit of scripts that are the interpreters of scripts
HEAD_SIZE = 256  # BINPRM_BUF_SIZE


class HiddenChildren(set[int]):
    """Children of the emulator's own; `ever` has also those that have ended, of which a signal may still tell."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: set[int] = set()

    def add(self, pid: int) -> None:
        super().add(pid)
        self.ever.add(pid)


@syscall("int", result="none")
def sys_exit(process: "Process", status: int) -> int:
    if len(process.threads) > 1:
        raise ThreadExited(status & 0xFF)
    raise Exited(status & 0xFF)


@syscall("int", result="none")
def sys_exit_group(_process: "Process", status: int) -> int:
    raise Exited(status & 0xFF)


# clone


@syscall(
    "clone_flags hex address hex address",
    lacks="namespaces; a child that shares memory (CLONE_VM) has a copy, and a parent that waits for it (CLONE_VFORK) "
    "gets what it wrote, but no mappings; threads share all that they can; descriptors of threads",
)
def sys_clone(process: "Process", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    if flags & CLONE_PIDFD and flags & (CLONE_PARENT_SETTID | CLONE_DETACHED):
        raise SyscallError(EINVAL)
    return clone(process, flags, stack, parent_tid, tls, child_tid, parent_tid)


@syscall("address size", lacks="as clone; cgroups, chosen ids")
def sys_clone3(process: "Process", address: int, size: int) -> int:
    if not CLONE_ARGS.size <= size <= PAGE:
        raise SyscallError(EINVAL if size < CLONE_ARGS.size else E2BIG)
    data = process.memory.read(address, size)
    if any(data[CLONE_ARGS.size :]):  # among them what only newer kernels know
        raise SyscallError(E2BIG)
    flags, pidfd, child_tid, parent_tid, signal_number, stack, stack_size, tls = CLONE_ARGS.unpack_from(data)
    if flags & CLONE3_REFUSED or bool(stack) != bool(stack_size) or signal_number not in (0, SIGCHLD):
        raise SyscallError(EINVAL)
    if flags & CLONE_PIDFD and (flags & CLONE_DETACHED or (flags & CLONE_PARENT_SETTID and pidfd == parent_tid)):
        raise SyscallError(EINVAL)
    return clone(process, flags | signal_number, stack + stack_size, parent_tid, tls, child_tid, pidfd)


def clone(
    process: "Process", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int, pidfd_address: int
) -> int:
    """A thread, or else a fork, whatever memory was to be shared."""
    if flags & CLONE_THREAD:
        if flags & CLONE_PIDFD:
            raise SyscallError(EINVAL)
        return clone_thread(process, flags, stack, parent_tid, tls, child_tid)
    if flags & CLONE_NAMESPACES:
        raise SyscallError(EINVAL)
    if flags & CLONE_PIDFD:
        process.memory.buffer(pidfd_address, INT.size, WRITE)
    with signals_held(process):  # one that was caught would be taken by the child too
        return fork(process, flags, stack, parent_tid, tls, child_tid, pidfd_address)


def fork(
    process: "Process", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int, pidfd_address: int
) -> int:
    """The process is there twice."""
    gate = open_gate(process) if flags & CLONE_VFORK else None
    start = open_gate(process) if flags & CLONE_PIDFD else None
    process.before_fork()
    try:
        # The lock, because a copy of the table of mappings made while another thread changes it would be of no use.
        with process.memory.lock:
            pid = os.fork()
    except OSError:
        process.after_fork_in_parent()
        for pipe in filter(None, (gate, start)):
            close_pipe(process, pipe)
        raise
    if not pid:
        start_child(process, flags, stack, tls, child_tid, gate, start)
        return 0
    process.children.add(pid)
    process.after_fork_in_parent()
    if flags & CLONE_PARENT_SETTID:
        write_tid(process, parent_tid, pid)
    try:
        if start is not None:
            give_descriptor(process, pid, pidfd_address, start)
    finally:
        if gate is not None:
            wait_at(process, gate)
    return pid


def start_child(
    process: "Process",
    flags: int,
    stack: int,
    tls: int,
    child_tid: int,
    gate: tuple[int, int] | None,
    start: tuple[int, int] | None,
) -> None:
    """What differs in the child."""
    process.begin_as_child()
    close_gate(process)
    if gate is not None:
        process.gates.remove(gate[1])
        process.vfork_fd = gate[1]
    process.after_fork_in_child()
    share_writes(process, gate is not None and bool(flags & CLONE_VM))
    if start is not None:
        wait_to_start(process, start)
    close_pipe(process, tuple(process.gates))  # also those of other threads, which the child would keep waiting
    thread = process.thread
    if thread.registers is not None:
        thread.registers.begin_child(stack, tls if flags & CLONE_SETTLS else None)
    if flags & CLONE_CLEAR_SIGHAND:
        reset_handlers(process)
    thread.clear_child_tid = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    if flags & CLONE_CHILD_SETTID:
        write_tid(process, child_tid, os.getpid())


def open_gate(process: "Process") -> tuple[int, int]:
    """A pipe between the two: reading end and writing end."""
    with process.memory.lock:  # no other thread forks before they are noted
        low = os.pipe()
        try:
            reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, GATE_FD) for fd in low)
        finally:
            for fd in low:
                os.close(fd)
        for fd in (reader, writer):
            process.gates.add(fd)
            process.reserved_fds.add(fd)
    return reader, writer


def close_pipe(process: "Process", fds: Iterable[int]) -> None:
    """Close ends of such pipes."""
    with process.memory.lock:
        for fd in fds:
            os.close(fd)
            process.gates.discard(fd)
            process.reserved_fds.discard(fd)


def wait_at(process: "Process", gate: tuple[int, int]) -> None:
    """The side of a vfork parent: until the child runs another program or is gone."""
    close_pipe(process, gate[1:])
    told = b"".join(iter(lambda: os.read(gate[0], PIPE_SIZE), b""))
    close_pipe(process, gate[:1])
    while len(told) >= IOVEC.size:
        address, size = IOVEC.unpack_from(told)
        end = IOVEC.size + size
        with suppress(MemoryAccessError):  # another thread has unmapped it
            process.memory.write(address, told[IOVEC.size : end])
        told = told[end:]


def share_writes(process: "Process", shares: bool) -> None:
    """Whether a child tells its parent what it writes.

    That it finds out by faults: pages cannot be written until their contents were noted. Neither compiled code, whose
    registers are not known at a fault, nor calls by native code, of which the kernel says EFAULT, can bear that.
    """
    if shares:
        process.memory.watch()
    elif process.tells_writes:  # it is the child of one
        process.memory.unwatch()
    if shares or process.tells_writes:
        process.only_interpret(shares)
        process.reserved_fds.withhold(shares)
    process.tells_writes = shares


def tell_writes(process: "Process") -> None:
    """Tell the vfork parent what was written: single bytes, for other threads of it may write those next to them."""
    if process.vfork_fd is None or not process.tells_writes:
        return
    told = b"".join([IOVEC.pack(address, len(data)) + data for address, data in process.memory.written()])
    with suppress(OSError):  # it was killed
        while told:
            told = told[os.write(process.vfork_fd, told) :]


def close_gate(process: "Process") -> None:
    """Let the vfork parent go on; a child of the child must not keep it waiting."""
    if process.vfork_fd is not None:
        os.close(process.vfork_fd)
        process.reserved_fds.discard(process.vfork_fd)
        process.vfork_fd = None


def give_descriptor(process: "Process", pid: int, address: int, start: tuple[int, int]) -> None:
    """CLONE_PIDFD in the parent; the child waits, for one that is gone and waited for has no descriptor."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # no room for one more
        close_pipe(process, start)
        os.waitpid(pid, 0)
        process.children.discard(pid)
        raise
    with suppress(MemoryAccessError):  # another thread has unmapped it
        process.memory.write(address, INT.pack(pidfd))
    os.write(start[1], b"\0")
    close_pipe(process, start)


def wait_to_start(process: "Process", start: tuple[int, int]) -> None:
    """The child's side: it is not to be if the parent got no descriptor."""
    close_pipe(process, start[1:])
    if not os.read(start[0], 1):
        os._exit(0)


# wait


def in_group(group: int) -> Callable[[int], bool]:
    """Whether a child is in that process group; 0 is our own."""
    wanted = group or os.getpgrp()
    return lambda pid: os.getpgid(pid) == wanted


def choose_child(process: "Process", accept: Callable[[int], bool], options: int) -> int:
    """Wait for one of the guest's children, when the emulator has some of its own; 0 if none is ready (WNOHANG)."""
    events = options & (WUNTRACED | WEXITED | WCONTINUED)
    while True:
        candidates = [pid for pid in tuple(process.children) if accept(pid)]
        if not candidates:
            raise SyscallError(ECHILD)
        for pid in candidates:
            try:
                if os.waitid(os.P_PID, pid, events | WNOHANG | WNOWAIT) is not None:
                    return pid
            except ChildProcessError:
                process.children.discard(pid)
        if options & WNOHANG:
            return 0
        wait_for_exit(process, candidates)


def wait_for_exit(process: "Process", pids: list[int]) -> None:
    """Until one of them ends, or it is time to look whether one has stopped."""
    fds: list[int] = []
    try:
        fds.extend(os.pidfd_open(pid) for pid in pids)
        entries = b"".join([POLLFD.pack(fd, POLLIN, 0) for fd in fds])
        process.interruptible("ppoll", host.filled(entries), len(fds), host.filled(LOOK_AGAIN), None, 0)
    except ProcessLookupError:
        return
    finally:
        for fd in fds:
            os.close(fd)


@syscall("pid address wait_flags address")
def sys_wait4(process: "Process", pid: int, status_address: int, options: int, usage_address: int) -> int:
    if options & 0xFFFFFFFF & ~WAIT4_OPTIONS:
        raise SyscallError(EINVAL)
    if process.hidden_children and pid <= 0:
        accept = process.children.__contains__ if pid == ANY_CHILD else in_group(-pid)
        pid = choose_child(process, accept, options | WEXITED)
        if not pid:
            return 0
    status, usage = host.zeroed(INT.size), host.zeroed(RUSAGE_SIZE)
    found = process.interruptible("wait4", pid, status, options, usage)
    if not found:
        return 0
    (how,) = INT.unpack(status.raw)
    if os.WIFEXITED(how) or os.WIFSIGNALED(how):
        process.children.discard(found)
    if status_address:
        process.memory.write(status_address, status.raw)
    if usage_address:
        process.memory.write(usage_address, usage.raw)
    return found


@syscall("int pid address wait_flags address")
def sys_waitid(process: "Process", kind: int, number: int, info: int, options: int, usage: int) -> int:
    if process.hidden_children and kind in (P_ALL, P_PGID):
        accept = process.children.__contains__ if kind == P_ALL else in_group(number)
        kind, number = P_PID, choose_child(process, accept, options)
    told, used = host.zeroed(SIGINFO_SIZE), host.zeroed(RUSAGE_SIZE)
    if (kind, number) != (P_PID, 0):
        process.interruptible("waitid", kind, number, told, options, used)
    _, _, code, pid, _, _ = SIGINFO_CHILD.unpack_from(told)
    if code in ENDS and not options & WNOWAIT:
        process.children.discard(pid)
    if info:
        process.memory.write(info, told.raw)
    if usage:
        process.memory.write(usage, used.raw)
    return 0


# execve


@syscall("path argv address", lacks="variables without a name or value are not passed on")
def sys_execve(process: "Process", path_address: int, argv_address: int, env_address: int) -> int:
    return execute(process, path_string(process.memory, path_address), argv_address, env_address)


def execute(process: "Process", path: bytes, argv_address: int, env_address: int) -> int:
    """Run another program: in this process of the host, or by replacing the emulator, which ends its threads."""
    # As Linux does since 5.18, a program that is given no arguments gets an empty argv[0].
    argv = strings(process.memory, argv_address) or [b""]
    env = strings(process.memory, env_address)
    program, argv = find_program(process, path, argv)
    variables = {name: value for name, sign, value in (entry.partition(b"=") for entry in env) if name and sign}
    if process.may_go_on():
        raise Executed(program, argv, variables)
    for_host, options = share_environment(process, variables)
    command = emulator_command(process, program, argv, options)
    process.before_fork()  # so that no child of the emulator is started meanwhile
    try:
        end_hidden_children(process)
        tell_writes(process)
        environment = [name + b"=" + value for name, value in for_host.items()]
        return process.interruptible("execve", command[0], pointers(command), pointers(environment))
    finally:
        process.after_fork_in_parent()


def ignored_signals(process: "Process") -> list[int]:
    """Those of KEPT that the guest ignores, and so what it executes."""
    return [number for number in sorted(KEPT) if process.signals.action(number).handler == SIG_IGN]


def leave_program(process: "Process") -> None:
    """What execve(2) does to the process, when the guest has ended and another program is to run in its place."""
    close_gate(process)
    if process.tells_writes:
        process.reserved_fds.withhold(False)
    for number in range(1, LARGEST + 1):
        if number not in (*KEPT, SIGKILL, SIGSTOP):
            action = process.signals.action(number)
            signal.signal(number, signal.SIG_IGN if action.handler == SIG_IGN else signal.SIG_DFL)
    blocked = process.thread.blocked & ~NEVER_BLOCKED
    host.system_call("rt_sigprocmask", SIG_SETMASK, ULONG.pack(blocked), None, ULONG.size)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError):  # that of the folder is closed by now
            if fd not in process.reserved_fds and fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(fd)


@syscall("dirfd path argv address at_flags", lacks="variables without a name or value are not passed on")
def sys_execveat(
    process: "Process", dirfd: int, path_address: int, argv_address: int, env_address: int, flags: int
) -> int:
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise SyscallError(EINVAL)
    path = path_string(process.memory, path_address)
    if not path and not flags & AT_EMPTY_PATH:
        raise SyscallError(ENOENT)
    if dirfd != AT_FDCWD and not path.startswith(b"/"):
        root = process.root
        above = os.readlink(b"/proc/self/fd/%d" % dirfd) if root is None else folder(root, dirfd)
        path = os.path.join(above, path).rstrip(b"/")
    if flags & AT_SYMLINK_NOFOLLOW:
        with existing(process, path, follow=False) as (_, name, follow):
            if stat.S_ISLNK(os.stat(name, follow_symlinks=follow).st_mode):
                raise SyscallError(ELOOP)
    return execute(process, path, argv_address, env_address)


def pointers(strings: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """The array of strings that execve(2) takes."""
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)


def share_environment(process: "Process", variables: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """What the emulator starts with, and options for what differs in the guest's environment.

    Libraries to load would not be for the host. In a sandbox nothing is: a folder that the guest names would be where
    the emulator looks for code.
    """
    if process.env_option is None or process.unset_option is None:
        return variables, []
    if process.sandbox == Sandbox():
        for_host = {name: value for name, value in variables.items() if not name.startswith(LINKER_VARIABLES)}
    else:
        for_host = dict(os.environb)
    options = []
    for name in for_host:
        if name not in variables:
            options += [process.unset_option, name]
    for name, value in variables.items():
        if for_host.get(name) != value:
            options += [process.env_option, name + b"=" + value]
    return for_host, options


def end_hidden_children(process: "Process") -> None:
    """The emulator's own would be unknown children of the next program, which it could wait for."""
    for pid in tuple(process.hidden_children):
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def find_program(process: "Process", path: bytes, argv: list[bytes]) -> tuple[bytes, list[bytes]]:
    """The ELF file to run and its arguments, scripts replaced by their interpreters; or the errno of execve(2).

    The file's path is the host's, or with a root one below that.
    """
    for _ in range(MOST_INTERPRETERS):
        with existing(process, path) as (_, name, _):
            head = read_head(name)
            found = name if process.root is None else process.root.inside(os.readlink(name))
        if found is None:
            raise SyscallError(ENOENT)
        if is_guest_elf(head):
            return found, argv
        interpreter = script_interpreter(head)
        argv = [*interpreter, path, *argv[1:]]
        path = interpreter[0]
    raise SyscallError(ELOOP)


def read_head(path: bytes) -> bytes:
    """The first bytes of a file that may be executed."""
    if not os.path.isfile(path):
        os.stat(path)
        raise SyscallError(EACCES)
    if not os.access(path, os.X_OK, effective_ids=True):
        raise SyscallError(EACCES)
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, HEAD_SIZE)
    finally:
        os.close(fd)


def is_guest_elf(head: bytes) -> bool:
    """Whether this is a 64-bit little-endian ELF executable for the guest's machine."""
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return False
    return head[16:18] in (b"\2\0", b"\3\0") and int.from_bytes(head[18:20], "little") == ELF_MACHINE


def script_interpreter(head: bytes) -> list[bytes]:
    """The words of a #! line: the interpreter and at most one argument."""
    if not head.startswith(b"#!"):
        raise SyscallError(ENOEXEC)
    words = head[2:].split(b"\n", 1)[0].split(b"\0", 1)[0].strip(b" \t").split(None, 1)
    if not words:
        raise SyscallError(ENOEXEC)
    return words


def emulator_command(process: "Process", program: bytes, argv: list[bytes], options: list[bytes]) -> list[bytes]:
    """The host command that runs the program under a new emulator."""
    if not process.emulator_argv:
        process.report("execve: this emulator was not told how to run another program; returned ENOEXEC")
        raise SyscallError(ENOEXEC)
    program = os.path.abspath(program)  # also keeps a name that starts with - from looking like an option
    command = list(process.emulator_argv)
    if process.argv0_option is not None and argv[0] != program:
        command += [process.argv0_option, argv[0]]
    if process.ignore_option is not None:
        for number in ignored_signals(process):
            command += [process.ignore_option, b"%d" % number]
    return [*command, *options, program, *argv[1:]]
