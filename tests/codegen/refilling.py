"""The native refill of the TLB, callable from tests."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from vmjit.codegen.walk import access_of, refill
from vmjit.ir.layout import NOT_TRANSLATED, Layout, RegisterFile
from vmjit.jit.arena import Arena
from vmjit.jit.compiler import LLVM_PASSES, Compiler
from vmjit.memory.reservation import Reservation
from vmjit.memory.tlb import Context, Geometry, Tlb

LAYOUT = Layout((RegisterFile("r", 4),))
STATE_WORDS = max(LAYOUT.offsets.values()) // 8 + 1
# Calls refill for one page after another, `rounds` times all of them; how often it found a translation.
SWEEP = """
define i64 @sweep(ptr %state, i64 %vaddr, i64 %access, i64 %pages, i64 %rounds) nounwind {
br label %again
again:
%i = phi i64 [ 0, %0 ], [ %next, %again ]
%found = phi i64 [ 0, %0 ], [ %more, %again ]
%page = urem i64 %i, %pages
%distance = shl i64 %page, 12
%at = add i64 %vaddr, %distance
%offset = call preserve_allcc i64 @refill(ptr %state, i64 %at, i64 %access)
%good = icmp ne i64 %offset, -1
%one = zext i1 %good to i64
%more = add i64 %found, %one
%next = add i64 %i, 1
%total = mul i64 %pages, %rounds
%done = icmp eq i64 %next, %total
br i1 %done, label %end, label %again
end:
ret i64 %more
}
"""
PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
SWEEP_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, *[ctypes.c_uint64] * 4)


class Refill:
    """The compiled function in an arena of its own."""

    def __init__(self, compiler: Compiler) -> None:
        blob, _ = compiler.compile(refill(LAYOUT) + SWEEP, LLVM_PASSES, verify=True)
        self.arena = Arena(1 << 16)
        offset = self.arena.allocate(len(blob.code))
        assert offset is not None
        self.address = self.arena.place(offset, blob.code) + blob.symbols["refill"]
        self.call = PROTOTYPE(self.address)
        self.sweep = SWEEP_PROTOTYPE(self.arena.base + offset + blob.symbols["sweep"])

    def close(self) -> None:
        self.arena.close()


class Hart:
    """A state with a TLB, and memory that begins at `memory`."""

    def __init__(self, refill: Refill, memory: int, geometry: Geometry = Geometry()) -> None:  # noqa: B008
        self.refill = refill
        self.state = Reservation(STATE_WORDS * 8)
        self.words = self.state.words(0, STATE_WORDS)
        self.words[LAYOUT.word("memory")] = memory
        self.tlb = Tlb(LAYOUT, self.words, geometry)

    def __call__(self, vaddr: int, kind: int, size: int = 1) -> int | None:
        """The offset in memory, None where the host must look."""
        found: int = self.refill.call(self.state.base, vaddr, access_of(kind, size))
        return None if found == NOT_TRANSLATED else found

    def sweep(self, vaddr: int, kind: int, pages: int, rounds: int = 1) -> int:
        """Calls for one page after another; how many are translated. Other threads of Python run meanwhile."""
        found: int = self.refill.sweep(self.state.base, vaddr, access_of(kind, 1), pages, rounds)
        return found

    def entries(self) -> dict[int, tuple[tuple[bool, ...], int]]:
        """Page -> which kinds have tags, and the offset of the page; of entries and victims, no page twice."""
        found: dict[int, tuple[tuple[bool, ...], int]] = {}
        for number in range(self.tlb.geometry.entries + self.tlb.geometry.victims):
            page = self.page(number)
            if page is not None:
                assert page not in found
                tags, addend = self.words_of(number)
                found[page] = tuple(tag == page for tag in tags), (page + addend) & (1 << 64) - 1
        return found

    def words_of(self, number: int) -> tuple[list[int], int]:
        words = self.tlb._bank.words[4 * number : 4 * number + 4].tolist()
        return words[:3], words[3]

    def page(self, number: int) -> int | None:
        """Of an entry, or of a victim behind the entries."""
        tags = {tag for tag in self.words_of(number)[0] if tag != (1 << 64) - 1}
        assert len(tags) <= 1
        return tags.pop() if tags else None

    def victims(self) -> list[int | None]:
        entries = self.tlb.geometry.entries
        return [self.page(entries + number) for number in range(self.tlb.geometry.victims)]

    def close(self) -> None:
        self.tlb.close()
        self.words.release()
        self.state.close()


@contextmanager
def hart(refill: Refill, memory: int, geometry: Geometry = Geometry(), context: Context = Context()) -> Iterator[Hart]:  # noqa: B008
    made = Hart(refill, memory, geometry)
    made.tlb.switch(context)
    yield made
    made.close()
