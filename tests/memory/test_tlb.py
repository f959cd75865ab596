"""The host's side of the TLB: banks, flushes, geometry; and the frames that follow an address space."""

import os
import random
import threading
from collections.abc import Iterator

import pytest

from tests.codegen.refilling import LAYOUT, Hart, Refill
from vmjit.errors import SettingsError
from vmjit.ir.layout import ADDRESS_BITS, READ_TAG, WRITE_TAG
from vmjit.memory.address_space import EXECUTE, PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.frames import Frames
from vmjit.memory.tlb import Context, Flush, Geometry, Statistics, TlbGroup, flush_harts

PAGES = 64
A = 16 * PAGE_SIZE
RW = READ | WRITE


@pytest.fixture
def memory() -> Iterator[AddressSpace]:
    with AddressSpace(1 << 30, 1 << 16) as space:
        yield space


@pytest.fixture
def frames() -> Iterator[Frames]:
    made = Frames()
    made.set(0, PAGES * PAGE_SIZE, 7)
    yield made
    made.close()


def make(refill: Refill, frames: Frames, geometry: Geometry = Geometry(16, 4)) -> Hart:  # noqa: B008
    hart = Hart(refill, 0, geometry)
    hart.tlb.use(frames)
    return hart


@pytest.fixture
def hart(refill: Refill, frames: Frames) -> Iterator[Hart]:
    made = make(refill, frames)
    yield made
    made.close()


def touch(hart: Hart, *pages: int) -> None:
    for page in pages:
        assert hart(page * PAGE_SIZE, READ_TAG) == page * PAGE_SIZE


