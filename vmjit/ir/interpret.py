"""The meaning of every IR operation in Python integers: the reference that native code is compared with.

`MEANING` gives each operation as a Python expression; `compile_region` pastes them into one Python function, so that
the reference is readable and still runs some hundred thousand operations a second. Integers are kept unsigned below
2**width, floats as bit patterns. `evaluate` folds constants with the same expressions.
"""

from collections.abc import Callable
from typing import Any, Protocol

from vmjit.ir import softfloat
from vmjit.ir.block import Block, Edge, Region, Value
from vmjit.ir.layout import ADDRESS_BITS, NOT_TRANSLATED, PAGE_BITS, Layout
from vmjit.ir.types import FLOATS, MASK, WIDTH


class Memory(Protocol):
    """What interpreted code needs of guest memory; a fault is raised as an exception and passes through."""

    def load(self, address: int, size: int) -> int: ...

    def store(self, address: int, size: int, value: int) -> None: ...

    def translate(self, address: int, access: str) -> int: ...

    def exchange(self, address: int, size: int, expected: int, new: int) -> bool:
        """Store `new` if `expected` is there, in one step; whether it was."""
        ...


# {0} {1} {2}: operands; {m} {w}: mask and width of the result; {h} {n}: sign bit and width of operand 0
MEANING = {
    "add": "({0} + {1}) & {m}",
    "sub": "({0} - {1}) & {m}",
    "mul": "({0} * {1}) & {m}",
    "udiv": "({0} // {1} if {1} else {m})",
    "urem": "({0} % {1} if {1} else {0})",
    "sdiv": "sdiv({0}, {1}, {w})",
    "srem": "srem({0}, {1}, {w})",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "shl": "({0} << ({1} & {w1})) & {m}",
    "lshr": "{0} >> ({1} & {w1})",
    "ashr": "((({0} ^ {h}) - {h}) >> ({1} & {w1})) & {m}",
    "rotl": "rotl({0}, {1} & {w1}, {w})",
    "rotr": "rotl({0}, -{1} & {w1}, {w})",
    "clz": "{w} - ({0}).bit_length()",
    "ctz": "(({0} & -{0}).bit_length() - 1 if {0} else {w})",
    "ctpop": "({0}).bit_count()",
    "bswap": "int.from_bytes(({0}).to_bytes({w} // 8, 'little'), 'big')",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "slt": "({0} ^ {h}) < ({1} ^ {h})",
    "sge": "({0} ^ {h}) >= ({1} ^ {h})",
    "ult": "{0} < {1}",
    "uge": "{0} >= {1}",
    "select": "({1} if {0} else {2})",
    "sext": "(({0} ^ {h}) - {h}) & {m}",
    "zext": "{0} & {m}",
    "trunc": "{0} & {m}",
    "bitcast": "{0}",
    "fcanon": "({nan} if isnan({n}, {0}) else {0})",
    "in_guest": f"{{0}} < {1 << ADDRESS_BITS}",
    "is_translated": f"{{0}} != {NOT_TRANSLATED}",
}
# ... {rm}: rounding mode; value and flags
FLOAT_MEANING = {
    "fadd": "fadd({w}, {rm}, {0}, {1})",
    "fsub": "fsub({w}, {rm}, {0}, {1})",
    "fmul": "fmul({w}, {rm}, {0}, {1})",
    "fdiv": "fdiv({w}, {rm}, {0}, {1})",
    "fsqrt": "fsqrt({w}, {rm}, {0})",
    "fma": "fma({w}, {rm}, {0}, {1}, {2})",
    "feq": "feq({n}, {0}, {1})",
    "flt": "flt({n}, {0}, {1})",
    "fle": "fle({n}, {0}, {1})",
    "fconvert": "fconvert({n}, {w}, {rm}, {0})",
    "sitofp": "from_int({w}, {rm}, (({0}) ^ {h}) - {h})",
    "uitofp": "from_int({w}, {rm}, {0})",
    "fptosi": "to_int({n}, {rm}, {0}, {w}, True)",
    "fptoui": "to_int({n}, {rm}, {0}, {w}, False)",
}
# ... {z}: size in bytes of the accessed value; {old}: where the old value goes
RMW_MEANING = {
    "atomic_xchg": "{1}",
    "atomic_add": "({old} + {1}) & {m}",
    "atomic_and": "{old} & {1}",
    "atomic_or": "{old} | {1}",
    "atomic_xor": "{old} ^ {1}",
    "atomic_min": "({1} if ({1} ^ {h1}) < ({old} ^ {h1}) else {old})",
    "atomic_max": "({old} if ({1} ^ {h1}) < ({old} ^ {h1}) else {1})",
    "atomic_umin": "min({old}, {1})",
    "atomic_umax": "max({old}, {1})",
}
CANONICAL_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}
ROUNDING = {"rne": 0, "rtz": 1, "rdn": 2, "rup": 3, "rmm": 4}


