"""System calls that native code makes itself: the same results as from the table of all calls, or left to it untouched.

A program of one call is run by a real hart over the memory of a real process; `natively` gives None for a call that was
left to the world, and makes sure that then nothing has happened.
"""

import ctypes
import errno
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from machines import NO_CACHE, Here, assemble, worker_for

from tests.linux.conftest import MASK, SCRATCH, SCRATCH_SIZE, Guest
from vmjit.codegen.calls import MOST_VECTORS
from vmjit.debug import Settings
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.errors import CompileError
from vmjit.ir.exits import ExitReason
from vmjit.linux import host
from vmjit.linux.abi import NUMBERS
from vmjit.linux.native_calls import DESCRIPTORS, NATIVE_CALLS, ReservedDescriptors
from vmjit.memory.address_space import EXECUTE, READ, WRITE

CODE, PAGE, LIMIT = 0x10000, 4096, 1 << 38
ONE_CALL = "jal zero, @call\ncall:\necall\nebreak"  # the jump makes the call hot, so that tier jit compiles it
AFTER = CODE + 8
LOOP = "again:\naddi a7, zero, 172\necall\naddi t0, t0, -1\nbne t0, zero, @again\nebreak"
WAIT, WAKE, WAIT_BITSET, PRIVATE, REALTIME = 0, 1, 9, 128, 256


class Native:
    """A guest whose calls may be native; `hart` runs what was loaded last."""

    def __init__(self, guest: Guest, tier: Tier) -> None:
        self.guest, self.process, self.memory = guest, guest.process, guest.memory
        worker = worker_for("riscv64")
        self.hart = Hart(worker.guest, self.memory, Here(worker), NO_CACHE, Settings(), tier=tier, sync=True)  # type: ignore[arg-type]
        usable = self.process.reserved_fds.usable
        self.hart.make_calls(NATIVE_CALLS, ctypes.addressof(usable), len(usable))
        self.memory.map(CODE, PAGE, READ | WRITE)
        self.load(ONE_CALL)

    def load(self, text: str) -> None:
        self.memory.protect(CODE, PAGE, READ | WRITE)
        self.memory.write(CODE, assemble(text, CODE, "riscv64"))
        self.memory.protect(CODE, PAGE, READ | EXECUTE)

    def word(self, name: str) -> int:
        return self.hart.guest.layout.word(name)

    def natively(self, name: str, *arguments: int) -> int | None:
        """The result as a register value, None if the call was left to the world."""
        words, layout = self.hart.words, self.hart.guest.layout
        for index in range(6):
            words[self.word(f"x{10 + index}")] = (arguments[index] if index < len(arguments) else 0) & MASK
        words[self.word("x17")] = NUMBERS[name]
        words[self.word("pc")] = CODE
        before = {register: words[layout.word(register)] for register in layout.registers()}
        count = self.hart.instructions
        stop = self.hart.run()
        after = {register: words[layout.word(register)] for register in layout.registers()}
        assert self.hart.instructions == count + 2  # the jump and the call
        result = after["x10"]
        if stop.reason is ExitReason.SYSCALL:
            assert (stop.pc, after) == (AFTER, before) and stop.argument in (0, errno.EINTR)
            return None
        assert stop == Stop(ExitReason.BREAKPOINT, AFTER, 0)
        assert after == {**before, "x10": result}
        return result - (1 << 64) if result >> 63 else result

    def both(self, name: str, *arguments: int) -> int | None:
        """The native result, which the table's is too; for calls that may be made twice."""
        found = self.natively(name, *arguments)
        assert found in (None, self.guest.call(name, *arguments))
        return found


@pytest.fixture(params=[Tier.INTERPRETER, Tier.JIT], ids=lambda tier: tier.value)
def native(request: pytest.FixtureRequest, guest: Guest) -> Iterator[Native]:
    made = Native(guest, request.param)
    yield made
    made.hart.close()


@pytest.fixture
def fd() -> Iterator[int]:
    """A file that holds the alphabet."""
    file = os.open("alphabet", os.O_RDWR | os.O_CREAT)
    os.write(file, b"abcdefghijklmnopqrstuvwxyz")
    os.lseek(file, 0, os.SEEK_SET)
    yield file
    os.close(file)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


# What is served.


