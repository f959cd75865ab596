"""Plan -> Region: each block of the plan is traced in turn, and each entry gets a block that leads to its first.

A separate entry block keeps what is read from the state out of loops: passes/promote.py puts it there.
"""

from itertools import zip_longest

from vmjit.engine.formation import Plan
from vmjit.engine.trace import ForwardingEmitter, RegionCpu, Tracer
from vmjit.ir.block import Block, Edge, Region, Terminator
from vmjit.ir.layout import Layout
from vmjit.passes.edit import remove_unreachable

# A loop of four instructions spends a third of its time on counting and on the check; measured with kernels/sieve.c.
UNROLLED = 32  # instructions in all copies of a block
MOST_COPIES = 4


def translate(plan: Plan, layout: Layout, tracer: Tracer, *, precise: bool = False) -> Region:
    """The IR of a region, registers still read and written one by one.

    precise: wherever an access may fault, the registers are to be in the state.
    """
    region = Region(f"x{plan.pc:x}", plan.pc)
    blocks: dict[int, Block] = {}
    for entry in plan.entries:
        region.entries[entry] = region.new_block(f"enter_{entry:x}")
    for leader in sorted(plan.leaders):
        blocks[leader] = region.new_block(f"x{leader:x}")
    for entry in plan.entries:
        region.entries[entry].terminator = Terminator("jump", edges=(Edge(blocks[entry]),))
    cpu = RegionCpu(
        ForwardingEmitter(region, region.blocks[0], precise=precise), layout, blocks, plan.targets, plan.odds
    )
    for leader, block in blocks.items():
        copies = [block]
        for number in range(1, _copies(plan, tracer, leader)):
            copies.append(region.new_block(f"{block.name}_{number}"))
        for copy, following in zip_longest(copies, copies[1:]):
            cpu.begin(copy, leader, following)
            _block(plan, cpu, leader)
    remove_unreachable(region)  # what only an entry led to that was one too many
    return region


def _copies(plan: Plan, tracer: Tracer, leader: int) -> int:
    """How often a block is made: small loops of one block run through several copies for one check of the limit."""
    count, pc = 1, leader
    while (step := plan.steps[pc]) and not step.traits.ends:
        count += 1
        pc += step.size
        if pc in plan.leaders or pc not in plan.steps or count * 2 > UNROLLED:
            return 1
    flow = tracer.flow_of(step.instruction, step.fields, pc, step.size)
    return max(1, min(MOST_COPIES, UNROLLED // count)) if leader in flow.targets else 1


def _block(plan: Plan, cpu: RegionCpu, pc: int) -> None:
    retired = 0
    while True:
        step = plan.steps[pc]
        traits = step.traits
        if traits.may_leave:
            cpu.retire(retired + (traits.ends and not traits.traps))
        cpu.step(step.instruction, step.fields, pc, step.size)
        if cpu.ended:
            return
        retired += 1
        pc += step.size
        if pc in plan.leaders or pc not in plan.steps:
            cpu.retire(retired)
            cpu.end_with(cpu.const(pc), "fall")
            return
