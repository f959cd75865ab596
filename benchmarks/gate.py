"""Whether a change makes things larger: what is the same in every run of a commit, compared with the commit before.

`python -m benchmarks.gate [BASE [COMMIT]]` compares COMMIT, or what lies in the checkout, with BASE, the commit before.
Both run the checkout's benchmarks, on one machine and with the same packages, so nothing of this is noise; see
`counters.py` for what is counted. `--time` compares processor seconds, too: the least of several runs of each, by
turns, and only half as long again fails.

A counter that grew by more than its tolerance, one per cent for most, fails, unless a commit since BASE says why:

    Counters: code bytes, ir operations: loops of several blocks are copied, sieve takes a fifth less

`time` is a name as well; `all` stands for all, and for a BASE that the checkout's benchmarks do not run on. `guest
instructions` fail when they become fewer, too: programs stay what they are. What else became smaller is shown, and
passes; so does what one of the two does not have. The exit code is 1 when something failed.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counters import COUNTERS, Counts
from benchmarks.counters import KERNELS as COUNTED
from benchmarks.guests import KERNELS, ROOT

ALL, TIME = "all", "time"  # names for reasons, as those of COUNTERS
_REASON = re.compile(r"^Counters: *([^:]+): *\S", re.MULTILINE)
NEEDED = ("vmjit", "examples")  # of a commit, to run it
# Kernels whose runs are timed: compilation, calls, branches, floats, memory. What noise does not reach is asked only.
TIMED = ("sha256", "fib", "switched", "nbody", "stream")
TIMED_PORTION, TIMED_ROUNDS, SLOWER = 5, 5, 1.5


@dataclass(frozen=True)
class Change:
    """A counter that differs."""

    subject: str
    counter: str
    before: int
    after: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else math.inf

    @property
    def is_too_much(self) -> bool:
        """Guest instructions must neither grow nor shrink."""
        growth = COUNTERS[self.counter].growth
        return self.after > self.before * (1 + growth) or (growth == 0 and self.after != self.before)

    def __str__(self) -> str:
        percents = f"{(self.ratio - 1) * 100:+.1f} %" if self.before else "new"
        return f"{self.subject}: {self.counter} {self.before:,} -> {self.after:,} ({percents})"


def changes(before: Counts, after: Counts) -> list[Change]:
    """All counters that both have and that differ, by counter."""
    return [
        Change(subject, counter, before[subject][counter], after[subject][counter])
        for counter in COUNTERS
        for subject in after
        if counter in after[subject]
        and counter in before.get(subject, {})
        and before[subject][counter] != after[subject][counter]
    ]


def explained(messages: str) -> set[str]:
    """The counters for which the messages of some commits give a reason."""
    return {name.strip() for found in _REASON.finditer(messages) for name in found[1].split(",")}


def failed(found: Sequence[Change], messages: str) -> list[Change]:
    """What differs too much and is not explained."""
    known = explained(messages)
    return [change for change in found if change.is_too_much and not {change.counter, ALL} & known]


def report(before: Counts, after: Counts, messages: str) -> tuple[list[str], bool]:
    """Lines to print, and whether the change may pass."""
    found = changes(before, after)
    wrong = failed(found, messages)
    lines = [*totals(before, after), *(f"{'FAILED' if one in wrong else '      '} {one}" for one in found)]
    for name in sorted(explained(messages) - COUNTERS.keys() - {ALL, TIME}):
        lines.append(f"no counter is named {name!r}; there are {', '.join([*COUNTERS, TIME, ALL])}")
    if wrong:
        names = ", ".join(name for name in COUNTERS if any(one.counter == name for one in wrong))
        lines += [
            "",
            "These may not grow unnoticed. If that is what the change is for, or its price, say so in the message of",
            "its commit, on a line of its own; if not, it is a regression:",
            "",
            f"    Counters: {names}: WHY",
        ]
    return lines, not wrong


def totals(before: Counts, after: Counts) -> Iterator[str]:
    """For each counter the geometric mean of its ratios."""
    for name, counter in COUNTERS.items():
        both = [
            (before[subject][name], after[subject][name])
            for subject in after
            if name in after[subject] and before.get(subject, {}).get(name)
        ]
        if both:
            ratio = math.exp(sum(math.log(max(new, 1) / old) for old, new in both) / len(both))
            yield f"{name:22} {ratio:7.4f} of before, of {len(both)}: {counter.about}"


# Getting at the figures.


def checkout(commit: str | None, folder: Path) -> Path:
    """A folder in which `python -m benchmarks.…` runs the checkout's benchmarks on a commit's vmjit, or on its own."""
    if commit is None:
        return ROOT
    packed = subprocess.run(git("archive", commit, *NEEDED), check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    return folder


def count(folder: Path, names: Sequence[str]) -> Counts:
    """The counters of what lies in a folder."""
    command = [sys.executable, "-m", "benchmarks.counters", *names]
    done = subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=subprocess.PIPE)
    counts: Counts = json.loads(done.stdout)
    return counts


def environment() -> dict[str, str]:
    """Without what would put another vmjit first, or change what it does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("VMJIT_", "PYTHONPATH"))}


