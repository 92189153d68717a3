"""What a sweep measures, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Plan


@attrs.frozen(kw_only=True)
class Sweep:
    """A plan, what runs it, and what meters it."""

    plan: Plan
    backend: str
    meter: str
    settings: Settings
    sources_sha: str
    """SHA-256 of all kernel sources together."""
    command_line: Sequence[str] = ()
    kernel_shas: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """SHA-256 of each kernel's sources, for the manifest."""
    keep_target: bool = False
    """Whether the target holds however noisy the machine is."""
    devices: Sequence[str] = ()
    """CUDA_VISIBLE_DEVICES of each worker; without any the backend opens its one device."""
    scheduler: str = ""
    """The address of a Dask cluster whose devices are used instead."""
    needs_sensor: bool = False
    """Whether a sweep without measured joules is to be refused."""
    idle: Mapping[str, Any] | None = None
    """What the facts of a meter say of the device's idle power, measured before anything loaded it."""
    limit_s: float | None = None
    """Seconds after which a case counts as hung; None: what its settings make likely."""
    most_deaths: int | None = None
    """Workers that a kernel may crash before its other cases are given up; None: any number."""
