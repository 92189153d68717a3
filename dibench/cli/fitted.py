"""What `predict` and `explain` have in common: the fit they stand on, and how they introduce it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.use.predict import Estimate

MODEL_NAMES = {
    "macs": "MACs alone",
    "ai": "AI",
    "di_weighted": "weighted DI",
    "di_disjoint": "disjoint DI",
}
LARGEST_FIT = 64 * 2**20


def open_fit(path: Path, model: str, dtype: str) -> FittedModel:
    """The model of a fit's JSON, for this data type (empty: the fit's own).

    Raises:
        UserError: no such file, no fit, no such model in it, or it is for another data type.
    """
    from dibench.files import read_json_object
    from dibench.kernels import DTYPES
    from dibench.study.use.fitted_model import read_fitted_model

    if dtype and dtype not in DTYPES:
        raise UserError("--dtype", "must be one of " + ", ".join(DTYPES), dtype)
    if path.is_file() and path.stat().st_size > LARGEST_FIT:
        raise UserError("--fit", f"must have at most {LARGEST_FIT >> 20} MB", str(path))
    figures = read_json_object(path)
    if figures is None:
        raise UserError("", "no such file: `python -m dibench fit CSV --json FILE` writes it", where=path)
    fit = read_fitted_model(figures, model, where=path)
    if dtype and dtype != fit.dtype:
        rule = f"must be {fit.dtype or 'left out'}: costs of one data type say nothing about another's"
        raise UserError("--dtype", rule, dtype, where=path)
    return fit


def open_model(source: str, batch: int, input_shape: list[str] | None) -> Model:
    """The model at a batch size, which also replaces the first number of every input's size."""
    from dibench import models
    from dibench.models.inputs import parse_inputs, parse_shape

    shapes = {}
    for name, text in parse_inputs(input_shape or []).items():
        sizes, dtype = parse_shape(text, name)
        shapes[name] = ",".join(map(str, (batch, *sizes[1:]))) + (f":{dtype}" if dtype else "")
    return models.load(source, batch=batch, shapes=shapes)


def batches_of(text: str) -> list[int]:
    """The batch sizes of `1,8,32`.

    >>> batches_of("1,8")
    [1, 8]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 8 and int(part) for part in parts):
        raise UserError("--batch", "must be whole numbers above zero, such as 1,8,32", text)
    return list(dict.fromkeys(int(part) for part in parts))


def quantity(fit: FittedModel) -> str:
    """What is predicted, never more than what was fitted.

    Time and modelled joules must not pass for measured energy.
    """
    if fit.kind == "time":
        return "Time (not energy)"
    kind = "Energy" if fit.measured else "PIPELINE CHECK, not a prediction of any device. Modelled energy"
    if fit.energy_source == ("simulated",):
        kind = kind.replace("Modelled", "Simulated")
    named = {"energy_above_active_idle_j": " above active idle", "energy_above_idle_j": " above idle"}
    return kind + named.get(fit.response, ", gross")


def kind_of(fit: FittedModel) -> str:
    """What figures call it."""
    if fit.kind == "time":
        return "predicted time"
    return "predicted energy" if fit.measured else "energy, PIPELINE CHECK only"


def origin(fit: FittedModel) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": fit.model,
        "device": fit.device,
        "dtype": fit.dtype,
        "response": fit.response,
        "energy_source": list(fit.energy_source),
        "measured": fit.measured,
        "basis": fit.basis,
        "level": 0.95,
    }


def introduce(out: Console, fit: FittedModel, path: Path) -> None:
    """Two lines: what is predicted, by which model of which fit, and what an interval holds."""
    from rich.markup import escape

    style = "bold" if fit.measured else "bold yellow"
    source = ", ".join(fit.energy_source)
    setting = escape(f"{fit.device} ({fit.dtype or 'data type not given'}, {source}; {path})")
    by = f"predicted by {MODEL_NAMES[fit.model]} fitted on {setting}"
    out.print(f"[{style}]{escape(quantity(fit))}[/{style}], {by}", soft_wrap=True)
    if fit.kind == "time":
        out.print(
            "The rows of that fit have no measured energy: these are seconds, no joules.", soft_wrap=True
        )


def interval(estimate: Estimate, unit: str) -> str:
    """A value with its interval, in one unit.

    >>> from dibench.study.use.predict import Estimate
    >>> interval(Estimate(2e-3, 1.5e-3, 2.5e-3), "J")
    '2.00 mJ (1.50 to 2.50)'
    """
    from dibench.show.numbers import short

    value = short(estimate.value, unit)
    number, _, named = value.partition(" ")
    scale = estimate.value / float(number) if float(number) else 1.0
    digits = len(number.partition(".")[2])
    low, high = (f"{bound / scale:.{digits}f}" for bound in (estimate.low, estimate.high))
    return f"{value} ({low} to {high})" if named else value
