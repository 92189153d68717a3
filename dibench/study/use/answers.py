"""The answers in the JSON of a fit, read back for a README."""

from __future__ import annotations

from pathlib import Path

from dibench.files import read_json_object
from dibench.study.findings.claims import Answers, Claim


def open_answers(path: Path) -> Answers | None:
    """Verdict and claims in the file that `fit … --json FILE` wrote; None where there is no such file."""
    figures = read_json_object(path)
    if figures is None:
        return None
    if "verdict_text" not in figures:
        return Answers()
    claims = tuple(Claim(**one) for one in figures["claims"])
    return Answers(figures["basis"], figures["verdict_text"], claims)
