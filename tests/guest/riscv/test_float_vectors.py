"""Floating-point instructions as guest code, in every tier and under qemu, against exact rational arithmetic.

All pairs of special operands in all five rounding modes, results and exceptions; FLOAT_CASES=10000 asks for that many
random ones besides for each instruction and mode, in all ways of executing them.
"""

import os
import signal
import subprocess
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from exact_floats import DZ, FORMATS, MODES, NV, NX, OF, TABLE, UF, execute
from float_loops import (
    DYNAMIC,
    HOST_MODES,
    KINDS,
    QEMU,
    TIERS,
    Groups,
    Loop,
    Operation,
    Stopped,
    Vectors,
    differences,
    inputs_of,
    joined,
    names,
    on_hart,
    under_qemu,
    why_not_qemu,
)
from float_operands import rows, vectors
from machines import registers

from vmjit.ir.exits import ExitReason

CASES = int(os.environ.get("FLOAT_CASES", "0"))
RANDOM = 200  # vectors besides the special ones, if not asked for more
SLOW = 150  # vectors where each goes through Python, likewise
RESERVED_FRM = (5, 6, 7)
WITH_ROUNDING = [name for name in names() if Operation(name).has_rounding]
needs_qemu = pytest.mark.skipif(why_not_qemu() is not None, reason=str(why_not_qemu()))


def slow(found: Vectors) -> Vectors:
    return found.at_most(max(SLOW, CASES))


def operands(name: str) -> list[tuple[int, ...]]:
    return rows(name, CASES) if CASES else rows(name, RANDOM, 1)


@cache
def of_modes(name: str) -> list[Vectors]:
    """With each mode in force; what does not round gives the same in all."""
    if Operation(name).has_rounding:
        return [vectors(name, operands(name), mode, mode) for mode in MODES]
    found = vectors(name, operands(name), 0, 0)
    return [found, *(slow(replace(found, frm=np.full_like(found.frm, mode))) for mode in MODES[1:])]


def dynamic(name: str) -> Operation:
    return Operation(name, DYNAMIC if Operation(name).has_rounding else 0)


def check(operation: Operation, given: Vectors, tier: str, kinds: tuple[str, ...] = KINDS) -> None:
    found = differences(operation, given, tier, kinds)
    assert not found, f"{tier}: {len(found)} of {len(given)} differ\n" + "\n".join(found[:10])


# Vectors.


def test_every_instruction_is_known() -> None:
    assert sorted(names()) == sorted(TABLE)


@pytest.mark.parametrize("name", names())
def test_with_the_mode_in_force(name: str) -> None:
    found = of_modes(name)
    native = joined([*found[:HOST_MODES], *map(slow, found[HOST_MODES:])])
    check(dynamic(name), native, "interpreter")
    check(dynamic(name), native, "copies")
    check(dynamic(name), native, "jit")
    check(dynamic(name), slow(joined(found)), "reference")


@pytest.mark.parametrize("name", WITH_ROUNDING)
def test_with_a_mode_of_the_instruction(name: str) -> None:
    """Whatever is in force, a reserved mode too. Regions have few of these."""
    for mode in MODES:
        operation = Operation(name, mode)
        found = vectors(name, operands(name), mode, (mode + 1) % HOST_MODES)
        given = joined([found if operation.is_native else slow(found), *in_force(slow(found), RESERVED_FRM)])
        check(operation, given, "interpreter", KINDS if CASES else KINDS[:1])
        check(operation, given, "copies", KINDS if CASES else KINDS[1:2])
        if CASES or operation.is_native or names().index(name) % len(MODES) == mode:
            check(operation, given, "jit", KINDS if CASES else KINDS[1:2])
        if CASES:
            check(operation, slow(found), "reference")


def in_force(given: Vectors, modes: tuple[int, ...]) -> list[Vectors]:
    """A few of the vectors while other modes are in force."""
    return [replace(few, frm=np.full_like(few.frm, mode)) for few in [given.at_most(30)] for mode in modes]


@pytest.mark.parametrize("name", [name for name in names() if name not in WITH_ROUNDING])
def test_a_reserved_mode_is_in_force(name: str) -> None:
    """That is no matter to what does not round."""
    given = joined(in_force(of_modes(name)[0], RESERVED_FRM))
    for tier in TIERS:
        if tier != QEMU or why_not_qemu() is None:
            check(dynamic(name), given, tier, KINDS[:1])


# Reserved modes.

RESERVED = ((5, (0,)), (6, (0,)), (DYNAMIC, RESERVED_FRM))  # rm, and the modes in force


