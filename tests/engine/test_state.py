"""Harts that run at the same time: what drops code waits for all, and what one is told reaches it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import toy
from machines import CODE, DATA, PAGE, MakeNative, assemble, interpreter_of, memory_with

from vmjit.engine.native import Native
from vmjit.engine.state import FOREVER, State, kick
from vmjit.errors import MemoryAccessError
from vmjit.ir.exits import ExitReason
from vmjit.jit.blob import Blob
from vmjit.memory.address_space import READ, AddressSpace

LOOP = "again:\nadd r1, r1, r2\nbnez r2, @again\nhalt"


def word(state: State, name: str) -> int:
    return state.words[toy.LAYOUT.word(name)]


def put(state: State, **values: int) -> None:
    for name, value in values.items():
        state.words[toy.LAYOUT.word(name)] = value


class Runner:
    """A host thread in which a state runs until it is told to end; `returns` counts how often it left native code."""

    def __init__(self, state: State) -> None:
        self.state, self.returns, self.ending = state, 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        while not state.is_running:
            time.sleep(0.001)

    def run(self) -> None:
        self.state.begin()
        while not self.ending:
            self.state.enter()
            self.returns += 1
            time.sleep(0.0001)

    def end(self) -> None:
        self.ending = True
        self.state.hold()
        self.thread.join(5)
        assert not self.thread.is_alive()


@contextmanager
def running(native: Native, count: int) -> Iterator[list[Runner]]:
    put(native.state, pc=CODE, r2=1)
    runners = [Runner(native.add_state(native.state)) for _ in range(count)]
    try:
        yield runners
    finally:
        for runner in runners:
            runner.end()


def test_no_hart_runs_in_a_pause(native_of: MakeNative) -> None:
    native = native_of(assemble(LOOP))
    with running(native, 3) as runners:
        for _ in range(20):
            with native.paused():
                assert not any(runner.state.is_running for runner in runners)
                counts = [word(runner.state, "r1") for runner in runners]
                time.sleep(0.002)
                assert [word(runner.state, "r1") for runner in runners] == counts
            for runner, count in zip(runners, counts, strict=True):
                while word(runner.state, "r1") == count:
                    time.sleep(0.001)
        assert all(word(runner.state, "limit") == FOREVER for runner in runners)
        assert all(runner.returns for runner in runners)


def test_a_hart_that_is_held_does_not_begin(native_of: MakeNative) -> None:
    native = native_of(assemble(LOOP))
    put(native.state, pc=CODE, r1=7, limit=0)
    native.state.enter()
    assert (ExitReason(word(native.state, "reason")), word(native.state, "pc")) == (ExitReason.LIMIT, CODE)
    assert word(native.state, "r1") == 7 and not native.state.is_running


def test_what_is_wanted_stays_so_while_others_are_admitted(native_of: MakeNative) -> None:
    native = native_of(assemble(LOOP))
    native.state.want()
    with native.paused():
        pass
    assert word(native.state, "limit") == 0
    native.state.is_wanted = False
    native.state.admit()
    assert word(native.state, "limit") == FOREVER


def test_a_fault_counts_as_running_until_its_place_is_known(native_of: MakeNative) -> None:
    native = native_of(assemble("ld r2, 0(r1)\nhalt"))
    put(native.state, pc=CODE, r1=DATA - 8)
    native.state.enter()
    assert native.state.is_running
    native.state.left()
    assert not native.state.is_running


def test_harts_fault_each_for_itself(native_of: MakeNative) -> None:
    native = native_of(assemble("ld r2, 0(r1)\nhalt"))
    states = [native.add_state(native.state) for _ in range(4)]
    found: dict[int, set[int]] = {number: set() for number in range(4)}

    def run(number: int, state: State) -> None:
        state.begin()
        for _ in range(200):
            put(state, pc=CODE, r1=DATA - 8 * (number + 1))
            state.enter()
            assert word(state, "reason") == ExitReason.HOST_FAULT
            found[number].add(word(state, "fault_address") - word(state, "memory"))
            state.left()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(states)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {number: {DATA - 8 * (number + 1)} for number in range(4)}


def test_harts_have_registers_heat_and_jumps_of_their_own(native_of: MakeNative) -> None:
    native = native_of(assemble("li r1, 1\nadd r2, r2, r1\nbnez r1, 0x10002"))
    put(native.state, pc=CODE, r2=5)
    other = native.add_state(native.state)
    assert word(other, "r2") == 5 and word(other, "slots") == word(native.state, "slots")
    native.set_heat(7)
    for state, count in ((native.state, 12), (other, 12)):
        state.enter()
        assert (ExitReason(word(state, "reason")), word(state, "r2")) == (ExitReason.HOT, count)
    native.cool(CODE + 2, 100)
    for state in (native.state, other):
        state.enter()
        assert word(state, "r2") == 112
    other.note_jumps([(CODE, CODE + 8)], native.slots.base)
    native.note_jumps([(CODE + 4, CODE + 8)])
    assert sorted(native.jumps()) == [(CODE, CODE + 8), (CODE + 4, CODE + 8)]
    native.remove_state(other)
    assert native.jumps() == [(CODE + 4, CODE + 8)] and native.states == [native.state]
    other.hold()  # too late, and no harm
    kick(other.tid)


def test_exchanges_by_native_code() -> None:
    with memory_with(b"") as memory:
        exchange(memory)
        native = Native(toy.LAYOUT, memory, Blob.from_bytes(interpreter_of("toy")))
        assert set(memory.exchanges) == {4, 8}
        exchange(memory)
        native.close()
        memory.protect(DATA, PAGE, READ)
        for address in (DATA, DATA + 0x100000):
            with pytest.raises(MemoryAccessError):
                memory.compare_exchange(address, 8, 0, 1)


def exchange(memory: AddressSpace) -> None:
    memory.write(DATA, (5).to_bytes(8, "little"))
    assert not memory.compare_exchange(DATA, 8, 4, 1 << 40)
    assert memory.compare_exchange(DATA, 8, 5, 1 << 40)
    assert memory.compare_exchange(DATA + 4, 4, 1 << 8, 7)
    assert memory.read(DATA, 8) == (7 << 32).to_bytes(8, "little")
