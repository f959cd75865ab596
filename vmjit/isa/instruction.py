"""Instructions and instruction sets: the notation in which a guest is written.

An instruction is its encoding row, its assembly syntax and its semantics, in one place. An abbreviation (compressed
form) has no semantics of its own: it says which instruction it stands for and how the fields map. Rows that overlap
are an error unless the more specific one says `within`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from vmjit.errors import AssemblyError, DescriptionError, OverlapError
from vmjit.isa.encoding import Encoding
from vmjit.isa.operand import Operand

Semantics = Callable[..., None]


@dataclass(frozen=True, eq=False)
class Instruction:
    """One row of the manual. `semantics` is None for an abbreviation (see `of`) and for a reserved row."""

    name: str
    syntax: str
    encoding: Encoding
    operands: Mapping[str, Operand] = field(repr=False)
    extension: str = ""
    semantics: Semantics | None = None
    within: "Instruction | None" = None
    of: "Instruction | None" = None
    mapping: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)

    @property
    def reserved(self) -> bool:
        return self.semantics is None and self.of is None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The fields that the semantics take, in their order."""
        return () if self.semantics is None else _parameters(self.semantics)[1:]

    def expand(self, fields: Mapping[str, Any]) -> "tuple[Instruction, dict[str, Any]]":
        """The instruction with semantics and its fields; works on ints and on traced bits alike."""
        if self.of is None:
            return self, {name: fields[name] for name in self.parameters}
        mapped = {
            name: value(*(fields[argument] for argument in _parameters(value))) for name, value in self.mapping.items()
        }
        return self.of, {name: mapped[name] for name in self.of.parameters}

    def disassemble(self, fields: Mapping[str, int], pc: int = 0) -> str:
        """Assembly text; offsets are shown as the address they lead to from `pc`."""

        def text(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            return self.operands[name].text(fields[name], pc) if name in fields else found[0]

        mnemonic, _, operands = self.syntax.partition(" ")
        return (_SYNTAX_FIELD.sub(text, mnemonic) + " " + _SYNTAX_NAME.sub(text, operands)).rstrip()

    @property
    def syntax_fields(self) -> list[str]:
        return [a or b for a, b in _SYNTAX_NAME.findall(self.syntax.partition(" ")[2])] + [
            a for a, _ in _SYNTAX_FIELD.findall(self.syntax.partition(" ")[0])
        ]


_SYNTAX_FIELD = re.compile(r"\{(\w+)\}()")
_SYNTAX_NAME = re.compile(r"\{(\w+)\}|\b([a-z]\w*)\b")


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


@dataclass(frozen=True)
class Decoded:
    """An instruction found in memory: what the bits say, and what they stand for."""

    instruction: Instruction
    fields: Mapping[str, int]
    word: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.instruction.encoding.size

    def expand(self) -> tuple[Instruction, dict[str, int]]:
        return self.instruction.expand(self.fields)

    def text(self, pc: int = 0) -> str:
        return self.instruction.disassemble(self.fields, pc)


class InstructionSet:
    """All instructions of a guest; fills up while the guest's modules are imported."""

    def __init__(self, name: str, operands: Mapping[str, Operand]) -> None:
        self.name = name
        self.operands = operands
        self.instructions: list[Instruction] = []

    def instruction(
        self, syntax: str, row: str, *, ext: str, within: Instruction | None = None
    ) -> Callable[[Semantics], Instruction]:
        """Decorator: the function below is the semantics; its parameters after `cpu` are fields of the row."""

        def add(semantics: Semantics) -> Instruction:
            made = Instruction(
                _mnemonic(syntax), syntax, Encoding.parse(row, self.operands), self.operands, ext, semantics, within
            )
            unknown = set(made.parameters) - made.encoding.fields.keys()
            if unknown:
                raise DescriptionError(
                    f"{made.name}: the semantics take {sorted(unknown)}, which {row!r} does not have"
                )
            return self._add(made)

        return add

    def abbreviation(
        self,
        syntax: str,
        row: str,
        *,
        of: Instruction,
        ext: str,
        within: Instruction | None = None,
        **mapping: Callable[..., Any],
    ) -> Instruction:
        """A short form of another instruction; `mapping` gives each field of that one from the fields of this row."""
        missing = set(of.parameters) - mapping.keys()
        if missing:
            raise DescriptionError(f"{syntax}: fields {sorted(missing)} of {of.name} are not given")
        encoding = Encoding.parse(row, self.operands)
        made = Instruction(_mnemonic(syntax), syntax, encoding, self.operands, ext, None, within, of, mapping)
        return self._add(made)

    def reserved(self, row: str, *, ext: str, within: Instruction) -> Instruction:
        """Encodings inside `within` that the manual reserves: they decode as illegal."""
        encoding = Encoding.parse(row, self.operands)
        return self._add(Instruction("reserved", "reserved", encoding, self.operands, ext, None, within))

    def _add(self, made: Instruction) -> Instruction:
        self.instructions.append(made)
        return made

    def named(self, name: str) -> Instruction:
        for instruction in self.instructions:
            if instruction.name == name and not instruction.reserved:
                return instruction
        raise AssemblyError(f"no instruction is named {name!r} in {self.name}")

    def encode(self, name: str, **fields: int) -> int:
        """The word of the instruction named `name` with these fields."""
        return self.named(name).encoding.encode(**fields)

    def assemble(self, text: str, pc: int = 0) -> bytes:
        """The bytes of one line as `disassemble` prints it. Raises AssemblyError."""
        words = text.split(None, 1)
        for instruction in self.instructions:
            if not words or instruction.reserved or not words[0].startswith(instruction.name):
                continue
            fields = _match(instruction, text, pc)
            if fields is not None:
                reasons = [
                    f"{name}: {reason}"
                    for name, value in fields.items()
                    if (reason := instruction.encoding.fields[name].why_not(value))
                ]
                if reasons:
                    raise AssemblyError(f"{text!r}: {'; '.join(reasons)}")
                return instruction.encoding.encode(**fields).to_bytes(instruction.encoding.size, "little")
        raise AssemblyError(f"{text!r} is not an instruction of {self.name} with operands that fit")

    def check(self) -> None:
        """Raise OverlapError for rows that match the same bits without saying so."""
        rows = [(made, made.encoding.size, made.encoding.mask, made.encoding.match) for made in self.instructions]
        for (a, size, mask, match), (b, other_size, other_mask, other_match) in combinations(rows, 2):
            if size != other_size or (match ^ other_match) & mask & other_mask:
                continue
            if not (_lies_within(a, b) or _lies_within(b, a)):
                raise OverlapError(
                    f"{a.name} ({a.encoding.row}) and {b.name} ({b.encoding.row}) overlap; "
                    "give the more specific one within=..."
                )


def _mnemonic(syntax: str) -> str:
    return syntax.split()[0].split("{")[0]


def _lies_within(inner: Instruction, outer: Instruction) -> bool:
    while inner.within is not None:
        inner = inner.within
        if inner is outer:
            return True
    return False


def _match(instruction: Instruction, text: str, pc: int) -> dict[str, int] | None:
    """The fields of `text` if it has the instruction's syntax, else None. Fields the syntax hides are 0."""
    pattern, names = "", []
    for piece in re.split(r"(\{\w+\}|\b[a-z]\w*\b|\s+)", _skip_mnemonic(instruction.syntax)):
        name = piece.strip("{}")
        if name and name in instruction.encoding.fields:
            pattern += f"({_operand_pattern(instruction.operands[name])})"
            names.append(name)
        else:
            pattern += r"\s*" if piece.isspace() else re.escape(piece)
    found = re.fullmatch(re.escape(instruction.name) + pattern, text.strip())
    if not found:
        return None
    fields = dict.fromkeys(instruction.encoding.fields, 0)
    for name, value in zip(names, found.groups(), strict=True):
        fields[name] = _operand_value(instruction.operands[name], value, pc)
    return fields


def _skip_mnemonic(syntax: str) -> str:
    return syntax[len(_mnemonic(syntax)) :]


def _choices(operand: Operand) -> dict[str, int] | None:
    """Texts of an operand that is printed by name, or None for a number."""
    if operand.file is not None:
        count = 1 << operand.width if operand.width else operand.file.count
        return {operand.text(number): number for number in range(count)}
    if operand.names:
        return {operand.text(value): value for value in operand.structural or range(len(operand.names))}
    values = operand.structural if operand.structural is not None and operand.show else None
    return None if values is None else {operand.text(value): value for value in reversed(values)}


def _operand_pattern(operand: Operand) -> str:
    choices = _choices(operand)
    if choices is None:
        return r"-?\w+"
    return "|".join(re.escape(text) for text in sorted(choices, key=len, reverse=True))


def _operand_value(operand: Operand, text: str, pc: int) -> int:
    choices = _choices(operand)
    if choices is not None:
        return choices[text]
    value = int(text, 0)
    if operand.relative:
        return value - pc
    if operand.show and int(operand.show(value), 0) != value:  # printed without its low bits, as lui does
        shifted = value << 12
        value = shifted - (1 << 32) if shifted >> 31 else shifted
    return value
