"""What a reader of the page must know before any number: what was measured, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.schema import MEASURED_SOURCES
from dibench.show.response import response_of

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.studies import Study

_SOURCE_NOTES = {
    "nvml_counter": "energy counter of the GPU",
    "nvml_power": "power sensor of the GPU, integrated",
    "rapl": "counters of the processor package",
    "zeus": "measured by Zeus",
    "model": "computed, not measured",
    "simulated": "test data, not measured",
    "none": "not measured on this machine",
}


def sources(rows: pd.DataFrame) -> list[str]:
    """The energy sources of the rows, the most frequent first."""
    return [str(source) for source in rows["energy_source"].value_counts().index]


def source_fact(names: list[str]) -> tuple[str, str]:
    """The energy source for the head of the page, and what it means."""
    if not names:
        return "none", "no rows"
    return " + ".join(names), "; ".join(_SOURCE_NOTES.get(name, "") for name in names).strip("; ")


def mark(study: Study) -> str:
    """What every figure of the page carries where it was not measured; else empty."""
    if "simulated" in sources(study.rows):
        return "simulated"
    adjective = response_of(study.fit).adjective
    return "" if adjective == "measured" else adjective


def banners(rows: pd.DataFrame, manifest: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What a reader must know before any number: energy that is not measured, and files that are missing."""
    present = sources(rows)
    found = []
    if "simulated" in present:
        found.append(
            _banner(
                "Simulated: a pipeline check, not evidence",
                "These rows come from a simulated device. They show that the pipeline works; no number on "
                "this page "
                "says anything about real hardware.",
            )
        )
    if "model" in present:
        found.append(
            _banner(
                "Energy is modelled, not measured",
                "This machine has no energy sensor that dibench can read. Joules are accesses times "
                "published energies per "
                "access: a pipeline check, not evidence. The page leads with measured time.",
            )
        )
    if present and not set(present) & {*MEASURED_SOURCES, "model", "simulated"}:
        found.append(
            _banner(
                "Energy was not measured",
                "No energy sensor was read, so this page is about measured time. `python -m dibench "
                "doctor` says "
                "what this machine can measure and what would have to change.",
            )
        )
    if manifest is None:
        found.append(
            _banner(
                "The manifest is missing",
                "There is no manifest.json beside the table: the machine's peaks, versions and the command "
                "line are "
                "not known, and the roofline has no roof.",
            )
        )
    return found


def _banner(title: str, text: str) -> dict[str, str]:
    return {"title": title, "text": text}
