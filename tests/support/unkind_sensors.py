"""Sensors less kind than documented, and what a sweep of visits makes of them, beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from replay import AMPERE, DESKTOP, HOPPER, VOLTA, Card, Fault, Load
from visit_rig import Rig

from dibench.errors import UserError
from dibench.meters.gpu_sensor import NOT_SUPPORTED

STILL = {"ripple": 0.0, "between": 0.0, "overshoot": 0.0, "leakage_per_c": 0.0}

SENSORS: Mapping[str, tuple[Card, Mapping[str, Any]]] = {
    "as documented": (HOPPER, {}),
    **{f"ticks jitter by {1e3 * s:g} ms": (HOPPER, {"jitter_s": s}) for s in (0.005, 0.01, 0.02, 0.03)},
    "shown up to 60 ms late": (HOPPER, {"late_s": 0.06}),
    "20 ms ticks, caught up every fifth": (VOLTA, {"catches_up": 5}),
    **{f"counter lags {s:g} s": (HOPPER, {"counter_lag_s": s}) for s in (1.0, 1.5, 2.0)},
    **{f"counter averages {s:g} s": (HOPPER, {"counter_averaging_s": s}) for s in (1.0, 2.0)},
    "counter and power average 1 s": (HOPPER, {"counter_averaging_s": 1.0, "averaging_s": 1.0}),
    "counter and power lag 1 s": (HOPPER, {"counter_lag_s": 1.0, "power_lag_s": 1.0}),
    **{f"calls of {1e3 * s:g} ms": (HOPPER, {"call_s": s}) for s in (0.003, 0.012, 0.045)},
    "2% of calls take 60 ms": (HOPPER, {"slow_calls": 0.02}),
    "told in steps of 1 W and 1 J": (HOPPER, {"step_w": 1.0, "step_j": 1.0}),
    "power stands still, in watts": (AMPERE, {**STILL, "step_w": 1.0}),
    "ticks of 2 s": (DESKTOP, {"counter_s": 2.0}),
    "ticks of 2 s, the counter asked for": (DESKTOP, {"counter_s": 2.0, "source": "nvml_counter"}),
    **{
        f"{', '.join(lacking)} refused": (HOPPER, {"refused": lacking})
        for lacking in (("energy_mj",), ("instant_mw",), ("energy_mj", "instant_mw"))
    },
    "counter shows 93%": (HOPPER, {"counter_gain": 0.93}),
    "counter shows 57%, as in Zeus's issue 181": (HOPPER, {"counter_gain": 0.57}),
}


@attrs.frozen
class Truth:
    """What rows of single visits say of loads whose joules are known, relative."""

    errors: tuple[float, ...]
    """Of rows that are not flagged."""
    half_widths: tuple[float, ...]
    lost: float
    """Share of visits whose row has no joules, or is flagged."""
    why: tuple[str, ...]
    """What lost rows say."""

    @property
    def bias(self) -> float:
        """Mean error."""
        return float(np.mean(self.errors)) if self.errors else float("nan")

    @property
    def covered(self) -> float:
        """Share of intervals that hold the truth."""
        held = [abs(e) <= half for e, half in zip(self.errors, self.half_widths, strict=True)]
        return float(np.mean(held)) if held else float("nan")

    @property
    def half_width(self) -> float:
        """Median."""
        return float(np.median(self.half_widths)) if self.half_widths else float("nan")

    @property
    def worst(self) -> float:
        """Largest error of a row that does not say it may be wrong."""
        return max(map(abs, self.errors), default=float("nan"))


def visit(name: str, *, seeds: int, visits: int, **how: Any) -> Truth:
    """Visit loads of 250 to 650 W on a card with that sensor; rows are stated when all visits are made.

    A gain of the counter is part of the truth: no row can know it.

    Args:
        name: of the sensor, of SENSORS.
        seeds: cards, each with a meter that starts.
        visits: on each of them, all to different loads.
        how: what else a rig is told, such as `source`.
    """
    errors, half_widths, why, made = [], [], [], 0
    card, unkind = SENSORS[name][0], dict(SENSORS[name][1])
    faults = [Fault(NOT_SUPPORTED, reading=reading) for reading in unkind.pop("refused", ())]
    how = {"source": unkind.pop("source", "simulated"), **how}
    card = attrs.evolve(card, **unkind)
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 2])
        try:
            rig = Rig(card, seed=seed, faults=faults, **how)
        except UserError as error:
            why.append(f"no meter: {error}")
            made += visits
            continue
        found = []
        for number in range(visits):
            share, log_s = rng.uniform(0.36, 0.93), rng.uniform(np.log(5e-6), np.log(5e-3))
            load = Load(float(share * card.limit_w), float(np.exp(log_s)))
            found.append((load, rig.visit(load, group=f"case {number}")))
        for load, one in found:
            row, truth = (
                rig.cells([one]),
                rig.truth(load) * (rig.gpu.card.counter_gain if rig.meter.by_counter else 1.0),
            )
            made += 1
            if row["status"] != "ok" or row["energy_j"] is None:
                why.append(row["reason"])
                continue
            errors.append(row["energy_j"] / truth - 1)
            half_widths.append(row["energy_ci_j"] / truth)
    return Truth(tuple(errors), tuple(half_widths), 1 - len(errors) / made, tuple(why))
