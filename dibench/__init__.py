"""dibench: how much energy a neural-network layer costs, and which description of its reuse predicts it.

In a notebook:

    import dibench

    dibench.layers("resnet50", batch=8)              # what it computes, moves and reuses
    dibench.measure("resnet50/layer1.0.conv2")       # what one layer costs here
    rows = dibench.sweep("networks", out="results/local/networks", time_budget="9m")
    found = dibench.fit(rows)                        # which reuse explains what was measured
    found.plot()
    dibench.predict("resnet50", fit=found, batch=[1, 8])
    with dibench.energy("training step") as spent:   # your own code
        ...

Everything is loaded when it is first used: `import dibench` alone takes no time.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dibench.api.acquire import measure as measure
    from dibench.api.acquire import sweep as sweep
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
    "measure": "dibench.api.acquire",
    "predict": "dibench.api.analyse",
    "sweep": "dibench.api.acquire",
}
"""By the module that has it."""

_ALSO_PACKAGES = ("measure", "sweep")
"""Functions whose names packages have, too: Python binds the package to it once that is imported."""

__all__ = list(_WHERE)


def _public(name: str) -> Any:
    """The thing of that name from its module."""
    return getattr(import_module(_WHERE[name]), name)


def __getattr__(name: str) -> Any:
    """A public name, whose libraries take their time, when it is asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module 'dibench' has no attribute {name!r}")
    if name in _ALSO_PACKAGES:  # importing it sets the attribute, see _Root
        import_module(f"dibench.{name}")
    else:
        globals()[name] = _public(name)
    return globals()[name]


def __dir__() -> list[str]:
    """The public names: what completes."""
    return sorted([*_WHERE, "__version__"])


def _callable(package: ModuleType, name: str) -> ModuleType:
    """The package, which can also be called as the function of its name, and has its docstring."""

    class Callable(ModuleType):
        """A package that can be called."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return _public(name)(*args, **kwargs)

        @property
        def __signature__(self) -> Any:
            from inspect import signature

            return signature(_public(name))

        @property
        def __doc__(self) -> str | None:  # type: ignore[override]  # of the function
            return str(_public(name).__doc__)

    package.__class__ = Callable
    return package


class _Root(ModuleType):
    """Makes the packages of `_ALSO_PACKAGES` callable when Python binds them to their names here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALSO_PACKAGES and isinstance(value, ModuleType):
            value = _callable(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root
