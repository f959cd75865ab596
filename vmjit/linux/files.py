"""Calls that name files: opening, looking, changing directory entries and attributes.

What looks at a file goes through paths.resolve (sysroot, /proc/self); what changes a directory means the host's.
"""

import os
import stat
from errno import EINVAL, ERANGE

from vmjit.linux import host
from vmjit.linux.abi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_REMOVEDIR,
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
        follow = not flags & AT_SYMLINK_NOFOLLOW
        found = os.stat(resolve(process, path, follow, dirfd), dir_fd=dirfd, follow_symlinks=follow)
    process.memory.write(address, pack_stat(found))
    return 0


def optional_path(process: "Process", address: int, flags: int) -> bytes:
    """A path that may be NULL when AT_EMPTY_PATH is given (since Linux 6.11)."""
    if not address and flags & AT_EMPTY_PATH:
        return b""
    return path_string(process.memory, address)


@syscall("dirfd path at_flags hex address")
def sys_statx(process: "Process", dirfd: int, path_address: int, flags: int, mask: int, address: int) -> int:
    path = resolve(process, optional_path(process, path_address, flags), not flags & AT_SYMLINK_NOFOLLOW, dirfd)
    result = host.zeroed(STATX_SIZE)
    host.call("statx", dirfd, path, flags, mask & 0xFFFFFFFF, result)
    process.memory.write(address, result.raw)
    return 0


@syscall("path address")
def sys_statfs(process: "Process", path_address: int, address: int) -> int:
    result = host.zeroed(STATFS_SIZE)
    host.call("statfs", resolve(process, path_string(process.memory, path_address)), result)
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
        text = process.executable
    else:
        text = os.readlink(resolve(process, path, follow=False), dir_fd=dirfd)
    process.memory.write(address, text[:size])
    return min(len(text), size)


def access(process: "Process", dirfd: int, path_address: int, mode: int, flags: int) -> int:
    """Python's os.access hides the errno, so the C function is asked."""
    path = optional_path(process, path_address, flags)
    return host.call("faccessat", dirfd, resolve(process, path, not flags & AT_SYMLINK_NOFOLLOW, dirfd), mode, flags)


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
    remove = os.rmdir if flags & AT_REMOVEDIR else os.unlink
    remove(path_string(process.memory, path_address), dir_fd=dirfd)
    return 0


@syscall("dirfd path mode")
def sys_mkdirat(process: "Process", dirfd: int, path: int, mode: int) -> int:
    os.mkdir(path_string(process.memory, path), mode & 0o7777, dir_fd=dirfd)
    return 0


@syscall("dirfd path mode uint")
def sys_mknodat(process: "Process", dirfd: int, path: int, mode: int, device: int) -> int:
    if not stat.S_IFMT(mode):
        mode |= stat.S_IFREG
    os.mknod(path_string(process.memory, path), mode, device, dir_fd=dirfd)
    return 0


@syscall("path dirfd path")
def sys_symlinkat(process: "Process", target: int, dirfd: int, path: int) -> int:
    os.symlink(path_string(process.memory, target), path_string(process.memory, path), dir_fd=dirfd)
    return 0


@syscall("dirfd path dirfd path at_flags")
def sys_linkat(process: "Process", old_dirfd: int, old: int, new_dirfd: int, new: int, flags: int) -> int:
    memory = process.memory
    return host.call("linkat", old_dirfd, path_string(memory, old), new_dirfd, path_string(memory, new), flags)


@syscall("dirfd path dirfd path uint")
def sys_renameat2(process: "Process", old_dirfd: int, old: int, new_dirfd: int, new: int, flags: int) -> int:
    memory = process.memory
    return host.call("renameat2", old_dirfd, path_string(memory, old), new_dirfd, path_string(memory, new), flags)


@syscall("path long")
def sys_truncate(process: "Process", path: int, size: int) -> int:
    os.truncate(path_string(process.memory, path), size)
    return 0


@syscall("fd long")
def sys_ftruncate(_process: "Process", fd: int, size: int) -> int:
    os.ftruncate(fd, size)
    return 0


