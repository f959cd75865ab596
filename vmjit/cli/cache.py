"""`vmjit cache`: what is kept of compiled code, how much that is, and how to be rid of it.

Nothing is read, counted or removed that vmjit would not use itself: folders of others, or that others may write to, are
named and left alone. The exit code is 1 if something was to be removed and could not be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmjit.cli import printable
from vmjit.cli.options import settings_of_cache
from vmjit.engine.cache import Cache, files_in, folders_in, remove, why_not_ours
from vmjit.guest import GUEST

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

OK, LEFT = 0, 1


@dataclass(frozen=True)
class Version:
    """The folder of one version of vmjit, LLVM and processor; `problem` says why it is not used."""

    path: str
    is_present: bool
    problem: str
    files: Sequence[tuple[str, int]]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)

    def count(self, prefix: str) -> int:
        return sum(name.startswith(prefix) for name, _ in self.files)


def main(options: argparse.Namespace) -> int:
    root = settings_of_cache(options).cache_dir
    if root is None:
        print("no cache: no folder is set for it")
        return OK
    kept = Cache(root, GUEST)
    try:
        versions = [_version(os.path.join(root, name), kept) for name in folders_in(root)]
    except FileNotFoundError:
        print(printable(f"no cache: there is no folder {root}"))
        return OK
    return ACTIONS[options.action](options, root, kept, versions)


def _version(path: str, kept: Cache) -> Version:
    return Version(path, path == kept.folder, why_not_ours(path), files_in(path))


def _list(options: argparse.Namespace, root: str, kept: Cache, versions: Sequence[Version]) -> int:
    for version in versions:
        parts = [os.path.basename(version.path), "present" if version.is_present else "old"]
        if version.problem:
            parts.append(f"ignored: {version.problem}")
        else:
            parts += [_bytes(version.size), _count(version.count("region-"), "region")]
            parts.append(_count(version.count("program-"), "program"))
        print("  ".join(parts))
    for left, size in kept.programs():
        instructions = sum(found.region.instructions for found in left.regions)
        parts = [_count(len(left.regions), "region"), _count(instructions, "instruction"), _bytes(size)]
        print(printable("  ".join((left.path, *parts))))
    return OK


def _size(options: argparse.Namespace, root: str, kept: Cache, versions: Sequence[Version]) -> int:
    files = sum(len(version.files) for version in versions)
    print(printable(f"{_bytes(sum(version.size for version in versions))} in {_count(files, 'file')}: {root}"))
    return OK


def _clear(options: argparse.Namespace, root: str, kept: Cache, versions: Sequence[Version]) -> int:
    code = OK
    removed: list[int] = []
    for version in versions:
        if options.old and version.is_present:
            continue
        try:
            removed += remove(version.path)
            problem = "something else is in it" if os.path.lexists(version.path) else ""
        except OSError:
            problem = version.problem
        if problem:
            print(printable(f"left {version.path}: {problem}"))
            code = LEFT
    print(f"removed {_bytes(sum(removed))} in {_count(len(removed), 'file')}")
    return code


ACTIONS: dict[str, Callable[[argparse.Namespace, str, Cache, Sequence[Version]], int]] = {
    "list": _list,
    "size": _size,
    "clear": _clear,
}


def _bytes(number: int) -> str:
    return f"{number:,} bytes"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
