"""What a machine can run and measure, area by area, and what would change the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.show.blocks import Block, Cell, Column, Sentence, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.check.doctor import Finding


def blocks(found: Sequence[Finding]) -> list[Block]:
    """A table of each area with its remedies, then all of it in one sentence."""
    areas = dict.fromkeys(finding.area for finding in found)
    return [*(_area(area, [one for one in found if one.area == area]) for area in areas), _summary(found)]


def _area(area: str, found: Sequence[Finding]) -> Table:
    columns = (Column("works", text=True), Column("what", text=True), Column("seen", text=True, wraps=True))
    rows = [["yes" if one.ok else Cell("no", "warn"), one.what, one.seen] for one in found]
    remedies = "\n".join(f"{one.what}: {one.remedy}" for one in found if one.remedy)
    return Table(f"**{area}**", columns, rows, note=f"Remedies:\n{remedies}" if remedies else "")


def _summary(findings: Sequence[Finding]) -> Sentence:
    able = {finding.what: finding.ok for finding in findings}
    kernels = [what for what in ("CPU kernels", "CUDA kernels") if able[what]]
    runs = " and ".join(kernels) or "no kernels"
    sensors = [what for what in ("RAPL", "nvml_counter", "nvml_power") if able[what]]
    energy = (
        "measured by " + ", ".join(sensors)
        if sensors
        else "not measured here; `model` computes a stand-in that says so"
    )
    return Sentence(f"In short: {runs}; time measured; energy {energy}.")
