"""The printed tables hold everything that the code has."""

import pytest

from vmjit.cli import main
from vmjit.debug import CATEGORIES, VARIABLES
from vmjit.guest.riscv.operands import rv64
from vmjit.ir.ops import OPS, TERMINATORS


def printed(capsys: pytest.CaptureFixture[str], topic: str) -> list[str]:
    assert main(["doc", topic]) == 0
    return capsys.readouterr().out.splitlines()


def test_isa(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "isa")
    made = [instruction for instruction in rv64.instructions if not instruction.reserved]
    assert len(lines) == 2 + len(made)
    for line, instruction in zip(lines[2:], made, strict=True):
        columns = [column.strip() for column in line.split("  ") if column.strip()]
        assert columns == [instruction.name, instruction.encoding.row, instruction.syntax, instruction.extension]


def test_ir(capsys: pytest.CaptureFixture[str]) -> None:
    names = [line.split()[0] for line in printed(capsys, "ir") if line]
    assert [name for name in names if name in OPS] == list(OPS)
    assert names[-len(TERMINATORS) :] == list(TERMINATORS)


def test_dumps(capsys: pytest.CaptureFixture[str]) -> None:
    names = {line.split()[0] for line in printed(capsys, "dumps") if line}
    assert names == {"category", "-" * len("unimplemented"), "variable", "-" * len("VMJIT_SLOW_CALLS")} | {
        *CATEGORIES,
        *VARIABLES,
    }
