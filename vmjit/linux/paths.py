"""Which host path a guest path means.

Absolute paths of things that exist below the sysroot mean those (as with qemu-user's -L); all others are the host's.
So are /proc, /sys and /dev, which are empty folders in a sysroot made from packages. /proc/self/exe is the guest's
program; the files there that show the guest instead of the emulator are made in proc.py.
"""

import os
import stat

from vmjit.linux.abi import AT_FDCWD
from vmjit.linux.proc import own_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

MAX_LINKS = 40
HOST_FOLDERS = (b"/proc", b"/sys", b"/dev")


def below_sysroot(sysroot: bytes, path: bytes, follow: bool) -> bytes:
    """The host path of an absolute path; a link whose target is absolute stays inside the sysroot."""
    if path.startswith(HOST_FOLDERS) and b"/" + path.split(b"/", 2)[1] in HOST_FOLDERS:
        return path
    for _ in range(MAX_LINKS):
        path = from_root(path)
        candidate = sysroot + path
        try:
            mode = os.lstat(candidate).st_mode
        except OSError:
            return path
        if not follow or not stat.S_ISLNK(mode):
            return candidate
        target = os.readlink(candidate)
        if not target.startswith(b"/"):
            return candidate
        path = target
    return sysroot + path


def from_root(path: bytes) -> bytes:
    """The path without .. at its start: the root is its own parent, a sysroot is not."""
    while path.startswith((b"/../", b"/./")):
        path = path[path.index(b"/", 1) :]
    return b"/" if path in (b"/..", b"/.") else path


def in_sysroot(sysroot: str, path: str) -> str:
    """The host path of a path of the guest, before there is a process."""
    if not path.startswith("/"):
        return path
    return os.fsdecode(below_sysroot(os.path.abspath(os.fsencode(sysroot)), os.fsencode(path), follow=True))


def resolve(process: "Process", path: bytes, follow: bool = True, dirfd: int = AT_FDCWD) -> bytes:
    """The host path to use for looking at what the guest calls path."""
    if follow and path.endswith(b"exe") and own_entry(path, dirfd) == b"exe":
        return process.executable
    if process.sysroot is not None and path.startswith(b"/"):
        return below_sysroot(process.sysroot, path, follow)
    return path
