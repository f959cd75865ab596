"""Compiled regions: entered through slots, found by host address, dropped with the guest code they were made from."""

import pytest
import toy
from machines import CODE, DATA, PAGE, MakeNative, assemble, request_for, worker_for

from vmjit.engine.cache import Region
from vmjit.engine.native import Native
from vmjit.engine.regions import MOST_CHANGES, Placed, Regions
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE
from vmjit.jit.blob import Blob

TEXT = "li r1, 5\nhalt\nld r2, 0(r1)\nadd r3, r2, r2\nbrk"


def compiled(code: bytes, at: int = CODE, start: int = CODE) -> Region:
    """The region at an address of code that begins at `start`."""
    made = worker_for("toy").region(*request_for(code, at, start)[1:])
    assert made is not None
    return Region.from_bytes(made[0])


def word(native: Native, name: str) -> int:
    return native.words[toy.LAYOUT.word(name)]


def enter(native: Native, pc: int, **values: int) -> ExitReason:
    for name, value in {"pc": pc, **values}.items():
        native.words[toy.LAYOUT.word(name)] = value
    native.enter()
    return ExitReason(word(native, "reason"))


def place(regions: Regions, pc: int, region: Region) -> Placed:
    placed = regions.place(pc, region)
    assert placed is not None
    return placed


def test_a_region_is_entered_at_each_of_its_entries(native_of: MakeNative) -> None:
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    placed = place(regions, CODE, compiled(assemble(TEXT)))
    assert placed.region.entries == (CODE, CODE + 4)
    assert native.code_of(CODE) == native.code_of(CODE + 4) >= INTERPRETER_SIZE and not native.code_of(CODE + 2)
    assert enter(native, CODE) is ExitReason.SYSCALL
    assert (word(native, "r1"), word(native, "pc")) == (5, CODE + 4)
    native.words[toy.LAYOUT.word("r1")] = DATA
    assert enter(native, CODE + 4) is ExitReason.BREAKPOINT
    assert not native.code_of(CODE + 6), "nothing was interpreted"


def test_an_entry_of_another_region_keeps_its_own(native_of: MakeNative) -> None:
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    first = place(regions, CODE + 4, compiled(assemble(TEXT), CODE + 4))
    place(regions, CODE, compiled(assemble(TEXT)))
    assert native.code_of(CODE + 4) == first.code
    again = place(regions, CODE + 4, compiled(assemble(TEXT), CODE + 4))
    assert native.code_of(CODE + 4) == again.code, "what was asked for replaces"


def test_a_fault_finds_the_region_and_the_instruction(native_of: MakeNative) -> None:
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    placed = place(regions, CODE, compiled(assemble(TEXT)))
    place(regions, CODE + 6, compiled(assemble(TEXT), CODE + 6))
    assert enter(native, CODE + 4, r1=DATA - 16) is ExitReason.HOST_FAULT
    offset = word(native, "fault_code") - native.arena.base
    assert regions.find(offset) is placed
    assert placed.pc_at(offset) == CODE + 4
    assert placed.pc_at(placed.offset) == CODE  # no line: the region


def test_addresses_before_all_regions_belong_to_none(native_of: MakeNative) -> None:
    assert Regions(native_of()).find(INTERPRETER_SIZE + 100) is None


