"""NAS-Bench-201's networks on a Raspberry Pi 5: three tasks, three runtimes, joules of the core's rail."""

from __future__ import annotations

import pickletools
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dibench.cells import open_table, parse_number, parse_whole
from dibench.datasets.nasbench201 import Cell, Task, layers_of, read_cell
from dibench.datasets.source import Ledger, Source, case_id, locate, missing
from dibench.errors import UserError
from dibench.files import read_json_object
from dibench.schema import (
    EXTERNAL,
    FRAMEWORK_CALLS,
    NETWORK,
    REPEATED_MODULE,
    SEPARATOR,
    WARM_OPERANDS,
    Row,
    network_counts,
)

_URL = "https://github.com/roldebijvank/HW-NAS-Bench-360"
_CELLS_URL = "https://github.com/GATECH-EIC/HW-NAS-Bench"
_CELLS_FOLDER = "data/hw-nas-bench"
_CONFIGS = f"{_CELLS_FOLDER}/dev/proj_edgegpu/arch_configs/cifar100"
_CELLS_FILE = "nb201_archs.json"
_SENSOR = EXTERNAL + "pmic"
_CAVEATS = SEPARATOR.join((WARM_OPERANDS, REPEATED_MODULE, FRAMEWORK_CALLS))
_DEVICES = {"pi5": "Raspberry Pi 5", "pixel": "Google Pixel"}
_FRAMEWORKS = ("litert", "onnx", "torchmobile")
_TASKS = {
    "cifar100": Task(3, 32, 32, 100),
    "ninapro": Task(1, 52, 16, 18),
    "darcy": Task(1, 88, 88, 1),
}
_PRUNED = ("litert",)
"""Runtimes that leave out what a `none` makes useless. The data tell: a linear model of LiteRT's times by
operation misses by 42% with all of them, by 6.5% with those left; for the others all of them miss by less."""


def read(root: Path, ledger: Ledger) -> Iterator[Row]:
    """A row for each different network, task, device and runtime."""
    paths = locate(_URL, root, ("results", ""), "dataset.parquet")
    if not paths:
        raise missing(_URL, root, "results/dataset.parquet")
    ledger.files.append(paths[0])
    yield from rows_of(_lines(paths[0]), _Cells(root, ledger), ledger)


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with open_table(path) as table:
        for _, cells in table.cells:
            yield dict(zip(table.header, cells, strict=True))


def rows_of(lines: Iterable[Mapping[str, str]], cells: Mapping[int, str], ledger: Ledger) -> Iterator[Row]:
    """
    Args:
        lines: of the Parquet file, as text by column.
        cells: by index of the network.
        ledger: where each line is accounted for.
    """

    @cache
    def counts(cell: Cell, task: str) -> dict[str, int]:
        return network_counts(layers_of(cell, _TASKS[task]))

    for number, line in ledger.numbered("dataset.parquet", lines, first=2):
        if line.get("arch_idx") != line.get("rep_arch_idx"):
            ledger.leave("copy of the line of a network that computes the same")
            continue
        try:
            cell = read_cell(cells[parse_whole(line["arch_idx"])], pruned=line["framework"] in _PRUNED)
            row = _row(line, counts(cell, line["task"]))
        except (UserError, KeyError, ValueError) as error:
            why = f"is not known: {error}" if isinstance(error, KeyError) else error
            ledger.refuse("dataset.parquet", number, why)
            continue
        ledger.used += 1
        yield row


