"""Executes one instruction by the meaning of its IR, in both ways an engine traces it.

Once with fields known (a region, where everything folds) and once with fields read from the operand word (an
interpreter handler, where a write to the zero register goes to its sink). Both must leave the same machine behind.
"""

from dataclasses import dataclass, field
from functools import cache

from vmjit.guest import get
from vmjit.guest.riscv.operands import rv64
from vmjit.ir.block import Region
from vmjit.ir.emit import Emitter
from vmjit.ir.interpret import Outcome, compile_region
from vmjit.ir.layout import HEAT_OFFSET
from vmjit.isa.bits import Operandlike
from vmjit.isa.cpu import Cpu
from vmjit.isa.instruction import Instruction

GUEST = get("riscv64")
TABLE = GUEST.decode_table
LAYOUT = GUEST.layout
PC = 0x10000
MASK = (1 << 64) - 1
ABI = {name: f"{file.name}{number}" for file in LAYOUT.files for number, name in enumerate(file.names)}


class Memory:
    """Bytes by address; absent ones are zero."""

    def __init__(self, contents: dict[int, int]) -> None:
        self.bytes = dict(contents)

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(bytes(self.bytes.get(address + i & MASK, 0) for i in range(size)), "little")

    def store(self, address: int, size: int, value: int) -> None:
        for i, byte in enumerate(value.to_bytes(size, "little")):
            self.bytes[address + i & MASK] = byte

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        """Nobody else writes, so it is what was loaded just now."""
        self.store(address, size, new)
        return True

    def clock(self) -> int:
        return 12345


@dataclass
class After:
    """The machine after an instruction; registers by ABI name or as in the layout."""

    outcome: Outcome = field(compare=False)  # compared apart: a handler cannot know a call from a jump
    registers: dict[str, int]
    memory: Memory = field(compare=False)
    bytes: dict[int, int] = field(repr=False)

    def __getitem__(self, name: str) -> int:
        return self.registers[ABI.get(name, name)]

    def load(self, address: int, size: int) -> int:
        return self.memory.load(address, size)


def trace(instruction: Instruction, fields: dict[str, Operandlike | None], size: int) -> Region:
    """The region of one instruction; fields that are None are read from the operand word."""
    region = Region(instruction.name)
    emitter = Emitter(region, region.new_block())
    cpu = Cpu(emitter, LAYOUT)
    cpu.pc = cpu.wrap(emitter.emit("pc", "i64"))
    cpu.size = size
    values = {
        name: cpu.wrap(emitter.emit("field", "i64", attr=name)) if value is None else value
        for name, value in fields.items()
    }
    assert instruction.semantics is not None
    instruction.semantics(cpu, **values)
    if not cpu.ended:
        cpu.end_with(cpu.next_pc, "fall")
    return region


@cache
def handler(instruction: Instruction, structural: tuple[tuple[str, int], ...], size: int):  # type: ignore[no-untyped-def]
    fields = dict.fromkeys(instruction.parameters) | dict(structural)
    return compile_region(trace(instruction, fields, size), LAYOUT, tuple(n for n in fields if fields[n] is None))


def as_handler_gets_them(instruction: Instruction, fields: dict[str, int]) -> dict[str, int]:
    """Fields as the decoder puts them into the operand word."""

    def one(name: str, value: int) -> int:
        operand = instruction.operands[name]
        if operand.written and operand.file and value == operand.file.zero:
            assert operand.file.sink is not None
            return operand.file.sink
        return value & MASK

    return {name: one(name, value) for name, value in fields.items() if instruction.operands[name].structural is None}


def prepare(values: dict[str, int]) -> memoryview:
    words = memoryview(bytearray(HEAT_OFFSET)).cast("Q")
    words[LAYOUT.word("reserved_address")] = MASK
    for name, value in values.items():
        words[LAYOUT.word(ABI.get(name, name))] = value & MASK
    return words


def execute(code: bytes | str, memory: dict[int, int] | None = None, **registers: int) -> After:
    """What one instruction, as bytes or as text, does to a machine with these registers and memory bytes."""
    code = rv64.assemble(code, PC) if isinstance(code, str) else code
    decoded = TABLE.decode_word(int.from_bytes(code, "little"), len(code))
    assert not isinstance(decoded, int), f"{decoded:#x} is illegal"
    base, fields = decoded.expand()
    structural = tuple((n, v) for n, v in fields.items() if base.operands[n].structural is not None)
    known = compile_region(trace(base, dict(fields), len(code)), LAYOUT)
    results = []
    for run, arguments in (
        (known, {}),
        (handler(base, structural, len(code)), as_handler_gets_them(base, fields)),
    ):
        words, ram = prepare(registers), Memory(memory or {})
        outcome = run(words, ram, PC, **{f"f_{name}": value for name, value in arguments.items()})
        after = {name: words[LAYOUT.word(name)] for name in LAYOUT.registers()}
        results.append(After(outcome, after, ram, ram.bytes))
    same = results[0] == results[1] and results[0].outcome[:3] == results[1].outcome[:3]
    assert same, f"{decoded.text(PC)}: fields known and fields read differ"
    assert results[0]["x0"] == 0
    return results[0]


def memory_of(address: int, value: int, size: int) -> dict[int, int]:
    """Memory contents with one number in them."""
    return {address + i: byte for i, byte in enumerate((value & (1 << 8 * size) - 1).to_bytes(size, "little"))}
