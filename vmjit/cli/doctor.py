"""`vmjit doctor`: what vmjit needs of this machine, each thing tried, and what to do where it fails.

A check returns one finding. Only findings that are `required` decide the exit code: without a cache or a cross
compiler programs still run.
"""

import argparse
import mmap
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmjit.cli import printable
from vmjit.debug import Settings
from vmjit.engine.cache import Cache, why_not_ours
from vmjit.guest import GUEST

RESERVATION = 1 << 41  # bytes: guest addresses of 38 bits, and 8 bytes of slot for each
HOSTS = ("x86_64", "aarch64")
PYTHON = (3, 11)
MAP_NORESERVE = 0x4000  # the module mmap of Python 3.11 lacks it


@dataclass(frozen=True)
class Finding:
    """`status` is ok, missing or problem; `advice` says what to do about the latter two."""

    status: str
    subject: str
    text: str
    advice: str = ""
    required: bool = True

    @property
    def prevents_running(self) -> bool:
        return self.required and self.status != "ok"


def main(options: argparse.Namespace) -> int:
    findings = [check() for check in CHECKS]
    for finding in findings:
        advice = f" -- {finding.advice}" if finding.advice else ""
        print(printable(f"{finding.status:8}{finding.subject:15}{finding.text}{advice}"))
    return 1 if any(finding.prevents_running for finding in findings) else 0


def host() -> Finding:
    machine, cores = platform.machine(), len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    text = f"{platform.system()} {platform.release()}, {machine}, {_cpu_name()}, {cores} cores"
    if sys.platform != "linux":
        return Finding(
            "problem", "host", text, "vmjit passes system calls on to Linux: run it in a Linux VM or container"
        )
    if machine not in HOSTS:
        return Finding("problem", "host", text, f"native code is only made for {' and '.join(HOSTS)}")
    return Finding("ok", "host", text)


def python() -> Finding:
    text = f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"
    if sys.version_info < PYTHON:
        return Finding("problem", "python", text, f"use Python {PYTHON[0]}.{PYTHON[1]} or newer")
    if sys.maxsize < 1 << 32:
        return Finding("problem", "python", text, "use a 64-bit Python")
    return Finding("ok", "python", text)


def llvm() -> Finding:
    try:
        import llvmlite
        from llvmlite import binding
    except ImportError as error:
        return _not_importable("llvmlite", error)
    except Exception as error:  # whatever a broken shared library raises
        return Finding(
            "problem", "llvmlite", f"{type(error).__name__}: {error}", "pip install --force-reinstall llvmlite"
        )
    version = ".".join(map(str, binding.llvm_version_info))
    return Finding("ok", "llvmlite", f"{llvmlite.__version__}, LLVM {version}, tuned for {binding.get_host_cpu_name()}")


def numpy() -> Finding:
    """Guest memory as arrays needs it; programs run without."""
    try:
        import numpy
    except ImportError as error:
        return _not_importable("numpy", error, required=False)
    return Finding("ok", "numpy", numpy.__version__)


def cache() -> Finding:
    folder = Settings.from_environment().cache_dir
    if folder is None:
        advice = "" if "VMJIT_CACHE_DIR" in os.environ else "set VMJIT_CACHE_DIR to a folder"
        return Finding("missing", "cache", "none: each start compiles anew", advice, required=False)
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        advice = "make it writable, or set VMJIT_CACHE_DIR; until then each start compiles anew"
        return Finding("problem", "cache", f"{folder}: {error.strerror}", advice, required=False)
    version = Cache(folder, GUEST).folder or folder
    why = why_not_ours(version) if os.path.lexists(version) else ""
    if why:
        advice = "remove it, or set VMJIT_CACHE_DIR; until then each start compiles anew"
        return Finding("problem", "cache", f"{version} is ignored: {why}", advice, required=False)
    return Finding("ok", "cache", folder)


def executable_memory() -> Finding:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection).close()
    except OSError as error:
        advice = "allow writable executable memory (SELinux: execmem; systemd: MemoryDenyWriteExecute=no)"
        return Finding("problem", "native code", f"not allowed: {error.strerror}", advice)
    return Finding("ok", "native code", "memory may be writable and executable")


def address_space() -> Finding:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    size = f"{RESERVATION >> 40} TiB of addresses"
    try:
        mmap.mmap(-1, RESERVATION, flags, mmap.PROT_READ | mmap.PROT_WRITE).close()
    except OSError as error:
        return Finding("problem", "address space", f"{size} cannot be reserved: {error.strerror}", _why_not_reserved())
    return Finding("ok", "address space", f"{size} can be reserved")


def cross_compiler() -> Finding:
    return _tool("cross compiler", "riscv64-linux-gnu-gcc", "only for building guest programs (gcc-riscv64-linux-gnu)")


def qemu() -> Finding:
    return _tool("qemu", "qemu-riscv64", "only for comparisons in tests and benchmarks (qemu-user)")


CHECKS: tuple[Callable[[], Finding], ...] = (
    host,
    python,
    llvm,
    numpy,
    cache,
    executable_memory,
    address_space,
    cross_compiler,
    qemu,
)


def _not_importable(name: str, error: ImportError, *, required: bool = True) -> Finding:
    return Finding("missing", name, f"cannot be imported: {error}", f"{sys.executable} -m pip install {name}", required)


def _tool(subject: str, name: str, purpose: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding("missing", subject, f"no {name}", f"needed {purpose}", required=False)
    return Finding("ok", subject, path, required=False)


def _why_not_reserved() -> str:
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return "ulimit -v unlimited"
    if _read("/proc/sys/vm/overcommit_memory").strip() == "2":
        return "sysctl vm.overcommit_memory=0"
    return "the kernel's address space may be too small"


def _cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "CPU of unknown name"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
