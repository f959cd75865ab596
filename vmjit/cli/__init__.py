"""The command line: finds the command, runs it, and turns every failure into one line and an exit code.

Only this package prints or decides exit codes. A command is a module `vmjit.cli.<command>` with `main(options) -> int`,
imported when it runs; what may be typed is in options.py. Codes 125 to 127 are those of env(1) and of shells, so that
they are not taken for the guest's.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from vmjit import __version__
from vmjit.debug import wants_traceback
from vmjit.errors import GuestError, SettingsError, UsageError, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "printable"]

OK, CANNOT_WRITE, BAD_OPTION, INTERNAL, CANNOT_EXECUTE, NOT_FOUND = 0, 1, 2, 125, 126, 127
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as a shell reports them

COMMANDS = {
    "run": "run a program",
    "compile": "compile a program, so that it starts with all of its code compiled",
    "cache": "show or remove compiled code that is kept",
    "dis": "disassemble a program",
    "stages": "show what each stage makes of the code at an address",
    "doc": "print a table: isa, ir, dumps, syscalls",
    "fuzz": "compare random programs in all tiers",
    "doctor": "say whether vmjit can run here, and if not why",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    try:
        code = _command(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()  # so that a closed pipe or a full disk is noticed here
        return code
    except SystemExit as stop:  # argparse, after it printed a help text
        return stop.code if isinstance(stop.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return PIPE_CLOSED
    except Exception as error:
        _abandon_stdout()
        return _fail(error)


def printable(text: str) -> str:
    """One line that no terminal takes for a command, whatever a file's name or symbols hold."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _command(argv: Sequence[str]) -> int:
    first = argv[0] if argv else ""
    if first in ("-h", "--help"):
        print(_help())
        return OK
    if first == "--version":
        print(f"vmjit {__version__}")
        return OK
    if first not in COMMANDS:
        reason = f"no command is named {first!r}" if first else "no command"
        raise UsageError(f"{reason}; there are {', '.join(COMMANDS)}")
    from vmjit.cli.options import parse

    options = parse(first, argv[1:])
    run = import_module(f"vmjit.cli.{first}").main
    return int(run(options))


def _help() -> str:
    rows = [f"  {name:8} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ("usage: vmjit COMMAND ...", "", *rows, "", "vmjit COMMAND --help says more; vmjit --version names the version")
    )


def _fail(error: Exception) -> int:
    """Say in one line what happened; the exit code for it."""
    code, message = _judge(error)
    if code == INTERNAL and wants_traceback():
        from traceback import print_exception

        print_exception(error)
    if sys.stderr is not None:
        print(f"vmjit: {printable(message)}", file=sys.stderr)
    return code


def _judge(error: Exception) -> tuple[int, str]:
    if isinstance(error, UsageError | SettingsError):
        return BAD_OPTION, str(error)
    if isinstance(error, GuestError):
        return CANNOT_EXECUTE, str(error)
    if isinstance(error, OSError) and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
        return code, f"{name}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return CANNOT_WRITE, error.strerror
    if isinstance(error, WorkerError):
        return INTERNAL, str(error)
    message = f"internal error: {type(error).__name__}: {error}; please report"
    # What the compile worker failed of names the variable itself.
    is_said = wants_traceback() or "VMJIT_TRACEBACK" in message
    return INTERNAL, message if is_said else f"{message}; VMJIT_TRACEBACK=1 shows where"


def _abandon_stdout() -> None:
    """Nobody can read what is left in the buffer; without this the interpreter would try again when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
