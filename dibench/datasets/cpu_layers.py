"""Convolution and linear layers on two Xeons, as codecarbon recorded them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev

import attrs

from dibench.datasets.source import Ledger, Source, case_id, cells_of, csv_lines, locate, missing
from dibench.errors import UserError
from dibench.intervals import t_975
from dibench.layer import Layer
from dibench.schema import EXTERNAL, FRAMEWORK_CALLS, LIBRARY, REPEATED_MODULE, SEPARATOR, WARM_OPERANDS, Row

_URL = "https://github.com/JohannesGetzner/dl-energy-estimator"
_FOLDERS = {"conv2d": ("data/conv2d", "conv2d", ""), "linear": ("data/linear", "linear", "")}
_SENSOR = EXTERNAL + "codecarbon-rapl"
_CAVEATS = SEPARATOR.join((WARM_OPERANDS, REPEATED_MODULE, FRAMEWORK_CALLS))
_DEVICE = "2 × Intel Xeon Gold 5120"
_CACHE_BYTES = 2 * (77 << 18)  # L3, 19.25 MB in each
_J_PER_KWH = 3.6e6
_LOST = 0.94
"""Mean power of a repeat over the file's median below which RAPL's counter has wrapped: codecarbon then drops
the joules of an interval or more. The program's own log marks every repeat below, and none just above."""


@attrs.frozen
class _Repeat:
    """One line: forward passes of one configuration for about 30 s."""

    line: int
    config: tuple[tuple[str, str], ...]
    layer: Layer
    passes: int
    seconds: float
    joules: float

    @property
    def power_w(self) -> float:
        return self.joules / self.seconds


def read(root: Path, ledger: Ledger) -> Iterator[Row]:
    """A row for each configuration: the mean of its repeats."""
    paths = [
        path
        for kind, folders in _FOLDERS.items()
        for path in locate(_URL, root, folders, f"0[0-9]_{kind}*-raw.csv")
    ]
    if not paths:
        raise missing(_URL, root, "data/conv2d/00_conv2d-raw.csv")
    for path in paths:
        repeats = list(_repeats(path, ledger))
        usual = median(one.power_w for one in repeats) if repeats else 0.0
        lost = [one.line for one in repeats if one.power_w < _LOST * usual]
        if lost:
            shown = ", ".join(map(str, lost))
            ledger.notes.append(f"{path.name}: RAPL lost joules in lines {shown}: of these only time counts")
        by_config: dict[tuple[tuple[str, str], ...], list[_Repeat]] = {}
        for one in repeats:
            by_config.setdefault(one.config, []).append(one)
        for own in by_config.values():
            yield _row(path.name, own, [one for one in own if one.power_w >= _LOST * usual])


def _repeats(path: Path, ledger: Ledger) -> Iterator[_Repeat]:
    for number, cells in csv_lines(path, ledger):
        try:
            found = _repeat(number, cells)
        except (UserError, ValueError, KeyError) as error:
            ledger.refuse(path.name, number, error)
            continue
        ledger.used += 1
        yield found


def _repeat(line: int, cells: Mapping[str, str]) -> _Repeat:
    """
    Raises:
        UserError, ValueError, KeyError: it is no line of this source.
    """
    facts = dict(part.split(":", 1) for part in cells["project_name"].split(","))
    layer = _layer(facts).renamed(_name(facts["freeText"]))
    # ptflops counts the bias as well, one for each output.
    if int(facts["macs"]) != layer.macs + layer.outputs:
        raise UserError("macs", f"must be {layer.macs + layer.outputs} for these dimensions", facts["macs"])
    passes, seconds = int(facts["forward_passes"]), float(cells["duration"])
    joules = _J_PER_KWH * float(cells["cpu_energy"])
    if passes < 1 or not (math.isfinite(joules) and 0 < seconds < math.inf):
        raise ValueError("forward_passes and duration must be above zero, and cpu_energy finite")
    config = tuple((name, text) for name, text in facts.items() if name not in ("rep_no", "forward_passes"))
    return _Repeat(line, config, layer, passes, seconds, joules)


