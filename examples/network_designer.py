"""A network designer asks: which of two designs of a block costs less, before either is built or trained?

    python examples/network_designer.py                             # by counts alone
    python examples/network_designer.py results/local/cpu/fit.json  # predicted for that machine

A 3×3 convolution against depthwise 3×3 followed by 1×1. The file is what `dibench fit --json` wrote, or a
`sweep.csv`, which is fitted now. `make run` makes both.
"""

import sys

import dibench

SIZE = {"N": 1, "H": 28, "W": 28}
FILTER = {"R": 3, "S": 3, "pad_h": 1, "pad_w": 1}
DESIGNS = {
    "standard": [dibench.Layer(C=128, K=128, **SIZE, **FILTER, name="standard/3x3")],
    "separable": [
        dibench.Layer(C=128, K=128, groups=128, **SIZE, **FILTER, name="separable/depthwise"),
        dibench.Layer(C=128, K=128, R=1, S=1, **SIZE, name="separable/pointwise"),
    ],
}
fit = sys.argv[1] if len(sys.argv) > 1 else None

# AI weighs every element alike. Which price a weight really has beside an activation, `fit` finds out.
for name, layers in DESIGNS.items():
    macs = sum(layer.macs for layer in layers)
    weights = sum(layer.weights for layer in layers)
    moved = weights + sum(layer.activations for layer in layers)
    print(f"{name:10}{macs / 1e6:6.1f} M MACs  {weights:7,} weights  AI {macs / moved:5.1f} MAC per element")

if fit is None:
    print("Fewer MACs, but each element is used less. What that costs a fit says: give one as argument.")
    sys.exit()

for layers in DESIGNS.values():
    print(dibench.predict(layers, fit=fit))
first = dibench.explain(DESIGNS["standard"], fit=fit).to_frame().iloc[0]
change = f"{first['change']} → {first['to']}"
print(f"Of changes to the standard design, {change} would save most: {first['share']:.0%}")
if first["low"] < 0:
    print("It may save nothing: the interval of what it saves reaches below zero.")
