"""Operands: what a field of an encoding row means, once for a whole guest."""

from collections.abc import Callable
from dataclasses import dataclass

from vmjit.ir.layout import RegisterFile


@dataclass(frozen=True)
class Operand:
    """A field: a register number, an immediate, or a structural choice.

    width       bits, for fields that the row names without a bit range
    signed      sign-extend from the highest bit the row names
    file        the register file this is a number of; `written`: the instruction writes that register
    first       number of the first register (three-bit fields of compressed forms start at 8)
    structural  the values that have a meaning, when the field steers the semantics in Python; others are reserved
    strongest   a structural value whose semantics serve for all others (the interpreter then has one handler)
    relative    an offset from the instruction's address, printed as the address it leads to
    names       what assembly prints for each value, for a field that is not a number
    show        prints the value in assembly; the default is decimal
    """

    width: int | None = None
    signed: bool = False
    file: RegisterFile | None = None
    written: bool = False
    first: int = 0
    structural: tuple[int, ...] | None = None
    strongest: int | None = None
    relative: bool = False
    names: tuple[str, ...] = ()
    show: Callable[[int], str] | None = None

    def text(self, value: int, pc: int = 0) -> str:
        """The operand as assembly prints it."""
        if self.file is not None:
            return self.file.names[value + self.first]
        if self.relative:
            return hex((pc + value) & 0xFFFFFFFFFFFFFFFF)
        if self.names:
            return self.names[value]
        return self.show(value) if self.show else str(value)
