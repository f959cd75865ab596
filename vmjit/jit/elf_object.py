"""Links one object file as LLVM emits it (ELF64 relocatable, little-endian) into a Blob.

The sections that take memory are laid end to end and the distances between them written into the code; nothing outside
is ever reached, for generated code gets every outside address through its arguments. So a symbol that is not defined,
or an absolute address, is an error here and not something to look up.
Whatever the bytes hold, the result is a Blob or a CompileError. See the System V gABI, chapter 4, and the x86-64 psABI.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from struct import Struct

from vmjit.errors import CompileError
from vmjit.jit.blob import ALIGNMENT, Blob
from vmjit.jit.line_table import read_line_table

# e_ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, addralign, entsize
_SYMBOL = Struct("<IBBHQQ")  # name, info, other, shndx, value, size
_RELOCATION = Struct("<QQq")  # offset, symbol << 32 | type, addend

_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_ET_REL = 1
_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL = 2, 4, 8, 9
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR, _SHF_TLS = 1, 2, 4, 0x400
_SHN_UNDEF, _SHN_LORESERVE, _SHN_COMMON = 0, 0xFF00, 0xFFF2
_STB_GLOBAL, _STB_WEAK, _STT_FUNC, _STT_TLS = 1, 2, 2, 6

_UNWIND = ".eh_frame"  # nothing unwinds through generated code
_LINE = ".debug_line"
_CODE_LIMIT = 1 << 26  # bytes: the handlers of a whole guest are about 1 MB; more is a damaged size field
# Stores near code that is being executed make an x86 host flush its pipeline: Intel's optimization manual, 3.6.9, asks
# for a distance of a page between code and data that is written.
_DISTANCE = 4096


@dataclass(frozen=True, slots=True)
class Machine:
    """What depends on the host: relocation type -> how the distance, or the address, is stored."""

    name: str
    relative: dict[int, Struct]
    absolute: dict[int, Struct]  # only in the line table, and in what is linked open
    refused: dict[int, str]  # why


_ABSOLUTE = "an absolute address; keep a table of distances, or pass the address as an argument"
_GOT = "an address from the global offset table; declare the symbol dso_local or internal"

MACHINES = {
    62: Machine(  # x86-64 psABI, table 4.9
        name="x86-64",
        relative={2: Struct("<i"), 4: Struct("<i"), 24: Struct("<q")},  # PC32, PLT32, PC64
        absolute={1: Struct("<Q"), 10: Struct("<I"), 11: Struct("<i")},  # 64, 32, 32S
        refused={1: _ABSOLUTE, 10: _ABSOLUTE, 11: _ABSOLUTE, 9: _GOT, 41: _GOT, 42: _GOT, 43: _GOT},
    ),
}


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    data: memoryview  # empty if all zeros (SHT_NOBITS)
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True, slots=True)
class _Object:
    machine: Machine
    sections: list[_Section]
    symbols: list[tuple[int, int, int, int, int, int]]  # as _SYMBOL
    names: memoryview

    def name_of(self, symbol: int) -> str:
        return _string(self.names, self.symbols[symbol][0])


@dataclass(frozen=True, slots=True)
class Reference:
    """Where code refers to something: `size` bytes at an offset, for the address, or the distance from there, of
    `target` in the same object, or of what has a name plus `target`.
    """

    at: int
    size: int
    is_distance: bool
    name: str  # "": the object itself
    target: int


@dataclass(frozen=True, slots=True)
class Open:
    """Code with what it refers to not yet in it; functions by name: where they start, and their size in bytes."""

    code: bytes
    functions: dict[str, tuple[int, int]]
    references: tuple[Reference, ...]


def link(image: bytes) -> Blob:
    """All code and data of an object as one piece that runs wherever it is placed."""
    try:
        return _link(_read(image))
    except (struct.error, IndexError) as error:
        raise CompileError(f"the object file is damaged: {error}") from error


def link_open(image: bytes) -> Open:
    """An object whose functions are to be copied one by one: what they refer to is told and not written into them."""
    try:
        return _link_open(_read(image))
    except (struct.error, IndexError) as error:
        raise CompileError(f"the object file is damaged: {error}") from error


def _link_open(parsed: _Object) -> Open:
    places, code = _placed(parsed)
    functions = {
        _string(parsed.names, name): (places[section] + value, size)
        for name, info, _, section, value, size in parsed.symbols
        if info & 15 == _STT_FUNC and section in places
    }
    machine = parsed.machine
    references = []
    for table in parsed.sections:
        if table.kind != _SHT_RELA or table.info not in places:
            continue
        for offset, info, addend in _RELOCATION.iter_unpack(table.data):
            symbol, kind = info >> 32, info & 0xFFFFFFFF
            form = machine.relative.get(kind) or machine.absolute.get(kind)
            if form is None:
                raise CompileError(_why_not(parsed, parsed.sections[table.info], info))
            outside = parsed.symbols[symbol][3] == _SHN_UNDEF
            name = parsed.name_of(symbol) if outside else ""
            target = addend if outside else addend + _address(parsed, symbol, places)
            at = places[table.info] + offset
            references.append(Reference(at, form.size, kind in machine.relative, name, target))
    return Open(bytes(code), functions, tuple(references))


def _placed(parsed: _Object) -> tuple[dict[int, int], bytearray]:
    """Where sections are, by number, and their bytes."""
    places, size = _lay_out(parsed.sections)
    code = bytearray(size)
    for index, place in places.items():
        section = parsed.sections[index]
        code[place : place + len(section.data)] = section.data
    return places, code


def _link(parsed: _Object) -> Blob:
    places, code = _placed(parsed)
    size = len(code)
    lines = (array("Q"), array("I"))
    for section in parsed.sections:
        if section.kind == _SHT_REL and section.info in places:
            raise CompileError(f"{section.name}: relocations without addends")
        if section.kind == _SHT_RELA and section.info in places:
            _relocate(parsed, section, places, code)
        elif section.name == _LINE:
            lines = read_line_table(_relocated_line_table(parsed, section, places), size)
    return Blob(bytes(code), _exports(parsed, places), *lines)


# Reading.


def _read(image: bytes) -> _Object:
    if len(image) < _HEADER.size:
        raise CompileError(f"the object file is damaged: only {len(image)} bytes")
    ident, kind, machine, _, _, _, table, _, _, _, _, entry_size, count, names_index = _HEADER.unpack_from(image)
    if not ident.startswith(_IDENT) or kind != _ET_REL or entry_size != _SECTION.size:
        raise CompileError("not an ELF64 little-endian relocatable object")
    if machine not in MACHINES:
        raise CompileError(f"an object for machine {machine}; known are {', '.join(m.name for m in MACHINES.values())}")
    view = memoryview(image)
    rows = list(_SECTION.iter_unpack(_slice(view, table, count * _SECTION.size)))
    names = _slice(view, rows[names_index][4], rows[names_index][5])
    sections = [_section(view, names, row) for row in rows]
    return _Object(MACHINES[machine], sections, *_symbols(sections))


def _section(view: memoryview, names: memoryview, row: tuple[int, ...]) -> _Section:
    name, kind, flags, _, offset, size, link, info, align, _ = row
    data = view[:0] if kind == _SHT_NOBITS else _slice(view, offset, size)
    return _Section(_string(names, name), kind, flags, data, size, link, info, align or 1)


def _symbols(sections: list[_Section]) -> tuple[list[tuple[int, int, int, int, int, int]], memoryview]:
    for section in sections:
        if section.kind == _SHT_SYMTAB:
            return list(_SYMBOL.iter_unpack(section.data)), sections[section.link].data
    return [], memoryview(b"")


def _slice(view: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(view):
        raise IndexError(f"{size} bytes at {start:#x}, but the file has {len(view)}")
    return view[start : start + size]


def _string(names: memoryview, start: int) -> str:
    """Names are short: look for their end nearby, and only then in the whole table."""
    if start >= len(names):
        raise IndexError(f"a name at {start:#x}, outside of the names")
    near = bytes(names[start : start + 64])
    return (near if 0 in near else bytes(names[start:])).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


# Placing.


def _lay_out(sections: list[_Section]) -> tuple[dict[int, int], int]:
    """Section number -> offset in the blob, and the blob's size: code, constants, and at a distance what is written."""
    placed = [(i, s) for i, s in enumerate(sections) if s.flags & _SHF_ALLOC and s.name != _UNWIND and s.size]
    placed.sort(key=lambda item: (item[1].flags & _SHF_WRITE, not item[1].flags & _SHF_EXECINSTR))
    places: dict[int, int] = {}
    end, written = 0, False
    for index, section in placed:
        if section.flags & _SHF_TLS:
            raise CompileError(f"{section.name}: thread-local data; keep it in the state")
        if section.align > ALIGNMENT or section.align & (section.align - 1):
            raise CompileError(f"{section.name}: an alignment of {section.align}; blobs are aligned to {ALIGNMENT}")
        if section.flags & _SHF_WRITE and not written:
            written = True
            end += _DISTANCE
        end = -(-end // section.align) * section.align
        places[index] = end
        end += section.size
        if end > _CODE_LIMIT:
            raise CompileError(f"{section.name}: more than {_CODE_LIMIT} bytes of code and data")
    return places, end + _DISTANCE if written else end


def _exports(parsed: _Object, places: dict[int, int]) -> dict[str, int]:
    return {
        _string(parsed.names, name): places[section] + value
        for name, info, _, section, value, _ in parsed.symbols
        if info >> 4 in (_STB_GLOBAL, _STB_WEAK) and section in places
    }


# Relocating.


def _relocate(parsed: _Object, table: _Section, places: dict[int, int], code: bytearray) -> None:
    target = parsed.sections[table.info]
    base, relative = places[table.info], parsed.machine.relative
    for offset, info, addend in _RELOCATION.iter_unpack(table.data):
        form = relative.get(info & 0xFFFFFFFF)
        if form is None:
            raise CompileError(_why_not(parsed, target, info))
        if offset + form.size > target.size:
            raise IndexError(f"a relocation at {offset:#x} of {target.name}, which has {target.size} bytes")
        place = base + offset
        form.pack_into(code, place, _address(parsed, info >> 32, places) + addend - place)


def _address(parsed: _Object, symbol: int, places: dict[int, int]) -> int:
    _, _, _, section, value, _ = parsed.symbols[symbol]
    place = places.get(section)
    if place is None:
        raise CompileError(_why_nowhere(parsed, symbol))
    return place + value


def _relocated_line_table(parsed: _Object, section: _Section, places: dict[int, int]) -> bytes:
    """The line table with its addresses as offsets in the blob; references to other debug sections stay unresolved."""
    data = bytearray(section.data)
    for table in parsed.sections:
        if table.kind != _SHT_RELA or parsed.sections[table.info] is not section:
            continue
        for offset, info, addend in _RELOCATION.iter_unpack(table.data):
            if parsed.symbols[info >> 32][3] not in places:
                continue
            form = parsed.machine.absolute.get(info & 0xFFFFFFFF)
            if form is None:
                raise CompileError(_why_not(parsed, section, info))
            if offset + form.size > section.size:
                raise IndexError(f"a relocation at {offset:#x} of {section.name}, which has {section.size} bytes")
            form.pack_into(data, offset, _address(parsed, info >> 32, places) + addend)
    return bytes(data)


def _why_not(parsed: _Object, target: _Section, info: int) -> str:
    kind = info & 0xFFFFFFFF
    reason = parsed.machine.refused.get(kind, "not one that is known here")
    symbol = parsed.name_of(info >> 32)
    return f"{target.name}: relocation type {kind} ({parsed.machine.name}) against {symbol!r}: {reason}"


def _why_nowhere(parsed: _Object, symbol: int) -> str:
    name, (_, info, _, section, _, _) = parsed.name_of(symbol), parsed.symbols[symbol]
    if section == _SHN_UNDEF:
        return (
            f"undefined symbol {name!r}: generated code may not call the host; if it is a library function that LLVM "
            "put in place of an operation, spell the operation out or define it in the module"
        )
    if section == _SHN_COMMON or info & 15 == _STT_TLS:
        return f"symbol {name!r} is common or thread-local; make it internal"
    if section >= _SHN_LORESERVE:
        return f"symbol {name!r} is absolute: it has no distance from the code"
    return f"symbol {name!r} lies in {parsed.sections[section].name!r}, which takes no memory"
