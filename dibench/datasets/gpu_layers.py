"""Layers and whole networks of torchvision on an A30, with and without TF32, and on an RTX 2080 Ti.

A log has a section for each network: its different operators in the order in which they first run, each
printed and then measured, and at the end `Dataset saved`. It names no network. `_KNOWN` tells them by the
number of their different convolution and linear layers and the sum of their weights, and says how often each
of these layers runs, so that the sums of a whole network are exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench.datasets.source import Ledger, Source, case_id, cells_of, locate, missing
from dibench.datasets.torch_modules import KINDS, kind_of, layer_of
from dibench.errors import UserError
from dibench.intervals import t_975
from dibench.layer import Layer
from dibench.schema import (
    EXTERNAL,
    FRAMEWORK_CALLS,
    LIBRARY,
    NETWORK,
    REPEATED_MODULE,
    SEPARATOR,
    WARM_OPERANDS,
    Row,
    network_counts,
)

_URL = "https://github.com/ConstantinNicolai/ml-operator-profiling"
_FOLDERS = ("functional_general_benchmark", "")
_SENSOR = EXTERNAL + "nvidia-smi"
_CAVEATS = SEPARATOR.join((WARM_OPERANDS, REPEATED_MODULE, FRAMEWORK_CALLS))


@attrs.frozen
class _Setting:
    """One card in one mode, and its logs."""

    device: str
    limit_w: float | None
    """Under which the card keeps its power; None where it never came near."""
    cache_bytes: int
    """L2, as NVIDIA states it."""
    convolutions: str
    """Data type that cuDNN may use. cuBLAS, for linear layers, stays at fp32: PyTorch's default."""
    layers: Sequence[str]
    networks: str


_SETTINGS = (
    _Setting(
        "NVIDIA A30",
        165.0,
        24 << 20,
        "tf32",
        ("methodology_2_point_zero", "finalbench_all_operations_A30", "operations_A30"),
        "fullmodel_A30",
    ),
    _Setting(
        "NVIDIA A30",
        165.0,
        24 << 20,
        "fp32",
        ("finalbench_all_operations_A30_no_tc", "operations_A30_no_tc"),
        "fullmodel_A30_no_tc",
    ),
    _Setting(
        "NVIDIA GeForce RTX 2080 Ti",
        None,
        11 << 19,
        "fp32",
        ("finalbench_all_operations_RTX2080TI", "operations_RTX2080TI"),
        "fullmodel_RTX2080TI",
    ),
)


@attrs.frozen
class _Network:
    """A torchvision network as its section shows it."""

    size: int
    """Height and width of its published input."""
    weights: int
    """Sum over its different layers."""
    times: Sequence[int]
    """How often each of these runs in one inference; 0 for those of training alone."""

    def is_shown_by(self, layers: Sequence[Layer]) -> bool:
        return len(layers) == len(self.times) and sum(layer.weights for layer in layers) == self.weights


