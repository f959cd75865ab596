"""Listings: of shipped programs, from an address or symbol on, of what is no instruction, of files without symbols."""

import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from vmjit.cli import main

PROGRAMS = Path(__file__).parents[1] / "programs" / "elf"
LINE = re.compile(r" *([0-9a-f]+):\t([0-9a-f]+) +\t(\S+)(?:\t([^<]+?))?(?: <(\S+)>)?")
HEADER = re.compile(r"([0-9a-f]{16}) <(\S+)>:")
TEXT = 0x10000


def listing(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["dis", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def executable(path: Path, code: bytes) -> Path:
    """A file without sections and symbols: one executable segment with nothing but this code."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 243, 1, TEXT, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0x1000, TEXT, TEXT, len(code), len(code), 0x1000)
    path.write_bytes((header + segment).ljust(0x1000, b"\0") + code)
    return path


@pytest.mark.parametrize("path", sorted(p for p in PROGRAMS.iterdir() if not p.suffix and p.name != "TOOLCHAIN"))
def test_shipped_programs(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    expected = None
    for line in filter(None, listing(capsys, path).splitlines()):
        header, instruction = HEADER.fullmatch(line), LINE.fullmatch(line)
        assert header or instruction, line
        if header:
            expected = int(header[1], 16)
        elif instruction:
            pc = int(instruction[1], 16)
            assert expected in (None, pc), line
            expected = pc + len(instruction[2]) // 2


HELLO = """\

00000000000100e8 <_start>:
   100e8:	4505               	c.li	a0, 1
   100ea:	00000597           	auipc	a1, 0x0
   100ee:	01c58593           	addi	a1, a1, 28
   100f2:	4649               	c.li	a2, 18
   100f4:	04000893           	addi	a7, zero, 64
   100f8:	00000073           	ecall
   100fc:	4501               	c.li	a0, 0
   100fe:	05d00893           	addi	a7, zero, 93
   10102:	00000073           	ecall
"""


def test_hello(capsys: pytest.CaptureFixture[str]) -> None:
    assert listing(capsys, PROGRAMS / "hello") == HELLO


def test_from_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    lines = HELLO.splitlines(keepends=True)
    assert listing(capsys, PROGRAMS / "hello", "--at", "0x100f2") == "".join(lines[5:])
    assert listing(capsys, PROGRAMS / "hello", "--at", "0x100f2", "--count", 2) == "".join(lines[5:7])
    assert listing(capsys, PROGRAMS / "hello", "--count", 1, "--at", "_start") == "".join(lines[:3])


def test_targets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    out = listing(capsys, PROGRAMS / "illegal", "--at", "print_text", "--count", 10)
    assert "c.beqz\ta0, 0x10154 <print_text+0x12>" in out
    assert "jal\tra, 0x10120 <print_character>" in out


def test_what_is_no_instruction(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = bytes.fromhex("0000 ffffffff 0100 13050500 1305 05")
    assert listing(capsys, executable(tmp_path / "file", code)) == (
        "   10000:\t0000               \t.2byte\t0x0000\n"
        "   10002:\tffffffff           \t.4byte\t0xffffffff\n"
        "   10006:\t0001               \tc.nop\n"
        "   10008:\t00050513           \taddi\ta0, a0, 0\n"
        "   1000c:\t050513             \t.byte\t0x13, 0x05, 0x05\n"
    )


def test_targets_without_symbols(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = struct.pack("<II", 0xFFDFF06F, 0xFE000EE3)  # jal zero, -4; beq zero, zero, -4
    out = listing(capsys, executable(tmp_path / "file", code))
    assert "jal\tzero, 0xfffc\n" in out and "beq\tzero, zero, 0x10000\n" in out


def test_code_longer_than_a_chunk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from vmjit.cli.dis import CHUNK

    nop, addi = b"\x01\x00", b"\x13\x05\x05\x00"
    code = nop + addi * (CHUNK // 4) + nop  # one instruction lies across the boundary
    out = listing(capsys, executable(tmp_path / "file", code)).splitlines()
    assert len(out) == CHUNK // 4 + 2
    assert all("addi\ta0, a0, 0" in line for line in out[1:-1]) and "c.nop" in out[-1]


@pytest.mark.skipif(not shutil.which("riscv64-linux-gnu-gcc"), reason="no riscv64-linux-gnu-gcc")
def test_a_static_glibc_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """All of it is known, `main` ends where it ends, and it is fast (measured: 200 000 instructions a second)."""
    (tmp_path / "p.c").write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    subprocess.run(
        ["riscv64-linux-gnu-gcc", "-O2", "-static", "-o", tmp_path / "p", tmp_path / "p.c"], check=True, timeout=120
    )
    start = time.process_time()
    out = listing(capsys, tmp_path / "p").splitlines()
    seconds = time.process_time() - start
    assert len(out) > 50_000 and len(out) / seconds > 10_000
    unknown = [line for line in out if "byte\t0x" in line]
    assert all(line.endswith(".2byte\t0x0000") for line in unknown)  # what compilers put where nothing returns
    main_lines = listing(capsys, tmp_path / "p", "--at", "main").splitlines()
    assert "<main>:" in main_lines[1] and len(main_lines) < 20 and "\tc.jr\tra" in main_lines[-1]
