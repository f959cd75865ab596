"""The printed tables hold everything that the code has."""

from pathlib import Path

import pytest

from vmjit.cli import main
from vmjit.debug import CATEGORIES, VARIABLES
from vmjit.guest.riscv.operands import rv64
from vmjit.ir.ops import OPS, TERMINATORS
from vmjit.linux.abi import NAMES


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


def test_the_table_of_system_calls_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doc", "syscalls"]) == 0
    text = (Path(__file__).parents[2] / "docs" / "syscalls.md").read_text()
    assert capsys.readouterr().out == text, "python -m vmjit doc syscalls > docs/syscalls.md"
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ")][1:]
    assert [int(row[0].removeprefix("| ")) for row in rows] == sorted(NAMES)
    assert {row[2] for row in rows} == {"full", "partial", "none"}
    assert all(bool(row[3].removesuffix("|").strip()) for row in rows if row[2] == "partial")


def test_dumps(capsys: pytest.CaptureFixture[str]) -> None:
    names = {line.split()[0] for line in printed(capsys, "dumps") if line}
    assert names == {"category", "-" * len("unimplemented"), "variable", "-" * len("VMJIT_SLOW_CALLS")} | {
        *CATEGORIES,
        *VARIABLES,
    }
