"""The whole engine, with the toy guest: every tier gives the same result, and every exit is dealt with.

That the toy runs here is the proof that nothing of a real guest is in the core.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toy
from machines import CODE, DATA, LOOP, PAGE, assemble, harts, registers, set_registers, stencils_of, worker_for

from vmjit.debug import Settings
from vmjit.engine import formation
from vmjit.engine import hart as hart_module
from vmjit.engine.cache import Cache, handlers_key
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.worker import Worker
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE
from vmjit.jit.blob import Blob
from vmjit.memory.address_space import EXECUTE, READ, WRITE

every_tier = pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
native_tiers = pytest.mark.parametrize("tier", [Tier.INTERPRETER, Tier.JIT], ids=lambda tier: tier.value)
FOREVER = (1 << 64) - 1


def word(hart: Hart, name: str) -> int:
    return hart.words[hart.guest.layout.word(name)]


def is_compiled(hart: Hart, pc: int) -> bool:
    return hart.native.code_of(pc) >= INTERPRETER_SIZE


@pytest.fixture(autouse=True)
def soon_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hart_module, "HOT_AUTO", 5)


# The same in every tier.


@every_tier
def test_a_program(tier: Tier) -> None:
    """A loop with a load and a store, run to its system call, goes on behind it, and then faults."""
    with harts(assemble(LOOP + "ld r5, 0(r7)\nli r6, 0\nst r5, 8(r6)"), tier) as hart:
        set_registers(hart, r7=DATA)
        assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 22, 0)
        expected = {"r0": 0, "r1": 0, "r2": 16, "r3": FOREVER, "r4": 55, "r5": 0, "r6": 0, "r7": DATA, "status": 55}
        assert registers(hart) == {**expected, "instret": 65}
        assert hart.memory.read(DATA, 8) == (55).to_bytes(8, "little")
        stop = hart.run()
        assert (stop.reason, stop.pc, stop.argument) == (ExitReason.FAULT, CODE + 26, 8)
        assert word(hart, "pc") == CODE + 26
        assert is_compiled(hart, CODE + 8) == (tier in (Tier.AUTO, Tier.JIT))
        assert hart.instructions >= 65


@every_tier
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("halt", Stop(ExitReason.SYSCALL, CODE + 6, 0)),
        ("brk", Stop(ExitReason.BREAKPOINT, CODE + 4, 0)),
        ("even r3", Stop(ExitReason.MISALIGNED, CODE + 4, 3)),
        ("ld r2, 0(r1)", Stop(ExitReason.FAULT, CODE + 4, DATA - 16, 11)),
        ("st r2, 0(r1)", Stop(ExitReason.FAULT, CODE + 4, DATA - 16, 11)),
        ("st r2, 0(r4)", Stop(ExitReason.FAULT, CODE + 4, CODE, 11)),
        ("ld r2, 2(r5)", Stop(ExitReason.FAULT, CODE + 4, 1 << 38)),
        ("st r2, -2(r6)", Stop(ExitReason.FAULT, CODE + 4, FOREVER)),
    ],
)
def test_stops(tier: Tier, text: str, expected: Stop) -> None:
    """The second time from compiled code, where the tier has any."""
    with harts(assemble(f"bnez r0, {CODE + 4:#x}\nbnez r1, {CODE + 4:#x}\n{text}"), tier) as hart:
        for _ in range(2):
            given = {"r1": DATA - 16, "r2": 7, "r3": 3, "r4": CODE, "r5": (1 << 38) - 2, "r6": 1}
            set_registers(hart, pc=CODE, **given)
            found = hart.run()
            wanted = (expected.reason, expected.pc, expected.argument)
            assert (found.reason, found.pc, found.argument) == wanted
            # Past the end of guest memory a region may meet the guard area, which the host refuses.
            assert found.signal == expected.signal or tier in (Tier.REFERENCE, Tier.JIT)
            assert word(hart, "pc") == expected.pc
            assert {name: word(hart, name) for name in given} == given
        assert is_compiled(hart, CODE + 4) == (tier is Tier.JIT)


@every_tier
@pytest.mark.parametrize(
    "target",
    [DATA, 0, CODE + PAGE, CODE + 1, 1 << 38],
    ids=["not executable", "null", "unmapped", "odd", "outside"],
)
def test_jumps_to_what_is_no_code(tier: Tier, target: int) -> None:
    """A fault at the address itself, whether the jump or the page is what is wrong."""
    with harts(assemble("jr r1"), tier) as hart:
        set_registers(hart, r1=target)
        stop = hart.run()
        assert stop.pc == target == word(hart, "pc")
        assert (stop.reason, stop.argument) == (ExitReason.FAULT, target)


@every_tier
def test_what_is_no_instruction(tier: Tier) -> None:
    with harts(assemble("li r1, 1") + b"\xff\xff", tier) as hart:
        assert hart.run() == Stop(ExitReason.ILLEGAL, CODE + 2, 0xFFFF)
        assert word(hart, "instret") == 1


@native_tiers
def test_a_call_that_native_code_makes(tier: Tier) -> None:
    """Its result goes where the guest wants it, and the guest goes on; another call stops it as ever."""
    with harts(assemble("call r6, 0x10002\nli r1, 7\nhalt\nadd r4, r1, r0\nli r1, 8\nhalt"), tier) as hart:
        hart.make_calls(((7, "getpid", ()), (8, "no_such_call", ())), 0, 0)
        assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 12, 0)
        assert (word(hart, "r4"), word(hart, "r1"), hart.instructions) == (os.getpid(), 8, 6)
        assert hart.counters.exits["SYSCALL"] == 1


@every_tier
def test_the_limit(tier: Tier) -> None:
    with harts(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"), tier) as hart:
        for limit in (100, 1000, 3000):
            hart.set_limit(limit)
            stop = hart.run()
            assert stop.reason is ExitReason.LIMIT
            assert limit <= hart.instructions <= limit + 32
        hart.set_limit(None)
        hart.words[toy.LAYOUT.word("r2")] = 0


@every_tier
def test_stopping_from_another_thread(tier: Tier) -> None:
    with harts(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"), tier) as hart:
        timer = threading.Timer(0.1, hart.stop)
        timer.start()
        began = time.monotonic()
        assert hart.run().reason is ExitReason.LIMIT
        assert time.monotonic() - began < 5
        timer.join()


@every_tier
def test_what_only_the_reference_evaluator_can_do(tier: Tier) -> None:
    """In the midst of native code."""
    text = "li r3, 3\nagain:\nthird r2, r3\nli r4, -1\nadd r3, r3, r4\nadd r5, r5, r2\nbnez r3, @again\nhalt"
    with harts(assemble(text), tier) as hart:
        assert hart.run().reason is ExitReason.SYSCALL
        assert [word(hart, name) for name in ("r3", "r5", "instret")] == [0, 1, 17]
        assert (hart.counters.exits["EMULATE"] == 3) == (tier is not Tier.REFERENCE)


@every_tier
def test_the_clock_is_the_hosts(tier: Tier) -> None:
    text = "li r3, 100\nagain:\nclock r2\nli r4, -1\nadd r3, r3, r4\nbnez r3, @again\nclock r5\nhalt"
    with harts(assemble(text), tier) as hart:
        before = time.time_ns() // 100
        assert hart.run().reason is ExitReason.SYSCALL
        assert before <= word(hart, "r2") <= word(hart, "r5") <= time.time_ns() // 100
        assert (word(hart, "r3"), word(hart, "instret")) == (0, 403)
        assert not hart.counters.exits["EMULATE"]


# Code that changes.

PATCH = """\
    ld r2, 0(r1)      ; the new code
    li r4, 20
    li r5, -1
