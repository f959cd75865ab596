"""The compile service and its child: answers come in order, and whatever happens to the child, the guest goes on."""

import errno
import fcntl
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from machines import CODE, DATA, LOOP, NO_CACHE, assemble, interpreter_of, memory_with, request_for, set_registers

from vmjit.debug import Settings
from vmjit.engine import service as service_module
from vmjit.engine.cache import Cache, Region, interpreter_key, variant
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.service import LOWEST_FD, MOST_WORKERS, Service
from vmjit.errors import CompileError, WorkerError
from vmjit.ir.exits import ExitReason
from vmjit.jit.blob import Blob

TESTS = str(Path(__file__).parent.parent)
PATIENCE = 30  # seconds that a machine under load may take
TOY = """\
import vmjit.guest
vmjit.guest._MODULES["toy"] = "toy"
"""
ECHO = """\
import os, sys, time
from vmjit.engine.worker import receive, send
source, target = os.dup(0), os.dup(1)
while (request := receive(source)) is not None:
    {do}
    send(target, (request[1], True, request[2:]))
"""


class Started:
    """Services that end with the test, and the children they started."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.fds: set[int] = set()
        self.services: list[Service] = []

    def service(self, script: str = "", *, before: str = "", cache: str | None = None) -> Service:
        """A service whose child runs a script instead, or one after `before`; the guest is the toy."""
        made = Service("toy", cache, Settings().for_child(), self.pids, self.fds)
        worker = script or made.command
        made.command = f"import sys; sys.path[:] = {[TESTS, *sys.path]!r}\n{TOY}{before}\n{worker}"
        self.services.append(made)
        return made

    def end(self) -> None:
        for service in self.services:
            service.close()
        for pid in tuple(self.pids):
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ChildProcessError, ProcessLookupError):
                continue


@pytest.fixture
def started() -> Iterator[Started]:
    made = Started()
    yield made
    made.end()


@pytest.fixture(autouse=True)
def threads_that_can_be_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `_thread` are invisible to tools that measure coverage."""

    def start(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()

    monkeypatch.setattr("vmjit.engine.interrupts.start_new_thread", start)


def echo(do: str = "pass") -> str:
    return ECHO.format(do=do)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.005)


def test_an_answer_comes_back(started: Started) -> None:
    service = started.service(echo())
    assert service.wait(("kind", 1, b"two", (3,))) == (1, b"two", (3,))
    assert service.is_idle() and len(started.pids) == 1
    assert service.wait(("kind",)) == () and len(started.pids) == 1


def test_large_messages(started: Started) -> None:
    """Larger than what a pipe holds, in both directions."""
    data = os.urandom(5 << 20)
    assert started.service(echo()).wait(("kind", data)) == (data,)


def test_requests_are_answered_in_the_order_of_asking(started: Started) -> None:
    service, found = started.service(echo()), []
    everything = threading.Event()

    def done(worked: bool, result: Any) -> None:
        found.append((worked, *result))
        if len(found) == 20:
            everything.set()

    for number in range(20):
        service.submit(number, lambda number=number: ("kind", number), done)  # type: ignore[misc]
    assert everything.wait(PATIENCE)
    assert found == [(True, number) for number in range(20)]


def test_a_request_is_made_when_its_turn_comes(started: Started) -> None:
    """Meanwhile it may have become unwanted, and a later one for the same key replaces it."""
    service = started.service(echo("time.sleep(0.2)"))
    made, found = [], []

    def request(name: str) -> Callable[[], tuple[Any, ...] | None]:
        def make() -> tuple[Any, ...] | None:
            made.append(name)
            return None if name == "unwanted" else ("kind", name)

        return make

    def done(worked: bool, result: Any) -> None:
        found.append(result[0])

    for key, name in ((1, "first"), (2, "unwanted"), (3, "old"), (3, "new"), (4, "last")):
        service.submit(key, request(name), done)
    assert made == ["first"] and not service.is_idle()
    until(lambda: "last" in found)
    assert found == ["first", "new", "last"] and "old" not in made


def test_who_waits_is_next(started: Started) -> None:
    """The guest stands still meanwhile, whatever else was asked for before."""
    service, found = started.service(echo("time.sleep(0.2)")), []
    for number in range(3):
        service.submit(number, lambda number=number: ("kind", number), lambda _, result: found.append(result[0]))  # type: ignore[misc]
    assert service.wait(("kind", "now")) == ("now",) and found == [0]
    until(lambda: found == [0, 1, 2])


