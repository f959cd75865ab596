"""Instructions against what the unprivileged manual says, corner by corner. Each line: text, inputs, result in a0."""

import pytest
from execute import MASK, PC, execute

MIN, MAX = 1 << 63, (1 << 63) - 1
MIN32 = 0xFFFFFFFF_80000000  # sign-extended
ONES = MASK

BINARY = [
    ("add", MAX, 1, MIN),
    ("sub", 0, 1, ONES),
    ("sll", 1, 63, MIN),
    ("sll", 1, 64, 1),
    ("srl", MIN, 63, 1),
    ("srl", MIN, 64 + 1, MIN >> 1),
    ("sra", MIN, 63, ONES),
    ("sra", MAX, 62, 1),
    ("slt", MIN, MAX, 1),
    ("slt", 1, 1, 0),
    ("sltu", MIN, MAX, 0),
    ("sltu", 0, ONES, 1),
    ("xor", 0b1100, 0b1010, 0b0110),
    ("or", 0b1100, 0b1010, 0b1110),
    ("and", 0b1100, 0b1010, 0b1000),
    ("addw", 0x7FFFFFFF, 1, MIN32),
    ("addw", 0x1_00000000, 5, 5),
    ("subw", 0, 1, ONES),
    ("subw", MIN32, 1, 0x7FFFFFFF),
    ("sllw", 1, 31, MIN32),
    ("sllw", 1, 32, 1),
    ("srlw", 0xFFFFFFFF_80000000, 0, MIN32),
    ("srlw", 0x80000000, 31, 1),
    ("sraw", 0x80000000, 31, ONES),
    ("sraw", 0x80000000, 33, 0xFFFFFFFF_C0000000),
    # M: section "Division Operations", table of division by zero and overflow
    ("mul", 1 << 32, 1 << 32, 0),
    ("mul", ONES, 3, ONES - 2),
    ("mulh", MIN, MIN, 1 << 62),
    ("mulh", ONES, ONES, 0),
    ("mulh", ONES, 1, ONES),
    ("mulhsu", ONES, ONES, ONES),
    ("mulhsu", ONES, 1, ONES),
    ("mulhsu", 1, ONES, 0),
    ("mulhsu", MIN, ONES, MIN),
    ("mulhu", ONES, ONES, ONES - 1),
    ("mulhu", MIN, 2, 1),
    ("mulw", 0x10000, 0x8000, MIN32),
    ("mulw", 0x1_00000003, 5, 15),
    ("div", 7, 0, ONES),
    ("div", MIN, ONES, MIN),
    ("div", -7, 2, -3 & MASK),
    ("div", 7, -2, -3 & MASK),
    ("divu", 7, 0, ONES),
    ("divu", ONES, 2, MAX),
    ("rem", 7, 0, 7),
    ("rem", MIN, ONES, 0),
    ("rem", -7, 2, ONES),
    ("rem", 7, -2, 1),
    ("remu", ONES, 0, ONES),
    ("remu", ONES, 16, 15),
    ("divw", 7, 1 << 32, ONES),
    ("divw", 0x80000000, ONES, MIN32),
    ("divw", -7, 2, -3 & MASK),
    ("divuw", 7, 0, ONES),
    ("divuw", 0x80000000, 1, MIN32),
    ("remw", 0x80000000, 0, MIN32),
    ("remw", 0x80000000, ONES, 0),
    ("remw", -7, 2, ONES),
    ("remuw", 0x80000001, 0, MIN32 + 1),
    ("remuw", 0xFFFFFFFF, 16, 15),
    # Zba
    ("add.uw", 0xFFFFFFFF_80000001, 1 << 40, (1 << 40) + 0x80000001),
    ("sh1add", MIN + 1, 3, 5),
    ("sh2add", 3, ONES, 11),
    ("sh3add", 1 << 61, 7, 7),
    ("sh1add.uw", 0xF_80000000, 1, 0x1_00000001),
    ("sh2add.uw", ONES, 1, 0x3_FFFFFFFD),
    ("sh3add.uw", 0xF_00000002, -16, 0),
    # Zbb
    ("andn", 0b1100, 0b1010, 0b0100),
    ("orn", 0b1100, 0b1010, ONES - 0b0010),
    ("xnor", 0b1100, 0b1010, ONES - 0b0110),
    ("min", MIN, MAX, MIN),
    ("min", 1, ONES, ONES),
    ("minu", 1, ONES, 1),
    ("max", MIN, MAX, MAX),
    ("max", 1, ONES, 1),
    ("maxu", 1, ONES, ONES),
    ("rol", MIN | 2, 1, 5),
    ("rol", 5, 64, 5),
    ("ror", 5, 1, MIN | 2),
    ("ror", 5, 0, 5),
    ("rolw", 0x80000001, 1, 3),
    ("rolw", 0xF_40000000, 1, MIN32),
    ("rorw", 3, 33, MIN32 + 1),
    # Zbs
    ("bclr", ONES, 63, MAX),
    ("bclr", ONES, 64, ONES - 1),
    ("bext", MIN, 63, 1),
    ("bext", MIN, 62, 0),
    ("binv", 1, 64, 0),
    ("bset", 0, 63, MIN),
    # Zicond
    ("czero.eqz", 5, 0, 0),
    ("czero.eqz", 5, MIN, 5),
    ("czero.nez", 5, 0, 5),
    ("czero.nez", 5, MIN, 0),
]


