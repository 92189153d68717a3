"""Backends, meters and datasets from outside this package, named `module:NAME` like Python's entry points."""

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
    return load(option, name, "callable")()


def load(option: str, name: str, what: str) -> Any:
    """Import the module and return what the name stands for in it, such as a `callable`.

    Raises:
        UserError: there is no such module or name.
    """
    module, _, inside = name.partition(":")
    try:
        return getattr(importlib.import_module(module), inside)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(option, f"must be module:{what} ({error})", name) from None
