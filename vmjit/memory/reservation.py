"""Large areas of host memory that read as zeros and cost nothing until they are touched."""

from __future__ import annotations

import ctypes
import os

_READ_WRITE = 3
_PRIVATE_ANONYMOUS_NORESERVE = 0x02 | 0x20 | 0x4000
_DONT_NEED = 4
_FAILED = ctypes.c_void_p(-1).value
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Dropping pages costs a system call and a fault for each page used again, clearing them 0.1 us for each.
_DROP_FROM = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap, _madvise = _libc.mmap, _libc.munmap, _libc.madvise
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Reservation:
    """`size` zeroed bytes at host address `base`, readable and writable."""

    def __init__(self, size: int) -> None:
        found = _mmap(None, size, _READ_WRITE, _PRIVATE_ANONYMOUS_NORESERVE, -1, 0)
        if found in (None, _FAILED):
            code = ctypes.get_errno()
            raise OSError(
                code,
                f"cannot reserve {size:#x} bytes of address space: {os.strerror(code)}; "
                "raise ulimit -v, or set vm.overcommit_memory to 0 or 1",
            )
        self.base: int = found
        self.size = size

    def words(self, offset: int, count: int) -> memoryview:
        """`count` 64-bit words from a byte offset, not a copy."""
        array = (ctypes.c_uint64 * count).from_address(self.base + offset)
        return memoryview(array).cast("B").cast("Q")

    def clear(self, offset: int, size: int) -> None:
        """Make a range read as zeros again."""
        start, end = self.base + offset, self.base + offset + size
        if size >= _DROP_FROM:
            first, last = -(-start // _PAGE) * _PAGE, end // _PAGE * _PAGE
            _madvise(first, last - first, _DONT_NEED)
            ctypes.memset(start, 0, first - start)
            ctypes.memset(last, 0, end - last)
        else:
            ctypes.memset(start, 0, size)

    def close(self) -> None:
        """Give the memory back; nothing may use it any more."""
        if self.size:
            _munmap(self.base, self.size)
            self.size = 0
