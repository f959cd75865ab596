"""Copies of handlers: the same as the handlers in all that is exact, where they begin and end, what they are made of.

Random programs are run from copies by the fuzzer, the programs of tests/programs by tests/run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machines import CODE, DATA, PAGE, Here, assemble, harts, registers, set_registers, worker_for

from vmjit.codegen.ways import PLAIN
from vmjit.engine import copies as copies_module
from vmjit.engine.copies import LONGEST, Copies
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.stencils import Stencils
from vmjit.errors import CompileError
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import HANDLERS_SIZE, INTERPRETER_SIZE
from vmjit.jit.blob import Blob

LOOP = """\
addi t0, zero, 10
again:
ld t1, 0(a0)
add t1, t1, t0
sd t1, 0(a0)
addi t0, t0, -1
bne t0, zero, @again
"""
AGAIN = CODE + 4


@contextmanager
def copying(text: str, **registers: int) -> Iterator[Hart]:
    with harts(assemble(text, CODE, "riscv64"), Tier.COPIES, guest="riscv64") as hart:
        set_registers(hart, **registers)
        yield hart


def is_copied(hart: Hart, pc: int) -> bool:
    return HANDLERS_SIZE <= hart.native.code_of(pc) < INTERPRETER_SIZE


def copies_of(hart: Hart) -> Copies:
    assert hart.shared.copies is not None
    return hart.shared.copies


def test_a_loop_ends_as_in_the_interpreter() -> None:
    ends = []
    for tier in (Tier.INTERPRETER, Tier.COPIES):
        with harts(assemble(LOOP + "ecall", CODE, "riscv64"), tier, guest="riscv64") as hart:
            set_registers(hart, x10=DATA)
            stop = hart.run()
            assert is_copied(hart, AGAIN) == (tier is Tier.COPIES)
            ends.append((stop, registers(hart), hart.memory.read(DATA, 8)))
    assert ends[0] == ends[1]
    assert ends[0][2] == (55).to_bytes(8, "little")


def test_a_fault_in_a_copy_is_exact() -> None:
    """The pointer runs off the page in the middle of a copy."""
    text = "addi t0, zero, 1\nagain:\naddi t0, t0, 1\nsd t0, 0(a0)\naddi a0, a0, 1024\njal zero, @again"
    with copying(text, x10=DATA) as hart:
        stop = hart.run()
        assert is_copied(hart, CODE + 4)
        assert (stop.reason, stop.pc, stop.argument) == (ExitReason.FAULT, CODE + 8, DATA + PAGE)
        assert registers(hart)["x5"] == 6
        assert registers(hart)["instret"] == 1 + 4 * 4 + 1


def test_a_fault_behind_a_followed_branch_is_exact() -> None:
    """What is in between is in no copy, so places in the copy's code do not lie as far apart as the instructions."""
    text = """\
again:
addi t0, t0, 1
jal zero, @on
addi t3, t3, 1
addi t3, t3, 1
on:
add t1, t1, t0
ld t2, 0(a0)
sd t0, 8(a0)
addi a0, a0, 1024
beq zero, zero, @again"""
    for tier in (Tier.INTERPRETER, Tier.COPIES):
        with harts(assemble(text, CODE, "riscv64"), tier, guest="riscv64") as hart:
            set_registers(hart, x10=DATA)
            stop = hart.run()
            assert is_copied(hart, CODE) == (tier is Tier.COPIES)
            assert (stop.reason, stop.pc, stop.argument) == (ExitReason.FAULT, CODE + 20, DATA + PAGE)
            assert registers(hart)["instret"] == 4 * 7 + 3


def test_a_misaligned_atomic_in_a_copy_is_exact() -> None:
    text = "again:\naddi t0, t0, 1\namoadd.d t1, t0, (a0)\nadd a0, a0, a1\njal zero, @again"
    with copying(text, x10=DATA, x11=8) as hart:
        hart.set_limit(200)
        hart.run()
        assert is_copied(hart, CODE)
        set_registers(hart, x11=4)
        hart.set_limit(1 << 62)
        before = registers(hart)
        stop = hart.run()
        after = registers(hart)
        assert (stop.reason, stop.pc, stop.argument) == (ExitReason.MISALIGNED, CODE + 4, before["x10"] + 4)
        assert after["x10"] == before["x10"] + 4 and after["x5"] == before["x5"] + 2
        assert after["instret"] == before["instret"] + 4 + 1


def test_what_follows_a_long_copy_is_copied_too() -> None:
    """No jump leads there."""
    many = "\n".join(["addi t1, t1, 1"] * (LONGEST + 10))
    with copying(f"addi t0, zero, 20\nagain:\n{many}\naddi t0, t0, -1\nbne t0, zero, @again\necall") as hart:
        assert hart.run().reason is ExitReason.SYSCALL
        assert registers(hart)["x6"] == 20 * (LONGEST + 10)
        assert is_copied(hart, AGAIN) and is_copied(hart, AGAIN + 4 * LONGEST)


def test_the_instruction_limit_stops_a_copied_loop() -> None:
    with copying("again:\naddi t0, t0, 1\njal zero, @again") as hart:
        hart.set_limit(1001)
        assert hart.run() == Stop(ExitReason.LIMIT, CODE, 0)
        assert is_copied(hart, CODE)
        assert 1001 <= registers(hart)["instret"] <= 1002


