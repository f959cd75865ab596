"""The table of targets: figures come from the files that asv keeps, and the page's prose stays as it is."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import targets  # noqa: E402

MACHINE = {"cpu": "some processor", "num_cpu": "2", "os": "Linux 6", "ram": str(8 << 30), "version": 1}
NAN = float("nan")
DECODE, READY, WIDTHS = "bench_decode.Mix.track_decode", targets.READY, targets.ACCESS
RATES, HARTS = "bench_translation.Sizes.track_walks", "bench_translation.Harts.track_two"


def stored(folder: Path, commit: str, hours: int, **results: tuple[Any, list[list[str]]]) -> None:
    """A file as asv writes it; a row ends where what follows is not there."""
    rows = {
        name: [figures, parameters, "1", 1_700_000_000_000 + hours * 3_600_000]
        for name, (figures, parameters) in results.items()
    }
    content = {"commit_hash": commit, "result_columns": ["result", "params", "version", "started_at", "samples"]}
    (folder / "host").mkdir(parents=True, exist_ok=True)
    (folder / "host" / "machine.json").write_text(json.dumps(MACHINE))
    (folder / "host" / f"{commit[:8]}-env.json").write_text(json.dumps({**content, "results": rows}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiers = [["'interpreter'", "'region'"], ["10", "50"]]
    stored(tmp_path, "aaaa" * 10, 2, **{DECODE: ([65.25], []), READY: ([0.5, 1.5, 9, 9], tiers)})
    stored(tmp_path, "bbbb" * 10, 1, **{DECODE: (None, []), READY: ([0.5, NAN, 9, 9], tiers)})
    return tmp_path


def test_results_are_those_of_a_commit_or_the_last(folder: Path) -> None:
    for commit, found in ((None, "aaaa"), ("aaaa", "aaaa"), ("bbbbbb", "bbbb")):
        results = targets.load(folder, commit)
        assert results is not None and results.commit == found * 10
    assert targets.load(folder, "cccc") is None
    assert targets.load(folder / "nothing", None) is None


def test_figures_are_found_by_parameters(folder: Path) -> None:
    results = targets.load(folder, "aaaa")
    assert results is not None
    assert results.of(DECODE) == [65.25]
    assert results.of(READY, "interpreter", (10, 50)) == [0.5, 1.5]
    assert results.of(READY, ..., 10) == [0.5, 9]
    other = targets.load(folder, "bbbb")
    assert other is not None
    for benchmark, parameters in ((DECODE, ()), (READY, ("interpreter", ...)), ("bench_none.track_it", ())):
        with pytest.raises(targets.NotMeasured):  # one failed, one has no figure for something, one is not there
            other.of(benchmark, *parameters)


def test_throughputs_and_quotients_follow_from_times() -> None:
    order = ("sequential", "aligned", "flat")
    times = {("read", 4, *order): 0.5, ("read", 8, *order): 2.0, ("read", 8, "sequential", "aligned", "tlb"): 9.0}
    rates = {("80/20", 64, "default"): 0.5, ("80/20", 4096, "default"): 2.0, ("80/20", 4096, 64): 90.0}
    harts = {("hits",): 1.25}
    bulk = {(what, size): 10.0 for what in ("numpy", "copy") for size in targets.LARGE} | {("copy", "64 KiB"): 40.0}
    figures = {WIDTHS: times, targets.BULK: bulk, RATES: rates, HARTS: harts}
    results = targets.Results(MACHINE, "a", targets.datetime.now(), {name: {**one} for name, one in figures.items()})
    assert targets.throughput("read", "flat")(results) == pytest.approx(8 / 2 * 1e9 / 2**30)
    assert targets.no_dip("read", "flat")(results) == 0.5
    assert targets.hit_rate(results) == 98
    assert targets.side_by_side("hits")(results) == 1.6
    assert targets.against_numpy("copy")(results) == 0.25


def test_the_table_says_what_is_missed_and_what_is_not_known(folder: Path) -> None:
    results = targets.load(folder, "aaaa")
    assert results is not None
    lines = targets.table(results)
    assert "commit aaaaaaaaaaaa, 2023-11-15, on a host with 2 processors, some processor," in lines[0]
    assert lines[1] == "8 GiB, Linux 6. Of 2 figures that have a target, 1 miss it."
    assert "| native decoding of an RV64GC mix | at most 70 ns | 65.2 | |" in lines
    assert "| code ready to run, below 100 instructions | at most 1 ms | 1.5 | **missed** |" in lines
    assert "| map a page | at most 1 us | - | not measured |" in lines
    assert all(len(line) <= 120 for line in lines)


def test_only_what_is_between_the_comments_is_replaced() -> None:
    text = f"before\n{targets.BEGIN}\nold\n{targets.END}\nafter\n"
    changed = targets.with_table(text, ["new"])
    assert changed == text.replace("old", "new")
    assert targets.with_table(changed, ["new"]) == changed
    with pytest.raises(ValueError, match="no place"):
        targets.with_table("nothing", [])


def test_the_page_has_the_table_of_these_targets() -> None:
    page = targets.PAGE.read_text()
    shown = page.partition(targets.BEGIN)[2].partition(targets.END)[0]
    rows = [line.split(" | ")[:2] for line in shown.splitlines() if line.startswith("| ")][1:]
    assert rows == [[f"| {target.about}", target.limit] for target in targets.TARGETS], "python -m benchmarks.targets"


def test_targets_name_benchmarks_that_there_are() -> None:
    """Each target asks for some; what it asks for is a benchmark with as many parameters, and values that it has."""
    from itertools import product

    class Asked(targets.Results):
        def of(self, benchmark: str, *wanted: Any) -> list[float]:
            module, name, method = benchmark.split(".")
            found = getattr(__import__(f"benchmarks.{module}", fromlist=[name]), name)
            assert hasattr(found, method)
            every = list(product(*getattr(found, "params", ())))
            chosen = [one for one in every if all(targets.matches(*pair) for pair in zip(one, wanted, strict=True))]
            assert chosen, (benchmark, wanted)
            return [1.0] * len(chosen)

    for target in targets.TARGETS:
        assert target.measured(Asked(MACHINE, "a", targets.datetime.now(), {})) is not None, target
