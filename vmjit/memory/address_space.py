"""Guest memory of one user-mode process: a flat area of host memory and the table of what is mapped in it.

Guest address a lies at host address base + a.  Invariant: what the table calls readable or writable is so on the host,
and no host page of the area is executable or belongs to anybody else.  Python looks at the table before it touches a
byte, so no guest address can crash the host; guest mistakes in mapping calls are OSError with the errno Linux gives.
See mmap(2), mremap(2), process_vm_readv(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import weakref
from _thread import RLock
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import index

from vmjit.errors import MemoryAccessError
from vmjit.memory.watch import Watch, differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy

PAGE_SIZE = 4096
READ, WRITE, EXECUTE = 1, 2, 4

_NAMES = {READ: "readable", WRITE: "writable", EXECUTE: "executable"}
_HOST_PROTECTION = (0, 1, 3, 3, 1, 1, 3, 3)  # guest permissions -> PROT_READ 1, PROT_WRITE 2, never PROT_EXEC

# The same numbers on x86-64 and AArch64 Linux; the module mmap lacks some of them in Python 3.11.
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000
_MREMAP_MAYMOVE, _MREMAP_FIXED, _MREMAP_DONTUNMAP = 1, 2, 4
_RESERVED = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
_MAP_FAILED = ctypes.c_void_p(-1).value

_LOWEST = 0x10000  # Linux's vm.mmap_min_addr: find_free leaves null pointers unmapped
_PATH_MAX = 4096
_PROBE = 1 << 20  # bytes of a file mapping that are looked at in one system call
_LONG = 1 << 20  # bytes to copy, during which other threads of Python should run; what that takes is 1 us

# What _check found in a range besides the permissions asked for.
_MAY_FAULT, _IS_CODE = 1, EXECUTE

_libc = ctypes.CDLL(None, use_errno=True)
_size, _address, _int = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
for _name, _result, _arguments in (
    ("mmap", _address, (_address, _size, _int, _int, _int, ctypes.c_int64)),
    ("munmap", _int, (_address, _size)),
    ("mprotect", _int, (_address, _size, _int)),
    ("mremap", _address, (_address, _size, _size, _int, _address)),
    ("process_vm_readv", ctypes.c_ssize_t, (_int, ctypes.c_char_p, _size, ctypes.c_char_p, _size, _size)),
    ("process_vm_writev", ctypes.c_ssize_t, (_int, ctypes.c_char_p, _size, ctypes.c_char_p, _size, _size)),
):
    _function = getattr(_libc, _name)
    _function.restype, _function.argtypes = _result, _arguments
_pack_iovec = struct.Struct("NN").pack


@dataclass(frozen=True, slots=True)
class Mapping:
    """Pages start <= address < end with equal attributes; offset is the place in the file, None if anonymous."""

    start: int
    end: int
    permissions: int
    shared: bool = False
    name: str = ""
    offset: int | None = None

    def cut(self, start: int, end: int) -> Mapping:
        """The part of this mapping that lies between two addresses."""
        start, end = max(start, self.start), min(end, self.end)
        if start == self.start and end == self.end:
            return self
        offset = None if self.offset is None else self.offset + start - self.start
        return Mapping(start, end, self.permissions, self.shared, self.name, offset)

    def continues(self, before: Mapping) -> bool:
        """Whether this mapping and the one before it are one; files never are, a name does not identify them."""
        return (
            before.end == self.start
            and before.permissions == self.permissions
            and before.offset is None
            and self.offset is None
            and before.shared == self.shared
            and before.name == self.name
        )


def _ignore(addr: int, size: int) -> None:
    """The default of AddressSpace.code_changed."""


class AddressSpace:
    """Flat guest address space: host address = base + guest address.

    Every method may be called from any thread.  Hold `lock` to make several calls one step (find_free, then map), and
    around os.fork, so that the child does not inherit a half-changed table.  Memory handed out by buffer() and view()
    is not checked again: it must not be used after its pages were unmapped or protected.
    """

    def __init__(self, size: int = 1 << 38, guard: int = 1 << 32, *, mmap_top: int | None = None) -> None:
        """Reserve `size` bytes of guest addresses; find_free() looks below `mmap_top` (the end, if not given)."""
        if size <= 0 or guard < 0 or size % PAGE_SIZE or guard % PAGE_SIZE:
            raise ValueError(f"size {size:#x} and guard {guard:#x} must be multiples of {PAGE_SIZE}")
        # Compiled code compares the base of an access with the size and then adds a small constant, so an access
        # it let through may still lie a little outside on either side.
        reserved = guard + size + guard
        start = _libc.mmap(None, reserved, 0, _RESERVED, -1, 0)
        if start == _MAP_FAILED:
            raise _host_error(f"cannot reserve {reserved:#x} bytes of address space")
        self.base: int = start + guard
        self.size = size
        self.mmap_top = size if mmap_top is None else mmap_top
        self.lock = RLock()
        # (addr, size), page aligned: called after the table has changed, before any other call sees it.
        self.mapping_changed: Callable[[int, int], None] | None = None
        # (addr, size), page aligned: called after code may have changed, for pages that are or were executable.
        self.code_changed: Callable[[int, int], None] = _ignore
        # By size, (host address, expected, new) -> what was there, in one step even for code that is not Python's.
        self.exchanges: dict[int, Callable[[int, int, int], int]] = {}
        self._starts: list[int] = []
        self._table: list[Mapping] = []
        self._watch: Watch | None = None
        area = (ctypes.c_ubyte * size).from_address(self.base)
        # Buffers and arrays that were handed out refer to `area`, so the pages outlive close() until the last is gone.
        weakref.finalize(area, _libc.munmap, start, reserved).atexit = False
        self._bytes = memoryview(area).cast("B")

    def close(self) -> None:
        """Unmap everything; accesses raise from now on.  Pages still seen through a buffer go when it goes."""
        with self.lock:
            self._starts, self._table = [], []
            self._bytes = memoryview(bytearray())
            self.size = 0

    def __enter__(self) -> AddressSpace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Changing what is mapped.

    def map(
        self,
        addr: int,
        size: int,
        permissions: int,
        *,
        fd: int = -1,
        offset: int = 0,
        shared: bool = False,
        name: str | None = None,
    ) -> None:
        """Map zeros, or a file from `offset`, at exactly `addr`, replacing what was there."""
        start, end = self._page_range(addr, size)
        if name is None:
            name = _file_name(fd) if fd >= 0 else ""
        mapping = Mapping(start, end, permissions & 7, shared, name, offset if fd >= 0 else None)
        with self.lock:
            self._host_map(mapping, fd)
            old = self._splice(start, end, [mapping])
        self._notify([mapping, *old], start, end)

    def adopt(self, addr: int, size: int, permissions: int, there: int, name: str) -> None:
        """Move what the host has mapped at the address `there`, shared memory, to exactly `addr`."""
        start, end = self._page_range(addr, size)
        mapping = Mapping(start, end, permissions & 7, True, name, 0)
        where = self.base + start
        with self.lock:
            if _libc.mremap(there, end - start, end - start, _MREMAP_MAYMOVE | _MREMAP_FIXED, where) != where:
                error = self._lose(start, end, f"cannot map {name} at {start:#x}-{end:#x}")
                _libc.munmap(there, end - start)
                raise error
            old = self._splice(start, end, [mapping])
        self._notify([mapping, *old], start, end)

    def unmap(self, addr: int, size: int) -> None:
        """Remove whatever is mapped in the range."""
        start, end = self._page_range(addr, size, outside=errno.EINVAL)
        with self.lock:
            if not self._overlapping(start, end):
                return
            if not self._reserve(start, end):
                raise _host_error(f"cannot unmap {start:#x}-{end:#x}")
            old = self._splice(start, end, [])
        self._notify(old, start, end)

    def protect(self, addr: int, size: int, permissions: int) -> None:
        """Give all pages of the range these permissions; nothing changes if one of them is not mapped."""
        if size == 0 and addr % PAGE_SIZE == 0:
            return
        start, end = self._page_range(addr, size)
        permissions &= 7
        changed: list[Mapping] = []
        try:
            with self.lock:
                if not self.is_mapped(start, end - start):
                    raise OSError(errno.ENOMEM, f"cannot protect {start:#x}-{end:#x}: not all of it is mapped")
                for piece in [mapping.cut(start, end) for mapping in self._overlapping(start, end)]:
                    self._host_protect(piece, permissions)
                    self._splice(piece.start, piece.end, [replace(piece, permissions=permissions)])
                    if piece.permissions != permissions:
                        changed += [piece, replace(piece, permissions=permissions)]
        finally:
            self._notify(changed, start, end)

    def move(self, old: int, old_size: int, new: int, new_size: int) -> None:
        """mremap(2) with MREMAP_FIXED: move one mapping with its contents, cut it off or let it grow at the end."""
        old_start, old_end = self._page_range(old, old_size, outside=errno.EFAULT)
        new_start, new_end = self._page_range(new, new_size, outside=errno.EINVAL)
        if old_start < new_end and new_start < old_end:
            raise OSError(errno.EINVAL, f"cannot move {old_start:#x}-{old_end:#x} onto itself at {new_start:#x}")
        with self.lock:
            pieces = [mapping.cut(old_start, old_end) for mapping in self._overlapping(old_start, old_end)]
            if len(pieces) != 1 or (pieces[0].start, pieces[0].end) != (old_start, old_end):
                raise OSError(errno.EFAULT, f"cannot move {old_start:#x}-{old_end:#x}: not one mapping")
            moved = replace(pieces[0], start=new_start, end=new_end)
            kept = min(old_end, old_start + new_end - new_start)
            self._host_move(replace(pieces[0], end=kept), moved)
            emptied = self._reserve(old_start, old_end)
            self._splice(old_start, old_end, [])
            replaced = self._splice(new_start, new_end, [moved])
        self._notify(pieces, old_start, old_end)
        self._notify([moved, *replaced], new_start, new_end)
        if not emptied:
            raise _host_error(f"cannot unmap {old_start:#x}-{old_end:#x}")

    # Asking what is mapped.

    def find_free(self, size: int, hint: int = 0, *, top: int | None = None) -> int | None:
        """`hint` rounded up if it is free, else the end of the highest gap below `top` (mmap_top); None if too big."""
        size = _page_up(index(size))
        if size <= 0:
            return None
        with self.lock:
            hint = _page_up(index(hint))
            if hint >= _LOWEST and self.is_free(hint, size):
                return hint
            ceiling = min(self.mmap_top if top is None else top, self.size) & -PAGE_SIZE
            for position in range(bisect_left(self._starts, ceiling) - 1, -1, -1):
                mapping = self._table[position]
                if ceiling - max(mapping.end, _LOWEST) >= size:
                    break
                ceiling = min(ceiling, mapping.start)
            return ceiling - size if ceiling - size >= _LOWEST else None

    def permissions(self, addr: int) -> int | None:
        """What the page of this address allows; None if it is not mapped."""
        with self.lock:
            mapping = self._at(index(addr))
            return None if mapping is None else mapping.permissions

    def regions(self, start: int = 0, end: int | None = None) -> Iterator[Mapping]:
        """Everything that is mapped now between two addresses, or at all, sorted by address."""
        with self.lock:
            if start <= 0 and end is None:
                return iter(tuple(self._table))
            end = self.size if end is None else end
            overlapping = self._overlapping(start, end) if start < end else []
            return iter([mapping.cut(start, end) for mapping in overlapping])

    def is_mapped(self, addr: int, size: int) -> bool:
        """Whether every page of the range is mapped, with whatever permissions."""
        return self.accessible(addr, size, 0)

    def is_free(self, addr: int, size: int) -> bool:
        """Whether the range lies in the address space and nothing is mapped in it."""
        addr, size = index(addr), index(size)
        with self.lock:
            return 0 <= addr <= addr + size <= self.size and not self._overlapping(addr, addr + size)

    def accessible(self, addr: int, size: int, permissions: int) -> bool:
        """Whether the whole range is mapped with at least these permissions; true for no bytes at all."""
        addr, size = index(addr), index(size)
        with self.lock:
            return size == 0 or (size > 0 and self._first_lack(addr, size, permissions) is None)

    # Reading and writing.

    def read(self, addr: int, size: int, permissions: int = READ) -> bytes:
        """A copy of `size` bytes; pass EXECUTE to fetch instructions."""
        addr, size = index(addr), index(size)
        with self.lock:
            if self._check(addr, size, permissions) & _MAY_FAULT:
                return self._copy_out(addr, size)
            return self._bytes[addr : addr + size].tobytes()

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Store all of `data`, or nothing if one byte cannot be stored."""
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        addr, size = index(addr), len(data)
        with self.lock:
            found = self._check(addr, size, WRITE)
            if found & _MAY_FAULT:
                self._require_backed(addr, size)
                self._copy_in(addr, data)
            else:
                self._bytes[addr : addr + size] = data
        if found & _IS_CODE:
            self._notify_pages(addr, size)

    def copy(self, target: int, source: int, size: int) -> None:
        """Store at `target` the bytes that are at `source` now, or nothing if one cannot be read or stored.

        The ranges may overlap.
        """
        target, source, size = index(target), index(source), index(size)
        # One private mapping each, no code: looked at here, for calls would cost as much as 32 KiB. So would `with`.
        self.lock.acquire()
        try:
            starts, table = self._starts, self._table
            i, j = bisect_right(starts, target) - 1, bisect_right(starts, source) - 1
            if i >= 0 <= j and 0 < size < _LONG:
                there, here = table[i], table[j]
                if (
                    target + size <= there.end
                    and source + size <= here.end
                    and there.permissions & (WRITE | EXECUTE) == WRITE
                    and here.permissions & READ
                    and there.offset is here.offset is None
                    and not (there.shared or here.shared)
                    and self._watch is None
                ):
                    self._bytes[target : target + size] = self._bytes[source : source + size]
                    return
        finally:
            self.lock.release()
        self._copy_slowly(target, source, size)

    def fill(self, addr: int, size: int, byte: int = 0) -> None:
        """Store one byte value everywhere in the range, or nowhere."""
        addr, size, pattern = index(addr), index(size), bytes((byte,))
        with self.lock:
            found = self._check(addr, size, WRITE)
            if found & _MAY_FAULT:
                self._require_backed(addr, size)
                for start in range(addr, addr + size, _PROBE):
                    self._copy_in(start, pattern * min(_PROBE, addr + size - start))
            elif size:
                ctypes.memset(self.base + addr, byte, size)
        if found & _IS_CODE:
            self._notify_pages(addr, size)

    def compare_exchange(self, addr: int, size: int, expected: int, new: int) -> bool:
        """Store `new` if the `size` bytes at a multiple of it hold `expected`, little-endian; whether they did."""
        addr = index(addr)
        with self.lock:
            found = self._check(addr, size, READ | WRITE)
            exchange = self.exchanges.get(size)
            if exchange is None:
                done = int.from_bytes(self.read(addr, size), "little") == expected
                if done:
                    self.write(addr, new.to_bytes(size, "little"))
                return done
            if found & _MAY_FAULT:
                self._require_backed(addr, size)
            done = exchange(self.base + addr, expected, new) == expected
        if found & _IS_CODE and done:
            self._notify_pages(addr, size)
        return done

    def read_cstring(self, addr: int, limit: int = _PATH_MAX) -> bytes:
        """The bytes before the first NUL, which must be one of `limit` bytes: else OSError with ENAMETOOLONG."""
        parts: list[bytes] = []
        addr, left = index(addr), limit
        with self.lock:
            while left > 0:
                # Page by page: the string may end just before memory that is not mapped.
                part = self.read(addr, min(PAGE_SIZE - addr % PAGE_SIZE, left))
                end = part.find(0)
                if end >= 0:
                    return b"".join((*parts, part[:end]))
                parts.append(part)
                addr += len(part)
                left -= len(part)
        raise OSError(errno.ENAMETOOLONG, f"no NUL in the {limit} bytes before {addr:#x}")

    def buffer(self, addr: int, size: int, permissions: int) -> memoryview:
        """The bytes themselves, not a copy, read-only unless WRITE is asked for; for os.readv and its like."""
        addr, size = index(addr), index(size)
        with self.lock:
            if self._check(addr, size, permissions) & _MAY_FAULT:
                self._require_backed(addr, size)
            pages = self._bytes[addr : addr + size] if size else self._bytes[:0]
        return pages if permissions & WRITE else pages.toreadonly()

    def view(self, addr: int, n: int, dtype: numpy.typing.DTypeLike) -> numpy.typing.NDArray[numpy.generic]:
        """`n` elements as an array, not a copy, writeable if the pages are writable; `addr` need not be aligned."""
        import numpy

        kind = numpy.dtype(dtype)
        size = index(n) * kind.itemsize
        with self.lock:
            writable = WRITE if self.accessible(addr, size, WRITE) else 0
            pages = self.buffer(addr, size, READ | writable)
        return numpy.frombuffer(pages, kind, n) if size else numpy.empty(0, kind)

    # Finding out what is written. For a forked process: nobody else may be writing when it begins or ends.

    def watch(self) -> None:
        """From now on note which private pages are written, and what they hold now.

        Guest code that writes one for the first time faults on the host; keep() lets it go on.
        """
        with self.lock:
            self.unwatch()
            writable = [m for m in self._table if m.permissions & WRITE and not m.shared]
            self._watch = Watch([(m.start, m.end) for m in writable if self._host_seal(m.start, m.end, READ)])

    def unwatch(self) -> None:
        """Let everything be written unnoticed."""
        with self.lock:
            watch, self._watch = self._watch, None
            for start, end in watch.ranges if watch else ():
                self._host_seal(start, end, WRITE)

    def keep(self, addr: int, size: int) -> bool:
        """Let bytes be written that are about to be: whether they could not, for they were watched."""
        with self.lock:
            watch, found = self._watch, False
            if watch is None:
                return False
            for page in tuple(watch.unkept(addr, addr + size)):
                found = self._host_seal(page, page + PAGE_SIZE, WRITE)
                try:
                    watch.kept[page] = self.read(page, PAGE_SIZE, 0)
                except MemoryAccessError:  # there is no such page of its file
                    watch.forget(page, page + PAGE_SIZE)
            return found

    def written(self) -> list[tuple[int, bytes]]:
        """The bytes that differ from what they were when watch() or this was last called, and their addresses."""
        found: list[tuple[int, bytes]] = []
        with self.lock:
            kept = {} if self._watch is None else self._watch.kept
            for page, before in kept.items():
                now = self.read(page, PAGE_SIZE, 0)
                found += [(page + offset, data) for offset, data in differences(before, now)]
                kept[page] = now
        return found

    # The table: _starts[i] == _table[i].start, sorted, without overlaps.

    def _page_range(self, addr: int, size: int, outside: int = errno.ENOMEM) -> tuple[int, int]:
        """Start and end of the pages, checked; a size that does not fill its last page is rounded up, as on Linux."""
        start, end = index(addr), _page_up(index(addr) + index(size))
        if start % PAGE_SIZE or size <= 0:
            raise OSError(errno.EINVAL, f"address {start:#x}, size {size:#x}: not a range of pages")
        if not 0 <= start < end <= self.size:
            raise OSError(outside, f"{start:#x}-{end:#x} is outside the address space of {self.size:#x} bytes")
        return start, end

    def _at(self, addr: int) -> Mapping | None:
        position = bisect_right(self._starts, addr) - 1
        if position >= 0 and addr < self._table[position].end:
            return self._table[position]
        return None

    def _overlapping(self, start: int, end: int) -> list[Mapping]:
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._table[first].end <= start:
            first += 1
        return self._table[first : bisect_left(self._starts, end)]

    def _splice(self, start: int, end: int, new: list[Mapping]) -> list[Mapping]:
        """Replace what the table says of a range, merging with the neighbours; returns the parts that went."""
        old = self._overlapping(start, end)
        # One byte more on each side finds the neighbours that touch the range.
        touching = self._overlapping(start - 1, end + 1)
        kept_below = [m.cut(m.start, start) for m in touching[:1] if m.start < start]
        kept_above = [m.cut(end, m.end) for m in touching[-1:] if m.end > end]
        merged: list[Mapping] = []
        for mapping in (*kept_below, *new, *kept_above):
            if merged and mapping.continues(merged[-1]):
                merged[-1] = replace(merged[-1], end=mapping.end)
            else:
                merged.append(mapping)
        first = bisect_left(self._starts, touching[0].start if touching else start)
        self._table[first : first + len(touching)] = merged
        self._starts[first : first + len(touching)] = [mapping.start for mapping in merged]
        if self._watch is not None:
            self._watch.forget(start, end)
        if self.mapping_changed is not None:
            self.mapping_changed(start, end - start)
        return [mapping.cut(start, end) for mapping in old]

    def _first_lack(self, addr: int, size: int, permissions: int) -> tuple[int, int] | None:
        """The first address of the range that is not mapped, or lacks permissions, and which; None if all is well."""
        position, end = addr, addr + size
        for mapping in self._overlapping(addr, end):
            if mapping.start > position:
                break
            if permissions & ~mapping.permissions:
                return position, permissions & ~mapping.permissions
            position = mapping.end
        return None if position >= end else (position, 0)

    def _check(self, addr: int, size: int, permissions: int) -> int:
        """Raise MemoryAccessError unless the range allows the access; says whether it is code, or might still fault."""
        if self._watch is not None and permissions & WRITE:
            self.keep(addr, size)
        position = bisect_right(self._starts, addr) - 1
        if position >= 0:
            mapping = self._table[position]
            if size > 0 and addr + size <= mapping.end and not permissions & ~mapping.permissions:
                is_plain = mapping.offset is None and not mapping.shared
                return mapping.permissions & _IS_CODE if is_plain else _traits(mapping)
        if size == 0:
            return 0
        return self._check_slowly(addr, size, permissions)

    def _check_slowly(self, addr: int, size: int, permissions: int) -> int:
        where = f"guest memory at {addr:#x}, {size} bytes"
        if size < 0:
            raise MemoryAccessError(f"{where}: a negative size")
        lack = self._first_lack(addr, size, permissions)
        if lack is not None:
            names = " and ".join(name for bit, name in _NAMES.items() if bit & lack[1])
            raise MemoryAccessError(f"{where}: not {names or 'mapped'} at {lack[0]:#x}")
        found = 0
        for mapping in self._overlapping(addr, addr + size):
            found |= _traits(mapping)
        return found

    def _notify(self, mappings: list[Mapping], start: int, end: int) -> None:
        if any(mapping.permissions & EXECUTE for mapping in mappings):
            self.code_changed(start, end - start)

    def _notify_pages(self, addr: int, size: int) -> None:
        start = addr & -PAGE_SIZE
        self.code_changed(start, _page_up(addr + size) - start)

    # The host's side.

    def _reserve(self, start: int, end: int) -> bool:
        """Make pages inaccessible and empty in one step: a hole could be taken by another thread's mmap."""
        where = self.base + start
        return bool(_libc.mmap(where, end - start, 0, _RESERVED | _MAP_FIXED, -1, 0) == where)

    def _lose(self, start: int, end: int, message: str) -> OSError:
        """The error of a failed call that may have removed what was there; if so, the table forgets it too."""
        error = _host_error(message)
        # When the host refuses even this, it is at its limit of mappings, which it looks at before it removes any.
        if self._reserve(start, end):
            self._notify(self._splice(start, end, []), start, end)
        return error

    def _host_map(self, mapping: Mapping, fd: int) -> None:
        start, size = self.base + mapping.start, mapping.end - mapping.start
        protection = _HOST_PROTECTION[mapping.permissions]
        flags = (_MAP_SHARED if mapping.shared else _MAP_PRIVATE) | _MAP_NORESERVE
        message = f"cannot map {mapping.start:#x}-{mapping.end:#x}"
        if mapping.offset is None:
            if _libc.mmap(start, size, protection, flags | _MAP_ANONYMOUS | _MAP_FIXED, -1, 0) != start:
                raise self._lose(mapping.start, mapping.end, message)
            return
        # A file may refuse to be mapped after the host has removed the old pages, so it is mapped elsewhere first.
        elsewhere = _libc.mmap(None, size, protection, flags, fd, mapping.offset)
        if elsewhere == _MAP_FAILED:
            raise _host_error(f"{message} to {mapping.name or f'descriptor {fd}'}")
        if _libc.mremap(elsewhere, size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, start) != start:
            error = self._lose(mapping.start, mapping.end, message)
            _libc.munmap(elsewhere, size)
            raise error

    def _host_protect(self, piece: Mapping, permissions: int) -> None:
        start, size = self.base + piece.start, piece.end - piece.start
        if _libc.mprotect(start, size, _HOST_PROTECTION[permissions]) != 0:
            error = _host_error(f"cannot protect {piece.start:#x}-{piece.end:#x}")
            # The host may have changed the first of several areas that are one mapping here.
            _libc.mprotect(start, size, _HOST_PROTECTION[piece.permissions])
            raise error

    def _host_seal(self, start: int, end: int, permissions: int) -> bool:
        """Change what the host allows, and not what the table says."""
        return bool(_libc.mprotect(self.base + start, end - start, _HOST_PROTECTION[permissions]) == 0)

    def _host_move(self, kept: Mapping, moved: Mapping) -> None:
        """Move the pages of `kept` to the start of `moved`, and make it grow to that size."""
        old, new = self.base + kept.start, self.base + moved.start
        old_size, new_size = kept.end - kept.start, moved.end - moved.start
        flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
        anonymous = kept.offset is None and not kept.shared
        if anonymous and new_size > old_size:
            self._host_map(moved.cut(moved.start + old_size, moved.end), -1)
        # DONTUNMAP leaves no hole at the old place for another thread's mmap to fall into, but a file cannot grow with
        # it, and Linux knows it since 5.7 (5.13 for files).
        if anonymous or new_size == old_size:
            done = _libc.mremap(old, old_size, old_size, flags | _MREMAP_DONTUNMAP, new)
            if done == new:
                return
        if _libc.mremap(old, old_size, new_size, flags, new) != new:
            raise self._lose(moved.start, moved.end, f"cannot move {kept.start:#x}-{kept.end:#x}")

    # A page of a mapped file that lies behind its end, or cannot be read, answers with SIGBUS: there the kernel copies
    # for us, and says EFAULT instead.  Where a sandbox forbids these calls, the table alone decides.

    def _copy_out(self, addr: int, size: int) -> bytes:
        copy = ctypes.create_string_buffer(size)
        here = _pack_iovec(ctypes.addressof(copy), size)
        there = _pack_iovec(self.base + addr, size)
        done = _libc.process_vm_readv(os.getpid(), here, 1, there, 1, 0)
        if done == size:
            return copy.raw
        _require_forbidden(addr, size, done)
        return self._bytes[addr : addr + size].tobytes()

    def _copy_slowly(self, target: int, source: int, size: int) -> None:
        with self.lock:
            found = self._check(target, size, WRITE)
            if (found | self._check(source, size, READ)) & _MAY_FAULT:
                self._copy_carefully(target, source, size)
            elif size:
                ctypes.memmove(self.base + target, self.base + source, size)
        if found & _IS_CODE:
            self._notify_pages(target, size)

    def _copy_carefully(self, target: int, source: int, size: int) -> None:
        """In parts, and from the end when a part would overwrite what is still to be read."""
        self._require_backed(source, size)
        self._require_backed(target, size)
        parts = range(0, size, _PROBE)
        for part in reversed(parts) if source < target < source + size else parts:
            self._copy_in(target + part, self._copy_out(source + part, min(_PROBE, size - part)))

    def _copy_in(self, addr: int, data: bytes) -> None:
        """To be called when all of it is known to be backed."""
        here = _pack_iovec(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data))
        there = _pack_iovec(self.base + addr, len(data))
        done = _libc.process_vm_writev(os.getpid(), here, 1, there, 1, 0)
        if done != len(data):
            _require_forbidden(addr, len(data), done)
            self._bytes[addr : addr + len(data)] = data

    def _require_backed(self, addr: int, size: int) -> None:
        for start in range(addr, addr + size, _PROBE):
            self._copy_out(start, min(_PROBE, addr + size - start))


def _page_up(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE


def _traits(mapping: Mapping) -> int:
    """Shared memory may fault like a file: it is one, and move() can make the mapping longer than it."""
    may_fault = mapping.offset is not None or mapping.shared
    return (_MAY_FAULT if may_fault else 0) | mapping.permissions & _IS_CODE


def _host_error(message: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{message}: {os.strerror(code)}")


def _require_forbidden(addr: int, size: int, done: int) -> None:
    """Raise unless the kernel refused the call as such, rather than the memory."""
    if done >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        raise MemoryAccessError(f"guest memory at {addr:#x}, {size} bytes: not backed by its file")


def _file_name(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
