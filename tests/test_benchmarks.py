"""The benchmarks work: asv finds them, each runs once on a small piece of work, and peers.py compares what is there.

Each module's benchmarks run in a child process (this file as a script), as asv has it.
"""

import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import guests, peers  # noqa: E402

MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
PREFIXES = ("time_", "track_")
SMALL = {  # constants of the modules that say how much work is measured
    "bench_compile": {"SIZES": (10,), "REPETITIONS": 1},
    "bench_decode": {"STRETCH": 2000, "HARTS": 1},
    "bench_memory": {"ACCESSES": 10_000, "STREAM_ROUNDS": 1},
    "bench_run": {"MEASURED": {"interpreter": 100_000, "auto": 100_000, "jit": 100_000}, "PORTION": 100},
}
KERNELS = ("xorshift", "stream")  # that the small work is done on


def classes(module: ModuleType) -> Iterator[type]:
    """The classes of a module that have benchmarks."""
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and any(benchmarks(found)):
            yield found


def benchmarks(found: type) -> Iterator[str]:
    return (name for name, _ in inspect.getmembers(found, inspect.isfunction) if name.startswith(PREFIXES))


def combinations(found: type) -> list[tuple[Any, ...]]:
    return list(itertools.product(*getattr(found, "params", ())))


@pytest.mark.parametrize("name", MODULES)
def test_benchmarks_are_described(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
    found = list(classes(module))
    assert found
    for one in found:
        assert one.__doc__ and one.version == "1", one
        assert len(one.param_names if hasattr(one, "params") else ()) == len(getattr(one, "params", ())), one
        for benchmark in benchmarks(one):
            if benchmark.startswith("track_"):
                assert getattr(getattr(one, benchmark), "unit", None) or one.unit, benchmark


def test_asv_finds_them() -> None:
    discovery = pytest.importorskip("asv_runner.discovery")
    found = {benchmark.name for benchmark in discovery.disc_benchmarks(str(ROOT / "benchmarks"))}
    modules = [importlib.import_module(f"benchmarks.{name}") for name in MODULES]
    ours = {
        f"{module.__name__.partition('.')[2]}.{one.__name__}.{benchmark}"
        for module in modules
        for one in classes(module)
        for benchmark in benchmarks(one)
    }
    assert found == ours


@pytest.mark.parametrize("name", MODULES)
def test_benchmarks_run(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, name], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment()
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert float(line.split()[-1]) > 0, line


@pytest.mark.parametrize("kernel", guests.KERNELS.values(), ids=list(guests.KERNELS))
def test_kernel_prints_what_qemu_prints(kernel: guests.Kernel) -> None:
    command = [sys.executable, "-m", "vmjit", "run", str(kernel.elf), "3"]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment())
    assert done.stdout == kernel.elf.with_name(f"{kernel.name}.expected").read_bytes(), done.stderr


@pytest.mark.parametrize("peer", peers.PEERS)
def test_peer(peer: str, tmp_path: Path) -> None:
    if reason := peers.why_missing(peer):
        pytest.skip(reason)
    written = tmp_path / "figures.json"
    options = ["fib", "--rounds", "1", "--portion", "0.001", "--peers", peer, "vmjit", "--json", str(written)]
    command = [sys.executable, "-m", "benchmarks.peers", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    assert "geometric mean" in done.stdout
    assert json.loads(written.read_text())["medians"]["fib"][peer] > 0


def test_missing_peers_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(peers, "why_missing", lambda peer: None if peer == "vmjit" else f"no {peer} here")
    monkeypatch.setattr(peers.Bench, "run_once", lambda *arguments: (2.0, b""))
    monkeypatch.setattr(peers, "run", lambda command: b"")
    peers.main(["sieve"])
    assert capsys.readouterr().out.splitlines() == [
        "native is left out: no native here",
        "qemu is left out: no qemu here",
        "cold is left out: no cold here",
        "whole processes, medians of 5",
        f"{'':15}{'vmjit':>14}",
        f"{'sieve':15}{'2.000 s':>14}",
        f"{'geometric mean':15}{'':>14}",
    ]


def test_ratios_are_of_medians() -> None:
    seconds = {"native": [1.0, 2.0, 9.0], "vmjit": [3.0, 3.0, 4.0]}
    assert peers.ratio(seconds, "vmjit", "native") == 1.5
    assert peers.ratio(seconds, "qemu", "vmjit") is None
    assert peers.geometric_mean([1.0, 4.0]) == 2.0


def environment() -> dict[str, str]:
    """With this checkout before whatever is installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def run_small(name: str) -> None:
    """Each benchmark of a module on its first and its last parameters, in the current directory; prints the figures."""
    guests.KERNELS = {kernel: replace(guests.KERNELS[kernel], warm=1_000_000) for kernel in KERNELS}
    module = importlib.import_module(f"benchmarks.{name}")
    for constant, value in SMALL[name].items():
        setattr(module, constant, value)
    for one in classes(module):
        instance = one()
        make = getattr(one, "setup_cache", None)
        cached = (
            (instance.setup_cache(),) if make else (module.setup_cache(),) if hasattr(module, "setup_cache") else ()
        )
        for benchmark in benchmarks(one):
            for values in {combinations(one)[0]: 0, combinations(one)[-1]: 0}:
                arguments = (*cached, *(small(module, value) for value in values))
                print(benchmark, *values, run_one(instance, benchmark, arguments))


def small(module: ModuleType, value: Any) -> Any:
    """A parameter, or the one that stands for it where the work was made smaller."""
    sizes = getattr(module, "SIZES", (value,))
    return sizes[0] if isinstance(value, int) and module.__name__.endswith("bench_compile") else value


def run_one(instance: Any, benchmark: str, arguments: tuple[Any, ...]) -> float:
    """The figure of a benchmark, seconds if it is a duration."""
    getattr(instance, "setup", lambda *_: None)(*arguments)
    figures: list[Any] = []
    seconds = guests.timed(lambda: figures.append(getattr(instance, benchmark)(*arguments)))
    getattr(instance, "teardown", lambda *_: None)(*arguments)
    return float(figures[0]) if benchmark.startswith("track_") else seconds


if __name__ == "__main__":
    run_small(sys.argv[1])
