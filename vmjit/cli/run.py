"""`vmjit run`: runs a program and ends as it ended.

The exit code is the guest's, 128+n for a signal, 124 (as timeout(1)) when it was stopped. A process whose parent is the
guest's ends by the signal itself, because wait(2) tells the two apart. SIGINT keeps its default action, so Ctrl-C ends
everything at once, native code included.
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
    if result.signal is not None and (machine.is_child or options.raise_signals):
        die_by(result.signal)
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
    for flag, number in (("--timeout", options.timeout), ("--max-instructions", options.max_instructions)):
        if number is not None:
            argv += [flag, str(number)]
    return [*argv, "--raise-signals", *(f"--{name}" for name in ("no-cache", "sync", "strace") if chosen(options, name))]


def chosen(options: argparse.Namespace, flag: str) -> bool:
    return bool(getattr(options, flag.replace("-", "_")))


def die_by(number: int) -> None:
    """End this process by that signal, without a core file: it would be the emulator's."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        ctypes_signal = ctypes.CDLL(None).signal
        ctypes_signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        ctypes_signal(number, None)
    os.kill(os.getpid(), number)


def stop_after(machine: Machine, seconds: float) -> None:
    """End the process after that time, and each that the guest forks."""
    from threading import Timer

    deadline = monotonic() + seconds

    def end() -> None:
        print(f"vmjit: stopped after {seconds:g} s", file=sys.stderr, flush=True)
        os._exit(STOPPED)

    def start() -> None:
        timer = Timer(max(0.0, deadline - monotonic()), end)
        timer.daemon = True
        timer.start()

    start()
    os.register_at_fork(after_in_child=start)
