"""Whatever a guest program does, `vmjit run` ends as a kernel would end it, and says why in one line.

The programs are made here: a few instructions in an ELF file, run cold and from within a loop that is compiled by then.
"""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from guest_runs import PROGRAMS, ROOT, TIERS
from machines import assemble

HELLO = PROGRAMS / "elf" / "hello"
FIB = PROGRAMS / "elf" / "fib"
CODE, DATA, PAGE = 0x10000, 0x20000, 4096
READ, WRITE, EXECUTE = 4, 2, 1  # p_flags
LIMIT = 1 << 38  # guest addresses end here
CONSTANTS = 512  # where loop() keeps its constants, from CODE on
SECONDS = 30
# Rounds after which a tier has compiled a loop.
HOT = {"reference": 20, "interpreter": 20, "copies": 300, "jit": 300, "auto": 5000, "tlb": 5000}

Segment = tuple[int, int, bytes, int]  # address, flags, contents, size in memory
Save = Callable[[bytes], Path]


def elf(segments: Iterable[Segment], entry: int = CODE) -> bytes:
    """An executable of these segments."""
    segments = list(segments)
    headers, body = b"", b""
    for address, flags, contents, size in segments:
        body += bytes((address - len(body)) % PAGE)
        place = PAGE + len(body)
        headers += struct.pack("<IIQQQQQQ", 1, flags, place, address, address, len(contents), size, PAGE)
        body += contents
    rest = struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, entry, 64, 0, 5, 64, 56, len(segments), 64, 0, 0)
    return (b"\x7fELF\2\1\1".ljust(16, b"\0") + rest + headers).ljust(PAGE, b"\0") + body


def program(text: str) -> bytes:
    """An executable of some instructions, with a page of data."""
    code = assemble(text, CODE, "riscv64")
    return elf([(CODE, READ | EXECUTE, code, len(code)), (DATA, READ | WRITE, bytes(PAGE), PAGE)])


def loop(access: str, bad: int, rounds: int) -> bytes:
    """An executable that executes one instruction again and again, with a good address in s0 until the last round."""
    text = f"""
        auipc s1, 0x0
        ld s2, {CONSTANTS}(s1)
        ld s0, {CONSTANTS + 8}(s1)
        ld s3, {CONSTANTS + 16}(s1)
        loop:
        addi s3, s3, -1
        sltiu t2, s3, 1
        sub t2, zero, t2
        and t2, t2, s2
        xor s0, s0, t2
        {access}
        back:
        jal zero, @loop"""
    good = CODE + len(assemble(text[: text.index("back:")], CODE, "riscv64")) if access.startswith("jalr") else DATA + 8
    code = assemble(text, CODE, "riscv64").ljust(CONSTANTS, b"\0") + struct.pack("<QQQ", bad ^ good, good, rounds)
    return elf([(CODE, READ | EXECUTE, code, PAGE), (DATA, READ | WRITE, bytes(PAGE), PAGE)])


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a program to a file."""

    def write(contents: bytes) -> Path:
        path = tmp_path / "program"
        path.write_bytes(contents)
        return path

    return write


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vmjit", "run", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run(*arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=SECONDS, env=environment(**more), check=False
    )


def assert_ends(path: Path, tier: str, code: int, says: str) -> None:
    done = run(*TIERS[tier], "--sync", path)
    assert done.stderr.startswith("vmjit: ") and done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("access", "bad", "fault"),
    [
        ("ld t1, 0(s0)", LIMIT - 1, LIMIT),
        ("ld t1, 2047(s0)", LIMIT - 1, LIMIT + 2046),
        ("sd t1, 0(s0)", LIMIT, LIMIT),
        ("lb t1, 0(s0)", 1 << 63, 1 << 63),
        ("sh t1, 0(s0)", (1 << 64) - PAGE, (1 << 64) - PAGE),
        ("ld t1, 0(s0)", (1 << 64) - 1, (1 << 64) - 1),
        ("sw t1, 0(s0)", 0, 0),
        ("fld ft0, 0(s0)", DATA + PAGE - 4, DATA + PAGE),
        ("sw t1, 0(s0)", CODE, CODE),
        ("amoadd.d t1, t2, (s0)", LIMIT, LIMIT),
    ],
)
def test_bad_access(save: Save, tier: str, access: str, bad: int, fault: int) -> None:
    path = save(loop(access, bad, HOT[tier]))
    assert_ends(path, tier, 139, f"segmentation fault on address {fault:#x} at 0x10024: {access}")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (0, 0),
        (DATA, DATA),
        (CODE + PAGE, CODE + PAGE),
        (LIMIT - 2, LIMIT - 2),
        (LIMIT, LIMIT),
        (1 << 63, 1 << 63),
        ((1 << 64) - 2, (1 << 64) - 2),
        ((1 << 64) - 1, (1 << 64) - 2),  # bit 0 of a target does not count
    ],
)
def test_bad_jump(save: Save, tier: str, target: int, fault: int) -> None:
    assert_ends(save(loop("jalr ra, 0(s0)", target, HOT[tier])), tier, 139, f"on address {fault:#x} at {fault:#x}")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("ebreak", 133, "breakpoint at 0x10000: ebreak"),
        ("amoadd.w t1, t2, (ra)", 139, "segmentation fault on address 0x0 at 0x10000: amoadd.w"),
        ("addi ra, zero, 1\namoadd.w t1, t2, (ra)", 135, "bus error on address 0x1 at 0x10004: amoadd.w"),
        ("deeper:\naddi sp, sp, -16\nsd ra, 0(sp)\njal ra, @deeper", 139, "at 0x10004: sd ra, 0(sp)"),
        ("addi t0, zero, 1", 132, "illegal instruction at 0x10004: 0x0"),
    ],
)
def test_other_ends(save: Save, tier: str, text: str, code: int, says: str) -> None:
    assert_ends(save(program(text)), tier, code, says)


def segments(*more: Segment) -> bytes:
    code = assemble("addi a0, zero, 7\naddi a7, zero, 93\necall", CODE, "riscv64")
    return elf([(CODE, READ | EXECUTE, code, len(code)), *more])


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        (segments(), 7),
        (segments((LIMIT - PAGE, READ, b"x", PAGE)), 7),  # the stack goes below it
        (segments((LIMIT, READ, b"x", 1)), 126),
        (segments(((1 << 64) - PAGE, READ, b"x", PAGE)), 126),
        (segments((DATA, READ, b"x", LIMIT)), 126),
        (segments((DATA, READ, b"x", (1 << 64) - 1)), 126),
        (segments((CODE, READ | WRITE, b"", PAGE)), 126),
        (segments((0, READ, b"x", 1)), 7),
        (elf([(CODE, READ, b"", 0)]), 126),
    ],
)
def test_segments_anywhere(save: Save, contents: bytes, code: int) -> None:
    done = run(save(contents))
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 7)


def test_truncated_at_many_places(save: Save) -> None:
    """Each runs as far as it goes or is refused; `vmjit dis` sees every single place in tests/cli/test_errors.py."""
    whole = HELLO.read_bytes()
    codes = set()
    for size in range(0, len(whole), len(whole) // 40):
        done = run("--timeout", "10", save(whole[:size]))
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1
        assert bool(done.stderr) == (done.returncode != 0)
        codes.add(done.returncode)
    assert codes <= {0, 126, 132, 139} and codes >= {0, 126}


ENDLESS = "loop:\naddi t0, t0, 1\njal zero, @loop"
CALLS = "loop:\naddi a7, zero, 172\necall\njal zero, @loop"
READING = "addi a0, zero, 0\nlui a1, 0x20\naddi a2, zero, 1\naddi a7, zero, 63\necall"


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts a guest in the background, with a pipe as its standard input."""
    running = []

    def start(*arguments: object) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=SECONDS)


