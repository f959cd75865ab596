"""riscv_hwprobe: what a program may ask about its CPU. See Documentation/arch/riscv/hwprobe.rst of Linux.

The C library chooses functions by it: where misaligned accesses are fast, its own memcpy goes by words.
"""

import os
from errno import EFAULT, EINVAL
from struct import Struct

from vmjit.guest import GUEST, get
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

# Keys, and what they may say.
MVENDORID, MARCHID, MIMPID, BASE_BEHAVIOR, IMA_EXT_0, CPUPERF_0, ZICBOZ_BLOCK_SIZE = range(7)
HIGHEST_VIRT_ADDRESS, TIME_CSR_FREQ, MISALIGNED_SCALAR_PERF, MISALIGNED_VECTOR_PERF = range(7, 11)
BASE_BEHAVIOR_IMA, MISALIGNED_FAST, MISALIGNED_VECTOR_UNSUPPORTED = 1, 3, 4
PROBED_EXTENSIONS = {"c": 1, "zba": 3, "zbb": 4, "zbs": 5, "zicond": 35, "zihintpause": 36}  # and their bits
IMA_FD = 1 << 0
WHICH_CPUS = 1
PROBE_PAIR = Struct("<qQ")
TIME_FREQUENCY = 10_000_000
CPU_SET_LIMIT = 1024  # bytes


def hwprobe_values(extensions: tuple[str, ...], highest: int) -> dict[int, int]:
    """The keys that are known and what they say of the guest's CPU, which is no maker's."""
    found = sum(1 << bit for name, bit in PROBED_EXTENSIONS.items() if name in extensions)
    return {
        MVENDORID: 0,
        MARCHID: 0,
        MIMPID: 0,
        BASE_BEHAVIOR: BASE_BEHAVIOR_IMA,
        IMA_EXT_0: found | (IMA_FD if {"f", "d"} <= set(extensions) else 0),
        CPUPERF_0: MISALIGNED_FAST,
        ZICBOZ_BLOCK_SIZE: 0,
        HIGHEST_VIRT_ADDRESS: highest,
        TIME_CSR_FREQ: TIME_FREQUENCY,
        MISALIGNED_SCALAR_PERF: MISALIGNED_FAST,
        MISALIGNED_VECTOR_PERF: MISALIGNED_VECTOR_UNSUPPORTED,
    }


@syscall("address size size address uint")
def sys_riscv_hwprobe(process: "Process", pairs: int, count: int, cpu_size: int, cpus: int, flags: int) -> int:
    if flags & ~WHICH_CPUS:
        raise SyscallError(EINVAL)
    if count * PROBE_PAIR.size > process.memory.size:
        raise SyscallError(EFAULT)
    values = hwprobe_values(get(GUEST).extensions, process.memory.size - 1)
    data = process.memory.read(pairs, count * PROBE_PAIR.size) if count else b""
    asked = list(PROBE_PAIR.iter_unpack(data))
    if flags & WHICH_CPUS:
        return which_cpus(process, asked, values, cpu_size, cpus)
    if (cpus or cpu_size) and not chosen_cpus(process, cpu_size, cpus):
        raise SyscallError(EINVAL)
    answers = [(key, values[key]) if key in values else (-1, 0) for key, _ in asked]
    if answers:
        process.memory.write(pairs, b"".join([PROBE_PAIR.pack(*answer) for answer in answers]))
    return 0


def which_cpus(
    process: "Process", asked: list[tuple[int, int]], values: dict[int, int], cpu_size: int, cpus: int
) -> int:
    """Reduce a set of CPUs, all of them if it is empty, to those that have what is asked; all are alike here."""
    if not cpus or not cpu_size:
        raise SyscallError(EINVAL)
    size = min(cpu_size, CPU_SET_LIMIT)
    chosen = chosen_cpus(process, size, cpus) if any(process.memory.read(cpus, size)) else present_cpus()
    bits = (BASE_BEHAVIOR, IMA_EXT_0)
    matches = all(
        key in values and (not value & ~values[key] if key in bits else value == values[key]) for key, value in asked
    )
    process.memory.write(cpus, (chosen if matches else 0).to_bytes(size, "little"))
    return 0


def present_cpus() -> int:
    return sum(1 << cpu for cpu in os.sched_getaffinity(0))


def chosen_cpus(process: "Process", size: int, address: int) -> int:
    """The CPUs of a set in guest memory that there are."""
    return int.from_bytes(process.memory.read(address, min(size, CPU_SET_LIMIT)), "little") & present_cpus()
