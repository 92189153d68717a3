"""Made-up rows, with known truth, of all that a campaign measures: networks, twins, placebo, lattice."""

from __future__ import annotations

import pandas as pd
from lattice_frames import table as lattice_rows
from study_frames import distinct_layers, energy_of, table

from dibench.plan.shapes import TWIN_OPERATORS, oblong, transposed, twin, twin_halves
from dibench.study.questions.lattice import COUNTS

PAIRS = 8
MACS = (2_000_000, 20_000_000)


def campaign(
    *,
    alpha: float = 0.3,
    gain: float = 1.0,
    card: str = "gpu-1",
    source: str = "rapl",
    every: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows of one card under weighted DI of that α; the lattice's costs are those of its own truth.

    Args:
        alpha: of the networks' layers and of twins.
        gain: of the card's sensor.
        card: its identity.
        source: `energy_source`.
        every: of so many layers of the 25 networks one.
        seed: of the noise.
    """
    lattice = pd.concat([lattice_rows(noise=0.01, lanes=lanes, seed=seed) for lanes in ("p", "k")])
    lattice["stationarity"] = lattice["variant"]
    parts = [_networks(alpha, every, seed), _twins(alpha, seed + 1), lattice]
    rows = pd.concat([part.astype({"case_id": str}) for part in parts], ignore_index=True)
    whole = ["instances", "sms", "tile_p", "tile_k", "tile_c", *COUNTS]
    rows[whole] = rows[whole].astype("Int64")
    rows["case_id"] = [f"{number:016x}" for number in range(len(rows))]
    rows["energy_j"] *= gain
    rows["energy_ci_j"] = 0.01 * rows["energy_j"]
    rows["ci_tick_j"], rows["ci_spread_j"] = 0.006 * rows["energy_j"], 0.008 * rows["energy_j"]
    return rows.assign(device="a GPU", device_uuid=card, backend="cuda", energy_source=source)


def _networks(alpha: float, every: int, seed: int) -> pd.DataFrame:
    layers = distinct_layers()[::every]
    energy = energy_of(layers, alpha=alpha, noise=0.05, network_noise=0.02, seed=seed)
    variants = [f"fast_{layer.op}" for layer in layers]
    return table(layers, energy, variant=variants, instances=1, stationarity="output")


def _twins(alpha: float, seed: int) -> pd.DataFrame:
    """Eight pairs of each operator that has them, and of transposed layers, under both lane mappings."""
    halves = {op: twin_halves(op, per_op=PAIRS, multiple=16, tile=2, macs=MACS) for op in TWIN_OPERATORS}
    pairs = [(half, twin(half)) for own in halves.values() for half in own]
    wide = [oblong(half) for own in halves.values() for half in own]
    pairs += [(one, transposed(one)) for one in wide if one is not None]
    layers = [layer for pair in pairs for layer in pair if layer is not None]
    return pd.concat(
        table(
            layers, energy_of(layers, alpha=alpha, noise=0.01, seed=seed + mapping), lanes=lanes,
            variant="output_box", stationarity="output", tile_p=2, tile_k=2, tile_c=2, instances=1,
        )
        for mapping, lanes in enumerate(("p", "k"))
    )  # fmt: skip
