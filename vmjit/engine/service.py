"""The compile service: requests go to a child process while the guest goes on, and a thread takes in what comes back.

One request is under way at a time; the others wait here, so that nobody ever blocks on a full pipe. A worker that dies
is noted once and not started again: the guest goes on in the interpreter. The worker shares nothing with the guest: it
is in a process group of its own, and has none of the guest's descriptors, whose readers would wait for it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vmjit.engine.worker import receive, send
from vmjit.errors import CompileError

LOWEST_FD = 200  # above what guests redirect, below any usual limit of descriptors
STDERR = 2
PIPE_SIZE = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ

Make = Callable[[], "tuple[Any, ...] | None"]  # the request, made when it is its turn; None: no longer wanted
Done = Callable[[bool, Any], None]  # whether it worked; the result, or what was wrong


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
        self.waiting: dict[Any, tuple[Make, Done]] = {}  # key -> request
        self.busy: tuple[Any, Done] | None = None
        self.child: tuple[int, int, int] | None = None  # pid, descriptor to write to, descriptor to read from
        self.failure: str | None = None

    def submit(self, key: Any, make: Make, done: Done) -> None:
        """Have something compiled; `done` is called in a thread of the service."""
        with self.lock:
            self.waiting[key] = (make, done)
            self._next()

    def wait(self, request: tuple[Any, ...]) -> Any:
        """Have something compiled now. Raises CompileError."""
        finished = allocate_lock()
        finished.acquire()
        answers: list[tuple[bool, Any]] = []

        def done(worked: bool, result: Any) -> None:
            answers.append((worked, result))
            finished.release()

        self.submit(object(), lambda: request, done)
        finished.acquire()
        worked, result = answers[0]
        if not worked:
            raise CompileError(str(result))
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
            for fd in self.child[1:]:
                self._close(fd)
            self.pids.discard(self.child[0])
        self.lock = allocate_lock()
        self.waiting, self.busy, self.child = {}, None, None

    def close(self) -> None:
        """Let the worker end; it finishes what it is at by itself."""
        with self.lock:
            self.waiting.clear()
            self.failure = self.failure or "closed"
            if self.child is not None:
                self._close(self.child[1])

    def _next(self) -> None:
        """Send the next request; the lock is held."""
        while self.busy is None and self.waiting:
            key = next(iter(self.waiting))
            make, done = self.waiting.pop(key)
            if self.failure is not None:
                start_new_thread(done, (False, self.failure))
                continue
            request = make()
            if request is None:
                continue
            self.busy = (key, done)
            try:
                if self.child is None:
                    self._start()
                assert self.child is not None
                send(self.child[1], (request[0], 0, *request[1:]))
            except OSError as error:
                self._fail(f"the compile worker is gone: {error.strerror}")

    def _start(self) -> None:
        to_child, from_parent = _pipe()
        to_parent, from_child = _pipe()
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, to_child, 0), (os.POSIX_SPAWN_DUP2, from_child, 1)]
        # One that is closed by now does not make the spawn fail.
        actions += [(os.POSIX_SPAWN_CLOSE, int(fd)) for fd in os.listdir("/proc/self/fd") if int(fd) > STDERR]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", self.command],
            dict(os.environ),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGCHLD, signal.SIGTERM),  # the guest may ignore them
        )
        os.close(to_child)
        os.close(from_child)
        self.child = (pid, from_parent, to_parent)
        self.pids.add(pid)
        self.fds.update((from_parent, to_parent))
        start_new_thread(self._listen, (to_parent, pid))

    def _listen(self, source: int, pid: int) -> None:
        """The thread that takes in answers."""
        while (answer := receive(source)) is not None:
            with self.lock:
                busy, self.busy = self.busy, None
            if busy is not None:
                busy[1](answer[1], answer[2])
            with self.lock:
                self._next()
        with self.lock:
            self._close(source)
            self._fail("the compile worker ended; VMJIT_TRACEBACK=1 shows what it said")
        with suppress(ChildProcessError):  # the kernel has waited for it when the guest ignores SIGCHLD
            os.waitpid(pid, 0)
        self.pids.discard(pid)

    def _fail(self, why: str) -> None:
        """Give up compiling; the lock is held."""
        self.failure = self.failure or why
        if self.child is not None:
            self._close(self.child[1])
            self.child = None
        busy, self.busy = self.busy, None
        if busy is not None:
            start_new_thread(busy[1], (False, self.failure))
        self._next()

    def _close(self, fd: int) -> None:
        """From now on the number may be the guest's."""
        if fd in self.fds:
            self.fds.discard(fd)
            os.close(fd)


def _pipe() -> tuple[int, int]:
    """Reading and writing end, out of the way of the guest's descriptors."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, LOWEST_FD))
        os.close(end)
    with suppress(OSError):  # a smaller one is only slower
        fcntl.fcntl(ends[1], _SET_PIPE_SIZE, PIPE_SIZE)
    return ends[0], ends[1]
