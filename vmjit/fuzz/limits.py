"""What random programs may hold, so that an oracle can judge them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an oracle can judge.

    excluded  names of instructions that it lacks
    counts    it counts instructions and cycles as the tiers do
    endless   programs without an end
    mixed     store-conditionals of another width than the load-reserved before
    failing   store-conditionals that fail at addresses where no access may be made
    last      breakpoints among the last bytes of the code
    calls     system calls, though there are none of those numbers
    """

    excluded: frozenset[str] = frozenset()
    counts: bool = True
    endless: bool = True
    mixed: bool = True
    failing: bool = True
    last: bool = True
    calls: bool = True


ALL = Limits()