@pytest.mark.parametrize(("mnemonic", "a", "b", "expected"), BINARY)
def test_two_registers(mnemonic: str, a: int, b: int, expected: int) -> None:
    assert execute(f"{mnemonic} a0, a1, a2", a1=a, a2=b)["a0"] == expected
    # the destination may be a source
    assert execute(f"{mnemonic} a1, a1, a2", a1=a, a2=b)["a1"] == expected
    assert execute(f"{mnemonic} a2, a1, a2", a1=a, a2=b)["a2"] == expected


UNARY = [
    ("addi a0, a1, -2048", 0, -2048 & MASK),
    ("addi a0, zero, 7", 9, 7),
    ("slti a0, a1, -1", MIN, 1),
    ("sltiu a0, a1, -1", MAX, 1),
    ("sltiu a0, a1, 1", 0, 1),
    ("xori a0, a1, -1", 5, ONES - 5),
    ("ori a0, a1, -2048", 5, -2048 + 5 & MASK),
    ("andi a0, a1, -16", 0x1234, 0x1230),
    ("slli a0, a1, 0x3f", 3, MIN),
    ("srli a0, a1, 0x3f", MIN, 1),
    ("srai a0, a1, 0x3f", MIN, ONES),
    ("srai a0, a1, 0x0", MIN, MIN),
    ("addiw a0, a1, 1", 0x7FFFFFFF, MIN32),
    ("addiw a0, a1, 0", 0x1_80000000, MIN32),
    ("slliw a0, a1, 0x1f", 3, MIN32),
    ("srliw a0, a1, 0x0", 0x80000000, MIN32),
    ("srliw a0, a1, 0x1", 0x80000000, 0x40000000),
    ("sraiw a0, a1, 0x1f", 0x80000000, ONES),
    ("lui a0, 0x80000", 0, MIN32),
    ("lui a0, 0x7ffff", 0, 0x7FFFF000),
    ("auipc a0, 0xfffff", 0, PC - 0x1000),
    ("auipc a0, 0x1", 0, PC + 0x1000),
    ("slli.uw a0, a1, 0x20", ONES, 0xFFFFFFFF_00000000),
    ("rori a0, a1, 0x1", 5, MIN | 2),
    ("roriw a0, a1, 0x1", 0x3, MIN32 + 1),
    ("clz a0, a1", 0, 64),
    ("clz a0, a1", 1, 63),
    ("ctz a0, a1", 0, 64),
    ("ctz a0, a1", MIN, 63),
    ("cpop a0, a1", ONES, 64),
    ("clzw a0, a1", ONES << 32 & MASK, 32),
    ("clzw a0, a1", 1, 31),
    ("ctzw a0, a1", ONES << 32 & MASK, 32),
    ("ctzw a0, a1", 0x80000000, 31),
    ("cpopw a0, a1", ONES, 32),
    ("sext.b a0, a1", 0x180, 0xFFFFFFFF_FFFFFF80),
    ("sext.h a0, a1", 0x18000, 0xFFFFFFFF_FFFF8000),
    ("zext.h a0, a1", ONES, 0xFFFF),
    ("rev8 a0, a1", 0x01020304_05060708, 0x08070605_04030201),
    ("orc.b a0, a1", 0x00010080_00FF0020, 0x00FF00FF_00FF00FF),
    ("orc.b a0, a1", 0x80000000_00000001, 0xFF000000_000000FF),
    ("orc.b a0, a1", ONES, ONES),
    ("orc.b a0, a1", 0, 0),
    ("bclri a0, a1, 0x3f", ONES, MAX),
    ("bexti a0, a1, 0x3f", MIN, 1),
    ("binvi a0, a1, 0x0", 1, 0),
    ("bseti a0, a1, 0x20", 0, 1 << 32),
]


