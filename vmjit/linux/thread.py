"""A thread of a guest process: what the kernel keeps of each one; what they share is in process.py.

A guest thread is a host thread, and has its id. Sets of signals are integers with bit n-1 for signal n, as in sigset_t.
"""

from _thread import get_native_id
from collections.abc import Callable

from vmjit.linux.host import NoInterrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.host import Interrupts
    from vmjit.linux.signal_frame import UserRegisters

SS_DISABLE = 2


def _nothing() -> None:
    """A hook the engine did not set."""


class Thread:
    """One thread; the host thread that makes it is its own until another begins to run it.

    The engine may set the hook interrupt(), called by other threads: this one is to stop at its next instruction
    boundary, and what it waits for in the host is to end with EINTR; and `interrupts`, its Interrupts, by which signals
    of the host come.
    """

    __slots__ = (
        *("blocked", "clear_child_tid", "host_blocked", "infos", "interrupt", "interrupts", "mask_after", "name"),
        *("pending", "registers", "robust_list", "stack", "tid"),
    )

    def __init__(self, registers: "UserRegisters | None" = None, blocked: int = 0) -> None:
        self.tid = get_native_id()
        self.name: bytes | None = None  # of PR_SET_NAME, unless it is the process's
        self.registers = registers  # signal handlers and new threads need them
        self.interrupts: Interrupts | NoInterrupts = NoInterrupts()
        self.blocked = blocked
        self.host_blocked: int | None = None  # what the host's thread blocks; None: everything, or it is not known
        self.pending = 0  # signals sent to this thread, not to the process
        self.infos: dict[int, bytes] = {}  # siginfo_t of pending signals
        self.mask_after: int | None = None  # the mask when the next handler has returned, if not what is blocked now
        self.stack = (0, SS_DISABLE, 0)  # the alternate one: address, flags, size
        self.robust_list = (0, 0)  # address and size of the head
        self.clear_child_tid = 0
        self.interrupt: Callable[[], None] = _nothing
