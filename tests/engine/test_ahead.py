"""Functions found by decoding, and regions for them: what is covered, what is left to the run, and in which order."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from machines import CODE, Here, assemble, guest_named, harts, worker_for

from vmjit.engine import ahead
from vmjit.engine.ahead import Ahead, Compiler, Finder, Function, Surroundings
from vmjit.engine.cache import Kept, Program, variant
from vmjit.engine.code import Code
from vmjit.engine.hart import Tier
from vmjit.ir.exits import ExitReason

CALLS = """\
    addi s0, zero, 200
again:
    jal ra, @double
    addi s0, s0, -1
    bne s0, zero, @again
    jal ra, @once
    ecall
    jal zero, @again
double:
    addi s1, s1, 2
    jalr zero, 0(ra)
once:
    addi s1, s1, 1
    jalr zero, 0(ra)
never:
    addi s1, s1, 4
    jalr zero, 0(ra)
"""
DOUBLE, ONCE, NEVER = CODE + 28, CODE + 36, CODE + 44


def code_of(text: str) -> Code:
    return Code.of(CODE, assemble(text, guest="riscv64"))


def functions_of(code: Code, *starts: int) -> dict[int, Function]:
    return Finder(guest_named("riscv64"), code, code.bytes).functions(starts or [CODE])


def compiled(
    code: Code,
    functions: Iterable[Function],
    *,
    jobs: int = 1,
    left: Program | None = None,
    limit: int | None = None,
    refuse: str = "",
) -> Ahead:
    services = [Here(worker_for("riscv64")) for _ in range(jobs)]
    for service in services:
        service.refuse = refuse
    functions = list(functions)
    around = Surroundings(code, {function.address: function for function in functions})
    made = Compiler(around, services, variant("flat", "", False), left or Program(), limit)  # type: ignore[arg-type]
    return made.run(CODE, functions)


def test_functions_are_found_by_their_calls() -> None:
    found = functions_of(code_of(CALLS))
    assert list(found) == [CODE, DOUBLE, ONCE]
    assert found[CODE].calls == ((CODE + 4, CODE + 8, DOUBLE), (CODE + 16, CODE + 20, ONCE))
    assert found[CODE].returns == () and not found[CODE].has_jumps
    assert found[DOUBLE] == Function(DOUBLE, frozenset((DOUBLE, DOUBLE + 4)), (), (DOUBLE + 4,))


def test_symbols_add_to_them_but_not_where_there_is_no_code() -> None:
    assert list(functions_of(code_of(CALLS), CODE, NEVER, CODE + 0x100000)) == [CODE, DOUBLE, ONCE, NEVER]


@pytest.mark.parametrize(
    ("text", "has_jumps"),
    [
        ("jalr zero, 0(a0)", True),
        ("jalr ra, 0(a0)\njalr zero, 0(ra)", False),
        ("jalr zero, 0(ra)", False),
        ("beq a0, a1, 0x10008\njalr zero, 0(ra)\njalr zero, 0(a0)", True),
    ],
)
def test_jumps_that_only_a_run_can_tell_are_noted(text: str, has_jumps: bool) -> None:
    assert functions_of(code_of(text))[CODE].has_jumps == has_jumps


SWITCH = """\
    lui a0, 16
    addi a0, a0, 64
    jalr zero, 0(a1)
    addi s1, s1, 1
    jalr zero, 0(ra)
    addi s1, s1, 2
    jalr zero, 0(ra)
    addi s1, s1, 3
    jalr zero, 0(ra)
