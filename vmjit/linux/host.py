"""Functions of the host's C library that Python's os module does not offer, or offers without the errno.

`call("statx", ...)` raises OSError like os functions do. Numbers, bytes, ctypes arrays and None (NULL) may be passed.
`system_call("timer_create", ...)` does the same for what the C library has no function for, or another one.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSYS

from vmjit.linux.abi import NUMBERS
from vmjit.linux.outcome import Restart, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Interrupts(Protocol):
        """What the engine has for signals of the host, one for each thread of the guest: see engine/interrupts.py."""

        catches: bool
        gate: Callable[..., int]

        def peek(self) -> tuple[int, bytes] | None: ...
        def take(self) -> tuple[int, bytes] | None: ...
        def catch(self, number: int, flags: int = 0) -> None: ...
        def leave(self, number: int, handler: int, flags: int = 0) -> None: ...


Argument = int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Array[ctypes.c_char_p] | None

# One letter each for the result and the arguments: int, long, pointer.
_SIGNATURES = {
    "bind": "iipi",
    "capget": "ipp",
    "capset": "ipp",
    "epoll_create1": "ii",
    "epoll_ctl": "iiiip",
    "faccessat": "iipii",
    "fallocate": "iiill",
    "fchmodat": "iipii",
    "fchownat": "iipiii",
    "fgetxattr": "lippl",
    "flistxattr": "lipl",
    "fremovexattr": "iip",
    "fsetxattr": "iippli",
    "fstatfs": "iip",
    "futimens": "iip",
    "getdents64": "lipl",
    "getitimer": "iip",
    "getpeername": "iipp",
    "getrusage": "iip",
    "getsockname": "iipp",
    "getsockopt": "iiiipp",
    "getxattr": "lpppl",
    "inotify_add_watch": "iipi",
    "inotify_init1": "ii",
    "inotify_rm_watch": "iii",
    "lgetxattr": "lpppl",
    "linkat": "iipipi",
    "listen": "iii",
    "listxattr": "lppl",
    "llistxattr": "lppl",
    "lremovexattr": "ipp",
    "lsetxattr": "ipppli",
    "madvise": "ipli",
    "msync": "ipli",
    "prctl": "iillll",
    "prlimit": "iiipp",
    "readahead": "iill",
    "removexattr": "ipp",
    "renameat2": "iipipi",
    "setitimer": "iipp",
    "setsockopt": "iiiipi",
    "setxattr": "ipppli",
    "shutdown": "iii",
    "socket": "iiii",
    "socketpair": "iiiip",
    "statfs": "ipp",
    "statx": "iipiip",
    "sync_file_range": "iilli",
    "syncfs": "ii",
    "sysinfo": "ip",
    "timerfd_create": "iii",
    "timerfd_gettime": "iip",
    "timerfd_settime": "iiipp",
    "utimensat": "iippi",
}
_TYPES = {"i": ctypes.c_int, "l": ctypes.c_long, "p": ctypes.c_void_p}
_X86_64 = {  # <asm/unistd_64.h>; other hosts have the numbers of asm-generic, as the guest
    **{"read": 0, "write": 1, "readv": 19, "writev": 20, "sendfile": 40, "connect": 42, "sendto": 44, "recvfrom": 45},
    **{"sendmsg": 46, "recvmsg": 47, "execve": 59, "wait4": 61, "fcntl": 72, "flock": 73, "ioctl": 16, "futex": 202},
    **{"rt_sigprocmask": 14, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigqueueinfo": 129},
    **{"rt_sigsuspend": 130, "tkill": 200, "tgkill": 234, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424},
    **{"timer_create": 222, "timer_settime": 223, "timer_gettime": 224, "timer_getoverrun": 225, "timer_delete": 226},
    **{"clock_nanosleep": 230, "waitid": 247, "openat": 257, "pselect6": 270, "ppoll": 271, "splice": 275},
    **{"epoll_pwait": 281, "accept4": 288, "signalfd4": 289, "getcpu": 309, "membarrier": 324},
    **{"openat2": 437, "pidfd_getfd": 438},
}
_X86_64 |= {
    **{"shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semctl": 66, "msgget": 68, "msgsnd": 69, "msgrcv": 70},
    **{"msgctl": 71, "semtimedop": 220, "mq_open": 240, "mq_unlink": 241, "mq_timedsend": 242, "mq_timedreceive": 243},
    **{"mq_notify": 244, "mq_getsetattr": 245, "ioprio_set": 251, "ioprio_get": 252, "tee": 276, "vmsplice": 278},
    **{"process_vm_readv": 310, "process_vm_writev": 311, "sched_setattr": 314, "sched_getattr": 315},
}
HOST_NUMBERS = _X86_64 if os.uname().machine == "x86_64" else NUMBERS
_MOST_ARGUMENTS = 6
NOT_MADE = -512  # what a gate returns instead of a result: see Interrupts in engine/interrupts.py

_library = ctypes.CDLL(None, use_errno=True)
_bound: dict[str, Callable[..., int]] = {}


def _bind(name: str) -> Callable[..., int]:
    function = getattr(_library, name, None)
    if function is None:
        raise SyscallError(ENOSYS)
    result, *arguments = (_TYPES[letter] for letter in _SIGNATURES[name])
    function.restype, function.argtypes = result, arguments
    _bound[name] = function
    return function  # type: ignore[no-any-return]


def call(name: str, *arguments: Argument) -> int:
    """Call that C function; OSError with its errno when it returns -1."""
    result = (_bound.get(name) or _bind(name))(*arguments)
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


_system_call = _library.syscall
_system_call.restype = ctypes.c_long
_system_call.argtypes = (ctypes.c_long, *[ctypes.c_void_p] * _MOST_ARGUMENTS)


def plain_gate(number: int, *arguments: Argument) -> int:
    """A system call with six arguments; minus an errno when it failed."""
    result: int = _system_call(number, *arguments)
    return -ctypes.get_errno() if result == -1 else result


class NoInterrupts:
    """Stands in for the engine's Interrupts while nothing executes the guest: no signal of the host is caught."""

    catches = False
    gate = staticmethod(plain_gate)

    def peek(self) -> tuple[int, bytes] | None:
        """None: nothing waits."""
        return None

    take = peek

    def catch(self, number: int, flags: int = 0) -> None:
        """The guest sends itself what it handles."""
        self.leave(number, signal.SIG_DFL)

    def leave(self, number: int, handler: int, flags: int = 0) -> None:
        """Let the host do what SIG_DFL or SIG_IGN says."""
        with suppress(ValueError):  # Python allows this in its main thread only; then the host's action stays
            signal.signal(number, handler)


def through(gate: Callable[..., int], name: str, *arguments: Argument) -> int:
    """A system call made by `gate`. Raises OSError, or Restart if a signal was there before it."""
    result = gate(HOST_NUMBERS[name], *arguments, *[0] * (_MOST_ARGUMENTS - len(arguments)))
    if result == NOT_MADE:
        raise Restart
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def system_call(name: str, *arguments: Argument) -> int:
    """A system call that does not wait."""
    return through(plain_gate, name, *arguments)


def address_of(view: memoryview) -> int:
    """Host address of a writable view's first byte; valid while the view lives."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    """Host address of a buffer, for a C function that takes it as a number."""
    return ctypes.addressof(buffer)


def filled(contents: bytes) -> ctypes.Array[ctypes.c_char]:
    """A buffer for a C function to change."""
    return (ctypes.c_char * len(contents)).from_buffer_copy(contents)


def zeroed(size: int) -> ctypes.Array[ctypes.c_char]:
    """A buffer for a C function to fill."""
    return ctypes.create_string_buffer(size)
