"""Every example runs as it is, and is short enough to be read at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
LONGEST = 40  # lines
OUTPUT = {  # something that the example says when it works
    "add_an_instruction": "a0 = 0xfffffffffffffffc",
    "page_table": "through a page table | stopped by exception 13 on 0x140000000",
    "read_memory": "168 primes at 0x",
    "run_elf": "78498 primes below 1000000",
    "walk_stages": "define",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert OUTPUT[path.stem] in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < LONGEST
    assert ast.get_docstring(ast.parse(text))