@syscall("fd hex long long")
def sys_fallocate(_process: "Process", fd: int, mode: int, offset: int, size: int) -> int:
    return host.call("fallocate", fd, mode & 0xFFFFFFFF, offset, size)


@syscall("fd mode")
def sys_fchmod(_process: "Process", fd: int, mode: int) -> int:
    os.fchmod(fd, mode & 0o7777)
    return 0


@syscall("dirfd path mode")
def sys_fchmodat(process: "Process", dirfd: int, path: int, mode: int) -> int:
    os.chmod(path_string(process.memory, path), mode & 0o7777, dir_fd=dirfd)
    return 0


@syscall("dirfd path mode at_flags")
def sys_fchmodat2(process: "Process", dirfd: int, path: int, mode: int, flags: int) -> int:
    return host.call("fchmodat", dirfd, path_string(process.memory, path), mode & 0o7777, flags)


def optional_id(number: int) -> int:
    """uid_t or gid_t as os functions take it."""
    return -1 if number == NO_ID else number


@syscall("fd uid uid")
def sys_fchown(_process: "Process", fd: int, uid: int, gid: int) -> int:
    os.fchown(fd, optional_id(uid), optional_id(gid))
    return 0


@syscall("dirfd path uid uid at_flags")
def sys_fchownat(process: "Process", dirfd: int, path: int, uid: int, gid: int, flags: int) -> int:
    return host.call("fchownat", dirfd, path_string(process.memory, path), uid, gid, flags)


@syscall("dirfd path address at_flags")
def sys_utimensat(process: "Process", dirfd: int, path: int, times: int, flags: int) -> int:
    both = process.memory.read(times, 2 * TIMESPEC.size) if times else None
    if path:
        return host.call("utimensat", dirfd, path_string(process.memory, path), both, flags)
    # The kernel lets a NULL path mean dirfd itself; the C library has futimens for that.
    if flags:
        raise SyscallError(EINVAL)
    return host.call("futimens", dirfd, both)


@syscall("mode")
def sys_umask(_process: "Process", mask: int) -> int:
    return os.umask(mask & 0o777)


@syscall("path")
def sys_chdir(process: "Process", path: int) -> int:
    os.chdir(path_string(process.memory, path))
    return 0


@syscall("fd")
def sys_fchdir(_process: "Process", fd: int) -> int:
    os.fchdir(fd)
    return 0


@syscall("text size")
def sys_getcwd(process: "Process", address: int, size: int) -> int:
    text = os.getcwdb() + b"\0"
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


def xattr_file(process: "Process", prefix: str, file: int) -> int | bytes:
    """The first argument of these calls as the host's function takes it."""
    if prefix == "f":
        return file
    return resolve(process, path_string(process.memory, file), prefix != "l")


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
        subject = xattr_file(process, prefix, file)
        return fill(process, f"{prefix}getxattr", address, size, subject, xattr_name(process, name))

    def list_names(process: "Process", file: int, address: int, size: int) -> int:
        return fill(process, f"{prefix}listxattr", address, size, xattr_file(process, prefix, file))

    def set_value(process: "Process", file: int, name: int, address: int, size: int, flags: int) -> int:
        if size > XATTR_SIZE_MAX:
            raise SyscallError(ERANGE)
        value = process.memory.read(address, size) if size else b""
        subject = xattr_file(process, prefix, file)
        return host.call(f"{prefix}setxattr", subject, xattr_name(process, name), value, size, flags)

    def remove(process: "Process", file: int, name: int) -> int:
        return host.call(f"{prefix}removexattr", xattr_file(process, prefix, file), xattr_name(process, name))

    register(f"{prefix}getxattr", f"{kind} text out_data size", get)
    register(f"{prefix}listxattr", f"{kind} out_data size", list_names)
    register(f"{prefix}setxattr", f"{kind} text in_data size int", set_value)
    register(f"{prefix}removexattr", f"{kind} text", remove)


xattr_family("", "path")
xattr_family("l", "path")
xattr_family("f", "fd")
