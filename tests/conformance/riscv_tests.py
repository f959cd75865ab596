"""Runs the instruction tests of riscv-tests as user-mode Linux programs, in every tier of vmjit or under qemu-riscv64.

    python tests/conformance/riscv_tests.py CHECKOUT [--tier TIER]... [--suite SUITE]...

CHECKOUT is one of https://github.com/riscv-software-src/riscv-tests; `riscv_test.h` next to this file takes the place
of its environment, which is for machine mode. The exit code is 0 if all passed, 1 if any did not, 2 if nothing could
be run.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

COMPILER = "riscv64-linux-gnu-gcc"
FLAGS = (
    "-mabi=lp64d",
    "-static",
    "-nostdlib",
    "-fno-pic",
    "-Wl,--no-relax",  # or the linker reaches data through gp, which holds the number of the case
    "-Wl,-z,noexecstack",
    "-Wl,--no-warn-rwx-segments",
)
BUILD_SECONDS = 60
WRITABLE_CODE = "-Wl,--omagic"  # one segment that may be read, written and executed

VMJIT = (sys.executable, "-m", "vmjit", "run")
TIERS = {
    "reference": (*VMJIT, "--tier", "reference"),
    "interpreter": (*VMJIT, "--tier", "interpreter"),
    "copies": (*VMJIT, "--tier", "copies"),
    "jit": (*VMJIT, "--tier", "jit", "--sync"),
    "jit-loaded": (*VMJIT, "--tier", "jit", "--sync"),
    "auto": (*VMJIT, "--tier", "auto"),
    "tlb": (*VMJIT, "--tier", "jit", "--sync", "--memory", "tlb"),
    "qemu": ("qemu-riscv64",),
}
OURS = tuple(tier for tier in TIERS if tier != "qemu")
LOADED = {"jit-loaded": ("-DLOADED_OPERANDS",)}  # tier -> flags: operands come from memory, so that nothing is folded

SUITES = {  # folder of the checkout -> -march
    "rv64ui": "rv64g",
    "rv64um": "rv64g",
    "rv64ua": "rv64g",
    "rv64uf": "rv64g",
    "rv64ud": "rv64g",
    "rv64uc": "rv64g",  # the source switches compressed instructions on where it wants them
    "rv64uzba": "rv64g_zba",
    "rv64uzbb": "rv64g_zbb",
    "rv64uzbs": "rv64g_zbs",
    "rv64uzicond": "rv64g",  # the header makes up for assemblers that do not know it
}
STORES_TO_CODE = ("rv64ui/fence_i", "rv64uc/rvc")  # or keep their data among the instructions
KEEPS_ITS_OPERANDS = ("rv64uc/rvc",)  # c.li is for the preprocessor what li is

PRIVILEGED = "for machine or supervisor mode"
NOT_IMPLEMENTED = "vmjit does not have the extension"
LEFT_OUT = {
    "rv64mi": PRIVILEGED,
    "rv64si": PRIVILEGED,
    "rv64mzicbo": PRIVILEGED,
    "rv64ssvnapot": PRIVILEGED,
    "hypervisor": PRIVILEGED,
    "hypervisor-svadu": PRIVILEGED,
    "rv64up": NOT_IMPLEMENTED,
    "rv64uzbc": NOT_IMPLEMENTED,
    "rv64uzbkb": NOT_IMPLEMENTED,
    "rv64uzbkx": NOT_IMPLEMENTED,
    "rv64uzfh": NOT_IMPLEMENTED,
    "rv64uziccid": "stores to code take effect at fence.i, as without Ziccid",
}


@dataclass(frozen=True)
class Test:
    """One source file, and the program made of it unless `error` says why there is none."""

    suite: str
    source: Path
    program: Path
    error: str | None = None

    @property
    def name(self) -> str:
        return f"{self.suite}/{self.source.stem}"


@dataclass(frozen=True)
class Verdict:
    """`failure` is None for a test that passed."""

    test: Test
    tier: str
    failure: str | None


def build(isa: Path, folder: Path, loaded: tuple[str, ...], suite: str, source: Path) -> Test:
    """Make the program of a source file; `loaded` as in LOADED."""
    program = folder / f"{suite}-{source.stem}{'-loaded' if loaded else ''}"
    made = Test(suite, source, program)
    flags = (*FLAGS, f"-march={SUITES[suite]}", *((WRITABLE_CODE,) if made.name in STORES_TO_CODE else ()))
    flags += loaded if made.name not in KEEPS_ITS_OPERANDS else ()
    folders = (f"-I{HERE}", f"-I{isa / 'macros' / 'scalar'}")
    command = (COMPILER, *flags, *folders, str(source), "-o", str(program))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    if done.returncode == 0:
        return made
    errors = [line for line in done.stderr.splitlines() if "rror" in line]
    return Test(suite, source, program, f"not built: {errors[0] if errors else done.stderr.strip()}")


def build_all(
    pool: ThreadPoolExecutor, isa: Path, folder: Path, loaded: tuple[str, ...], suites: Iterable[str]
) -> list[Test]:
    return list(pool.map(lambda one: build(isa, folder, loaded, *one), sources(isa, suites)))


def run(test: Test, tier: str, seconds: float, cache: Path) -> Verdict:
    """Run a program in a process group of its own, so that what hangs goes with all its children."""
    if test.error is not None:
        return Verdict(test, tier, test.error)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(
        (*TIERS[tier], str(test.program)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "VMJIT_CACHE_DIR": str(cache)},
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Verdict(test, tier, f"no end within {seconds:g} s")
    return Verdict(test, tier, why_not_passed(process.returncode, said.strip()))


def why_not_passed(code: int, said: str) -> str | None:
    """What an exit code and the output mean; a test prints nothing, so whatever is said is the emulator's."""
    if said:
        return f"exit code {code}: {said}"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"case {code}" if code else None


