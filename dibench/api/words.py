"""The command line's words as one says them in Python."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dibench.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

_HINTS = {
    r"`?--all`?\s+shows\s+every\s+one": ".to_json() has every one",
    r"\(`?--time-budget`?\)": "(time_budget)",
}
_OPTION = re.compile(r"(?P<command>`[^`]*`)|--(?P<option>[a-z][a-z-]*)")


def hints_in_python(text: str) -> str:
    """Text or HTML whose hints name options.

    >>> hints_in_python("24 of 54 layers, --all shows every one")
    '24 of 54 layers, .to_json() has every one'
    """
    for hint, instead in _HINTS.items():
        text = re.sub(hint, instead, text)
    return text


def error_in_python(text: str) -> str:
    """A message with parameters instead of options; commands in it stay as they are typed.

    >>> error_in_python("--time-budget: must be a time; `dibench fit CSV --json FILE` takes none")
    'time_budget: must be a time; `dibench fit CSV --json FILE` takes none'
    """
    return _OPTION.sub(lambda found: found["command"] or found["option"].replace("-", "_"), text)


def errors_in_python(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose errors name parameters, not options."""

    @functools.wraps(function)
    def said(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            text = error_in_python(str(error))
            if text == str(error):
                raise
            raise type(error)("", text) from None

    return said
