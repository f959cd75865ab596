"""ELF64 little-endian executables: read and checked, mapped as Linux maps them, and their symbols.

Every field comes from a file that may be hostile: whatever it holds, reading it either gives an Executable that can be
loaded or raises ElfError with one line that says what is wrong.  pyelftools would do, but its import alone costs 80 ms,
as long as everything else until the guest runs.  See the System V gABI, chapters 4 and 5, and Linux fs/binfmt_elf.c.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from struct import Struct

from vmjit.errors import ElfError, MemoryAccessError
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace

ET_EXEC, ET_DYN = 2, 3
EM_X86_64, EM_AARCH64, EM_RISCV = 62, 183, 243

_PT_LOAD, _PT_INTERP, _PT_GNU_STACK = 1, 3, 0x6474E551
_SHT_SYMTAB, _SHT_DYNSYM, _SHT_NOBITS = 2, 11, 8
_STT_FUNC, _STT_IFUNC = 2, 10
_NAMELESS_TYPES = frozenset((3, 4, 6))  # sections, source files and thread-local symbols have no address to look up

_TYPES = {1: "a relocatable object file", 4: "a core dump"}
_MACHINES = {
    0: "none",
    2: "SPARC",
    3: "x86",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC 64",
    22: "S/390",
    40: "Arm",
    43: "SPARC V9",
    50: "IA-64",
    EM_X86_64: "x86-64",
    EM_AARCH64: "AArch64",
    EM_RISCV: "RISC-V",
    247: "BPF",
    258: "LoongArch",
}

# e_ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_SECTION_HEADER = Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, addralign, entsize
_SYMBOL = Struct("<IBBHQQ")  # name, info, other, shndx, value, size

_PROGRAM_HEADERS_LIMIT = 65536  # bytes; Linux refuses more
_INTERPRETER_LIMIT = 4096  # PATH_MAX
_ADDRESS_LIMIT = 1 << 47  # the user half of the largest address spaces (x86-64, Sv48)
_SECTIONS_LIMIT = 1 << 16
_SYMBOLS_LIMIT = 1 << 28  # bytes of symbols or of names: ten times those of a browser
_LONGEST_NAME = 1024  # bytes of a symbol's name that are shown: a hostile file may let all names be parts of one
_DEFAULT_BIAS = 0x10000  # where GNU ld puts RISC-V programs that are not position-independent
LOW = 1 << 28  # below it 8 * address, the displacement to an address's slot, fits in a signed 32-bit immediate


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD entry; permissions are those of AddressSpace."""

    vaddr: int
    memory_size: int
    file_offset: int
    file_size: int
    permissions: int
    align: int

    @property
    def end(self) -> int:
        return self.vaddr + self.memory_size


@dataclass(frozen=True, slots=True)
class Executable:
    """What the headers of an executable say; segments are sorted by address and share no page."""

    path: str
    machine: int
    elf_type: int
    entry: int
    phoff: int
    phentsize: int
    phnum: int
    segments: tuple[Segment, ...]
    interpreter: str | None
    flags: int
    stack_permissions: int


@dataclass(frozen=True, slots=True)
class Image:
    """An executable in memory: `bias` was added to its addresses, and is part of all addresses here."""

    executable: Executable
    bias: int
    entry: int
    phdr_address: int  # for AT_PHDR; 0 if no segment holds the program headers
    brk_start: int  # the first page after the image
    end: int  # the first byte after the image

    def area(self, permission: int) -> tuple[int, int]:
        """Start and end of what has that permission; (0, 0) if nothing has."""
        found = [segment for segment in self.executable.segments if segment.permissions & permission]
        return (found[0].vaddr + self.bias, found[-1].end + self.bias) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named range of addresses; size 0 if the file does not say."""

    address: int
    size: int
    name: str


# Reading the headers.


def read_executable(path: str, *, machine: int) -> Executable:
    """The checked headers of an executable for this machine; OSError if the file cannot be opened."""
    fd = _open(path)
    try:
        return _read_executable(fd, path, machine)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    """Open a regular file; NONBLOCK, because opening a pipe would wait for its writer."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise ElfError(f"{path}: not a regular file")


