"""The 25 networks: totals equal the published table to the last element."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from dibench import networks
from dibench.errors import UserError

TOTALS = list(
    csv.DictReader(
        (resources.files("dibench.networks") / "tables" / "totals.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
)


def test_there_are_25_networks_of_2282_layers_and_572_shapes() -> None:
    layers = [layer for name in networks.names() for layer in networks.load(name)]
    assert len(networks.names()) == len(TOTALS) == 25
    assert len(layers) == 2282
    assert len(networks.distinct(layers)) == 572
    assert len({layer.name for layer in layers}) == 2282


@pytest.mark.parametrize("row", TOTALS, ids=lambda row: row["network"])
def test_totals_equal_the_table_exactly(row: dict[str, str]) -> None:
    layers = networks.load(row["network"])
    assert len(layers) == int(row["n_layers"])
    assert sum(layer.macs for layer in layers) == int(row["macs"])
    assert sum(layer.weights for layer in layers) == int(row["params_conv_linear"])
    assert sum(layer.inputs for layer in layers) == int(row["input_acts"])
    assert sum(layer.outputs for layer in layers) == int(row["output_acts"])


@pytest.mark.parametrize(
    "row", [row for row in TOTALS if row["published_gflops"]], ids=lambda row: row["network"]
)
def test_macs_are_the_published_ones_to_their_printed_digits(row: dict[str, str]) -> None:
    published = float(row["published_gflops"])
    macs = sum(layer.macs for layer in networks.load(row["network"])) / 1e9
    # Published counters differ by what they add (batch norm, pooling): within 3%, and never half or double.
    assert abs(macs - published) / published < 0.03


def test_every_network_has_one_family() -> None:
    for name in networks.names():
        assert name in networks.FAMILIES[networks.family(name)]


def test_distinct_keeps_the_first_name() -> None:
    layers = networks.load("vgg16")
    kept = networks.distinct(layers)
    assert len({layer.shape for layer in layers}) == len(kept)
    assert kept[0].name == "vgg16/features.0"


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"network: must be one of the 25 networks, perhaps resnet50.*'resnet5'"
    ):
        networks.load("resnet5")
    with pytest.raises(UserError, match=r"layer: must be a layer of resnet50, perhaps layer1\.0\.conv2"):
        networks.find("resnet50/layer1.0.conv22")
    with pytest.raises(UserError, match="network: must be one of the 25 networks"):
        networks.find("")
