"""Judges programs: runs each under the oracle and in the tiers, and says in which it ends differently."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vmjit.debug import Settings
from vmjit.fuzz.end import DEFAULT_LIMIT, LIMIT, Differences, End, differences
from vmjit.fuzz.limits import Limits
from vmjit.fuzz.program import Program
from vmjit.fuzz.qemu import Qemu, QemuError, may_judge
from vmjit.fuzz.tiers import DEFAULT_SETTINGS, TIERS, Benches

ORACLES = ("reference", "qemu")
REFERENCE = "reference"

DIFFERS, RAISED, CRASHED, HUNG = "differs", "raised an exception", "crashed", "does not end"


@dataclass(frozen=True)
class Mismatch:
    """What is wrong with a tier; `message` for what raised or crashed."""

    tier: str
    kind: str
    different: Differences = field(default_factory=dict)
    message: str = ""

    def is_like(self, other: Mismatch | None) -> bool:
        """Whether both may well come from the same defect."""
        if other is None or (self.tier, self.kind) != (other.tier, other.kind):
            return False
        return self.kind != RAISED or self.message.splitlines()[-1:] == other.message.splitlines()[-1:]


@dataclass(frozen=True)
class Verdict:
    """`instructions` that the program executed; `end` as the oracle has it."""

    instructions: int
    mismatch: Mismatch | None
    end: End | None = None


def _ignore(tier: str) -> None:
    """The default of Judge.watch."""


class Judge:
    """`watch` is told what is about to run the program."""

    def __init__(self, oracle: str, tiers: Sequence[str] = TIERS, settings: Settings = DEFAULT_SETTINGS) -> None:
        self.tiers = tuple(tier for tier in tiers if tier != oracle)
        self.qemu = Qemu() if oracle == "qemu" else None
        used = self.tiers if self.qemu is not None else (*self.tiers, REFERENCE)
        self.benches = Benches(used, settings)
        self.watch: Callable[[str], None] = _ignore

    @property
    def limits(self) -> Limits:
        """What programs may hold."""
        return Limits() if self.qemu is None else self.qemu.limits

    def judge(self, program: Program, only: str = "", limit: int = DEFAULT_LIMIT) -> Verdict:
        """Run the program everywhere, or in one tier only, until something differs."""
        tiers = (only,) if only in self.tiers else self.tiers
        if self.qemu is None:
            return self._by_reference(program, tiers, limit)
        return self._by_qemu(self.qemu, program, tiers, limit)

    def _by_reference(self, program: Program, tiers: Sequence[str], limit: int) -> Verdict:
        expected = self._run(REFERENCE, program, limit)
        if isinstance(expected, Mismatch):
            return Verdict(0, expected)
        count = expected.registers["instret"]
        for tier in tiers:
            found = self._run(tier, program, limit)
            mismatch = found if isinstance(found, Mismatch) else self._compare(program, tier, expected, found)
            if mismatch is not None:
                return Verdict(count, mismatch, expected)
        return Verdict(count, None, expected)

    def _compare(self, program: Program, tier: str, expected: End, found: End) -> Mismatch | None:
        if LIMIT in (expected.reason, found.reason):
            # Native code stops at the next jump, so the reference goes as far as it did, or a step beyond for its end.
            if "instret" not in found.registers:
                return None
            count = found.registers["instret"] + (found.reason != LIMIT)
            expected = self.benches.run(REFERENCE, program, count)
        different = differences(expected, found)
        return Mismatch(tier, DIFFERS, different) if different else None

    def _by_qemu(self, qemu: Qemu, program: Program, tiers: Sequence[str], limit: int) -> Verdict:
        """What qemu cannot judge is not given to it: see may_judge."""
        expected, count = None, 0
        for tier in tiers:
            found = self._run(tier, program, limit)
            if isinstance(found, Mismatch):
                return Verdict(count, found, expected)
            count = found.registers.get("instret", count)
            if expected is None and not may_judge(found):
                return Verdict(count, None)
            if expected is not None and found.reason == LIMIT:
                # Native code stops at the next jump, so another tier may have ended a little behind the limit.
                found = self._run(tier, program, 2 * limit)
                if isinstance(found, Mismatch):
                    return Verdict(count, found, expected)
            if expected is None:
                self.watch("qemu")
                try:
                    expected = qemu.run(program)
                except QemuError as error:
                    return Verdict(count, Mismatch("qemu", RAISED, message=str(error)))
            different = differences(expected, found)
            if different:
                return Verdict(count, Mismatch(tier, DIFFERS, different), expected)
        return Verdict(count, None, expected)

    def _run(self, tier: str, program: Program, limit: int) -> End | Mismatch:
        self.watch(tier)
        try:
            return self.benches.run(tier, program, limit)
        except Exception:
            return Mismatch(tier, RAISED, message=traceback.format_exc().rstrip())

    def close(self) -> None:
        self.benches.close()
        if self.qemu is not None:
            self.qemu.close()
