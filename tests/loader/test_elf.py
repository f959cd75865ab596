"""The loader against files built here field by field, damaged in every way, and against one from a real compiler."""

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vmjit.errors import ElfError
from vmjit.loader.elf import EM_RISCV, ET_DYN, ET_EXEC, Segment, Symbol, load, read_executable, symbols
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace

PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
TEXT, DATA = 0x10000, 0x12000
COMPILER = "riscv64-linux-gnu-gcc"


@dataclass
class Elf:
    """A small executable: a text page with the headers, a data segment with bss, a table of symbols."""

    elf_type: int = ET_EXEC
    machine: int = EM_RISCV
    entry: int = TEXT + 0x400
    elf_class: int = 2
    data: int = 1
    phentsize: int = 56
    phnum: int | None = None
    phoff: int = 64
    interpreter: bytes | None = None
    symbols: list[tuple[bytes, int, int, int]] = field(default_factory=list)  # name, info, value, size
    # type, flags, offset, vaddr, file size, memory size, align
    segments: list[list[int]] = field(
        default_factory=lambda: [
            [PT_LOAD, PF_R | PF_X, 0, TEXT, 0x800, 0x800, 0x1000],
            [PT_LOAD, PF_R | PF_W, 0x800, DATA + 0x800, 0x100, 0x2000, 0x1000],
            [PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 16],
        ]
    )

    def to_bytes(self) -> bytes:
        headers = list(self.segments)
        body = bytearray(0x900)
        if self.interpreter is not None:
            headers.append([PT_INTERP, PF_R, 0x300, 0, len(self.interpreter), len(self.interpreter), 1])
            body[0x300 : 0x300 + len(self.interpreter)] = self.interpreter
        body[0x400:0x404] = struct.pack("<I", 0x00000073)
        body[0x800:0x900] = b"d" * 0x100
        names, table = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
        for name, info, value, size in self.symbols:
            table += struct.pack("<IBBHQQ", len(names), info, 0, 1, value, size)
            names += name + b"\0"
        shoff = len(body) + len(table) + len(names)
        sections = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        sections += struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, len(body), len(table), 2, 0, 8, 24)
        sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, len(body) + len(table), len(names), 0, 0, 1, 0)
        phnum = len(headers) if self.phnum is None else self.phnum
        body[:64] = struct.pack(
            "<4sBBBB8xHHIQQQIHHHHHH",
            *(b"\x7fELF", self.elf_class, self.data, 1, 0, self.elf_type, self.machine, 1, self.entry),
            *(self.phoff, shoff, 5, 64, self.phentsize, phnum, 64, 3, 0),
        )
        for i, (kind, flags, offset, vaddr, file_size, memory_size, align) in enumerate(headers):
            row = struct.pack("<IIQQQQQQ", kind, flags, offset, vaddr, vaddr, file_size, memory_size, align)
            body[64 + 56 * i : 120 + 56 * i] = row
        return bytes(body) + table + names + sections


FUNC, OBJECT, LABEL = 0x12, 0x11, 0x10
SYMBOLS = [
    (b"main", FUNC, TEXT + 0x400, 0x20),
    (b"$x", 0, TEXT + 0x400, 0),
    (b".L1", 0, TEXT + 0x404, 0),
    (b"inner", LABEL, TEXT + 0x408, 0),
    (b"tail", LABEL, TEXT + 0x440, 0),
    (b"variable", OBJECT, DATA + 0x800, 8),
    (b"file.c", 4, 0, 0),
    (b"thread", 0x16, 8, 8),
]


@pytest.fixture
def memory() -> Iterator[AddressSpace]:
    with AddressSpace(1 << 38, 1 << 20) as space:
        yield space


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Elf | bytes], str]:
    def write(content: Elf | bytes) -> str:
        path = tmp_path / "program"
        path.write_bytes(content if isinstance(content, bytes) else content.to_bytes())
        return str(path)

    return write


Save = Callable[[Elf | bytes], str]


# What is read and where it goes.


