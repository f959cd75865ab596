"""Tier 0 as LLVM text: the decode stub and one handler for each instruction, made from the same description.

The stub lies at offset 0 of the arena, so an empty slot leads to it. It finds the instruction in the decode table,
packs its operands into the slot, stores the handler's offset there and goes on in the handler. Handlers are found
through a table of offsets, one for each variant of the decode table after the first, which is for what is none.
Most programs execute a quarter of all instructions, so the first run of an installation makes those handlers that it
meets: the rest would take twice the time of all else that is done before a program's first instruction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from vmjit.codegen.lower import CONVENTION, PARAMETERS, Handler, Place, lower_handler, lower_operations
from vmjit.codegen.native import why_not_native
from vmjit.codegen.runtime import leave, pc_of_slot, put, runtime, tail, word
from vmjit.codegen.stencil import Hole, lower_stencil, module, taken_field, ways
from vmjit.codegen.tlb import fetched
from vmjit.codegen.walk import refill
from vmjit.debug import Settings
from vmjit.engine.stencils import Source
from vmjit.errors import DescriptionError
from vmjit.ir.block import PARAM, Region, Value
from vmjit.ir.emit import Emitter
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import PAGE_BITS, SLOT_ODDS, SLOT_OPERANDS, SLOT_SIZE, Layout
from vmjit.isa.bits import Bits
from vmjit.isa.cpu import Cpu
from vmjit.isa.decoder import DecodeTable, Variant
from vmjit.isa.encoding import Field
from vmjit.isa.instruction import Instruction
from vmjit.isa.operand import Operand
from vmjit.passes import access, lookup

Structural = tuple[tuple[str, int], ...]
Group = tuple[str, Structural]  # an extension, and the structural fields that its instructions have in common
Fields = tuple[tuple[str, Field], ...]
GUARDS = {"flat": access.run, "tlb": lookup.run}  # by Settings.memory
SMALL = 8  # bits of an operand that is a byte of the slot
LARGE = 32  # bits of the one operand that may be larger


class Served(NamedTuple):
    """What one handler serves: an instruction with its structural fields, in an encoding of some size."""

    instruction: Instruction
    structural: Structural
    size: int


@dataclass(frozen=True)
class Part:
    """LLVM text, and what serves entries of the handler table: its functions, or `emulate`, `illegal` or `missing`."""

    text: str
    handlers: Mapping[int, str]


class Interpreter:
    """Tier 0 of a guest, made in parts: the core, and groups of handlers that a program may do without.

    A group has the handlers of one extension with the same structural fields: so much is needed at once by a program
    that needs anything of it, and so little is made in vain. Entries of the handler table whose group is not there
    lead to code that asks the host for it.
    """

    def __init__(self, table: DecodeTable, layout: Layout, core: Collection[str], settings: Settings) -> None:
        """`core` are the extensions whose handlers are in the core."""
        self.settings = settings
        self.table = table
        self.layout = layout
        self.core_extensions = core
        self.packers: dict[str, int] = {}  # text of a function that packs operands -> its number
        self.packer_of = [0]  # by entry of the handler table
        self.served: list[Served | None] = [None]  # likewise; None: illegal
        known: dict[Fields, str] = {}
        for variant in table.variants:
            served, packer = None, 0
            if not variant.instruction.reserved:
                served, body = _operands(variant, layout, known)
                packer = self.packers.setdefault(body, len(self.packers))
            self.served.append(served)
            self.packer_of.append(packer)
        self.groups = list(dict.fromkeys(key for served in self.served if (key := self._group(served)) is not None))

    def stub(self) -> str:
        """The text of the decode stub, a module of its own: it runs once for each instruction of the guest."""
        packers = (
            f"define internal i64 @pack{number}(i64 %word) nounwind {{\n{body}}}\n"
            for body, number in self.packers.items()
        )
        return "\n".join((_stub(self.table, self.layout, self.packer_of, len(self.packers), self.settings), *packers))

    def core(self) -> Part:
        """What is around guest code, and the handlers that every program needs."""
        texts, handlers = self._handlers(None)
        every = {entry: handlers.get(entry, "missing") for entry in range(len(self.served))}
        translates = (refill(self.layout),) if self.settings.memory == "tlb" else ()
        return Part("\n".join((runtime(self.layout), *translates, *texts)), every)

    def groups_of_entries(self) -> list[int]:
        """For each entry of the handler table 0, or from 1 on the number of the group that it belongs to."""
        numbers = {group: number for number, group in enumerate(self.groups, 1)}
        return [0 if (group := self._group(served)) is None else numbers[group] for served in self.served]

    def group(self, number: int) -> Part:
        """The handlers of a group, counted from 1; IndexError if there is no such group."""
        texts, handlers = self._handlers(self.groups[number - 1])
        return Part("\n".join(texts), handlers)

    def stencils(self, number: int) -> tuple[str, dict[str, Source], set[Hole]]:
        """The module of the stencils of a group, 0 for the core; what each function is of, and the holes they have."""
        wanted = self.groups[number - 1] if number else None
        entries: dict[Served, list[int]] = {}
        for entry, served in enumerate(self.served):
            if served is not None and self._group(served) == wanted:
                entries.setdefault(served, []).append(entry)
        texts: list[str] = []
        sources = {}
        holes: set[Hole] = set()
        for served, its in entries.items():
            traced = _traced(served, self.layout, self.settings)
            if traced is None:
                continue
            region, handler = traced
            accesses = any(
                value.op.reads_memory or value.op.writes_memory for block in region.blocks for value in block.ops
            )
            for way in ways(region):
                name = f"h{len(texts)}"
                text, found = lower_stencil(region, self.layout, name, handler, self.settings.counts_hits, way)
                texts.append(text)
                holes |= found
                sources[name] = Source(tuple(its), way, served.size, handler.places, accesses, taken_field(region))
        return module(texts, holes, self.layout), sources, holes

    def _group(self, served: Served | None) -> Group | None:
        """None for what is in the core."""
        if served is None or served.instruction.extension in self.core_extensions:
            return None
        return served.instruction.extension, served.structural

    def _handlers(self, group: Group | None) -> tuple[list[str], dict[int, str]]:
        """Texts of functions, and which of them serves which entry."""
        names: dict[Served | None, str] = {None: "illegal"}
        texts: list[str] = []
        handlers = {}
        for entry, served in enumerate(self.served):
            if self._group(served) != group:
                continue
            if served is not None and served not in names:
                name = f"h{len(texts)}"
                text = _handler(name, served, self.layout, self.settings)
                names[served] = name if text else "emulate"
                if text:
                    texts.append(text)
            handlers[entry] = names[served]
        return texts, handlers


# Operands.


def places_of(instruction: Instruction) -> dict[str, Place]:
    """Where the slot holds the operands of an instruction: bytes from the start, a larger one in the last four."""
    places: dict[str, Place] = {}
    at, end = SLOT_OPERANDS, SLOT_SIZE
    for name in instruction.parameters:
        if instruction.operands[name].structural is not None:
            continue
        encoded = instruction.encoding.fields[name]
        if encoded.width > LARGE:
            raise DescriptionError(f"{instruction.name}: {name} has {encoded.width} bits, a slot holds {LARGE}")
        if encoded.signed or encoded.width >= SMALL:
            end -= LARGE // 8
            places[name] = Place(end, LARGE, encoded.signed)
        else:
            places[name] = Place(at, SMALL, False)
            at += 1
    if at > end:
        raise DescriptionError(f"{instruction.name}: its operands do not fit into {SLOT_SIZE - SLOT_OPERANDS} bytes")
    return places


def _operands(variant: Variant, layout: Layout, known: dict[Fields, str]) -> tuple[Served, str]:
    """What serves a variant, and the function's body that packs its operands from the word.

    Instructions of the same format share `known` bodies: making them all took longer than all other text of the core.
    """
    made = variant.instruction
    format = tuple((name, encoded) for name, encoded in made.encoding.fields.items() if name in made.parameters)
    if made.of is None and format in known:
        structural = tuple((name, variant.structural[name]) for name in made.parameters if name in variant.structural)
        return Served(made, structural, made.encoding.size), known[format]
    word_value = Value(PARAM, "i64")
    emitter = Emitter(Region("operands"), Region("operands").new_block())
    raw = Bits(emitter, word_value)
    fields: dict[str, Bits | int] = {
        name: variant.structural[name] if name in variant.structural else _extract(raw, encoded)
        for name, encoded in made.encoding.fields.items()
    }
    base, mapped = made.expand(fields)
    packed = raw.like(0)
    for name, place in places_of(base).items():
        value = mapped[name]
        bits = raw.like(value) if isinstance(value, int) else value
        bits = _redirected(bits, base.operands[name]) & ((1 << place.width) - 1)
        packed = packed | (bits << (8 * (place.offset - SLOT_OPERANDS)))
    body = _packer(emitter.block.ops, word_value, packed.value)
    if made.of is None:
        known[format] = body
    structural = tuple((n, v) for n, v in mapped.items() if isinstance(v, int) and _is_structural(base, n))
    return Served(base, structural, made.encoding.size), body


def _extract(raw: Bits, encoded: Field) -> Bits:
    """A field of the word, sign-extended if it is signed."""
    value = raw.like(0)
    for part in encoded.slices:
        value = value | ((raw.lshr(part.position) & ((1 << part.width) - 1)) << part.low)
    if encoded.signed:
        shift = raw.width - encoded.width
        value = (value << shift).ashr(shift)
    return value


def _redirected(number: Bits, operand: Operand) -> Bits:
    """The number of a register to write: the sink instead of the zero register."""
    if not operand.written or operand.file is None or operand.file.sink is None:
        return number
    assert operand.file.zero is not None
    emitter = number.emitter
    is_zero = number == operand.file.zero
    sink = number.like(operand.file.sink)
    return Bits(emitter, emitter.emit("select", "i64", is_zero.value, sink.value, number.value))


def _packer(values: list[Value], word_value: Value, packed: Value) -> str:
    names = {word_value: "%word"}
    text = lower_operations(values, names)
    result = str(packed.attr) if packed.is_const else names[packed]
    return f"{text}ret i64 {result}\n"


def _is_structural(instruction: Instruction, field: str) -> bool:
    return instruction.operands[field].structural is not None


# Handlers.


def _handler(name: str, served: Served, layout: Layout, settings: Settings) -> str:
    """The text of a handler, or nothing when only the reference evaluator can execute the instruction."""
    traced = _traced(served, layout, settings)
    return lower_handler(traced[0], layout, name, traced[1], settings.counts_hits) if traced else ""


def _traced(served: Served, layout: Layout, settings: Settings) -> tuple[Region, Handler] | None:
    """What a handler is lowered from; None if the instruction is not for native code."""
    instruction, structural, size = served
    region = trace_handler(instruction, dict(structural), size, layout)
    if any(why_not_native(value) for block in region.blocks for value in block.ops):
        return None
    places = places_of(instruction)
    branches = _branches(region) and all(
        place.offset + place.width // 8 <= SLOT_ODDS or place.offset >= SLOT_ODDS + 2 for place in places.values()
    )
    return GUARDS[settings.memory](region), Handler(places, size, branches)


def _branches(region: Region) -> bool:
    """Whether an instruction goes on here or there, and so notes which way it goes."""
    return sorted(str(block.end.attr) for block in region.blocks if block.end.leaves) == ["fall", "jump"]


def trace_handler(instruction: Instruction, structural: Mapping[str, int], size: int, layout: Layout) -> Region:
    """The region of an instruction whose fields are read from the slot."""
    region = Region(instruction.name)
    emitter = Emitter(region, region.new_block())
    cpu = Cpu(emitter, layout)
    cpu.pc = cpu.wrap(emitter.emit("pc", "i64"))
    cpu.size = size
    fields = {
        name: structural[name] if name in structural else cpu.wrap(emitter.emit("field", "i64", attr=name))
        for name in instruction.parameters
    }
    assert instruction.semantics is not None
    instruction.semantics(cpu, **fields)
    if not cpu.ended:
        cpu.end_with(cpu.next_pc, "fall")
    for block in region.blocks:
        if block.end.leaves and block.end.args[0] is not cpu.pc.value:  # else it traps and is not done
            emitter.block = block
            emitter.emit("set", None, (cpu.read("instret") + 1).value, attr="instret")
    return region


# The decode stub.


def _stub(table: DecodeTable, layout: Layout, format_of: list[int], formats: int, settings: Settings) -> str:
    """`decode`, the first function of the module, and its tables."""
    parcel_bits = 8 * table.parcel
    is_flat = settings.memory == "flat"
    sizes = "\n".join(_size_case(index, rule, table, layout, is_flat) for index, rule in enumerate(table.lengths))
    cases = " ".join(f"i8 {n}, label %format{n}" for n in range(1, formats))
    packing = "\n".join(
        f"format{n}:\n%packed{n} = call i64 @pack{n}(i64 %word)\nbr label %packed" for n in range(formats)
    )
    packed = ", ".join(f"[ %packed{n}, %format{n} ]" for n in range(formats))
    words = ", ".join(f"[ %word{i}, %fetched{i} ]" for i in range(len(table.lengths)))
    roots = ", ".join(f"[ {table.roots[size]}, %fetched{i} ]" for i, (_, _, size) in enumerate(table.lengths))
    return f"""\
