"""Calls that name files: opening, looking, changing directory entries and attributes.

What looks at a file goes through paths.resolve (sysroot, /proc/self); what changes a directory means the host's.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL, EPERM, ERANGE

from vmjit.linux import host
from vmjit.linux.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_NOFOLLOW,
    PATH_MAX,
    STAT,
    STATFS_SIZE,
    STATX_SIZE,
    TIMESPEC,
    to_host_open_flags,
)
from vmjit.linux.buffers import path_string
from vmjit.linux.outcome import SyscallError
from vmjit.linux.paths import resolve
from vmjit.linux.proc import generated_file, open_generated, own_entry
from vmjit.linux.sandbox import (
    absolute,
    existing,
    folder,
    open_confined,
    own_link,
    parent,
    refuse_change,
    refuse_creation,
    refuse_writing,
)
from vmjit.linux.table import register, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

NO_ID = 0xFFFFFFFF  # uid_t or gid_t -1: leave as it is
XATTR_NAME_MAX = 255
XATTR_SIZE_MAX = 65536
STATX_SYNC_FLAGS = 0x6000


@syscall("dirfd path open_flags mode")
def sys_openat(process: "Process", dirfd: int, address: int, flags: int, mode: int) -> int:
    path = path_string(process.memory, address)
    if not flags & O_ACCMODE:
        contents = generated_file(process, path, dirfd)
        if contents is not None:
            return open_generated(contents, flags)
    if process.sandbox.is_used:
        return open_confined(process, path, dirfd, flags, mode & 0o7777)
    creates_new = flags & O_CREAT and flags & O_EXCL
    if not creates_new:
        path = resolve(process, path, not flags & O_NOFOLLOW, dirfd)
    return process.interruptible("openat", dirfd, path, to_host_open_flags(flags), mode & 0o7777)


def pack_stat(found: os.stat_result) -> bytes:
    """struct stat of the guest."""
    return STAT.pack(
        found.st_dev,
        found.st_ino,
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_rdev,
        found.st_size,
        found.st_blksize,
        found.st_blocks,
        *divmod(found.st_atime_ns, 1_000_000_000),
        *divmod(found.st_mtime_ns, 1_000_000_000),
        *divmod(found.st_ctime_ns, 1_000_000_000),
    )


@syscall("fd address")
def sys_fstat(process: "Process", fd: int, address: int) -> int:
    process.memory.write(address, pack_stat(os.fstat(fd)))
    return 0


@syscall("dirfd path address at_flags")
def sys_newfstatat(process: "Process", dirfd: int, path_address: int, address: int, flags: int) -> int:
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH):
        raise SyscallError(EINVAL)
    path = optional_path(process, path_address, flags)
    if not path and flags & AT_EMPTY_PATH:
        found = os.stat(".") if dirfd == AT_FDCWD else os.fstat(dirfd)
    else:
        with existing(process, path, not flags & AT_SYMLINK_NOFOLLOW, dirfd) as (at, name, follow):
            found = os.stat(name, dir_fd=at, follow_symlinks=follow)
    process.memory.write(address, pack_stat(found))
    return 0


def optional_path(process: "Process", address: int, flags: int) -> bytes:
    """A path that may be NULL when AT_EMPTY_PATH is given (since Linux 6.11)."""
    if not address and flags & AT_EMPTY_PATH:
        return b""
    return path_string(process.memory, address)


@syscall("dirfd path at_flags hex address")
def sys_statx(process: "Process", dirfd: int, path_address: int, flags: int, mask: int, address: int) -> int:
    result = host.zeroed(STATX_SIZE)
    with optional_place(process, dirfd, path_address, flags) as (at, name, flags):
        host.call("statx", at, name, flags, mask & 0xFFFFFFFF, result)
    process.memory.write(address, result.raw)
    return 0


@contextmanager
def optional_place(
    process: "Process", dirfd: int, address: int, flags: int, in_sysroot: bool = True
) -> Iterator[tuple[int, bytes, int]]:
    """What existing() gives for a path and AT_ flags, the flags with it; without a path the descriptor itself."""
    path = optional_path(process, address, flags)
    if not path and flags & AT_EMPTY_PATH:
        yield dirfd, path, flags
        return
    with existing(process, path, not flags & AT_SYMLINK_NOFOLLOW, dirfd, in_sysroot) as (at, name, follow):
        yield at, name, flags & ~AT_SYMLINK_NOFOLLOW if follow else flags | AT_SYMLINK_NOFOLLOW


@syscall("path address")
def sys_statfs(process: "Process", path_address: int, address: int) -> int:
    result = host.zeroed(STATFS_SIZE)
    with existing(process, path_string(process.memory, path_address)) as (_, name, _):
        host.call("statfs", name, result)
    process.memory.write(address, result.raw)
    return 0


@syscall("fd address")
def sys_fstatfs(process: "Process", fd: int, address: int) -> int:
    result = host.zeroed(STATFS_SIZE)
    host.call("fstatfs", fd, result)
    process.memory.write(address, result.raw)
    return 0


@syscall("dirfd path address int")
def sys_readlinkat(process: "Process", dirfd: int, path_address: int, address: int, size: int) -> int:
    if size <= 0:
        raise SyscallError(EINVAL)
    path = path_string(process.memory, path_address)
    if own_entry(path, dirfd) == b"exe":
        text = process.executable_name
    else:
        text = own_link(process, path) or read_link(process, path, dirfd)
    process.memory.write(address, text[:size])
    return min(len(text), size)


def read_link(process: "Process", path: bytes, dirfd: int) -> bytes:
    """Where a link leads to."""
    if process.root is None:
        return os.readlink(resolve(process, path, follow=False), dir_fd=dirfd)
    fd = process.root.look(absolute(process, process.root, path, dirfd), follow=False)
    try:
        return os.readlink(b"", dir_fd=fd)
    except FileNotFoundError:  # what an empty name gives that means no link
        raise SyscallError(EINVAL) from None
    finally:
        os.close(fd)


def access(process: "Process", dirfd: int, path_address: int, mode: int, flags: int) -> int:
    """Python's os.access hides the errno, so the C function is asked."""
    with optional_place(process, dirfd, path_address, flags) as (at, name, flags):
        result = host.call("faccessat", at, name, mode, flags)
        if mode & os.W_OK and name:
            refuse_writing(process, os.stat(name, dir_fd=at))
        return result


