"""The memory that all generated code lives in: one reserved area, readable, writable and executable.

Only pages that are touched take memory, so the area may be large, and the kernel has one mapping to know.
Ranges that are given back are used again: whoever frees one knows that no thread is in it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from bisect import bisect_left
from threading import Lock

from vmjit.errors import VmjitError
from vmjit.jit.blob import ALIGNMENT

_NORESERVE = 0x4000  # <asm-generic/mman.h>: no swap space is set aside; Python 3.11's mmap module has no name for it
_FAILED = ctypes.c_void_p(-1).value
_REFUSED = (errno.EACCES, errno.EPERM)


class Arena:
    """Offsets count from `base`; every allocation is a multiple of ALIGNMENT, in place and in size."""

    def __init__(self, size: int) -> None:
        self.size = _round_up(size, mmap.PAGESIZE)
        self.base = _map(self.size)
        self.used = 0
        self._free = [(0, self.size)]  # (offset, size), sorted, no two touching
        self._lock = Lock()

    def allocate(self, size: int) -> int | None:
        """The offset of a free range, the first that is large enough; None if there is none."""
        size = _round_up(max(size, 1), ALIGNMENT)
        with self._lock:
            for i, (offset, room) in enumerate(self._free):
                if room >= size:
                    self._free[i : i + 1] = [(offset + size, room - size)] if room > size else []
                    self.used += size
                    return offset
        return None

    def free(self, offset: int, size: int) -> None:
        """Take back a range that allocate() gave, for the same size."""
        size = _round_up(max(size, 1), ALIGNMENT)
        self._check(offset, size)
        with self._lock:
            i = bisect_left(self._free, (offset, 0))
            before = self._free[i - 1] if i > 0 else (0, 0)
            after = self._free[i] if i < len(self._free) else (self.size, 0)
            if offset % ALIGNMENT or sum(before) > offset or offset + size > after[0]:
                raise ValueError(f"{size} bytes at {offset:#x} were not allocated")
            self.used -= size
            start, end = i, i
            if before[1] and sum(before) == offset:
                start, offset, size = i - 1, before[0], before[1] + size
            if after[1] and offset + size == after[0]:
                end, size = i + 1, size + after[1]
            self._free[start:end] = [(offset, size)]

    def place(self, offset: int, code: bytes) -> int:
        """Copy code to an offset; its address. x86-64 keeps instruction fetch coherent; AArch64 must flush here."""
        self._check(offset, len(code))
        ctypes.memmove(self.base + offset, code, len(code))
        return self.base + offset

    def close(self) -> None:
        """Unmap everything; no code of the arena may be running. Closing again does nothing."""
        with self._lock:
            if self.base:
                _libc.munmap(self.base, self.size)
            self.base = self.size = self.used = 0
            self._free = []

    def _check(self, offset: int, size: int) -> None:
        if not 0 <= offset <= offset + size <= self.size:
            raise ValueError(f"{size} bytes at {offset:#x} are not within the arena's {self.size:#x}")


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _map(size: int) -> int:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    address = _libc.mmap(None, size, protection, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE, -1, 0)
    if address is None or address == _FAILED:
        raise VmjitError(_why_refused(size, ctypes.get_errno()))
    return int(address)


def _why_refused(size: int, code: int) -> str:
    text = f"cannot map {size >> 20} MB of memory for generated code: {os.strerror(code)}"
    if code in _REFUSED:
        return (
            f"{text}. This host forbids pages that are both writable and executable; allow them for Python "
            "(SELinux: setsebool deny_execmem off; systemd: MemoryDenyWriteExecute=no)"
        )
    return f"{text}. Raise the limit of address space (ulimit -v) or ask for a smaller arena"


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
