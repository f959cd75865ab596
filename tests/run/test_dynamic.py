"""A dynamically linked program and its libraries, built by the cross compiler, with the C library of its sysroot."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BUILD_SECONDS, COMPILER
from guest_runs import PROGRAMS, Invocation, Outcome, run_qemu, run_vmjit

from vmjit.debug import Settings
from vmjit.engine.hart import Tier
from vmjit.errors import ElfError
from vmjit.machine import Machine

SOURCES = PROGRAMS / "dynamic"
SYSROOT = Path("/usr/riscv64-linux-gnu")
LINKER = "/lib/ld-linux-riscv64-lp64d.so.1"
TIERS = ("interpreter", "auto")  # compiling all of the C library would take a minute


def build(folder: Path, *arguments: str) -> None:
    try:
        subprocess.run([COMPILER, "-O2", "-Wall", "-Werror", *arguments], check=True, timeout=BUILD_SECONDS, cwd=folder)
    except FileNotFoundError:
        pytest.skip(f"{COMPILER} is not installed")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the program and its libraries."""
    if not (SYSROOT / LINKER[1:]).exists():
        pytest.skip(f"{SYSROOT} has no C library for riscv64")
    made = tmp_path_factory.mktemp("dynamic")
    for name in ("needed", "opened"):
        build(made, "-fPIC", "-shared", str(SOURCES / f"{name}.c"), "-o", f"lib{name}.so")
    build(made, "-fPIE", "-pie", str(SOURCES / "main.c"), "-o", "pie", "-L.", "-lneeded", "-ldl")
    build(made, "-fno-pie", "-no-pie", str(SOURCES / "main.c"), "-o", "fixed", "-L.", "-lneeded", "-ldl")
    return made


@pytest.fixture(scope="session")
def expected(folder: Path, qemu: str) -> Outcome:
    outcome = run_qemu(qemu, folder / "pie", invocation(folder), folder / "qemu", ("-L", str(SYSROOT)))
    assert outcome.code == 2
    assert b"object libopened.so\n" in outcome.stdout
    return outcome


def invocation(folder: Path) -> Invocation:
    return Invocation(("a", "b"), env={"LD_LIBRARY_PATH": str(folder)})


@pytest.mark.parametrize("program", ["pie", "fixed"])
@pytest.mark.parametrize("tier", TIERS)
def test_same_as_qemu(program: str, tier: str, folder: Path, expected: Outcome, tmp_path: Path) -> None:
    assert run_vmjit(tier, folder / program, invocation(folder), tmp_path, ("-L", str(SYSROOT))) == expected


def test_the_linker_runs_the_program_itself(folder: Path, expected: Outcome, tmp_path: Path) -> None:
    """Started by name it gets the program as an argument, and there is no other linker."""
    arguments = Invocation((str(folder / "pie"), "--list"), env={"LD_LIBRARY_PATH": str(folder)})
    outcome = run_vmjit("auto", SYSROOT / LINKER[1:], arguments, tmp_path, ("-L", str(SYSROOT)))
    assert (outcome.code, outcome.stdout.splitlines()[0]) == (1, expected.stdout.splitlines()[0])


def test_a_fault_in_a_library_names_it(folder: Path, tmp_path: Path) -> None:
    build(tmp_path, "-x", "c", str(SOURCES / "fault.c"), "-o", "fault", "-fno-builtin")
    outcome = run_vmjit("auto", tmp_path / "fault", Invocation(), tmp_path, ("-L", str(SYSROOT)))
    assert outcome.code == 128 + 11
    assert re.fullmatch(
        rb"vmjit: segmentation fault on address 0x10 at 0x[0-9a-f]+ \(libc.so.6: .*\+0x[0-9a-f]+\): .+\n",
        outcome.stderr,
    )


def test_the_sysroot_may_be_a_variable(folder: Path, expected: Outcome, tmp_path: Path) -> None:
    given = invocation(folder)
    given.env["VMJIT_SYSROOT"] = str(SYSROOT)
    assert run_vmjit("auto", folder / "pie", given, tmp_path) == expected


@pytest.mark.parametrize(("sysroot", "wanted"), [(None, LINKER), ("/nothing/", f"/nothing{LINKER}")])
def test_a_linker_that_is_not_there(folder: Path, sysroot: str | None, wanted: str) -> None:
    with pytest.raises(ElfError) as error:
        Machine(str(folder / "pie"), settings=Settings(), sysroot=sysroot, tier=Tier.INTERPRETER)
    assert str(error.value) == f"{wanted}: not found; give the folder that has it by -L"


def test_a_linker_for_another_machine(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / LINKER[1:]).write_bytes(Path(sys.executable).read_bytes()[:4096])
    with pytest.raises(ElfError, match="not RISC-V"):
        Machine(str(folder / "pie"), settings=Settings(), sysroot=str(tmp_path))
