"""A blob: the code of one module, ready to be placed anywhere.

Everything in it is position-independent and all relocations are applied, so placing it is one copy and it can be kept
on disk as it is. The only demand on an address is that it is a multiple of ALIGNMENT.
Imported at every start, warm ones too: keep the imports few.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from struct import Struct

ALIGNMENT = 64  # a cache line, and the largest alignment of a vector constant

_MAGIC = b"vmjitblb"
_VERSION = 1
_PREFIX = Struct("<8sII")  # magic, version, CRC-32 of all that follows
_SIZES = Struct("<QIII")  # bytes of code, symbols, bytes of their names, rows of the line table
_OFFSET, _LINE = "Q", "I"  # array type codes; DWARF as LLVM writes it has 32-bit lines


def _no_rows(code: str) -> array[int]:
    return array(code)


@dataclass(frozen=True, slots=True)
class Blob:
    """`symbols` are offsets in `code`; code from line_offsets[i] on is of the line lines[i]."""

    code: bytes
    symbols: dict[str, int]
    line_offsets: array[int] = field(default_factory=lambda: _no_rows(_OFFSET))
    lines: array[int] = field(default_factory=lambda: _no_rows(_LINE))

    def line_at(self, offset: int) -> int | None:
        """The line of the code at an offset; None if there is none (0 is DWARF's word for that)."""
        row = bisect_right(self.line_offsets, offset) - 1
        return (self.lines[row] or None) if row >= 0 else None

    def to_bytes(self) -> bytes:
        names = "\0".join(self.symbols).encode("utf-8", "surrogateescape")
        sizes = _SIZES.pack(len(self.code), len(self.symbols), len(names), len(self.lines))
        offsets = array(_OFFSET, self.symbols.values())
        body = b"".join((sizes, self.code, offsets, names, self.line_offsets, self.lines))
        return _PREFIX.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body

    @staticmethod
    def from_bytes(data: bytes) -> Blob:
        """The inverse of to_bytes; ValueError for whatever to_bytes did not write, or not completely."""
        if len(data) < _PREFIX.size + _SIZES.size:
            raise ValueError(f"not a blob: only {len(data)} bytes")
        magic, version, checksum = _PREFIX.unpack_from(data)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"not a blob of version {_VERSION}")
        body = memoryview(data)[_PREFIX.size :]
        if zlib.crc32(body) != checksum:
            raise ValueError("the blob is damaged: its checksum does not match")
        return _read(body)


def _read(body: memoryview) -> Blob:
    """The fields of a body, whose sizes need not be true."""
    code_size, symbol_count, names_size, rows = _SIZES.unpack_from(body)
    sizes = (code_size, symbol_count * 8, names_size, rows * 8, rows * 4)
    if _SIZES.size + sum(sizes) != len(body):
        raise ValueError("the blob is damaged: its sizes do not add up")
    parts = []
    start = _SIZES.size
    for size in sizes:
        parts.append(body[start : start + size])
        start += size
    names = bytes(parts[2]).decode("utf-8", "surrogateescape").split("\0") if symbol_count else []
    if len(names) != symbol_count:
        raise ValueError("the blob is damaged: it has not as many names as symbols")
    offsets = array(_OFFSET, bytes(parts[1]))
    line_offsets, lines = array(_OFFSET, bytes(parts[3])), array(_LINE, bytes(parts[4]))
    return Blob(bytes(parts[0]), dict(zip(names, offsets, strict=True)), line_offsets, lines)
