"""The line table says what llvm-dwarfdump says."""

import re
import shutil
import subprocess

import llvm_texts
import pytest

from vmjit.errors import CompileError
from vmjit.jit.elf_object import link
from vmjit.jit.line_table import read_line_table

ROW = re.compile(r"^(0x[0-9a-f]{16})\s+(\d+)\s+\d+\s+\d+.*?(end_sequence)?$", re.MULTILINE)


@pytest.mark.parametrize("version", [4, 5])
def test_lines_of_a_module(compiler, version):
    blob, _ = compiler.compile(llvm_texts.with_lines(version))
    first, second = blob.symbols["first"], blob.symbols["second"]
    rows = dict(zip(blob.line_offsets, blob.lines, strict=True))
    assert list(rows) == sorted(rows)
    assert {line for offset, line in rows.items() if first <= offset < second} >= {100, 2000000, 3}
    assert {line for offset, line in rows.items() if second <= offset} - {0} == {50, 60}
    assert blob.line_at(second) == 50
    assert blob.line_at(len(blob.code)) is None


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.skipif(shutil.which("llvm-dwarfdump") is None, reason="llvm-dwarfdump is not installed")
def test_lines_agree_with_dwarfdump(compiler, version, tmp_path):
    with compiler._module(llvm_texts.with_lines(version)) as module:
        image = compiler._machine.emit_object(module)
    (tmp_path / "x.o").write_bytes(image)
    listing = subprocess.run(
        ["llvm-dwarfdump", "--debug-line", tmp_path / "x.o"], capture_output=True, text=True, check=True
    ).stdout
    blob = link(image)
    rows = ROW.findall(listing)
    assert len(rows) > 6
    last = {int(address, 16): None if end else int(line) or None for address, line, end in rows}
    assert {offset: blob.line_at(offset) for offset in last} == last


def test_a_module_without_locations_has_no_lines(compiler):
    blob, _ = compiler.compile(llvm_texts.ADD)
    assert not blob.lines and blob.line_at(0) is None


@pytest.mark.parametrize("section", [b"\1", b"\0" * 6, b"\x40\0\0\0\5\0", b"\x02\0\0\0\3\0", b"\xff" * 12])
def test_damaged_sections_are_refused(section):
    with pytest.raises(CompileError, match="line table"):
        read_line_table(section, 100)


def test_no_section_no_lines():
    assert [list(column) for column in read_line_table(b"", 0)] == [[], []]
