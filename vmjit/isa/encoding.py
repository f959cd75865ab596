"""Encodings from the row a manual prints: `imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011`.

Mask, match, field extraction, encoding and overlap checks all come from that row; no shift is written by hand.
A row reads from the most significant bit down: literal bits, fields by name (width from the operand), or fields with
the bits they hold.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmjit.errors import EncodingError
from vmjit.isa.operand import Operand

_TOKEN = re.compile(r"(?P<bits>[01]+)$|(?P<name>[a-z]\w*)(\[(?P<ranges>[\d:|]+)\])?$")


@dataclass(frozen=True)
class Slice:
    """`width` bits of a word from bit `position` that hold the field's bits from `low`."""

    position: int
    width: int
    low: int


@dataclass(frozen=True)
class Field:
    """All slices of one field; `width` counts from bit 0 to the highest bit named."""

    slices: tuple[Slice, ...]
    width: int
    signed: bool

    def extract(self, word: Any, zero: Any = 0) -> Any:
        """The field of `word`, an int or any type with its operators (not yet sign-extended)."""
        value = zero
        for part in self.slices:
            value = value | (((word >> part.position) & ((1 << part.width) - 1)) << part.low)
        return value

    def decode(self, word: int) -> int:
        value = self.extract(word)
        if self.signed and value >> (self.width - 1):
            value -= 1 << self.width
        return int(value)

    def encode(self, value: int) -> int:
        word = 0
        for part in self.slices:
            word |= ((value >> part.low) & ((1 << part.width) - 1)) << part.position
        return word

    def why_not(self, value: int) -> str | None:
        """Why `value` cannot be encoded, or None."""
        low, high = (-(1 << (self.width - 1)), 1 << (self.width - 1)) if self.signed else (0, 1 << self.width)
        if not low <= value < high:
            return f"{value} is outside {low}..{high - 1}"
        held = sum(((1 << part.width) - 1) << part.low for part in self.slices)
        if value & ~held & ((1 << self.width) - 1):
            return f"{value} has bits that the encoding does not hold ({held:#x})"
        return None


@dataclass(frozen=True)
class Encoding:
    """One row: `size` in bytes, `mask` and `match` of the literal bits, and the fields."""

    row: str
    size: int
    mask: int
    match: int
    fields: Mapping[str, Field]

    @staticmethod
    def parse(row: str, operands: Mapping[str, Operand]) -> "Encoding":
        """Read a row; raises EncodingError unless it has 16 or 32 bits and names known operands."""
        parts = [part for token in row.split() for part in _parse_token(token, row, operands)]
        total = sum(width for _, _, width in parts)
        if total not in (16, 32):
            raise EncodingError(f"{row!r}: {total} bits, not 16 or 32")
        mask = match = 0
        slices: dict[str, list[Slice]] = {}
        position = total
        for name, value, width in parts:
            position -= width
            if name is None:
                mask |= ((1 << width) - 1) << position
                match |= value << position
            else:
                slices.setdefault(name, []).append(Slice(position, width, value))
        fields = {
            name: Field(tuple(found), max(s.low + s.width for s in found), operands[name].signed)
            for name, found in slices.items()
        }
        return Encoding(row, total // 8, mask, match, fields)

    def decode(self, word: int) -> dict[str, int]:
        return {name: field.decode(word) for name, field in self.fields.items()}

    def encode(self, **values: int) -> int:
        """The word with these fields; raises EncodingError for a missing, unknown or unfitting one."""
        if values.keys() != self.fields.keys():
            raise EncodingError(f"{self.row!r} has fields {sorted(self.fields)}, not {sorted(values)}")
        word = self.match
        for name, value in values.items():
            reason = self.fields[name].why_not(value)
            if reason:
                raise EncodingError(f"{self.row!r}: {name}: {reason}")
            word |= self.fields[name].encode(value)
        return word


def _parse_token(token: str, row: str, operands: Mapping[str, Operand]) -> list[tuple[str | None, int, int]]:
    """The parts of a token, most significant first: (field or None, literal bits or lowest field bit, width)."""
    found = _TOKEN.match(token)
    if not found:
        raise EncodingError(f"{row!r}: cannot read {token!r}; write bits, a field, or field[high:low|bit]")
    if found["bits"]:
        return [(None, int(token, 2), len(token))]
    name = found["name"]
    if name not in operands:
        raise EncodingError(f"{row!r}: no operand is named {name!r}")
    if found["ranges"]:
        ranges = [tuple(map(int, part.split(":"))) for part in found["ranges"].split("|")]
        return [(name, part[-1], part[0] - part[-1] + 1) for part in ranges]
    width = operands[name].width
    if width is None:
        raise EncodingError(f"{row!r}: {token!r} needs a bit range, the operand has no width of its own")
    return [(name, 0, width)]
