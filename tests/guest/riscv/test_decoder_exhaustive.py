"""Every 16-bit parcel and very many 32-bit words through the decoders: Python's, the native stub's, and the rows.

The rows are the third opinion: an instruction is found by comparing the word with each row's mask and match, without
the decision table. The stub gets a table of handlers made here, that go on to the next instruction, so one run decodes
a page of words; the slots then say which handler each was given, and its operands. VMJIT_DECODE_WORDS=10000000 and
VMJIT_OBJDUMP_WORDS=1000000 try so many.
"""

import ctypes
import os
import random
import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from machines import CODE, PAGE, interpreter_of, memory_with
from numpy.typing import NDArray
from test_objdump import LONG, TABLE, TOOLS, as_long, assert_agrees, long_words, objdump, object_file

from vmjit.codegen.lower import CONVENTION, PARAMETERS
from vmjit.codegen.runtime import tail
from vmjit.engine.interpreter import places_of
from vmjit.engine.native import Native
from vmjit.guest import get
from vmjit.guest.riscv.operands import rv64
from vmjit.ir.exits import ExitReason
from vmjit.ir.layout import PAGE_BITS, SLOT_OPERANDS, SLOT_SCALE
from vmjit.isa.instruction import Decoded, Instruction
from vmjit.jit.blob import Blob
from vmjit.jit.compiler import Compiler

WORDS = int(os.environ.get("VMJIT_DECODE_WORDS", "400000"))
OBJDUMP_WORDS = int(os.environ.get("VMJIT_OBJDUMP_WORDS", "30000"))
SEED = int(os.environ.get("VMJIT_DECODE_SEED", "7"))
CHUNK = 100 * PAGE  # words at a time: arrays of these fit into the host's cache
SHORT = [parcel for parcel in range(1 << 16) if parcel & 3 != 3]

Words = NDArray[np.uint32]
Indices = NDArray[np.int64]


# What the rows say.


def depth(instruction: Instruction) -> int:
    return 0 if instruction.within is None else 1 + depth(instruction.within)


def by_rows(words: Words, size: int) -> Indices:
    """The index in rv64.instructions of the most specific row that matches each word, -1 for none."""
    found = np.full(len(words), -1)
    numbered = [(i, made) for i, made in enumerate(rv64.instructions) if made.encoding.size == size]
    for index, made in sorted(numbered, key=lambda pair: depth(pair[1])):
        places = np.flatnonzero((words & np.uint32(made.encoding.mask)) == made.encoding.match)
        for name, field in made.encoding.fields.items():
            values = made.operands[name].structural
            if values is not None and len(places):
                places = places[np.isin(field.extract(words[places]), values)]
        found[places] = -1 if made.reserved else index
    return found


NUMBER = {made: index for index, made in enumerate(rv64.instructions)}
# The instruction of a variant's number, as the stub counts them: 0 is for what is none.
INSTRUCTION_OF = np.array([-1, *(NUMBER[variant.instruction] for variant in TABLE.variants)])


def python_says(word: int, size: int) -> int:
    decoded = TABLE.decode_word(word, size)
    return -1 if isinstance(decoded, int) else NUMBER[decoded.instruction]


# The native stub.


