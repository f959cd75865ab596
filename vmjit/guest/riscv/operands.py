"""The fields of RISC-V instructions, named as in the manual, and the instruction set that the rv_*.py files fill.

Numbers are printed as GNU objdump prints them. Fields that steer the semantics are structural; all others may be
known or traced (`Field`), so they must not.
"""

from vmjit.guest.riscv.csr import READ_ONLY, READ_WRITE
from vmjit.guest.riscv.registers import F, X
from vmjit.isa.bits import Operandlike
from vmjit.isa.instruction import InstructionSet
from vmjit.isa.operand import Operand

Field = Operandlike  # an int in a region, traced in an interpreter handler

_FENCE_SETS = tuple(
    "".join(letter for bit, letter in ((8, "i"), (4, "o"), (2, "r"), (1, "w")) if value & bit) or "unknown"
    for value in range(16)
)


ROUNDING_MODES = (0, 1, 2, 3, 4, 7)  # the others are reserved
_STATIC_MODES = (", rtz", ", rdn", ", rup", ", rmm", ", unknown", ", unknown")


def _upper(value: int) -> str:
    return hex(value >> 12 & 0xFFFFF)


OPERANDS = {
    "rd": Operand(5, file=X, written=True),
    "rs1": Operand(5, file=X),
    "rs2": Operand(5, file=X),
    "rdc": Operand(3, file=X, written=True, first=8),
    "rs1c": Operand(3, file=X, first=8),
    "rs2c": Operand(3, file=X, first=8),
    "fd": Operand(5, file=F, written=True),
    "fs1": Operand(5, file=F),
    "fs2": Operand(5, file=F),
    "fs3": Operand(5, file=F),
    "fdc": Operand(3, file=F, written=True, first=8),
    "fs2c": Operand(3, file=F, first=8),
    "imm": Operand(signed=True),
    "uimm": Operand(),
    "upper": Operand(signed=True, show=_upper),  # the immediate of LUI and AUIPC, in place: bits 31 to 12
    "offset": Operand(signed=True, relative=True),
    "shamt": Operand(6, show=hex),
    "shamtw": Operand(5, show=hex),
    "zimm": Operand(5),
    "aqrl": Operand(2, structural=(0, 1, 2, 3), strongest=3, names=("", ".rl", ".aq", ".aqrl")),
    "rm": Operand(3, structural=ROUNDING_MODES, names=(", rne", *_STATIC_MODES, "")),
    "rme": Operand(
        3, structural=ROUNDING_MODES, strongest=7, names=("", *_STATIC_MODES, ", dyn")
    ),  # of exact conversions
    "csr": Operand(12, structural=tuple(READ_WRITE), show=lambda number: READ_WRITE[number].name),
    "csrro": Operand(12, structural=tuple(READ_ONLY), show=lambda number: READ_ONLY[number].name),
    "fm": Operand(4),
    "pred": Operand(4, names=_FENCE_SETS),
    "succ": Operand(4, names=_FENCE_SETS),
}

rv64 = InstructionSet("rv64", OPERANDS)
