"""The benchmarks work: asv finds them, each runs once on a small piece of work, and peers.py compares what is there.

Each module's benchmarks run in a child process (this file as a script), as asv has it.
"""

import importlib
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import comparison, guests, page, peers, surroundings  # noqa: E402
from benchmarks.comparison import DISTANCE, SPEED, Comparison, Measured, Run  # noqa: E402

MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("bench_*.py"))
PREFIXES = ("time_", "track_")
SMALL = {  # constants of the modules that say how much work is measured
    "bench_cache": {"FINDS": 3, "ROUNDS": 50, "PORTION": 1000},
    "bench_compile": {"SIZES": (10,), "REPETITIONS": 1},
    "bench_decode": {"STRETCH": 2000, "MIXED": 2000, "HARTS": 1},
    "bench_memory": {
        **{"ACCESSES": 10_000, "STREAM_ROUNDS": 1, "WIDTH_ACCESSES": 10_000},
        **{"BULK_CALLS": 2, "BULK_ROUNDS": 1, "MAPPING_TIMES": 3, "ALLOCATIONS": 3},
    },
    "bench_run": {
        "MEASURED": {"interpreter": 100_000, "auto": 100_000, "jit": 100_000},
        "PORTION": 100,
        **{"PROFILES": 1, "RUNS_BEFORE": {"cold": 0, "warm": 1, "hot": 1}},
    },
    "bench_system": {"NATIVE_CALLS": 6000, "PYTHON_CALLS": 6000, "SIGNALS": 20, "MAPPINGS": 20, "ATOMICS": 1000},
    "bench_tlb": {"CALLS": 1000, "TRANSLATIONS": 100, "ROUNDS": 1},
    "bench_translation": {
        **{"HITS": 1000, "MISSES": 1000, "TIMES": 1, "DRAWS": 1000, "FLUSHES": 2, "TURNS": 1},
        **{"DEVICE_ACCESSES": 80, "REGISTER_ACCESSES": 800},
    },
}
MAY_BE_NOTHING = {"track_compiled_by_second_run", "track_walks"}
KERNELS = ("xorshift", "stream")  # that the small work is done on
SVG = {"svg": "http://www.w3.org/2000/svg"}
SHORT = 3  # the argument of kernels in tests, as in their sources
LARGEST = 10_000  # bytes of a kernel's file


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
        [sys.executable, __file__, name], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment()
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert float(line.split()[-1]) > 0 or line.split()[0] in MAY_BE_NOTHING, line


# The kernels.


@pytest.mark.parametrize("kernel", guests.KERNELS.values(), ids=list(guests.KERNELS))
def test_kernel_prints_what_qemu_prints(kernel: guests.Kernel, cache: Path) -> None:
    """In regions as well: each compilation is waited for."""
    options = ["--sync", "--cache-dir", str(cache)]
    command = [sys.executable, "-m", "vmjit", "run", *options, str(kernel.elf), str(SHORT)]
    done = subprocess.run(command, capture_output=True, timeout=300, env=environment())
    assert done.stdout == expected_output(kernel), done.stderr


@pytest.mark.parametrize(("program", "argument"), [(guests.ALLOCATE, SHORT), (guests.PARALLEL, 82)])
def test_other_programs_print_what_qemu_prints(program: Path, argument: int, cache: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vmjit",
        "run",
        "--sync",
        "--cache-dir",
        str(cache),
        str(program),
        str(argument),
    ]
    done = subprocess.run(command, capture_output=True, timeout=300, env=environment())
    assert done.stdout == program.with_suffix(".expected").read_bytes(), done.stderr


@pytest.mark.skipif(peers.why_missing("native") is not None, reason="needs gcc")
def test_kernels_print_the_same_as_native_code(tmp_path: Path) -> None:
    bench = peers.Bench(tmp_path, ["native"])
    for kernel in guests.KERNELS.values():
        bench.compile(kernel)
        printed = subprocess.run(bench.command("native", kernel, SHORT), capture_output=True, timeout=60).stdout
        assert printed == expected_output(kernel), kernel.name


