"""The text form of a program, both ways: what golden files hold and mismatches are shown as.

    ; a comment
    start=0x10004 hot=2
    x10=0x5 [0x20008]=0x1
                                    a blank line ends what is given
        lui t0, %hi(L1)             one instruction a line
      + jalr zero, %lo(L1)(t0)      it stays or goes together with the one before
    L1:
        .2byte 0x0                  what is no instruction, or not written as the assembler would read it
    =>
    reason=ILLEGAL pc=0x1000c       how it ends

Registers and words of memory that are not named hold 0 before, and at the end what they held before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from vmjit.errors import AssemblyError, ParseError
from vmjit.fuzz.end import Differences, End, address_of, index_of, words_of
from vmjit.fuzz.program import FIRST, HIGH, LOW, RELATIVE, Line, Program, Statement, instruction_set, target_field

ARROW = "=>\n"
TOGETHER = "+"
_FORMS = {RELATIVE: "@{}", HIGH: "%hi({})", LOW: "%lo({})"}
_ZEROS = {RELATIVE: "0x0", HIGH: "0x0", LOW: "0"}
_TARGET = re.compile(r"@(?P<relative>\w+)|%hi\((?P<high>\w+)\)|%lo\((?P<low>\w+)\)")
_LAST_ZERO = re.compile(r"\b0(x0)?\b(?!.*\b0(x0)?\b)")
_FLAGS = ("writable", "late", "precise")
_OTHER = ("start", "hot", *_FLAGS)


# Writing.


def program_text(program: Program) -> str:
    """What parse_program reads."""
    return f"{given_text(program)}\n{code_text(program)}"


def given_text(program: Program) -> str:
    """The lines before the code."""
    how = {"start": hex(program.start), "hot": str(program.hot)}
    how |= {name: "1" for name in _FLAGS if getattr(program, name)}
    registers = {name: hex(value) for name, value in program.registers.items() if value}
    words = {f"[{address:#x}]": hex(value) for address, value in sorted(program.words.items()) if value}
    return "".join(_assignments(part) for part in (how, registers, words))


def code_text(program: Program) -> str:
    """The statements."""
    lines = []
    for statement in program.statements:
        if statement.label:
            lines.append(f"{statement.label}:")
        for number, line in enumerate(statement.lines):
            lines.append(f"  {TOGETHER if number else ' '} {line_text(line)}")
    return "".join(f"{line}\n" for line in lines)


def line_text(line: Line) -> str:
    """One instruction; as a number when its assembly would not give these very bytes."""
    word = int.from_bytes(line.code, "little")
    number = f".{len(line.code)}byte {word:#x}"
    if line.decoded is None:
        return number
    text = line.decoded.text(0)
    if line.target:
        return _LAST_ZERO.sub(_FORMS[target_field(line.decoded.instruction)].format(line.target), text)
    try:
        same = _assembled(text) == line.code
    except AssemblyError:
        same = False
    return text if same else f"{number}  ; {text}"


def listing(program: Program) -> str:
    """Addresses, bytes and disassembly, as laid out."""
    lines = []
    for at, code, label in program.lines():
        if label:
            lines.append(f"{label}:")
            continue
        decoded = Line(code).decoded
        text = "no instruction" if decoded is None else decoded.text(at)
        lines.append(f"  {at:#x}  {code[::-1].hex():>8}  {text}")
    return "".join(f"{line}\n" for line in lines)


def end_text(end: End, program: Program) -> str:
    """What changed, as parse_end reads it."""
    how = {"reason": end.reason, "pc": hex(end.pc)}
    if end.argument is not None:
        how["argument"] = hex(end.argument)
    before_it = {**initial(program).registers, "instret": None}
    registers = {
        name: hex(end.registers[name])
        for name, value in before_it.items()
        if name in end.registers and end.registers[name] != value
    }
    before, after = words_of(initial(program).memory), words_of(end.memory)
    words = {f"[{address_of(i):#x}]": hex(b) for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    return "".join(_assignments(part) for part in (how, registers, words))


def differences_text(different: Differences) -> str:
    """One a line."""
    return "".join(f"  {name:12} {found}, expected {expected}\n" for name, (expected, found) in different.items())


def _assignments(values: Mapping[str, str], width: int = 116) -> str:
    """name=value, as many on a line as fit."""
    lines, line = [], ""
    for name, value in values.items():
        each = f"{name}={value}"
        if line and len(line) + len(each) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {each}" if line else each
    return "".join(f"{line}\n" for line in (*lines, line) if line)


# Reading.


def parse_program(text: str) -> Program:
    """The inverse of program_text; what follows `=>` is not looked at. Raises ParseError and AssemblyError."""
    head, _, code = _without_comments(text).partition("\n\n")
    values = _values(head)
    words = {int(name[1:-1], 0): value for name, value in values.items() if name.startswith("[")}
    return Program(
        _statements(code.partition(ARROW)[0]),
        {name: value for name, value in values.items() if not name.startswith("[") and name not in _OTHER},
        words,
        start=values.get("start", FIRST),
        hot=values.get("hot", 2),
        **{name: bool(values.get(name)) for name in _FLAGS},
    )


def parse_end(text: str, program: Program) -> End:
    """The inverse of end_text: what stands behind `=>`."""
    reason, values = "", {}
    for word in text.partition(ARROW)[2].split():
        name, _, value = word.partition("=")
        if name == "reason":
            reason = value
        else:
            values[name] = int(value, 0)
    before = initial(program)
    memory = bytearray(before.memory)
    view = memoryview(memory).cast("Q")
    for name in [name for name in values if name.startswith("[")]:
        view[index_of(int(name[1:-1], 0))] = values.pop(name)
    pc, argument = values.pop("pc"), values.pop("argument", None)
    return End(reason, pc, argument, {**before.registers, **values}, bytes(memory))


def initial(program: Program) -> End:
    """The state before, as if it were an end."""
    from vmjit.guest import get

    registers = {name: program.registers.get(name, 0) for name in get("riscv64").registers}
    return End("", 0, None, registers, program.image + program.data)


def _without_comments(text: str) -> str:
    return re.sub(r" *;.*", "", re.sub(r"^;.*\n", "", text, flags=re.MULTILINE))


def _values(text: str) -> dict[str, int]:
    found = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ParseError(f"{word!r} is not NAME=VALUE")
        found[name] = int(value, 0)
    return found


def _statements(code: str) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for text in code.splitlines():
        text = text.strip()
        if text.endswith(":"):
            found.append(Statement(label=text[:-1]))
        elif text.startswith(TOGETHER):
            line = _line(text.removeprefix(TOGETHER).strip())
            found[-1] = Statement((*found[-1].lines, line), found[-1].label)
        elif text:
            found.append(Statement((_line(text),)))
    return tuple(found)


@cache
def _line(text: str) -> Line:
    number = re.fullmatch(r"\.([24])byte (\w+)", text)
    if number:
        return Line(int(number[2], 0).to_bytes(int(number[1]), "little"))
    target = _TARGET.search(text)
    if target is None:
        return Line(_assembled(text))
    field = {"relative": RELATIVE, "high": HIGH, "low": LOW}[str(target.lastgroup)]
    return Line(_assembled(_TARGET.sub(_ZEROS[field], text)), str(target[str(target.lastgroup)]))


@cache
def _assembled(text: str) -> bytes:
    return instruction_set().assemble(text)
