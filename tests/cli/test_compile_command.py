"""`vmjit compile`: what it says, and that the run after it compiles nothing."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vmjit.cli import compile as command
from vmjit.cli import main

ROOT = Path(__file__).parents[2]
ELF = ROOT / "tests" / "programs" / "elf"
KERNELS = ROOT / "benchmarks" / "kernels" / "elf"
DONE = re.compile(
    r"(\d+) of (\d+) functions in (\d+) regions \((\d+) new\), (\d+) instructions, (\d+) bytes of code, [\d.]+ s\n"
)


def vmjit(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the command changes what SIGINT does."""
    line = [sys.executable, "-m", "vmjit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)


def compiled(program: Path, cache: Path, *options: object) -> list[int]:
    """The numbers of the line that it ends with."""
    done = vmjit("compile", "--cache-dir", cache, *options, program)
    assert (done.returncode, done.stderr) == (0, ""), "no bar: it is no terminal"
    found = DONE.fullmatch(done.stdout)
    assert found is not None, done.stdout
    return [int(number) for number in found.groups()]


def test_the_next_run_compiles_nothing(tmp_path: Path) -> None:
    functions, total, regions, new, instructions, size = compiled(KERNELS / "fib", tmp_path, "--jobs", 1)
    assert functions == total and regions == new > 0 and size > instructions > 0
    ran = vmjit("run", "--stats", "--cache-dir", tmp_path, KERNELS / "fib", 3)
    assert ran.stdout == (KERNELS / "fib.expected").read_text() and ran.returncode == 0
    assert re.search(rf"cache hits: +{regions} of {regions} regions\n", ran.stderr), ran.stderr
    assert re.search(r"compiled: +0, 0 refused, 0 failed\n", ran.stderr), ran.stderr

    assert compiled(KERNELS / "fib", tmp_path)[2:4] == [regions, 0], "what is there already is not made again"
    listed = vmjit("cache", "list", "--cache-dir", tmp_path).stdout.splitlines()
    assert len(listed) == 2 and listed[1].startswith(f"{KERNELS / 'fib'}  {regions} region"), listed


def test_functions_whose_jumps_are_not_known_are_left_to_the_run(tmp_path: Path) -> None:
    functions, total, *_ = compiled(ELF / "fib", tmp_path)
    assert 0 < functions < total


def test_a_program_without_symbols(tmp_path: Path) -> None:
    """The place of the section headers, where symbols are found, is 0."""
    whole = bytearray((KERNELS / "fib").read_bytes())
    whole[40:48] = bytes(8)
    program = tmp_path / "stripped"
    program.write_bytes(whole)
    functions, total, *_ = compiled(program, tmp_path / "cache")
    assert functions == total > 0
    program.chmod(0o700)
    ran = vmjit("run", "--stats", "--cache-dir", tmp_path / "cache", program, 3)
    assert ran.stdout == (KERNELS / "fib.expected").read_text()
    assert re.search(r"compiled: +0, 0 refused, 0 failed\n", ran.stderr), ran.stderr


def test_a_limit(tmp_path: Path) -> None:
    assert compiled(KERNELS / "switched", tmp_path, "--limit", 1)[2:4] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "PROGRAM"),
        (("--jobs", "0", "x"), 2, "'0' is not a whole number"),
        (("--limit", "few", "x"), 2, "'few' is not a whole number"),
        (("--cache-dir", "", "x"), 2, "no cache folder"),
        (("/nonexistent",), 127, "/nonexistent: No such file or directory"),
        (("/dev/null",), 126, "/dev/null: not a regular file"),
        ((__file__,), 126, "not an ELF file"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    where = () if "--cache-dir" in arguments else ("--cache-dir", tmp_path)
    done = vmjit("compile", *where, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and done.stderr.startswith("vmjit: ") and done.stderr.count("\n") == 1


def test_a_cache_that_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = vmjit("compile", "--cache-dir", tmp_path / "file" / "cache", ELF / "exit42")
    assert done.returncode == 1 and "nothing can be kept in" in done.stderr and done.stderr.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = command.Bar(4, command.monotonic())
    bar(2)
    bar(3)  # too soon after the one before
    bar.clear()
    assert terminal.getvalue() == f"\r[{'#' * 15}{'.' * 15}] 2/4 functions, 0 s\x1b[K\r\x1b[K"


def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    bar = command.Bar(0, 0.0)
    bar(0)
    bar.clear()
    assert file.getvalue() == ""


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--help"]) == 0
    assert "--limit N" in capsys.readouterr().out
