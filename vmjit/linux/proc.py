"""The files of /proc that must describe the guest rather than the emulator. See proc(5).

What the host says of its process is true of the guest too, but for names, memory, threads and signals: status and stat
are the host's, with those replaced.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress

from vmjit.guest import GUEST, get
from vmjit.linux.abi import AT_FDCWD
from vmjit.linux.buffers import EXECUTE, PAGE, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process
    from vmjit.memory.address_space import Mapping

# Fields of stat, counted from 1 as proc(5) does.
THREADS_FIELD, SIZE_FIELD = 20, 23
CODE_FIELDS, STACK_FIELD, UNTOLD_FIELDS = (26, 27), 28, range(29, 36)
DATA_FIELDS, BREAK_FIELD, STRINGS_FIELDS = (45, 46), 47, range(48, 52)


def own_entry(path: bytes, dirfd: int = AT_FDCWD) -> bytes | None:
    """The X of a path /proc/self/X, whichever way process and path are named."""
    if not path.startswith(b"/"):
        if path.rpartition(b"/")[2] not in ENTRIES:
            return None
        with suppress(OSError):
            folder = b"cwd" if dirfd == AT_FDCWD else b"fd/%d" % dirfd
            path = os.path.join(os.readlink(b"/proc/self/" + folder), path)
    if not path.startswith(b"/proc/"):
        return None
    parts = os.path.normpath(path).split(b"/")[2:]
    own = b"%d" % os.getpid()
    if len(parts) == 4 and parts[1] == b"task" and parts[2] in (own, b"self"):
        parts = [parts[0], parts[3]]
    if len(parts) == 2 and parts[0] in (b"self", b"thread-self", own):
        return parts[1]
    return None


def generated_file(process: "Process", path: bytes, dirfd: int = AT_FDCWD) -> bytes | None:
    """Contents of a file of /proc that must describe the guest."""
    if path == b"/proc/cpuinfo":
        return cpuinfo()
    entry = own_entry(path, dirfd)
    generate = GENERATED.get(entry) if entry else None
    return generate(process) if generate else None


def open_generated(contents: bytes, flags: int) -> int:
    """A descriptor that reads these contents."""
    fd = os.memfd_create("proc", os.MFD_CLOEXEC if flags & os.O_CLOEXEC else 0)
    os.write(fd, contents)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def cpuinfo() -> bytes:
    """/proc/cpuinfo, one paragraph for each CPU the guest may run on."""
    extensions = get(GUEST).extensions
    isa = "rv64" + "".join([name for name in extensions if len(name) == 1])
    isa = "_".join((isa, *(name for name in extensions if len(name) > 1)))
    paragraph = f"processor\t: {{0}}\nhart\t\t: {{0}}\nisa\t\t: {isa}\nmmu\t\t: sv39\n\n"
    return "".join([paragraph.format(cpu) for cpu in range(len(os.sched_getaffinity(0)))]).encode()


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


# Memory.


def maps(process: "Process") -> bytes:
    """/proc/self/maps, from the address space."""
    lines = []
    for region in process.memory.regions():
        device, inode = file_of(region)
        columns = b"%x-%x %s %08x %s %d " % (
            region.start,
            region.end,
            permission_letters(region.permissions, region.shared),
            region.offset or 0,
            device,
            inode,
        )
        name = region_name(process, region)
        lines.append((columns.ljust(73) + name if name else columns) + b"\n")
    return b"".join(lines)


def file_of(region: "Mapping") -> tuple[bytes, int]:
    """Device and inode of what is mapped, as far as it is still there by that name."""
    if region.offset is not None and region.name.startswith("/"):
        with suppress(OSError):
            found = os.stat(region.name)
            return b"%02x:%02x" % (os.major(found.st_dev), os.minor(found.st_dev)), found.st_ino
    return b"00:00", 0


def permission_letters(permissions: int, shared: bool) -> bytes:
    """The rwxp column of maps."""
    letters = [letter if permissions & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4))]
    return ("".join(letters) + ("s" if shared else "p")).encode()


def region_name(process: "Process", region: "Mapping") -> bytes:
    """The last column of maps: what the address space knows, else [stack] or [heap]."""
    if region.name:
        name = os.fsencode(region.name)
        return name if process.root is None else process.root.inside(name) or name
    if region.start <= process.stack_top - 1 < region.end:
        return b"[stack]"
    if process.brk_start < process.brk_end and region.start < process.brk_end and region.end > process.brk_start:
        return b"[heap]"
    return b""


class Sizes:
    """Bytes of guest memory by kind, as the kernel counts them."""

    def __init__(self, process: "Process") -> None:
        regions = list(process.memory.regions())
        start, end = process.code
        code = [region for region in regions if region.permissions & EXECUTE and not region.permissions & WRITE]
        self.all = total(regions)
        self.stack = total([region for region in regions if region.name == "[stack]"])
        self.data = total([region for region in regions if region.permissions & WRITE and not region.shared])
        self.code = total([region for region in code if start <= region.start < end])
        self.libraries = total(code) - self.code


def total(regions: "list[Mapping]") -> int:
    return sum(region.end - region.start for region in regions)


def statm(process: "Process") -> bytes:
    """/proc/self/statm, in pages: size, resident, shared, code, 0, data with the stack, 0."""
    sizes = Sizes(process)
    resident, shared = host_statm()[1:3]
    pages = [sizes.all // PAGE, resident, shared, sizes.code // PAGE, 0, sizes.data // PAGE, 0]
    pages[1] = min(pages[0], pages[1])
    pages[2] = min(pages[1], pages[2])
    return b" ".join([b"%d" % number for number in pages]) + b"\n"


def host_statm() -> list[int]:
    return [int(number) for number in read_host("statm").split()]


def read_host(name: str) -> bytes:
    """A file of the emulator's process."""
    with open(f"/proc/self/{name}", "rb") as file:
        return file.read()


