"""All that is predicted of networks: layers, the library beside them, and what was measured of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.study.table.network_rows import measured_models
from dibench.study.use.between_layers import whole_costs
from dibench.study.use.library import predict_beside
from dibench.study.use.predict import predict

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.study.findings.comparison import PaceApart
    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.findings.prediction import Predictions


def predict_all(
    networks: Sequence[Model],
    fit: FittedModel,
    *,
    library: FittedModel | None = None,
    measured: pd.DataFrame | None = None,
    pace_apart: PaceApart | None = None,
) -> Predictions:
    """Costs of every layer, operator and network, and of whole networks where some were measured.

    Args:
        networks: each at its batch size.
        fit: one model of a fit.
        library: the same model of a fit of rows of the library.
        measured: a table with whole networks, to hold the predictions against.
        pace_apart: how the machine's own pace differed between the fit's sweep and that of `measured`.

    Raises:
        UserError: what `predict` and `predict_beside` refuse.
    """
    if library is None:
        found = predict(networks, fit, measured=measured)
    else:
        found = predict_beside(networks, fit, library, measured=measured)
    if measured is None:
        return found
    others, unknown = measured_models(measured)
    whole = whole_costs(found, others, measured, fit)
    whole = attrs.evolve(whole, not_used=(*unknown, *whole.not_used))
    return attrs.evolve(found, whole=whole, pace_apart=pace_apart)
