"""Guest memory: loads and stores in compiled code, and what the address space costs in Python."""

import os
from collections.abc import Callable
from itertools import product
from time import perf_counter

from benchmarks import guests

PAGE = guests.PAGE
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

# Accesses by width: mnemonics, and where they lie; all within the first-level cache, which is not what is measured.
LOADS, STORES = {1: "lbu", 2: "lhu", 4: "lwu", 8: "ld"}, {1: "sb", 2: "sh", 4: "sw", 8: "sd"}
STRIDE = 72  # bytes: another cache line each time, and eight fit into the offset of an instruction
OFFSETS = 1024  # of random accesses: a table of 4 kB in front of the 16 kB that they go to
BUFFER = 16 << 10
WIDTH_ACCESSES, WIDTH_TIMES = 1_000_000, 40  # a few ms, often enough for some with nothing else going on

BULK_SIZES = {"256 B": 256, "1 KiB": 1 << 10, "4 KiB": 4 << 10, "64 KiB": 64 << 10, "16 MiB": 16 << 20}
BULK_BYTES = 64 << 20  # that a measurement moves, or BULK_CALLS if these are more
BULK_CALLS = 200
BULK_ROUNDS = 7
MAPPING_TIMES = 100
ALLOCATIONS = 10_000  # rounds of programs/allocate.c


def loop(pattern: str) -> bytes:
    """Walks the buffer from a3 to a1 as often as a4 says; a2 - a0 is constant."""
    width, body = BODIES[pattern]
    return walks([line.format(o=width * i) for i in range(UNROLLED) for line in body], width * UNROLLED)


def walks(lines: list[str], step: int) -> bytes:
    """Some lines for each `step` bytes of the buffer from a3 to a1, and that as often as a4 says."""
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


class Widths(InCode):
    """Nanoseconds for a read or a write of so many bytes in compiled code, unrolled eight times, within 20 kB.

    `sequential` goes on by the width, `strided` by 72 bytes; `random` takes the offset from a table, which costs a load
    and an addition of its own. What is `unaligned` lies one byte behind an address that is a multiple of the width; one
    byte is never unaligned. Programs run in `flat` memory unless told otherwise; behind the `tlb` each access looks up
    its page.
    """

    params = (
        ["read", "write"],
        [1, 2, 4, 8],
        ["sequential", "strided", "random"],
        ["aligned", "unaligned"],
        ["flat", "tlb"],
    )
    param_names = ("access", "bytes", "order", "alignment", "memory")
    unit = "ns per access"
    version = "1"

    def setup(self, cache: str, access: str, width: int, order: str, alignment: str, memory: str) -> None:
        if width == 1 and alignment == "unaligned":
            raise NotImplementedError

    def track_access(self, cache: str, access: str, width: int, order: str, alignment: str, memory: str) -> float:
        return measure_width(access, width, order, alignment == "unaligned", memory, WIDTH_ACCESSES, cache)


def width_loop(access: str, width: int, order: str) -> tuple[bytes, int]:
    """A loop of UNROLLED accesses below a0, and the bytes that it walks over for one; a2 is the start of the data."""
    if order == "random":
        what = f"{LOADS[width]} t0, 0(t2)", f"{STORES[width]} t1, 0(t2)"
        use = ("add t1, t1, t0",) if access == "read" else ()
        one = ("lw t2, {o}(a0)", "add t2, t2, a5", what[access == "write"], *use)
        return walks([line.format(o=4 * i) for i in range(UNROLLED) for line in one], 4 * UNROLLED), 4
    step = width if order == "sequential" else STRIDE
    reads, writes = (f"{LOADS[width]} t0, {{o}}(a0)", "add t1, t1, t0"), (f"{STORES[width]} t1, {{o}}(a0)",)
    body = reads if access == "read" else writes
    return walks([line.format(o=step * i) for i in range(UNROLLED) for line in body], step * UNROLLED), step