# The process.


def status(process: "Process") -> bytes:
    """/proc/self/status."""
    sizes, signals, thread = Sizes(process), process.signals, process.thread
    caught = ignored = 0
    for number, action in tuple(signals.actions.items()):
        ignored |= (action.handler == 1) << (number - 1)
        caught |= (action.handler > 1) << (number - 1)
    replaced = {
        b"Name": process.name.translate(None, b"\n\\"),
        b"VmPeak": kilobytes(sizes.all),
        b"VmSize": kilobytes(sizes.all),
        b"VmHWM": kilobytes(min(sizes.all, host_statm()[1] * PAGE)),
        b"VmRSS": kilobytes(min(sizes.all, host_statm()[1] * PAGE)),
        b"VmData": kilobytes(sizes.data),
        b"VmStk": kilobytes(sizes.stack),
        b"VmExe": kilobytes(sizes.code),
        b"VmLib": kilobytes(sizes.libraries),
        b"Threads": b"%d" % len(process.threads),
        b"SigBlk": b"%016x" % thread.blocked,
        b"SigIgn": b"%016x" % ignored,
        b"SigCgt": b"%016x" % caught,
    }

    waiting = {b"SigPnd": thread.pending, b"ShdPnd": signals.pending}  # besides those that wait in the host

    def replace(found: "re.Match[bytes]") -> bytes:
        if found[1] in waiting:
            return found[1] + b":\t%016x" % (int(found[2], 16) | waiting[found[1]])
        return found[1] + b":\t" + replaced.get(found[1], found[2])

    return re.sub(rb"^(\w+):\t(.*)$", replace, read_host("status"), flags=re.MULTILINE)


def kilobytes(size: int) -> bytes:
    return b"%8d kB" % (size // 1024)


def stat(process: "Process") -> bytes:
    """/proc/self/stat; registers, signals and what is waited for are 0: Linux does not tell them there any more."""
    _, _, rest = read_host("stat").rpartition(b")")
    fields = [b"", b"", b"", *rest.split()]  # so that the index is the number in proc(5); 1 and 2 are put before it
    replaced: dict[int, int] = {
        THREADS_FIELD: len(process.threads),
        SIZE_FIELD: Sizes(process).all,
        STACK_FIELD: process.initial_sp,
        BREAK_FIELD: process.brk_start,
        **dict(zip(CODE_FIELDS, process.code, strict=True)),
        **dict(zip(DATA_FIELDS, process.data, strict=True)),
        **dict(zip(STRINGS_FIELDS, process.strings, strict=True)),
        **dict.fromkeys(UNTOLD_FIELDS, 0),
    }
    for field, value in replaced.items():
        fields[field] = b"%d" % value
    return b"%d (%s) %s\n" % (os.getpid(), process.name, b" ".join(fields[3:]))


GENERATED: dict[bytes, Callable[["Process"], bytes]] = {
    b"auxv": auxv,
    b"cmdline": cmdline,
    b"comm": comm,
    b"environ": environ,
    b"maps": maps,
    b"stat": stat,
    b"statm": statm,
    b"status": status,
}
ENTRIES = frozenset((*GENERATED, b"exe"))
