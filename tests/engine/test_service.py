"""The compile service and its child: answers come in order, and whatever happens to the child, the guest goes on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from machines import CODE, DATA, LOOP, NO_CACHE, assemble, interpreter_of, memory_with, set_registers

from vmjit.debug import Settings
from vmjit.engine import service as service_module
from vmjit.engine.cache import Cache, Region
from vmjit.engine.hart import Hart, Stop, Tier
from vmjit.engine.service import LOWEST_FD, Service
from vmjit.errors import CompileError
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
    send(target, (0, True, request[2:]))
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

    monkeypatch.setattr(service_module, "start_new_thread", start)


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


def test_descriptors_are_out_of_the_guest_s_way(started: Started) -> None:
    started.service(echo()).wait(("kind",))
    assert len(started.fds) == 2 and min(started.fds) >= LOWEST_FD
    assert not any(os.get_inheritable(fd) for fd in started.fds)


@pytest.mark.parametrize("death", ["sys.exit(3)", "os.kill(os.getpid(), 9)", "os.close(target); os.close(1)"])
def test_a_child_that_dies_is_noted_once_and_not_started_again(started: Started, death: str) -> None:
    service = started.service(echo(f"if request[2] == 'die': {death}\n    if request[2] == 'die': time.sleep(60)"))
    assert service.wait(("kind", "live")) == ("live",)
    results: list[str] = []
    service.submit(1, lambda: ("kind", "die"), lambda worked, result: results.append(result))
    service.submit(2, lambda: ("kind", "waits"), lambda worked, result: results.append(result))
    until(lambda: len(results) == 2)
    assert all(result.startswith("the compile worker ended") for result in results)
    with pytest.raises(CompileError, match="the compile worker ended"):
        service.wait(("kind", "late"))
    assert service.child is None and service.is_idle()


def test_a_child_that_cannot_read_any_more(started: Started) -> None:
    service = started.service(echo("os.close(source); os.close(0); send(target, (0, True, ())); time.sleep(60)"))
    service.wait(("kind",))
    with pytest.raises(CompileError, match="the compile worker is gone: Broken pipe"):
        service.wait(("kind", b"x" * (4 << 20)))


def test_a_child_that_cannot_be_started(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    service = started.service(echo())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CompileError, match="the compile worker is gone: No such file"):
        service.wait(("kind",))


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
    return "region", CODE, CODE, assemble(text), None, 100


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
    assert kept.get("interpreter") == interpreter
    assert kept.find_region(CODE, lambda at, size: assemble(LOOP)[at - CODE :][:size], "") == region


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
