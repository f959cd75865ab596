"""A process without a CPU: tests put arguments into guest memory and make the calls themselves."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmjit.linux import Process
from vmjit.linux.abi import NUMBERS
from vmjit.memory.address_space import READ, WRITE, AddressSpace

SCRATCH = 0x20000
SCRATCH_SIZE = 1 << 20
MASK = (1 << 64) - 1


class Guest:
    """Calls by name; bytes become NUL-terminated strings in guest memory, numbers become registers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.memory = process.memory
        self.memory.map(SCRATCH, SCRATCH_SIZE, READ | WRITE)
        self._next = SCRATCH

    def space(self, size: int) -> int:
        """Zeroed memory."""
        address = self._next
        self._next += -(-size // 16) * 16
        assert self._next <= SCRATCH + SCRATCH_SIZE
        return address

    def put(self, data: bytes) -> int:
        """Memory that holds these bytes."""
        address = self.space(len(data))
        self.memory.write(address, data)
        return address

    def pointers(self, *strings: bytes) -> int:
        """A NULL-terminated array of strings."""
        words = [self.put(string + b"\0") for string in strings]
        return self.put(b"".join(word.to_bytes(8, "little") for word in (*words, 0)))

    def call(self, name: str, *args: int | bytes) -> int:
        """The result, negative for an errno."""
        registers = [self.put(arg + b"\0") if isinstance(arg, bytes) else arg & MASK for arg in args]
        return self.process.syscall(NUMBERS[name], registers + [0] * (6 - len(registers)))


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    """A guest whose current directory is empty."""
    monkeypatch.chdir(tmp_path)
    program = tmp_path.parent / "program"
    program.write_bytes(b"")
    with AddressSpace() as memory:
        yield Guest(Process(memory, executable=str(program), argv=["program", "arg"], env={"HOME": "/"}))
    os.chdir("/")
