"""Random programs end alike in every tier: stop, registers, floating-point flags, count of instructions and memory.

RANDOM_PROGRAMS=1000 asks for that many, RANDOM_SEED=5000 for others.
"""

import os

import pytest
from machines import CODE, DATA, PAGE, guest_named, harts, registers, set_registers
from random_programs import Program, random_state

from vmjit.engine.hart import Hart, Tier

COUNT = int(os.environ.get("RANDOM_PROGRAMS", "160"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
GROUP = 8  # programs of one test
LIMIT = 20_000  # instructions: no program is that long
TIERS = (Tier.REFERENCE, Tier.INTERPRETER, Tier.JIT)

End = dict[str, object]


def end_of(seed: int, tier: Tier) -> tuple[End, Hart]:
    """Everything that can be seen of a program after its end."""
    code = bytes(Program(seed, CODE).code)
    values, data = random_state(seed)
    with harts(code, tier, guest="riscv64") as hart:
        hart.memory.write(DATA, data)
        set_registers(hart, **values)
        hart.set_limit(LIMIT)
        stop = hart.run()
        found: End = {"reason": stop.reason.name, "pc": hex(stop.pc), "argument": hex(stop.argument)}
        found |= {name: hex(value) for name, value in registers(hart).items()}
        memory = hart.memory.read(DATA, PAGE)
        found |= {f"[{DATA + n:#x}]": memory[n : n + 8].hex() for n in range(0, PAGE, 8)}
        return found, hart


def listing(seed: int) -> str:
    """The program as text."""
    code = bytes(Program(seed, CODE).code)
    lines, at, table = [], 0, guest_named("riscv64").decode_table
    while at < len(code):
        found = table.decode(lambda pc, size: int.from_bytes(code[pc - CODE :][:size], "little"), CODE + at)
        lines.append(f"{CODE + at:#x}  {found if isinstance(found, int) else found.text(CODE + at)}")
        at += 2 if isinstance(found, int) else found.size
    return "\n".join(lines)


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, GROUP))
def test_every_tier_comes_to_the_same_end(first: int) -> None:
    compiled = 0
    for seed in range(first, first + GROUP):
        expected, _ = end_of(seed, TIERS[0])
        assert expected["reason"] != "LIMIT", f"seed {seed} does not end"
        for tier in TIERS[1:]:
            found, hart = end_of(seed, tier)
            differences = {name: (expected[name], found[name]) for name in expected if expected[name] != found[name]}
            assert not differences, f"seed {seed}, {tier.value}: {differences}\n{listing(seed)}"
            assert not hart.counters.failures, f"seed {seed}: {hart.counters.failures}"
            compiled += hart.counters.regions
    assert compiled
