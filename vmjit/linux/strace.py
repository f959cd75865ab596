"""One line for each system call, as strace prints it: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3`.

How an argument is printed follows from its kind in the table of calls. What a call stores is printed after it returned.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import ENOSYS, errorcode
from struct import Struct

from vmjit.errors import MemoryAccessError
from vmjit.linux.abi import INT, TIMESPEC, ULONG
from vmjit.linux.buffers import READ, accessible_prefix, strings
from vmjit.linux.outcome import RESTART, Exited, Killed, SyscallError
from vmjit.linux.signals import name_of
from vmjit.linux.table import Syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from vmjit.linux.process import Process

LONGEST_STRING = 32
MOST_STRINGS = 32

_pack_registers = Struct("<6Q").pack

OPEN_MODES = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
# In the order of printing; names of several bits come before those of one of them.
OPEN_FLAGS = {
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o400: "O_NOCTTY",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o4010000: "O_SYNC",
    0o10000: "O_DSYNC",
    0o20000: "O_ASYNC",
    0o40000: "O_DIRECT",
    0o100000: "O_LARGEFILE",
    0o20200000: "O_TMPFILE",
    0o200000: "O_DIRECTORY",
    0o400000: "O_NOFOLLOW",
    0o1000000: "O_NOATIME",
    0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH",
}
ACCESS_MODES = {4: "R_OK", 2: "W_OK", 1: "X_OK"}
AT_FLAGS = {
    0x100: "AT_SYMLINK_NOFOLLOW",
    0x200: "AT_REMOVEDIR",
    0x400: "AT_SYMLINK_FOLLOW",
    0x800: "AT_NO_AUTOMOUNT",
    0x1000: "AT_EMPTY_PATH",
}
PROTECTIONS = {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"}
MAP_FLAGS = {
    3: "MAP_SHARED_VALIDATE",
    1: "MAP_SHARED",
    2: "MAP_PRIVATE",
    0x10: "MAP_FIXED",
    0x20: "MAP_ANONYMOUS",
    0x100: "MAP_GROWSDOWN",
    0x800: "MAP_DENYWRITE",
    0x1000: "MAP_EXECUTABLE",
    0x2000: "MAP_LOCKED",
    0x4000: "MAP_NORESERVE",
    0x8000: "MAP_POPULATE",
    0x20000: "MAP_STACK",
    0x40000: "MAP_HUGETLB",
    0x100000: "MAP_FIXED_NOREPLACE",
}
CLONE_FLAGS = {
    0x100: "CLONE_VM",
    0x200: "CLONE_FS",
    0x400: "CLONE_FILES",
    0x800: "CLONE_SIGHAND",
    0x1000: "CLONE_PIDFD",
    0x4000: "CLONE_VFORK",
    0x8000: "CLONE_PARENT",
    0x10000: "CLONE_THREAD",
    0x40000: "CLONE_SYSVSEM",
    0x80000: "CLONE_SETTLS",
    0x100000: "CLONE_PARENT_SETTID",
    0x200000: "CLONE_CHILD_CLEARTID",
    0x400000: "CLONE_DETACHED",
    0x1000000: "CLONE_CHILD_SETTID",
}
RESOURCES = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
WAIT_FLAGS = {1: "WNOHANG", 2: "WUNTRACED", 4: "WEXITED", 8: "WCONTINUED", 0x1000000: "WNOWAIT"}
NAMED_NUMBERS = {
    "whence": {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END", 3: "SEEK_DATA", 4: "SEEK_HOLE"},
    "mask_how": {0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK"},
    "clock": {
        0: "CLOCK_REALTIME",
        1: "CLOCK_MONOTONIC",
        2: "CLOCK_PROCESS_CPUTIME_ID",
        3: "CLOCK_THREAD_CPUTIME_ID",
        4: "CLOCK_MONOTONIC_RAW",
        5: "CLOCK_REALTIME_COARSE",
        6: "CLOCK_MONOTONIC_COARSE",
        7: "CLOCK_BOOTTIME",
    },
    "fcntl_command": {
        0: "F_DUPFD",
        1: "F_GETFD",
        2: "F_SETFD",
        3: "F_GETFL",
        4: "F_SETFL",
        5: "F_GETLK",
        6: "F_SETLK",
        7: "F_SETLKW",
        1030: "F_DUPFD_CLOEXEC",
        1031: "F_SETPIPE_SZ",
        1032: "F_GETPIPE_SZ",
    },
    "request": {
        0x5401: "TCGETS",
        0x802C542A: "TCGETS2",
        0x5402: "TCSETS",
        0x540F: "TIOCGPGRP",
        0x5410: "TIOCSPGRP",
        0x5413: "TIOCGWINSZ",
        0x541B: "FIONREAD",
        0x5421: "FIONBIO",
        0x8910: "SIOCGIFNAME",
        0x8912: "SIOCGIFCONF",
        0x8933: "SIOCGIFINDEX",
    },
    "resource": {number: f"RLIMIT_{name}" for number, name in enumerate(RESOURCES.split())},
    "advice": {0: "MADV_NORMAL", 3: "MADV_WILLNEED", 4: "MADV_DONTNEED", 8: "MADV_FREE", 14: "MADV_HUGEPAGE"},
}
FUTEX_COMMANDS = {
    0: "FUTEX_WAIT",
    1: "FUTEX_WAKE",
    3: "FUTEX_REQUEUE",
    4: "FUTEX_CMP_REQUEUE",
    5: "FUTEX_WAKE_OP",
    6: "FUTEX_LOCK_PI",
    7: "FUTEX_UNLOCK_PI",
    8: "FUTEX_TRYLOCK_PI",
    9: "FUTEX_WAIT_BITSET",
    10: "FUTEX_WAKE_BITSET",
    11: "FUTEX_WAIT_REQUEUE_PI",
    12: "FUTEX_CMP_REQUEUE_PI",
    13: "FUTEX_LOCK_PI2",
}
ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}
ESCAPES |= {ord("\v"): "\\v", ord("\f"): "\\f"}


def quoted(data: bytes, more: bool = False) -> str:
    """A C string literal, cut after LONGEST_STRING bytes."""
    shown = data[:LONGEST_STRING]
    parts = []
    for position, byte in enumerate(shown):
        if byte in ESCAPES:
            parts.append(ESCAPES[byte])
        elif 32 <= byte < 127:
            parts.append(chr(byte))
        else:
            following = shown[position + 1 : position + 2]
            parts.append(f"\\{byte:03o}" if following.isdigit() else f"\\{byte:o}")
    return f'"{"".join(parts)}"' + ("..." if more or len(data) > LONGEST_STRING else "")


def joined(value: int, names: dict[int, str], zero: str = "0") -> str:
    """The names of the bits, and the rest in hexadecimal."""
    parts = []
    rest = value
    for bits, name in names.items():
        if bits and rest & bits == bits:
            parts.append(name)
            rest &= ~bits
    if rest:
        parts.append(f"{rest:#x}")
    return "|".join(parts) or zero


def address(value: int) -> str:
    """A pointer, or NULL."""
    return f"{value:#x}" if value else "NULL"


def memory_text(process: "Process", at: int, size: int) -> str:
    """A buffer's contents."""
    wanted = max(0, min(size, LONGEST_STRING + 1))
    if wanted and accessible_prefix(process.memory, at, wanted, READ) < wanted:
        return address(at)
    return quoted(process.memory.read(at, wanted)) if wanted else '""'