@pytest.mark.parametrize(
    "name", ["getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "sched_yield"]
)
def test_numbers(native: Native, name: str) -> None:
    assert native.both(name) is not None
    assert native.both(name, 1, 2, 3) is not None


def test_transfers(native: Native, fd: int) -> None:
    at = native.guest.space(64)
    assert native.natively("read", fd, at, 5) == 5
    assert native.natively("lseek", fd, 0, os.SEEK_CUR) == 5
    assert native.natively("pread64", fd, at + 5, 3, 23) == 3
    assert native.memory.read(at, 9) == b"abcdexyz\0"
    assert native.natively("write", fd, at + 5, 2) == 2
    assert native.natively("pwrite64", fd, at, 4, 20) == 4
    assert os.pread(fd, 100, 0) == b"abcdexyhijklmnopqrstabcdyz"
    assert native.both("lseek", fd, -1, os.SEEK_END) == 25
    assert native.both("lseek", fd, 1 << 40, os.SEEK_SET) == 1 << 40
    assert native.both("read", fd, at, 5) == 0
    assert native.both("read", fd, at, 0) == 0
    assert native.both("pread64", fd | 7 << 32, at, 5, 0) == 5  # a descriptor is an int
    assert native.both("pread64", fd, at, LIMIT - at, 0) == 26  # to the end of all addresses


@pytest.mark.parametrize("count", [1, 2, MOST_VECTORS])
def test_vectors(native: Native, fd: int, count: int) -> None:
    at = native.guest.space(4 * count)
    array = native.guest.put(b"".join(struct.pack("<QQ", at + 4 * i, 3) for i in range(count)) + bytes(256))
    letters = b"abcdefghijklmnopqrstuvwxyz"[: 3 * count]
    assert native.natively("readv", fd, array, count) == 3 * count
    assert native.memory.read(at, 4 * count) == b"".join(letters[3 * i : 3 * i + 3] + b"\0" for i in range(count))
    os.lseek(fd, 0, os.SEEK_SET)
    native.memory.write(at, b"ABC")
    assert native.natively("writev", fd, array, count) == 3 * count
    assert os.pread(fd, 3 * count, 0) == b"ABC" + letters[3:]


def test_clocks(native: Native) -> None:
    at = native.guest.space(16)
    for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_PROCESS_CPUTIME_ID, time.CLOCK_BOOTTIME):
        before = time.clock_gettime_ns(clock)
        assert native.natively("clock_gettime", clock, at) == 0
        seconds, nanoseconds = struct.unpack("<qq", native.memory.read(at, 16))
        assert before <= seconds * 10**9 + nanoseconds <= time.clock_gettime_ns(clock)
        assert 0 <= nanoseconds < 10**9
    before = time.time_ns()
    assert native.natively("gettimeofday", at, 0) == 0
    seconds, microseconds = struct.unpack("<qq", native.memory.read(at, 16))
    assert before // 1000 <= seconds * 10**6 + microseconds <= time.time_ns() // 1000


def test_futexes(native: Native) -> None:
    at = native.guest.put(struct.pack("<I", 0x80000005))
    assert native.both("futex", at, WAKE | PRIVATE, 1) == 0
    for operation in (WAIT, WAIT_BITSET, WAIT_BITSET | REALTIME):
        assert native.both("futex", at, operation | PRIVATE, 5, 0, 0, MASK) == -errno.EAGAIN
    soon = native.guest.put(struct.pack("<qq", 0, 1))  # one nanosecond, or long ago
    for operation in (WAIT_BITSET, WAIT_BITSET | REALTIME):
        found = native.both("futex", at, operation | PRIVATE, 7 << 32 | 0x80000005, soon, 0, 1)
        assert found == -errno.ETIMEDOUT
        assert native.natively("futex", at, operation | PRIVATE, 0x80000005, LIMIT - 8, 0, 1) is None
        assert native.both("futex", at, operation | PRIVATE, 0x80000005, 0x9000000, 0, 1) == -errno.EFAULT
        assert native.both("futex", at, operation | PRIVATE, 0x80000005, soon, 0, 0) == -errno.EINVAL
    assert native.natively("futex", at, WAIT | PRIVATE, 0x80000005, soon) is None
    assert native.natively("futex", at, WAIT, 5) is None  # other processes may know it
    assert native.natively("futex", at, WAKE, 1) is None
    assert native.natively("futex", at, 3 | PRIVATE, 1) is None
    assert native.natively("futex", at + 2, WAKE | PRIVATE, 1) is None
    for bad in (0, 0x9000000, LIMIT - 4, LIMIT, MASK - 3):
        assert native.natively("futex", bad, WAKE | PRIVATE, 1) is None


