"""Which pages of memory were written since a point in time, and what they held then.

Pages that are watched cannot be written on the host. Who wants to write them, or meets the fault of it, has them kept
first: that notes their contents and lets them be written. Only what was mapped then is watched, and only as long as the
mapping is not changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

PAGE_SIZE = 4096
CHUNK = 64  # bytes that are compared at once


class Watch:
    """`ranges` are start and end of what is watched, sorted, without overlaps; `kept` has contents by address."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.ranges = ranges
        self.kept: dict[int, bytes] = {}

    def unkept(self, start: int, end: int) -> Iterator[int]:
        """The pages of a range that are watched and that nobody has written yet."""
        if end <= start:
            return
        position = max(bisect_right(self.ranges, (start, end)) - 1, 0)
        for first, last in self.ranges[position:]:
            if first >= end:
                return
            for page in range(max(first, start & -PAGE_SIZE), min(last, end), PAGE_SIZE):
                if page not in self.kept:
                    yield page

    def forget(self, start: int, end: int) -> None:
        """The mapping of a range of whole pages has changed."""
        left = []
        for first, last in self.ranges:
            left += [(a, b) for a, b in ((first, min(last, start)), (max(first, end), last)) if a < b]
        self.ranges = left
        for page in [page for page in self.kept if start <= page < end]:
            del self.kept[page]


def differences(before: bytes, now: bytes) -> Iterator[tuple[int, bytes]]:
    """Where bytes differ, and the new ones."""
    for start in range(0, len(now), CHUNK):
        old, new = before[start : start + CHUNK], now[start : start + CHUNK]
        if old == new:
            continue
        first = None
        for position, (was, is_now) in enumerate(zip(old, new, strict=True)):
            if was != is_now and first is None:
                first = position
            elif was == is_now and first is not None:
                yield start + first, new[first:position]
                first = None
        if first is not None:
            yield start + first, new[first:]
