"""verify() on regions with one thing changed at random: what it lets pass can be lowered and run, and it never fails.

MUTANTS=5000 asks for that many.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from random_ir import LAYOUT, Shape, random_region

from vmjit.codegen.lower import lower_region
from vmjit.codegen.native import why_not_native
from vmjit.errors import VerifyError
from vmjit.ir.block import Edge, Region, Terminator, Value
from vmjit.ir.interpret import compile_region
from vmjit.ir.ops import CHAINS, OPS, ORDERS, ROUNDINGS, TERMINATORS
from vmjit.ir.parser import parse_region
from vmjit.ir.types import WIDTH
from vmjit.ir.verify import verify, verify_or_raise
from vmjit.jit.compiler import Compiler

MUTANTS = int(os.environ.get("MUTANTS", "800"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))
SHAPE = Shape(size=12, counter="steps", bound=40)
# Fields and the clock have no place in a compiled region; the verifier does not know what a region is for.
ELSEWHERE = frozenset(("field", "clock"))

Mutate = Callable[[random.Random, Region], None]


def values_of(region: Region) -> list[Value]:
    return [value for block in region.blocks for value in (*block.params, *block.ops)]


def place(chance: random.Random, region: Region) -> tuple[list[Value], int]:
    """A block's operations and an index of one."""
    ops = chance.choice([block for block in region.blocks if block.ops]).ops
    return ops, chance.randrange(len(ops))


def some_edge(chance: random.Random, region: Region) -> Edge:
    return chance.choice([edge for block in region.blocks for edge in block.end.edges])


def change_operand(chance: random.Random, region: Region) -> None:
    value = chance.choice([value for value in values_of(region) if value.args])
    args = list(value.args)
    args[chance.randrange(len(args))] = chance.choice(values_of(region))
    value.args = tuple(args)


def change_operand_to_like(chance: random.Random, region: Region) -> None:
    """The type stays as it was: only the place can be wrong."""
    value = chance.choice([value for value in values_of(region) if value.args])
    index = chance.randrange(len(value.args))
    like = [other for other in values_of(region) if other.type == value.args[index].type]
    value.args = (*value.args[:index], chance.choice(like), *value.args[index + 1 :])


def change_count(chance: random.Random, region: Region) -> None:
    value = chance.choice(values_of(region))
    value.args = value.args[:-1] if chance.random() < 0.5 else (*value.args, chance.choice(values_of(region)))


def change_type(chance: random.Random, region: Region) -> None:
    chance.choice(values_of(region)).type = chance.choice((*WIDTH, None, "i7"))


def change_attribute(chance: random.Random, region: Region) -> None:
    value = chance.choice(values_of(region))
    value.attr = chance.choice((None, 0, -1, 1 << 64, 1 << 128, "r0", "limit", "", *ORDERS, *ROUNDINGS))


def change_operation(chance: random.Random, region: Region) -> None:
    chance.choice(values_of(region)).op = OPS[chance.choice([name for name in OPS if name not in ELSEWHERE])]


def drop(chance: random.Random, region: Region) -> None:
    ops, index = place(chance, region)
    del ops[index]


def double(chance: random.Random, region: Region) -> None:
    ops, index = place(chance, region)
    others, at = place(chance, region)
    others.insert(at, ops[index])


def move(chance: random.Random, region: Region) -> None:
    ops, index = place(chance, region)
    value = ops.pop(index)
    others = chance.choice(region.blocks).ops
    others.insert(chance.randint(0, len(others)), value)


def change_edge(chance: random.Random, region: Region) -> None:
    edge = some_edge(chance, region)
    kind = chance.randrange(4)
    if kind == 0:
        edge.block = chance.choice(region.blocks)
    elif kind == 1:
        edge.args = edge.args[1:]
    elif kind == 2:
        edge.args = (*edge.args, chance.choice(values_of(region)))
    else:
        edge.args = tuple(chance.choice(values_of(region)) for _ in edge.args)


def change_params(chance: random.Random, region: Region) -> None:
    block = chance.choice(region.blocks)
    if block.params and chance.random() < 0.5:
        block.params.pop()
    else:
        block.add_param(chance.choice(tuple(WIDTH)))


def change_terminator(chance: random.Random, region: Region) -> None:
    block = chance.choice(region.blocks)
    end = block.end
    kind = chance.randrange(5)
    if kind == 0:
        block.terminator = None
    elif kind == 1:
        kinds = (*TERMINATORS, "halt")
        block.terminator = Terminator(chance.choice(kinds), end.args, end.edges, end.attr, end.cases)
    elif kind == 2:
        end.args = tuple(chance.choice(values_of(region)) for _ in end.args)
    elif kind == 3:
        end.attr = chance.choice((None, "limit", "halt", *CHAINS))
    else:
        end.edges = end.edges[1:]


def change_cases(chance: random.Random, region: Region) -> None:
    end = chance.choice(region.blocks).end
    end.cases = chance.choice(((0,), (0, 0), (1 << 64,), (-1,), end.cases[1:], (*end.cases, 77)))


def change_entries(chance: random.Random, region: Region) -> None:
    pc = chance.choice((*region.entries, 0x9000, -4, 1 << 64))
    region.entries[pc] = chance.choice(region.blocks)


def change_blocks(chance: random.Random, region: Region) -> None:
    kind = chance.randrange(3)
    block = chance.choice(region.blocks)
    if kind == 0:
        region.blocks.remove(block)
    elif kind == 1:
        block.name = chance.choice((region.blocks[0].name, "", "a b", "b.c"))
    else:
        region.blocks.insert(0, block)


MUTATIONS: tuple[Mutate, ...] = (
    change_operand,
    change_operand_to_like,
    change_count,
    change_type,
    change_attribute,
    change_operation,
    drop,
    double,
    move,
    change_edge,
    change_params,
    change_terminator,
    change_cases,
    change_entries,
    change_blocks,
)


def is_native(region: Region) -> bool:
    registers = {*LAYOUT.offsets, *LAYOUT.bases}
    return all(
        not why_not_native(value) and (value.op.attr not in ("register", "file") or value.attr in registers)
        for value in values_of(region)
    )


def test_what_is_let_pass_can_be_lowered_and_run() -> None:
    compiler = Compiler()
    passed, refused, lowered = Counter[str](), Counter[str](), 0
    for seed in range(FIRST, FIRST + MUTANTS):
        chance = random.Random(seed)
        region = random_region(seed // 10, SHAPE)
        mutate = chance.choice(MUTATIONS)
        with suppress(IndexError):  # there is nothing of the kind to change
            mutate(chance, region)
        if verify(region):
            refused[mutate.__name__] += 1
            with pytest.raises(VerifyError):
                verify_or_raise(region, after=mutate.__name__)
            continue
        passed[mutate.__name__] += 1
        text = str(region)
        assert str(parse_region(text)) == text, f"seed {seed}, {mutate.__name__}"
        if is_native(region):
            lowered += 1
            compile_region(region, LAYOUT)
            with compiler._module(lower_region(region, LAYOUT), verify=True):
                pass
    assert {mutate.__name__ for mutate in MUTATIONS} == set(refused), refused
    assert lowered > MUTANTS // 10, (lowered, passed)
