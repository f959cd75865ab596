"""What cannot be done is said in one line on stderr, with the right exit code, and never with a traceback."""

import os
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from vmjit.cli import COMMANDS, main
from vmjit.errors import ElfError, InternalError, WorkerError

HELLO = Path(__file__).parents[1] / "programs" / "elf" / "hello"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Puts a function in the place of `vmjit.cli.run.main`."""

    def replace(function: Callable[..., int]) -> None:
        module = types.ModuleType("vmjit.cli.run")
        module.main = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "vmjit.cli.run", module)

    return replace


def assert_fails(result: tuple[int, str, str], code: int, *parts: str) -> None:
    assert result[0] == code, result
    assert result[1] == ""
    assert_one_line(result[2])
    for part in parts:
        assert part in result[2]


def assert_one_line(text: str) -> None:
    assert text.startswith("vmjit: ") and text.endswith("\n") and text.count("\n") == 1, text
    assert "Traceback" not in text


def with_bytes(path: Path, offset: int, data: bytes) -> Path:
    contents = bytearray(HELLO.read_bytes())
    contents[offset : offset + len(data)] = data
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no command; there are run"),
        (["walk"], "no command is named 'walk'"),
        (["--walk"], "no command is named '--walk'"),
        (["run"], "which PROGRAM?"),
        (["run", "--"], "which PROGRAM?"),
        (["run", "--stats"], "which PROGRAM?"),
        (["run", "--walk", "x"], "--walk"),
        (["run", "--stat", "x"], "--stat"),
        (["run", "--env", "x"], "'x' is not NAME=VALUE"),
        (["run", "-E", "=1", "x"], "'=1' is not NAME=VALUE"),
        (["run", "-E"], "expected one argument"),
        (["run", "--timeout", "0", "x"], "'0' is not a number of seconds"),
        (["run", "--timeout", "nan", "x"], "'nan' is not a number of seconds"),
        (["run", "--timeout", "inf", "x"], "'inf' is not a number of seconds"),
        (["run", "--max-instructions", "-1", "x"], "'-1' is not a whole number"),
        (["run", "--memory", "paged", "x"], "flat"),
        (["run", "--tier", "fast", "x"], "interpreter"),
        (["dis"], "FILE"),
        (["dis", "--count", "few", "x"], "'few' is not a whole number"),
        (["dis", "x", "y"], "y"),
        (["dis", HELLO, "--at", "nowhere"], "no symbol is named 'nowhere'"),
        (["dis", HELLO, "--at", "0x5"], "no code at 0x5; there is 0x"),
        (["dis", HELLO, "--at", "0x100e9"], "0x100e9 is not a multiple of 2"),
        (["stages", "x"], "ADDRESS|SYMBOL"),
        (["doc"], "topic"),
        (["doc", "all"], "dumps"),
        (["doctor", "x"], "x"),
        (["cache"], "action"),
        (["cache", "shrink"], "shrink"),
        (["compile"], "PROGRAM"),
    ],
)
def test_bad_command_line(run: Run, arguments: list[object], says: str) -> None:
    assert_fails(run(*arguments), 2, says)


def test_no_such_file(run: Run, tmp_path: Path) -> None:
    assert_fails(run("dis", tmp_path / "absent"), 127, "absent: No such file or directory")


def test_a_file_with_a_strange_name(run: Run, tmp_path: Path) -> None:
    assert_fails(run("dis", tmp_path / "a\nb\x1b[2J\udc80"), 127, r"a\nb\x1b[2J\udc80")


def test_directory(run: Run, tmp_path: Path) -> None:
    assert_fails(run("dis", tmp_path), 126, "Is a directory")


def test_path_through_a_file(run: Run) -> None:
    assert_fails(run("dis", HELLO / "more"), 126, "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(run: Run, tmp_path: Path) -> None:
    path = with_bytes(tmp_path / "secret", 0, b"")
    path.chmod(0)
    assert_fails(run("dis", path), 126, "Permission denied")


def test_pipe(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_fails(run("dis", tmp_path / "pipe"), 126, "not a regular file")


@pytest.mark.parametrize("contents", [b"", b"#!/bin/sh\n", b"\x7fEL", bytes(100)])
def test_not_an_elf(run: Run, tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "file").write_bytes(contents)
    assert_fails(run("dis", tmp_path / "file"), 126, "not an ELF file")


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (4, b"\x01", "32-bit"),
        (5, b"\x02", "big-endian"),
        (16, struct.pack("<H", 1), "relocatable object file"),
        (18, struct.pack("<H", 62), "machine x86-64, not RISC-V"),
        (18, struct.pack("<H", 999), "machine number 999, not RISC-V"),
        (56, struct.pack("<H", 0), "0 program headers"),
    ],
)
def test_elf_of_another_kind(run: Run, tmp_path: Path, offset: int, data: bytes, says: str) -> None:
    assert_fails(run("dis", with_bytes(tmp_path / "file", offset, data)), 126, says)


def test_elf_truncated_at_every_byte(run: Run, tmp_path: Path) -> None:
    whole, path = HELLO.read_bytes(), tmp_path / "file"
    codes = set()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        code, out, err = run("dis", path)
        codes.add(code)
        if code == 0:
            assert out and not err  # only section headers or symbols are lost
        else:
            assert_fails((code, out, err), 126, "truncated" if size >= 64 else "")
    assert codes == {0, 126}


def test_elf_with_every_byte_damaged(run: Run, tmp_path: Path) -> None:
    whole, path = HELLO.read_bytes(), tmp_path / "file"
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        code, out, err = run("dis", path, "--count", 3)
        assert code in (0, 126), (place, code, err)
        assert not err if code == 0 else not out
        if code:
            assert_one_line(err)


def test_a_worker_that_cannot_start_is_no_defect(run: Run, command: Callable[..., None]) -> None:
    def fail(options: object) -> int:
        raise WorkerError("the compile worker cannot be started: python: Permission denied")

    command(fail)
    code, _, err = run("run", "x")
    assert (code, err) == (125, "vmjit: the compile worker cannot be started: python: Permission denied\n")


def test_unexpected_exception(run: Run, command: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        raise ValueError("two\nlines")

    monkeypatch.delenv("VMJIT_TRACEBACK", raising=False)
    command(fail)
    assert_fails(run("run", "x"), 125, r"internal error: ValueError: two\nlines; please report; VMJIT_TRACEBACK=1")
    monkeypatch.setenv("VMJIT_TRACEBACK", "1")
    code, _, err = run("run", "x")
    assert code == 125 and "Traceback" in err and "in fail" in err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InternalError("v1 is not defined"), 125, "internal error: InternalError: v1 is not defined"),
        (ElfError("x: broken"), 126, "x: broken"),
        (PermissionError(13, "Permission denied", "x"), 126, "x: Permission denied"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (MemoryError(), 125, "internal error: MemoryError"),
    ],
)
def test_exceptions_of_a_command(
    run: Run, command: Callable[..., None], error: Exception, code: int, says: str
) -> None:
    def fail(options: object) -> int:
        raise error

    command(fail)
    assert_fails(run("run", "x"), code, says)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_quiet_ends(run: Run, command: Callable[..., None], error: BaseException, code: int) -> None:
    def end(options: object) -> int:
        raise error

    command(end)
    assert run("run", "x") == (code, "", "")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert code == 0 and not err and "usage: vmjit" in out


def parsed(command: Callable[..., None], *arguments: str) -> types.SimpleNamespace:
    seen = []

    def keep(options: object) -> int:
        seen.append(options)
        return 7

    command(keep)
    assert main(["run", *arguments]) == 7
    return seen[0]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("arguments", "program", "rest"),
    [
        (["p"], "p", []),
        (["p", "--stats", "--", "-E", "x"], "p", ["--stats", "--", "-E", "x"]),
        (["--stats", "p", "--help"], "p", ["--help"]),
        (["--", "--p", "--", "y"], "--p", ["--", "y"]),
        (["-E", "A=B", "-U", "C", "--tier=jit", "-L/root", "p", "A"], "p", ["A"]),
        (["--dump", "ir", "-", "x"], "-", ["x"]),
        (["p", ""], "p", [""]),
    ],
)
def test_what_follows_the_program_is_its_own(
    command: Callable[..., None], arguments: list[str], program: str, rest: list[str]
) -> None:
    options = parsed(command, *arguments)
    assert (options.program, options.arguments) == (program, rest)


def test_options_of_run(command: Callable[..., None]) -> None:
    line = "-E A=1 --env B=x=y -U C --unset D -L /r --argv0 n --timeout 1.5 --max-instructions 0x10 --sync --strace p"
    options = parsed(command, *line.split())
    assert (options.env, options.unset, options.sysroot) == (["A=1", "B=x=y"], ["C", "D"], "/r")
    assert (options.argv0, options.timeout, options.max_instructions) == ("n", 1.5, 16)
    assert (options.tier, options.memory) == ("auto", None)
    assert options.sync and options.strace and not options.stats and not options.check and not options.no_cache


def test_settings_of_run(command: Callable[..., None]) -> None:
    from vmjit.cli.options import settings

    line = "--dump ir.*,exit --filter 0x10-0x20,main --log /tmp/log --check --no-cache p"
    made = settings(parsed(command, *line.split()))  # type: ignore[arg-type]
    assert made.categories == {"ir.*", "exit"} and made.ranges == ((0x10, 0x20),) and made.names == {"main"}
    assert made.log == "/tmp/log" and made.check and made.cache_dir is None


def in_a_process(*arguments: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    line = [sys.executable, "-m", "vmjit", *arguments]
    return subprocess.run(line, stderr=subprocess.PIPE, timeout=60, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = in_a_process("doc", "isa", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk() -> None:
    with open("/dev/full", "wb") as full:
        done = in_a_process("doc", "isa", stdout=full)
    assert (done.returncode, done.stderr) == (1, b"vmjit: No space left on device\n")


def test_closed_stdout_and_stderr() -> None:
    shell = ["sh", "-c", f"{sys.executable} -m vmjit dis /nonexistent >&- 2>&-"]
    assert subprocess.run(shell, check=False, timeout=60).returncode == 127


def test_start_imports_nothing_large() -> None:
    code = "import sys, vmjit.cli\nprint(vmjit.cli.main(['--help']), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"llvmlite", "numpy", "argparse", "dataclasses", "vmjit.guest", "vmjit.cli.dis"}
