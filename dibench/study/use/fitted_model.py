"""One model of a fit, ready to predict: of a fit at hand, or read back from a fit's JSON and checked."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.files import read_json_object
from dibench.models.intensities import AlphaValues
from dibench.models.named import TABLES
from dibench.study.findings import SCHEMA, disturbed
from dibench.study.findings.fitted_model import (
    PREDICTORS,
    RANGED,
    Components,
    FittedModel,
    Origin,
    PowerAndTime,
    Predictor,
)
from dibench.table import load, table_of

if TYPE_CHECKING:
    from dibench.study.findings.ladder import Fit

FloatArray = NDArray[np.float64]

_NO_NAME = "a device without name"
FIT = "fit.json"
"""What the file is called in a sweep's directory."""
_LARGEST = 64 * 2**20
_PREDICTS = 99
"""Draws: a prediction rests on no bootstrap."""
_FIELD = "fitted model"
_WHOLE = "networks"
_KEY = "calibration"  # of the JSON, where users' scripts read it
_FIRST = 1
"""The schema of files without a number: its writers gave none."""


def fitted_model(fit: Fit, model: str) -> FittedModel | None:
    """One model of a fit at hand; None where the fit cannot predict layers with it."""
    known = fit.predictors
    predictor = known.models.get(model)
    if predictor is None or fit.rows_are == _WHOLE:
        return None
    origin = Origin(
        model=model,
        device=fit.setting.get("device") or _NO_NAME,
        backend=fit.setting.get("backend") or "",
        dtype=fit.setting.get("dtype") or "",
        response=fit.response,
        energy_source=fit.energy_source,
        measured=fit.response_measured,
        basis=fit.basis,
        gain_accuracy=fit.gain_accuracy,
        disturbed=disturbed.share(fit.rows_used, fit.rows_flagged, fit.excluded),
    )
    return FittedModel(
        origin=origin, predictor=predictor, ranges=known.ranges, constant_power=known.constant_power
    )


def open_fitted_model(path: Path, model: str) -> FittedModel:
    """One model of the file that `fit … --json FILE` wrote, or of a table that is fitted now.

    Raises:
        UserError: no such file, or what `read_fitted_model` or a fit refuses.
    """
    return read_fitted_model(_open(path), model, where=fit_file(path))


def open_alphas(path: Path) -> AlphaValues:
    """The α of both forms of DI in the file that `fit … --json FILE` wrote, or of a table.

    Raises:
        UserError: no such file, no α in it, or none that can weigh anything.
    """
    figures, path = _open(path), fit_file(path)
    return AlphaValues(weighted=_alpha(figures, "weighted", path), disjoint=_alpha(figures, "disjoint", path))


def fit_file(path: Path) -> Path:
    """Of a directory its `fit.json`, or without one its table; any other path as it is."""
    if not path.is_dir():
        return path
    file, table = path / FIT, table_of(path)
    return table if table.is_file() and not file.is_file() else file


def made_anew(path: Path) -> str:
    """Of a table, that it is fitted for each answer, and how its fit is kept; empty of a fit's file."""
    file = fit_file(path)
    if not _is_table(file):
        return ""
    return f"{file} is fitted for this answer: {_command(path, file.with_name(FIT))} keeps the fit"


def outdated(path: Path) -> str:
    """Of a directory, that rows were measured since the fit in it; empty where none were."""
    file, table = fit_file(path), table_of(path)
    if path.is_dir() and table.is_file() and file.stat().st_mtime < table.stat().st_mtime:
        return f"{file} is older than {table.name} beside it: {_command(path, file)} fits all rows"
    return ""


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in TABLES


def _of_table(file: Path) -> Mapping[str, Any]:
    """What `fit --json` would write, as far as predictions need it."""
    from dibench.study.ladder.fit import fit

    table = load(file)
    try:
        return fit(table, draws=_PREDICTS).to_json()
    except UserError as error:
        raise UserError("", str(error), where=file) from None


