"""Compiled code on disk: one folder for each version of vmjit, LLVM and processor, one file for each piece of code.

Files are content-addressed and written beside their place, then renamed, so readers and writers need no lock. Whatever
is wrong with a file (truncated, damaged, someone else's) it counts as absent and is written anew. A folder that others
may write to is not used: what is in it would be executed. The name of a region's file says the address it was made for
and the digest of the guest code it was made from, so a later run finds it by looking at guest memory, without decoding
anything.
"""

from __future__ import annotations

import marshal
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EPERM
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from vmjit import __version__
from vmjit.engine.regions import SYMBOL
from vmjit.ir.layout import ADDRESS_BITS
from vmjit.jit.blob import Blob
from vmjit.jit.host import host_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmjit.codegen.calls import Call

MAX_BYTES = 256 << 20  # of one folder; half of it goes, the oldest files first, when it is exceeded
_CODE_PACKAGES = ("codegen", "engine", "guest", "guest/riscv", "ir", "isa", "jit", "passes")
REFILL_KEY = "interpreter-refill"  # of what fills the TLB of regions where the interpreter has none
_DIGEST_BYTES = 16
_REGION_PREFIX, _PROGRAM_PREFIX = "region-", "program-"
# What vmjit makes there, files that somebody is writing included.
_FOLDER = re.compile(r"[0-9a-f]{32}")
_OF_INTERPRETER = "interpreter(-[a-z]+)*|handlers(-[a-z]+)*-[0-9]+"  # once without the memory model
_FILE = re.compile(rf"({_OF_INTERPRETER}|(region-[0-9a-f]+|calls|program)-[0-9a-f]{{32}})(\.[0-9a-f]{{16}})?")

Ranges = tuple[tuple[int, int], ...]
Read = Callable[[int, int], bytes | None]  # code: address and size -> bytes


@dataclass(frozen=True)
class Region:
    """A compiled region.

    entries       guest addresses that enter it
    ranges        addresses that it was made from
    exits         known addresses outside that it leads to
    shape         digest of what else formed it
    instructions  how many
    """

    entries: tuple[int, ...]
    ranges: Ranges
    exits: tuple[int, ...]
    shape: str
    instructions: int
    blob: Blob

    def to_bytes(self) -> bytes:
        body = marshal.dumps(
            (self.entries, self.ranges, self.exits, self.shape, self.instructions, self.blob.to_bytes())
        )
        return crc32(body).to_bytes(4, "little") + body

    @staticmethod
    def from_bytes(data: bytes) -> Region:
        """The inverse of to_bytes; ValueError for anything else."""
        if crc32(data[4:]) != int.from_bytes(data[:4], "little"):
            raise ValueError("the region is damaged: its checksum does not match")
        try:
            entries, ranges, exits, shape, instructions, blob = marshal.loads(data[4:])
            region = Region(entries, ranges, exits, shape, instructions, Blob.from_bytes(blob))
            if not region.is_sound():
                raise ValueError("addresses that are none")
        except (EOFError, MemoryError, TypeError, ValueError) as error:
            raise ValueError(f"not a region: {error}") from error
        return region

    def is_sound(self) -> bool:
        """Whether placing it touches nothing but what is there for it. TypeError if it does not even have the types."""
        known = self.blob.symbols.get(SYMBOL)
        return (
            isinstance(self.instructions, int)
            and isinstance(self.exits, tuple)
            and known is not None
            and known < len(self.blob.code)
            and all(0 <= start < end <= 1 << ADDRESS_BITS for start, end in self.ranges)
            and all(any(start <= entry < end for start, end in self.ranges) for entry in self.entries)
        )


@dataclass(frozen=True)
class Kept:
    """A region that a run of a program ended with: where it was asked for, its name, and the entries that led to it."""

    pc: int
    name: str
    entries: tuple[int, ...]
    region: Region


@dataclass(frozen=True)
class Program:
    """What a run of a program leaves to the next: its regions, and where its calls and indirect jumps went.

    `version` says which program it is, see version_of().
    """

    regions: tuple[Kept, ...] = ()
    jumps: tuple[tuple[int, int], ...] = ()
    version: str = ""

    @property
    def path(self) -> str:
        """Of the program's file."""
        return self.version.rsplit(" ", 2)[0]

    def to_bytes(self) -> bytes:
        regions = [(kept.pc, kept.name, kept.entries, kept.region.to_bytes()) for kept in self.regions]
        return marshal.dumps((regions, self.jumps, self.version))

    @staticmethod
    def from_bytes(data: bytes) -> Program:
        """The inverse of to_bytes; ValueError for anything else."""
        try:
            regions, jumps, version = marshal.loads(data)
            kept = [Kept(pc, name, entries, Region.from_bytes(part)) for pc, name, entries, part in regions]
            found = Program(tuple(kept), jumps, version)
            if not found.is_sound():
                raise ValueError("addresses that are none")
        except (EOFError, MemoryError, TypeError, ValueError) as error:
            raise ValueError(f"not a program's file: {error}") from error
        return found

    def is_sound(self) -> bool:
        """Whether placing it touches nothing but what is there for it. TypeError if it does not even have the types."""
        addresses = [address for jump in self.jumps for address in jump]
        return (
            isinstance(self.version, str)
            and all({kept.pc, *kept.entries} <= set(kept.region.entries) for kept in self.regions)
            and all(0 <= address < 1 << ADDRESS_BITS for address in addresses)
        )


