"""What a machine can run and measure, area by area, and what would change the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.show.blocks import Block, Cell, Column, Headline, Sentence, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.check.doctor import Finding


def brief(found: Sequence[Finding]) -> list[Block]:
    """What works here, whether others disturb it, what to do next; then all that was looked at."""
    quiet = next((one for one in found if one.what == "quiet"), None)
    busy = quiet is not None and not quiet.ok
    sure = "How sure: nothing was measured yet; the machine is quiet enough for it."
    if quiet is not None and busy:
        sure = f"How sure: other work runs now ({quiet.seen}), which disturbs measurements: {quiet.remedy}."
    works = [[one.area, "yes" if one.ok else Cell("no", "warn"), one.what, one.seen] for one in found]
    heads = (
        Column("", text=True, rank=1), Column("works", text=True), Column("what", text=True),
        Column("seen", text=True, wraps=True),
    )  # fmt: skip
    table = Table("What was looked at", heads, works, "`--full` says how to mend each `no`.")
    return [_summary(found), Sentence(sure, "warn" if busy else ""), Sentence(_next(found)), table]


def full(found: Sequence[Finding]) -> list[Block]:
    """The same sentences, then a table of each area with its remedies."""
    areas = dict.fromkeys(finding.area for finding in found)
    return [
        *brief(found)[:3],
        *(_area(area, [one for one in found if one.area == area]) for area in areas),
    ]


def _next(found: Sequence[Finding]) -> str:
    """The remedy without which nothing runs, or a first measurement."""
    by_name = {one.what: one for one in found}
    driver, cupy, kernels = (by_name[what] for what in ("NVIDIA driver", "CuPy", "CPU kernels"))
    if driver.ok and not cupy.ok:
        return f"Next: for the GPU, {cupy.remedy}."
    if not kernels.ok and not driver.ok:
        return f"Next: {kernels.remedy}."
    return "Next: `python -m dibench measure resnet50/layer1.0.conv2`."


def _area(area: str, found: Sequence[Finding]) -> Table:
    columns = (Column("works", text=True), Column("what", text=True), Column("seen", text=True, wraps=True))
    rows = [["yes" if one.ok else Cell("no", "warn"), one.what, one.seen] for one in found]
    remedies = "\n".join(f"{one.what}: {one.remedy}" for one in found if one.remedy)
    return Table(f"**{area}**", columns, rows, note=f"Remedies:\n{remedies}" if remedies else "")


def _summary(findings: Sequence[Finding]) -> Headline:
    able = {finding.what: finding.ok for finding in findings}
    kernels = [what for what in ("CPU kernels", "CUDA kernels") if able[what]]
    if not kernels:
        return Headline("No kernels run here: nothing can be measured.", "bad")
    runs = " and ".join(kernels)
    sensors = [what for what in ("RAPL", "nvml_counter", "nvml_power") if able[what]]
    if sensors:
        return Headline(
            f"{runs} run here; their time and energy are measured, energy by {', '.join(sensors)}."
        )
    return Headline(f"{runs} run here and their time is measured; no sensor of energy can be read.", "warn")
