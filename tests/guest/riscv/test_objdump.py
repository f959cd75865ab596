"""The description against binutils: every instruction of a whole program, every 16-bit parcel, many 32-bit words.

objdump prints with `no-aliases`, so its text is that of the manual's instruction, as ours is; what it adds for the
reader (comments, symbols) is stripped. It must know every instruction that we know, under the same name and with the
same operands, and none that we do not, but for the differences listed here, each with its reason. They are those of
binutils 2.40; a difference that another version does not have is no error.
"""

import os
import random
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmjit.guest import get
from vmjit.guest.riscv.csr import READ_ONLY, READ_WRITE
from vmjit.guest.riscv.operands import ROUNDING_MODES, rv64
from vmjit.isa.instruction import Decoded, Instruction

TOOLS = ("riscv64-linux-gnu-gcc", "riscv64-linux-gnu-as", "riscv64-linux-gnu-objcopy", "riscv64-linux-gnu-objdump")
COMPILER, ASSEMBLER, OBJCOPY, OBJDUMP = TOOLS
TABLE = get("riscv64").decode_table
LINE = re.compile(r" *([0-9a-f]+):\t([0-9a-f]+) +\t(.*)")
ILLEGAL = "illegal"
OPCODE_MASK, OP_FP, SYSTEM, MISC_MEM = 0x7F, 0x53, 0x73, 0x0F
CHUNK = 200_000  # random words in one file
WORDS = int(os.environ.get("OBJDUMP_WORDS", CHUNK))
FIRST = int(os.environ.get("RANDOM_SEED", "32"))

pytestmark = [pytest.mark.skipif(not shutil.which(tool), reason=f"no {tool}") for tool in TOOLS]

PROGRAM = """
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void *work(void *text) { return puts(text), NULL; }
int main(int count, char **words) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, words[0]);
    pthread_join(thread, NULL);
    printf("%f %Lf %d\\n", sin(atof(words[0])) * pow(count, 0.3), (long double)count, (int)lrintf(count));
    return 0;
}
"""


@dataclass(frozen=True)
class Seen:
    """One line of objdump, and what we make of the same bits."""

    pc: int
    word: int
    size: int
    theirs: str
    ours: str
    decoded: Decoded | None

    @property
    def agrees(self) -> bool:
        return self.ours == self.theirs

    def __str__(self) -> str:
        return f"{self.pc:x}: {self.word:0{2 * self.size}x}: {self.ours!r}, objdump {self.theirs!r}"


