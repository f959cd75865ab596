"""VMJIT_CHECK: every run of a region is repeated by the reference evaluator, and the first difference is an error.

The reference goes first, on a copy of the registers and with its stores kept aside, and notes the registers after every
instruction. Then the region runs with an instruction limit of 0, so that it leaves at its first way back; what it did
must be what the reference had after as many instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.reference import Reference, ReferenceMemory
from vmjit.errors import MismatchError
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE

if TYPE_CHECKING:
    from vmjit.engine.regions import Placed
    from vmjit.memory.address_space import AddressSpace

Point = tuple[int, bytes, int]  # pc, registers, number of bytes stored so far

LONGEST = 20000  # instructions that a region executes without a way back: more than it has


class Overlay(ReferenceMemory):
    """Guest memory whose stores stay here."""

    def __init__(self, memory: AddressSpace) -> None:
        super().__init__(memory)
        self.stored: dict[int, int] = {}

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


class CheckedHart(Hart):
    """A hart that checks its regions. Compiles in the foreground; counts jumps here, because the limit stops each."""

    def run(self) -> Stop:
        if self.tier in (Tier.REFERENCE, Tier.INTERPRETER):
            return super().run()
        self.sync = True
        words = self.words
        limit = words[self._limit]
        while True:
            pc = words[self._pc]
            if words[self._instret] >= limit:
                return Stop(ExitReason.LIMIT, pc, 0)
            placed = self.regions.find(self.native.code_of(pc)) if self._is_compiled(pc) else None
            words[self._limit] = 0
            stop = super().run() if placed is None else self._checked(placed)
            words[self._limit] = limit
            if stop.reason is not ExitReason.LIMIT:
                return stop
            if limit == 0:
                return stop
            if not self._is_compiled(stop.pc) and stop.pc not in self.asked:
                self._hot(stop.pc, 0)

    def _is_compiled(self, pc: int) -> bool:
        return self.native.code_of(pc) >= INTERPRETER_SIZE

    def _checked(self, placed: Placed) -> Stop:
        expected, log = self._expect(placed)
        start = self.words[self._pc]
        self.counters.exits["CHECKED"] += 1
        stop = super().run()
        if stop.reason is ExitReason.FAULT and stop.signal:
            return stop  # registers are not exact then
        self._compare(placed, start, expected, log)
        return stop

    def _expect(self, placed: Placed) -> tuple[dict[int, Point], list[tuple[int, int]]]:
        """By count of instructions: where the reference was, its registers, and how many stores it had made."""
        copy = memoryview(bytearray(self.words.tobytes())).cast("Q")
        reference = Reference(self.guest, self.memory, copy)
        log: list[tuple[int, int]] = []
        overlay = reference.accesses = Overlay(self.memory)
        found: dict[int, Point] = {}
        pc = copy[self._pc]
        for _ in range(LONGEST):
            found[copy[self._instret]] = (pc, copy.tobytes(), len(log))
            before = dict(overlay.stored)
            reason, target, _ = reference.step(pc)
            log += [item for item in overlay.stored.items() if before.get(item[0]) != item[1]]
            found[copy[self._instret]] = (target, copy.tobytes(), len(log))
            inside = any(start <= target < end for start, end in placed.ranges)
            if reason is not None or not inside:
                break
            pc = target
        return found, log

    def _compare(
        self, placed: Placed, start: int, expected: dict[int, Point], log: list[tuple[int, int]]
    ) -> None:
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