def test_a_futex_wait_ends_when_woken(native: Native) -> None:
    at = native.guest.put(struct.pack("<I", 5))
    done = threading.Event()

    def wake() -> None:
        while not done.wait(0.01):
            host.system_call("futex", native.memory.base + at, WAKE | PRIVATE, 1)

    thread = threading.Thread(target=wake)
    thread.start()
    assert native.natively("futex", at, WAIT | PRIVATE, 5) == 0
    done.set()
    thread.join()


# Errors.


def test_errors_of_descriptors(native: Native, fd: int, pipe: tuple[int, int]) -> None:
    at = native.guest.space(16)
    closed = os.dup(fd)
    os.close(closed)
    for name in ("read", "write", "pread64", "pwrite64"):
        assert native.both(name, closed, at, 1) == -errno.EBADF
    assert native.both("lseek", closed, 0, 0) == -errno.EBADF
    assert native.both("read", pipe[1], at, 1) == -errno.EBADF
    assert native.both("write", pipe[0], at, 1) == -errno.EBADF
    assert native.both("lseek", pipe[0], 0, 0) == -errno.ESPIPE
    assert native.both("pread64", pipe[0], at, 1, 0) == -errno.ESPIPE
    assert native.both("lseek", fd, 0, 77) == -errno.EINVAL
    assert native.both("lseek", fd, -1, os.SEEK_SET) == -errno.EINVAL
    assert native.both("pread64", fd, at, 1, -1) == -errno.EINVAL
    os.set_blocking(pipe[0], False)
    assert native.both("read", pipe[0], at, 1) == -errno.EAGAIN


def test_errors_of_addresses(native: Native, fd: int) -> None:
    """The host looks at guest memory itself, and stops where it ends."""
    end = SCRATCH + SCRATCH_SIZE
    hidden, constant = 0x2000000, 0x3000000
    native.memory.map(hidden, PAGE, 0)
    native.memory.map(constant, PAGE, READ)
    for bad in (0, 8, hidden, end, LIMIT - 1):
        for name in ("pread64", "pwrite64"):
            assert native.both(name, fd, bad, 1, 0) == -errno.EFAULT
    assert native.both("pread64", fd, constant, 5, 0) == -errno.EFAULT
    assert native.both("pwrite64", fd, constant, 5, 0) == 5
    assert native.both("pread64", fd, end - 3, 10, 0) == 3
    assert native.both("pwrite64", fd, end - 3, 10, 0) == 3


def test_a_read_of_code(native: Native, fd: int) -> None:
    """Into memory that is writable and executable: seen at the next fence, as stores are."""
    at = 0x2000000
    native.memory.map(at, PAGE, READ | WRITE | EXECUTE)
    changed: list[tuple[int, int]] = []
    native.memory.code_changed = lambda *pages: changed.append(pages)
    assert native.both("pread64", fd, at, 5, 0) == 5
    assert native.memory.read(at, 5) == b"abcde" and changed == []


# What is left to the world.


@pytest.mark.parametrize(
    ("address", "size"),
    [(LIMIT, 1), (LIMIT + 1, 0), (LIMIT - 1, 2), (SCRATCH, LIMIT), (SCRATCH, MASK), (MASK, 2), (1 << 63, 1)],
)
def test_ranges_outside(native: Native, fd: int, address: int, size: int) -> None:
    for name in ("read", "write", "pread64", "pwrite64"):
        assert native.natively(name, fd, address, size) is None
    array = native.guest.put(struct.pack("<QQQQ", SCRATCH, 1, address, size) + bytes(256))
    assert native.natively("readv", fd, array, 2) is None
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0 and os.fstat(fd).st_size == 26


def test_unusual_vectors(native: Native, fd: int) -> None:
    array = native.guest.put(struct.pack("<QQ", SCRATCH, 1) * 9 + bytes(256))
    for count in (0, MOST_VECTORS + 1, -1, 1 << 32 | 1):
        assert native.natively("readv", fd, array, count) is None
    for bad in (0, 0x9000000, SCRATCH + SCRATCH_SIZE - 8, LIMIT - 16, MASK - 15):
        assert native.natively("writev", fd, bad, 1) is None


