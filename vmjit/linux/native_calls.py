"""What native code may do of the system calls by itself: which calls, and on which descriptors.

Calls that are frequent, that the host makes with the same result when it is given host addresses for guest addresses,
and that change nothing which is known here. What is unusual about one comes back to the table of all calls: a reserved
descriptor, an interruption, a broken pipe, addresses outside guest memory.
"""

import ctypes

from vmjit.linux.abi import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DESCRIPTORS = 1024  # the lowest; on others a call is only slower

# What arguments are: a number, a descriptor (fd), a buffer (data) or an iovec array (vectors); their size comes next.
_CALLS = {
    "read": "fd data number",
    "write": "fd data number",
    "readv": "fd vectors number",
    "writev": "fd vectors number",
    "pread64": "fd data number number",
    "pwrite64": "fd data number number",
    "lseek": "fd number number",
    "clock_gettime": "",  # of these three codegen/calls.py knows the arguments
    "gettimeofday": "",
    "futex": "",
    "getpid": "",
    "getppid": "",
    "gettid": "",
    "getuid": "",
    "geteuid": "",
    "getgid": "",
    "getegid": "",
    "sched_yield": "",
}
NATIVE_CALLS = tuple([(NUMBERS[name], name, tuple(kinds.split())) for name, kinds in _CALLS.items()])


class ReservedDescriptors(set[int]):
    """Descriptors that do not exist for the guest; `usable` has a byte for each of the lowest, 1 if it is none of them.

    It is this that native code looks at, so they may only be changed by the methods below.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usable = (ctypes.c_uint8 * DESCRIPTORS)(*[1] * DESCRIPTORS)
        self._are_withheld = False

    def add(self, fd: int) -> None:
        super().add(fd)
        self._show(fd)

    def update(self, *others: "Iterable[int]") -> None:
        for fds in others:
            for fd in fds:
                self.add(fd)

    def discard(self, fd: object) -> None:
        super().discard(fd)
        self._show(fd)

    def withhold(self, withheld: bool) -> None:
        """Whether native code may use no descriptor at all."""
        self._are_withheld = withheld
        ctypes.memset(self.usable, not withheld, DESCRIPTORS)
        for fd in self:
            self._show(fd)

    def _show(self, fd: object) -> None:
        if isinstance(fd, int) and 0 <= fd < DESCRIPTORS:
            self.usable[fd] = fd not in self and not self._are_withheld
