"""Random regions that end: what tests of passes and of lowering run.

They look like what tracing makes: entry blocks that only lead on, blocks that hand on values in registers, accesses
with the address of their instruction, and a count of instructions that every way back compares with a limit, so that
loops of any shape end, those with several ways in, too. Within a block, structured statements nest; each appends to the
current block and adds to the values in scope; their joins and loops have parameters.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmjit.codegen.native import why_not_native
from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.layout import Layout, RegisterFile
from vmjit.ir.ops import CHAINS, OPS, ORDERS, ROUNDINGS
from vmjit.ir.types import FLOATS, MASK, WIDTH
from vmjit.ir.verify import EXITS
from vmjit.passes.access import root_of
from vmjit.passes.edit import remove_unreachable
from vmjit.passes.fold import RULES, Rule, Term, Type

REGISTERS = 6
POINTERS = ("r4", "r5")  # registers that mostly hold addresses
SINGLE, DOUBLE = "r3", "r2"  # registers that `floats` computes with
BOX = 0xFFFFFFFF << 32
FIELDS = ("a", "b")
HANDLED_SIZE = 4  # bytes of the instruction of a handler
LAYOUT = Layout((RegisterFile("r", REGISTERS),), ("steps", "fflags", "frm"), flags="fflags", rounding="frm")
START = 0x1000  # the first entry
ELSEWHERE = 1 << 37  # jumps go to this address, or above it, or to where no code can lie
# Words that the host writes are free for notes while the reference runs.
NOTED_PC, NOTED_ROOT, NOTED_BLOCK = "fault_code", "fault_address", "host_frame"
INTEGERS = ("i1", "i8", "i16", "i32", "i64", "i128")
IN_MEMORY = ("i8", "i16", "i32", "i64", "f32", "f64")
BINARY = tuple(op.name for op in OPS.values() if op.operands == ("a", "a") and op.result == "same")
COMPARISONS = tuple(op.name for op in OPS.values() if op.operands == ("a", "a") and op.result == "i1")
COUNTS = ("clz", "ctz", "ctpop", "bswap")
ARITHMETIC = tuple(op.name for op in OPS.values() if op.raises_flags and op.attr == "rounding" and op.result == "same")
FLOAT_COMPARISONS = tuple(op.name for op in OPS.values() if op.raises_flags and op.result == "i1")
DIVISIONS = ("udiv", "sdiv", "urem", "srem")
RMW = tuple(op.name for op in OPS.values() if op.writes_memory and op.result == "given")
SMALL_CORNERS = (0, 1, 2, 4, 7, 8, 31, 32, 63, 64, 127, 128, -1, -2, -8)
CORNERS = (*SMALL_CORNERS, 0xFFFFFFFF, 0xFFFFFFFF << 32, 1 << 31, 1 << 63, 1 << 127)
FLOAT_CORNERS = {
    "f32": (0, 1, 0x3F800000, 0x40490FDB, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x4F000000, 0x00800000),
    "f64": (0, 1, 1023 << 52, 0x921FB << 40, (2047 << 52) - 1, 2047 << 52, (2047 << 52) + 1, 0x7FF8 << 48, 0x43E << 52),
}
OFFSETS = (0, 1, 4, 7, 8, 16, -1, -8, 2047, -2048, 4090, 1 << 20, -1 << 20)
FAR_OFFSETS = ((1 << 28) - 1, 1 << 28, -1 << 28, 1 << 31, -1 << 31, 1 << 32, -1 << 32, 1 << 38, 1 << 63)
PATTERNS = {name: Rule(name, function).before for name, function in RULES.items()}


@dataclass(frozen=True)
class Shape:
    """What a region is made of."""

    size: int = 40  # statements
    counter: str = "instret"  # the register that counts; passes/promote.py and lowering treat instret as they must
    bound: int | None = None  # what ends loops: None for the state's limit, which `steps` is not compared with
    precise: bool = False  # `settle` before accesses
    wild: bool = True  # addresses anywhere, which only a guarded access survives
    bases: tuple[int, ...] = (0x20000, 0x3F_FFFF_E000)  # of addresses that are not wild
    wildness: tuple[float, ...] = (0, 0.03, 0.2)  # how often, by chance
    window: int = 0x1FFF  # the mask of what is added to a base
    loops: float = 0.07  # of statements
    hasty: float = 0.0  # how often what advances in a loop does so by much, where else it is only as wild as addresses
    floats: float = 0.0  # of statements: arithmetic on registers, and few other writes to these
    checks: bool = False  # tests of addresses whose other side goes on
    handler: bool = False  # of the interpreter: one entry, fields, registers by number, accesses without an address
    rule: str | None = None  # the one peephole rule whose pattern is there, and often


def random_region(seed: int, shape: Shape = Shape()) -> Region:
    return _Builder(random.Random(seed), shape).build()


def random_registers(chance: random.Random, bases: tuple[int, ...]) -> list[int]:
    """Small numbers, addresses near the ends of pages and of guest memory, and anything."""
    tame = chance.random() < 0.7
    found = [random_register(chance, bases) for _ in range(REGISTERS)]
    for name in POINTERS if tame else ():
        found[int(name[1:])] = chance.choice(bases) + chance.randrange(0x2000)
    if chance.random() < 0.5:
        found[int(SINGLE[1:])] = BOX | chance.choice(FLOAT_CORNERS["f32"])
        found[int(DOUBLE[1:])] = chance.choice(FLOAT_CORNERS["f64"])
    return found


def random_register(chance: random.Random, bases: tuple[int, ...]) -> int:
    kind = chance.randrange(8)
    if kind < 2:
        return chance.getrandbits(chance.choice((2, 4, 8, 12)))
    if kind < 6:
        return (chance.choice(bases) + (chance.randrange(0x2000) & -chance.choice((1, 8)))) & MASK["i64"]
    if kind == 6:
        near = chance.choice((0, 1 << 38, 1 << 31, 1 << 32, 1 << 63))
        return (near + chance.randrange(-64, 64)) & MASK["i64"]
    return chance.getrandbits(chance.choice((29, 37, 38, 39, 64)))


def is_access(value: Value) -> bool:
    return (value.op.reads_memory or value.op.writes_memory) and bool(value.op.operands)


@contextmanager
def noting(region: Region) -> Iterator[None]:
    """Meanwhile blocks note their number and ask for the time, and accesses note their instruction and their root."""
    before = {block: block.ops for block in region.blocks}
    for number, block in enumerate(region.blocks):
        mark = Value(CONST, "i64", (), number)
        head = [mark, Value(OPS["set"], None, (mark,), NOTED_BLOCK), Value(OPS["clock"], "i64")]
        block.ops = head + [made for value in block.ops for made in (*_notes(value), value)]
    yield
    for block, ops in before.items():
        block.ops = ops


def _notes(value: Value) -> Iterator[Value]:
    if is_access(value):
        pc = Value(CONST, "i64", (), value.pc or 0)
        yield pc
        yield Value(OPS["set"], None, (pc,), NOTED_PC)
        yield Value(OPS["set"], None, (root_of(value.args[0]),), NOTED_ROOT)


class _Builder:
    def __init__(self, chance: random.Random, shape: Shape) -> None:
        self.chance = chance
        self.shape = shape
        self.region = Region("random", START)
        self.bodies: list[Block] = []
        self.number = 0  # of the body being made
        self.scope: list[Value] = []
        self.pointers: set[Value] = set()
        self.pc = START + 0x100
        self.wildness = chance.choice(shape.wildness) if shape.wild else 0
        self.block: Block
        self.zero: Value

    def build(self) -> Region:
        chance, region = self.chance, self.region
        entries = [region.new_block() for _ in range(1 if self.shape.handler else chance.choice((1, 1, 2, 3)))]
        self.bodies = [region.new_block() for _ in range(chance.choice((1, 2, 3, 5)))]
        for number, entry in enumerate(entries):
            if not self.shape.handler and (number or chance.random() < 0.8):  # the first block needs no entry
                region.entries[START + 4 * number] = entry
            self.begin(entry)
            if chance.random() < 0.3:
                self.statements(3, 3)
            self.end("jump", (), Edge(self.bodies[0] if number == 0 else chance.choice(self.bodies)))
        for number, body in enumerate(self.bodies):
            self.number = number
            self.begin(body)
            self.retire()
            for _ in range(3):
                self.read()
            self.statements(self.shape.size // len(self.bodies), 0)
            self.leave_body()
        remove_unreachable(region)
        chance.shuffle(rest := region.blocks[len(entries) :])
        region.blocks[len(entries) :] = rest
        return region

    def begin(self, block: Block) -> None:
        self.block = block
        self.scope = []
        self.zero = self.constant("i64", 0)  # above, so that a block that leads to a loop may be empty

    def retire(self) -> None:
        """Count: a body counts at least once."""
        counter = self.shape.counter
        count = self.append("get", "i64", attr=counter)
        self.append("set", None, self.plus(count, self.chance.randint(1, 3)), attr=counter)
        self.scope.remove(count)

    # Values.

    def append(self, op: str, type: str | None, *args: Value, attr: int | str | None = None) -> Value:
        value = Value(OPS[op], type, args, attr)
        self.block.ops.append(value)
        if type is not None:
            self.scope.append(value)
        return value

    def hidden(self, op: str, type: str, *args: Value, attr: int | str | None = None) -> Value:
        """An operation whose result is not for others to use."""
        value = self.append(op, type, *args, attr=attr)
        self.scope.remove(value)
        return value

    def plus(self, value: Value, constant: int) -> Value:
        return self.hidden("add", "i64", value, self.hidden("const", "i64", attr=constant & MASK["i64"]))

    def register(self) -> str:
        return f"r{self.chance.randrange(REGISTERS)}"

    def written(self) -> str:
        """A register to write."""
        if self.shape.floats and not self.is_wild():
            return self.chance.choice(("r0", "r1"))
        return self.register() if self.is_wild() else f"r{self.chance.randrange(REGISTERS - len(POINTERS))}"

    def is_wild(self) -> bool:
        return self.chance.random() < self.wildness

    def is_hasty(self) -> bool:
        return self.is_wild() or self.chance.random() < self.shape.hasty

    def constant(self, type: str, value: int) -> Value:
        return self.hidden("const", type, attr=value & MASK[type])

    def value(self, type: str) -> Value:
        """A value of the type: a late one in scope, or a constant."""
        known = [value for value in self.scope[-24:] if value.type == type]
        if known and self.chance.random() < 0.8:
            return self.chance.choice(known)
        corners = FLOAT_CORNERS.get(type, CORNERS)
        bits = self.chance.choice((*corners, self.chance.getrandbits(WIDTH[type])))
        return self.constant(type, bits ^ (self.chance.getrandbits(1) << (WIDTH[type] - 1)) * (type in FLOATS))

    def small(self, limit: int) -> Value:
        """A number below a power of two."""
        return self.append("and", "i64", self.value("i64"), self.constant("i64", limit - 1))

    def word(self, value: Value) -> Value:
        """Any value as an i64."""
        if value.type in FLOATS:
            value = self.append("bitcast", f"i{WIDTH[value.type]}", value)
        assert value.type is not None
        if WIDTH[value.type] == 64:
            return value
        widening = self.chance.choice(("zext", "sext"))
        return self.append("trunc" if WIDTH[value.type] > 64 else widening, "i64", value)

    # Statements.

    def statements(self, budget: int, depth: int) -> None:
        while budget > 0:
            budget -= 1 + self.statement(budget, depth)

    def statement(self, budget: int, depth: int) -> int:
        """One statement; what it took of the budget besides."""
        kind = self.chance.random()
        if self.shape.rule and kind < 0.5:
            self.pattern()
            return 0
        if kind < 0.05 and depth < 3:
            return self.choice(budget, depth)
        if kind < 0.05 + self.shape.loops and depth < 2:
            return self.loop(budget, depth)
        if self.chance.random() < self.shape.floats:
            self.float_register()
            return 0
        kind = self.chance.random()
        for limit, make in (
            (0.16, self.access),
            (0.19, self.advance),
            (0.28, self.write),
            (0.35, self.read),
            (0.37, self.split),
            (0.39, self.barrier),
            (0.47, self.pattern),
            (0.50, self.check if self.shape.checks and depth < 3 else self.operation),
            (0.60, self.float_operation),
            (1.0, self.operation),
        ):
            if kind < limit:
                make()
                return 0
        raise AssertionError

    def read(self) -> None:
        if self.shape.handler and self.chance.random() < 0.5:
            self.append("get_at", "i64", self.number_of_register(), attr="r")
        else:
            self.append("get", "i64", attr=self.register())

    def write(self) -> None:
        known = self.scope[-12:]
        value = self.word(self.chance.choice(known)) if known else self.value("i64")
        if self.shape.handler and self.chance.random() < 0.5:
            self.append("set_at", None, self.number_of_register(), value, attr="r")
        else:
            self.append("set", None, value, attr=self.written())

    def number_of_register(self) -> Value:
        return self.append("urem", "i64", self.value("i64"), self.constant("i64", REGISTERS))

    def advance(self) -> None:
        """A register moves by little, as pointers do in loops."""
        register = self.chance.choice(POINTERS)
        value = self.append("get", "i64", attr=register)
        stride = self.stride()
        self.append("set", None, self.append("add", "i64", value, stride), attr=register)

    def stride(self) -> Value:
        if self.is_hasty():
            return self.value("i64") if self.chance.random() < 0.5 else self.constant("i64", self.far())
        if self.chance.randrange(3) == 0:
            return self.small(1 << self.chance.choice((4, 13, 29, 30)))
        return self.constant("i64", self.chance.choice((1, 4, 8, 64, 4096, -8, -4096, 1 << 27)))

    def far(self) -> int:
        return self.chance.choice(FAR_OFFSETS) + self.chance.choice((0, 0, 8, -8))

    def split(self) -> None:
        self.end("jump", (), Edge(block := self.region.new_block()))
        self.block = block

    def barrier(self) -> None:
        if self.chance.random() < 0.8:
            self.append("fence", None, attr=self.chance.choice(ORDERS))
        else:
            self.append("pause", None)

    def operation(self) -> None:
        chance = self.chance
        type = chance.choice(INTEGERS)
        kind = chance.randrange(16)
        if kind < 6:
            op = chance.choice(BINARY)
            type = "i64" if op in DIVISIONS and type == "i128" else type
            self.append(op, type, self.value(type), self.value(type))
        elif kind < 8:
            self.append(chance.choice(COMPARISONS), "i1", self.value(type), self.value(type))
        elif kind < 10:
            type = chance.choice(tuple(WIDTH))
            self.append("select", type, self.value("i1"), self.value(type), self.value(type))
        elif kind < 13:
            other = chance.choice([name for name in INTEGERS if name != type])
            self.append(
                chance.choice(("zext", "sext")) if WIDTH[other] > WIDTH[type] else "trunc", other, self.value(type)
            )
        elif kind < 15:
            op = chance.choice(COUNTS)
            type = "i32" if op == "bswap" and WIDTH[type] < 16 else type
            self.append(op, type, self.value(type))
        else:
            self.rare()

    def rare(self) -> None:
        kind = self.chance.randrange(3)
        if kind == 0:
            self.append("in_guest", "i1", self.value("i64"))
        elif kind == 1:  # any value times zero
            type = self.chance.choice(INTEGERS)
            self.append("and", type, self.hidden("undefined", type), self.constant(type, 0))
        elif self.shape.handler:
            self.append("pc", "i64")
            self.append("field", "i64", attr=self.chance.choice(FIELDS))

    def pattern(self) -> None:
        """What a peephole rule looks for."""
        pattern = PATTERNS[self.shape.rule or self.chance.choice(tuple(PATTERNS))]
        types = {term.type.find(): term.type.name for term in pattern.walk()}
        for _ in range(100):
            chosen = {type: name or self.chance.choice(tuple(WIDTH)) for type, name in types.items()}
            if all(_is_typed(term, chosen) for term in pattern.walk() if term.op):
                self.instance(pattern, chosen, {})
                return

    def instance(self, term: Term, types: dict[Type, str], variables: dict[str, Value]) -> Value:
        type = types[term.type.find()]
        if term.name:
            if term.name not in variables:
                variables[term.name] = self.constant_for(type) if term.is_constant else self.value(type)
            return variables[term.name]
        if not term.op:
            return self.constant(type, term.literal)
        return self.append(term.op, type, *[self.instance(arg, types, variables) for arg in term.args])

    def constant_for(self, type: str) -> Value:
        return self.constant(type, self.chance.choice((*CORNERS, 1 << self.chance.randrange(WIDTH[type]))))

    def float_operation(self) -> None:
        """Arithmetic gives a canonical NaN only when it is asked to, see codegen/floats.py."""
        chance = self.chance
        type = chance.choice(("f32", "f64"))
        kind = chance.randrange(6)
        if kind < 3:
            op = chance.choice(ARITHMETIC)
            operands = [self.value(type) for _ in OPS[op].operands]
            self.append("fcanon", type, self.hidden(op, type, *operands, attr="dynamic"))
        elif kind == 3:
            self.append(chance.choice(FLOAT_COMPARISONS), "i1", self.value(type), self.value(type))
        elif kind == 4:
            integer = f"i{WIDTH[type]}"
            pair = chance.choice(((type, integer), (integer, type)))
            self.append("bitcast", pair[1], self.value(pair[0]))
        else:
            self.float_conversion(type)

    def float_register(self) -> None:
        """A register that holds a boxed single, or a double, is read, computed with and written; or only some of it."""
        chance = self.chance
        single = chance.random() < 0.6
        type, register = ("f32", SINGLE) if single else ("f64", DOUBLE)
        bits = self.append("get", "i64", attr=register)
        if single:
            high = self.hidden("lshr", "i64", bits, self.constant("i64", 32))
            is_boxed = self.hidden("eq", "i1", high, self.constant("i64", 0xFFFFFFFF))
            low = self.hidden("trunc", "i32", bits)
            bits = self.append("select", "i32", is_boxed, low, self.constant("i32", 0x7FC00000))
        value = self.append("bitcast", type, bits)
        kind = chance.randrange(8)
        if kind == 0:
            self.append(chance.choice(FLOAT_COMPARISONS), "i1", value, self.value(type))
            return
        if kind < 6:
            op = chance.choice(ARITHMETIC)
            operands = [value, *(self.value(type) for _ in OPS[op].operands[1:])]
            value = self.append("fcanon", type, self.hidden(op, type, *operands, attr="dynamic"))
        elif kind == 6:
            value = self.value(type)
        integer = self.append("bitcast", f"i{WIDTH[type]}", value)
        if single:
            integer = self.hidden("or", "i64", self.hidden("zext", "i64", integer), self.constant("i64", BOX))
        self.append("set", None, integer, attr=register)

    def float_conversion(self, type: str) -> None:
        chance = self.chance
        op = chance.choice(("fcanon", "fconvert", "sitofp", "uitofp", "fptosi", "fptoui"))
        other = "f32" if type == "f64" else "f64"
        integer = chance.choice(("i32", "i64"))
        source, result = {"fcanon": (type, type), "fconvert": (other, type)}.get(
            op, (type, integer) if op.startswith("fpto") else (integer, type)
        )
        value = Value(OPS[op], result, (self.value(source),), None if op == "fcanon" else chance.choice(ROUNDINGS))
        if why_not_native(value):
            value.attr = "dynamic"
        self.block.ops.append(value)
        if result in FLOATS and op != "fcanon":
            self.append("fcanon", result, value)
        else:
            self.scope.append(value)

    # Accesses.

    def pointer(self) -> Value:
        known = [value for value in self.scope if value in self.pointers]
        kind = self.chance.random()
        if known and kind < 0.5:
            return self.chance.choice(known)
        if self.is_wild():
            found = self.append("get", "i64", attr=self.register()) if kind < 0.7 else self.value("i64")
        elif self.shape.wild and kind < 0.8:
            found = self.append("get", "i64", attr=self.chance.choice(POINTERS))
        else:
            base = self.constant("i64", self.chance.choice(self.shape.bases))
            moved = self.append("and", "i64", self.value("i64"), self.constant("i64", self.shape.window))
            found = self.append(self.chance.choice(("add", "or", "xor")), "i64", moved, base)
        self.pointers.add(found)
        return found

    def address(self, pointer: Value) -> Value:
        """Some way from a pointer."""
        chance = self.chance
        for _ in range(chance.choice((0, 1, 1, 1, 2))):
            offset = self.far() if self.is_wild() else chance.choice((*OFFSETS, chance.randrange(-2048, 2048)))
            pointer = self.append("add", "i64", pointer, self.constant("i64", offset))
        if self.is_wild():
            pointer = self.append("add", "i64", pointer, self.value("i64"))
        return pointer

    def access(self) -> None:
        self.access_at(self.address(self.pointer()))

    def access_at(self, address: Value, *, plain: bool = False) -> None:
        chance = self.chance
        self.retire()
        type = chance.choice(IN_MEMORY)
        kind = chance.randrange(7 if plain else 12)
        order = chance.choice(ORDERS)
        if kind < 4:
            value = self.memory("load", type, address)
            if chance.random() < 0.4:
                self.use_once(value)
        elif kind < 7:
            self.memory("store", None, address, self.value(type))
        else:
            type = chance.choice(IN_MEMORY[:4])
            aligned = self.append("and", "i64", address, self.constant("i64", -(WIDTH[type] // 8)))
            if kind == 7:
                # LLVM has no atomic load with release.
                self.memory("atomic_load", type, aligned, attr=chance.choice(("relaxed", "acquire", "seq_cst")))
            elif kind == 8:
                self.memory("compare_exchange", "i1", aligned, self.value(type), self.value(type), attr=order)
            else:
                self.memory(chance.choice(RMW), type, aligned, self.value(type), attr=order)

    def use_once(self, value: Value) -> None:
        """An operation into which the host can fold a load."""
        self.scope.remove(value)
        assert value.type is not None
        if value.type in FLOATS:
            self.append(
                "fcanon", value.type, self.hidden("fadd", value.type, self.value(value.type), value, attr="dynamic")
            )
        elif self.chance.random() < 0.5:
            self.append("zext" if value.type != "i64" else "trunc", "i32" if value.type == "i64" else "i64", value)
        else:
            op = self.chance.choice((*BINARY, *COMPARISONS))
            self.append(op, "i1" if op in COMPARISONS else value.type, self.value(value.type), value)

    def memory(self, op: str, type: str | None, *args: Value, attr: str | None = None) -> Value:
        if self.shape.precise:
            self.append("settle", None)
        value = self.append(op, type, *args, attr=attr)
        if not self.shape.handler:
            if self.chance.random() < 0.85:  # else one more access of the same instruction
                self.pc += 4
            value.pc = self.pc
        return value

    def check(self) -> None:
        """A test of an address near which all is inside or outside; on either side, something else or the end."""
        masked = self.append("and", "i64", self.value("i64"), self.constant("i64", 0x8000003F_FFFF0000))
        pointer = self.append("or", "i64", masked, self.constant("i64", 0x8000))
        address = self.append("add", "i64", pointer, self.constant("i64", self.chance.randrange(-16, 4096)))
        inside = self.append("in_guest", "i1", address)
        then, other, after = (self.region.new_block() for _ in range(3))
        self.end("branch", (inside,), Edge(then), Edge(other))
        scope = len(self.scope)
        self.block = other
        self.statements(2, 3)
        self.end("jump", (), Edge(after))
        del self.scope[scope:]
        self.block = then
        self.memory("load", "i64", address)
        self.end("jump", (), Edge(after))
        del self.scope[scope:]
        self.block = after

    # Control flow.

    def end(self, kind: str, args: tuple[Value, ...], *edges: Edge, cases: tuple[int, ...] = ()) -> None:
        self.block.terminator = Terminator(kind, args, edges, cases=cases)

    def leave_body(self) -> None:
        chance = self.chance
        kind = chance.random()
        if kind < (0.5 if self.number + 1 == len(self.bodies) else 0.25):
            self.leave_region()
        elif kind < 0.45:
            self.end("jump", (), self.way())
        elif kind < 0.85:
            self.end("branch", (self.value("i1"),), self.way(), self.way())
        else:
            type = chance.choice(INTEGERS)
            cases = tuple({bits & MASK[type] for bits in chance.sample((0, 1, 2, 3, -1, 255), chance.randint(0, 3))})
            self.end("switch", (self.value(type),), *(self.way() for _ in range(len(cases) + 1)), cases=cases)

    def way(self) -> Edge:
        """Into some body, past a test of the limit if it is not further down; or out of the region."""
        here, scope = self.block, list(self.scope)
        number = self.chance.randrange(len(self.bodies) + 1)
        if number == len(self.bodies):
            self.block = found = self.region.new_block()
            self.leave_region()
        elif number > self.number:
            found = self.bodies[number]
        else:
            found = self.checked(self.bodies[number])
        self.block, self.scope = here, scope
        return Edge(found)

    def checked(self, body: Block) -> Block:
        test, stop = self.region.new_block(), self.region.new_block()
        self.block = test
        count = self.append("get", "i64", attr=self.shape.counter)
        limit = self.hidden("get", "i64", attr="limit") if self.shape.bound is None else None
        if limit is None:
            limit = self.hidden("const", "i64", attr=self.shape.bound)
        self.end("branch", (self.append("ult", "i1", count, limit),), Edge(body), Edge(stop))
        self.block = stop
        zero = self.constant("i64", 0)
        stop.terminator = Terminator("exit", (self.constant("i64", 0x4000 + 2 * self.number), zero), attr="limit")
        return test

    def leave_region(self) -> None:
        chance = self.chance
        if self.shape.handler:
            self.append("set", None, self.plus(self.hidden("get", "i64", attr="instret"), 1), attr="instret")
        elif self.shape.counter == "instret" and chance.random() < 0.5:
            self.retire()
        for _ in range(chance.randrange(3)):
            self.write()
        where = self.constant("i64", chance.choice((0x3000, 0x3002, 0x20000)))
        kind = chance.randrange(4)
        if kind == 0 and self.shape.handler:
            following = self.plus(self.hidden("pc", "i64"), HANDLED_SIZE)
            self.block.terminator = Terminator("chain", (following,), attr="fall")
        elif kind == 0:
            self.block.terminator = Terminator("chain", (where,), attr=chance.choice(CHAINS))
        elif kind == 1:
            target = self.value("i64")
            if chance.random() < 0.7:
                target = self.append("and", "i64", target, self.constant("i64", 0x3FFFE))
            target = self.append("or", "i64", target, self.constant("i64", ELSEWHERE))
            self.block.terminator = Terminator("chain", (target,), attr=chance.choice(CHAINS[1:]))
        else:
            argument = self.constant("i64", 0) if kind == 2 else self.value("i64")
            self.block.terminator = Terminator("exit", (where, argument), attr=chance.choice(EXITS))

    def params(self, block: Block) -> list[str]:
        types = [self.chance.choice((*INTEGERS, "i64", "f32", "f64")) for _ in range(self.chance.randrange(4))]
        for type in types:
            block.add_param(type)
        return types

    def choice(self, budget: int, depth: int) -> int:
        """A branch or a switch whose arms meet; values come together as parameters."""
        chance = self.chance
        join = self.region.new_block()
        types = self.params(join)
        shared = [self.value_in(type) for type in types]
        arms = [self.region.new_block() for _ in range(chance.choice((2, 2, 3)))]
        direct: tuple[Edge, ...] = ()
        if chance.random() < 0.2:  # some ways lead straight to the join, with different arguments
            direct = tuple(Edge(join, tuple(self.value(type) for type in types)) for _ in range(2))
        ways = (*map(Edge, arms), *direct)
        if len(ways) == 2:
            self.end("branch", (self.value("i1"),), *ways)
        else:
            self.end("switch", (self.value("i64"),), *ways, cases=tuple(range(len(ways) - 1)))
        scope = len(self.scope)
        for arm in arms:
            self.block = arm
            if chance.random() < 0.7:
                self.statements(budget // 4, depth + 1)
            same = chance.random() < 0.5
            args = [
                old if same and old is not None else self.value(type) for type, old in zip(types, shared, strict=True)
            ]
            self.end("jump", (), Edge(join, tuple(args)))
            del self.scope[scope:]
        self.block = join
        self.scope += join.params
        if depth < 2 and chance.random() < 0.3:
            return budget // 2 + self.loop(budget // 2, depth, bare=True)
        return budget // 2

    def value_in(self, type: str) -> Value | None:
        return next((value for value in reversed(self.scope) if value.type == type), None)

    def loop(self, budget: int, depth: int, *, bare: bool = False) -> int:
        """A loop of one to four rounds; parameters advance, change, stay or only feed themselves.

        Many walk: they begin with an access near a parameter that advances, as passes/hoist.py looks for. `bare` adds
        nothing in front of the loop.
        """
        chance = self.chance
        head, leave = self.region.new_block(), self.region.new_block()
        walks = not bare and self.shape.wild and chance.random() < 0.7
        types = [type for type in self.params(head) if not bare or self.value_in(type)]
        if walks:
            types.insert(0, "i64")
        head.params = [Value(OPS["param"], type) for type in types]
        start = [self.value_in(type) or self.value(type) for type in types]
        strides = [self.stride() if type == "i64" and not bare else None for type in types]
        beside = None
        if walks:
            start[0] = self.pointer()
            beside = self.beside(head)
        counter = head.add_param("i64")
        self.end("jump", (), Edge(head, (*start, self.zero)))
        scope = len(self.scope)
        self.block = head
        self.scope += head.params[:-1]
        if walks:
            self.walk(head.params[0], beside, [stride for stride in strides if stride])
        self.statements(budget // 3, depth + 1)
        again = [
            self.following(param, first, stride)
            for param, first, stride in zip(head.params[:-1], start, strides, strict=True)
        ]
        following = self.plus(counter, 1)
        rounds = self.hidden("const", "i64", attr=chance.randint(1, 4))
        more = self.hidden("ult", "i1", following, rounds)
        self.end("branch", (more,), Edge(head, (*again, following)), Edge(leave))
        self.block = leave
        del self.scope[scope + len(types) :]
        return budget // 2

    def walk(self, pointer: Value, beside: Value | None, strides: list[Value]) -> None:
        """An access near a pointer that advances, then perhaps one some strides away."""
        if beside is not None:
            pointer = self.append("add", "i64", pointer, beside)
        if self.chance.random() < 0.15:
            self.float_operation()
        self.access_at(self.address(pointer), plain=True)
        if self.chance.random() < 0.4:
            for _ in range(self.chance.randint(1, 6)):
                away = self.value("i64") if self.is_hasty() else self.chance.choice(strides)
                pointer = self.append("add", "i64", pointer, away)
            self.access_at(self.address(pointer), plain=True)

    def beside(self, head: Block) -> Value | None:
        """What else the address of a walk consists of: nothing, the same in every round, or a parameter of the loop."""
        kind = self.chance.randrange(5)
        if kind < 2:
            return None
        if kind < 4:
            return self.value("i64") if self.is_wild() else self.small(1 << 12)
        return self.chance.choice([param for param in head.params if param.type == "i64"])

    def following(self, param: Value, first: Value, stride: Value | None) -> Value:
        """What a parameter is in the next round."""
        chance = self.chance
        assert param.type is not None
        if stride is not None and chance.random() < 0.8:
            if chance.random() < 0.15:
                stride = self.value("i64") if self.is_hasty() else self.small(1 << 12)  # not the same in every round
            for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
                param = self.append("add", "i64", param, stride)
            return self.plus(param, self.far() if self.is_hasty() else 4) if chance.random() < 0.3 else param
        return chance.choice((param, first, self.value(param.type)))


def _is_typed(term: Term, types: dict[Type, str]) -> bool:
    """Whether the IR allows an operation of a pattern these types."""
    result, source = types[term.type.find()], types[term.args[-1].type.find()]
    floats = (source in FLOATS) + (result in FLOATS)
    if term.op == "bitcast":
        return WIDTH[source] == WIDTH[result] and floats == 1
    if term.op == "fcanon":
        return floats == 2
    if term.op == "select":
        return True
    if floats or (term.op in DIVISIONS and source == "i128"):
        return False
    if term.op == "trunc":
        return WIDTH[source] > WIDTH[result]
    return term.op not in ("zext", "sext") or WIDTH[source] < WIDTH[result]
