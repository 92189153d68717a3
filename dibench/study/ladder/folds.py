"""Folds that hold out whole architecture families and every layer shape they share.

Every shape of resnet50 occurs in resnet101: a fold that drops only one of the two has seen its answers. So a
fold drops every row of a family, and of the other rows each whose shape occurs in one of its networks.

Rows of no family are held out by layer, in the same pass. What each fold dropped is counted, so that no
figure passes for one by family that is not.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.models import Data
from dibench.study.maths.inference import Clustering, clustering
from dibench.study.maths.labels import Labels, distinct, labelled
from dibench.study.table.catalogue import Catalogue, the_25
from dibench.study.table.families import family_of

LAYER_FOLDS = 10
FEWEST_FAMILIES = 3


@attrs.frozen
class Fold:
    """Rows to predict, and rows to fit to."""

    name: str
    test: NDArray[np.bool_]
    train: NDArray[np.bool_]


@attrs.frozen
class Folds:
    """The folds of a set of rows, and what each holds out."""

    by: str
    """`family` where every row has one, `layer` where none has or there are too few families, else `family
    and layer`."""
    folds: tuple[Fold, ...]
    clusters: tuple[Clustering, ...] = ()
    """By family, of what errors may have in common; none where the folds know of no families."""
    by_family: Clustering | None = None
    """As of `families_of`."""
    without: NDArray[np.bool_] | None = None
    """(n,): rows of no family."""
    families: tuple[str, ...] = ()
    """Of all rows, also where they are too few to be held out."""


def make_folds(data: Data, seed: int = 0, catalogue: Catalogue | None = None) -> Folds:
    """One fold per architecture family; ten folds of layers for rows of no network.

    With rows of fewer than three families, all rows are held out by layer. Layers are dealt to folds at
    random from the seed, each with all its batches.

    Args:
        data: the rows.
        seed: of the deal.
        catalogue: of the networks in their table; by default the 25.
    """
    catalogue = catalogue or the_25()
    of_network = labelled(data.network, lambda network: catalogue.family.get(network, ""))
    family = np.where(data.family != "", data.family, of_network)
    without, families = family == "", tuple(sorted(set(family.tolist()) - {""}))
    if len(families) < FEWEST_FAMILIES:
        family = np.full(len(data), "", dtype=object)
    by_layer = _deal_layers(data.layer, seed)
    shapes, shape = distinct(data.layer)
    label = np.where(family != "", family, by_layer)
    folds = []
    for name in sorted(set(label.tolist())):
        test = label == name
        if name in catalogue.families:
            shared = np.isin(shapes, catalogue.shapes_in(name))[shape]
        else:
            shared = (np.bincount(shape, test, minlength=len(shapes)) > 0)[shape]
        folds.append(Fold(name, test, ~test & ~shared))
    found, known = bool((family != "").any()), families_of(data, catalogue)
    return Folds(
        by="layer" if not found else "family and layer" if without.any() else "family",
        folds=tuple(folds),
        clusters=(known,) if found else (),
        by_family=known,
        without=without,
        families=families,
    )


def families_of(data: Data, catalogue: Catalogue | None = None) -> Clustering:
    """Clusters by family of networks; a layer of no network is one by itself. By layer without networks.

    Args:
        data: the rows.
        catalogue: of their table, which may state families; without it their names tell.
    """
    known = {} if catalogue is None else catalogue.family
    own = labelled(data.network, lambda one: known.get(one) or (family_of(one) if one else ""))
    family = np.where(data.family != "", data.family, own)
    families, layers = labelled(family, "family {}".format), labelled(data.layer, "layer {}".format)
    labels = np.where(family != "", families, layers)
    return clustering("family" if (family != "").any() else "layer", labels, draws=1, seed=0)


def _deal_layers(layer: Labels, seed: int) -> Labels:
    names, which = distinct(layer)
    order = np.random.default_rng(seed).permutation(len(names)) % LAYER_FOLDS
    return labelled(order[which], "layers {}".format)