def slower(folders: Sequence[Path]) -> Iterator[tuple[str, float, bool]]:
    """For each kernel, how many times the processor time of the first folder's vmjit the second's takes; too much?"""
    for name in TIMED:
        best = [math.inf, math.inf]
        with tempfile.TemporaryDirectory() as cache:
            for round in range(TIMED_ROUNDS + 1):  # the first fills the cache
                for side, folder in enumerate(folders):
                    seconds = processor_seconds(folder, name, f"{cache}/{side}")
                    best[side] = min(best[side], seconds) if round else math.inf
        yield name, best[1] / best[0], best[1] / best[0] > SLOWER


def processor_seconds(folder: Path, name: str, cache: str) -> float:
    """Of a whole process that runs a part of a kernel."""
    kernel = KERNELS[name]
    run = ["run", "--cache-dir", cache, str(kernel.elf), str(kernel.rounds // TIMED_PORTION)]
    child = subprocess.Popen([sys.executable, "-m", "vmjit", *run], cwd=folder, env=environment(), stdout=-3)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{name} in {folder}: exit code {child.returncode}"
    return used.ru_utime + used.ru_stime


def git(*arguments: str) -> list[str]:
    return ["git", "-C", str(ROOT), *arguments]


def resolved(commit: str) -> str | None:
    """The hash of a commit; None if it is not there, as the one before the first, or in a shallow clone."""
    done = subprocess.run(git("rev-parse", "-q", "--verify", f"{commit}^{{commit}}"), capture_output=True, text=True)
    return done.stdout.strip() or None


def messages(base: str, commit: str) -> str:
    """What the commits say that one has and the other has not."""
    done = subprocess.run(git("log", "--format=%B", f"{base}..{commit}"), check=True, capture_output=True, text=True)
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD~1", help="default: HEAD~1")
    parser.add_argument("commit", nargs="?", help="default: what lies in the checkout")
    parser.add_argument("--kernels", nargs="+", choices=COUNTED, default=COUNTED, help="default: all")
    parser.add_argument("--time", action="store_true", help=f"also fail what takes {SLOWER} times as long as before")
    options = parser.parse_args(arguments)
    base, commit = resolved(options.base), resolved(options.commit) if options.commit else None
    if base is None or (options.commit and commit is None):
        print(f"nothing to compare: there is no {options.base if base is None else options.commit} in this repository")
        return 0 if base is None and options.base == "HEAD~1" else 2
    with tempfile.TemporaryDirectory() as scratch:
        folders = [checkout(base, Path(scratch) / "before"), checkout(commit, Path(scratch) / "after")]
        said = messages(base, commit or "HEAD")
        with ThreadPoolExecutor() as pool:
            counts = [pool.submit(count, folder, options.kernels) for folder in folders]
            after = counts[1].result()
        if counts[0].exception():
            print(f"{counts[0].exception()}\nthese benchmarks do not run on {options.base}", file=sys.stderr)
            return 0 if ALL in explained(said) else 1
        lines, passes = report(counts[0].result(), after, said)
        print("\n".join(lines))
        for name, ratio, is_slower in slower(folders) if options.time else ():
            is_wrong = is_slower and not {TIME, ALL} & explained(said)
            print(f"{'FAILED' if is_wrong else '      '} {name}: {ratio:.2f} times the processor time of before")
            passes = passes and not is_wrong
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main())
