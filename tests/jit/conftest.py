"""One compiler and one arena for all tests of jit."""

from collections.abc import Iterator

import pytest

from vmjit.jit.arena import Arena
from vmjit.jit.compiler import Compiler


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    return Compiler()


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena(1 << 20)
    yield arena
    arena.close()
