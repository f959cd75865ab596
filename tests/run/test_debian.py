"""Debian's riscv64 programs, dynamically linked, from a sysroot: each line of debian/commands.txt under vmjit and qemu.

Set VMJIT_TEST_SYSROOT to the folder (`tests/programs/fetch_debian.sh DIR $(cat tests/run/debian/packages.txt)` makes
one and prints its path); everything is skipped without it. qemu-user cannot execve a guest program without binfmt_misc,
so on its PATH each program is a script of the host; what executes a program by its absolute path has a known answer.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest_runs import Invocation, Outcome, prepare_files, run_qemu, run_vmjit

ARROW = " ==> "
ENVIRONMENT = {"TZ": "UTC", "LC_ALL": "C", "HOME": "/", "TMPDIR": ".", "PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Command:
    """A command line for dash; `answer` is its output where qemu cannot be asked."""

    number: int  # of the line
    text: str
    answer: str | None = None


def read_commands() -> list[Command]:
    lines = (Path(__file__).parent / "debian" / "commands.txt").read_text().splitlines()
    commands = []
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            text, arrow, answer = line.rpartition(ARROW)
            text = text if arrow else line
            commands.append(Command(number, text, unescaped(answer) if arrow else None))
    return commands


def unescaped(text: str) -> str:
    return text.encode().decode("unicode_escape")


COMMANDS = read_commands()


@pytest.fixture(scope="session")
def sysroot() -> Path:
    path = os.environ.get("VMJIT_TEST_SYSROOT")
    if not path:
        pytest.skip("VMJIT_TEST_SYSROOT does not name a folder with Debian's riscv64 programs")
    return Path(path)


@pytest.fixture(scope="session")
def host_programs(sysroot: Path, qemu: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH: the sysroot's programs as scripts of the host that run them under qemu."""
    folder = tmp_path_factory.mktemp("programs")
    for program in (sysroot / "usr/bin").iterdir():
        if program.is_file() and program.open("rb").read(4) == b"\x7fELF":
            script = folder / program.name
            script.write_text(f'#!/bin/sh\nexec {qemu} -L {sysroot} -0 {program.name} {program} "$@"\n')
            script.chmod(0o755)
    return folder


Run = Callable[[Command], Outcome]


@pytest.fixture(scope="session")
def environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """With a folder for what Python compiles, kept from session to session: without it each start takes seconds."""
    cache = pytestconfig.cache
    assert cache is not None
    return {**ENVIRONMENT, "PYTHONPYCACHEPREFIX": str(cache.mkdir("debian-python"))}


@pytest.fixture(scope="session")
def under_qemu(
    host_programs: Path,
    sysroot: Path,
    qemu: str,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    def run(command: Command) -> Outcome:
        invocation = Invocation(("-c", command.text), env={**environment, "PATH": str(host_programs)})
        scratch = prepare_files(tmp_path_factory.mktemp("qemu"))
        return run_qemu(qemu, sysroot / "usr/bin/dash", invocation, scratch, ("-L", str(sysroot)))

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command.number) for command in COMMANDS])
def test_command(command: Command, sysroot: Path, under_qemu: Run, environment: dict[str, str], tmp_path: Path) -> None:
    invocation = Invocation(("-c", command.text), env={**environment, "PATH": "/usr/bin:/bin"})
    outcome = run_vmjit("auto", sysroot / "usr/bin/dash", invocation, prepare_files(tmp_path), ("-L", str(sysroot)))
    wanted = under_qemu(command) if command.answer is None else Outcome(command.answer.encode(), 0)
    assert wanted.stdout, "a command that prints nothing tests nothing"
    assert outcome == wanted


def test_a_program_without_its_linker_says_where_it_is_looked_for(sysroot: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmjit", "run", "-L", str(tmp_path), str(sysroot / "usr/bin/true")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    linker = f"{tmp_path}/lib/ld-linux-riscv64-lp64d.so.1"
    assert run.returncode == 126
    assert run.stderr == f"vmjit: {linker}: not found; give the folder that has it by -L\n"
