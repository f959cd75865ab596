"""Load-reserved, store-conditional and atomic memory operations by the manual's chapter "A", in every tier."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import pytest
from in_tiers import MASK, START, assembled, every_tier, get, hart_with, is_compiled, load, put, run, state, words
from machines import DATA, PAGE

from vmjit.engine.hart import Hart, Tier
from vmjit.memory.address_space import READ, WRITE

WIDTHS = {"w": 32, "d": 64}
ORDERS = ("", ".aq", ".rl", ".aqrl")
OLD, NEW, OTHER = 0x1122334495667788, 0xAABBCCDD89776655, 0x0123456789ABCDEF
CELL, FAR = DATA + 64, DATA + PAGE + 64  # OLD and behind it OTHER, and OTHER in another page

every_width = pytest.mark.parametrize("width", WIDTHS)


def low(value: int, width: str) -> int:
    return value & (1 << WIDTHS[width]) - 1


def extended(value: int, width: str) -> int:
    """What an access puts into a register."""
    value = low(value, width)
    return value | MASK << 32 & MASK if width == "w" and value >> 31 else value


def over(old: int, new: int, width: str) -> int:
    """A doubleword after a store to its beginning."""
    return old - low(old, width) + low(new, width)


@contextmanager
def after(text: str, tier: Tier, **values: int) -> Iterator[Hart]:
    """A hart after some instructions: s0 points to OLD, s1 to OTHER behind it, s2 far away; a1 is NEW, and a0 is 7."""
    code = assembled(text)
    page = bytes(64) + words((OLD, OTHER))
    cells = page.ljust(PAGE, b"\0") + bytes(64) + words((OTHER,))
    start = {"s0": CELL, "s1": CELL + 8, "s2": FAR, "a0": 7, "a1": NEW}
    with hart_with(code + assembled("ebreak"), tier, data=cells, **start | values) as hart:
        assert run(hart) == ("BREAKPOINT", START + len(code), 0)
        assert is_compiled(hart, START) == (tier is Tier.JIT)
        yield hart


def cells(hart: Hart) -> tuple[int, int, int]:
    return load(hart, CELL), load(hart, CELL + 8), load(hart, FAR)


# When a conditional store succeeds.


@every_tier
@every_width
@pytest.mark.parametrize(("reserving", "storing"), list(product(ORDERS, ORDERS)))
def test_store_conditional_after_load_reserved(width: str, reserving: str, storing: str, tier: Tier) -> None:
    with after(f"lr.{width}{reserving} a2, (s0)\nsc.{width}{storing} a0, a1, (s0)", tier) as hart:
        assert get(hart, "a2") == extended(OLD, width)
        assert get(hart, "a0") == 0
        assert cells(hart) == (over(OLD, NEW, width), OTHER, OTHER)


FAILING = {
    "nothing reserved": "sc.{w} a0, a1, (s0)",
    "elsewhere": "lr.{w} a2, (s2)\nsc.{w} a0, a1, (s0)",
    "elsewhere in the line": "lr.{w} a2, (s1)\nsc.{w} a0, a1, (s0)",
    "reserved before the last": "lr.{w} a2, (s0)\nlr.{w} a2, (s2)\nsc.{w} a0, a1, (s0)",
    "after one that succeeded": "lr.{w} a2, (s0)\nsc.{w} a3, a2, (s0)\nsc.{w} a0, a1, (s0)",
    "after one that failed": "lr.{w} a2, (s0)\nsc.{w} a3, a1, (s2)\nsc.{w} a0, a1, (s0)",
    "after one of another width": "lr.{w} a2, (s0)\nsc.{x} a3, a1, (s2)\nsc.{w} a0, a1, (s0)",
    "into its operand": "addi a0, a1, 0\nsc.{w} a0, a0, (s0)",
    "into its address": "addi a0, s0, 0\nsc.{w} a0, a1, (a0)",
}


@every_tier
@every_width
@pytest.mark.parametrize("case", FAILING)
def test_store_conditional_that_fails(case: str, width: str, tier: Tier) -> None:
    """It writes 1, the only failure code that the manual defines, and no memory."""
    other = {"w": "d", "d": "w"}[width]
    text = FAILING[case].format(w=width, x=other)
    with after(text, tier, a4=OLD, a5=OTHER) as hart:
        assert get(hart, "a0") == 1
        assert cells(hart) == (OLD, OTHER, OTHER)
        if "a3" in text and "a2, (s0)\n" in text:
            assert get(hart, "a3") == ("succeeded" not in case)


EITHER = {  # the manual leaves it open
    "after a store of the same": ("lr.{w} a2, (s0)\nsd a4, 0(s0)\nsc.{w} a0, a1, (s0)", OLD, 0),
    "after a store of another value": ("lr.{w} a2, (s0)\nsd a5, 0(s0)\nsc.{w} a0, a1, (s0)", OTHER, 0),
    "after a store of a byte": (
        "lr.{w} a2, (s0)\nsb a1, 3(s0)\nsc.{w} a0, a1, (s0)",
        OLD & ~(255 << 24) | 0x55 << 24,
        0,
    ),
    "of another width": ("lr.{x} a2, (s0)\nsc.{w} a0, a1, (s0)", OLD, 0),
    "after an operation": ("lr.{w} a2, (s0)\namoor.d a3, zero, (s0)\nsc.{w} a0, a1, (s0)", OLD, 0),
    "of the upper half": ("lr.d a2, (s0)\naddi s0, s0, 4\nsc.w a0, a1, (s0)", OLD, 32),
}


@every_width
@pytest.mark.parametrize("case", EITHER)
@every_tier
def test_store_conditional_that_may_fail(case: str, width: str, tier: Tier) -> None:
    """Whether it succeeds or fails, it is one of the two, and the same in every tier."""
    text, before, shift = EITHER[case]
    text = text.format(w=width, x={"w": "d", "d": "w"}[width])
    with after(text, Tier.REFERENCE, a4=OLD, a5=OTHER) as hart:
        result, memory = get(hart, "a0"), cells(hart)
    stored = over(before, NEW, width) if not shift else before & 0xFFFFFFFF | (NEW & 0xFFFFFFFF) << shift
    assert (result, memory[0]) in ((0, stored), (1, before))
    assert memory[1:] == (OTHER, OTHER)
    with after(text, tier, a4=OLD, a5=OTHER) as hart:
        assert (get(hart, "a0"), cells(hart)) == (result, memory)


@every_tier
@every_width
def test_reservation_and_result_go_by_way_of_zero(width: str, tier: Tier) -> None:
    with after(f"lr.{width} zero, (s0)\nsc.{width} zero, a1, (s0)\nsc.{width} a0, a1, (s1)", tier) as hart:
        assert cells(hart) == (over(OLD, NEW, width), OTHER, OTHER)
        assert get(hart, "a0") == 1


@every_tier
@every_width
def test_registers_that_are_operand_and_result(width: str, tier: Tier) -> None:
    text = f"addi a2, s0, 0\nlr.{width} a2, (a2)\naddi a0, a1, 0\nsc.{width} a0, a0, (s0)"
    with after(text, tier) as hart:
        assert (get(hart, "a2"), get(hart, "a0")) == (extended(OLD, width), 0)
        assert cells(hart) == (over(OLD, NEW, width), OTHER, OTHER)


@every_tier
@every_width
def test_store_conditional_of_its_own_address(width: str, tier: Tier) -> None:
    with after(f"lr.{width} a2, (s0)\naddi a3, s0, 0\nsc.{width} a3, a3, (a3)", tier) as hart:
        assert get(hart, "a3") == 0
        assert cells(hart) == (over(OLD, CELL, width), OTHER, OTHER)


# Atomic memory operations.


def signed(value: int, width: str) -> int:
    value = low(value, width)
    return value - (value >> (WIDTHS[width] - 1) << WIDTHS[width])


OPERATIONS: dict[str, Callable[[int, int, str], int]] = {  # of the old value and the operand, cut to the width
    "amoswap": lambda old, operand, width: operand,
    "amoadd": lambda old, operand, width: old + operand,
    "amoxor": lambda old, operand, width: old ^ operand,
    "amoand": lambda old, operand, width: old & operand,
    "amoor": lambda old, operand, width: old | operand,
    "amomin": lambda old, operand, width: min(old, operand, key=lambda value: signed(value, width)),
    "amomax": lambda old, operand, width: max(old, operand, key=lambda value: signed(value, width)),
    "amominu": lambda old, operand, width: min(old, operand),
    "amomaxu": lambda old, operand, width: max(old, operand),
}
VALUES = (0, 1, MASK, 1 << 63, (1 << 63) - 1, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF, 0x5A5A5A5A_A5A5A5A5)
PAIRS = tuple(product(VALUES, VALUES))


@every_tier
@every_width
@pytest.mark.parametrize("order", ORDERS)
def test_atomic_operations(width: str, order: str, tier: Tier) -> None:
    """Every pair of corner values by every operation: a loop over the pairs, with a result for each operation."""
    results = DATA + PAGE
    body = "".join(
        f"sd a4, 0(s0)\n{name}.{width}{order} a0, a5, (s0)\nsd a0, {16 * n}(s2)\n"
        f"ld a0, 0(s0)\nsd a0, {16 * n + 8}(s2)\n"
        for n, name in enumerate(OPERATIONS)
    )
    row = 16 * len(OPERATIONS)
    code = f"loop:\nld a4, 0(s1)\nld a5, 8(s1)\n{body}addi s1, s1, 16\naddi s2, s2, {row}\nbne s1, s3, @loop\nebreak"
    data = words([value for pair in PAIRS for value in pair])
    size = 1 + -(-row * len(PAIRS) // PAGE)
    pointers = {"s0": DATA + PAGE - 8, "s1": DATA, "s2": results, "s3": DATA + len(data)}
    with hart_with(code, tier, data=data.ljust(size * PAGE, b"\0"), **pointers) as hart:
        assert run(hart)[0] == "BREAKPOINT"
        assert is_compiled(hart, START) == (tier is Tier.JIT)
        for index, (old, operand) in enumerate(PAIRS):
            for n, (name, operation) in enumerate(OPERATIONS.items()):
                new = operation(low(old, width), low(operand, width), width)
                at = results + row * index + 16 * n
                found = load(hart, at), load(hart, at + 8)
                assert found == (extended(old, width), over(old, new, width)), (name, hex(old), hex(operand))


@every_tier
@every_width
@pytest.mark.parametrize("name", OPERATIONS)
def test_atomic_operations_whose_registers_meet(name: str, width: str, tier: Tier) -> None:
    """The result may replace the operand or the address, the address may be the operand; zero takes no result."""
    text = f"""
        addi a2, a1, 0
        {name}.{width} a2, a2, (s0)
        addi a3, s1, 0
        {name}.{width} a3, a1, (a3)
        {name}.{width} zero, s2, (s2)"""
    with after(text, tier) as hart:
        new = [
            over(old, OPERATIONS[name](low(old, width), low(operand, width), width), width)
            for old, operand in ((OLD, NEW), (OTHER, NEW), (OTHER, FAR))
        ]
        assert cells(hart) == tuple(new)
        assert (get(hart, "a2"), get(hart, "a3")) == (extended(OLD, width), extended(OTHER, width))


@every_tier
def test_the_upper_word_of_a_doubleword(tier: Tier) -> None:
    text = "addi s0, s0, 4\n" + "\n".join(f"{name}.w a{n % 6}, a1, (s0)" for n, name in enumerate(OPERATIONS))
    with after(text.replace("a1, a1", "a2, a1"), tier) as hart:
        upper = OLD >> 32
        for operation in OPERATIONS.values():
            upper = low(operation(upper, low(NEW, "w"), "w"), "w")
        assert cells(hart)[0] == upper << 32 | OLD & 0xFFFFFFFF


# What stops.


ATOMICS = [
    *(f"{name}.{width}{order} a0, a1, (s0)" for name in OPERATIONS for width in WIDTHS for order in ("", ".aqrl")),
    *(f"sc.{width}{order} a0, a1, (s0)" for width in WIDTHS for order in ("", ".aqrl")),
]
RESERVING = [f"lr.{width}{order} a0, (s0)" for width in WIDTHS for order in ("", ".aqrl")]


def stops(hart: Hart, address: int, end: tuple[str, int, int]) -> None:
    """Run the code with s0 at an address: it stops there, and no register changes, from the first round on."""
    for _ in range(2):
        put(hart, s0=address, a0=7, a1=NEW)
        before = state(hart)
        assert run(hart) == end
        assert state(hart) == before


@every_tier
@pytest.mark.parametrize("text", [*ATOMICS, *RESERVING])
def test_misaligned(text: str, tier: Tier) -> None:
    """Within a word, a doubleword, a line and a page, and across each: the host could do all of them."""
    size = 8 if ".d" in text else 4
    lines = (CELL, CELL + 56, DATA + PAGE - 8)
    with hart_with(f"{text}\nebreak", tier) as hart:
        hart.memory.map(DATA + PAGE, PAGE, READ | WRITE)
        hart.memory.write(DATA, bytes(range(256)) * 32)
        for address in (line + offset for line in lines for offset in range(1, 8) if offset % size):
            stops(hart, address, ("MISALIGNED", START, address))
        assert hart.memory.read(DATA, 2 * PAGE) == bytes(range(256)) * 32
        assert is_compiled(hart, START) == (tier is Tier.JIT)


@every_tier
@pytest.mark.parametrize("permissions", [None, 0, READ], ids=["absent", "inaccessible", "readable"])
def test_memory_that_refuses(permissions: int | None, tier: Tier) -> None:
    """Also a conditional store that would fail: none retires where stores are not permitted."""
    for text in (*ATOMICS, *RESERVING):
        with hart_with(f"{text}\nebreak", tier) as hart:
            hart.memory.write(DATA, bytes(range(256)))
            if permissions is None:
                hart.memory.unmap(DATA, PAGE)
            else:
                hart.memory.protect(DATA, PAGE, permissions)
            if text in RESERVING and permissions == READ:
                put(hart, s0=CELL)
                assert run(hart)[0] == "BREAKPOINT"
                continue
            stops(hart, CELL, ("FAULT", START, CELL))
            if permissions == READ:
                assert hart.memory.read(DATA, 256) == bytes(range(256))


@every_tier
@every_width
def test_reserved_memory_that_becomes_readable_only(width: str, tier: Tier) -> None:
    code = f"lr.{width} a2, (s0)\nebreak\nsc.{width} a0, a1, (s0)\nebreak"
    with hart_with(code, tier, data=words((OLD,)), s0=DATA, a0=7, a1=NEW) as hart:
        assert run(hart) == ("BREAKPOINT", START + 4, 0)
        hart.memory.protect(DATA, PAGE, READ)
        assert run(hart, START + 8) == ("FAULT", START + 8, DATA)
        assert (get(hart, "a0"), load(hart, DATA)) == (7, OLD)
