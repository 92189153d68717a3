"""Tables of networks that are none of the 25: families and whole networks are the rows' own."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from command_line import Run
from study_frames import distinct_layers, energy_of, table

from dibench import networks, study
from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.study.findings.networks import NoNetworks, WholeNetworks
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.models import data_of
from dibench.study.ladder.unseen import FEWEST_FAMILY_LAYERS, predict_families
from dibench.study.questions.claims import claims
from dibench.study.questions.generality import generality
from dibench.study.questions.whole_networks import networks_of, whole_networks
from dibench.study.table.catalogue import catalogue_of
from dibench.study.table.columns import shape_key
from dibench.study.table.families import family_of

STEMS = ("alder", "beech", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine")
NAMES = [*(f"{stem}{size}" for stem in STEMS[:9] for size in (18, 34, 50)), "pine", "resnet18"]
"""29 networks of eleven families, one of which is resnet's; none is of the 25."""


def network(name: str, seed: int, borrowed: int = 4) -> list[Layer]:
    """14 layers: ten of shapes that no published network has, four of shapes that some have."""
    random = np.random.default_rng([seed, 11])
    found = []
    for _ in range(14 - borrowed):
        c, k, size = (int(random.choice(of)) for of in ((21, 45, 77, 150), (27, 51, 99, 210), (9, 18, 37)))
        taps = int(random.choice([1, 3]))
        found.append(Layer(N=1, C=c, H=size, W=size, K=k, R=taps, S=taps, pad_h=taps // 2, pad_w=taps // 2))
    found += [distinct_layers()[at] for at in random.choice(572, borrowed, replace=False)]
    return [layer.renamed(f"{name}/layer{at}") for at, layer in enumerate(found)]


@cache
def layers_of() -> dict[str, list[Layer]]:
    return {name: network(name, seed) for seed, name in enumerate(NAMES)}


def own(**truth: Any) -> pd.DataFrame:
    layers = [layer for found in layers_of().values() for layer in found]
    return table(layers, energy_of(layers, **{"alpha": 0.2, "noise": 0.05, **truth}))


def exact(layers: list[Layer]) -> float:
    return float(energy_of(layers, alpha=0.2).sum())


def test_families_are_the_rows_own_and_not_those_of_which_they_have_a_shape_by_chance() -> None:
    frame = own()
    assert len(frame) == 29 * 14
    data, catalogue = data_of(frame, "energy_j"), catalogue_of(frame)
    assert set(catalogue.layers) == set(NAMES)
    assert set(catalogue.families) == {*STEMS, "resnet"}
    assert catalogue.families["alder"] == ("alder18", "alder34", "alder50")
    folds = make_folds(data, 0, catalogue)
    assert folds.by == "family"
    assert {fold.name for fold in folds.folds} == set(catalogue.families)
    for one in predict_families(data, catalogue).values():
        members = catalogue.families[one.family]
        shapes = {shape_key(layer.shape) for name in members for layer in layers_of()[name]}
        assert set(data.layer[one.rows].tolist()) == shapes
        assert not set(data.layer[one.left].tolist()) & shapes


def test_every_network_whose_layers_are_there_is_whole() -> None:
    found = whole_networks(own(noise=0.0))
    assert {one.network for one in found.ranked} == set(NAMES) and found.left_out == ()
    for one in found.ranked:
        assert one.cost == pytest.approx(exact(layers_of()[one.network]), rel=1e-12)
        assert one.layers == 14 and one.covered_macs == pytest.approx(1.0)
    assert found.reason is None and found.contests["index_weighted"] is not None
    assert {one.family for one in found.ranked} == {*STEMS, "resnet"}


def test_a_layer_that_failed_is_missing_and_one_that_another_network_measured_is_not() -> None:
    """The table names all layers of a network, measured or not; equal shapes are one measurement."""
    layers = dict(layers_of())
    often = Counter(layer.shape for found in layers.values() for layer in found)
    alone = [at for at in range(14) if often[layers["oak18"][at].shape] == 1]
    heaviest = max(alone, key=lambda at: layers["oak18"][at].macs)
    others = {"pine/last": layers["elm18"][0], "pine/again": layers["pine"][0]}
    layers["pine"] = [*layers["pine"], *(layer.renamed(name) for name, layer in others.items())]
    rows = [layer for found in layers.values() for layer in found]
    frame = table(rows, energy_of(rows, alpha=0.2))
    frame.loc[frame["name"] == f"oak18/layer{heaviest}", ["status", "energy_j"]] = "failed", np.nan
    found = whole_networks(frame)
    (left,) = found.left_out
    assert (left.network, left.missing, left.layers) == ("oak18", 1, 14)
    assert left.covered_macs == pytest.approx(
        1 - layers["oak18"][heaviest].macs / sum(layer.macs for layer in layers["oak18"])
    )
    (pine,) = [one for one in found.ranked if one.network == "pine"]
    assert (pine.layers, pine.missing) == (16, 0)
    assert pine.cost == pytest.approx(exact(layers["pine"]), rel=1e-12)
    measured = frame[frame["status"] == "ok"]
    unseen = predict_families(data_of(measured, "energy_j"), catalogue_of(frame))
    shared = measured["name"].isin(["elm18/layer0", "pine/last"]).to_numpy()
    assert shared.sum() == 2
    for family in ("elm", "pine"):
        assert unseen[family].rows[shared].all() and not unseen[family].left[shared].any()


def test_a_family_of_few_layers_is_no_evidence_and_is_named(run: Run, tmp_path: Path) -> None:
    few = [layer.renamed(f"yew/{at}") for at, layer in enumerate(network("yew", 99))]
    few = few[: FEWEST_FAMILY_LAYERS - 1]
    stems = ("alder", "beech", "elm", "oak")
    rows = [layer for name, found in layers_of().items() if name.startswith(stems) for layer in found]
    rows += few
    rows += [layer.with_batch(8) for layer in few]  # more rows, not more layers
    frame = table(rows, energy_of(rows, alpha=0.2, noise=0.05))
    found = generality(frame, subsets=100)
    assert {one.family for one in found.families} == set(stems)
    frame.to_csv(tmp_path / "own.csv", index=False)
    file = tmp_path / "own.json"
    status, out, _ = run("fit", tmp_path / "own.csv", "--full", "--draws", "99", "--json", file)
    out, figures = " ".join(out.split()), json.loads(file.read_text())
    assert status == 0
    assert figures["held_out"]["small"] == {"yew": 4}
    assert "fewer than 5 different layers: yew 4." in out
    assert (
        "Families by name (a column family overrides them): alder (alder18, alder34, alder50), beech (" in out
    )
    assert "13 of 13 have rows for 95% of MACs and elements" in out
    (claim,) = [one for one in figures["claims"] if one["name"] == "generality"]
    fewest, most = (of(one.rows for one in found.families) for of in (min, max))
    assert f"4 families, {fewest} to {most} rows each" in claim["number"]


def test_rows_without_a_name_are_of_published_networks_only_where_they_hold_them_whole() -> None:
    """A quarter of the shapes occurs in the 25 by chance: that makes no family."""
    frame = own().assign(name="")
    assert catalogue_of(frame).layers == {}
    found = networks_of(frame)
    assert isinstance(found, NoNetworks) and "of what network a layer is" in found.reason
    claim = {one.name: one for one in claims(study.fit(frame, draws=99), found)}["generality"]
    assert claim.answer == "undecided" and claim.why.startswith("0 families")
    alexnet = [layer.renamed("") for layer in networks.load("alexnet")]
    rows = [*alexnet, *(layer.renamed("") for layer in layers_of()["oak18"])]
    whole = whole_networks(table(rows, energy_of(rows, alpha=0.2)))
    assert isinstance(whole, WholeNetworks)
    assert [one.network for one in whole.ranked] == ["alexnet"] and whole.left_out == ()


def test_own_networks_stand_beside_the_25() -> None:
    """resnet18 joins resnet's family; a name of that family brings all its published networks with it."""
    rows = [*networks.load("resnet50"), *layers_of()["resnet18"], *layers_of()["oak18"]]
    catalogue = catalogue_of(table(rows, energy_of(rows, alpha=0.2)))
    assert catalogue.families == {"resnet": (*networks.FAMILIES["resnet"], "resnet18"), "oak": ("oak18",)}


def test_a_published_name_over_other_shapes_holds_them_out_too() -> None:
    """resnet50 at another image size: not the published layers, yet nothing a fit of the family may see."""
    larger = [
        attrs.evolve(layer, H=layer.H + 2 * layer.stride_h, P=layer.P + 2)
        for layer in networks.load("resnet50")[:20]
    ]
    rows = [*larger, *layers_of()["oak18"]]
    frame = table(rows, energy_of(rows, alpha=0.2))
    one = predict_families(data_of(frame, "energy_j"), catalogue_of(frame))["resnet"]
    assert one.rows[:20].all() and not one.left[:20].any()


def test_a_linear_layer_of_a_transformer_has_rows_of_its_own_in_every_image() -> None:
    """197 tokens an image: N is 197 at batch 1 and 1,576 at batch 8; the classifier has one row an image."""
    image = [
        Layer(N=1, C=3, H=224, W=224, K=768, R=16, S=16, stride_h=16, stride_w=16, name="vit_b_16/patches"),
        Layer.fc(197, 768, 2304).renamed("vit_b_16/block0.qkv"),
        Layer.fc(197, 768, 3072).renamed("vit_b_16/block0.mlp"),
        Layer.fc(1, 768, 1000).renamed("vit_b_16/head"),
    ]
    rows = [layer.with_batch(layer.N * batch) for batch in (1, 8) for layer in image]
    frame = table(rows, energy_of(rows, alpha=0.2))
    assert catalogue_of(frame).layers["vit_b_16"] == tuple(image)
    for batch in (1, 8):
        (vit,) = whole_networks(frame, batch=batch).ranked
        own = [layer.with_batch(layer.N * batch) for layer in image]
        assert vit.cost == pytest.approx(exact(own) / batch, rel=1e-12)
        assert vit.macs == sum(layer.macs for layer in image) and vit.missing == 0


def test_the_reference_case_of_a_sweep_makes_no_family() -> None:
    frame = own()
    reference = table(list(networks.load("resnet50")[:1]) * 2, [1e-3, 1e-3], sentinel=1, case_id=["r1", "r2"])
    assert set(catalogue_of(pd.concat([frame, reference], ignore_index=True)).layers) == set(NAMES)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("resnet18", "resnet"), ("wide_resnet101_2", "resnet"), ("resnext101_64x4d", "resnet"),
        ("vgg11_bn", "vgg"), ("googlenet", "inception"), ("torchvision:densenet161", "densenet"),
        ("mobilenetv3_small", "mobilenet"), ("mobilenet_v3_large", "mobilenet"),
        ("squeezenet1_2", "squeezenet"),
        ("efficientnet_b0", "efficientnet"), ("efficientnetv2_s", "efficientnet"), ("swin_v2_t", "swin"),
        ("vit_b_32", "vit"), ("resnet50@32x3x299x299", "resnet"),
        ("net1", "net1"), ("net_2", "net_2"), ("m3", "m3"), ("7", "7"), ("Model-B", "Model-B"),
        ("seresnext101_32x4d", "resnet"), ("resnest50d", "resnet"), ("res2net50_26w_4s", "resnet"),
        ("ecaresnet50d", "resnet"), ("legacy_seresnet18", "resnet"), ("gluon_resnet18_v1b", "resnet"),
        ("densenetblur121d", "densenet"), ("xception41", "inception"), ("inception_resnet_v2", "inception"),
        ("mobilenetv4_conv_small", "mobilenet"), ("tf_mobilenetv3_small_075", "mobilenet"),
        ("mnasnet1_0", "mnasnet"), ("semnasnet_075", "mnasnet"), ("nasnetalarge", "nasnet"),
        ("pnasnet5large", "nasnet"), ("shufflenet_v2_x0_5", "shufflenet"),
        ("tf_efficientnet_b4_ns", "efficientnet"), ("efficientnet_v2_m", "efficientnet"),
        ("regnet_x_400mf", "regnet"), ("regnety_040", "regnet"), ("nf_regnet_b1", "regnet"),
        ("convnext_base", "convnext"), ("convnextv2_nano", "convnext"), ("swinv2_tiny_window8_256", "swin"),
        ("vit_base_patch16_224", "vit"), ("deit3_small_patch16_224", "vit"), ("beit_base", "vit"),
        ("maxvit_t", "maxvit"), ("mvitv2_small", "mvit"), ("coatnet_0_rw_224", "coatnet"),
        ("cait_s24_224", "cait"), ("levit_128", "levit"), ("mobilevitv2_050", "mobilevit"),
        ("mixer_b16_224", "mixer"), ("poolformer_s12", "poolformer"), ("ghostnet_100", "ghostnet"),
        ("hrnet_w18", "hrnet"), ("dla34", "dla"), ("dpn68", "dpn"), ("cspdarknet53", "darknet"),
        ("repvgg_a0", "repvgg"), ("dm_nfnet_f0", "nfnet"), ("rexnet_100", "rexnet"),
        ("nasbench201_00012", "nasbench"), ("x_tiny", "x_tiny"),
    ],
)  # fmt: skip
def test_the_first_word_of_a_name_tells_the_family_and_a_word_that_says_nothing_does_not(
    name: str, family: str
) -> None:
    assert family_of(name) == family


