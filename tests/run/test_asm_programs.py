"""The shipped ELF files print and return in every tier what is stored next to them; they need no compiler.

`tests/programs/elf/NAME.expected` holds the standard output (from qemu-riscv64 and checked against the manual), the
exit code stands in the source. When the cross compiler is the recorded one, a rebuild must give the same bytes.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from guest_runs import PROGRAMS, ROOT, TIERS, Invocation, Outcome, run_vmjit

SOURCES = sorted((PROGRAMS / "asm").glob("*.S"))
GUESTS = sorted((ROOT / "examples").glob("*.c"))
KERNELS = sorted((ROOT / "benchmarks").glob("*/*.c"))


def load_build() -> ModuleType:
    """tests/programs/build.py as a module; that directory is no package."""
    spec = importlib.util.spec_from_file_location("programs_build", PROGRAMS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def differences(got: bytes, expected: bytes) -> list[str]:
    """The lines that differ, cut to the first value that differs, as `name: value n: got, expected`."""
    rows = []
    for ours, theirs in zip(got.decode().splitlines(), expected.decode().splitlines(), strict=False):
        for index, (left, right) in enumerate(zip(ours.split(" "), theirs.split(" "), strict=False)):
            if left != right:
                rows.append(f"{' '.join(theirs.split()[:2])}: value {index}: {left}, expected {right}")
                break
    return rows[:20]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_expected_output(source: Path, tier: str, tmp_path: Path) -> None:
    program = PROGRAMS / "elf" / source.stem
    invocation = Invocation.of_source(source)
    expected = Outcome(program.with_name(program.name + ".expected").read_bytes(), invocation.code or 0)
    outcome = run_vmjit(tier, program, invocation, tmp_path)
    assert not differences(outcome.stdout, expected.stdout)
    assert outcome == expected


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("source", GUESTS, ids=[source.stem for source in GUESTS])
def test_example(source: Path, tier: str, tmp_path: Path) -> None:
    invocation = Invocation.of_source(source)
    program = ROOT / "examples" / "guests" / source.stem
    expected = (ROOT / "examples" / "guests" / f"{source.stem}.expected").read_bytes()
    assert run_vmjit(tier, program, invocation, tmp_path) == Outcome(expected, invocation.code or 0)


def test_shipped_files_are_reproducible(tmp_path: Path) -> None:
    build = load_build()
    recorded = (PROGRAMS / "elf" / "TOOLCHAIN").read_text()
    if build.toolchain() != recorded:
        pytest.skip(f"the cross compiler is not the recorded one: {recorded.splitlines()[0]}")
    targets = list(build.targets())
    assert len(targets) == len(SOURCES) + len(GUESTS) + len(KERNELS) + 1  # the vDSO
    for target in targets:
        rebuilt = build.build(target, tmp_path)
        assert rebuilt.read_bytes() == (ROOT / target.path).read_bytes(), target.path
        assert os.access(ROOT / target.path, os.X_OK)
