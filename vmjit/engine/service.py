"""The compile service: requests go to a child process while the guest goes on, and a thread takes in what comes back.

One request is under way at a time; the others wait here, so that nobody ever blocks on a full pipe. A worker that dies,
does not answer or answers nonsense costs the request it was at and is replaced, a few times; then the guest goes on in
the interpreter. The worker shares nothing with the guest: it is in a process group of its own, and has none of the
guest's descriptors, whose readers would wait for it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import sys
import time
from _thread import allocate_lock
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EAGAIN
from typing import Any

from vmjit.engine.interrupts import start_thread
from vmjit.engine.worker import ANSWER_SECONDS, is_answer, receive, send
from vmjit.errors import CompileError, WorkerError

LOWEST_FD = 200  # above what guests redirect, below any usual limit of descriptors
STDERR = 2
PIPE_SIZE = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ
MOST_WORKERS = 4  # that are started before the service gives up
LOOKS = 4  # how often, in the time that a worker has for an answer, we look whether that is over
GRACE_SECONDS = 1.0  # for a worker that has closed its end to be gone
# Requests that another worker is asked when one dies of them: without the interpreter nothing runs, or very slowly.
INDISPENSABLE = ("interpreter", "handlers")

Make = Callable[[], "tuple[Any, ...] | None"]  # the request, made when it is its turn; None: no longer wanted
Done = Callable[[bool, Any], None]  # whether it worked; the result, or what was wrong
Told = list[tuple[Done, str]]  # who is to hear what was wrong, when the lock is free


@dataclass(frozen=True)
class Child:
    """A worker: descriptors to write to and to read from."""

    pid: int
    to: int
    source: int


@dataclass(frozen=True)
class Busy:
    """The request that is under way."""

    number: int
    key: Any
    request: tuple[Any, ...]
    done: Done
    since: float


class Service:
    """`guest` is a guest's name; `pids` and `fds` hold what the guest must not see: the worker and the pipes to it."""

    def __init__(
        self, guest: str, cache_root: str | None, settings: dict[str, Any], pids: set[int], fds: set[int]
    ) -> None:
        self.command = (
            f"import sys; sys.path[:] = {sys.path!r}; from vmjit.engine.worker import main; "
            f"main({guest!r}, {cache_root or ''!r}, dump_settings={settings!r})"
        )
        self.pids, self.fds = pids, fds
        self.lock = allocate_lock()
        self.waiting: OrderedDict[Any, tuple[Make, Done]] = OrderedDict()  # key -> request; thousands may wait
        self.busy: Busy | None = None
        self.child: Child | None = None
        self.started = self.sent = 0
        self.failure: str | None = None
        self.refused = ""  # why the last one could not be started

    def submit(self, key: Any, make: Make, done: Done, *, first: bool = False) -> None:
        """Have something compiled; `done` is called in a thread of the service, or here if that cannot be.

        first: before all that is waiting.
        """
        with self.lock:
            self.waiting[key] = (make, done)
            if first:
                self.waiting.move_to_end(key, last=False)
            told = self._next()
        _tell(told)

    def prefer(self, key: Any) -> None:
        """What was submitted under this key, if it still waits, comes next."""
        with self.lock:
            if key in self.waiting:
                self.waiting.move_to_end(key, last=False)

    def wait(self, request: tuple[Any, ...]) -> Any:
        """Have something compiled now, because the guest cannot go on without. Raises CompileError, WorkerError."""
        finished = allocate_lock()
        finished.acquire()
        answers: list[tuple[bool, Any]] = []

        def done(worked: bool, result: Any) -> None:
            answers.append((worked, result))
            finished.release()

        self.submit(object(), lambda: request, done, first=True)
        finished.acquire()
        worked, result = answers[0]
        if not worked:
            raise (WorkerError if result == self.refused else CompileError)(str(result))
        return result

    def is_idle(self) -> bool:
        return self.busy is None and not self.waiting

    def lock_for_fork(self) -> None:
        """No thread may be in here while the process is copied."""
        self.lock.acquire()

    def unlock_after_fork(self) -> None:
        """In the parent."""
        self.lock.release()

    def abandon(self) -> None:
        """In a forked child: the worker is the parent's; another is started when one is needed."""
        if self.child is not None:
            for fd in (self.child.to, self.child.source):
                self._close(fd)
            self.pids.discard(self.child.pid)
        self.lock = allocate_lock()
        self.waiting, self.busy, self.child = OrderedDict(), None, None
        self.started = 0

    def close(self) -> None:
        """Let the worker end; it finishes what it is at by itself."""
        with self.lock:
            self.waiting.clear()
            self.failure = self.failure or "closed"
            if self.child is not None:
                self._close(self.child.to)

    # With the lock held; what is returned is to be told when it is free.

    def _next(self) -> Told:
        """Send the next request."""
        told: Told = []
        while self.busy is None and self.waiting:
            key, (make, done) = self.waiting.popitem(last=False)
            if self.failure is not None:
                told.append((done, self.failure))
                continue
            request = make()
            if request is None:
                continue
            self.sent += 1
            self.busy = Busy(self.sent, key, request, done, time.monotonic())
            try:
                child = self.child or self._start()
            except OSError as error:
                self.refused = f"the compile worker cannot be started: {sys.executable}: {error.strerror}"
                told += self._lost(self.refused)
                continue
            try:
                send(child.to, (request[0], self.sent, *request[1:]))
            except OSError:  # it reads no more; its listener does the rest
                self._put_back(self.busy)
                _kill(child.pid)
                break
        return told

    def _start(self) -> Child:
        self.started += 1
        opened: list[int] = []
        try:
            for _ in range(2):
                opened += _pipe()
            to_child, from_parent, to_parent, from_child = opened
            pid = self._spawn(to_child, from_child)
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        os.close(to_child)
        os.close(from_child)
        self.child = Child(pid, from_parent, to_parent)
        self.pids.add(pid)
        self.fds.update((from_parent, to_parent))
        try:
            start_thread(self._listen, self.child)
        except RuntimeError:
            self._forget(self.child)
            raise OSError(EAGAIN, "no thread for it") from None
        return self.child

    def _spawn(self, standard_input: int, standard_output: int) -> int:
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, standard_input, 0)]
        actions.append((os.POSIX_SPAWN_DUP2, standard_output, 1))
        # One that is closed by now does not make the spawn fail, but one that is beyond the limit would.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        actions += [(os.POSIX_SPAWN_CLOSE, int(fd)) for fd in os.listdir("/proc/self/fd") if STDERR < int(fd) < limit]
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", self.command],
            dict(os.environ),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM),  # the guest may ignore them
        )

    def _lost(self, why: str) -> Told:
        """The request under way got no answer: try it again if it must be, else give it up."""
        if self.failure is None and self.started >= MOST_WORKERS:
            self.failure = why
        busy, self.busy = self.busy, None
        if busy is None:
            return []
        if busy.request[0] in INDISPENSABLE and self.failure is None:
            self._put_back(busy)
            return []
        return [(busy.done, self.failure or why)]

    def _put_back(self, busy: Busy) -> None:
        """It is the next to be sent."""
        self.waiting[busy.key] = (lambda: busy.request), busy.done
        self.waiting.move_to_end(busy.key, last=False)
        self.busy = None

    def _forget(self, child: Child) -> str:
        """End a worker; its descriptors may be the guest's from now on. How it ended."""
        for fd in (child.to, child.source):
            self._close(fd)
        if self.child is child:
            self.child = None
        how = _end(child.pid)
        self.pids.discard(child.pid)
        return how

    def _close(self, fd: int) -> None:
        if fd in self.fds:
            self.fds.discard(fd)
            os.close(fd)

    # The thread that takes in answers.

    def _listen(self, child: Child) -> None:
        problem = self._take_answers(child)
        if problem:
            _kill(child.pid)  # without the lock, which somebody may hold who writes to a worker that does not read
        with self.lock:
            how = self._forget(child)
            told = self._lost(f"the compile worker {problem or how}; VMJIT_TRACEBACK=1 shows what it said")
            told += self._next()
        _tell(told)

    def _take_answers(self, child: Child) -> str:
        """Until there are no more; what is wrong with the worker, if it has not just ended."""
        try:
            while (answer := receive(child.source, lambda: self._await(child))) is not None:
                busy = self.busy
                if busy is None or not is_answer(busy.number, busy.request, answer):
                    return "answered nonsense"
                with self.lock:
                    self.busy = None
                busy.done(answer[1], answer[2])
                with self.lock:
                    told = self._next()
                _tell(told)
        except TimeoutError:
            return f"did not answer for {ANSWER_SECONDS} s"
        except ValueError:
            return "answered nonsense"
        except OSError as error:
            return f"cannot be heard: {error.strerror}"
        return ""

    def _await(self, child: Child) -> None:
        """Return when there is something to read. Raises TimeoutError."""
        poll = select.poll()
        poll.register(child.source, select.POLLIN)
        while not poll.poll(1000 * ANSWER_SECONDS / LOOKS):
            busy = self.busy
            if busy is not None and time.monotonic() - busy.since > ANSWER_SECONDS:
                raise TimeoutError


def _tell(told: Told) -> None:
    for done, why in told:
        done(False, why)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end(pid: int) -> str:
    """Wait for a worker that is about to end, and see to it that it does. How it ended."""
    try:
        deadline = time.monotonic() + GRACE_SECONDS
        found, status = os.waitpid(pid, os.WNOHANG)
        while not found and time.monotonic() < deadline:
            time.sleep(0.005)
            found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
    except ChildProcessError:  # the kernel has waited for it when the guest ignores SIGCHLD
        return "ended"
    code = os.waitstatus_to_exitcode(status)
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _pipe() -> tuple[int, int]:
    """Reading and writing end, out of the way of the guest's descriptors."""
    lowest = min(LOWEST_FD, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    ends = os.pipe()
    moved: list[int] = []
    try:
        for end in ends:
            moved.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, lowest))
    except OSError:
        for fd in moved:
            os.close(fd)
        raise
    finally:
        for end in ends:
            os.close(end)
    with suppress(OSError):  # a smaller one is only slower
        fcntl.fcntl(moved[1], _SET_PIPE_SIZE, PIPE_SIZE)
    return moved[0], moved[1]
