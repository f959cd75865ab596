"""Reads the text form of a region that printer.py writes.

Two passes over the lines: the first creates blocks and values, so that the second may use a value above the line that
defines it (blocks stand in any order). Only what cannot be built is an error here; whether the region makes sense is
for verify.py to say. `;` starts a comment; a negative constant is read as its bit pattern.
"""

import re
from dataclasses import dataclass

from vmjit.errors import ParseError
from vmjit.ir.block import Block, Edge, Region, Terminator, Value
from vmjit.ir.ops import OPS, TERMINATORS, Op
from vmjit.ir.printer import PLACE, printed_type
from vmjit.ir.types import MASK, WIDTH

_ADDRESS = "0x[0-9a-fA-F]+"
_NUMBER = rf"{_ADDRESS}|0|-?[1-9][0-9]*"
_INTEGER = re.compile(_NUMBER)
_REGION = re.compile(rf"region\s+(\S+)\s+({_ADDRESS})")
_ENTRY = re.compile(rf"entry\s+({_ADDRESS})\s+([\w.]+)")
_BLOCK = re.compile(r"block\s+([\w.]+)\s*(?:\((.*)\))?\s*:")
_PARAM = re.compile(r"(v\d+)\s*:\s*(\w+)")
_OPERATION = re.compile(rf"(?:(v\d+)\s*=\s*)?(\w+)(?:\.(\w+))?(?:\s+(?![@=])(.*?))?(?:\s+@({_ADDRESS}))?")
_CASE = re.compile(rf"({_NUMBER})\s*:\s*(.*)")
_EDGE = re.compile(r"([\w.]+)\s*(?:\((.*)\))?")
_ELEMENT = re.compile(r"(\w+)\[(.*)\]")
_COMMA = re.compile(r",\s*(?![^(]*\))")  # not one within the parentheses of an edge


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the text, comment and indentation removed."""

    number: int
    text: str

    @property
    def word(self) -> str:
        return self.text.split(maxsplit=1)[0]

    def error(self, expected: str) -> ParseError:
        return ParseError(f"line {self.number}: {self.text!r}: expected {expected}")

    def match(self, pattern: re.Pattern[str], text: str, expected: str) -> re.Match[str]:
        found = pattern.fullmatch(text.strip())
        if found is None:
            raise self.error(expected)
        return found


def parse_region(text: str) -> Region:
    """The region that `text` describes; ParseError says where it does not read."""
    stripped = (_Line(number, line.partition(";")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    lines = [line for line in stripped if line.text]
    header = lines.pop(0) if lines else _Line(1, "")
    name, pc = header.match(_REGION, header.text, "region <name> <pc>").groups()
    scope = _Scope(Region(name, int(pc, 0)))
    for line in lines:
        scope.declare(line)
    for line in lines:
        scope.read(line)
    return scope.region


def _split(text: str) -> list[str]:
    """The items between the outer commas."""
    return [item.strip() for item in _COMMA.split(text)] if text.strip() else []


def _op(line: _Line, name: str) -> Op:
    op = OPS.get(name)
    if op is None or name == "param":
        raise line.error(f"an operation of ir/ops.py or a terminator, not {name!r}")
    return op


def _type(line: _Line, name: str) -> str:
    if name not in WIDTH:
        raise line.error(f"one of the types {' '.join(WIDTH)}, not {name!r}")
    return name


class _Scope:
    """A region being read, and what its names stand for."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.blocks: dict[str, Block] = {}
        self.values: dict[str, Value] = {}
        self.current: Block | None = None

    def declare(self, line: _Line) -> None:
        """First pass: create the block or the value that the line defines."""
        if line.word == "block":
            name, params = line.match(_BLOCK, line.text, "block <name>(<value>: <type>, …):").groups()
            if name in self.blocks:
                raise line.error(f"a new name, {name} is taken")
            self.blocks[name] = block = self.region.new_block(name)
            for item in _split(params or ""):
                param, type = line.match(_PARAM, item, "<value>: <type> for each parameter").groups()
                self.define(line, param, block.add_param(_type(line, type)))
        elif (match := _OPERATION.fullmatch(line.text)) and match[1]:
            op = _op(line, match[2])
            if op.result is None:
                raise line.error(f"no result, {op.name} has none")
            if match[3] is None:
                raise line.error(f"a type: {op.name}.<type>")
            type = _type(line, match[3])
            self.define(line, match[1], Value(op, "i1" if op.result == "i1" else type))

    def define(self, line: _Line, name: str, value: Value) -> None:
        if name in self.values:
            raise line.error(f"a new name, {name} is taken")
        self.values[name] = value

    def read(self, line: _Line) -> None:
        """Second pass: everything, now that all names are known."""
        word = line.word
        if word == "entry":
            self.read_entry(line)
        elif word == "block":
            self.current = self.blocks[line.match(_BLOCK, line.text, "block <name>:")[1]]
        elif self.current is None:
            raise line.error("entry <pc> <block> or block <name>:")
        elif self.current.terminator is not None:
            raise line.error(f"block <name>: as {self.current.name} has its terminator")
        elif word in TERMINATORS:
            self.current.terminator = self.read_terminator(line, word, line.text[len(word) :])
        else:
            self.current.ops.append(self.read_operation(line))

    def read_entry(self, line: _Line) -> None:
        pc, name = line.match(_ENTRY, line.text, "entry <pc> <block>").groups()
        if self.current is not None:
            raise line.error("entries above the first block")
        if int(pc, 0) in self.region.entries:
            raise line.error("each pc once")
        self.region.entries[int(pc, 0)] = self.block(line, name)

    def read_operation(self, line: _Line) -> Value:
        name, op_name, type, rest, pc = line.match(_OPERATION, line.text, "<value> = <op>.<type> <operands>").groups()
        op = _op(line, op_name)
        if (name is None) != (op.result is None):
            raise line.error(f"<value> = {op.name}.<type> …")
        value = self.values[name] if name is not None else Value(op, None)
        attr, operands = self.attribute(line, op, rest or "")
        value.args = tuple(self.value(line, operand) for operand in operands)
        value.pc = None if pc is None else int(pc, 0)
        value.attr = self.integer(line, str(attr), value.type or "i64") if op.attr == "value" else attr
        printed = printed_type(value)
        if printed != type:
            raise line.error(f"{op.name}.{printed}, the type of the last operand" if printed else f"{op.name}, no type")
        return value

    def attribute(self, line: _Line, op: Op, rest: str) -> tuple[str | None, list[str]]:
        """The attribute's text and the operands' names, standing as PLACE says."""
        place = PLACE.get(op.attr or "")
        if place is None:
            return None, _split(rest)
        if place == "last":
            operands, _, attr = rest.rpartition(" ")
            if not attr or "," in attr or attr in self.values:
                raise line.error(f"the {op.attr} behind the operands")
            return attr, _split(operands)
        first, *others = _split(rest) or [""]
        if place == "index":
            file, number = line.match(_ELEMENT, first, f"{op.name}.<type> <file>[<value>]").groups()
            return file, [number, *others]
        if not first:
            raise line.error(f"the {op.attr} in front of the operands")
        return first, others

    def read_terminator(self, line: _Line, kind: str, rest: str) -> Terminator:
        if kind == "chain":
            target, _, how = rest.strip().rpartition(" ")
            return Terminator(kind, (self.value(line, target),), attr=how)
        items = _split(rest)
        if kind == "exit":
            args = tuple(self.value(line, name) for name in items[1:])
            return Terminator(kind, args, attr="".join(items[:1]))
        if kind == "jump":
            return Terminator(kind, (), tuple(self.edge(line, item) for item in items))
        if len(items) < 2:
            raise line.error(f"{kind} <value>, <edges>")
        items[-1], _, odds = items[-1].partition(" odds ")
        value, targets = self.value(line, items[0]), items[1:]
        cases = []
        if kind == "switch":
            for index, item in enumerate(targets[:-1]):
                case, targets[index] = line.match(_CASE, item, "<case>: <edge> before the last edge").groups()
                cases.append(self.integer(line, case, value.type or "i64"))
        edges = tuple(self.edge(line, item) for item in targets)
        return Terminator(kind, (value,), edges, odds or None, tuple(cases))

    def edge(self, line: _Line, text: str) -> Edge:
        name, args = line.match(_EDGE, text, "<block>(<values>)").groups()
        return Edge(self.block(line, name), tuple(self.value(line, arg) for arg in _split(args or "")))

    def block(self, line: _Line, name: str) -> Block:
        if name not in self.blocks:
            raise line.error(f"the name of a block, not {name!r}")
        return self.blocks[name]

    def value(self, line: _Line, name: str) -> Value:
        if name not in self.values:
            raise line.error(f"the name of a value, not {name!r}")
        return self.values[name]

    @staticmethod
    def integer(line: _Line, text: str, type: str) -> int:
        number = int(line.match(_INTEGER, text, "a decimal or hexadecimal integer")[0], 0)
        return number & MASK[type] if number < 0 else number