def _read_executable(fd: int, path: str, machine: int) -> Executable:
    file_size = os.fstat(fd).st_size
    _, elf_type, _, _, entry, phoff, _, flags, _, phentsize, phnum, *_ = _read_header(fd, path, machine)
    if elf_type not in (ET_EXEC, ET_DYN):
        raise ElfError(f"{path}: {_TYPES.get(elf_type, f'ELF type {elf_type}')}, not an executable")
    headers = _read_program_headers(fd, path, file_size, phoff, phentsize, phnum)
    segments = sorted(
        (_segment(path, file_size, h) for h in headers if h[0] == _PT_LOAD and any(h[5:7])),
        key=lambda segment: segment.vaddr,
    )
    _validate_layout(path, segments, entry)
    interpreters = [_read_interpreter(fd, path, file_size, h[2], h[5]) for h in headers if h[0] == _PT_INTERP][:1]
    stacks = [_permissions(h[1]) for h in headers if h[0] == _PT_GNU_STACK]
    return Executable(
        path=path,
        machine=machine,
        elf_type=elf_type,
        entry=entry,
        phoff=phoff,
        phentsize=phentsize,
        phnum=phnum,
        segments=tuple(segments),
        interpreter=interpreters[0] if interpreters else None,
        flags=flags,
        stack_permissions=stacks[-1] if stacks else READ | WRITE,
    )


def _read_header(fd: int, path: str, machine: int | None) -> tuple[int, ...]:
    """The fields of the ELF header of a 64-bit little-endian file, for this machine or any."""
    data = os.pread(fd, _HEADER.size, 0)
    if data[:4] != b"\x7fELF":
        raise ElfError(f"{path}: not an ELF file")
    if len(data) < _HEADER.size:
        raise ElfError(f"{path}: truncated: the ELF header ends at byte {_HEADER.size} of {len(data)}")
    if data[4] != 2:
        raise ElfError(
            f"{path}: {'a 32-bit ELF' if data[4] == 1 else f'ELF class {data[4]}'}; only 64-bit is supported"
        )
    if data[5] != 1:
        order = "a big-endian ELF" if data[5] == 2 else f"ELF byte order {data[5]}"
        raise ElfError(f"{path}: {order}; only little-endian is supported")
    fields = _HEADER.unpack(data)
    if machine is not None and fields[2] != machine:
        raise ElfError(f"{path}: machine {_machine_name(fields[2])}, not {_machine_name(machine)}")
    return fields


def _read_program_headers(
    fd: int, path: str, file_size: int, phoff: int, phentsize: int, phnum: int
) -> list[tuple[int, ...]]:
    if phentsize != _PROGRAM_HEADER.size:
        raise ElfError(f"{path}: program headers of {phentsize} bytes, not {_PROGRAM_HEADER.size}")
    size = phnum * phentsize
    if not 0 < size <= _PROGRAM_HEADERS_LIMIT:
        raise ElfError(f"{path}: {phnum} program headers; 1 to {_PROGRAM_HEADERS_LIMIT // phentsize} are possible")
    if phoff + size > file_size:
        raise ElfError(f"{path}: truncated: program headers end at byte {phoff + size} of {file_size}")
    return list(_PROGRAM_HEADER.iter_unpack(_read_exactly(fd, path, size, phoff)))