def _row(line: Mapping[str, str], counts: Mapping[str, Any]) -> Row:
    """
    Raises:
        KeyError, ValueError: a cell is missing or not what it must be.
    """
    task, device = _TASKS[line["task"]], _DEVICES[line["device"]]
    if line["framework"] not in _FRAMEWORKS or line["status"] != "ok":
        raise ValueError(f"framework must be one of {', '.join(_FRAMEWORKS)}, and status ok")
    time_s, energy_j = _above_zero(line["lat_ms_median"]), _above_zero(line["energy_mj"])
    return Row(
        case_id=case_id(SOURCE.name, *(line[name] for name in ("device", "framework", "task", "arch_idx"))),
        device=device,
        backend=line["framework"],
        name=f"nasbench201_{parse_whole(line['arch_idx']):05}",
        op=NETWORK,
        N=1,
        C=task.C,
        H=task.H,
        W=task.W,
        dtype="fp32",
        variant=line["framework"],
        **counts,
        time_s=time_s,
        energy_above_idle_j=energy_j,
        energy_source="none" if energy_j is None else _SENSOR,
        data="normal",
        status="ok",
        caveats=_CAVEATS,
    )


def _above_zero(text: str) -> float | None:
    """Seconds or joules of milliseconds or millijoules; None for an empty cell."""
    if not text:
        return None
    if (value := parse_number(text)) <= 0:
        raise ValueError(f"lat_ms_median and energy_mj must be above zero or empty (got {text})")
    return value / 1e3


class _Cells(dict[int, str]):
    """Cells by index, from a JSON file or from HW-NAS-Bench's small pickles, looked up when needed.

    A pickle is never loaded: its operations are listed, and the text after `arch_str` is taken.
    """

    def __init__(self, root: Path, ledger: Ledger) -> None:
        super().__init__()
        self._folder = root / _CONFIGS
        table = root / _CELLS_FILE
        if table.is_file():
            ledger.files.append(table)
            known = read_json_object(table) or {}
            self.update({int(index): str(cell) for index, cell in known.items() if index.isdecimal()})
        elif not self._folder.is_dir():
            rule = f"must hold the cells of NAS-Bench-201: git clone {_CELLS_URL} PATH/{_CELLS_FOLDER}"
            raise UserError("PATH", rule, str(root))

    def __missing__(self, index: int) -> str:
        path = self._folder / f"config_{index}.pkl"
        if not path.is_file():
            raise KeyError(f"the cell of network {index}")
        texts = [text for _, text, _ in pickletools.genops(path.read_bytes()) if isinstance(text, str)]
        if "arch_str" not in texts[:-1]:
            raise KeyError(f"the cell of network {index} in {path.name}")
        self[index] = texts[texts.index("arch_str") + 1]
        return self[index]


SOURCE = Source(
    name="pi5-networks",
    title="NAS-Bench-201 on a Raspberry Pi 5 (HW-NAS-Bench-360)",
    url=_URL,
    commit="a9b243e07fb8f0671ee56587696e7b8ef1ca702d",
    licence="none stated; cells: MIT (HW-NAS-Bench)",
    devices=tuple(_DEVICES.values()),
    sensor="the board's PMIC, current and voltage of the core's rail (VDD_CORE) at 100 Hz for 0.5 s, less an "
    "idle power measured before; memory's rails are not in it",
    energy_source=_SENSOR,
    measured="6,466 different networks × 3 tasks × 3 runtimes (LiteRT, ONNX Runtime, PyTorch Mobile), "
    "batch 1, one core; times alone of a Pixel's NPU",
    format="results/dataset.parquet, of which lines of equal networks are copies; needs pyarrow. Cells from "
    "HW-NAS-Bench's arch_configs, or an nb201_archs.json (index → cell)",
    answers=(
        "which runtime's joules follow weights and which activations, over tasks of different image sizes",
    ),
    limits=(
        "Networks, no layers: sums over a network's layers alone.",
        "Within one task MACs and weights are collinear: every layer's map is one of three sizes.",
        "The core's rail alone: what memory draws is not measured.",
        "Time and energy come from different runs; no intervals.",
        "One search space, one family: 3×3 and 1×1 convolutions of 16, 32 and 64 channels.",
        "LiteRT leaves out what a `none` makes useless, and so do its counts; five networks are constants.",
    ),
    beside=(f"git clone {_CELLS_URL} HW-NAS-Bench-360/{_CELLS_FOLDER}",),
    read=read,
)
