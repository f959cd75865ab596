"""Guests put together within one process, without files and children: what tests of the engine run code on.

`assemble` writes programs, `Here` compiles in the caller's thread, `harts` gives one hart with memory of its own.
"""

from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import toy

from vmjit import guest
from vmjit.debug import Settings
from vmjit.engine.cache import Cache
from vmjit.engine.code import Chunk, Code
from vmjit.engine.hart import Hart, Tier
from vmjit.engine.native import Native
from vmjit.engine.worker import Worker
from vmjit.errors import VmjitError
from vmjit.guest import Guest
from vmjit.isa.instruction import InstructionSet
from vmjit.memory.address_space import EXECUTE, READ, WRITE, AddressSpace

CODE, DATA, PAGE = 0x10000, 0x20000, 0x1000
NO_CACHE = Cache(None, "")
MakeNative = Callable[..., Native]


@cache
def guest_named(name: str) -> Guest:
    toys = {made.name: made for made in (toy.guest, toy.bare)}
    return toys[name] if name in toys else guest.get(name)


def instructions_of(name: str) -> InstructionSet:
    if name == "toy":
        return toy.toy
    from vmjit.guest.riscv.operands import rv64

    guest_named(name).decode_table  # noqa: B018  fills the set
    return rv64


def assemble(text: str, pc: int = CODE, guest: str = "toy") -> bytes:
    """The code of one instruction a line; `;` begins a comment, and `name:` on a line of its own is a label."""
    lines = [found for line in text.splitlines() if (found := line.partition(";")[0].strip())]
    labels: dict[str, int] = {}
    for _ in range(2):  # once to find the labels, whose size does not depend on them
        code = b""
        for line in lines:
            if line.endswith(":"):
                labels[line[:-1]] = pc + len(code)
                continue
            words = [f"{labels.get(word[1:], pc):#x}" if word.startswith("@") else word for word in line.split()]
            code += instructions_of(guest).assemble(" ".join(words), pc + len(code))
    return code


def code_at(
    code: bytes, start: int = CODE, *, cold: Container[int] | None = None, jumps: Iterable[tuple[int, int]] = ()
) -> Code:
    """Code at an address; all of it was executed but what is `cold`, or nobody knows."""
    return Code(chunks_of(code, start, cold), jumps)


def chunks_of(code: bytes, start: int = CODE, cold: Container[int] | None = None) -> list[Chunk]:
    """Pages with code at an address, as a request for the worker has them."""
    if cold is None:
        return [(page, data, b"", b"") for page, data in Code.of(start, code).pages.items()]
    chunks = []
    for page, data in Code.of(start, code).pages.items():
        ran = [int(address not in cold) for address in range(page * PAGE, (page + 1) * PAGE, 2)]
        chunks.append((page, data, array("Q", ran).tobytes(), b""))
    return chunks


def request_for(code: bytes, at: int = CODE, start: int = CODE, cold: Container[int] | None = None) -> tuple[Any, ...]:
    """A request for the region at an address of code that begins at `start`."""
    return "region", at, chunks_of(code, start, cold), [], 100, False


@cache
def worker_for(name: str, memory: str = "flat") -> Worker:
    return Worker(guest_named(name), NO_CACHE, Settings(memory=memory))


@cache
def interpreter_of(name: str, memory: str = "flat") -> bytes:
    return worker_for(name, memory).interpreter()


@cache
def handlers_of(name: str, group: int, memory: str = "flat") -> bytes:
    return worker_for(name, memory).handlers(group)


@cache
def stencils_of(name: str, group: int, memory: str = "flat") -> bytes:
    return worker_for(name, memory).stencils(group)


class Here:
    """The compile service without its process and its thread; `refuse` makes every region fail."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.refuse = ""
        self.requests: list[tuple[Any, ...]] = []

    def prefer(self, key: Any) -> None:
        """Nothing waits here."""

    def submit(self, key: Any, make: Any, done: Any, *, first: bool = False) -> None:
        request = make()
        if request is not None:
            done(*self.answer(request))

    def wait(self, request: tuple[Any, ...]) -> Any:
        worked, result = self.answer(request)
        if not worked:
            from vmjit.errors import CompileError

            raise CompileError(result)
        return result

    def answer(self, request: tuple[Any, ...]) -> tuple[bool, Any]:
        self.requests.append(request)
        kind, *arguments = request
        memory = self.worker.settings.memory
        if kind == "interpreter":
            return True, interpreter_of(self.worker.guest.name, memory)
        if self.refuse:
            return False, self.refuse
        if kind == "handlers":
            return True, handlers_of(self.worker.guest.name, *arguments, memory)
        if kind == "stencils":
            return True, stencils_of(self.worker.guest.name, *arguments, memory)
        try:
            if kind in ("calls", "refill"):
                return True, getattr(self.worker, kind)(*arguments)
            return True, self.worker.region(*arguments)
        except VmjitError as error:
            return False, str(error)


def memory_with(code: bytes, *, writable_code: bool = False, pages: int = 1) -> AddressSpace:
    """Code at CODE, `pages` long at least, and a page of zeros at DATA."""
    memory = AddressSpace()
    size = max(pages * PAGE, -(-len(code) // PAGE) * PAGE)
    memory.map(CODE, size, READ | WRITE)
    memory.write(CODE, code)
    memory.protect(CODE, size, READ | EXECUTE | (WRITE if writable_code else 0))
    memory.map(DATA, PAGE, READ | WRITE)
    return memory


@contextmanager
def harts(
    code: bytes,
    tier: Tier = Tier.INTERPRETER,
    *,
    guest: str = "toy",
    sync: bool = True,
    writable_code: bool = False,
    make: type[Hart] = Hart,
    settings: Settings | None = None,
    worker: Worker | None = None,
    cache: Cache = NO_CACHE,
) -> Iterator[Hart]:
    """A hart whose pc is at the first byte of `code`."""
    found = guest_named(guest)
    memory = memory_with(code, writable_code=writable_code)
    service = Here(worker or worker_for(guest))
    hart = make(found, memory, service, cache, settings or Settings(), tier=tier, sync=sync)  # type: ignore[arg-type]
    hart.words[found.layout.word("pc")] = CODE
    try:
        yield hart
    finally:
        hart.close()
        memory.close()


def registers(hart: Hart) -> dict[str, int]:
    """The guest's registers, and how many instructions it has retired."""
    layout = hart.guest.layout
    return {name: hart.words[layout.word(name)] for name in (*layout.registers(), "instret")}


def set_registers(hart: Hart, **values: int) -> None:
    for name, value in values.items():
        hart.words[hart.guest.layout.word(name)] = value & 0xFFFFFFFFFFFFFFFF


LOOP = """\
    li r1, 10
    li r2, 8
    add r2, r2, r2        ; 16
    li r3, -1
again:
    ld r4, 0(r7)
    add r4, r4, r1
    st r4, 0(r7)
    step r1, up
    add r1, r1, r3
    bnez r1, @again
    halt
"""
"""Adds 10 to 1 to the word that r7 points to, and their sum to `status`."""
