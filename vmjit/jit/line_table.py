"""Reads the line table of an object: DWARF's .debug_line, versions 4 and 5, as LLVM writes it for one module.

A compiler's line number is whatever the author of the module made of it; here it names a guest instruction.
The state machine is that of DWARF 5, section 6.2, cut down to address and line: files, columns and views are skipped.
A row of line 0 says "no line": LLVM writes it for code without a place in the source, and here it ends a sequence too.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from struct import Struct

from vmjit.errors import CompileError

Row = tuple[int, int]  # address, line

_UNIT = Struct("<IH")  # length of what follows the length, version
_LENGTH_64 = 0xFFFFFFF0  # lengths from here on announce 64-bit DWARF, which LLVM writes only when asked
_LINES = 1 << 32

# DWARF 5, 7.22: line number encoding.
_EXTENDED, _COPY, _ADVANCE_PC, _ADVANCE_LINE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 0, 1, 2, 3, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2
_ADDRESS_SIZES = (4, 8)


@dataclass(frozen=True, slots=True)
class _Program:
    """One unit's header: where its opcodes are and how they count."""

    start: int
    end: int
    instruction_size: int
    line_base: int
    line_range: int
    opcode_base: int
    operand_counts: bytes  # of the standard opcodes from 1


def read_line_table(section: bytes, limit: int) -> tuple[array[int], array[int]]:
    """Sorted offsets and the line from each on; addresses in the section are relocated to offsets up to `limit`."""
    try:
        sequences = _sequences(section)
    except IndexError:
        raise CompileError("the line table of the object ends in the middle") from None
    rows: dict[int, int] = {}
    for sequence in sorted(sequences):  # where one sequence ends and another starts, the start counts
        rows.update(sequence)
    offsets, lines = array("Q"), array("I")
    last = 0
    for offset, line in sorted(rows.items()):
        if not (0 <= offset <= limit and 0 <= line < _LINES):
            raise CompileError(f"the line table of the object has line {line} at {offset:#x}, outside of the code")
        if line != last:
            offsets.append(offset)
            lines.append(line)
            last = line
    return offsets, lines


def _sequences(section: bytes) -> list[list[Row]]:
    found: list[list[Row]] = []
    start = 0
    while start < len(section):
        program = _header(section, start)
        found += _run(section, program)
        start = program.end
    return found


def _header(section: bytes, start: int) -> _Program:
    """DWARF 5, 6.2.4; the tables of directories and files are stepped over by the length that is given for them."""
    if start + _UNIT.size > len(section):
        raise IndexError
    length, version = _UNIT.unpack_from(section, start)
    end = start + 4 + length
    if version not in (4, 5) or length >= _LENGTH_64:
        raise CompileError(f"the line table of the object is DWARF {version}, not 4 or 5 in 32-bit format")
    if end > len(section):
        raise IndexError
    at = start + _UNIT.size + (2 if version == 5 else 0)  # address and segment selector sizes are new in version 5
    header_length = int.from_bytes(section[at : at + 4], "little")
    at += 4
    instruction_size, _operations, _is_statement, line_base, line_range, opcode_base = section[at : at + 6].ljust(
        6, b"\0"
    )
    if line_range == 0 or opcode_base == 0:
        raise CompileError("the line table of the object has a line range or an opcode base of 0")
    return _Program(
        start=at + header_length,
        end=end,
        instruction_size=instruction_size,
        line_base=line_base - 256 if line_base > 127 else line_base,
        line_range=line_range,
        opcode_base=opcode_base,
        operand_counts=section[at + 6 : at + 5 + opcode_base],
    )


def _run(section: bytes, program: _Program) -> list[list[Row]]:
    """The sequences of one unit: the opcodes of DWARF 5, 6.2.5, executed."""
    done: list[list[Row]] = []
    rows: list[Row] = []
    address, line, at = 0, 1, program.start
    while at < program.end:
        opcode = section[at]
        at += 1
        if opcode >= program.opcode_base:
            address += (opcode - program.opcode_base) // program.line_range * program.instruction_size
            line += (opcode - program.opcode_base) % program.line_range + program.line_base
            rows.append((address, line))
        elif opcode == _EXTENDED:
            size, at = _uleb(section, at)
            kind = section[at]
            if kind == _END_SEQUENCE:
                done.append([*rows, (address, 0)])
                rows, address, line = [], 0, 1
            elif kind == _SET_ADDRESS and size - 1 in _ADDRESS_SIZES:
                address = int.from_bytes(section[at + 1 : at + size], "little")
            at += size
        elif opcode == _COPY:
            rows.append((address, line))
        elif opcode == _ADVANCE_PC:
            operand, at = _uleb(section, at)
            address += operand * program.instruction_size
        elif opcode == _ADVANCE_LINE:
            operand, at = _sleb(section, at)
            line += operand
        elif opcode == _CONST_ADD_PC:
            address += (255 - program.opcode_base) // program.line_range * program.instruction_size
        elif opcode == _FIXED_ADVANCE_PC:
            address += int.from_bytes(section[at : at + 2], "little")
            at += 2
        else:
            for _ in range(program.operand_counts[opcode - 1]):
                _, at = _uleb(section, at)
    return done


def _uleb(section: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends (DWARF 5, 7.6)."""
    value = shift = 0
    while True:
        byte = section[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _sleb(section: bytes, at: int) -> tuple[int, int]:
    """The signed form: its last byte's bit 6 is the sign."""
    value, end = _uleb(section, at)
    return (value - (1 << 7 * (end - at)) if section[end - 1] & 0x40 else value), end