class Stub:
    """Native memory whose handlers do nothing but go on."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = memory_with(b"", writable_code=True)
        self.native = Native(get("riscv64").layout, self.memory, Blob.from_bytes(interpreter_of("riscv64")))
        functions = "\n".join(
            f"define {CONVENTION} void @v{number}({PARAMETERS}) nounwind {{\n"
            f"%next = getelementptr i8, ptr %slot, i64 {size * SLOT_SCALE}\n{tail('%next', 'go')}\n}}"
            for number in range(len(TABLE.variants) + 1)
        )
        blob, _ = Compiler().compile(functions)
        place = self.native.arena.allocate(len(blob.code))
        assert place is not None
        self.native.arena.place(place, blob.code)
        offsets = [place + blob.symbols[f"v{number}"] for number in range(len(TABLE.variants) + 1)]
        assert len(set(offsets)) == len(offsets)
        self.handlers = array("Q", offsets)
        self.order = np.argsort(np.array(offsets))
        self.sorted = np.array(offsets, np.uint64)[self.order]
        word = self.native.layout.word
        self.native.words[word("handlers")] = self.handlers.buffer_info()[0]
        self.pc, self.reason, self.argument = word("pc"), word("reason"), word("arg")

    def decode(self, words: Words) -> tuple[Indices, NDArray[np.uint64]]:
        """For a page of words: variants' numbers, 0 for none, and the operands packed into the slots."""
        native, state = self.native, self.native.words
        assert len(words) * self.size <= PAGE
        ctypes.memmove(self.memory.base + CODE, words.astype(f"<u{self.size}").tobytes(), len(words) * self.size)
        native.forget(CODE, PAGE)
        native.allow_decoding(CODE >> PAGE_BITS)
        end = CODE + PAGE
        for address in range(CODE + len(words) * self.size, end, self.size):
            native.set_code(address, self.handlers[0])
        state[self.pc] = CODE
        native.enter()
        assert (state[self.reason], state[self.argument]) == (ExitReason.UNDECODED, end)
        slots = np.frombuffer(native.slots.words(CODE * SLOT_SCALE, len(words) * self.size), np.uint64)
        slots = slots.reshape(-1, self.size // 2, 2)
        places = np.searchsorted(self.sorted, slots[:, 0, 0])
        assert (self.sorted[places] == slots[:, 0, 0]).all()
        return self.order[places], slots[:, 0, SLOT_OPERANDS // 8].copy()

    def decode_all(self, words: Words) -> tuple[Indices, NDArray[np.uint64]]:
        pages = [self.decode(words[at : at + PAGE // self.size]) for at in range(0, len(words), PAGE // self.size)]
        return np.concatenate([page[0] for page in pages]), np.concatenate([page[1] for page in pages])

    def close(self) -> None:
        self.native.close()
        self.memory.close()


@pytest.fixture(scope="module", params=[2, 4], ids=["short", "long"])
def stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    made = Stub(request.param)
    yield made
    made.close()


def packed(decoded: Decoded) -> int:
    """The operands as the slot has to hold them: those of what the instruction stands for."""
    base, fields = decoded.expand()
    word = 0
    for name, place in places_of(base).items():
        operand, value = base.operands[name], fields[name]
        if operand.written and operand.file is not None and value == operand.file.zero:
            assert operand.file.sink is not None
            value = operand.file.sink
        word |= (value & ((1 << place.width) - 1)) << 8 * (place.offset - SLOT_OPERANDS)
    return word


def words_for(size: int, count: int, seed: int) -> Words:
    """All parcels; or random words, of which half are near to one that is an instruction."""
    if size == 2:
        return np.array(SHORT, np.uint32)
    source = np.random.default_rng(seed)
    words = source.integers(0, 1 << 32, count, np.uint64).astype(np.uint32)
    long = [made for made in rv64.instructions if made.encoding.size == 4]
    which = source.integers(0, 2 * len(long), count)
    for index, made in enumerate(long):
        near, row = np.flatnonzero(which == index), made.encoding
        words[near] = (words[near] & np.uint32(~row.mask & 0xFFFFFFFF)) | np.uint32(row.match)
        for name, field in row.fields.items():
            values = made.operands[name].structural
            if values is not None:  # of the CSRs, chance alone would find none
                bits = np.array([field.encode(value) for value in values], np.uint32)
                chosen = bits[source.integers(0, len(bits), len(near))]
                words[near] = (words[near] & np.uint32(~field.encode(-1) & 0xFFFFFFFF)) | chosen
    wrong = source.integers(0, 4, count) == 0
    words[wrong] ^= np.uint32(1) << source.integers(0, 32, count, np.uint32)[wrong]
    return words | np.uint32(3)


def test_the_stub_and_the_rows_agree(stub: Stub) -> None:
    """On every parcel, and on so many words that each instruction is met often."""
    count = len(SHORT) if stub.size == 2 else WORDS
    met: set[int] = set()
    illegal = 0
    for start in range(0, count, CHUNK):
        words = words_for(stub.size, min(CHUNK, count - start), SEED + start)[: count - start]
        expected, (variants, operands) = by_rows(words, stub.size), stub.decode_all(words)
        differ = np.flatnonzero(INSTRUCTION_OF[variants] != expected)
        assert not len(differ), [f"{words[at]:#x}: {variants[at]}, not {expected[at]}" for at in differ[:20]]
        none = expected < 0
        assert (operands[none] == words[none]).all(), "the operand of what is no instruction is the word itself"
        met.update(expected.tolist())
        illegal += int(none.sum())
        if stub.size == 2:
            break
    legal = {index for made, index in NUMBER.items() if made.encoding.size == stub.size and not made.reserved}
    assert met == legal | {-1}
    assert 0 < illegal < count


def test_python_agrees_and_the_operands_are_right(stub: Stub) -> None:
    words = words_for(stub.size, 40_000, SEED + 1)
    expected, (variants, operands) = by_rows(words, stub.size), stub.decode_all(words)
    for word, index, variant, found in zip(*(a.tolist() for a in (words, expected, variants, operands)), strict=True):
        decoded = TABLE.decode_word(word, stub.size)
        if isinstance(decoded, int):
            assert (index, variant, found) == (-1, 0, word)
            continue
        assert NUMBER[decoded.instruction] == index and TABLE.find(word, stub.size) == variant - 1, hex(word)
        assert found == packed(decoded), f"{word:#x}: {decoded.text()}"


def test_lengths() -> None:
    """The low bits of the first parcel decide (manual, "Expanded Instruction-Length Encoding"), all ones included.

    What is longer than 32 bits is none of ours: its first 32 bits are illegal, whatever comes after the parcel.
    """
    for parcel in range(1 << 16):
        assert TABLE.size(parcel) == (4 if parcel & 3 == 3 else 2)
    source = random.Random(SEED)
    for parcel in range(0x1F, 1 << 16, 0x20):
        for high in (0, 0xFFFF, source.getrandbits(16)):
            assert python_says(high << 16 | parcel, 4) == -1


def test_what_the_manual_calls_illegal() -> None:
    assert python_says(0, 2) == -1, "16 bits of zeros"
    assert python_says(0, 4) == python_says(0xFFFFFFFF, 4) == -1


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="no binutils for riscv64")
def test_words_that_objdump_knows(tmp_path: Path) -> None:
    """Other words than those of test_objdump.py; the differences that may be are those listed there."""
    source = random.Random(SEED + 2)
    words = [as_long(source.getrandbits(32)) for _ in range(OBJDUMP_WORDS // 2)]
    for word in long_words(random.Random(SEED + 3)):
        if len(words) >= OBJDUMP_WORDS:
            break
        words.append(word)
    assert_agrees(objdump("-D", "-j", ".text", object_file(tmp_path, words)), LONG, at_least=len(words))
