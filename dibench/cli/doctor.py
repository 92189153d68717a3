"""`doctor`: what this machine can run and measure, what it cannot, why, and what would change that."""

from __future__ import annotations

import attrs

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, console


def doctor(json_file: Json = None) -> None:
    """Tell what this machine can run and measure; for each "no", the reason and the remedy."""
    from dibench.check.doctor import findings
    from dibench.show.machine import blocks
    from dibench.show.terminal import show

    check_json(json_file)
    found = findings()
    answer(
        json_file,
        lambda: [attrs.asdict(finding) for finding in found],
        lambda: show(console(), blocks(found)),
    )
