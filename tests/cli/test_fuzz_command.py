"""`vmjit fuzz`: what it prints, its exit code, and what may be typed."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vmjit.cli import main, options
from vmjit.cli.fuzz import Display
from vmjit.fuzz.campaign import Plan, Progress, Say
from vmjit.fuzz.jobs import Setup
from vmjit.fuzz.judge import DIFFERS, ORACLES, Mismatch, Verdict
from vmjit.fuzz.qemu import EMULATOR
from vmjit.fuzz.report import Finding
from vmjit.fuzz.text import initial, parse_program
from vmjit.fuzz.tiers import TIERS

LAST = r"(\d+) programs, (\d+) instructions, (\d+) mismatches \(seed (\d+)\)\n"
PROGRAM = parse_program("x10=0x1\n\n    addi a0, a0, 2\n    .2byte 0x0\n")


@pytest.mark.parametrize("oracle", ORACLES)
def test_it_says_what_it_did(oracle: str, capsys: pytest.CaptureFixture[str]) -> None:
    if oracle == "qemu" and shutil.which(EMULATOR) is None:
        pytest.skip(f"needs {EMULATOR}")
    command = [
        "fuzz",
        "--seed",
        "7",
        "--programs",
        "9",
        "--jobs",
        "1",
        "--oracle",
        oracle,
        "--tiers",
        "interpreter,auto",
    ]
    assert main(command) == 0
    out, err = capsys.readouterr()
    found = re.fullmatch(LAST, out)
    assert found is not None and err == ""
    assert (found[1], found[3], found[4]) == ("9", "0", "7") and int(found[2]) > 9


def pretend(monkeypatch: pytest.MonkeyPatch, findings: int) -> list[Plan]:
    """A campaign that finds so many mismatches at once."""
    plans: list[Plan] = []

    def run(plan: Plan, progress: Progress, say: Say) -> None:
        plans.append(plan)
        end = replace(initial(PROGRAM), reason="ILLEGAL", pc=0x10008)
        verdict = Verdict(3, Mismatch("jit", DIFFERS, {"x10": ("0x3", "0x4")}), end)
        progress.findings += [Finding(plan.seed + n, "reference", PROGRAM, verdict) for n in range(findings)]
        progress.programs = progress.instructions = findings
        say(progress)

    def shrunk(finding: Finding, setup: Setup) -> Finding:
        return finding

    monkeypatch.setattr("vmjit.cli.fuzz.run", run)
    monkeypatch.setattr("vmjit.cli.fuzz.shrunk", shrunk)
    return plans


def test_mismatches_are_shown_and_saved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pretend(monkeypatch, 7)
    assert main(["fuzz", "--seed", "40", "--save", str(tmp_path / "new")]) == 1
    out, err = capsys.readouterr()
    line = "seed {}: jit differs from reference: x10"
    assert err == "".join(f"{line.format(seed)}\n" for seed in range(40, 47))
    for seed in range(40, 45):
        assert f"== {line.format(seed)}\n" in out
        assert f"saved as {tmp_path / 'new' / f'jit_{seed}.txt'}\n" in out
    assert "x10          0x4, expected 0x3" in out
    # Only so many are shrunk and shown.
    assert out.endswith(f"\n{line.format(45)}\n{line.format(46)}\n7 programs, 7 instructions, 7 mismatches (seed 40)\n")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"jit_{seed}.txt" for seed in range(40, 45)]


def test_without_a_seed_it_is_a_fresh_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plans = pretend(monkeypatch, 0)
    for _ in range(2):
        assert main(["fuzz"]) == 0
    printed = [int(seed) for *_, seed in re.findall(LAST, capsys.readouterr().out)]
    assert printed == [plan.seed for plan in plans] and printed[0] != printed[1]
    assert (plans[0].seconds, plans[0].programs) == (60.0, None) and plans[0].jobs >= 1
    assert plans[0].setup.oracle == "reference" and set(plans[0].setup.tiers) == set(TIERS)


def test_options_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = pretend(monkeypatch, 0)
    main(["fuzz", "--seconds", "1.5", "--seed", "0x10", "--oracle", "qemu", "--tiers", "jit,auto", "--jobs", "3"])
    assert plans == [Plan(Setup("qemu", ("jit", "auto")), 16, 1.5, None, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "'-1' is not a whole number from 0 on"),
        (["--tiers", "jit,fast"], "'fast' is none of auto, reference, interpreter, copies, jit"),
        (["--oracle", "spike"], "invalid choice: 'spike'"),
        (["--programs", "0"], "'0' is not a whole number above 0"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_an_environment_that_means_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VMJIT_VERIFY", "perhaps")
    assert main(["fuzz"]) == 2
    assert "VMJIT_VERIFY" in capsys.readouterr().err


def test_what_may_be_typed_is_what_there_is() -> None:
    assert set(options.ORACLES) == set(ORACLES) and set(options.TIERS) == set(TIERS)


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, expected in ((io.StringIO(), ""), (Terminal(), "30 programs, 15.0 a second, 0 mismatches\r")):
        monkeypatch.setattr("sys.stderr", stream)
        say = Display()
        say(Progress(programs=30, seconds=2.0))
        say(Progress(programs=31, seconds=2.0))  # too soon for another line
        assert stream.getvalue() == expected
