"""What the tests of the CUDA variants share: knobs to try, a launch on the harness, its float64 reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import references
from header_counts import compare
from hypothesis import assume
from hypothesis import strategies as st

from dibench.backends import host
from dibench.backends.operands import as_elements, as_values
from dibench.check import reference
from dibench.kernels import OPERATORS, Variant, registry
from dibench.layer import Layer

CUDA = list(registry("cuda").values())
LAUNCH_KNOBS = ("lanes", "cache", "warps")
"""Knobs that say how a launch is laid out: independent of the box, so they need no joint enumeration."""

REUSE = [variant for variant in CUDA if not variant.fast]
"""Whose accesses are executed as written."""

BOXED = [
    variant for variant in REUSE if set(variant.ops) == set(OPERATORS) and {*LAUNCH_KNOBS} <= {*variant.knobs}
]
"""Those on box.cuh: they run every operator, so what a knob does is shown on one layer for all."""


@st.composite
def settings_of(draw: st.DrawFn, variant: Variant, layer: Layer) -> dict[str, Any]:
    """Some legal setting of the variant's knobs for a layer, where there is one."""
    box = {name: legal for name, legal in variant.knobs.items() if name not in LAUNCH_KNOBS}
    layout = {
        name: draw(st.sampled_from(legal)) for name, legal in variant.knobs.items() if name in LAUNCH_KNOBS
    }
    fixed: Mapping[str, Any] = {name: (value,) for name, value in layout.items()}
    narrowed = attrs.evolve(variant, knobs={**box, **fixed})
    legal = references.legal_knobs(narrowed, layer)
    assume(legal)
    return draw(st.sampled_from(legal))


def extremes(variant: Variant, layer: Layer) -> list[dict[str, Any]]:
    """The lowest and the highest legal settings of the knobs; the header must allow some."""
    layout: dict[str, Any] = {
        name: legal[:1] for name, legal in variant.knobs.items() if name in LAUNCH_KNOBS
    }
    boxes = references.legal_knobs(attrs.evolve(variant, knobs={**variant.knobs, **layout}), layer)

    def size(knobs: Mapping[str, Any]) -> int:
        return math.prod(value for value in knobs.values() if isinstance(value, int) and value)

    lowest: dict[str, Any] = min(boxes, key=size)
    highest: dict[str, Any] = max(boxes, key=size)
    for name in layout:
        highest[name] = [v for v in variant.knobs[name] if variant.allows(layer, {**highest, name: v})][-1]
    return [lowest, highest]


def check(variant: Variant, layer: Layer, knobs: Mapping[str, Any], **how: Any) -> host.HarnessRun:
    """Run it; every output must be right and every count the header's. Returns what was counted."""
    assert variant.cuda is not None
    instances = how.pop("instances", 1)
    dtype = how.pop("dtype", variant.cuda.dtypes[0])
    x, w = (as_elements(values, dtype) for values in references.operands(layer, instances, seed=7)[:2])
    outcome = host.run(variant, layer, knobs, x, w, dtype=dtype, **how)
    x, w = as_values(x, dtype), as_values(w, dtype)
    for i in range(instances):
        expected = reference.convolution(layer, x[i], w[i])
        wrong = ~(np.abs(outcome.y[i] - expected) <= reference.allowance(layer, x[i], w[i], dtype))
        assert not wrong.any(), (
            f"instance {i}: {wrong.sum()} of {wrong.size} outputs wrong, first {np.argwhere(wrong)[0]}"
        )
    header = {name: instances * count for name, count in variant.counts_for(layer, knobs).items()}
    shared = {name: outcome.shared[name] for name in header if name in outcome.shared}
    compare("cuda", header, {**outcome.counts, **shared}, f"{variant.name} {dict(knobs)}, {layer}")
    return outcome
