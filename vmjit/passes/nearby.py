"""Spares lookups in the software TLB: an access close to one that was translated is mostly on the same page.

Of two accesses to r + c and r + d, r an SSA value, the second takes the translation of the first, moved by d - c, where
a comparison tells that it lies on the same page; that is half the instructions of a lookup, and no loads. It holds for
as long as nothing changes translations, and that happens only outside of regions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vmjit.ir.address import address_of, translation_of
from vmjit.ir.block import Block, Region, Value
from vmjit.ir.ops import OPS
from vmjit.passes.dominators import Dominators

NEAR = 512  # bytes between two addresses: one pair in eight lies on two pages then, which costs a call
LONGEST = 64  # translations that are looked at for one

_TRANSLATE, _NEAR = OPS["translate"], OPS["translate_near"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A translation that holds where a block begins, and those before it."""

    root: Value
    offset: int
    translation: Value
    above: "_Known | None"


def run(region: Region) -> Region:
    """Replace lookups by comparisons."""
    if sum(translation_of(block) is not None for block in region.blocks) < 2:
        return region
    predecessors = {block: list(dict.fromkeys(p for p, _ in found)) for block, found in region.predecessors().items()}
    dominators = Dominators(region, predecessors)
    known: dict[Block, _Known | None] = {}
    for block in dominators.blocks:
        above = dominators.immediate(block)
        here = known[block] = None if above is None else _behind(above, block, known[above])
        translation = translation_of(block)
        if translation is not None and translation.op is _TRANSLATE:
            _spare(translation, here)
    return region


def _behind(block: Block, next: Block, known: _Known | None) -> _Known | None:
    """What is known below a block, on the way to one that it dominates immediately."""
    translation = translation_of(block)
    if translation is None or block.end.edges[0].block is not next:
        return known
    root, offset = address_of(translation.args[0])
    return _Known(root, offset, translation, known)


def _spare(translation: Value, known: _Known | None) -> None:
    root, offset = address_of(translation.args[0])
    for before in _latest(known):
        other = before.translation
        if before.root is root and _serves(other, translation) and abs(offset - before.offset) <= NEAR:
            translation.op = _NEAR
            translation.args = (translation.args[0], other.args[0], other)
            return


def _serves(translation: Value, other: Value) -> bool:
    """Whether what the one allows is enough for the other: pages that may be written may be read."""
    return str(translation.attr).startswith("write") or str(other.attr).startswith("read")


def _latest(known: _Known | None) -> Iterator[_Known]:
    for _ in range(LONGEST):
        if known is None:
            return
        yield known
        known = known.above
