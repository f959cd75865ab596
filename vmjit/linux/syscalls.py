"""All implemented system calls: importing the modules that define them fills TABLE, number -> Syscall.

A call that is in no module is reported once and returns ENOSYS; those named here do so in silence, because programs try
them as a matter of course and go on without.
"""

from errno import ENOSYS

from vmjit.linux import (  # noqa: F401
    descriptors,
    files,
    hwprobe,
    identity,
    ipc,
    memory_calls,
    polling,
    processes,
    signals,
    sockets,
    threads,
    time_calls,
    transfers,
)
from vmjit.linux.outcome import SyscallError
from vmjit.linux.table import TABLE, register

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmjit.linux.process import Process

__all__ = ["TABLE"]

SILENTLY_ABSENT = {
    "rseq": "address uint int uint",
    "openat2": "dirfd path address size",
    "mseal": "hex size int",
    "io_uring_setup": "uint address",
    "landlock_create_ruleset": "address size uint",
}


def absent(_process: "Process", *_arguments: int) -> int:
    raise SyscallError(ENOSYS)


for _name, _kinds in SILENTLY_ABSENT.items():
    register(_name, _kinds, absent)
