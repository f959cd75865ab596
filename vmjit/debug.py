"""What a developer may ask to see: the one table of dump categories, and the settings of a run.

`Settings.from_environment` is the only reader of the environment; the command line passes what it was told as
overrides, in the same form. Settings are frozen, so they may go to any thread. This module is on the path of every
start, so it imports nothing but the exceptions (dataclasses alone would take 7 ms).
"""

from __future__ import annotations

import os
import sys

from vmjit.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    FindSymbol = Callable[[str], tuple[int, int] | None]  # as SymbolTable.range: first address and end

# fmt: off
CATEGORIES = {
    "decode":        "address, word and disassembly of each translated instruction",
    "ir":            "regions after translation",
    "ir.<pass>":     "regions after that pass; ir.* after each",
    "llvm":          "regions as LLVM text",
    "asm":           "regions as host instructions",
    "exit":          "each return of control to the host: reason and address",
    "syscall":       "system calls with arguments and results, as strace prints them",
    "guest-error":   "the guest did something invalid",
    "unimplemented": "the guest asked for something that vmjit lacks",
    "time":          "seconds per stage and pass when the program ends, and the counters",
}

VARIABLES = {  # name: (option of `vmjit run` that does the same, what it holds)
    "VMJIT_DUMP":       ("--dump",      "dump categories, separated by commas"),
    "VMJIT_FILTER":     ("--filter",    "dump only these guest addresses: 0x10000-0x10400,0x10468,main"),
    "VMJIT_LOG":        ("--log",       "file that dumps are appended to, instead of stderr"),
    "VMJIT_VERIFY":     ("",            "1: verify regions after every pass"),
    "VMJIT_CHECK":      ("--check",     "1: compare each region with the reference evaluator"),
    "VMJIT_SLOW_CALLS": ("",            "1: native code makes no system calls, each goes through Python"),
    "VMJIT_PASSES":     ("",            "passes to run, separated by commas, instead of the whole pipeline"),
    "VMJIT_PGO":        ("--pgo",       "off: learn nothing from earlier runs of the program"),
    "VMJIT_MEMORY":     ("--memory",    "flat, or tlb: guest memory is reached through a software TLB"),
    "VMJIT_TLB":        ("--tlb",       "its TLB: entries=4096,victims=8,policy=fifo|random|lru,prefetch,count (hits)"),
    "VMJIT_SYSROOT":    ("--sysroot",   "folder where absolute paths are looked for first, the dynamic linker's too"),
    "VMJIT_CACHE_DIR":  ("--cache-dir", "folder for compiled code; empty: none, as --no-cache"),
    "VMJIT_TRACEBACK":  ("",            "1: show where in vmjit an internal error happened"),
}
# fmt: on

MEMORIES = ("flat", "tlb")

_TRUTH = {"": False, "0": False, "no": False, "off": False, "1": True, "yes": True, "on": True}


