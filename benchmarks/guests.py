"""What the benchmarks run: kernels shipped as static ELF files, generated code, and harts to run either on.

Kernels and seeds are never changed, only added, or results of different commits could not be compared.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmjit.debug import Settings
    from vmjit.engine.hart import Hart
    from vmjit.machine import Machine
    from vmjit.memory.address_space import AddressSpace
    from vmjit.memory.bus import Bus

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benchmarks" / "kernels"
HELLO = ROOT / "examples" / "guests" / "hello"
PROGRAMS = ROOT / "benchmarks" / "programs" / "elf"  # what only asv measures, no kernels to compare
ALLOCATE, PARALLEL = PROGRAMS / "allocate", PROGRAMS / "parallel"


@dataclass(frozen=True)
class Kernel:
    """A program of kernels/, whose work is proportional to its argument.

    group     a key of comparison.GROUPS
    rounds    take 1.5 to 2 s as native code on a 2.45 GHz x86-64 processor
    warm      guest instructions after which all its code is compiled; of those in SAMPLE
    function  where it spends its time, `start` when everything was inlined there; of those in SAMPLE
    """

    name: str
    group: str
    rounds: int
    warm: int = 20_000_000
    function: str = "start"

    @property
    def elf(self) -> Path:
        return SOURCES / "elf" / self.name

    @property
    def source(self) -> Path:
        return SOURCES / f"{self.name}.c"

    @property
    def about(self) -> str:
        """What the comment that opens the source says, but for how a test runs it."""
        lines = takewhile(lambda line: line.startswith("// "), self.source.read_text().splitlines())
        return " ".join(line[3:] for line in lines if not line.startswith("// args:"))


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("md5", "integer", 14000, function="block"),
        Kernel("sha256", "integer", 9000),
        Kernel("chacha20", "integer", 6500),
        Kernel("xxhash", "integer", 9500),
        Kernel("rabin", "integer", 6500),
        Kernel("lz", "integer", 8000),
        Kernel("sieve", "loops", 250, warm=120_000_000),  # two rounds
        Kernel("xorshift", "loops", 1000),
        Kernel("crc32", "loops", 3200),
        Kernel("automaton", "loops", 4000),
        Kernel("fib", "calls", 8000, function="fib"),
        Kernel("ackermann", "calls", 5000),
        Kernel("quicksort", "calls", 3000),
        Kernel("trees", "calls", 7000),
        Kernel("switched", "interpreters", 1400),
        Kernel("threaded", "interpreters", 1400),
        Kernel("json", "interpreters", 30000),
        Kernel("nbody", "floats", 30000),
        Kernel("matmul", "floats", 3000),
        Kernel("matmulf", "floats", 4500),
        Kernel("mandelbrot", "floats", 3300),
        Kernel("fft", "floats", 10000),
        Kernel("spectral", "floats", 20000),
        Kernel("stream", "memory", 1200, warm=60_000_000),  # a round and what comes before
        Kernel("hash", "memory", 2500),
        Kernel("strings", "memory", 12000),
        Kernel("write1", "system", 1500),
        Kernel("syscalls", "system", 1500),
    )
}
# What asv measures in all tiers, as it always did. The others are for peers.py and the tests.
SAMPLE = {name: KERNELS[name] for name in ("sieve", "xorshift", "fib", "md5", "nbody", "stream")}

# Generated code.

CODE = 0x10000  # where it lies
DATA = 0x1000000  # where a0 points to
PAGE = 4096
# Of a hart behind a page table, addresses that are both virtual and physical.
TABLES = 0x100000
DEVICES = 0x10000000  # two pages for them
LOW_RAM = DEVICES
PAGED = 0x40000000  # data, at the start of a page of 1 GiB
PTE_POINTER, PTE_LEAF = 0x1, 0xCF  # V; V, R, W, X, A and D
SEED = 20240501
_SCRATCH = ("t0", "t1", "t2", "a2", "a3", "a4", "a5", "s2", "s3", "s4")
_TEMPLATES = (  # about as often as in the kernels; a0 is the address of data
    *("add {d}, {a}, {b}", "sub {d}, {a}, {b}", "xor {d}, {a}, {b}", "and {d}, {a}, {b}", "addw {d}, {a}, {b}"),
    *("addi {d}, {a}, {i}", "addi {d}, {a}, {i}", "slli {d}, {a}, 0x3", "srliw {d}, {a}, 0x7", "andi {d}, {a}, {i}"),
    *("ld {d}, {o}(a0)", "ld {d}, {o}(a0)", "lw {d}, {o}(a0)", "lbu {d}, {o}(a0)"),
    *("sd {a}, {o}(a0)", "sw {a}, {o}(a0)"),
    *("mul {d}, {a}, {b}", "sltu {d}, {a}, {b}"),
)
_COMPRESSED = ("c.add {d}, {a}", "c.mv {d}, {a}", "c.addi {d}, 5", "c.li {d}, 3", "c.slli {d}, 0x3", "c.addiw {d}, -1")
_DOUBLES = ("fadd.d ft0, ft1, ft2", "fmul.d ft3, ft4, ft5", "fld ft1, {o}(a0)", "fsd ft2, {o}(a0)")
BLOCK = 8  # instructions of a basic block of `loopy` code, its branch included


def _ordinary(generator: random.Random, templates: Sequence[str] = _TEMPLATES) -> bytes:
    """An instruction that computes or accesses memory; the same generator gives the same."""
    from vmjit.guest.riscv.instructions import rv64

    template = generator.choice(templates)
    d, a, b = generator.choices(_SCRATCH, k=3)
    return rv64.assemble(
        template.format(d=d, a=a, b=b, i=generator.randrange(-512, 512), o=8 * generator.randrange(64))
    )


def straight(count: int) -> bytes:
    """`count` instructions without a branch, then an `ecall`."""
    from vmjit.guest.riscv.instructions import rv64

    generator = random.Random(SEED)
    known = [_ordinary(generator) for _ in range(min(count, 1000))]  # assembling is slow, and 1000 are enough of a mix
    return b"".join(known + generator.choices(known, k=count - len(known))) + rv64.assemble("ecall")


def mixed(count: int) -> bytes:
    """`count` instructions without a branch, of two and of four bytes, some on doubles, then an `ecall`."""
    from vmjit.guest.riscv.instructions import rv64

    generator = random.Random(SEED)
    kinds = ((_TEMPLATES, 560), (_COMPRESSED, 340), (_DOUBLES, 100))
    known = [_ordinary(generator, templates) for templates, number in kinds for _ in range(number)]
    return b"".join(generator.choices(known, k=count)) + rv64.assemble("ecall")


def loopy(count: int) -> bytes:
    """`count` instructions in blocks that end with a branch, by turns back to the start or over the next block."""
    from vmjit.guest.riscv.instructions import rv64

    generator = random.Random(SEED)
    code = b""
    for number in range(count):
        pc = CODE + 4 * number
        if number % BLOCK != BLOCK - 1:
            code += _ordinary(generator)
            continue
        target = pc - 4 * (BLOCK - 1) if number // BLOCK % 2 else min(pc + 4 * (BLOCK + 1), CODE + 4 * count)
        code += rv64.assemble(f"bne {generator.choice(_SCRATCH)}, a1, {target:#x}", pc)
    return code + rv64.assemble("ecall")


def program(text: str) -> bytes:
    """The bytes of lines of assembly; a line `name:` is a label, `{name}` the address of one."""
    from vmjit.guest.riscv.instructions import rv64

    lines = [line.strip() for line in text.strip().splitlines()]
    labels, pc = {}, CODE
    for line in lines:
        if line.endswith(":"):
            labels[line[:-1]] = hex(pc)
        else:
            pc += 4  # only instructions of four bytes are written here
    code = b""
    for line in lines:
        if not line.endswith(":"):
            code += rv64.assemble(line.format(**labels), CODE + len(code))
    return code


def executable(code: bytes) -> bytes:
    """A static ELF file with `code` at CODE, where it begins; its data can be on the stack."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 243, 1, CODE, 64, 0, 4, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, PAGE, CODE, CODE, len(code), len(code), PAGE)  # read and execute
    return (header + segment).ljust(PAGE, b"\0") + code