def _open(path: Path) -> Mapping[str, Any]:
    file = fit_file(path)
    if _is_table(file):
        return _of_table(file)
    if file.is_file() and file.stat().st_size > _LARGEST:
        raise UserError("--fit", f"must have at most {_LARGEST >> 20} MB", str(path))
    figures = read_json_object(file)
    if figures is None:
        table = path if path.is_dir() else "CSV"
        lacks = f"has no {FIT} and no sweep.csv" if path.is_dir() else "no such file"
        raise UserError("", f"{lacks}: {_command(table, file)} writes it", where=path)
    _check_schema(figures, file)
    return figures


def _command(table: Path | str, file: Path) -> str:
    return f"`python -m dibench fit {shlex.quote(str(table))} --json {shlex.quote(str(file))}`"


def _check_schema(figures: Mapping[str, Any], where: object) -> None:
    schema = figures.get("schema", _FIRST)
    if schema not in (_FIRST, SCHEMA):
        rule = f"must be {SCHEMA} or less: a later dibench wrote it, so fit the table again"
        raise UserError("schema", rule, schema, where=where)


def _alpha(figures: Mapping[str, Any], form: str, path: Path) -> float:
    try:
        value = figures["alpha"][form]["value"]
    except (KeyError, TypeError):
        raise UserError("alpha", "must be there, as `fit --json` writes it", where=path) from None
    if value is None:
        rule = "was not determined by this fit; choose one with --alpha"
        raise UserError(f"alpha {form}", rule, where=path)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserError(f"alpha {form}", "must be from 0 to 1 to weigh anything", value, where=path)
    return float(value)


def read_fitted_model(figures: Mapping[str, Any], model: str, *, where: object = "") -> FittedModel:
    """One model of the JSON that `fit` wrote, checked.

    Args:
        figures: the JSON.
        model: one of `PREDICTORS`.
        where: what messages call the file.

    Raises:
        UserError: it is no fit, lacks the model, or holds what no fit writes; the message names the field.
    """
    if model not in PREDICTORS:
        raise UserError("--model", "must be one of " + ", ".join(PREDICTORS), model)
    _check_schema(figures, where)
    if _KEY not in figures or "setting" not in figures:
        raise UserError(_FIELD, "must be there: write the file with `fit … --json FILE`", where=where)
    if figures.get("rows_are") == _WHOLE:
        rule = "must be of layers: a network's joules also hold what runs between its layers"
        raise UserError("rows_are", rule, _WHOLE, where=where)
    try:
        entry = figures[_KEY]["models"].get(model)
        if entry is None:
            reason = (figures["models"].get(model) or {}).get("reason") or "too few rows or clusters"
            remedy = "; measure more layers, on a quiet machine" if "too few" in str(reason) else ""
            raise UserError(f"{_FIELD} {model}", f"is not in this fit: {reason}{remedy}", where=where)
        found = _read(figures, model, entry)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        rule = f"is not what `fit` writes ({type(error).__name__}: {error})"
        raise UserError(_FIELD, rule, where=where) from None
    _check(found.predictor, model, where)
    if found.constant_power is not None:
        _check(found.constant_power.time, "di_weighted", where)
    return found


def _read(figures: Mapping[str, Any], model: str, entry: Mapping[str, Any]) -> FittedModel:
    setting, power = figures["setting"], figures[_KEY]["constant_power"]
    origin = Origin(
        model=model,
        device=str(setting.get("device") or _NO_NAME),
        backend=str(setting.get("backend") or ""),
        dtype=str(setting.get("dtype") or ""),
        response=str(figures["response"]),
        energy_source=tuple(map(str, figures["energy_source"])),
        measured=bool(figures["response_measured"]),
        basis=str(figures["basis"]),
        gain_accuracy=_accuracy(figures.get("gain_accuracy")),
        disturbed=disturbed.share(
            int(figures["rows_used"]), int(figures["rows_flagged"]), dict(figures["excluded"])
        ),
    )
    return FittedModel(
        origin=origin,
        predictor=_predictor(entry),
        ranges={
            str(op): {what: (float(own[what][0]), float(own[what][1])) for what in RANGED}
            for op, own in figures[_KEY]["ranges"].items()
        },
        constant_power=None
        if power is None
        else PowerAndTime(
            float(_numbers([power["power_w"]])[0]), str(power["column"]), _predictor(power["time"])
        ),
    )


