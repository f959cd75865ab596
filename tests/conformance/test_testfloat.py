"""The cases of TestFloat agree with every tier, if VMJIT_TESTFLOAT_GEN names its program testfloat_gen.

Without one, a stand-in for it shows that the script finds what differs.
"""

import os
import sys
from pathlib import Path

import pytest
import testfloat
import testfloat_stand_in
from testfloat import EXACT, MODES, names

GENERATOR = os.environ.get("VMJIT_TESTFLOAT_GEN")
CASES = "60"
FEW = ("fadd.s", "fnmsub.d", "flt.s", "fmin.s")


def stand_in(folder: Path, spoilt: str = "none") -> str:
    program = folder / "testfloat_gen"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {testfloat_stand_in.__file__} {spoilt} "$@"\n')
    program.chmod(0o755)
    return str(program)


def run(generator: str, *more: str) -> int:
    operations = [argument for name in FEW for argument in ("--operation", name)]
    return testfloat.main([generator, "--cases", CASES, *operations, *more])


def test_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(stand_in(tmp_path), "--tier", "interpreter") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split() for line in said[1:6]] == [["fadd.s", mode, CASES, str(60 * 3 * 2), "0"] for mode in MODES]
    assert next(line.split() for line in said if line.startswith("flt.s")) == ["flt.s", "rne", CASES, "180", "0"]
    assert said[-2].split() == ["total", str(60 * 5 * 3), str(60 * 5 * 3 * 5), "0"]
    assert said[-1] == "TestFloat does not have: fmin.s"


@pytest.mark.parametrize("tier", ["interpreter", EXACT])
def test_what_differs_is_found_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], tier: str) -> None:
    assert run(stand_in(tmp_path, "f64_mulAdd"), "--tier", tier) == 1
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()[1:] if line.startswith(FEW)]
    wrong = {row[0] for row in rows if row[4] != "0"}
    assert wrong == {"fnmsub.d"}
    assert f"FAILED {tier}: fnmsub.d" in said
    assert "not 7ff8000000000001" in said or tier == EXACT


def test_a_generator_of_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(stand_in(tmp_path, "f64_to_i64")) == 2
    assert "not built with SPECIALIZE_TYPE=RISCV" in capsys.readouterr().err


def test_what_is_no_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "nothing")) == 2
    assert "is no program" in capsys.readouterr().err


@pytest.mark.skipif(GENERATOR is None, reason="VMJIT_TESTFLOAT_GEN does not name testfloat_gen of TestFloat")
@pytest.mark.parametrize("name", [name for name in names() if testfloat.function_of(name)])
def test_operation(name: str) -> None:
    assert GENERATOR is not None
    assert testfloat.main([GENERATOR, "--operation", name]) == 0
