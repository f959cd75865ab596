"""Imports go one way: a package may import those of earlier layers only, whether at the top of a file or when needed.

llvmlite is imported in one package, and numpy only where it is needed, because a start from the code cache has no use
for either.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmjit

ROOT = Path(vmjit.__file__).parent
LAYERS = (
    ("errors", "debug"),
    ("ir",),
    ("memory",),
    ("isa", "passes", "codegen", "loader"),
    ("guest", "jit"),
    ("engine",),
    ("linux",),
    ("machine", "board"),
    ("fuzz",),
    ("cli",),
    ("__init__", "__main__"),
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
ONLY = {"linux": {"memory", "loader", "errors", "guest"}}  # a world does not know what executes its program
ALLOWED = {"debug": {"errors"}}  # within a layer
LLVMLITE = {"jit", "cli/doctor.py"}  # the doctor says whether it can be imported at all
FILES = sorted(ROOT.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """What a file imports, as full names, and whether that happens when the file is imported."""
    tree = ast.parse(path.read_text())
    at_once = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            yield from ((f"{node.module}.{alias.name}", id(node) in at_once) for alias in node.names)


def imported_packages(path: Path) -> Iterator[str]:
    for name, _ in imports(path):
        top, _, rest = name.partition(".")
        first = rest.partition(".")[0]
        if top == "vmjit" and (first in LAYER or (ROOT / first).is_dir() or (ROOT / f"{first}.py").exists()):
            yield first


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = package_of(path)
    assert package in LAYER, f"{package} has no place in LAYERS"
    for other in imported_packages(path):
        assert other in LAYER, f"{other} has no place in LAYERS"
        allowed = LAYER[other] < LAYER[package] or other == package or other in ALLOWED.get(package, ())
        assert allowed, f"{package} imports {other}"
        assert package not in ONLY or other == package or other in ONLY[package], f"{package} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_large_packages_are_imported_late(path: Path) -> None:
    for name, at_once in imports(path):
        if name.partition(".")[0] == "llvmlite":
            assert {package_of(path), str(path.relative_to(ROOT))} & LLVMLITE, "llvmlite belongs into jit"
        assert not (at_once and name.partition(".")[0] == "numpy"), "import numpy in the function that needs it"
