"""What has no native form: an instruction with such an operation is executed by the reference evaluator."""

from vmjit.codegen import floats
from vmjit.ir.block import Value

# LLVM orders calls that raise floating-point exceptions among themselves, but not with what reads and writes the host's
# control register: these operations may stand in the handler of an instruction, never within a compiled region. For the
# clock a region is left, too: the call of the C library takes longer than that.
INTERPRETED_ONLY = frozenset(("host_flags", "clear_host_flags", "set_rounding", "clock"))

_DIVISIONS = frozenset(("udiv", "sdiv", "urem", "srem"))


def why_not_native(value: Value) -> str | None:
    """Why there is no native code for an operation; None if there is."""
    operation = value.op.name
    if operation in _DIVISIONS and value.type == "i128":
        return "no division of 128 bits"  # LLVM would call the C library
    return floats.why_not_native(value) if operation in floats.LOWER else None
