"""Programs: how they are laid out, and that their text form reads back."""

from dataclasses import replace

import pytest

from vmjit.errors import AssemblyError, EncodingError, ParseError
from vmjit.fuzz.end import End, differences
from vmjit.fuzz.program import CODE, CODE_SIZE, DATA, FIRST, Line, Program, Statement, line
from vmjit.fuzz.programs import random_program
from vmjit.fuzz.text import code_text, end_text, initial, listing, parse_end, parse_program, program_text

TEXT = """\
start=0x10ffe hot=3 writable=1 precise=1
x10=0x5 x11=0xffffffffffffffff
[0x20008]=0x1

    addi a0, zero, 3
L1:
    c.addi a0, -1
    bne a0, zero, @L1
    lui t1, %hi(L2)
  + addi t1, t1, %lo(L2)
  + jalr zero, 0(t1)
    .4byte 0xffffffff
L2:
    fadd.d fa0, fa1, fa2, rtz
    .2byte 0x0
"""


@pytest.mark.parametrize("seed", range(40))
def test_a_random_program_reads_back(seed: int) -> None:
    program = random_program(seed)
    text = program_text(program)
    again = parse_program(f"; a comment\n{text}=>\nreason=ILLEGAL pc=0x0\n")
    assert again.image == program.image and again.data == program.data
    assert program_text(again) == text
    assert replace(again, statements=(), registers={}, words={}) == replace(
        program, statements=(), registers={}, words={}
    )


def test_the_text_says_everything() -> None:
    program = parse_program(TEXT)
    assert program_text(program) == TEXT
    assert (program.start, program.hot, program.writable, program.precise) == (0x10FFE, 3, True, True)
    assert program.registers == {"x10": 5, "x11": (1 << 64) - 1} and program.words == {0x20008: 1}
    assert [len(statement.lines) for statement in program.statements] == [1, 0, 1, 1, 3, 1, 0, 1, 1]


def test_labels_become_offsets_and_halves_of_addresses() -> None:
    lines = [text.split(None, 2)[2] for text in listing(parse_program(TEXT)).splitlines() if not text.endswith(":")]
    assert lines[2:6] == ["bne a0, zero, 0x11002", "lui t1, 0x11", "addi t1, t1, 24", "jalr zero, 0(t1)"]
    assert listing(parse_program(TEXT)).splitlines()[1] == "L1:"


def test_the_code_begins_with_a_jump_and_ends_in_zeros() -> None:
    program = parse_program(TEXT)
    assert Line(program.image[:4]).decoded is not None and len(program.image) == CODE_SIZE
    assert program.image[:4] == line("jal", rd=0, offset=program.start - CODE).code
    assert not any(program.image[4 : program.start - CODE]) and not any(program.image[-16:])
    assert program.data[8] == 1 and sum(program.data) == 1


def test_what_does_not_fit_is_cut_off() -> None:
    program = Program((Statement((line("ebreak"),)),), start=CODE + CODE_SIZE - 2)
    assert program.image[-2:] == line("ebreak").code[:2] and len(program.image) == CODE_SIZE


def test_an_encoding_that_does_not_read_back_is_a_number() -> None:
    hidden = Line((0x0FF5050F).to_bytes(4, "little"))  # a fence with registers, which assembly does not show
    assert code_text(Program((Statement((hidden,)),))).startswith("    .4byte 0xff5050f  ; fence")
    assert parse_program(f"\n\n{code_text(Program((Statement((hidden,)),)))}").statements[0].lines[0] == hidden


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ParseError, match="'x10' is not NAME=VALUE"):
        parse_program("x10\n\n")
    with pytest.raises(AssemblyError, match="no_such a0"):
        parse_program("start=0x10004\n\n    no_such a0\n")
    far = Program(
        (Statement((line("c.beqz", "L1", rs1c=0),)), *[Statement((line("ebreak"),))] * 99, Statement((), "L1"))
    )
    with pytest.raises(EncodingError, match="outside"):
        far.image  # noqa: B018


def end_of(program: Program, **changed: int) -> End:
    memory = bytearray(program.image + program.data)
    memory[CODE_SIZE + 16] = 7
    return End("FAULT", FIRST, 0x123, {**initial(program).registers, "instret": 9, **changed}, bytes(memory))


def test_an_end_reads_back() -> None:
    program = parse_program(TEXT)
    end = end_of(program, x10=6, f3=1 << 63)
    text = end_text(end, program)
    assert text == (
        f"reason=FAULT pc=0x10004 argument=0x123\nx10=0x6 f3=0x8000000000000000 instret=0x9\n[{DATA + 16:#x}]=0x7\n"
    )
    assert parse_end(f"{TEXT}=>\n{text}", program) == end


def test_differences_are_named() -> None:
    program = parse_program(TEXT)
    end, other = end_of(program), replace(end_of(program, x10=7), reason="ILLEGAL", argument=None, memory=bytes(20480))
    found = differences(end, other)
    assert found["reason"] == ("FAULT", "ILLEGAL") and found["x10"] == ("0x5", "0x7")
    assert found["[0x20008]"] == ("0x1", "0x0") and found["[0x20010]"] == ("0x7", "0x0")
    assert "argument" not in found and "pc" not in found and "x11" not in found
    assert not differences(end, end)


def test_registers_that_are_not_known_are_not_compared() -> None:
    end = end_of(parse_program(TEXT))
    assert not differences(end, replace(end, registers={}))
