"""Corners of the unprivileged manual in every tier: arithmetic, register zero, hints, and how far branches reach.

Those of memory are in test_page_ends.py and test_atomics.py.
"""

import random
import time
from collections.abc import Callable

import pytest
from in_tiers import (
    LAYOUT,
    MASK,
    START,
    assembled,
    encoded,
    every_tier,
    get,
    hart_with,
    is_compiled,
    load,
    op,
    put,
    run,
    rv64,
    state,
    words,
)
from machines import DATA, PAGE, guest_named
from test_semantics import BINARY, UNARY

from vmjit.engine.hart import Tier
from vmjit.isa.instruction import Instruction
from vmjit.memory.address_space import EXECUTE, READ, WRITE

MIN, MAX = 1 << 63, (1 << 63) - 1
MIN32 = 0xFFFFFFFF_80000000  # sign-extended


# Tables.


@every_tier
def test_the_table_of_two_registers(tier: Tier) -> None:
    """The rows of test_semantics.py, one instruction after another; each operand comes from memory."""
    lines = [
        f"ld a1, {16 * n - 2048}(s0)\nld a2, {16 * n - 2040}(s0)\n{row[0]} a0, a1, a2\nsd a0, {8 * n - 2048}(s1)"
        for n, row in enumerate(BINARY)
    ]
    results = table(tier, lines, [value for row in BINARY for value in row[1:3]])
    wrong = [f"{row}: {found:#x}" for row, found in zip(BINARY, results, strict=True) if found != row[3]]
    assert not wrong


@every_tier
def test_the_table_of_one_register(tier: Tier) -> None:
    rows = [row for row in UNARY if not row[0].startswith("auipc")]
    lines = [f"ld a1, {8 * n - 2048}(s0)\n{row[0]}\nsd a0, {8 * n - 2048}(s1)" for n, row in enumerate(rows)]
    results = table(tier, lines, [row[1] for row in rows])
    wrong = [f"{row}: {found:#x}" for row, found in zip(rows, results, strict=True) if found != row[2]]
    assert not wrong


def table(tier: Tier, lines: list[str], inputs: list[int]) -> list[int]:
    """The results that a straight line of code stores: it reads from s0 - 2048 and writes to s1 - 2048."""
    code = "\n".join(lines) + "\nebreak"
    with hart_with(code, tier, data=words(inputs).ljust(2 * PAGE), s0=DATA + 2048, s1=DATA + PAGE + 2048) as hart:
        reason, pc, _ = run(hart)
        assert (reason, pc) == ("BREAKPOINT", START + 4 * (code.count("\n")))
        if tier is Tier.JIT:
            assert hart.counters.compiled_instructions == code.count("\n") + 1 <= 500, "not all of it is compiled"
        return [load(hart, DATA + PAGE + 8 * n) for n in range(len(lines))]


# Operands that are known when a region is compiled, and operands that are not.


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def word(value: int) -> int:
    return signed(value, 32)


def low(value: int) -> int:
    return value & 0xFFFFFFFF


def quotient(a: int, b: int) -> int:
    """Towards zero; all ones for a zero divisor. Overflow is the manual's when the result is cut to its width."""
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int) -> int:
    return a if b == 0 else a - b * quotient(a, b)


MEANING: dict[str, Callable[[int, int], int]] = {  # of unsigned operands; the result is taken modulo 2**64
    "div": lambda a, b: quotient(signed(a), signed(b)),
    "divu": quotient,
    "divw": lambda a, b: word(quotient(word(a), word(b))),
    "divuw": lambda a, b: word(quotient(low(a), low(b))),
    "rem": lambda a, b: remainder(signed(a), signed(b)),
    "remu": remainder,
    "remw": lambda a, b: word(remainder(word(a), word(b))),
    "remuw": lambda a, b: word(remainder(low(a), low(b))),
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: signed(a) * signed(b) >> 64,
    "mulhsu": lambda a, b: signed(a) * b >> 64,
    "mulhu": lambda a, b: a * b >> 64,
    "mulw": lambda a, b: word(a * b),
    "addw": lambda a, b: word(a + b),
    "subw": lambda a, b: word(a - b),
    "slt": lambda a, b: signed(a) < signed(b),
    "sltu": lambda a, b: a < b,
    "sll": lambda a, b: a << (b & 63),
    "srl": lambda a, b: a >> (b & 63),
    "sra": lambda a, b: signed(a) >> (b & 63),
    "sllw": lambda a, b: word(a << (b & 31)),
    "srlw": lambda a, b: word(low(a) >> (b & 31)),
    "sraw": lambda a, b: word(a) >> (b & 31),
}
LEFT = (0, 1, MASK, MIN, MAX, 0x80000000, 0x1_FFFFFFF9)
RIGHT = (0, 1, MASK, MIN, 0x80000000, 0xFFFFFFFF, 7)
AMOUNTS = (0, 1, 31, 32, 63, 64, MASK)
KNOWN_LEFT, KNOWN_RIGHT, LOADED_LEFT, LOADED_RIGHT = range(1, 8), range(8, 15), range(15, 22), range(22, 29)