# Running.


@contextmanager
def silenced() -> Iterator[None]:
    """What a guest prints in here goes nowhere: its descriptors are those of this process."""
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def machine(kernel: Kernel, rounds: int, tier: str, cache: str, **settings: Any) -> AbstractContextManager[Machine]:
    """A kernel about to run."""
    return program_machine(kernel.elf, [str(rounds)], tier, cache, **settings)


@contextmanager
def program_machine(
    program: Path, arguments: Sequence[str], tier: str, cache: str, **settings: Any
) -> Iterator[Machine]:
    """A program about to run; compilation is waited for, so that the same code is compiled each time."""
    from vmjit.debug import Settings
    from vmjit.engine.hart import Tier
    from vmjit.machine import Machine

    chosen = Settings(cache_dir=cache, **settings)
    made = Machine(str(program), arguments, tier=Tier(tier), sync=True, settings=chosen)
    try:
        with silenced():
            yield made
    finally:
        made.close()


@contextmanager
def hart(
    code: bytes, tier: str, cache: str, data: int = 4096, memory: str = "flat", tlb: tuple[str, ...] = ()
) -> Iterator[Hart]:
    """A hart with `code` at CODE and `data` bytes at DATA, without a process around it."""
    with harts(1, code, tier, cache, data, memory, tlb) as (made,):
        yield made