@syscall("dirfd path access_mode")
def sys_faccessat(process: "Process", dirfd: int, path: int, mode: int) -> int:
    return access(process, dirfd, path, mode, 0)


@syscall("dirfd path access_mode at_flags")
def sys_faccessat2(process: "Process", dirfd: int, path: int, mode: int, flags: int) -> int:
    return access(process, dirfd, path, mode, flags)


@syscall("dirfd path at_flags")
def sys_unlinkat(process: "Process", dirfd: int, path_address: int, flags: int) -> int:
    if flags & ~AT_REMOVEDIR:
        raise SyscallError(EINVAL)
    refuse_change(process)
    remove = os.rmdir if flags & AT_REMOVEDIR else os.unlink
    with parent(process, path_string(process.memory, path_address), dirfd) as (at, name):
        remove(name, dir_fd=at)
    return 0


@syscall("dirfd path mode")
def sys_mkdirat(process: "Process", dirfd: int, path: int, mode: int) -> int:
    with new_entry(process, path, dirfd) as (at, name):
        os.mkdir(name, mode & 0o7777, dir_fd=at)
    return 0


@contextmanager
def new_entry(process: "Process", address: int, dirfd: int) -> Iterator[tuple[int, bytes]]:
    """The place of an entry that is to be made."""
    path = path_string(process.memory, address)
    refuse_creation(process, path, dirfd)
    with parent(process, path, dirfd) as place:
        yield place


@syscall("dirfd path mode uint")
def sys_mknodat(process: "Process", dirfd: int, path: int, mode: int, device: int) -> int:
    if not stat.S_IFMT(mode):
        mode |= stat.S_IFREG
    if process.root is not None and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        raise SyscallError(EPERM)  # it would lead out
    with new_entry(process, path, dirfd) as (at, name):
        os.mknod(name, mode, device, dir_fd=at)
    return 0