@pytest.mark.parametrize("mnemonic", MEANING)
@every_tier
def test_operands_known_and_unknown(mnemonic: str, tier: Tier) -> None:
    """Every pair of corner values, each of the two known to the compiler or not: what is known, it computes itself."""
    rights = AMOUNTS if mnemonic.startswith(("sl", "sr")) and "t" not in mnemonic else RIGHT
    code = b"".join(constant(x, value) for x, value in zip((*KNOWN_LEFT, *KNOWN_RIGHT), (*LEFT, *rights), strict=True))
    for n, x in enumerate((*LOADED_LEFT, *LOADED_RIGHT)):
        code += op("ld", rd=x, rs1=31, imm=8 * n - 2048)
    expected = []
    for n, (a, b) in enumerate(
        (a, b)
        for lefts, seconds in ((KNOWN_LEFT, KNOWN_RIGHT), (KNOWN_LEFT, LOADED_RIGHT), (LOADED_LEFT, KNOWN_RIGHT))
        for a in lefts
        for b in seconds
    ):
        code += op(mnemonic, rd=30, rs1=a, rs2=b) + op("sd", rs2=30, rs1=31, imm=8 * n - 1024)
        pair = LEFT[(a - 1) % 7], rights[(b - 1) % 7]
        expected.append((pair, MEANING[mnemonic](*pair) & MASK))
    with hart_with(code + op("ebreak"), tier, data=words((*LEFT, *rights)), t6=DATA + 2048) as hart:
        assert run(hart)[0] == "BREAKPOINT"
        if tier is Tier.JIT:
            assert hart.counters.compiled_instructions == len(code) // 4 + 1 <= 500, "not all of it is compiled"
        found = [load(hart, DATA + 1024 + 8 * n) for n in range(len(expected))]
    wrong = [
        f"{n}: {a:#x}, {b:#x}: {value:#x}, not {result:#x}"
        for n, (((a, b), result), value) in enumerate(zip(expected, found, strict=True))
        if value != result
    ]
    assert not wrong


def constant(rd: int, value: int) -> bytes:
    """Instructions that make a constant of nothing."""
    value = signed(value)
    if -2048 <= value < 2048:
        return op("addi", rd=rd, rs1=0, imm=value)
    last = signed(value, 12)
    rest = value - last
    zeros = (rest & -rest).bit_length() - 1
    code = constant(rd, rest >> zeros) + op("slli", rd=rd, rs1=rd, shamt=zeros)
    return code + op("addi", rd=rd, rs1=rd, imm=last) if last else code


# Register zero is 0 as an operand and takes nothing as a destination; all else that an instruction does remains.


POINTER = DATA + 0x100
STATE = {
    **{name: (0x9E3779B97F4A7C15 * (n + 1)) & MASK for n, name in enumerate(LAYOUT.registers()) if name != "x0"},
    **{f"f{n}": 0x4000000000000000 + (n << 48) if n % 2 else 0xFFFFFFFF_40000000 + (n << 20) for n in range(32)},
    "x11": POINTER,
    "x12": 0x8000_0000_0000_0005,
    "x28": 0,
    "fflags": 5,
    "frm": 2,
}
FIELDS = {"rd": 10, "rs1": 11, "rs2": 12, "fd": 10, "fs1": 11, "fs2": 12, "fs3": 13, "offset": 8, "rm": 7, "csr": 1}
ZERO, HOLDS_ZERO = 0, 28
TIME = 0xC01  # no two runs agree on it


def with_register(field: str) -> list[Instruction]:
    """The instructions of four bytes that name an integer register in a field."""
    return [
        made for made in rv64.instructions if made.encoding.size == 4 and not made.reserved and field in made.parameters
    ]


def fields_of(made: Instruction, **changed: int) -> dict[str, int]:
    """Fields for an instruction: a few registers, small numbers, the first of what steers."""
    fields = {}
    for name in made.encoding.fields:
        choices = made.operands[name].structural
        fields[name] = FIELDS.get(name, choices[0] if choices else 8 if name != "upper" else 0x7FFFF000)
    return fields | changed


def steered(made: Instruction) -> list[dict[str, int]]:
    """Each control and status register, and each ordering, of an instruction that has such."""
    names = [name for name in ("csr", "csrro", "aqrl") if name in made.encoding.fields]
    return [{name: value} for name in names for value in made.operands[name].structural or () if value != TIME] or [{}]


