"""Guest memory: loads and stores in compiled code, and what the address space costs in Python."""

import os

from benchmarks import guests

PAGE = 4096
UNROLLED = 8
# The body of a loop over a buffer, UNROLLED times with {o} growing by the width: a0 runs up to a1. Loaded values are
# used, or LLVM would leave the loads out; `chase` waits for each load before the next address is known.
BODIES = {
    "load8": (8, ("ld t0, {o}(a0)", "add t1, t1, t0")),
    "load1": (1, ("lbu t0, {o}(a0)", "add t1, t1, t0")),
    "store8": (8, ("sd t1, {o}(a0)",)),
    "store1": (1, ("sb t1, {o}(a0)",)),
    "copy8": (8, ("ld t0, {o}(a0)", "sd t0, {o}(a2)")),
    "chase": (8, ("ld t1, 0(t1)",)),
}
BUFFERS = {"32 kB": 32 << 10, "16 MB": 16 << 20}  # within the first-level cache, and not within the second
ACCESSES = 30_000_000  # of a measurement: some 10 ms and more
STREAM_BYTES = 14 * (8 << 19)  # that a round of the stream kernel moves, loads and stores
STREAM_ROUNDS = 40
MAPPINGS = 200
LARGE = 64 << 10  # bytes of the one larger mapping


def loop(pattern: str) -> bytes:
    """Walks the buffer from a3 to a1 as often as a4 says; a2 - a0 is constant."""
    width, body = BODIES[pattern]
    lines = [line.format(o=width * i) for i in range(UNROLLED) for line in body]
    step = width * UNROLLED
    walk = (
        "add t2, a2, zero",
        "again:",
        *lines,
        f"addi a0, a0, {step}",
        f"addi a2, a2, {step}",
        "bltu a0, a1, {again}",
    )
    outer = ("outer:", "add a0, a3, zero", *walk, "add a2, t2, zero", "addi a4, a4, -1", "bne a4, zero, {outer}")
    return guests.program("\n".join((*outer, "ecall")))


def measure(pattern: str, size: int, accesses: int, cache: str) -> float:
    """Nanoseconds for each element of a walk over a buffer."""
    width = BODIES[pattern][0]
    walks = max(1, accesses * width // size)
    with guests.hart(loop(pattern), "jit", cache, data=2 * size) as hart:
        hart.memory.write(guests.DATA, (guests.DATA).to_bytes(8, "little"))  # a chain of one link, for `chase`
        registers = {"x11": guests.DATA + size, "x12": guests.DATA + size, "x13": guests.DATA, "x6": guests.DATA}
        for _ in range(2):  # the second time everything is compiled
            guests.call(hart, x14=1, **registers)
        seconds = guests.median(lambda: guests.call(hart, x14=walks, **registers), 3)
    return seconds / (walks * size // width) * 1e9


class InCode:
    """What needs compiled code gets a folder with the interpreter; loops are compiled when they are measured."""

    def setup_cache(self) -> str:
        cache = os.path.abspath("compiled")
        guests.run_vmjit(guests.HELLO, cache=cache)
        return cache


class Accesses(InCode):
    """Nanoseconds per element of a loop in compiled code, unrolled eight times, over a buffer again and again."""

    params = ([pattern for pattern in BODIES if pattern != "chase"], list(BUFFERS))
    param_names = ("pattern", "buffer")
    unit = "ns per element"
    version = "1"

    def track_access(self, cache: str, pattern: str, buffer: str) -> float:
        return measure(pattern, BUFFERS[buffer], ACCESSES, cache)


class Latency(InCode):
    """Nanoseconds from one load to the next that needs its value as the address, always at the same place."""

    unit = "ns per load"
    version = "1"

    def track_chase(self, cache: str) -> float:
        return measure("chase", BUFFERS["32 kB"], ACCESSES, cache)


class Stream(InCode):
    """Nanoseconds per kB that the stream kernel loads or stores: a whole run, its first steps in the interpreter."""

    unit = "ns per kB"
    version = "1"

    def track_stream(self, cache: str) -> float:
        return stream(STREAM_ROUNDS, cache)


def stream(rounds: int, cache: str) -> float:
    """Nanoseconds per 1000 bytes."""
    with guests.machine(guests.KERNELS["stream"], rounds, "auto", cache) as machine:
        machine.run()
        return machine.seconds / (rounds * STREAM_BYTES) * 1e12


class Python:
    """What system calls do with guest memory, in Python: a hundred calls of each, on a space of 200 mappings."""

    params = ([100],)
    param_names = ("calls",)
    version = "1"

    def setup(self, calls: int) -> None:
        from vmjit.memory.address_space import READ, WRITE, AddressSpace

        self.read_write = READ | WRITE
        self.space = AddressSpace()
        for number in range(MAPPINGS):  # with gaps, so that none are merged
            self.space.map(guests.DATA + 2 * number * PAGE, PAGE, READ | WRITE)
        self.free = guests.DATA + 2 * MAPPINGS * PAGE
        self.space.map(self.free, LARGE, READ | WRITE)
        self.large = self.free
        self.free += LARGE + PAGE

    def teardown(self, calls: int) -> None:
        self.space.close()

    def time_map_and_unmap(self, calls: int) -> None:
        for _ in range(calls):
            self.space.map(self.free, PAGE, self.read_write)
            self.space.unmap(self.free, PAGE)

    def time_find_free(self, calls: int) -> None:
        for _ in range(calls):
            self.space.find_free(PAGE)

    def time_read_8_bytes(self, calls: int) -> None:
        for _ in range(calls):
            self.space.read(guests.DATA, 8)

    def time_write_8_bytes(self, calls: int) -> None:
        for _ in range(calls):
            self.space.write(guests.DATA, b"12345678")

    def time_read_64_kB(self, calls: int) -> None:
        for _ in range(calls):
            self.space.read(self.large, LARGE)

    def time_view(self, calls: int) -> None:
        for _ in range(calls):
            self.space.view(self.large, LARGE // 8, "<u8")