again:
    add r4, r4, r5
    call r6, @patched
    bnez r4, @again
    st r2, 32(r7)
    flush
    call r6, @patched
    halt
patched:
    li r3, 1
    jr r6
"""
PATCHED = CODE + 20


@every_tier
def test_self_modified_code_is_seen_after_a_flush(tier: Tier) -> None:
    code = assemble(PATCH)
    assert code[20:22] == assemble("li r3, 1")
    with harts(code, tier, writable_code=True) as hart:
        hart.memory.write(DATA, assemble("li r3, 2\njr r6\nhalt\nhalt"))
        set_registers(hart, r1=DATA, r7=PATCHED - 32)
        hart.run()
        assert word(hart, "r3") == 2
        assert hart.counters.exits["FLUSH_CODE"] == 1


@native_tiers
def test_a_flush_without_change_keeps_everything(tier: Tier) -> None:
    with harts(assemble("bnez r7, 0x10002\nflush\nhalt"), tier, writable_code=True) as hart:
        set_registers(hart, r7=1)
        hart.run()
        assert hart.regions.epoch == 0 and hart.native.code_of(CODE + 2)


@native_tiers
def test_code_that_is_mapped_anew(tier: Tier) -> None:
    """What the world does to executable pages reaches the hart by itself."""
    with harts(assemble("bnez r7, 0x10002\nli r1, 1\nhalt"), tier) as hart:
        set_registers(hart, r7=1)
        hart.run()
        hart.memory.map(CODE, PAGE, READ | WRITE)
        hart.memory.write(CODE, assemble("bnez r7, 0x10002\nli r1, 2\nhalt"))
        set_registers(hart, pc=CODE)
        assert hart.run().reason is ExitReason.FAULT, "not executable now"
        hart.memory.protect(CODE, PAGE, READ | EXECUTE)
        set_registers(hart, pc=CODE)
        assert hart.run().reason is ExitReason.SYSCALL
        assert word(hart, "r1") == 2


def test_code_that_is_unmapped_in_the_reference() -> None:
    with harts(assemble("halt"), Tier.REFERENCE) as hart:
        hart.run()
        hart.memory.unmap(CODE, PAGE)
        set_registers(hart, pc=CODE)
        assert hart.run() == Stop(ExitReason.FAULT, CODE, CODE)


# Compiling.


def test_everything_is_hot_in_the_jit(monkeypatch: pytest.MonkeyPatch) -> None:
    with harts(assemble("bnez r7, 0x10002\nli r1, 1\nbrk"), Tier.JIT) as hart:
        set_registers(hart, r7=1)
        hart.run()
        assert is_compiled(hart, CODE + 2) and not is_compiled(hart, CODE)
        counters = hart.counters
        assert (counters.regions, counters.compiled_instructions, counters.failures) == (1, 2, [])
        assert counters.code_bytes > 0 and counters.seconds["load"] > 0


def test_the_interpreter_never_compiles() -> None:
    with harts(assemble(LOOP), Tier.INTERPRETER) as hart:
        hart.native.set_heat(2)
        set_registers(hart, r7=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert hart.counters.exits["HOT"] and not hart.counters.regions


def test_only_what_ran_is_compiled_in_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmjit.engine.formation.NEAR", 0)
    text = "li r1, 20\nli r2, -1\nagain:\nadd r1, r1, r2\nbnez r0, @cold\nbnez r1, @again\nhalt\ncold:\nli r6, 6\nbrk"
    with harts(assemble(text), Tier.AUTO) as hart:
        hart.run()
        assert hart.counters.compiled_instructions == 3
        (placed,) = hart.regions.by_offset.values()
        assert placed.region.ranges == ((CODE + 4, CODE + 10),)


# Handlers that are made when their instructions are met.

MET = "li r1, 1\nclock r2\nstep r1, up\nstep r1, down\nli r3, 5\nadd r4, r1, r3\nhalt"
GROUPS = 3  # without structural fields, step up, step down


@native_tiers
def test_handlers_are_made_when_they_are_met(tier: Tier) -> None:
    with harts(assemble(MET), tier) as hart:
        assert hart.run().reason is ExitReason.SYSCALL and not hart.counters.exits["MISSING"]
        expected = registers(hart) | {"r2": 0}
    with harts(assemble(MET), tier, guest="bare toy") as hart:
        assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 14, 0)
        assert registers(hart) | {"r2": 0} == expected
        assert hart.counters.exits["MISSING"] == GROUPS and not hart.counters.failures
        assert [r for r in hart.service.requests if r[0] == "handlers"] == [("handlers", n + 1) for n in range(GROUPS)]


def test_handlers_are_kept(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), "bare toy")
    maker = Worker(toy.bare, cache, Settings())
    for group in range(1, GROUPS + 1):
        maker.handlers(group)
    with harts(assemble(MET), guest="bare toy", cache=cache) as hart:
        assert hart.run().reason is ExitReason.SYSCALL and hart.counters.exits["MISSING"] == GROUPS
        assert hart.service.requests == [("interpreter",)]


@pytest.mark.parametrize("bad", [b"", bytes(8), (1 << 20).to_bytes(8, "little") + bytes(8)])
def test_handlers_that_cannot_be_had(tmp_path: Path, bad: bytes) -> None:
    """The reference evaluator executes the instructions instead; what the cache holds may be no handlers at all."""
    cache = Cache(str(tmp_path), "bare toy")
    for group in range(1, GROUPS + 1) if bad else ():
        cache.put(handlers_key("flat", group), Blob(bad, {"handlers": 0}))
    with harts(assemble(MET + "\nbnez r1, 0x10000"), guest="bare toy", cache=cache) as hart:
        hart.service.refuse = "not today"
        for _ in range(2):
            assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 14, 0)
        assert (word(hart, "r4"), hart.instructions) == (6, 15)
        assert len(hart.counters.failures) == GROUPS
        assert all(("handlers that are none" if bad else "not today") in text for text in hart.counters.failures)


# System calls that native code makes once there are many.


def test_calls_are_made_natively_once_they_are_many() -> None:
    code = assemble("again:\nli r1, 7\nhalt\nli r2, 1\nbnez r2, @again")
    with harts(code) as hart:
        later = hart.service = Later(hart.service.worker)  # type: ignore[assignment]
        hart.make_calls(((7, "getpid", ()),), 0, 0, after=3)
        for number in range(1, 6):
            assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 4, 0)
            assert len(later.waiting) == (number >= 3)
        later.answer()
        hart.set_limit(1000)
        assert hart.run().reason is ExitReason.LIMIT
        assert word(hart, "r1") == os.getpid() and hart.counters.exits["SYSCALL"] == 5


def test_a_child_asks_for_calls_again() -> None:
    """The answer to its parent does not come to it."""
    code = assemble("again:\nli r1, 7\nhalt\nli r2, 1\nbnez r2, @again")
    with harts(code) as hart:
        later = hart.service = Later(hart.service.worker)  # type: ignore[assignment]
        hart.make_calls(((7, "getpid", ()),), 0, 0, after=1)
        hart.run()
        later.waiting.clear()
        hart.run()
        assert not later.waiting
        hart.begin_as_child()
        hart.run()
        later.answer()
        hart.set_limit(1000)
        assert hart.run().reason is ExitReason.LIMIT


def test_a_child_is_not_kept_by_a_lock_that_another_thread_held() -> None:
    with harts(assemble("li r1, 7\nhalt")) as hart:
        hart.shared.recalling.acquire()
        hart.begin_as_child()
        hart.shared.mapped.append((CODE, PAGE))
        assert not hart.shared.recalling.locked()
        assert hart.run().reason is ExitReason.SYSCALL


def test_calls_that_come_after_the_end() -> None:
    with harts(assemble("li r1, 7\nhalt")) as hart:
        later = hart.service = Later(hart.service.worker)  # type: ignore[assignment]
        hart.make_calls(((7, "getpid", ()),), 0, 0, after=1)
        hart.run()
    later.answer()


class Later:
    """A compile service that answers when it is told to, as one in another process may at any time."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.waiting: list[tuple[Any, Any]] = []
        self.preferred: list[Any] = []

    def prefer(self, key: Any) -> None:
        self.preferred.append(key)

    def wait(self, request: tuple[Any, ...]) -> Any:
        from machines import interpreter_of

        assert request == ("interpreter",)
        return interpreter_of(self.worker.guest.name)

    def submit(self, key: Any, make: Any, done: Any, *, first: bool = False) -> None:
        if not first:  # stencils never come
            self.waiting.append((make, done))

    def answer(self) -> None:
        for make, done in self.waiting:
            request = make()
            if request is not None:
                made = self.worker.calls if request[0] == "calls" else self.worker.region
                done(True, made(*request[1:]))
        self.waiting.clear()


