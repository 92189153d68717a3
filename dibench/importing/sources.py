"""Where a column comes from: columns of somebody's table with units, multiplied and divided, exactly.

`latency:ms`, `power:W*time:s`, `energy:kWh/passes`, `"gpu/power":mW*0.5`: a name may hold any letters where
the table has such a column, or between double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from fractions import Fraction

import attrs

from dibench.cells import MISSING
from dibench.errors import UserError
from dibench.importing.units import Unit, unit, unit_in_name, unit_of
from dibench.schema import KINDS

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LARGEST_EXPONENT = 400  # beyond that no double is near
_SEVERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@attrs.frozen
class Term:
    """One column, or a number where `column` is empty, as a factor of a product."""

    column: str
    factor: Fraction
    """Of its unit, or the number."""
    sign: int
    """1; −1 where it divides."""


@attrs.frozen
class Source:
    """A product of terms in the unit of the columns that it fills."""

    targets: tuple[str, ...]
    terms: tuple[Term, ...]
    unit: Unit
    """Of the targets."""
    said: str
    """As the user wrote it, with the units that names told."""

    @property
    def columns(self) -> list[str]:
        """The columns of the table that it needs."""
        return [term.column for term in self.terms if term.column]

    def texts(self, cells: Mapping[str, str]) -> str:
        """What stands in the columns, with / between, as the contract names layers `network/layer`."""
        parts = [cells[column].strip() for column in self.columns]
        return "/".join(part for part in parts if part not in MISSING)

    def numbers(self, cells: Mapping[str, str], decimal: str) -> list[Fraction | None]:
        """The value of each target; None where a cell that it needs is empty.

        Raises:
            UserError: a cell is no number, or holds not as many as there are targets.
        """
        if len(self.terms) == len(self.columns) == 1 and len(self.targets) > 1:
            text = cells[self.columns[0]]
            if text not in MISSING and not _is_number(text, decimal):
                scale = self.terms[0].factor / self.unit.factor
                return [exact(part) * scale for part in self._several(text)]
        product = 1 / self.unit.factor
        for term in self.terms:
            text = cells[term.column] if term.column else "1"
            if text in MISSING:
                return [None] * len(self.targets)
            try:
                product *= (exact(text, decimal) * term.factor) ** term.sign
            except ZeroDivisionError:
                raise UserError(term.column, "must not be zero, it divides") from None
            except ValueError:
                raise UserError(term.column, "must be a finite number or empty", text) from None
        return [product] * len(self.targets)

    def _several(self, text: str) -> list[str]:
        """The numbers of `(3, 3)`, `[1, 64, 56, 56]` or `3x3`."""
        found = _SEVERAL.findall(text)
        if len(found) != len(self.targets):
            rule = f"must be a number or hold one for each of {', '.join(self.targets)}"
            raise UserError(self.terms[0].column, rule, text)
        return found


def exact(text: str, decimal: str = ".") -> Fraction:
    """The number that a text says, without rounding.

    Raises:
        ValueError: it is none, or no double is near.

    >>> exact("0.1"), exact("2,5", ",")
    (Fraction(1, 10), Fraction(5, 2))
    """
    if "_" in text or not text.isascii():
        raise ValueError(text)
    try:
        number = Decimal(text.strip().replace(decimal, "."))
    except InvalidOperation:
        raise ValueError(text) from None
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(text)
    return Fraction(number)


def _is_number(text: str, decimal: str) -> bool:
    try:
        exact(text, decimal)
    except ValueError:
        return False
    return True


@attrs.frozen
class _Factor:
    """A term as it was written."""

    column: str
    number: str
    unit: str
    sign: int


def read_source(targets: Sequence[str], text: str, header: Sequence[str]) -> Source:
    """What `--map TARGETS=TEXT` says about a table with this header.

    A column without a unit has the one that stands in its name; where no term has one, the product is in the
    unit of the targets.

    Raises:
        UserError: a column is not in the table, a unit is none or does not make the target's quantity.

    >>> source = read_source(["energy_j"], "power:W*latency_ms", ["power", "latency_ms"])
    >>> source.said, source.numbers({"power": "50", "latency_ms": "2.5"}, ".")
    ('power:W*latency_ms:ms', [Fraction(1, 8)])
    """
    try:
        factors = list(_factors(text, header))
        if KINDS[targets[0]] == "text":
            return _text_source(targets, factors)
        return _number_source(targets, factors)
    except UserError as error:
        said = " ".join(f"--map {','.join(targets)}={text}".split())
        raise UserError(said, str(error)) from None


def _number_source(targets: Sequence[str], factors: list[_Factor]) -> Source:
    wanted = unit_of(targets[0])
    named = [one.unit or ("" if wanted.is_count else unit_in_name(one.column)) for one in factors]
    units = [unit(name) if name else Unit() for name in named]
    terms, said = [], ""
    for factor, name, known in zip(factors, named, units, strict=True):
        number = exact(factor.number) if factor.number else Fraction(1)
        if not number and factor.sign < 0:
            raise UserError("", "must not divide by zero")
        terms.append(Term(factor.column, number * known.factor, factor.sign))
        operator = "" if not said else "*" if factor.sign > 0 else "/"
        said += f"{operator}{factor.column or factor.number}{name and ':' + name}"
    if not any(named):
        return Source(tuple(targets), tuple(terms), Unit(), said)
    signs = [factor.sign for factor in factors]
    joules = sum(sign * known.joules for sign, known in zip(signs, units, strict=True))
    seconds = sum(sign * known.seconds for sign, known in zip(signs, units, strict=True))
    if (joules, seconds) != (wanted.joules, wanted.seconds):
        rule = f"must make {targets[0]}, {said} does not: every column needs its unit, such as ms or mJ"
        raise UserError("", rule)
    return Source(tuple(targets), tuple(terms), wanted, said)


def _text_source(targets: Sequence[str], factors: list[_Factor]) -> Source:
    for factor in factors[1:]:
        if factor.sign > 0 or not factor.column:
            raise UserError("", f"must be columns with / between: {targets[0]} is text")
    for factor in factors:
        if factor.unit or not factor.column:
            raise UserError("", f"must be columns without a unit: {targets[0]} is text")
    terms = tuple(Term(factor.column, Fraction(1), 1) for factor in factors)
    return Source(tuple(targets), terms, Unit(), "/".join(factor.column for factor in factors))


def _factors(text: str, header: Sequence[str]) -> Iterator[_Factor]:
    rest, sign = text.strip(), 1
    while True:
        column = _column_at(rest, header)
        begun = None if column else _NUMBER.match(rest)
        number = begun[0] if begun else ""
        if not column and not number:
            name = re.split(r"[:*/]", rest)[0].strip()
            close = get_close_matches(name, header, n=2)
            rule = "must be a column of the table" + (f", perhaps {' or '.join(close)}" if close else "")
            raise UserError("", rule, name)
        quoted = 2 if column and rest.startswith('"') and not rest.startswith(column) else 0
        rest = rest[len(column or number) + quoted :].lstrip()
        named = re.match(r":\s*([^\s*/:]+)\s*", rest) if column else None
        rest = rest[named.end() :] if named else rest
        yield _Factor(column, number, named[1] if named else "", sign)
        if not rest:
            return
        if rest[0] not in "*/":
            raise UserError("", "must have *, / or :UNIT behind a column", rest)
        sign, rest = 1 if rest[0] == "*" else -1, rest[1:].lstrip()


def _column_at(text: str, header: Sequence[str]) -> str:
    """The longest column that the text begins with, quoted or with an operator behind it."""
    if quoted := re.match(r'"([^"]*)"', text):
        return quoted[1] if quoted[1] in header else ""
    begun = [name for name in header if re.match(re.escape(name) + r"\s*(?:[:*/]|$)", text)]
    return max(begun, key=len, default="")
