"""The passes of a compiled region, in order, by memory model. A stage is removed by deleting its line."""

from collections.abc import Callable

from vmjit.ir.block import Region
from vmjit.passes import access, bounds, dead, flow, fold, hoist, kinds, lookup, nearby, promote, sink

Pass = Callable[[Region], Region]

Pipeline = tuple[tuple[str, Pass], ...]

PIPELINE: Pipeline = (
    ("access", access.run),
    ("promote", promote.run),
    ("flow", flow.run),
    ("fold", fold.run),
    ("kinds", kinds.run),
    ("hoist", hoist.run),
    ("bounds", bounds.run),
    ("clean", flow.run),
    ("dead", dead.run),
    ("sink", sink.run),
)
TLB_PIPELINE: Pipeline = (
    ("lookup", lookup.run),
    ("promote", promote.run),
    ("flow", flow.run),
    ("fold", fold.run),
    ("kinds", kinds.run),
    ("nearby", nearby.run),
    ("clean", flow.run),
    ("dead", dead.run),
    ("sink", sink.run),
)
PIPELINES = {"flat": PIPELINE, "tlb": TLB_PIPELINE}  # by Settings.memory
