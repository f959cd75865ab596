"""Whatever a guest passes, a call returns a number: never a Python exception, never a crash of the host.

The calls are made in a child process: descriptors they hit, files they make and crashes they cause are its own. It is
not root, names of files are relative ones in an empty folder, no descriptor is a device, and what would reach other
processes is replaced by functions that fail. A call that blocks is interrupted; one that computes for long fails the
test. VMJIT_FUZZ_CALLS=20000 makes so many calls a seed, VMJIT_FUZZ_SEEDS=50 uses so many seeds.
"""

import ctypes
import errno
import io
import os
import random
import resource
import select
import signal
import socket
import stat
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

import pytest

from tests.linux.conftest import SCRATCH, SCRATCH_SIZE, Guest
from vmjit.errors import MemoryAccessError
from vmjit.guest import get
from vmjit.linux import Exited, Killed, host, signals, strace  # noqa: F401  (strace: a child may not be able to load it)
from vmjit.linux.abi import NAMES
from vmjit.linux.abi import NUMBERS as NUMBERS_OF
from vmjit.linux.descriptors import PLAIN_REQUESTS, STRUCTURE_REQUESTS
from vmjit.linux.signal_frame import UserRegisters
from vmjit.linux.signals import deliver
from vmjit.linux.table import TABLE, Syscall
from vmjit.linux.thread import Thread

CALLS = int(os.environ.get("VMJIT_FUZZ_CALLS", "1200"))
SEEDS = int(os.environ.get("VMJIT_FUZZ_SEEDS", "4"))
FIRST_SEED = int(os.environ.get("VMJIT_FUZZ_SEED", "0"))

MASK, LIMIT, PAGE = (1 << 64) - 1, 1 << 38, 4096
BLOCKED_SECONDS, BUSY_SECONDS = 0.02, 2.0  # of real time and of CPU time
CPU_SECONDS, MEGABYTES = 300, 500  # of a child
NOBODY = 65534
OURS, FOLDER = 900, 901  # descriptors that the guest must not touch: failures are told through the first
RENEWED_AFTER = 40  # calls

UNMAPPED = (0, 1, 8, 0xFFF, 0x9000000, LIMIT - 8, LIMIT, 1 << 47, 1 << 63, MASK, MASK - 4095)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 24, 100, 4096, 65536, 1 << 20, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62)
NAMES_OF_FILES = (
    b"",
    b"data",
    b"a",
    b"folder",
    b"folder/b",
    b"./a",
    b"x" * 255,
    b"x" * 256,
    b"y/" * 2047,
    b"\xff\xfe\n",
)
NAMES_OF_FILES += (b"z" * 5000, b"folder/" * 600)
OTHER_TEXTS = (b"user.a", b"user." + b"n" * 300, b"\1\0socket\0", b"#!a b\n", b"\2\0\0\0\0\0\0\0" * 4)
CLONE_NEWIPC = 0x08000000
FUTEX_COMMAND, FUTEX_WAIT_REQUEUE_PI = 0x7F, 11
OF_TESTS = os.readlink("/proc/self/ns/ipc")
STAY = frozenset(["semget", "msgget", "shmget", "mq_open", "mq_unlink"])  # what these make, unless it has a namespace
REACH_OTHERS = frozenset(["execve", "timer_settime", "pidfd_send_signal", "ioprio_set", "sched_setattr"])
IDS = frozenset(["setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups"])


# What a child may do.


