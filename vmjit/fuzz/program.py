"""A program to be tried: statements, what registers and memory hold before, and how it is run.

Code lies at CODE and begins with a jump to `start`, so that the tiers count it as entered; what comes after it, up to
the end of its pages, is zeros, which are no instruction. Data lies at DATA, read-only behind that, and no page of the
neighbourhood is mapped otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property

from vmjit.guest import get
from vmjit.isa.instruction import Decoded, Instruction, InstructionSet

CODE, CODE_SIZE = 0x10000, 0x2000
DATA, DATA_SIZE = 0x20000, 0x2000
CONSTANT, CONSTANT_SIZE = DATA + DATA_SIZE, 0x1000  # read-only
PAGE = 0x1000
FIRST = CODE + 4  # behind the jump at CODE
MASK = (1 << 64) - 1

# How a field takes in the address of a label.
RELATIVE, HIGH, LOW = "offset", "upper", "imm"


@cache
def instruction_set() -> InstructionSet:
    """All instructions that the decoder knows."""
    guest = get("riscv64")
    made = InstructionSet(guest.name, {})
    made.instructions = list(dict.fromkeys(variant.instruction for variant in guest.decode_table.variants))
    return made


@cache
def _named(name: str) -> Instruction:
    return instruction_set().named(name)


@dataclass(frozen=True)
class Line:
    """One instruction, or bytes that are none; with a `target`, the field for it is zero until the code is laid out."""

    code: bytes
    target: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        return Line, (self.code, self.target)  # without what is cached

    @cached_property
    def decoded(self) -> Decoded | None:
        word = int.from_bytes(self.code, "little")
        found = get("riscv64").decode_table.decode_word(word, len(self.code))
        return None if isinstance(found, int) else found

    def placed(self, at: int, labels: Mapping[str, int]) -> bytes:
        """The bytes at an address. Raises EncodingError when the target is out of reach."""
        if not self.target:
            return self.code
        assert self.decoded is not None
        name = target_field(self.decoded.instruction)
        value = field_of_target(name, at, labels[self.target])
        fields = {**self.decoded.fields, name: value}
        return self.decoded.instruction.encoding.encode(**fields).to_bytes(len(self.code), "little")


def target_field(instruction: Instruction) -> str:
    """The field of an instruction that a label's address goes into."""
    return next(name for name in (RELATIVE, HIGH, LOW) if name in instruction.encoding.fields)


def field_of_target(name: str, at: int, target: int) -> int:
    """An address as a field: from the instruction on, or the halves that LUI and an addition put together."""
    if name == RELATIVE:
        return target - at
    if name == HIGH:
        return (target + 0x800) & ~0xFFF
    return ((target + 0x800) & 0xFFF) - 0x800


def line(name: str, target: str = "", **fields: int) -> Line:
    """The instruction of this name."""
    made = _named(name)
    if target:
        fields[target_field(made)] = 0
    return Line(made.encoding.encode(**fields).to_bytes(made.encoding.size, "little"), target)


@dataclass(frozen=True)
class Statement:
    """A place with a name, or lines that stay or go together."""

    lines: tuple[Line, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Program:
    """
    registers  by their names in the layout; those not named hold 0
    words      64-bit words of data by address; the others are 0
    start      where the first statement lies
    writable   code may be written, and is looked at again after FENCE.I
    hot        jumps to an address until the tier `auto` compiles it
    late       `auto` goes on while it compiles
    precise    compiled regions have exact registers at faults
    """

    statements: tuple[Statement, ...]
    registers: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[int, int] = field(default_factory=dict)
    start: int = FIRST
    writable: bool = False
    hot: int = 2
    late: bool = False
    precise: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        return Program, tuple(getattr(self, each.name) for each in fields(self))

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Where the labels are."""
        found, at = {}, self.start
        for statement in self.statements:
            if statement.label:
                found[statement.label] = at
            at += sum(len(line.code) for line in statement.lines)
        return found

    def lines(self) -> Iterator[tuple[int, bytes, str]]:
        """Address, bytes and label of each line; bytes are empty at a label."""
        at, labels = self.start, self.addresses
        for statement in self.statements:
            if statement.label:
                yield at, b"", statement.label
            for line in statement.lines:
                yield at, line.placed(at, labels), ""
                at += len(line.code)

    @cached_property
    def image(self) -> bytes:
        """All of the code's pages; what does not fit is cut off. Raises EncodingError when a label is out of reach."""
        body = b"".join(code for _, code, _ in self.lines())[: CODE + CODE_SIZE - self.start]
        jump = line("jal", rd=0, offset=self.start - CODE).code
        image = jump.ljust(self.start - CODE, b"\0") + body
        return image.ljust(CODE_SIZE, b"\0")

    @cached_property
    def data(self) -> bytes:
        """Both kinds of data, one behind the other."""
        found = bytearray(DATA_SIZE + CONSTANT_SIZE)
        for address, value in self.words.items():
            found[address - DATA : address - DATA + 8] = value.to_bytes(8, "little")
        return bytes(found)

    @property
    def count(self) -> int:
        """Instructions."""
        return sum(len(statement.lines) for statement in self.statements)
