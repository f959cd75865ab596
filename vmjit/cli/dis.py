"""`vmjit dis`: a listing as objdump -d prints it, from the loader's headers and the guest's decode table.

The text of an instruction depends on its word alone, unless it names an address; so each distinct word is decoded and
formatted once, and a whole static program takes about as long as the pipe it is printed into.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from vmjit.cli import printable
from vmjit.errors import ElfError, UsageError
from vmjit.guest import GUEST, get
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import Decoded
from vmjit.loader import elf
from vmjit.memory.address_space import EXECUTE

CHUNK = 1 << 20  # bytes of code read at a time: a hostile file may claim any amount
LONGEST = 8  # bytes that hold any instruction, whatever the guest
LINES = 4096  # lines written at a time

SHT_NOBITS, SHF_EXECINSTR = 8, 4

FindSymbol = Callable[[int], tuple[str, int] | None]


@dataclass(frozen=True)
class Code:
    """Bytes of the file that hold instructions: a section, or a segment of a file without sections."""

    address: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size

    def __str__(self) -> str:
        return f"{self.address:#x}-{self.end:#x}"


def main(options: argparse.Namespace) -> int:
    guest = get(GUEST)
    executable = elf.read_executable(options.file, machine=guest.elf_machine)
    symbols = elf.symbols(options.file)
    fd = os.open(options.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        pieces = code_of(executable, fd)
        if options.at is not None:
            pieces = [_from(options.at, pieces, symbols, guest.alignment, to_end=options.count is not None)]
        _print(islice(listing(fd, pieces, guest.decode_table, symbols.lookup), options.count))
    finally:
        os.close(fd)
    return 0


def code_of(executable: elf.Executable, fd: int) -> list[Code]:
    """Where the file holds code: its executable sections if it has any, else its executable segments."""
    segments = [s for s in executable.segments if s.permissions & EXECUTE and s.file_size]
    wholes = [Code(s.vaddr, s.file_offset, s.file_size) for s in segments]
    sections = [s for s in _executable_sections(executable.path, fd) if any(_holds(whole, s) for whole in wholes)]
    return sorted(sections, key=lambda code: code.address) or wholes


def listing(fd: int, pieces: list[Code], table: DecodeTable, find_symbol: FindSymbol) -> Iterator[str]:
    """One text for each instruction; where a symbol begins, it starts with a header line."""
    for code in pieces:
        yield from _listing(fd, code, table, find_symbol)


def _listing(fd: int, code: Code, table: DecodeTable, find_symbol: FindSymbol) -> Iterator[str]:
    tails: dict[int, dict[int, str | Decoded]] = {size: {} for _, _, size in table.lengths}
    parcel, at = table.parcel, code.address
    sizes: dict[int, int] = {}
    while at < code.end:
        data = os.pread(fd, min(CHUNK + LONGEST, code.end - at), code.offset + at - code.address)
        if not data:
            raise ElfError("truncated while it was read")
        place, stop = 0, CHUNK if len(data) > CHUNK else len(data)
        while place < stop:
            first = int.from_bytes(data[place : place + parcel], "little")
            size = sizes.get(first) or sizes.setdefault(first, table.size(first) or parcel)
            pc = at + place
            symbol = find_symbol(pc)
            header = f"\n{pc:016x} <{printable(symbol[0])}>:\n" if symbol and not symbol[1] else ""
            if place + size > len(data):
                yield header + _rest(pc, data[place:])
                return
            word = int.from_bytes(data[place : place + size], "little")
            tail = tails[size].get(word)
            if tail is None:
                tail = tails[size][word] = _tail(table.decode_word(word, size), size)
            if not isinstance(tail, str):
                tail = _tail_at(tail, pc, find_symbol)
            yield f"{header}{pc:8x}:\t{tail}"
            place += size
        at += place


def _tail(decoded: Decoded | int, size: int) -> str | Decoded:
    """The line after the address; or the instruction itself if its text depends on where it is."""
    if isinstance(decoded, int):
        return f"{_columns(decoded, size)}.{size}byte\t0x{decoded:0{2 * size}x}"
    if _target(decoded, 0) is not None:
        return decoded
    return _columns(decoded.word, size) + decoded.text().replace(" ", "\t", 1)


def _tail_at(decoded: Decoded, pc: int, find_symbol: FindSymbol) -> str:
    tail = _columns(decoded.word, decoded.size) + decoded.text(pc).replace(" ", "\t", 1)
    target = _target(decoded, pc)
    symbol = None if target is None else find_symbol(target)
    if symbol is None:
        return tail
    name, offset = printable(symbol[0]), symbol[1]
    return f"{tail} <{name}+{offset:#x}>" if offset else f"{tail} <{name}>"


def _columns(word: int, size: int) -> str:
    return f"{f'{word:0{2 * size}x}':19}\t"


def _rest(pc: int, data: bytes) -> str:
    """What is left at the end and is too short for the instruction that it starts."""
    word = int.from_bytes(data, "little")
    return f"{pc:8x}:\t{_columns(word, len(data))}.byte\t{', '.join(f'{byte:#04x}' for byte in data)}"


def _target(decoded: Decoded, pc: int) -> int | None:
    """The address that the instruction names."""
    operands = decoded.instruction.operands
    for name, value in decoded.fields.items():
        if operands[name].relative:
            return pc + value & 0xFFFFFFFFFFFFFFFF
    return None


def _from(at: str, pieces: list[Code], symbols: elf.SymbolTable, alignment: int, *, to_end: bool) -> Code:
    """The code from an address or symbol on: to the end of what holds it, or of its function only."""
    start = address_of(at, symbols)
    code = next((code for code in pieces if code.address <= start < code.end), None)
    if code is None:
        raise UsageError(f"dis: no code at {start:#x}; there is {', '.join(map(str, pieces))}")
    if start % alignment:
        raise UsageError(f"dis: {start:#x} is not a multiple of {alignment}, as instructions are")
    end = code.end if to_end else min(code.end, _end_of_function(start, symbols) or code.end)
    return Code(start, code.offset + start - code.address, end - start)


def address_of(text: str, symbols: elf.SymbolTable) -> int:
    """The address that a command line names: a number, or a symbol. Raises UsageError."""
    found = symbols.address(text)
    if found is not None:
        return found
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{symbols.path}: no symbol is named {text!r}, and it is no address like 0x10144") from None


def _end_of_function(start: int, symbols: elf.SymbolTable) -> int | None:
    """The end of the function that holds the address, else the start of the next one."""
    ends = [s.address + s.size for s in symbols.functions() if s.address <= start < s.address + s.size]
    return min(ends) if ends else min((s.address for s in symbols.functions() if s.address > start), default=None)


def _executable_sections(path: str, fd: int) -> list[Code]:
    sections = elf._read_sections(fd, elf._read_header(fd, path, None))
    return [
        Code(address, offset, size)
        for _, kind, flags, address, offset, size, *_ in sections
        if kind != SHT_NOBITS and flags & SHF_EXECINSTR and size
    ]


def _holds(whole: Code, part: Code) -> bool:
    """Whether the part lies in the whole, in memory and in the file alike."""
    inside = whole.address <= part.address and part.end <= whole.end
    return inside and part.offset - whole.offset == part.address - whole.address


def _print(lines: Iterator[str]) -> None:
    while block := list(islice(lines, LINES)):
        sys.stdout.write("\n".join(block) + "\n")
