"""What tests of the engine share: native memory with the toy's interpreter, ready to run."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import toy
from machines import CODE, PAGE, MakeNative, interpreter_of, memory_with

from vmjit.engine.native import Native
from vmjit.jit.blob import Blob


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