def outcome(made: Instruction, tier: Tier, **changed: int) -> tuple[tuple[str, int, int], dict[str, int], bytes]:
    """How one instruction ends, and the registers and the memory that it leaves. Around it lie breakpoints."""
    code = encoded(made.encoding, **fields_of(made, **changed))
    decoded = guest_named("riscv64").decode_table.decode_word(int.from_bytes(code, "little"), 4)
    assert not isinstance(decoded, int) and decoded.instruction.name in (made.name, "pause")
    target = {"x11": START} if made.name == "jalr" else {}  # it jumps 8 bytes behind it, as jal does
    with hart_with(code + op("ebreak") * 4, tier, data=bytes(range(256)) * 2, **STATE | target) as hart:
        end = run(hart)
        return end, state(hart), hart.memory.read(DATA, PAGE)


@every_tier
@pytest.mark.parametrize("made", with_register("rd"), ids=lambda made: made.name)
def test_zero_as_destination(made: Instruction, tier: Tier) -> None:
    for steering in steered(made):
        end, registers, memory = outcome(made, tier, rd=ZERO, **steering)
        wanted, other, written = outcome(made, tier, rd=10, **steering)
        assert registers["x10"] == STATE["x10"] != other["x10"]
        assert (end, registers | {"x10": 0}, memory) == (wanted, other | {"x10": 0}, written), steering


@every_tier
def test_the_time_is_the_hosts(tier: Tier) -> None:
    with hart_with("csrrs a0, time, zero\ncsrrci a1, time, 0\nebreak", tier) as hart:
        before = time.time_ns() // 100
        assert run(hart) == ("BREAKPOINT", START + 8, 0)
        assert before <= get(hart, "a0") <= get(hart, "a1") <= time.time_ns() // 100


@every_tier
@pytest.mark.parametrize("field", ["rs1", "rs2"])
def test_zero_as_operand(field: str, tier: Tier) -> None:
    for made in with_register(field):
        assert outcome(made, tier, **{field: ZERO}) == outcome(made, tier, **{field: HOLDS_ZERO}), made.name


@every_tier
@pytest.mark.parametrize("mnemonic", ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "lr.w", "lr.d", "amoor.w"])
def test_a_load_of_nothing_into_zero_faults(mnemonic: str, tier: Tier) -> None:
    operands = "(s0)" if mnemonic.startswith("lr") else "zero, (s0)" if mnemonic.startswith("amo") else "0(s0)"
    with hart_with(f"{mnemonic} zero, {operands}\nebreak", tier, s0=DATA + PAGE) as hart:
        assert run(hart) == ("FAULT", START, DATA + PAGE)


@every_tier
@pytest.mark.parametrize("register", ["ra", "t0", "a0"])
@pytest.mark.parametrize("imm", [0, 1, -5, 2047, -2048])
def test_jalr_through_its_own_destination(tier: Tier, register: str, imm: int) -> None:
    """The target is that of before the link, and its bit 0 is cleared after the addition."""
    code = f"jalr {register}, {imm}({register})\nebreak\nebreak\nebreak"
    for odd in (0, 1):
        with hart_with(code, tier, **{register: START + 12 + odd - imm}) as hart:
            assert run(hart)[:2] == ("BREAKPOINT", START + 12)
            assert get(hart, register) == START + 4


@every_tier
def test_compressed_jalr_through_its_link(tier: Tier) -> None:
    with hart_with("c.jalr ra\nebreak\nc.ebreak", tier, ra=START + 6) as hart:
        assert run(hart)[:2] == ("BREAKPOINT", START + 6)
        assert get(hart, "ra") == START + 2


# Hints: what the manual's tables of them have does nothing.


def compressed_hints() -> bytes:
    """All of table "RVC HINT instructions", of RV64."""
    registers, immediates, amounts = range(1, 32), [n for n in range(-32, 32) if n], range(1, 64)
    found = [("c.addi", {"rd": 0, "imm": imm}) for imm in immediates]  # named c.nop there
    found += [("c.addi", {"rd": rd, "imm": 0}) for rd in registers]
    found += [("c.li", {"rd": 0, "imm": imm}) for imm in (0, *immediates)]
    found += [("c.lui", {"rd": 0, "upper": imm << 12}) for imm in immediates]
    found += [("c.mv", {"rd": 0, "rs2": rs2}) for rs2 in registers]
    found += [("c.add", {"rd": 0, "rs2": rs2}) for rs2 in registers]  # among them those of Zihintntl
    found += [("c.slli", {"rd": 0, "shamt": shamt}) for shamt in (0, *amounts)]
    found += [("c.slli", {"rd": rd, "shamt": 0}) for rd in registers]
    found += [(name, {"rdc": rdc, "shamt": 0}) for name in ("c.srli", "c.srai") for rdc in range(8)]
    return b"".join(op(name, **fields) for name, fields in found)