@syscall("path dirfd path")
def sys_symlinkat(process: "Process", target: int, dirfd: int, path: int) -> int:
    text = path_string(process.memory, target)
    with new_entry(process, path, dirfd) as (at, name):
        os.symlink(text, name, dir_fd=at)
    return 0


@syscall("dirfd path dirfd path at_flags")
def sys_linkat(process: "Process", old_dirfd: int, old: int, new_dirfd: int, new: int, flags: int) -> int:
    path = path_string(process.memory, old)
    with new_entry(process, new, new_dirfd) as (new_at, new_name):
        if process.root is None or (not path and flags & AT_EMPTY_PATH):
            return host.call("linkat", old_dirfd, path, new_at, new_name, flags)
        with existing(process, path, bool(flags & AT_SYMLINK_FOLLOW), old_dirfd) as (at, name, _):
            return host.call("linkat", at, name, new_at, new_name, AT_SYMLINK_FOLLOW)


@syscall("dirfd path dirfd path uint")
def sys_renameat2(process: "Process", old_dirfd: int, old: int, new_dirfd: int, new: int, flags: int) -> int:
    refuse_change(process)
    memory = process.memory
    with (
        parent(process, path_string(memory, old), old_dirfd) as (old_at, old_name),
        parent(process, path_string(memory, new), new_dirfd) as (new_at, new_name),
    ):
        return host.call("renameat2", old_at, old_name, new_at, new_name, flags)


@syscall("path long")
def sys_truncate(process: "Process", path: int, size: int) -> int:
    refuse_change(process)
    with existing(process, path_string(process.memory, path), in_sysroot=False) as (_, name, _):
        os.truncate(name, size)
    return 0


@syscall("fd long")
def sys_ftruncate(_process: "Process", fd: int, size: int) -> int:
    os.ftruncate(fd, size)
    return 0


@syscall("fd hex long long")
def sys_fallocate(_process: "Process", fd: int, mode: int, offset: int, size: int) -> int:
    return host.call("fallocate", fd, mode & 0xFFFFFFFF, offset, size)


@syscall("fd mode")
def sys_fchmod(process: "Process", fd: int, mode: int) -> int:
    refuse_change(process)
    os.fchmod(fd, mode & 0o7777)
    return 0


@syscall("dirfd path mode")
def sys_fchmodat(process: "Process", dirfd: int, path: int, mode: int) -> int:
    refuse_change(process)
    with existing(process, path_string(process.memory, path), dirfd=dirfd, in_sysroot=False) as (at, name, _):
        os.chmod(name, mode & 0o7777, dir_fd=at)
    return 0


@syscall("dirfd path mode at_flags")
def sys_fchmodat2(process: "Process", dirfd: int, path: int, mode: int, flags: int) -> int:
    refuse_change(process)
    with optional_place(process, dirfd, path, flags, in_sysroot=False) as (at, name, flags):
        return host.call("fchmodat", at, name, mode & 0o7777, flags)


def optional_id(number: int) -> int:
    """uid_t or gid_t as os functions take it."""
    return -1 if number == NO_ID else number


@syscall("fd uid uid")
def sys_fchown(process: "Process", fd: int, uid: int, gid: int) -> int:
    refuse_change(process)
    os.fchown(fd, optional_id(uid), optional_id(gid))
    return 0


@syscall("dirfd path uid uid at_flags")
def sys_fchownat(process: "Process", dirfd: int, path: int, uid: int, gid: int, flags: int) -> int:
    refuse_change(process)
    with optional_place(process, dirfd, path, flags, in_sysroot=False) as (at, name, flags):
        return host.call("fchownat", at, name, uid, gid, flags)


