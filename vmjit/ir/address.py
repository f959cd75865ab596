"""How addresses and their translations look in the IR."""

from vmjit.ir.block import Block, Value
from vmjit.ir.ops import OPS
from vmjit.ir.types import signed

_IS_TRANSLATED, _TRANSLATIONS = OPS["is_translated"], (OPS["translate"], OPS["translate_near"])


def address_of(value: Value) -> tuple[Value, int]:
    """The root and the constant of an address."""
    offset = 0
    while value.op.name == "add" and value.args[1].is_const:
        value, constant = value.args
        assert isinstance(constant.attr, int)
        offset += constant.attr
    return value, signed(offset, 64)


def translation_of(block: Block) -> Value | None:
    """The translation, of the block itself, that a block ends in the test of."""
    end = block.end
    if end.kind != "branch" or end.args[0].op is not _IS_TRANSLATED:
        return None
    (translation,) = end.args[0].args
    return translation if translation.op in _TRANSLATIONS and translation in block.ops else None