def sources(isa: Path, suites: Iterable[str]) -> list[tuple[str, Path]]:
    return [(suite, source) for suite in suites for source in sorted((isa / suite).glob("*.S"))]


def left_out(isa: Path) -> list[str]:
    """A line for each reason why suites of the checkout are not run, with their numbers of tests."""
    reasons: dict[str, list[str]] = {}
    for suite in sorted({path.parent.name for path in isa.glob("*/*.S")} - set(SUITES)):
        reason = "for RV32" if suite.startswith("rv32") else LEFT_OUT.get(suite, "not known here")
        reasons.setdefault(reason, []).append(f"{suite} {len(sources(isa, [suite]))}")
    return [f"not run, {reason}: {', '.join(found)}" for reason, found in reasons.items()]


def table(verdicts: Sequence[Verdict], tiers: Sequence[str]) -> list[str]:
    """Passed of total by suite and tier."""
    lines = ["".join((f"{'':12}", *(f"{tier:>14}" for tier in tiers)))]
    suites = list(dict.fromkeys(verdict.test.suite for verdict in verdicts))
    for name, members in (*((suite, {suite}) for suite in suites), ("total", set(suites))):
        cells = []
        for tier in tiers:
            ran = [verdict for verdict in verdicts if verdict.tier == tier and verdict.test.suite in members]
            cells.append(f"{sum(verdict.failure is None for verdict in ran)}/{len(ran)}")
        lines.append("".join((f"{name:12}", *(f"{cell:>14}" for cell in cells))))
    return lines


def why_not(isa: Path, tiers: Sequence[str], suites: Sequence[str]) -> str | None:
    """Why nothing can be run, or None."""
    if not (isa / "macros" / "scalar" / "test_macros.h").is_file():
        return f"{isa.parent} is no checkout of riscv-tests: there is no isa/macros/scalar/test_macros.h"
    empty = [suite for suite in suites if not list((isa / suite).glob("*.S"))]
    if empty:
        return f"the checkout has no tests of {', '.join(empty)}"
    tools = (COMPILER, *(TIERS[tier][0] for tier in tiers))
    missing = [tool for tool in dict.fromkeys(tools) if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="run riscv-tests as user-mode programs")
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("--tier", action="append", choices=TIERS, help=f"may be repeated; default: {', '.join(OURS)}")
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at the same time; default: %(default)s")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for each run; default: 60")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the programs are left")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    wanted = arguments(given)
    isa, tiers, suites = wanted.checkout / "isa", wanted.tier or list(OURS), wanted.suite or list(SUITES)
    reason = why_not(isa, tiers, suites)
    if reason is not None:
        print(f"riscv_tests: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(wanted.jobs) as pool:
        folder = wanted.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        flags = {tier: LOADED.get(tier, ()) for tier in tiers}
        tests = {loaded: build_all(pool, isa, folder, loaded, suites) for loaded in set(flags.values())}
        runs = [(test, tier) for tier in tiers for test in tests[flags[tier]]]
        verdicts = list(pool.map(lambda one: run(*one, wanted.timeout, Path(scratch) / "cache"), runs))
    failures = [verdict for verdict in verdicts if verdict.failure is not None]
    for line in (*table(verdicts, tiers), "", *left_out(isa)):
        print(line)
    for verdict in failures:
        print(f"FAILED {verdict.test.name} in {verdict.tier}: {verdict.failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
