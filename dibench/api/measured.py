"""What was measured just now, with its words: one layer, those of a network, or a sweep's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.api.shown import Shown
from dibench.layer import Layer

if TYPE_CHECKING:
    import pandas as pd

    from dibench.backends import Device
    from dibench.measure.one_layer import Measured
    from dibench.measure.one_model import MeasuredModel, MeasuredShape
    from dibench.show.blocks import Block
    from dibench.sweep.run import Summary


@attrs.frozen(eq=False, repr=False)
class MeasuredLayer(Shown):
    """One layer on this machine: by the fastest of our kernels, then by PyTorch's library."""

    layer: Layer
    device: Device
    peaks: Mapping[str, Any]
    """`mac_per_s` and `bytes_per_s`, measured just before."""
    found: tuple[Measured, ...]
    """Each way to run it: its name, and its row with time, energy, intervals and reasons."""
    why_no_energy: str
    """Empty where a sensor was read."""

    @property
    def time_s(self) -> float | None:
        """Of one launch of our kernel."""
        return self.found[0].row.time_s

    @property
    def energy_j(self) -> float | None:
        """Likewise; None where no sensor read it."""
        return self.found[0].row.energy_j

    def to_frame(self) -> pd.DataFrame:
        """A row for each way to run it."""
        import pandas as pd

        return pd.DataFrame(self.to_json()["found"])

    def to_json(self) -> dict[str, Any]:
        """The layer with its counts, the device, and every row; what is not known is None."""
        from dibench.show import one_layer

        return one_layer.plain(self.layer, self.device, self.peaks, self.found, self.why_no_energy)

    def _line(self) -> str:
        from dibench.show import one_layer

        return one_layer.in_a_line(self.layer, self.found)

    def _blocks(self) -> Sequence[Block]:
        from dibench.show import one_layer

        about = self.layer, self.device, self.peaks, self.found, self.why_no_energy
        return one_layer.blocks(*about, how=".full()")

    def _everything(self) -> Sequence[Block]:
        from dibench.show import one_layer

        about = self.layer, self.device, self.peaks, self.found, self.why_no_energy
        return one_layer.blocks(*about, full=True)


@attrs.frozen(eq=False, repr=False)
class MeasuredNetwork(Shown):
    """The layers of one network on this machine, each distinct shape by the fastest of our kernels."""

    found: MeasuredModel
    """Every shape, what was measured of it, and what the time did not suffice for."""
    device: Device
    peaks: Mapping[str, Any]
    """`mac_per_s` and `bytes_per_s`, measured just before."""
    why_no_energy: str
    """Empty where a sensor was read."""

    @property
    def measured(self) -> Sequence[MeasuredShape]:
        """The shapes with a time, costliest first."""
        return self.found.measured

    @property
    def cost(self) -> float:
        """Joules where every shape has them, else seconds, of all layers that were measured; see `.unit`."""
        return self.found.whole

    @property
    def cost_ci(self) -> float | None:
        """Half-width of its 95% interval; None where a shape has none.

        Shapes are independent, so the squares of their half-widths add up; a sensor's drift and changes of
        the machine's pace are common to all and do not average out.
        """
        return self.found.whole_ci

    @property
    def unit(self) -> str:
        """`J` or `s`."""
        return "J" if self.found.of_energy and self.found.measured else "s"

    def to_frame(self) -> pd.DataFrame:
        """A row for each shape that was measured: the layer, how often it occurs, time, energy, share."""
        import pandas as pd

        return pd.DataFrame(self.to_json()["layers"])

    def to_json(self) -> dict[str, Any]:
        """Every figure, also of PyTorch's library; what was not measured, and what is no layer."""
        from dibench.show import measured_model

        return measured_model.plain(self.found, self.device, self.peaks, self.why_no_energy)

    def _line(self) -> str:
        from dibench.show import measured_model

        return measured_model.in_a_line(self.found)

    def _blocks(self) -> Sequence[Block]:
        from dibench.show import measured_model

        about = self.found, self.device, self.peaks, self.why_no_energy
        return measured_model.blocks(*about, how=".full()")

    def _everything(self) -> Sequence[Block]:
        from dibench.show import measured_model

        about = self.found, self.device, self.peaks, self.why_no_energy
        return measured_model.blocks(*about, full=True)


@attrs.frozen(eq=False, repr=False)
class SweepResult(Shown):
    """How a sweep ended, and where its rows are; a path to whatever takes one."""

    path: Path
    """Of the directory."""
    plan: str
    ended: Summary
    partial: tuple[str, ...] = ()
    """Of each network that layers do not cover whole, how much they do."""

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows so far, read anew."""
        from dibench.table import load

        return load(self.path)

    @property
    def statuses(self) -> Mapping[str, int]:
        """Rows by status: `ok`, `flagged`, `failed`, `skipped`."""
        return self.ended.statuses

    @property
    def left(self) -> int:
        """Cases without a row: the same call measures them."""
        return self.ended.left

    def to_json(self) -> dict[str, Any]:
        """How it ended."""
        from dibench.show import sweeps

        return sweeps.plain(self.ended, self.plan, self.path, self.partial)

    def _line(self) -> str:
        from dibench.show import sweeps

        return sweeps.in_a_line(self.ended, self.plan, self.path)

    def _blocks(self) -> Sequence[Block]:
        from dibench.show import sweeps
        from dibench.show.blocks import Sentence
        from dibench.sweep.record import MANIFEST, TABLE

        told = [Sentence(text) for text in self.partial]
        ended = sweeps.ended(self.ended, self.path / TABLE, self.path / MANIFEST)
        return [ended, *sweeps.noisy(self.ended), *told]
