"""qemu as the oracle: it says of programs what the interpreter says, and what it cannot be asked is left out."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from vmjit.errors import UsageError
from vmjit.fuzz.end import differences
from vmjit.fuzz.judge import DIFFERS, Judge
from vmjit.fuzz.limits import Limits
from vmjit.fuzz.program import CODE, CODE_SIZE, CONSTANT, DATA, FIRST, Program
from vmjit.fuzz.programs import random_program
from vmjit.fuzz.qemu import EMULATOR, Qemu, QemuError, may_judge
from vmjit.fuzz.qemu_driver import DRIVER
from vmjit.fuzz.text import initial, parse_program

pytestmark = pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"needs {EMULATOR}")


@cache
def judge() -> Judge:
    return Judge("qemu", ("interpreter",))


@pytest.fixture
def qemu() -> Iterator[Qemu]:
    made = Qemu()
    yield made
    made.close()


def test_qemu_and_the_interpreter_agree() -> None:
    executed = 0
    for seed in range(150):
        verdict = judge().judge(random_program(seed, judge().limits))
        assert verdict.mismatch is None, f"seed {seed}: {verdict.mismatch}"
        executed += verdict.end is not None
    assert executed > 120


def test_everything_gets_there_and_back(qemu: Qemu) -> None:
    registers = {f"x{n}": n * 0x0101010101010101 & (1 << 64) - 1 for n in range(1, 32)}
    registers |= {f"f{n}": n << 40 | 7 for n in range(32)} | {"fflags": 9, "frm": 3}
    words = {DATA: 1, DATA + 0x1FF8: 2, CONSTANT: 3, CONSTANT + 0xFF8: 1 << 63}
    program = replace(parse_program("\n\n    ebreak\n"), registers=registers, words=words)
    end = qemu.run(program)
    assert (end.reason, end.pc) == ("BREAKPOINT", FIRST)
    assert end.registers == {"x0": 0, **registers} and end.memory == program.image + program.data


@pytest.mark.parametrize(
    ("code", "reason", "address"),
    [
        ("lb a0, 0(t0)", "FAULT", DATA - 1),
        ("sb a0, 0(t1)", "FAULT", CONSTANT),
        ("sb a0, 0(t2)", "FAULT", CODE),
        ("amoadd.w a0, a0, (t0)", "MISALIGNED", DATA - 1),
        (".2byte 0x0", "ILLEGAL", None),
        ("jalr zero, 0(t0)", "FAULT", DATA - 2),
    ],
)
def test_traps_are_told_apart(qemu: Qemu, code: str, reason: str, address: int | None) -> None:
    program = parse_program(f"x5={DATA - 1:#x} x6={CONSTANT:#x} x7={CODE:#x}\n\n    {code}\n")
    end = qemu.run(program)
    assert (end.reason, end.argument) == (reason, address)
    assert qemu.run(parse_program("\n\n    ebreak\n")).reason == "BREAKPOINT"  # it goes on


def test_code_may_be_written_when_the_program_says_so(qemu: Qemu) -> None:
    program = parse_program(f"x7={CODE + CODE_SIZE - 4:#x} writable=1\n\n    sw t2, 0(t2)\n    ebreak\n")
    end = qemu.run(program)
    assert end.reason == "BREAKPOINT" and end.memory[CODE_SIZE - 4 : CODE_SIZE] == (CODE + CODE_SIZE - 4).to_bytes(
        4, "little"
    )


def test_a_difference_is_found() -> None:
    program = parse_program("x10=0x5\n\n    addi a0, a0, 1\n    ebreak\n")
    found = judge().benches.run("interpreter", program)
    wrong = replace(found, registers={**found.registers, "x10": 7})
    assert differences(judge().qemu.run(program), wrong) == {"x10": ("0x6", "0x7")}  # type: ignore[union-attr]


def test_what_it_cannot_judge_it_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: Program) -> None:
        raise AssertionError("qemu was asked")

    monkeypatch.setattr(judge().qemu, "run", refuse)
    for code in ("L1:\n    jal zero, @L1\n", "    ecall\n    ebreak\n"):
        verdict = judge().judge(parse_program(f"\n\n{code}"), limit=100)
        assert verdict.mismatch is None and verdict.end is None


@pytest.mark.parametrize(
    ("argument", "judged"), [(0, True), (DRIVER, False), (1 << 38, False), ((1 << 38) - 1, True), (1 << 63, True)]
)
def test_memory_that_only_qemu_has_is_kept_away_from(argument: int, judged: bool) -> None:
    end = replace(initial(parse_program("\n\n")), reason="FAULT", argument=argument)
    assert may_judge(end) is judged
    assert may_judge(replace(end, reason="MISALIGNED")) and not may_judge(replace(end, reason="LIMIT"))


def test_its_end_is_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: bytes) -> bytes:
        raise QemuError("no answer")

    monkeypatch.setattr(judge().qemu, "_answer", fail)
    mismatch = judge().judge(parse_program("\n\n    ebreak\n")).mismatch
    assert mismatch is not None and (mismatch.tier, mismatch.message) == ("qemu", "no answer")
    assert mismatch.kind != DIFFERS


def test_it_is_started_again_when_it_is_gone(qemu: Qemu) -> None:
    program = parse_program("\n\n    ebreak\n")
    qemu.run(program)
    assert qemu.process is not None
    qemu.process.kill()
    qemu.process.wait()
    with pytest.raises(QemuError):
        qemu.run(program)
    assert qemu.run(program).reason == "BREAKPOINT"


def test_its_limits() -> None:
    limits = judge().limits
    assert replace(limits, excluded=frozenset()) == Limits(
        counts=False, endless=False, mixed=False, failing=False, last=False, calls=False
    )
    assert limits.excluded <= {"ctzw", "czero.eqz", "czero.nez"}


def test_it_says_when_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="is not installed"):
        Qemu()
