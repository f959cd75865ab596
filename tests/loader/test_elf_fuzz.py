"""Hostile ELF files: each is refused in one line, or runs until the guest ends, faults or is stopped; nothing else.

The files are damaged copies of the programs in this repository: flipped bits, cut ends, headers, sections and symbols
with numbers chosen to overflow. They are loaded and run in forked children, whose time and memory are limited, and with
system calls that do nothing. VMJIT_FUZZ_FILES=100000 tries so many instead of a few hundred.
"""

import os
import random
import resource
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vmjit.debug import Settings
from vmjit.engine.hart import Tier
from vmjit.errors import GuestError, VmjitError
from vmjit.linux import Exited
from vmjit.loader import elf
from vmjit.machine import Machine
from vmjit.memory.address_space import AddressSpace

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("tests/programs/elf", "examples/guests", "benchmarks/kernels/elf")
PROGRAMS = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).iterdir())
    if path.is_file() and path.read_bytes().startswith(b"\x7fELF")
]
FILES = int(os.environ.get("VMJIT_FUZZ_FILES", "600"))
BATCH = 100  # files of one child
COMMANDS = int(os.environ.get("VMJIT_FUZZ_COMMANDS", "24"))
INSTRUCTIONS = {Tier.INTERPRETER: 20_000, Tier.REFERENCE: 300}

SECONDS = 120  # of CPU time for a batch, which takes less than one
MEGABYTES = 400  # resident, most of it the test's own modules
ENOSYS, EXIT, EXIT_GROUP = 38, 93, 94

PAGE, LIMIT, TOP = 4096, 1 << 38, 1 << 64
HEADER, PROGRAM_HEADER, SECTION_HEADER, SYMBOL = 64, 56, 64, 24
WORDS = (0, 1, 2, 7, 8, 0x10000, PAGE - 1, PAGE, PAGE + 1, LIMIT - PAGE, LIMIT - 1, LIMIT, LIMIT + PAGE)
WORDS += (
    LIMIT - 0x10000,
    LIMIT - 0x100000,
    LIMIT - 0x800000,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    1 << 47,
    1 << 62,
    1 << 63,
    (1 << 63) - 1,
    TOP - PAGE,
    TOP - 8,
    TOP - 1,
)
HALVES = (0, 1, 2, 3, 55, 56, 57, 63, 64, 65, 243, 0x7FFF, 0x8000, 0xFF00, 0xFFFF)

Damage = Callable[[random.Random, bytearray], None]


# Ways to damage a file.


def flip_bits(choose: random.Random, data: bytearray) -> None:
    for _ in range(choose.choice((1, 1, 2, 8))):
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)


def flip_bits_of_headers(choose: random.Random, data: bytearray) -> None:
    for _ in range(choose.choice((1, 2, 3))):
        data[choose.randrange(min(len(data), HEADER + 4 * PROGRAM_HEADER))] ^= 1 << choose.randrange(8)


def cut(choose: random.Random, data: bytearray) -> None:
    del data[choose.randrange(len(data)) :]


def overwrite(choose: random.Random, data: bytearray) -> None:
    """A run of bytes becomes random, or a copy of another."""
    at, size = choose.randrange(len(data)), choose.randrange(1, 64)
    source = choose.randrange(len(data))
    data[at : at + size] = choose.choice((choose.randbytes(size), data[source : source + size]))


def number(choose: random.Random, data: bytearray, at: int, size: int) -> None:
    """A field gets an interesting value, or one a little off."""
    old = int.from_bytes(data[at : at + size], "little")
    value = choose.choice((choose.choice(WORDS), choose.choice(WORDS), old + choose.choice((-PAGE, -1, 1, PAGE)), -old))
    value = choose.choice(HALVES) if size == 2 else value
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def header(choose: random.Random, data: bytearray) -> None:
    at, size = choose.choice(((24, 8), (32, 8), (40, 8), (48, 4), (52, 2), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2)))
    number(choose, data, at, size)


def program_header(choose: random.Random, data: bytearray) -> None:
    """One to three fields of one entry: overlapping, huge and wrapped segments come of it."""
    base = HEADER + PROGRAM_HEADER * choose.randrange(max(1, data[56]))
    for _ in range(choose.choice((1, 1, 2, 3))):
        at, size = choose.choice(((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8)))
        if base + at + size <= len(data):
            number(choose, data, base + at, size)