def in_a_child(body: Callable[[], None]) -> tuple[int, str]:
    """Run this with descriptors of its own, and not as root; its wait status and what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        message = ""
        try:
            high = os.dup2(writer, OURS)
            os.closerange(0, OURS)
            os.closerange(OURS + 1, OURS + 100)
            for _ in range(3):
                os.memfd_create("standard")
            os.setsid()
            if os.geteuid() == 0:
                ctypes.CDLL(None).unshare(CLONE_NEWIPC)
            drop_privileges()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            body()
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            assert more < MEGABYTES, f"{more} MB were used"
        except BaseException:
            message = traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(high, message.encode(errors="replace"))
            os._exit(bool(message))
    os.close(writer)
    with open(reader) as output:
        text = output.read()
    return os.waitpid(pid, 0)[1], text


def assert_nothing_happens(body: Callable[[], None]) -> None:
    """In a child."""
    status, text = in_a_child(body)
    assert not text, text
    assert status == 0


def drop_privileges() -> None:
    """Whatever a call reaches in spite of all care, it must not reach it as root."""
    if os.geteuid() == 0:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


class Interrupted(Exception):
    """A call blocked, as it may."""


class Hung(Exception):
    """A call computed for too long."""


class Watch:
    """Interrupts what blocks."""

    def __init__(self) -> None:
        self.busy = False
        self.began = 0.0
        signal.signal(signal.SIGALRM, self.ring)
        for number in (signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO):
            signal.signal(number, signal.SIG_IGN)

    def ring(self, _number: int, _frame: FrameType | None) -> None:
        if self.busy:
            used = time.process_time() - self.began
            if used > BUSY_SECONDS:
                raise Hung
            signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
            if used < BLOCKED_SECONDS / 2:
                raise Interrupted

    def call(self, guest: Guest, number: int, args: list[int]) -> int | None:
        """The result of a call; None if it blocked, or was the end of the guest."""
        try:
            self.began, self.busy = time.process_time(), True
            signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
            result = guest.process.syscall(number, args)
            deliver(guest.process)
            return result
        except (Interrupted, Exited, Killed):
            return None
        finally:
            self.busy = False
            signal.setitimer(signal.ITIMER_REAL, 0)


def refuse(*_: object) -> NoReturn:
    raise PermissionError(errno.EPERM, "not in a test")


def make_harmless() -> None:
    """Replace what would reach other processes, devices and the machine as a whole; only in a child."""
    signals.NEVER_BLOCKED |= 1 << signal.SIGALRM - 1  # it is what ends a call that waits with another mask
    fork, mknod = os.fork, os.mknod

    def childless_fork() -> int:
        pid = fork()
        if not pid:
            os._exit(0)
        return pid

    def mknod_without_devices(path: bytes, mode: int, device: int, **more: Any) -> None:
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            refuse()
        mknod(path, mode, device, **more)

    for name in ("kill", "killpg", "setpriority", "sched_setscheduler", "sched_setparam", "sync"):
        setattr(os, name, refuse)
    through = host.through
    shares_objects = os.readlink("/proc/self/ns/ipc") == OF_TESTS

    def harmless(gate: Callable[..., int], name: str, *arguments: host.Argument) -> int:
        if name in REACH_OTHERS or "kill" in name or "queue" in name or (name in STAY and shares_objects):
            refuse()
        return through(gate, name, *arguments)

    host.through = harmless
    os.fork, os.mknod = childless_fork, mknod_without_devices  # type: ignore[assignment]
    signals.share_with_host = lambda process, number: None


# What is passed.


def argument(choose: random.Random, files: tuple[int, ...], texts: list[int]) -> int:
    kind = choose.randrange(7)
    if kind == 0:
        return choose.choice(UNMAPPED)
    if kind == 1:
        return choose.choice(files)
    if kind == 2:
        return SCRATCH + choose.choice((0, 1, 4, 4096, SCRATCH_SIZE - 4, SCRATCH_SIZE - 1))
    if kind == 3:
        return choose.getrandbits(choose.choice((4, 12, 32, 64)))
    if kind == 4:
        return (1 << 64) - choose.choice((1, 2, 100, 4096))
    if kind == 5:
        return choose.choice(texts)
    return choose.choice(NUMBERS)


def arguments(choose: random.Random, entry: Syscall, files: tuple[int, ...], texts: list[int]) -> list[int]:
    """Six registers; half of the calls get something of the right kind where the kind is known."""
    args = [argument(choose, files, texts) for _ in range(6)]
    sensible = choose.randrange(2)
    for position, kind in enumerate(entry.kinds):
        if kind == "pid":  # never another process
            args[position] = choose.choice((0, os.getpid(), 0x3FFFFFF, MASK, 1 << 31))
        elif kind == "fcntl_command":  # not F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others
            args[position] = choose.choice((*range(8), 9, 11, 16, *range(36, 39), *range(1024, 1036), 99, MASK))
        elif kind == "resource":  # not of CPU time
            args[position] = choose.choice((*range(1, 15), 16, 99, MASK))
        elif sensible:
            args[position] = sensible_argument(choose, kind, args[position], files, texts)
    if entry.name in ("socket", "socketpair"):  # not those that configure the machine
        args[0] = choose.choice((0, 1, 1, 2, 10, 99, MASK))
    if entry.name == "setitimer":  # the other one is ours
        args[0] = choose.choice((1, 2, 3, MASK))
    if entry.name == "futex" and args[1] & FUTEX_COMMAND == FUTEX_WAIT_REQUEUE_PI:  # no signal ends it
        args[1] ^= FUTEX_WAIT_REQUEUE_PI
    if entry.name == "setsockopt":
        args[1:3] = choose.choice((0, 1, 6, 41, MASK)), choose.randrange(60)
    return args


SENSIBLE: dict[str, Sequence[int]] = {
    "size": (0, 1, 8, 8, 8, 16, 24, 128, 1024, 5000, PAGE, 10 * PAGE, 1 << 30, LIMIT // 2, LIMIT),
    "int": (0, 0, 0, 1, 2, 3, 8, 16, 128, 0x800, 0x80000, 1024),
    "uint": (0, 0, 0, 1, 2, 4, 64, 1000),
    "long": (0, 0, 1, 5, PAGE, 1 << 20, MASK),
    "mode": (0, 0o644, 0o700, 0o777, 0o10644, 0o140600),
    "uid": (0, 1, NOBODY, (1 << 32) - 1),
    "open_flags": (0, 2, 0o102, 0o1102, 0o4000, 0o200000, 0o2000000, 0o10000000, 0o20200002),
    "access_mode": range(8),
    "at_flags": (0, 0, 0x100, 0x200, 0x400, 0x1000, 0x1100),
    "whence": range(6),
    "request": (*STRUCTURE_REQUESTS, *PLAIN_REQUESTS),
    "protection": range(9),
    "map_flags": (0x22, 0x21, 0x32, 0x31, 1, 2, 0x11, 0x12, 3, 0x100022, 0x4022, 0x40022),
    "clone_flags": (17, 0x4111, 0x1200011, 0x100011, 0x3D0F00, 0x80011, 0x10000000),
    "wait_flags": (0, 1, 2, 4, 5, 0x1000004, 0x1000005),
    "signal": (0, 1, 7, 11, 14, 15, 17, 34, 64, 65),
    "mask_how": range(4),
    "clock": range(12),
    "advice": (*range(26), 100),
    "futex_operation": (*range(13), *range(128, 141), 256 + 9, 384 + 9),
}
PLACES = (0, SCRATCH, SCRATCH + PAGE, 0x40000000, 0x40001000, 0x50000000, LIMIT - PAGE, LIMIT - (1 << 24))
POINTERS = frozenset(["address", "in_data", "out_data", "argv", "timespec", "out_timespec", "sigset", "out_pair"])


def sensible_argument(
    choose: random.Random, kind: str, otherwise: int, files: tuple[int, ...], texts: list[int]
) -> int:
    """A value of the right kind."""
    if kind in ("fd", "dirfd"):
        return choose.choice((*files, MASK - 99))
    if kind in ("path", "text"):
        return choose.choice(texts)
    if kind in POINTERS:
        return SCRATCH + 8 * choose.randrange(SCRATCH_SIZE // 8 - 8 if choose.randrange(4) == 0 else 512)
    if kind == "hex":
        return choose.choice(PLACES)
    return choose.choice(SENSIBLE[kind]) if kind in SENSIBLE else otherwise


class Surroundings:
    """What the guest works on: made anew from time to time, since the calls destroy it."""

    def __init__(self, guest: Guest, choose: random.Random) -> None:
        self.guest = guest
        os.dup2(os.open(".", os.O_RDONLY), FOLDER)
        guest.process.reserved_fds.update((OURS, FOLDER))
        # Structures in memory are random too: their words are pointers that are good, sizes, zeros.
        words = [choose.choice((SCRATCH + 8 * choose.randrange(99), 8, 0, 1 << 33 | 3)) for _ in range(512)]
        self.contents = b"".join([word.to_bytes(8, "little") for word in words])
        self.texts: list[int] = []
        for text in (*NAMES_OF_FILES, *OTHER_TEXTS):
            self.texts.append(SCRATCH + len(self.contents))
            self.contents += text + b"\0"
        self.renew()

    def renew(self) -> None:
        """Descriptors, the folder, memory, signals."""
        guest = self.guest
        os.closerange(0, OURS)
        os.fchmod(FOLDER, 0o700)
        os.fchdir(FOLDER)
        os.umask(0o022)
        with suppress(OSError):
            os.chmod("data", 0o600)
        with suppress(OSError):
            os.mkdir("folder")
        for _ in range(3):
            os.memfd_create("standard")
        with suppress(OSError):
            os.open("data", os.O_RDWR | os.O_CREAT, 0o600)
        os.open(".", os.O_RDONLY)
        os.pipe2(os.O_NONBLOCK)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for end in socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK):
                end.detach()
        socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK).detach()
        os.eventfd(1, os.EFD_NONBLOCK)
        select.epoll().fileno()
        self.files = (*range(16), 700)
        guest.memory.unmap(0, guest.memory.size)
        guest.process.signals = signals.Signals()
        guest.process.threads.clear()
        guest.process.begin_thread(Thread(registers()))
        guest.process.brk_start = guest.process.brk_end = 0x60000000
        self.refresh()

    def refresh(self) -> None:
        """Memory as it was."""
        memory = self.guest.memory
        if not memory.accessible(SCRATCH, SCRATCH_SIZE, 3):
            memory.map(SCRATCH, SCRATCH_SIZE, 3)
        try:
            memory.write(SCRATCH, self.contents)
        except MemoryAccessError:  # it has become a file, and a short one
            memory.map(SCRATCH, SCRATCH_SIZE, 3)
            memory.write(SCRATCH, self.contents)


def registers() -> UserRegisters:
    """Registers for signal handlers, of a guest that does not run."""
    return UserRegisters(memoryview(array("Q", bytes(4096))), get("riscv64").layout.word)


def random_calls(guest: Guest, seed: int, calls: int = CALLS) -> None:
    choose, watch = random.Random(seed), Watch()
    make_harmless()
    guest.process.emulator_argv = [b"emulator"]
    around = Surroundings(guest, choose)
    entries = [entry for entry in TABLE.values() if entry.name not in IDS or choose.randrange(8) == 0]
    blocked = done = 0
    for number in range(calls):
        if number % RENEWED_AFTER == 0:
            around.renew()
        around.refresh()
        entry = choose.choice(entries)
        args = arguments(choose, entry, around.files, around.texts)
        try:
            result = watch.call(guest, entry.number, args)
        except BaseException as error:
            raise AssertionError(f"{entry.name}({', '.join(map(hex, args))})") from error
        if result is None:
            blocked += 1
            continue
        assert type(result) is int and -4096 < result < 1 << 64, (entry.name, args, result)
        done += result >= 0
    assert blocked < calls / 4 and done > calls / 10


def unknown_calls(guest: Guest) -> None:
    """Numbers that are no call, or one that is not implemented."""
    for number in (*range(600), 1 << 31, 1 << 32, 1 << 63, MASK, *NAMES):
        if number not in TABLE:
            for value in (0, SCRATCH, MASK):
                assert guest.process.syscall(number, [value] * 6) == -errno.ENOSYS


def extreme_calls(guest: Guest) -> None:
    watch = Watch()
    make_harmless()
    around = Surroundings(guest, random.Random(0))
    values = (0, MASK, 1 << 63, LIMIT, LIMIT - 1, SCRATCH, SCRATCH + SCRATCH_SIZE - 1, (1 << 31) - 1, 1 << 31)
    for entry in TABLE.values():
        around.renew()
        for value in values if entry.name not in IDS | {"setrlimit", "prlimit64"} else ():
            around.refresh()
            try:
                result = watch.call(guest, entry.number, [value] * 6)
            except BaseException as error:
                raise AssertionError(f"{entry.name}({value:#x}, ...)") from error
            assert result is None or type(result) is int, (entry.name, value, result)


@pytest.mark.parametrize("traced", [False, True], ids=["quiet", "traced"])
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_random_calls_return_numbers(guest: Guest, seed: int, traced: bool) -> None:
    guest.process.strace = io.StringIO() if traced else None
    assert_nothing_happens(lambda: random_calls(guest, seed))


@pytest.mark.parametrize("traced", [False, True], ids=["quiet", "traced"])
def test_every_call_survives_the_extremes(guest: Guest, traced: bool) -> None:
    guest.process.strace = io.StringIO() if traced else None
    assert_nothing_happens(lambda: extreme_calls(guest))


def test_what_is_no_call_is_refused(guest: Guest) -> None:
    assert_nothing_happens(lambda: unknown_calls(guest))


# How much a call may take.

HUGE = 1 << 32  # where the guest has mapped a quarter of its addresses


def huge_calls(guest: Guest) -> None:
    """Sizes without bounds, where all of that memory is there."""
    watch = Watch()
    make_harmless()
    around = Surroundings(guest, random.Random(0))
    sizes = (1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 35, (1 << 36) - 1, 1 << 40, (1 << 63) - 1, 1 << 63)
    for entry in TABLE.values():
        if not {"size", "int", "uint", "hex", "argv"} & set(entry.kinds) or entry.name in IDS:
            continue
        for size in sizes:
            around.renew()
            guest.memory.map(HUGE, 1 << 36, 3)
            huge = {"size": size, "int": size, "uint": size, "long": size, "fd": 3, "dirfd": 4, "signal": 0}
            huge |= {kind: HUGE for kind in (*POINTERS, "hex", "path", "text")}
            args = [huge.get(kind, 1) for kind in entry.kinds] + [HUGE] * (6 - len(entry.kinds))
            try:
                watch.call(guest, entry.number, args)
            except BaseException as error:
                raise AssertionError(f"{entry.name}({', '.join(map(hex, args))})") from error


def test_sizes_without_bounds_take_neither_time_nor_memory(guest: Guest) -> None:
    assert_nothing_happens(lambda: huge_calls(guest))


def test_an_array_of_one_long_string_takes_no_memory(guest: Guest) -> None:
    """With all its pointers alike it would be gigabytes of arguments."""
    text = guest.put(b"x" * 100_000 + b"\0")
    arguments = guest.put(text.to_bytes(8, "little") * 100_000)
    program = guest.put(b"/bin/true\0")

    def execve() -> None:
        assert guest.process.syscall(NUMBERS_OF["execve"], [program, arguments, 0, 0, 0, 0]) == -errno.E2BIG

    for stream in (None, io.StringIO()):
        guest.process.strace = stream
        assert_nothing_happens(execve)


def test_descriptors_of_the_emulator_do_not_exist(guest: Guest) -> None:
    """For no call that takes a descriptor as such."""
    reader, writer = os.pipe()
    os.write(writer, b"message")
    guest.process.reserved_fds.update((reader, writer))
    try:
        for entry in TABLE.values():
            for position in entry.descriptors:
                args = [guest.put(b"data\0" * 10)] * 6
                args[position] = reader if entry.name != "write" else writer
                assert guest.process.syscall(entry.number, args) == -errno.EBADF, entry.name
        assert os.read(reader, 100) == b"message"
    finally:
        os.close(reader)
        os.close(writer)
