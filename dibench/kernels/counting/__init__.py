"""Named helpers of the count formulas in the kernels' `[variant]` headers.

Formulas are Python expressions over a layer's dimensions and a case's knobs; what needs more than
arithmetic has a name here: in `positions` what every kernel may need, in `cpu` and `cuda` what belongs to
kernels of one family. A helper whose first parameter is called `layer` is given the layer by itself: a header
writes `tiles_touched(tile_p)`. All results are exact counts, of one instance of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dibench.kernels.counting import cpu, cuda, positions

HELPERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        name: helper
        for module in (positions, cpu, cuda)
        for name, helper in vars(module).items()
        if callable(helper)
        and not name.startswith("_")
        and getattr(helper, "__module__", "") == module.__name__
    }
)
"""Every public function of the three modules, by name."""