def all_program_headers(choose: random.Random, data: bytearray) -> None:
    """Everything is a segment to load, of some permissions, anywhere."""
    for index in range(data[56]):
        base = HEADER + PROGRAM_HEADER * index
        address = choose.choice((0x10000, 0x11000, 0x10000 + PAGE * choose.randrange(8), *WORDS)) % TOP
        offset = choose.choice((0, 0, PAGE, address % PAGE, *WORDS)) % TOP
        sizes = choose.choice(((0, PAGE), (len(data), len(data)), (1, LIMIT), (choose.choice(WORDS),) * 2))
        data[base : base + PROGRAM_HEADER] = struct.pack(
            "<IIQQQQQQ", 1, choose.randrange(8), offset, address, address, *sizes, choose.choice(WORDS)
        )


def section_header(choose: random.Random, data: bytearray) -> None:
    (start,) = struct.unpack_from("<Q", data, 40)
    base = start + SECTION_HEADER * choose.randrange(max(1, data[60]))
    for _ in range(choose.choice((1, 2, 3))):
        at, size = choose.choice(((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (56, 8)))
        if base + at + size <= len(data):
            number(choose, data, base + at, size)


def symbol(choose: random.Random, data: bytearray) -> None:
    """Some entries of what may be a symbol table."""
    tables = [(offset, size) for kind, offset, size in sections(data) if kind in (2, 11)]
    for offset, size in tables:
        for _ in range(8):
            base = offset + SYMBOL * choose.randrange(max(1, size // SYMBOL))
            at, width = choose.choice(((0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)))
            if base + at + width <= len(data):
                number(choose, data, base + at, width)


def sections(data: bytearray) -> Iterator[tuple[int, int, int]]:
    """Type, offset and size of each, as far as the file has them."""
    (start,) = struct.unpack_from("<Q", data, 40)
    for base in range(start, start + SECTION_HEADER * data[60], SECTION_HEADER):
        if base + SECTION_HEADER <= len(data):
            yield struct.unpack_from("<I", data, base + 4)[0], *struct.unpack_from("<QQ", data, base + 24)


STRUCTURAL: tuple[Damage, ...] = (
    flip_bits_of_headers,
    header,
    program_header,
    all_program_headers,
    section_header,
    symbol,
    cut,
)
DAMAGES: tuple[Damage, ...] = (*STRUCTURAL, program_header, flip_bits, overwrite)


def damaged(choose: random.Random, damages: tuple[Damage, ...]) -> bytes:
    """A program of this repository, damaged in one way or in a few."""
    data = bytearray(choose.choice(PROGRAMS).read_bytes())
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        if len(data) >= HEADER:
            choose.choice(damages)(choose, data)
    return bytes(data)


# What becomes of it.


def use_symbols(path: str) -> None:
    table = elf.symbols(path, bias=0x1000)
    for address in (0, 0x10000, 0x10100, LIMIT, TOP - 1, -1):
        table.lookup(address)
    for name in ("main", "_start", "", "\udcff", "x" * 5000):
        table.address(name)
        table.range(name)
    for function in table.functions():
        assert function.name.isprintable() and len(function.name) < 8000


def do_nothing(syscall: int, arguments: list[int]) -> int:
    """A system call that can do no harm."""
    if syscall in (EXIT, EXIT_GROUP):
        raise Exited(arguments[0] & 0xFF)
    return -ENOSYS


def run(path: str, settings: Settings, tier: Tier) -> str:
    """How it ends."""
    try:
        machine = Machine(path, ["argument"], env={"A": "b"}, settings=settings, tier=tier)
    except GuestError as error:
        assert "\n" not in str(error), str(error)
        return "refused"
    try:
        machine.process.syscall = do_nothing  # type: ignore[method-assign,assignment]
        machine.hart.set_limit(INSTRUCTIONS[tier])
        result = machine.run()
        assert result.message is None or "\n" not in result.message, result.message
        return "stopped" if result.code is None else "exit" if result.signal is None else f"signal {result.signal}"
    finally:
        machine.close()


def use_everything(path: str, settings: Settings, tier: Tier) -> str:
    with suppress(VmjitError):
        use_symbols(path)
    with suppress(VmjitError), AddressSpace() as memory:
        image = elf.load(elf.read_executable(path, machine=elf.EM_RISCV), memory, bias=0)
        assert memory.accessible(image.entry, 1, 4)
    return run(path, settings, tier)


def batch(seed: int, folder: Path, cache: str) -> dict[str, int]:
    """Many files; how they ended, and how often."""
    choose = random.Random(seed)
    path, settings = folder / "program", Settings(cache_dir=cache)
    ends: dict[str, int] = {}
    for index in range(BATCH):
        contents = damaged(choose, DAMAGES)
        path.write_bytes(contents)
        try:
            end = use_everything(str(path), settings, Tier.REFERENCE if index % 16 == 0 else Tier.INTERPRETER)
        except BaseException:
            kept = Path(os.environ.get("VMJIT_FUZZ_KEEP", str(folder))) / f"elf-{seed}-{index}"
            kept.write_bytes(contents)
            print(f"{kept}:", file=sys.stderr)
            raise
        ends[end] = ends.get(end, 0) + 1
    return ends


def in_a_child(body: Callable[[], dict[str, int]]) -> tuple[int, str]:
    """Run this with limits; its wait status, and what it returned or raised as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        message = ""
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            message = repr(body())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            assert peak < MEGABYTES, f"{peak} MB"
        except BaseException:
            message = traceback.format_exc()
        finally:
            os.write(writer, message.encode(errors="replace"))
            os._exit(message.startswith("Traceback"))
    os.close(writer)
    with open(reader) as output:
        text = output.read()
    return os.waitpid(pid, 0)[1], text


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache folder that has the interpreter, so that no machine starts a worker."""
    folder = str(tmp_path_factory.mktemp("cache"))
    Machine(str(PROGRAMS[0]), settings=Settings(cache_dir=folder), tier=Tier.INTERPRETER).close()
    return folder


def test_damaged_files_are_refused_or_run(tmp_path: Path, cache: str) -> None:
    ends: dict[str, int] = {}
    first = int(os.environ.get("VMJIT_FUZZ_SEED", "1"))
    for seed in range(first, first + -(-FILES // BATCH)):
        status, text = in_a_child(lambda seed=seed: batch(seed, tmp_path, cache))  # type: ignore[misc]
        assert status == 0, f"seed {seed}, status {status}: {text}"
        for part in text.strip("{}").split(", "):
            end, _, count = part.rpartition(": ")
            ends[end] = ends.get(end, 0) + int(count)
    assert len(ends) >= 4 and all(count > 0 for count in ends.values())
    print(ends)


def test_names_that_are_parts_of_one_long_name(tmp_path: Path) -> None:
    """Each of the symbols names another tail of the same megabyte: all names together would take 8 GB."""
    data = bytearray(PROGRAMS[0].read_bytes())
    names, count = b"\n" * (1 << 20) + b"\0", 8_000
    entries = b"".join(struct.pack("<IBBHQQ", place, 2, 0, 1, 0x10000 + place, 1) for place in range(count))
    at = len(data)
    headers = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, at, len(entries), 1, 0, 8, SYMBOL)
    headers += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at + len(entries), len(names), 0, 0, 1, 0)
    data[40:48] = struct.pack("<Q", at + len(entries) + len(names))
    data[58:62] = struct.pack("<HH", SECTION_HEADER, 2)
    path = tmp_path / "program"
    path.write_bytes(data + entries + names + headers)

    def look() -> dict[str, int]:
        table = elf.symbols(str(path))
        found = table.lookup(0x10000 + count // 2)
        assert found is not None and len(found[0]) == 2048 and found[0].startswith("\\n\\n")
        assert table.address("main") is None and table.address("\n" * (1 << 20)) == 0x10000
        assert len(table.functions()) == count
        return {}

    assert in_a_child(look) == (0, "{}")


# The whole command line, in which system calls are real: nothing in the code of these programs is changed.


def commands(path: Path) -> Iterator[list[str]]:
    yield ["run", "--timeout", "20", "--max-instructions", "100000", "--no-cache", "--tier", "reference", str(path)]
    yield ["run", "--timeout", "20", "--max-instructions", "100000", str(path)]
    yield ["dis", "--count", "20", str(path)]
    yield ["dis", "--at", "_start", str(path)]
    yield ["stages", str(path), "_start"]


def test_the_command_line_says_what_is_wrong(tmp_path: Path, cache: str) -> None:
    choose = random.Random(int(os.environ.get("VMJIT_FUZZ_SEED", "1")))
    path, codes = tmp_path / "program", set()
    environment = {"PATH": "/nowhere", "PYTHONPATH": str(ROOT), "VMJIT_CACHE_DIR": cache}
    for index in range(COMMANDS):
        path.write_bytes(damaged(choose, STRUCTURAL))
        line = list(commands(path))[index % 5]
        done = subprocess.run(
            [sys.executable, "-m", "vmjit", *line],
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=60,
            check=False,
        )
        says = done.stderr.decode()
        assert done.returncode not in (1, 125) and done.returncode >= 0, (line, done)
        assert says == "" or (says.startswith("vmjit: ") and says.count("\n") == 1 and says.strip().isprintable()), says
        assert says or done.returncode < 124, (line, done)
        codes.add(done.returncode)
    assert codes >= {0, 126}
