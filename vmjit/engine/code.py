"""Guest code as region formation sees it: bytes, what of them was executed, and where jumps went."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vmjit.ir.layout import ODDS_SCALE, PAGE_BITS

PAGE_SIZE = 1 << PAGE_BITS

# Page number, its code, the code words of its slots (none: nobody knows what ran), and which way its branches went, 16
# bits a slot (none: nobody knows).
Chunk = tuple[int, bytes, bytes, bytes]


class Code:
    """Some pages of guest memory. `jumps` are (address of a jump or call, where it went)."""

    def __init__(self, chunks: Collection[Chunk], jumps: Iterable[tuple[int, int]] = ()) -> None:
        self.pages = {page: code for page, code, _, _ in chunks}
        self.slots = {page: memoryview(executed).cast("Q") for page, _, executed, _ in chunks if executed}
        self.ways = {page: memoryview(ways).cast("h") for page, _, _, ways in chunks if ways}
        self.is_profiled = bool(self.slots)
        self.went: dict[int, list[int]] = {}
        for site, target in set(jumps):
            self.went.setdefault(site, []).append(target)

    @staticmethod
    def of(start: int, code: bytes) -> Code:
        """Code at an address, of which nobody knows what was executed."""
        before = start % PAGE_SIZE
        padded = bytes(before) + code
        size = len(padded)
        first = start >> PAGE_BITS
        starts = range(0, size, PAGE_SIZE)
        return Code([(first + n, padded[at : at + PAGE_SIZE], b"", b"") for n, at in enumerate(starts)])

    def bytes(self, address: int, size: int) -> bytes | None:
        """Bytes of code; None where there is none."""
        parts = []
        while size:
            page = self.pages.get(address >> PAGE_BITS)
            start = address % PAGE_SIZE
            part = b"" if page is None else page[start : start + size]
            if not part:
                return None
            parts.append(part)
            address += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fetch(self, address: int, size: int) -> int | None:
        """Little-endian bits; None where there is no code."""
        page, start = self.pages.get(address >> PAGE_BITS, b""), address % PAGE_SIZE
        found = page[start : start + size] if start + size <= len(page) else self.bytes(address, size)
        return None if found is None else int.from_bytes(found, "little")

    def executed(self, address: int) -> bool:
        """Whether an instruction at the address ever was, as far as is known."""
        if not self.is_profiled:
            return True
        slots = self.slots.get(address >> PAGE_BITS)
        return slots is not None and slots[address % PAGE_SIZE // 2] != 0

    def odds(self, address: int) -> int | None:
        """How often of 1000 times the branch at an address was taken lately, 1 to 999; None if nobody knows."""
        ways = self.ways.get(address >> PAGE_BITS)
        taken = 0 if ways is None else ways[address % PAGE_SIZE // 2]
        return max(1, min(999, (taken + ODDS_SCALE) * 500 // ODDS_SCALE)) if taken else None

    def targets(self, site: int) -> list[int]:
        """Where an indirect jump went, in ascending order."""
        return sorted(self.went.get(site, ()))
