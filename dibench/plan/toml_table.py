"""Reads a table of a TOML file key by key; a wrong value or an unknown key is refused by name.

A reader such as `whole_number` returns the checked value or raises ValueError(rule, value), from which the
table makes a UserError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from dibench.errors import UserError

_LARGEST = 2**31 - 1


class TomlTable:
    """A TOML table. Its keys are taken one by one; `finish` refuses what is left."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise UserError(where, "must be a table", content)
        self.content = content
        self._where = where
        self._taken: list[str] = []

    def take(self, key: str, read: Callable[[Any], Any], *default: Any) -> Any:
        """The value of a key as `read` returns it; without a default the key must be there.

        Raises:
            UserError: the key is missing, or its value breaks the reader's rule.
        """
        self._taken.append(key)
        field = f"{self._where}: {key}" if self._where else key
        if key not in self.content:
            if default:
                return default[0]
            raise UserError(field, "must be given")
        try:
            return read(self.content[key])
        except ValueError as error:
            rule, value = error.args
            raise UserError(field, rule, value) from None

    def finish(self, known: Sequence[str] | None = None) -> None:
        """Refuse keys that were not taken, or that are not `known`.

        Raises:
            UserError: names the key, and a similar one where there is one.
        """
        known = known or self._taken
        for key in self.content:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"perhaps {close[0]}" if close else "known are " + ", ".join(known)
                raise UserError(f"{self._where}: {key}" if self._where else key, f"is not a key here; {hint}")


def whole_number(value: Any) -> int:
    """A whole number from 0 to 2^63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number", value)
    if not 0 <= value < 2**63:
        raise ValueError(f"must be from 0 to {2**63 - 1}", value)
    return value


def positive_number(value: Any) -> int:
    """A whole number from 1 to 2^31 - 1."""
    if not 1 <= whole_number(value) <= _LARGEST:
        raise ValueError(f"must be from 1 to {_LARGEST}", value)
    return int(value)


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false", value)
    return value


def some_text(value: Any) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text, not empty", value)
    return value


def a_table(value: Any) -> dict[str, Any]:
    """A table, written with […] or {…}."""
    if not isinstance(value, dict):
        raise ValueError("must be a table", value)
    return value


def some_tables(value: Any) -> list[Any]:
    """One table or more, written with [[…]]."""
    if not isinstance(value, list) or not value:
        raise ValueError("must be one table or more, written with [[…]]", value)
    return value


def one_of(known: Sequence[str], what: str = "one") -> Callable[[Any], str]:
    """A reader of one of these words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be {what} of " + (", ".join(known) or "which there is none"), value)
        return value

    return read


def list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """One value or a list of them, at least one; repeated ones count once."""

    def read_all(value: Any) -> tuple[Any, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("must not be an empty list", value)
        return tuple(dict.fromkeys(read(one) for one in values))

    return read_all