@contextmanager
def harts(
    count: int, code: bytes, tier: str, cache: str, data: int = 4096, memory: str = "flat", tlb: tuple[str, ...] = ()
) -> Iterator[list[Hart]]:
    """Harts that share all memory: `code` at CODE and `data` bytes at DATA."""
    from vmjit.memory.address_space import AddressSpace

    with AddressSpace() as space, _harts([space] * count, tier, cache, _settings(cache, memory, tlb)) as made:
        _load(space, code, data)
        yield made


@contextmanager
def paged_hart(
    code: bytes, tier: str, cache: str, mode: str, data: int, level: int = 0, tlb: tuple[str, ...] = (), frames: int = 0
) -> Iterator[Hart]:
    """A hart of a machine that translates by `mode`: `code` at CODE, `data` bytes at PAGED, by pages of some level.

    All lie where their virtual addresses say, but for data by pages of 4 KiB that are in so many frames by turns. At
    DEVICES there is nothing yet.
    """
    from vmjit.memory.address_space import AddressSpace
    from vmjit.memory.bus import Bus
    from vmjit.memory.mmu import Translation

    with AddressSpace() as space:
        bus = Bus(space)
        bus.add_ram(0, LOW_RAM)
        size = PAGE << 9 * level
        bus.add_ram(PAGED, frames * PAGE or data + -data % size)
        with _harts([bus], tier, cache, _settings(cache, "tlb", tlb)) as (made,):
            space.write(CODE, code)
            table = PageTable(space, Translation(mode, TABLES).levels)
            if table.levels:
                for start in range(CODE, CODE + len(code), PAGE):
                    table.map(start, start)
                table.map(DEVICES, DEVICES)
                table.map(DEVICES + PAGE, DEVICES + PAGE)
                for start in range(0, data, size):
                    table.map(PAGED + start, PAGED + (start % (frames * PAGE) if frames else start), level)
            made.set_translation(Translation(mode, TABLES))
            yield made
        bus.frames.close()