def version_of(path: str) -> str:
    """Names a program's file for as long as it is not changed."""
    found = os.stat(path)
    return f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}"


def variant(model: str, passes: str, precise: bool) -> str:
    """What a region depends on besides its code: Settings.model, the passes, whether registers are exact at faults."""
    return f"{model} {passes} precise" if precise else f"{model} {passes}"


def region_key(pc: int, entries: tuple[int, ...], ranges: Ranges, shape: str, code: bytes, variant: str) -> str:
    """The name of the file of a region made from these bytes, those of all ranges one after another."""
    return f"{_REGION_PREFIX}{pc:x}-{digest(marshal.dumps((entries, ranges, shape), 2), code, variant)}"


def calls_key(descriptors: int, calls: tuple[Call, ...]) -> str:
    """The name of the file of the system calls that native code makes."""
    return f"calls-{digest(marshal.dumps((descriptors, calls), 2))}"


def interpreter_key(model: str) -> str:
    """The name of the file of the interpreter's core for a Settings.model."""
    return f"interpreter-{model}"


def handlers_key(model: str, group: int) -> str:
    """The name of the file of a group of its handlers."""
    return f"handlers-{model}-{group}"


def stencils_key(model: str, group: int) -> str:
    """The same of the stencils of a group, 0 for those of the core."""
    return f"stencils-{model}-{group}"


def name_of(pc: int, region: Region, read: Read, variant: str) -> str | None:
    """region_key() of a region of the code that is there now; None if there is none."""
    parts = [read(start, end - start) for start, end in region.ranges]
    code = b"".join(part for part in parts if part is not None)
    return None if None in parts else region_key(pc, region.entries, region.ranges, region.shape, code, variant)


