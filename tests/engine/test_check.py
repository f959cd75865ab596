"""VMJIT_CHECK passes where regions are right and names what differs where one is wrong."""

import time

import pytest
import toy
from machines import CODE, DATA, LOOP, NO_CACHE, PAGE, assemble, guest_named, harts, registers, set_registers

from vmjit.debug import Settings
from vmjit.engine import compile as compile_module
from vmjit.engine.check import CheckedHart, Overlay
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.reference import GuestFault
from vmjit.engine.worker import Worker
from vmjit.errors import MismatchError
from vmjit.ir.block import CONST, Region, Value
from vmjit.ir.exits import ExitReason
from vmjit.memory.address_space import READ
from vmjit.passes.pipeline import PIPELINE

HEAD = CODE + 8  # of the loop in LOOP


def checked(code: bytes, tier: Tier = Tier.JIT, **options):  # type: ignore[no-untyped-def]
    """A hart that checks, with a worker of its own."""
    worker = Worker(guest_named(options.get("guest", "toy")), NO_CACHE, Settings())
    return harts(code, tier, make=CheckedHart, worker=worker, **options)


@pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)
def test_right_code_passes(tier: Tier) -> None:
    with checked(assemble(LOOP), tier) as hart:
        set_registers(hart, r7=DATA)
        assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 22, 0)
        assert (registers(hart)["status"], registers(hart)["instret"]) == (55, 65)
        assert hart.memory.read(DATA, 1) == bytes([55])
        assert (hart.counters.exits["CHECKED"] > 0) == (tier in (Tier.AUTO, Tier.JIT))


def test_exits_and_faults_pass() -> None:
    text = "bnez r7, 0x10002\nld r1, 0(r7)\nst r1, 8(r7)\nhalt\nclock r2\neven r1\nld r3, 0(r6)\nhalt"
    with checked(assemble(text)) as hart:
        set_registers(hart, r7=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        stop = hart.run()
        assert (stop.reason, stop.pc) == (ExitReason.FAULT, CODE + 12)


def test_the_clock_stands_still_meanwhile() -> None:
    with checked(assemble("bnez r7, 0x10002\nli r1, 5\nclock r2\nadd r3, r2, r1\nst r3, 0(r7)\nhalt")) as hart:
        set_registers(hart, r7=DATA)
        before = time.time_ns() // 100
        assert hart.run().reason is ExitReason.SYSCALL and hart.counters.exits["CHECKED"]
        assert before <= registers(hart)["r2"] <= time.time_ns() // 100


def test_the_limit_is_kept() -> None:
    with checked(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002")) as hart:
        for limit in (50, 500):
            hart.set_limit(limit)
            assert hart.run().reason is ExitReason.LIMIT
            assert limit <= hart.instructions <= limit + 20
        hart.set_limit(0)
        assert hart.run().reason is ExitReason.LIMIT


def wrong_pass(monkeypatch: pytest.MonkeyPatch, name: str, change: int) -> None:
    """A pass that adds to the value stored in a register where a region is left."""

    def spoil(region: Region) -> Region:
        for block in region.blocks:
            for value in block.ops:
                if value.op.name == "set" and value.attr == name:
                    block.ops.insert(0, other := Value(CONST, "i64", (), change))
                    value.args = (other,)
                    break
        return region

    monkeypatch.setitem(compile_module.PIPELINES, "flat", (*PIPELINE, ("wrong", spoil)))


def test_a_wrong_register_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_pass(monkeypatch, "r4", 0x1234)
    with checked(assemble(LOOP)) as hart, pytest.raises(MismatchError) as caught:
        set_registers(hart, r7=DATA)
        hart.run()
    message = str(caught.value)
    assert message.startswith(f"region {HEAD:#x} entered at {HEAD:#x}, left at ")
    assert "r4 is 0x1234, the reference has 0x" in message


def test_a_wrong_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_pass(monkeypatch, "instret", 1_000_000)
    with (
        checked(assemble(LOOP)) as hart,
        pytest.raises(MismatchError, match="executed to count 1000000, the reference"),
    ):
        set_registers(hart, r7=DATA)
        hart.run()


def test_wrong_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lower = compile_module.lower_region
    text = "volatile i64 77, ptr"

    def spoiled(*arguments) -> str:  # type: ignore[no-untyped-def]
        import re

        return re.sub(r"store volatile i64 \S+, ptr", f"store {text}", lower(*arguments))

    monkeypatch.setattr(compile_module, "lower_region", spoiled)
    with checked(assemble("bnez r7, 0x10002\nli r1, 5\nst r1, 0(r7)\nhalt")) as hart:
        set_registers(hart, r7=DATA)
        with pytest.raises(MismatchError, match=f"memory at {DATA:#x} holds 0x4d, the reference 0x5"):
            hart.run()


def test_a_wrong_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that goes the other way."""
    lower = compile_module.lower_region
    monkeypatch.setattr(compile_module, "lower_region", lambda *a: lower(*a).replace("icmp ne i64", "icmp eq i64"))
    text = "bnez r7, 0x10002\nbnez r1, 0x10006\nhalt\nhalt"
    with checked(assemble(text)) as hart:
        set_registers(hart, r7=DATA, r1=1)
        with pytest.raises(MismatchError, match=f"went on at {CODE + 6:#x}, the reference at {CODE + 8:#x}"):
            hart.run()


def test_the_same_code_unchecked_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_pass(monkeypatch, "r4", 0x1234)
    worker = Worker(toy.guest, NO_CACHE, Settings())
    with harts(assemble(LOOP), Tier.JIT, make=Hart, worker=worker) as hart:
        set_registers(hart, r7=DATA)
        hart.run()
        assert registers(hart)["r4"] == 0x1234


@pytest.mark.parametrize("tier", [Tier.JIT, Tier.AUTO])
def test_code_that_changes_is_traced_anew(tier: Tier) -> None:
    with checked(assemble("bnez r7, 0x10002\nli r1, 1\nhalt"), tier, writable_code=True) as hart:
        for number in (1, 2):
            hart.memory.write(CODE + 2, assemble(f"li r1, {number}"))
            hart.code_changed(CODE, PAGE)
            set_registers(hart, pc=CODE, r7=1)
            assert hart.run().reason is ExitReason.SYSCALL
            assert registers(hart)["r1"] == number


def test_stores_stay_in_the_overlay() -> None:
    with harts(assemble("halt")) as hart:
        memory = hart.memory
        memory.write(DATA, bytes(range(16)))
        overlay = Overlay(memory)
        overlay.store(DATA + 4, 2, 0xBBAA)
        assert overlay.load(DATA, 8).to_bytes(8, "little") == bytes((0, 1, 2, 3, 0xAA, 0xBB, 6, 7))
        assert memory.read(DATA, 8) == bytes(range(8))
        assert overlay.log == [(DATA + 4, 0xAA), (DATA + 5, 0xBB)]
        with pytest.raises(GuestFault):
            overlay.store(DATA + PAGE - 1, 2, 0)
        memory.protect(DATA, PAGE, READ)
        overlay.store(DATA, 1, 1)
