"""Each pass, and all of them, on random regions: sound afterwards, and nothing that can be observed has changed."""

import importlib
import random

import pytest
from random_regions import observe, random_region, random_registers

from vmjit.ir.block import Region
from vmjit.ir.parser import parse_region
from vmjit.ir.verify import verify, verify_or_raise

ORDERS = (("fold",), ("dead",), ("flow",), ("bounds",), ("fold", "bounds", "flow", "fold", "dead", "flow"))
REGIONS = 80


def run(name: str, region: Region) -> Region:
    result: Region = importlib.import_module(f"vmjit.passes.{name}").run(region)
    return result


def can_have_phis(region: Region) -> bool:
    """False when one terminator gives a block two different lists of arguments, which LLVM could not express."""
    for block in region.blocks:
        given = {edge.block: edge.args for edge in block.end.edges}
        if any(given[edge.block] != edge.args for edge in block.end.edges):
            return False
    return True


@pytest.mark.parametrize("passes", ORDERS, ids="-".join)
def test_random_regions_mean_the_same_after(passes: tuple[str, ...]) -> None:
    changed = 0
    for seed in range(REGIONS):
        region = random_region(seed)
        assert verify(region) == [], f"seed {seed}"
        before = str(region)
        for name in passes:
            region = run(name, region)
            verify_or_raise(region, after=name)
            assert can_have_phis(region), f"seed {seed}"
        changed += str(region) != before
        original = parse_region(before)
        chance = random.Random(seed)
        for pc in (0, *original.entries):
            for _ in range(3):
                registers = random_registers(chance)
                expected = observe(original, pc, registers)
                assert observe(region, pc, registers) == expected, f"seed {seed}, pc {pc:#x}, {registers}\n{before}"
    assert changed > REGIONS // 10


@pytest.mark.parametrize("name", ("fold", "dead", "flow", "bounds"))
def test_second_run_finds_nothing(name: str) -> None:
    for seed in range(REGIONS):
        region = run(name, random_region(seed))
        before = str(region)
        assert str(run(name, region)) == before, f"seed {seed}"