def test_reserved_descriptors(native: Native, fd: int) -> None:
    at = native.guest.space(16)
    reserved = native.process.reserved_fds
    reserved.add(fd)
    for name, arguments in (("read", (at, 1)), ("write", (at, 1)), ("lseek", (0, 0)), ("pread64", (at, 1, 0))):
        assert native.natively(name, fd, *arguments) is None
        assert native.guest.call(name, fd, *arguments) == -errno.EBADF
    reserved.discard(fd)
    assert native.natively("read", fd, at, 1) == 1
    reserved.update((fd, 5000), [fd])
    assert native.natively("read", fd, at, 1) is None
    for other in (-1, -100, DESCRIPTORS, 5000, MASK >> 33):
        assert native.natively("read", other, at, 1) is None


def test_the_table_follows_the_set() -> None:
    reserved = ReservedDescriptors()
    reserved.add(7)
    reserved.update((8, DESCRIPTORS), ())
    reserved.discard(8)
    reserved.discard(9)
    assert reserved == {7, DESCRIPTORS}
    assert [fd for fd, usable in enumerate(reserved.usable) if not usable] == [7]


def test_bad_clocks(native: Native) -> None:
    at = native.guest.space(16)
    constant = 0x3000000
    native.memory.map(constant, PAGE, READ)
    assert native.natively("clock_gettime", 77, at) is None
    assert native.natively("clock_gettime", MASK, at) is None
    for bad in (0, 0x9000000, constant, LIMIT - 8, LIMIT, MASK):
        assert native.natively("clock_gettime", 0, bad) is None
        assert native.natively("gettimeofday", bad, 0) is None
    assert native.natively("gettimeofday", at, at) is None


def test_a_broken_pipe(native: Native) -> None:
    """The world sends SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    assert native.natively("write", writer, native.guest.put(b"x"), 1) is None
    os.close(writer)


def test_an_interruption(native: Native, pipe: tuple[int, int]) -> None:
    """The world says what comes of it, so a handler in Python runs."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # again: the first may come before the call waits
        assert native.natively("read", pipe[0], native.guest.space(16), 1) is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {signal.SIGALRM}


def test_other_calls(native: Native) -> None:
    for name in ("close", "kill", "exit_group", "mmap", "rt_sigprocmask", "io_setup", "file_setattr"):
        assert native.natively(name, MASK, 0) is None


def test_code_that_cannot_be_had(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls are left to the world then."""

    def refuse(*arguments: object) -> bytes:
        raise CompileError("no")

    monkeypatch.setattr(worker_for("riscv64"), "calls", refuse)
    native = Native(guest, Tier.INTERPRETER)
    assert native.natively("getpid") is None
    assert native.hart.counters.failures == ["system calls: no"]
    native.hart.close()


# Loops of calls.


def run_loop(native: Native, rounds: int) -> Stop:
    native.load(LOOP)
    native.hart.words[native.word("pc")] = CODE
    native.hart.words[native.word("x5")] = rounds
    return native.hart.run()


def test_no_call_returns_to_the_host(native: Native) -> None:
    assert run_loop(native, 1000).reason is ExitReason.BREAKPOINT
    assert native.hart.counters.exits["SYSCALL"] == 0
    assert bool(native.hart.counters.regions) == (native.hart.tier is Tier.JIT)
    assert native.hart.words[native.word("x10")] == os.getpid()
    assert native.hart.instructions == 4000


def test_the_limit(native: Native) -> None:
    native.hart.set_limit(10_000)
    assert run_loop(native, -1 & MASK).reason is ExitReason.LIMIT
    assert 10_000 <= native.hart.instructions <= 10_100


def test_a_stop_from_another_thread(native: Native) -> None:
    timer = threading.Timer(0.1, native.hart.stop)
    timer.start()
    assert run_loop(native, -1 & MASK).reason is ExitReason.LIMIT
    timer.join()


def test_a_forked_child(native: Native, fork: Callable[[Callable[[], bool]], bool]) -> None:
    """Has its own table of descriptors, and its own process id."""
    mine = os.dup(0)
    at = native.guest.space(16)

    def child() -> bool:
        native.process.reserved_fds.add(mine)
        hidden = native.natively("lseek", mine, 0, 0) is None
        return hidden and native.natively("getpid") == os.getpid() and native.natively("getppid") == os.getppid()

    assert fork(child)
    assert native.natively("write", mine, at, 0) is not None
    os.close(mine)


@pytest.fixture
def fork() -> Callable[[Callable[[], bool]], bool]:
    """Whether something is true in a forked child."""

    def run(check: Callable[[], bool]) -> bool:
        pid = os.fork()
        if not pid:
            held = False
            try:
                held = check()
            finally:
                os._exit(0 if held else 1)
        return os.waitpid(pid, 0)[1] == 0

    return run
