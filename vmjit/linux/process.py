"""One guest process: its memory, its state that the host process does not hold, and the system call dispatcher.

Most state of a Linux process needs no copy here: the guest's descriptors, working directory, umask, ids and children
are the host process's own. What is here is what must differ: the break, signal actions, limits, names. What threads
have each for themselves is in thread.py.
"""

import os
import sys
from _thread import RLock, _local, get_native_id
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from errno import EBADF, EINVAL, EIO, ENOMEM, ENOSYS, EPIPE
from errno import EFAULT as _EFAULT
from struct import Struct
from struct import error as StructError

from vmjit.errors import MemoryAccessError
from vmjit.linux import host
from vmjit.linux.abi import NAMES
from vmjit.linux.buffers import EXECUTE, PAGE, WRITE
from vmjit.linux.native_calls import ReservedDescriptors
from vmjit.linux.outcome import RESTART, Restart, SyscallError
from vmjit.linux.processes import HiddenChildren, tell_writes
from vmjit.linux.sandbox import Root, Sandbox
from vmjit.linux.signals import SIGPIPE, Signals, discard_interruption, result_of_interrupted, send_to_self
from vmjit.linux.stack import map_stack, write_stack
from vmjit.linux.syscalls import TABLE
from vmjit.linux.table import Syscall
from vmjit.linux.thread import Thread
from vmjit.linux.threads import release_robust_futexes, tell_end
from vmjit.linux.vdso import map_vdso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from vmjit.loader.elf import Image
    from vmjit.memory.address_space import AddressSpace

Text = str | bytes

_pack_registers = Struct("<6Q").pack


def nothing(*_: int) -> None:
    """A hook the engine did not set."""


