"""Signal frames: what the kernel puts on the stack when a handler runs, and takes from it when the handler returns.

Layout of Linux on riscv64 (arch/riscv/include/uapi/asm/ucontext.h, sigcontext.h): siginfo, then ucontext, which ends
with pc, x1..x31 and the union of the floating-point states, of which the D one is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

SIGINFO_SIZE = 128
UCONTEXT = Struct("<QQ QI4xQ Q120x8x 32Q 32QI268x")  # flags link, stack: sp flags size, mask, pc and x, f fcsr
FRAME_SIZE = SIGINFO_SIZE + UCONTEXT.size
ALIGNMENT = 16

# siginfo_t: signo errno code, then by kind of signal
SIGINFO_FAULT = Struct("<iiiiQ104x")  # address
SIGINFO_SENDER = Struct("<iiiiiIQ96x")  # pid uid value

WORD_MASK = (1 << 64) - 1
FCSR_FLAGS, FCSR_ROUNDING_SHIFT = 0x1F, 5


@dataclass(frozen=True)
class Context:
    """The registers of a thread: `x` has the pc in place of x0, as in the frame."""

    x: tuple[int, ...]
    f: tuple[int, ...]
    fcsr: int


class UserRegisters:
    """The registers of a hart as the kernel sees them.

    words       the hart's state; word(name) is the index of a register in it
    trap_sets   registers that a trap sets, by name, and to what
    """

    def __init__(
        self, words: memoryview, word: Callable[[str], int], trap_sets: tuple[tuple[str, int], ...] = ()
    ) -> None:
        self.words = words
        self._x = [word(name) for name in ("pc", *(f"x{n}" for n in range(1, 32)))]
        self._f = [word(f"f{n}") for n in range(32)]
        self._fflags, self._frm = word("fflags"), word("frm")
        self._trap_sets = [(word(name), value & WORD_MASK) for name, value in trap_sets]

    @property
    def stack_pointer(self) -> int:
        value: int = self.words[self._x[2]]
        return value

    def get(self) -> Context:
        words = self.words
        fcsr = words[self._frm] << FCSR_ROUNDING_SHIFT | words[self._fflags]
        return Context(tuple([words[i] for i in self._x]), tuple([words[i] for i in self._f]), fcsr)

    def put(self, context: Context) -> None:
        words = self.words
        for index, value in zip((*self._x, *self._f), (*context.x, *context.f), strict=True):
            words[index] = value
        words[self._fflags] = context.fcsr & FCSR_FLAGS
        words[self._frm] = context.fcsr >> FCSR_ROUNDING_SHIFT & 7
        self._trap()

    def begin_handler(self, pc: int, ra: int, sp: int, arguments: tuple[int, int, int]) -> None:
        """Registers with which a handler begins; all others stay."""
        for number, value in zip((0, 1, 2, 10, 11, 12), (pc, ra, sp, *arguments), strict=True):
            self.words[self._x[number]] = value
        self._trap()

    def begin_child(self, stack: int, tls: int | None) -> None:
        """What differs from the parent's when clone returns; a stack of 0 and no TLS are the parent's."""
        if stack:
            self.words[self._x[2]] = stack
        if tls is not None:
            self.words[self._x[4]] = tls
        self.words[self._x[10]] = 0

    def _trap(self) -> None:
        for index, value in self._trap_sets:
            self.words[index] = value


def pack_frame(info: bytes, stack: tuple[int, int, int], mask: int, context: Context) -> bytes:
    """A frame; `stack` is address, flags and size of the alternate stack."""
    address, flags, size = stack
    return info + UCONTEXT.pack(0, 0, address, flags, size, mask, *context.x, *context.f, context.fcsr)


def unpack_frame(data: bytes) -> tuple[tuple[int, int, int], int, Context]:
    """Stack, mask and registers of a frame, which the guest may have changed."""
    _, _, address, flags, size, mask, *registers = UCONTEXT.unpack_from(data, SIGINFO_SIZE)
    return (address, flags, size), mask, Context(tuple(registers[:32]), tuple(registers[32:64]), registers[64])
