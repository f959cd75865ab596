"""Random regions that end: pure operations, registers, accesses, checks, branches, switches and bounded loops.

A region is made of segments that hand on values in registers only, so that each may be an entry. Within a segment,
structured statements nest; each appends to the current block and adds to the values in scope.
"""

import random
from array import array

from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.interpret import compile_region
from vmjit.ir.layout import Layout, RegisterFile
from vmjit.ir.ops import OPS
from vmjit.ir.types import MASK, WIDTH

REGISTERS = 6
LAYOUT = Layout((RegisterFile("r", REGISTERS),))
INTEGERS = ("i1", "i8", "i32", "i64")
BINARY = tuple(op.name for op in OPS.values() if op.operands == ("a", "a") and op.result == "same" and op.is_pure)
COMPARISONS = tuple(op.name for op in OPS.values() if op.operands == ("a", "a") and op.result == "i1" and op.is_pure)
CORNERS = (0, 1, 2, 4, 8, 32, -1, -8, 0xFFFFFFFF, 0xFFFFFFFF << 32, 1 << 63)


class Memory:
    """Remembers all accesses; what a load gives depends on the address and the accesses before it."""

    def __init__(self) -> None:
        self.log: list[tuple[int, ...]] = []

    def load(self, address: int, size: int) -> int:
        self.log.append((address, size))
        return hash((address, size, len(self.log))) & ((1 << 8 * size) - 1)

    def store(self, address: int, size: int, value: int) -> None:
        self.log.append((address, size, value))


Observation = tuple[object, list[int], list[tuple[int, ...]]]


def observe(region: Region, pc: int, registers: list[int]) -> Observation:
    """Outcome, registers and accesses."""
    state = array("Q", [0] * 256)
    first = LAYOUT.bases["r"] // 8
    state[first : first + REGISTERS] = array("Q", registers)
    memory = Memory()
    outcome = compile_region(region, LAYOUT)(memoryview(state), memory, pc)
    return outcome, list(state[first : first + REGISTERS]), memory.log


def random_region(seed: int, size: int = 40) -> Region:
    return _Builder(random.Random(seed)).build(size)


def random_registers(chance: random.Random) -> list[int]:
    """Small numbers, addresses and anything."""
    return [chance.getrandbits(chance.choice((4, 37, 64))) for _ in range(REGISTERS)]


