"""Which instructions become a region, where its blocks begin and who may enter it."""

from array import array

import pytest
import toy
from machines import CODE, PAGE, assemble, chunks_of, code_at

from vmjit.engine.code import Code
from vmjit.engine.compile import decoded_text
from vmjit.engine.formation import MAX_ENTRIES, Former, Plan
from vmjit.engine.trace import Tracer
from vmjit.engine.translate import translate


def form(text: str, at: int = 0, *, cold: tuple[int, ...] = (), limit: int = 500) -> Plan | None:
    """The region at an offset from CODE; `cold` are offsets that never ran."""
    code = assemble(text)
    former = Former(toy.decode_table, Tracer(toy.LAYOUT))
    return former.form(CODE + at, code_at(code, cold={CODE + offset for offset in cold} or None), limit)


def formed(text: str, at: int = 0, *, cold: tuple[int, ...] = (), limit: int = 500) -> tuple[list[int], ...]:
    """Offsets of instructions, block starts and entries."""
    plan = form(text, at, cold=cold, limit=limit)
    assert plan is not None
    offsets = [[pc - CODE for pc in found] for found in (sorted(plan.steps), sorted(plan.leaders), plan.entries)]
    return tuple(offsets)


def test_straight_code_ends_where_it_exits() -> None:
    assert formed("li r1, 1\nli r2, 2\nbrk\nli r3, 3") == ([0, 2, 4], [0], [0])


def test_both_ways_of_a_branch_are_followed() -> None:
    assert formed("bnez r1, 0x10006\nli r1, 1\nbrk\nli r2, 2\nbrk") == ([0, 2, 4, 6, 8], [0, 2, 6], [0])


def test_a_loop_is_closed() -> None:
    """Its head becomes a block although the region began before it."""
    assert formed("li r1, 9\nli r2, -1\nadd r1, r1, r2\nbnez r1, 0x10004\nbrk") == ([0, 2, 4, 6, 8], [0, 4, 8], [0])


def test_a_way_back_before_the_start_is_followed() -> None:
    assert formed("li r2, -1\nadd r1, r1, r2\nbnez r1, 0x10000\nbrk", at=2) == ([0, 2, 4, 6], [0, 2, 6], [2])


def test_calls_are_passed_over_and_their_return_points_entered() -> None:
    text = "call r5, 0x10008\nli r1, 1\ncall r5, 0x10008\nbrk\nli r2, 2\njr r5"
    assert formed(text) == ([0, 2, 4, 6], [0, 2, 6], [0, 2, 6])


def test_the_instruction_after_a_system_call_is_entered() -> None:
    assert formed("li r1, 1\nhalt\nli r2, 2\nbrk") == ([0, 2, 4, 6], [0, 4], [0, 4])


def jumping(text: str, *jumps: tuple[int, int], limit: int = 500) -> Plan:
    """The region at the start of code that has all been executed, with these jumps in it."""
    made = Former(toy.decode_table, Tracer(toy.LAYOUT)).form(
        CODE, code_at(assemble(text), cold=(), jumps=[(CODE + a, CODE + b) for a, b in jumps]), limit
    )
    assert made is not None
    return made


CALLS = "call r5, 0x10008\nli r1, 1\ncall r5, 0x10008\nbrk\nli r2, 2\njr r5"  # 0, 2, 4, 6; the function: 8, 10


def test_calls_belong_to_the_region_when_they_were_executed() -> None:
    plan = jumping(CALLS, (10, 2), (10, 6))
    assert sorted(plan.steps) == [CODE + n for n in range(0, 12, 2)]
    assert plan.leaders == {CODE, CODE + 2, CODE + 6, CODE + 8}
    assert plan.entries == (CODE,), "the region returns by itself"
    assert plan.targets == {CODE + 10: (CODE + 2, CODE + 6)}


def test_the_own_function_comes_before_those_it_calls() -> None:
    plan = jumping(CALLS, (10, 2), limit=4)
    assert sorted(plan.steps) == [CODE, CODE + 2, CODE + 4, CODE + 6] and not plan.targets


def test_indirect_jumps_are_followed_to_where_they_went() -> None:
    plan = jumping("jr r1\nbrk\nli r2, 2\nbrk\nli r3, 3\nbrk", (0, 8), (0, 0x1000))
    assert sorted(plan.steps) == [CODE, CODE + 8, CODE + 10]
    assert plan.targets == {CODE: (CODE + 8,)} and plan.shape != jumping("jr r1").shape


