"""dibench: how much energy a neural-network layer costs, and which description of its reuse predicts it.

In a notebook:

    import dibench

    dibench.layers("resnet50", batch=8)              # what it computes, moves and reuses
    found = dibench.fit("results/local/cpu")         # which reuse explains what was measured
    found.plot()
    dibench.predict("resnet50", fit=found, batch=[1, 8])
    with dibench.energy("training step") as spent:   # your own code
        ...

Everything is loaded when it is first used: `import dibench` alone takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dibench.api.analyse import compare as compare
    from dibench.api.analyse import explain as explain
    from dibench.api.analyse import fit as fit
    from dibench.api.analyse import layers as layers
    from dibench.api.analyse import predict as predict
    from dibench.api.own_code import energy as energy
    from dibench.errors import UserError as UserError
    from dibench.layer import Layer as Layer
    from dibench.table import load as load

__version__ = "0.1.0"

_WHERE = {
    "Layer": "dibench.layer",
    "UserError": "dibench.errors",
    "compare": "dibench.api.analyse",
    "energy": "dibench.api.own_code",
    "explain": "dibench.api.analyse",
    "fit": "dibench.api.analyse",
    "layers": "dibench.api.analyse",
    "load": "dibench.table",
    "predict": "dibench.api.analyse",
}
"""By the module that has it."""

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    """A public name, whose libraries take their time, when it is asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module 'dibench' has no attribute {name!r}")
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names: what completes."""
    return sorted([*_WHERE, "__version__"])
