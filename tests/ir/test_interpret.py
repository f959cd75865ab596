"""The meaning of regions: what the other tests of it, which compare it with native code, do not reach."""

from collections.abc import Callable

import pytest

from vmjit.ir.interpret import ReservedRounding, compile_region
from vmjit.ir.layout import Layout, RegisterFile
from vmjit.ir.parser import parse_region

LAYOUT = Layout((RegisterFile("r", 2),), ("fflags", "frm"), flags="fflags", rounding="frm")


class Memory:
    """Counts loads, and refuses the fourth."""

    loads = 0

    def load(self, address: int, size: int) -> int:
        self.loads += 1
        if self.loads == 4:
            raise KeyError(address)
        return 7

    def store(self, address: int, size: int, value: int) -> None:
        raise AssertionError

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        raise AssertionError

    def clock(self) -> int:
        return 1234


def state(**values: int) -> memoryview:
    words = memoryview(bytearray(2048)).cast("Q")
    for name, value in values.items():
        words[LAYOUT.word(name)] = value
    return words


def compiled(text: str) -> Callable[..., tuple[str, int, int, str]]:
    return compile_region(parse_region(text), LAYOUT)


def test_a_block_may_lead_to_itself_alone() -> None:
    run = compiled("""
        region main 0x10
        block b0:
          v0 = get.i64 r0
          v1 = load.i64 v0
          set.i64 r1, v1
          jump b0
    """)
    memory, words = Memory(), state(r0=0x20)
    with pytest.raises(KeyError, match="32"):
        run(words, memory, 0x10)
    assert (memory.loads, words[LAYOUT.word("r1")]) == (4, 7)


def test_the_first_block_runs_where_no_entry_is_named() -> None:
    run = compiled("""
        region main 0x10
        entry 0x20 b1
        block b0:
          v0 = const.i64 1
          exit syscall, v0, v0
        block b1:
          v1 = const.i64 2
          exit syscall, v1, v1
    """)
    assert [run(state(), Memory(), pc)[1] for pc in (0x10, 0x20, 0x30)] == [1, 2, 1]


def test_parameters_are_given_all_at_once() -> None:
    run = compiled("""
        region main 0x10
        block b0:
          v0 = const.i64 1
          v1 = const.i64 2
          v2 = const.i64 0
          jump b1(v0, v1, v2)
        block b1(v3: i64, v4: i64, v5: i64):
          v6 = const.i64 1
          v7 = add.i64 v5, v6
          v8 = const.i64 3
          v9 = ult.i64 v7, v8
          branch v9, b1(v4, v3, v7), b2
        block b2:
          exit syscall, v3, v4
    """)
    assert run(state(), Memory(), 0x10) == ("syscall", 1, 2, "")


def test_a_reserved_rounding_mode_is_refused_where_it_matters() -> None:
    text = """
        region main 0x10
        block b0:
          v0 = const.f32 0x3f800000
          v1 = fadd.f32 v0, v0 {}
          v2 = const.i64 0
          exit syscall, v2, v2
    """
    for mode in (5, 6, 7, 1 << 40):
        with pytest.raises(ReservedRounding):
            compiled(text.format("dynamic"))(state(frm=mode), Memory(), 0x10)
        assert compiled(text.format("rup"))(state(frm=mode), Memory(), 0x10)[0] == "syscall"


def test_the_clock_is_asked() -> None:
    run = compiled("region main 0x10\nblock b0:\n  v0 = clock.i64\n  chain v0 indirect\n")
    assert run(state(), Memory(), 0x10) == ("chain", 1234, 0, "indirect")
