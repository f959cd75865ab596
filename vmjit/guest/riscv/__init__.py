"""RISC-V RV64GC with Zba, Zbb, Zbs, Zicond and Zihintpause: the guest, put together.

Files are named as in riscv-opcodes. `instructions.py` imports them all; nothing here does.
System calls: riscv-elf-psabi and Linux `man 2 syscall`.
"""

from vmjit.guest import Guest, SyscallAbi
from vmjit.guest.riscv.registers import LAYOUT, NO_RESERVATION

__all__ = ["guest"]

# In the order of the ISA manual's naming chapter: letters, then Zi*, then other Z*.
EXTENSIONS = (*"imafdc", "zicntr", "zicond", "zicsr", "zifencei", "zihintpause", "zba", "zbb", "zbs")

guest = Guest(
    name="riscv64",
    elf_machine=243,  # EM_RISCV
    layout=LAYOUT,
    alignment=2,
    stack_pointer="x2",
    thread_pointer="x4",
    syscall=SyscallAbi(number="x17", arguments=tuple(f"x{n}" for n in range(10, 16)), result="x10", size=4),
    hwcap=sum(1 << (ord(name) - ord("a")) for name in EXTENSIONS if len(name) == 1),  # Linux: bit n for letter n
    trap_sets=(("reserved_address", NO_RESERVATION),),  # a store-conditional after it fails
    registers=(*(f"x{n}" for n in range(32)), *(f"f{n}" for n in range(32)), "fflags", "frm"),
    description="vmjit.guest.riscv.instructions",
    core=("I",),
    extensions=EXTENSIONS,
)
