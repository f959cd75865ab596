"""Fixtures of the end-to-end tests: the cross compiler with its cache of built programs, and qemu-riscv64 as the judge.

Both tools are optional: what needs them is skipped, with the reason, on a machine without them. Built programs are kept
in pytest's cache directory under the hash of source, flags and compiler version, shared by sessions and workers.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from guest_runs import Build, Invocation, Judge, Outcome, run_qemu

COMPILER = "riscv64-linux-gnu-gcc"
C_FLAGS = ("-std=gnu11", "-Wall", "-Werror", "-static")
BUILD_SECONDS = 120


@pytest.fixture(scope="session")
def build_program(pytestconfig: pytest.Config) -> Build:
    """A function that compiles a C source at an optimisation level and returns the static ELF file."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        pytest.skip(f"{COMPILER} is not installed")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=BUILD_SECONDS).stdout
    cache = pytestconfig.cache
    assert cache is not None
    directory = cache.mkdir("guest-programs")

    def build(source: Path, optimisation: str) -> Path:
        flags, libraries = (*C_FLAGS, optimisation), (*Invocation.of_source(source).link, "-lm")
        options = " ".join((*flags, *libraries)).encode()
        key = hashlib.sha256(b"\0".join((version, options, source.read_bytes()))).hexdigest()[:16]
        program = directory / f"{source.stem}{optimisation}-{key}"
        if not program.exists():
            fresh = program.with_name(f"{program.name}.{os.getpid()}")
            command = [compiler, *flags, str(source), "-o", str(fresh), *libraries]
            subprocess.run(command, check=True, timeout=BUILD_SECONDS)
            fresh.replace(program)
        return program

    return build


@pytest.fixture(scope="session")
def qemu() -> str:
    """The path of qemu-riscv64."""
    path = shutil.which("qemu-riscv64") or shutil.which("qemu-riscv64-static")
    if path is None:
        pytest.skip("qemu-riscv64 is not installed")
    return path


@pytest.fixture(scope="session")
def judge(qemu: str, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A function that runs a program under qemu-riscv64, once per program and session."""
    outcomes: dict[Path, Outcome] = {}

    def run(program: Path, invocation: Invocation) -> Outcome:
        if program not in outcomes:
            outcomes[program] = run_qemu(qemu, program, invocation, tmp_path_factory.mktemp("qemu"))
        return outcomes[program]

    return run
