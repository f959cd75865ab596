"""The gate for what is the same in every run: what differs, what fails, and that a commit's own vmjit is counted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import counters, gate  # noqa: E402

BEFORE = {"fib": {"guest instructions": 1000, "code bytes": 1000, "exits": 3}, "straight 10": {"ir operations": 100}}


def changed(subject: str, counter: str, value: int) -> gate.Counts:
    return {**BEFORE, subject: {**BEFORE[subject], counter: value}}


@pytest.mark.parametrize(
    ("subject", "counter", "value", "passes"),
    [
        ("fib", "code bytes", 1000, True),
        ("fib", "code bytes", 1010, True),  # within one per cent
        ("fib", "code bytes", 1011, False),
        ("fib", "code bytes", 900, True),  # better
        ("fib", "guest instructions", 1001, False),  # the program is the same
        ("fib", "guest instructions", 999, False),
        ("fib", "exits", 4, False),
        ("straight 10", "ir operations", 102, False),
    ],
)
def test_what_grows_fails(subject: str, counter: str, value: int, passes: bool) -> None:
    after = changed(subject, counter, value)
    lines, found = gate.report(BEFORE, after, "")
    assert found is passes
    shown = [line for line in lines if f"{subject}: {counter} " in line]
    assert len(shown) == (value != BEFORE[subject][counter])
    assert all(line.startswith("FAILED") is not passes for line in shown)
    assert any(line.strip() == f"Counters: {counter}: WHY" for line in lines) is not passes


def test_a_reason_in_a_message_lets_its_counters_pass() -> None:
    after = {"fib": {"guest instructions": 1000, "code bytes": 2000, "exits": 9}}
    said = "Copies of loops\n\nCounters: code bytes, exits: sieve takes a fifth less\n"
    assert gate.explained(said) == {"code bytes", "exits"}
    assert gate.report(BEFORE, after, said)[1]
    assert gate.report(BEFORE, after, "Counters: all: made anew")[1]
    for no_reason in ("", "Counters: code bytes: x", "Counters: code bytes, exits:", "the Counters: all: x"):
        assert not gate.report(BEFORE, after, no_reason)[1], no_reason
    assert "no counter is named 'exit'" in gate.report(BEFORE, after, "Counters: exit: x")[0][-6]


def test_what_one_side_lacks_is_not_compared() -> None:
    after = {"fib": {**BEFORE["fib"], "regions": 100}, "new": {"code bytes": 1}}
    assert gate.changes(BEFORE, after) == []
    assert gate.report(BEFORE, after, "")[1]


def test_where_nothing_can_be_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "resolved", lambda commit: None)  # the first commit, or a clone without history
    assert gate.main([]) == 0
    assert "there is no HEAD~1" in capsys.readouterr().out
    assert gate.main(["no-such-branch"]) == 2


@pytest.mark.parametrize(("said", "passes"), [("", False), ("Counters: time: checks more", True)])
def test_twice_the_time_fails_without_a_reason(monkeypatch: pytest.MonkeyPatch, said: str, passes: bool) -> None:
    seconds = iter([9.0, 9.0, 1.0, 2.1, 1.1, 2.0])  # the first of each fills the cache
    monkeypatch.setattr(gate, "TIMED", ("fib",))
    monkeypatch.setattr(gate, "TIMED_ROUNDS", 2)
    monkeypatch.setattr(gate, "processor_seconds", lambda *_: next(seconds))
    monkeypatch.setattr(gate, "resolved", lambda commit: "aaaa")
    monkeypatch.setattr(gate, "messages", lambda *_: said)
    monkeypatch.setattr(gate, "checkout", lambda commit, folder: folder)
    monkeypatch.setattr(gate, "count", lambda *_: BEFORE)
    assert gate.main(["--time"]) == (0 if passes else 1)


def test_a_commit_that_the_benchmarks_do_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(folder: Path, _: object) -> gate.Counts:
        if folder.name == "before":
            raise subprocess.CalledProcessError(1, "python")
        return BEFORE

    monkeypatch.setattr(gate, "resolved", lambda commit: "aaaa")
    monkeypatch.setattr(gate, "checkout", lambda commit, folder: folder)
    monkeypatch.setattr(gate, "count", count)
    for said, code in (("", 1), ("Counters: all: another way to compile", 0)):
        monkeypatch.setattr(gate, "messages", lambda *_, said=said: said)
        assert gate.main([]) == code


def test_the_commit_before_runs_its_own_code(tmp_path: Path) -> None:
    if gate.resolved("HEAD") is None:
        pytest.skip("needs the repository")
    folder = gate.checkout("HEAD", tmp_path)
    code = "import benchmarks.guests as b, vmjit; print(vmjit.__file__); print(b.ROOT)"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=folder, env=gate.environment(), check=True, stdout=-1, text=True).stdout
    assert printed.split() == [str(tmp_path / "vmjit" / "__init__.py"), str(ROOT)]
    assert gate.checkout(None, tmp_path) == ROOT


def test_counters_are_counted_and_the_same_again(tmp_path: Path) -> None:
    kernel, found = counters.guests.KERNELS["xorshift"], []
    for cache in (str(tmp_path / "one"), str(tmp_path / "other")):
        counters.guests.run_vmjit(counters.guests.HELLO, cache=cache)
        found.append(counters.of_run(kernel, cache) | counters.of_translated(counters.guests.KERNELS["hash"], cache))
    assert found[0] == found[1] and all(found[0].values())
    assert found[0].keys() | {"ir operations", "llvm lines"} == counters.COUNTERS.keys()
