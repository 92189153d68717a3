"""Unseen families: nothing of them is learnt from, errors are of real predictions, too little is said so."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from study_frames import distinct_layers, energy_of, measured, some_layers, table

from dibench import networks, study
from dibench.study.findings.held_out import Errors
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.held_out import Splits, errors_of, hold_out
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.ladder.unseen import Unseen, predict_families
from dibench.study.maths.scores import mape, spearman
from dibench.study.table.catalogue import REQUIRED_SHARE


def held_out(frame: pd.DataFrame) -> Splits:
    data = data_of(frame, "energy_j")
    clusterings, folds = make_clusterings(data, 9, 0), make_folds(data)
    rungs = {name: fit_rung(name, data, clusterings, folds) for name in ("macs", "ai", "di_weighted")}
    return hold_out(data, rungs, predict_families(data))


@cache
def everything() -> Splits:
    """All 572 shapes at two batch sizes, with noise of rows and of networks."""
    layers = [layer.with_batch(layer.N * n) for layer in distinct_layers() for n in (1, 8)]
    return held_out(table(layers, energy_of(layers, alpha=0.2, noise=0.2, network_noise=0.15)))


def test_no_shape_of_a_family_is_learnt_from() -> None:
    found = everything()
    data = found.data
    assert [one.family for one in found.families] == list(networks.FAMILIES)
    for one in found.families:
        assert not (one.rows & one.left).any()
        assert not set(data.layer[one.left]) & set(data.layer[one.rows])
        members = networks.FAMILIES[one.family]
        shapes = {layer.shape[1:] for name in members for layer in networks.load(name)}
        assert len(set(data.layer[one.rows].tolist())) == len(shapes)
        assert not np.isin(data.network[one.left], members).any()
    # Some rows are held out under a name of another family: a shared shape.
    shared = [
        one
        for one in found.families
        if (~np.isin(data.network[one.rows], networks.FAMILIES[one.family])).any()
    ]
    assert shared


def inception(found: Splits) -> Unseen:
    (family,) = [one for one in found.families if one.family == "inception"]
    return family


def test_predictions_of_a_family_do_not_depend_on_its_rows() -> None:
    layers = some_layers(200, seed=1)
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    before = held_out(frame)
    family = inception(before)
    frame.loc[family.rows, "energy_j"] *= 3.0
    after = held_out(frame)
    np.testing.assert_allclose(
        inception(after).predicted["di_weighted"][family.rows],
        family.predicted["di_weighted"][family.rows],
        rtol=1e-6,
    )
    assert not np.allclose(
        after.naive["di_weighted"][family.rows], before.naive["di_weighted"][family.rows], rtol=0.02
    )


def test_errors_are_those_of_the_predictions() -> None:
    found = everything()
    data = found.data
    figures = errors_of(found)
    predicted = {one.family: one.predicted["di_weighted"] for one in found.families}
    y = np.concatenate([data.y[one.rows] for one in found.families])
    theirs = np.concatenate([predicted[one.family][one.rows] for one in found.families])
    errors = figures.models["di_weighted"].layers
    assert errors == Errors(n=len(y), mape=mape(y, theirs), spearman=spearman(y, theirs))
    resnet = next(one for one in figures.networks if (one.network, one.batch) == ("resnet50", 8))
    keys = list(zip(data.batch.tolist(), data.layer.tolist(), strict=True))
    rows = [keys.index((8.0, "x".join(map(str, layer.shape[1:])))) for layer in networks.load("resnet50")]
    assert resnet.measured == pytest.approx(data.y[rows].sum() / 8)
    assert resnet.held_out["di_weighted"] == pytest.approx(predicted["resnet"][rows].sum() / 8)
    assert (resnet.covered_macs, resnet.covered_elements) == (1.0, 1.0)
    assert len(figures.networks) == 50
    assert figures.models["macs"].networks.n == 50


def mape_of(errors: Errors) -> float:
    assert errors.mape is not None
    return errors.mape


def test_the_naive_split_flatters_and_the_right_model_wins_where_reuse_matters() -> None:
    found = everything()
    models = errors_of(found).models
    for name in models:
        assert mape_of(models[name].layers_naive) < mape_of(models[name].layers)
    assert mape_of(models["di_weighted"].layers) < mape_of(models["ai"].layers)
    assert mape_of(models["ai"].layers) < mape_of(models["macs"].layers)


def test_networks_without_nearly_all_their_rows_are_undecided() -> None:
    found = held_out(measured(116))
    figures = errors_of(found)
    for one in figures.networks:
        assert min(one.covered_macs, one.covered_elements) >= REQUIRED_SHARE
    assert "have rows for 95% of their MACs and elements, 5 needed" in (figures.undecided.networks or "")
    assert figures.models["ai"].networks.mape is None
    assert figures.models["ai"].layers.mape is not None


def test_too_few_rows_left_are_undecided_with_their_number() -> None:
    layers = [
        layer
        for layer in some_layers(300, seed=4)
        if networks.family(layer.name.split("/")[0]) == "inception"
    ]
    found = held_out(table(layers[:40], energy_of(layers[:40], alpha=0.2, noise=0.1)))
    figures = errors_of(found)
    assert "inception leaves 0" in (figures.undecided.layers or "")
    assert figures.skipped["inception"] == 0
    assert all(model.layers.mape is None for model in figures.models.values())


def test_rows_without_a_known_network_are_undecided_not_an_error() -> None:
    layers = [layer.renamed("") for layer in some_layers(40, seed=4)]
    # Not even the shapes are known ones.
    layers = [layer.with_batch(3) for layer in layers]
    frame = table(layers, energy_of(layers, alpha=0.2, noise=0.1))
    frame["C"], frame["K"] = frame["C"] * 7, frame["K"] * 7
    frame["groups"] = frame["groups"].where(frame["groups"] == 1, frame["groups"] * 7)
    figures = study.fit(frame, draws=99).held_out
    assert "0 families leave" in (figures.undecided.layers or "")
    assert figures.networks == ()


def test_an_unfitted_model_is_left_out() -> None:
    data = data_of(measured(60), "energy_j")
    rung = fit_rung("macs", data, make_clusterings(data, 9, 0), make_folds(data))
    assert isinstance(rung, Rung)
    assert list(errors_of(hold_out(data, {"macs": rung}, predict_families(data))).models) == ["macs"]
