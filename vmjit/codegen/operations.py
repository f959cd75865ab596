"""IR operation -> LLVM text: one template for each operation that needs nothing but its operands.

{r} result name, {t} its LLVM type, {w} its width, {w1} width - 1, {0} {1} {2} operands, {t0} type of operand 0,
{s} {s0} the types' suffixes in intrinsic names. A template may open labels; the text after the last one is where
lowering goes on. Floating point uses strict constrained intrinsics: the rounding mode and the sticky exceptions are
the host's own while guest code runs.
"""

LLVM_TYPE = {"f32": "float", "f64": "double"}  # all others are spelled as in LLVM

_STRICT = 'metadata !"fpexcept.strict") strictfp'
_ROUNDED = 'metadata !"round.dynamic", ' + _STRICT
_CONSTRAINED = "@llvm.experimental.constrained"


def _plain(name: str) -> str:
    return f"{{r}} = {name} {{t}} {{0}}, {{1}}"


def _compare(predicate: str) -> str:
    return f"{{r}} = icmp {predicate} {{t0}} {{0}}, {{1}}"


def _shift(name: str) -> str:
    return f"{{r}}.n = and {{t}} {{1}}, {{w1}}\n{{r}} = {name} {{t}} {{0}}, {{r}}.n"


def _bits(name: str, extra: str = "") -> str:
    return f"{{r}} = call {{t}} @llvm.{name}.{{t}}({{t}} {{0}}{extra})"


def _arithmetic(name: str, operands: int) -> str:
    args = ", ".join(f"{{t}} {{{i}}}" for i in range(operands))
    return f"{{r}} = call {{t}} {_CONSTRAINED}.{name}.{{s}}({args}, {_ROUNDED}"


def _float_compare(intrinsic: str, predicate: str) -> str:
    call = f"call i1 {_CONSTRAINED}.{intrinsic}.{{s0}}({{t0}} {{0}}, {{t0}} {{1}}, "
    return f'{{r}} = {call}metadata !"{predicate}", {_STRICT}'


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
    "undefined": "{r} = freeze {t} poison",
    "feq": _float_compare("fcmp", "oeq"),
    "flt": _float_compare("fcmps", "olt"),
    "fle": _float_compare("fcmps", "ole"),
    "fcanon": f"""\
{{r}}.n = call i1 {_CONSTRAINED}.fcmp.{{s}}({{t}} {{0}}, {{t}} {{0}}, metadata !"uno", {_STRICT}
{{r}} = select i1 {{r}}.n, {{t}} 0x7FF8000000000000, {{t}} {{0}}""",
    "fence": "fence {order}",
}

# Operations that depend on the rounding attribute: (name, rounding, type of operand 0, type of result) is looked up
# with None as a wildcard from the right. What is not found has no native form: the reference evaluator executes it.
_INFINITY = "0x7FF0000000000000"


def _narrow_to_f32(text: str) -> str:
    return text


# inf * 0 + quiet NaN must raise invalid, which the host's fused multiply-add does not do: when the addend is a NaN,
# multiply the operands' classes (0, 1 or inf stand for them), which raises it exactly for inf * 0.
_FMA = (
    _arithmetic("fma", 3)
    + f"""
{{r}}.a = bitcast {{t}} {{0}} to i{{w}}
{{r}}.b = bitcast {{t}} {{1}} to i{{w}}
{{r}}.c = bitcast {{t}} {{2}} to i{{w}}
{{r}}.cm = and i{{w}} {{r}}.c, {{magnitude}}
{{r}}.cn = icmp ugt i{{w}} {{r}}.cm, {{infinity}}
br i1 {{r}}.cn, label {{r}}.cold, label {{r}}.done
{{l}}.cold:
{{r}}.am = and i{{w}} {{r}}.a, {{magnitude}}
{{r}}.bm = and i{{w}} {{r}}.b, {{magnitude}}
{{r}}.ai = icmp eq i{{w}} {{r}}.am, {{infinity}}
{{r}}.az = icmp eq i{{w}} {{r}}.am, 0
{{r}}.bi = icmp eq i{{w}} {{r}}.bm, {{infinity}}
{{r}}.bz = icmp eq i{{w}} {{r}}.bm, 0
{{r}}.p = and i1 {{r}}.ai, {{r}}.bz
{{r}}.q = and i1 {{r}}.az, {{r}}.bi
{{r}}.x = or i1 {{r}}.p, {{r}}.q
{{r}}.y = select i1 {{r}}.x, {{t}} 0.0, {{t}} 1.0
{{r}}.v = call {{t}} {_CONSTRAINED}.fmul.{{s}}({{t}} {{r}}.y, {{t}} {_INFINITY}, {_ROUNDED}
br label {{r}}.done
{{l}}.done:"""
)

_UITOFP = f"""\
{{r}}.n = icmp slt i64 {{0}}, 0
{{r}}.h = lshr i64 {{0}}, 1
{{r}}.l = and i64 {{0}}, 1
{{r}}.o = or i64 {{r}}.h, {{r}}.l
{{r}}.i = select i1 {{r}}.n, i64 {{r}}.o, i64 {{0}}
{{r}}.f = call {{t}} {_CONSTRAINED}.sitofp.{{s}}.i64(i64 {{r}}.i, {_ROUNDED}
{{r}}.d = call {{t}} {_CONSTRAINED}.fadd.{{s}}({{t}} {{r}}.f, {{t}} {{r}}.f, {_ROUNDED}
{{r}} = select i1 {{r}}.n, {{t}} {{r}}.d, {{t}} {{r}}.f"""

_UITOFP_32 = f"""\
{{r}}.i = zext i32 {{0}} to i64
{{r}} = call {{t}} {_CONSTRAINED}.sitofp.{{s}}.i64(i64 {{r}}.i, {_ROUNDED}"""

# {r}.x is the operand as a double (exact).
_AS_DOUBLE = {
    "f32": f"{{r}}.x = call double {_CONSTRAINED}.fpext.f64.f32(float {{0}}, {_STRICT}\n",
    "f64": "{r}.x = fneg double {0}\n",
}


def _convert_signed(value: str, result: str, width: int) -> str:
    """Truncate the double `value`; out of range the host gives the minimum and raises invalid."""
    return f"{result} = call i{width} {_CONSTRAINED}.fptosi.i{width}.f64(double {value}, {_STRICT}\n"


# The host's answer to anything out of range is the minimum; RISC-V wants the maximum unless the operand is negative.
_SATURATE = """\
{r}.bad = icmp eq i{w} {r}.c, {minimum}
{r}.neg = icmp sle i64 {r}.b, 18442240474082181120
{r}.sat = select i1 {r}.neg, i{w} {minimum}, i{w} {maximum}
{r} = select i1 {r}.bad, i{w} {r}.sat, i{w} {r}.c"""
