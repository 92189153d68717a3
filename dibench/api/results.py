"""The answers, each with its words and figures: findings of the study, with what `show` says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs

from dibench import study
from dibench.api.shown import Drawn, Shown
from dibench.layer import Layer
from dibench.models import Model
from dibench.models.intensities import drags, reuse_of
from dibench.show import (
    compared,
    compared_figure,
    costs_in_brief,
    explained,
    fit_in_brief,
    library_costs,
    predicted_costs,
    predicted_vs_measured,
)
from dibench.show import fit as fit_shown
from dibench.show import models as models_shown
from dibench.show.blocks import Note
from dibench.study.findings.comparison import Comparison
from dibench.study.findings.explanation import Explanation
from dibench.study.findings.plain import plain
from dibench.study.findings.prediction import Predictions
from dibench.study.questions.described import residuals

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

    from dibench.show.blocks import Block, Figure, Section


@attrs.frozen(eq=False, repr=False)
class Layers(Shown, Model):
    """The layers of a model at one batch size: a sequence of `Layer`, and what the model says beside them."""

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, at: int) -> Layer: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Layer, ...]: ...

    def __getitem__(self, at: int | slice) -> Layer | tuple[Layer, ...]:
        return self.layers[at]

    def to_frame(self) -> pd.DataFrame:
        """A row for each layer: name, operator, dimensions, MACs, elements, reuse of each, AI."""
        import pandas as pd

        return pd.DataFrame([self._figures_of(layer) for layer in self.layers])

    def to_json(self) -> dict[str, Any]:
        """The model and every layer, as numbers, text, lists and mappings."""
        found: dict[str, Any] = plain(
            {
                "model": self.name,
                "batch": self.batch,
                "inputs": self.input_shapes,
                "parameters": self.parameters,
                "macs_known": self.macs_known,
                "coverage": self.coverage,
                "note": self.note,
                "layers": [self._figures_of(layer) for layer in self.layers],
                "not_covered": self.not_covered,
            }
        )
        return found

    def _figures_of(self, layer: Layer) -> dict[str, Any]:
        return {"name": layer.name, "op": layer.op, **layer.dims, **reuse_of([layer]).figures(None)}

    def _line(self) -> str:
        return models_shown.in_a_line(self)

    def _blocks(self) -> Sequence[Block]:
        dragging = drags(self.layers, 0.5) if self.layers else []
        return models_shown.layer_blocks(self, None, [one for one in dragging if one.lost > 0])


@attrs.frozen(eq=False, repr=False)
class FitResult(Shown, study.Fit):
    """A fit with its words and its figure."""

    def plot(self) -> MatplotlibFigure:
        """What AI and DI predict, held out where the fit could hold out, against what was measured."""
        return predicted_vs_measured.figure_of(self, residuals(self.to_frame(), self.response))

    def _line(self) -> str:
        return fit_shown.in_a_line(self)

    def _blocks(self) -> Sequence[Block | Section]:
        return fit_in_brief.in_python(self)

    def _everything(self) -> Sequence[Block | Section]:
        return fit_shown.of_fit(self)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PredictionResult(Drawn, Predictions):
    """What networks will cost, with its words and figures."""

    def to_frame(self) -> pd.DataFrame:
        """A row for each layer of each network and batch: its cost in joules or seconds, with interval."""
        import pandas as pd

        rows = [
            {"network": one.network, "batch": one.batch, "name": cost.layer.name, "op": cost.layer.op}
            | {"value": cost.value, "low": cost.low, "high": cost.high, "unit": one.unit}
            for one in self.predictions
            for cost in one.layers
        ]
        return pd.DataFrame(rows)

    def _line(self) -> str:
        return predicted_costs.in_a_line(self)

    def _blocks(self) -> Sequence[Block]:
        library = library_costs.blocks(self.predictions, self.library) if self.library else []
        told = costs_in_brief.predicted(self, costs_in_brief.IN_PYTHON)
        return [*told, *library, *predicted_costs.checked(self)]

    def _everything(self) -> Sequence[Block]:
        return [*predicted_costs.blocks(self, "", every=False), *predicted_costs.checked(self)]

    def _figures(self) -> Sequence[Figure]:
        figures = predicted_costs.figures(self)
        return figures[::-1] if len(self.predictions) > 1 else figures  # side by side is the last


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExplanationResult(Drawn, Explanation):
    """Where a network's cost comes from, with its words and figures."""

    not_tried: tuple[str, ...] = ()
    """Batch sizes that could not be a change, and why."""

    def to_frame(self) -> pd.DataFrame:
        """A row for each change that would save, most first."""
        import pandas as pd

        rows = [
            {"change": one.knob, "to": one.setting, "where": one.where}
            | {"saved": one.saved.value, "low": one.saved.low, "high": one.saved.high, "share": one.share}
            for one in self.savings
        ]
        return pd.DataFrame(rows)

    def _line(self) -> str:
        return explained.in_a_line(self)

    def _blocks(self) -> Sequence[Block]:
        return [*costs_in_brief.explained(self, costs_in_brief.IN_PYTHON), *map(Note, self.not_tried)]

    def _everything(self) -> Sequence[Block]:
        return [*explained.blocks(self, "", every=False), *map(Note, self.not_tried)]

    def _figures(self) -> Sequence[Figure]:
        return explained.figures(self)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ComparisonResult(Drawn, Comparison):
    """Two sweeps side by side, with their words and figures."""

    def to_frame(self) -> pd.DataFrame:
        """A row for each case of each quantity: A, B, their ratio with its interval, and its verdict."""
        import pandas as pd

        cases = [attrs.asdict(case) | {"column": one.column} for one in self.quantities for case in one.cases]
        return pd.DataFrame(cases)

    def _line(self) -> str:
        return compared.in_a_line(self)

    def _blocks(self) -> Sequence[Block]:
        return compared.brief(self, full=".full()", accept="margin=")

    def _everything(self) -> Sequence[Block]:
        return compared.blocks(self)

    def _figures(self) -> Sequence[Figure]:
        return compared_figure.figures(self)
