"""Which host path a guest path means.

Absolute paths of things that exist below the sysroot mean those (as with qemu-user's -L); all others are the host's.
The links and files of /proc/self that would show the emulator show the guest instead; /proc/cpuinfo shows its CPU.
"""

import os
import stat
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

MAX_LINKS = 40


def below_sysroot(sysroot: bytes, path: bytes, follow: bool) -> bytes:
    """The host path of an absolute path; a link whose target is absolute stays inside the sysroot."""
    for _ in range(MAX_LINKS):
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


def in_sysroot(sysroot: str, path: str) -> str:
    """The host path of an absolute path of the guest, before there is a process."""
    return os.fsdecode(below_sysroot(os.path.abspath(os.fsencode(sysroot)), os.fsencode(path), follow=True))


def resolve(process: "Process", path: bytes, follow: bool = True) -> bytes:
    """The host path to use for looking at what the guest calls path."""
    if not path.startswith(b"/"):
        return path
    if follow and own_entry(path) == b"exe":
        return process.executable
    if process.sysroot is not None:
        return below_sysroot(process.sysroot, path, follow)
    return path


def own_entry(path: bytes) -> bytes | None:
    """The X of a path /proc/self/X, whichever way the process is named."""
    if not path.startswith(b"/proc/"):
        return None
    parts = path.split(b"/")
    if len(parts) == 4 and (parts[2] in (b"self", b"thread-self") or parts[2] == b"%d" % os.getpid()):
        return parts[3]
    return None


def generated_file(process: "Process", path: bytes) -> bytes | None:
    """Contents of a file of /proc that must describe the guest."""
    if path == b"/proc/cpuinfo":
        return cpuinfo()
    entry = own_entry(path)
    generate = GENERATED.get(entry) if entry else None
    return generate(process) if generate else None


def open_generated(contents: bytes, flags: int) -> int:
    """A descriptor that reads these contents."""
    fd = os.memfd_create("proc", os.MFD_CLOEXEC if flags & os.O_CLOEXEC else 0)
    os.write(fd, contents)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def maps(process: "Process") -> bytes:
    """/proc/self/maps, from the address space."""
    return b"".join(
        [
            b"%x-%x %s 00000000 00:00 0 %s\n"
            % (
                region.start,
                region.end,
                permission_letters(region.permissions, region.shared),
                region_name(process, region.start, region.end, region.name),
            )
            for region in process.memory.regions()
        ]
    )


def permission_letters(permissions: int, shared: bool) -> bytes:
    """The rwxp column of maps."""
    letters = [letter if permissions & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))]
    return ("".join(letters) + ("s" if shared else "p")).encode()


def region_name(process: "Process", start: int, end: int, name: str) -> bytes:
    """The last column of maps: what the address space knows, else [stack] or [heap]."""
    if name:
        return b"%26s%s" % (b"", os.fsencode(name))
    if start <= process.stack_top - 1 < end:
        return b"%26s[stack]" % b""
    if process.brk_start < process.brk_end and start < process.brk_end and end > process.brk_start:
        return b"%26s[heap]" % b""
    return b""


def cmdline(process: "Process") -> bytes:
    """/proc/self/cmdline."""
    return b"".join([argument + b"\0" for argument in process.argv])


def environ(process: "Process") -> bytes:
    """/proc/self/environ."""
    return b"".join([entry + b"\0" for entry in process.env])


def auxv(process: "Process") -> bytes:
    """/proc/self/auxv."""
    return process.auxv


def comm(process: "Process") -> bytes:
    """/proc/self/comm."""
    return process.name + b"\n"


def cpuinfo() -> bytes:
    """/proc/cpuinfo, one paragraph for each CPU the guest may run on."""
    paragraph = "processor\t: {0}\nhart\t\t: {0}\nisa\t\t: rv64imafdc_zicsr_zifencei\nmmu\t\t: sv48\n\n"
    return "".join([paragraph.format(cpu) for cpu in range(len(os.sched_getaffinity(0)))]).encode()


GENERATED: dict[bytes, Callable[["Process"], bytes]] = {
    b"maps": maps,
    b"cmdline": cmdline,
    b"environ": environ,
    b"auxv": auxv,
    b"comm": comm,
}
