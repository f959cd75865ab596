"""`vmjit stages`: one block of a shipped program through every stage."""

from pathlib import Path

import pytest

from vmjit.cli import main
from vmjit.passes.pipeline import PIPELINE

PROGRAMS = Path(__file__).parents[1] / "programs" / "elf"


def shown(capsys: pytest.CaptureFixture[str], program: str, at: str) -> dict[str, str]:
    """Text by stage."""
    assert main(["stages", str(PROGRAMS / program), at]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return {name: text for name, _, text in (part.partition("\n") for part in out.split("== ")[1:])}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VMJIT_DUMP", "VMJIT_PASSES", "VMJIT_VERIFY"):
        monkeypatch.delenv(name, raising=False)


def test_every_stage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    stages = shown(capsys, "fib", "_start")
    assert list(stages) == ["bytes", "decode", "ir", *(f"ir.{name}" for name, _ in PIPELINE), "llvm", "asm", "code"]
    assert stages["ir"].startswith("region ") and "define " in stages["llvm"] and stages["code"].strip()[0].isdigit()


def test_what_cannot_be_shown_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for at, expected in (("0x3", "there is no instruction"), ("nowhere", "no symbol is named 'nowhere'")):
        assert main(["stages", str(PROGRAMS / "fib"), at]) == 2
        out, err = capsys.readouterr()
        assert out == "" and expected in err and err.count("\n") == 1
