"""Plans: layers × kernels × knob values, as cases in measuring order.

In the order of the data's way: `file` reads and checks a plan file, `shapes` makes layers for a question,
`expand` finds the layers, kernels and knob values that really fit, `ordering` says what comes first, `build`
puts it together, `case` is what one row of a table measures. `whole_networks` plans networks, not layers.
"""

from dibench.plan.build import NO_LAYER, Plan, load_plan, make_plan, presets
from dibench.plan.case import DTYPE, Case, usual_case, with_knobs

__all__ = [
    "DTYPE",
    "NO_LAYER",
    "Case",
    "Plan",
    "load_plan",
    "make_plan",
    "presets",
    "usual_case",
    "with_knobs",
]