def _segment(path: str, file_size: int, header: tuple[int, ...]) -> Segment:
    """One PT_LOAD entry, if it can be mapped at all."""
    _, flags, offset, vaddr, _, in_file, in_memory, align = header
    where = f"{path}: segment at {vaddr:#x}"
    if in_file > in_memory:
        raise ElfError(f"{where}: {in_file} bytes in the file but {in_memory} in memory")
    if vaddr + in_memory > _ADDRESS_LIMIT:
        raise ElfError(f"{where}: ends at {vaddr + in_memory:#x}, beyond the address space")
    if align & (align - 1):
        raise ElfError(f"{where}: alignment {align:#x} is not a power of two")
    if in_file and offset + in_file > file_size:
        raise ElfError(f"{where}: truncated: its bytes end at {offset + in_file} of {file_size}")
    if in_file and (vaddr - offset) % PAGE_SIZE:
        raise ElfError(f"{where}: file offset {offset:#x} is not at the same place in a page")
    return Segment(vaddr, in_memory, offset, in_file, _permissions(flags), align)


def _validate_layout(path: str, segments: list[Segment], entry: int) -> None:
    if not segments:
        raise ElfError(f"{path}: no segment to load")
    for below, above in pairwise(segments):
        if _page_up(below.end) > _page_down(above.vaddr):
            raise ElfError(f"{path}: segments at {below.vaddr:#x} and {above.vaddr:#x} overlap or share a page")
    if not any(s.vaddr <= entry < s.end and s.permissions & EXECUTE for s in segments):
        raise ElfError(f"{path}: entry {entry:#x} is not in an executable segment")


def _read_interpreter(fd: int, path: str, file_size: int, offset: int, size: int) -> str:
    if not 2 <= size <= _INTERPRETER_LIMIT:
        raise ElfError(f"{path}: an interpreter path of {size} bytes")
    if offset + size > file_size:
        raise ElfError(f"{path}: truncated: the interpreter path ends at byte {offset + size} of {file_size}")
    data = _read_exactly(fd, path, size, offset)
    name = data[: data.find(0)]
    if data[-1] != 0 or not name:
        raise ElfError(f"{path}: the interpreter path is {'empty' if data[-1] == 0 else 'not terminated'}")
    return os.fsdecode(name)


def _read_exactly(fd: int, path: str, size: int, offset: int) -> bytes:
    """Bytes that lie within the file, unless somebody cuts it off meanwhile."""
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise ElfError(f"{path}: truncated while it was read")
    return data


def _permissions(flags: int) -> int:
    """ELF counts execute, write, read from bit 0; mmap counts read, write, execute."""
    return (READ if flags & 4 else 0) | (WRITE if flags & 2 else 0) | (EXECUTE if flags & 1 else 0)


def _machine_name(number: int) -> str:
    return _MACHINES.get(number, f"number {number}")


def _page_down(addr: int) -> int:
    return addr & -PAGE_SIZE


