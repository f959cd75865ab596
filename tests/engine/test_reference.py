"""The reference evaluator: one instruction after another, faults to the byte, code traced once until it changes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import toy
from machines import CODE, DATA, LOOP, PAGE, assemble, guest_named, memory_with

from vmjit.engine.reference import GuestFault, Reference, ReferenceMemory
from vmjit.engine.state import FOREVER
from vmjit.ir.exits import ExitReason
from vmjit.memory.address_space import READ, WRITE

Make = Callable[..., Reference]


@pytest.fixture
def reference_of() -> Iterator[Make]:
    with ExitStack() as stack:

        def make(text: str, guest: str = "toy", **registers: int) -> Reference:
            found = guest_named(guest)
            memory = stack.enter_context(memory_with(assemble(text, CODE, guest), writable_code=True))
            reference = Reference(found, memory, memoryview(bytearray(4096)).cast("Q"))
            for name, value in {"pc": CODE, "limit": FOREVER, **registers}.items():
                reference.words[found.layout.word(name)] = value
            return reference

        yield make


def word(reference: Reference, name: str) -> int:
    return reference.words[reference.guest.layout.word(name)]


def test_runs_until_the_host_must_act(reference_of: Make) -> None:
    reference = reference_of(LOOP, r7=DATA)
    assert reference.run() == (ExitReason.SYSCALL, CODE + 22, 0)
    assert (word(reference, "status"), word(reference, "instret"), word(reference, "pc")) == (55, 65, CODE + 22)
    assert reference.memory.read(DATA, 8) == (55).to_bytes(8, "little")


def test_the_limit_is_looked_at_after_each_instruction(reference_of: Make) -> None:
    reference = reference_of(LOOP, r7=DATA, limit=3)
    assert reference.run() == (ExitReason.LIMIT, CODE + 6, 0)
    assert word(reference, "instret") == 3


@pytest.mark.parametrize(
    ("text", "expected", "retired"),
    [
        ("halt", (ExitReason.SYSCALL, CODE + 2, 0), 1),
        ("flush", (ExitReason.FLUSH_CODE, CODE + 2, 0), 1),
        ("brk", (ExitReason.BREAKPOINT, CODE, 0), 0),
        ("even r1", (ExitReason.MISALIGNED, CODE, DATA + PAGE - 3), 0),
        ("ld r2, 0(r1)", (ExitReason.FAULT, CODE, DATA + PAGE), 0),
        ("st r2, 0(r1)", (ExitReason.FAULT, CODE, DATA + PAGE), 0),
        ("ld r2, 8(r1)", (ExitReason.FAULT, CODE, DATA + PAGE + 5), 0),
        ("jr r2", (ExitReason.UNDECODED, 0, 0), 1),
        ("jr r1", (ExitReason.FETCH, DATA + PAGE - 3, 0), 1),
    ],
)
def test_exits(reference_of: Make, text: str, expected: tuple[ExitReason, int, int], retired: int) -> None:
    """A fault is at the first byte that is not there: these accesses begin three bytes before the end of a page."""
    reference = reference_of(text, r1=DATA + PAGE - 3)
    assert reference.run() == expected
    assert word(reference, "instret") == retired


def test_what_is_no_instruction(reference_of: Make) -> None:
    reference = reference_of("halt")
    reference.memory.write(CODE, b"\xff\xff")
    assert reference.step(CODE) == (ExitReason.ILLEGAL, CODE, 0xFFFF)


def test_a_store_that_faults_stores_nothing(reference_of: Make) -> None:
    reference = reference_of("st r2, 0(r1)", r1=DATA + PAGE - 3, r2=FOREVER)
    reference.run()
    assert reference.memory.read(DATA + PAGE - 3, 3) == bytes(3)


def test_code_is_traced_once_until_forgotten(reference_of: Make) -> None:
    reference = reference_of("li r1, 1")
    assert reference.step(CODE) == (None, CODE + 2, 0)
    reference.memory.write(CODE, assemble("li r1, 2"))
    reference.step(CODE)
    assert word(reference, "r1") == 1
    reference.forget()
    reference.step(CODE)
    assert word(reference, "r1") == 2


def test_the_clock_runs(reference_of: Make) -> None:
    reference = reference_of("clock r1\nclock r2\nhalt")
    reference.run()
    assert 0 < word(reference, "r1") <= word(reference, "r2") <= word(reference, "r1") + 10_000_000


def test_an_instruction_that_lies_across_pages_and_whose_second_page_is_missing(reference_of: Make) -> None:
    """The page that is missing, not the instruction, is what the host is told."""
    reference = reference_of("c.nop", "riscv64")
    reference.memory.write(CODE + PAGE - 2, (0x13).to_bytes(2, "little"))
    assert reference.step(CODE + PAGE - 2) == (ExitReason.UNDECODED, CODE + PAGE - 2, CODE + PAGE)


def test_memory_that_may_not_be_written() -> None:
    with memory_with(b"") as memory:
        accesses = ReferenceMemory(memory)
        assert accesses.load(CODE, 8) == 0
        with pytest.raises(GuestFault) as caught:
            accesses.store(CODE, 8, 1)
        assert caught.value.address == CODE
        memory.protect(DATA, PAGE, READ | WRITE)
        accesses.store(DATA, 2, 0x1234)
        assert accesses.load(DATA, 1) == 0x34
        assert accesses.first_refused(DATA, 8, READ) == DATA, "nothing is refused"


def test_zero_register_stays_zero(reference_of: Make) -> None:
    reference = reference_of("li r0, 5\nadd r1, r0, r0\nhalt")
    reference.run()
    assert (word(reference, "r0"), word(reference, "r1")) == (0, 0)
    assert toy.LAYOUT.word("r0") != toy.LAYOUT.word("r8")