def pages(hart: Hart) -> set[int]:
    return {page // PAGE_SIZE for page in hart.entries()}


# Geometry.


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"entries": 100}, "100 entries of the TLB: the number must be a power of two from 16 to 4096"),
        ({"entries": 8}, "power of two"),
        ({"entries": 8192}, "power of two"),
        ({"entries": 0}, "power of two"),
        ({"victims": -1}, "-1 victims of the TLB: there can be 0 to 16"),
        ({"victims": 17}, "0 to 16"),
        ({"policy": "LRU"}, "no TLB policy 'LRU'; there are fifo, random, lru"),
        ({"banks": 0}, "0 banks"),
    ],
)
def test_geometry_when_it_is_wrong(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Geometry(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("entries", [16, 4096])
@pytest.mark.parametrize("victims", [0, 16])
def test_entries_are_as_many_as_asked_for(refill: Refill, frames: Frames, entries: int, victims: int) -> None:
    frames.set(0, 3 * entries * PAGE_SIZE, READ)
    hart = make(refill, frames, Geometry(entries, victims))
    touch(hart, *range(2 * entries))
    assert len(hart.entries()) == entries + victims
    assert hart.tlb.statistics() == Statistics(0, 2 * entries, 0, 2 * entries, entries - victims, 0)
    hart.tlb.reset_statistics()
    assert hart.tlb.statistics() == Statistics(0, 0, 0, 0, 0, 0)
    hart.close()


# Flushes.


def test_flush_page_when_an_entry_or_a_victim(hart: Hart) -> None:
    touch(hart, 1, 17, 2, 18)
    assert pages(hart) == {1, 17, 2, 18}
    hart.tlb.flush_page(17 * PAGE_SIZE + 123)
    hart.tlb.flush_page(2 * PAGE_SIZE)
    assert pages(hart) <= {1, 18}
    assert 1 in pages(hart)


def test_flush_page_when_an_addend_looks_like_its_tag(hart: Hart) -> None:
    """Those of all pages here are 0."""
    touch(hart, 1, 17, 0, 16, 32)
    assert hart.victims() == [PAGE_SIZE, 0, 16 * PAGE_SIZE, None]
    hart.tlb.flush_page(0)
    assert pages(hart) == {17, 1, 16}


def test_flush_range_when_a_few_pages_and_many(hart: Hart) -> None:
    touch(hart, *range(20))
    hart.tlb.flush_range(3 * PAGE_SIZE + 1, PAGE_SIZE)
    assert pages(hart) == {*range(20)} - {3, 4, 19}  # 19 lay where 3 would
    hart.tlb.flush_range(0, 40 * PAGE_SIZE)
    assert not pages(hart)


def test_flush_when_a_page_is_large(hart: Hart) -> None:
    touch(hart, *range(20))
    hart.words[LAYOUT.word("walk_large")] = 1
    hart.tlb.flush_page(40 * PAGE_SIZE)
    assert not pages(hart)
    touch(hart, *range(20))
    hart.tlb.flush_page(40 * PAGE_SIZE)
    assert pages(hart) >= {*range(8), *range(9, 20)} - {4}


def test_flush_when_of_the_last_page(hart: Hart) -> None:
    touch(hart, 15, 31)
    hart.tlb.flush_page((1 << 64) - 1)
    assert pages(hart) == {15}
    hart.tlb.flush_all()
    assert not pages(hart)


@pytest.mark.parametrize("geometry", [Geometry(16, 0), Geometry(64, 8, "lru"), Geometry(16, 16, "random")], ids=str)
def test_flushes_at_random_leave_nothing_of_what_they_name(refill: Refill, frames: Frames, geometry: Geometry) -> None:
    hart, rng = make(refill, frames, geometry), random.Random(1)
    for _ in range(300):
        touch(hart, *(rng.randrange(PAGES) for _ in range(30)))
        start, count = rng.randrange(PAGES), rng.choice((1, 2, 10, 30))
        rng.choice((hart.tlb.flush, hart.tlb.request))(Flush(start * PAGE_SIZE, count * PAGE_SIZE))
        assert not pages(hart) & {*range(start, start + count)}
    hart.close()


# Banks.


def context(number: int, asid: int = 0) -> Context:
    return Context(flags=number, asid=asid)


def test_switch_when_a_context_comes_back_its_entries_are_there(hart: Hart) -> None:
    touch(hart, 1)
    hart.tlb.switch(context(2, 7))
    assert not pages(hart)
    touch(hart, 2, 18)
    hart.tlb.switch(Context())
    assert pages(hart) == {1}
    hart.tlb.switch(context(2, 7))
    assert pages(hart) == {2, 18}
    assert hart.words[LAYOUT.word("walk_flags")] == 2


def test_switch_when_there_are_more_contexts_than_banks(refill: Refill, frames: Frames) -> None:
    hart = make(refill, frames, Geometry(16, 4, "random", banks=3))
    for number in (0, 1, 2, 0, 3):  # 1 is the one that was not used for the longest time
        hart.tlb.switch(context(number))
        touch(hart, 20 + number)
    for number, there in ((0, {20}), (2, {22}), (3, {23}), (1, set())):
        hart.tlb.switch(context(number))
        assert pages(hart) == there
    hart.close()


def test_flush_all_when_banks_were_in_use_before(hart: Hart) -> None:
    """It leaves out those that were not in use since the last one."""
    contexts = [Context(), context(1), context(2)]
    for _ in range(2):
        for one in contexts:
            hart.tlb.switch(one)
            touch(hart, 1, 17)
        hart.tlb.flush_all()
        touch(hart, 3)
        hart.tlb.flush_all()
        for one in contexts:
            hart.tlb.switch(one)
            assert not pages(hart)


def test_switch_keeps_whose_turn_it_is(hart: Hart) -> None:
    turn = LAYOUT.word("victim_next")
    touch(hart, *range(0, 16 * 7, 16)[:4], 3, 19, 35, 51)
    before = hart.words[turn]
    assert before
    hart.words[LAYOUT.word("walk_large")] = 1
    hart.tlb.switch(context(1))
    assert (hart.words[turn], hart.words[LAYOUT.word("walk_large")]) == (0, 0)
    hart.tlb.switch(Context())
    assert (hart.words[turn], hart.words[LAYOUT.word("walk_large")]) == (before, 1)


def test_flush_when_of_one_address_space(hart: Hart) -> None:
    contexts = [context(1, 5), context(2, 5), context(1, 6)]
    left = []
    for asid in (5, 6, None):
        for one in contexts:
            hart.tlb.switch(one)
            touch(hart, 1, 2)
        hart.tlb.flush_page(PAGE_SIZE, asid)
        for one in contexts:
            hart.tlb.switch(one)
            left.append(pages(hart))
    assert left == [{2}, {2}, {1, 2}, {1, 2}, {1, 2}, {2}, {2}, {2}, {2}]
    hart.tlb.flush_asid(6)
    assert not pages(hart)
    hart.tlb.switch(contexts[0])
    assert pages(hart) == {2}


# Harts.


def test_group_when_one_hart_asks_all_forget(refill: Refill, frames: Frames) -> None:
    group, harts = TlbGroup(frames), [make(refill, frames) for _ in range(3)]
    for hart in harts:
        group.add(hart.tlb)
        touch(hart, 1, 2)
    group.remove(harts[2].tlb)
    group.request(Flush(PAGE_SIZE, 1))
    assert [pages(hart) for hart in harts] == [{2}, {2}, {1, 2}]
    touch(harts[0], 1)  # as if a refill had put it back that was under way
    harts[0].tlb.settle()
    assert pages(harts[0]) == {2}
    harts[0].tlb.settle()
    flush_harts([hart.tlb for hart in harts], Flush())
    assert not any(pages(hart) for hart in harts)
    for hart in harts:
        hart.close()


def test_request_when_there_are_many_before_the_hart_settles(hart: Hart) -> None:
    for page in range(1000):
        hart.tlb.request(Flush(page * PAGE_SIZE, 1))
    touch(hart, *range(20))
    hart.tlb.settle()
    assert not pages(hart)


def test_request_when_the_other_hart_is_in_native_code(refill: Refill, frames: Frames) -> None:
    """Nothing that was allowed before the request is allowed after the other hart has settled."""
    hart, rng, ends = make(refill, frames, Geometry(16, 8, "lru")), random.Random(1), threading.Event()

    def run() -> None:
        while not ends.is_set():
            hart.sweep(0, READ_TAG, PAGES, 100)

    for _ in range(20):
        ends.clear()
        thread = threading.Thread(target=run)
        thread.start()
        gone = rng.randrange(PAGES)
        frames.set(gone * PAGE_SIZE, PAGE_SIZE, 0)
        hart.tlb.request(rng.choice((Flush(), Flush(gone * PAGE_SIZE, PAGE_SIZE))))
        ends.set()
        thread.join()
        hart.tlb.settle()
        assert gone not in pages(hart)
        assert hart(gone * PAGE_SIZE, READ_TAG) is None
        frames.set(gone * PAGE_SIZE, PAGE_SIZE, READ)
    hart.close()


# Following an address space.


def test_frames_when_anything(frames: Frames) -> None:
    assert [frames.allowed(address) for address in (0, PAGES * PAGE_SIZE - 1, PAGES * PAGE_SIZE)] == [7, 7, 0]
    assert [frames.allowed(address) for address in (-1, 1 << ADDRESS_BITS, 1 << 63)] == [0, 0, 0]
    frames.set((1 << ADDRESS_BITS) - PAGE_SIZE, 4 * PAGE_SIZE, READ)
    assert frames.allowed((1 << ADDRESS_BITS) - 1) == READ
    frames.set(0, 1 << 60, 0)
    assert frames.allowed((1 << ADDRESS_BITS) - 1) == frames.allowed(0) == 0
    frames.set(1 << 50, PAGE_SIZE, READ)


def test_follow_when_mappings_change(refill: Refill, memory: AddressSpace) -> None:
    memory.map(A, 4 * PAGE_SIZE, RW)
    hart = Hart(refill, memory.base, Geometry(16, 4))
    hart.tlb.follow(memory)
    assert hart(A, WRITE_TAG) == A
    memory.protect(A, PAGE_SIZE, READ)
    assert hart(A, WRITE_TAG) is None
    assert hart(A, READ_TAG) == A
    memory.unmap(A, PAGE_SIZE)
    assert hart(A, READ_TAG) is None
    memory.map(A, PAGE_SIZE, EXECUTE)
    assert [hart(A, kind) for kind in range(3)] == [None, None, A]
    memory.map(A, PAGE_SIZE, WRITE)
    assert [hart(A, kind) for kind in range(3)] == [A, A, None]
    memory.move(A, PAGE_SIZE, 2 * A, 2 * PAGE_SIZE)
    assert hart(A, READ_TAG) is None
    assert hart(2 * A + PAGE_SIZE, WRITE_TAG) == 2 * A + PAGE_SIZE
    hart.close()
    assert memory.mapping_changed is None


def test_follow_when_mappings_change_at_random(refill: Refill, memory: AddressSpace) -> None:
    harts = [Hart(refill, memory.base, Geometry(16, 4)) for _ in range(2)]
    rng = random.Random(3)
    group, same = [hart.tlb.follow(memory) for hart in harts]
    assert group is same
    for _ in range(300):
        start, size = A + rng.randrange(20) * PAGE_SIZE, rng.randrange(1, 6) * PAGE_SIZE
        call = rng.choice((memory.map, memory.protect, memory.unmap))
        arguments = (start, size) if call == memory.unmap else (start, size, rng.randrange(8))
        try:
            call(*arguments)  # type: ignore[operator]
        except OSError:
            assert call == memory.protect
        for page in range(A, A + 26 * PAGE_SIZE, PAGE_SIZE):
            allowed = memory.permissions(page) or 0
            assert group.frames.allowed(page) == allowed
            allowed |= READ if allowed & WRITE else 0
            kind = rng.randrange(3)
            expected = page if allowed >> kind & 1 else None
            assert [hart(page, kind) for hart in harts] == [expected, expected]
    for hart in harts:
        assert memory.mapping_changed is not None
        hart.close()
    assert memory.mapping_changed is None


def test_stay_alone_when_another_hart_held_its_lock_at_a_fork(refill: Refill, memory: AddressSpace) -> None:
    harts = [Hart(refill, memory.base, Geometry(16, 4)) for _ in range(2)]
    for hart in harts:
        group = hart.tlb.follow(memory)
    with harts[0].tlb._lock, group._lock:
        child = os.fork()
        if child == 0:
            harts[1].tlb.stay_alone()
            memory.map(A, PAGE_SIZE, READ)
            os._exit(harts[1](A, READ_TAG) != A)
    assert os.waitpid(child, 0)[1] == 0
    assert group.tlbs == tuple(hart.tlb for hart in harts)
    for hart in harts:
        hart.close()


def test_mapping_changed_when_nobody_follows_is_not_called(memory: AddressSpace) -> None:
    assert memory.mapping_changed is None
    memory.map(A, PAGE_SIZE, RW)
    changes: list[tuple[int, int]] = []
    memory.mapping_changed = lambda start, size: changes.append((start, size))
    memory.map(A, PAGE_SIZE, READ)
    memory.protect(A, PAGE_SIZE, RW)
    memory.move(A, PAGE_SIZE, 2 * A, PAGE_SIZE)
    memory.unmap(2 * A, PAGE_SIZE)
    memory.unmap(2 * A, PAGE_SIZE)
    assert changes == [(A, PAGE_SIZE)] * 3 + [(2 * A, PAGE_SIZE)] * 2


def test_regions_when_of_a_range(memory: AddressSpace) -> None:
    memory.map(A, 4 * PAGE_SIZE, RW)
    memory.map(A + 8 * PAGE_SIZE, PAGE_SIZE, READ)

    def spans(start: int, end: int | None = None) -> list[tuple[int, int]]:
        return [(m.start // PAGE_SIZE - 16, m.end // PAGE_SIZE - 16) for m in memory.regions(start, end)]

    assert spans(0) == [(0, 4), (8, 9)]
    assert spans(A + PAGE_SIZE, A + 2 * PAGE_SIZE) == [(1, 2)]
    assert spans(A + PAGE_SIZE) == [(1, 4), (8, 9)]
    assert spans(A + PAGE_SIZE, A + PAGE_SIZE) == spans(A + 4 * PAGE_SIZE, A + 8 * PAGE_SIZE) == []