define {CONVENTION} void @decode({PARAMETERS}) nounwind {{
{pc_of_slot("%pc")}
{put(layout, "access_slot", "ptr", "%slot", "d")}
{put(layout, "access_instret", "i64", "%instret", "d")}
{word(layout, "%pages", "pages", "ptr")}
{_require_page("first", "%pc", "read", layout)}
read:
{_fetch("%at", "%pc", table.parcel, layout, is_flat)}
%start = load i{parcel_bits}, ptr %at, align 1
%parcel = zext i{parcel_bits} %start to i64
br label %size0
{sizes}
size{len(table.lengths)}:
br label %none
find:
%word = phi i64 {words}
%root = phi i32 {roots}
%inside = icmp sge i32 %root, 0
br i1 %inside, label %node, label %leaf
node:
%n = phi i32 [ %root, %find ], [ %child, %node ]
%n.w = zext i32 %n to i64
%shift.p = getelementptr i32, ptr @nodes, i64 %n.w
%shift = load i32, ptr %shift.p, align 4
%width.p = getelementptr i8, ptr %shift.p, i64 4
%width = load i32, ptr %width.p, align 4
%shift.w = zext i32 %shift to i64
%width.w = zext i32 %width to i64
%bits = lshr i64 %word, %shift.w
%span = shl i64 1, %width.w
%mask = sub i64 %span, 1
%which = and i64 %bits, %mask
%child.p = getelementptr i32, ptr %width.p, i64 %which
%child.q = getelementptr i8, ptr %child.p, i64 4
%child = load i32, ptr %child.q, align 4
%more = icmp sge i32 %child, 0
br i1 %more, label %node, label %leaf
leaf:
%ended = phi i32 [ %root, %find ], [ %child, %node ]
%row.first = xor i32 %ended, -1
br label %row
row:
%row.n = phi i32 [ %row.first, %leaf ], [ %row.next, %row.other ]
%row.w = zext i32 %row.n to i64
%row.mask.p = getelementptr i32, ptr @masks, i64 %row.w
%row.mask.i = load i32, ptr %row.mask.p, align 4
%row.mask = zext i32 %row.mask.i to i64
%row.match.p = getelementptr i32, ptr @matches, i64 %row.w
%row.match.i = load i32, ptr %row.match.p, align 4
%row.match = zext i32 %row.match.i to i64
%row.bits = and i64 %word, %row.mask
%row.same = icmp eq i64 %row.bits, %row.match
%row.next = add i32 %row.n, 1
br i1 %row.same, label %found, label %row.other
row.other:
br label %row
found:
%variant.p = getelementptr i16, ptr @variants, i64 %row.w
%variant = load i16, ptr %variant.p, align 2
%number = zext i16 %variant to i64
%legal = icmp ne i16 %variant, 0
br i1 %legal, label %pack, label %none.found
none.found:
br label %none
none:
%bad = phi i64 [ %word, %none.found ], [ %parcel, %size{len(table.lengths)} ]
br label %store
pack:
%format.p = getelementptr i8, ptr @formats, i64 %number
%format = load i8, ptr %format.p, align 1
switch i8 %format, label %format0 [ {cases} ]
{packing}
packed:
%fields = phi i64 {packed}
br label %store
store:
%operands = phi i64 [ %fields, %packed ], [ %bad, %none ]
%handler = phi i64 [ %number, %packed ], [ 0, %none ]
{put(layout, "arg", "i64", "%handler", "m")}
{word(layout, "%handlers", "handlers", "ptr")}
%handler.p = getelementptr i64, ptr %handlers, i64 %handler
%offset = load i64, ptr %handler.p, align 8
%operands.p = getelementptr i8, ptr %slot, i64 {SLOT_OPERANDS}
store i64 %operands, ptr %operands.p, align 8
store atomic volatile i64 %offset, ptr %slot release, align 8
{tail("%slot", "go")}
}}
{_array("nodes", "i32", table.nodes)}
{_array("masks", "i32", [row.mask for row in table.rows])}
{_array("matches", "i32", [row.match for row in table.rows])}
{_array("variants", "i16", [row.variant + 1 for row in table.rows])}
{_array("formats", "i8", format_of)}"""


def _require_page(tag: str, address: str, then: str, layout: Layout) -> str:
    """Go on at label `then` if instructions may be decoded from the page of an address, else return to the host."""
    return f"""\
