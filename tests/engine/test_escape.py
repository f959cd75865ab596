"""A guest cannot reach host memory: every access outside its own is a fault with the exact address and pc.

In the reference evaluator, the interpreter and compiled regions: single accesses of every kind at the limits of guest
memory and of 64 bits, loops that walk out of guest memory with every stride, and random programs with hostile pointers.
What is expected comes from a model here. Around guest memory and its guards lie pages with a pattern, which must be
there in the end. VMJIT_ESCAPE_PROGRAMS=5000 tries so many random programs, and all kinds of access in each loop.
"""

import ctypes
import os
import random
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import pytest
from machines import CODE, DATA, PAGE, assemble, harts, interpreter_of, set_registers

from vmjit.codegen.runtime import GUARD
from vmjit.engine.hart import Hart, Tier
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import ADDRESS_BITS, INTERPRETER_SIZE
from vmjit.memory.address_space import READ, WRITE, AddressSpace

PROGRAMS = int(os.environ.get("VMJIT_ESCAPE_PROGRAMS", "40"))
THOROUGH = "VMJIT_ESCAPE_PROGRAMS" in os.environ
SEED = int(os.environ.get("VMJIT_ESCAPE_SEED", "1"))

LIMIT, MASK = 1 << ADDRESS_BITS, (1 << 64) - 1
EDGE = 0x1000  # bytes that are mapped at the bottom and at the top of guest memory
CANARY = 1 << 16  # bytes of pattern on each side
TIERS = (Tier.REFERENCE, Tier.INTERPRETER, Tier.JIT)
every_tier = pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.value)

# name, bytes, whether it stores
LOADS = (("lb", 1), ("lbu", 1), ("lh", 2), ("lhu", 2), ("lw", 4), ("lwu", 4), ("ld", 8), ("flw", 4), ("fld", 8))
STORES = (("sb", 1), ("sh", 2), ("sw", 4), ("sd", 8), ("fsw", 4), ("fsd", 8))
SHORT = (("c.lw", 4, "a1"), ("c.ld", 8, "a1"), ("c.fld", 8, "fa1"), ("c.sw", 4, "a1"), ("c.sd", 8, "a1"))
SHORT += (("c.fsd", 8, "fa1"),)
ATOMICS = ("lr", "sc", "amoadd", "amoswap", "amoxor", "amoand", "amoor", "amomin", "amomax", "amominu", "amomaxu")


# Surroundings.


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> None:
    """Made here, so that no child has to."""
    interpreter_of("riscv64")


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
READ_WRITE, PRIVATE_ANONYMOUS_NOREPLACE = 3, 0x100022


class Canary:
    """A pattern next to the guard areas, where the host has room."""

    def __init__(self, memory: AddressSpace) -> None:
        self.memory = memory
        wanted = (memory.base - GUARD - CANARY, memory.base + LIMIT + GUARD)
        self.places = [
            at for at in wanted if _libc.mmap(at, CANARY, READ_WRITE, PRIVATE_ANONYMOUS_NOREPLACE, -1, 0) == at
        ]
        for place in self.places:
            ctypes.memset(place, 0xA5, CANARY)

    def check(self) -> None:
        """The pattern is there, and nothing in the guards is accessible."""
        for place in self.places:
            assert ctypes.string_at(place, CANARY) == b"\xa5" * CANARY
        base = self.memory.base
        with open("/proc/self/maps") as maps:
            for line in maps:
                start, end = (int(text, 16) for text in line.split()[0].split("-"))
                for guard in (base - GUARD, base + LIMIT):
                    overlaps = start < guard + GUARD and guard < end
                    assert not overlaps or line.split()[1].startswith("---"), line

    def close(self) -> None:
        for place in self.places:
            _libc.munmap(place, CANARY)


@contextmanager
def cornered(text: str, tier: Tier) -> Iterator[Hart]:
    """A hart with memory at the bottom, in the middle and at the very top of its addresses."""
    with harts(assemble(text, CODE, "riscv64"), tier, guest="riscv64") as hart:
        for start in (0, LIMIT - EDGE):
            hart.memory.map(start, EDGE, READ | WRITE)
        canary = Canary(hart.memory)
        try:
            yield hart
            canary.check()
        finally:
            canary.close()