class _Builder:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.region = Region("random", 0x1000)
        self.scope: list[Value] = []
        self.pointers: set[Value] = set()
        self.zero: Value
        self.block: Block

    def build(self, size: int) -> Region:
        count = self.chance.randint(1, 3)
        starts = [self.region.new_block() for _ in range(count)]
        for number, start in enumerate(starts):
            if self.chance.random() < 0.5:
                self.region.entries[0x1000 + 4 * number] = start
            self.scope = []
            self.block = start
            self.zero = self.constant("i64", 0)
            for _ in range(3):
                self.append("get", "i64", attr=self.register())
            self.statements(size // count, 0)
            if number + 1 < count:
                self.end("jump", (), Edge(starts[number + 1]))
            else:
                self.block.terminator = Terminator("chain", (self.value("i64"),), attr="fall")
        self.chance.shuffle(rest := self.region.blocks[1:])
        self.region.blocks[1:] = rest
        return self.region

    # values
    def append(self, op: str, type: str | None, *args: Value, attr: int | str | None = None) -> Value:
        value = Value(OPS[op], type, args, attr)
        self.block.ops.append(value)
        if type is not None:
            self.scope.append(value)
        return value

    def register(self) -> str:
        return f"r{self.chance.randrange(REGISTERS)}"

    def constant(self, type: str, value: int) -> Value:
        return self.append("const", type, attr=value & MASK[type])

    def value(self, type: str) -> Value:
        """A value of the type: a late one in scope, or a constant."""
        known = [value for value in self.scope[-12:] if value.type == type]
        if known and self.chance.random() < 0.75:
            return self.chance.choice(known)
        return self.constant(type, self.chance.choice((*CORNERS, self.chance.getrandbits(64))))

    def operation(self) -> None:
        chance = self.chance
        type = chance.choice(INTEGERS)
        kind = chance.randrange(8)
        if kind < 3:
            self.append(chance.choice(BINARY), type, self.value(type), self.value(type))
        elif kind == 3:
            self.append(chance.choice(COMPARISONS), "i1", self.value(type), self.value(type))
        elif kind == 4:
            self.append("select", type, self.value("i1"), self.value(type), self.value(type))
        elif kind < 7:
            self.conversion(type)
        else:
            self.append(chance.choice(("clz", "ctz", "ctpop")), type, self.value(type))

    def conversion(self, type: str) -> None:
        other = self.chance.choice([name for name in INTEGERS if name != type])
        widening = WIDTH[other] > WIDTH[type]
        self.append(self.chance.choice(("zext", "sext")) if widening else "trunc", other, self.value(type))

    def pointer(self) -> Value:
        """An address so far from the ends of guest memory that what lies near is inside or outside with it."""
        known = [value for value in self.scope if value in self.pointers]
        if known and self.chance.random() < 0.7:
            return self.chance.choice(known)
        masked = self.append("and", "i64", self.value("i64"), self.constant("i64", 0x8000003F_FFFF0000))
        pointer = self.append("or", "i64", masked, self.constant("i64", 0x8000))
        self.pointers.add(pointer)
        return pointer

    def access(self) -> None:
        """A checked access at a constant distance from a pointer; without it, something else or the end."""
        offset = self.constant("i64", self.chance.randrange(-16, 4096))
        address = self.append("add", "i64", self.pointer(), offset)
        inside = self.append("in_guest", "i1", address)
        then, other, after = (self.region.new_block() for _ in range(3))
        self.end("branch", (inside,), Edge(then), Edge(other))
        scope = len(self.scope)
        self.block = other
        if self.chance.random() < 0.4:
            self.statements(2, 3)
            self.end("jump", (), Edge(after))
        else:
            other.terminator = Terminator("exit", (address, address), attr="fault")
        del self.scope[scope:]
        self.block = then
        if self.chance.random() < 0.5:
            self.append("load", "i64", address)
        else:
            self.append("store", None, address, self.value("i32"))
        del self.scope[scope:]
        self.end("jump", (), Edge(after))
        self.block = after

    # control flow
    def end(self, kind: str, args: tuple[Value, ...], *edges: Edge, cases: tuple[int, ...] = ()) -> None:
        self.block.terminator = Terminator(kind, args, edges, cases=cases)

    def statements(self, budget: int, depth: int) -> None:
        while budget > 0:
            kind = self.chance.random()
            if depth < 3 and kind < 0.08:
                budget -= self.choice(budget, depth)
            elif depth < 2 and kind < 0.13:
                budget -= self.loop(budget, depth)
            elif depth < 3 and kind < 0.25:
                self.access()
            elif kind < 0.35:
                self.append("set", None, self.value("i64"), attr=self.register())
            elif kind < 0.45:
                self.append("get", "i64", attr=self.register())
            elif kind < 0.48:
                self.end("jump", (), Edge(block := self.region.new_block()))
                self.block = block
            else:
                self.operation()
            budget -= 1

    def params(self, block: Block) -> list[str]:
        types = [self.chance.choice(INTEGERS) for _ in range(self.chance.randrange(4))]
        for type in types:
            block.add_param(type)
        return types

    def choice(self, budget: int, depth: int) -> int:
        """A branch or a switch whose arms meet; values come together as parameters."""
        join = self.region.new_block()
        types = self.params(join)
        arms = [self.region.new_block() for _ in range(self.chance.choice((2, 2, 3)))]
        if len(arms) == 2:
            self.end("branch", (self.value("i1"),), *map(Edge, arms))
        else:
            self.end("switch", (self.value("i64"),), *map(Edge, arms), cases=(0, 1))
        scope = len(self.scope)
        shared = [self.value_in(type) for type in types]
        for arm in arms:
            self.block = arm
            if self.chance.random() < 0.7:
                self.statements(budget // 4, depth + 1)
            same = self.chance.random() < 0.5
            args = [
                old if same and old is not None else self.value(type) for type, old in zip(types, shared, strict=True)
            ]
            self.end("jump", (), Edge(join, tuple(args)))
            del self.scope[scope:]
        self.block = join
        self.scope += join.params
        if depth < 2 and self.chance.random() < 0.3:
            return budget // 2 + self.loop(budget // 2, depth)
        return budget // 2

    def value_in(self, type: str) -> Value | None:
        return next((value for value in reversed(self.scope) if value.type == type), None)

    def loop(self, budget: int, depth: int) -> int:
        """A loop of one to four rounds; some parameters change, some stay, some only feed themselves."""
        head, leave = self.region.new_block(), self.region.new_block()
        types = self.params(head)
        start = [self.value_in(type) or self.value(type) for type in types]
        counter = head.add_param("i64")
        self.end("jump", (), Edge(head, (*start, self.zero)))
        scope = len(self.scope)
        self.block = head
        self.scope += head.params[:-1]
        self.statements(budget // 3, depth + 1)
        again = [
            self.chance.choice((param, first, self.value(type)))
            for type, param, first in zip(types, head.params, start, strict=False)
        ]
        following = Value(OPS["add"], "i64", (counter, one := Value(CONST, "i64", (), 1)))
        rounds = Value(CONST, "i64", (), self.chance.randint(1, 4))
        more = Value(OPS["ult"], "i1", (following, rounds))
        self.block.ops += [one, following, rounds, more]
        self.end("branch", (more,), Edge(head, (*again, following)), Edge(leave))
        self.block = leave
        del self.scope[scope + len(types) :]
        return budget // 2
