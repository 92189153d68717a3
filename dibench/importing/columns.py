"""Where each column of the contract comes from in somebody's table, and what is said where one cannot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import attrs

from dibench.cells import MISSING, parse_number, parse_whole
from dibench.errors import UserError
from dibench.importing.derived import ENERGIES, derive
from dibench.importing.mapping import Mapping as Given
from dibench.importing.sources import Source
from dibench.lookalikes import lookalikes
from dibench.schema import CHOICES, KINDS, NO_LAYER, RESPONSES, broken_rule

NEEDED = ("N", "C", "H", "W", "K", "R", "S")
DEFAULTS = {
    "stride_h": 1, "stride_w": 1, "pad_h": 0, "pad_w": 0, "dil_h": 1, "dil_w": 1, "groups": 1,
}  # fmt: skip
"""Dimensions that a table need not have."""


@attrs.frozen
class Columns:
    """Where each column of the contract comes from."""

    sources: list[Source]
    same: tuple[str, ...]
    """Columns that have the contract's names."""
    constants: dict[str, Any]
    kept: tuple[str, ...]
    """Columns that the contract does not know."""
    left_out: tuple[str, ...]
    """Columns whose names in the contract others took."""

    @classmethod
    def of(cls, header: Sequence[str], given: Given) -> Columns:
        """The columns of a table, as the user maps them.

        Raises:
            UserError: the contract needs a column that is not there, or the mapping does not fit the table.
        """
        sources = given.sources(header)
        used = {column for source in sources for column in source.columns}
        filled = {*given.constants, *(name for targets in given.formulas for name in targets)}
        known = [name for name in header if name in KINDS]
        same = tuple(name for name in known if name not in filled | used)
        kept = tuple(name for name in header if name not in KINDS)
        left_out = tuple(name for name in known if name in filled and name not in used)
        constants = {name: _constant(name, text) for name, text in given.constants.items()}
        found = cls(sources, same, constants, kept, left_out)
        found._check([name for name in kept if name not in used], header)
        return found

    @property
    def filled(self) -> set[str]:
        """Columns of the contract that something fills."""
        mapped = {name for source in self.sources for name in source.targets}
        return {*self.same, *mapped, *self.constants}

    def _check(self, unused: Sequence[str], header: Sequence[str]) -> None:
        filled = self.filled
        no_layer = self.constants.get("op") in NO_LAYER
        needed = ("dtype",) if no_layer else (*NEEDED, "dtype")
        lacking = [_lack(name, lookalikes(name, unused)) for name in needed if name not in filled]
        if not filled.intersection(RESPONSES) and self.constants.get("status") not in ("failed", "skipped"):
            close = dict.fromkeys(lookalikes("time_s", unused) + lookalikes("energy_j", unused))
            lacking.append(_lack("time_s or an energy", close))
        if filled.intersection(ENERGIES) and "energy_source" not in filled:
            lacking.append("energy_source (such as external:SENSOR)")
        if lacking:
            rule = f"must have, or get by --map or --set, {', '.join(lacking)}"
            rule += "; op, P, Q and counts are derived, and rows with --set op=network have no dimensions"
            raise UserError("header", rule, ",".join(header))
        for name, value in DEFAULTS.items():
            alike = [] if no_layer or name in filled else lookalikes(name, unused, most=1)
            if alike:
                rule = f"would be {value} although there is {alike[0]}: --map {name}={alike[0]}, or --set it"
                raise UserError(name, rule)

    def row(self, cells: Mapping[str, str], decimal: str) -> dict[str, Any]:
        """The cells of a row of the contract.

        Raises:
            UserError: it is none; the message names column, rule and value.
        """
        values: dict[str, Any] = {name: cells[name] for name in self.kept}
        values |= {name: _parsed(name, cells[name], decimal) for name in self.same}
        for source in self.sources:
            if KINDS[source.targets[0]] == "text":
                values |= dict.fromkeys(source.targets, source.texts(cells))
            else:
                numbers = zip(source.targets, source.numbers(cells, decimal), strict=True)
                values |= {name: _rounded(name, number) for name, number in numbers}
        values |= self.constants
        derive(values)
        return values


def _lack(name: str, alike: Collection[str]) -> str:
    return f"{name} (perhaps {', '.join(alike)})" if alike else name


_PARSE: dict[str, tuple[Callable[[str, str], Any], str]] = {
    "int": (parse_whole, "must be a whole number or empty"),
    "float": (parse_number, "must be a finite number or empty"),
}


@lru_cache(maxsize=4096)  # most cells repeat: each is parsed once and in memory once
def _parsed(name: str, text: str, decimal: str = ".") -> Any:
    if KINDS[name] == "text":
        return "" if text in MISSING else text
    if text in MISSING:
        return None
    parse, rule = _PARSE[KINDS[name]]
    try:
        return parse(text, decimal)
    except ValueError:
        raise UserError(name, rule, text) from None


def _constant(name: str, text: str) -> Any:
    try:
        value = _parsed(name, text)
        if name in CHOICES and (rule := broken_rule(name, value)):
            raise UserError(name, rule, text)
    except UserError as error:
        raise UserError("--set", str(error)) from None
    return value


def _rounded(name: str, number: Fraction | None) -> int | float | None:
    """The nearest double, or the whole number."""
    if number is None:
        return None
    if KINDS[name] == "float":
        try:
            return float(number)
        except OverflowError:
            raise UserError(name, "must be a number that a double holds") from None
    if number.denominator != 1 or abs(number) >= 2**63:
        raise UserError(name, "must be a whole number", float(number))
    return int(number)
