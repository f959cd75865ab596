"""The instruction tests of riscv-tests pass in every tier, if VMJIT_RISCV_TESTS names a checkout of them.

Without one, a checkout made here shows that the script finds what fails, and says which case.
"""

import os
import shutil
from pathlib import Path

import pytest
import riscv_tests
from riscv_tests import COMPILER, OURS, SUITES, why_not_passed

CHECKOUT = os.environ.get("VMJIT_RISCV_TESTS")
SOURCE = """\
#include "riscv_test.h"
#include "test_macros.h"
{needs}
RVTEST_CODE_BEGIN
{code}
fail:
    RVTEST_FAIL
pass:
    RVTEST_PASS
RVTEST_CODE_END
    .data
RVTEST_DATA_BEGIN
RVTEST_DATA_END
"""
CASE = "li TESTNUM, {number}; li a0, {value}; li a1, 7; bne a0, a1, fail;"
FIVE = CASE.format(number=5, value=7)


def source(code: str, needs: str = "RVTEST_RV64U") -> str:
    return SOURCE.format(code=code, needs=needs)


SOURCES = {
    "rv64ui/good": source(f"{FIVE} j pass"),
    "rv64ui/bad": source(f"{FIVE} {CASE.format(number=6, value=8)} j pass"),
    "rv64ui/no_number": source("li TESTNUM, 0; j fail"),
    "rv64ui/large_number": source("li TESTNUM, 256; j fail"),
    "rv64ui/past_the_end": source("j end").replace("RVTEST_CODE_END", "end: RVTEST_CODE_END"),
    "rv64ui/machine_mode": source("csrr a0, mhartid; j pass"),
    "rv64ui/no_assembly": source("no such instruction"),
    "rv64uf/good": source(f"{FIVE} frcsr a0; bnez a0, fail; j pass", "RVTEST_RV64UF"),
    "rv64um/endless": source("1: j 1b"),
    "rv64mi/left_out": source(""),
    "rv64new/left_out": source(""),
}
FAILURES = {
    "bad": "case 6",
    "no_number": "case 255",
    "large_number": "case 255",
    "past_the_end": "illegal instruction",
    "machine_mode": "illegal instruction",
    "no_assembly": "not built: ",
}


needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout, with tests that do not pass among its few."""
    macros = tmp_path / "isa" / "macros" / "scalar" / "test_macros.h"
    macros.parent.mkdir(parents=True)
    macros.write_text("")
    for name, text in SOURCES.items():
        path = tmp_path / "isa" / f"{name}.S"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(checkout: Path, *arguments: str) -> int:
    return riscv_tests.main([str(checkout), *arguments])


@needs_compiler
def test_failures_are_found_and_named(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkout, "--tier", "interpreter", "--suite", "rv64ui", "--suite", "rv64uf", "--jobs", "2") == 1
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[:4]] == [
        ["interpreter"],
        ["rv64ui", "1/7"],
        ["rv64uf", "1/1"],
        ["total", "2/8"],
    ]
    assert "not run, for machine or supervisor mode: rv64mi 1\n" in said
    assert "not run, not known here: rv64new 1\n" in said
    failed = [line for line in said.splitlines() if line.startswith("FAILED")]
    assert len(failed) == len(FAILURES)
    for name, text in FAILURES.items():
        assert any(line.startswith(f"FAILED rv64ui/{name} in interpreter: ") and text in line for line in failed), name


@needs_compiler
def test_what_does_not_end_is_stopped(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkout, "--tier", "interpreter", "--suite", "rv64um", "--timeout", "2") == 1
    assert "FAILED rv64um/endless in interpreter: no end within 2 s" in capsys.readouterr().out


@needs_compiler
def test_success(checkout: Path) -> None:
    assert run(checkout, "--tier", "jit", "--suite", "rv64uf") == 0


def test_what_is_no_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "is no checkout of riscv-tests" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (0, "", None),
        (9, "", "case 9"),
        (0, "vmjit: what?", "exit code 0: vmjit: what?"),
        (139, "vmjit: segmentation fault", "exit code 139: vmjit: segmentation fault"),
        (-4, "", "killed by SIGILL"),
    ],
)
def test_what_an_end_means(code: int, said: str, expected: str | None) -> None:
    assert why_not_passed(code, said) == expected


@pytest.mark.skipif(CHECKOUT is None, reason="VMJIT_RISCV_TESTS does not name a checkout of riscv-tests")
@pytest.mark.parametrize("tier", OURS)
@pytest.mark.parametrize("suite", SUITES)
def test_suite(suite: str, tier: str) -> None:
    assert CHECKOUT is not None
    assert run(Path(CHECKOUT), "--suite", suite, "--tier", tier, "--jobs", "1") == 0
