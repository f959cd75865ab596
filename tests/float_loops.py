"""Guest loops that execute one floating-point instruction over arrays of operands, in any tier and under qemu.

`differences` is the front door: what a tier makes of vectors, against what they say comes of their operands. Vectors go
through three loops:

- each     sets fcsr before and reads it after every instruction. A region of the jit tier ends at either, and another
           entry of it begins with the instruction.
- groups   sets and reads fcsr around some iterations, which in the jit tier stay within a region. The vectors of a
           group raise the same exceptions, so that one too many shows; some were there before, and must stay.
- dropped  is the same, but overwrites the results: exceptions must be raised nevertheless.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from machines import CODE, assemble, harts, instructions_of

from vmjit.codegen import host
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import INTERPRETER_SIZE
from vmjit.isa.instruction import Instruction
from vmjit.memory.address_space import READ, WRITE

QEMU = "qemu"
EMULATOR = "qemu-riscv64"
QEMU_SECONDS = 120
TIERS = ("interpreter", "copies", "jit", "reference", QEMU)
KINDS = ("each", "groups", "dropped")

MODES = {"rne": 0, "rtz": 1, "rdn": 2, "rup": 3, "rmm": 4}
DYNAMIC = 7  # in the rm field
HOST_MODES = 4  # from this frm on the reference evaluator executes everything
FRM, FLAGS = 5, 31  # the place of frm in fcsr; the flags there
RM = 12  # the place of the rm field

rv64 = instructions_of("riscv64")
Array = np.ndarray


# Instructions.

PLACES = {  # of operands and results: number and assembly name
    "fs1": (10, "fa0"),
    "fs2": (11, "fa1"),
    "fs3": (12, "fa2"),
    "rs1": (12, "a2"),
    "fd": (13, "fa3"),
    "rd": (16, "a6"),
}
# These have an operand or the result in memory, which is the loop's.
MEMORY = {"flw": ("flw fa3, 0(a0)",), "fsw": ("fsw fa0, 8(a0)", "fld fa3, 8(a0)")}
EXACT = ("fcvt.d.w", "fcvt.d.wu", "fcvt.d.s")  # whatever the mode


def names() -> list[str]:
    """The instructions on floats, but for FLD and FSD, which all loops have."""
    return [made.name for made in rv64.instructions if made.extension in ("F", "D") and made.name not in ("fld", "fsd")]


@dataclass(frozen=True)
class Operation:
    """An instruction; `rm` is its field of that name, 0 if it has none."""

    name: str
    rm: int = 0

    def __str__(self) -> str:
        return f"{self.name} with rm {self.rm}" if self.has_rounding else self.name

    @property
    def instruction(self) -> Instruction:
        return rv64.named(self.name)

    @property
    def fields(self) -> set[str]:
        return set(self.instruction.encoding.fields)

    @property
    def has_rounding(self) -> bool:
        return bool(self.fields & {"rm", "rme"})

    @property
    def operands(self) -> list[str]:
        """The fields that are read, in their order."""
        if self.name in MEMORY:
            return ["fs1", "fs2"]
        return [name for name in ("rs1", "fs1", "fs2", "fs3") if name in self.fields]

    @property
    def gives_integer(self) -> bool:
        return "rd" in self.fields

    @property
    def code(self) -> bytes:
        if self.name in MEMORY:
            return rv64.assemble(MEMORY[self.name][0])
        fields = {name: PLACES[name][0] if name in PLACES else 0 for name in self.fields}
        return (rv64.encode(self.name, **fields) | self.rm << RM).to_bytes(4, "little")

    @property
    def is_native(self) -> bool:
        """Whether regions have it: of static modes, only those of conversions to integers."""
        if self.name.startswith(("fm", "fnm")) and "fs3" in self.fields:
            return self.rm == DYNAMIC and host.has_fused_multiply_add()
        if self.has_rounding and self.gives_integer:
            return host.has_integral_rounding()
        return not self.has_rounding or self.rm == DYNAMIC or self.name in EXACT


# Loops.

INPUT, OUTPUT, GROUP = 32, 16, 16  # bytes: three operands and fcsr; result and fcsr; fcsr and the end of inputs
HEADER = 0x100000  # words: INPUTS, OUTPUTS, the end of inputs, GROUPS, the end of groups, bytes of outputs
INPUTS, OUTPUTS, GROUPS, END = 0x200000, 0x600000, 0x800000, 0xA00000
CHUNK = 1 << 16  # vectors at a time
PLACEHOLDER = "addi zero, zero, 0"  # of the instruction

ENTRY = f"""\
    lui t1, {HEADER >> 12:#x}
    ld a0, 0(t1)
    ld a1, 8(t1)
    ld a3, 16(t1)
    ld a4, 24(t1)
    ld a5, 32(t1)
"""
EACH = """\
    jal zero, @loop
loop:
    ld t0, 24(a0)
    {load}
    csrrw zero, fcsr, t0
    {execute}
    csrrs t0, fcsr, zero
    {store}
    sd t0, 8(a1)
    addi a0, a0, 32
    addi a1, a1, 16
    bne a0, a3, @loop
"""
IN_GROUPS = """\
groups:
    ld t0, 0(a4)
    ld a3, 8(a4)
    csrrw zero, fcsr, t0
    jal zero, @loop
loop:
    {load}
    {execute}
    {store}
    addi a0, a0, 32
    addi a1, a1, 16
    bne a0, a3, @loop
    csrrs t0, fcsr, zero
    sd t0, -8(a1)
    addi a4, a4, 16
    bne a4, a5, @groups
"""
# Asks Linux to write all outputs and to end; a hart of ours stops at the first call.
LEAVE = f"""\
    lui t1, {HEADER >> 12:#x}
    addi a0, zero, 1
    ld a1, 8(t1)
    ld a2, 40(t1)
    addi a7, zero, 64
    ecall
    addi a0, zero, 0
    addi a7, zero, 93
    ecall
"""


@dataclass(frozen=True)
class Loop:
    """The program of one operation and kind."""

    operation: Operation
    kind: str

    @property
    def text(self) -> str:
        operation, load, execute = self.operation, [], [PLACEHOLDER]
        for slot, field in enumerate(operation.operands):
            load.append(f"{'ld' if field == 'rs1' else 'fld'} {PLACES[field][1]}, {8 * slot}(a0)")
        execute.extend(MEMORY.get(operation.name, ())[1:])
        if self.kind == "dropped":
            execute.append("addi a6, zero, 0" if operation.gives_integer else "fmv.d.x fa3, zero")
        store = "sd a6, 0(a1)" if operation.gives_integer else "fsd fa3, 0(a1)"
        body = EACH if self.kind == "each" else IN_GROUPS
        return ENTRY + body.format(load="\n".join(load), execute="\n".join(execute), store=store) + LEAVE

    @property
    def code(self) -> bytes:
        code, at = self._assembled()
        return code[:at] + self.operation.code + code[at + 4 :]

    @property
    def pc(self) -> int:
        """The address of the instruction."""
        return CODE + self._assembled()[1]

    def _assembled(self) -> tuple[bytes, int]:
        """The code, and where the placeholder is."""
        code, placeholder = assemble(self.text, guest="riscv64"), rv64.assemble(PLACEHOLDER)
        places = [at for at in range(0, len(code), 4) if code[at : at + 4] == placeholder]
        assert len(places) == 1
        return code, places[0]


# Vectors.


@dataclass(frozen=True)
class Vectors:
    """Rows of three operands and the frm in force; the register and the exceptions that come of them."""

    operands: Array
    frm: Array
    results: Array
    flags: Array

    def __len__(self) -> int:
        return len(self.operands)

    def __getitem__(self, rows: slice | Array) -> "Vectors":
        return Vectors(self.operands[rows], self.frm[rows], self.results[rows], self.flags[rows])

    def sorted(self) -> "Vectors":
        """Those with mode and exceptions in common together."""
        return self[np.lexsort((self.flags, self.frm))]

    def at_most(self, count: int) -> "Vectors":
        """Evenly thinned."""
        return self if len(self) <= count else self[np.linspace(0, len(self) - 1, count).astype(np.int64)]


def joined(parts: list[Vectors]) -> Vectors:
    columns = ("operands", "frm", "results", "flags")
    return Vectors(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16)  # of groups; regions unroll loops by up to four


@dataclass(frozen=True)
class Groups:
    """Runs of rows: the row behind each, and fcsr before it."""

    ends: Array
    fcsr: Array

    @staticmethod
    def of(vectors: Vectors) -> "Groups":
        """Rows with mode and exceptions in common; every other group begins with exceptions."""
        key = vectors.frm << np.uint64(FRM) | vectors.flags
        changes = set((np.flatnonzero(key[1:] != key[:-1]) + 1).tolist())
        ends, fcsr, start = [], [], 0
        for number, size in enumerate(cycle(SIZES)):
            if start == len(vectors):
                break
            end = next((at for at in range(start + 1, start + size) if at in changes), start + size)
            ends.append(min(end, len(vectors)))
            fcsr.append(int(vectors.frm[start]) << FRM | (number % 2 * (11 * number // 2) & FLAGS))
            start = ends[-1]
        return Groups(np.array(ends, np.uint64), np.array(fcsr, np.uint64))


# Running.


class Stopped(Exception):
    """A hart did not get to the end of a loop."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(str(stop))
        self.stop = stop


Run = Callable[[Array, Groups], Array]  # (inputs, groups) -> outputs


def inputs_of(vectors: Vectors) -> Array:
    return np.column_stack((vectors.operands, vectors.frm << np.uint64(FRM)))


def areas(inputs: Array, groups: Groups) -> dict[int, bytes]:
    """What lies where in guest memory."""
    end, count = INPUTS + inputs.nbytes, len(groups.ends)
    table = np.column_stack((groups.fcsr, groups.ends * np.uint64(INPUT) + np.uint64(INPUTS)))
    header = (INPUTS, OUTPUTS, end, GROUPS, GROUPS + count * GROUP, len(inputs) * OUTPUT)
    return {HEADER: np.array(header, np.uint64).tobytes(), INPUTS: inputs.tobytes(), GROUPS: table.tobytes()}


@contextmanager
def on_hart(loop: Loop, tier: str) -> Iterator[tuple[Hart, Run]]:
    """A hart that runs a loop as often as one likes."""
    with harts(loop.code, Tier(tier), guest="riscv64") as hart:
        hart.memory.map(HEADER, END - HEADER, READ | WRITE)
        words, word = hart.words, hart.guest.layout.word

        def run(inputs: Array, groups: Groups) -> Array:
            for address, content in areas(inputs, groups).items():
                hart.memory.write(address, content)
            words[word("pc")], words[word("frm")], words[word("fflags")] = CODE, 0, 0
            stop = hart.run()
            if stop.reason is not ExitReason.SYSCALL:
                raise Stopped(stop)
            return np.frombuffer(hart.memory.read(OUTPUTS, len(inputs) * OUTPUT), np.uint64).reshape(-1, 2)

        yield hart, run


@contextmanager
def under_qemu(loop: Loop) -> Iterator[Run]:
    """The loop as an executable of its own."""
    from vmjit.fuzz.elf_writer import EXECUTE, READ, WRITE, Segment, executable

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop"

        def run(inputs: Array, groups: Groups) -> Array:
            segments = [Segment(CODE, len(loop.code), READ | EXECUTE, loop.code)]
            for address, content in areas(inputs, groups).items():
                segments.append(Segment(address, len(content), READ | WRITE, content))
            segments.append(Segment(OUTPUTS, len(inputs) * OUTPUT, READ | WRITE))
            path.write_bytes(executable(CODE, segments))
            path.chmod(0o755)
            command = (EMULATOR, "-cpu", "rv64", str(path))
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=QEMU_SECONDS)
            return np.frombuffer(done.stdout, np.uint64).reshape(-1, 2)

        yield run


def why_not_qemu() -> str | None:
    return None if shutil.which(EMULATOR) else f"{EMULATOR} is not installed"


# Comparing.


def differences(operation: Operation, vectors: Vectors, tier: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """A line for each vector of which a tier makes something else."""
    found = []
    vectors = vectors.sorted()
    for kind in kinds:
        loop = Loop(operation, kind)
        if tier == QEMU:
            with under_qemu(loop) as run:
                found += compared(loop, vectors, run)
            continue
        with on_hart(loop, tier) as (hart, run):
            if tier == "jit":
                compared(loop, vectors[:3], run)  # all regions are made
            emulated = hart.counters.exits["EMULATE"]
            found += compared(loop, vectors, run)
            if tier == "jit" and operation.is_native and vectors.frm[0] < HOST_MODES:
                assert is_within_region(hart, loop), f"{operation}, {kind}: no region has the instruction"
                assert hart.counters.exits["EMULATE"] == emulated, f"{operation}, {kind}: not all were native"
            if tier == "copies" and kind != "each" and operation.is_native and vectors.frm[0] < HOST_MODES:
                assert is_copied(hart, loop), f"{operation}, {kind}: no copy has the instruction"
    return found


def is_copied(hart: Hart, loop: Loop) -> bool:
    """Whether a copy is what an iteration executes, and the instruction is in it."""
    copies, start = hart.shared.copies, loop.pc - 4 * len(loop.operation.operands)
    assert copies is not None
    found = dict(one for made in copies.marks.values() for one in made).get(hart.native.code_of(start), [])
    return any(start + at == loop.pc for _, at in found)


def is_within_region(hart: Hart, loop: Loop) -> bool:
    """Whether native code of a region is what an iteration executes; the slot of an address leads to its code."""
    if loop.kind == "each":
        return hart.native.code_of(loop.pc) >= INTERPRETER_SIZE
    start = loop.pc - 4 * len(loop.operation.operands)  # of an iteration
    placed = hart.regions.find(hart.native.code_of(start))
    return placed is not None and any(first <= start <= loop.pc < end for first, end in placed.region.ranges)


def compared(loop: Loop, vectors: Vectors, run: Run) -> list[str]:
    return [line for at in range(0, len(vectors), CHUNK) for line in in_chunk(loop, vectors[at : at + CHUNK], run)]


def in_chunk(loop: Loop, vectors: Vectors, run: Run) -> list[str]:
    groups = Groups.of(vectors)
    outputs = run(inputs_of(vectors), groups)
    results = np.zeros_like(vectors.results) if loop.kind == "dropped" else vectors.results
    fcsr = vectors.frm << np.uint64(FRM) | vectors.flags
    rows = np.arange(len(vectors))
    if loop.kind != "each":
        rows = groups.ends.astype(np.int64) - 1
        fcsr[rows] |= groups.fcsr
    wrong = outputs[:, 0] != results
    wrong[rows] |= outputs[rows, 1] != fcsr[rows]
    return [
        f"{loop.operation}, {loop.kind}, of {' '.join(f'{word:016x}' for word in vectors.operands[row].tolist())}, "
        f"frm {vectors.frm[row]}: {outputs[row, 0]:016x} and fcsr {outputs[row, 1]:08b}, "
        f"not {results[row]:016x} and {fcsr[row]:08b}"
        for row in np.flatnonzero(wrong).tolist()
    ]
