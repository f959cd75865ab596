"""The table of IR operations: the one place that says what exists, its shape and its effects.

`Op.result` is one of
    "same"   the type of the operands (all equal)
    "i1"     a truth value; the type printed is that of the operands
    "given"  the type printed after the dot is the result's; operands are checked by `Op.operands`
    None     no result; the type printed (if any) is that of the last operand
Arithmetic is total: every operation has a result for every operand. Division follows RISC-V (quotient of all ones
and remainder = dividend for a zero divisor; overflow wraps), which costs a host nothing over a checked one.
Shift and rotate amounts are taken modulo the width.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)  # one object for each, which passes look up in sets
class Op:
    """One operation.

    `operands` names the operand types: "a" equal among themselves, "int"/"float" any of the kind, or a type's name.
    """

    name: str
    operands: tuple[str, ...]
    result: str | None
    summary: str
    attr: str | None = None  # what the attribute holds: value, register, field, order, rounding, ...
    reads_memory: bool = False
    writes_memory: bool = False
    reads_state: bool = False
    writes_state: bool = False
    raises_flags: bool = False  # accrues IEEE exceptions, reads the rounding mode
    quiets: bool = False  # arithmetic of IEEE 754: a NaN that it gives is quiet, whichever NaNs it was given

    @property
    def is_pure(self) -> bool:
        """True when the value depends on the operands only and dropping or repeating the operation changes nothing."""
        return not (
            self.reads_memory or self.writes_memory or self.reads_state or self.writes_state or self.raises_flags
        )


AA = ("a", "a")
TICKS = 10_000_000  # of the `clock` operation, in a second


def _binary(name: str, summary: str) -> Op:
    return Op(name, AA, "same", summary)


def _compare(name: str, summary: str) -> Op:
    return Op(name, AA, "i1", summary)


def _float_compare(name: str, summary: str) -> Op:
    return Op(name, ("float", "float"), "i1", summary, raises_flags=True)


def _arithmetic(name: str, operands: int, summary: str) -> Op:
    return Op(name, ("float",) * operands, "same", summary, attr="rounding", raises_flags=True, quiets=True)


def _convert(name: str, operand: str, summary: str, *, quiets: bool = False) -> Op:
    return Op(name, (operand,), "given", summary, attr="rounding", raises_flags=True, quiets=quiets)


def _rmw(kind: str, summary: str) -> Op:
    return Op(f"atomic_{kind}", ("i64", "int"), "given", summary, attr="order", reads_memory=True, writes_memory=True)


_TABLE = (
    Op("param", (), "given", "a parameter of a block, given by each edge that enters it"),
    Op("const", (), "given", "a constant", attr="value"),
    Op("undefined", (), "given", "any value: the register is not read on this path"),
    # integer arithmetic
    _binary("add", "a + b, wrapping"),
    _binary("sub", "a - b, wrapping"),
    _binary("mul", "a * b, wrapping"),
    _binary("udiv", "unsigned quotient; all ones when b is 0"),
    _binary("sdiv", "signed quotient towards zero; -1 when b is 0; wraps on overflow"),
    _binary("urem", "unsigned remainder; a when b is 0"),
    _binary("srem", "signed remainder, sign of a; a when b is 0; 0 on overflow"),
    _binary("and", "bitwise and"),
    _binary("or", "bitwise or"),
    _binary("xor", "bitwise exclusive or"),
    _binary("shl", "shift left by b modulo width"),
    _binary("lshr", "shift right by b modulo width, zeros in"),
    _binary("ashr", "shift right by b modulo width, sign bits in"),
    _binary("rotl", "rotate left by b modulo width"),
    _binary("rotr", "rotate right by b modulo width"),
    Op("clz", ("a",), "same", "leading zero bits; width for 0"),
    Op("ctz", ("a",), "same", "trailing zero bits; width for 0"),
    Op("ctpop", ("a",), "same", "one bits"),
    Op("bswap", ("a",), "same", "bytes reversed"),
    _compare("eq", "a == b"),
    _compare("ne", "a != b"),
    _compare("slt", "signed a < b"),
    _compare("sge", "signed a >= b"),
    _compare("ult", "unsigned a < b"),
    _compare("uge", "unsigned a >= b"),
    Op("select", ("i1", "a", "a"), "same", "b if the condition holds, else c"),
    Op("sext", ("int",), "given", "sign-extend"),
    Op("zext", ("int",), "given", "zero-extend"),
    Op("trunc", ("int",), "given", "low bits"),
    Op("bitcast", ("any",), "given", "same bits, other kind"),
    # floating point: rounding is dynamic (the mode in force), or a mode's name
    _arithmetic("fadd", 2, "a + b"),
    _arithmetic("fsub", 2, "a - b"),
    _arithmetic("fmul", 2, "a * b"),
    _arithmetic("fdiv", 2, "a / b"),
    _arithmetic("fsqrt", 1, "square root"),
    _arithmetic("fma", 3, "a * b + c, rounded once; inf * 0 is invalid whatever c is"),
    _float_compare("feq", "a == b; invalid only for a signalling NaN"),
    _float_compare("flt", "a < b; invalid for any NaN"),
    _float_compare("fle", "a <= b; invalid for any NaN"),
    _convert("fconvert", "float", "to the other float format", quiets=True),
    _convert("sitofp", "int", "from a signed integer"),
    _convert("uitofp", "int", "from an unsigned integer"),
    _convert("fptosi", "float", "to a signed integer, saturating; the maximum for NaN; invalid when out of range"),
    _convert("fptoui", "float", "to an unsigned integer, saturating; the maximum for NaN; invalid when out of range"),
    Op("fcanon", ("float",), "same", "the canonical quiet NaN for any NaN, else a"),
    Op("host_flags", (), "given", "IEEE exceptions accrued by native code, as RISC-V fflags", raises_flags=True),
    Op("clear_host_flags", (), None, "forget them", raises_flags=True),
    Op("set_rounding", ("i64",), None, "make a mode (RISC-V frm 0 to 3) the one in force", raises_flags=True),
    # guest memory: operand 0 is the guest address
    Op("load", ("i64",), "given", "plain load, any alignment", reads_memory=True),
    Op("store", ("i64", "any"), None, "plain store, any alignment", writes_memory=True),
    Op("atomic_load", ("i64",), "given", "naturally aligned atomic load", attr="order", reads_memory=True),
    _rmw("xchg", "old value; memory = b"),
    _rmw("add", "old value; memory += b"),
    _rmw("and", "old value; memory &= b"),
    _rmw("or", "old value; memory |= b"),
    _rmw("xor", "old value; memory ^= b"),
    _rmw("min", "old value; memory = signed min"),
    _rmw("max", "old value; memory = signed max"),
    _rmw("umin", "old value; memory = unsigned min"),
    _rmw("umax", "old value; memory = unsigned max"),
    Op(
        "compare_exchange",
        ("i64", "a", "a"),
        "i1",
        "if memory == b then memory = c; whether it did",
        attr="order",
        reads_memory=True,
        writes_memory=True,
    ),
    Op("fence", (), None, "memory fence", attr="order", reads_memory=True, writes_memory=True),
    Op("pause", (), None, "hint: this hart spins", writes_memory=True),
    Op("in_guest", ("i64",), "i1", "the address lies in guest memory"),
    # a software TLB: loads and stores behind it have an offset in memory as operand 0
    Op("translate", ("i64",), "given", "offset in memory of a virtual address", attr="access", reads_memory=True),
    Op(
        "translate_near",
        ("i64", "i64", "i64"),
        "given",
        "the same, where c is what b, mostly on the same page, was translated to",
        attr="access",
        reads_memory=True,
    ),
    Op("is_translated", ("i64",), "i1", "a translation is one; else only the host can make the access"),
    # guest registers
    Op("get", (), "given", "read a guest register", attr="register", reads_state=True),
    Op("set", ("any",), None, "write a guest register", attr="register", writes_state=True),
    Op("get_at", ("i64",), "given", "read the register of a file by number", attr="file", reads_state=True),
    Op("set_at", ("i64", "any"), None, "write the register of a file by number", attr="file", writes_state=True),
    Op("settle", (), None, "the next access may stop the guest: its registers must be in the state", reads_state=True),
    Op("field", (), "given", "an operand field of the instruction (interpreter handlers)", attr="field"),
    Op("pc", (), "given", "address of the instruction (interpreter handlers)"),
    Op("clock", (), "given", "the host's wall clock, in ticks of 10 MHz", reads_state=True, attr="host"),
)

OPS = {op.name: op for op in _TABLE}

TERMINATORS = {
    "jump": "go to a block",
    "branch": "go to the first block if the condition holds, else to the second; odds: how often of 1000 the first",
    "switch": "go to the block of the equal case, else to the last",
    "chain": "go on at a guest address; the attribute says how it was reached: fall, jump, call, indirect, return",
    "exit": "return to the host: reason, guest pc to go on from, one argument",
}

ORDERS = ("relaxed", "acquire", "release", "acq_rel", "seq_cst")
ROUNDINGS = ("dynamic", "rne", "rtz", "rdn", "rup", "rmm")
ACCESSES = tuple(f"{kind}{size}" for kind in ("read", "write") for size in (1, 2, 4, 8))  # bytes
CHAINS = ("fall", "jump", "call", "indirect", "return")
