"""Runs lowered regions natively and by the meaning of their IR, on equal state and memory, and compares.

Many regions are compiled as one module, with debug locations kept, as a module costs much more than a region. Slots of
addresses that no region has lead to a stub that returns to the host. Handlers of the interpreter are run in the same
way, each for one instruction whose operands lie in the slot.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from random_ir import FIELDS, HANDLED_SIZE, LAYOUT, NOTED_BLOCK, NOTED_PC, REGISTERS, noting

from vmjit.codegen.lower import CONVENTION, PARAMETERS, Handler, Place, lower_handler, lower_region
from vmjit.codegen.runtime import leave, pc_of_slot, runtime
from vmjit.codegen.walk import refill
from vmjit.engine.compile import LLVM_PASSES
from vmjit.engine.native import Native
from vmjit.engine.reference import GuestFault, ReferenceMemory
from vmjit.engine.state import FOREVER
from vmjit.ir.block import Region
from vmjit.ir.exits import ExitReason
from vmjit.ir.interpret import compile_region
from vmjit.ir.layout import ADDRESS_BITS, LINE_BIAS, NOT_TRANSLATED, SLOT_SCALE
from vmjit.jit.blob import Blob
from vmjit.jit.compiler import Compiler
from vmjit.memory.address_space import PAGE_SIZE, READ, WRITE, AddressSpace
from vmjit.memory.tlb import Geometry, Tlb

PAGES = (0x20, 0x21, 0x22, 0x24, 0x25, (1 << 26) - 2, (1 << 26) - 1)  # there is a hole, and what ends at the end
BASES = tuple(page * PAGE_SIZE for page in (0x20, 0x21, 0x24, (1 << 26) - 2))
VISIBLE = (*(f"r{number}" for number in range(REGISTERS)), "steps")
MOST_BLOCKS = 20_000  # of a run
ARRIVED = "undecoded"  # why the stub returns
HANDLER = Handler({FIELDS[0]: Place(8, 8, False), FIELDS[1]: Place(12, 32, True)}, HANDLED_SIZE)

_STUB = f"""\
define {CONVENTION} void @decode({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{leave(LAYOUT, ExitReason.UNDECODED, "%pc", "0", "x")}
}}
@handlers = dso_local global [1 x i64] zeroinitializer
"""


@dataclass(frozen=True)
class Given:
    """What a run begins with."""

    pc: int
    registers: tuple[int, ...]
    rounding: int = 0
    limit: int = FOREVER
    instret: int = 0
    fields: tuple[int, int] = (0, 0)  # of 8 bits, and of 32 with a sign


@dataclass(frozen=True)
class Result:
    """`at` is where to go on, or the access that faulted. None stands where nothing is promised.

    When an access faults, registers are in the state after `settle` only, and IEEE exceptions are those of a moment
    near by, because LLVM does not order floating-point operations and accesses.
    """

    reason: str
    at: int
    argument: int
    flags: int | None
    memory: bytes
    registers: tuple[int, ...] | None
    instret: int | None

    def differences(self, other: "Result") -> str:
        wrong = []
        for name in ("reason", "at", "argument", "flags", "registers", "instret"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                wrong.append(f"{name}: {_shown(mine)} became {_shown(others)}")
        for index, (a, b) in enumerate(zip(self.memory, other.memory, strict=True)):
            if a != b:
                page, offset = divmod(index, PAGE_SIZE)
                wrong.append(f"byte {PAGES[page] * PAGE_SIZE + offset:#x}: {a:#x} became {b:#x}")
        return ", ".join(wrong[:20])


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return f"{value:#x}" if isinstance(value, int) else str(value)


class Endless(Exception):
    """A region made small may have lost what ends its loops."""


class Watched(ReferenceMemory):
    """Guest memory that sees which blocks run."""

    words: memoryview
    blocks: set[int]
    count = 0

    def translate(self, address: int, access: str) -> int:
        permissions = WRITE if access.startswith("write") else READ
        return address if self.memory.accessible(address, int(access[-1]), permissions) else NOT_TRANSLATED

    def clock(self) -> int:
        self.blocks.add(self.words[LAYOUT.word(NOTED_BLOCK)])
        self.count += 1
        if self.count > MOST_BLOCKS:
            raise Endless
        return 0


class Bench:
    """Guest memory, a state with a TLB, and the runtime without an interpreter."""

    def __init__(self, compiler: Compiler, passes: str = LLVM_PASSES) -> None:
        self.compiler = compiler
        self.passes = passes
        self.memory = AddressSpace()
        for page in PAGES:
            self.memory.map(page * PAGE_SIZE, PAGE_SIZE, READ | WRITE)
        blob, _ = compiler.compile(_STUB + runtime(LAYOUT) + refill(LAYOUT), LLVM_PASSES, verify=True)
        assert blob.symbols["decode"] == 0
        self.native = Native(LAYOUT, self.memory, blob)
        self.tlb = Tlb(LAYOUT, self.native.words, Geometry(16, 2))
        self.tlb.follow(self.memory)
        self.bytes = bytes((index * 0x9D + (index >> 8)) & 0xFF for index in range(PAGE_SIZE * len(PAGES)))
        self.accesses = Watched(self.memory)

    def close(self) -> None:
        self.tlb.close()
        self.native.close()
        self.memory.close()

    def fill(self) -> None:
        for number, page in enumerate(PAGES):
            self.memory.write(page * PAGE_SIZE, self.bytes[number * PAGE_SIZE : (number + 1) * PAGE_SIZE])

    def read(self) -> bytes:
        return b"".join(self.memory.read(page * PAGE_SIZE, PAGE_SIZE) for page in PAGES)

    @contextmanager
    def compiled(self, regions: list[Region], *, handlers: bool = False) -> Iterator[list["Lowered"]]:
        """The regions, ready to run."""
        names = [f"x{number}" for number in range(len(regions))]
        text = module_of_handlers(regions, names) if handlers else module(regions, names)
        blob, _ = self.compiler.compile(text, self.passes, verify=True)
        offset = self.native.arena.allocate(len(blob.code))
        assert offset is not None
        self.native.arena.place(offset, blob.code)
        kind = LoweredHandler if handlers else Lowered
        try:
            yield [kind(self, region, blob, offset, name) for region, name in zip(regions, names, strict=True)]
        finally:
            self.native.arena.free(offset, len(blob.code))


def module(regions: list[Region], names: list[str]) -> str:
    """One module of many; metadata gets numbers of its own for each region."""
    functions, rows, units = [], [], []
    base = 0
    for region, name in zip(regions, names, strict=True):
        text = re.sub(
            r"!(\d+)\b", lambda found, base=base: f"!{int(found[1]) + base}", lower_region(region, LAYOUT, name)
        )
        for line in text.splitlines():
            if not line.startswith("!"):
                functions.append(line)
            elif not line.startswith("!llvm"):
                rows.append(line)
        units.append(f"!{base + 1}")
        base += 1 + max(int(number) for number in re.findall(r"^!(\d+) =", "\n".join(rows), re.MULTILINE)) - base
    heads = ["!llvm.module.flags = !{!0}", f"!llvm.dbg.cu = !{{{', '.join(units)}}}"]
    return "\n".join((*functions, *heads, *rows)) + "\n"


def module_of_handlers(regions: list[Region], names: list[str]) -> str:
    return "\n".join(lower_handler(region, LAYOUT, name, HANDLER) for region, name in zip(regions, names, strict=True))


class Lowered:
    """One region, to be run in both ways."""

    def __init__(self, bench: Bench, region: Region, blob: Blob, offset: int, name: str) -> None:
        self.bench = bench
        self.region = region
        self.blob = blob
        self.offset = offset
        self.code = offset + blob.symbols[name]
        self.settled = any(value.op.name == "settle" for block in region.blocks for value in block.ops)
        self.counted = self.settled and any(
            value.attr == "access_instret" for block in region.blocks for value in block.ops
        )
        self.blocks: set[int] = set()  # that ran
        with noting(region):
            self.by_meaning = compile_region(region, LAYOUT, self.fields)

    fields: tuple[str, ...] = ()
    looks_first = True  # at the limit; handlers look when they jump

    def prepare(self, words: memoryview, given: Given) -> None:
        for name in (*VISIBLE, "fflags", "arg", "pc", "reason", "fault_code", "fault_address", "access_instret"):
            words[LAYOUT.word(name)] = 0
        for number, value in enumerate(given.registers):
            words[LAYOUT.word(f"r{number}")] = value
        words[LAYOUT.word("pc")] = given.pc
        words[LAYOUT.word("frm")] = given.rounding
        words[LAYOUT.word("limit")] = given.limit
        words[LAYOUT.word("instret")] = given.instret
        self.bench.fill()

    def meant(self, given: Given) -> Result:
        """The result by the meaning of the IR."""
        words = memoryview(bytearray(4096)).cast("Q")
        self.prepare(words, given)
        accesses = self.bench.accesses
        accesses.words, accesses.blocks, accesses.count = words, self.blocks, 0
        if self.looks_first and given.instret >= given.limit:
            return self.result(words, "limit", given.pc, 0)
        try:
            kind, at, argument, how = self.by_meaning(words, accesses, given.pc, *self.arguments(given))
        except GuestFault as fault:
            return self.result(words, "fault", self.faulting(words[LAYOUT.word(NOTED_PC)], given), fault.address)
        if kind == "chain":
            kind, argument = self.arrival(words, at, how), 0
        return self.result(words, kind, at, argument)

    def arguments(self, given: Given) -> tuple[int, ...]:
        return ()

    def faulting(self, noted: int, given: Given) -> int:
        return noted

    def arrival(self, words: memoryview, target: int, how: str) -> str:
        if target % 2 or target >> ADDRESS_BITS:
            return "fetch"
        if not self.looks_first and how != "fall" and words[LAYOUT.word("instret")] >= words[LAYOUT.word("limit")]:
            return "limit"
        return ARRIVED

    def natively(self, given: Given) -> Result:
        native = self.bench.native
        words = native.words
        self.prepare(words, given)
        for entry in self.entries(given):
            native.set_code(entry, self.code)
        native.set_heat(1 << 16)
        native.enter()
        for entry in self.entries(given):
            native.set_code(entry, 0)
        reason = ExitReason(words[LAYOUT.word("reason")])
        if reason is ExitReason.HOST_FAULT and words[LAYOUT.word("fault_code")]:
            address = words[LAYOUT.word("fault_address")] - words[LAYOUT.word("memory")]
            return self.result(words, "fault", self.pc_of_fault(words), address)
        at, argument = words[LAYOUT.word("pc")], words[LAYOUT.word("arg")]
        return self.result(words, reason.name.lower(), at, argument)

    def entries(self, given: Given) -> set[int]:
        return {*self.region.entries, given.pc}

    def pc_of_fault(self, words: memoryview) -> int:
        code = words[LAYOUT.word("fault_code")] - self.bench.native.arena.base - self.offset
        return self.region.pc + 2 * ((self.blob.line_at(code) or 0) - LINE_BIAS)

    def result(self, words: memoryview, reason: str, at: int, argument: int) -> Result:
        left = reason != "fault"
        count = "instret" if left else "access_instret"
        return Result(
            reason=reason,
            at=at,
            argument=argument & 0xFFFFFFFFFFFFFFFF,
            flags=words[LAYOUT.word("fflags")] if left else None,
            memory=self.bench.read(),
            registers=tuple(words[LAYOUT.word(name)] for name in VISIBLE) if left or self.settled else None,
            instret=words[LAYOUT.word(count)] if left or self.counted else None,
        )


class LoweredHandler(Lowered):
    """A handler; its slot has the operands, and tells which access faulted."""

    fields = FIELDS
    looks_first = False

    def arguments(self, given: Given) -> tuple[int, ...]:
        small, large = given.fields
        return small, large & 0xFFFFFFFFFFFFFFFF

    def faulting(self, noted: int, given: Given) -> int:
        return given.pc

    def natively(self, given: Given) -> Result:
        small, large = given.fields
        self.bench.native.slots.words(given.pc * SLOT_SCALE, 2)[1] = small | (large & 0xFFFFFFFF) << 32
        return super().natively(given)

    def pc_of_fault(self, words: memoryview) -> int:
        return (words[LAYOUT.word("access_slot")] - words[LAYOUT.word("slots")]) // SLOT_SCALE
