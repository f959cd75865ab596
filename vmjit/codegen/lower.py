"""Region -> the LLVM text of one native function.

All native code that runs a guest has one signature and is chained by tail calls: the slot of the instruction it starts
at, the state, guest memory, the slots, the code arena, and the count of retired instructions. Registers are words of
the state; the count stays in its argument until code leaves. Guest memory is accessed by volatile operations, so no
access is dropped, doubled or reordered: another thread or a fault may look at it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from vmjit.codegen import floats, host, profile, tlb
from vmjit.codegen.lines import Lines
from vmjit.codegen.operations import LLVM_TYPE, LOWER
from vmjit.ir.address import address_of, translation_of
from vmjit.ir.block import CONST, Block, Edge, Region, Terminator, Value
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import (
    ADDRESS_BITS,
    ENGINE_WORDS,
    INTERPRETER_SIZE,
    SLOT_SCALE,
    SLOT_SIZE,
    WORD,
    Layout,
)
from vmjit.ir.ops import Op
from vmjit.ir.types import FLOATS, WIDTH

PARAMETERS = "ptr %slot, ptr noalias %state, ptr %memory, ptr %slots, ptr %code, i64 %instret"
CONVENTION = "preserve_nonecc"  # all registers of the host carry arguments, none is saved
ORDER = {"relaxed": "monotonic", "seq_cst": "seq_cst", "acquire": "acquire", "release": "release", "acq_rel": "acq_rel"}
# What a failed exchange may be ordered by: LLVM knows no release for a load.
FAILURE_ORDER = {"release": "monotonic", "acq_rel": "acquire"}
ATOMIC_PREFIX = "atomic_"
CHAIN = "chain"  # in place of a word of the state: what exits share goes on through the slot
NARROWING = ("sext", "zext", "trunc", "bitcast", "and", "lshr", "ashr")  # a host may load just what is left
DEEPEST = 3  # such operations, and shifts to the left, that follow each other
PROFILE_COLD = ', !prof !{!"branch_weights", i32 1, i32 1000}'
PROFILE_HOT = ', !prof !{!"branch_weights", i32 1000, i32 1}'
SLOT_SHIFT = SLOT_SCALE.bit_length() - 1


@dataclass(frozen=True)
class Place:
    """Where an operand field of an instruction lies in its slot: byte offset, width in bits, sign."""

    offset: int
    width: int
    signed: bool


@dataclass(frozen=True)
class Handler:
    """What makes a function the interpreter handler of one instruction: where its fields are, its size in bytes, and
    whether it notes which way it goes.
    """

    places: dict[str, Place]
    size: int
    branches: bool = False


def lower_region(region: Region, layout: Layout, name: str = "region", counts: bool = False) -> str:
    """The LLVM module of a compiled region; memory accesses have line numbers, see Lines. `counts`: TLB hits too."""
    lines = Lines(region.pc)
    text = Lowering(region, layout, name, None, lines, counts).text()
    return text + lines.metadata(name)


def lower_handler(region: Region, layout: Layout, name: str, handler: Handler, counts: bool = False) -> str:
    """The function of an interpreter handler."""
    return Lowering(region, layout, name, handler, None, counts).text()


def lower_operations(values: list[Value], names: dict[Value, str]) -> str:
    """The text of pure operations alone; `names` has the operands that come from outside and gets all results."""
    lowering = Lowering(Region("operations"), Layout(()), "operations", None, None)
    lowering.names = names
    for value in values:
        lowering.operation(value)
    return "\n".join(lowering.lines) + "\n"


Stored = tuple[str, str]  # a register, and the type of what is stored there


@dataclass(frozen=True)
class Way:
    """A way to code that exits share: where from, the slot to go on at, what goes in place of the arena (the reason for
    the host), the count of instructions, and the values of registers.
    """

    label: str
    slot: str
    code: str
    instret: str
    values: tuple[Value, ...]


class Lowering:
    """Writes one function."""

    parameters = PARAMETERS
    attributes = "nounwind"  # of the function

    def __init__(
        self,
        region: Region,
        layout: Layout,
        name: str,
        handler: Handler | None,
        lines: Lines | None,
        counts: bool = False,
    ) -> None:
        self.region = region
        self.layout = layout
        self.name = name
        self.handler = handler
        self.debug = lines
        self.counts = counts
        self.names: dict[Value, str] = {}
        self.lines: list[str] = []
        self.label = ""  # of the LLVM block that lines go to
        self.serial = 0
        self.stored: list[Value] = []  # the `set`s of the block that the code which exits share has to do
        # By the word of the state that code goes on with, and what it stores: its label, the ways to it.
        self.shared: dict[tuple[str, tuple[Stored, ...]], tuple[str, list[Way]]] = {}
        self.location = ""  # of the last access in this block
        self.strict = any(value.op.raises_flags for block in region.blocks for value in block.ops)
        settles = any(value.op.name == "settle" for block in region.blocks for value in block.ops)
        self.set_order = "volatile " if settles else ""  # guest accesses are volatile, and volatile keeps its order

    # The function as a whole.

    def text(self) -> str:
        region = self.region
        attributes = self.attributes
        attributes += " strictfp" if self.strict else ""
        attributes += " !dbg !3" if self.debug is not None else ""
        bodies = {block: self.block(block) for block in region.blocks}
        self.lines = []
        self.label = "enter"
        self.instret = "%instret"
        self.location = ""
        self.prologue()
        parts = [
            f"define {CONVENTION} void @{self.name}({self.parameters}) {attributes} {{\nenter:",
            *self.lines,
        ]
        incoming = self.incoming(bodies)
        for block in self.ordered(region.blocks):
            parts.append(f"{label_of(block)}:")
            parts += self.phis(block, incoming[block])
            parts += bodies[block][0]
        self.lines = []
        self.location = ""
        self.common()
        parts += self.lines
        parts.append("}\n")
        return "\n".join(parts)

    def ordered(self, blocks: list[Block]) -> list[Block]:
        """The order of the text."""
        return blocks

    def prologue(self) -> None:
        """Go to the block that executes from the slot."""
        if self.handler is None:
            self.require_time_first()
        first, entries = self.region.blocks[0], self.region.entries
        if all(block is first for block in entries.values()):
            self.emit(f"br label %{label_of(first)}")
            return
        self.emit("%enter.a = ptrtoint ptr %slot to i64")
        self.emit("%enter.b = ptrtoint ptr %slots to i64")
        self.emit("%enter.c = sub i64 %enter.a, %enter.b")
        cases = " ".join(f"i64 {pc * SLOT_SCALE}, label %{label_of(block)}" for pc, block in entries.items())
        self.emit(f"switch i64 %enter.c, label %{label_of(first)} [ {cases} ]")

    def block(self, block: Block) -> tuple[list[str], str, dict[int, str]]:
        """Lines of a block, the label it ends in, and for edges that need one the label of their own block."""
        self.lines = []
        self.label = label_of(block)
        self.instret = "%instret"
        self.location = ""
        ops = block.ops
        if self.handler is None and _is_shared(block.end):
            first = next((at for at in range(len(ops), 0, -1) if ops[at - 1].op.name != "set"), 0)
            ops, self.stored = ops[:first], ops[first:]
        translation = translation_of(block)
        if translation is not None:
            ops = [value for value in ops if value is not translation and value is not block.end.args[0]]
        for value in ops:
            self.operation(value)
        own = self.terminator(block.end) if translation is None else self.translate_or(translation, block.end)
        self.stored = []
        return self.lines, self.label, own

    def incoming(
        self, bodies: dict[Block, tuple[list[str], str, dict[int, str]]]
    ) -> dict[Block, list[tuple[str, Edge]]]:
        found: dict[Block, list[tuple[str, Edge]]] = {block: [] for block in self.region.blocks}
        for block, (_, label, own) in bodies.items():
            for index, edge in enumerate(block.end.edges):
                found[edge.block].append((own.get(index, label), edge))
        return found

    def phis(self, block: Block, incoming: list[tuple[str, Edge]]) -> Iterator[str]:
        use = self.use
        for index, param in enumerate(block.params):
            pairs = ", ".join([f"[ {use(edge.args[index])}, %{label} ]" for label, edge in incoming])
            yield f"{use(param)} = phi {_type(param)} {pairs}"

    # Names and lines.

    def emit(self, text: str) -> None:
        location = self.location
        if location:
            text = text.replace("\n", location + "\n") + location
            if ":" + location in text:  # labels have none
                text = text.replace(":" + location, ":")
        self.lines.append(text)

    def open(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def fresh(self) -> str:
        self.serial += 1
        return f"%t{self.serial}"

    def tag(self) -> str:
        """A prefix for the names of a piece of text."""
        return self.fresh().removeprefix("%")

    def use(self, value: Value) -> str:
        """The text of a value as an operand."""
        name = self.names.get(value)
        if name is None:
            name = self.names[value] = _constant(value) if value.op is CONST else f"%v{len(self.names)}"
        return name

    def word(self, name: str, volatile: bool = False) -> str:
        """The value of a word of the engine."""
        result = self.fresh()
        self.emit(f"{result} = load {'volatile ' if volatile else ''}i64, ptr {self.state(name)}, align 8")
        return result

    def pointer_word(self, name: str) -> str:
        result = self.fresh()
        self.emit(f"{result} = load ptr, ptr {self.state(name)}, align 8")
        return result

    def state(self, name: str) -> str:
        """A pointer to the word of a register or of the engine."""
        result = self.fresh()
        self.emit(f"{result} = getelementptr i8, ptr %state, i64 {self.layout.offsets[name]}")
        return result

    def put(self, name: str, value: str, volatile: bool = False) -> None:
        """Store an i64 into a word."""
        self.emit(f"store {'volatile ' if volatile else ''}i64 {value}, ptr {self.state(name)}, align 8")

    # Operations.

    def operation(self, value: Value) -> None:
        getattr(self, _way(value.op))(value)

    def float(self, value: Value) -> None:
        for line in floats.LOWER[value.op.name](value, self.use(value), [self.use(a) for a in value.args]):
            self.emit(line)
            if line.endswith(":"):
                self.label = line[:-1]

    def template(self, value: Value) -> None:
        name, args = value.op.name, value.args
        result = self.use(value)
        template = _typed(LOWER[name], value.type or "", args[0].type or "")
        self.emit(template.format(*map(self.use, args), r=result))
        if name in NARROWING and _is_loaded(args[0]):
            self.keep(value)

    def op_const(self, value: Value) -> None:
        """Written where it is used."""

    def op_undefined(self, value: Value) -> None:
        self.emit(f"{self.use(value)} = freeze {_type(value)} poison")

    # State.

    def op_get(self, value: Value) -> None:
        register = str(value.attr)
        if register == "instret":
            if value in self.names:  # by a block that comes later in the flow but earlier in the text
                self.emit(f"{self.names[value]} = add i64 {self.instret}, 0")
            else:
                self.names[value] = self.instret
            return
        pointer = self.state(register)
        volatile = "volatile " if register in ENGINE_WORDS else ""
        self.emit(f"{self.use(value)} = load {volatile}{_type(value)}, ptr {pointer}, align 8")

    def op_set(self, value: Value) -> None:
        if value.attr == "instret":
            self.instret = self.use(value.args[0])
            return
        self.store_register(str(value.attr), _type(value.args[0]), self.use(value.args[0]))

    def store_register(self, register: str, type: str, value: str) -> None:
        self.emit(f"store {self.set_order}{type} {value}, ptr {self.state(register)}, align 8")

    def op_settle(self, value: Value) -> None:
        """What it asks for are the `set`s before it."""

    def op_clock(self, value: Value) -> None:
        self.emit(f"{self.use(value)} = call i64 {self.pointer_word('clock')}()")

    def register(self, value: Value) -> str:
        pointer, index = self.fresh(), self.fresh()
        self.emit(f"{index} = getelementptr i64, ptr %state, i64 {self.use(value.args[0])}")
        self.emit(f"{pointer} = getelementptr i8, ptr {index}, i64 {self.layout.bases[str(value.attr)]}")
        return pointer

    def op_get_at(self, value: Value) -> None:
        pointer = self.register(value)
        self.emit(f"{self.use(value)} = load {_type(value)}, ptr {pointer}, align 8")

    def op_set_at(self, value: Value) -> None:
        pointer = self.register(value)
        self.emit(f"store {_type(value.args[1])} {self.use(value.args[1])}, ptr {pointer}, align 8")

    def op_field(self, value: Value) -> None:
        assert self.handler is not None, "fields exist in handlers only"
        place = self.handler.places[str(value.attr)]
        pointer, raw = self.fresh(), self.fresh()
        self.emit(f"{pointer} = getelementptr i8, ptr %slot, i64 {place.offset}")
        self.emit(f"{raw} = load i{place.width}, ptr {pointer}, align 1")
        self.emit(f"{self.use(value)} = {'sext' if place.signed else 'zext'} i{place.width} {raw} to i64")

    def op_pc(self, value: Value) -> None:
        self.emit(f"{self.use(value)} = lshr exact i64 {self.slot_offset('%slot')}, {SLOT_SHIFT}")

    def slot_offset(self, slot: str) -> str:
        a, b, c = self.fresh(), self.fresh(), self.fresh()
        self.emit(f"{a} = ptrtoint ptr {slot} to i64")
        self.emit(f"{b} = ptrtoint ptr %slots to i64")
        self.emit(f"{c} = sub i64 {a}, {b}")
        return c

    # Guest memory.

    def address(self, value: Value) -> str:
        """The host pointer of a memory operation; notes in the state who accesses.

        All up to the next access has the location of this one: LLVM may fold a load into what uses it, but moves none
        beyond another.
        """
        if self.handler is not None:
            self.note_access()
        if self.debug is not None and value.pc is not None:
            self.location = self.debug.attachment(value.pc)
        pointer = self.fresh()
        self.emit(f"{pointer} = getelementptr i8, ptr %memory, i64 {self.use(value.args[0])}")
        return pointer

    def note_access(self) -> None:
        place = self.state("access_slot")
        self.emit(f"store volatile ptr %slot, ptr {place}, align 8")
        self.put("access_instret", self.instret, volatile=True)

    def op_translate(self, value: Value, outside: str | None = None) -> None:
        """Leave to `outside`, if it is given, where there is no translation."""
        address, *near = [self.use(arg) for arg in value.args]
        result, access = self.use(value), str(value.attr)
        if near:
            (root, offset), (other, base) = address_of(value.args[0]), address_of(value.args[1])
            distance = offset - base if root is other else None
            self.emit(tlb.compare(result, address, access, (near[0], near[1]), distance))
        else:
            self.emit(tlb.look_up(result, address, access, self.layout, self.counts))
        self.emit(tlb.refilled(result, address, access, outside, self.layout))
        self.label = f"{result.removeprefix('%')}.done"

    op_translate_near = op_translate

    def translate_or(self, value: Value, end: Terminator) -> dict[int, str]:
        """A translation and the branch on whether there is one, which is known where it was found."""
        then, outside = end.edges
        self.op_translate(value, label_of(outside.block))
        self.emit(f"br label %{label_of(then.block)}")
        return {1: f"{self.label.removesuffix('.done')}.miss"}

    def op_load(self, value: Value) -> None:
        pointer = self.address(value)
        self.emit(f"{self.use(value)} = load volatile {_type(value)}, ptr {pointer}, align 1")
        self.keep(value)

    def keep(self, value: Value) -> None:
        """Use what a region loads, or makes narrower, once more: else LLVM may make the load anew, without its line."""
        if self.debug is not None:
            self.emit(f"call void (...) @llvm.fake.use({_type(value)} {self.use(value)})")

    def op_store(self, value: Value) -> None:
        pointer = self.address(value)
        stored = value.args[1]
        self.emit(f"store volatile {_type(stored)} {self.use(stored)}, ptr {pointer}, align 1")

    def op_atomic_load(self, value: Value) -> None:
        pointer = self.address(value)
        size = WIDTH[value.type or ""] // 8
        order = ORDER[str(value.attr)]
        self.emit(f"{self.use(value)} = load atomic volatile {_type(value)}, ptr {pointer} {order}, align {size}")

    def read_modify_write(self, value: Value) -> None:
        pointer = self.address(value)
        kind = value.op.name.removeprefix(ATOMIC_PREFIX)
        type, operand, size = _type(value.args[1]), self.use(value.args[1]), WIDTH[value.type or ""] // 8
        if self.handler is None:
            # Of an operation that leaves memory as it is LLVM would make a load, which may be made where no store may.
            hidden = self.fresh()
            self.emit(f'{hidden} = call {type} asm "", "=r,0"({type} {operand})')
            operand = hidden
        order = ORDER[str(value.attr)]
        self.emit(
            f"{self.use(value)} = atomicrmw volatile {kind} ptr {pointer}, {type} {operand} {order}, align {size}"
        )

    def op_compare_exchange(self, value: Value) -> None:
        pointer = self.address(value)
        _, expected, new = value.args
        order = ORDER[str(value.attr)]
        failure = FAILURE_ORDER.get(order, order)
        pair, type, size = self.fresh(), _type(expected), WIDTH[expected.type or ""] // 8
        self.emit(
            f"{pair} = cmpxchg volatile ptr {pointer}, {type} {self.use(expected)}, {type} {self.use(new)} "
            f"{order} {failure}, align {size}"
        )
        self.emit(f"{self.use(value)} = extractvalue {{ {type}, i1 }} {pair}, 1")

    def op_fence(self, value: Value) -> None:
        if value.attr != "relaxed":
            self.emit(f"fence {ORDER[str(value.attr)]}")

    def op_pause(self, value: Value) -> None:
        self.emit(host.PAUSE)

    # The floating-point environment of the host.

    def op_host_flags(self, value: Value) -> None:
        control = self.fresh()
        self.emit(host.read_control(control, self.state("scratch")))
        self.emit(host.flags_from_control(self.use(value), control))

    def op_clear_host_flags(self, value: Value) -> None:
        control, cleared, scratch = self.fresh(), self.fresh(), self.state("scratch")
        self.emit(host.read_control(control, scratch))
        self.emit(f"{cleared} = and i32 {control}, {0xFFFFFFFF ^ host.MXCSR_FLAGS}")
        self.emit(host.write_control(cleared, scratch))

    def op_set_rounding(self, value: Value) -> None:
        control, changed, scratch = self.fresh(), self.fresh(), self.state("scratch")
        self.emit(host.read_control(control, scratch))
        self.emit(host.control_with_rounding(changed, control, self.use(value.args[0])))
        self.emit(host.write_control(changed, scratch))

    # Terminators.

    def terminator(self, end: Terminator) -> dict[int, str]:
        """Write it; the labels of edges that got a block of their own, by index."""
        if end.kind == "chain":
            self.chain(end)
            return {}
        if end.kind == "exit":
            self.exit(str(end.attr), self.use(end.args[0]), self.use(end.args[1]))
            return {}
        return self.branch(end)

    def branch(self, end: Terminator) -> dict[int, str]:
        own: dict[int, str] = {}
        labels = []
        seen: set[Block] = set()
        for index, edge in enumerate(end.edges):
            label = label_of(edge.block)
            if edge.block in seen and edge.block.params:
                label = own[index] = f"{self.label}.e{index}"
            seen.add(edge.block)
            labels.append(label)
        if end.kind == "jump":
            self.emit(f"br label %{labels[0]}")
        elif end.kind == "branch":
            weights = _weights(end)
            self.emit(f"br i1 {self.use(end.args[0])}, label %{labels[0]}, label %{labels[1]}{weights}")
        else:
            type = _type(end.args[0])
            cases = " ".join(f"{type} {case}, label %{label}" for case, label in zip(end.cases, labels, strict=False))
            self.emit(f"switch {type} {self.use(end.args[0])}, label %{labels[-1]} [ {cases} ]")
        last = self.label
        for index, label in own.items():
            self.emit(f"{label}:\nbr label %{label_of(end.edges[index].block)}")
        self.label = last
        return own

    def exit(self, reason: str, pc: str, argument: str) -> None:
        """Return to the host."""
        if reason == "syscall" and argument == "0":
            if self.handler is None:
                self.leave("trap", self.slot_at(pc), "%code")
            else:
                self.go(self.pointer_word("trap"), self.slot_at(pc))
            return
        if self.handler is None and argument == "0" and pc.isdigit() and int(pc) < 1 << ADDRESS_BITS:
            self.leave("leave", self.slot_at(pc), _code_for(reason))
            return
        self.put("pc", pc)
        self.put("reason", str(int(ExitReason[reason.upper()])))
        self.put("arg", argument)
        self.put("instret", self.instret)
        self.emit("ret void")

    def leave(self, word: str, slot: str, code: str) -> None:
        """Leave by the code that a word of the state leads to, or through the slot, in a block for all exits that store
        the same registers. Half of a region would be stores, for it has many exits, and most of them store the same.
        """
        stored = []
        for value in self.stored:
            if value.attr == "instret":
                self.op_set(value)
            else:
                stored.append(value)
        key = (word, tuple([(str(value.attr), _type(value.args[0])) for value in stored]))
        way = Way(self.label, slot, code, self.instret, tuple([value.args[0] for value in stored]))
        label, ways = self.shared.setdefault(key, (f"leave.{len(self.shared)}", []))
        ways.append(way)
        self.emit(f"br label %{label}")

    def common(self) -> None:
        """What exits share; chains first, for they add ways to the rest."""
        for is_chain in (True, False):
            for key in [key for key in self.shared if (key[0] == CHAIN) is is_chain]:
                self.leave_together(*key, *self.shared[key])

    def leave_together(self, word: str, stored: tuple[Stored, ...], label: str, ways: list[Way]) -> None:
        self.open(label)
        slot, code, self.instret = f"%{label}.slot", f"%{label}.code", f"%{label}.instret"
        self.phi(slot, "ptr", [(way.slot, way.label) for way in ways])
        self.phi(code, "ptr", [(way.code, way.label) for way in ways])
        self.phi(self.instret, "i64", [(way.instret, way.label) for way in ways])
        for index, (register, type) in enumerate(stored):
            self.phi(f"%{label}.{register}", type, [(self.use(way.values[index]), way.label) for way in ways])
        for register, type in stored:
            self.store_register(register, type, f"%{label}.{register}")
        if word == CHAIN:
            self.stored = []
            self.leave_region(slot, self.offset(slot))
        else:
            self.go(self.pointer_word(word), slot, code)

    def phi(self, name: str, type: str, pairs: list[tuple[str, str]]) -> None:
        self.emit(f"{name} = phi {type} " + ", ".join(f"[ {value}, %{label} ]" for value, label in pairs))

    def chain(self, end: Terminator) -> None:
        """Go on at a guest address through its slot."""
        target, kind = end.args[0], end.attr
        if self.handler is not None and self.handler.branches:
            self.note_way(kind != "fall")
        if self.handler is not None and kind == "fall":
            slot = self.fresh()
            self.emit(f"{slot} = getelementptr i8, ptr %slot, i64 {self.handler.size * SLOT_SCALE}")
            self.fall(slot)
            return
        pc = self.use(target)
        if not target.is_const:
            self.require_address(pc)
        elif not _may_hold_code(target):
            self.exit("fetch", pc, "0")
            return
        if kind != "fall" and self.handler is not None:
            self.require_time(pc)
        slot = self.slot_at(pc)
        if self.handler is None and target.is_const:
            self.leave(CHAIN, slot, "%code")
            return
        offset = self.offset(slot)
        if self.handler is not None:
            if kind in profile.NOTED:
                self.emit(profile.note("%slot", slot, self.tag()))
            self.count(pc, slot, offset)
            self.tail(slot, offset, "%code")
        else:
            self.leave_region(slot, offset)

    def note_way(self, taken: bool) -> None:
        self.emit(profile.odds("%slot", taken, self.tag()))

    def fall(self, slot: str) -> None:
        """From a handler go on in the one of the next instruction."""
        self.tail(slot, self.offset(slot), "%code")

    def slot_at(self, pc: str) -> str:
        """The slot of an address, a number or a name."""
        if pc.isdigit():
            offset = str(int(pc) * SLOT_SCALE)
        else:
            offset = self.fresh()
            self.emit(f"{offset} = shl i64 {pc}, {SLOT_SHIFT}")
        slot = self.fresh()
        self.emit(f"{slot} = getelementptr i8, ptr %slots, i64 {offset}")
        return slot

    def offset(self, slot: str) -> str:
        """The code of a slot, as an offset in the arena."""
        result = self.fresh()
        self.emit(f"{result} = load volatile i64, ptr {slot}, align 8")
        return result

    def tail(self, slot: str, offset: str, code: str) -> None:
        target = self.fresh()
        self.emit(f"{target} = getelementptr i8, ptr {code}, i64 {offset}")
        self.go(target, slot)

    def go(self, target: str, slot: str, code: str = "%code") -> None:
        self.emit(
            f"musttail call {CONVENTION} void {target}(ptr {slot}, ptr %state, ptr %memory, ptr %slots, "
            f"ptr {code}, i64 {self.instret})\nret void"
        )

    def require_address(self, pc: str) -> None:
        """Exit unless code can lie there: in guest memory and even, as one comparison of the rotated address tells."""
        rotated, fits = self.fresh(), self.fresh()
        bad, good = self.labels("fetch", "reach")
        self.emit(f"{rotated} = call i64 @llvm.fshr.i64(i64 {pc}, i64 {pc}, i64 1)")
        self.emit(f"{fits} = icmp ult i64 {rotated}, {1 << (ADDRESS_BITS - 1)}")
        self.emit(f"br i1 {fits}, label %{good}, label %{bad}{PROFILE_HOT}")
        self.open(bad)
        self.exit("fetch", pc, "0")
        self.open(good)

    def require_time_first(self) -> None:
        """Exit before anything when the instruction limit is reached: regions that jump here do not look."""
        limit, early = self.word("limit", volatile=True), self.fresh()
        self.emit(f"{early} = icmp ult i64 %instret, {limit}")
        self.emit(f"br i1 {early}, label %start, label %late{PROFILE_HOT}")
        self.open("late")
        self.leave("leave", "%slot", _code_for("limit"))
        self.open("start")

    def require_time(self, pc: str) -> None:
        """Exit when the instruction limit is reached."""
        limit, early = self.word("limit", volatile=True), self.fresh()
        stop, going = self.labels("stop", "going")
        self.emit(f"{early} = icmp ult i64 {self.instret}, {limit}")
        self.emit(f"br i1 {early}, label %{going}, label %{stop}{PROFILE_HOT}")
        self.open(stop)
        self.exit("limit", pc, "0")
        self.open(going)

    def count(self, pc: str, slot: str, offset: str) -> None:
        """Count a jump to interpreted code; exit when its counter has run over. See heat()."""
        cold = self.fresh()
        counting, hot, leaving = self.labels("count", "hot", "leave")
        self.emit(f"{cold} = icmp ult i64 {offset}, {INTERPRETER_SIZE}")
        self.emit(f"br i1 {cold}, label %{counting}, label %{leaving}")
        self.open(counting)
        text, full = profile.count(slot, self.tag())
        self.emit(text)
        self.emit(f"br i1 {full}, label %{hot}, label %{leaving}{PROFILE_COLD}")
        self.open(hot)
        self.exit("hot", pc, "0")
        self.open(leaving)

    def leave_region(self, slot: str, offset: str) -> None:
        """Go on in another region, or by the stub that counts jumps to interpreted code."""
        cold = self.fresh()
        (leaving,) = self.labels("leave")
        self.emit(f"{cold} = icmp ult i64 {offset}, {INTERPRETER_SIZE}")
        (stub,) = self.labels("cold")
        self.emit(f"br i1 {cold}, label %{stub}, label %{leaving}{PROFILE_COLD}")
        self.open(stub)
        self.leave("cold", slot, "%code")
        self.open(leaving)
        self.tail(slot, offset, "%code")

    def labels(self, *names: str) -> list[str]:
        self.serial += 1
        return [f"{name}{self.serial}" for name in names]


def _is_shared(end: Terminator) -> bool:
    """Whether a block leaves by code that exits share."""
    if end.kind == "chain":
        return end.args[0].is_const and _may_hold_code(end.args[0])
    if end.kind != "exit" or not all(arg.is_const for arg in end.args):
        return False
    pc, argument = [int(arg.attr or 0) for arg in end.args]
    return pc < 1 << ADDRESS_BITS and argument == 0


def _code_for(reason: str) -> str:
    """What the code that `leave` leads to gets in place of the arena."""
    return f"inttoptr (i64 {int(ExitReason[reason.upper()])} to ptr)"


@cache
def _way(op: Op) -> str:
    """The method that writes an operation."""
    if op.name in LOWER:
        return "template"
    if op.name in floats.LOWER:
        return "float"
    if op.name.startswith(ATOMIC_PREFIX) and op.writes_memory:
        return "read_modify_write"
    return f"op_{op.name}"


@cache
def _typed(template: str, result: str, operand: str) -> str:
    """A template with all about types filled in: {r} and the operands are left."""
    width = WIDTH[result]
    return template.format(
        *("{0}", "{1}", "{2}"),
        **{"r": "{r}", "t": LLVM_TYPE.get(result, result), "w": width, "w1": width - 1, "s": result},
        **{"t0": LLVM_TYPE.get(operand, operand), "s0": operand},
    )


def _is_loaded(value: Value) -> bool:
    """Whether a value is some of the bits of one from memory."""
    for _ in range(DEEPEST):
        if value.op.name not in NARROWING and value.op.name != "shl":
            break
        value = value.args[0]
    return value.op.name == "load"


def label_of(block: Block) -> str:
    """Labels and values share one name space in LLVM."""
    return f"b.{block.name}"


def _type(value: Value) -> str:
    assert value.type is not None, f"{value.op.name} has no result"
    return LLVM_TYPE.get(value.type, value.type)


def _constant(value: Value) -> str:
    """A constant as LLVM writes it; floats as the bits of a double."""
    assert isinstance(value.attr, int)
    if value.type == "i1":
        return "true" if value.attr else "false"
    if value.type in FLOATS:
        return floats.constant(value.type, value.attr)
    return str(value.attr)


def _may_hold_code(target: Value) -> bool:
    """Whether a known address has a slot."""
    assert isinstance(target.attr, int)
    return target.attr < 1 << ADDRESS_BITS and target.attr * SLOT_SCALE % SLOT_SIZE == 0


def _weights(end: Terminator) -> str:
    """Branch weights: as the interpreter saw it go, or when one side only leaves the region by an exit."""
    if end.attr is not None:
        return f', !prof !{{!"branch_weights", i32 {end.attr}, i32 {1000 - int(end.attr)}}}'
    leaves = [edge.block.end.kind == "exit" for edge in end.edges]
    if leaves == [True, False]:
        return PROFILE_COLD
    return PROFILE_HOT if leaves == [False, True] else ""


__all__ = [
    "CONVENTION",
    "PARAMETERS",
    "WORD",
    "Handler",
    "Lowering",
    "Place",
    "label_of",
    "lower_handler",
    "lower_operations",
    "lower_region",
]
