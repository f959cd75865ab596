"""Compiled code on disk: one folder for each version of vmjit, LLVM and processor, one file for each piece of code.

Files are content-addressed and written beside their place, then renamed, so readers and writers need no lock. Whatever
is wrong with a file (truncated, damaged, someone else's) it counts as absent and is written anew.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from vmjit import __version__
from vmjit.jit.blob import Blob
from vmjit.jit.host import host_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 256 << 20  # of one folder; half of it goes, the oldest files first, when it is exceeded
_CODE_PACKAGES = ("codegen", "engine", "guest", "guest/riscv", "ir", "isa", "jit", "passes")
_DIGEST_BYTES = 16


class Cache:
    """`folder` is None when nothing is to be kept."""

    def __init__(self, root: str | None, guest: str) -> None:
        self.folder = None if root is None else os.path.join(root, digest(identity(), guest))

    def get(self, key: str) -> Blob | None:
        """What was stored under the key."""
        if self.folder is None:
            return None
        try:
            with open(os.path.join(self.folder, key), "rb") as file:
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    return None  # code that another user could have put there must not run
                return Blob.from_bytes(file.read())
        except (OSError, ValueError):
            return None

    def put(self, key: str, blob: Blob) -> None:
        """Store a blob; a disk that is full or read-only costs the cache, not the run."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, key)
        fresh = f"{path}.{os.getpid()}"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open(fresh, "wb") as file:
                file.write(blob.to_bytes())
            os.replace(fresh, path)
        except OSError:
            return

    def trim(self) -> None:
        """Keep the folder within MAX_BYTES."""
        if self.folder is None:
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