"""
TABLE, CASES = CODE + 64, (CODE + 12, CODE + 20, CODE + 28)


def with_table(form: str, entries: Sequence[int]) -> Code:
    code = assemble(SWITCH, guest="riscv64")
    return Code.of(CODE, code.ljust(TABLE - CODE, b"\0") + struct.pack(f"<{len(entries)}{form}", *entries))


@pytest.mark.parametrize(("form", "base"), [("i", TABLE), ("I", 0), ("Q", 0)], ids=["relative", "absolute", "pointers"])
def test_jumps_lead_to_what_tables_hold(form: str, base: int) -> None:
    code = with_table(form, [case - base for case in CASES])
    function = functions_of(code)[CODE]
    assert function.jumps == tuple((CODE + 8, case) for case in CASES) and not function.has_jumps
    assert function.steps == frozenset(range(CODE, CODE + 36, 4))
    made = compiled(code, [function])
    assert len(made.kept) == 1 and made.kept[0].region.instructions == 9


@pytest.mark.parametrize(
    "entries",
    [CASES[:2], (CASES[0] + 1, *CASES), (CODE + 36, *CASES), (CODE - 4, *CASES), (0, *CASES)],
    ids=["two", "odd", "no instruction", "before", "zero"],
)
def test_what_is_no_table(entries: Sequence[int]) -> None:
    function = functions_of(with_table("Q", entries))[CODE]
    assert function.has_jumps and function.jumps == ()


def test_a_table_ends_where_another_function_begins() -> None:
    found = functions_of(with_table("Q", [*CASES, CASES[0]]), CODE, CASES[2])
    assert found[CODE].has_jumps, "two entries of the function are none"


def test_one_region_holds_a_function_and_those_that_it_calls() -> None:
    code = code_of(CALLS)
    made = compiled(code, functions_of(code).values())
    assert [kept.pc for kept in made.kept] == [CODE]
    assert (made.made, made.functions, made.failures) == (1, 3, ())
    assert made.kept[0].region.ranges == ((CODE, NEVER),)
    assert CODE + 8 not in made.kept[0].entries, "returns stay in the region"


def test_a_function_that_none_calls_is_compiled_too() -> None:
    code = code_of(CALLS)
    made = compiled(code, functions_of(code, CODE, NEVER).values())
    assert [kept.pc for kept in made.kept] == [CODE, NEVER] and made.functions == 4


def test_a_function_left_out_is_an_exit() -> None:
    code = code_of(CALLS)
    functions = functions_of(code)
    made = compiled(code, (functions | {DOUBLE: replace(functions[DOUBLE], has_jumps=True)}).values())
    assert {kept.pc for kept in made.kept} == {CODE}
    assert DOUBLE in made.kept[0].region.exits and CODE + 8 in made.kept[0].entries


def test_ways_on_in_a_function_that_is_too_large_share_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of branches of which each leads far: cut off, it has many ways on."""
    monkeypatch.setattr(ahead, "REGION_SIZE", 12)
    monkeypatch.setattr(ahead, "LARGEST_REGION", 12)
    branches = "".join(f"bne a{n % 8}, zero, @case{n}\n" for n in range(20))
    cases = "".join(f"case{n}:\n" + "addi s1, s1, 1\n" * 3 + "jalr zero, 0(ra)\n" for n in range(20))
    code = code_of(f"{branches}jalr zero, 0(ra)\n{cases}")
    made = compiled(code, functions_of(code).values())
    assert made.functions == 1 and len(made.kept) < 20
    covered = {at for kept in made.kept for start, end in kept.region.ranges for at in range(start, end, 4)}
    assert covered == functions_of(code)[CODE].steps
    entered = {entry for kept in made.kept for entry in kept.entries}
    assert {leads_to for kept in made.kept for leads_to in kept.region.exits} <= entered


def test_where_a_function_may_begin() -> None:
    code = code_of(CALLS)
    finder = Finder(guest_named("riscv64"), code, code.bytes)
    assert finder.may_begin(DOUBLE)
    assert not any(map(finder.may_begin, (CODE, DOUBLE + 1, CODE + 0x1004, 4)))


def test_the_numbers_that_a_function_computes() -> None:
    code = code_of("lui a0, 16\naddi a0, a0, 28\njalr zero, 0(ra)")
    finder = Finder(guest_named("riscv64"), code, code.bytes)
    assert CODE + 28 in finder.constants(finder.function(CODE))


def test_more_workers_make_the_same() -> None:
    code = code_of(CALLS)
    functions = functions_of(code, CODE, NEVER).values()
    assert compiled(code, functions, jobs=3) == compiled(code, functions)


def test_calls_and_returns_are_known_to_lead_where_they_do() -> None:
    code = code_of(CALLS)
    around = Surroundings(code, functions_of(code))
    assert around.all_jumps() == (
        *((CODE + 4, DOUBLE), (CODE + 16, ONCE)),
        *((DOUBLE + 4, CODE + 8), (ONCE + 4, CODE + 20)),
    )
    assert around.request(CODE)[3] == list(around.all_jumps())


def test_a_limit_begins_at_the_entry() -> None:
    code = code_of(CALLS)
    made = compiled(code, functions_of(code, CODE, NEVER).values(), limit=1)
    assert [kept.pc for kept in made.kept] == [CODE] and made.functions == 3


def test_what_a_run_left_stays() -> None:
    code = code_of(CALLS)
    functions = functions_of(code, CODE, NEVER).values()
    first = compiled(code, functions)
    left = Program(first.kept[1:])
    second = compiled(code, functions, left=left)
    assert second.made == 1
    assert {kept.name for kept in second.kept} == {kept.name for kept in first.kept}
    other = Program((Kept(CODE, "other code", (CODE,), first.kept[0].region),))
    assert compiled(code, functions, left=other).made == 2


def test_what_cannot_be_compiled_is_said() -> None:
    code = code_of(CALLS)
    made = compiled(code, functions_of(code).values(), refuse="no")
    assert made.kept == () and made.functions == 0
    assert set(made.failures) == {f"{address:#x}: no" for address in (CODE, DOUBLE, ONCE)}


def test_a_hart_begins_with_them() -> None:
    """No jump gets hot, and the count of instructions is the same as ever."""
    ends = []
    code = code_of(CALLS)
    kept = compiled(code, functions_of(code).values()).kept
    for regions in ((), kept):
        with harts(assemble(CALLS, guest="riscv64"), Tier.AUTO, guest="riscv64") as hart:
            for found in regions:
                hart._code(CODE, 4)
                hart._place(found.pc, found.region, hart.regions.epoch, found.entries)
            assert hart.run().reason is ExitReason.SYSCALL
            ends.append((hart.words[hart.guest.layout.word("x9")], hart.instructions))
            assert hart.counters.regions == len(regions)
    assert ends[0] == ends[1] and ends[0][0] == 401
