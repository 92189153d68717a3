"""What a whole network's time through PyTorch is made of, by PyTorch's own profiler.

    python -m benchmarks.network_parts --out parts.csv torchvision:resnet50 timm:dla34

Parts: the library's convolutions and products, normalisation, activations, pooling, additions (joining,
splitting and scaling too), and calls: all other time of an inference, which is the interpreter's and that of
PyTorch's dispatch. A profiler lengthens calls, so each operator's time is that of the profiled inferences,
and calls are what is left of the time of inferences without it.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import pandas as pd

from dibench.backends.torch_network import TorchNetwork
from dibench.plan.case import Case
from dibench.plan.whole_networks import network_plan

PARTS = {
    "layers": ("mkldnn_convolution", "addmm", "mm", "bmm", "mkldnn_linear", "thnn_conv2d", "baddbmm"),
    "normalisation": ("native_batch_norm", "native_layer_norm", "native_group_norm"),
    "activations": (
        "clamp", "clamp_", "clamp_min", "clamp_min_", "relu", "relu_", "hardtanh", "hardtanh_",
        "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "silu", "silu_", "sigmoid", "sigmoid_",
        "gelu", "_softmax",
    ),
    "pooling": (
        "max_pool2d_with_indices", "avg_pool2d", "mean", "sum", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
        "upsample_nearest2d", "upsample_bilinear2d",
    ),
    "additions": ("add", "add_", "mul", "mul_", "cat", "copy_", "constant_pad_nd", "div", "div_"),
}  # fmt: skip
"""Operators of ATen by part."""

CALLS = "calls"
SECONDS, ROUNDS = 1.5, 3
"""Of inferences of one network at one batch, with the profiler and without in turns."""


@attrs.frozen
class Parts:
    """One network at one batch: seconds of an inference, by part."""

    network: str
    batch: int
    seconds: dict[str, float]


def parts_of(case: Case, threads: int) -> Parts:
    """Profile one network."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = TorchNetwork(torch, case, threads)
    first = min(network.launch(1) for _ in range(3))
    launches = max(1, round(SECONDS / (2 * ROUNDS * first)))
    plain, profiled = list[float](), list[dict[str, float]]()
    for _ in range(ROUNDS):  # in turns, so that both see the same machine
        plain += [network.launch(1) for _ in range(launches)]
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            network.launch(launches)
        profiled.append({part: _seconds(seen, part) / launches for part in PARTS})
    seconds = {part: median(one[part] for one in profiled) for part in PARTS}
    seconds[CALLS] = median(plain) - sum(seconds.values())
    return Parts(case.network, case.layer.N, seconds)


def _seconds(seen: Any, part: str) -> float:
    """What the operators of a part took themselves."""
    own = (event for event in seen.key_averages() if event.key.removeprefix("aten::") in PARTS[part])
    return sum(float(event.self_cpu_time_total) for event in own) * 1e-6


def write(path: Path, networks: Sequence[str], batches: Sequence[int], deadline: float | None) -> bool:
    """Add what the table lacks; returns whether it has all."""
    have = set()
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            have = {(row["network"], row["batch"]) for row in csv.DictReader(file)}
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if not have:
            table.writerow(["network", "batch", *PARTS, CALLS])
        for source in networks:
            left = [batch for batch in batches if (source, str(batch)) not in have]
            if not left:
                continue
            if deadline is not None and time.monotonic() > deadline:
                return False
            for case in network_plan([source], left).cases:
                found = parts_of(case, len(os.sched_getaffinity(0)))
                table.writerow([source, found.batch, *(f"{one:.6g}" for one in found.seconds.values())])
                file.flush()
    return True


def show(path: Path) -> None:
    """Print the share of each part at each batch, median and range over networks, as Markdown."""
    frame = pd.read_csv(path)
    parts = [*PARTS, CALLS]
    shares = frame[parts].div(frame[parts].sum(axis=1), axis=0).assign(batch=frame["batch"])
    by_batch = list(shares.groupby("batch"))
    print("| part |" + "".join(f" batch {batch} |" for batch, _ in by_batch))
    print("|:--|" + "--:|" * len(by_batch))
    for part in parts:
        told = ([100 * own[part].quantile(q) for q in (0.5, 0, 1)] for _, own in by_batch)
        cells = (f" {median:.0f}% ({least:.0f} to {most:.0f}) |" for median, least, most in told)
        print(f"| {part} |" + "".join(cells))
    print(f"\n{len(frame)} networks and batches: median, least and most")


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", help="as `sweep --models` takes them")
    parser.add_argument("--out", type=Path, required=True, help="CSV; networks that it has are left alone")
    parser.add_argument("--batch", default="1,8")
    options = parser.parse_args()
    write(options.out, options.networks, [int(one) for one in options.batch.split(",")], None)


if __name__ == "__main__":
    _main()