def in_a_child(body: Callable[[], None]) -> None:
    """What escapes may end the process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        message = ""
        try:
            body()
        except BaseException:
            message = traceback.format_exc()
        finally:
            os.write(writer, message.encode()[:60000])
            os._exit(bool(message))
    os.close(writer)
    with open(reader) as output:
        text = output.read()
    status = os.waitpid(pid, 0)[1]
    assert not text, text
    assert status == 0, f"it ended by signal {status}"


def accessible(address: int) -> bool:
    return any(start <= address < end for start, end in ((0, EDGE), (DATA, DATA + PAGE), (LIMIT - EDGE, LIMIT)))


def first_refused(address: int, size: int, *, stores: bool) -> int | None:
    """The first byte of an access that faults; code may be read."""
    for byte in range(address, address + size):
        readable = not stores and CODE <= byte < CODE + PAGE
        if not accessible(byte & MASK) and not readable:
            return byte & MASK
    return None


# Single accesses.


CENTRES = (0, EDGE, CODE, CODE + PAGE, DATA, DATA + PAGE, LIMIT - EDGE, LIMIT, LIMIT + GUARD, 2 * LIMIT, 1 << 39)
CENTRES += (1 << 31, 1 << 32, LIMIT - (1 << 32), LIMIT - (1 << 31), LIMIT + (1 << 31), 1 << 47, 1 << 48, 1 << 62)
CENTRES += (1 << 63, (1 << 64) - GUARD, (1 << 64) - LIMIT, (1 << 64) - (1 << 31), (1 << 63) + LIMIT)
AROUND = (-4096, -2048, -17, -9, -8, -7, -4, -3, -2, -1, 0, 1, 2, 4, 7, 8, 16, 2047, 4096)
ADDRESSES = sorted({(centre + near) & MASK for centre, near in product(CENTRES, AROUND)})


def single(access: str) -> str:
    """A jump to an access, so that a region begins with it, and a system call after it."""
    return f"jal zero, @target\ntarget:\n{access}\necall"


def assert_exact(hart: Hart, base: int, address: int, size: int, *, stores: bool, aligned: bool) -> None:
    """Run the access at `address` through s0 = `base` and compare with the model."""
    size_of_jump = 4
    before = {"x8": base, "x11": 0x1122334455667788, "x12": 0x99, "f11": 0xAA, "f12": 0xBB}
    set_registers(hart, pc=CODE, **before, reserved_address=address, reserved_value=0)
    stop = hart.run()
    refused = first_refused(address, size, stores=stores)
    if aligned and address % size:
        expected = (ExitReason.MISALIGNED, CODE + size_of_jump, address)
    elif refused is not None:
        expected = (ExitReason.FAULT, CODE + size_of_jump, refused)
    else:
        assert stop.reason is ExitReason.SYSCALL, stop
        return
    assert (stop.reason, stop.pc, stop.argument) == expected, f"{address:#x}: {stop}, not {expected}"
    layout, words = hart.guest.layout, hart.words
    assert {name: words[layout.word(name)] for name in before} == before
    assert words[layout.word("pc")] == stop.pc


def try_addresses(tier: Tier, access: str, offset: int, size: int, *, stores: bool, aligned: bool = False) -> None:
    """All addresses, reached through a base that may be out of range where the address is not, and vice versa."""
    with cornered(single(access), tier) as hart:
        contents = bytes(range(1, 256)) * 65
        for start in (0, LIMIT - EDGE):
            hart.memory.write(start, contents[:EDGE])
        for address in ADDRESSES:
            assert_exact(hart, address - offset & MASK, address, size, stores=stores, aligned=aligned)
            if stores and first_refused(address, size, stores=True) is not None:
                for start in (0, LIMIT - EDGE):
                    near = min(max(address, start), start + EDGE) & -64
                    place = max(start, min(near - 64, start + EDGE - 128))
                    found, kept = hart.memory.read(place, 128), contents[place - start :][:128]
                    assert found == kept, f"a store that faults at {address:#x} has changed {place:#x}"
            if stores:
                for start in (0, LIMIT - EDGE):
                    hart.memory.write(start, contents[:EDGE])
        assert (hart.native.code_of(CODE + 4) >= INTERPRETER_SIZE) == (tier is Tier.JIT)


@every_tier
@pytest.mark.parametrize("offset", [0, 2047, -2048])
def test_loads(tier: Tier, offset: int) -> None:
    def body() -> None:
        for name, size in LOADS if offset == 0 else LOADS[::3]:
            target = "fa1" if name.startswith("f") else "a1"
            try_addresses(tier, f"{name} {target}, {offset}(s0)", offset, size, stores=False)

    in_a_child(body)


@every_tier
@pytest.mark.parametrize("offset", [0, 2040, -1])
def test_stores(tier: Tier, offset: int) -> None:
    def body() -> None:
        for name, size in STORES if offset == 0 else STORES[1::2]:
            value = "fa1" if name.startswith("f") else "a1"
            try_addresses(tier, f"{name} {value}, {offset}(s0)", offset, size, stores=True)

    in_a_child(body)


@every_tier
def test_short_forms(tier: Tier) -> None:
    def body() -> None:
        for name, size, register in SHORT:
            text = f"{name} {register}, {size}(s0)"
            try_addresses(tier, text, size, size, stores=name in ("c.sw", "c.sd", "c.fsd"))

    in_a_child(body)


@every_tier
def test_atomics(tier: Tier) -> None:
    """They trap at addresses that are not aligned, and need write permission (LR only reads)."""

    def body() -> None:
        for number, name in enumerate(ATOMICS):
            suffix, size = (("w", 4), ("d", 8))[number % 2] if number > 1 else ("d", 8)
            operands = "a1, (s0)" if name == "lr" else "a1, a2, (s0)"
            try_addresses(tier, f"{name}.{suffix} {operands}", 0, size, stores=name != "lr", aligned=True)

    in_a_child(body)


# Loops that walk out.

STRIDES = (1, 2, 8, 2048, 4096, 4104, 1 << 20, (1 << 28) - 8, 1 << 28, 1 << 29, (1 << 29) + 8, 1 << 30, (1 << 31) - 8)
STRIDES += (1 << 31, 1 << 32, (1 << 32) + 8, 1 << 33, 1 << 37, 1 << 38, 1 << 45, 1 << 62, 1 << 63)
BOTH_WAYS = tuple(sign * stride for stride in STRIDES for sign in (1, -1))
STARTS = (0x400, DATA + 0x800, LIMIT - 0x400)
ROUNDS = 1500
ACCESSES = ("ld a0,", "sd a1,", "sb zero,", "fld fa0,")

# Each walks with s1 as its stride; {access} comes before the operand that is its address.
SHAPES = {
    "access first": "{access} 0(s0)\nadd s0, s0, s1",
    "access last": "add s0, s0, s1\n{access} 0(s0)",
    "twice": "{access} 0(s0)\nadd s0, s0, s1\nadd s0, s0, s1",
    "offset": "{access} 1032(s0)\nadd s0, s0, s1",
    "sum": "add t0, s0, s3\n{access} 0(t0)\nadd s0, s0, s1",
    "sum of three": "add t0, s0, s3\nadd t0, t0, s4\n{access} -8(t0)\nadd s0, s0, s1",
    "index": "add t0, s5, s0\n{access} 0(t0)\nadd s0, s0, s1",
    "difference": "sub t0, s0, s3\n{access} 0(t0)\nadd s0, s0, s1",
    "dependent": "{access} 0(s0)\nadd t0, s0, s1\nadd t0, t0, s1\n{access} 8(t0)\nadd s0, s0, s1",
    "three strides away": "{access} 0(s0)\nadd t0, s0, s1\nadd t0, t0, s1\nadd t0, t0, s1\n{access} 0(t0)\n"
    "add s0, s0, s1",
    "two pointers": "{access} 0(s0)\n{access} 0(s6)\nadd s0, s0, s1\nadd s6, s6, s1",
    "stride that grows": "{access} 0(s0)\nadd s0, s0, s1\nadd s1, s1, s1",
    "constant stride": "lui t1, 0x7ffff\n{access} 0(s0)\nadd s0, s0, t1\nadd s0, s0, t1\nadd s0, s0, t1",
    "constants away": "lui t1, 0x7ffff\n{access} 0(s0)\nadd t0, s0, t1\nadd t0, t0, t1\nadd t0, t0, t1\n"
    "{access} 0(t0)\nadd s0, s0, s1",
    "stride that changes": "{access} 0(s0)\nadd s0, s0, s4\nadd s4, s3, zero\nadd s3, s5, zero\nadd s5, s6, zero\n"
    "add s6, a3, zero\nadd a3, a4, zero\nadd a4, s1, zero",  # later than what a region looks at in one round
    "eight strides": "{access} 0(s0)" + 8 * "\nadd s0, s0, s1",
    "stride from memory": "lui t2, 0x20\nld s1, 0(t2)\n{access} 0(s0)\nadd s0, s0, s1",
    "only some rounds": "andi t0, s2, 1\nbeq t0, zero, @skip\n{access} 0(s0)\nskip:\nadd s0, s0, s1",
    "advance in some rounds": "{access} 0(s0)\nandi t0, s2, 3\nbeq t0, zero, @skip\nadd s0, s0, s1\n"
    "skip:\nadd s0, s0, s1",
}


def walk(shape: str, access: str) -> str:
    """A loop of s2 rounds."""
    body = SHAPES[shape].format(access=access)
    return f"jal zero, @loop\nloop:\n{body}\naddi s2, s2, -1\nbne s2, zero, @loop\necall"


NUMBER_OF = {"zero": 0, "t0": 5, "t1": 6, "t2": 7, "s0": 8, "s1": 9, "a0": 10, "a3": 13, "a4": 14, "a5": 15, "s2": 18}
NUMBER_OF |= {"s3": 19, "s4": 20, "s5": 21, "s6": 22, "t6": 31}


class Model:
    """What a walk does, one instruction after another, as far as these programs need; it stores nothing."""

    def __init__(self, text: str, registers: dict[str, int], stride: int) -> None:
        self.registers = {**dict.fromkeys(NUMBER_OF, 0), **registers}
        self.stride = stride
        self.lines: list[str] = []
        self.labels: dict[str, int] = {}
        for line in text.splitlines():
            if line.endswith(":"):
                self.labels[line[:-1]] = len(self.lines)
            else:
                self.lines.append(line)

    def run(self) -> tuple[ExitReason, int, int]:
        """The stop: reason, pc, argument."""
        at = 0
        while True:
            name, _, rest = self.lines[at].partition(" ")
            operands = [operand.strip() for operand in rest.replace("(", ",").replace(")", "").split(",")]
            pc = CODE + 4 * at
            if name == "ecall":
                return ExitReason.SYSCALL, pc + 4, 0
            if name in ("ld", "sd", "sb", "fld"):
                target, offset, base = operands
                address = self.registers[base] + int(offset) & MASK
                refused = first_refused(address, 1 if name == "sb" else 8, stores=name.startswith("s"))
                if refused is not None:
                    return ExitReason.FAULT, pc, refused
                if target == "s1":
                    self.registers["s1"] = self.stride
                at += 1
            else:
                at = self.step(name, operands, at)

    def step(self, name: str, operands: list[str], at: int) -> int:
        """Everything but accesses; where to go on."""
        get = self.registers.__getitem__
        if name == "jal":
            return self.labels[operands[1][1:]]
        if name in ("beq", "bne"):
            taken = (get(operands[0]) == get(operands[1])) == (name == "beq")
            return self.labels[operands[2][1:]] if taken else at + 1
        a = 0 if name == "lui" else get(operands[1])
        b = int(operands[-1], 0) if name in ("lui", "addi", "andi") else get(operands[2])
        value = {"lui": b << 12, "addi": a + b, "add": a + b, "sub": a - b, "andi": a & b}[name]
        self.registers[operands[0]] = value & MASK
        return at + 1


def registers_for(shape: str, start: int, stride: int, choose: random.Random) -> dict[str, int]:
    """The walk begins at `start`, whatever the address is made of."""
    third, fourth, base = choose.choice((0, 8, -8, 1 << 40, 1 << 63)), choose.choice((0, 16, -(1 << 38))), 0
    sums = {"sum": -third, "sum of three": -third - fourth + 8, "difference": third, "offset": -1032}
    if shape == "index":
        base = choose.choice((start, 0, start - (1 << 20), 1 << 63))
        first = start - base
    else:
        first = start + sums.get(shape, 0)
    if shape == "stride that changes":
        small = dict.fromkeys(("s3", "s4", "s5", "s6", "a3", "a4"), 8)
        return {"s0": start, "s1": stride & MASK, "s2": ROUNDS, **small}
    values = {"s0": first, "s1": stride, "s2": ROUNDS, "s3": third, "s4": fourth, "s5": base, "s6": start}
    return {name: value & MASK for name, value in values.items()}


def try_walks(tier: Tier, shape: str, access: str) -> None:
    choose = random.Random(f"{shape} {access}")
    text = walk(shape, access)
    with cornered(text, tier) as hart:
        for start, stride in product(STARTS, BOTH_WAYS):
            values = registers_for(shape, start, stride, choose)
            hart.memory.write(DATA, struct.pack("<Q", stride & MASK) * (PAGE // 8))
            set_registers(hart, pc=CODE, x11=stride, **{f"x{NUMBER_OF[name]}": value for name, value in values.items()})
            stop = hart.run()
            expected = Model(text, values, stride & MASK).run()
            found = (stop.reason, stop.pc, stop.argument)
            assert found == expected, f"{shape}, {access}, from {start:#x} by {stride:#x}: {found}, not {expected}"
        if tier is Tier.JIT:
            assert hart.native.code_of(CODE + 4) >= INTERPRETER_SIZE


def accesses_of(shape: str, tier: Tier) -> tuple[str, ...]:
    """All of them when asked for; else one a shape, and few shapes for the interpreter, which knows no loops."""
    if shape == "stride from memory":
        return ("ld a0,",)  # a store would change the stride
    if THOROUGH:
        return ACCESSES
    index = list(SHAPES).index(shape)
    return (ACCESSES[index % 4],) if tier is Tier.JIT or index % 5 == 0 else ()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tier", [Tier.INTERPRETER, Tier.JIT], ids=lambda tier: tier.value)
def test_walks(tier: Tier, shape: str) -> None:
    """Loops whose checks are hoisted, or must not be."""

    def body() -> None:
        for access in accesses_of(shape, tier):
            try_walks(tier, shape, access)

    in_a_child(body)


FAR = (0x7FFFF000, -0x7FFFF000, 0x10000000, -0x10000000, 0xFFFF000, 0x40000000)
TIMES = (1, 2, 3, 4, 8)


@pytest.mark.parametrize("constant", FAR if THOROUGH else FAR[:3])
def test_far_from_an_address_that_was_good(constant: int) -> None:
    """A check must not decide another that is further away than a guard reaches."""

    def body() -> None:
        for times, loads in product(TIMES, (False, True)):
            access = "ld a0," if loads else "sd a1,"
            steps = f"lui t1, {constant >> 12 & 0xFFFFF:#x}\nadd t0, s0, t1\n" + "add t0, t0, t1\n" * (times - 1)
            text = f"jal zero, @target\ntarget:\n{access} 0(s0)\n{steps}{access} 8(t0)\necall"
            pc = CODE + 8 + len(assemble(steps, CODE, "riscv64"))
            with cornered(text, Tier.JIT) as hart:
                for near, base in product((0, 8, 0xFF0), (0, DATA, LIMIT - EDGE)):
                    set_registers(hart, pc=CODE, x8=base + near)
                    stop = hart.run()
                    address = base + near + times * constant + 8 & MASK
                    refused = first_refused(address, 8, stores=not loads)
                    expected = (ExitReason.SYSCALL, pc + 8, 0) if refused is None else (ExitReason.FAULT, pc, refused)
                    assert (stop.reason, stop.pc, stop.argument) == expected, f"{base + near:#x}, {times} times"
                assert hart.native.code_of(CODE + 4) >= INTERPRETER_SIZE

    in_a_child(body)


# Random programs.

POINTERS = ("s0", "s1", "a0", "a3", "a4")
STRIDE_REGISTERS = ("a5", "s2", "s3")
HOSTILE = (0, 8, DATA, DATA + PAGE - 8, LIMIT - 8, LIMIT - EDGE, LIMIT, LIMIT + 8, 2 * LIMIT, 1 << 31, 1 << 32, 1 << 63)
HOSTILE += (MASK, MASK - 7, (1 << 64) - GUARD, LIMIT + GUARD, LIMIT - GUARD, LIMIT - (1 << 31), 1 << 62, CODE)


def random_program(choose: random.Random) -> str:
    """Loops and branches around accesses through a few pointers."""
    lines = ["jal zero, @l0"]
    blocks = choose.randrange(2, 6)
    for block in range(blocks):
        lines.append(f"l{block}:")
        for _ in range(choose.randrange(1, 7)):
            lines += random_operation(choose)
        lines += ["addi t6, t6, -1", "beq t6, zero, @end"]
        if choose.randrange(3):
            test = choose.choice(("beq", "bne", "bltu", "bge"))
            other = choose.randrange(blocks)
            lines.append(f"{test} {choose.choice(POINTERS)}, {choose.choice(STRIDE_REGISTERS)}, @l{other}")
    return "\n".join([*lines, f"jal zero, @l{choose.randrange(blocks)}", "end:", "ecall"])


def random_operation(choose: random.Random) -> list[str]:
    pointer, other, stride = choose.choice(POINTERS), choose.choice(POINTERS), choose.choice(STRIDE_REGISTERS)
    offset = choose.choice((0, 0, 8, -8, 1, 2047, -2048, 16))
    kind = choose.randrange(10)
    if kind < 4:
        name = choose.choice(("ld", "lw", "lbu", "sd", "sb", "sh", "fld", "fsw"))
        value = choose.choice(("fa0", "fa1")) if name.startswith("f") else choose.choice(("t0", "t1", "zero"))
        return [f"{name} {value}, {offset}({pointer})"]
    if kind == 4:
        name = choose.choice(("amoadd.d", "amoswap.w", "lr.d", "sc.d"))
        return [f"{name} t0, ({pointer})" if name == "lr.d" else f"{name} t0, t1, ({pointer})"]
    if kind == 5:
        return [f"addi {pointer}, {pointer}, {choose.choice((8, -8, 1, 2040, -2048))}"]
    if kind == 6:
        return [f"add {pointer}, {pointer}, {stride}"]
    if kind == 7:
        return [f"{choose.choice(('add', 'sub', 'xor'))} t2, {pointer}, {stride}", f"ld t1, {offset}(t2)"]
    if kind == 8:
        return [f"{choose.choice(('add', 'sub', 'or', 'and'))} {pointer}, {other}, {stride}"]
    return [f"{choose.choice(('slli', 'srli', 'srai'))} {stride}, {stride}, 0x1"]


def random_values(choose: random.Random) -> dict[str, int]:
    values = {}
    for name in (*POINTERS, *STRIDE_REGISTERS):
        near = choose.choice((0, 0, 8, -8, 1, -1, 4096, choose.randrange(-5000, 5000)))
        good = choose.choice((DATA + 64, LIMIT - 0x1000, 0x1000))
        wild = choose.choice((choose.choice(HOSTILE) + near, choose.getrandbits(choose.choice((38, 39, 64)))))
        if name in STRIDE_REGISTERS:
            values[name] = choose.choice((8, -8, 16, 1 << 20, *BOTH_WAYS, wild)) & MASK
        else:
            values[name] = (good if choose.randrange(4) else wild) & MASK
    return {**values, "t6": 300, "t1": choose.getrandbits(64)}


def outcome(hart: Hart, values: dict[str, int], *, with_registers: bool) -> tuple[object, ...]:
    """How a run from these values ends: the stop, memory, and the registers where they are exact."""
    for start, size in ((0, EDGE), (DATA, PAGE), (LIMIT - EDGE, EDGE)):
        hart.memory.write(start, bytes(range(256)) * (size // 256))
    set_registers(hart, **{f"x{n}": 0 for n in range(1, 32)}, f10=0, f11=0, pc=CODE, reserved_address=MASK)
    set_registers(hart, **{f"x{NUMBER_OF[name]}": value for name, value in values.items()})
    stop = hart.run()
    memory = tuple(hart.memory.read(start, size) for start, size in ((0, EDGE), (DATA, PAGE), (LIMIT - EDGE, EDGE)))
    words, word = hart.words, hart.guest.layout.word
    exact = with_registers or stop.reason is ExitReason.SYSCALL
    registers = tuple(words[word(f"x{n}")] for n in range(1, 32)) if exact else ()
    return (stop.reason, stop.pc, stop.argument), memory, registers


def try_program(seed: int) -> None:
    choose = random.Random(seed)
    text = random_program(choose)
    inputs = [random_values(choose) for _ in range(12)]
    precise = bool(seed & 1)
    results = []
    for tier in TIERS:
        with cornered(text, tier) as hart:
            if precise and tier is not Tier.REFERENCE:
                hart.make_precise()
            results.append([outcome(hart, values, with_registers=precise) for values in inputs])
    for values, reference, *others in zip(inputs, *results, strict=True):
        for tier, found in zip(TIERS[1:], others, strict=True):
            for part, expected in zip(found, reference, strict=True):
                assert part == expected, f"seed {seed}, {tier.value}, {values}:\n{found[0]}, not {reference[0]}\n{text}"
        address = reference[0][2] if reference[0][0] is ExitReason.FAULT else None
        assert address is None or not accessible(address) or reference[0][1] < CODE, (seed, reference[0])


@pytest.mark.parametrize("part", range(4))
def test_random_programs_with_hostile_pointers(part: int) -> None:
    def body() -> None:
        for seed in range(SEED * 1_000_000 + part, SEED * 1_000_000 + PROGRAMS, 4):
            try_program(seed)

    in_a_child(body)
