"""Where the joules come from, and what a reader must know of it before any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.numbers import percent
from dibench.schema import EXTERNAL, is_measured
from dibench.show import noise
from dibench.show.response import response_of

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.studies import Study


_SOURCE_MEANINGS = {
    "nvml_counter": "measured by the GPU's energy counter (NVML)",
    "nvml_power": "measured by the GPU's power sensor, integrated (NVML)",
    "simulated": "SIMULATED: a replayed GPU, test data and no evidence",
    "rapl": "measured by the processor's counters (RAPL)",
    "zeus": "measured by Zeus",
    "model": "MODELLED (counted accesses × published energy per access), not measured: no evidence",
    "none": "not measured; time only",
}


def source_meaning(source: str) -> str:
    """What is said of the `energy_source` of rows.

    >>> source_meaning("external:ina3221")
    'measured by ina3221, a sensor that dibench does not read itself'
    """
    if source.startswith(EXTERNAL):
        return f"measured by {source.removeprefix(EXTERNAL)}, a sensor that dibench does not read itself"
    return _SOURCE_MEANINGS.get(source, source)


def sources(rows: pd.DataFrame) -> list[str]:
    """The energy sources of the rows, the most frequent first."""
    return [str(source) for source in rows["energy_source"].value_counts().index]


def source_fact(names: list[str]) -> tuple[str, str]:
    """The energy sources for the head of the page, and what they mean."""
    if not names:
        return "none", "no rows"
    return " + ".join(names), "; ".join(map(source_meaning, names))


def mark(study: Study) -> str:
    """The word on every figure of the page where energy was not measured; else empty."""
    if "simulated" in sources(study.rows):
        return "simulated"
    adjective = response_of(study.fit).adjective
    return "" if adjective == "measured" else adjective


@attrs.frozen
class Banner:
    """What a reader must know before any number."""

    title: str
    text: str


_SIMULATED = Banner(
    "Simulated: a pipeline check, not evidence",
    "These rows come from a simulated device. They show that the pipeline works; no number on this page says "
    "anything about real hardware.",
)
_MODELLED = Banner(
    "Energy is modelled, not measured",
    "This machine has no energy sensor that dibench can read. Joules are accesses times published energies "
    "per access: a pipeline check, not evidence. The page leads with measured time.",
)
_NO_ENERGY = Banner(
    "Energy was not measured",
    "No energy sensor was read, so this page is about measured time. `python -m dibench doctor` says what "
    "this machine can measure and what would have to change.",
)
_NO_MANIFEST = Banner(
    "The manifest is missing",
    "There is no manifest.json beside the table: the machine's peaks, versions and the command line are not "
    "known, and the roofline has no roof.",
)


def noise_banner(studies: Sequence[Study]) -> Banner | None:
    """Where most rows of a card were disturbed, those of the worst; else None."""
    worst = max(studies, key=_disturbed)
    share = _disturbed(worst)
    if share <= noise.MOST:
        return None
    rows = "the rows that a fit can use" if worst.fit else "all rows"
    of_card = f" of {worst.card}" if worst.card else ""
    return Banner(
        f"Noise: most rows{of_card} were disturbed",
        f"{percent(share)} of {rows} are flagged or too noisy to count, most often because other work ran on "
        "the machine. That widens every interval and can shift the numbers: a difference between layers, or "
        f"between AI and DI, may be the disturbance's. Take no answer on this page as firm; {noise.REMEDY}.",
    )


def _disturbed(study: Study) -> float:
    if study.fit is not None:
        return noise.share_disturbed(study.fit)
    return noise.share_flagged(Counter(study.rows["status"]))


def banners(rows: pd.DataFrame, *, manifest: bool) -> list[Banner]:
    """For energy that is not measured, and for a manifest that is missing."""
    present = set(sources(rows))
    measured = any(map(is_measured, present))
    return [
        *([_SIMULATED] if "simulated" in present else []),
        *([_MODELLED] if "model" in present else []),
        *([_NO_ENERGY] if present and not measured and not present & {"model", "simulated"} else []),
        *([] if manifest else [_NO_MANIFEST]),
    ]