def _layer(facts: Mapping[str, str]) -> Layer:
    N = int(facts["batch_size"])
    if facts["module"] == "Linear":
        return Layer.fc(N=N, C=int(facts["input_size"]), K=int(facts["output_size"]))
    if facts["module"] != "Conv2d":
        raise UserError("module", "must be Conv2d or Linear", facts["module"])
    size, kernel, stride, pad = (
        int(facts[name]) for name in ("image_size", "kernel_size", "stride", "padding")
    )
    return Layer(
        N=N, C=int(facts["in_channels"]), H=size, W=size, K=int(facts["out_channels"]), R=kernel, S=kernel,
        stride_h=stride, stride_w=stride, pad_h=pad, pad_w=pad,
    )  # fmt: skip


def _name(text: str) -> str:
    """
    >>> _name("architecture=vgg11;layer_idx=3"), _name("")
    ('vgg11/layer3', '')
    """
    known = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    return f"{known['architecture']}/layer{known['layer_idx']}" if "architecture" in known else ""


def _row(file: str, repeats: Sequence[_Repeat], whole: Sequence[_Repeat]) -> Row:
    """
    Args:
        file: that holds them.
        repeats: of one configuration.
        whole: those of them of which no joules were lost.
    """
    layer = repeats[0].layer
    time_s, time_ci_s = _mean([one.seconds / one.passes for one in repeats])
    energy_j, energy_ci_j = _mean([one.joules / one.passes for one in whole])
    return Row(
        case_id=case_id(SOURCE.name, file, repeats[0].config),
        device=_DEVICE,
        backend=LIBRARY,
        name=layer.name,
        **cells_of(layer),
        dtype="fp32",
        variant="pytorch",
        time_s=time_s,
        time_ci_s=time_ci_s,
        energy_j=energy_j,
        energy_ci_j=energy_ci_j,
        power_w=fmean(one.power_w for one in whole) if whole else None,
        energy_source=_SENSOR if whole else "none",
        visits=len(repeats),
        launches=sum(one.passes for one in repeats),
        data="uniform",
        status="ok",
        cache_bytes=_CACHE_BYTES,
        caveats=_CAVEATS,
    )


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half-width of its 95% interval; None for what so many values do not tell."""
    if len(values) < 2:
        return (values[0] if values else None), None
    return fmean(values), t_975(len(values) - 1) * stdev(values) / math.sqrt(len(values))


SOURCE = Source(
    name="cpu-layers",
    title="Convolution and linear layers on two Xeons (dl-energy-estimator)",
    url=_URL,
    commit="2279b0a5617facd9e34e1215c2605039c706d7cc",
    licence="none stated",
    devices=(_DEVICE,),
    sensor="RAPL of both packages, read by codecarbon every 3 s for about 30 s, mostly three "
    "times; no memory",
    energy_source=_SENSOR,
    measured="2,048 configurations of conv2d and linear at batch 1 to 512, 2,000 of them drawn at random, "
    "48 of alexnet and vgg11, 13, 16; PyTorch in fp32",
    format="CSV files of codecarbon (0?_conv2d*-raw.csv, 0?_linear*-raw.csv), the configuration in "
    "project_name. Not read: maxpool2d, activations, architectures; ram_energy is a constant 288.75 W and "
    "gpu_energy an idle card's",
    answers=("time by layer on a large CPU, with counts that are not collinear: drawn at random",),
    limits=(
        "Mean power is 76 W in every row, whatever the layer: its joules are time times a constant.",
        "One module and one input are used again and again.",
        "RAPL's counter wraps now and then, and codecarbon loses joules: of such repeats only time counts.",
        "The duration holds the start and the end of codecarbon's tracker, about 0.1 s of 30.",
        "No memory: RAPL's packages alone.",
    ),
    read=read,
)