@syscall("dirfd path address at_flags")
def sys_utimensat(process: "Process", dirfd: int, path: int, times: int, flags: int) -> int:
    both = process.memory.read(times, 2 * TIMESPEC.size) if times else None
    refuse_change(process)
    if path:
        with optional_place(process, dirfd, path, flags, in_sysroot=False) as (at, name, flags):
            return host.call("utimensat", at, name, both, flags)
    # The kernel lets a NULL path mean dirfd itself; the C library has futimens for that.
    if flags:
        raise SyscallError(EINVAL)
    return host.call("futimens", dirfd, both)


@syscall("mode")
def sys_umask(_process: "Process", mask: int) -> int:
    return os.umask(mask & 0o777)


@syscall("path")
def sys_chdir(process: "Process", path: int) -> int:
    with existing(process, path_string(process.memory, path), in_sysroot=False) as (_, name, _):
        os.chdir(name)
    return 0


@syscall("fd")
def sys_fchdir(process: "Process", fd: int) -> int:
    if process.root is not None:
        folder(process.root, fd)
    os.fchdir(fd)
    return 0


@syscall("text size")
def sys_getcwd(process: "Process", address: int, size: int) -> int:
    text = (os.getcwdb() if process.root is None else folder(process.root, AT_FDCWD)) + b"\0"
    if len(text) > PATH_MAX or len(text) > size:
        raise SyscallError(ERANGE)
    process.memory.write(address, text)
    return len(text)


# Extended attributes: each of the four calls names its file by path, by path without following a last link, or by fd.


def xattr_name(process: "Process", address: int) -> bytes:
    """The name of an attribute."""
    name = process.memory.read_cstring(address, PATH_MAX)
    if not 0 < len(name) <= XATTR_NAME_MAX:
        raise SyscallError(ERANGE)
    return name


@contextmanager
def xattr_file(process: "Process", prefix: str, file: int) -> Iterator[tuple[str, int | bytes]]:
    """Prefix and first argument of these calls as the host's function takes them."""
    if prefix == "f":
        yield prefix, file
        return
    with existing(process, path_string(process.memory, file), prefix != "l") as (_, name, follow):
        yield "" if follow else "l", name


def fill(process: "Process", call: str, address: int, size: int, *arguments: int | bytes) -> int:
    """Call a function that fills a buffer, or tells the size needed when the buffer is empty."""
    result = host.zeroed(min(size, XATTR_SIZE_MAX)) if size else None
    length = host.call(call, *arguments, result, min(size, XATTR_SIZE_MAX))
    if result is not None:
        process.memory.write(address, result.raw[:length])
    return length


def xattr_family(prefix: str, kind: str) -> None:
    """getxattr, listxattr, setxattr and removexattr for one way of naming the file."""

    def get(process: "Process", file: int, name: int, address: int, size: int) -> int:
        with xattr_file(process, prefix, file) as (kind, subject):
            return fill(process, f"{kind}getxattr", address, size, subject, xattr_name(process, name))

    def list_names(process: "Process", file: int, address: int, size: int) -> int:
        with xattr_file(process, prefix, file) as (kind, subject):
            return fill(process, f"{kind}listxattr", address, size, subject)

    def set_value(process: "Process", file: int, name: int, address: int, size: int, flags: int) -> int:
        if size > XATTR_SIZE_MAX:
            raise SyscallError(ERANGE)
        value = process.memory.read(address, size) if size else b""
        refuse_change(process)
        with xattr_file(process, prefix, file) as (kind, subject):
            return host.call(f"{kind}setxattr", subject, xattr_name(process, name), value, size, flags)

    def remove(process: "Process", file: int, name: int) -> int:
        refuse_change(process)
        with xattr_file(process, prefix, file) as (kind, subject):
            return host.call(f"{kind}removexattr", subject, xattr_name(process, name))

    register(f"{prefix}getxattr", f"{kind} text out_data size", get)
    register(f"{prefix}listxattr", f"{kind} out_data size", list_names)
    register(f"{prefix}setxattr", f"{kind} text in_data size int", set_value)
    register(f"{prefix}removexattr", f"{kind} text", remove)


xattr_family("", "path")
xattr_family("l", "path")
xattr_family("f", "fd")
