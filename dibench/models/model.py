"""A model: the operations that are layers, and the name of every other convolution or product."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from dibench.layer import Layer
from dibench.numbers import count, share_text


@attrs.frozen(kw_only=True)
class NotCovered:
    """A convolution or product of a model that is not a `Layer`, and why; `macs` is None where unknown.

    A product of two activations has counts of its own where its shapes tell them: `operands`, the elements
    of the first and of the second, and `outputs`. Each distinct element counts once, however often it is
    copied to other places. Attention that is one operator has Q as its first operand, K and V as its second.

    >>> scores = NotCovered(name="m/bmm", op="bmm", reason="", macs=4000, operands=(200, 200), outputs=400)
    >>> scores.reuse, scores.ai
    ((20.0, 20.0, 10.0), 5.0)
    """

    name: str
    op: str
    reason: str
    macs: int | None
    operands: tuple[int, int] | None = None
    outputs: int | None = None

    @property
    def reuse(self) -> tuple[float, float, float] | None:
        """Multiply-adds per element of the first operand, of the second and of the output."""
        if self.macs is None or self._elements is None:
            return None
        first, second, output = self._elements
        return self.macs / first, self.macs / second, self.macs / output

    @property
    def ai(self) -> float | None:
        """Multiply-adds per element of both operands and the output."""
        if self.macs is None or self._elements is None:
            return None
        return self.macs / sum(self._elements)

    @property
    def _elements(self) -> tuple[int, int, int] | None:
        """Of both operands and the output, where all are known and none is empty."""
        if self.operands is None or not self.outputs or 0 in self.operands:
            return None
        return *self.operands, self.outputs


@attrs.frozen(kw_only=True)
class MacShare:
    """How much of a model's multiply-adds a sum over some of its layers holds.

    >>> half = MacShare(macs=50, macs_known=100)
    >>> half.share_of_macs, half.partial, MacShare(macs=50, macs_known=50, macs_unknown=1).partial
    (0.5, True, True)
    """

    macs: int = attrs.field(metadata={"plain": False})
    """In the sum."""
    macs_known: int
    """Of the model, as far as they are known."""
    macs_unknown: int = 0
    """Operations of the model whose multiply-adds are not known."""
    share_of_macs: float = attrs.field(init=False)
    """The most that the sum can hold of them, 0 to 1: less where some are unknown."""
    partial: bool = attrs.field(init=False)
    """Whether the sum leaves any out, as far as is known; a sum over nothing does."""

    @share_of_macs.default
    def _share(self) -> float:
        return self.macs / self.macs_known if self.macs_known else 0.0

    @partial.default
    def _partial(self) -> bool:
        return not self.macs or self.macs < self.macs_known or self.macs_unknown > 0

    @property
    def text(self) -> str:
        """In words.

        >>> MacShare(macs=28, macs_known=100).text, MacShare(macs=5, macs_known=5, macs_unknown=2).text
        ('28% of MACs', 'an unknown share of MACs')
        """
        if self.macs_unknown and self.macs == self.macs_known:
            return "an unknown share of MACs"
        share = share_text(self.macs, self.macs_known)
        return f"{'at most ' if self.macs_unknown else ''}{share} of MACs"


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
        first = [(layer.N, layer.C, layer.H, layer.W) for layer in self.layers[:1] if not layer.transposed]
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

    def share(self, macs: int) -> MacShare:
        """How much of its multiply-adds a sum over some of its layers holds.

        Args:
            macs: of these layers.
        """
        unknown = sum(part.macs is None for part in self.not_covered)
        return MacShare(macs=macs, macs_known=self.macs_known, macs_unknown=unknown)

    @property
    def covered(self) -> MacShare:
        """How much of its multiply-adds its layers are."""
        return self.share(self.macs)

    @property
    def coverage(self) -> str:
        """One line that says which share of the model's MACs the layers cover.

        >>> Model(name="m", batch=1, layers=(Layer.fc(N=1, C=10, K=10),)).coverage
        'covers 100 of 100 MACs (100%): every convolution and product of the model'
        """
        covered = self.covered
        left_out = f"{len(self.not_covered)} not covered"
        unknown = f", {covered.macs_unknown} of them of unknown MACs" if covered.macs_unknown else ""
        if not self.macs and not self.not_covered:
            return "covers 0 MACs: no convolution and no product that dibench knows is in the model"
        if not self.macs_known:
            return f"covers nothing: {left_out}{unknown}"
        known = count(self.macs_known) + (" known" if unknown else "")
        share = f"{'at most ' if unknown else ''}{share_text(self.macs, self.macs_known, 1)}"
        every = left_out + unknown if self.not_covered else "every convolution and product of the model"
        return f"covers {count(self.macs)} of {known} MACs ({share}): {every}"


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
