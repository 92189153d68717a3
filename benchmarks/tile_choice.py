"""How good the knobs are that headers prefer, by the model of limits: `python -m benchmarks.tile_choice`.

A header chooses tile and splits by an estimate of whole numbers; `variants --limits` works times out from
machine code. Here both are asked for some layers of the 25 networks at N = 1, 8, 32, under every setting of a
kernel's knobs: a layer's loss is the time at the preferred setting over the least. Each setting is compiled
twice, for the card and for the harness, and kept; then a case takes a quarter of a second. `--kernel`,
`--dtype`, `--layers 20`, `--seed 1`, `--arch 90`; `--splits 1,4,16` leaves other numbers of splits out.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import attrs

from dibench import networks
from dibench.kernels import Variant, registry
from dibench.layer import Layer
from dibench.limits import cards
from dibench.limits.cards import Card
from dibench.limits.examine import Limits, examine
from dibench.plan import default_box, with_knobs

BATCHES = (1, 8, 32)
Setting = tuple[tuple[str, Any], ...]


@attrs.frozen
class Chosen:
    """A layer, the setting that its header prefers, and the seconds that each takes."""

    layer: Layer
    preferred: Setting
    times: Mapping[Setting, float]
    """Of every setting that was tried."""

    @property
    def best(self) -> Setting:
        """The setting that takes least."""
        return min(self.times, key=lambda one: self.times[one])

    @property
    def preferred_s(self) -> float:
        """Of what the header prefers."""
        return self.times[self.preferred]

    @property
    def best_s(self) -> float:
        """The least."""
        return self.times[self.best]

    @property
    def loss(self) -> float:
        """Time of the preferred setting over the least: at least 1."""
        return self.preferred_s / self.best_s


def sampled(variant: Variant, count: int, seed: int) -> list[Layer]:
    """So many different layers of the networks that the kernel runs, by chance."""
    layers = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    runs = [layer for layer in layers if layer.op in variant.ops]
    batched = [layer.with_batch(N).renamed("") for layer in runs for N in BATCHES]
    return random.Random(seed).sample(batched, min(count, len(batched)))


def settings(variant: Variant, only: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """Every combination of the kernel's knobs, of some of them only these values."""
    values = [only.get(name, legal) for name, legal in variant.knobs.items()]
    return [dict(zip(variant.knobs, one, strict=True)) for one in product(*values)]


def choices(
    variant: Variant, dtype: str, layers: Sequence[Layer], tried: Sequence[Mapping[str, Any]], card: Card
) -> Iterator[Chosen]:
    """What the header prefers of each layer, beside the fastest of some settings.

    Settings are looked at one after the other, each on all layers: its code is read once.
    """
    preferred = {layer: default_box(variant, layer, card.sms) for layer in layers}
    wanted = {layer: {_key(knobs) for knobs in (*tried, preferred[layer])} for layer in layers}
    boxes = {_key(knobs): knobs for knobs in (*tried, *preferred.values())}
    cases = [
        with_knobs(layer, variant, knobs, dtype=dtype)
        for key, knobs in boxes.items()
        for layer in layers
        if key in wanted[layer] and variant.allows(layer, knobs)
    ]
    times: dict[Layer, dict[Setting, float]] = {layer: {} for layer in layers}
    for found in examine(cases, card):
        if isinstance(found, Limits):
            times[found.case.layer][_key(found.case.knobs)] = found.time_s
    for layer in layers:
        yield Chosen(layer, _key(preferred[layer]), times[layer])


def _key(knobs: Mapping[str, Any]) -> Setting:
    return tuple(sorted(knobs.items()))


def mean_loss(chosen: Sequence[Chosen]) -> float:
    """The geometric mean of their losses."""
    return math.exp(math.fsum(math.log(one.loss) for one in chosen) / len(chosen))


def main() -> None:
    """Print each layer's loss, the largest last, then their mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", default="conv_implicit_gemm")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--arch", type=int, default=90)
    parser.add_argument("--splits", type=lambda text: [int(n) for n in text.split(",")])
    given = parser.parse_args()

    variant = registry("cuda")[given.kernel]
    layers = sampled(variant, given.layers, given.seed)
    tried = settings(variant, {"splits": given.splits} if given.splits else {})
    found = list(choices(variant, given.dtype, layers, tried, cards.of(given.arch)))
    for one in sorted(found, key=lambda one: one.loss):
        told = [" ".join(f"{name}={value}" for name, value in knobs) for knobs in (one.preferred, one.best)]
        print(f"{one.loss:.2f}  {1e6 * one.best_s:8.2f} µs  {told[0]}, best {told[1]}  {one.layer}")
    worst = max(one.loss for one in found)
    print(f"{given.kernel} {given.dtype}: mean {mean_loss(found):.3f}, worst {worst:.2f}")


if __name__ == "__main__":
    main()
