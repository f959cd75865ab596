"""Random RISC-V programs that end: straight code, branches, loops, calls and accesses to memory of their own.

Instructions come from the guest's tables, so a new one is tried without further ado. What keeps a program in bounds
are a few registers that nothing else writes: pointers into the data, and counters of loops.
"""

import random
from dataclasses import dataclass
from functools import cache

from machines import DATA, PAGE, guest_named, instructions_of

from vmjit.engine.trace import Tracer, trace_alone
from vmjit.isa.instruction import Instruction

rv64 = instructions_of("riscv64")
TRACER = Tracer(guest_named("riscv64").layout)
# What base-register operands may be, and what they point to. x8 and x9 are the pointers of compressed forms.
POINTERS = {2: DATA + 0x200, 8: DATA + 0x500, 9: DATA + 0x800, 18: DATA + 0xB01}
MISALIGNED = 18  # atomic accesses through it stop the program
COUNTERS = (29, 30, 31)  # of nested loops
LINK, TARGET = 1, 5  # of calls; of indirect jumps
RESERVED = frozenset((*POINTERS, *COUNTERS, LINK, TARGET))
EXCLUDED = frozenset(("fence.i", "wrs.nto", "wrs.sto"))
TIME = 0xC01  # the number of the clock, which no two runs agree on


@dataclass(frozen=True)
class Kinds:
    """Instructions by what a program may do with them."""

    pure: tuple[Instruction, ...]
    accesses: tuple[Instruction, ...]
    floats: tuple[Instruction, ...]
    branches: tuple[Instruction, ...]


@cache
def kinds() -> Kinds:
    found: dict[str, list[Instruction]] = {"pure": [], "accesses": [], "floats": [], "branches": []}
    for made in rv64.instructions:
        if not made.reserved and made.name not in EXCLUDED:
            kind = _kind(made)
            if kind:
                found[kind].append(made)
    return Kinds(*(tuple(found[name]) for name in ("pure", "accesses", "floats", "branches")))


def _kind(made: Instruction) -> str | None:
    base, fields = made.expand(random_fields(made, random.Random(1)))
    traits = TRACER.traits_of(base, fields, made.encoding.size)
    if traits.ends:
        flow = TRACER.flow_of(base, fields, 0x1000, made.encoding.size)
        return "branches" if len(flow.targets) == 2 else "floats" if "rounding" in _exits(base, fields) else None
    region, _ = trace_alone(guest_named("riscv64").layout, base, fields, 0, made.encoding.size)
    ops = [value.op for block in region.blocks for value in block.ops]
    if any(op.name == "clock" for op in ops):
        return None
    if any((op.reads_memory or op.writes_memory) and op.operands for op in ops):
        return "accesses"
    is_float = any(op.raises_flags for op in ops) or any(name.startswith("f") for name in base.parameters)
    return "floats" if is_float else "pure"


def _exits(base: Instruction, fields: dict[str, int]) -> set[str]:
    region, _ = trace_alone(guest_named("riscv64").layout, base, fields, 0, 4)
    return {str(block.end.attr) for block in region.blocks if block.end.kind == "exit"}


def random_fields(made: Instruction, chance: random.Random) -> dict[str, int]:
    fields = {}
    for name, encoded in made.encoding.fields.items():
        choices = made.operands[name].structural
        held = sum(((1 << part.width) - 1) << part.low for part in encoded.slices)
        value = chance.choice((0, -1, 1, 8, chance.getrandbits(encoded.width))) & held
        if encoded.signed and value >> (encoded.width - 1):
            value -= 1 << encoded.width
        fields[name] = chance.choice(choices) if choices else value
    return fields


def written(made: Instruction, fields: dict[str, int]) -> set[int]:
    """The numbers of the integer registers that an instruction writes."""
    base, expanded = made.expand(fields)
    return {
        value
        for name, value in expanded.items()
        if base.operands[name].written and (file := base.operands[name].file) is not None and file.name == "x"
    }


