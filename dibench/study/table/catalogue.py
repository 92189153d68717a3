"""The networks that a table's rows are of, their families, and the layers that each of them has.

A row's network is what its name says before the slash. One of the 25 has its published layers. Any other has
the layers that the table names after it, measured or not, each name once. Rows without a name are of those of
the 25 that such rows hold whole (`REQUIRED_SHARE`). A name that is one of the 25 brings its whole family with
it: a sweep measures each shape once, under the first name that it came with.

A network outside the 25 is in the family of those of the 25 that share its stem (`resnet18`), else of the
networks that do (`efficientnet_b0`, `efficientnet_b4`). A stem is the first word of the name. One that says
nothing (`net3`, `m12`) makes no family: such a network is a family of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import attrs

from dibench import networks
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import NO_LAYER
from dibench.study.table.columns import numbers, shape_key, texts

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_SHARE = 0.95
"""Share of a network's multiply-adds, and of its elements, that measured layers must hold."""

_SAYS_NOTHING = frozenset({"arch", "cnn", "mine", "model", "my", "net", "network", "new", "own", "test"})
_SHORTEST_STEM = 3


@attrs.frozen
class Catalogue:
    """Networks by name: family, layers, shapes."""

    family: Mapping[str, str]
    layers: Mapping[str, tuple[Layer, ...]]
    """In the network's order, of one image; a layer that occurs twice is there twice."""
    shapes: Mapping[str, frozenset[str]]
    """Keys of these layers, and of the rows that are named after the network."""

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Their networks by family."""
        found: dict[str, list[str]] = {}
        for network, family in self.family.items():
            found.setdefault(family, []).append(network)
        return {family: tuple(members) for family, members in found.items()}

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """By family, its networks outside the 25, which their names put there."""
        own = {
            family: tuple(network for network in members if network not in networks.names())
            for family, members in self.families.items()
        }
        return {family: members for family, members in own.items() if members}

    def shapes_of(self, *members: str) -> list[str]:
        """The distinct shapes of some networks, sorted."""
        return sorted(frozenset().union(*(self.shapes[network] for network in members)))


@cache
def the_25() -> Catalogue:
    """Those whose layers come with the program."""
    return _catalogue(networks.names(), {}, {})


def catalogue_of(frame: pd.DataFrame) -> Catalogue:
    """The networks of a table of the CSV contract: those of the 25 first, then its own by name."""
    layers = _named_layers(frame)
    published = {network for network in layers if network in networks.names()}
    families = {networks.family(network) for network in published}
    whole = _held_whole({shape_key(layer.shape) for layer in layers.pop("", ())})
    known = [name for name in networks.names() if networks.family(name) in families or name in whole]
    own = {network: found for network, found in sorted(layers.items()) if network not in published}
    return _catalogue(known, own, {network: layers[network] for network in published})


def network_of(name: str) -> str:
    """
    >>> network_of("resnet50/conv1"), network_of("conv1")
    ('resnet50', '')
    """
    return name.partition("/")[0] if "/" in name else ""


def family_of(network: str) -> str:
    """The architecture family of any network, by its name alone.

    >>> [family_of(name) for name in ("xception", "wide_resnet50_2", "torchvision:resnext101_64x4d")]
    ['inception', 'resnet', 'resnet']
    >>> [family_of(name) for name in ("efficientnet_b4", "efficientnetv2_s", "vit_b_16", "net12")]
    ['efficientnet', 'efficientnet', 'vit', 'net12']
    """
    if network in networks.names():
        return networks.family(network)
    words = _words(network)
    for word in words:
        if word in _known_stems():
            return _known_stems()[word]
    stem = words[0] if words else ""
    return network if len(stem) < _SHORTEST_STEM or stem in _SAYS_NOTHING else stem


def _words(network: str) -> list[str]:
    """Runs of letters, without the `v` before a version: `mobilenetv3_large` is `mobilenet`, `large`."""
    return re.findall(r"[a-z]+?(?=v?\d|[^a-z]|$)", network.lower().rpartition(":")[2])


@cache
def _known_stems() -> dict[str, str]:
    return {_words(name)[0]: networks.family(name) for name in networks.names()}


def _named_layers(frame: pd.DataFrame) -> dict[str, tuple[Layer, ...]]:
    """By network, the layers that the table names after it; under the empty name those without one."""
    rows = frame[~frame["op"].isin(NO_LAYER) & ~(numbers(frame, "sentinel") == 1)]
    rows = rows.assign(name=texts(rows, "name"))[["name", *DIMENSIONS]].dropna().drop_duplicates()
    found: dict[str, dict[Layer, list[int]]] = {}
    for name, batch, *sizes in rows.itertuples(index=False):
        layer = Layer(N=1, **dict(zip(DIMENSIONS[1:], map(int, sizes), strict=True)), name=name)
        found.setdefault(network_of(name), {}).setdefault(layer, []).append(int(batch))
    return {network: tuple(_of_one_image(layers)) for network, layers in found.items()}


def _of_one_image(layers: Mapping[Layer, Sequence[int]]) -> Iterator[Layer]:
    """Layers, each measured at some N, as one image needs them.

    N counts images, but in a linear layer inside a network, as transformers have it, rows: so many an image.
    """
    images = {n for layer, at in layers.items() if layer.op != "fc" for n in at}
    images = images or {n for at in layers.values() for n in at}
    for layer, at in layers.items():
        rows, rest = divmod(min(at), min(images))
        yield layer if rest or min(at) in images else layer.with_batch(rows)


def _held_whole(shapes: set[str]) -> set[str]:
    """Those of the 25 of which these shapes hold the required share."""
    return {name for name in networks.names() if shapes and _share(networks.load(name), shapes)}


def _share(layers: Sequence[Layer], shapes: set[str]) -> bool:
    held = [layer for layer in layers if shape_key(layer.shape) in shapes]
    return all(
        sum(map(count, held)) >= REQUIRED_SHARE * sum(map(count, layers)) for count in (_macs, _elements)
    )


def _macs(layer: Layer) -> int:
    return layer.macs


def _elements(layer: Layer) -> int:
    return layer.weights + layer.activations


def _catalogue(
    known: Iterable[str],
    own: Mapping[str, tuple[Layer, ...]],
    named: Mapping[str, tuple[Layer, ...]],
) -> Catalogue:
    """
    Args:
        known: of the 25.
        own: others, with their layers.
        named: layers that rows call by the name of one of the 25.
    """
    layers = {name: networks.load(name) for name in known} | dict(own)
    shapes = {
        network: frozenset(shape_key(layer.shape) for layer in (*found, *named.get(network, ())))
        for network, found in layers.items()
    }
    return Catalogue({network: family_of(network) for network in layers}, layers, shapes)
