"""What a user says about a table: which of its columns are ours, what all rows have in common."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.importing.sources import Source, read_source
from dibench.importing.units import unit_of
from dibench.schema import KINDS

_KEYS = ("map", "set", "unpack")


@attrs.frozen
class Mapping:
    """How a table becomes one of the contract; columns that have the contract's names need no word."""

    formulas: dict[tuple[str, ...], str] = attrs.field(factory=dict)
    """By the columns that each fills, the columns that it is made of, `--map`; empty: it is not filled."""
    constants: dict[str, str] = attrs.field(factory=dict)
    """Column → the text of each of its cells: `--set`."""
    unpack: tuple[str, ...] = ()
    """Columns of the table whose cells hold several values, `key=value;…` or `key:value,…`."""

    @classmethod
    def of_options(
        cls, maps: Iterable[str] = (), sets: Iterable[str] = (), unpack: Iterable[str] = ()
    ) -> Mapping:
        """From `COLUMNS=FORMULA` or the path of a TOML file, `COLUMNS=VALUE`, and names.

        Raises:
            UserError: it is neither, or a column is not of the contract or filled twice.

        >>> Mapping.of_options(["H,W=size", "time_s=t:ms"], ["dtype=fp32"]).formulas
        {('H', 'W'): 'size', ('time_s',): 't:ms'}
        """
        found = cls()
        for text in maps:
            if "=" in text:
                found = found._with("--map", {text.partition("=")[0]: text.partition("=")[2]}, {}, ())
            elif Path(text).suffix == ".toml" or Path(text).is_file():
                found = found._with(text, *_read_file(Path(text)))
            else:
                raise UserError("--map", "must be COLUMN=THEIRS[:UNIT] or a TOML file", text)
        for text in sets:
            column, sign, value = text.partition("=")
            if not sign:
                raise UserError("--set", "must be COLUMN=VALUE", text)
            found = found._with("--set", {}, {column: value}, ())
        return found._with("--unpack", {}, {}, unpack)

    def _with(self, where: str, maps: dict[str, str], sets: dict[str, str], unpack: Iterable[str]) -> Mapping:
        formulas, constants = dict(self.formulas), dict(self.constants)
        for text, formula in maps.items():
            targets = self._targets(where, text)
            if targets in formulas:
                raise UserError(where, f"must fill {targets[0]} once")
            formulas[targets] = formula.strip()
        for text, value in sets.items():
            constants |= dict.fromkeys(self._targets(where, text), value.strip())
        filled = [*constants, *(name for names in formulas for name in names)]
        for name in filled:
            if filled.count(name) > 1:
                raise UserError(where, f"must fill {name} once")
        return Mapping(formulas, constants, (*self.unpack, *unpack))

    @staticmethod
    def _targets(where: str, text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(","))
        for name in names:
            if name not in KINDS:
                close = get_close_matches(name, KINDS, n=3, cutoff=0.5)
                rule = "must fill a column of the contract, see `dibench/schema.py`"
                raise UserError(where, f"{rule}, perhaps {' or '.join(close)}" if close else rule, name)
        if len({(KINDS[name], unit_of(name)) for name in names}) > 1:
            raise UserError(where, "must fill columns of one kind and unit", text)
        return names

    def sources(self, header: Sequence[str]) -> list[Source]:
        """The formulas, read for a table with these columns.

        Raises:
            UserError: a column is not in the table, or a unit does not fit.
        """
        return [
            read_source(targets, formula, header) for targets, formula in self.formulas.items() if formula
        ]


def _read_file(path: Path) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """The tables `[map]` and `[set]`, and the list `unpack`, of a TOML file."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except ValueError as error:  # of TOML or of UTF-8
        raise UserError("", f"is not a TOML file: {error}", where=path) from None
    for key in content:
        if key not in _KEYS:
            raise UserError(key, "is not a key here; known are " + ", ".join(_KEYS), where=path)
    unpack = content.get("unpack", [])
    if not isinstance(unpack, list) or not all(isinstance(name, str) for name in unpack):
        raise UserError("unpack", "must be a list of columns", unpack, where=path)
    return _texts(path, content, "map"), _texts(path, content, "set"), tuple(unpack)


def _texts(path: Path, content: dict[str, Any], key: str) -> dict[str, str]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise UserError(key, "must be a table", table, where=path)
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{key}: {name}", "must be text or a number", value, where=path)
    return {name: str(value) for name, value in table.items()}
