"""IR operation -> LLVM text: one template for each operation that needs nothing but its operands.

{r} result name, {t} its LLVM type, {w} its width, {w1} width - 1, {0} {1} {2} operands, {t0} type of operand 0,
{s} {s0} the types' suffixes in intrinsic names. A template may open labels; the text after the last one is where
lowering goes on. Floating point is in floats.py.
"""

from vmjit.ir.layout import ADDRESS_BITS, NOT_TRANSLATED

LLVM_TYPE = {"f32": "float", "f64": "double"}  # all others are spelled as in LLVM


def _plain(name: str) -> str:
    return f"{{r}} = {name} {{t}} {{0}}, {{1}}"


def _compare(predicate: str) -> str:
    return f"{{r}} = icmp {predicate} {{t0}} {{0}}, {{1}}"


def _shift(name: str) -> str:
    return f"{{r}}.n = and {{t}} {{1}}, {{w1}}\n{{r}} = {name} {{t}} {{0}}, {{r}}.n"


def _bits(name: str, extra: str = "") -> str:
    return f"{{r}} = call {{t}} @llvm.{name}.{{t}}({{t}} {{0}}{extra})"


# The divisor 1 stands in where the host would trap; the selects give RISC-V's results.
_DIVISOR = """\
{r}.z = icmp eq {t} {1}, 0
{r}.o = icmp eq {t} {1}, -1
{r}.u = or i1 {r}.z, {r}.o
{r}.d = select i1 {r}.u, {t} 1, {t} {1}
"""

LOWER = {
    "add": _plain("add"),
    "sub": _plain("sub"),
    "mul": _plain("mul"),
    "udiv": """\
{r}.z = icmp eq {t} {1}, 0
{r}.d = select i1 {r}.z, {t} 1, {t} {1}
{r}.q = udiv {t} {0}, {r}.d
{r} = select i1 {r}.z, {t} -1, {t} {r}.q""",
    "urem": """\
{r}.z = icmp eq {t} {1}, 0
{r}.d = select i1 {r}.z, {t} 1, {t} {1}
{r}.q = urem {t} {0}, {r}.d
{r} = select i1 {r}.z, {t} {0}, {t} {r}.q""",
    "sdiv": _DIVISOR
    + """\
{r}.q = sdiv {t} {0}, {r}.d
{r}.m = sub {t} 0, {0}
{r}.p = select i1 {r}.o, {t} {r}.m, {t} {r}.q
{r} = select i1 {r}.z, {t} -1, {t} {r}.p""",
    "srem": _DIVISOR
    + """\
{r}.q = srem {t} {0}, {r}.d
{r} = select i1 {r}.z, {t} {0}, {t} {r}.q""",
    "and": _plain("and"),
    "or": _plain("or"),
    "xor": _plain("xor"),
    "shl": _shift("shl"),
    "lshr": _shift("lshr"),
    "ashr": _shift("ashr"),
    "rotl": "{r} = call {t} @llvm.fshl.{t}({t} {0}, {t} {0}, {t} {1})",
    "rotr": "{r} = call {t} @llvm.fshr.{t}({t} {0}, {t} {0}, {t} {1})",
    "clz": _bits("ctlz", ", i1 false"),
    "ctz": _bits("cttz", ", i1 false"),
    "ctpop": _bits("ctpop"),
    "bswap": _bits("bswap"),
    "eq": _compare("eq"),
    "ne": _compare("ne"),
    "slt": _compare("slt"),
    "sge": _compare("sge"),
    "ult": _compare("ult"),
    "uge": _compare("uge"),
    "select": "{r} = select i1 {0}, {t} {1}, {t} {2}",
    "sext": "{r} = sext {t0} {0} to {t}",
    "zext": "{r} = zext {t0} {0} to {t}",
    "trunc": "{r} = trunc {t0} {0} to {t}",
    "bitcast": "{r} = bitcast {t0} {0} to {t}",
    "is_translated": f"{{r}} = icmp ne {{t0}} {{0}}, {NOT_TRANSLATED}",
    "in_guest": f"{{r}} = icmp ult {{t0}} {{0}}, {1 << ADDRESS_BITS}",
}