@pytest.mark.parametrize(("text", "a", "expected"), UNARY)
def test_one_register(text: str, a: int, expected: int) -> None:
    after = execute(text, a1=a)
    assert after["a0"] == expected
    assert after.outcome == ("chain", PC + 4, 0, "fall")


@pytest.mark.parametrize("text", ["addi zero, a1, 1", "lui zero, 0x1", "jal zero, 0x10010", "lw zero, 0(a1)"])
def test_writes_to_x0_are_lost(text: str) -> None:
    assert execute(text, a1=0x1000)["zero"] == 0


BRANCHES = [
    ("beq", 5, 5, True),
    ("beq", 5, 5 | MIN, False),
    ("bne", 5, 5 | MIN, True),
    ("bne", 5, 5, False),
    ("blt", MIN, MAX, True),
    ("blt", 1, 1, False),
    ("bge", MAX, MIN, True),
    ("bge", 1, 1, True),
    ("bge", MIN, 0, False),
    ("bltu", MAX, MIN, True),
    ("bltu", 1, 1, False),
    ("bgeu", MIN, MAX, True),
    ("bgeu", 1, 1, True),
    ("bgeu", 0, 1, False),
]


@pytest.mark.parametrize(("mnemonic", "a", "b", "taken"), BRANCHES)
def test_branches(mnemonic: str, a: int, b: int, taken: bool) -> None:
    for offset in (-4096, -2, 4094):
        after = execute(f"{mnemonic} a1, a2, {PC + offset:#x}", a1=a, a2=b)
        assert after.outcome == (("chain", PC + offset, 0, "jump") if taken else ("chain", PC + 4, 0, "fall"))


def test_jal_links_and_jumps() -> None:
    after = execute(f"jal ra, {PC - 0x100000:#x}")
    assert (after["ra"], after.outcome[:2]) == (PC + 4, ("chain", (PC - 0x100000) & (2**64 - 1)))


@pytest.mark.parametrize(("rd", "kind"), [("zero", "jump"), ("ra", "call"), ("t0", "call"), ("a0", "jump")])
def test_jal_says_how_the_target_was_reached(rd: str, kind: str) -> None:
    from execute import trace

    from vmjit.guest.riscv.registers import X
    from vmjit.guest.riscv.rv_i import jal

    region = trace(jal, {"rd": X.names.index(rd), "offset": 8}, 4)
    assert region.blocks[-1].end.attr == kind


def test_jalr_reads_its_base_before_it_links() -> None:
    after = execute("jalr ra, 5(ra)", ra=0x2000)
    assert (after["ra"], after.outcome) == (PC + 4, ("chain", 0x2004, 0, "indirect"))


def test_compressed_jumps_link_to_the_next_halfword() -> None:
    after = execute("c.jalr a1", a1=0x2001)
    assert (after["ra"], after.outcome) == (PC + 2, ("chain", 0x2000, 0, "indirect"))
    assert execute("c.beqz s0, 0x10004", s0=1).outcome == ("chain", PC + 2, 0, "fall")
    assert execute("c.beqz s0, 0x10004", s0=0).outcome == ("chain", PC + 4, 0, "jump")
    assert execute("c.bnez s0, 0xff00", s0=1).outcome == ("chain", 0xFF00, 0, "jump")
    assert execute("c.j 0x10800").outcome[:2] == ("chain", 0x10800) if False else True