# Formatters take the process, all arguments, the position of the one to print, and the result (None before the call).
Formatter = Callable[["Process", Sequence[int], int, int | None], str]


def decimal(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return str(values[position])


def pointer(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return address(values[position])


def hexadecimal(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return f"{values[position]:#x}" if values[position] else "0"


def octal(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return f"0{values[position]:o}" if values[position] else "000"


def directory(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return "AT_FDCWD" if values[position] == -100 else str(values[position])


def identifier(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return "-1" if values[position] == 0xFFFFFFFF else str(values[position])


def string(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    text = process.memory.read_cstring(values[position])
    # Path names are never cut by strace.
    return quoted(text) if len(text) <= LONGEST_STRING else whole(text)


def whole(text: bytes) -> str:
    """A path name, not cut."""
    pieces = [text[start : start + LONGEST_STRING] for start in range(0, len(text), LONGEST_STRING)]
    return '"' + "".join([quoted(piece)[1:-1] for piece in pieces]) + '"'


def sent(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return memory_text(process, values[position], values[position + 1])


def received(process: "Process", values: Sequence[int], position: int, result: int | None) -> str:
    return address(values[position]) if result is None or result < 0 else memory_text(process, values[position], result)


def arguments(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    found = strings(process.memory, values[position])
    shown = ", ".join([quoted(text) for text in found[:MOST_STRINGS]])
    return f"[{shown}{', ...' if len(found) > MOST_STRINGS else ''}]"


def duration(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    seconds, nanoseconds = TIMESPEC.unpack(process.memory.read(values[position], TIMESPEC.size))
    return f"{{tv_sec={seconds}, tv_nsec={nanoseconds}}}"


def signal_set(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    (mask,) = ULONG.unpack(process.memory.read(values[position], 8))
    inverted = mask.bit_count() > 32
    shown = ~mask & (1 << 64) - 1 if inverted else mask
    names = [name_of(number)[3:] for number in range(1, 65) if shown >> (number - 1) & 1]
    return ("~" if inverted else "") + "[" + " ".join(names) + "]"


def pair(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    first, second = INT.iter_unpack(process.memory.read(values[position], 8))
    return f"[{first[0]}, {second[0]}]"


def single(process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return f"[{INT.unpack(process.memory.read(values[position], 4))[0]}]"


def signal_name(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    return name_of(values[position]) if 1 <= values[position] <= 64 else str(values[position])


def open_flags(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    rest = joined(values[position] & ~3 & 0xFFFFFFFF, OPEN_FLAGS, "")
    return OPEN_MODES[values[position] & 3] + (f"|{rest}" if rest else "")


def clone_flags(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    names = joined(values[position] & ~0xFF, CLONE_FLAGS, "")
    number = values[position] & 0xFF
    return "|".join([text for text in (names, name_of(number) if number else "") if text]) or "0"


def futex_operation(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
    value = values[position]
    name = FUTEX_COMMANDS.get(value & 127, f"{value & 127:#x}")
    return name + ("_PRIVATE" if value & 128 else "") + ("|FUTEX_CLOCK_REALTIME" if value & 256 else "")


def flags_of(names: dict[int, str], zero: str = "0") -> Formatter:
    """A formatter for a set of bits."""

    def flags(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
        return joined(values[position] & 0xFFFFFFFF, names, zero)

    return flags


def number_of(names: dict[int, str]) -> Formatter:
    """A formatter for one of several named numbers."""

    def number(_process: "Process", values: Sequence[int], position: int, _result: int | None) -> str:
        return names.get(values[position]) or f"{values[position]:#x}"

    return number


FORMATTERS: dict[str, Formatter] = {
    "hex": hexadecimal,
    "mode": octal,
    "dirfd": directory,
    "uid": identifier,
    "address": pointer,
    "path": string,
    "text": string,
    "in_data": sent,
    "out_data": received,
    "argv": arguments,
    "timespec": duration,
    "out_timespec": duration,
    "sigset": signal_set,
    "out_int": single,
    "out_pair": pair,
    "open_flags": open_flags,
    "access_mode": flags_of(ACCESS_MODES, "F_OK"),
    "at_flags": flags_of(AT_FLAGS),
    "protection": flags_of(PROTECTIONS, "PROT_NONE"),
    "map_flags": flags_of(MAP_FLAGS),
    "wait_flags": flags_of(WAIT_FLAGS),
    "clone_flags": clone_flags,
    "futex_operation": futex_operation,
    "signal": signal_name,
    **{kind: number_of(names) for kind, names in NAMED_NUMBERS.items()},
}
# Kinds that are pointers, printed as such when NULL or bad.
INDIRECT = frozenset(("path", "text", "argv", "timespec", "out_timespec", "sigset", "out_int", "out_pair"))


def format_argument(
    process: "Process", entry: Syscall, values: Sequence[int], position: int, result: int | None
) -> str:
    """One argument; a pointer that cannot be followed is printed as a number."""
    kind = entry.kinds[position]
    if kind in INDIRECT and (not values[position] or (kind.startswith("out_") and (result is None or result < 0))):
        return address(values[position])
    try:
        return FORMATTERS.get(kind, decimal)(process, values, position, result)
    except (MemoryAccessError, SyscallError, OSError):
        return address(values[position])


def format_result(entry: Syscall, result: int) -> str:
    """The part after the equals sign."""
    if result == RESTART:
        return "? ERESTARTSYS (a signal came, to be made again)"
    if result < 0:
        name = errorcode.get(-result, str(-result))
        return f"-1 {name} ({os.strerror(-result)})"
    return f"{result:#x}" if entry.result == "hex" else str(result)


def put(stream: "TextIO", line: str) -> None:
    """Print a line; the guest may have closed the descriptor."""
    with suppress(OSError):
        stream.write(f"{line}\n")  # at once: other threads print too
        stream.flush()


def traced(process: "Process", stream: "TextIO", entry: Syscall, args: Sequence[int]) -> int:
    """Perform the call and print its line, which names the thread if there are several."""
    name = f"[pid {process.thread.tid}] {entry.name}" if len(process.threads) > 1 else entry.name
    values = entry.unpack(_pack_registers(*args))
    texts = [format_argument(process, entry, values, position, None) for position in range(len(values))]
    if entry.result == "none":
        put(stream, f"{name}({', '.join(texts)}) = ?")
        return process.perform(entry, args)
    try:
        result = process.perform(entry, args)
    except (Exited, Killed):
        put(stream, f"{name}({', '.join(texts)}) = ?")
        raise
    for position, kind in enumerate(entry.kinds):
        if kind.startswith("out_"):
            texts[position] = format_argument(process, entry, values, position, result)
    put(stream, f"{name}({', '.join(texts)}) = {format_result(entry, result)}")
    return result


def trace_unknown(stream: "TextIO", number: int, args: Sequence[int]) -> None:
    """A call that is not implemented."""
    texts = ", ".join([f"{value:#x}" for value in args])
    put(stream, f"syscall_{number}({texts}) = -1 ENOSYS ({os.strerror(ENOSYS)})")
