"""How the tests of this directory run a guest program: under vmjit in each tier, and under qemu-riscv64.

A program's source opens with a comment that may hold directives, one a line: `args: …` (`{tmp}` is an empty directory),
`env: NAME=value`, `stdin: …` (with \\n), `exit: code`, `link: flags`. Death by signal n
counts as exit code 128+n in both.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "tests" / "programs"

TIERS: dict[str, tuple[str, ...]] = {
    "reference": ("--tier", "reference"),
    "interpreter": ("--tier", "interpreter"),
    "copies": ("--tier", "copies"),
    "jit": ("--tier", "jit", "--sync"),
    "auto": ("--tier", "auto"),
    "tlb": ("--tier", "auto", "--memory", "tlb", "--tlb", "entries=16,victims=2"),  # so that it misses, too
}
FAST_TIERS = tuple(tier for tier in TIERS if tier != "reference")
TIMEOUT_SECONDS = 120

KILL_GRACE_SECONDS = 5

LINES = "".join(
    f"{number * 7919 % 1000:03d} line {number} of {chr(97 + number % 26) * (number % 9)}\n" for number in range(200)
)
FIXED_TIME = 1_000_000_000


@dataclass(frozen=True)
class Outcome:
    """What a run shows to the outside; standard error is not compared."""

    stdout: bytes
    code: int
    stderr: bytes = field(default=b"", compare=False)


@dataclass(frozen=True)
class Invocation:
    """How a program is started; `{tmp}` in an argument stands for an empty directory."""

    args: tuple[str, ...] = ()
    stdin: bytes = b""
    env: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    link: tuple[str, ...] = ()

    @classmethod
    def of_source(cls, source: Path) -> "Invocation":
        """Read the directives of a source file."""
        found = _directives(source)
        name, _, value = found.get("env", "").partition("=")
        return cls(
            args=tuple(shlex.split(found.get("args", ""))),
            stdin=found.get("stdin", "").replace("\\n", "\n").encode(),
            env={name: value} if name else {},
            code=int(found["exit"]) if "exit" in found else None,
            link=tuple(found.get("link", "").split()),
        )


Build = Callable[[Path, str], Path]  # (source, optimisation) -> static ELF file
Judge = Callable[[Path, Invocation], Outcome]  # what qemu-riscv64 makes of a program


def _directives(source: Path) -> dict[str, str]:
    found = {}
    for line in source.read_text().splitlines():
        if not line.startswith(("//", "# ")):
            break
        key, colon, value = line.lstrip("/# ").partition(": ")
        if colon and key in ("args", "env", "stdin", "exit", "link"):
            found[key] = value
    return found


def run_vmjit(tier: str, program: Path, invocation: Invocation, scratch: Path, options: Sequence[str] = ()) -> Outcome:
    """Run a guest program under vmjit; `scratch` is its current and its `{tmp}` directory."""
    return _run([sys.executable, "-m", "vmjit", "run", *TIERS[tier], *options, str(program)], invocation, scratch)


def run_qemu(qemu: str, program: Path, invocation: Invocation, scratch: Path, options: Sequence[str] = ()) -> Outcome:
    """Run a guest program under qemu-riscv64."""
    return _run([qemu, *options, str(program)], invocation, scratch)


def prepare_files(scratch: Path) -> Path:
    """The files that every script finds in its current directory, with a fixed modification time."""
    for name, text in {
        "lines.txt": LINES,
        "tree/a/one": "deep inside one\n",
        "tree/a/two.txt": "two\n",
        "tree/b/three.txt": "deep three\n" * 200,
        "tree/top.txt": "top\n",
    }.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (scratch, *scratch.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (FIXED_TIME, FIXED_TIME))
    return scratch


def _run(command: Sequence[str], invocation: Invocation, scratch: Path) -> Outcome:
    """Run in a process group of its own, so that a hanging guest goes with all its children."""
    scratch.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(
        [*command, *(arg.replace("{tmp}", str(scratch)) for arg in invocation.args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        env={**os.environ, "PYTHONPATH": path, **invocation.env},
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(invocation.stdin, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=KILL_GRACE_SECONDS)
        raise AssertionError(
            f"no end within {TIMEOUT_SECONDS} s: {shlex.join(command)}\n{_tail(stdout)}{_tail(stderr)}"
        ) from None
    sys.stderr.write(_tail(stderr))  # pytest shows it when the test fails
    return Outcome(stdout, 128 - process.returncode if process.returncode < 0 else process.returncode, stderr)


def _tail(text: bytes) -> str:
    return text[-4000:].decode(errors="replace")
