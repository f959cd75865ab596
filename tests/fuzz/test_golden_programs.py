"""Golden files: programs that once showed a defect end in every tier as they should.

`vmjit fuzz --save tests/golden/fuzz` writes them; text.py says what stands in them.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from vmjit.debug import Settings
from vmjit.fuzz.end import differences
from vmjit.fuzz.text import ARROW, differences_text, end_text, parse_end, parse_program, program_text
from vmjit.fuzz.tiers import TIERS, Benches

FILES = sorted((Path(__file__).parents[1] / "golden" / "fuzz").glob("*.txt"))


@cache
def benches() -> Benches:
    return Benches(settings=Settings(verify=True))


def test_there_are_some() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_program_ends_as_it_should(path: Path) -> None:
    text = path.read_text()
    program = parse_program(text)
    expected = parse_end(text, program)
    for tier in TIERS:
        for precise in (False, True):
            found = benches().run(tier, replace(program, precise=precise))
            different = differences(expected, found)
            assert not different, f"{tier}, precise: {precise}\n{differences_text(different)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_as_it_is_written(path: Path) -> None:
    text = path.read_text()
    program = parse_program(text)
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith(";"))
    assert text == f"{head}{program_text(program)}{ARROW}{end_text(parse_end(text, program), program)}"
