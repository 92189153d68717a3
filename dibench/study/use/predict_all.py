"""All that is predicted of networks: layers, the library beside them, and what was measured of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.study.table.network_rows import measured_models
from dibench.study.use.between_layers import whole_costs
from dibench.study.use.library import predict_beside
from dibench.study.use.paces import at_paces_of
from dibench.study.use.predict import predict

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.findings.prediction import Predictions
    from dibench.study.use.paces import Manifest


def predict_all(
    networks: Sequence[Model],
    fit: FittedModel,
    *,
    library: FittedModel | None = None,
    measured: pd.DataFrame | None = None,
    manifests: tuple[Manifest, Manifest] = (None, None),
) -> Predictions:
    """Costs of every layer, operator and network, and of whole networks where some were measured.

    Args:
        networks: each at its batch size.
        fit: one model of a fit.
        library: the same model of a fit of rows of the library.
        measured: a table with whole networks, to hold the predictions against.
        manifests: of the fit's sweep and of that of `measured`. Where both tell the machine's usual paces,
            measured times are stated at those of the fit's sweep first.

    Raises:
        UserError: what `predict` and `predict_beside` refuse.
    """
    apart = None
    if measured is not None and fit.origin.is_time:
        measured, apart = at_paces_of(*manifests, measured)
    if library is None:
        found = predict(networks, fit, measured=measured, pace_apart=apart)
    else:
        found = predict_beside(networks, fit, library, measured=measured, pace_apart=apart)
    if measured is None:
        return found
    others, unknown = measured_models(measured)
    whole = whole_costs(found, others, measured, fit)
    whole = attrs.evolve(whole, not_used=(*unknown, *whole.not_used))
    return attrs.evolve(found, whole=whole)