class Process:
    """A user-mode process.

    The engine may set the hooks: flush_code(address, size), before_fork(), after_fork_in_parent(),
    after_fork_in_child(), make_faults_precise(signal), may_go_on(): whether Executed may be raised, for another program
    to be run in this process of the host, and new_thread(thread, maker), which gives a thread copies of the registers
    of another and returns what runs it to its end in the current host thread. Descriptors and children of its own that
    the guest must not see go into reserved_fds and hidden_children.
    """

    def __init__(
        self,
        memory: "AddressSpace",
        *,
        executable: Text,
        argv: Sequence[Text],
        env: Mapping[str, str] | Mapping[bytes, bytes] | Sequence[Text],
        sysroot: Text | None = None,
        strace: "TextIO | None" = None,
        emulator_argv: Sequence[str] = (),
        argv0_option: str | None = None,
        env_option: str | None = None,
        unset_option: str | None = None,
        ignore_option: str | None = None,
        ignored: Sequence[int] = (),
        before: "Process | None" = None,
        sandbox: Sandbox | None = None,
        root: Root | None = None,
    ) -> None:
        """argv0_option: the emulator's for an argv[0] that is not the path; env_option, unset_option: for a variable.

        ignore_option is that for a signal that the program begins with ignoring, though the host's process does not.
        before: the program that this one is executed in place of, in the same process of the host.
        root is the sandbox's, with which `executable` is a path below it.
        """
        self.memory = memory
        self.execfn = os.fsencode(executable)
        self.sandbox, self.root = sandbox or Sandbox(), root
        self.executable = os.path.realpath(self.execfn) if root is None else root.real(self.execfn)
        self.argv = [os.fsencode(argument) for argument in argv]
        self.env = environment_list(env)
        self.sysroot = os.path.abspath(os.fsencode(sysroot)) if sysroot is not None else None
        self.strace = strace
        self.emulator_argv = [os.fsencode(argument) for argument in emulator_argv]
        self.argv0_option = os.fsencode(argv0_option) if argv0_option else None
        self.env_option = os.fsencode(env_option) if env_option else None
        self.unset_option = os.fsencode(unset_option) if unset_option else None
        self.ignore_option = os.fsencode(ignore_option) if ignore_option else None

        self.name = os.path.basename(self.execfn)[:15]
        self.signals = Signals(ignored)
        self.limits: dict[int, bytes] = {} if before is None else before.limits
        self.auxv = b""
        self.vdso = self.stack_top = self.brk_start = self.brk_end = self.initial_sp = 0
        # Start and end of the program's code and data; of arguments, then environment: for /proc.
        self.code = self.data = (0, 0)
        self.strings = (0, 0, 0, 0)
        self.socket_names: dict[bytes, bytes] = {}  # with a root: of the host, and what the guest called it
        self.timers: set[int] = set()  # those of timer_create
        self.segments: dict[int, int] = {}  # of System V's shared memory: size by address
        self.children: set[int] = set() if before is None else before.children
        self.hidden_children: HiddenChildren = HiddenChildren() if before is None else before.hidden_children
        self.reserved_fds: ReservedDescriptors = ReservedDescriptors() if before is None else before.reserved_fds
        if root is not None:
            self.reserved_fds.add(root.fd)
        self.vfork_fd: int | None = None  # what a vfork parent waits for the end of, and is told of writes by
        self.tells_writes = False  # to a vfork parent that shares memory
        self.gates: set[int] = set()  # ends of pipes to children that are being made
        self._reported: set[str] = set()

        self.flush_code: Callable[[int, int], None] = nothing
        self.before_fork: Callable[[], None] = nothing
        self.after_fork_in_parent: Callable[[], None] = nothing
        self.after_fork_in_child: Callable[[], None] = nothing
        self.make_faults_precise: Callable[[int], None] = nothing
        self.only_interpret: Callable[[bool], None] = nothing
        self.may_go_on: Callable[[], bool] = bool
        self.new_thread: Callable[[Thread, Thread], Callable[[], None]] | None = None

        self.is_ending = False  # threads that wait in the host are to go on
        self._current = _local()
        self.threads: dict[int, Thread] = {}  # by id, those that have not ended
        self.begin_thread(Thread())

    @property
    def thread(self) -> Thread:
        """The thread that runs now: that of the guest which the current host thread is."""
        found: Thread = self._current.thread
        return found

    def begin_thread(self, thread: Thread) -> None:
        """From now on the current host thread is this thread of the guest."""
        self.threads.pop(thread.tid, None)
        thread.tid = get_native_id()
        self._current.thread = self.threads[thread.tid] = thread

    def end_thread(self) -> None:
        """The current host thread is no thread of the guest any more."""
        thread = self.thread
        release_robust_futexes(self, thread)
        self.threads.pop(thread.tid, None)
        if self.threads or self.tells_writes:
            tell_end(self, thread)
        tell_writes(self)

    def begin_as_child(self) -> None:
        """In a forked child, whose only thread is the one that forked, and which has no children or signals yet."""
        self.children.clear()
        self.timers.clear()
        self.hidden_children.clear()
        self.threads.clear()
        self.thread.robust_list = (0, 0)
        self.begin_thread(self.thread)
        self.signals.lock = RLock()  # another thread may have held it
        for holder in (self.signals, self.thread):
            holder.pending = 0
            holder.infos.clear()

    @property
    def executable_name(self) -> bytes:
        """The program's file as it is to the program itself."""
        return self.executable if self.root is None else self.root.inside(self.executable) or self.execfn

    def start(self, image: "Image", *, hwcap: int, interpreter_base: int = 0) -> int:
        """Map the vDSO and the stack and fill this, place the break behind the image; the initial stack pointer."""
        self.brk_start = self.brk_end = -(-image.brk_start // PAGE) * PAGE
        self.stack_top = map_stack(self.memory)
        self.vdso, self.signals.return_address = map_vdso(self.memory)
        self.code, self.data = image.area(EXECUTE), image.area(WRITE)
        self.initial_sp, self.auxv = write_stack(self, image, hwcap, interpreter_base)
        return self.initial_sp

    def syscall(self, number: int, args: Sequence[int]) -> int:
        """Perform a call with six register values; its result, minus an errno, or RESTART."""
        entry = TABLE.get(number)
        if entry is None:
            return self._unknown(number, args)
        if self.strace is not None:
            from vmjit.linux.strace import traced

            return traced(self, self.strace, entry, args)
        return self.perform(entry, args)

    def interrupted(self, number: int) -> int:
        """The result of a call that native code has made and a signal interrupted."""
        return result_of_interrupted(self, NAMES[number])

    def perform(self, entry: Syscall, args: Sequence[int]) -> int:
        """The call itself, its exceptions turned into results."""
        values = entry.unpack(_pack_registers(*args))
        for position in entry.descriptors:
            if values[position] in self.reserved_fds:
                return -EBADF  # the emulator's own do not exist for the guest
        try:
            return entry.function(self, *values)
        except SyscallError as error:
            return -error.errno
        except MemoryAccessError:
            return -_EFAULT
        except Restart:
            return RESTART
        except InterruptedError:
            return result_of_interrupted(self, entry.name)
        except OSError as error:
            if error.errno == EPIPE:
                send_to_self(self, SIGPIPE)
            return -(error.errno or EIO)
        except (OverflowError, ValueError, StructError):
            # A number that the host's function cannot even be given, such as a time in the year 10^12.
            return -EINVAL
        except MemoryError:
            return -ENOMEM

    def interruptible(self, name: str, *arguments: host.Argument) -> int:
        """A system call of the host that may wait. Raises OSError; Restart if a signal was there before it began."""
        while True:
            try:
                return host.through(self.thread.interrupts.gate, name, *arguments)
            except (InterruptedError, Restart):
                if not discard_interruption(self):
                    raise

    def report(self, message: str) -> None:
        """Tell the user, once, what the guest wanted and cannot have."""
        if message not in self._reported:
            self._reported.add(message)
            with suppress(OSError):  # the guest may have closed it
                print(f"vmjit: {message}", file=sys.stderr, flush=True)

    def _unknown(self, number: int, args: Sequence[int]) -> int:
        name = NAMES.get(number, "unknown")
        self.report(f"syscall {number} ({name}) is not implemented; returned ENOSYS")
        if self.strace is not None:
            from vmjit.linux.strace import trace_unknown

            trace_unknown(self.strace, number, args)
        return -ENOSYS


def environment_list(env: Mapping[str, str] | Mapping[bytes, bytes] | Sequence[Text]) -> list[bytes]:
    """The environment as NAME=value strings."""
    if isinstance(env, Mapping):
        return [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()]
    return [os.fsencode(entry) for entry in env]