def _signed(a: int, width: int) -> int:
    return a - (1 << width) if a >> (width - 1) else a


def sdiv(a: int, b: int, width: int) -> int:
    """Signed quotient towards zero; all ones for b = 0; overflow wraps."""
    if b == 0:
        return (1 << width) - 1
    x, y = _signed(a, width), _signed(b, width)
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) & ((1 << width) - 1)


def srem(a: int, b: int, width: int) -> int:
    """Signed remainder with the sign of a; a for b = 0."""
    if b == 0:
        return a
    x, y = _signed(a, width), _signed(b, width)
    remainder = abs(x) % abs(y)
    return (remainder if x >= 0 else -remainder) & ((1 << width) - 1)


def rotl(a: int, amount: int, width: int) -> int:
    """a rotated left by amount < width."""
    return ((a << amount) | (a >> (width - amount))) & ((1 << width) - 1)


class ReservedRounding(Exception):
    """The rounding mode in force is none: what depends on it is an illegal instruction."""


def in_force(mode: int) -> int:
    """The dynamic rounding mode."""
    if mode not in ROUNDING.values():
        raise ReservedRounding
    return mode


def _to_int(width: int, rm: int, a: int, bits: int, signed: bool) -> tuple[int, int]:
    value, flags = softfloat.to_int(width, rm, a, bits, signed)
    return value & ((1 << bits) - 1), flags


NAMES: dict[str, Any] = {
    "sdiv": sdiv,
    "srem": srem,
    "rotl": rotl,
    "isnan": softfloat.is_nan,
    "fadd": softfloat.add,
    "fsub": softfloat.sub,
    "fmul": softfloat.mul,
    "fdiv": softfloat.div,
    "fsqrt": softfloat.sqrt,
    "fma": softfloat.fma,
    "feq": softfloat.eq,
    "flt": softfloat.lt,
    "fle": softfloat.le,
    "fconvert": softfloat.convert,
    "from_int": softfloat.from_int,
    "to_int": _to_int,
    "in_force": in_force,
}


