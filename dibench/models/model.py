"""A model: the operations that are layers, and the name of every other convolution or product."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from dibench.layer import Layer
from dibench.numbers import count, percent


@attrs.frozen(kw_only=True)
class NotCovered:
    """A convolution or product of a model that is not a `Layer`, and why; `macs` is None where unknown."""

    name: str
    op: str
    reason: str
    macs: int | None


@attrs.frozen(kw_only=True)
class Model:
    """The layers of one model in execution order at one batch size, and what is not covered by them.

    `layers` have unique names `model/node`; a layer that runs twice is listed twice. `parameters` counts the
    elements of all parameters, biases and normalisation included; it is None where the source does not say.
    `note` says how the model was read, where that is not as usual.
    """

    name: str
    batch: int
    layers: tuple[Layer, ...]
    not_covered: tuple[NotCovered, ...] = ()
    input_shapes: dict[str, tuple[int, ...]] = attrs.field(factory=dict)
    parameters: int | None = None
    note: str = ""

    @property
    def image(self) -> tuple[int, int, int] | None:
        """C, H and W of the image that it takes; None where it takes something else, or nothing is known.

        A table of layers has no inputs: there it is that of the first layer.

        >>> Model(name="m", batch=2, layers=(Layer(N=2, C=3, H=32, W=32, K=8, R=3, S=3),)).image
        (3, 32, 32)
        """
        first = [(layer.N, layer.C, layer.H, layer.W) for layer in self.layers[:1]]
        shapes = list(self.input_shapes.values()) or first
        if len(shapes) != 1 or len(shapes[0]) != 4:
            return None
        _, channels, height, width = shapes[0]
        return channels, height, width

    @property
    def macs(self) -> int:
        """Multiply-adds of `layers`."""
        return sum(layer.macs for layer in self.layers)

    @property
    def macs_known(self) -> int:
        """Multiply-adds of `layers`, and the known ones of what is not covered."""
        return self.macs + sum(part.macs or 0 for part in self.not_covered)

    @property
    def weights(self) -> int:
        """Weight elements of `layers`; a weight that two layers read counts twice."""
        return sum(layer.weights for layer in self.layers)

    @property
    def coverage(self) -> str:
        """One line that says which share of the model's MACs the layers cover.

        >>> Model(name="m", batch=1, layers=(Layer.fc(N=1, C=10, K=10),)).coverage
        'covers 100 of 100 MACs (100%): every convolution and product of the model'
        """
        if not self.not_covered and not self.macs:
            return "covers 0 MACs: no convolution and no product that dibench knows is in the model"
        if not self.not_covered:
            every = "every convolution and product of the model"
            return f"covers {count(self.macs)} of {count(self.macs)} MACs (100%): {every}"
        unknown = sum(part.macs is None for part in self.not_covered)
        known = count(self.macs_known) + (" known" if unknown else "")
        share = f" ({percent(self.macs / self.macs_known, 1)})" if self.macs_known else ""
        text = f"covers {count(self.macs)} of {known} MACs{share}: {len(self.not_covered)} not covered"
        return text + (f", {unknown} of them of unknown MACs" if unknown else "")


def unique_names(model: str, nodes: Iterable[str]) -> list[str]:
    """`model/node` for each node; a name that occurs again gets `#2`, `#3`, ...

    >>> unique_names("m", ["conv", "fc", "conv"])
    ['m/conv', 'm/fc', 'm/conv#2']
    """
    taken: set[str] = set()
    last: dict[str, int] = {}  # a recurrent layer has one name for thousands of steps
    names = []
    for node in nodes:
        base = name = f"{model}/{node}"
        number = last.get(base, 1)
        while name in taken:
            number += 1
            name = f"{base}#{number}"
        last[base] = number
        taken.add(name)
        names.append(name)
    return names