def _page_up(addr: int) -> int:
    return -(-addr // PAGE_SIZE) * PAGE_SIZE


# Loading.


def load(executable: Executable, memory: AddressSpace, *, bias: int | None = None) -> Image:
    """Map the segments; a position-independent image goes to a low free address unless `bias` says where."""
    path, segments = executable.path, executable.segments
    fd = _open(path)
    try:
        file_size = os.fstat(fd).st_size
        if any(s.file_offset + s.file_size > file_size for s in segments if s.file_size):
            raise ElfError(f"{path}: truncated after it was read")
        with memory.lock:
            bias = _choose_bias(executable, memory) if bias is None else bias
            _validate_place(executable, memory, bias)
            for segment in segments:
                _map_segment(memory, fd, segment, bias)
    except (OSError, MemoryAccessError) as error:
        raise ElfError(f"{path}: cannot be loaded: {error}") from error
    finally:
        os.close(fd)
    end = segments[-1].end + bias
    return Image(executable, bias, executable.entry + bias, _phdr_address(executable, bias), _page_up(end), end)


def _choose_bias(executable: Executable, memory: AddressSpace) -> int:
    """The program at the bottom, an interpreter right below LOW, so that the heap can grow between them."""
    if executable.elf_type == ET_EXEC:
        return 0
    alignment = max(PAGE_SIZE, *(segment.align for segment in executable.segments))
    lowest = executable.segments[0].vaddr & -alignment
    size = _page_up(executable.segments[-1].end) - lowest
    bottom = -(-_DEFAULT_BIAS // alignment) * alignment
    if bottom + size <= LOW and memory.is_free(bottom, size):
        return bottom - lowest
    for top in (LOW, None):
        place = memory.find_free(size + alignment - PAGE_SIZE, top=top)
        if place is not None:
            return -(-place // alignment) * alignment - lowest
    raise ElfError(f"{executable.path}: no room for {size:#x} bytes aligned to {alignment:#x}")


def _validate_place(executable: Executable, memory: AddressSpace, bias: int) -> None:
    if bias % PAGE_SIZE:
        raise ElfError(f"{executable.path}: bias {bias:#x} is not a multiple of the page size")
    for segment in executable.segments:
        start, end = _page_down(segment.vaddr + bias), _page_up(segment.end + bias)
        if start < 0 or end > memory.size:
            raise ElfError(f"{executable.path}: {start:#x}-{end:#x} is outside the address space")
        if not memory.is_free(start, end - start):
            raise ElfError(f"{executable.path}: {start:#x}-{end:#x} is already in use")


def _map_segment(memory: AddressSpace, fd: int, segment: Segment, bias: int) -> None:
    """File pages first, then zeros: the rest of the last file page, and whole pages after it.

    Without zeros to follow, that rest keeps what the file holds there, as on Linux.
    """
    start, end = _page_down(segment.vaddr + bias), _page_up(segment.end + bias)
    zeros = segment.vaddr + bias + segment.file_size
    file_end = start
    if segment.file_size:
        file_end = _page_up(zeros)
        partial = min(file_end - zeros, segment.memory_size - segment.file_size)
        permissions = segment.permissions | (WRITE if partial else 0)
        memory.map(start, file_end - start, permissions, fd=fd, offset=_page_down(segment.file_offset))
        if partial:
            memory.fill(zeros, file_end - zeros)
            memory.protect(start, file_end - start, segment.permissions)
    if end > file_end:
        memory.map(file_end, end - file_end, segment.permissions)


def _phdr_address(executable: Executable, bias: int) -> int:
    for segment in executable.segments:
        if segment.file_offset <= executable.phoff < segment.file_offset + segment.file_size:
            return executable.phoff - segment.file_offset + segment.vaddr + bias
    return 0


# Symbols.


def symbols(path: str, *, bias: int = 0) -> SymbolTable:
    """The symbols of a file, read when first asked for; addresses include the bias the file was loaded with."""
    return SymbolTable(path, bias)


class SymbolTable:
    """Names of addresses and addresses of names; empty if the file has no usable symbols."""

    def __init__(self, path: str, bias: int = 0) -> None:
        self.path = path
        self.bias = bias
        self._names = b""
        self._symbols: list[tuple[int, int, int, int]] | None = None  # address, size, type, place of the name
        self._sized: list[tuple[int, int, int, int]] = []

    def lookup(self, addr: int) -> tuple[str, int] | None:
        """The function or object that holds the address, else the nearest label before it; and the offset to it."""
        symbols = self._load()
        addr -= self.bias
        position = bisect_right(self._sized, addr, key=itemgetter(0)) - 1
        if position >= 0 and addr < self._sized[position][0] + self._sized[position][1]:
            found = self._sized[position]
        else:
            position = bisect_right(symbols, addr, key=itemgetter(0)) - 1
            # After the end of a symbol that has one comes a gap, not more of the symbol.
            if position < 0 or symbols[position][1]:
                return None
            found = symbols[position]
        return self._name(found[3]), addr - found[0]

    def address(self, name: str) -> int | None:
        """The address of a symbol; of equal names, that of the one with the largest size."""
        symbols, wanted = self._load(), name.encode(errors="surrogateescape") + b"\0"
        matches = self._names.startswith
        found = max((s for s in symbols if matches(wanted, s[3])), key=itemgetter(1), default=None)
        return None if found is None else found[0] + self.bias

    def range(self, name: str) -> tuple[int, int] | None:
        """First address and end of a symbol; of one byte if the file does not say its size."""
        address = self.address(name)
        if address is None:
            return None
        sizes = [symbol[1] for symbol in self._load() if symbol[0] + self.bias == address]
        return address, address + max(1, *sizes)

    def functions(self) -> list[Symbol]:
        """All functions, sorted by address."""
        return [
            Symbol(address + self.bias, size, self._name(name))
            for address, size, kind, name in self._load()
            if kind in (_STT_FUNC, _STT_IFUNC)
        ]

    def _load(self) -> list[tuple[int, int, int, int]]:
        if self._symbols is None:
            table, self._names = _read_symbols(self.path)
            # At one address the function comes last, so that lookup() prefers it to a label.
            table.sort(key=lambda s: (s[0], s[2] in (_STT_FUNC, _STT_IFUNC), s[1]))
            self._sized = [symbol for symbol in table if symbol[1]]
            self._symbols = table
        return self._symbols

    def _name(self, place: int) -> str:
        """A name as it may be shown: printable, in one line, not too long."""
        end = self._names.find(0, place, place + _LONGEST_NAME)
        text = self._names[place : end if end >= 0 else place + _LONGEST_NAME].decode(errors="backslashreplace")
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _read_symbols(path: str) -> tuple[list[tuple[int, int, int, int]], bytes]:
    """Symbols that name an address (address, size, type, place of the name) and the names, each ended by a NUL."""
    try:
        fd = _open(path)
    except OSError as error:
        raise ElfError(f"{path}: {error.strerror}") from error
    try:
        header = _read_header(fd, path, None)
        sections = _read_sections(fd, header)
        by_type = {section[1]: section for section in reversed(sections)}
        table = by_type.get(_SHT_SYMTAB) or by_type.get(_SHT_DYNSYM)
        if table is None or table[9] != _SYMBOL.size or table[6] >= len(sections):
            return [], b""
        entries, names = _read_section(fd, table), _read_section(fd, sections[table[6]])
    finally:
        os.close(fd)
    # One pass of struct takes 0.4 us a symbol, less than importing numpy up to 200 000 symbols.
    whole = len(entries) - len(entries) % _SYMBOL.size
    names += b"\0"
    return _named_addresses(entries[:whole], names), names


def _named_addresses(entries: bytes, names: bytes) -> list[tuple[int, int, int, int]]:
    end = len(names)
    # Labels that start with $ tell code from data (mapping symbols); those with .L are the compiler's own.
    return [
        (value, size, info & 15, name)
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(entries)
        if section
        and name < end
        and info & 15 not in _NAMELESS_TYPES
        and names[name] not in b"\0$"
        and names[name : name + 2] != b".L"
    ]


def _read_sections(fd: int, header: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The section headers; none if they are not there or are broken."""
    shoff, shentsize, shnum = header[6], header[11], header[12]
    if not shoff or shentsize != _SECTION_HEADER.size:
        return []
    if shnum == 0:
        # More than 65279 sections: their number is the size of section 0.
        first = _pread(fd, shentsize, shoff)
        shnum = _SECTION_HEADER.unpack(first)[5] if len(first) == shentsize else 0
    if not 0 < shnum <= _SECTIONS_LIMIT:
        return []
    data = _pread(fd, shnum * shentsize, shoff)
    return list(_SECTION_HEADER.iter_unpack(data)) if len(data) == shnum * shentsize else []


def _read_section(fd: int, section: tuple[int, ...]) -> bytes:
    offset, size = section[4], section[5]
    if section[1] == _SHT_NOBITS or size > _SYMBOLS_LIMIT:
        return b""
    data = _pread(fd, size, offset)
    return data if len(data) == size else b""


def _pread(fd: int, size: int, offset: int) -> bytes:
    """Bytes that need not lie within the file; nothing is allocated for those that do not."""
    available = max(0, os.fstat(fd).st_size - offset)
    return os.pread(fd, min(size, available), offset) if available else b""
