"""The passes of a compiled region, in order. A stage is removed by deleting its line."""

from collections.abc import Callable

from vmjit.ir.block import Region
from vmjit.passes import access, bounds, canonical, dead, flow, fold, hoist, kinds, promote

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
    ("canonical", canonical.run),
    ("drop", dead.run),
)
