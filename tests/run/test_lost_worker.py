"""Whatever happens to the compile worker, the guest's output and exit code are its own, and nobody hears of it.

Programs run as a user runs them. Workers are ended or stopped from outside, or do themselves what is asked for when
they get a request of some kind. The pipe that takes in the output is small: a guest with more to say waits until the
test reads on, so that what must happen in the middle of a run does, on a machine of any speed.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from guest_runs import PROGRAMS, ROOT

from vmjit.engine.service import MOST_WORKERS

HELLO = PROGRAMS / "elf" / "hello"
FLOATS = PROGRAMS / "elf" / "fp_double"  # prints 50 KB, and is compiled in more regions than workers may fail
SECONDS = 60  # that a machine under load may take
PAGE = 4096  # what a pipe holds at least
LIMIT = 1  # seconds that a worker may take for an answer, where one hangs
MARK = "RUN_OF_TEST"  # in the environment of what a test starts
INTERNAL = 125  # exit code of vmjit

# A limit for answers that is short while a worker hangs, and long for those that work, however slow the machine is.
DRIVER = """\
import os, sys, time
from _thread import start_new_thread
from vmjit.engine import service
begin, kill, patience = service.Service.__init__, service._kill, service.ANSWER_SECONDS
def begin_with(self, *arguments):
    begin(self, *arguments)
    self.command = {worker!r} + self.command
def kill_one(pid):
    if not {always}:
        service.ANSWER_SECONDS = patience
    kill(pid)
def lose_patience():
    while not os.path.exists({met!r}):
        time.sleep(0.01)
    service.ANSWER_SECONDS = {limit}
service.Service.__init__, service._kill, service.LOOKS = begin_with, kill_one, 10 * patience
if {limit}:
    start_new_thread(lose_patience, ())
from vmjit.cli import main
sys.exit(main())
"""
WORKER = """\
import os, signal, sys, time
from vmjit.engine import compile, worker
serve, make = worker.serve, worker.Worker.{kind}
def serve_there(made, source, target, patience):
    global pipe
    pipe = target
    serve(made, source, target, patience)
def make_worse(self, *arguments):
    if {always} or not os.path.exists({met!r}):
        if {limit}:
            signal.alarm(2 * {limit})
        open({met!r}, "a").close()
        {harm}
    return make(self, *arguments)
