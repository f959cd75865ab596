"""Puts a lookup in the software TLB before each memory access, which goes to the offset in memory that it gives.

Where the TLB and the page tables have none, or the access is not to plain memory, the reference evaluator executes the
instruction and judges exactly.
"""

from vmjit.ir.block import Region, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import WIDTH
from vmjit.passes.access import emulate, guard

_TRANSLATE, _IS_TRANSLATED = OPS["translate"], OPS["is_translated"]
_READS = (OPS["load"], OPS["atomic_load"])


def run(region: Region) -> Region:
    """Split blocks before accesses."""
    for block in list(region.blocks):
        guard(region, block, _look_up, emulate)
    return region


def _look_up(access: Value) -> list[Value]:
    """The translation of the address of an access, and whether there is one; the access uses it from now on."""
    address, *rest = access.args
    kind = "read" if access.op in _READS else "write"
    translation = Value(_TRANSLATE, "i64", (address,), f"{kind}{_size(access)}", access.pc)
    access.args = (translation, *rest)
    return [translation, Value(_IS_TRANSLATED, "i1", (translation,))]


def _size(access: Value) -> int:
    """In bytes; that of what is stored or compared is its operand's."""
    type = access.args[1].type if len(access.args) > 1 else access.type
    return WIDTH[type or ""] // 8
