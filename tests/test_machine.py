"""The library's front door: a program is run in this process, and how it ended is told."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from vmjit.debug import Settings
from vmjit.engine.hart import Tier
from vmjit.errors import ElfError, VmjitError
from vmjit.machine import Machine, Result

PROGRAMS = Path(__file__).parent / "programs" / "elf"
every_tier = pytest.mark.parametrize("tier", Tier, ids=lambda tier: tier.value)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of all tests: making the interpreter takes a second."""
    return str(tmp_path_factory.mktemp("cache"))


@contextmanager
def machine(program: str, cache_dir: str, **options: Any) -> Iterator[Machine]:
    options.setdefault("settings", Settings(cache_dir=cache_dir))
    made = Machine(str(PROGRAMS / program), env={}, **options)
    try:
        yield made
    finally:
        made.close()


def result(program: str, cache_dir: str, **options: Any) -> Result:
    with machine(program, cache_dir, **options) as made:
        return made.run()


@every_tier
def test_an_exit_status(cache_dir: str, tier: Tier) -> None:
    found = result("exit42", cache_dir, tier=tier, sync=True)
    assert (found.status, found.signal, found.message, found.code) == (42, None, None, 42)


def test_output(cache_dir: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert result("hello", cache_dir) == Result(0, None, None)
    assert capfd.readouterr().out == (PROGRAMS / "hello.expected").read_text()


@every_tier
@pytest.mark.parametrize(
    ("program", "signal", "message"),
    [
        ("segv", 11, "segmentation fault on address 0x"),
        ("illegal", 4, "illegal instruction at 0x"),
        ("null_jump", 11, "segmentation fault on address 0x0 at 0x0"),
    ],
)
def test_a_signal(
    cache_dir: str, capfd: pytest.CaptureFixture[str], tier: Tier, program: str, signal: int, message: str
) -> None:
    found = result(program, cache_dir, tier=tier, sync=True)
    assert (found.status, found.signal, found.code) == (None, signal, 128 + signal)
    assert found.message is not None and found.message.startswith(message), found.message


def test_a_limit(cache_dir: str) -> None:
    with machine("countloop", cache_dir, max_instructions=1000) as made:
        found = made.run()
        assert (found.status, found.signal, found.code) == (None, None, None)
        assert found.message is not None and found.message.startswith("stopped after 1")
        assert made.seconds > 0 and made.hart.instructions >= 1000


def test_stopping_from_another_thread(cache_dir: str) -> None:
    with machine("countloop", cache_dir, tier=Tier.REFERENCE) as made:
        timer = threading.Timer(0.2, made.stop)
        timer.start()
        assert made.run().code is None
        timer.join()


def test_check(cache_dir: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = result("zicond", cache_dir, settings=Settings(check=True, cache_dir=cache_dir), tier=Tier.JIT)
    assert found.code == 0
    assert capfd.readouterr().out == (PROGRAMS / "zicond.expected").read_text()


@pytest.mark.parametrize(
    ("options", "native"),
    [
        ({}, True),
        ({"tier": Tier.INTERPRETER}, True),
        ({"tier": Tier.REFERENCE}, False),
        ({"strace": StringIO()}, False),
        ({"settings": {"slow_calls": True}}, False),
        ({"settings": {"check": True}}, False),
    ],
    ids=["auto", "interpreter", "reference", "strace", "slow", "check"],
)
def test_who_makes_system_calls(
    cache_dir: str, capfd: pytest.CaptureFixture[str], options: dict[str, Any], native: bool
) -> None:
    """Native code the frequent ones, unless somebody wants to see them all, or what executes has no native code."""
    settings = Settings(cache_dir=cache_dir, **options.get("settings", {}))
    with machine("hello", cache_dir, **{**options, "settings": settings}) as made:
        assert made.run().status == 0
        assert made.hart.counters.exits["SYSCALL"] == (1 if native else 2)  # write, and exit
    assert capfd.readouterr().out == (PROGRAMS / "hello.expected").read_text()


def test_a_broken_pipe(cache_dir: str) -> None:
    """A write that nobody can read is a signal, as ever."""
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(1)
    os.dup2(writer, 1)
    try:
        found = result("hello", cache_dir)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writer)
    assert (found.status, found.signal) == (None, signal.SIGPIPE)


def test_addresses_have_names(cache_dir: str) -> None:
    with machine("fib", cache_dir) as made:
        pc = made.hart.words[made.guest.layout.word("pc")]
        assert made.where(pc) == f"{pc:#x} (_start+0x0)"
        assert made.where(0x10) == "0x10"
        assert made.text_at(pc).startswith(": ") and made.text_at(0x10) == ""


def test_what_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no program")
    with pytest.raises(ElfError):
        Machine(str(path))
    with pytest.raises(FileNotFoundError):
        Machine(str(tmp_path / "nothing"))


def reserved() -> int:
    """Gigabytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) >> 18


def test_a_machine_that_cannot_be_made_keeps_nothing(cache_dir: str) -> None:
    before = reserved()
    with machine("hello", cache_dir):
        assert reserved() > before + 1000
    with pytest.raises(VmjitError), machine("hello", cache_dir, argv=["x" * (16 << 20)]):
        pass
    assert reserved() < before + 1000


def test_a_program_is_looked_for_in_the_sysroot_first(
    cache_dir: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_bytes((PROGRAMS / "hello").read_bytes())
    settings = Settings(cache_dir=cache_dir, sysroot=str(tmp_path))
    made = Machine("/bin/sh", settings=settings)
    try:
        assert made.process.argv == [b"/bin/sh"]
        assert made.process.executable == os.fsencode(tmp_path / "bin" / "sh")
        assert made.run().status == 0
    finally:
        made.close()
    assert capfd.readouterr().out == (PROGRAMS / "hello.expected").read_text()


# Threads.

PARALLEL = "../../../benchmarks/programs/elf/parallel"  # as many threads as the last digit of its argument says


@pytest.mark.parametrize("tier", [Tier.AUTO, Tier.INTERPRETER, Tier.JIT], ids=lambda tier: tier.value)
def test_threads(cache_dir: str, tier: Tier, capfd: pytest.CaptureFixture[str]) -> None:
    counts = {}
    for threads in (1, 4):
        with machine(PARALLEL, cache_dir, argv=[f"8{threads}"], tier=tier) as made:
            assert made.run() == Result(0, None, None)
            counts[threads] = made.hart.instructions
            assert not made.has_lost_threads and len(made.hart.native.states) == 1
    assert counts[1] < counts[4] < 1.01 * counts[1], "instructions of all threads count"
    assert len(set(capfd.readouterr().out.split())) == 1


def test_threads_are_checked(cache_dir: str) -> None:
    settings = Settings(cache_dir=cache_dir, check=True)
    with machine(PARALLEL, cache_dir, argv=["12"], settings=settings, max_instructions=20_000) as made:
        assert made.run().message is not None
        assert made.hart.counters.exits["CHECKED"] > 100


def test_threads_stop_from_outside(cache_dir: str) -> None:
    with machine(PARALLEL, cache_dir, argv=["1000004"]) as made:
        timer = threading.Timer(0.2, made.stop)
        timer.start()
        found = made.run()
        timer.join()
        assert found.code is None and found.message is not None and "stopped after" in found.message
        assert list(made.harts) == [made.leader] and not made.has_lost_threads


def test_threads_end_with_the_process(cache_dir: str) -> None:
    """The limit is reached by one of them, the first waits for the others meanwhile."""
    with machine(PARALLEL, cache_dir, argv=["1000003"], max_instructions=3_000_000) as made:
        found = made.run()
        assert found.message is not None and found.message.startswith("stopped after")
        assert list(made.harts) == [made.leader]


def test_a_defect_that_shows_in_a_thread_is_raised_by_run(cache_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with machine(PARALLEL, cache_dir, argv=["83"]) as made:
        run = made._run

        def fail(hart: Any, thread: Any) -> Result | None:
            if thread is not made.leader:
                raise VmjitError("a defect")
            return run(hart, thread)

        monkeypatch.setattr(made, "_run", fail)
        with pytest.raises(VmjitError, match="a defect"):
            made.run()
