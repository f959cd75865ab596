"""Jobs: child processes that make and judge programs, so that one that crashes or hangs takes nothing else along.

A request is a range of seeds or one program. A job says what it is about to do and then what came of it, so when it is
gone, what it was at is known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from socket import socketpair
from time import monotonic

from vmjit.debug import Settings
from vmjit.errors import InternalError
from vmjit.fuzz.end import DEFAULT_LIMIT
from vmjit.fuzz.judge import CRASHED, HUNG, Judge, Mismatch, Verdict
from vmjit.fuzz.limits import Limits
from vmjit.fuzz.program import Program
from vmjit.fuzz.programs import random_program

PATIENCE = 60.0  # seconds: a thousand times what a program takes in a tier, for busy machines
START = 120.0  # seconds until a job is ready: it makes the interpreter first


@dataclass(frozen=True)
class Setup:
    """What all jobs of a campaign are told; see `vmjit fuzz --help`.

    limit     instructions of one program
    patience  seconds for one program in one tier
    """

    oracle: str
    tiers: tuple[str, ...]
    limit: int = DEFAULT_LIMIT
    patience: float = PATIENCE


@dataclass(frozen=True)
class Ready:
    """A job takes requests; `limits` are those of the programs that it makes."""

    limits: Limits


@dataclass(frozen=True)
class At:
    """A job is about to run the program of a seed (None: the one it was given) in a tier."""

    seed: int | None
    tier: str


@dataclass(frozen=True)
class Done:
    """What came of the program of a seed; `program` if there is something to show."""

    seed: int | None
    verdict: Verdict
    program: Program | None = None


class Job:
    """The parent's side. `seeds` are those still to be judged."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.seeds: range = range(0)
        self.at: At | None = None
        self.limits = Limits()
        self.start()

    def start(self) -> None:
        ours, theirs = socketpair()
        command = (
            f"import sys; sys.path[:] = {sys.path!r}; from vmjit.fuzz.jobs import serve; "
            f"from vmjit.fuzz.jobs import Setup; serve({theirs.fileno()}, {self.setup!r})"
        )
        self.process = subprocess.Popen([sys.executable, "-c", command], pass_fds=[theirs.fileno()])
        theirs.close()
        self.connection = Connection(ours.detach())
        self.at = None
        self.heard = monotonic() + START - self.setup.patience

    def ask_seeds(self, seeds: range) -> None:
        self.seeds = seeds
        self._send(seeds)

    def _send(self, request: object) -> None:
        self.heard = max(self.heard, monotonic())
        with suppress(OSError):  # it is gone, which is noticed when it is asked for its answer
            self.connection.send(request)

    def take(self) -> Done | None:
        """One message, or the end of the job, or of our patience with it; None if there is nothing to be said."""
        if not self.connection.poll():
            return self._lost(HUNG) if monotonic() - self.heard > self.setup.patience else None
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return self._lost(CRASHED)
        self.heard = monotonic()
        if isinstance(message, Ready):
            self.limits = message.limits
            return None
        if isinstance(message, At):
            self.at = message
            return None
        assert isinstance(message, Done)
        self._finished(message.seed)
        return message

    def _finished(self, seed: int | None) -> None:
        if seed is not None:
            self.seeds = range(seed + 1, self.seeds.stop)

    def _lost(self, kind: str) -> Done:
        """Start again, and go on behind what it was at."""
        if kind == CRASHED:
            self.process.wait()
        self.stop()
        status = self.process.returncode
        how = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        at, message = self.at, how if kind == CRASHED else f"nothing heard for {self.setup.patience:g} s"
        if at is None:
            raise InternalError(f"a job of the fuzzer {kind} before it ran a program: {message}")
        self.start()
        program = None
        if at.seed is not None:
            program = random_program(at.seed, self.limits)
            self._finished(at.seed)
        if self.seeds:
            self._send(self.seeds)
        return Done(at.seed, Verdict(0, Mismatch(at.tier, kind, message=message)), program)

    def judge(self, program: Program, only: str) -> Verdict:
        """Judge one program now; the job must have nothing else to do."""
        self._send((program, only))
        while True:
            self.connection.poll(1.0)
            done = self.take()
            if done is not None:
                return done.verdict

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def serve(fd: int, setup: Setup) -> None:
    """The child's life: it ends when its connection does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, and its end is ours
    connection = Connection(fd)
    judge = Judge(setup.oracle, setup.tiers, Settings.from_environment())
    at: list[int | None] = [None]

    def watch(tier: str) -> None:
        connection.send(At(at[0], tier))

    judge.watch = watch
    connection.send(Ready(judge.limits))
    with suppress(EOFError, OSError):
        while True:
            request = connection.recv()
            if isinstance(request, range):
                for seed in request:
                    at[0] = seed
                    watch("generator")
                    program = random_program(seed, judge.limits)
                    verdict = judge.judge(program, limit=setup.limit)
                    connection.send(Done(seed, verdict, program) if verdict.mismatch else Done(seed, _brief(verdict)))
            else:
                at[0] = None
                program, only = request
                connection.send(Done(None, judge.judge(program, only, setup.limit)))
    os._exit(0)  # nothing is to be tidied up, and native memory takes a while


def _brief(verdict: Verdict) -> Verdict:
    return replace(verdict, end=None)