def test_read_executable_when_well_formed(save: Save) -> None:
    path = save(Elf(interpreter=b"/lib/ld.so\0"))
    executable = read_executable(path, machine=EM_RISCV)
    assert executable.segments == (
        Segment(TEXT, 0x800, 0, 0x800, READ | EXECUTE, 0x1000),
        Segment(DATA + 0x800, 0x2000, 0x800, 0x100, READ | WRITE, 0x1000),
    )
    assert (executable.path, executable.machine, executable.elf_type) == (path, EM_RISCV, ET_EXEC)
    assert (executable.entry, executable.phoff, executable.phentsize, executable.phnum) == (TEXT + 0x400, 64, 56, 4)
    assert (executable.interpreter, executable.flags, executable.stack_permissions) == ("/lib/ld.so", 5, READ | WRITE)


def test_load_when_well_formed(save: Save, memory: AddressSpace) -> None:
    content = Elf().to_bytes()
    image = load(read_executable(save(content), machine=EM_RISCV), memory)
    assert (image.bias, image.entry, image.phdr_address) == (0, TEXT + 0x400, TEXT + 64)
    assert (image.end, image.brk_start) == (DATA + 0x2800, DATA + 0x3000)
    assert [(m.start, m.end, m.permissions) for m in memory.regions()] == [
        (TEXT, TEXT + PAGE_SIZE, READ | EXECUTE),
        (DATA, DATA + PAGE_SIZE, READ | WRITE),
        (DATA + PAGE_SIZE, DATA + 3 * PAGE_SIZE, READ | WRITE),
    ]
    # A segment without bss brings along what the file holds in the rest of its last page; bss is zero.
    assert memory.read(TEXT, len(content)) == content
    assert memory.read(DATA, 0x900) == content[:0x900]
    assert memory.read(DATA + 0x900, 0x2700) == bytes(0x2700)
    memory.write(DATA + 0x800, b"changed")
    assert Path(image.executable.path).read_bytes() == content


def test_load_when_bss_is_read_only(save: Save, memory: AddressSpace) -> None:
    elf = Elf()
    elf.segments[1][1] = PF_R
    load(read_executable(save(elf), machine=EM_RISCV), memory)
    assert memory.permissions(DATA) == READ
    assert memory.read(DATA + 0x8FE, 0x102) == b"dd" + bytes(0x100)


def test_load_when_all_is_bss(save: Save, memory: AddressSpace) -> None:
    elf = Elf()
    elf.segments[1] = [PT_LOAD, PF_R | PF_W, 0x123, DATA + 0x10, 0, 1 << 36, 8]
    image = load(read_executable(save(elf), machine=EM_RISCV), memory)
    assert memory.read(image.end - 16, 16) == bytes(16)
    assert image.brk_start == DATA + (1 << 36) + PAGE_SIZE


def test_load_when_position_independent(save: Save, memory: AddressSpace) -> None:
    executable = read_executable(save(Elf(ET_DYN)), machine=EM_RISCV)
    program = load(executable, memory)
    assert (program.bias, program.entry) == (0, TEXT + 0x400)
    interpreter = load(executable, memory)
    assert interpreter.brk_start == 1 << 28
    assert interpreter.entry == interpreter.bias + TEXT + 0x400
    assert interpreter.phdr_address == interpreter.bias + TEXT + 64
    assert load(executable, memory, bias=0x5000000).entry == 0x5000000 + TEXT + 0x400
    for bias in (0x5000000, 1 << 50, -(1 << 20), 5):
        with pytest.raises(ElfError):
            load(executable, memory, bias=bias)


def test_load_when_aligned_to_more_than_a_page(save: Save, memory: AddressSpace) -> None:
    elf = Elf(ET_DYN)
    elf.segments[1][6] = 1 << 21
    executable = read_executable(save(elf), machine=EM_RISCV)
    biases = [load(executable, memory).bias for _ in range(2)]
    assert all(bias % (1 << 21) == 0 and bias > 0 for bias in biases)
    assert len(set(biases)) == 2
    elf.segments[1][6] = 1 << 63
    with pytest.raises(ElfError, match="no room"):
        load(read_executable(save(elf), machine=EM_RISCV), memory)


