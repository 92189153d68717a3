"""Small made-up files in the formats that `dibench.datasets` reads; every figure in them is invented."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dibench import networks
from dibench.layer import Layer

WARNING = "/home/me/utils.py:7: FutureWarning: You are using `torch.load` with `weights_only=False`"
LOGS = {
    "A30": ("finalbench_all_operations_A30", "fullmodel_A30"),
    "A30_no_tc": ("finalbench_all_operations_A30_no_tc", "fullmodel_A30_no_tc"),
}


def module_text(layer: Layer) -> str:
    """A layer as PyTorch prints its module."""
    if layer.op == "fc":
        return f"Linear(in_features={layer.C}, out_features={layer.K}, bias=True)"
    parts = [f"{layer.C}, {layer.K}, kernel_size=({layer.R}, {layer.S})"]
    parts.append(f"stride=({layer.stride_h}, {layer.stride_w})")
    for name, value, usual in (
        ("padding", (layer.pad_h, layer.pad_w), (0, 0)),
        ("dilation", (layer.dil_h, layer.dil_w), (1, 1)),
    ):
        parts += [f"{name}={value}"] if value != usual else []
    parts += [f"groups={layer.groups}"] if layer.groups != 1 else []
    return f"Conv2d({', '.join(parts)}, bias=False)"


def input_shape(layer: Layer) -> tuple[int, ...]:
    """What such a module takes."""
    return (layer.N, layer.C) if layer.op == "fc" else (layer.N, layer.C, layer.H, layer.W)


def measured(
    what: str, shape: Sequence[int], *, ms: float = 0.5, watts: float = 100.0, day: int = 1, blocks: int = 4
) -> str:
    """A line of a log of ml-operator-profiling: 1,000 launches in each block."""
    mj = ms * watts
    deviation = ms / 1e5
    cells = [
        ms / 1e3, mj, mj / 1e3, mj / 50, 1000 * blocks, ms * blocks, watts, 2.0, mj, mj / 50, ms / 900,
        f"2024-11-{day:02}_10-00-00", f"2024-11-{day:02}_10-00-20", deviation,
    ]  # fmt: skip
    return f"{what} ({', '.join(map(str, shape))}) {' '.join(map(str, cells))}"


def section(layers: Iterable[Layer], **figures: Any) -> list[str]:
    """A network's section: its different layers, with an operator between that is none."""
    lines = []
    for layer in networks.distinct(layers):
        shape = input_shape(layer)
        lines += [module_text(layer), measured(module_text(layer), shape, **figures)]
        lines += ["ReLU(inplace=True)", measured("ReLU(inplace=True)", shape, **figures)]
    return [*lines, "Dataset saved to datasets/dataset_1.pt"]


def whole(name: str, shape: Sequence[int], **figures: Any) -> list[str]:
    """The two lines of a whole network."""
    return [f"{name} ({', '.join(map(str, shape))})", measured("ResNet", shape, **figures)]


def write_logs(folder: Path, mode: str, layers: Iterable[str], of_networks: Iterable[str] = ()) -> None:
    """The logs of one mode of the A30."""
    for name, lines in zip(LOGS[mode], (layers, of_networks), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{line}\n" for line in [WARNING, *lines]))


CODECARBON = ("timestamp", "project_name", "duration", "cpu_power", "cpu_energy", "ram_energy")


def codecarbon(path: Path, lines: Iterable[tuple[Mapping[str, Any], float, float]]) -> None:
    """A file of dl-energy-estimator: of each line what its project name says, seconds, and watts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(CODECARBON)]
    for facts, seconds, watts in lines:
        name = ",".join(f"{key}:{value}" for key, value in facts.items())
        rows.append(f'2022-12-22T03:26:18,"{name}",{seconds},75.0,{watts * seconds / 3.6e6!r},0.002')
    path.write_text("\n".join(rows) + "\n")


def conv_facts(layer: Layer, repeat: int, passes: int = 10, text: str = "") -> dict[str, Any]:
    """What codecarbon's project name says of a convolution; ptflops counts its bias."""
    return {
        "module": "Conv2d", "rep_no": repeat, "macs": layer.macs + layer.outputs, "batch_size": layer.N,
        "image_size": layer.H, "kernel_size": layer.R, "in_channels": layer.C, "out_channels": layer.K,
        "stride": layer.stride_h, "padding": layer.pad_h, "freeText": text, "forward_passes": passes,
    }  # fmt: skip


def pi_line(index: int, **cells: Any) -> dict[str, Any]:
    """A line of HW-NAS-Bench-360's Parquet file; None is an empty cell."""
    return {
        "arch_idx": index, "rep_arch_idx": index, "device": "pi5", "framework": "onnx", "task": "cifar100",
        "lat_ms_median": 2.0, "lat_ms_var": 0.1, "energy_mj": 4.0, "accuracy": 50.0, "status": "ok",
    } | cells  # fmt: skip


def cell_of(*operations: str) -> str:
    """A cell of NAS-Bench-201 with these six operations."""
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def write_cells(root: Path, cells: Mapping[int, str]) -> None:
    """The cells by index, as a JSON file."""
    (root / "nb201_archs.json").write_text(json.dumps({str(index): cell for index, cell in cells.items()}))
