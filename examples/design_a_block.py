"""Two designs of one block of a network: a 3×3 convolution, and depthwise 3×3 followed by pointwise."""

from dibench.intensity import di_weighted
from dibench.layer import Layer

SIZE = {"N": 1, "H": 28, "W": 28}
FILTER = {"R": 3, "S": 3, "pad_h": 1, "pad_w": 1}
ALPHA = 0.7  # a weight costs 0.7/0.3 times what an activation does; `fit` finds it for your device

DESIGNS = {
    "standard": [Layer(C=128, K=128, **SIZE, **FILTER)],
    "separable": [
        Layer(C=128, K=128, groups=128, **SIZE, **FILTER),
        Layer(C=128, K=128, R=1, S=1, **SIZE),
    ],
}

for name, layers in DESIGNS.items():
    macs = sum(layer.macs for layer in layers)
    weights = sum(layer.weights for layer in layers)
    activations = sum(layer.activations for layer in layers)
    ai, di = (di_weighted(macs, weights, activations, alpha) for alpha in (0.5, ALPHA))
    print(
        f"{name:10} {macs / 1e6:6.1f} M MACs {weights:7,} weights  AI {ai:5.1f}  DI {di:5.1f} MAC per element"
    )
