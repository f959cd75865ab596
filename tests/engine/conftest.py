"""What tests of the engine share: native memory with the toy's interpreter, ready to run."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
import toy
from machines import CODE, PAGE, MakeNative, interpreter_of, memory_with

from vmjit.engine.native import Native
from vmjit.engine.regions import Regions
from vmjit.engine.service import Service
from vmjit.jit.blob import Blob
from vmjit.memory.address_space import AddressSpace

# In the order that a thread takes them in, or two could wait for each other for ever: see Regions.
LOCKS = ((Service, "lock"), (AddressSpace, "lock"), (Native, "exclusive"), (Regions, "lock"))


class Ranked:
    """A lock that notes when a thread takes it that holds one which comes later, and not this one already."""

    held = threading.local()
    found: ClassVar[list[str]] = []

    def __init__(self, lock: Any, rank: int) -> None:
        self.lock, self.rank = lock, rank

    def acquire(self, *args: Any, **named: Any) -> bool:
        stack: list[Ranked] = vars(self.held).setdefault("stack", [])
        later = [other for other in stack if other.rank > self.rank]
        if later and self not in stack:
            kinds = [f"{LOCKS[lock.rank][0].__name__}.{LOCKS[lock.rank][1]}" for lock in (self, later[0])]
            self.found.append(f"{kinds[0]} taken under {kinds[1]}")
        taken: bool = self.lock.acquire(*args, **named)
        if taken:
            stack.append(self)
        return taken

    def release(self) -> None:
        self.held.stack.remove(self)
        self.lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.fixture(autouse=True)
def locks_in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test of the engine does, no thread takes locks in an order that could end in a deadlock."""
    for rank, (kind, name) in enumerate(LOCKS):
        _rank(monkeypatch, kind, name, rank)
    Ranked.found.clear()
    yield
    assert not Ranked.found


def _rank(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, rank: int) -> None:
    original = kind.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        original(self, *args, **named)
        setattr(self, name, Ranked(getattr(self, name), rank))

    monkeypatch.setattr(kind, "__init__", init)


@pytest.fixture
def native_of() -> Iterator[MakeNative]:
    """A function from code to native memory whose pc is at its first byte."""
    with ExitStack() as stack:

        def make(code: bytes = b"", pages: int = 1) -> Native:
            memory = stack.enter_context(memory_with(code, pages=pages))
            native = Native(toy.LAYOUT, memory, Blob.from_bytes(interpreter_of("toy")))
            stack.callback(native.close)
            native.words[toy.LAYOUT.word("pc")] = CODE
            for page in range(pages):
                native.allow_decoding(CODE // PAGE + page)
            return native

        yield make