def test_load_when_linked_high_but_position_independent(save: Save, memory: AddressSpace) -> None:
    elf = Elf(ET_DYN, entry=(1 << 40) + 0x400)
    elf.segments[0][3], elf.segments[1][3] = 1 << 40, (1 << 40) + 0x2800
    image = load(read_executable(save(elf), machine=EM_RISCV), memory)
    assert image.entry == 0x10400


def test_load_when_the_place_is_taken(save: Save, memory: AddressSpace) -> None:
    executable = read_executable(save(Elf()), machine=EM_RISCV)
    load(executable, memory)
    with pytest.raises(ElfError, match="already in use"):
        load(executable, memory)


def test_load_when_the_file_shrank(save: Save, memory: AddressSpace) -> None:
    executable = read_executable(save(Elf()), machine=EM_RISCV)
    os.truncate(executable.path, 0x880)
    with pytest.raises(ElfError, match="truncated"):
        load(executable, memory)


def test_load_when_the_address_space_is_too_small(save: Save) -> None:
    with AddressSpace(1 << 16, 0) as memory, pytest.raises(ElfError, match="outside the address space"):
        load(read_executable(save(Elf()), machine=EM_RISCV), memory)


# What is refused, and how that reads.


def segment(index: int, **fields: int) -> Elf:
    """The executable with fields of one program header changed."""
    elf = Elf()
    names = ("kind", "flags", "offset", "vaddr", "file_size", "memory_size", "align")
    for name, value in fields.items():
        elf.segments[index][names.index(name)] = value
    return elf