NO_DESTINATION = """
    lui auipc addi andi ori xori slti sltiu slli srli srai add sub and or xor sll srl sra slt sltu
    addiw slliw srliw sraiw addw subw sllw srlw sraw
"""


def hints() -> bytes:
    """Of tables "RV32I HINT instructions" and "RV64I HINT instructions" each row, with some values of every field."""
    chance = random.Random(3)
    code = b""
    for name in NO_DESTINATION.split():
        encoding = rv64.named(name).encoding
        free = ~encoding.mask & ~(31 << 7) & 0xFFFFFFFF
        for choice in (0, free, *(rs2 << 20 for rs2 in range(2, 6)), *(chance.getrandbits(32) for _ in range(4))):
            code += (encoding.match | choice & free).to_bytes(4, "little")
    for rd, rs1 in ((0, 0), (0, 11), (10, 0), (10, 11)):
        for pred, succ in ((0, 0), (0, 1), (0, 15), (1, 0), (15, 0), (3, 3)):
            code += op("fence", rd=rd, rs1=rs1, fm=0, pred=pred, succ=succ)
    return code + op("pause")


@every_tier
@pytest.mark.parametrize(("made", "at_least"), [(compressed_hints, 380), (hints, 300)])
def test_hints_do_nothing(made: Callable[[], bytes], at_least: int, tier: Tier) -> None:
    code = made()
    with hart_with(code + op("ebreak"), tier, data=bytes(range(256)), **STATE) as hart:
        before = state(hart)
        assert run(hart) == ("BREAKPOINT", START + len(code), 0)
        assert state(hart) == before
        assert hart.memory.read(DATA, PAGE) == bytes(range(256)).ljust(PAGE, b"\0")
        assert hart.instructions > at_least
        if tier is Tier.JIT:
            assert hart.counters.compiled_instructions == hart.instructions <= 500, "not all of it is compiled"


# Branches and jumps as far as they reach.


FAR = 0x400000  # where there is room on both sides
REACH = {  # and what s0 and s1 hold when it is taken, and when not
    "beq": (-4096, 4094, (5, 5), (5, 4)),
    "bne": (-4096, 4094, (5, 4), (5, 5)),
    "blt": (-4096, 4094, (4, 5), (5, 5)),
    "bge": (-4096, 4094, (5, 5), (4, 5)),
    "bltu": (-4096, 4094, (4, 5), (5, 5)),
    "bgeu": (-4096, 4094, (5, 5), (4, 5)),
    "jal": (-(1 << 20), (1 << 20) - 2, (0, 0), None),
    "c.j": (-2048, 2046, (0, 0), None),
    "c.beqz": (-256, 254, (0, 0), (1, 0)),
    "c.bnez": (-256, 254, (1, 0), (0, 0)),
}


@every_tier
@pytest.mark.parametrize("mnemonic", REACH)
def test_how_far_branches_reach(mnemonic: str, tier: Tier) -> None:
    """To both ends of their range, and when they are not taken to the next instruction."""
    *offsets, taken, passed = REACH[mnemonic]
    operands = {"jal": "ra, ", "c.j": "", "c.beqz": "s0, ", "c.bnez": "s0, "}.get(mnemonic, "s0, s1, ")
    for target in (FAR + offset for offset in offsets):
        code = assembled(f"{mnemonic} {operands}{target:#x}", FAR)
        with hart_with("jalr zero, 0(s2)", tier, s2=FAR) as hart:
            for address in {FAR & -PAGE, target & -PAGE, (target + 2) & -PAGE}:
                hart.memory.map(address, PAGE, READ | WRITE | EXECUTE)
            hart.memory.write(FAR, code + op("ebreak"))
            hart.memory.write(target, assembled("c.addi a0, 1"))
            hart.memory.write(target + 2, assembled("c.ebreak"))
            for _ in range(2):  # when a page is reached for the first time, the interpreter goes first
                put(hart, s0=taken[0], s1=taken[1], a0=0)
                assert run(hart)[:2] == ("BREAKPOINT", target + 2)
                assert get(hart, "a0") == 1
                if mnemonic == "jal":
                    assert get(hart, "ra") == FAR + 4
                if passed is not None:
                    put(hart, s0=passed[0], s1=passed[1], a0=0)
                    assert run(hart)[:2] == ("BREAKPOINT", FAR + len(code))
                    assert get(hart, "a0") == 0
            assert is_compiled(hart, FAR) == (tier is Tier.JIT)
