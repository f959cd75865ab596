"""The vDSO: a small library that every program finds in its memory, by AT_SYSINFO_EHDR. See vdso(7).

tests/programs/build.py makes the file of vdso.S. Handlers of signals return to it; the rest is there for programs that
look for it, as C libraries do.
"""

import os
from functools import cache
from struct import Struct

from vmjit.errors import GuestError
from vmjit.linux.buffers import EXECUTE, READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.memory.address_space import AddressSpace

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "linux-vdso.so.1")
ENTRY = Struct("<24xQ")  # of an ELF header: e_entry, which vdso.lds lets be __vdso_rt_sigreturn


@cache
def library() -> tuple[bytes, int]:
    """The file, and the offset of __vdso_rt_sigreturn."""
    with open(FILE, "rb") as file:
        data = file.read()
    return data, ENTRY.unpack_from(data)[0]


def map_vdso(memory: "AddressSpace") -> tuple[int, int]:
    """Map it below what is mapped; its address, and that of __vdso_rt_sigreturn."""
    data, return_offset = library()
    address = memory.find_free(len(data))
    if address is None:
        raise GuestError("no room for the vDSO beside the program")
    memory.map(address, len(data), READ | WRITE, name="[vdso]")
    memory.write(address, data)
    memory.protect(address, len(data), READ | EXECUTE)
    return address, address + return_offset
