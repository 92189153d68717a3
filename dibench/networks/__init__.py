"""The layers of 25 published networks at batch 1, one CSV table each."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import resources

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer

FAMILIES = {
    "alexnet": ("alexnet",),
    "vgg": ("vgg16", "vgg19"),
    "nin": ("nin",),
    "inception": ("googlenet", "inception_v3", "inception_v4", "inception_resnet_v2", "xception"),
    "resnet": ("resnet50", "resnet101", "resnet152_v2", "resnext50_32x4d", "resnext101_32x8d"),
    "densenet": ("densenet121", "densenet201"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1", "squeezenext23_w1"),
    "mobilenet": ("mobilenet_v1", "mobilenet_v2", "igcv3_w1"),
    "shufflenet": ("shufflenet_v1_g3", "shufflenet_v2_x1_0"),
    "nasnet": ("nasnet_a_mobile",),
}
"""Architecture families: networks of one family share shapes and ideas, so folds drop them together."""


@cache
def names() -> tuple[str, ...]:
    """The 25 network names, by family."""
    return tuple(name for members in FAMILIES.values() for name in members)


def family(network: str) -> str:
    """The architecture family of a network.

    >>> family("resnext50_32x4d")
    'resnet'
    """
    for name, members in FAMILIES.items():
        if network in members:
            return name
    raise _unknown(network)


@cache
def load(network: str) -> tuple[Layer, ...]:
    """The layers of a network in execution order at batch 1, named `network/layer`.

    Raises:
        UserError: there is no such network.

    >>> len(load("resnet50")), load("resnet50")[2].name
    (54, 'resnet50/layer1.0.conv2')
    """
    if network not in names():
        raise _unknown(network)
    table = (resources.files(__name__) / "tables" / f"{network}.csv").read_text(encoding="utf-8")
    return tuple(
        Layer.from_dims({d: int(row[d]) for d in DIMENSIONS}, name=f"{network}/{row['name']}")
        for row in csv.DictReader(table.splitlines())
    )


def find(name: str) -> Layer:
    """The layer `network/layer`.

    Raises:
        UserError: no such network, or no such layer in it; the message names the nearest.
    """
    network, _, rest = name.partition("/")
    layers = {layer.name: layer for layer in load(network)}
    if name not in layers:
        known = [known.partition("/")[2] for known in layers]
        raise UserError("layer", f"must be a layer of {network}{nearest(rest, known)}", rest)
    return layers[name]


def distinct(layers: Iterable[Layer]) -> list[Layer]:
    """The layers of different shape, each under the first name it came with."""
    seen: dict[tuple[int, ...], Layer] = {}
    for layer in layers:
        seen.setdefault(layer.shape, layer)
    return list(seen.values())


def _unknown(network: str) -> UserError:
    return UserError("network", f"must be one of the 25 networks{nearest(network, names())}", network)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known words that one is close to, as the end of a sentence; nothing where none is.

    >>> nearest("vgg61", names())
    ', perhaps vgg19 or vgg16'
    """
    close = get_close_matches(word, list(known), n=3, cutoff=0.4)
    return f", perhaps {' or '.join(close)}" if close else ""