def test_code_that_never_ran_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmjit.engine.formation.NEAR", 0)
    assert formed("bnez r1, 0x10006\nli r1, 1\nbrk\nli r2, 2\nbrk", cold=(2, 4)) == ([0, 6, 8], [0, 6], [0])


def test_code_close_by_belongs_to_it_but_not_what_that_leads_to() -> None:
    """The block at 2 never ran; its jump to 10 is not followed further, as nothing there ran either."""
    text = "bnez r1, 0x10006\nli r1, 1\nbnez r1, 0x1000a\nbrk\nbrk\nbrk"
    assert formed(text, cold=(2, 4, 10)) == ([0, 2, 4, 6], [0, 2, 6], [0])


def test_the_start_needs_not_have_run() -> None:
    assert formed("li r1, 1\nli r2, 2\nbrk", cold=(0,)) == ([0, 2, 4], [0], [0])


def test_the_limit_stops_it() -> None:
    plan = form("li r1, 1\n" * 10 + "brk", limit=4)
    assert plan is not None and len(plan.steps) == 4


def test_an_instruction_for_the_interpreter_alone_is_passed_over() -> None:
    assert formed("li r1, 1\nclock r2\nli r3, 3\nbrk") == ([0, 4, 6], [0, 4], [0, 4])
    assert form("clock r2\nbrk") is None


def test_missing_and_illegal_code_ends_a_region() -> None:
    assert formed("li r1, 1\nli r2, 2") == ([0, 2], [0], [0])
    assert form("li r1, 1", at=100) is None
    former = Former(toy.decode_table, Tracer(toy.LAYOUT))
    assert former.form(CODE, code_at(b"\xff" * 8)) is None


def test_entries_are_limited() -> None:
    plan = form("call r5, 0x10000\n" * (MAX_ENTRIES + 10) + "brk")
    assert plan is not None
    assert len(plan.entries) == MAX_ENTRIES and plan.entries[0] == CODE and set(plan.entries) <= plan.leaders


def test_every_jump_inside_leads_to_a_block() -> None:
    """Whatever was left out by the limit: a target that is an instruction of the region is a leader."""
    text = "li r1, 1\nbnez r1, 0x10006\nli r2, 2\nbnez r2, 0x10000\nhalt\nbnez r3, 0x10004\nbrk"
    for limit in range(1, 9):
        plan = form(text, limit=limit)
        assert plan is not None and plan.pc in plan.leaders and set(plan.entries) <= plan.leaders
        for pc, step in plan.steps.items():
            if step.instruction.name == "bnez":
                flow = Tracer(toy.LAYOUT).flow_of(step.instruction, step.fields, pc, step.size)
                assert all(target in plan.leaders for target in flow.targets if target in plan.steps)


def test_ranges_join_what_touches() -> None:
    plan = form("bnez r1, 0x10008\nli r1, 1\nbrk\nbrk\nli r2, 2\nbrk")
    assert plan is not None and plan.ranges() == ((CODE, CODE + 6), (CODE + 8, CODE + 12))


def test_listing() -> None:
    plan = form("li r1, 9\nbnez r1, 0x10002\nhalt\nbrk")
    assert plan is not None
    assert decoded_text(plan) == ("> 0x10000  li r1, 9\n: 0x10002  bnez r1, 0x10002\n: 0x10004  halt\n> 0x10006  brk\n")


def test_decoded_words_are_kept() -> None:
    former = Former(toy.decode_table, Tracer(toy.LAYOUT))
    code = code_at(assemble("li r1, 1\nli r1, 1"))
    assert former.step(CODE, code) is former.step(CODE + 2, code)


def test_which_way_branches_go_is_in_the_plan_and_the_ir() -> None:
    code = assemble("add r1, r1, r2\nbnez r1, 0x10000\nhalt")
    (page, data, executed, _), *_ = chunks_of(code, cold=())
    ways = array("h", [0, -0x4000, 0]).tobytes().ljust(PAGE, b"\0")
    tracer = Tracer(toy.LAYOUT)
    plan = Former(toy.decode_table, tracer).form(CODE, Code([(page, data, executed, ways)]))
    assert plan is not None and plan.odds == {CODE + 2: 250}
    branches = [block.end for block in translate(plan, toy.LAYOUT, tracer).blocks if block.end.kind == "branch"]
    assert {end.attr for end in branches if end.edges[0].block.name.startswith("x")} >= {"250"}
