"""The doctor's findings, with what it looks at replaced by what may be wrong with it."""

import mmap
import shutil
import sys
from pathlib import Path

import pytest

from vmjit.cli import doctor, main
from vmjit.engine.cache import Cache


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VMJIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit code and the line about each subject."""
    code = main(["doctor"])
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert all(line.split()[0] in ("ok", "missing", "problem") for line in lines)
    return code, {line[8:23].strip(): line for line in lines}


def test_here(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    code, lines = examine(capsys)
    assert code == 0, lines
    assert lines["cache"] == f"ok      cache          {cache}"
    assert set(lines) == {
        "host",
        "python",
        "llvmlite",
        "numpy",
        "cache",
        "native code",
        "address space",
        "cross compiler",
        "qemu",
    }


@pytest.mark.parametrize(("module", "expected"), [("llvmlite", 1), ("numpy", 0)])
def test_without_a_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, expected: int
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, lines = examine(capsys)
    assert code == expected
    assert lines[module].startswith("missing") and f"-m pip install {module}" in lines[module]


def test_without_tools(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, lines = examine(capsys)
    assert code == 0
    assert lines["qemu"].startswith("missing") and lines["cross compiler"].startswith("missing")


def test_cache_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VMJIT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    code, lines = examine(capsys)
    assert code == 0 and lines["cache"].startswith("problem") and "set VMJIT_CACHE_DIR" in lines["cache"]


def test_cache_that_is_ignored(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    folder = Path(Cache(str(cache), "riscv64").folder or "")
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    code, lines = examine(capsys)
    assert code == 0 and lines["cache"].startswith(
        f"problem cache          {folder} is ignored: others may write to it"
    )
    folder.chmod(0o700)
    assert examine(capsys)[1]["cache"].startswith("ok")


def test_no_cache(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMJIT_CACHE_DIR", "")
    code, lines = examine(capsys)
    assert code == 0 and lines["cache"].startswith("missing")


def test_refused_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mmap, "mmap", refuse)
    code, lines = examine(capsys)
    assert code == 1
    assert lines["native code"].startswith("problem") and "execmem" in lines["native code"]
    assert lines["address space"].startswith("problem") and " -- " in lines["address space"]


def test_another_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "machine", lambda: "s390x")
    code, lines = examine(capsys)
    assert code == 1 and lines["host"].startswith("problem")
