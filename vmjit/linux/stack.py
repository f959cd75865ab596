"""The memory a program starts with: argc, argv, envp and the auxiliary vector on a new stack.

Laid out as binfmt_elf.c does: from the stack pointer upwards argc, the argv pointers, NULL, the envp pointers, NULL,
the auxiliary vector, then the random bytes, then the strings in the order of the pointers, then the program's name.
"""

import os
from struct import Struct, pack

from vmjit.errors import GuestError
from vmjit.linux import host
from vmjit.linux.abi import CLOCK_TICKS
from vmjit.linux.buffers import PAGE, READ, WRITE
from vmjit.linux.signal_frame import FRAME_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process
    from vmjit.loader.elf import Image
    from vmjit.memory.address_space import AddressSpace

RLIMIT_STACK = 3
LIMITS = Struct("=QQ")
DEFAULT_SIZE = 8 << 20
SMALLEST_SIZE, LARGEST_SIZE = 256 << 10, 1 << 30
GUARD = 1 << 20  # the kernel's stack_guard_gap: nothing may be mapped that close below

RANDOM_SIZE = 16

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 0, 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_HWCAP, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 16, 17, 23
AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = 25, 31, 33, 51


def stack_size() -> int:
    """What RLIMIT_STACK says, within reason."""
    limits = host.zeroed(LIMITS.size)
    host.call("prlimit", 0, RLIMIT_STACK, None, limits)
    soft: int = LIMITS.unpack(limits)[0]
    if soft >= 1 << 63:  # RLIM_INFINITY
        return DEFAULT_SIZE
    return max(SMALLEST_SIZE, min(soft, LARGEST_SIZE)) & -PAGE


def map_stack(memory: "AddressSpace") -> int:
    """Map the stack as high as possible; the address just above it."""
    size = stack_size()
    low = memory.find_free(GUARD + size, top=memory.size)
    if low is None:
        raise GuestError(f"no room for a stack of {GUARD + size:#x} bytes beside the program")
    memory.map(low, GUARD, 0)
    memory.map(low + GUARD, size, READ | WRITE, name="[stack]")
    return low + GUARD + size


def string_addresses(strings: list[bytes], address: int) -> list[int]:
    """Where each of the strings will be when they stand one after the other at address."""
    addresses = []
    for string in strings:
        addresses.append(address)
        address += len(string) + 1
    return addresses


def auxiliary_vector(image: "Image", hwcap: int, interpreter_base: int, vdso: int, random: int, execfn: int) -> bytes:
    """The (type, value) pairs, AT_NULL last; the base of the dynamic linker is 0 without one.

    Linux on riscv64 has no AT_PLATFORM.
    """
    entries = {
        AT_SYSINFO_EHDR: vdso,
        AT_HWCAP: hwcap,
        AT_PAGESZ: PAGE,
        AT_CLKTCK: CLOCK_TICKS,
        AT_PHDR: image.phdr_address,
        AT_PHENT: image.executable.phentsize,
        AT_PHNUM: image.executable.phnum,
        AT_BASE: interpreter_base,
        AT_FLAGS: 0,
        AT_ENTRY: image.entry,
        AT_UID: os.getuid(),
        AT_EUID: os.geteuid(),
        AT_GID: os.getgid(),
        AT_EGID: os.getegid(),
        AT_SECURE: 0,
        AT_RANDOM: random,
        AT_EXECFN: execfn,
        AT_MINSIGSTKSZ: FRAME_SIZE,
        AT_NULL: 0,
    }
    return b"".join([pack("<QQ", kind, value) for kind, value in entries.items()])


def write_stack(process: "Process", image: "Image", hwcap: int, interpreter_base: int) -> tuple[int, bytes]:
    """Fill a fresh stack; the initial stack pointer and the auxiliary vector."""
    argv, env, memory = process.argv, process.env, process.memory
    strings = [*argv, *env, process.execfn]
    text = b"\0".join(strings) + b"\0"
    if len(text) > stack_size() // 4:
        raise GuestError(f"arguments and environment of {len(text)} bytes are more than a quarter of the stack")
    text_address = process.stack_top - 8 - len(text)
    addresses = string_addresses(strings, text_address)
    random = (text_address - RANDOM_SIZE) & -16
    auxv = auxiliary_vector(image, hwcap, interpreter_base, process.vdso, random, addresses[-1])
    words = [len(argv), *addresses[: len(argv)], 0, *addresses[len(argv) : -1], 0]
    vectors = pack(f"<{len(words)}Q", *words) + auxv
    sp = (random - len(vectors)) & -16
    env_address = addresses[len(argv)]
    process.strings = (text_address, env_address, env_address, addresses[-1])
    memory.write(text_address, text)
    memory.write(random, os.urandom(RANDOM_SIZE))
    memory.write(sp, vectors)
    return sp, auxv
