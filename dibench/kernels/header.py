"""Reads the header of a kernel file: its first comment, with a line of summary and a TOML table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from dibench.errors import UserError
from dibench.kernels.formula import Formula, Scope


def read_header(path: Path, mark: str) -> tuple[str, dict[str, Any]]:
    """The summary in a file's first comment, and the fields of the table below `[mark]` in it.

    Raises:
        UserError: there is no such comment or table; the message names the file.
    """
    try:
        comment = re.match(r"\s*/\*(.*?)\*/", path.read_bytes().decode("utf-8"), re.DOTALL)
    except UnicodeDecodeError as error:
        raise UserError("", f"is not text in UTF-8: {error}", where=path) from None
    text, found, table = comment[1].partition(f"\n[{mark}]\n") if comment else ("", "", "")
    if not found:
        raise UserError(f"[{mark}]", "must stand in the first comment of a kernel file", where=path)
    try:
        fields = tomllib.loads(table)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"[{mark}]", f"must be TOML: {error}", where=path) from error
    return " ".join(text.strip().partition("\n")[0].split()), fields


def read_formula(field: str, text: Any, scope: Scope, path: Path) -> Formula:
    """The formula of a field.

    Raises:
        UserError: it breaks a rule of formulas; the message names file, field and rule.
    """
    try:
        return Formula.parse(str(text), scope)
    except ValueError as error:
        raise UserError(field, str(error), where=path) from error
