"""Plans: layers × kernels × knob values, as cases in measuring order.

In the order of the data's way: `file` reads a plan file, `table` by table; `layers` finds its layers,
`shapes` makes those for a question; `boxes` are knob values as numbers on a layer, `expand` keeps what really
fits; `ordering` says what comes first, `build` puts it together, `case` is what one row of a table measures.
A `shard` is one machine's part. `whole_networks` plans networks, not layers.
"""

from dibench.plan.build import ANCHOR_LAYER, Plan, load_plan, make_plan, presets
from dibench.plan.case import DTYPE, Case, usual_case, with_knobs

__all__ = [
    "ANCHOR_LAYER",
    "DTYPE",
    "Case",
    "Plan",
    "load_plan",
    "make_plan",
    "presets",
    "usual_case",
    "with_knobs",
]
