"""Which kernels are looked at for a layer, and what the fastest of them make of a whole network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from dibench.errors import UserError
from dibench.kernels import DTYPES, architectures, registry
from dibench.layer import Layer
from dibench.limits.cards import Card
from dibench.limits.examine import Limits
from dibench.plan import Case, default_box, with_knobs


def cases_of(layer: Layer, card: Card, *, fast: bool = True, dtypes: Sequence[str] = DTYPES) -> list[Case]:
    """The layer under every CUDA kernel that runs it on the card, at the knobs that suit both.

    Args:
        layer: what is run.
        card: where.
        fast: only those that are as fast as they can be.
        dtypes: only these data types.
    """
    found = []
    for variant in registry("cuda").values():
        if layer.op not in variant.ops or (fast and not variant.fast):
            continue
        for dtype in variant.dtypes:
            case = with_knobs(layer, variant, default_box(variant, layer, card.sms), dtype=dtype)
            try:
                variant.check(case.layer, case.knobs)
                architectures.check(variant, case.layer, case.knobs, arch=card.arch)
            except UserError:
                continue
            if dtype in dtypes:
                found.append(case)
    return found


def fastest(found: Iterable[Limits]) -> list[Limits]:
    """Of each layer and data type the kernel of the least time, in the order in which they came."""
    best: dict[tuple[object, str], Limits] = {}
    for one in found:
        key = (one.case.layer, one.case.dtype)
        if key not in best or one.time_s < best[key].time_s:
            best[key] = one
    return list(best.values())


@attrs.frozen
class NetworkLimits:
    """A network in one data type: its layers' least times together.

    `share_of_peak`: all layers at the card's peaks for the type, over `time_s`. `binds`: share of the time by
    what binds. `in_fp32`: share of the time in layers that run in fp32 instead: no kernel of this data type
    runs them, or none as fast.
    """

    network: str
    N: int
    dtype: str
    time_s: float
    share_of_peak: float
    binds: Mapping[str, float]
    in_fp32: float


def of_network(
    name: str, layers: Sequence[Layer], dtype: str, known: Mapping[tuple[Layer, str], Limits]
) -> NetworkLimits:
    """A network's layers, each by its fastest kernel of that type, or of fp32 where that is faster.

    Args:
        name: the network's.
        layers: all of them, in execution order.
        dtype: the operands' type.
        known: limits by layer without its name, and data type.
    """
    each, ideal_s = [], 0.0
    for layer in layers:
        key = layer.renamed("")
        able = [known[key, one] for one in (dtype, "fp32") if (key, one) in known]
        each.append(min(able, key=lambda one: one.time_s))
        ideal_s += able[0].time_s * able[0].share_of_peak
    time_s = math.fsum(one.time_s for one in each)
    binds: Counter[str] = Counter()
    for one in each:
        binds[one.binds] += one.time_s / time_s  # type: ignore[assignment]
    return NetworkLimits(
        network=name,
        N=layers[0].N,
        dtype=dtype,
        time_s=time_s,
        share_of_peak=ideal_s / time_s,
        binds=dict(binds.most_common()),
        in_fp32=math.fsum(one.time_s for one in each if one.case.dtype != dtype) / time_s,
    )