class Settings:
    """The settings of a run that hold for all its programs. Frozen.

    categories   what to dump
    ranges       guest addresses to dump, each (first, end)
    names        symbols to dump; with neither names nor ranges, everything is
    memory       how guest memory is reached, one of MEMORIES
    log          absolute path of the file to dump to, None for stderr
    passes       names of the passes to run, None for all
    pgo          begin with the regions that the last run of the program ended with
    cache_dir    folder for compiled code, None for no cache
    slow_calls   native code makes no system calls itself
    tlb          the TLB's shape, as memory.tlb.geometry reads it, and whether its hits are counted
    sysroot      absolute path of the folder where the guest's absolute paths are looked for first, None for none
    """

    __slots__ = (
        "cache_dir",
        "categories",
        "check",
        "log",
        "memory",
        "names",
        "passes",
        "pgo",
        "ranges",
        "slow_calls",
        "sysroot",
        "tlb",
        "verify",
    )
    cache_dir: str | None
    categories: frozenset[str]
    check: bool
    log: str | None
    memory: str
    names: frozenset[str]
    passes: tuple[str, ...] | None
    pgo: bool
    ranges: tuple[tuple[int, int], ...]
    slow_calls: bool
    sysroot: str | None
    tlb: tuple[str, ...]
    verify: bool

    def __init__(
        self,
        *,
        cache_dir: str | None = None,
        categories: frozenset[str] = frozenset(),
        check: bool = False,
        log: str | None = None,
        memory: str = "flat",
        names: frozenset[str] = frozenset(),
        passes: tuple[str, ...] | None = None,
        pgo: bool = True,
        ranges: tuple[tuple[int, int], ...] = (),
        slow_calls: bool = False,
        sysroot: str | None = None,
        tlb: tuple[str, ...] = (),
        verify: bool = False,
    ) -> None:
        values = (
            *(cache_dir, categories, check, log, memory, names, passes, pgo, ranges, slow_calls, sysroot, tlb, verify),
        )
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen; make new ones with another {name}")

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    @staticmethod
    def from_environment(
        environment: Mapping[str, str] | None = None,
        *,
        dump: str | None = None,
        filter: str | None = None,
        log: str | None = None,
        verify: bool | None = None,
        check: bool | None = None,
        passes: str | None = None,
        pgo: bool | None = None,
        cache_dir: str | None = None,
        sysroot: str | None = None,
        memory: str | None = None,
        tlb: str | None = None,
    ) -> Settings:
        """What the variables say, where no argument says otherwise. Raises SettingsError."""
        variables = os.environ if environment is None else environment

        def text(name: str, override: str | None) -> str:
            return variables.get(name, "") if override is None else override

        def truth(name: str, override: bool | None) -> bool:
            return _truth(name, variables.get(name, "")) if override is None else override

        ranges, names = _filter(text("VMJIT_FILTER", filter))
        log = text("VMJIT_LOG", log)
        return Settings(
            cache_dir=_cache_dir(variables) if cache_dir is None else _absolute(cache_dir),
            categories=_categories(text("VMJIT_DUMP", dump)),
            check=truth("VMJIT_CHECK", check),
            log=_absolute(log),
            memory=_memory(text("VMJIT_MEMORY", memory)),
            names=names,
            passes=_items(text("VMJIT_PASSES", passes)) or None,
            pgo=_truth("VMJIT_PGO", variables.get("VMJIT_PGO", "on")) if pgo is None else pgo,
            ranges=ranges,
            slow_calls=truth("VMJIT_SLOW_CALLS", None),
            sysroot=_absolute(text("VMJIT_SYSROOT", sysroot)),
            tlb=_items(text("VMJIT_TLB", tlb)),
            verify=truth("VMJIT_VERIFY", verify),
        )

    def with_symbols(self, find: FindSymbol) -> Settings:
        """The same settings with the names of the filter replaced by their addresses. Raises SettingsError."""
        ranges = []
        for name in self.names:
            found = find(name)
            if found is None:
                raise SettingsError(f"filter: no symbol is named {name!r}, and it is no address like 0x10144")
            ranges.append(found)
        return self._with(names=frozenset(), ranges=(*self.ranges, *ranges))

    def with_memory(self, memory: str) -> Settings:
        """The same settings with another of MEMORIES."""
        return self._with(memory=memory)

    def _with(self, **changes: object) -> Settings:
        values = {name: getattr(self, name) for name in self.__slots__}
        return Settings(**{**values, **changes})

    def for_child(self) -> dict[str, str | bool]:
        """Arguments of `from_environment` that give a child process the same settings, but for symbols."""
        ranges = [f"{first:#x}-{end:#x}" for first, end in self.ranges]
        return {
            "dump": ",".join(self.categories),
            "filter": ",".join((*ranges, *self.names)),
            "log": self.log or "",
            "verify": self.verify,
            "passes": self.passes_text,
            "cache_dir": self.cache_dir or "",
            "memory": self.memory,
            "tlb": ",".join(self.tlb),
        }

    @property
    def passes_text(self) -> str:
        """The passes as the variable names them; empty for all."""
        return ",".join(self.passes or ())

    @property
    def counts_hits(self) -> bool:
        """Whether code is made that counts how often the TLB has an entry."""
        return self.memory == "tlb" and "count" in self.tlb

    @property
    def model(self) -> str:
        """What memory accesses are made to: code of different ones does not mix."""
        return f"{self.memory}-count" if self.counts_hits else self.memory

    def wants(self, category: str) -> bool:
        """Whether a category (with a pass's name: `ir.fold`) is to be dumped."""
        categories = self.categories
        return bool(categories) and (
            category in categories or ("ir.*" in categories and category.startswith("ir.") and category != "ir.")
        )

    def selects(self, pc: int) -> bool:
        """Whether what happens at this guest address is to be dumped."""
        if not self.ranges and not self.names:
            return True
        return any(first <= pc < end for first, end in self.ranges)

    def dump(self, category: str, text: object) -> None:
        """Write str(text) to the log if the category is wanted; it is not made otherwise."""
        if not self.wants(category):
            return
        line = str(text)
        line = line if line.endswith("\n") else line + "\n"
        if self.log is None:
            if sys.stderr is not None:
                sys.stderr.write(line)
                sys.stderr.flush()
            return
        # Opened anew for each text: the guest may close descriptors, fork or change directory in between.
        try:
            with open(self.log, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line)
        except OSError as error:
            raise SettingsError(f"cannot write the log {self.log}: {error.strerror}") from error