def test_covering(native_of: MakeNative) -> None:
    regions = Regions(native_of(assemble("halt\nbrk\nhalt")))
    place(regions, CODE + 2, compiled(assemble("halt\nbrk\nhalt"), CODE + 2))
    assert [bool(regions.covering(CODE + 2 * n)) for n in range(3)] == [False, True, False]
    assert not regions.covering(CODE + PAGE)
    assert [regions.in_page(page) for page in (CODE // PAGE, CODE // PAGE + 1)] == [[(2, 4)], []]


def test_a_region_takes_the_place_of_another(native_of: MakeNative) -> None:
    """Entries of a third one stay its own."""
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    first = place(regions, CODE, compiled(assemble(TEXT)))
    third = place(regions, CODE + 6, compiled(assemble(TEXT), CODE + 6))
    assert regions.entered() == [(first, (CODE, CODE + 4)), (third, (CODE + 6,))]
    again = regions.place(CODE, compiled(assemble(TEXT)), instead=first)
    assert again is not None
    assert regions.entered() == [(third, (CODE + 6,)), (again, (CODE, CODE + 4))]
    only = regions.place(CODE, compiled(assemble(TEXT)), [CODE + 4])
    assert only is not None and native.code_of(CODE + 4) == only.code != native.code_of(CODE)


def test_regions_that_lead_to_an_address(native_of: MakeNative) -> None:
    code = assemble("bnez r1, 0x10008\nhalt\nbrk\nbrk\nbrk")
    native = native_of(code)
    regions = Regions(native)
    native.set_code(CODE, 1)  # it was executed, and nothing else
    chunk = (CODE // PAGE, code + bytes(PAGE - len(code)), native.executed(CODE, PAGE), b"")
    made = worker_for("toy").region(CODE, [chunk], [], 500)
    assert made is not None
    placed = place(regions, CODE, Region.from_bytes(made[0]))
    assert regions.leading_to(CODE + 200) == [] and regions.leading_to(CODE) == []
    assert {pc for pc in range(CODE, CODE + 20) if placed in regions.leading_to(pc)} == set(placed.region.exits)


def across_pages() -> bytes:
    return assemble("mov r1, r1\n" * (PAGE // 2 - 2) + "li r2, 2\nli r3, 3\nli r4, 4\nli r5, 5\nhalt")


@pytest.mark.parametrize("page", [0, 1])
def test_a_region_goes_with_each_of_its_pages(native_of: MakeNative, page: int) -> None:
    code = across_pages()
    native = native_of(code, pages=2)
    regions = Regions(native)
    pc = CODE + PAGE - 4
    placed = place(regions, pc, compiled(code, pc))
    assert placed.region.ranges == ((pc, pc + 10),)
    regions.invalidate(CODE + page * PAGE, PAGE)
    assert regions.epoch == 1 and not regions.by_offset and not regions.by_page
    assert native.code_of(pc) == 0
    assert not native.may_decode(CODE // PAGE + page) and native.may_decode(CODE // PAGE + 1 - page)
    assert native.arena.allocate(len(placed.region.blob.code)) == placed.offset, "its memory is free again"


def test_other_pages_keep_their_regions(native_of: MakeNative) -> None:
    code = assemble("halt") + bytes(PAGE - 2) + assemble("brk", CODE + PAGE)
    native = native_of(code, pages=2)
    regions = Regions(native)
    kept = place(regions, CODE, compiled(code))
    place(regions, CODE + PAGE, compiled(code, CODE + PAGE))
    regions.invalidate(CODE + PAGE, PAGE)
    assert list(regions.by_offset.values()) == [kept]
    assert enter(native, CODE) is ExitReason.SYSCALL
    regions.invalidate(0, 1 << 38)
    assert not regions.by_offset and native.code_of(CODE) == 0


def test_dropping_a_region_spares_a_later_one_in_its_slot(native_of: MakeNative) -> None:
    code = across_pages()
    native = native_of(code, pages=2)
    regions = Regions(native)
    pc = CODE + PAGE - 4
    place(regions, pc, compiled(code, pc))
    only_first_page = Region((pc,), ((pc, pc + 4),), (), "", 2, compiled(code, pc).blob)
    later = place(regions, pc, only_first_page)
    regions.invalidate(CODE + PAGE, PAGE)
    assert list(regions.by_offset.values()) == [later]
    # Forgetting a page clears the slot just before it too, but not this one.
    assert native.code_of(pc) == later.code


def test_what_changed_since_an_epoch(native_of: MakeNative) -> None:
    regions = Regions(native_of(b""))
    ranges = ((CODE, CODE + 8), (CODE + PAGE, CODE + PAGE + 4))
    began = regions.epoch
    assert not regions.changed_since(began, ranges)
    regions.invalidate(CODE + 2 * PAGE, PAGE)
    assert not regions.changed_since(began, ranges)
    regions.invalidate(CODE + PAGE, PAGE)
    assert regions.changed_since(began, ranges) and not regions.changed_since(began, ranges[:1])
    assert not regions.changed_since(regions.epoch, ranges)
    after = regions.epoch
    regions.clear()
    assert regions.changed_since(after, ranges)
    after = regions.epoch
    regions.end()
    assert regions.changed_since(after, ranges)


def test_what_is_too_long_ago_counts_as_changed(native_of: MakeNative) -> None:
    regions = Regions(native_of(b""))
    began = regions.epoch
    for _ in range(MOST_CHANGES):
        regions.invalidate(CODE + PAGE, PAGE)
    assert not regions.changed_since(began, ((CODE, CODE + 8),))
    regions.invalidate(CODE + PAGE, PAGE)
    assert regions.changed_since(began, ((CODE, CODE + 8),))
    assert len(regions.changes) == MOST_CHANGES


def test_clear(native_of: MakeNative) -> None:
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    for _ in range(3):
        place(regions, CODE, compiled(assemble(TEXT)))
    used = native.arena.used
    regions.clear()
    assert regions.epoch == 1 and not regions.by_offset and not regions.by_page
    assert native.arena.used < used and native.code_of(CODE) == native.code_of(CODE + 4) == 0
    assert enter(native, CODE) is ExitReason.SYSCALL


def test_a_full_arena_is_noted_until_cleared(native_of: MakeNative) -> None:
    native = native_of(assemble(TEXT))
    regions = Regions(native)
    place(regions, CODE, compiled(assemble(TEXT)))
    before = native.code_of(CODE)
    huge = Blob(bytes(native.arena.size), {"region": 0})
    assert regions.place(CODE, Region((CODE,), ((CODE, CODE + 2),), (), "", 1, huge)) is None
    assert regions.is_full and native.code_of(CODE) == before
    regions.clear()
    assert not regions.is_full
