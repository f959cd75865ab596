"""What may be typed after each command, and nothing else: the commands get an argparse.Namespace.

Errors are UsageError in one line. What follows PROGRAM belongs to the guest, so the command line is cut there before
argparse sees it: its own way (REMAINDER) treats `--` differently from version to version.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import NoReturn

from vmjit.cli import COMMANDS
from vmjit.debug import MEMORIES, VARIABLES, Settings
from vmjit.errors import UsageError

TIERS = ("auto", "reference", "interpreter", "copies", "jit")
ORACLES = ("reference", "qemu")
CACHE_ACTIONS = ("list", "clear", "size")
TOPICS = ("isa", "ir", "dumps", "syscalls")


class Parser(argparse.ArgumentParser):
    """Reports errors as exceptions, and knows which options take a value."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("vmjit ")
        raise UsageError(f"{command}: {message}; see {self.prog} --help")


def parse(command: str, arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command; raises UsageError, or SystemExit after a help text."""
    parser = Parser(prog=f"vmjit {command}", description=f"{COMMANDS[command]}.".capitalize(), allow_abbrev=False)
    if command == "run":
        return _parse_run(parser, list(arguments))
    _ADD[command](parser)
    return parser.parse_args(list(arguments))


def settings(options: argparse.Namespace) -> Settings:
    """The settings that the environment and the options of `run` make together. Raises SettingsError."""
    return Settings.from_environment(
        dump=options.dump,
        filter=options.filter,
        log=options.log,
        check=options.check or None,
        cache_dir="" if options.no_cache else options.cache_dir,
        pgo=None if options.pgo is None else options.pgo == "on",
        sysroot=options.sysroot,
        memory=options.memory,
        tlb=options.tlb,
    )


def settings_of_cache(options: argparse.Namespace) -> Settings:
    """Those of a command that has but `--cache-dir`, or `--sysroot` too. Raises SettingsError."""
    return Settings.from_environment(cache_dir=options.cache_dir, sysroot=getattr(options, "sysroot", None))


def _parse_run(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    parser.usage = "vmjit run [options] PROGRAM [ARGUMENT ...]"
    parser.epilog = "Everything after PROGRAM belongs to the program. Options end at `--`."
    with_value = _add_run(parser)
    cut = _program_position(arguments, with_value)
    head = arguments[:cut]
    options = parser.parse_args(head[:-1] if head[-1:] == ["--"] else head)
    if cut == len(arguments):
        parser.error("which PROGRAM?")
    options.program, options.arguments = arguments[cut], arguments[cut + 1 :]
    return options


def _program_position(arguments: Sequence[str], with_value: frozenset[str]) -> int:
    """The index of the first argument that is neither an option nor the value of one."""
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        if argument == "--":
            return at + 1
        if not argument.startswith("-") or argument == "-":
            return at
        at += 2 if argument in with_value else 1
    return len(arguments)


def _add_run(parser: Parser) -> frozenset[str]:
    """Add the options of `run`; those that take a value from the next argument."""
    variable = {option: name for name, (option, _) in VARIABLES.items() if option}

    def same(option: str) -> str:
        return f"{VARIABLES[variable[option]][1]} (as {variable[option]})"

    guest = parser.add_argument_group("the program's surroundings")
    engine = parser.add_argument_group("how it is run")
    developer = parser.add_argument_group("for developers")
    add, tune, show = guest.add_argument, engine.add_argument, developer.add_argument
    takes_value = (
        add("-E", "--env", action="append", default=[], type=_assignment, metavar="K=V", help="set a variable"),
        add("-U", "--unset", action="append", default=[], metavar="K", help="remove a variable"),
        add("-L", "--sysroot", metavar="DIR", help=same("--sysroot")),
        add("--root", metavar="DIR", help="let this folder be all files that the program sees; PROGRAM is below it"),
        add("--argv0", metavar="NAME", help="what the program gets as its own name"),
        add("--ignore-signal", action="append", default=[], type=_count, metavar="N", help="begin with ignoring it"),
        tune("--timeout", type=_seconds, metavar="SECONDS", help="end the program after that time"),
        tune("--max-instructions", type=_count, metavar="N", help="end the program after that many instructions"),
        tune("--memory", choices=MEMORIES, help=same("--memory")),
        tune("--tlb", metavar="SHAPE", help=same("--tlb")),
        tune("--tier", choices=TIERS, default="auto", help="what executes the program (default: auto)"),
        tune("--cache-dir", metavar="DIR", help=same("--cache-dir")),
        tune("--pgo", choices=("on", "off"), help=same("--pgo")),
        show("--dump", metavar="CATEGORIES", help=f"{same('--dump')}; vmjit doc dumps lists them"),
        show("--filter", metavar="RANGES", help=same("--filter")),
        show("--log", metavar="FILE", help=same("--log")),
    )
    add("--no-network", action="store_true", help="refuse sockets other than those of the machine itself")
    add("--read-only", action="store_true", help="refuse to change files; pipes and open files stay as they are")
    tune("--no-cache", action="store_true", help="neither read nor keep compiled code")
    tune("--sync", action="store_true", help="wait for each compilation instead of interpreting meanwhile")
    tune("--raise-signals", action="store_true", help="end by the program's fatal signal, not with exit code 128+n")
    show("--stats", action="store_true", help="print counters when the program ends")
    show("--strace", action="store_true", help="print system calls")
    show("--check", action="store_true", help=same("--check"))
    return frozenset(flag for action in takes_value for flag in action.option_strings)


def _add_dis(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="an ELF executable")
    parser.add_argument("--at", metavar="ADDRESS|SYMBOL", help="start here, and end with the function")
    parser.add_argument("--count", type=_count, metavar="N", help="print that many instructions")


def _add_stages(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="an ELF executable")
    parser.add_argument("at", metavar="ADDRESS|SYMBOL", help="where the code starts")


def _add_cache_dir(parser: Parser) -> None:
    parser.add_argument("--cache-dir", metavar="DIR", help=f"{VARIABLES['VMJIT_CACHE_DIR'][1]} (as VMJIT_CACHE_DIR)")


def _add_cache(parser: Parser) -> None:
    parser.epilog = "list: versions, and programs of the present one; clear: remove everything; size: how much it is."
    parser.add_argument("action", choices=CACHE_ACTIONS, help="what to do")
    parser.add_argument("--old", action="store_true", help="clear: all versions but the present one")
    _add_cache_dir(parser)


def _add_compile(parser: Parser) -> None:
    parser.epilog = "A region holds a function as a rule, and takes 0.3 to 0.5 s of one processor."
    parser.add_argument("program", metavar="PROGRAM", help="an ELF executable")
    meaning = f"{VARIABLES['VMJIT_SYSROOT'][1]} (as VMJIT_SYSROOT)"
    parser.add_argument("-L", "--sysroot", metavar="DIR", help=meaning)
    parser.add_argument("--jobs", type=_count, metavar="N", help="worker processes (default: one for each processor)")
    parser.add_argument(
        "--limit", type=_count, metavar="N", help="compile N regions at most, those near the start first"
    )
    _add_cache_dir(parser)


def _add_doc(parser: Parser) -> None:
    parser.add_argument(
        "topic",
        choices=TOPICS,
        help="isa: all instructions; ir: operations of the IR; dumps: dump categories and environment variables; "
        "syscalls: docs/syscalls.md",
    )


def _add_fuzz(parser: Parser) -> None:
    parser.epilog = "Exit code 1 if anything differed. The program of a mismatch is that of its seed, --programs 1."
    add = parser.add_argument
    add("--seconds", type=_seconds, default=60.0, metavar="N", help="go on for that time (default: 60)")
    add("--programs", type=_count, metavar="N", help="stop after that many programs")
    add("--seed", type=_natural, metavar="S", help="of the first program (default: a fresh one, which is printed)")
    add("--oracle", choices=ORACLES, default="reference", help="what says how programs end (default: reference)")
    add("--tiers", type=_tiers, metavar="TIERS", help=f"what is compared with it, of {','.join(TIERS)} (default: all)")
    add("--jobs", type=_count, metavar="J", help="processes (default: one for each processor)")
    add("--save", metavar="DIR", help="keep shrunk programs there, in the form of tests/golden/fuzz")


def _add_doctor(parser: Parser) -> None:
    parser.epilog = "Exit code 0 if vmjit can run here, else 1."


_ADD: dict[str, Callable[[Parser], None]] = {
    "compile": _add_compile,
    "cache": _add_cache,
    "dis": _add_dis,
    "stages": _add_stages,
    "doc": _add_doc,
    "fuzz": _add_fuzz,
    "doctor": _add_doctor,
}


def _assignment(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _count(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _natural(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def _tiers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in TIERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(TIERS)}")
    return names
