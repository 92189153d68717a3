"""Which networks a row is of, and which architecture family a network is of.

A row's network is what its name says before the slash: `resnet18/layer1.0.conv2` is of `resnet18`. A layer
that several networks have may name them all, with `;` between. The family is what the table's column `family`
says, in any row of the network; else the rule here reads it from the name, and `fit` shows what it read:

1. One of the 25 has its published family.
2. A word of the name that is, or contains, a stem of `STEMS` or of the 25 joins that family: `seresnet50`,
   `regnety_032`, `deit_small`. Stems of less than `SHORTEST_PART` letters must be the whole word.
3. Else the first word that says something is the family: `efficientnet_b0`, `tf_efficientnetv2_s`.
4. Else the network is a family of its own: `net3`, `m12`.

Where in doubt networks join: a fold that drops too little has seen the answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from dibench import networks
from dibench.errors import UserError
from dibench.schema import NETWORK, SEPARATOR
from dibench.study.table.columns import texts

if TYPE_CHECKING:
    import pandas as pd

STEMS = {
    "resnet": ("resnest", "res"),  # res2net50
    "regnet": ("regnet",),
    "vit": ("deit", "beit", "eva", "flexivit"),  # plain vision transformers, trained in other ways
    "convnext": ("convnext",),
    "efficientnet": ("efficientnet",),
    "mnasnet": ("mnasnet", "spnasnet"),  # not NASNet, whose name they contain
    "nfnet": ("nfnet",),
    "darknet": ("darknet",),
    "maxvit": ("maxvit", "maxxvit"),
}
"""Stems beyond those of the 25, by family, where the first word alone would not tell."""

SHORTEST_PART = 5
"""Letters of a stem that may be part of a word: `vgg` and `nin` are parts of too many."""

SAYS_NOTHING = frozenset(
    {
        "arch", "cnn", "mine", "model", "my", "net", "network", "new", "own", "test", "legacy", "gluon",
        "timm", "tiny", "small", "base", "large", "huge", "giant", "nano", "pico", "femto", "atto", "mini",
        "medium",
    }
)  # fmt: skip
_SHORTEST_WORD = 3


def networks_of(name: str) -> tuple[str, ...]:
    """The networks that a layer's name says it is of.

    >>> networks_of("resnet50/conv1;resnet101/conv1"), networks_of("conv1")
    (('resnet50', 'resnet101'), ())
    """
    parts = (part.strip() for part in name.split(SEPARATOR))
    return tuple(dict.fromkeys(part.partition("/")[0] for part in parts if "/" in part))


def network_of(name: str) -> str:
    """The first of them, or none.

    >>> network_of("resnet50/conv1"), network_of("conv1")
    ('resnet50', '')
    """
    return next(iter(networks_of(name)), "")


def families_named(cell: str) -> tuple[str, ...]:
    """The families of a cell of the column `family`.

    >>> families_named("resnet;vgg"), families_named("")
    (('resnet', 'vgg'), ())
    """
    return tuple(filter(None, (part.strip() for part in cell.split(SEPARATOR))))


def first_family(cell: str) -> str:
    """The first of them, or none."""
    return next(iter(families_named(cell)), "")


def given_families(frame: pd.DataFrame) -> Mapping[str, str]:
    """By network, the family that the column `family` says.

    Raises:
        UserError: a row has more families than one and not one for each of its networks, or two rows of one
            network say different things.
    """
    found: dict[str, str] = {}
    cells = zip(*(texts(frame, column) for column in ("op", "name", "family")), strict=True)
    for op, name, cell in dict.fromkeys(cells):
        if not cell:
            continue
        members = (name,) if op == NETWORK else networks_of(name)
        for network, family in _paired(tuple(filter(None, members)), families_named(cell), cell):
            if found.setdefault(network, family) != family:
                told = f"{found[network]} and {family}"
                raise UserError("family", f"must be the same in all rows of {network}", told)
    return found


def _paired(members: tuple[str, ...], families: tuple[str, ...], cell: str) -> Iterator[tuple[str, str]]:
    if len(families) == 1:
        families *= len(members)
    if members and len(members) != len(families):
        rule = f"must be one, or one for each of {', '.join(members)}, with {SEPARATOR} between"
        raise UserError("family", rule, cell)
    return zip(members, families, strict=False)


def family_of(network: str) -> str:
    """The architecture family of any network, by its name alone.

    >>> [family_of(name) for name in ("xception", "wide_resnet50_2", "torchvision:resnext101_64x4d")]
    ['inception', 'resnet', 'resnet']
    >>> [family_of(name) for name in ("tf_efficientnet_b4", "efficientnetv2_s", "vit_b_16", "net12")]
    ['efficientnet', 'efficientnet', 'vit', 'net12']
    """
    if network in networks.names():
        return networks.family(network)
    words = _words(network)
    for word in words:
        if (joined := _joined(word)) is not None:
            return joined
    says = (word for word in words if len(word) >= _SHORTEST_WORD and word not in SAYS_NOTHING)
    return next(says, network)


def _joined(word: str) -> str | None:
    """The family of the longest stem that is this word, or a part of it."""
    stems = _stems()
    found = [stem for stem in stems if stem == word or (len(stem) >= SHORTEST_PART and stem in word)]
    return stems[max(found, key=len)] if found else None


def _words(network: str) -> list[str]:
    """Runs of letters, without the `v` before a version: `mobilenetv3_large` is `mobilenet`, `large`."""
    return re.findall(r"[a-z]+?(?=v?\d|[^a-z]|$)", network.lower().rpartition(":")[2])


@cache
def _stems() -> dict[str, str]:
    """Stem → family."""
    published = {_words(name)[0]: networks.family(name) for name in networks.names()}
    return published | {stem: family for family, stems in STEMS.items() for stem in stems}
