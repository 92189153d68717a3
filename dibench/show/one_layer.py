"""What one layer costs, how often its data are reused, and which roof limits it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from dibench.intensity import ELEMENT_BYTES
from dibench.models.intensities import reuse_of
from dibench.numbers import percent, shape_text, short, uncertainty
from dibench.numbers import plain as figure
from dibench.show import noise
from dibench.show.blocks import Block, Column, Headline, Note, Sentence, Table, columns
from dibench.study.findings.plain import plain as values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dibench.backends import Device
    from dibench.layer import Layer
    from dibench.measure.one_layer import Measured

_WIDE = 0.1
"""A half-width from which on a time is called uncertain."""


# Wide because of all that was measured.
def blocks(
    layer: Layer,
    device: Device,
    peaks: Mapping[str, Any],
    found: Sequence[Measured],
    why_no_energy: str,
    *,
    full: bool = False,
    how: str = "--full",
) -> list[Block]:
    """What the layer costs and how sure that is; in full also what it demands, and its place on the roofline.

    Args:
        layer: fp32.
        device: on which it was measured.
        peaks: `mac_per_s` and `bytes_per_s`, measured just now.
        found: of each way to run it.
        why_no_energy: empty where a sensor was read.
        full: show all of it.
        how: one asks for that.
    """
    made: list[Block] = [Headline(_answer(layer, device, peaks, found)), *_how_sure(found)]
    if full:
        made += [_reuse(layer), _costs(layer, found, peaks), Note(_roofline(layer, peaks))]
    else:
        caption = f"{_demand(layer)}; `{how}` says what each weight and activation serves"
        made.append(attrs.evolve(_costs(layer, found, peaks), caption=caption))
    if why_no_energy:
        made.append(Note(f"Energy: {why_no_energy}."))
    return made + [Note(f"{one.name}: {one.row.reason}") for one in found if one.row.status != "ok"]


def plain(
    layer: Layer, device: Device, peaks: Mapping[str, Any], found: Sequence[Measured], why_no_energy: str
) -> dict[str, Any]:
    """The same for programs: the layer with its counts, the device, and the cells of every row."""
    roof, which = roof_of(layer, peaks)
    rows = [
        {"kernel": one.name, "of_the_roof": layer.macs / one.row.time_s / roof if one.row.time_s else None}
        | {name: cell for name, cell in attrs.asdict(one.row).items() if cell not in (None, "", {})}
        for one in found
    ]
    about = {"device": device.name, "peaks": dict(peaks), "roof": which, "why_no_energy": why_no_energy}
    counts = reuse_of([layer]).figures(None)
    made: dict[str, Any] = values({"layer": layer, **counts, **about, "found": rows})
    return made


def _answer(layer: Layer, device: Device, peaks: Mapping[str, Any], found: Sequence[Measured]) -> str:
    """What it costs by our kernel, and which roof it reaches how far."""
    threads = f", {device.facts['threads']} threads" if "threads" in device.facts else ""
    name, where = layer.name or str(layer), f"{device.name}{threads}, fp32"
    ours = found[0].row
    if ours.time_s is None:
        return f"{name} was not measured on {where}."
    cost = short(ours.time_s, "s")
    cost += "" if ours.energy_j is None else f" and {short(ours.energy_j, 'J')}"
    roof, which = roof_of(layer, peaks)
    limit = "arithmetic" if which == "compute" else "memory"
    share = layer.macs / ours.time_s / roof
    if share > 1 and which == "memory":
        return f"{name} takes {cost} on {where}: it runs from cache, faster than memory allows."
    return f"{name} takes {cost} on {where}: {percent(share)} of what {limit} allows."


def _how_sure(found: Sequence[Measured]) -> list[Sentence]:
    """The interval of our kernel; where others disturbed it, what to do."""
    ours = found[0].row
    if ours.time_s is None or ours.time_ci_s is None:
        return []
    width = ours.time_ci_s / ours.time_s
    said = f"How sure: its time is known to ±{uncertainty(width)} (95%)."
    if width <= _WIDE:
        return [Sentence(said)]
    return [Sentence(f"{said} That is noise of other work: {noise.REMEDY.split(',')[0]}.", "warn")]


def roof_of(layer: Layer, peaks: Mapping[str, Any]) -> tuple[float, str]:
    """MAC/s that the layer can reach by the roofline, in fp32, and which roof that is."""
    by_memory = layer.ai / ELEMENT_BYTES["fp32"] * peaks["bytes_per_s"]
    return (by_memory, "memory") if by_memory < peaks["mac_per_s"] else (peaks["mac_per_s"], "compute")


def in_a_line(layer: Layer, found: Sequence[Measured]) -> str:
    """`resnet50/fc: 1.50 ms, 12.0 mJ by fc_gemm; PyTorch 2.13.0 1.15 ms, 9.10 mJ`."""
    said = []
    for one in found:
        energy = "" if one.row.energy_j is None else f", {short(one.row.energy_j, 'J')}"
        cost = "failed" if one.row.time_s is None else short(one.row.time_s, "s") + energy
        said.append(f"{one.name} {cost}")
    return f"{layer.name or layer}: {'; '.join(said)}"


def _reuse(layer: Layer) -> Table:
    m = layer.macs
    counts = {"weights": layer.weights, "inputs": layer.inputs, "outputs": layer.outputs}
    per_byte = figure(layer.ai / ELEMENT_BYTES["fp32"])
    return Table(
        f"{_demand(layer)} = {per_byte} MAC per byte",
        columns("data type", "elements", "MACs that each serves"),
        [[name, short(count), short(m / count)] for name, count in counts.items()],
    )


def _demand(layer: Layer) -> str:
    """`standard, 64×56×56 → 64×56×56  3×3`, and its MACs and intensity in a second line."""
    return f"{layer.op}, {shape_text(layer)}\n{short(layer.macs)} MACs, AI {figure(layer.ai)} MAC per element"


def _costs(layer: Layer, found: Sequence[Measured], peaks: Mapping[str, Any]) -> Table:
    roof, _ = roof_of(layer, peaks)
    heads = (
        Column("kernel", text=True), Column("time"), Column("±", rank=1), Column("MAC/s", rank=2),
        Column("of the roof", rank=3), Column("energy"), Column("pJ/MAC", rank=1),
    )  # fmt: skip
    rows = []
    for one in found:
        if one.row.status == "failed":  # why stands below the table
            continue
        time_s, ci_s, energy_j = one.row.time_s or math.nan, one.row.time_ci_s, one.row.energy_j
        rows.append(
            [
                one.name,
                short(time_s, "s"),
                "" if ci_s is None else uncertainty(ci_s / time_s),
                short(layer.macs / time_s),
                percent(layer.macs / time_s / roof),
                "not measured" if energy_j is None else short(energy_j, "J"),
                "" if energy_j is None else figure(energy_j / layer.macs * 1e12),
            ]
        )
    return Table("", heads, rows)


def _roofline(layer: Layer, peaks: Mapping[str, Any]) -> str:
    """Which roof limits the layer."""
    ridge = peaks["mac_per_s"] / peaks["bytes_per_s"]
    intensity = layer.ai / ELEMENT_BYTES["fp32"]
    bound, sign = ("Arithmetic", "≥") if intensity >= ridge else ("Memory", "<")
    return (
        f"{bound}-bound: {figure(intensity)} MAC per byte {sign} {figure(ridge)} at the ridge "
        f"({short(peaks['mac_per_s'], 'MAC/s')}, {short(peaks['bytes_per_s'], 'B/s')}, measured just now; "
        "small layers run from cache, above the memory roof)."
    )
