"""Programs in the tiers of this process: what an end says, and what is told from what."""

from dataclasses import replace
from functools import cache

import pytest

from vmjit.fuzz.end import End
from vmjit.fuzz.judge import DIFFERS, RAISED, Judge, Mismatch
from vmjit.fuzz.program import CODE, CODE_SIZE, CONSTANT, DATA, FIRST, MASK, Program
from vmjit.fuzz.text import parse_program
from vmjit.fuzz.tiers import TIERS

LOOP = "    addi a0, zero, 100\nL1:\n    addi a0, a0, -1\n    c.addi a1, 1\n    bne a0, zero, @L1\n    ebreak\n"
ENDLESS = "L1:\n    addi a0, a0, 1\n    addi a1, a1, 1\n    jal zero, @L1\n"


@cache
def judge() -> Judge:
    return Judge("reference", TIERS)


def ended(code: str, tier: str, given: str = "hot=2", limit: int = 20_000) -> End:
    return judge().benches.run(tier, parse_program(f"{given}\n\n{code}"), limit)


@pytest.mark.parametrize("tier", TIERS)
def test_an_end_says_what_happened(tier: str) -> None:
    end = ended(LOOP, tier, "hot=2 x11=0x7")
    assert (end.reason, end.pc, end.registers["x11"], end.registers["instret"]) == ("BREAKPOINT", FIRST + 14, 107, 302)
    assert end.registers["x10"] == 0 and end.calls == 0
    # Nothing is left of the program before.
    end = ended("    .2byte 0x0\n", tier)
    assert (end.reason, end.pc, end.registers["x11"], end.registers["instret"]) == ("ILLEGAL", FIRST, 0, 1)


@pytest.mark.parametrize("tier", TIERS)
def test_memory_is_where_it_should_be(tier: str) -> None:
    edges = {"x5": DATA, "x6": CONSTANT, "x7": CODE + CODE_SIZE}
    given = " ".join(f"{name}={value:#x}" for name, value in edges.items())
    cases = {
        "sd a0, 0(t0)": 0,
        "sd a0, -8(t0)": DATA - 8,
        "sd a0, -4(t1)": CONSTANT,
        "ld a0, 0(t1)": 0,
        "sb a0, 0(t1)": CONSTANT,
        "sb a0, -1(t2)": CODE + CODE_SIZE - 1,
        "lb a0, -1(t2)": 0,
        "ld a0, -4(t2)": CODE + CODE_SIZE,
    }
    for access, fault in cases.items():
        end = ended(f"    {access}\n    ebreak\n", tier, f"{given} precise=1")
        assert (end.reason, end.argument) == (("FAULT", fault) if fault else ("BREAKPOINT", 0)), access


@pytest.mark.parametrize("tier", TIERS)
def test_system_calls_answer_that_there_is_none(tier: str) -> None:
    end = ended("    addi a7, zero, 2047\n  + ecall\n    addi a1, a0, 0\n    ebreak\n", tier)
    assert (end.reason, end.calls, end.registers["x11"]) == ("BREAKPOINT", 1, -38 & MASK)


@pytest.mark.parametrize("tier", TIERS)
def test_code_that_changes_is_seen_after_a_fence(tier: str) -> None:
    text = """\
    addi a2, zero, 3
L1:
    addi a0, a0, 1
    lui t1, %hi(L1)
  + addi t1, t1, %lo(L1)
  + sw a1, 0(t1)
  + fence.i
    addi a2, a2, -1
    blt zero, a2, @L1
    ebreak
"""
    assert ended(text, tier, "writable=1 hot=1 x11=0x06450513").registers["x10"] == 201  # addi a0, a0, 100


def test_programs_that_do_not_end_are_compared_where_they_were_stopped() -> None:
    verdict = judge().judge(parse_program(f"hot=2\n\n{ENDLESS}"), limit=1000)
    assert verdict.mismatch is None and verdict.instructions == 1000
    assert verdict.end is not None and verdict.end.reason == "LIMIT"


class Wrong:
    """Benches of which one tier is made to be wrong."""

    def __init__(self, tier: str, change: object) -> None:
        self.tier = tier
        self.change = change

    def run(self, tier: str, program: Program, limit: int) -> End:
        end = judge().benches.run(tier, program, limit)
        if tier == self.tier:
            if isinstance(self.change, Exception):
                raise self.change
            end = replace(end, registers={**end.registers, "x11": 5})
        return end


@pytest.mark.parametrize("code", [LOOP, ENDLESS])
def test_a_difference_is_found(code: str) -> None:
    suspicious = Judge.__new__(Judge)
    suspicious.__dict__ |= judge().__dict__ | {"benches": Wrong("jit", None)}
    verdict = suspicious.judge(parse_program(f"hot=2\n\n{code}"), limit=1000)
    assert verdict.mismatch is not None and verdict.end is not None
    assert (verdict.mismatch.tier, verdict.mismatch.kind) == ("jit", DIFFERS)
    assert list(verdict.mismatch.different) == ["x11"]
    assert suspicious.judge(parse_program(f"hot=2\n\n{code}"), "interpreter", 1000).mismatch is None


def test_an_exception_is_a_mismatch() -> None:
    suspicious = Judge.__new__(Judge)
    suspicious.__dict__ |= judge().__dict__ | {"benches": Wrong("auto", KeyError("no such thing"))}
    mismatch = suspicious.judge(parse_program(f"hot=2\n\n{LOOP}")).mismatch
    assert mismatch is not None and (mismatch.tier, mismatch.kind) == ("auto", RAISED)
    assert mismatch.message.endswith("KeyError: 'no such thing'")


def test_what_may_come_from_the_same_defect() -> None:
    mismatch = Mismatch("jit", RAISED, message="Traceback\nKeyError: 1")
    assert mismatch.is_like(Mismatch("jit", RAISED, message="another place\nKeyError: 1"))
    assert not mismatch.is_like(Mismatch("jit", RAISED, message="KeyError: 2"))
    assert not mismatch.is_like(Mismatch("auto", RAISED, message="KeyError: 1"))
    assert not mismatch.is_like(Mismatch("jit", DIFFERS)) and not mismatch.is_like(None)
    assert Mismatch("jit", DIFFERS, {"x1": ("", "")}).is_like(Mismatch("jit", DIFFERS, {"x2": ("", "")}))
