"""Random RISC-V programs: straight code, branches, loops with several entries, calls, indirect and tail jumps, accesses
around the edges of memory, code that changes itself, and instructions that trap.

Programs end because nothing but loops and recursion goes back, and those count down; see roles.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import prod

from vmjit.fuzz.limits import ALL, Limits
from vmjit.fuzz.placement import breaks_at_the_end, in_reach, random_start
from vmjit.fuzz.program import FIRST, Line, Program, Statement, instruction_set, line
from vmjit.fuzz.roles import (
    ALIGNED,
    BAD_TARGET,
    COUNTERS,
    DEPTH,
    EDGES,
    FREE,
    LINKS,
    MISALIGNED,
    POINTERS,
    RESERVED,
    SCRATCH,
    STACK,
    STACK_POINTER,
    STRIDES,
    WALKERS,
    WORD,
    random_registers,
    random_words,
)
from vmjit.fuzz.vocabulary import kinds, numbers, random_fields, written
from vmjit.isa.instruction import Instruction

BASES = (*POINTERS, *WALKERS)  # of accesses
REACH = 0x100  # offsets from pointers
TIME = 0xC01  # the number of the clock, which no two runs agree on
COUNTS = (0xC00, 0xC02)  # cycles and instructions
SYSTEM_CALL, NO_CALL = 17, 2047  # register and number: there is no such call
MOST_ROUNDS = 150  # of all loops around a statement together
COMPARES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
SIZES, LARGE = (5, 10, 20, 40, 80), 600  # statements; large ones do not fit into one region
ROUNDS = (1, 2, 3, 4, 6, 10, 25, 40)
# Bytes that are no instruction: zeros, ones, a longer encoding; JALR, load, store, SLLIW and LR with reserved bits;
# MRET; a write to `cycle`, a read of mstatus; c.addi4spn, c.addiw, c.lui, c.lwsp and c.jr with reserved operands.
ILLEGAL = tuple(
    bytes.fromhex(text)
    for text in (
        "0000", "ffffffff", "1f000000", "67100500", "03700500", "2340a500", "1b150502", "2fa01010",
        "73002030", "731005c0", "f3220030", "0400", "0120", "0165", "0240", "0280",
    )
)  # fmt: skip


def random_program(seed: int, limits: Limits = ALL) -> Program:
    """The program of a seed; the limits have a say in what it is."""
    chance = random.Random(seed)
    code = Writer(chance, limits)
    code.body()
    statements = in_reach(tuple(code.statements))
    start = random_start(chance, sum(len(line.code) for each in statements for line in each.lines))
    if not limits.last and breaks_at_the_end(Program(statements, start=start)):
        start = FIRST
    return Program(
        statements,
        random_registers(chance),
        random_words(chance),
        start=start,
        writable=code.patches,
        hot=chance.randint(1, 6),
        late=chance.random() < (0.7 if code.patches else 0.4),
        precise=chance.random() < 0.5,
    )


@dataclass
class Writer:
    """Statements in the making; `open` are labels that lead forward, and how many statements it is until they stand.

    modes    static rounding modes, which are not native
    status   status registers more often
    faults   instructions that may trap
    patches  code that changes
    width    of reservations, unless they may be mixed
    """

    chance: random.Random
    limits: Limits
    statements: list[Statement] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    rounds: tuple[int, ...] = ()  # of the loops around
    in_function: bool = False
    last: dict[str, int] = field(default_factory=dict)  # the register of each file that was written last

    def __post_init__(self) -> None:
        chance = self.chance
        self.kinds = kinds(self.limits.excluded)
        self.labels = count(1)
        self.links = {f"F{number}": LINKS[number % 2] for number in range(chance.randint(1, 4))}  # of the functions
        self.modes = chance.random() < 0.3
        self.status = chance.random() < 0.15
        self.faults = chance.random() < 0.35
        self.patches = chance.random() < 0.08
        self.width = chance.choice("wd")

    # Parts.

    def body(self) -> None:
        """The program, its end, and the functions behind it."""
        size = LARGE if self.chance.random() < 0.004 else self.chance.choice(SIZES)
        self.run(size, list(self.links))
        self.settle()
        self.end()
        self.in_function = True
        names = list(self.links)
        for number, name in enumerate(names):
            self.function(name, [other for other in names[number + 1 :] if self.links[other] != self.links[name]])

    def end(self) -> None:
        if self.chance.random() < 0.1:
            self.trap()
        self.add(line(self.chance.choice(("ebreak", "c.ebreak"))))

    def function(self, name: str, others: Sequence[str]) -> None:
        """A function that may call those with the other link register behind it, and itself."""
        self.place(name)
        first = self.links[name] == LINKS[0]
        self.run(self.chance.randint(1, 6), others if first else ())
        if self.chance.random() < 0.3:
            self.recurse(name)
        self.settle()
        same = [other for other in self.links if other > name and self.links[other] == self.links[name]]
        if same and self.chance.random() < 0.3:
            self.add(line("jal", self.chance.choice(same), rd=0))  # a tail call
        elif self.chance.random() < 0.5:
            self.add(line("c.jr", rs1=self.links[name]))
        else:
            self.add(line("jalr", rd=0, rs1=self.links[name], imm=0))

    def run(self, budget: int, callees: Sequence[str]) -> None:
        """About as many statements, with calls of these functions."""
        parts: list[tuple[float, Callable[[], None]]] = [
            (70, self.instruction),
            (9, self.branch),
            (4, self.chain),
            (3, self.index),
            (4, self.walk),
            (1, self.beside),
            (0.5, self.frame),
            (1.5, self.sweep),
            (2, self.reserve),
            (1.5, self.jump),
            (1.5, self.select),
            (1 if self.limits.calls else 0, self.ask),
            (4 if callees else 0, lambda: self.call(self.chance.choice(callees))),
            (2 if self.faults else 0, self.trap_sometimes),
            (3 if self.faults and not self.patches else 0, self.edge),
            (6 if self.patches else 0, self.patch),
            (0.05 if self.limits.endless else 0, self.endless),
        ]
        weights = [weight for weight, _ in parts]
        while budget > 0:
            if self.chance.random() < 0.07 and len(self.rounds) < len(COUNTERS):
                budget -= self.loop(budget, callees)
            else:
                self.chance.choices(parts, weights)[0][1]()
                budget -= 1
            self.close_labels()

    def loop(self, budget: int, callees: Sequence[str]) -> int:
        """A loop around statements, entered at its head or in the middle; how many they are."""
        chance, counter = self.chance, COUNTERS[len(self.rounds)]
        rounds = min(max(1, MOST_ROUNDS // prod(self.rounds)), chance.choice(ROUNDS))
        head, size = self.label(), chance.randint(1, min(budget, 12))
        self.add(line("addi", rd=counter, rs1=0, imm=rounds))
        if chance.random() < 0.25:
            self.branch_to(self.forward(size))
        outer, self.rounds = self.rounds, (*self.rounds, rounds)
        self.place(head)
        self.run(size, callees)
        self.again(counter, head)
        self.rounds = outer
        return size

    def again(self, counter: int, head: str) -> None:
        """The way back."""
        self.add(line("addi", rd=counter, rs1=counter, imm=-1))
        if self.chance.random() < 0.7:
            self.add(line("blt", head, rs1=0, rs2=counter))
            return
        leave = self.label()
        self.add(line("bge", leave, rs1=0, rs2=counter))
        self.add(self.straight_jump(head))
        self.place(leave)

    def endless(self) -> None:
        """A loop with no end; it should not come to often."""
        head = self.label()
        self.place(head)
        self.instruction()
        self.add(self.straight_jump(head))

    # Labels.

    def label(self) -> str:
        return f"L{next(self.labels)}"

    def place(self, label: str) -> None:
        self.statements.append(Statement(label=label))

    def add(self, *lines: Line) -> None:
        """A statement."""
        self.statements.append(Statement(lines))

    def forward(self, distance: int) -> str:
        """A label that will stand after as many statements at most."""
        label = self.label()
        self.open[label] = self.chance.randint(1, max(1, distance))
        return label

    def close_labels(self) -> None:
        """One more statement is there."""
        for label in list(self.open):
            self.open[label] -= 1
            if not self.open[label]:
                del self.open[label]
                self.place(label)

    def settle(self) -> None:
        """All labels stand now."""
        for label in self.open:
            self.place(label)
        self.open.clear()

    # Statements.

    def instruction(self) -> None:
        known = self.kinds
        group = self.chance.choices((known.pure, known.accesses, known.floats), (5, 4, 4))[0]
        self.add(self.one_of(group))

    def one_of(self, group: Sequence[Instruction], base: int | None = None, size: int | None = None) -> Line:
        """A random instruction out of a group; `base` is the register it accesses memory through."""
        chance = self.chance
        while True:
            made = chance.choice(group)
            if size is not None and made.encoding.size != size:
                continue
            fields = random_fields(made, chance)
            fields |= self.registers(made, fields)
            if group is self.kinds.accesses:
                self.aim(made, fields, base)
            if self.allowed(made, fields, base):
                found = Line(made.encoding.encode(**fields).to_bytes(made.encoding.size, "little"))
                if found.decoded is not None and found.decoded.instruction is made:
                    self.last |= dict(written(*found.decoded.expand()))
                    return found  # else the fields mean something more specific, or are reserved

    def registers(self, made: Instruction, fields: dict[str, int]) -> dict[str, int]:
        """Few registers, so that values meet, and often the one that was written last."""
        found = {}
        for name in fields:
            operand = made.operands[name]
            if operand.file is not None:
                last = (self.last.get(operand.file.name, 0),)
                often = operand.written or self.chance.random() < 0.65 or not numbers(operand, last)
                found[name] = self.chance.choice(numbers(operand, FREE if often else last)) - operand.first
        return found

    def aim(self, made: Instruction, fields: dict[str, int], base: int | None) -> None:
        """Let an access go through `base`, or a register that points to data."""
        for name in ("rs1", "rs1c"):
            if name in fields:
                operand = made.operands[name]
                bases = BASES if base is None else (base,)
                fields[name] = self.chance.choice(numbers(operand, bases) or (operand.first,)) - operand.first

    def allowed(self, made: Instruction, fields: dict[str, int], base: int | None) -> bool:
        instruction, expanded = made.expand(fields)
        if any(file == "x" and number in RESERVED for file, number in written(instruction, expanded)):
            return False
        if made in self.kinds.accesses and not self.allowed_access(made, expanded, base):
            return False
        if expanded.get("csrro") == TIME or (expanded.get("csrro") in COUNTS and not self.limits.counts):
            return False
        if expanded.get("rm", 7) != 7 and not self.modes:
            return False
        return not (made.extension == "Zicsr" and not self.status and self.chance.random() < 0.7)

    def allowed_access(self, made: Instruction, fields: dict[str, int], base: int | None) -> bool:
        through = fields["rs1"]
        if through not in (BASES if base is None else (base,)):
            return False
        if not -REACH <= fields.get("imm", 0) < REACH:
            return False
        if made.name[:3] in ("lr.", "sc.") and made.name[3] != self.width and not self.limits.mixed:
            return False
        if made.name.startswith("sc.") and through not in ALIGNED and not self.limits.failing:
            return False
        likely_misaligned = "aqrl" in fields and through in (MISALIGNED, SCRATCH, *WALKERS)
        return not likely_misaligned or (self.faults and self.chance.random() < 0.1)

    def chain(self) -> None:
        """Instructions on one register, often the same with another operand: what optimisers put together."""
        chance, register, made = self.chance, self.chance.choice(FREE[1:]), None
        for _ in range(chance.randint(2, 4)):
            if made is None or chance.random() < 0.5:
                made = chance.choice(self.kinds.updates)
            fields = random_fields(made, chance)
            fields |= self.registers(made, fields) | {"rd": register, "rs1": register}
            self.add(Line(made.encoding.encode(**fields).to_bytes(made.encoding.size, "little")))
        if chance.random() < 0.4:
            compare = chance.choice(COMPARES)
            operands = {"rs1": register, "rs2": 0} if chance.random() < 0.7 else {"rs1": 0, "rs2": register}
            self.add(line(compare, self.forward(5), **operands))

    def branch(self) -> None:
        self.branch_to(self.forward(self.chance.choice((3, 8, 20))))

    def branch_to(self, label: str) -> None:
        made = self.chance.choice(self.kinds.branches)
        fields = random_fields(made, self.chance)
        fields |= self.registers(made, fields) | {"offset": 0}
        self.add(Line(made.encoding.encode(**fields).to_bytes(made.encoding.size, "little"), label))

    def straight_jump(self, label: str) -> Line:
        return line("c.j", label) if self.chance.random() < 0.5 else line("jal", label, rd=0)

    def jump(self) -> None:
        """A forward jump, direct or not, that may leave something in a link register."""
        label, kind = self.forward(5), self.chance.random()
        rd = self.chance.choice((0, 0, 10) if self.in_function else (0, 10, *LINKS))
        if kind < 0.3:
            self.add(self.straight_jump(label) if not rd else line("jal", label, rd=rd))
        else:
            self.add(*self.to_register(label, rd))

    def select(self) -> None:
        """An indirect jump to one of two places, as the data says."""
        labels = self.forward(4), self.forward(8)
        compare = line(
            self.chance.choice(COMPARES), rs1=self.chance.choice(FREE), rs2=self.chance.choice(FREE), offset=12
        )
        first, second = (
            (line("lui", label, rd=SCRATCH), line("addi", label, rd=SCRATCH, rs1=SCRATCH)) for label in labels
        )
        self.add(*first, compare, *second, line("jalr", rd=0, rs1=SCRATCH, imm=0))

    def to_register(self, label: str, link: int) -> tuple[Line, ...]:
        """A jump through a register."""
        high = line("lui", label, rd=SCRATCH)
        if self.chance.random() < 0.5:
            return high, line("jalr", label, rd=link, rs1=SCRATCH)
        address = line("addi", label, rd=SCRATCH, rs1=SCRATCH)
        if link == LINKS[0]:
            return high, address, line("c.jalr", rs1=SCRATCH)
        return high, address, line("c.jr", rs1=SCRATCH) if not link else line("jalr", rd=link, rs1=SCRATCH, imm=0)

    def call(self, name: str) -> None:
        link, chance = self.links[name], self.chance
        if chance.random() < 0.2:
            self.add(line("addi", rd=DEPTH, rs1=0, imm=chance.randint(1, 4)))
        self.add(*((line("jal", name, rd=link),) if chance.random() < 0.6 else self.to_register(name, link)))

    def recurse(self, name: str) -> None:
        link, skip = self.links[name], self.label()
        self.add(line("addi", rd=DEPTH, rs1=DEPTH, imm=-1))
        self.add(line("bge", skip, rs1=0, rs2=DEPTH))
        self.add(
            line("sd", rs2=link, rs1=STACK, imm=0),
            line("addi", rd=STACK, rs1=STACK, imm=8),
            line("jal", name, rd=link),
            line("addi", rd=STACK, rs1=STACK, imm=-8),
            line("ld", rd=link, rs1=STACK, imm=0),
        )
        self.place(skip)

    def index(self) -> None:
        """An access at an address that depends on data."""
        chance = self.chance
        index, pointer = chance.choice(FREE), chance.choice((9, MISALIGNED, 2))
        self.add(
            line("andi", rd=SCRATCH, rs1=index, imm=chance.choice((1, 7, 0x78, 0xFF, 0xF8))),
            line("add", rd=SCRATCH, rs1=SCRATCH, rs2=pointer),
            self.one_of(self.kinds.accesses, SCRATCH),
        )

    def walk(self) -> None:
        """A pointer goes on, by small steps that a loop repeats."""
        walker = self.chance.choice(WALKERS)
        self.add(self.step(walker))
        self.add(self.one_of(self.kinds.accesses, walker))

    def step(self, walker: int) -> Line:
        if self.chance.random() < 0.3:
            return line("add", rd=walker, rs1=walker, rs2=self.chance.choice(STRIDES))
        return line("addi", rd=walker, rs1=walker, imm=self.chance.choice((1, 2, 4, 8, 8, 16, 0x40, -1, -4, -8, -24)))

    def beside(self) -> None:
        """An access some strides away from a pointer that goes on."""
        strides = [line("add", rd=SCRATCH, rs1=SCRATCH, rs2=self.chance.choice(STRIDES))] * self.chance.randrange(2)
        self.add(
            line("add", rd=SCRATCH, rs1=self.chance.choice(WALKERS), rs2=self.chance.choice(STRIDES)),
            *strides,
            self.one_of(self.kinds.accesses, SCRATCH),
        )

    def sweep(self) -> None:
        """A loop as compilers make them: it begins with an access and advances the pointer."""
        chance = self.chance
        if len(self.rounds) == len(COUNTERS):
            return
        counter, head, walker = COUNTERS[len(self.rounds)], self.label(), chance.choice(WALKERS)
        rounds = min(max(1, MOST_ROUNDS // prod(self.rounds)), chance.choice(ROUNDS))
        self.add(line("addi", rd=counter, rs1=0, imm=rounds))
        self.place(head)
        if chance.random() < 0.4:
            self.beside()
        for _ in range(chance.randint(1, 3)):
            self.add(self.one_of(self.kinds.accesses, walker))
        if chance.random() < 0.3:
            self.beside()
        if chance.random() < 0.5:
            self.add(self.one_of(self.kinds.pure))
        if chance.random() < 0.2:
            stride = chance.choice(STRIDES)
            self.add(line("slli", rd=stride, rs1=stride, shamt=chance.choice((1, 8, 36, 40))))
        self.add(self.step(walker))
        self.again(counter, head)

    def frame(self) -> None:
        """The stack pointer goes down, and up again."""
        size = 16 * self.chance.randint(1, 8)
        self.add(
            line("c.addi16sp", imm=-size), self.one_of(self.kinds.accesses, STACK_POINTER), line("c.addi16sp", imm=size)
        )

    def reserve(self) -> None:
        """Load-reserved and store-conditional, perhaps until it works."""
        chance, head = self.chance, self.label()
        width = chance.choice("wd") if self.limits.mixed else self.width
        base, failed = chance.choice(ALIGNED), chance.choice(FREE[1:])
        self.place(head)
        self.add(line(f"lr.{width}", rd=chance.choice(FREE), rs1=base, aqrl=chance.randrange(4)))
        if chance.random() < 0.5:
            self.add(self.one_of(self.kinds.pure))
        self.add(
            line(f"sc.{width}", rd=failed, rs2=chance.choice(FREE), rs1=base, aqrl=chance.randrange(4)),
        )
        if chance.random() < 0.4:
            self.add(line("bne", head, rs1=failed, rs2=0))

    def ask(self) -> None:
        """A system call that there is not."""
        self.add(line("addi", rd=SYSTEM_CALL, rs1=0, imm=NO_CALL), line("ecall"))

    def patch(self) -> None:
        """An instruction that is replaced, before it is met or for the next round."""
        label, old = self.label(), self.one_of(self.kinds.pure, size=4)
        new = int.from_bytes(self.one_of(self.kinds.pure, size=4).code, "little", signed=True)
        low = ((new + 0x800) & 0xFFF) - 0x800
        high = ((new - low + (1 << 31)) & 0xFFFFF000) - (1 << 31)
        change = Statement(
            (
                *self.once(),
                line("lui", rd=WORD, upper=high),
                line("addi", rd=WORD, rs1=WORD, imm=low),
                line("lui", label, rd=SCRATCH),
                line("addi", label, rd=SCRATCH, rs1=SCRATCH),
                line("sw", rs2=WORD, rs1=SCRATCH, imm=0),
                Line(instruction_set().named("fence.i").encoding.match.to_bytes(4, "little")),
            )
        )
        target = [Statement(label=label), Statement((old,))]
        self.statements += [change, *target] if self.chance.random() < 0.4 else [*target, change]

    def once(self) -> tuple[Line, ...]:
        """A branch around six instructions in all rounds but one of the loop around, when it is hot by then."""
        if not self.rounds or self.chance.random() < 0.4:
            return ()
        counter = COUNTERS[len(self.rounds) - 1]
        round = line("addi", rd=WORD, rs1=0, imm=self.chance.randint(1, self.rounds[-1]))
        return round, line("bne", rs1=counter, rs2=WORD, offset=28)

    # Traps.

    def trap_sometimes(self) -> None:
        """A trap that a branch leads around, perhaps in most rounds of a loop."""
        label = self.label()
        self.branch_to(label)
        self.trap()
        self.place(label)

    def trap(self) -> None:
        chance = self.chance
        kind = chance.randrange(6)
        if kind == 0:
            self.add(line(chance.choice(("ebreak", "c.ebreak"))))
        elif kind == 1:
            self.add(line("jalr", rd=chance.choice((0, 1, 10)), rs1=BAD_TARGET, imm=0))
        elif kind == 2:
            self.add(self.reserved_mode())
        elif kind == 3 and not self.patches:
            self.edge()
        else:
            self.add(Line(chance.choice(ILLEGAL)))

    def reserved_mode(self) -> Line:
        """A floating-point instruction with a rounding mode that is none."""
        rounding = [made for made in self.kinds.floats if "rm" in made.encoding.fields and made.encoding.size == 4]
        made = self.chance.choice(rounding)
        fields = random_fields(made, self.chance) | {"rm": self.chance.choice((5, 6))}
        return Line(made.encoding.encode(**(fields | self.registers(made, fields))).to_bytes(4, "little"))

    def edge(self) -> None:
        """An access around an address that some may be made at."""
        self.add(self.one_of(self.kinds.accesses, self.chance.choice(EDGES)))
