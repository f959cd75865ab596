"""Accesses and instructions at the end of a page and across it, and where a fault is said to be, in every tier."""

from itertools import product

import pytest
from in_tiers import MASK, START, assembled, every_tier, get, hart_with, is_compiled, op, put, run
from machines import CODE, DATA, PAGE
from test_semantics import BINARY, UNARY

from vmjit.engine.hart import Hart, Tier
from vmjit.memory.address_space import EXECUTE, READ, WRITE

# Accesses that are not aligned. That they work, within a page and across two, tests/programs/asm/misaligned.S shows.


LOADS = {"lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8, "flw": 4, "fld": 8}
STORES = {"sh": 2, "sw": 4, "sd": 8, "fsw": 4, "fsd": 8}
SHORT_LOADS, SHORT_STORES = {"c.lw": 4, "c.ld": 8, "c.fld": 8}, {"c.sw": 4, "c.sd": 8, "c.fsd": 8}
BORDER = DATA + PAGE
REFUSING = {None: "absent", 0: "inaccessible", READ: "readable"}
BYTES = bytes(range(1, 256)) * 33


def crossing(sizes: dict[str, int]) -> list[tuple[str, int]]:
    """Each access, with every number of bytes of it that may lie before the border."""
    return [(name, before) for name, size in sizes.items() for before in range(1, size)]


def access(mnemonic: str) -> str:
    return f"{mnemonic} {'fa0' if 'f' in mnemonic else 'a0'}, 0(s0)"


def second_page_is(hart: Hart, permissions: int | None) -> None:
    hart.memory.map(BORDER, PAGE, READ | WRITE)
    hart.memory.write(BORDER, BYTES[:PAGE])
    if permissions is None:
        hart.memory.unmap(BORDER, PAGE)
    else:
        hart.memory.protect(BORDER, PAGE, permissions)


@every_tier
@pytest.mark.parametrize("permissions", REFUSING, ids=REFUSING.get)
@pytest.mark.parametrize(
    "accesses", [LOADS, STORES, SHORT_LOADS, SHORT_STORES], ids=["load", "store", "c.load", "c.store"]
)
def test_across_pages_of_which_the_second_cannot_be_accessed(
    accesses: dict[str, int], permissions: int | None, tier: Tier
) -> None:
    """The fault is at the border, where the first byte that is not there would be; nothing is loaded or stored."""
    is_load = accesses in (LOADS, SHORT_LOADS)
    for mnemonic, before in crossing(accesses):
        code = assembled(access(mnemonic)) + op("ebreak")
        with hart_with(code, tier, data=BYTES[:PAGE], s0=BORDER - before, a0=MASK, fa0=MASK) as hart:
            second_page_is(hart, permissions)
            if is_load and permissions == READ:
                assert run(hart)[0] == "BREAKPOINT"
                continue
            assert run(hart) == ("FAULT", START, BORDER), (mnemonic, before)
            assert (get(hart, "a0"), get(hart, "fa0")) == (MASK, MASK), (mnemonic, before)
            assert hart.memory.read(DATA, PAGE) == BYTES[:PAGE], (mnemonic, before)
            if permissions == READ:
                assert hart.memory.read(BORDER, PAGE) == BYTES[:PAGE], (mnemonic, before)


@every_tier
@pytest.mark.parametrize("permissions", REFUSING, ids=REFUSING.get)
@pytest.mark.parametrize("accesses", [LOADS, STORES], ids=["load", "store"])
def test_across_pages_of_which_the_first_cannot_be_accessed(
    accesses: dict[str, int], permissions: int | None, tier: Tier
) -> None:
    for mnemonic, before in crossing(accesses):
        code = assembled(access(mnemonic)) + op("ebreak")
        with hart_with(code, tier, s0=BORDER - before, a0=MASK, fa0=MASK) as hart:
            second_page_is(hart, READ | WRITE)
            if permissions is None:
                hart.memory.unmap(DATA, PAGE)
            else:
                hart.memory.protect(DATA, PAGE, permissions)
            if accesses is LOADS and permissions == READ:
                assert run(hart)[0] == "BREAKPOINT"
                continue
            assert run(hart) == ("FAULT", START, BORDER - before), mnemonic
            assert (get(hart, "a0"), get(hart, "fa0")) == (MASK, MASK), (mnemonic, before)
            assert hart.memory.read(BORDER, PAGE) == BYTES[:PAGE], (mnemonic, before)


@every_tier
@pytest.mark.parametrize("precise", [False, True], ids=["", "precise"])
@pytest.mark.parametrize("mnemonic", [*LOADS, *STORES])
def test_a_loop_that_walks_over_the_border(mnemonic: str, precise: bool, tier: Tier) -> None:
    """Byte by byte, in a region whose accesses are tested before the loop where that is possible."""
    size, steps = (LOADS | STORES)[mnemonic], 40
    first = BORDER - size - steps + 1
    code = f"loop:\n{access(mnemonic)}\naddi s0, s0, 1\nbne s0, s1, @loop\nebreak"
    with hart_with(code, tier, data=BYTES[:PAGE], s0=first, s1=BORDER + 8, a0=MASK, fa0=MASK) as hart:
        if precise:
            hart.make_precise()
        assert run(hart) == ("FAULT", START, BORDER)
        assert is_compiled(hart, START) == (tier is Tier.JIT)
        if precise or tier is not Tier.JIT:
            assert (get(hart, "s0"), hart.instructions) == (first + steps, 1 + 3 * steps)
        if mnemonic in STORES:
            unchanged, stored = BYTES[: first - DATA], b"\xff" * (BORDER - first)
            assert hart.memory.read(DATA, PAGE) == unchanged + stored


# Where compiled code faults: compilers fold a load into what uses its value, and an update into one instruction.


BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
ABSENT = DATA + PAGE


def users_of_integers() -> list[str]:
    """Instructions with a0 as operand."""
    names = sorted({row[0] for row in BINARY})
    found = [f"{name} a2, {operands}" for name in names for operands in ("a0, a1", "a1, a0")]
    found += sorted({row[0].replace(" a0,", " a2,").replace(", a1", ", a0") for row in UNARY})
    found += [f"{store} a0, 0({base})" for store in ("sb", "sh", "sw", "sd") for base in ("s0", "s1")]
    found += [f"{name} a0, {other}, {START + 8:#x}" for name in BRANCHES for other in ("a1", "zero")]
    found += ["jalr zero, 0(a0)", "addi a0, zero, 1"]
    return found + [
        f"{name} fa0, a0" for name in ("fcvt.d.l", "fcvt.d.w", "fcvt.d.lu", "fcvt.s.w", "fmv.d.x", "fmv.w.x")
    ]


def users_of_floats(suffix: str) -> list[str]:
    """Instructions with fa0 as operand."""
    two = ("fadd", "fsub", "fmul", "fdiv", "fmin", "fmax", "fsgnj", "fsgnjn", "fsgnjx")
    found = [f"{name}.{suffix} fa1, {operands}" for name in two for operands in ("fa0, fa2", "fa2, fa0")]
    found += [f"{name}.{suffix} a0, {pair}" for name in ("feq", "flt", "fle") for pair in ("fa0, fa1", "fa1, fa0")]
    fused, orders = ("fmadd", "fmsub", "fnmadd", "fnmsub"), ("fa0, fa2, fa3", "fa2, fa0, fa3", "fa2, fa3, fa0")
    found += [f"{name}.{suffix} fa1, {operands}" for name in fused for operands in orders]
    found += [f"fsqrt.{suffix} fa1, fa0", f"fclass.{suffix} a0, fa0", "fmv.x.w a0, fa0", "fmv.x.d a0, fa0"]
    found += [f"fcvt.{to}.{suffix} a0, fa0, rtz" for to in ("w", "wu", "l", "lu")]
    return [*found, "fcvt.d.s fa1, fa0" if suffix == "s" else "fcvt.s.d fa1, fa0", "fsw fa0, 0(s1)", "fsd fa0, 0(s1)"]


@pytest.mark.parametrize("precise", [False, True], ids=["", "precise"])
@pytest.mark.parametrize("mnemonic", ["lb", "lbu", "lh", "lhu", "lw", "lwu", "ld", "flw", "fld"])
def test_a_load_faults_whatever_its_value_is_for(mnemonic: str, precise: bool) -> None:
    """The value is gone afterwards, so that its user is the only one."""
    users = {"flw": users_of_floats("s"), "fld": users_of_floats("d")}.get(mnemonic) or users_of_integers()
    gone = "fmv.d.x fa0, zero" if mnemonic.startswith("f") else "addi a0, zero, 0"
    wrong = {}
    for user in users:
        code = f"addi s2, s2, 5\n{access(mnemonic)}\n{user}\n{gone}\nebreak"
        with hart_with(code, Tier.JIT, s0=BORDER, s1=DATA, a0=7, a1=3, fa0=MASK) as hart:
            if precise:
                hart.make_precise()
            end = run(hart)
            assert is_compiled(hart, START)
            registers = [get(hart, name) for name in ("s0", "s1", "s2", "a0", "a1", "a2", "fa0", "fa1")]
            if end != ("FAULT", START + 4, BORDER) or (precise and registers != [BORDER, DATA, 5, 7, 3, 0, MASK, 0]):
                wrong[user] = end
    assert len(users) > 40 and not wrong


@pytest.mark.parametrize("precise", [False, True], ids=["", "precise"])
@pytest.mark.parametrize(("load", "store"), [("lb", "sb"), ("lhu", "sh"), ("lw", "sw"), ("ld", "sd")])
def test_an_update_in_place_faults_where_it_loads_or_where_it_stores(load: str, store: str, precise: bool) -> None:
    updates = [f"{name} a0, a0, a1" for name in ("add", "sub", "xor", "and", "or", "addw", "sll")]
    updates += ["addi a0, a0, 1", "slli a0, a0, 0x3", "xori a0, a0, -1", "sub a0, zero, a0", "addi a2, a1, 1"]
    for update, readable in product(updates, (False, True)):
        code = f"{load} a0, 0(s0)\n{update}\n{store} a0, 0(s0)\naddi a0, zero, 0\nebreak"
        with hart_with(code, Tier.JIT, s0=DATA if readable else BORDER, a1=3) as hart:
            hart.memory.protect(DATA, PAGE, READ)
            if precise:
                hart.make_precise()
            expected = ("FAULT", START + 8, DATA) if readable else ("FAULT", START, BORDER)
            assert run(hart) == expected, update
            assert is_compiled(hart, START)


# Instructions at the end of a page, and across it.


END = CODE + PAGE  # of the page that the code begins in
ACROSS = END - 2
NO_CODE = {None: "absent", 0: "inaccessible", READ: "readable", READ | WRITE: "writable"}


def at_the_end(last: bytes, behind: bytes = b"") -> bytes:
    """Code that jumps to what lies so that its first halfword is the last of the page; `behind` follows it."""
    jump = assembled(f"jal zero, {ACROSS - 2:#x}")  # to a c.nop before it, so that a region holds both
    return jump + bytes(ACROSS - 2 - START - 4) + assembled("c.nop") + last + behind


LONG = assembled("addi a0, a0, 1000")


def both_pages_are_known(hart: Hart, pc: int) -> None:
    """Execute the breakpoint in the second page, because regions are made of pages that were executed from."""
    assert run(hart, pc) == ("BREAKPOINT", pc, 0)


def two_pages(hart: Hart, second: int | None) -> None:
    """Make the second page of the code what it is to be; what lies in it stays."""
    if second is None:
        hart.memory.unmap(END, PAGE)
    else:
        hart.memory.protect(END, PAGE, second)


@every_tier
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("second", NO_CODE, ids=NO_CODE.get)
def test_an_instruction_across_pages_of_which_the_second_is_no_code(
    tier: Tier, second: int | None, again: bool
) -> None:
    """The fault is at the address of the second page, not of the instruction; also if it was executed before."""
    with hart_with(at_the_end(LONG, op("ebreak")), tier, a0=1) as hart:
        if again:
            both_pages_are_known(hart, END + 2)
            assert run(hart) == ("BREAKPOINT", END + 2, 0)
            assert get(hart, "a0") == 1001
            assert bool(hart.regions.covering(END)) == (tier is Tier.JIT)
        two_pages(hart, second)
        put(hart, a0=1)
        assert run(hart) == ("FAULT", ACROSS, END)
        assert get(hart, "a0") == 1


@every_tier
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("second", NO_CODE, ids=NO_CODE.get)
def test_a_short_instruction_before_a_page_that_is_no_code(tier: Tier, second: int | None, again: bool) -> None:
    """It is executed, and the fault is at the next one."""
    with hart_with(at_the_end(assembled("c.addi a0, 3"), op("ebreak")), tier, a0=1) as hart:
        if again:
            both_pages_are_known(hart, END)
            assert run(hart) == ("BREAKPOINT", END, 0)
            assert get(hart, "a0") == 4
            assert bool(hart.regions.covering(END)) == (tier is Tier.JIT)
        two_pages(hart, second)
        put(hart, a0=1)
        assert run(hart) == ("FAULT", END, END)
        assert get(hart, "a0") == 4


@every_tier
def test_a_page_that_becomes_code_later(tier: Tier) -> None:
    with hart_with(at_the_end(LONG, op("ebreak")), tier, a0=1) as hart:
        two_pages(hart, READ)
        assert run(hart) == ("FAULT", ACROSS, END)
        two_pages(hart, READ | EXECUTE)
        assert run(hart) == ("BREAKPOINT", END + 2, 0)
        assert get(hart, "a0") == 1001


@every_tier
@pytest.mark.parametrize(("half", "expected"), [(ACROSS, 70 + 1000), (END, 1 + 1001)], ids=["first", "second"])
def test_either_half_of_an_instruction_across_pages_may_change(tier: Tier, half: int, expected: int) -> None:
    """The store is to one page only, and after the instruction fence the instruction is another one."""
    new = assembled("addi a0, a1, 1001")[half - ACROSS :][:2]  # a1 is in the first half, 1001 in the second
    change = assembled(f"sh s2, 0(s3)\nfence.i\njal zero, {START:#x}", END + 6)
    values = {"s2": int.from_bytes(new, "little"), "s3": half}
    with hart_with(at_the_end(LONG, op("ebreak") + change), tier, writable=True, a0=1, a1=70, **values) as hart:
        both_pages_are_known(hart, END + 2)
        assert run(hart) == ("BREAKPOINT", END + 2, 0)
        assert get(hart, "a0") == 1001
        assert bool(hart.regions.covering(END)) == (tier is Tier.JIT)
        put(hart, a0=1)
        assert run(hart, END + 6) == ("BREAKPOINT", END + 2, 0)
        assert get(hart, "a0") == expected
