"""Named helpers that the formulas of several kernels' headers share.

What one kernel alone needs stands in its header's `define`. `positions` has what follows from a layer's
positions, rows and taps; `products`, `planes`, `splits` and `waves` have what a family of kernels
shares. A helper whose first parameter is called `layer` is given the layer by itself: a header writes
`tiles_touched(tile_p)`. All results are exact, of one instance of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dibench.kernels.counting import planes, positions, products, splits, waves

HELPERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        name: helper
        for module in (positions, products, planes, splits, waves)
        for name, helper in vars(module).items()
        if callable(helper)
        and not name.startswith("_")
        and getattr(helper, "__module__", "") == module.__name__
    }
)
"""Every public function of these modules, by name."""
