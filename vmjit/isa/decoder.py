"""Decoding: one table, walked by Python here and by native code in the interpreter's decode stub.

Each instruction becomes one variant for each combination of its structural fields, with those bits fixed. The table is
a list of 32-bit integers: a node is [shift, width, child...] with 2**width children; a child >= 0 is the offset of a
node, a child < 0 is ~index into `rows`. Rows are tried in order until (word & mask) == match; every run of rows ends
with one that matches everything and means "illegal".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from vmjit.isa.instruction import Decoded, Instruction, InstructionSet

MAX_RUN = 4  # rows compared one by one before another table level pays


@dataclass(frozen=True)
class Variant:
    """An instruction with its structural fields fixed: what one interpreter handler or one trace serves."""

    instruction: Instruction
    structural: Mapping[str, int]
    mask: int
    match: int


@dataclass(frozen=True)
class Row:
    mask: int
    match: int
    variant: int  # index into DecodeTable.variants, or -1: illegal


class DecodeTable:
    """The decision table of an instruction set. `lengths` says how long an instruction is from its first parcel."""

    def __init__(self, instructions: InstructionSet, lengths: tuple[tuple[int, int, int], ...]) -> None:
        instructions.check()
        self.lengths = lengths
        self.parcel = min(size for _, _, size in lengths)  # bytes to fetch before the length is known
        self.variants = [variant for made in instructions.instructions for variant in _variants(made)]
        self.nodes: list[int] = []
        self.rows: list[Row] = []
        self.roots = {}
        for _, _, size in lengths:
            chosen = [i for i, v in enumerate(self.variants) if v.instruction.encoding.size == size]
            self.roots[size] = self._build(chosen, (1 << (8 * size)) - 1)

    def size(self, parcel: int) -> int:
        """The length in bytes of the instruction that starts with these bits; 0 if no length rule matches."""
        for mask, match, size in self.lengths:
            if parcel & mask == match:
                return size
        return 0

    def find(self, word: int, size: int) -> int:
        """The index of the variant that matches, or -1."""
        at = self.roots[size]
        while at >= 0:
            shift, width = self.nodes[at], self.nodes[at + 1]
            at = self.nodes[at + 2 + (word >> shift & ((1 << width) - 1))]
        index = ~at
        while word & self.rows[index].mask != self.rows[index].match:
            index += 1
        return self.rows[index].variant

    def decode(self, fetch: Callable[[int, int], int], pc: int) -> Decoded | int:
        """The instruction at `pc`, or the word that is none. `fetch(address, size)` reads little-endian bits."""
        word = fetch(pc, self.parcel)
        size = self.size(word)
        if size > self.parcel:
            word = fetch(pc, size)
        if size == 0:
            return word
        return self.decode_word(word, size)

    def decode_word(self, word: int, size: int) -> Decoded | int:
        found = self.find(word, size)
        if found < 0:
            return word
        instruction = self.variants[found].instruction
        if instruction.reserved:
            return word
        return Decoded(instruction, instruction.encoding.decode(word), word)

    def _build(self, chosen: list[int], free: int) -> int:
        """A node or a run of rows for these variants; `free` are the bits not yet looked at."""
        split = _best_split(chosen, self.variants, free) if len(chosen) > MAX_RUN else None
        if split is None:
            return self._run(chosen)
        shift, width = split
        at = len(self.nodes)
        self.nodes += [shift, width] + [0] * (1 << width)
        bits = ((1 << width) - 1) << shift
        for value, subset in enumerate(self._distributed(chosen, shift, width)):
            self.nodes[at + 2 + value] = self._build(subset, free & ~bits)
        return at

    def _distributed(self, chosen: list[int], shift: int, width: int) -> list[list[int]]:
        """For each value of a run of bits, those of the variants that it may belong to."""
        found: list[list[int]] = [[] for _ in range(1 << width)]
        every = (1 << width) - 1
        for i in chosen:
            mask, match = self.variants[i].mask >> shift & every, self.variants[i].match >> shift & every
            if mask == every:
                found[match].append(i)
                continue
            for value in range(1 << width):
                if not (value ^ match) & mask:
                    found[value].append(i)
        return found

    def _run(self, chosen: list[int]) -> int:
        """Rows in order of specificity: what lies within another comes before it."""
        first = len(self.rows)
        for index in sorted(chosen, key=lambda i: -_depth(self.variants[i].instruction)):
            variant = self.variants[index]
            self.rows.append(Row(variant.mask, variant.match, -1 if variant.instruction.reserved else index))
        self.rows.append(Row(0, 0, -1))
        return ~first


def _values(variant: Variant, shift: int, width: int) -> Iterator[int]:
    """What some bits of an instruction may be: all ways to choose those that it does not fix."""
    ones = (1 << width) - 1
    fixed = variant.match >> shift & ones
    open_bits = chosen = ~(variant.mask >> shift) & ones
    while chosen:
        yield fixed | chosen
        chosen = (chosen - 1) & open_bits
    yield fixed


def _depth(instruction: Instruction) -> int:
    return 0 if instruction.within is None else 1 + _depth(instruction.within)


def _variants(instruction: Instruction) -> list[Variant]:
    encoding = instruction.encoding
    names = [name for name in encoding.fields if instruction.operands[name].structural is not None]
    made = []
    for values in product(*(instruction.operands[name].structural or () for name in names)):
        mask, match = encoding.mask, encoding.match
        for name, value in zip(names, values, strict=True):
            mask |= encoding.fields[name].encode(-1)
            match |= encoding.fields[name].encode(value)
        made.append(Variant(instruction, dict(zip(names, values, strict=True)), mask, match))
    return made


def _best_split(chosen: list[int], variants: list[Variant], free: int) -> tuple[int, int] | None:
    """(shift, width) of the run of bits to look at next, or None when no bits tell these variants apart.

    Takes the longest run (at most 7 bits) that all of them fix; if there is none, that most of them fix.
    """
    masks = [variants[i].mask & free for i in chosen]
    common = free
    for mask in masks:
        common &= mask
    if not common:
        common = max(set(masks), key=masks.count)
    runs = [
        run for run in _runs(common) if len({variants[i].match >> run[0] & ((1 << run[1]) - 1) for i in chosen}) > 1
    ]
    return max(runs, key=lambda run: run[1]) if runs else None


def _runs(mask: int) -> list[tuple[int, int]]:
    """Runs of ones in `mask` as (shift, width), none wider than 7 bits."""
    found, shift = [], 0
    while mask >> shift:
        width = 0
        while width < 7 and mask >> (shift + width) & 1:
            width += 1
        if width:
            found.append((shift, width))
        shift += width or 1
    return found