def _accuracy(value: Any) -> float | None:
    if value is None:
        return None
    accuracy = float(_numbers([value])[0])
    if not 0 <= accuracy < 1:
        raise ValueError("gain_accuracy must be from 0 to below 1")
    return accuracy


def _predictor(entry: Mapping[str, Any]) -> Predictor:
    return Predictor(
        names=tuple(map(str, entry["names"])),
        values=_numbers(entry["values"]),
        errors=_errors(entry),
        unseen_log=float(_numbers([entry["unseen_log"]])[0]),
    )


def _errors(entry: Mapping[str, Any]) -> Components:
    """What errors are a sum of; the first schema knows one variance, of rows, by its degrees of freedom."""
    if "errors" in entry:
        return Components(
            names=tuple(map(str, entry["errors"]["names"])),
            variances=_numbers(entry["errors"]["variances"]),
            covariance=_numbers(entry["errors"]["covariance"]),
            spreads=_numbers(entry["errors"]["spreads"]),
        )
    degrees, residual_log = _numbers([entry["degrees"], entry["residual_log"]])
    if not (degrees > 0 and 0 < residual_log < math.inf):
        raise ValueError("degrees and residual_log must be above 0")
    variance = residual_log**2
    return Components(
        names=("row",),
        variances=np.array([variance]),
        covariance=np.array([[2 * variance**2 / degrees]]),
        spreads=_numbers(entry["covariance"])[None] / variance,
    )


def _numbers(values: Any) -> FloatArray:
    """As an array; text, null and booleans are no numbers, whatever NumPy makes of them."""
    if any(isinstance(value, (str, bool)) or value is None for value in np.ravel(np.array(values, object))):
        raise ValueError("must be numbers")
    return np.array(values, dtype=np.float64)


def _check(found: Predictor, model: str, where: object) -> None:
    k, errors = len(found.names), found.errors
    m = len(errors.names)
    rules = (
        ("values", found.values.shape == (k,), f"must be {k} numbers, one for each name"),
        ("values", bool(np.isfinite(found.values).all()), "must be finite"),
        ("values", bool((found.values >= 0).all()), "must not be below zero"),
        ("errors: variances", errors.variances.shape == (m,), f"must be {m} numbers, one for each name"),
        ("errors: variances", bool((errors.variances >= 0).all()), "must not be below zero"),
        ("errors: variances", float(errors.variances.sum()) < 100, "must add up to less than 100"),
        ("errors: covariance", errors.covariance.shape == (m, m), f"must be {m} × {m} numbers"),
        ("errors: spreads", errors.spreads.shape == (m, k, k), f"must be {m} × {k} × {k} numbers"),
        ("unseen_log", 0 <= found.unseen_log < 10, "must be from 0 to 10"),
    )
    for field, holds, rule in rules:
        if not holds:
            raise UserError(f"{_FIELD} {model}: {field}", rule, where=where)
    for name, matrices in (("covariance", errors.covariance[None]), ("spreads", errors.spreads)):
        if not all(_is_covariance(one) for one in matrices):
            field = f"{_FIELD} {model}: errors: {name}"
            raise UserError(field, "must be a covariance: symmetric, correlations within ±1", where=where)


def _is_covariance(matrix: FloatArray) -> bool:
    if not np.isfinite(matrix).all():
        return False
    size = max(float(np.abs(matrix).max(initial=0.0)), 1e-300)
    scale = np.sqrt(np.abs(np.diagonal(matrix)))
    symmetric = np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * size)
    return symmetric and bool((np.abs(matrix) <= np.outer(scale, scale) * (1 + 1e-6) + 1e-300).all())
