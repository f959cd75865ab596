"""VMJIT_CHECK: every run of a region is repeated by the reference evaluator, and the first difference is an error.

The reference goes first, on a copy of the registers and with its stores kept aside, and notes the registers after every
instruction, up to as many jumps backwards as a loop has copies. Then the region runs with a limit of one instruction,
so that it leaves at its first way back, or where what comes after it begins or jumps or exits; what it did must be what
the reference had after as many instructions.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.reference import ReferenceMemory
from vmjit.engine.translate import MOST_COPIES
from vmjit.errors import MismatchError
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE

if TYPE_CHECKING:
    from vmjit.engine.reference import Reference
    from vmjit.engine.regions import Placed
    from vmjit.memory.address_space import AddressSpace
    from vmjit.memory.mmu import VirtualMemory

UNCHECKED = (Tier.REFERENCE, Tier.INTERPRETER, Tier.COPIES)  # they have no regions
Point = tuple[int, bytes, int]  # pc, registers, number of bytes stored so far

LONGEST = 2000  # instructions without a way back, in a region and in interpreted code after it


class Overlay(ReferenceMemory):
    """Guest memory whose stores stay here, and a clock that stands still: native code is to be told the same time."""

    def __init__(self, memory: AddressSpace | VirtualMemory) -> None:
        super().__init__(memory)
        self.stored: dict[int, int] = {}
        self.log: list[tuple[int, int]] = []  # (address, byte) in order
        self.now = super().clock()

    def clock(self) -> int:
        return self.now

    def load(self, address: int, size: int) -> int:
        value = super().load(address, size)
        if not self.stored:
            return value
        data = bytearray(value.to_bytes(size, "little"))
        for index in range(size):
            data[index] = self.stored.get(address + index, data[index])
        return int.from_bytes(data, "little")

    def store(self, address: int, size: int, value: int) -> None:
        super().load(address, size)  # faults like the store, but for read-only memory, where the region faults itself
        for index, byte in enumerate(value.to_bytes(size, "little")):
            self.stored[address + index] = byte
            self.log.append((address + index, byte))

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        if self.load(address, size) != expected:
            return False
        self.store(address, size, new)
        return True


class CheckedHart(Hart):
    """A hart that checks its regions. Compiles in the foreground; counts jumps here, because the limit stops each."""

    def run(self) -> Stop:
        if self.tier in UNCHECKED:
            return super().run()
        self.sync = True
        stop = self._check_resumption()
        if stop is not None:
            return stop
        words = self.words
        while True:
            pc = words[self._pc]
            stop = super()._limited(pc, 0)
            if stop is not None:
                return stop
            # One hart at a time, and no memory that comes or goes meanwhile.
            with self.space.lock, self.native.exclusive:
                words[self._limit] = words[self._instret] + 1
                if self._is_compiled(pc):
                    self._enter_checked(pc)
                else:
                    self.state.enter()
                self.state.admit()
            stop = self.act()
            if stop is None:
                continue
            if stop.reason is not ExitReason.LIMIT:
                return stop
            if not self._is_compiled(stop.pc) and stop.pc not in self.asked:
                self._hot(stop.pc, 0)

    def _limited(self, pc: int, argument: int) -> Stop | None:
        """Checking, every jump is at the limit, and what that means is looked at before the next step."""
        if self.tier in UNCHECKED:
            return super()._limited(pc, argument)
        return Stop(ExitReason.LIMIT, pc, 0)

    def _is_compiled(self, pc: int) -> bool:
        return self.native.code_of(pc) >= INTERPRETER_SIZE

    def _enter_checked(self, pc: int) -> None:
        placed = self.regions.find(self.native.code_of(pc))
        assert placed is not None
        expected, overlay = self._expect()
        self.counters.exits["CHECKED"] += 1
        self.native.stop_clock(overlay.now)
        self.state.enter()
        self.native.stop_clock(0)
        if self.words[self._reason] != ExitReason.HOST_FAULT:  # where registers are not exact
            self._compare(placed, pc, expected, overlay.log)

    @cached_property
    def shadow(self) -> Reference:
        """A reference evaluator with registers of its own."""
        return self._reference(memoryview(bytearray(self.words.nbytes)).cast("Q"))

    def _expect(self) -> tuple[dict[int, Point], Overlay]:
        """By count of instructions: where the reference was, its registers, the number of its stores; and these."""
        reference, overlay = self.shadow, Overlay(self.memory)
        copy = reference.words
        copy[:] = self.words
        reference.accesses = overlay
        found: dict[int, Point] = {}
        pc, ways_back = copy[self._pc], 0
        for _ in range(LONGEST):
            found[copy[self._instret]] = (pc, copy.tobytes(), len(overlay.log))
            reason, target, _ = reference.step(pc)
            found[copy[self._instret]] = (target, copy.tobytes(), len(overlay.log))
            ways_back += target <= pc
            if reason is not None or ways_back == MOST_COPIES:
                break
            pc = target
        return found, overlay

    def _compare(self, placed: Placed, start: int, expected: dict[int, Point], log: list[tuple[int, int]]) -> None:
        words, layout = self.words, self.guest.layout
        where = f"region {placed.pc:#x} entered at {start:#x}"
        found = expected.get(words[self._instret])
        if found is None:
            raise MismatchError(f"{where}: executed to count {words[self._instret]}, the reference does not get there")
        pc, state, stores = found
        if words[self._pc] != pc:
            raise MismatchError(f"{where}: went on at {words[self._pc]:#x}, the reference at {pc:#x}")
        reference = memoryview(state).cast("Q")
        for name in layout.registers():
            ours, theirs = words[layout.word(name)], reference[layout.word(name)]
            if ours != theirs:
                raise MismatchError(f"{where}, left at {pc:#x}: {name} is {ours:#x}, the reference has {theirs:#x}")
        for address, byte in dict(log[:stores]).items():
            ours = self.memory.read(address, 1)[0]
            if ours != byte:
                raise MismatchError(f"{where}: memory at {address:#x} holds {ours:#x}, the reference {byte:#x}")