def test_the_table_may_state_families_and_names_then_do_not_count() -> None:
    frame = own()
    stated = [
        {"alder": "larch", "oak18": "alone"}.get(name[:5], "") if at % 14 == 0 else ""
        for at, name in enumerate(frame["name"])
    ]
    found = catalogue_of(frame.assign(family=stated))
    larches = ("alder18", "alder34", "alder50", "larch18", "larch34", "larch50")
    assert found.families["larch"] == larches and "alder" not in found.families
    assert found.families["alone"] == ("oak18",) and found.families["oak"] == ("oak34", "oak50")
    assert found.stating == {"larch": ("alder18", "alder34", "alder50"), "alone": ("oak18",)}
    assert found.named["larch"] == ("larch18", "larch34", "larch50")
    folds = make_folds(data_of(frame.assign(family=stated), "energy_j"), 0, found)
    (alone,) = [fold for fold in folds.folds if fold.name == "alone"]
    assert set(frame["name"][alone.test].str.partition("/")[0]) == {"oak18"}


def test_a_layer_of_several_networks_is_one_row_that_each_of_them_has() -> None:
    """The same rows, each shape once under all its names: the same networks, layers and sums."""
    frame = own(noise=0.0)
    sizes = [name for name in frame.columns if name in DIMENSIONS]
    once = frame.groupby(sizes, sort=False, as_index=False).agg(
        {**{name: "first" for name in frame.columns if name not in sizes}, "name": ";".join}
    )
    assert len(once) < len(frame)
    apart, together = catalogue_of(frame), catalogue_of(once)
    assert together.families == apart.families
    assert {name: len(layers) for name, layers in together.layers.items()} == dict.fromkeys(NAMES, 14)
    assert together.shapes == apart.shapes
    costs = {one.network: one.cost for one in whole_networks(once).ranked}
    assert costs == pytest.approx({name: exact(layers) for name, layers in layers_of().items()})
    shared = once["name"].str.contains(";").to_numpy()
    stated = np.where(shared, "", "oak")
    assert set(catalogue_of(once[~shared].assign(family=stated[~shared])).families) == {"oak"}


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (["a;b;c", ""], "family: must be one, or one for each of oak18, elm18, with ; between (got 'a;b;c')"),
        (["a;b", "c"], "family: must be the same in all rows of oak18 (got 'a and c')"),
    ],
)
def test_a_table_that_contradicts_itself_about_families_is_refused(family: list[str], message: str) -> None:
    layers = layers_of()["oak18"][:2]
    frame = table(layers, [1e-3, 2e-3], name=["oak18/a;elm18/b", "oak18/c"], family=family)
    with pytest.raises(UserError, match=re.escape(message)):
        catalogue_of(frame)