def _substitutions(op: str, result: str | None, operand: str | None, attr: object) -> dict[str, object]:
    known: dict[str, object] = {"old": "old"}
    if result is not None:
        known |= {"m": MASK[result], "w": WIDTH[result], "w1": WIDTH[result] - 1, "z": WIDTH[result] // 8}
        known["h1"] = 1 << (WIDTH[result] - 1)
    if operand is not None:
        known |= {"n": WIDTH[operand], "h": 1 << (WIDTH[operand] - 1)}
        if operand in FLOATS:
            known["nan"] = CANONICAL_NAN[WIDTH[operand]]
    known["rm"] = ROUNDING[attr] if isinstance(attr, str) and attr in ROUNDING else "rounding_mode"
    return known


_folders: dict[tuple[str, str | None, str | None], Callable[..., int]] = {}


def evaluate(op: str, result: str, operand: str | None, args: tuple[int, ...]) -> int:
    """The result of a pure operation on constants; `operand` is the type of operand 0 (1 for select)."""
    key = (op, result, operand)
    folder = _folders.get(key)
    if folder is None:
        names = [f"a{i}" for i in range(len(args))]
        body = MEANING[op].format(*names, **_substitutions(op, result, operand, None))
        folder = _folders[key] = eval(f"lambda {', '.join(names)}: int({body})", NAMES)
    return folder(*args)


Outcome = tuple[str, int, int, str]  # (reason name or "chain", pc, argument, kind of chain)


def compile_region(region: Region, layout: Layout, fields: tuple[str, ...] = ()) -> Callable[..., Outcome]:
    """A Python function f(R, M, pc, *fields) that executes the region.

    R: the state as 64-bit words (a memoryview of format Q), M: a Memory, pc: the guest address (entry of a region
    with several entries, or the instruction's). Returns ("chain", target, 0, kind) or (reason, pc, argument, "").
    """
    source = _Source(region, layout, fields)
    namespace = dict(NAMES)
    exec(compile(source.text(), f"<ir {region.name}>", "exec"), namespace)
    return namespace["run"]  # type: ignore[no-any-return]


class _Source:
    """Writes the Python source of a region."""

    def __init__(self, region: Region, layout: Layout, fields: tuple[str, ...]) -> None:
        self.region = region
        self.layout = layout
        self.fields = fields
        self.names: dict[Value, str] = {}
        self.number = {block: index for index, block in enumerate(region.blocks)}
        self.lines: list[str] = []

    def text(self) -> str:
        single = len(self.region.blocks) == 1 and self.region.blocks[0].end.leaves
        self.lines = [f"def run(R, M, pc{''.join(', f_' + name for name in self.fields)}):"]
        if not single:
            entries = {pc: self.number[block] for pc, block in self.region.entries.items()}
            self.lines += [f"  block = {entries}.get(pc, 0)", "  while True:"]
        for block in self.region.blocks:
            if not single:
                self.lines.append(f"    if block == {self.number[block]}:")
            self.indent = "  " if single else "      "
            for param in block.params:
                self.name(param)
            for value in block.ops:
                self.operation(value)
            self.terminator(block)
        return "\n".join(self.lines) + "\n"

    def emit(self, line: str) -> None:
        self.lines.append(self.indent + line)

    def name(self, value: Value) -> str:
        found = self.names.get(value)
        if found is None:
            found = self.names[value] = str(value.attr) if value.is_const else f"v{len(self.names)}"
        return found

    def operation(self, value: Value) -> None:
        op = value.op.name
        if value.is_const:
            return
        args = [self.name(a) for a in value.args]
        # The type that steers an operation is operand 1's for select and read-modify-write, operand 0's for the rest.
        steering = value.args[1].type if op == "select" else value.args[0].type if value.args else None
        known = _substitutions(op, value.type, steering, value.attr)
        target = self.name(value) if value.type is not None else None
        if op in MEANING:
            self.emit(f"{target} = {MEANING[op].format(*args, **known)}")
        elif op in FLOAT_MEANING:
            flags = self.layout.word(self.layout.flags) if self.layout.flags else None
            if known["rm"] == "rounding_mode" and self.layout.rounding and value.op.attr == "rounding":
                known["rm"] = f"in_force(R[{self.layout.word(self.layout.rounding)}])"
            elif known["rm"] == "rounding_mode":
                known["rm"] = 0
            self.emit(f"{target}, flags = {FLOAT_MEANING[op].format(*args, **known)}")
            if flags is not None:
                self.emit(f"R[{flags}] |= flags")
        elif op in RMW_MEANING:
            self.emit("while True:")
            self.emit(f"  {target} = old = M.load({args[0]}, {known['z']})")
            new = RMW_MEANING[op].format(*args, **known)
            self.emit(f"  if M.exchange({args[0]}, {known['z']}, old, {new}): break")
        else:
            getattr(self, f"op_{op}")(value, target, args)

    def op_load(self, value: Value, target: str, args: list[str]) -> None:
        assert value.type is not None
        self.emit(f"{target} = M.load({args[0]}, {WIDTH[value.type] // 8})")

    op_atomic_load = op_load

    def op_translate(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = M.translate({args[0]}, {value.attr!r})")

    def op_translate_near(self, value: Value, target: str, args: list[str]) -> None:
        a, b, c = args
        size = int(str(value.attr)[-1])
        near = f"(({a} ^ {b}) | (({a} + {size - 1}) ^ {b})) < {1 << PAGE_BITS}"
        self.emit(f"{target} = ({c} + {a} - {b}) & {MASK['i64']} if {near} else M.translate({a}, {value.attr!r})")

    def op_store(self, value: Value, target: None, args: list[str]) -> None:
        type = value.args[1].type
        assert type is not None
        self.emit(f"M.store({args[0]}, {WIDTH[type] // 8}, {args[1]})")

    def op_compare_exchange(self, value: Value, target: str, args: list[str]) -> None:
        type = value.args[1].type
        assert type is not None
        size = WIDTH[type] // 8
        self.emit("while True:")
        self.emit(f"  old = M.load({args[0]}, {size})")
        self.emit(f"  {target} = old == {args[1]}")
        # Also when they differ: memory that may not be written is a fault all the same, as it is for the host.
        self.emit(f"  if M.exchange({args[0]}, {size}, old, {args[2]} if {target} else old): break")

    def op_undefined(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = 0")

    def nothing(self, value: Value, target: str | None, args: list[str]) -> None:
        """Fences and the host's own flags mean nothing here: there is one agent, and flags live in the state."""

    op_fence = op_pause = op_settle = op_clear_host_flags = op_set_rounding = nothing

    def op_host_flags(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = 0")

    def op_get(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = R[{self.layout.word(str(value.attr))}]")

    def op_set(self, value: Value, target: None, args: list[str]) -> None:
        self.emit(f"R[{self.layout.word(str(value.attr))}] = {args[0]}")

    def op_get_at(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = R[{self.layout.bases[str(value.attr)] // 8} + {args[0]}]")

    def op_set_at(self, value: Value, target: None, args: list[str]) -> None:
        self.emit(f"R[{self.layout.bases[str(value.attr)] // 8} + {args[0]}] = {args[1]}")

    def op_field(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = f_{value.attr}")

    def op_pc(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = pc")

    def op_clock(self, value: Value, target: str, args: list[str]) -> None:
        self.emit(f"{target} = M.clock()")

    def enter(self, edge: Edge, indent: str = "") -> None:
        params = [self.name(p) for p in edge.block.params]
        if params:
            self.emit(f"{indent}{', '.join(params)} = {', '.join(self.name(a) for a in edge.args)}")
        self.emit(f"{indent}block = {self.number[edge.block]}; continue")

    def terminator(self, block: Block) -> None:
        end = block.end
        args = [self.name(a) for a in end.args]
        if end.kind == "jump":
            self.enter(end.edges[0])
        elif end.kind == "branch":
            self.emit(f"if {args[0]}:")
            self.enter(end.edges[0], "  ")
            self.enter(end.edges[1])
        elif end.kind == "switch":
            for case, edge in zip(end.cases, end.edges, strict=False):
                self.emit(f"if {args[0]} == {case}:")
                self.enter(edge, "  ")
            self.enter(end.edges[-1])
        elif end.kind == "chain":
            self.emit(f"return ('chain', {args[0]}, 0, {end.attr!r})")
        else:
            self.emit(f"return ({end.attr!r}, {args[0]}, {args[1]}, '')")