def later(hart: Hart) -> Later:
    hart.sync = False
    service = Later(worker_for("toy"))
    hart.service = service  # type: ignore[assignment]
    return service


ENDLESS = "li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"


def run_to(hart: Hart, instructions: int) -> None:
    hart.set_limit(hart.instructions + instructions)
    assert hart.run().reason is ExitReason.LIMIT


def test_the_guest_goes_on_while_a_region_is_compiled() -> None:
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        assert len(service.waiting) == 1 and not is_compiled(hart, CODE + 2)
        service.answer()
        assert is_compiled(hart, CODE + 2)
        run_to(hart, 1000)
        assert word(hart, "r2") * 2 + 1 == hart.instructions


def test_what_goes_on_being_hot_is_compiled_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hart_module, "AGAIN", 200)
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 100)
        assert service.preferred == []
        run_to(hart, 1000)
        assert set(service.preferred) == {CODE + 2}


def test_what_was_asked_for_before_code_changed_is_not_compiled() -> None:
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        hart.code_changed(CODE, 1)
        service.answer()
        assert not hart.regions.by_offset and hart.counters.regions == 0


def test_what_was_compiled_while_code_changed_is_dropped() -> None:
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        ((make, done),) = service.waiting
        made = service.worker.region(*make()[1:])
        hart.code_changed(CODE, PAGE)
        done(True, made)
        assert not hart.regions.by_offset and CODE + 2 not in hart.asked
        service.waiting.clear()
        run_to(hart, 3 * hart_module.AGAIN)
        service.answer()
        assert hart.counters.regions == 1, "asked for again"