class Cache:
    """`folder` is None when nothing is to be kept."""

    def __init__(self, root: str | None, guest: str) -> None:
        self.folder = None if root is None else os.path.join(root, digest(identity(), guest))

    def get(self, key: str) -> Blob | None:
        """The blob stored under the key."""
        data = self._read(key)
        try:
            return None if data is None else Blob.from_bytes(data)
        except ValueError:
            return None

    def put(self, key: str, blob: Blob) -> None:
        """Store a blob."""
        self._write(key, blob.to_bytes())

    def get_region(self, key: str) -> Region | None:
        """The region stored under its region_key()."""
        data = self._read(key)
        try:
            return None if data is None else Region.from_bytes(data)
        except ValueError:
            return None

    def put_region(self, key: str, region: Region) -> None:
        """Store a region."""
        self._write(key, region.to_bytes())

    def get_program(self, program: str, variant: str) -> Program:
        """What earlier runs of a program left; `program` says which, however that is told."""
        return self._read_program(_PROGRAM_PREFIX + digest(program, variant)) or Program()

    def put_program(self, program: str, variant: str, left: Program) -> None:
        """Leave something for later runs, in place of what was there."""
        self._write(_PROGRAM_PREFIX + digest(program, variant), left.to_bytes())

    def programs(self) -> list[tuple[Program, int]]:
        """What there is of all programs, and the bytes it takes; sorted by path."""
        found = [(self._read_program(name), size) for name, size in files_in(self.folder or "", _PROGRAM_PREFIX)]
        return sorted(((left, size) for left, size in found if left is not None), key=lambda row: row[0].version)

    def _read_program(self, key: str) -> Program | None:
        data = self._read(key)
        try:
            return None if data is None else Program.from_bytes(data)
        except ValueError:
            return None

    def find_region(self, pc: int, read: Read, variant: str) -> Region | None:
        """The largest region for an address whose code is what `read(address, size)` gives."""
        best = None
        for key in self._regions.get(pc, ()):
            region = self.get_region(key)
            if region is None or (best is not None and region.instructions <= best.instructions):
                continue
            if name_of(pc, region, read, variant) == key:
                best = region
        return best

    @cached_property
    def _regions(self) -> dict[int, list[str]]:
        """The names of all regions that were there when first asked, by address."""
        found: dict[int, list[str]] = {}
        try:
            names = [] if self.folder is None or not self._is_ours else os.listdir(self.folder)
        except OSError:
            names = []
        for name in names:
            address, dash, _ = name.removeprefix(_REGION_PREFIX).partition("-")
            if name.startswith(_REGION_PREFIX) and dash and "." not in name:
                try:
                    found.setdefault(int(address, 16), []).append(name)
                except ValueError:
                    continue  # not a file of ours
        return found

    def _read(self, key: str) -> bytes | None:
        if self.folder is None or not self._is_ours:
            return None
        try:
            # NONBLOCK, because opening a pipe would wait for its writer.
            fd = os.open(os.path.join(self.folder, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                found = os.fstat(fd)
                if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
                    return None  # code that another user could have put there must not run
                data = file.read()
        except OSError:
            return None
        seal, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        return data if seal == _seal(key, data) else None

    def _write(self, key: str, data: bytes) -> None:
        """A disk that is full or read-only costs the cache, not the run."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, key)
        fresh = f"{path}.{os.urandom(8).hex()}"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self.__dict__.pop("_is_ours", None)
            if not self._is_ours:
                return
            with open(fresh, "xb") as file:
                file.write(_seal(key, data) + data)
            os.replace(fresh, path)
        except OSError:
            with suppress(OSError):
                os.unlink(fresh)

    @cached_property
    def _is_ours(self) -> bool:
        """Whether the folder is there and nobody else can put a file into it."""
        return self.folder is not None and os.path.lexists(self.folder) and not why_not_ours(self.folder)

    def trim(self) -> None:
        """Keep the folder within MAX_BYTES."""
        if self.folder is None or not self._is_ours:
            return
        try:
            files = sorted(_files(self.folder))
        except OSError:
            return
        total = sum(size for _, size, _ in files)
        if total <= MAX_BYTES:
            return
        for _, size, path in files:
            if total <= MAX_BYTES // 2:
                return
            try:
                os.unlink(path)
            except OSError:
                continue
            total -= size


def _seal(key: str, data: bytes) -> bytes:
    """What a file begins with: it tells damage, and contents that belong to another name."""
    hashed = blake2b(data, digest_size=_DIGEST_BYTES, key=key.encode()[-blake2b.MAX_KEY_SIZE :])
    return hashed.digest()


def why_not_ours(path: str | int) -> str:
    """Why a folder, or what is open as one, is not used; empty if it is, as nobody else can put a file into it."""
    try:
        found = os.lstat(path) if isinstance(path, str) else os.fstat(path)
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others may write to it" if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


# The cache as a whole.


def folders_in(root: str) -> list[str]:
    """The names of the folders of all versions, those that are not ours too. OSError if there is no cache."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if _FOLDER.fullmatch(entry.name))


def files_in(folder: str, prefix: str = "") -> list[tuple[str, int]]:
    """Name and size of the files of a version that begin so; none if the folder is not ours."""
    try:
        fd = _open_folder(folder)
    except OSError:
        return []
    try:
        return [row for row in _ours(fd) if row[0].startswith(prefix)]
    finally:
        os.close(fd)


def remove(folder: str) -> list[int]:
    """Remove the files of a version and, if nothing else is in it, the folder; the sizes of those removed.

    OSError if it is not ours. Nothing that vmjit did not make is touched, nor what links lead to.
    """
    removed = []
    fd = _open_folder(folder)
    try:
        for name, size in _ours(fd):
            with suppress(OSError):
                os.unlink(name, dir_fd=fd)
                removed.append(size)
    finally:
        os.close(fd)
    with suppress(OSError):
        os.rmdir(folder)
    return removed


def _open_folder(folder: str) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    why = why_not_ours(fd)
    if why:
        os.close(fd)
        raise OSError(EPERM, why, folder)
    return fd


def _ours(fd: int) -> Iterator[tuple[str, int]]:
    """Name and size of each file of ours in an open folder."""
    for name in sorted(os.listdir(fd)):
        try:
            found = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            continue  # it was replaced or trimmed meanwhile
        if _FILE.fullmatch(name) and stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            yield name, found.st_size


def _files(folder: str) -> Iterator[tuple[float, int, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            found = entry.stat()
            yield found.st_mtime, found.st_size, entry.path


def identity() -> str:
    """What generated code depends on besides guest code: this program, LLVM and the processor."""
    return "\n".join((__version__, *_sources(), host_identity()))


def _sources() -> Iterator[str]:
    """Size and time of the modules that generate code: cheaper than reading them, and nobody has to keep a version."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for package in _CODE_PACKAGES:
        with os.scandir(os.path.join(root, package)) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    found = entry.stat()
                    yield f"{package}/{entry.name} {found.st_size} {found.st_mtime_ns}"


def digest(*parts: str | bytes) -> str:
    """A name for some content."""
    hashed = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little"))
        hashed.update(data)
    return hashed.hexdigest()
