"""What `python -m benchmarks.publish` makes shows graphs in a real browser, and asks nobody but its own server."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import browser  # noqa: E402

from benchmarks import publish  # noqa: E402

needs_asv = pytest.mark.skipif(find_spec("asv") is None, reason="needs asv: pip install -e '.[bench]'")
needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium (Debian: chromium)")

SIZES = {"'10'": (30.0, 29.0, 31.0, 20.0), "'500'": (50.0, 52.0, 51.0, 49.0)}  # a benchmark's figures, commit by commit
MACHINE = {"arch": "x86_64", "cpu": "one of these days", "machine": "host", "num_cpu": "2", "os": "Linux", "ram": "1"}
ENVIRONMENT = {"python": "3.11"}
BENCHMARK = {
    "code": "def track_compile(): ...",
    "name": "bench_compile.Stages.track_compile",
    "param_names": ["instructions"],
    "params": [list(SIZES)],
    "type": "track",
    "unit": "us per guest instruction",
    "version": "1",
}
GRAPH = f"#{BENCHMARK['name']}"
COLOURED = """(() => {  // pixels of the drawn lines: those of the axes and of the grid are grey
    const canvas = document.querySelector('#main-graph canvas.flot-base');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4) {
        const color = [pixels[i], pixels[i + 1], pixels[i + 2]];
        count += pixels[i + 3] > 100 && Math.max(...color) - Math.min(...color) > 60;
    }
    return count;
})()"""
POINTS = "$('#main-graph').data('plot').getData().map(line => line.data.map(point => point[1]))"
TICKS = "Array.from(document.querySelectorAll('#main-graph .flot-tick-label')).map(tick => tick.textContent)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages of a few results, published from a repository of as many commits."""
    folder = tmp_path_factory.mktemp("history")
    store(folder, commits(folder, len(SIZES["'10'"])))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.publish", "--no-pull"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "pages"


def commits(folder: Path, count: int) -> list[str]:
    """A repository's commits, the oldest first, one a day."""
    author = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str, day: int = 1) -> str:
        when = {f"GIT_{who}_DATE": f"2024-05-{day:02}T12:00:00Z" for who in ("AUTHOR", "COMMITTER")}
        command = ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(command, env={**os.environ, **author, **when}, check=True, stdout=-1, text=True).stdout

    git("init", "-q", "-b", "main")
    for number in range(count):
        git("commit", "-q", "--allow-empty", "-m", f"commit {number}", day=number + 1)
    return git("rev-list", "--reverse", "HEAD").split()


def store(folder: Path, hashes: list[str]) -> None:
    """Results as asv keeps them, and its configuration."""
    configuration = {
        "version": 1,
        "project": "vmjit",
        "repo": ".",
        "branches": ["main"],
        "environment_type": "existing",
    }
    (folder / "asv.conf.json").write_text(
        json.dumps({**configuration, "results_dir": "results", "html_dir": "pages", "benchmark_dir": "."})
    )
    (folder / "results" / "host").mkdir(parents=True)
    (folder / "results" / "benchmarks.json").write_text(json.dumps({BENCHMARK["name"]: BENCHMARK, "version": 2}))
    (folder / "results" / "host" / "machine.json").write_text(json.dumps({**MACHINE, "version": 1}))
    for number, commit in enumerate(hashes):
        result = {
            "commit_hash": commit,
            "env_name": "env",
            "date": 1_714_564_800_000 + number * 86_400_000,  # ms
            "params": {**MACHINE, **ENVIRONMENT},
            "python": "3.11",
            "requirements": {},
            "env_vars": {},
            "result_columns": ["result", "params", "version"],
            "results": {BENCHMARK["name"]: [[values[number] for values in SIZES.values()], [list(SIZES)], "1"]},
            "durations": {},
            "version": 2,
        }
        (folder / "results" / "host" / f"{commit[:8]}-env.json").write_text(json.dumps(result))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of that folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@needs_asv
@needs_chromium
def test_a_graph_is_drawn_and_nothing_comes_from_elsewhere(pages: Path) -> None:
    with served(pages) as address, browser.browser() as page:
        page.open(address + GRAPH)
        page.wait_for(f"{COLOURED} > 100")
        assert sorted(page.value(POINTS)) == sorted(map(list, SIZES.values()))
        assert {"20.0", "40.0"} <= set(page.value(TICKS))
        assert page.value("document.title") and page.problems == []
        assert [request for request in page.requests if not request.startswith(address)] == []
        assert len([request for request in page.requests if f"/{publish.FOLDER}/" in request]) == len(publish.FILES)


@needs_asv
@needs_chromium
def test_the_other_pages_show_their_tables(pages: Path) -> None:
    with served(pages) as address, browser.browser() as page:
        for name, element in (("", "#summarygrid-display canvas"), ("summarylist", "#summarylist-body td")):
            page.open(f"{address}#/{name}" if name else address)
            page.wait_for(f"document.querySelectorAll({element!r}).length > 0")
        page.open(f"{address}#/regressions")
        page.wait_for("document.querySelector('#regressions-body').textContent.length > 0")
        assert page.problems == []
        assert [request for request in page.requests if not request.startswith(address)] == []


@needs_asv
def test_pages_name_no_other_server_for_what_they_load(pages: Path) -> None:
    for page in pages.glob("*.html"):
        assert re.findall(r'<(?:script|link|img)\b[^>]*"(?:https?:)?//[^>]*>', page.read_text()) == [], page
    for name in publish.FILES.values():
        assert (pages / publish.FOLDER / name).stat().st_size > 1000


@needs_asv
def test_our_files_are_those_that_asv_asks_for() -> None:
    """asv's page has digests, which our files have too, but where a package has another form or version of one."""
    import asv

    page = (Path(asv.__file__).parent / "www" / "index.html").read_text()
    asked = re.findall(r'(?:src|href)="(https:[^"]*)" integrity="(sha\d+)-([^"]*)"', page)
    assert {address for address, _, _ in asked} == publish.FILES.keys()
    others = set()
    for address, kind, digest in asked:
        content = (publish.CHARTS / publish.FILES[address]).read_bytes()
        if base64.b64encode(hashlib.new(kind, content).digest()).decode() != digest:
            others.add(publish.FILES[address])
    flot = {f"jquery.flot{part}.js" for part in ("", ".time", ".selection", ".categories")}  # ours is not minified
    assert others == flot | {"stupidtable.min.js"}


def test_pages_are_changed_where_they_load_something_only() -> None:
    known = next(iter(publish.FILES))
    page = (
        f'<script src="{known}" integrity="sha256-x" crossorigin="anonymous" onerror="f()"></script><a href="{known}">'
    )
    local = f'<script src="charts/{publish.FILES[known]}" onerror="f()"></script><a href="{known}">'
    assert publish.localised(page) == local
    with pytest.raises(publish.UnknownLibrary, match=r"loads https://cdn\.example/new\.js"):
        publish.localised(page + '<link rel="x" href="https://cdn.example/new.js">')
