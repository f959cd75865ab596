"""Guests: what the rest of the program knows of an emulated architecture.

A `Guest` is cheap to import: names, layout and the system-call convention. The description of its instructions is
imported when `decode_table` is first asked for, because a start from the code cache never asks.
Nothing outside `vmjit/guest/<name>/` imports a guest by name, except the table here.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from vmjit.errors import GuestError
from vmjit.ir.layout import Layout

if TYPE_CHECKING:
    from vmjit.isa.decoder import DecodeTable

__all__ = ["GUEST", "Guest", "SyscallAbi", "by_elf_machine", "get"]

GUEST = "riscv64"  # the only one so far; the loader refuses files for others


@dataclass(frozen=True)
class SyscallAbi:
    """The registers that carry a system call, named as in the layout; `size` of the instruction is in bytes."""

    number: str
    arguments: tuple[str, ...]
    result: str
    size: int


@dataclass(frozen=True)
class Guest:
    """One architecture.

    alignment      every instruction starts at a multiple of it, in bytes
    stack_pointer, thread_pointer  registers, named as in the layout
    trap_sets      registers that a trap sets, and to what
    registers      architectural registers in the order to print and compare them
    hwcap          the auxiliary vector's AT_HWCAP
    description    module that holds `decode_table`
    core           extensions that every program uses: their handlers are made first, others when they are met
    extensions     of the architecture, in the order and spelling of Linux's /proc/cpuinfo
    """

    name: str
    elf_machine: int
    layout: Layout
    alignment: int
    stack_pointer: str
    thread_pointer: str
    syscall: SyscallAbi
    hwcap: int
    trap_sets: tuple[tuple[str, int], ...]
    registers: tuple[str, ...]
    description: str
    core: tuple[str, ...]
    extensions: tuple[str, ...] = ()

    @cached_property
    def decode_table(self) -> "DecodeTable":
        """The decoder of all instructions; importing their description takes a while."""
        return import_module(self.description).decode_table  # type: ignore[no-any-return]


_MODULES = {"riscv64": "vmjit.guest.riscv"}
_BY_ELF_MACHINE = {243: "riscv64"}  # EM_RISCV


def get(name: str) -> Guest:
    """The guest of this name. Raises GuestError."""
    if name not in _MODULES:
        raise GuestError(f"no guest is named {name!r}; there are {', '.join(_MODULES)}")
    return import_module(_MODULES[name]).guest  # type: ignore[no-any-return]


def by_elf_machine(number: int) -> Guest:
    """The guest for an ELF file's e_machine. Raises GuestError."""
    if number not in _BY_ELF_MACHINE:
        raise GuestError(f"no guest runs ELF machine {number}; there are {_BY_ELF_MACHINE}")
    return get(_BY_ELF_MACHINE[number])
