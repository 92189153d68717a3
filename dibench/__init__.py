"""dibench: how much energy a neural-network layer costs, and which description of its reuse predicts it.

In a notebook:

    import dibench

    frame = dibench.load("results/local/cpu/sweep.csv")
    found = dibench.fit(frame)
    print(found.summary())
    found.plot()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dibench.notebook import fit as fit
    from dibench.table import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load` and `fit`, whose libraries take their time, when they are asked for."""
    modules = {"load": "dibench.table", "fit": "dibench.notebook"}
    if name not in modules:
        raise AttributeError(f"module 'dibench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(modules[name]), name)
