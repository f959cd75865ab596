"""Functions of the host's C library that Python's os module does not offer, or offers without the errno.

`call("statx", ...)` raises OSError like os functions do. Numbers, bytes, ctypes arrays and None (NULL) may be passed.
"""

import ctypes
import os
from collections.abc import Callable
from errno import ENOSYS

from vmjit.linux.abi import NUMBERS
from vmjit.linux.outcome import SyscallError

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None

# One letter each for the result and the arguments: int, long, pointer.
_SIGNATURES = {
    "accept4": "iippi",
    "bind": "iipi",
    "capget": "ipp",
    "capset": "ipp",
    "connect": "iipi",
    "epoll_create1": "ii",
    "epoll_ctl": "iiiip",
    "epoll_pwait": "iipiip",
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
    "ppoll": "ipipp",
    "prctl": "iillll",
    "prlimit": "iiipp",
    "pselect": "iippppp",
    "readahead": "iill",
    "recvfrom": "liplipp",
    "recvmsg": "lipi",
    "removexattr": "ipp",
    "renameat2": "iipipi",
    "sendmsg": "lipi",
    "sendto": "liplipi",
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
_X86_64 = {
    "futex": 202,
    "membarrier": 324,
}  # <asm/unistd_64.h>; other hosts have the guest's numbers
HOST_NUMBERS = _X86_64 if os.uname().machine == "x86_64" else NUMBERS
_MOST_ARGUMENTS = 6

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


def system_call(name: str, *arguments: Argument) -> int:
    """A system call of the host by its number. Raises OSError."""
    result: int = _system_call(HOST_NUMBERS[name], *arguments, *[0] * (_MOST_ARGUMENTS - len(arguments)))
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


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
