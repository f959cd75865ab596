"""Writes an ELF executable: a header, program headers, and the bytes of each segment at a page of its own.

ELF-64 Object File Format, version 1.5; riscv-elf-psabi for the machine.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PAGE = 0x1000
EM_RISCV, ET_EXEC, PT_LOAD = 243, 2, 1
EF_RISCV_RVC, EF_RISCV_FLOAT_ABI_DOUBLE = 1, 4
READ, WRITE, EXECUTE = 4, 2, 1  # bits of p_flags


@dataclass(frozen=True)
class Segment:
    """`content` at an address, zeros behind it up to `size`."""

    address: int
    size: int
    flags: int
    content: bytes = b""


def executable(entry: int, segments: Sequence[Segment]) -> bytes:
    """The file."""
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little-endian, version 1
        ET_EXEC,
        EM_RISCV,
        1,
        entry,
        64,  # where the program headers are
        0,
        EF_RISCV_RVC | EF_RISCV_FLOAT_ABI_DOUBLE,
        64,
        56,  # size of a program header
        len(segments),
        0,
        0,
        0,
    )
    headers, contents, at = b"", b"", PAGE
    for segment in segments:
        size = len(segment.content)
        headers += struct.pack(
            "<IIQQQQQQ", PT_LOAD, segment.flags, at, segment.address, segment.address, size, segment.size, PAGE
        )
        padded = segment.content.ljust(-(-size // PAGE) * PAGE, b"\0")
        contents += padded
        at += len(padded)
    return (head + headers).ljust(PAGE, b"\0") + contents
