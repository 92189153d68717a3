"""Ids of cases: `c` and sixteen hex digits, which no spreadsheet takes for a number.

Earlier versions wrote the digits alone. Of those, `1838422662725131` and `123456789012345e` are numbers to a
spreadsheet, and to much else. They are still read, as the same cases.
"""

from __future__ import annotations

import hashlib
import re

_DIGITS_ALONE = re.compile(r"[0-9a-f]{16}")
_ROUNDED = re.compile(r"\d+([.,]\d+)?E[+-]\d+")


def id_of(key: str) -> str:
    """The id of what a text describes: the first digits of its SHA-256.

    >>> id_of("{}")
    'c44136fa355b3678a'
    """
    return "c" + hashlib.sha256(key.encode()).hexdigest()[:16]


def present_form(case_id: str) -> str:
    """The id as it is written now; what anybody else numbers cases with stays.

    >>> present_form("1838422662725131"), present_form("c44136fa355b3678a"), present_form("7")
    ('c1838422662725131', 'c44136fa355b3678a', '7')
    """
    return "c" + case_id if _DIGITS_ALONE.fullmatch(case_id) else case_id


def former_form(case_id: str) -> str:
    """The digits alone, which the SHA-256 of plans is made of: sweeps of earlier versions are resumed by it.

    >>> former_form("c44136fa355b3678a")
    '44136fa355b3678a'
    """
    return case_id.removeprefix("c")


def broken_rule(case_id: str) -> str:
    """The rule that a cell breaks in which a spreadsheet rounded an id; empty where it keeps it.

    >>> broken_rule("1.83842266272513E+15")
    'must be an id: a spreadsheet took it for a number and rounded it. Take the column of an earlier copy'
    >>> broken_rule("c44136fa355b3678a")
    ''
    """
    if not _ROUNDED.fullmatch(case_id):
        return ""
    return (
        "must be an id: a spreadsheet took it for a number and rounded it. Take the column of an earlier copy"
    )
