"""Names: files are called what they are about, `__all__` is true, and environment variables are in their table."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import vmjit
from vmjit.cli.doc import dumps
from vmjit.debug import CATEGORIES, VARIABLES

ROOT = Path(vmjit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
SAY_NOTHING = {"utils", "util", "common", "misc", "manager", "base", "helpers"}
HELPERS_OF_NATIVE_CODE = ROOT / "engine" / "helpers.py"  # there it is the word of the field


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def exported(path: Path) -> list[str] | None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def test_files_say_what_they_are_about() -> None:
    for path in FILES:
        assert path == HELPERS_OF_NATIVE_CODE or not SAY_NOTHING & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", [path for path in FILES if exported(path) is not None], ids=module_name)
def test_all_is_true(path: Path) -> None:
    names, module = exported(path) or [], import_module(module_name(path))
    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not hasattr(module, name)] == []
    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_opens_with_the_idea(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


def test_environment_variables_are_in_the_table() -> None:
    used = {name for path in FILES for name in re.findall(r"\bVMJIT_[A-Z_]+\b", path.read_text())}
    printed = set(re.findall(r"\bVMJIT_[A-Z_]+\b", "\n".join(dumps())))
    assert used == printed == set(VARIABLES)


def test_dump_categories_are_in_the_table() -> None:
    """Every category that the source asks for is one that can be asked for."""
    asked = {
        name
        for path in FILES
        for name in re.findall(r'\b(?:dump|wants)\(f?"([\w.-]+?)(?:\.?\{\w+\})?"', path.read_text())
    }
    assert {"ir.<pass>" if name.startswith("ir.") else name for name in asked} <= set(CATEGORIES)
