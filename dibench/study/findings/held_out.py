"""How well models predict families of networks that they have not seen, beside random rows held out."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Errors:
    """Of the predictions of layers, or of networks; None where they are too few to say."""

    n: int
    mape: float | None
    spearman: float | None


@attrs.frozen
class ModelErrors:
    """One model's errors, by family and by the naive split into random rows; scored on the same rows."""

    layers: Errors
    networks: Errors
    layers_naive: Errors
    networks_naive: Errors


@attrs.frozen
class Family:
    """A family that was held out."""

    family: str
    rows: int
    rows_left: int
    """Rows that share no shape with it: what the models learned from."""


@attrs.frozen
class UnseenNetwork:
    """A network at one batch size: the sum of its layers per inference, measured and predicted by model."""

    network: str
    batch: int
    covered_macs: float
    covered_elements: float
    measured: float
    held_out: Mapping[str, float]
    naive: Mapping[str, float]


@attrs.frozen
class Undecided:
    """Why there are no errors; None where there are."""

    layers: str | None
    networks: str | None


@attrs.frozen
class HeldOut:
    """Each family predicted without its rows and every shape that it shares."""

    families: tuple[Family, ...]
    skipped: Mapping[str, int]
    """Families that leave too few rows, and how many they leave."""
    rows_needed: int
    """By the largest model."""
    small: Mapping[str, int]
    """Families of too few different layers, and how many they have."""
    named: Mapping[str, tuple[str, ...]]
    """By family, its networks outside the 25, which their names put there."""
    stated: Mapping[str, tuple[str, ...]]
    """By family, the networks that the table puts there."""
    layers_needed: int
    """Different layers of a family."""
    required_share: float
    """Of a network's multiply-adds and elements that rows must hold."""
    models: Mapping[str, ModelErrors]
    networks: tuple[UnseenNetwork, ...]
    undecided: Undecided