def test_what_is_preferred_is_next(started: Started) -> None:
    service, found = started.service(echo("time.sleep(0.2)")), []
    for number in range(4):
        service.submit(number, lambda number=number: ("kind", number), lambda _, result: found.append(result[0]))  # type: ignore[misc]
    service.prefer(3)
    service.prefer(5)  # nobody asked for that
    until(lambda: len(found) == 4)
    assert found == [0, 3, 1, 2]


def test_descriptors_are_out_of_the_guest_s_way(started: Started) -> None:
    started.service(echo()).wait(("kind",))
    assert len(started.fds) == 2 and min(started.fds) >= LOWEST_FD
    assert not any(os.get_inheritable(fd) for fd in started.fds)


DEATHS = {
    "sys.exit(3)": "ended with exit code 3",
    "os.kill(os.getpid(), 9)": "was ended by signal 9",
    "os.close(target); os.close(1); time.sleep(60)": "was ended by signal 9",  # by us
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_child_that_dies_costs_one_request(started: Started, death: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "GRACE_SECONDS", 0.1)
    service = started.service(echo(f"if request[2] == 'die': {death}"))
    assert service.wait(("kind", "live")) == ("live",)
    results: list[tuple[bool, Any]] = []
    service.submit(1, lambda: ("kind", "die"), lambda *result: results.append(result))
    service.submit(2, lambda: ("kind", "waits"), lambda *result: results.append(result))
    until(lambda: len(results) == 2)
    assert results[0][0] is False and results[0][1].startswith(f"the compile worker {DEATHS[death]}")
    assert results[1] == (True, ("waits",))
    assert service.wait(("kind", "late")) == ("late",)
    assert service.started == 2 and len(started.pids) == 1


def test_children_are_replaced_a_few_times_only(started: Started) -> None:
    service = started.service(echo("sys.exit(3)"))
    for _ in range(MOST_WORKERS):
        with pytest.raises(CompileError, match="ended with exit code 3"):
            service.wait(("kind",))
    results: list[str] = []
    for key in range(2):
        service.submit(key, lambda: ("kind",), lambda worked, result: results.append(result))
    assert all("ended with exit code 3" in result for result in results) and len(results) == 2, "at once"
    assert service.child is None and service.is_idle() and service.started == MOST_WORKERS
    assert not started.pids and not started.fds


def test_the_interpreter_is_asked_of_the_next_child(started: Started, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    service = started.service(
        before=f"import os\nif not os.path.exists({str(marker)!r}):\n    open({str(marker)!r}, 'w'); os.abort()"
    )
    assert Blob.from_bytes(service.wait(("interpreter",))) == Blob.from_bytes(interpreter_of("toy"))
    assert service.started == 2


def test_handlers_are_asked_of_the_next_child(started: Started, tmp_path: Path) -> None:
    """Without them the guest would go on, but some hundred times slower."""
    blob, marker = "Blob(b'12345678', {'handlers': 0}).to_bytes()", str(tmp_path / "died")
    die = f"if not os.path.exists({marker!r}): open({marker!r}, 'w'); os.abort()"
    answer = echo(die + f"\n    request = (0, request[1], {blob})")
    service = started.service(f"from vmjit.jit.blob import Blob\n{answer}")
    service.command = service.command.replace("request[2:]", "request[2]")
    assert Blob.from_bytes(service.wait(("handlers", 1))).code == b"12345678"
    assert service.started == 2


NONSENSE = {
    "no message": "os.write(target, b'what?' * 1000)",
    "no end": "os.write(target, (1 << 62).to_bytes(8, 'little') + bytes(4))",
    "no tuple": "send(target, [1, True, ()])",
    "another number": "send(target, (7, True, ()))",
    "no truth": "send(target, (request[1], 1, ()))",
    "no text": "send(target, (request[1], False, 3))",
    "too short": "send(target, (request[1], True))",
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_child_that_answers_nonsense_is_ended(started: Started, nonsense: str) -> None:
    service = started.service(echo(f"if request[2] == 'talk': {NONSENSE[nonsense]}; time.sleep(60)"))
    with pytest.raises(CompileError, match="the compile worker answered nonsense"):
        service.wait(("kind", "talk"))
    assert service.wait(("kind", "again")) == ("again",) and service.started == 2


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (("interpreter",), "b'no blob'"),
        (("interpreter",), "Blob(b'code', {}).to_bytes()"),
        (("handlers", 1), "Blob(b'code', {}).to_bytes()"),
        (("region",), "()"),
        (("region",), "(b'no region', {}, True)"),
        (("region",), "(1, 2, 3)"),
        (("region",), "b'region'"),
    ],
)
def test_results_that_are_none_are_nonsense(started: Started, request_: tuple[str], result: str) -> None:
    service = started.service(f"from vmjit.jit.blob import Blob\n{echo(f'request = (0, request[1], {result})')}")
    service.command = service.command.replace("request[2:]", "request[2]")
    with pytest.raises(CompileError, match="answered nonsense"):
        service.wait(request_)


def test_nonsense_that_nobody_asked_for(started: Started) -> None:
    service = started.service(echo("send(target, (request[1], True, ())); send(target, (0, True, ())); time.sleep(60)"))
    assert service.wait(("kind",)) == ()
    until(lambda: not started.pids and not started.fds)
    assert service.child is None


@pytest.mark.parametrize(
    "hang", ["time.sleep(60)", "os.kill(os.getpid(), 19)", "os.write(target, bytes(3)); time.sleep(60)"]
)
def test_a_child_that_hangs_is_ended(started: Started, hang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "ANSWER_SECONDS", 1)
    service = started.service(echo(f"if request[2] == 'hang': {hang}"))
    assert service.wait(("kind", "live")) == ("live",)
    with pytest.raises(CompileError, match="did not answer for 1 s"):
        service.wait(("kind", "hang"))
    assert service.wait(("kind", "again")) == ("again",) and service.started == 2


def test_a_child_that_does_not_read_is_ended(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the thread that writes to it holds the lock."""
    monkeypatch.setattr(service_module, "ANSWER_SECONDS", 1)
    service = started.service(echo("os.kill(os.getpid(), 19)"))
    with pytest.raises(CompileError, match="did not answer for 1 s"):
        service.wait(("kind", bytes(20 << 20)))


def test_a_child_that_cannot_read_any_more(started: Started) -> None:
    service = started.service(
        echo("os.close(source); os.close(0); send(target, (request[1], True, ())); time.sleep(60)")
    )
    service.wait(("kind",))
    with pytest.raises(CompileError, match="the compile worker was ended by signal 9"):
        for _ in range(MOST_WORKERS + 1):
            service.wait(("kind", b"x" * (4 << 20)))


@pytest.mark.parametrize("reason", ["No such file", "Too many open files", "no thread for it"])
def test_a_child_that_cannot_be_started(started: Started, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = started.service(echo())
    fds = os.listdir("/proc/self/fd")
    if reason == "No such file":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    elif reason == "Too many open files":
        duplicate = fcntl.fcntl

        def fail_later(fd: int, command: int, argument: int) -> int:
            if command == fcntl.F_DUPFD_CLOEXEC and len(os.listdir("/proc/self/fd")) > len(fds) + 4:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return duplicate(fd, command, argument)

        monkeypatch.setattr(fcntl, "fcntl", fail_later)
    else:

        def no_thread(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("vmjit.engine.interrupts.start_new_thread", no_thread)
    with pytest.raises(WorkerError, match=f"the compile worker cannot be started: .*: {reason}"):
        service.wait(("interpreter",))
    assert service.started == MOST_WORKERS and not started.pids and os.listdir("/proc/self/fd") == fds


def test_few_descriptors_are_enough(started: Started) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    service = started.service(echo())
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        assert service.wait(("kind", 1)) == (1,) and min(started.fds) >= 50
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_closed_service_refuses(started: Started) -> None:
    service = started.service(echo())
    service.wait(("kind",))
    service.close()
    with pytest.raises(CompileError, match="closed"):
        service.wait(("kind",))
    until(lambda: not started.pids)  # the child ends with its input, and is waited for
    until(lambda: not started.fds)


def test_closing_before_anything_was_asked(started: Started) -> None:
    started.service(echo()).close()
    assert not started.pids


def test_a_forked_child_starts_a_worker_of_its_own(started: Started) -> None:
    service = started.service(echo())
    service.wait(("kind",))
    parents = set(started.pids)
    service.lock_for_fork()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            service.abandon()
            status = 0 if service.wait(("kind", 5)) == (5,) and not started.pids & parents else 2
            service.close()
        finally:
            os._exit(status)
    service.unlock_after_fork()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert service.wait(("kind", 6)) == (6,) and started.pids == parents, "the parent's goes on"


# With the real worker.


def code_request(text: str = LOOP) -> tuple[Any, ...]:
    return request_for(assemble(text))


def test_the_worker_compiles(started: Started, tmp_path: Path) -> None:
    service = started.service(cache=str(tmp_path))
    interpreter = Blob.from_bytes(service.wait(("interpreter",)))
    assert interpreter == Blob.from_bytes(interpreter_of("toy"))
    data, seconds, cached = service.wait(code_request())
    region = Region.from_bytes(data)
    assert (region.entries, region.instructions, cached) == ((CODE,), 11, False) and seconds["emit"] > 0
    assert service.wait(code_request())[2], "the second time it is in the cache"
    assert service.wait(code_request("clock r1")) is None
    kept = Cache(str(tmp_path), "toy")
    assert kept.get(interpreter_key("flat")) == interpreter
    assert (
        kept.find_region(CODE, lambda at, size: assemble(LOOP)[at - CODE :][:size], variant("flat", "", False))
        == region
    )


def test_what_the_worker_cannot_do_is_told(started: Started) -> None:
    service = started.service(
        before="import vmjit.engine.translate as t, vmjit.engine.compile as c\nc.translate = None"
    )
    with pytest.raises(CompileError, match=r"^TypeError: .*compile.py:\d+\)$"):
        service.wait(code_request())
    assert service.wait(code_request("clock r1")) is None, "it goes on"


def test_llvm_refusing_a_text_is_told(started: Started) -> None:
    before = "import vmjit.engine.compile as c\nc.lower_region = lambda *rest: 'define nonsense'"
    service = started.service(before=before)
    with pytest.raises(CompileError, match="CompileError: "):
        service.wait(code_request())


NO_WAY = '''\
import vmjit.engine.compile as c
c.lower_region = lambda *rest: """declare void @llvm.x86.nowhere()
@a = global i32 0
define void @region() {
  call void asm "bogus instruction", ""()
  ret void
}"""
'''


def hart_with(service: Service, **options: Any) -> tuple[Hart, Any]:
    memory = memory_with(assemble(LOOP))
    hart = Hart(toy.guest, memory, service, NO_CACHE, Settings(), **options)
    set_registers(hart, pc=CODE, r7=DATA)
    return hart, memory


ABORT = """\
from vmjit.jit.compiler import Compiler
compile = Compiler.compile
def fatal(self, text, passes="", verify=False):
    if "@region(" in text:
        import os
        os.abort()
    return compile(self, text, passes, verify)
Compiler.compile = fatal
"""


@pytest.mark.parametrize("before", [NO_WAY, ABORT], ids=["LLVM's fatal error", "abort"])
@pytest.mark.parametrize("sync", [False, True], ids=["later", "now"])
def test_a_worker_that_llvm_ends_costs_speed_only(started: Started, before: str, sync: bool) -> None:
    hart, memory = hart_with(started.service(before=before), tier=Tier.JIT, sync=sync)
    try:
        assert hart.run() == Stop(ExitReason.SYSCALL, CODE + 22, 0)
        assert memory.read(DATA, 1) == bytes([55])
        until(lambda: hart.counters.failures)
        assert hart.counters.failures[0].startswith(f"{CODE + 8:#x}: ") and not hart.counters.regions
    finally:
        hart.close()
        memory.close()


def test_the_toy_in_a_real_child(started: Started) -> None:
    """Compiled in the background while the guest runs."""
    hart, memory = hart_with(started.service(), tier=Tier.JIT)
    try:
        end = time.monotonic() + PATIENCE
        while not hart.counters.regions:
            assert time.monotonic() < end
            set_registers(hart, pc=CODE)
            assert hart.run().reason is ExitReason.SYSCALL
        set_registers(hart, pc=CODE, status=0)
        memory.write(DATA, bytes(8))
        assert hart.run().reason is ExitReason.SYSCALL
        assert hart.words[toy.LAYOUT.word("status")] == 55 and memory.read(DATA, 1) == bytes([55])
    finally:
        hart.close()
        memory.close()
