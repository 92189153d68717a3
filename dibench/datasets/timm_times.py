"""Times of about 1,600 networks by timm's benchmark: seconds and counts, no joules."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from dibench.datasets.source import Ledger, Source, case_id, csv_lines, locate, missing
from dibench.schema import FRAMEWORK_CALLS, LIBRARY, NETWORK, REPEATED_MODULE, SEPARATOR, WARM_OPERANDS, Row

_URL = "https://github.com/huggingface/pytorch-image-models"
_CAVEATS = SEPARATOR.join((WARM_OPERANDS, REPEATED_MODULE, FRAMEWORK_CALLS))
_DEVICES = {
    "rtx3090": "NVIDIA GeForce RTX 3090",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "4090": "NVIDIA GeForce RTX 4090",
    "5090": "NVIDIA GeForce RTX 5090",
    "pro6000maxq": "NVIDIA RTX PRO 6000 Blackwell Max-Q",
    "i9_10940x": "Intel Core i9-10940X",
    "i7_12700h": "Intel Core i7-12700H",
}
_DTYPES = {"amp": "fp16", "amp_bf16": "bf16", "bf16": "bf16", "fp32": "fp32"}
"""By the mode in a file's name; autocast (`amp`) leaves a few operators in fp32."""
_NAME = re.compile(
    r"benchmark-infer-(?P<mode>\w+)-(?P<layout>nchw|nhwc)-(?P<software>pt\d+-(?:cu\d+|cpu))-(?P<device>\w+?)"
    r"(?P<compiled>-dynamo)?\.csv"
)


@attrs.frozen
class _Setting:
    """What a file's name says of all its lines."""

    file: str
    device: str
    dtype: str
    variant: str


def read(root: Path, ledger: Ledger) -> Iterator[Row]:
    """A row for each network and image size, file by file."""
    paths = locate(_URL, root, ("results", ""), "benchmark-infer-*.csv")
    if not paths:
        raise missing(_URL, root, "results/benchmark-infer-*.csv")
    for path in paths:
        said = _NAME.fullmatch(path.name)
        for number, cells in csv_lines(path, ledger):
            if said is None or said["mode"] not in _DTYPES:
                ledger.refuse(path.name, number, "the file's name must be benchmark-infer-MODE-LAYOUT-…")
                continue
            try:
                row = _row(_setting(path.name, said), cells)
            except (ValueError, KeyError, OverflowError) as error:
                ledger.refuse(path.name, number, error)
                continue
            ledger.used += 1
            yield row


def _setting(file: str, said: re.Match[str]) -> _Setting:
    variant = f"pytorch-{said['software']}-{said['layout']}{said['compiled'] or ''}"
    if said["mode"].startswith("amp"):
        variant += "-amp"
    return _Setting(file, _DEVICES.get(said["device"], said["device"]), _DTYPES[said["mode"]], variant)


def _row(setting: _Setting, cells: Mapping[str, str]) -> Row:
    """
    Raises:
        ValueError, KeyError, OverflowError: a cell is missing or no number.
    """
    images = float(cells["infer_batch_size"])
    time_s = float(cells["infer_step_time"]) / 1e3
    per_second = float(cells["infer_samples_per_sec"])
    if not (images >= 1 and images.is_integer() and 0 < time_s < math.inf):
        raise ValueError("infer_batch_size must be a whole number and infer_step_time above zero")
    if not 0.8 < per_second * time_s / images < 1.2:
        raise ValueError("infer_step_time must be about batch size over samples per second, in ms")
    N, size = int(images), int(float(cells["infer_img_size"]))
    return Row(
        case_id=case_id(SOURCE.name, setting.file, cells["model"], N, size),
        device=setting.device,
        backend=LIBRARY,
        name=cells["model"],
        op=NETWORK,
        N=N,
        C=3,
        H=size,
        W=size,
        dtype=setting.dtype,
        variant=setting.variant,
        macs=_count(cells, "infer_gmacs", 1e9 * N),
        weights=_count(cells, "param_count", 1e6),
        outputs=_count(cells, "infer_macts", 1e6 * N),
        time_s=time_s,
        energy_source="none",
        data="normal",
        status="ok",
        caveats=_CAVEATS,
    )


def _count(cells: Mapping[str, str], name: str, unit: float) -> int | None:
    """A count that the file rounds to two decimals of its unit; None where absent or rounded to nothing."""
    text = cells.get(name)
    return round(float(text) * unit) or None if text else None


SOURCE = Source(
    name="timm-times",
    title="Inference times of timm's networks (pytorch-image-models)",
    url=_URL,
    commit="aa4b5850c1543fa488abf260f18390eda46cf85d",
    licence="Apache-2.0",
    devices=tuple(dict.fromkeys(_DEVICES.values())),
    sensor="none: a clock",
    energy_source="none",
    measured="seconds of a batch, of 930 to 1,630 networks in each file; PyTorch 1.13 to 2.9, eager and "
    "compiled, autocast, bf16 and fp32",
    format="CSV files results/benchmark-infer-*.csv. MACs, parameters and outputs are rounded to 0.01 G, "
    "M and M an image; parameters include those of norms and biases",
    answers=("whether weights or activations explain time beyond MACs, across a thousand networks",),
    limits=(
        "Time only: nothing about energy.",
        "No inputs: X is empty, outputs Y are those of convolution and linear layers.",
        "MACs include products of two activations (attention), which have no weights.",
        "One batch size for each network and file: the largest that fits, at most.",
    ),
    read=read,
)
