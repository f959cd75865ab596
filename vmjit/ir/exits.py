"""Why native or interpreted guest code returns to the host: one table for semantics, generated code and the engine.

Every exit carries the guest pc to go on from and one 64-bit argument whose meaning stands beside the reason.
"""

from enum import IntEnum


class ExitReason(IntEnum):
    """The code stored in the state when guest code returns to the host."""

    LIMIT = 0  # the instruction limit was reached, or the host asked for a stop; arg 0
    HOT = 1  # a jump target was reached often enough to be compiled; pc is the target, arg 0
    SYSCALL = (
        2  # environment call; pc is the instruction after it, arg 0, or EINTR when native code has made it in vain
    )
    BREAKPOINT = 3  # pc is the breakpoint itself, arg 0
    ILLEGAL = 4  # pc is the instruction, arg is its bits
    MISALIGNED = 5  # an atomic access not aligned to its size; arg is the address
    FAULT = 6  # an address outside guest memory; arg is the address
    HOST_FAULT = 7  # the host refused an access to guest memory or a slot; the engine finds pc and address
    FETCH = 8  # a jump to an address outside guest memory or not aligned; pc is that address
    EMULATE = 9  # an instruction that only the reference evaluator executes; pc is the instruction
    FLUSH_CODE = 10  # instruction fence: code may have changed; pc is the instruction after it
    ROUNDING = 11  # a rounding mode the host lacks came into force or went; pc is the instruction after it
    UNDECODED = 12  # instructions of this page may not be decoded yet: the host looks whether it is executable
    MISSING = 13  # an instruction whose handler is not there yet; arg is its entry in the handler table
    INTERRUPT = 14  # never by guest code: another thread wants this one to look at what it was sent; arg 0
