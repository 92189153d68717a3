"""Joules and seconds that others measured and published, as tables of the CSV contract.

Each module that has a `SOURCE` is one source: what was measured, where, on what, with which sensor, under
which licence, what it can and cannot answer, and how its files are read. dibench carries readers, never the
data: the user clones it. To add a source, add its file, here or anywhere else (docs/extending.md).
"""

from __future__ import annotations

import importlib
import pkgutil
from difflib import get_close_matches

from dibench.datasets.source import Source
from dibench.elsewhere import is_elsewhere, load
from dibench.errors import UserError


def sources() -> dict[str, Source]:
    """The sources of this folder, by name.

    >>> list(sources())
    ['cpu-layers', 'gpu-layers', 'pi5-networks', 'timm-times']
    """
    modules = (importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__))
    found = (getattr(module, "SOURCE", None) for module in modules)
    return dict(sorted((source.name, source) for source in found if isinstance(source, Source)))


def find(name: str) -> Source:
    """The source of that name, or `module:SOURCE` from elsewhere.

    Raises:
        UserError: there is none; the message names those that there are.
    """
    if is_elsewhere(name):
        found = load("NAME", name, "SOURCE")
        if not isinstance(found, Source):
            raise UserError("NAME", "must be module:SOURCE with a dibench.datasets.source.Source", name)
        return found
    known = sources()
    if name not in known:
        close = get_close_matches(name, list(known), n=1)
        hint = f", perhaps {close[0]}" if close else ""
        raise UserError("NAME", f"must be one of {', '.join(known)}, or module:SOURCE{hint}", name)
    return known[name]