def wait_until_running(process: "subprocess.Popen[bytes]", text: str) -> None:
    """Until the kernel's description of the process shows that the guest has begun."""
    for _ in range(1000):
        if text in Path(f"/proc/{process.pid}/syscall").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the guest does not begin")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("text", [ENDLESS, CALLS, READING], ids=["loop", "calls", "read"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_at_once(
    save: Save, started: Callable[..., "subprocess.Popen[bytes]"], tier: str, text: str, number: int
) -> None:
    process = started(*TIERS[tier], save(program(text)))
    time.sleep(1.0)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(SECONDS) == -number
    assert time.monotonic() - began < 1
    assert process.stderr is not None and process.stderr.read() == b""


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("text", [ENDLESS, CALLS, READING], ids=["loop", "calls", "read"])
def test_timeout(save: Save, started: Callable[..., "subprocess.Popen[bytes]"], tier: str, text: str) -> None:
    process = started(*TIERS[tier], "--timeout", 0.5, save(program(text)))
    assert process.wait(SECONDS) == 124
    assert process.stderr is not None and process.stderr.read() == b"vmjit: stopped after 0.5 s\n"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("text", [ENDLESS, CALLS], ids=["loop", "calls"])
def test_max_instructions(save: Save, tier: str, text: str) -> None:
    assert_ends_by_limit = run(*TIERS[tier], "--max-instructions", 100_000, save(program(text)))
    assert assert_ends_by_limit.returncode == 124
    assert assert_ends_by_limit.stderr.startswith("vmjit: stopped after 1000")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(save: Save, closed: str) -> None:
    """What is closed for us is closed for the guest, and no message of ours goes astray."""
    line = " ".join(command(HELLO))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, timeout=SECONDS, env=environment())
    assert done.returncode == 0
    assert done.stdout == (b"" if ">&-" in closed.split() else b"Hello from RISC-V\n")
    assert done.stderr == b""
    line = " ".join(command(save(program("ebreak"))))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, timeout=SECONDS, env=environment())
    assert (done.returncode, done.stdout) == (133, b"")


def test_fault_after_the_guest_closed_stderr(save: Save) -> None:
    done = run(save(program("addi a0, zero, 2\naddi a7, zero, 57\necall\nebreak")))
    assert (done.returncode, done.stdout, done.stderr) == (133, "", "")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "directory"])
def test_damaged_cache(tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    line = ("--tier", "jit", "--sync", "--cache-dir", cache, FIB)
    good = run(*line)
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert good.returncode == 0 and len(files) > 1
    for path in files:
        contents = path.read_bytes()
        path.unlink()
        if damage == "directory":
            path.mkdir()
        else:
            path.write_bytes(
                {"garbage": os.urandom(len(contents)), "truncated": contents[: len(contents) // 2], "empty": b""}[
                    damage
                ]
            )
    again = run(*line)
    assert (again.returncode, again.stdout, again.stderr) == (good.returncode, good.stdout, "")
    if damage != "directory":
        assert all(path.stat().st_size > 100 for path in files), "the cache was not repaired"


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--tier", "jit", "--sync", "--cache-dir", tmp_path / "file" / "cache", FIB)
    assert (done.returncode, done.stderr) == (0, "")
