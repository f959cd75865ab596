"""Golden files: `tests/golden/<stage>/…/<case>.ir` says what a stage makes of a text; no Python is needed to add one.

    ; passes: fold, dead          lines `; key: value` on top are the header that the stage (stages.py) gets
    <text before>
    =>
    <text after>

Without `=>` the text must come back as it is. `pytest --bless` rewrites what differs: read the diff before a commit.
"""

import difflib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stages import Stage

# What a shell's background and nohup ignore, what tests start would ignore, too.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

GOLDEN = Path(__file__).parent / "golden"
ARROW = "=>\n"


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
        header: dict[str, str] = {}
        for key, value in re.findall(r"^; (\w+): (.*)$", head, re.MULTILINE):
            header[key] = f"{header[key]}\n{value}" if key in header else value
        result = stage_named(self.path.relative_to(GOLDEN).parts[0])(header, before)
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


def stage_named(name: str) -> "Stage":
    from stages import STAGES  # late, so that a broken import fails golden files only

    return STAGES[name]


def split_header(text: str) -> tuple[str, str]:
    """The comment lines on top, and the rest."""
    found = re.match(r"(;.*\n)*", text)
    assert found is not None
    return found[0], text[found.end() :]
