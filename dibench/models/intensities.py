"""What a model's layers reuse, alone and together, and which of them drag the whole down."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dibench import intensity
from dibench.layer import Layer

COLUMNS = ("macs", "weights", "inputs", "outputs", "weight_reuse", "input_reuse", "output_reuse", "ai")
"""What a table for programs says of a layer or network."""

DI_COLUMNS = ("alpha_weighted", "di_weighted", "alpha_disjoint", "di_disjoint")
"""And what it says more where an α is chosen."""


@attrs.frozen(kw_only=True)
class AlphaValues:
    """The weight of weights against activations in each form of DI, from 0 to 1; ½ weighs them alike."""

    weighted: float
    disjoint: float


@attrs.frozen(kw_only=True)
class Reuse:
    """Counts of one layer or a whole network, and what follows from them.

    For a network they are sums over its layers: each layer reads its input and writes its output.
    """

    macs: int
    weights: int
    inputs: int
    outputs: int

    @property
    def ai(self) -> float:
        """M / (W + A) in MAC per element."""
        return float(intensity.arithmetic_intensity(self.macs, self.weights, self.inputs + self.outputs))

    @property
    def by_data_type(self) -> tuple[float, float, float]:
        """Multiply-adds per weight, per input and per output."""
        return self.macs / self.weights, self.macs / self.inputs, self.macs / self.outputs

    def di(self, alphas: AlphaValues) -> tuple[float, float]:
        """DI in its weighted and in its disjoint form."""
        activations = self.inputs + self.outputs
        return (
            float(intensity.di_weighted(self.macs, self.weights, activations, alphas.weighted)),
            float(intensity.di_disjoint(self.macs, self.weights, activations, alphas.disjoint)),
        )

    def figures(self, alphas: AlphaValues | None) -> dict[str, float]:
        """By name of `COLUMNS` and, with an α, of `DI_COLUMNS`; of no layers the counts alone, all zero."""
        counts = (self.macs, self.weights, self.inputs, self.outputs)
        if not self.macs:
            return dict(zip(COLUMNS, counts, strict=False))
        found = dict(zip(COLUMNS, (*counts, *self.by_data_type, self.ai), strict=True))
        if alphas is not None:
            weighted, disjoint = self.di(alphas)
            di = (alphas.weighted, weighted, alphas.disjoint, disjoint)
            found |= zip(DI_COLUMNS, di, strict=True)
        return found


def reuse_of(layers: Sequence[Layer]) -> Reuse:
    """The sums over layers.

    >>> reuse_of([Layer.fc(N=1, C=4, K=2)] * 2)
    Reuse(macs=16, weights=16, inputs=8, outputs=4)
    """
    return Reuse(
        macs=sum(layer.macs for layer in layers),
        weights=sum(layer.weights for layer in layers),
        inputs=sum(layer.inputs for layer in layers),
        outputs=sum(layer.outputs for layer in layers),
    )


@attrs.frozen(kw_only=True)
class Drag:
    """One layer's part in the network's intensity.

    Elements are W + A, weighted as DI weighs them (2·(α·W + (1−α)·A)) where there is an α.

    Attributes:
        layer: which.
        macs_share: of the network's multiply-adds.
        elements_share: of the network's elements.
        lost: by which fraction the network's intensity would rise if this layer moved as few elements a
            multiply-add as the network does on the whole; 0 where it moves fewer.
    """

    layer: Layer
    macs_share: float
    elements_share: float
    lost: float


def drags(layers: Sequence[Layer], alpha: float = 0.5) -> list[Drag]:
    """The layers by what the network's AI (α = ½) or weighted DI loses through each, worst first.

    >>> heavy, light = Layer.fc(N=1, C=100, K=100), Layer(N=1, C=8, H=9, W=9, K=8, R=3, S=3)
    >>> [(drag.layer.op, drag.lost > 0) for drag in drags([light, heavy])]
    [('fc', True), ('standard', False)]
    """

    def elements(layer: Layer) -> float:
        return 2 * (alpha * layer.weights + (1 - alpha) * layer.activations)

    all_macs, all_elements = sum(layer.macs for layer in layers), sum(map(elements, layers))
    ranked = []
    for layer in layers:
        macs_share, elements_share = layer.macs / all_macs, elements(layer) / all_elements
        excess = max(0.0, elements_share - macs_share)
        ranked.append(
            Drag(
                layer=layer, macs_share=macs_share, elements_share=elements_share, lost=excess / (1 - excess)
            )
        )
    return sorted(ranked, key=lambda drag: -drag.lost)