# fmt: off
_KNOWN = {
    "alexnet": _Network(224, 61_090_496, (1,) * 8),
    "convnext_base": _Network(224, 15_017_856, (1, 3, 3, 3, 1, 3, 3, 3, 1, 27, 27, 27, 1, 3, 3, 3, 1)),
    "densenet121": _Network(224, 5_903_552, (
        1, 1, 6, *(1,) * 7, 12, *(1,) * 13, 24, *(1,) * 25, 16, *(1,) * 16)),
    "efficientnet_b0": _Network(224, 3_245_536, (
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 2, 2, 1, 1, 1, 2, 1, 2, 2, 1, 1, 1, 3, 2, 3, 3, 2, 1, 1, 3, 2,
        3, 3, 2, 1, 1, 4, 3, 4, 4, 3, 1, 1, 1, 1)),
    "efficientnet_b4": _Network(380, 8_682_536, (
        *(1,) * 14, 4, 3, 4, 4, 3, 1, 1, 4, 3, 4, 4, 3, 1, 1, 6, 5, 6, 6, 5, 1, 1, 6, 5, 6, 6, 5, 1, 1, 8,
        7, 8, 8, 7, *(1,) * 9)),
    "efficientnet_v2_m": _Network(480, 10_276_264, (
        1, 3, 1, 1, 4, 4, 1, 1, 4, 4, 1, 1, 1, 1, 1, 6, 6, 6, 6, 6, 1, 1, 1, 1, 1, 14, 13, 14, 14, 13, 1, 1,
        18, 18, 18, 18, 17, 1, 4, 4, 4, 4, 4, 1, 1)),
    "googlenet": _Network(224, 6_255_552, (
        *(1,) * 9, 2, *(1,) * 11, 2, 1, 2, 2, 3, 2, *(1,) * 16, 2, *(1,) * 6)),
    "inception_v3": _Network(299, 16_962_912, (
        1, 1, 1, 1, 1, 2, 1, 3, 4, 3, 1, 3, 1, 4, 1, 1, 1, 12, 2, 2, 1, 2, 1, 4, 4, 2, 4, 2, 4, 4, 0, 0, 0,
        1, 1, 1, 1, 4, 4, 1, 2, *(1,) * 6)),
    "resnet18": _Network(224, 5_375_168, (1, 4, 1, 3, 1, 1, 3, 1, 1, 3, 1, 1)),
    "resnet34": _Network(224, 5_375_168, (1, 6, 1, 7, 1, 1, 11, 1, 1, 5, 1, 1)),
    "resnet50": _Network(224, 14_517_440, (
        1, 1, 3, 4, 2, 1, 1, 4, 1, 3, 3, 1, 1, 6, 1, 5, 5, 1, 1, 3, 1, 2, 2, 1)),
    "resnet101": _Network(224, 14_517_440, (
        1, 1, 3, 4, 2, 1, 1, 4, 1, 3, 3, 1, 1, 23, 1, 22, 22, 1, 1, 3, 1, 2, 2, 1)),
    "shufflenet_v2_x1_0": _Network(224, 1_648_016, (1, 1, 1, 1, 1, 7, 3, 2, 16, 1, 7, 2, 8, 1, 3, 1, 1)),
    "squeezenet1_1": _Network(224, 924_352, (1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2, 1, 1)),
    "swin_b": _Network(224, 14_923_776, (1, 2, 2, 1, 2, 2, 1, 18, 18, 1, 2, 2, 1)),
    "swin_t": _Network(224, 8_587_776, (1, 2, 2, 1, 2, 2, 1, 6, 6, 1, 2, 2, 1)),
    "swin_v2_b": _Network(256, 14_955_520, (1, 24, 2, 2, 2, 1, 2, 2, 2, 1, 18, 18, 18, 1, 2, 2, 2, 1)),
    "swin_v2_t": _Network(256, 8_611_840, (1, 12, 2, 2, 2, 1, 2, 2, 2, 1, 6, 6, 6, 1, 2, 2, 2, 1)),
    "vit_b_32": _Network(224, 7_845_888, (1, 12, 12, 1)),
}
# fmt: on

_SHAPE = r"\((\d+(?:, \d+)*)\)"
_MEASURED = re.compile(rf"(.+) {_SHAPE} (\S+(?: \S+){{13}})")
_NAMED = re.compile(rf"(\w+) {_SHAPE}")
_SAVED = "Dataset saved to "
_MESSAGES = re.compile(
    r"Loading dataset from |Dataset saved to |No dataset found|done flag already |warmup complete "
    r"|.*: (?:User|Future)Warning: |  return torch\.load\(|  df\['Timestamp'\] = "
)


@attrs.frozen
class _Line:
    """A measured operator or network."""

    file: str
    number: int
    text: str
    shape: tuple[int, ...]
    time_s: float
    energy_j: float
    power_w: float
    launches: int
    started: str
    blocks: int | None
    """Into which the launches were divided; of their times the deviation is known."""
    deviation_s: float

    @property
    def time_ci_s(self) -> float | None:
        if self.blocks is None or self.blocks < 2:
            return None
        return t_975(self.blocks - 1) * self.deviation_s / math.sqrt(self.blocks)


def _line(file: str, number: int, text: str, shape: str, cells: Sequence[str]) -> _Line:
    """
    Raises:
        ValueError: a figure is none, or not above zero.
    """
    values = [float(cell) for cell in (*cells[:11], cells[13])]
    time_s, energy_mj, launches, power_w, block_j = (values[at] for at in (0, 1, 4, 6, 8))
    if not all(math.isfinite(value) for value in values) or min(time_s, energy_mj, launches, power_w) <= 0:
        raise ValueError("figures must be finite, and time, energy, power and launches above zero")
    in_a_block = round(1e3 * block_j / energy_mj)
    blocks, rest = divmod(round(launches), in_a_block) if in_a_block > 0 else (0, 1)
    sizes = tuple(int(size) for size in shape.split(", "))
    return _Line(
        file, number, text, sizes, time_s, energy_mj / 1e3, power_w, round(launches), cells[11],
        None if rest else blocks, values[11],
    )  # fmt: skip


@attrs.define
class _Log:
    """The sections of a log; each line of it is accounted for."""

    sections: list[list[_Line]] = attrs.field(factory=lambda: [[]])
    names: list[str] = attrs.field(factory=list)
    """Of networks, in the order of the measured lines of a log of whole networks."""