def objdump(*arguments: str | Path) -> Iterator[Seen]:
    line = [OBJDUMP, "-M", "no-aliases", *arguments]
    output = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    for found in map(LINE.fullmatch, output.splitlines()):
        if found:
            yield seen(int(found[1], 16), int(found[2], 16), len(found[2]) // 2, found[3])


def seen(pc: int, word: int, size: int, text: str) -> Seen:
    found = TABLE.decode_word(word, size)
    decoded = None if isinstance(found, int) else found
    theirs = " ".join(re.sub(r"\s*(#.*|<.*>)", "", text).split())
    if theirs.startswith((".2byte", ".4byte", ".insn", ".word", ".short")):
        theirs = ILLEGAL
    elif decoded and any(rv64.operands[name].relative for name in decoded.fields):
        theirs = re.sub(r"(0x)?([0-9a-f]+)$", r"0x\2", theirs)  # where there are symbols, without 0x
    ours = ILLEGAL if decoded is None else decoded.text(pc).replace(", ", ",")
    return Seen(pc, word, size, theirs, ours, decoded)


def assert_agrees(lines: Iterable[Seen], differences: tuple[Callable[[Seen], bool], ...], at_least: int) -> None:
    """How many differ for which reason is printed: `pytest -rP` shows it."""
    lines = list(lines)
    assert len(lines) >= at_least
    reasons = [(s, [reason.__name__ for reason in differences if reason(s)]) for s in lines if not s.agrees]
    counts = Counter(" and ".join(names) for _, names in reasons)
    print(f"{len(lines)} compared", *(f"{count} {name}" for name, count in counts.most_common()), sep="\n")
    unexplained = [str(s) for s, names in reasons if not names]
    assert not unexplained, f"{len(unexplained)} of {len(lines)} differ:\n" + "\n".join(unexplained[:20])


# Why the two may differ.


def alias_of_nop(s: Seen) -> bool:
    """The manual has a row of its own for C.NOP; binutils shows what the general row would give."""
    return (s.ours, s.theirs) == ("c.nop", "c.addi zero,0")


def name_of_zero(s: Seen) -> bool:
    """The all-zero parcel is illegal for good; binutils gives that a name."""
    return s.word == 0 and s.theirs in ("c.unimp", "unimp")


def shift_by_zero(s: Seen) -> bool:
    """Shifts by 0 mean 64 in RV128C, whose names binutils uses; in RV64C they are hints (table of HINTs)."""
    name, _, register = s.theirs.partition(" ")
    return name in ("c.slli64", "c.srli64", "c.srai64") and s.ours == f"{name[:-2]} {register},0x0"


def reserved_addi16sp(s: Seen) -> bool:
    """C.ADDI16SP with immediate 0 is reserved ("valid only when nzimm is not 0"); binutils shows it."""
    return s.word == 0x6101 and (s.ours, s.theirs) == (ILLEGAL, "c.addi16sp sp,0")


def other_csr(s: Seen) -> bool:
    """binutils takes any number for a CSR; registers we do not have, and writes to read-only ones, are illegal."""
    is_csr = s.word & OPCODE_MASK == SYSTEM and s.word >> 12 & 3 != 0
    number, written = s.word >> 20, s.word >> 12 & 3 == 1 or s.word >> 15 & 31 != 0
    ours = number in READ_WRITE or (number in READ_ONLY and not written)
    return is_csr and not ours and s.ours == ILLEGAL


def privileged(s: Seen) -> bool:
    """Instructions of other privilege levels are illegal in user mode."""
    names = ("uret", "sret", "mret", "dret", "wfi", "sfence.vma")
    return s.word & OPCODE_MASK == SYSTEM and s.ours == ILLEGAL and s.theirs.split()[0] in names


def reserved_rounding(s: Seen) -> bool:
    """Rounding modes 5 and 6 are reserved; binutils prints them as unknown."""
    return s.ours == ILLEGAL and s.theirs.endswith(",unknown") and s.word >> 12 & 7 not in ROUNDING_MODES


def rounding_of_exact_conversion(s: Seen) -> bool:
    """Conversions that are always exact have an rm field all the same; binutils knows only 0 in it."""
    return s.theirs == ILLEGAL and s.ours.startswith(("fcvt.d.w ", "fcvt.d.wu ", "fcvt.d.s ")) and s.word >> 12 & 7 != 0


def reserved_fields_of_fence(s: Seen) -> bool:
    """The manual has implementations ignore the reserved fields of FENCE and FENCE.I; binutils wants zeros there."""
    rd, rs1, high = s.word >> 7 & 31, s.word >> 15 & 31, s.word >> 20 if s.ours == "fence.i" else s.word >> 28
    zeros = rd == rs1 == 0 and high == (8 if s.ours == "fence.tso" else 0)
    return s.theirs == ILLEGAL and s.word & OPCODE_MASK == MISC_MEM and s.ours.startswith("fence") and not zeros


def newer_extension(s: Seen) -> bool:
    """binutils 2.40 does not know Zicond yet."""
    return s.theirs == ILLEGAL and s.decoded is not None and s.decoded.instruction.extension == "Zicond"


SHORT = (alias_of_nop, name_of_zero, shift_by_zero, reserved_addi16sp)
LONG = (
    other_csr,
    privileged,
    reserved_rounding,
    rounding_of_exact_conversion,
    reserved_fields_of_fence,
    newer_extension,
)


def test_whole_program(tmp_path: Path) -> None:
    """A static program of glibc: tens of thousands of instructions as compilers and people write them."""
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    subprocess.run([COMPILER, "-O2", "-static", "-o", program, source, "-lm"], check=True, timeout=120)
    assert_agrees(objdump("-d", program), (alias_of_nop, name_of_zero), at_least=50_000)


def test_all_short_parcels(tmp_path: Path) -> None:
    """Everything 16 bits long, in the base ISA that objdump assumes for raw bytes: RV64GC."""
    words = [word for word in range(1 << 16) if word & 3 != 3]
    raw = tmp_path / "parcels"
    raw.write_bytes(struct.pack(f"<{len(words)}H", *words))
    lines = list(objdump("-D", "-b", "binary", "-m", "riscv:rv64", raw))
    assert [s.word for s in lines] == words
    assert_agrees(lines, SHORT, at_least=len(words))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + -(-WORDS // CHUNK)))
def test_many_long_words(tmp_path: Path, seed: int) -> None:
    """Random words; each row with random fields; the same with one bit wrong, where a mask too wide would show."""
    words = list(long_words(random.Random(seed)))
    assert_agrees(objdump("-D", "-j", ".text", object_file(tmp_path, words)), LONG, at_least=len(words))


def long_words(source: random.Random) -> Iterator[int]:
    for _ in range(min(CHUNK, WORDS)):
        yield as_long(source.getrandbits(32))
    for instruction in rv64.instructions:
        for _ in range(200 if instruction.encoding.size == 4 else 0):
            word = source.getrandbits(32) & ~instruction.encoding.mask | instruction.encoding.match
            yield word
            yield as_long(word ^ 1 << source.randrange(5, 32))
            yield not_reserved(instruction, word, source)


def not_reserved(instruction: Instruction, word: int, source: random.Random) -> int:
    """The word with structural fields that have a meaning; of the CSRs, chance alone would find none."""
    for name, field in instruction.encoding.fields.items():
        values = instruction.operands[name].structural
        if values is not None:
            word = word & ~field.encode(-1) | field.encode(source.choice(values))
    return word


def as_long(word: int) -> int:
    """The word with the low bits of a 32-bit instruction: 11, and not 111 after them."""
    word |= 3
    return word ^ 4 if word & 0x1F == 0x1F else word


def object_file(folder: Path, words: list[int]) -> Path:
    """An object file of these words that names the extensions; its symbols, which would call them data, removed."""
    raw, source, made = folder / "words", folder / "words.s", folder / "words.o"
    raw.write_bytes(struct.pack(f"<{len(words)}I", *words))
    source.write_text(f'.attribute arch, "rv64gc_zihintpause_zba_zbb_zbs"\n.text\n.incbin "{raw}"\n')
    subprocess.run([ASSEMBLER, "-o", made, source], check=True, timeout=60)
    subprocess.run([OBJCOPY, "--strip-all", made], check=True, timeout=60)
    return made