@pytest.mark.parametrize(
    ("elf", "message"),
    [
        (b"", "not an ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (Elf().to_bytes()[:63], "truncated: the ELF header ends at byte 64 of 63"),
        (Elf().to_bytes()[:100], "truncated: program headers end at byte 232 of 100"),
        (Elf().to_bytes()[:0x8FF], "segment at 0x12800: truncated: its bytes end at 2304 of 2303"),
        (Elf(elf_class=1), "a 32-bit ELF; only 64-bit is supported"),
        (Elf(elf_class=7), "ELF class 7; only 64-bit is supported"),
        (Elf(data=2), "a big-endian ELF; only little-endian is supported"),
        (Elf(machine=62), "machine x86-64, not RISC-V"),
        (Elf(machine=0x1234), "machine number 4660, not RISC-V"),
        (Elf(elf_type=1), "a relocatable object file, not an executable"),
        (Elf(elf_type=9), "ELF type 9, not an executable"),
        (Elf(phentsize=32), "program headers of 32 bytes, not 56"),
        (Elf(phnum=0), "0 program headers; 1 to 1170 are possible"),
        (Elf(phnum=65535), "65535 program headers; 1 to 1170 are possible"),
        (Elf(phoff=(1 << 64) - 1), "truncated: program headers end at byte 18446744073709551783 of"),
        (Elf(entry=DATA + 0x800), "entry 0x12800 is not in an executable segment"),
        (Elf(entry=TEXT + 0x800), "entry 0x10800 is not in an executable segment"),
        (Elf(segments=[[PT_GNU_STACK, 6, 0, 0, 0, 0, 16]]), "no segment to load"),
        (segment(1, memory_size=0xFF), "segment at 0x12800: 256 bytes in the file but 255 in memory"),
        (segment(1, memory_size=0), "segment at 0x12800: 256 bytes in the file but 0 in memory"),
        (segment(1, memory_size=1 << 60), "segment at 0x12800: ends at 0x1000000000012800, beyond the address space"),
        (segment(1, vaddr=(1 << 64) - 0x800), "beyond the address space"),
        (segment(1, offset=(1 << 64) - 0x800), "truncated: its bytes end at 18446744073709549824 of"),
        (segment(1, vaddr=DATA + 0x801), "segment at 0x12801: file offset 0x800 is not at the same place in a page"),
        (segment(1, align=0x1001), "segment at 0x12800: alignment 0x1001 is not a power of two"),
        (segment(1, vaddr=TEXT + 0x800), "segments at 0x10000 and 0x10800 overlap or share a page"),
        (segment(0, memory_size=0x3000), "segments at 0x10000 and 0x12800 overlap or share a page"),
        (Elf(interpreter=b"/lib/ld.so"), "the interpreter path is not terminated"),
        (Elf(interpreter=b"\0\0"), "the interpreter path is empty"),
        (Elf(interpreter=b"\0"), "an interpreter path of 1 bytes"),
        (Elf(interpreter=bytes(4097)), "an interpreter path of 4097 bytes"),
    ],
)
def test_read_executable_when_malformed(save: Save, elf: Elf | bytes, message: str) -> None:
    path = save(elf)
    with pytest.raises(ElfError) as caught:
        read_executable(path, machine=EM_RISCV)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_executable_when_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, error in ((".", IsADirectoryError), ("absent", FileNotFoundError), ("pipe", ElfError)):
        with pytest.raises(error, match=name.replace(".", "directory")):
            read_executable(str(tmp_path / name), machine=EM_RISCV)
    with pytest.raises(ElfError, match="not a regular file"):
        read_executable("/dev/zero", machine=EM_RISCV)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_read_executable_when_not_permitted(save: Save) -> None:
    path = save(Elf())
    os.chmod(path, 0)
    with pytest.raises(PermissionError):
        read_executable(path, machine=EM_RISCV)


# Hostile files.


def try_everything(path: str, memory: AddressSpace) -> bool:
    """Load a file and look at its symbols; whether it could be loaded.  Only ElfError may say no."""
    loaded = True
    try:
        image = load(read_executable(path, machine=EM_RISCV), memory)
        assert memory.accessible(image.entry, 1, EXECUTE)
    except ElfError:
        loaded = False
    try:
        table = symbols(path)
        table.lookup(TEXT + 0x404)
        table.address("main")
        table.functions()
    except ElfError:
        pass
    memory.unmap(0, memory.size)
    return loaded


@pytest.mark.parametrize("elf_type", [ET_EXEC, ET_DYN])
def test_load_when_truncated_at_every_byte(tmp_path: Path, memory: AddressSpace, elf_type: int) -> None:
    content = Elf(elf_type, interpreter=b"/lib/ld.so\0", symbols=SYMBOLS).to_bytes()
    path = tmp_path / "program"
    path.write_bytes(content)
    for size in range(len(content), -1, -1):
        os.truncate(path, size)
        assert try_everything(str(path), memory) == (size >= 0x900)


def test_load_when_one_header_bit_is_flipped(tmp_path: Path, memory: AddressSpace) -> None:
    content = Elf(ET_DYN, interpreter=b"/lib/ld.so\0", symbols=SYMBOLS).to_bytes()
    headers = [*range(64 + 4 * 56), *range(0x300, 0x30B), *range(0x900, len(content))]
    path, loads = tmp_path / "program", 0
    path.write_bytes(content)
    with open(path, "r+b", buffering=0) as file:
        for place in headers:
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([content[place] ^ 1 << bit]), place)
                loads += try_everything(str(path), memory)
            os.pwrite(file.fileno(), content[place : place + 1], place)
    assert 0 < loads < len(headers) * 8


def test_load_when_many_bytes_are_random(tmp_path: Path, memory: AddressSpace) -> None:
    rng = random.Random(1)
    content = Elf(interpreter=b"/lib/ld.so\0", symbols=SYMBOLS).to_bytes()
    path, loads = tmp_path / "program", 0
    interesting = (0, 1, 0x7F, 0x80, 0xFF)
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            place = rng.choice((rng.randrange(4, 288), rng.randrange(0x900, len(content))))
            run = rng.choice((1, 2, 4, 8))
            damaged[place : place + run] = bytes([rng.choice(interesting)]) * run
        path.write_bytes(damaged)
        loads += try_everything(str(path), memory)
    assert 0 < loads < 2000


# Symbols.


