"""What the code of this host depends on, as a text for the keys of caches, without importing LLVM.

A warm start compiles nothing and must not pay for the import of llvmlite; so the processor is asked of Linux and the
version of LLVM is that of the installed llvmlite. Equal texts mean that LLVM would make the same code.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

_CPUINFO = "/proc/cpuinfo"
# What LLVM looks at to name a processor and its features; not what varies, as clock frequencies do.
_X86_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
_ARM_FIELDS = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features")
_FIELDS = frozenset(_X86_FIELDS + _ARM_FIELDS)


@cache
def host_identity() -> str:
    """Lines `name: value`: the machine, its processor, and llvmlite."""
    return "\n".join([f"machine: {os.uname().machine}", *_processor(_CPUINFO), *_llvmlite()])


def _processor(path: str) -> list[str]:
    """The chosen fields of the first processor."""
    pairs = (line.partition(":") for line in _first_paragraph(path).splitlines())
    return [f"{name.strip()}: {value.strip()}" for name, _, value in pairs if name.strip() in _FIELDS]


def _first_paragraph(path: str) -> str:
    """Read in small steps: to print one more processor, the kernel may have to interrupt it for its frequency."""
    text = b""
    with open(path, "rb", buffering=0) as file:
        while b"\n\n" not in text and (more := file.read(4096)):
            text += more
    return text.split(b"\n\n", 1)[0].decode("utf-8", "replace")


def _llvmlite() -> list[str]:
    """Version and size of the library: distributions build one version of llvmlite against different ones of LLVM.

    importlib.metadata would say the version too, but importing it costs more than all of this module.
    """
    spec = find_spec("llvmlite")
    if spec is None or spec.origin is None:
        return ["llvmlite: none"]
    root = os.path.dirname(spec.origin)
    return [_version(os.path.join(root, "_version.py")), *_libraries(os.path.join(root, "binding"))]


def _version(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.startswith("version_")]
    except OSError:
        lines = []
    return "llvmlite: " + ("; ".join(lines) or "unknown")


def _libraries(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith("libllvmlite"))
        return [f"{name}: {os.stat(os.path.join(folder, name)).st_size} bytes" for name in names]
    except OSError:
        return []
