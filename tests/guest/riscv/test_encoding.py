"""Encoding, decoding, disassembling and assembling are each other's inverses, for every instruction of the guest."""

import random

import pytest

from vmjit.errors import AssemblyError, EncodingError, OverlapError
from vmjit.guest import get
from vmjit.guest.riscv.operands import OPERANDS, rv64
from vmjit.isa.cpu import Cpu
from vmjit.isa.decoder import DecodeTable
from vmjit.isa.encoding import Field
from vmjit.isa.instruction import Instruction, InstructionSet

TABLE = get("riscv64").decode_table
INSTRUCTIONS = [instruction for instruction in rv64.instructions if not instruction.reserved]
PC = 0x12345678
TRIES = 30


def named(instruction: Instruction) -> str:
    return f"{instruction.name} {instruction.encoding.row}"


every_instruction = pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=named)


def random_value(field: Field, source: random.Random) -> int:
    """A value that the field can hold: in its range, with no bit that the row leaves out."""
    held = sum(((1 << part.width) - 1) << part.low for part in field.slices)
    value = source.choice((0, -1, 1 << field.width - 1, source.getrandbits(field.width))) & held
    return value - (1 << field.width) if field.signed and value >> field.width - 1 else value


def random_fields(instruction: Instruction, source: random.Random) -> dict[str, int]:
    """Fields that are not reserved."""
    fields = {name: random_value(field, source) for name, field in instruction.encoding.fields.items()}
    structural = {name: instruction.operands[name].structural for name in fields}
    return {name: source.choice(structural[name] or (value,)) for name, value in fields.items()}


def is_or_lies_within(inner: Instruction, outer: Instruction) -> bool:
    return inner is outer or (inner.within is not None and is_or_lies_within(inner.within, outer))


@every_instruction
def test_decoding_gives_the_fields_that_were_encoded(instruction: Instruction) -> None:
    source = random.Random(named(instruction))
    for _ in range(TRIES):
        fields = random_fields(instruction, source)
        word = instruction.encoding.encode(**fields)
        assert word & instruction.encoding.mask == instruction.encoding.match
        assert instruction.encoding.decode(word) == fields


@every_instruction
def test_the_table_finds_it(instruction: Instruction) -> None:
    """Or a more specific instruction, or a reserved encoding, that the description says lies within it."""
    source, size, found = random.Random(named(instruction)), instruction.encoding.size, 0
    for _ in range(TRIES):
        word = instruction.encoding.encode(**random_fields(instruction, source))
        assert TABLE.size(word & 0xFFFF) == size
        decoded = TABLE.decode_word(word, size)
        if isinstance(decoded, int):
            inner = [made for made in rv64.instructions if made.reserved and made.encoding.size == size]
            matching = [made for made in inner if word & made.encoding.mask == made.encoding.match]
            assert any(is_or_lies_within(made, instruction) for made in matching), f"{word:#x}"
        else:
            assert is_or_lies_within(decoded.instruction, instruction)
            found += decoded.instruction is instruction
    assert found


@every_instruction
def test_assembling_gives_the_word_that_was_disassembled(instruction: Instruction) -> None:
    """Fields that assembly cannot say (reserved ones of fences) are left 0, as the assembler leaves them."""
    source, size = random.Random(named(instruction)), instruction.encoding.size
    for _ in range(TRIES):
        fields = random_fields(instruction, source)
        hidden = fields.keys() - set(instruction.syntax_fields)
        assert not hidden or instruction.name in ("fence", "fence.tso", "fence.i"), hidden
        word = instruction.encoding.encode(**fields | dict.fromkeys(hidden, 0))
        decoded = TABLE.decode_word(word, size)
        if isinstance(decoded, int):
            continue  # reserved, see above
        text = decoded.text(PC)
        assert rv64.assemble(text, PC) == word.to_bytes(size, "little"), text


@every_instruction
def test_an_abbreviation_stands_for_an_instruction_that_exists(instruction: Instruction) -> None:
    """What a short form expands to can be encoded, so its fields are in range."""
    source = random.Random(named(instruction))
    for _ in range(TRIES):
        base, fields = instruction.expand(random_fields(instruction, source))
        assert base.semantics is not None
        assert fields.keys() == set(base.parameters)
        for name, value in fields.items():
            assert base.encoding.fields[name].why_not(value) is None, (base.name, name, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("walk a0", "not an instruction"),
        ("", "not an instruction"),
        ("add a0, a1", "not an instruction"),
        ("addi a0, a1, 2048", "2048 is outside -2048..2047"),
        ("c.lw a0, 2(a1)", "2 has bits that the encoding does not hold"),
        ("c.lw t0, 4(a1)", "not an instruction"),
        ("csrrw a0, satp, a1", "not an instruction"),
    ],
)
def test_text_that_cannot_be_assembled(text: str, says: str) -> None:
    with pytest.raises(AssemblyError, match=says):
        rv64.assemble(text)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rd": 32, "rs1": 0, "imm": 0}, "rd: 32 is outside 0..31"),
        ({"rd": 1, "rs1": 0}, "has fields"),
        ({"rd": 1, "rs1": 0, "imm": 0, "rs2": 0}, "has fields"),
    ],
)
def test_fields_that_cannot_be_encoded(fields: dict[str, int], says: str) -> None:
    with pytest.raises(EncodingError, match=says):
        rv64.encode("addi", **fields)


def a_set(*rows: str) -> tuple[InstructionSet, list[Instruction]]:
    made = InstructionSet("test", OPERANDS)

    def nothing(cpu: Cpu) -> None:
        pass

    return made, [made.instruction(f"i{n}", row, ext="test")(nothing) for n, row in enumerate(rows)]


@pytest.mark.parametrize(
    "rows",
    [
        ("imm[11:0] rs1 000 rd 0010011", "imm[11:0] 00000 000 rd 0010011"),  # one inside the other
        ("imm[11:0] 00000 000 rd 0010011", "imm[11:0] rs1 000 00000 0010011"),  # each has words of its own
        ("000 imm[5] rd imm[4:0] 01", "000 imm[5] rd imm[4:0] 01"),
    ],
)
def test_overlap_is_an_error_that_names_both(rows: tuple[str, str]) -> None:
    instructions, _ = a_set(*rows)
    with pytest.raises(OverlapError) as caught:
        DecodeTable(instructions, lengths=((0b11, 0b11, 4), (0, 0, 2)))
    assert "i0" in str(caught.value) and "i1" in str(caught.value) and "within" in str(caught.value)


def test_overlap_that_is_said_is_none() -> None:
    instructions, (outer,) = a_set("imm[11:0] rs1 000 rd 0010011")
    inner = instructions.reserved("imm[11:0] 00000 000 rd 0010011", ext="test", within=outer)
    table = DecodeTable(instructions, lengths=((0b11, 0b11, 4), (0, 0, 2)))
    assert inner.within is outer
    assert isinstance(table.decode_word(0x13, 4), int)
    assert not isinstance(table.decode_word(0x13 | 1 << 15, 4), int)


def test_different_lengths_do_not_overlap() -> None:
    a_set("000 imm[5] rd imm[4:0] 01", "imm[11:0] rs1 000 rd 0010011")[0].check()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("slli a0, a0, 16", "slli a0, a0, 0x10"),
        ("lui a0, 18", "lui a0, 0x12"),
        ("sraiw a0, a1, 31", "sraiw a0, a1, 0x1f"),
    ],
)
def test_numbers_are_decimal_unless_they_say_otherwise(text: str, same: str) -> None:
    assert rv64.assemble(text) == rv64.assemble(same)
