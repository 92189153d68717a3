"""Plans: layers × kernels × knob values, as cases in measuring order.

In the order in which data flows: `file` reads a plan file with `toml_table`; `layers` finds its layers, and
`shapes` makes sets of them; `boxes` turns knob values into numbers on a layer; `expand` keeps the
combinations that fit; `ordering` orders them; `build` puts the plan together. A `case` is what one row of the
result measures, a `shard` one machine's part. `whole_networks` plans networks instead of layers. In
`stages` several plans take turns.
"""

from dibench.plan.boxes import default_box
from dibench.plan.build import ANCHOR_LAYER, Plan, load_plan, make_plan, presets
from dibench.plan.case import DTYPE, Case, usual_case, with_knobs

__all__ = [
    "ANCHOR_LAYER",
    "DTYPE",
    "Case",
    "Plan",
    "default_box",
    "load_plan",
    "make_plan",
    "presets",
    "usual_case",
    "with_knobs",
]