def measure_width(
    access: str, width: int, order: str, unaligned: bool, memory: str, accesses: int, cache: str
) -> float:
    """Nanoseconds for each access."""
    code, step = width_loop(access, width, order)
    # Random accesses walk over the table in front of the data, the others over the data.
    start, size = (guests.DATA, 4 * OFFSETS) if order == "random" else (guests.DATA + 4 * OFFSETS, BUFFER)
    size -= size % (step * UNROLLED)
    rounds = max(1, accesses * step // size)
    shift = int(unaligned)
    with guests.hart(code, "jit", cache, 4 * OFFSETS + BUFFER + PAGE, memory) as hart:
        hart.memory.write(guests.DATA, offsets(width))
        if order != "random":
            start += shift
        data = guests.DATA + 4 * OFFSETS + shift
        registers = {"x10": start, "x11": start + size, "x13": start, "x12": start, "x15": data, "x6": 0}
        for _ in range(2):  # the second time everything is compiled
            guests.call(hart, x14=1, **registers)
        seconds = guests.best(lambda: guests.call(hart, x14=rounds, **registers), WIDTH_TIMES)
    return seconds / (rounds * size // step) * 1e9


def offsets(width: int) -> bytes:
    """OFFSETS random multiples of the width, as 32-bit numbers."""
    generator = guests.random.Random(guests.SEED)
    return b"".join((width * generator.randrange(BUFFER // width)).to_bytes(4, "little") for _ in range(OFFSETS))


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


class Bulk:
    """Microseconds for a call of AddressSpace with so many bytes, called from Python in a loop.

    `read` makes bytes of guest memory, `write` stores bytes, `copy` goes from guest memory to guest memory, and `view`
    is what a program with numpy does instead: an array over guest memory, filled from another. `numpy` is the measure
    for all: an array filled from another, without a guest. The best of seven rounds, in which all go by turns.
    """

    params = (["read", "write", "copy", "view", "numpy"], list(BULK_SIZES))
    param_names = ("operation", "size")
    unit = "us per call"
    version = "1"

    def track_call(self, operation: str, size: str) -> float:
        return bulk(BULK_SIZES[size])[operation]


def bulk(size: int) -> dict[str, float]:
    """Microseconds of each operation; they go by turns, so that what else the machine does concerns all of them."""
    import numpy

    from vmjit.memory.address_space import READ, WRITE, AddressSpace

    calls = min(BULK_CALLS, max(1, BULK_BYTES // size))
    source, target = numpy.ones(size, "u1"), numpy.zeros(size, "u1")
    with AddressSpace() as space:
        there = guests.DATA + 2 * size + -2 * size % PAGE
        for place in (guests.DATA, there):
            space.map(place, size + -size % PAGE, READ | WRITE)
            space.fill(place, size, 1)
        data = source.tobytes()
        copy = getattr(space, "copy", None) or (
            lambda to, start, size: space.write(to, space.buffer(start, size, READ))
        )
        operations = {
            "read": lambda: space.read(guests.DATA, size),
            "write": lambda: space.write(guests.DATA, data),
            "copy": lambda: copy(there, guests.DATA, size),
            "view": lambda: numpy.copyto(space.view(there, size, "u1"), space.view(guests.DATA, size, "u1")),
            "numpy": lambda: numpy.copyto(target, source),
        }
        best = dict.fromkeys(operations, float("inf"))
        for _, (name, operation) in product(range(BULK_ROUNDS), operations.items()):
            best[name] = min(best[name], repeated(operation, calls) / calls * 1e6)
    return best


def repeated(operation: Callable[[], object], times: int) -> float:
    """Seconds; what is made is given back at once, or each would need memory that was never touched."""
    began = perf_counter()
    for _ in range(times):
        operation()
    return perf_counter() - began


class Mapping:
    """Microseconds, medians of a hundred, of calls from Python, on a space of 200 mappings.

    `map` and `unmap` are so many calls, each for one page; `cycle` is the map, a write to each page and the unmap.
    """

    params = (["map", "unmap", "cycle"], [1, 100])
    param_names = ("operation", "pages")
    unit = "us"
    version = "1"

    def track_pages(self, operation: str, pages: int) -> float:
        return mapping(pages, MAPPING_TIMES)[operation]


def mapping(pages: int, times: int) -> dict[str, float]:
    """Medians of the microseconds for so many pages at different places."""
    from vmjit.memory.address_space import READ, WRITE, AddressSpace

    with AddressSpace() as space:
        for number in range(MAPPINGS):  # with gaps, so that none are merged
            space.map(guests.DATA + 2 * number * PAGE, PAGE, READ | WRITE)
        first = guests.DATA + 2 * MAPPINGS * PAGE
        places = [first + 2 * number * PAGE for number in range(pages)]

        def cycle() -> tuple[float, float, float]:
            mapped = guests.timed(lambda: [space.map(place, PAGE, READ | WRITE) for place in places])
            written = guests.timed(lambda: [space.write(place, b"1") for place in places])
            unmapped = guests.timed(lambda: [space.unmap(place, PAGE) for place in places])
            return mapped, unmapped, mapped + written + unmapped

        runs = [cycle() for _ in range(times)]
    names = ("map", "unmap", "cycle")
    return {name: guests.statistics.median(run[i] for run in runs) * 1e6 for i, name in enumerate(names)}


class Allocation:
    """Nanoseconds to release a block and to allocate another, of 8 to 263 bytes, in compiled code of the guest.

    programs/allocate.c has an allocator of its own, with a list for each size; numbers for what comes next included.
    """

    unit = "ns per pair"
    version = "1"

    def track_pair(self) -> float:
        return allocation(ALLOCATIONS, os.path.abspath("compiled"))


def allocation(rounds: int, cache: str) -> float:
    """Nanoseconds of a run of thousand pairs a round; the first run fills the cache."""

    def seconds() -> float:
        with guests.program_machine(guests.ALLOCATE, [str(rounds)], "auto", cache) as machine:
            assert machine.run().status == 0
            return machine.seconds

    seconds()
    return guests.median(seconds, 3) / (rounds * 1000) * 1e9


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