%{tag}.n = lshr i64 {address}, {PAGE_BITS}
%{tag}.p = getelementptr i8, ptr %pages, i64 %{tag}.n
%{tag}.b = load volatile i8, ptr %{tag}.p, align 1
%{tag}.ok = icmp ne i8 %{tag}.b, 0
br i1 %{tag}.ok, label %{then}, label %{tag}.undecoded
{tag}.undecoded:
{leave(layout, ExitReason.UNDECODED, "%pc", address, tag)}"""


def _fetch(result: str, address: str, size: int, layout: Layout, is_flat: bool) -> str:
    """Text that computes where code lies; without a TLB the host's protection is enough."""
    if is_flat:
        return f"{result} = getelementptr i8, ptr %memory, i64 {address}"
    tag = result.removeprefix("%")
    return f"""\
{fetched(f"{result}.there", address, size, layout)}
br i1 {result}.there.ok, label %{tag}.mapped, label %{tag}.unmapped
{tag}.unmapped:
{leave(layout, ExitReason.UNDECODED, "%pc", address, f"{tag}.u")}
{tag}.mapped:
{result} = getelementptr i8, ptr %memory, i64 {result}.there"""


def _size_case(index: int, rule: tuple[int, int, int], table: DecodeTable, layout: Layout, is_flat: bool) -> str:
    mask, match, size = rule
    load = f"""\
%raw{index} = load i{8 * size}, ptr %at, align 1
%word{index} = zext i{8 * size} %raw{index} to i64"""
    reach = f"br label %fetch{index}"
    if size > table.parcel:
        reach = f"""\
%end{index} = add i64 %pc, {size - table.parcel}
{_require_page(f"last{index}", f"%end{index}", f"fetch{index}", layout)}"""
        if not is_flat:  # the rest may lie on a page that is elsewhere
            rest = 8 * (size - table.parcel)
            load = f"""\
{_fetch(f"%rest{index}", f"%end{index}", size - table.parcel, layout, is_flat)}
%high{index}.s = load i{rest}, ptr %rest{index}, align 1
%high{index} = zext i{rest} %high{index}.s to i64
%shifted{index} = shl i64 %high{index}, {8 * table.parcel}
%word{index} = or i64 %parcel, %shifted{index}"""
    return f"""\
size{index}:
%low{index} = and i64 %parcel, {mask}
%is{index} = icmp eq i64 %low{index}, {match}
br i1 %is{index}, label %reach{index}, label %size{index + 1}
reach{index}:
{reach}
fetch{index}:
{load}
br label %fetched{index}
fetched{index}:
br label %find"""


def _array(name: str, type: str, values: list[int]) -> str:
    items = ", ".join(f"{type} {value}" for value in values or [0])
    return f"@{name} = internal constant [{max(1, len(values))} x {type}] [ {items} ]"