@dataclass
class PageTable:
    """Page tables in memory from TABLES on; pages have all rights of the supervisor, and were accessed and written."""

    space: AddressSpace
    levels: int
    count: int = 1  # tables that there are

    def map(self, vaddr: int, paddr: int, level: int = 0) -> None:
        """Let a page of 4 KiB, of 2 MiB (level 1) or of 1 GiB (level 2) lie at a physical address."""
        table = TABLES
        for above in range(self.levels - 1, level, -1):
            at = table + (vaddr >> 12 + 9 * above) % 512 * 8
            word = int.from_bytes(self.space.read(at, 8), "little")
            if not word:
                word = TABLES + self.count * PAGE >> 2 | PTE_POINTER
                self.space.write(at, word.to_bytes(8, "little"))
                self.count += 1
            table = word >> 10 << 12
        entry = table + (vaddr >> 12 + 9 * level) % 512 * 8
        self.space.write(entry, (paddr >> 2 | PTE_LEAF).to_bytes(8, "little"))


def has_tlb() -> bool:
    """Whether this vmjit reaches memory through a TLB if it is told to."""
    from vmjit.debug import Settings

    return hasattr(Settings, "memory")


def _settings(cache: str, memory: str, tlb: tuple[str, ...]) -> Settings:
    """NotImplementedError, which asv takes for a figure that there is not, where vmjit has no TLB yet."""
    from vmjit.debug import Settings

    if memory == "flat":
        return Settings(cache_dir=cache)
    if not has_tlb():
        raise NotImplementedError
    return Settings(cache_dir=cache, memory=memory, tlb=tlb)


@contextmanager
def _harts(memories: Sequence[AddressSpace | Bus], tier: str, cache: str, settings: Settings) -> Iterator[list[Hart]]:
    """Harts that wait for what is compiled, and share a worker."""
    from vmjit.engine.cache import Cache
    from vmjit.engine.hart import Hart, Tier
    from vmjit.engine.service import Service
    from vmjit.guest import get

    guest = get("riscv64")
    service = Service(guest.name, cache, settings.for_child(), set(), set())
    kept = Cache(cache, guest.name)
    made = [Hart(guest, memory, service, kept, settings, tier=Tier(tier), sync=True) for memory in memories]
    try:
        yield made
    finally:
        service.close()
        for one in reversed(made):  # each puts back the handlers of signals that it found
            if getattr(one, "tlb", None) is not None:
                one.tlb.close()
            one.close()


def _load(memory: AddressSpace, code: bytes, data: int) -> None:
    from vmjit.memory.address_space import EXECUTE, READ, WRITE

    memory.map(CODE, len(code), READ | WRITE)
    memory.write(CODE, code)
    memory.protect(CODE, len(code), READ | EXECUTE)
    memory.map(DATA, data, READ | WRITE)


def call(hart: Hart, **registers: int) -> float:
    """Run a hart's code from its start to the `ecall` at its end; the seconds it took."""
    from vmjit.ir.exits import ExitReason

    layout = hart.guest.layout
    for name, value in {"x10": DATA, **registers}.items():
        hart.words[layout.word(name)] = value
    hart.words[layout.word("pc")] = CODE
    began = perf_counter()
    stop = hart.run()
    seconds = perf_counter() - began
    assert stop.reason is ExitReason.SYSCALL, stop
    return seconds


def run_vmjit(program: Path, *arguments: str, tier: str = "auto", cache: str, stats: bool = False) -> tuple[float, str]:
    """`python -m vmjit run` as a child process: seconds of the whole process, and what it printed on stderr."""
    command = run_command(program, *arguments, tier=tier, cache=cache, stats=stats)
    began = perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return perf_counter() - began, done.stderr


def run_command(program: Path, *arguments: str, tier: str = "auto", cache: str, stats: bool = False) -> list[str]:
    """How to run a program."""
    options = ["--tier", tier, "--cache-dir", cache, *(["--stats"] if stats else [])]
    return [sys.executable, "-m", "vmjit", "run", *options, str(program), *arguments]


def timed(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def best(measure: Callable[[], float], times: int = 5) -> float:
    """The least of some measurements: for loops so short that whatever else the machine does only adds to it."""
    return min(measure() for _ in range(times))


def median(measure: Callable[[], float], times: int = 5) -> float:
    """The median of some measurements."""
    return statistics.median(measure() for _ in range(times))