def test_symbols_when_looked_up(save: Save) -> None:
    table = symbols(save(Elf(symbols=SYMBOLS)), bias=0x1000000)
    at = 0x1000000 + TEXT
    assert table.lookup(at + 0x400) == ("main", 0)
    assert table.lookup(at + 0x409) == ("main", 9)
    assert table.lookup(at + 0x41F) == ("main", 0x1F)
    assert table.lookup(at + 0x420) == ("inner", 0x18)
    assert table.lookup(at + 0x450) == ("tail", 0x10)
    assert table.lookup(at + 0x3FF) is None
    assert table.lookup(0x1000000 + DATA + 0x807) == ("variable", 7)
    assert table.lookup(0x1000000 + DATA + 0x808) is None
    assert table.address("inner") == at + 0x408
    assert [table.address(name) for name in ("$x", ".L1", "file.c", "thread", "nothing", "")] == [None] * 6
    assert table.functions() == [Symbol(at + 0x400, 0x20, "main")]


def test_symbols_when_section_0_tells_how_many_sections(save: Save) -> None:
    content = bytearray(Elf(symbols=SYMBOLS).to_bytes())
    (shoff,) = struct.unpack_from("<Q", content, 40)
    content[60:62] = bytes(2)
    for count, found in ((3, ("main", 0)), (2, None), (1 << 63, None)):
        struct.pack_into("<Q", content, shoff + 32, count)
        assert symbols(save(bytes(content))).lookup(TEXT + 0x400) == found


def test_symbols_when_there_are_none(save: Save) -> None:
    content = bytearray(Elf(symbols=SYMBOLS).to_bytes())
    for shoff, shentsize, shnum in ((0, 64, 3), (1 << 63, 64, 3), (0x900, 63, 3), (64, 64, 0), (64, 64, 0xFFFF)):
        content[40:48], content[58:62] = struct.pack("<Q", shoff), struct.pack("<HH", shentsize, shnum)
        table = symbols(save(bytes(content)))
        assert (table.lookup(TEXT + 0x400), table.address("main"), table.functions()) == (None, None, [])


def test_symbols_when_the_file_cannot_be_read(tmp_path: Path, save: Save) -> None:
    for path in (str(tmp_path / "absent"), str(tmp_path), save(b"text")):
        with pytest.raises(ElfError):
            symbols(path).lookup(0)


# A real compiler's output.

SOURCE = """
char bss[10000];
int data[2] = {1, 2};
static int helper(int x) { return data[x] + bss[x]; }
int main(void) { return helper(1); }
void _start(void) { main(); for (;;); }
"""


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")
@pytest.mark.parametrize(
    "options", [["-no-pie", "-static"], ["-static-pie", "-fPIE", "-Wl,--no-dynamic-linker"], ["-pie", "-fPIE"]]
)
def test_load_when_made_by_gcc(tmp_path: Path, memory: AddressSpace, options: list[str]) -> None:
    source, path = tmp_path / "program.c", str(tmp_path / "program")
    source.write_text(SOURCE)
    subprocess.run([COMPILER, "-O0", "-nostdlib", *options, "-o", path, source], check=True)
    executable = read_executable(path, machine=EM_RISCV)
    image = load(executable, memory)
    table = symbols(path, bias=image.bias)
    main, data, bss = (table.address(name) or 0 for name in ("main", "data", "bss"))
    assert executable.elf_type == (ET_EXEC if "-no-pie" in options else ET_DYN)
    assert (executable.interpreter is not None) == ("-pie" in options)
    assert table.address("_start") == image.entry
    assert table.lookup(main + 2) == ("main", 2)
    assert [symbol.name for symbol in table.functions()] == ["helper", "main", "_start"]
    assert memory.read(data, 8) == struct.pack("<II", 1, 2)
    assert memory.read(bss, 10000) == bytes(10000)
    assert memory.accessible(bss, 10000, READ | WRITE) and memory.accessible(main, 4, READ | EXECUTE)
    phdr = struct.unpack("<II", memory.read(image.phdr_address, 8))
    assert phdr[0] in (6, 0x70000003, PT_LOAD)  # PT_PHDR, PT_RISCV_ATTRIBUTES
    assert bss + 10000 <= image.end <= image.brk_start < 1 << 28
