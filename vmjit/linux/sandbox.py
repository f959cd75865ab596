"""What a program may not do: see files outside a folder, change files, use a network.

With a root, each path of the guest is looked up by the host's kernel below that folder (openat2 with RESOLVE_IN_ROOT):
links, `..` and names that change meanwhile cannot lead out. Calls then work on the descriptor of what was found, or on
the folder that holds a name, never on the path. What was open before stays open, and is the program's as it is.
Nothing of /proc is there but what describes the program itself.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EAGAIN, EBADF, EBUSY, EEXIST, ENOENT, ENOSYS, EROFS
from struct import Struct

from vmjit.errors import UsageError
from vmjit.linux import host
from vmjit.linux.abi import AT_FDCWD, O_ACCMODE, O_CREAT, O_EXCL, O_NOFOLLOW, to_host_open_flags
from vmjit.linux.outcome import SyscallError
from vmjit.linux.paths import resolve
from vmjit.linux.proc import own_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

OPEN_HOW = Struct("<QQQ")  # flags mode resolve
RESOLVE_IN_ROOT = 0x10
AGAIN = 20  # lookups of a path while others rename folders
KNOWN_FLAGS = 0o37777703  # openat2 refuses what openat ignores
PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
TEMPORARY = 0o20000000  # __O_TMPFILE
LOWEST_FD = 200  # above what programs redirect
PROCFS, SYSFS = 0x9FA0, 0x62656572  # a host's, mounted below the root, would lead to the emulator's memory
# Devices that programs take for granted, unless the root has its own.
DEVICES = frozenset([b"/dev/" + name for name in (b"null", b"zero", b"full", b"random", b"urandom", b"tty")])
STANDARD = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}
DESCRIPTORS = (b"/dev/fd", b"/proc/self/fd")


@dataclass(frozen=True)
class Sandbox:
    """`root` is the folder that is everything to the program; `network` and `writes` say whether it may."""

    root: str | None = None
    network: bool = True
    writes: bool = True

    @property
    def is_used(self) -> bool:
        """Whether files are not simply the host's."""
        return self.root is not None or not self.writes


class Root:
    """The folder that is `/` to the program."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(os.fsencode(path))
        low = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        self.fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD)
        os.close(low)
        try:
            os.close(self.look(b"/", follow=True))
        except OSError as error:
            if error.errno != ENOSYS:
                raise
            raise UsageError("--root needs openat2, which the host's kernel has not: Linux 5.6 or later") from None

    def inside(self, path: bytes) -> bytes | None:
        """The guest's name of a path of the host; None if it is outside."""
        if path == self.path:
            return b"/"
        prefix = self.path.rstrip(b"/") + b"/"
        return path[len(prefix) - 1 :] if path.startswith(prefix) else None

    def real(self, path: bytes) -> bytes:
        """The host's name of what an absolute path of the guest leads to. Raises OSError."""
        fd = self.look(path, follow=True)
        try:
            return os.readlink(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)

    def look(self, path: bytes, follow: bool, flags: int = 0) -> int:
        """A descriptor of what an absolute path leads to, which cannot read or write it."""
        flags |= os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            return opened(self.fd, path, flags)
        except FileNotFoundError:
            if os.path.normpath(path) not in DEVICES:
                raise
            return os.open(path, flags)


def enter_root(path: str) -> Root:
    """Have this folder as root, and be somewhere in it."""
    root = Root(path)
    if root.inside(os.getcwdb()) is None:
        os.chdir(root.path)
    return root


def opened(root: int, path: bytes, flags: int) -> int:
    """openat2 for what does not wait."""
    for _ in range(AGAIN):
        with suppress(BlockingIOError):
            return host.system_call("openat2", root, path, how(flags, 0), OPEN_HOW.size)
    raise OSError(EAGAIN, os.strerror(EAGAIN))


def how(flags: int, mode: int) -> bytes:
    """struct open_how."""
    flags &= PATH_FLAGS if flags & os.O_PATH else KNOWN_FLAGS
    return OPEN_HOW.pack(flags, mode if flags & (O_CREAT | TEMPORARY) else 0, RESOLVE_IN_ROOT)


def absolute(process: "Process", root: Root, path: bytes, dirfd: int) -> bytes:
    """A path as it is from the root."""
    if not path:
        raise SyscallError(ENOENT)
    if own_entry(path, dirfd) == b"exe":
        return process.executable_name
    return path if path.startswith(b"/") else os.path.join(folder(root, dirfd), path)


def folder(root: Root, dirfd: int) -> bytes:
    """The guest's name of the current folder, or that of a descriptor."""
    if dirfd != AT_FDCWD:
        os.fstat(dirfd)  # EBADF
    where = root.inside(os.readlink(b"/proc/self/cwd" if dirfd == AT_FDCWD else b"/proc/self/fd/%d" % dirfd))
    if where is None:
        raise SyscallError(ENOENT)
    return where


# What calls work on: (descriptor of a folder, name, whether to follow a link).


@contextmanager
def existing(
    process: "Process", path: bytes, follow: bool = True, dirfd: int = AT_FDCWD, in_sysroot: bool = True
) -> Iterator[tuple[int, bytes, bool]]:
    """What a path leads to, as the host's calls take it; in_sysroot: in the sysroot if it is there."""
    root = process.root
    if root is None:
        yield dirfd, resolve(process, path, follow, dirfd) if in_sysroot else path, follow
        return
    fd = root.look(absolute(process, root, path, dirfd), follow)
    try:
        yield AT_FDCWD, b"/proc/self/fd/%d" % fd, True
    finally:
        os.close(fd)


