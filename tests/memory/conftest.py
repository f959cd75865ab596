"""The native refill, for tests of what the host does to the entries that it makes."""

from collections.abc import Iterator

import pytest

from tests.codegen.refilling import Refill
from vmjit.jit.compiler import Compiler


@pytest.fixture(scope="package")
def refill() -> Iterator[Refill]:
    made = Refill(Compiler())
    yield made
    made.close()
