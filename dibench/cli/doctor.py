"""`doctor`: what this machine can run and measure, what it cannot, why, and what would change that."""

from __future__ import annotations

import attrs

from dibench.cli.options import Full, Json, check_json
from dibench.cli.output import answer, console


def doctor(json_file: Json = None, full: Full = False) -> None:
    """Tell what this machine can run and measure; with --full, of each "no" the remedy."""
    from dibench.check.doctor import findings
    from dibench.show import machine
    from dibench.show.terminal import show

    check_json(json_file)
    found = findings()
    told = machine.full(found) if full else machine.brief(found)
    answer(
        json_file,
        lambda: [attrs.asdict(finding) for finding in found],
        lambda: show(console(), told),
    )
