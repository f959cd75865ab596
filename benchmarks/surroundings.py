"""On what, with which versions and when something was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.guests import ROOT


def describe(compiler: str, qemu: str) -> dict[str, str]:
    """What is to stand above figures; the load at this moment shows how much else the machine does."""
    from vmjit import __version__

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "vmjit": f"{__version__}, llvmlite {version('llvmlite')}, Python {platform.python_version()}",
        "native": first_line(compiler, "--version"),
        "qemu": first_line(qemu, "--version"),
    }


def processor() -> str:
    """The name that the kernel gives it."""
    with open("/proc/cpuinfo") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """Of the checkout that this file belongs to."""
    if not (ROOT / ".git").exists():
        return "unknown: no checkout"
    changed = bool(git(ROOT, "status", "--porcelain", "--untracked-files=no"))
    return git(ROOT, "rev-parse", "--short=12", "HEAD") + (", with changes" if changed else "")


def git(folder: Path, *arguments: str) -> str:
    return first_line("git", "-C", str(folder), "--no-optional-locks", *arguments)


def first_line(*command: str) -> str:
    """The first line that a command prints, or that there is no such command."""
    if shutil.which(command[0]) is None:
        return f"no {command[0]}"
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
