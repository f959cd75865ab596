"""`vmjit run`: runs a program and ends as it ended.

The exit code is the guest's, 128+n for a signal, 124 (as timeout(1)) when it was stopped. SIGINT keeps its default
action, so Ctrl-C ends everything at once, native code included.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from vmjit.cli.options import settings
from vmjit.engine.hart import Tier
from vmjit.machine import Machine

if TYPE_CHECKING:
    import argparse

STOPPED = 124
GRACE = 0.5  # seconds for a guest that was asked to stop: it may be blocked in a system call


def main(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    machine = Machine(
        options.program,
        options.arguments,
        argv0=options.argv0,
        env=environment(options),
        sysroot=options.sysroot,
        tier=Tier(options.tier),
        sync=options.sync,
        max_instructions=options.max_instructions,
        settings=settings(options),
        strace=sys.stderr if options.strace else None,
        emulator_argv=emulator_argv(options),
    )
    if options.timeout is not None:
        stop_after(machine, options.timeout)
    result = machine.run()
    if options.stats:
        from vmjit.cli.stats import print_stats

        print_stats(machine)
    if result.message is not None:
        print(f"vmjit: {result.message}", file=sys.stderr)
    code = STOPPED if result.code is None else result.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing here needs tidying that the kernel does not do faster; threads of the compile service must not hold us.
    os._exit(code)


def environment(options: argparse.Namespace) -> dict[str, str]:
    """The guest's environment: the host's with the changes asked for."""
    env = {name: value for name, value in os.environ.items() if name not in options.unset}
    return env | dict(assignment.split("=", 1) for assignment in options.env)


def emulator_argv(options: argparse.Namespace) -> list[str]:
    """The command line, up to the program, with which a program that the guest executes is run."""
    argv = [sys.executable, "-m", "vmjit", "run", "--tier", options.tier]
    for flag, value in (("-L", options.sysroot), ("--cache-dir", options.cache_dir)):
        if value is not None:
            argv += [flag, value]
    return argv + [f"--{name}" for name in ("sync", "strace") if getattr(options, name)]


def stop_after(machine: Machine, seconds: float) -> None:
    """Stop the guest after that time; end the process if it does not react."""
    from threading import Timer

    def end() -> None:
        print(f"vmjit: stopped after {seconds:g} s", file=sys.stderr, flush=True)
        os._exit(STOPPED)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