def test_kernels_are_in_order() -> None:
    assert {path.stem for path in guests.SOURCES.glob("*.c")} == guests.KERNELS.keys()
    assert {kernel.group for kernel in guests.KERNELS.values()} == comparison.GROUPS.keys()
    for kernel in guests.KERNELS.values():
        assert f"\n// args: {SHORT}\n" in kernel.source.read_text()
        assert kernel.about.endswith(".") and "Prints" in kernel.about, kernel
        assert kernel.elf.stat().st_size < LARGEST, kernel


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what these tests compile: the interpreter is made once."""
    return tmp_path_factory.mktemp("compiled")


def expected_output(kernel: guests.Kernel) -> bytes:
    return kernel.elf.with_name(f"{kernel.name}.expected").read_bytes()


# Peers: running them.


@pytest.mark.parametrize("peer", peers.PEERS)
def test_peer(peer: str, tmp_path: Path) -> None:
    if reason := peers.why_missing(peer):
        pytest.skip(reason)
    figures, html = tmp_path / "figures.json", tmp_path / "page.html"
    options = ["fib", "--rounds", "1", "--portion", "0.001", "--peers", peer, "vmjit"]
    command = [sys.executable, "-m", "benchmarks.peers", *options, "--json", str(figures), "--html", str(html)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    assert "geometric mean" in done.stdout
    written = json.loads(figures.read_text())
    fib = written["kernels"]["fib"]
    assert fib["medians"][peer] == fib["seconds"]["wall"][peer][0] > 0
    assert fib["seconds"]["cpu"][peer][0] > 0
    assert written["faults"] == []
    bars = ET.fromstring(html.read_text()).findall(".//svg:rect", SVG)
    assert bool(bars) == (peer != "vmjit")  # there is a ratio of two peers


def test_missing_peers_are_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(peers, "why_missing", lambda peer: None if peer == "vmjit" else f"no {peer} here")
    assert compare_fakes(monkeypatch, {"vmjit": [Run(2.0, 1.0)]}, "sieve") == 0
    assert capsys.readouterr().out.splitlines() == [
        "native is left out: no native here",
        "qemu is left out: no qemu here",
        "cold is left out: no cold here",
        "whole processes, wall seconds, medians of 5",
        f"{'':15}{'vmjit':>14}",
        "loops: loops without calls",
        f"{'  sieve':15}{'2.000 s':>14}",
        f"{'  mean':15}{'':>14}",
        f"{'geometric mean':15}{'':>14}",
    ]


def test_who_prints_something_else_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = Run(1.0, 1.0, b"right"), Run(2.0, 2.0, b"wrong")
    runs = {"native": [right], "qemu": [right], "vmjit": [right, wrong], "cold": [Run(3.0, 3.0, b"", "exit code 139")]}
    assert compare_fakes(monkeypatch, runs, "fib", "--rounds", "3") == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"{'  fib':15}{'1.000 s':>14}{'1.000 s':>14}" + 5 * f"{'-':>14}" in lines
    assert lines[-2:] == ["wrong: fib: vmjit: printed b'wrong', not b'right'", "wrong: fib: cold: exit code 139"]


def test_a_peer_that_failed_does_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def failing(bench: peers.Bench, peer: str, kernel: guests.Kernel, work: int) -> Run:
        asked.append(peer)
        return Run(1.0, 1.0, b"", "not done" if peer == "qemu" else None)

    monkeypatch.setattr(peers, "why_missing", lambda peer: None)
    monkeypatch.setattr(peers.Bench, "run", failing)
    peers.Bench(tmp_path, ["qemu", "cold"]).measure(guests.KERNELS["fib"], 3, 1)
    assert asked == ["qemu", "cold", "cold", "cold"]


def test_runs_tell_what_failed() -> None:
    """In a process of its own, since it waits for all children."""
    code = "from benchmarks.peers import run; import sys; print(run([sys.executable, '-c', sys.argv[1]], 1).fault)"
    for program, fault in (("", "None"), ("exit(3)", "exit code 3"), ("while True: pass", "not done after 1 s")):
        command = [sys.executable, "-c", code, program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment())
        assert done.stdout == f"{fault}\n", done.stderr


def test_processor_time_of_orphans_counts() -> None:
    """A process that starts another, which works, and ends at once."""
    work = "import time\nwhile time.process_time() < 0.3: pass"
    leave = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {work!r}])"
    code = "from benchmarks import peers; import sys; peers.adopt_orphans()\n"
    code += "print(peers.run([sys.executable, '-c', sys.argv[1]], 60).cpu)"
    command = [sys.executable, "-c", code, leave]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment())
    assert float(done.stdout) > 0.3, done.stderr


def compare_fakes(monkeypatch: pytest.MonkeyPatch, runs: dict[str, list[Run]], *arguments: str) -> int:
    """The exit code of a comparison whose processes are made up; each peer's last run repeats."""
    left = {peer: list(found) for peer, found in runs.items()}

    def next_run(bench: peers.Bench, peer: str, kernel: guests.Kernel, work: int) -> Run:
        return left[peer].pop(0) if len(left[peer]) > 1 else left[peer][0]

    monkeypatch.setattr(peers.Bench, "run", next_run)
    monkeypatch.setattr(peers.Bench, "compile", lambda *_: None)
    monkeypatch.setattr(peers, "adopt_orphans", lambda: None)
    return peers.main(arguments)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], list(guests.KERNELS)),
        (["stream", "system"], ["stream", "write1", "syscalls"]),
        (["fib", "md5"], ["md5", "fib"]),
    ],
)
def test_kernels_and_groups_are_chosen_by_name(names: list[str], found: list[str]) -> None:
    assert peers.parse(names).names == found