def reserved(name: str, frm: int) -> tuple[np.ndarray, Groups]:
    """Operands of which something would come."""
    given = vectors(name, operands(name)[-3:], 0, frm)
    return inputs_of(given), Groups.of(given)


@pytest.mark.parametrize("tier", ["interpreter", "copies", "jit", "reference"])
@pytest.mark.parametrize("name", WITH_ROUNDING)
def test_reserved_modes_are_illegal(name: str, tier: str) -> None:
    for rm, modes in RESERVED:
        loop = Loop(Operation(name, rm), "each")
        with on_hart(loop, tier) as (hart, run):
            for frm in modes:
                with pytest.raises(Stopped) as stopped:
                    run(*reserved(name, frm))
                stop, after = stopped.value.stop, registers(hart)
                assert (stop.reason, stop.pc) == (ExitReason.ILLEGAL, loop.pc), (rm, frm)
                assert stop.argument == int.from_bytes(loop.operation.code, "little")
                assert (after["fflags"], after["frm"]) == (0, frm)
                assert after["f13"] == after["x16"] == 0  # where the result would be


@needs_qemu
@pytest.mark.parametrize("name", WITH_ROUNDING)
def test_qemu_agrees_on_reserved_modes(name: str) -> None:
    for rm, modes in RESERVED:
        loop = Loop(Operation(name, rm), "each")
        with under_qemu(loop) as run, pytest.raises(subprocess.CalledProcessError) as ended:
            run(*reserved(name, modes[0]))
        assert ended.value.returncode == -signal.SIGILL, rm


@needs_qemu
@pytest.mark.parametrize("name", names())
def test_qemu_agrees(name: str) -> None:
    check(dynamic(name), joined(of_modes(name)), QEMU, KINDS if CASES else KINDS[:1])


# The oracle itself, where the manual's decisions are easily got wrong; singles.

NAN, INFINITY, ONE, LEAST, LEAST_NORMAL, MINUS = 0x7FC00000, 0x7F800000, 0x3F800000, 1, 0x00800000, 0x80000000
RNE, RTZ, RDN, RUP, RMM = MODES
KNOWN = [
    ("fadd.s", RNE, (ONE, 0x33800000), ONE, NX),
    ("fadd.s", RMM, (ONE, 0x33800000), ONE + 1, NX),
    ("fadd.s", RDN, (ONE, MINUS | ONE), MINUS, 0),
    ("fadd.s", RUP, (ONE, MINUS | ONE), 0, 0),
    ("fsub.s", RNE, (INFINITY, INFINITY), NAN, NV),
    ("fmul.s", RNE, (0x3F7FFFFF, LEAST_NORMAL), LEAST_NORMAL, NX | UF),
    ("fmul.s", RNE, (0x3F800001, 0x007FFFFF), LEAST_NORMAL, NX),
    ("fmul.s", RUP, (LEAST, LEAST), LEAST, NX | UF),
    ("fmul.s", RTZ, (0x7F000000, 0x7F000000), INFINITY - 1, NX | OF),
    ("fmul.s", RMM, (0x7F000000, 0x7F000000), INFINITY, NX | OF),
    ("fdiv.s", RNE, (ONE, MINUS), MINUS | INFINITY, DZ),
    ("fdiv.s", RNE, (0, MINUS), NAN, NV),
    ("fdiv.s", RUP, (ONE, 0x40400000), 0x3EAAAAAB, NX),
    ("fsqrt.s", RNE, (MINUS,), MINUS, 0),
    ("fsqrt.s", RDN, (0x40000000,), 0x3FB504F3, NX),
    ("fsqrt.s", RUP, (0x40000000,), 0x3FB504F4, NX),
    ("fsqrt.s", RUP, (0x40800000,), 0x40000000, 0),
    ("fmadd.s", RNE, (INFINITY, 0, NAN), NAN, NV),
    ("fnmadd.s", RDN, (ONE, ONE, MINUS | ONE), MINUS, 0),
    ("fmin.s", RNE, (0, MINUS), MINUS, 0),
    ("fmax.s", RNE, (INFINITY + 1, ONE), ONE, NV),
    ("fmax.s", RNE, (NAN | MINUS, NAN + 1), NAN, 0),
    ("fsgnjx.s", RNE, (MINUS | NAN + 1, MINUS), NAN + 1, 0),
]


@pytest.mark.parametrize(("name", "rm", "patterns", "result", "exceptions"), KNOWN)
def test_the_oracle(name: str, rm: int, patterns: tuple[int, ...], result: int, exceptions: int) -> None:
    single = FORMATS["s"]
    given = tuple(single.boxed(bits) for bits in patterns)
    assert execute(name, rm, given) == (single.boxed(result), exceptions)
