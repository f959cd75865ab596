"""Golden files: `tests/golden/<stage>/…/<case>.ir` says what a stage makes of a text; no Python is needed to add one.

    ; passes: fold, dead          lines `; key: value` on top are the header that the stage gets
    <text before>
    =>
    <text after>

Without `=>` the text must come back as it is. `pytest --bless` rewrites what differs: read the diff before a commit.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
ARROW = "=>\n"

Stage = Callable[[dict[str, str], str], str]


def run_text(header: dict[str, str], before: str) -> str:
    """text/: parse, print."""
    from vmjit.ir.parser import parse_region

    return str(parse_region(before))


def run_verify(header: dict[str, str], before: str) -> str:
    """verify/: parse; the problems found, one line each."""
    from vmjit.ir.parser import parse_region
    from vmjit.ir.verify import verify

    return "".join(f"{problem}\n" for problem in verify(parse_region(before)))


def run_passes(header: dict[str, str], before: str) -> str:
    """passes/: parse, run the passes that the header names; the result is sound."""
    from vmjit.ir.parser import parse_region
    from vmjit.ir.verify import verify_or_raise

    region = parse_region(before)
    for name in header["passes"].split(", "):
        region = import_module(f"vmjit.passes.{name}").run(region)
        verify_or_raise(region, after=name)
    return str(region)


STAGES: dict[str, Stage] = {"text": run_text, "verify": run_verify, "passes": run_passes}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expectations of golden files")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "GoldenFile | None":
    if file_path.suffix != ".ir" or GOLDEN not in file_path.parents:
        return None
    return GoldenFile.from_parent(parent, path=file_path)


class GoldenFile(pytest.File):
    def collect(self) -> "Iterator[GoldenCase]":
        yield GoldenCase.from_parent(self, name=self.path.stem)


class GoldenMismatch(Exception):
    """The stage gave another text; the argument is the difference."""


class GoldenCase(pytest.Item):
    def runtest(self) -> None:
        head, body = split_header(self.path.read_text())
        before, arrow, after = body.partition(ARROW)
        stage = STAGES[self.path.relative_to(GOLDEN).parts[0]]
        result = stage(dict(re.findall(r"^; (\w+): (.*)$", head, re.MULTILINE)), before)
        expected = after if arrow else before
        if result == expected:
            return
        if not self.config.getoption("--bless"):
            lines = difflib.unified_diff(expected.splitlines(), result.splitlines(), "expected", "found", lineterm="")
            raise GoldenMismatch("\n".join(lines))
        self.path.write_text(head + before + ARROW + result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, GoldenMismatch):
            return f"{self.path}\n{excinfo.value}"
        excinfo.traceback = excinfo.traceback.cut(path=__file__)
        return str(excinfo.getrepr(style="short"))

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, str(self.path.relative_to(GOLDEN))


def split_header(text: str) -> tuple[str, str]:
    """The comment lines on top, and the rest."""
    found = re.match(r"(;.*\n)*", text)
    assert found is not None
    return found[0], text[found.end() :]
