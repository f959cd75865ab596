"""The reference evaluator: executes guest instructions by the meaning of their IR in Python integers.

Slow and exact, one instruction after another; native code is compared with it, and what native code cannot do is left
to it. Each instruction is traced once, at its address, and kept until code changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vmjit.errors import MemoryAccessError
from vmjit.ir.exits import ExitReason
from vmjit.ir.interpret import Outcome, ReservedRounding, compile_region
from vmjit.ir.ops import TICKS
from vmjit.memory.address_space import EXECUTE, READ, WRITE

if TYPE_CHECKING:
    from vmjit.guest import Guest
    from vmjit.memory.address_space import AddressSpace
    from vmjit.memory.mmu import VirtualMemory

UPDATES = {5: 7, 13: 15}  # faults of loads -> what they are called for instructions that store there too


class GuestFault(Exception):
    """An access that guest memory refuses."""

    def __init__(self, address: int, cause: int | None = None) -> None:
        super().__init__(hex(address))
        self.address = address
        self.cause = cause  # see Stop.cause


class ReferenceMemory:
    """Guest memory as the IR's interpreter wants it."""

    def __init__(self, memory: AddressSpace | VirtualMemory) -> None:
        self.memory = memory

    def load(self, address: int, size: int) -> int:
        try:
            return int.from_bytes(self.memory.read(address, size), "little")
        except MemoryAccessError as refused:
            raise self.fault(refused, address, size, READ) from None

    def store(self, address: int, size: int, value: int) -> None:
        try:
            self.memory.write(address, value.to_bytes(size, "little"))
        except MemoryAccessError as refused:
            raise self.fault(refused, address, size, WRITE) from None

    def fault(self, refused: MemoryAccessError, address: int, size: int, permissions: int) -> GuestFault:
        """What the guest is told; an MMU knows it."""
        tval, cause = getattr(refused, "tval", None), getattr(refused, "cause", None)
        return GuestFault(self.first_refused(address, size, permissions) if tval is None else tval, cause)

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        try:
            return self.memory.compare_exchange(address, size, expected, new)
        except MemoryAccessError as refused:
            raise self.fault(refused, address, size, READ | WRITE) from None

    def first_refused(self, address: int, size: int, permissions: int) -> int:
        """The first byte that cannot be accessed, which is what hardware reports."""
        for at in range(address, address + size):
            if not self.memory.accessible(at, 1, permissions):
                return at
        return address

    def clock(self) -> int:
        return time.time_ns() * TICKS // 1_000_000_000


class Traced(NamedTuple):
    """An instruction: what it does, its word, and whether it stores where it loads."""

    run: Callable[..., Outcome]
    word: int
    updates: bool


class Reference:
    """Executes on the state `words` and guest memory."""

    def __init__(self, guest: Guest, memory: AddressSpace | VirtualMemory, words: memoryview) -> None:
        self.guest = guest
        self.memory = memory
        self.words = words
        self.accesses = ReferenceMemory(memory)
        self.cause: int | None = None  # of the last fault, see Stop.cause
        self.known: dict[int, Traced] = {}
        self.pc, self.instret = guest.layout.word("pc"), guest.layout.word("instret")

    def forget(self) -> None:
        """Code has changed."""
        self.known.clear()

    def step(self, pc: int) -> tuple[ExitReason | None, int, int]:
        """Execute the instruction at `pc`: why the host must act or None, where to go on, an argument."""
        found = self.known.get(pc)
        if found is None:
            made = self._trace(pc)
            if not isinstance(made, Traced):
                return made[0], pc, made[1]
            found = self.known[pc] = made
        try:
            kind, target, argument, _ = found.run(self.words, self.accesses, pc)
        except GuestFault as fault:
            self.cause = UPDATES.get(fault.cause or 0, fault.cause) if found.updates else fault.cause
            return ExitReason.FAULT, pc, fault.address
        except ReservedRounding:
            return ExitReason.ILLEGAL, pc, found.word
        if kind == "chain":
            self.words[self.instret] += 1
            return None, target, 0
        if target != pc:
            self.words[self.instret] += 1
        return ExitReason[kind.upper()], target, argument

    def run(self) -> tuple[ExitReason, int, int]:
        """Execute from the state's pc until the host must act; the limit is looked at after each instruction."""
        words, limit, instret = self.words, self.guest.layout.word("limit"), self.instret
        pc = words[self.pc]
        while True:
            reason, pc, argument = self.step(pc)
            if reason is not None:
                break
            if words[instret] >= words[limit]:
                reason = ExitReason.LIMIT
                break
        words[self.pc] = pc
        return reason, pc, argument

    def _trace(self, pc: int) -> Traced | tuple[ExitReason, int]:
        from vmjit.engine.trace import trace_alone

        if pc % self.guest.alignment:
            return ExitReason.FETCH, 0
        try:
            decoded = self.guest.decode_table.decode(self._fetch, pc)
        except MemoryAccessError:
            longest = max(self.guest.decode_table.roots)
            return ExitReason.UNDECODED, self.accesses.first_refused(pc, longest, EXECUTE)
        if isinstance(decoded, int):
            return ExitReason.ILLEGAL, decoded
        instruction, fields = decoded.expand()
        region, cpu = trace_alone(self.guest.layout, instruction, fields, pc, decoded.size)
        if not cpu.ended:
            cpu.end_with(cpu.next_pc, "fall")
        ops = [value.op for block in region.blocks for value in block.ops]
        updates = any(op.reads_memory and op.writes_memory and op.operands for op in ops)
        return Traced(compile_region(region, self.guest.layout), decoded.word, updates)

    def _fetch(self, address: int, size: int) -> int:
        return int.from_bytes(self.memory.read(address, size, EXECUTE), "little")
