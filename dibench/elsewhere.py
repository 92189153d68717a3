"""Backends and meters from outside this package, named `module:callable` like Python's entry points."""

from __future__ import annotations

import importlib
from typing import Any

from dibench.errors import UserError


def is_elsewhere(name: str) -> bool:
    """Whether a name is `module:callable`.

    >>> is_elsewhere("my_lab.boards:meter"), is_elsewhere("cuda")
    (True, False)
    """
    return ":" in name


def make(option: str, name: str) -> Any:
    """Import the module, call the callable and return its result.

    Raises:
        UserError: there is no such module or callable.
    """
    module, _, factory = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), factory)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(option, f"must be module:callable ({error})", name) from None
    return found()
