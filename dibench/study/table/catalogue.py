"""The networks that a table's rows are of, their families, and the layers that each of them has.

A row's network is what its name says before the slash. One of the 25 has its published layers. Any other has
the layers that the table names after it, measured or not, each name once. Rows without a name are of those of
the 25 that such rows hold whole (`REQUIRED_SHARE`). A name that is one of the 25 brings its whole family with
it: a sweep measures each shape once, under the first name that it came with. Families are those that the
table states, else those of the names (`table.families`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import attrs

from dibench import networks
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import NO_LAYER, SEPARATOR
from dibench.study.table.columns import (
    first_rows,
    is_network,
    numbers,
    row_numbers,
    shape_key,
    shapes,
    texts,
)
from dibench.study.table.families import families_named, family_of, given_families, network_of

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_SHARE = 0.95
"""Share of a network's multiply-adds, and of its elements, that measured layers must hold."""


@attrs.frozen
class Catalogue:
    """Networks by name: family, layers, shapes."""

    family: Mapping[str, str]
    layers: Mapping[str, tuple[Layer, ...]]
    """In the network's order, of one image; a layer that occurs twice is there twice."""
    shapes: Mapping[str, frozenset[str]]
    """Keys of these layers, and of the rows that are named after the network."""
    stated: frozenset[str] = frozenset()
    """Networks whose family the table states."""
    of_rows: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    """By family, keys of the rows that state it."""

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """Their networks by family; none of one that only rows without a name state."""
        found: dict[str, list[str]] = {}
        for network, family in self.family.items():
            found.setdefault(family, []).append(network)
        for family in self.of_rows:
            found.setdefault(family, [])
        return {family: tuple(members) for family, members in found.items()}

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """By family, its networks outside the 25, which their names put there."""
        known = self.stated.union(networks.names())
        own = {
            family: tuple(network for network in members if network not in known)
            for family, members in self.families.items()
        }
        return {family: members for family, members in own.items() if members}

    @property
    def stating(self) -> dict[str, tuple[str, ...]]:
        """By family, its networks that the table puts there."""
        own = {
            family: tuple(network for network in members if network in self.stated)
            for family, members in self.families.items()
        }
        return {family: members for family, members in own.items() if members or family in self.of_rows}

    def shapes_of(self, *members: str) -> list[str]:
        """The distinct shapes of some networks, sorted."""
        return sorted(frozenset().union(*(self.shapes[network] for network in members)))

    def shapes_in(self, family: str) -> list[str]:
        """The distinct shapes of a family's networks, and of the rows that state it, sorted."""
        own = self.of_rows.get(family, frozenset())
        return sorted(own.union(self.shapes_of(*self.families[family])))


@cache
def the_25() -> Catalogue:
    """Those whose layers come with the program."""
    return _catalogue(networks.names(), {}, {})


def catalogue_of(frame: pd.DataFrame, *, whole: bool = False) -> Catalogue:
    """The networks of a table of the CSV contract: those of the 25 first, then its own by name.

    Args:
        frame: the table.
        whole: of its rows of whole networks, whose layers are not known: each is a shape of its own.

    Raises:
        UserError: the column `family` contradicts itself.
    """
    stated = given_families(frame)
    if whole:
        return _of_whole_networks(frame[is_network(frame)], stated)
    layers = _named_layers(frame)
    published = {network for network in layers if network in networks.names()}
    families = {networks.family(network) for network in published}
    held = _held_whole({shape_key(layer.shape) for layer in layers.pop("", ())})
    known = [name for name in networks.names() if networks.family(name) in families or name in held]
    own = {network: found for network, found in sorted(layers.items()) if network not in published}
    named = {network: layers[network] for network in published}
    return _catalogue(known, own, named, stated, _by_stated_family(frame[~frame["op"].isin(NO_LAYER)]))


def _of_whole_networks(rows: pd.DataFrame, stated: Mapping[str, str]) -> Catalogue:
    keys: dict[str, set[str]] = {}
    for name, shape in zip(texts(rows, "name"), shapes(rows), strict=True):
        keys.setdefault(name, set()).add(str(shape))
    keys.pop("", None)
    family = {network: stated.get(network) or family_of(network) for network in sorted(keys)}
    own = {network: frozenset(keys[network]) for network in family}
    return Catalogue(family, {}, own, frozenset(stated), _by_stated_family(rows))


def _by_stated_family(rows: pd.DataFrame) -> dict[str, frozenset[str]]:
    """By family, the shapes of the rows that state it."""
    known = is_network(rows) | rows[list(DIMENSIONS)].notna().all(axis=1).to_numpy(dtype=bool)
    rows = rows[known & (texts(rows, "family") != "")]
    found: dict[str, set[str]] = {}
    for cell, shape in dict.fromkeys(zip(texts(rows, "family"), shapes(rows).tolist(), strict=True)):
        for family in families_named(cell):
            found.setdefault(family, set()).add(shape)
    return {family: frozenset(keys) for family, keys in found.items()}


def _named_layers(frame: pd.DataFrame) -> dict[str, tuple[Layer, ...]]:
    """By network, the layers that the table names after it; under the empty name those without one."""
    counted = ~frame["op"].isin(NO_LAYER) & ~(numbers(frame, "sentinel") == 1)
    rows = frame[list(DIMENSIONS)].assign(name=texts(frame, "name"))[["name", *DIMENSIONS]][counted].dropna()
    rows = rows.iloc[first_rows(row_numbers(rows, rows))]
    found: dict[str, dict[Layer, list[int]]] = {}
    for name, batch, *sizes in rows.itertuples(index=False):
        for part in map(str.strip, name.split(SEPARATOR)):
            layer = Layer.from_dims(dict(zip(DIMENSIONS, (1, *map(int, sizes)), strict=True)), name=part)
            found.setdefault(network_of(part), {}).setdefault(layer, []).append(int(batch))
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
    stated: Mapping[str, str] | None = None,
    of_rows: Mapping[str, frozenset[str]] | None = None,
) -> Catalogue:
    """
    Args:
        known: of the 25.
        own: others, with their layers.
        named: layers that rows call by the name of one of the 25.
        stated: families by network, as the table states them.
        of_rows: by family, shapes of rows that state it.
    """
    stated = stated or {}
    layers = {name: networks.load(name) for name in known} | dict(own)
    keys = {
        network: frozenset(shape_key(layer.shape) for layer in (*found, *named.get(network, ())))
        for network, found in layers.items()
    }
    family = {network: stated.get(network) or family_of(network) for network in layers}
    return Catalogue(family, layers, keys, frozenset(stated), of_rows or {})
