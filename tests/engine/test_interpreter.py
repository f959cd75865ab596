"""Tier 0: where operands lie in a slot, and that the native decoder finds what the Python decoder finds.

For the latter the handler table is replaced: every entry leads to `emulate` or to `illegal`, which return to the host
at once, so that only the decode stub runs. Which entry it took is read bit by bit: in round n, entries whose number has
bit n set lead to `emulate`.
"""

import random
from array import array
from collections.abc import Iterator, Sequence

import pytest
from machines import CODE, PAGE, guest_named, interpreter_of

from vmjit.codegen.lower import Place
from vmjit.debug import Settings
from vmjit.engine.interpreter import Interpreter, places_of
from vmjit.engine.native import Native
from vmjit.errors import DescriptionError
from vmjit.guest import Guest
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import SLOT_OPERANDS, SLOT_SCALE, SLOT_SIZE
from vmjit.isa.cpu import Cpu
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.instruction import Decoded, Instruction, InstructionSet
from vmjit.isa.operand import Operand
from vmjit.jit.blob import Blob
from vmjit.memory.address_space import EXECUTE, READ, WRITE, AddressSpace

GUESTS = ("toy", "riscv64")
EACH = 12  # words for each variant
ANY = 4000  # random words


@pytest.mark.parametrize("name", GUESTS)
def test_operands_of_every_instruction_have_places_of_their_own(name: str) -> None:
    for instruction in instructions(name):
        taken: set[int] = set()
        for operand, place in places_of(instruction).items():
            used = set(range(place.offset, place.offset + place.width // 8))
            assert used <= set(range(SLOT_OPERANDS, SLOT_SIZE)) and not used & taken, instruction.name
            taken |= used
            encoded = instruction.encoding.fields[operand]
            assert place.signed == encoded.signed
            assert encoded.width <= place.width


def instructions(name: str) -> list[Instruction]:
    made = (variant.instruction for variant in guest_named(name).decode_table.variants)
    return list(dict.fromkeys(found for found in made if found.semantics is not None))


def test_places() -> None:
    by_name = {found.name: places_of(found) for found in instructions("toy")}
    small = [Place(SLOT_OPERANDS + n, 8, False) for n in range(3)]
    assert by_name["add"] == {"rd": small[0], "ra": small[1], "rb": small[2]}
    assert by_name["ld"] == {"rd": small[0], "ra": small[1], "imm": Place(SLOT_SIZE - 4, 32, True)}
    assert by_name["step"] == {"ra": small[0]}
    assert by_name["halt"] == {}


def wide(**operands: str) -> DecodeTable:
    """A set of one instruction of 32 bits whose operands have the bit ranges given."""
    made = InstructionSet("wide", {name: Operand(signed=True) for name in operands})
    row = " ".join(f"{name}[{bits}]" for name, bits in operands.items())
    width = sum(int(bits.split(":")[0]) + 1 for bits in operands.values())
    names = ", ".join(operands)
    namespace: dict[str, object] = {}
    exec(f"def semantics(cpu, {names}): cpu.trap('illegal')", namespace)
    made.instruction(f"wide {names}", f"{'0' * (32 - width)} {row}", ext="wide")(namespace["semantics"])  # type: ignore[arg-type]
    return DecodeTable(made, lengths=((0, 0, 4),))


def test_operands_that_do_not_fit_are_an_error_of_the_description() -> None:
    Interpreter(wide(a="15:0"), guest_named("toy").layout, (), Settings())
    with pytest.raises(DescriptionError, match=r"wide: its operands do not fit into 8 bytes"):
        Interpreter(wide(a="9:0", b="9:0", c="9:0"), guest_named("toy").layout, (), Settings())


def test_operand_larger_than_a_slot_holds() -> None:
    table = InstructionSet("far", {"a": Operand(signed=True)})

    @table.instruction("far a", "00 a[39:10]", ext="far")
    def far(cpu: Cpu, a: int) -> None:
        cpu.trap("illegal")

    with pytest.raises(DescriptionError, match="far: a has 40 bits, a slot holds 32"):
        places_of(table.instructions[0])


def words_of(guest: Guest) -> Iterator[int]:
    """Encodings of every variant, with random and extreme fields; then anything."""
    chance = random.Random(1)
    table = guest.decode_table
    for variant in table.variants:
        full = (1 << 8 * variant.instruction.encoding.size) - 1
        for choice in (0, full, *(chance.getrandbits(32) for _ in range(EACH - 2))):
            yield variant.match | choice & full & ~variant.mask
    for _ in range(ANY):
        yield chance.getrandbits(32)


class Stub:
    """Runs the decode stub alone over words that lie side by side, four bytes for each."""

    def __init__(self, guest: Guest, words: Sequence[int]) -> None:
        self.guest, self.count = guest, len(words)
        self.size = -(-4 * len(words) // PAGE) * PAGE
        self.memory = AddressSpace()
        self.memory.map(CODE, self.size + PAGE, READ | WRITE | EXECUTE)
        self.memory.write(CODE, b"".join(word.to_bytes(4, "little") for word in words))
        self.native = Native(guest.layout, self.memory, Blob.from_bytes(interpreter_of(guest.name)))
        self.table = array("Q", bytes(8 * (len(guest.decode_table.variants) + 1)))
        self.native.words[guest.layout.word("handlers")] = self.table.buffer_info()[0]

    def round(self, bit: int) -> list[bool]:
        """For each word, whether the number of the handler it leads to has that bit."""
        native, layout = self.native, self.guest.layout
        symbols = native.interpreter.symbols
        for number in range(len(self.table)):
            self.table[number] = symbols["emulate" if number >> bit & 1 else "illegal"]
        native.forget(CODE, self.size + PAGE)
        for page in range(CODE // PAGE, (CODE + self.size) // PAGE + 1):
            native.allow_decoding(page)
        pc, reason = layout.word("pc"), layout.word("reason")
        found = []
        for index in range(self.count):
            native.words[pc] = CODE + 4 * index
            native.enter()
            assert native.words[pc] == CODE + 4 * index
            assert native.words[reason] in (ExitReason.EMULATE, ExitReason.ILLEGAL)
            found.append(native.words[reason] == ExitReason.EMULATE)
        return found

    def numbers(self) -> list[int]:
        """Handler numbers; those of variants count from 1."""
        rounds = [self.round(bit) for bit in range(len(self.table).bit_length())]
        return [sum(bits[index] << bit for bit, bits in enumerate(rounds)) for index in range(self.count)]

    def operands(self) -> list[int]:
        """Operand words of the slots."""
        start = (CODE * SLOT_SCALE + SLOT_OPERANDS) // 8
        return list(self.native.slots.words(0, start + self.count * 4)[start :: 4 * SLOT_SCALE // 8])

    def close(self) -> None:
        self.native.close()
        self.memory.close()


def expected(guest: Guest, word: int) -> tuple[int, int]:
    """Handler number and operand word by the Python decoder."""
    table = guest.decode_table
    parcel = word & ((1 << 8 * table.parcel) - 1)
    size = table.size(parcel)
    word &= (1 << 8 * size) - 1
    found = table.decode_word(word, size)
    if not isinstance(found, Decoded):
        return 0, word
    base, fields = found.expand()
    packed = 0
    for name, place in places_of(base).items():
        value, operand = fields[name], base.operands[name]
        if operand.written and operand.file is not None and value == operand.file.zero:
            assert operand.file.sink is not None
            value = operand.file.sink
        packed |= (value & ((1 << place.width) - 1)) << 8 * (place.offset - SLOT_OPERANDS)
    return table.find(word, size) + 1, packed


@pytest.mark.parametrize("name", GUESTS)
def test_native_decoder_finds_what_the_python_decoder_finds(name: str) -> None:
    guest = guest_named(name)
    words = list(words_of(guest))
    stub = Stub(guest, words)
    try:
        numbers, operands = stub.numbers(), stub.operands()
    finally:
        stub.close()
    assert 0 < numbers.count(0) < len(words)
    assert len(set(numbers)) > 0.9 * len([v for v in guest.decode_table.variants if not v.instruction.reserved])
    for word, number, packed in zip(words, numbers, operands, strict=True):
        assert (number, packed) == expected(guest, word), f"{word:#x}"
