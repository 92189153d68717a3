"""Made-up measurements of a reuse lattice and of the anchor kernels, with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import study_frames

from dibench.layer import Layer
from dibench.study.questions import lattice as study_lattice

LAYER = Layer(N=64, C=256, H=32, W=32, K=256, R=1, S=1)
TRUTH = {"power": 120.0, "mac": 8.0, "weight": 20.0, "input": 60.0, "output": 90.0}  # W, pJ
RATES = {"mac": 0.05, "weight": 0.5, "input": 0.5, "output": 0.6}  # ps on all multiprocessors
BOXES = (*product((1, 8), (1, 8), (1, 256)), *product((1, 4), (1, 4), (8,)))
SHARES = (132, 66, 33)


def table(
    *,
    shares: Sequence[int] = SHARES,
    noise: float = 0.0,
    box_noise: float = 0.0,
    seed: int = 0,
    truth: dict[str, float] = TRUTH,
    lanes: str = "p",
    variants: Sequence[str] = ("output", "weight"),
) -> pd.DataFrame:
    """Every box on every share: time by RATES, joules by `truth`, lognormal errors of rows and of boxes."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for variant, (tile_p, tile_k, tile_c) in product(variants, BOXES):
        n = {"mac": LAYER.macs, "weight": LAYER.macs // tile_p, "input": LAYER.macs // tile_k,
             "output": 2 * LAYER.macs // tile_c}  # fmt: skip
        error = box_noise * rng.standard_normal()
        for sms in shares:
            time = 1e-12 * max(SHARES) / sms * sum(RATES[name] * n[name] for name in n)
            time *= np.exp(0.002 * rng.standard_normal())
            energy = truth["power"] * time + 1e-12 * sum(truth[name] * n[name] for name in n)
            rows.append(
                {"variant": variant, "tile_p": tile_p, "tile_k": tile_k, "tile_c": tile_c, "sms": sms,
                 "time": time, "energy": energy * np.exp(error + noise * rng.standard_normal()), **n}
            )  # fmt: skip
    made = pd.DataFrame(rows)
    cells = {name: made[name].to_numpy() for name in ("variant", "tile_p", "tile_k", "tile_c", "sms")}
    frame = study_frames.table([LAYER] * len(made), made["energy"], **cells)
    return frame.assign(
        time_s=made["time"],
        macs_executed=made["mac"],
        weight_reads=made["weight"],
        input_reads=made["input"],
        output_reads=made["output"] // 2,
        output_writes=made["output"] - made["output"] // 2,
        lanes=lanes,
        knobs="cache=cg;warps=8",
        backend="cuda",
        case_id=[f"{lanes}{number:015x}" for number in range(len(made))],
    )


def anchor_rows(e_read: float, frame: pd.DataFrame) -> pd.DataFrame:
    """The L2 and FMA anchors on every share, e_read pJ a read, 8 pJ a multiply-add, 120 W."""
    rows = []
    for (name, reads, macs), sms in product((("anchor_l2", 1e10, 0.0), ("anchor_fma", 0.0, 1e11)), SHARES):
        time = 1e-3 * 132 / sms
        energy = 120 * time + 1e-12 * (e_read * reads + 8 * macs)
        rows.append({"op": "anchor", "variant": name, "sms": sms, "time_s": time, "energy_j": energy,
                     "input_reads": reads, "macs_executed": macs, "output_writes": 0.0,
                     "status": "ok", "energy_source": "rapl", "device": "card",
                     "backend": "cuda"})  # fmt: skip
    both = pd.concat([frame, pd.DataFrame(rows)], ignore_index=True)
    whole = ("tile_p", "tile_k", "tile_c", "sms", *study_lattice.COUNTS)
    return both.astype(dict.fromkeys(whole, "Int64"))