def test_what_was_compiled_while_the_hart_was_closed_is_dropped() -> None:
    """The worker does not know that its guest has executed another program meanwhile."""
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        ((make, done),) = service.waiting
        made = service.worker.region(*make()[1:])
        stencils = stencils_of("toy", 0)
    done(True, made)
    hart._take_stencils(0, True, stencils)
    assert hart.counters.regions == 0 and make() is None


def test_what_was_compiled_while_other_code_changed_is_kept() -> None:
    with harts(assemble(ENDLESS), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        ((make, done),) = service.waiting
        hart.code_changed(CODE + PAGE, PAGE)
        assert CODE + 2 in hart.asked
        made = service.worker.region(*make()[1:])
        hart.code_changed(CODE + PAGE, PAGE)
        done(True, made)
        assert is_compiled(hart, CODE + 2)
        hart.code_changed(CODE + PAGE, PAGE)
        assert is_compiled(hart, CODE + 2) and CODE + 2 in hart.asked
        hart.code_changed(CODE, PAGE)
        assert not is_compiled(hart, CODE + 2) and CODE + 2 not in hart.asked


def test_what_another_region_covers_by_its_turn_is_not_compiled() -> None:
    with harts(assemble("li r1, 1\nadd r2, r2, r1\nadd r3, r3, r1\nbnez r1, 0x10002"), Tier.AUTO) as hart:
        service = later(hart)
        run_to(hart, 1000)
        set_registers(hart, pc=CODE + 4)
        hart._hot(CODE + 4, 0)
        assert len(service.waiting) == 2
        service.answer()
        assert hart.counters.regions == 1 and CODE + 4 not in hart.asked


def test_a_refusal_is_noted_and_the_guest_goes_on() -> None:
    with harts(assemble(LOOP), Tier.JIT) as hart:
        hart.service.refuse = "no luck"  # type: ignore[attr-defined]
        set_registers(hart, r7=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert word(hart, "status") == 55 and hart.counters.failures == [f"{CODE + 8:#x}: no luck"]


def test_what_cannot_be_compiled_is_asked_for_once() -> None:
    with harts(
        assemble("li r1, 9\nli r2, -1\nagain:\nclock r3\nadd r1, r1, r2\nbnez r1, @again\nhalt"), Tier.JIT
    ) as hart:
        hart.run()
        assert hart.counters.refused == 1 and word(hart, "r1") == 0


def test_a_full_arena_starts_anew() -> None:
    with harts(assemble(LOOP), Tier.JIT) as hart:
        hart.regions.is_full = True
        set_registers(hart, r7=DATA)
        hart.run()
        assert not hart.regions.is_full and hart.regions.epoch == 1 and is_compiled(hart, CODE + 8)


def test_hot_code_of_many_pages() -> None:
    """A request has the decodable pages around, and no more."""
    filler = "mov r1, r1\n" * (PAGE // 2 - 1)
    text = "".join(f"{filler}bnez r7, {CODE + (n + 1) * PAGE:#x}\n" for n in range(8)) + "halt"
    with harts(assemble(text), Tier.AUTO) as hart:
        set_registers(hart, r7=1)
        hart.run()
        kind, pc, chunks, jumps, *_ = hart._request(CODE + 4 * PAGE)
        first = CODE // PAGE
        assert (kind, pc, jumps) == ("region", CODE + 4 * PAGE, [])
        assert [page for page, *_ in chunks] == list(range(first + 2, first + 7))
        assert all((len(code), len(executed)) == (PAGE, 4 * PAGE) for _, code, executed, _ in chunks)
        _, _, chunks, *_ = hart._request(CODE)
        assert [page for page, *_ in chunks] == list(range(first, first + 3))


def test_a_guest_without_floating_point_has_no_rounding() -> None:
    with harts(assemble("halt")) as hart:
        assert hart._rounding is None


# Rounding that the host lacks: the one thing the toy has not.


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
def test_rounding_that_the_host_lacks(tier: Tier) -> None:
    """Under frm = 4 (to nearest, ties away) the reference executes: 2**53 + 1 + 1 is even and 2**53 + 1 rounds up."""
    text = """\
    addi a0, zero, 1
    c.slli a0, 0x35
    fcvt.d.l fa0, a0, rne
    addi a1, zero, 1
    fcvt.d.l fa1, a1, rne
    csrrwi a3, frm, 4
    fadd.d fa2, fa0, fa1
    csrrwi a3, frm, 0
    fadd.d fa3, fa0, fa1
    ecall
    """
    with harts(assemble(text, guest="riscv64"), tier, guest="riscv64") as hart:
        assert hart.run().reason is ExitReason.SYSCALL
        away, even = 0x4340000000000001, 0x4340000000000000
        assert (word(hart, "f12"), word(hart, "f13"), word(hart, "x13")) == (away, even, 4)
        assert word(hart, "fflags") == 1
        assert word(hart, "instret") == 10


@pytest.mark.parametrize("end", ["ebreak", "fence.i\necall", "ld a0, 0(zero)", "jalr zero, 0(zero)"])
def test_exits_under_rounding_that_the_host_lacks(end: str) -> None:
    code = assemble(f"csrrwi zero, frm, 4\n{end}", guest="riscv64")
    expected = {"ebreak": ExitReason.BREAKPOINT, "fence.i\necall": ExitReason.SYSCALL}.get(end, ExitReason.FAULT)
    with harts(code, Tier.INTERPRETER, guest="riscv64", writable_code=True) as hart:
        assert hart.run().reason is expected


def test_close_gives_the_memory_back() -> None:
    with harts(assemble("halt")) as hart:
        hart.run()
    with pytest.raises(ValueError):
        hart.words[0]


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
@pytest.mark.parametrize("mode", [5, 6, 7])
def test_a_rounding_mode_that_is_none(tier: Tier, mode: int) -> None:
    """Instructions that use it are illegal; those with a mode of their own are not."""
    text = f"csrrwi zero, frm, {mode}\nfadd.d fa1, fa0, fa0, rne\nfadd.d fa2, fa0, fa0"
    with harts(assemble(text, guest="riscv64"), tier, guest="riscv64") as hart:
        set_registers(hart, f10=0x3FF0000000000000, f12=7)
        word_of_it = int.from_bytes(assemble("fadd.d fa2, fa0, fa0", guest="riscv64"), "little")
        assert hart.run() == Stop(ExitReason.ILLEGAL, CODE + 8, word_of_it)
        assert (word(hart, "f11"), word(hart, "f12")) == (0x4000000000000000, 7)


def test_a_fault_in_code_that_uses_every_register_of_the_host() -> None:
    """The frame pointer is the host's own; it is what it was before when guest code is left by a fault."""
    sums = "".join(f"add {abi(n)}, {abi(n)}, {abi(n + 1)}\n" for n in range(9, 30))
    text = f"again:\nld t0, 0(s0)\n{sums}addi s0, s0, 8\nbne s0, zero, @again\nebreak"
    with harts(assemble(text, guest="riscv64"), Tier.JIT, guest="riscv64") as hart:
        set_registers(hart, x8=DATA)
        stop = hart.run()
        assert (stop.reason, stop.pc, stop.argument) == (ExitReason.FAULT, CODE, DATA + PAGE)
        assert is_compiled(hart, CODE)


def abi(number: int) -> str:
    from vmjit.guest.riscv.registers import X

    return X.names[number]


# What is kept from run to run, and what is shown.


def ran_with(cache: Cache, text: str = LOOP, tier: Tier = Tier.AUTO) -> Hart:
    """A hart that has run a program with a cache; closed, its counters can still be read."""
    worker = Worker(toy.guest, cache, Settings())
    with harts(assemble(text), tier, worker=worker) as hart:
        hart.cache = cache
        set_registers(hart, r7=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert word(hart, "status") == 55
        return hart


@pytest.mark.parametrize("tier", [Tier.AUTO, Tier.JIT])
def test_a_warm_start_compiles_nothing(tmp_path: Path, tier: Tier) -> None:
    cold = ran_with(Cache(str(tmp_path), "toy"), tier=tier).counters
    warm = ran_with(Cache(str(tmp_path), "toy"), tier=tier).counters
    assert (cold.compiled_here, cold.cache_hits) == (1, 0)
    assert (warm.compiled_here, warm.cache_hits, warm.regions) == (0, 1, 1)
    assert warm.code_bytes == cold.code_bytes and not warm.seconds


def test_a_program_begins_with_the_regions_that_it_ended_with(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), "toy")
    worker = Worker(toy.guest, cache, Settings())
    for text, program, compiled in ((LOOP, "it", 1), (LOOP, "it", 0), (LOOP + "\nbrk", "other", 0), (LOOP, "", 0)):
        with harts(assemble(text), Tier.AUTO, worker=worker) as hart:
            hart.cache, hart.program = cache, program
            set_registers(hart, r7=DATA)
            hart.recall()
            known = program == "it" and not compiled
            assert hart.counters.regions == known
            assert hart.run().reason is ExitReason.SYSCALL and word(hart, "status") == 55
            assert hart.counters.compiled_here == compiled
            assert hart.counters.exits["HOT"] == 0 if known else hart.counters.exits["HOT"] > 0
            hart.learn()


def test_regions_of_a_library_come_with_it(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), "toy")
    worker = Worker(toy.guest, cache, Settings())
    code = assemble(LOOP)
    for is_late in (False, True, True):
        with harts(code, Tier.AUTO, worker=worker) as hart:
            hart.cache, hart.program = cache, "it"
            set_registers(hart, r7=DATA)
            if is_late:
                hart.memory.unmap(CODE, PAGE)
                hart.recall()
                assert not hart.counters.regions
                hart.memory.map(CODE, PAGE, READ | WRITE)
                hart.memory.write(CODE, code)
                hart.memory.protect(CODE, PAGE, READ | EXECUTE)
            assert hart.run().reason is ExitReason.SYSCALL and word(hart, "status") == 55
            assert (hart.counters.exits["HOT"] == 0) == is_late
            hart.shared.is_learned = False
            hart.learn()


def test_regions_of_a_library_that_did_not_come_are_kept_for_later_runs(tmp_path: Path) -> None:
    ran_with(cache := Cache(str(tmp_path), "toy"))
    worker = Worker(toy.guest, cache, Settings())
    for is_there in (True, False, True):
        with harts(assemble(LOOP), Tier.AUTO, worker=worker) as hart:
            hart.cache, hart.program = cache, "it"
            set_registers(hart, r7=DATA)
            if not is_there:
                hart.memory.unmap(CODE, PAGE)
            hart.recall()
            if is_there:
                assert hart.run().reason is ExitReason.SYSCALL
            hart.shared.is_learned = False
            hart.learn()
        assert [kept.pc for kept in cache.get_program("it", hart.variant).regions] == [CODE + 8]


def test_code_that_is_other_code_by_now_begins_anew(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), "toy")
    worker = Worker(toy.guest, cache, Settings())
    other = LOOP.replace("li r2, 8", "li r2, 9").replace("add r1, r1, r3\n", "add r1, r3, r1\n")
    for text in (LOOP, other):
        with harts(assemble(text), Tier.AUTO, worker=worker) as hart:
            hart.cache, hart.program = cache, "it"
            set_registers(hart, r7=DATA)
            hart.recall()
            assert not hart.counters.regions
            assert hart.run().reason is ExitReason.SYSCALL
            assert hart.counters.compiled_here == 1
            hart.learn()


def test_other_code_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    ran_with(Cache(str(tmp_path), "toy"))
    other = LOOP.replace("li r2, 8", "li r2, 9").replace("add r1, r1, r3\n", "add r1, r3, r1\n")
    counters = ran_with(Cache(str(tmp_path), "toy"), other).counters
    assert (counters.compiled_here, counters.cache_hits) == (1, 0)


def test_exits_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(categories=frozenset(("exit", "unimplemented")), log=str(log))
    with harts(assemble("third r1, r2\nhalt"), settings=settings) as hart:
        hart.run()
    lines = log.read_text().splitlines()
    assert lines[0] == f"undecoded at {CODE:#x}, {CODE:#x}"
    assert f"{CODE:#x}: executed by the reference evaluator" in lines
    assert lines[-1] == f"syscall at {CODE + 4:#x}, 0x0"


def test_code_that_changes_under_rounding_that_the_host_lacks() -> None:
    text = "csrrwi zero, frm, 4\nsw a0, 12(s0)\nfence.i\naddi a1, zero, 1\ncsrrwi zero, frm, 0\necall"
    with harts(assemble(text, guest="riscv64"), guest="riscv64", writable_code=True) as hart:
        new = int.from_bytes(assemble("addi a1, zero, 2", guest="riscv64"), "little")
        set_registers(hart, x8=CODE, x10=new)
        assert hart.run().reason is ExitReason.SYSCALL
        assert word(hart, "x11") == 2


CALLING = """\
addi s0, zero, 200
again:
jal ra, @step
addi a1, a1, 3
jal ra, @step
auipc t2, 0
addi t2, t2, 24
andi t3, s0, 1
slli t3, t3, 0x2
add t2, t2, t3
jalr zero, 0(t2)
addi a2, a2, 5
addi s0, s0, -1
bne s0, zero, @again
ecall
step:
add a0, a0, s0
jalr zero, 0(ra)
"""


CHANGING = """\
addi s0, zero, 2000
slli s0, s0, 0x6
addi s1, zero, 1000
again:
addi s0, s0, -1
addi a0, a0, 3
bge s0, s1, @rest
xor a1, a1, s0
rest:
andi t0, s0, 1
bne t0, zero, @odd
addi a2, a2, 1
jal zero, @on
addi zero, zero, 0
odd:
addi a3, a3, 1
on:
bne s0, zero, @again
ecall
"""


@contextmanager
def ended_as_reference(code: bytes) -> Iterator[Hart]:
    """A hart that compiles what is hot, when it has ended as the reference does."""

    def end(hart: Hart) -> tuple[object, ...]:
        stop = hart.run()
        return stop.reason, stop.pc, registers(hart)

    with harts(code, Tier.REFERENCE, guest="riscv64") as hart:
        expected = end(hart)
    with harts(code, Tier.AUTO, guest="riscv64") as hart:
        assert end(hart) == expected
        yield hart


def test_a_region_is_made_anew_for_what_runs_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exclusive or is far enough away in time that the first region lacks it."""
    monkeypatch.setattr(formation, "NEAR", 0)
    monkeypatch.setattr(hart_module, "AGAIN", 200)
    with ended_as_reference(assemble(CHANGING, guest="riscv64")) as hart:
        assert hart.extended, "a region was made anew"
        (placed, _), *_ = hart.regions.entered()[::-1]
        assert placed.region.instructions > min(p.region.instructions for p in hart.regions.by_offset.values())


def test_a_region_holds_what_it_calls_and_where_it_jumps() -> None:
    """The indirect jump skips an addition in every other round."""
    code = assemble(CALLING, guest="riscv64")
    with ended_as_reference(code) as hart:
        whole = [placed for placed in hart.regions.by_offset.values() if len(placed.region.ranges) == 1]
        assert any(end - start >= len(code) - 8 for placed in whole for start, end in placed.region.ranges)
        assert hart.counters.exits["HOT"] < 60, "hot code does not leave its region"


@native_tiers
@pytest.mark.parametrize("writable", [False, True])
def test_code_behind_the_end_of_its_file(tier: Tier, writable: bool, tmp_path: Path) -> None:
    """Dynamic linkers map all of a library before its parts; what an earlier run left may be looked for just then."""
    path = tmp_path / "library"
    path.write_bytes(assemble("halt"))
    with harts(b"", tier) as hart, path.open("r+b") as file:
        permissions = READ | EXECUTE | (WRITE if writable else 0)
        hart.space.map(2 * CODE, 2 * PAGE, permissions, fd=file.fileno())
        assert hart._code(2 * CODE, 2) is not None
        behind = 2 * CODE + PAGE
        assert hart._code(behind, PAGE) is None
        hart.words[hart.guest.layout.word("pc")] = behind
        stop = hart.run()
        assert (stop.reason, stop.pc, stop.signal) == (ExitReason.FAULT, behind, signal.SIGBUS)