worker.serve, worker.Worker.{kind} = serve_there, make_worse
"""
FATAL = """\
declare void @llvm.x86.nowhere()
@a = global i32 0
define void @region() {
  call void asm "bogus instruction", ""()
  ret void
}
"""
HARMS = {
    "killed": "os.kill(os.getpid(), 9)",
    "abort": "os.abort()",
    "LLVM's fatal error": f"compile.lower_region = lambda *rest: {FATAL!r}",
    "exit": "os._exit(3)",
    "garbage": "os.write(pipe, b'what?' * 1000)",
    "wrong answer": "worker.send(pipe, (1000, True, b'code'))",
    "closed pipe": "os.close(pipe)",
    "closed pipe, and goes on": "os.close(pipe); time.sleep(60)",
    "half an answer": "os.write(pipe, bytes(3)); time.sleep(60)",
    "hangs": "time.sleep(60)",
    "stopped": "os.kill(os.getpid(), 19)",
}
HANGS = ("half an answer", "closed pipe, and goes on", "hangs", "stopped")
TIERS = {"auto": ("--tier", "auto"), "jit, waiting": ("--tier", "jit", "--sync")}


@dataclass
class Running:
    """A program under vmjit, its output held back."""

    process: "subprocess.Popen[bytes]"
    mark: str
    met: Path  # a file that is there when a worker has met the request it was to be harmed by

    def children(self) -> list[int]:
        """Also those that have ended and were not waited for."""
        found: list[int] = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread that listened to one ends after it
                found += map(int, children.read_text().split())
        return found

    def worker(self) -> int:
        """One that has begun: until then it has the command line of its parent, which waits for it to begin."""
        until(lambda: any(map(self.is_other_program, self.children())))
        return next(filter(self.is_other_program, self.children()))

    def is_other_program(self, pid: int) -> bool:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != Path(f"/proc/{self.process.pid}/cmdline").read_bytes()

    def survivors(self) -> list[str]:
        """Processes that were started for this run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(process.name)
            except OSError:
                continue
        return found

    def assert_ends(self, program: Path, begun: bytes = b"") -> None:
        """As if nothing had happened; `begun` is what was read of its output."""
        stdout, stderr = self.process.communicate(timeout=SECONDS)
        assert stderr == b""
        assert begun + stdout == program.with_suffix(".expected").read_bytes()
        assert self.process.returncode == 0
        until(lambda: not self.survivors())


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.005)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program; workers come to harm when they get a request of a kind, or only the first that gets one does.

    With a limit, that is how long an answer may take once the file `met` is there.
    """
    running = []

    def start_one(
        *arguments: object, kind: str = "region", harm: str = "", always: bool = True, limit: int | None = None
    ) -> Running:
        met = tmp_path / "met"
        limit = LIMIT if limit is None and harm in HANGS else limit or 0
        said = {"limit": limit, "always": always, "met": str(met)}
        worker = WORKER.format(**said, kind=kind, harm=HARMS[harm]) if harm else ""
        how = ("-c", DRIVER.format(**said, worker=worker)) if harm or limit else ("-m", "vmjit")
        process = subprocess.Popen(
            [sys.executable, *how, "run", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), MARK: str(tmp_path)},
            start_new_session=True,
        )
        assert process.stdout is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PAGE)
        running.append(Running(process, str(tmp_path), met))
        return running[-1]

    yield start_one
    for run in running:
        for pid in run.survivors():
            os.kill(int(pid), signal.SIGKILL)
        run.process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with all that the programs need but regions."""
    cache = tmp_path_factory.mktemp("interpreter") / "cache"
    for program in (HELLO, FLOATS):
        command = [
            sys.executable,
            "-m",
            "vmjit",
            "run",
            "--tier",
            "interpreter",
            "--sync",
            "--cache-dir",
            cache,
            program,
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, timeout=SECONDS, env=environment, stdout=subprocess.DEVNULL)
    return cache


@pytest.fixture
def cache(interpreter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interpreter, tmp_path / "cache"))


@pytest.mark.parametrize(
    ("harm", "tier"),
    # One that stops when the guest has ended stays: nobody is left who would know of it.
    [(harm, tier) for harm in HARMS for tier in TIERS if (harm, tier) != ("stopped", "auto")],
)
def test_it_fails_at_each_region(start: Start, cache: Path, harm: str, tier: str) -> None:
    """Until no more workers are started."""
    run = start(*TIERS[tier], "--cache-dir", cache, FLOATS, harm=harm)
    until(run.met.exists)
    run.assert_ends(FLOATS)


@pytest.mark.parametrize("harm", ["abort", "garbage", "hangs"])
def test_it_fails_once(start: Start, cache: Path, harm: str) -> None:
    """The next worker compiles what is hot from then on."""
    options = ("--tier", "jit", "--sync", "--cache-dir", cache)
    run = start(*options, FLOATS, harm=harm, always=False)
    until(run.met.exists)
    run.assert_ends(FLOATS)
    assert len(list(cache.rglob("region-*"))) > 3


@pytest.mark.parametrize("harm", ["abort", "garbage", "hangs"])
def test_the_first_fails_at_the_interpreter(start: Start, tmp_path: Path, harm: str) -> None:
    """It comes from the next one."""
    run = start("--cache-dir", tmp_path / "cache", HELLO, kind="interpreter", harm=harm, always=False)
    run.assert_ends(HELLO)
    assert run.met.exists() and list(tmp_path.glob("cache/*/interpreter-flat"))


