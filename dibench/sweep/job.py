"""What a sweep measures and how: all that two commands must share to continue one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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
    """Of the kernel sources together."""
    command_line: Sequence[str] = ()
    kernel_shas: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Of each kernel's sources, for later reading."""
    devices: Sequence[str] = ()
    """CUDA_VISIBLE_DEVICES for a worker each; without any the backend opens its one device."""
    scheduler: str = ""
    """The address of a Dask cluster whose devices are used instead."""