def _read_log(path: Path, ledger: Ledger) -> _Log:
    log, name = _Log(), ""
    ledger.files.append(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in ledger.numbered(path.name, lines):
        if measured := _MEASURED.fullmatch(line):
            try:
                found = _line(path.name, number, measured[1], measured[2], measured[3].split())
            except ValueError as error:
                ledger.refuse(path.name, number, error)
                continue
            log.sections[-1].append(found)
            log.names.append(name)
        elif named := _NAMED.fullmatch(line):
            name = named[1]
            ledger.leave("name of the network that the next line measures")
        elif _MESSAGES.match(line) or not line.strip():
            ledger.leave("message of the program that measured")
            if line.startswith(_SAVED):
                log.sections.append([])
        elif re.fullmatch(r"\w+\(.*\)", line):
            ledger.leave("name of the operator that the next line measures")
        else:
            ledger.refuse(path.name, number, "is no line that this log is known to have")
    return log


@attrs.frozen
class _Measured:
    """A layer with its last measurement."""

    layer: Layer
    line: _Line


@attrs.define
class _Layers:
    """The layers of a setting, each with its last measurement, and the networks that hold them."""

    last: dict[tuple[str, tuple[int, ...]], _Measured] = attrs.field(factory=dict)
    names: dict[tuple[str, tuple[int, ...]], list[str]] = attrs.field(factory=dict)
    networks: dict[tuple[str, int], list[Layer]] = attrs.field(factory=dict)
    """By name and image size: the layers of one inference, each as often as it runs."""


def read(root: Path, ledger: Ledger) -> Iterator[Row]:
    """Rows of layers, then of whole networks, setting by setting."""
    logs = {
        path.name: _read_log(path, ledger)
        for setting in _SETTINGS
        for name in (*setting.layers, setting.networks)
        for path in locate(_URL, root, _FOLDERS, name)
    }
    if not logs:
        raise missing(_URL, root, f"{_FOLDERS[0]}/{_SETTINGS[0].layers[-1]}")
    for setting in _SETTINGS:
        absent = [name for name in (*setting.layers, setting.networks) if name not in logs]
        if absent:
            ledger.notes.append(f"{setting.device}, {setting.convolutions}: no {', '.join(absent)}")
        whole = logs.get(setting.networks, _Log())
        found = _collect([logs[name] for name in setting.layers if name in logs], whole, ledger)
        yield from (_layer_row(setting, found, key) for key in found.last)
        yield from _network_rows(setting, found, whole, ledger)


def _collect(logs: Iterable[_Log], whole: _Log, ledger: Ledger) -> _Layers:
    found = _Layers()
    listed = {
        (name, line.shape[-1])
        for name, line in zip(whole.names, (line for one in whole.sections for line in one), strict=True)
    }
    for section in (section for log in logs for section in log.sections):
        own = []
        for line in section:
            if kind_of(line.text) not in KINDS:
                ledger.leave("no convolution or linear layer")
                continue
            try:
                own.append(_Measured(layer_of(line.text, line.shape), line))
            except UserError as error:
                ledger.refuse(line.file, line.number, error)
        for one in own:
            _keep_last(found, one, ledger)
        if own:
            _name(found, own, listed, ledger)
    return found


def _keep_last(found: _Layers, one: _Measured, ledger: Ledger) -> None:
    key = (one.line.text, one.line.shape)
    earlier = found.last.get(key)
    if earlier is None:
        ledger.used += 1
    else:
        ledger.leave("layer that was measured again later")
    if earlier is None or earlier.line.started <= one.line.started:
        found.last[key] = one


def _name(found: _Layers, own: Sequence[_Measured], listed: set[tuple[str, int]], ledger: Ledger) -> None:
    """Name the layers of a section after the networks that it may be of."""
    size = own[0].line.shape[-1]
    layers = [one.layer for one in own]
    shown = [name for name, network in _KNOWN.items() if network.is_shown_by(layers)]
    for name in [one for one in shown if (one, size) in listed] or shown:
        if (name, size) in found.networks:
            continue
        times = _KNOWN[name].times
        found.networks[name, size] = [
            layer for layer, often in zip(layers, times, strict=True) for _ in range(often)
        ]
        for number, (one, often) in enumerate(zip(own, times, strict=True), start=1):
            place = f"{_network_name(name, size)}/{one.layer.op}{number}"
            names = [place, *(f"{place}.{again}" for again in range(2, often + 1))]
            found.names.setdefault((one.line.text, one.line.shape), []).extend(names)
    if not shown:
        file, first = own[0].line.file, own[0].line.number
        ledger.notes.append(f"{file}: {len(own)} layers from line {first} on are of no network known here")


def _network_name(name: str, size: int) -> str:
    """A network's name, with its image size where that is not the published one.

    >>> _network_name("resnet50", 224), _network_name("resnet50", 299)
    ('resnet50', 'resnet50@299')
    """
    return name if name in _KNOWN and _KNOWN[name].size == size else f"{name}@{size}"


def _layer_row(setting: _Setting, found: _Layers, key: tuple[str, tuple[int, ...]]) -> Row:
    layer, line = found.last[key].layer, found.last[key].line
    dtype = setting.convolutions if kind_of(line.text) == "Conv2d" else "fp32"
    return attrs.evolve(
        _row(setting, line, dtype),
        # PyTorch's `setting` is part of the case: linear layers are fp32 in both modes of the A30.
        case_id=case_id(SOURCE.name, setting.device, setting.convolutions, line.text, line.shape),
        name=SEPARATOR.join(found.names.get(key, ())),
        **cells_of(layer),
    )


def _network_rows(setting: _Setting, found: _Layers, whole: _Log, ledger: Ledger) -> Iterator[Row]:
    lines = (line for section in whole.sections for line in section)
    last: dict[tuple[str, int], _Line] = {}
    for name, line in zip(whole.names, lines, strict=True):
        if not name or len(line.shape) != 4:
            ledger.refuse(line.file, line.number, "is of a network that the line before does not name")
            continue
        if (name, line.shape[-1]) in last:
            ledger.leave("network that was measured again later")
        else:
            ledger.used += 1
        last[name, line.shape[-1]] = line
    for (name, size), line in last.items():
        layers = found.networks.get((name, size), [])
        if not layers:
            ledger.notes.append(f"{line.file}: no layers of {name} at {size}: its row has no sums")
        cells: dict[str, Any] = {
            **dict(zip("NCHW", line.shape, strict=True)),
            **(network_counts(layers) if layers else {}),
        }
        yield attrs.evolve(
            _row(setting, line, setting.convolutions),
            case_id=case_id(SOURCE.name, setting.device, setting.convolutions, name, line.shape),
            name=_network_name(name, size),
            op=NETWORK,
            **cells,
        )


def _row(setting: _Setting, line: _Line, dtype: str) -> Row:
    return Row(
        session=setting.networks.partition("_")[2],
        device=setting.device,
        backend=LIBRARY,
        dtype=dtype,
        variant="pytorch",
        time_s=line.time_s,
        time_ci_s=line.time_ci_s,
        energy_j=line.energy_j,
        power_w=line.power_w,
        energy_source=_SENSOR,
        visits=1,
        windows=line.blocks,
        launches=line.launches,
        data="normal",
        status="ok",
        power_limit_w=setting.limit_w,
        cache_bytes=setting.cache_bytes,
        caveats=_CAVEATS,
    )


SOURCE = Source(
    name="gpu-layers",
    title="Operators and whole networks of torchvision (ml-operator-profiling)",
    url=_URL,
    commit="bd3aacea06b2c4f592383bdf6b121406a866e1f2",
    licence="none stated",
    devices=("NVIDIA A30", "NVIDIA GeForce RTX 2080 Ti"),
    sensor="power.draw of nvidia-smi, asked every millisecond for 16 to 23 s; its mean within three standard "
    "deviations, times PyTorch's mean time of a call",
    energy_source=_SENSOR,
    gain_accuracy_pct=13.0,  # the most that published comparisons found NVIDIA's sensors off by
    measured="every different convolution and linear layer of up to 27 networks and image sizes at batch 32, "
    "and 18 whole networks; PyTorch in eager mode; the A30 with TF32 allowed to cuDNN, and without",
    format="text logs: finalbench_all_operations_*, operations_*, methodology_2_point_zero; fullmodel_* of "
    "networks. Not read: A30_fullmodel (the same figures), RTX2080TI_fullmodel and "
    "full_model_measurements_A30_no_tc.txt (earlier, the 2080 Ti at 247 W in place of 150), *_train",
    answers=(
        "α, AI and DI by layer on two cards; the same layers in TF32 and FP32",
        "how much of a network's energy its convolution and linear layers hold",
    ),
    limits=(
        "The A30 stands at its 165 W limit in most rows: its joules there are time times 165 W.",
        "One module and one input are used again and again: weights, and small inputs, stay in the cache.",
        "Below 100 µs a call's own cost decides.",
        "Linear layers of the A30 are fp32 in both modes: PyTorch gives TF32 to cuDNN alone unless told to.",
        "No interval of energy: the deviation of power is one of samples that repeat each other.",
        "Whole networks also run batch norm, activations and additions, unfused.",
        "Two layers of inception_v3 are those of its second classifier, which runs in training alone.",
    ),
    read=read,
)
