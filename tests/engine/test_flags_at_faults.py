"""Where a region faults, exactly the exceptions of the floating-point operations before the access have been raised."""

from itertools import product

import pytest

from vmjit.fuzz.text import parse_program
from vmjit.fuzz.tiers import Benches

GIVEN = """\
start=0x10004 hot=2 precise=1
x22=0x22000 x23=0x20000 x13=0x7fffffffffffffff f11=0x3ff0000000000000 f13=0x3ff8000000000001 f14=0xbff0000000000000
f15=0x7ff0000000000001 f16=0xffffffff7f800001 f17=0xffffffff3f800000

"""
# Results that the next instruction overwrites.
RAISING = {
    "fdiv.d fa0, fa1, fa2": 0x8,
    "fadd.d fa0, fa1, fa3": 0x1,
    "fmul.d fa0, fa3, fa3": 0x1,
    "fsqrt.d fa0, fa4": 0x10,
    "fmadd.d fa0, fa3, fa3, fa1": 0x1,
    "feq.d a0, fa5, fa1": 0x10,
    "flt.d a0, fa5, fa1": 0x10,
    "fcvt.w.d a0, fa3, rtz": 0x1,
    "fcvt.w.d a0, fa3, rne": 0x1,
    "fcvt.lu.d a0, fa4, rtz": 0x10,
    "fcvt.w.s a0, fa6": 0x10,
    "fcvt.s.d fa0, fa3": 0x1,
    "fcvt.d.s fa0, fa6": 0x10,
    "fdiv.s fa0, fa7, fa6": 0x10,
    "fcvt.s.l fa0, a3": 0x1,
    "fcvt.d.lu fa0, a3": 0x1,
    "fmin.d fa0, fa5, fa1": 0x10,
    "fmax.s fa0, fa6, fa7": 0x10,
}
FAULTING = ("ld t0, 0(s9)", "fsd ft0, 0(s6)", "amoadd.d t0, t1, (s6)")
# Whether the operation comes before the access, and how the two lie.
SHAPES = {
    "next": (True, "{raising}\n{kill}\n{access}"),
    "killed after": (True, "{raising}\n{access}\n{kill}"),
    "between accesses": (True, "ld t2, 0(s7)\n{raising}\n{access}\n{kill}"),
    "in a block before": (True, "{raising}\nbeq s7, zero, @L1\n{kill}\nld t2, 0(s7)\n{access}\nL1:"),
    "in a loop": (
        True,
        "addi s1, zero, 9\nL1:\n{raising}\nld t2, 0(s7)\n{kill}\naddi s1, s1, -1\nbne s1, zero, @L1\n{access}",
    ),
    "too late": (False, "{access}\n{raising}\n{kill}"),
    "in a block too late": (False, "{access}\nbeq s7, zero, @L1\n{raising}\nL1:"),
    "in a loop too late": (
        False,
        "addi s1, zero, 9\nL1:\n{access}\n{raising}\n{kill}\naddi s1, s1, -1\nbne s1, zero, @L1",
    ),
}


@pytest.fixture(scope="module")
def benches():
    made = Benches(("jit",))
    yield made
    made.close()


@pytest.mark.parametrize("raising", RAISING)
def test_flags_at_a_fault(benches, raising):
    kill = "fsgnj.d fa0, fa1, fa1" if raising.split()[1].startswith("f") else "addi a0, zero, 0"
    for access, (name, (before, shape)) in product(FAULTING, SHAPES.items()):
        code = shape.format(raising=raising, kill=kill, access=access)
        end = benches.run("jit", parse_program(GIVEN + code + "\nebreak\n"))
        assert (end.reason, end.registers["fflags"]) == ("FAULT", RAISING[raising] if before else 0), (name, access)
        assert benches.by_tier["jit"].hart.counters.regions >= 1