def wants_traceback() -> bool:
    """Apart from Settings, because reading those may be what failed."""
    return os.environ.get("VMJIT_TRACEBACK", "") not in ("", "0")


def _items(text: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise SettingsError(f"{name}={text}: neither 0 nor 1")
    return _TRUTH[text.lower()]


def _memory(text: str) -> str:
    if (text or "flat") not in MEMORIES:
        raise SettingsError(f"memory {text!r} is none of {', '.join(MEMORIES)}")
    return text or "flat"


def _categories(text: str) -> frozenset[str]:
    for item in _items(text):
        of_pass = item.startswith("ir.") and (item == "ir.*" or item[3:].isidentifier())
        if not of_pass and (item not in CATEGORIES or "<" in item):
            raise SettingsError(f"no dump category is named {item!r}; there are {', '.join(CATEGORIES)}")
    return frozenset(_items(text))


def _filter(text: str) -> tuple[tuple[tuple[int, int], ...], frozenset[str]]:
    """The ranges and the names of a filter; an item is a name unless it starts with a digit."""
    ranges, names = [], set()
    for item in _items(text):
        if item[0].isdigit():
            ranges.append(_range(item))
        else:
            names.add(item)
    return tuple(ranges), frozenset(names)


def _range(text: str) -> tuple[int, int]:
    first, dash, end = text.partition("-")
    try:
        start = int(first, 0)
        stop = int(end, 0) if dash else start + 1
    except ValueError:
        start = stop = 0
    if stop <= start:
        raise SettingsError(f"filter: {text!r} is no address and no range; write 0x10000-0x10400, 0x10468 or a symbol")
    return start, stop


def _absolute(path: str) -> str | None:
    """The guest may change directory later."""
    return os.path.abspath(path) if path else None


def _cache_dir(variables: Mapping[str, str]) -> str | None:
    """VMJIT_CACHE_DIR, else where the XDG base directory specification puts caches; None if there is no such place."""
    if "VMJIT_CACHE_DIR" in variables:
        return _absolute(variables["VMJIT_CACHE_DIR"])
    caches = variables.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # the specification says to ignore relative ones
        home = variables.get("HOME") or os.path.expanduser("~")
        caches = os.path.join(home, ".cache")
    return os.path.join(caches, "vmjit") if os.path.isabs(caches) else None
