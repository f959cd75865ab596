"""Where calls and indirect jumps lately went, as those need it who form regions: by the page that they are in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vmjit.ir.layout import PAGE_BITS

if TYPE_CHECKING:
    from vmjit.engine.native import Native

# Reading and sorting what all harts noted takes 5 ms, a region 100 ms, and jumps that are new do not matter at once.
OLD_SECONDS = 0.5

ByPage = dict[int, list[tuple[int, int]]]


class Jumps:
    """Of one process; `native` notes them."""

    def __init__(self, native: Native, *, always_fresh: bool) -> None:
        self.native = native
        self.always_fresh = always_fresh
        self.seen: tuple[float, ByPage] | None = None  # when they were looked at

    def by_page(self) -> ByPage:
        """Address and target of each, by the page of the address."""
        now = time.monotonic()
        if self.seen is None or self.always_fresh or now - self.seen[0] > OLD_SECONDS:
            found: ByPage = {}
            for jump in sorted(self.native.jumps()):
                found.setdefault(jump[0] >> PAGE_BITS, []).append(jump)
            self.seen = now, found
        return self.seen[1]