class Program:
    """Code in the making: `code` from address `start` on."""

    def __init__(self, seed: int, start: int) -> None:
        self.chance = random.Random(seed)
        self.start = start
        self.code = bytearray()
        self.calls: list[int] = []  # offsets of calls, to be given a target
        self.static = self.chance.random() < 0.3  # rounding modes that are not native
        for register, address in POINTERS.items():
            self.load_address(register, address)
        self.statements(self.chance.randint(10, 60), 0)
        self.emit("ecall")
        self.functions()
        self.code += bytes(2)  # no instruction

    @property
    def pc(self) -> int:
        return self.start + len(self.code)

    def emit(self, name: str, **fields: int) -> None:
        self.code += rv64.encode(name, **fields).to_bytes(rv64.named(name).encoding.size, "little")

    def load_address(self, register: int, address: int) -> None:
        self.emit("lui", rd=register, upper=(address + 0x800) & ~0xFFF)
        low = (address & 0xFFF) - ((address & 0x800) << 1)
        self.emit("addi", rd=register, rs1=register, imm=low)

    def statements(self, budget: int, depth: int) -> None:
        while budget > 0:
            kind = self.chance.random()
            if kind < 0.08 and depth < 3:
                budget -= self.loop(budget // 2, depth)
            elif kind < 0.2 and depth < 3:
                budget -= self.choice(budget // 3, depth)
            elif kind < 0.24:
                self.call()
            elif kind < 0.27:
                self.jump()
            else:
                self.instruction()
            budget -= 1

    def instruction(self) -> None:
        chance, known = self.chance, kinds()
        group = chance.choices((known.pure, known.accesses, known.floats), (5, 4, 4))[0]
        while True:
            made = chance.choice(group)
            fields = random_fields(made, chance)
            fields |= self.registers(made, fields, pointing=group is known.accesses)
            if written(made, fields) & RESERVED or not self.allowed(made, fields):
                continue
            word = made.encoding.encode(**fields)
            table = guest_named("riscv64").decode_table
            found = table.variants[table.find(word, made.encoding.size)].instruction
            if found is made:  # else the fields mean something more specific, or are reserved
                self.code += word.to_bytes(made.encoding.size, "little")
                return

    def registers(self, made: Instruction, fields: dict[str, int], *, pointing: bool) -> dict[str, int]:
        """Few registers, so that values meet; pointers where an access has its base."""
        chance, found = self.chance, {}
        for name in fields:
            operand = made.operands[name]
            if operand.file is None:
                continue
            numbers = range(operand.first, operand.first + (1 << (operand.width or 5)))
            few = [n for n in numbers if n in (0, 10, 11, 12, 13, 14, 15, 16, 28)]
            found[name] = chance.choice(few) - operand.first
            if pointing and name in ("rs1", "rs1c"):
                found[name] = chance.choice([n for n in numbers if n in POINTERS]) - operand.first
        return found

    def allowed(self, made: Instruction, fields: dict[str, int]) -> bool:
        _, expanded = made.expand(fields)
        if made in kinds().accesses:
            offset = expanded.get("imm", 0)
            if expanded.get("rs1") not in POINTERS or not -0x100 <= offset < 0x100:
                return False
            if "aqrl" in expanded and expanded["rs1"] == MISALIGNED and self.chance.random() < 0.9:
                return False
        if expanded.get("csrro") == TIME:
            return False
        if expanded.get("rm", 7) != 7 and not self.static:
            return False
        return not (made.extension == "Zicsr" and self.chance.random() < 0.7)

    def branch(self, skip: int) -> None:
        """A branch over `skip` bytes behind it."""
        chance = self.chance
        while True:
            made = chance.choice(kinds().branches)
            fields = random_fields(made, chance)
            fields |= self.registers(made, fields, pointing=False)
            fields["offset"] = skip + made.encoding.size
            if made.encoding.fields["offset"].why_not(fields["offset"]) is None:
                self.code += made.encoding.encode(**fields).to_bytes(made.encoding.size, "little")
                return

    def inner(self, budget: int, depth: int) -> bytes:
        """The code of statements, taken out again; calls in it find their place later."""
        before, calls = len(self.code), self.calls
        self.calls = []
        self.statements(budget, depth)
        code = bytes(self.code[before:])
        self.inner_calls = [at - before for at in self.calls]
        self.calls = calls
        del self.code[before:]
        return code

    def place(self, code: bytes, calls: list[int]) -> None:
        self.calls += [len(self.code) + at for at in calls]
        self.code += code

    def choice(self, budget: int, depth: int) -> int:
        then = self.inner(budget // 2 + 1, depth + 1)
        then_calls = self.inner_calls
        if self.chance.random() < 0.5:
            self.branch(len(then))
            self.place(then, then_calls)
            return budget
        other = self.inner(budget // 2 + 1, depth + 1)
        other_calls = self.inner_calls
        self.branch(len(then) + 4)
        self.place(then, then_calls)
        self.emit("jal", rd=0, offset=len(other) + 4)
        self.place(other, other_calls)
        return budget

    def loop(self, budget: int, depth: int) -> int:
        counter = COUNTERS[depth]
        self.emit("addi", rd=counter, rs1=0, imm=self.chance.randint(1, 6))
        head = len(self.code)
        self.statements(self.chance.randint(1, max(1, budget)), depth + 1)
        self.emit("addi", rd=counter, rs1=counter, imm=-1)
        self.emit("bne", rs1=counter, rs2=0, offset=head - len(self.code))
        return budget

    def call(self) -> None:
        self.calls.append(len(self.code))
        self.emit("jal", rd=LINK, offset=0)

    def jump(self) -> None:
        """An indirect jump to the next instruction but one."""
        self.emit("auipc", rd=TARGET, upper=0)
        self.emit("jalr", rd=self.chance.choice((0, 10)), rs1=TARGET, imm=12)
        self.emit("addi", rd=10, rs1=10, imm=1)

    def functions(self) -> None:
        """What calls lead to: leaf functions behind the program."""
        starts = []
        for _ in range(self.chance.randint(1, 3)):
            starts.append(len(self.code))
            before = self.calls
            self.calls = []
            for _ in range(self.chance.randint(1, 8)):
                self.instruction()
            self.calls = before
            self.emit("jalr", rd=0, rs1=LINK, imm=0)
        for at in self.calls:
            word = rv64.encode("jal", rd=LINK, offset=self.chance.choice(starts) - at)
            self.code[at : at + 4] = word.to_bytes(4, "little")


SPECIALS = (
    *(sign | value for sign in (0, 1 << 63) for value in (
        0, 1, 0x3FF0000000000000, 0x7FF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0x0010000000000000,
        0x7FEFFFFFFFFFFFFF, 0x4340000000000000, 0x43E0000000000000, 0x3FE0000000000000,
    )),
    *(0xFFFFFFFF00000000 | sign | value for sign in (0, 1 << 31) for value in (
        0, 1, 0x3F800000, 0x7F800000, 0x7FC00000, 0x7F800001, 0x00800000, 0x7F7FFFFF, 0x4F000000, 0x3F000000,
    )),
)  # fmt: skip


def random_value(chance: random.Random) -> int:
    """An integer or the bits of a float."""
    small = chance.getrandbits(64) >> chance.randrange(64)
    return chance.choice((0, 1, -1, small, -small, 1 << chance.randrange(64), *chance.sample(SPECIALS, 4))) & (
        (1 << 64) - 1
    )


def random_state(seed: int) -> tuple[dict[str, int], bytes]:
    """Registers and a page of data."""
    chance = random.Random(f"state {seed}")
    values = {f"{file}{n}": random_value(chance) for file in "xf" for n in range(32) if (file, n) != ("x", 0)}
    values["frm"] = chance.choice((0, 0, 1, 2, 3))  # the others come into force by instructions only
    values["fflags"] = chance.choice((0, 0, 31, chance.getrandbits(5)))
    data = b"".join(random_value(chance).to_bytes(8, "little") for _ in range(PAGE // 8))
    return values, data
