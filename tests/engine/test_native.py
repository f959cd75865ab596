"""Entering native code and coming back: slots, heat, faults of the guest and faults that are none of its."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy
from machines import CODE, DATA, PAGE, MakeNative, assemble, interpreter_of, memory_with

from vmjit.engine.code import Code
from vmjit.engine.native import Native
from vmjit.engine.state import FOREVER
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE
from vmjit.jit.blob import Blob

TESTS = Path(__file__).parent.parent


def word(native: Native, name: str) -> int:
    return native.words[toy.LAYOUT.word(name)]


def enter(native: Native, **values: int) -> ExitReason:
    for name, value in values.items():
        native.words[toy.LAYOUT.word(name)] = value
    native.enter()
    return ExitReason(word(native, "reason"))


def test_interpreted_code_runs_and_returns(native_of: MakeNative) -> None:
    native = native_of(assemble("li r1, 5\nadd r2, r1, r1\nhalt"))
    assert enter(native) is ExitReason.SYSCALL
    assert (word(native, "r2"), word(native, "pc"), word(native, "instret")) == (10, CODE + 6, 3)


def test_slots_are_filled_as_code_runs_and_forgotten(native_of: MakeNative) -> None:
    native = native_of(assemble("bnez r0, 0x10004\nhalt\nhalt"))
    assert [native.code_of(CODE + 2 * n) for n in range(3)] == [0, 0, 0]
    enter(native)
    filled = [native.code_of(CODE + 2 * n) for n in range(3)]
    assert filled[0] and filled[1] and not filled[2] and max(filled) < INTERPRETER_SIZE
    executed = memoryview(native.executed(CODE, 8)).cast("Q")
    assert list(executed) == [*filled, 0]
    native.forget(CODE, PAGE)
    assert native.code_of(CODE) == 0 and not native.may_decode(CODE // PAGE)
    assert enter(native, pc=CODE) is ExitReason.UNDECODED
    assert (word(native, "pc"), word(native, "arg")) == (CODE, CODE)


def test_branches_note_which_way_they_go(native_of: MakeNative) -> None:
    native = native_of(assemble("again:\nadd r1, r1, r2\nbnez r1, @again\nbnez r1, @again\nhalt"))

    def code() -> Code:
        return Code([(CODE // PAGE, bytes(PAGE), native.executed(CODE, PAGE), native.branches(CODE, PAGE))])

    assert code().odds(CODE + 2) is None
    enter(native, r1=3, r2=FOREVER)
    taken, not_taken = code().odds(CODE + 2), code().odds(CODE + 4)
    assert taken is not None and not_taken is not None and 500 < taken < 600 and 450 < not_taken < 500
    enter(native, r1=1000, r2=FOREVER, pc=CODE)
    assert code().odds(CODE + 2) == 968  # only the last time was another


def test_forgetting_a_page_spares_others_but_for_what_reaches_into_it(native_of: MakeNative) -> None:
    native = native_of(assemble("mov r1, r1\n" * (PAGE // 2 + 1) + "halt"), pages=2)
    enter(native)
    native.forget(CODE + PAGE, PAGE)
    last = CODE + PAGE - 2
    assert native.code_of(last - 2) and not native.code_of(last) and not native.code_of(CODE + PAGE)
    assert native.may_decode(CODE // PAGE) and not native.may_decode(CODE // PAGE + 1)


def test_a_slot_can_lead_elsewhere(native_of: MakeNative) -> None:
    native = native_of(assemble("li r1, 5\nhalt"))
    native.set_code(CODE, native.interpreter.symbols["emulate"])
    assert enter(native) is ExitReason.EMULATE
    native.set_code(CODE, 0)
    assert enter(native) is ExitReason.SYSCALL


def test_a_jump_target_becomes_hot_after_so_many_jumps(native_of: MakeNative) -> None:
    native = native_of(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"))
    native.set_heat(7)
    assert enter(native) is ExitReason.HOT
    assert (word(native, "pc"), word(native, "r2")) == (CODE + 2, 7)
    native.cool(CODE + 2, 100)
    assert enter(native) is ExitReason.HOT
    assert word(native, "r2") == 107


def test_the_limit_stops_a_loop(native_of: MakeNative) -> None:
    native = native_of(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"))
    assert enter(native, limit=100) is ExitReason.LIMIT
    assert (word(native, "pc"), word(native, "instret")) == (CODE + 2, 101)


@pytest.mark.parametrize("target", [1, CODE + 1, 1 << 38, (1 << 64) - 2, 1 << 63])
def test_a_jump_to_where_no_code_can_lie(native_of: MakeNative, target: int) -> None:
    native = native_of(assemble("jr r1"))
    assert enter(native, r1=target) is ExitReason.FETCH
    assert word(native, "pc") == target


def test_code_that_runs_off_the_end_of_memory(native_of: MakeNative) -> None:
    """There is a slot behind the last one, so the host looks at the page and finds it missing."""
    native = native_of(assemble("jr r1"))
    assert enter(native, r1=(1 << 38) - 2) is ExitReason.UNDECODED
    native.allow_decoding((1 << 26) - 1)
    assert enter(native, pc=(1 << 38) - 2) is ExitReason.HOST_FAULT


@pytest.mark.parametrize(
    ("text", "address"),
    [("ld r2, 0(r1)", DATA - 8), ("st r2, 0(r1)", DATA + 5 * PAGE), ("st r2, 0(r1)", CODE), ("ld r2, 8(r1)", 0)],
    ids=["unmapped", "unmapped store", "read-only", "null"],
)
def test_an_access_that_the_host_refuses(native_of: MakeNative, text: str, address: int) -> None:
    native = native_of(assemble(f"li r3, 3\n{text}\nhalt"))
    assert enter(native, r1=address) is ExitReason.HOST_FAULT
    offset = 8 if "8(" in text else 0
    memory = word(native, "memory")
    assert word(native, "fault_address") - memory == address + offset
    assert word(native, "arg") == signal.SIGSEGV
    assert (word(native, "access_slot") - word(native, "slots")) // 8 == CODE + 2
    assert (word(native, "access_instret"), word(native, "r3"), word(native, "r2")) == (1, 3, 0)
    assert word(native, "fault_code") - word(native, "code") < INTERPRETER_SIZE


def test_guest_code_goes_on_after_a_fault(native_of: MakeNative) -> None:
    native = native_of(assemble("ld r2, 0(r1)\nhalt"))
    for _ in range(3):
        assert enter(native, r1=DATA - 8) is ExitReason.HOST_FAULT
        native.words[toy.LAYOUT.word("pc")] = CODE
    assert enter(native, r1=DATA) is ExitReason.SYSCALL


def test_an_address_outside_guest_memory_is_told_without_a_fault(native_of: MakeNative) -> None:
    native = native_of(assemble("ld r2, 0(r1)"))
    for address in (1 << 38, (1 << 64) - 1, 1 << 63):
        assert enter(native, r1=address, pc=CODE) is ExitReason.FAULT
        assert (word(native, "pc"), word(native, "arg")) == (CODE, address)


def test_an_access_across_the_end_of_guest_memory_meets_the_guard(native_of: MakeNative) -> None:
    native = native_of(assemble("ld r2, 0(r1)"))
    assert enter(native, r1=(1 << 38) - 4) is ExitReason.HOST_FAULT


def test_one_hart_after_another(native_of: MakeNative) -> None:
    for _ in range(3):
        native = native_of(assemble("ld r2, 0(r1)"))
        assert enter(native, r1=DATA - 8) is ExitReason.HOST_FAULT


def test_an_interpreter_that_is_too_large_is_refused() -> None:
    blob = Blob.from_bytes(interpreter_of("toy"))
    large = Blob(blob.code + bytes(INTERPRETER_SIZE), blob.symbols)
    with memory_with(b"") as memory, pytest.raises(ValueError, match=r"the interpreter has \d+ bytes, more than"):
        Native(toy.LAYOUT, memory, large)


def test_handlers_that_are_too_large_are_refused(native_of: MakeNative) -> None:
    table = bytes(16)
    with pytest.raises(ValueError, match=r"the interpreter would have \d+ bytes, more than"):
        native_of().place_handlers(Blob(bytes(INTERPRETER_SIZE) + table, {"handlers": INTERPRETER_SIZE}))


FOREIGN = """\
import ctypes, faulthandler, signal, sys
sys.path[:0] = {path!r}
from machines import *
import toy
from vmjit.engine.native import Native
from vmjit.jit.blob import Blob
{before}
memory = memory_with(assemble("halt"))
native = Native(toy.LAYOUT, memory, Blob.from_bytes(interpreter_of("toy")))
{after}
print("ready", flush=True)
ctypes.string_at(8)
"""


@pytest.mark.parametrize(
    ("before", "after", "status", "printed"),
    [
        ("", "", -signal.SIGSEGV, b""),
        ("faulthandler.enable()", "", -signal.SIGSEGV, b"Fatal Python error: Segmentation fault"),
        ("faulthandler.enable()", "native.close()", -signal.SIGSEGV, b"Fatal Python error: Segmentation fault"),
        ("", "native.close()", -signal.SIGSEGV, b""),
    ],
    ids=["default", "a handler before", "a handler again", "default again"],
)
def test_a_fault_that_is_not_the_guest_s(before: str, after: str, status: int, printed: bytes) -> None:
    """It goes to the handler before, or has the effect it would have had."""
    path = [str(TESTS), *sys.path]
    script = FOREIGN.format(path=path, before=before, after=after)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, b"ready\n"), done.stderr
    assert printed in done.stderr and (printed or not done.stderr)


def test_jumps_that_were_noted_twice_are_there_once(native_of: MakeNative) -> None:
    """What an earlier run left, and the interpreter notes again at another place of the table."""
    native = native_of()
    jumps = [(CODE, CODE + 8), (CODE + 4, CODE + 8), (CODE, CODE + 8)]
    native.note_jumps(jumps)
    assert sorted(native.jumps()) == jumps[:2]