@pytest.mark.parametrize("arguments", [["nothing"], ["--rounds", "0"], ["--portion", "0"], ["--clock", "sun"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        peers.parse(arguments)
    assert ended.value.code == 2


def test_the_list_has_all_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(guests.KERNELS)
    assert lines[0].split()[1:3] == ["integer", "14000"]


def test_surroundings_name_what_is_not_there() -> None:
    found = surroundings.describe("no-such-compiler", "no-such-emulator")
    assert found["native"] == "no no-such-compiler" and found["qemu"] == "no no-such-emulator"
    assert all(found.values())


# Peers: what follows from the runs.


def measured(name: str, **seconds: float) -> Measured:
    """A kernel that each peer ran three times, once too long; half of it on the processor."""
    runs = {peer: [Run(t, t / 2), Run(9 * t, 9 * t), Run(t, t / 2)] for peer, t in seconds.items()}
    return Measured(guests.KERNELS[name], 1, runs)


def compared(*kernels: Measured, clock: str = "wall") -> Comparison:
    return Comparison(peers.PEERS, 3, 1, clock, kernels, {"date": "today & <tomorrow>"})


FAST = measured("sieve", native=1, qemu=6, vmjit=2, cold=4)
SLOW = measured("write1", native=1, qemu=4, vmjit=8, cold=8)
FAILED = Measured(guests.KERNELS["crc32"], 1, {"native": [Run(1, 1)], "qemu": [Run(1, 1, b"", "exit code 1")]})


def test_ratios_are_of_medians() -> None:
    assert FAST.median("qemu", "wall") == 6 and FAST.median("qemu", "cpu") == 3
    assert FAST.ratio(SPEED, "wall") == 3 and FAST.ratio(DISTANCE, "wall") == 2
    assert FAILED.median("qemu", "wall") is None and FAILED.ratio(SPEED, "wall") is None
    assert FAILED.ratio(DISTANCE, "wall") is None  # vmjit did not run


def test_means_are_geometric_and_by_group() -> None:
    found = compared(FAST, SLOW, FAILED)
    assert list(found.groups) == ["loops", "system"]
    assert found.mean(SPEED, found.kernels) == pytest.approx((3 * 0.5) ** 0.5)
    assert found.mean(SPEED, found.groups["loops"]) == pytest.approx(3)
    assert found.mean(SPEED, [FAILED]) is None


def test_what_is_not_as_it_should_be() -> None:
    found = compared(FAST, SLOW, FAILED)
    assert found.slower_than_qemu() == ["write1 (0.50)"]
    assert found.faults() == ["crc32: qemu: exit code 1"]
    assert found.short_of_target() == [
        "loops vmjit/native 2.00 (at most 1.15)",
        "loops cold/vmjit 2.00 (at most 1.25)",
        "system qemu/vmjit 0.50 (at least 1)",
        "system vmjit/native 8.00 (at most 1.5)",
    ]


def test_the_page_needs_nothing_else_and_has_all_figures() -> None:
    text = page.render(compared(FAST, SLOW, FAILED))
    root = ET.fromstring(text)
    assert root.find("body/h1").text == "vmjit and its peers, today & <tomorrow>"
    assert not [one.tag for one in root.iter() if one.tag in ("script", "link", "img", "iframe", "object")]
    assert not re.search(r"url\(|@import|\b(src|href)=", text)
    charts = root.findall(".//svg:svg", SVG)
    assert [chart.find("svg:title", SVG).text.partition(":")[0] for chart in charts] == [
        "qemu/vmjit",
        "vmjit/native",
        "cold/vmjit",
    ]
    # Bars: the mean of all, of two groups, and two kernels; the one that failed has a row without a bar.
    assert [len(chart.findall(".//svg:rect", SVG)) for chart in charts] == [5, 5, 5]
    assert [len(chart.findall("svg:g", SVG)) for chart in charts] == [6, 6, 6]
    rows = [[cell.text for cell in line] for line in root.findall(".//tbody/tr")]
    assert ["sieve", "1.000", "6.000", "2.000", "4.000", "3.00", "2.00", "2.00"] in rows
    assert ["crc32", "1.000", "-", "-", "-", "-", "-", "-"] in rows
    assert ["all kernels", None, None, None, None, "1.22", "4.00", "1.41"] in rows


def test_bars_start_at_one_and_show_the_side() -> None:
    chart = ET.fromstring(page.chart(compared(FAST, SLOW), SPEED))
    one = chart.find(".//svg:line[@class='one']", SVG).get("x1")
    bars = {bar.get("class"): bar for bar in chart.findall(".//svg:rect", SVG)}  # the last of each side
    assert bars["good"].get("x") == one
    bad = bars["bad"]
    assert float(bad.get("x")) + float(bad.get("width")) == pytest.approx(float(one), abs=0.11)  # both are rounded


@pytest.mark.parametrize("values", [[1.0], [0.004, 3000.0], [1.1, 0.9], [0.03, 70.0]])
def test_scales_hold_their_values(values: list[float]) -> None:
    scale = page.Scale(values)
    assert 1 in scale.ticks and len([tick for tick in scale.ticks if scale.is_labelled(tick)]) >= 2
    places = [scale.x(value) for value in sorted(values)]
    assert places == sorted(places) and places[0] >= 0 and places[-1] <= page.PLOT


def environment() -> dict[str, str]:
    """With this checkout before whatever is installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def run_small(name: str) -> None:
    """Each benchmark of a module on its first and its last parameters, in the current directory; prints the figures."""
    small_kernels = {kernel: replace(guests.KERNELS[kernel], warm=1_000_000) for kernel in KERNELS}
    guests.SAMPLE, guests.KERNELS = small_kernels, {**guests.KERNELS, **small_kernels}
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
                with suppress(NotImplementedError):  # of a setup: something is not there
                    print(benchmark, *values, run_one(instance, benchmark, arguments))


def small(module: ModuleType, value: Any) -> Any:
    """A parameter, or the one that stands for it where the work was made smaller."""
    is_size = module.__name__.endswith("bench_compile") and isinstance(value, int) and value not in module.LEVELS
    return module.SIZES[0] if is_size else value


def run_one(instance: Any, benchmark: str, arguments: tuple[Any, ...]) -> float:
    """The figure of a benchmark, seconds if it is a duration."""
    getattr(instance, "setup", lambda *_: None)(*arguments)
    figures: list[Any] = []
    seconds = guests.timed(lambda: figures.append(getattr(instance, benchmark)(*arguments)))
    getattr(instance, "teardown", lambda *_: None)(*arguments)
    return float(figures[0]) if benchmark.startswith("track_") else seconds


if __name__ == "__main__":
    run_small(sys.argv[1])
