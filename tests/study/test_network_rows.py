"""Rows of whole networks: fitted apart from layers, with known truth; what they cannot tell stays open."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from study_frames import E0_PJ, LAUNCH_PJ, distinct_layers, energy_of, table

from dibench import models, networks, study
from dibench.layer import DIMENSIONS, Layer
from dibench.models import Model, NotCovered
from dibench.schema import network_counts
from dibench.study.findings.networks import WholeNetworks
from dibench.study.ladder.alpha import WeightedAlpha
from dibench.study.ladder.ladder import fit_ladder, make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.questions.all_questions import of_table
from dibench.study.questions.explained_share import explained_share
from dibench.study.table.rows import select

RATIO = 20.0
STEMS = ("alder", "beech", "cedar", "elm", "fir", "hazel", "larch", "maple")


def networks_table(members: Mapping[str, Sequence[Layer]], energy: Any, **cells: Any) -> pd.DataFrame:
    """A row a network, with its counts; of dimensions N, C, H, W."""
    frame = pd.DataFrame([network_counts(layers) for layers in members.values()])
    first = [layers[0] for layers in members.values()]
    for dim in DIMENSIONS:
        known = [getattr(layer, dim) if dim in ("N", "C", "H", "W") else pd.NA for layer in first]
        frame[dim] = pd.array(known, dtype="Int64")
    frame["name"], frame["op"] = list(members), "network"
    frame["device"], frame["dtype"], frame["status"] = "card", "fp32", "ok"
    frame["energy_source"], frame["energy_j"] = "rapl", energy
    return frame.assign(**cells)


def drawn(number: int, seed: int = 0) -> Mapping[str, Sequence[Layer]]:
    """Networks of eight families, each mostly of one operator and of layers whose W/A is alike."""
    random = np.random.default_rng([seed, 5])
    found: dict[str, Sequence[Layer]] = {}
    by_op: dict[str, list[Layer]] = {}
    for layer in sorted(distinct_layers(), key=lambda one: one.weights / one.activations):
        by_op.setdefault(layer.op, []).append(layer)
    for at in range(number):
        layers = by_op[sorted(by_op)[at % len(by_op)]]
        begin = random.integers(len(layers) - 3)
        near = layers[begin : begin + max(4, len(layers) // 10)]
        own = [near[random.integers(len(near))] for _ in range(random.integers(1, 30))]
        own += [some[random.integers(len(some))] for some in by_op.values() if random.random() < 0.2]
        batch = int(random.choice([1, 8, 32]))
        found[f"{STEMS[at % len(STEMS)]}{at}"] = [layer.with_batch(batch) for layer in own]
    return found


def joules(members: Mapping[str, Sequence[Layer]], noise: float, seed: int = 1, alpha: float = 0.2) -> Any:
    exact = [energy_of(layers, alpha=alpha, ratio=RATIO).sum() for layers in members.values()]
    return np.array(exact) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(exact)))


def test_exact_joules_of_networks_give_back_what_each_layer_and_launch_cost() -> None:
    members = drawn(64)
    found = study.fit(networks_table(members, joules(members, 0.0)), draws=99)
    assert found.rows_are == "networks" and found.rows_used == 64 and found.notes == ()
    told = {name: one.value for name, one in found.models["di_weighted"].coefficients.items()}
    operators = ("standard", "depthwise", "pointwise", "grouped", "fc")
    assert told == pytest.approx(
        {f"e0[{op}]": E0_PJ for op in operators}
        | {"e_w": 0.2 * RATIO * E0_PJ, "e_a": 0.8 * RATIO * E0_PJ, "e_launch": LAUNCH_PJ},
        rel=1e-6,
    )
    assert found.alpha.value == pytest.approx(0.2, rel=1e-6)


def test_intervals_of_alpha_hold_the_truth_as_often_as_they_say() -> None:
    """95% of 20 studies of 64 networks with errors of 5%: 16 or more, but for three in a thousand."""
    inside = 0
    members = drawn(64)
    for seed in range(20):
        data = data_of(networks_table(members, joules(members, 0.05, seed)), "energy_j")
        alpha = WeightedAlpha(data, make_clusterings(data, 199, 0)).estimate()
        assert alpha.ci_low is not None and alpha.ci_high is not None
        inside += alpha.ci_low <= 0.2 <= alpha.ci_high
    assert inside >= 16


def of_one_map(number: int) -> Mapping[str, Sequence[Layer]]:
    """As NAS-Bench-201 at one resolution: 3×3 layers of one map size, so M is a multiple of W."""
    return {
        f"{STEMS[at % 8]}{at}": [
            Layer(N=1, C=c, H=32, W=32, K=c, R=3, S=3, pad_h=1, pad_w=1) for c in (8 * 2 ** (at % 5),)
        ]
        * (1 + at % 31)
        for at in range(number)
    }


def test_a_collinear_design_leaves_alpha_open_however_well_it_fits() -> None:
    members = of_one_map(62)
    found = study.fit(networks_table(members, joules(members, 0.01)), draws=99)
    r2 = found.models["di_weighted"].scores.r2
    assert r2 is not None and r2 > 0.99
    assert found.verdict == "undecided" and not found.determined
    assert found.alpha.value is None and (found.collinear.condition or np.inf) > 1e6
    assert found.collinear.correlations["M and W"] == pytest.approx(1.0, abs=1e-9)
    assert {"e0[standard]", "e_w"} <= set(found.collinear.terms)
    (why,) = [reason for reason in found.reasons if "condition number" in reason]
    assert "M and W go together (r 1.000000)" in why
    assert why.endswith("cost, and with it α, stays open whatever R² is")


def test_networks_at_several_inputs_tell_what_one_input_leaves_open() -> None:
    small = of_one_map(31)
    large = {
        f"{name}@64": [Layer.from_dims(layer.dims | {"H": 64, "W": 64, "P": 64, "Q": 64}) for layer in layers]
        for name, layers in small.items()
    }
    members = {**small, **large}
    found = study.fit(networks_table(members, joules(members, 0.0)), draws=99)
    assert found.alpha.value == pytest.approx(0.2, rel=1e-6) and found.collinear.terms == ()


def test_networks_and_layers_are_never_in_one_fit() -> None:
    members = drawn(64)
    whole = networks_table(members, 7 * joules(members, 0.0))
    layers = list(distinct_layers()[:150])
    alone = table(layers, energy_of(layers, alpha=0.2))
    both = pd.concat([alone, whole], ignore_index=True)
    assert select(both).excluded == {"whole network, no layer": 64}
    assert select(both).frame["energy_j"].tolist() == select(alone).frame["energy_j"].tolist()
    apart = study.fit(both, draws=99, networks=True)
    assert apart.rows_used == 64 and apart.excluded == {"layer, the fit is of whole networks": 150}
    e_w = apart.models["di_weighted"].coefficients["e_w"].value
    assert e_w == pytest.approx(7 * 0.2 * RATIO * E0_PJ, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "note", "names"),
    [
        (lambda frame: frame.drop(columns="macs_fc"), "by operator, so all operators have one e₀", {"e0"}),
        (lambda frame: frame.drop(columns="layers"), "e_launch is that of a network", {"e0[fc]"}),
        (lambda frame: frame.drop(columns="inputs"), "taken as many as outputs", {"e0[fc]"}),
    ],
)
def test_what_rows_of_networks_do_not_count_is_said(
    change: Callable[[pd.DataFrame], pd.DataFrame], note: str, names: set[str]
) -> None:
    members = drawn(64)
    found = study.fit(change(networks_table(members, joules(members, 0.0))), draws=99)
    (said,) = found.notes
    assert said.startswith("64 of 64 rows do not count") and note in said
    assert names <= set(found.models["di_weighted"].coefficients)


def test_a_published_network_has_its_counts_by_name_at_its_own_input_only() -> None:
    members = {name: [layer.with_batch(8) for layer in networks.load(name)] for name in networks.names()}
    frame = networks_table(members, joules(members, 0.0))
    bare = frame.drop(columns=[*network_counts([])])
    assert set(bare) & {"macs", "weights", "layers"} == set()
    used = select(bare, networks=True)
    assert used.notes == ("25 of 25 rows have counts that follow from their names",)
    for column in network_counts(members["alexnet"]):
        assert used.frame[column].tolist() == frame[column].tolist()
    larger = bare.assign(H=np.where(bare.name == "resnet50", 299, bare.H))
    found = select(larger, networks=True)
    assert found.excluded == {"no sums of macs, weights and outputs": 1}
    assert "resnet50" not in set(found.frame["name"])


def test_a_module_of_which_a_part_is_no_layer_has_no_counts_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 96% of its multiply-adds the sums stand for it, at 94% they do not, nor where some are not known."""
    members = {name: [layer.with_batch(8) for layer in networks.load(name)] for name in networks.names()}
    own = ["mine:few", "mine:many", "mine:unknown"]
    bare = networks_table(members, joules(members, 0.0)).drop(columns=[*network_counts([])])
    bare["name"] = [*own, *bare["name"].tolist()[3:]]
    layers = tuple(networks.load("alexnet"))
    macs = sum(layer.macs for layer in layers)
    left_out = {"mine:few": macs // 24, "mine:many": macs // 15, "mine:unknown": None}

    def load(name: str, **options: Any) -> Model:
        if name not in left_out:
            return real(name, **options)
        part = NotCovered(name=f"{name}/x", op="bmm", reason="of two activations", macs=left_out[name])
        return Model(name=name, batch=8, layers=layers, not_covered=(part,))

    real = models.load
    monkeypatch.setattr(models, "load", load)
    used = select(bare, networks=True)
    assert used.excluded == {"no sums of macs, weights and outputs": 2}
    assert {*own} & {*used.frame["name"]} == {"mine:few"}


def test_sums_that_contradict_themselves_are_left_out_and_counted() -> None:
    members = drawn(20)
    frame = networks_table(members, joules(members, 0.0))
    at = np.arange(20)
    frame = frame.assign(
        macs=frame["macs"] + np.where(at == 3, 1000, 0), weights=frame["weights"] * (at != 4)
    )
    found = select(frame, networks=True)
    assert found.excluded == {
        "no sums of macs, weights and outputs": 1,
        "macs are not the sum of those by operator": 1,
    }


def test_networks_are_ranked_and_held_out_by_family(run: Run, tmp_path: Path) -> None:
    members = drawn(64)
    frame = networks_table(members, joules(members, 0.02, alpha=0.02))
    found = of_table(frame, draws=199)
    assert isinstance(found.networks, WholeNetworks)
    ranked = found.networks.ranked
    assert found.networks.as_a_whole and len(ranked) == int((frame["N"] == found.networks.batch).sum())
    own = [one.network for one in ranked]
    best = max(own, key=lambda name: sum(map(macs, members[name])) / frame_joules(frame, name))
    assert own[0] == best
    assert found.networks.families["di_weighted"].families == len(STEMS)
    assert found.fit.folds.by == "family" and set(found.fit.folds.families) == set(STEMS)
    for fold in found.fit.folds.dropped:
        assert (fold.rows, fold.rows_dropped, fold.rows_left) == (8, 0, 56)
    frame.to_csv(tmp_path / "own.csv", index=False)
    status, out, err = run(
        "fit", tmp_path / "own.csv", "--full", "--draws", "99", "--json", tmp_path / "own.json"
    )
    out = " ".join(out.split())
    assert (status, err) == (0, "")
    assert "Measured energy of whole networks, with all that runs between their layers" in out
    assert "It rests on all 64 networks in the table" in out
    assert f"energy of each as a whole: {len(ranked)}. What runs between layers is in it" in out
    assert json.loads((tmp_path / "own.json").read_text())["rows_are"] == "networks"
    status, _, err = run("predict", "alexnet", "--fit", tmp_path / "own.json")
    assert (
        status == 2 and "rows_are: must be of layers: a network's joules also hold what runs between" in err
    )


def macs(layer: Layer) -> int:
    return layer.macs


def frame_joules(frame: pd.DataFrame, name: str) -> float:
    return float(frame.loc[frame["name"] == name, "energy_j"].iloc[0])


def test_how_much_of_a_network_its_layers_are_is_said_before_any_ranking(run: Run, tmp_path: Path) -> None:
    """Layers of four networks at batch 8, and each network as a whole at a cost that they are a share of."""
    shares = {"resnet50": 0.44, "vgg16": 0.98, "mobilenet_v2": 0.7, "densenet121": 0.5}
    members = {name: [layer.with_batch(8) for layer in networks.load(name)] for name in shares}
    layers = [layer for found in members.values() for layer in found]
    rows = table(layers, energy_of(layers, alpha=0.2))
    whole = networks_table(members, joules(members, 0.0) / np.array(list(shares.values())))
    elsewhere = whole.assign(device="another", energy_j=1.0)
    larger = whole[:1].assign(name="vgg16", macs=2 * whole["macs"][:1], H=448, W=448)
    of_16 = whole[:1].assign(N=16)
    frame = pd.concat([rows, whole, elsewhere, of_16], ignore_index=True)
    found = explained_share(frame, fit_ladder(frame, device="card", draws=99))
    assert [one.network for one in found] == sorted(shares, key=shares.__getitem__)
    assert {one.network: one.share for one in found} == pytest.approx(shares, rel=1e-9)
    assert {one.batch for one in found} == {8}
    changed = pd.concat([frame, larger], ignore_index=True)  # the last row of vgg16 is of another input
    again = explained_share(changed, fit_ladder(changed, device="card", draws=99))
    assert {one.network for one in again} == set(shares) - {"vgg16"}
    partial = frame[~frame["name"].str.startswith("resnet50/layer4.0")]
    missing = explained_share(partial, fit_ladder(partial, device="card", draws=99))
    assert {one.network for one in missing} == set(shares) - {"resnet50"}
    frame[frame["device"] == "card"].to_csv(tmp_path / "own.csv", index=False)
    status, out, _ = run("fit", tmp_path / "own.csv", "--full", "--draws", "99")
    out = " ".join(out.split())
    said = "layers are 0.44 to 0.98 of 4 networks measured as a whole (resnet50 0.44, densenet121 0.50"
    assert status == 0 and out.index(said) < out.index("Ranking by MAC/J")


def test_a_page_of_whole_networks_speaks_of_networks(run: Run, tmp_path: Path) -> None:
    """Of two cards, each by itself; no figure of layers, which there are none of."""
    members = drawn(40)
    cards = [
        networks_table(members, gain * joules(members, 0.02, seed), device=device)
        for seed, (device, gain) in enumerate({"one": 1.0, "other": 2.0}.items())
    ]
    pd.concat(cards, ignore_index=True).to_csv(tmp_path / "sweep.csv", index=False)
    status, _, err = run("report", tmp_path)
    assert (status, err) == (0, "")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What 40 networks cost on one" in page and "each measured as a whole" in page
    assert "What runs between layers is in it" in page