def test_rows_of_no_family_are_held_out_by_layer_and_told(run: Run, tmp_path: Path) -> None:
    """Families are held out whole; `by family` alone would not be true."""
    frame = own()
    frame = frame[~frame.duplicated([name for name in DIMENSIONS if name in frame])].reset_index(drop=True)
    nameless = np.arange(len(frame)) % 14 == 3
    frame["name"] = np.where(nameless, "", frame["name"])
    data = data_of(frame, "energy_j")
    folds = make_folds(data, 0, catalogue_of(frame))
    assert folds.by == "family and layer"
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    status, out, _ = run("fit", file, "--full", "--draws", "99", "--json", tmp_path / "own.json")
    out, figures = " ".join(out.split()), json.loads((tmp_path / "own.json").read_text())["folds"]
    assert status == 0
    assert f"whole families, with every shape they share; {nameless.sum()} rows of no family, by layer" in out
    assert f"Of no family: {nameless.sum()} rows (layers without a name)." in out
    assert figures["rows_without"] == nameless.sum() > 10
    assert len(figures["without"]) == len(set(data.layer[nameless]))
    assert sum(fold["rows"] for fold in figures["dropped"]) == len(frame)
    for fold in figures["dropped"]:
        assert fold["rows"] + fold["rows_dropped"] + fold["rows_left"] == len(frame)
    by_column = frame.assign(family=np.where(nameless, "elm", ""))
    folds = make_folds(data_of(by_column, "energy_j"), 0, catalogue_of(by_column))
    assert folds.by == "family"
    (elm,) = [fold for fold in folds.folds if fold.name == "elm"]
    assert elm.test[nameless].all()


def test_every_published_network_keeps_its_family() -> None:
    for name in networks.names():
        assert family_of(name) == networks.family(name)