@pytest.mark.parametrize("harm", ["abort", "garbage", "hangs"])
def test_it_fails_at_native_system_calls(start: Start, cache: Path, harm: str) -> None:
    """Then all of them are Python's."""
    for calls in cache.glob("*/calls-*"):
        calls.unlink()
    run = start("--sync", "--cache-dir", cache, HELLO, kind="calls", harm=harm)
    run.assert_ends(HELLO)
    assert run.met.exists() and not list(cache.glob("*/calls-*"))


@pytest.mark.parametrize(
    ("harm", "why"),
    [("abort", "was ended by signal 6"), ("garbage", "answered nonsense"), ("stopped", "did not answer for 1 s")],
)
def test_it_never_makes_the_interpreter(start: Start, tmp_path: Path, harm: str, why: str) -> None:
    """Then there is no way to run anything, and one line says so."""
    run = start("--cache-dir", tmp_path / "cache", HELLO, kind="interpreter", harm=harm)
    stdout, stderr = run.process.communicate(timeout=SECONDS)
    what = f"CompileError: the compile worker {why}; VMJIT_TRACEBACK=1 shows what it said"
    says = f"vmjit: internal error: {what}; please report\n"
    assert (run.process.returncode, stdout, stderr.decode()) == (INTERNAL, b"", says)
    until(lambda: not run.survivors())


def test_statistics_name_what_failed(start: Start, cache: Path) -> None:
    options = ("--tier", "jit", "--sync", "--stats", "--cache-dir", cache)
    run = start(*options, FLOATS, harm="abort")
    stdout, stderr = run.process.communicate(timeout=SECONDS)
    failed = [line for line in stderr.decode().splitlines() if line.startswith("failed:")]
    assert len(failed) > MOST_WORKERS and stdout == FLOATS.with_suffix(".expected").read_bytes()
    what = r"(0x[0-9a-f]+|system calls|handlers [0-9]+)"
    why = "the compile worker was ended by signal 6; VMJIT_TRACEBACK=1 shows what it said"
    assert all(re.fullmatch(rf"failed: +{what}: {why}", line) for line in failed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_while_the_guest_runs(start: Start, tmp_path: Path, number: int) -> None:
    """With nothing in the cache; one that is stopped is given up and ended when it is asked for something."""
    limit = LIMIT if number == signal.SIGSTOP else 0
    run = start("--tier", "jit", "--cache-dir", tmp_path / "cache", FLOATS, limit=limit, always=False)
    assert run.process.stdout is not None
    worker = run.worker()
    begun = os.read(run.process.stdout.fileno(), 1)
    os.kill(worker, number)
    if number == signal.SIGSTOP:
        run.met.touch()
    else:
        until(lambda: worker not in run.children())
    run.assert_ends(FLOATS, begun=begun)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_before_the_guest_begins(start: Start, tmp_path: Path, number: int) -> None:
    limit = LIMIT if number == signal.SIGSTOP else 0
    run = start("--cache-dir", tmp_path / "cache", HELLO, limit=limit, always=False)
    worker = run.worker()
    os.kill(worker, number)
    if number == signal.SIGSTOP:
        run.met.touch()
    until(lambda: worker not in run.children())
    run.assert_ends(HELLO)


def test_the_guest_ends_while_it_is_stopped(start: Start, cache: Path) -> None:
    """The kernel ends it: it is stopped, and nobody is left who could make it go on."""
    run = start("--tier", "jit", "--cache-dir", cache, FLOATS, harm="stopped", limit=0)
    state = Path(f"/proc/{run.worker()}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    run.assert_ends(FLOATS)


def test_the_guest_ends_while_it_compiles(start: Start, cache: Path) -> None:
    """It may go on, and whoever reads the output to its end does not wait for it."""
    run = start("--tier", "jit", "--cache-dir", cache, FLOATS, harm="hangs", limit=0)
    until(run.met.exists)
    stdout, stderr = run.process.communicate(timeout=SECONDS / 2)
    assert (run.process.returncode, stderr) == (0, b"") and stdout == FLOATS.with_suffix(".expected").read_bytes()
    assert run.survivors()