def test_what_branches_mostly_do_is_followed_forwards() -> None:
    """The branch is mostly taken, so what follows it is in no copy, and is executed all the same when it is not."""
    text = """\
addi t0, zero, 40
again:
addi t0, t0, -1
bne t0, t2, @over
addi t3, t3, 1
over:
jal zero, @on
addi t4, t4, 1
on:
bne t0, zero, @again
ecall"""
    with copying(text, x7=3) as hart:
        hart._threshold = 20  # the handlers are to know which way it goes
        hart.native.set_heat(20)
        hart.run()
        found = registers(hart)
        assert (found["x5"], found["x28"], found["x29"]) == (0, 1, 0)
        assert is_copied(hart, CODE + 4)
        assert copies_of(hart).instructions == 4, "the two additions are left out"


def test_a_copy_ends_with_its_page() -> None:
    """The last instruction of the page lies on the next one, too."""
    lines = ["jal zero, @start"] + ["c.nop"] * 2043 + ["start:", "addi t0, t0, 1", "bge t1, t0, @start", "ecall"]
    text = "\n".join(lines)
    code = assemble(text, CODE, "riscv64")
    assert code[PAGE - 2 :][:4] == code[-8:-4], "the branch crosses"
    with harts(code, Tier.COPIES, guest="riscv64") as hart:
        set_registers(hart, x6=50)
        assert hart.run().reason is ExitReason.SYSCALL
        assert registers(hart)["x5"] == 51
        assert not is_copied(hart, CODE + PAGE - 6), "one instruction alone"


def test_forgotten_code_gives_back_its_room() -> None:
    with copying(LOOP + "ecall", x10=DATA) as hart:
        hart.run()
        first = hart.native.code_of(AGAIN)
        assert is_copied(hart, AGAIN) and not copies_of(hart).free
        hart.code_changed(CODE, PAGE)
        assert not hart.native.code_of(AGAIN) and len(copies_of(hart).free) == 1
        hart.words[hart.guest.layout.word("pc")] = CODE
        hart.run()
        assert hart.native.code_of(AGAIN) == first and not copies_of(hart).free


def test_without_room_the_interpreter_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies_module, "INTERPRETER_SIZE", HANDLERS_SIZE)
    with copying(LOOP + "ecall", x10=DATA) as hart:
        assert hart.run().reason is ExitReason.SYSCALL
        assert not is_copied(hart, AGAIN) and not copies_of(hart).made


def test_without_stencils_the_interpreter_goes_on() -> None:
    """They are asked for once a group."""

    class Refusing(Here):
        def wait(self, request: tuple[object, ...]) -> object:
            return b"no stencils" if request[0] == "stencils" else super().wait(request)

    with harts(assemble(LOOP * 2 + "ecall", CODE, "riscv64"), Tier.COPIES, guest="riscv64") as hart:
        hart.service = Refusing(worker_for("riscv64"))  # type: ignore[assignment]
        set_registers(hart, x10=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert not copies_of(hart).made and len(hart.counters.failures) == 1
        assert "stencils 0: not a blob" in hart.counters.failures[0]


def test_stencils_without_room_or_worker_leave_the_interpreter() -> None:
    """What the worker says, and what the arena has no room for, are failures that are counted."""

    def failures_of(hart: Hart) -> list[str]:
        set_registers(hart, x10=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert not copies_of(hart).made
        return hart.counters.failures

    with harts(assemble(LOOP + "ecall", CODE, "riscv64"), Tier.COPIES, guest="riscv64") as hart:
        hart.native._used = HANDLERS_SIZE - 64
        assert "the interpreter would have" in failures_of(hart)[0]
    with harts(assemble(LOOP + "ecall", CODE, "riscv64"), Tier.COPIES, guest="riscv64") as hart:

        def refuse(request: tuple[object, ...]) -> object:
            raise CompileError("no worker")

        hart.service.wait = refuse  # type: ignore[method-assign, assignment]
        assert failures_of(hart) == ["stencils 0: no worker"]


def test_auto_copies_until_there_is_a_region() -> None:
    """A service that is asked for regions and does not answer yet."""

    class Slow(Here):
        def submit(self, key: object, make: object, done: object, *, first: bool = False) -> None:
            if first:
                super().submit(key, make, done, first=first)

    with harts(assemble(LOOP + "ecall", CODE, "riscv64"), Tier.AUTO, guest="riscv64", sync=False) as hart:
        hart.service = Slow(worker_for("riscv64"))  # type: ignore[assignment]
        hart._threshold = 3
        hart.native.set_heat(3)
        set_registers(hart, x10=DATA)
        assert hart.run().reason is ExitReason.SYSCALL
        assert is_copied(hart, AGAIN) and hart.memory.read(DATA, 8) == (55).to_bytes(8, "little")


def test_stencils_read_back() -> None:
    data = worker_for("riscv64").stencils(0)
    stencils = Stencils.from_blob(Blob.from_bytes(data))
    assert stencils.to_blob().to_bytes() == data
    assert stencils.begin.code and stencils.go.code and len(stencils.made) > 50
    for entries, stencil in stencils.made:
        assert entries and stencil.size in (2, 4)
        assert stencil.follows or stencil.way == PLAIN
        assert bool(stencil.main.sides) == bool(stencil.side.code)


@pytest.mark.parametrize("damage", [{}, {"table": 5}, {"table": 1 << 40}])
def test_what_are_no_stencils(damage: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not stencils"):
        Stencils.from_blob(Blob(bytes(40), damage))
