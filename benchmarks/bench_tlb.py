"""The software TLB away from guest code: what a refill takes in native code, and what the host does to it in Python.

bench_translation.py has what guest code sees of it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmjit.memory.mmu import Mmu

PAGE = 4096
READ_TAG = 0  # vmjit.ir.layout's, a kind of access
CALLS = 100_000  # of refill in a measurement
TRANSLATIONS = 5000  # by Python
ROUNDS = 7
STATE = 4096  # bytes; more than the words and registers of this hart
TABLE_FLAGS, LEAF_FLAGS = 1, 0xDF  # V; V, R, W, X, U, A and D
PAGES = 64  # that are walked to by turns; no TLB here has so many entries and victims
LEAVES = 512
FRAMES = 16  # pages of memory that they lie in, behind the tables
LOOP = """
define i64 @loop(ptr %function, ptr %state, i64 %pages, i64 %stride, i64 %calls, i64 %access) nounwind {
br label %again
again:
%i = phi i64 [ 0, %0 ], [ %next, %again ]
%sum = phi i64 [ 0, %0 ], [ %more, %again ]
%page = urem i64 %i, %pages
%at = mul i64 %page, %stride
%offset = call preserve_allcc i64 %function(ptr %state, i64 %at, i64 %access)
%more = add i64 %sum, %offset
%next = add i64 %i, 1
%done = icmp eq i64 %next, %calls
br i1 %done, label %end, label %again
end:
ret i64 %more
}
define preserve_allcc i64 @nothing(ptr %state, i64 %vaddr, i64 %access) nounwind {
ret i64 %vaddr
}
"""


@dataclass
class Bench:
    """A hart without code, and memory with page tables, in which 512 pages from address 0 on are mapped."""

    loop: "ctypes._FuncPointer"
    refill: int
    nothing: int
    state: int
    mmu: "Mmu"

    def nanoseconds(self, pages: int, stride: int) -> float:
        """For a call of refill, for one page after another, without the loop and an empty call; best of a few."""
        return self.best(self.refill, pages, stride) - self.best(self.nothing, pages, stride)

    def best(self, function: int, pages: int, stride: int) -> float:
        best = float("inf")
        for _ in range(ROUNDS):
            began = perf_counter()
            self.loop(function, self.state, pages, stride, CALLS, READ_TAG | 1 << 2)
            best = min(best, perf_counter() - began)
        return best / CALLS * 1e9


@contextmanager
def bench(mode: str, entries: int, victims: int, policy: str) -> Iterator[Bench]:
    from vmjit.codegen.walk import refill
    from vmjit.ir.layout import Layout
    from vmjit.jit.arena import Arena
    from vmjit.jit.compiler import LLVM_PASSES, Compiler
    from vmjit.memory.address_space import AddressSpace
    from vmjit.memory.bus import Bus
    from vmjit.memory.mmu import LEVELS, Mmu, Translation
    from vmjit.memory.reservation import Reservation
    from vmjit.memory.tlb import Geometry, Tlb

    layout = Layout(())
    blob, _ = Compiler().compile(refill(layout) + LOOP, LLVM_PASSES)
    arena, state = Arena(1 << 16), Reservation(STATE)
    start = arena.place(arena.allocate(len(blob.code)) or 0, blob.code)
    words = state.words(0, STATE // 8)
    with AddressSpace() as memory:
        bus = Bus(memory)
        bus.add_ram(0, LEAVES * PAGE)
        tlb = Tlb(layout, words, Geometry(entries, victims, policy))
        words[layout.word("memory")] = memory.base
        if mode != "bare":
            fill(bus.view(0, LEAVES * LEVELS[mode], "<u8"), LEVELS[mode])
        mmu = Mmu(tlb, bus, Translation(mode, user=True))
        names = ("refill", "nothing")
        loop = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_void_p] * 2, *[ctypes.c_uint64] * 4)
        functions = (start + blob.symbols[name] for name in names)
        yield Bench(loop(start + blob.symbols["loop"]), *functions, state.base, mmu)
        tlb.close()
        bus.frames.close()
    words.release()
    state.close()
    arena.close()


def fill(tables, levels: int) -> None:  # type: ignore[no-untyped-def]
    """A chain of tables from address 0 on, the last one full."""
    for level in range(1, levels):
        tables[(level - 1) * LEAVES] = level << 10 | TABLE_FLAGS
    for index in range(LEAVES):
        tables[(levels - 1) * LEAVES + index] = (levels + index % FRAMES) << 10 | LEAF_FLAGS


class Walks:
    """Nanoseconds for a refill that walks: 64 pages by turns with 16 entries, so none is there when it comes round.

    The page table lies in the first-level cache. With `none` there are no victims, else eight, and the policy.
    """

    params = (["bare", "sv39", "sv48"], ["none", "fifo", "random", "lru"])
    param_names = ("mode", "victims")
    unit = "ns per refill"
    version = "1"

    def track_walk(self, mode: str, victims: str) -> float:
        count, policy = (0, "fifo") if victims == "none" else (8, victims)
        with bench(mode, 16, count, policy) as it:
            return it.nanoseconds(PAGES, PAGE)


class Translate:
    """Nanoseconds to translate an address: `native`, a refill as in Walks, or by the reference in Python.

    The reference walks the page table anew each time, and sets no bits in it, for they are set.
    """

    params = (["bare", "sv39", "sv48"], ["native", "python"])
    param_names = ("mode", "by")
    unit = "ns per address"
    version = "1"

    def track_translate(self, mode: str, by: str) -> float:
        with bench(mode, 16, 8, "fifo") as it:
            return it.nanoseconds(PAGES, PAGE) if by == "native" else reference(it.mmu)


def reference(mmu: "Mmu") -> float:
    """Nanoseconds for a call of Mmu.translate, the loop around it included."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = perf_counter()
        for call in range(TRANSLATIONS):
            mmu.translate(call % PAGES * PAGE, READ_TAG)
        best = min(best, perf_counter() - began)
    return best / TRANSLATIONS * 1e9


class Victims:
    """Nanoseconds for a refill that finds a victim: two pages by turns whose entries are the same one."""

    params = (["fifo", "random", "lru"],)
    param_names = ("policy",)
    unit = "ns per refill"
    version = "1"

    def track_hit(self, policy: str) -> float:
        with bench("sv39", 16, 8, policy) as it:
            return it.nanoseconds(2, 16 * PAGE)


class Python:
    """A hundred calls each, in Python, on a TLB as a hart has it with two contexts in use."""

    params = ([100],)
    param_names = ("calls",)
    version = "1"

    def setup(self, calls: int) -> None:
        from vmjit.ir.layout import Layout
        from vmjit.memory.reservation import Reservation
        from vmjit.memory.tlb import Context, Tlb

        self.state = Reservation(STATE)
        self.tlb = Tlb(Layout(()), self.state.words(0, STATE // 8))
        self.contexts = [Context(), Context(3, PAGE)]
        for context in self.contexts:
            self.tlb.switch(context)

    def teardown(self, calls: int) -> None:
        self.tlb.close()

    def time_switch(self, calls: int) -> None:
        for number in range(calls):
            self.tlb.switch(self.contexts[number % 2])

    def time_flush_page(self, calls: int) -> None:
        for _ in range(calls):
            self.tlb.flush_page(PAGE)

    def time_flush_all(self, calls: int) -> None:
        for _ in range(calls):
            self.tlb.switch(self.contexts[0])
            self.tlb.switch(self.contexts[1])
            self.tlb.flush_all()