@contextmanager
def parent(process: "Process", path: bytes, dirfd: int = AT_FDCWD) -> Iterator[tuple[int, bytes]]:
    """The folder of an entry that is to come or to go, and its name, which is not followed."""
    root = process.root
    if root is None:
        yield dirfd, path
        return
    above, _, name = absolute(process, root, path, dirfd).rstrip(b"/").rpartition(b"/")
    if name in (b"", b".", b".."):
        raise SyscallError(EBUSY)
    fd = root.look(above or b"/", follow=True, flags=os.O_DIRECTORY)
    try:
        yield fd, name
    finally:
        os.close(fd)


# Changes.


def refuse_change(process: "Process") -> None:
    """For calls that change what is there."""
    if not process.sandbox.writes:
        raise SyscallError(EROFS)


def refuse_creation(process: "Process", path: bytes, dirfd: int) -> None:
    """For calls that make an entry: like the kernel, one that is there already is what they complain of."""
    if process.sandbox.writes:
        return
    raise SyscallError(EEXIST if exists(process, path, dirfd) else EROFS)


def exists(process: "Process", path: bytes, dirfd: int) -> bool:
    """Whether there is such an entry."""
    with suppress(FileNotFoundError), existing(process, path, False, dirfd) as (at, name, follow):
        os.stat(name, dir_fd=at, follow_symlinks=follow)
        return True
    return False


def refuse_writing(process: "Process", found: os.stat_result) -> None:
    """For calls that ask whether a file may be written."""
    if not process.sandbox.writes and is_file(found.st_mode):
        raise SyscallError(EROFS)


def is_file(mode: int) -> bool:
    """Whether it is what a read-only file system keeps: not a pipe, socket or device."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def reading(process: "Process", path: bytes, dirfd: int, flags: int) -> int:
    """The flags of an open that may not change a file; it may write to pipes and devices."""
    if flags & TEMPORARY:
        raise SyscallError(EROFS)
    changes = flags & O_ACCMODE or flags & os.O_TRUNC
    if not (changes or flags & O_CREAT) or descriptor_of(path) is not None:
        return flags
    try:
        with existing(process, path, not flags & O_NOFOLLOW, dirfd) as (at, name, follow):
            mode = os.stat(name, dir_fd=at, follow_symlinks=follow).st_mode
    except FileNotFoundError:
        raise SyscallError(EROFS if flags & O_CREAT else ENOENT) from None
    if flags & O_CREAT and flags & O_EXCL:
        raise SyscallError(EEXIST)
    if changes and is_file(mode):
        raise SyscallError(EROFS)
    return flags & ~O_CREAT


# Opening.


def open_confined(process: "Process", path: bytes, dirfd: int, flags: int, mode: int) -> int:
    """openat in a sandbox."""
    if not process.sandbox.writes:
        flags = reading(process, path, dirfd, flags)
    root = process.root
    if root is None:
        creates_new = flags & O_CREAT and flags & O_EXCL
        name = path if creates_new else resolve(process, path, not flags & O_NOFOLLOW, dirfd)
        return process.interruptible("openat", dirfd, name, to_host_open_flags(flags), mode)
    number = descriptor_of(path)
    if number is not None:
        return duplicate(process, number, flags)
    path = absolute(process, root, path, dirfd)
    try:
        arguments = how(to_host_open_flags(flags), mode)
        fd = process.interruptible("openat2", root.fd, path, arguments, OPEN_HOW.size)
    except FileNotFoundError:
        if os.path.normpath(path) not in DEVICES:
            raise
        return process.interruptible("openat", AT_FDCWD, os.path.normpath(path), to_host_open_flags(flags & ~O_CREAT))
    refuse_kernel_files(fd)
    return fd


def refuse_kernel_files(fd: int) -> None:
    """No file of the host's kernel, should it be mounted below the root."""
    result = host.zeroed(120)
    if fd >= 0 and not host.call("fstatfs", fd, result) and int.from_bytes(result.raw[:8], "little") in (PROCFS, SYSFS):
        os.close(fd)
        raise SyscallError(EACCES)


def descriptor_of(path: bytes) -> int | None:
    """The descriptor that a path like /dev/fd/3 means."""
    path = os.path.normpath(path)
    above, _, name = path.rpartition(b"/")
    return int(name) if above in DESCRIPTORS and name.isdigit() else STANDARD.get(path)


def duplicate(process: "Process", fd: int, flags: int) -> int:
    """What opening /dev/fd/3 gives: not the file anew, which might be opened for more than the program may do."""
    if fd in process.reserved_fds:
        raise SyscallError(EBADF)
    has, wants = fcntl.fcntl(fd, fcntl.F_GETFL) & O_ACCMODE, flags & O_ACCMODE
    if has not in (wants, os.O_RDWR):
        raise SyscallError(EACCES)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC if flags & os.O_CLOEXEC else fcntl.F_DUPFD, 0)


def own_link(process: "Process", path: bytes) -> bytes | None:
    """What a link of /proc says of the program."""
    root = process.root
    if root is None:
        return None
    path = os.path.normpath(path)
    if path == b"/proc/self/root":
        return b"/"
    if path == b"/proc/self/cwd":
        return folder(root, AT_FDCWD)
    number = descriptor_of(path)
    if number is None or number in process.reserved_fds:
        return None
    text = os.readlink(b"/proc/self/fd/%d" % number)
    return (root.inside(text) or b"(unreachable)") if text.startswith(b"/") else text
