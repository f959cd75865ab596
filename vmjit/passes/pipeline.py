"""The passes of a compiled region, in order. A stage is removed by deleting its line."""

from collections.abc import Callable

from vmjit.ir.block import Region
from vmjit.passes import access, bounds, dead, flow, fold, hoist, kinds, promote, sink

Pass = Callable[[Region], Region]

PIPELINE: tuple[tuple[str, Pass], ...] = (
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
