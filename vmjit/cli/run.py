"""`vmjit run`: runs a program and ends as it ended.

The exit code is the guest's, 128+n for a signal, 124 (as timeout(1)) when it was stopped. A process whose parent is the
guest's ends by the signal itself, because wait(2) tells the two apart. SIGINT keeps its default action, so Ctrl-C ends
everything at once, native code included.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import StringIO
from time import monotonic, sleep
from typing import TYPE_CHECKING, NoReturn

from vmjit.cli.options import settings
from vmjit.engine.hart import Tier
from vmjit.engine.interrupts import start_thread
from vmjit.linux.processes import ignored_signals
from vmjit.linux.sandbox import Sandbox
from vmjit.machine import Machine, Result

if TYPE_CHECKING:
    import argparse

    from vmjit.debug import Settings

STOPPED = 124
COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # Python sets LC_CTYPE to one of these when it starts in the C locale: PEP 538
# Flags that also hold for programs that the guest executes.
PASSED_ON = ("no_cache", "sync", "strace", "check", "no_network", "read_only")


def main(options: argparse.Namespace) -> NoReturn:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, and stays so
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A descriptor that was closed when we started stays free for the guest; what we say goes nowhere.
    sys.stdout = sys.stdout or StringIO()
    sys.stderr = sys.stderr or StringIO()
    chosen = settings(options)
    make = partial(
        Machine,
        tier=Tier(options.tier),
        sync=options.sync,
        max_instructions=options.max_instructions,
        settings=chosen,
        strace=sys.stderr if options.strace or chosen.wants("syscall") else None,
        emulator_argv=emulator_argv(options, chosen),
        sandbox=Sandbox(options.root, network=not options.no_network, writes=not options.read_only),
    )
    machine = make(
        options.program,
        options.arguments,
        argv0=options.argv0,
        env=environment(options),
        ignored_signals=options.ignore_signal,
    )
    if options.timeout is not None:
        stop_after(machine, options.timeout)
    while True:
        machine.goes_on, machine.finish = True, partial(finish, machine, options)
        result = machine.run()
        if machine.executed is None:
            finish(machine, options, result)
        options.raise_signals = True
        options.stats = options.stats and not machine.is_child
        machine = successor(machine, make)


def successor(machine: Machine, make: Callable[..., Machine]) -> Machine:
    """What runs the program that a guest executed."""
    executed = machine.leave()
    argv0, *arguments = map(os.fsdecode, executed.argv)
    env = {os.fsdecode(name): os.fsdecode(value) for name, value in executed.env.items()}
    ignored = ignored_signals(machine.process)
    program = os.fsdecode(executed.program)
    return make(program, arguments, argv0=argv0, env=env, ignored_signals=ignored, before=machine)


def finish(machine: Machine, options: argparse.Namespace, result: Result) -> NoReturn:
    """End the process as the guest ended."""
    if options.stats or machine.settings.wants("time"):
        from vmjit.cli.stats import print_stats

        print_stats(machine)
    if result.message is not None:
        say(result.message)
    code = STOPPED if result.code is None else result.code
    with suppress(OSError):  # the guest may have closed it
        sys.stderr.flush()
    if result.signal is not None and (machine.is_child or options.raise_signals):
        die_by(result.signal)
    # Nothing here needs tidying that the kernel does not do faster; threads of the compile service must not hold us.
    os._exit(code)


def say(message: str) -> None:
    """Print a line on standard error, which the guest may have closed."""
    with suppress(OSError):
        print(f"vmjit: {message}", file=sys.stderr, flush=True)


def environment(options: argparse.Namespace) -> dict[str, str]:
    """The guest's environment: the host's with the changes asked for."""
    env = {name: value for name, value in os.environ.items() if name not in options.unset}
    if env.get("LC_CTYPE", "") in COERCED and not was_given("LC_CTYPE"):
        del env["LC_CTYPE"]
    return env | dict(assignment.split("=", 1) for assignment in options.env)


def was_given(name: str) -> bool:
    """Whether this process was started with that variable."""
    with open("/proc/self/environ", "rb") as file:
        return any(entry.startswith(f"{name}=".encode()) for entry in file.read().split(b"\0"))


def emulator_argv(options: argparse.Namespace, chosen: Settings) -> list[str]:
    """The command line, up to the program, with which a program that the guest executes is run.

    It says itself where our modules are: environment and current directory are the guest's by then.
    """
    command = f"import sys; sys.path[:] = {sys.path!r}; from vmjit.cli import main; sys.exit(main())"
    argv = [sys.executable, "-I", "-c", command, "run", "--raise-signals", "--tier", options.tier]
    for flag, value in (
        ("--sysroot", chosen.sysroot or ""),  # whatever the guest sets VMJIT_SYSROOT to, and those below
        ("--memory", chosen.memory),
        ("--tlb", ",".join(chosen.tlb)),
        ("--root", options.root and os.path.abspath(options.root)),
        ("--cache-dir", options.cache_dir and os.path.abspath(options.cache_dir)),
        ("--pgo", options.pgo),
        ("--timeout", options.timeout),
        ("--max-instructions", options.max_instructions),
    ):
        if value is not None:
            argv += [flag, str(value)]
    return argv + [f"--{name.replace('_', '-')}" for name in PASSED_ON if getattr(options, name)]


def die_by(number: int) -> None:
    """End this process by that signal, without a core file: it would be the emulator's."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os.kill(os.getpid(), number)


def stop_after(machine: Machine, seconds: float) -> None:
    """End the process after that time, and each that the guest forks."""
    deadline = monotonic() + seconds

    def end() -> None:
        sleep(max(0.0, deadline - monotonic()))
        say(f"stopped after {seconds:g} s")
        os._exit(STOPPED)

    start_thread(end)
    os.register_at_fork(after_in_child=lambda: start_thread(end))
