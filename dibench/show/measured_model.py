"""What the layers of a whole model cost here: the costliest first, their sum, and what the sum leaves out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from dibench.numbers import count, number, percent, shape_text, short, times, uncertainty
from dibench.show.blocks import Block, Column, Headline, Note, Sentence, Table
from dibench.show.one_layer import roof_of
from dibench.show.partial import at_least, not_covered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dibench.backends import Device
    from dibench.measure.one_model import MeasuredModel, MeasuredShape

_MOST_SHAPES = 10
_LONGEST_NAME = 26
_WIDE = 0.1
"""A half-width from which on a time is called uncertain."""


# Wide because of all that was measured.
def blocks(
    found: MeasuredModel,
    device: Device,
    peaks: Mapping[str, Any],
    why_no_energy: str,
    *,
    full: bool = False,
    how: str = "--full",
) -> list[Block]:
    """What the layers cost and how sure that is, the costliest, and what is not in the sum.

    Args:
        found: what was measured.
        device: on which.
        peaks: `mac_per_s` and `bytes_per_s`, measured just now.
        why_no_energy: empty where a sensor was read.
        full: show every shape, the roofs, and why there is no energy.
        how: one asks for that.
    """
    model = found.model
    sizes = ", ".join(f"{name} {list(shape)}".strip() for name, shape in model.input_shapes.items())
    threads = f", {device.facts['threads']} threads" if "threads" in device.facts else ""
    where = f"on {device.name}{threads}, fp32"
    layers = f"{count(len(model.layers), 'layer')} of {count(len(found.shapes), 'shape')}"
    title = f"{model.name}, batch {model.batch}{sizes and f', {sizes}'}, {where}: {layers}"
    made: list[Block] = []
    if found.measured:
        table = _costs(found, peaks, how="" if full else how)
        table = attrs.evolve(table, caption=f"{title}\n{table.caption}")
        made += [Headline(_sum(found)), *_how_sure(found), *_beside(found), table]
    else:
        made.append(Headline(title))
    if full and found.measured:
        made.append(Note(_roof(peaks)))
    if why_no_energy and (full or not found.measured):
        made.append(Note(f"Energy: {why_no_energy}."))
    made += _left_out(found)
    made += not_covered(model.not_covered)
    made += [Sentence(model.note)] if model.note else []
    return made


def in_a_line(found: MeasuredModel) -> str:
    """`resnet50, batch 1: ≥ 45.1 ms, 98% of MACs; 20 of 23 shapes measured`."""
    of_shapes = f"{len(found.measured)} of {count(len(found.shapes), 'shape')} measured"
    cost = f"{_cost(found)}; " if found.measured else ""
    return f"{found.model.name}, batch {found.model.batch}: {cost}{of_shapes}"


def plain(
    found: MeasuredModel, device: Device, peaks: Mapping[str, Any], why_no_energy: str
) -> dict[str, Any]:
    """The same for programs; seconds and joules are of one layer, `cost` of all layers of its shape.

    `cost_ci` is the half-width of the interval of the whole cost (`dibench.measure.one_model` says of what),
    `pace_ci` how much of it the machine's pace is, relative, and `pace_change` by how much that changed.
    """
    whole = found.whole
    return {
        "model": found.model.name,
        "batch": found.model.batch,
        "device": device.name,
        "peaks": dict(peaks),
        "why_no_energy": why_no_energy,
        "unit": "J" if found.of_energy and found.measured else "s",
        "cost": whole,
        "cost_ci": found.whole_ci,
        "pace_ci": found.pace_ci,
        "pace_change": found.pace_change,
        "macs": found.share.macs,
        "macs_known": found.model.macs_known,
        "complete": not found.share.partial,
        "interrupted": found.interrupted,
        "lost": found.lost,
        "layers": [_plain_shape(found, one, whole, peaks) for one in found.measured],
        "not_measured": [
            {"name": shape.layer.name, "count": shape.count, **shape.layer.dims,
             "reason": _why_left_out(found)}
            for shape in found.left_out
        ] + [
            {"name": one.shape.layer.name, "count": one.shape.count, **one.shape.layer.dims,
             "reason": one.ours.row.reason}
            for one in found.tried if one.failed
        ],
        "not_covered": [
            {"name": part.name, "op": part.op, "reason": part.reason, "macs": part.macs}
            for part in found.model.not_covered
        ],
    }  # fmt: skip


def _plain_shape(
    found: MeasuredModel, one: MeasuredShape, whole: float, peaks: Mapping[str, Any]
) -> dict[str, Any]:
    layer, row = one.shape.layer, one.ours.row
    roof, which = roof_of(layer, peaks)
    return {
        "name": layer.name, "op": layer.op, **layer.dims, "count": one.shape.count, "macs": layer.macs,
        "kernel": one.ours.name, "time_s": row.time_s, "time_ci_s": row.time_ci_s, "energy_j": row.energy_j,
        "status": row.status, "reason": row.reason, "cost": found.cost(one), "share": found.cost(one) / whole,
        "mac_per_s": _rate(one), "of_the_roof": _rate(one) / roof, "roof": which,
        "peer": None if one.peer is None else {
            "name": one.peer.name, "time_s": one.peer.row.time_s, "time_ci_s": one.peer.row.time_ci_s,
            "energy_j": one.peer.row.energy_j, "status": one.peer.row.status, "reason": one.peer.row.reason,
        },
    }  # fmt: skip


def _cost(found: MeasuredModel) -> str:
    """Of all layers that were measured, with its interval, marked where they are not the whole model."""
    cost = short(found.whole, "J" if found.of_energy else "s")
    if found.whole_ci is not None:
        cost += f" ±{uncertainty(found.whole_ci / found.whole)}"
    return at_least(cost, found.share)


def _rate(one: MeasuredShape) -> float:
    return one.shape.layer.macs / (one.ours.row.time_s or math.nan)


def _costs(found: MeasuredModel, peaks: Mapping[str, Any], *, how: str) -> Table:
    """The costliest shapes; without a way to ask for more, all of them."""
    measured = found.measured
    shown = measured[:_MOST_SHAPES] if how else measured
    what = "costliest first"
    if len(shown) < len(measured):
        what = f"the {len(shown)} costliest of {len(measured)} shapes"
    if how:
        joules = "" if found.of_energy else ", why no joules,"
        what += f"; `{how}` says every shape{joules} and the roofs"
    peer = any(one.peer is not None for one in measured)
    heads = [
        Column("layer", text=True), Column("×"), Column("shape", text=True, wraps=True, rank=5),
        Column("time"), Column("±"), *([Column("energy")] if found.of_energy else []),
        Column("share"), Column("MAC/s", rank=2), Column("of the roof", rank=1),
        *([Column("PyTorch", rank=3), Column("ours/PyTorch")] if peer else []),
    ]  # fmt: skip
    whole = found.whole
    rows = [_row(found, one, whole, peaks, peer=peer) for one in shown]
    note = "×: how many layers have the shape; time is of one of them, share of all these."
    if any(one.shape.layer.transposed for one in shown):
        note += " Transposed: times are of the convolution whose gradient it is."
    return Table(what, heads, rows, note)


def _row(
    found: MeasuredModel, one: MeasuredShape, whole: float, peaks: Mapping[str, Any], *, peer: bool
) -> list[str]:
    layer, row = one.shape.layer, one.ours.row
    roof, which = roof_of(layer, peaks)
    theirs = one.peer.row.time_s if one.peer is not None else None
    ratio = (row.time_s or math.nan) / theirs if theirs else None
    width = None if row.time_ci_s is None else row.time_ci_s / (row.time_s or math.nan)
    return [
        _name(layer.name.partition("/")[2]),
        str(one.shape.count),
        shape_text(layer),
        short(row.time_s, "s"),
        uncertainty(width),
        *([short(row.energy_j, "J")] if found.of_energy else []),
        percent(found.cost(one) / whole, 1),
        short(_rate(one)),
        f"{percent(_rate(one) / roof, 0)} {which}",
        *([short(theirs, "s"), times(ratio)] if peer else []),
    ]


def _name(name: str) -> str:
    """A layer's name as the table has room for: without scopes that the next one repeats, else its end.

    >>> _name("layer4/layer4.0/downsample/downsample.0/Conv"), _name("features.18.0")
    ('layer4.0/downsample.0/Conv', 'features.18.0')
    """
    scopes = name.split("/")
    kept = [
        scope for scope, after in zip(scopes, [*scopes[1:], ""], strict=True) if not after.startswith(scope)
    ]
    text = "/".join(kept)
    return text if len(text) <= _LONGEST_NAME else "…" + text[1 - _LONGEST_NAME :]


def _sum(found: MeasuredModel) -> str:
    time_s = math.fsum(one.shape.count * (one.ours.row.time_s or 0.0) for one in found.measured)
    per = "an inference" if found.model.batch == 1 else f"a batch of {found.model.batch}"
    rate = short(found.share.macs / time_s, "MAC/s")
    return f"All layers: {_cost(found)} for {per}, {rate}; what runs between them is not in it."


def _beside(found: MeasuredModel) -> list[Block]:
    """Both libraries on the layers that both ran."""
    pairs = [
        (one.shape.count, one.ours.row.time_s, one.peer.row.time_s, one.peer.name)
        for one in found.measured
        if one.peer is not None and one.ours.row.time_s and one.peer.row.time_s
    ]
    if not pairs:
        return []
    ours = math.fsum(number * own for number, own, _, _ in pairs)
    theirs = math.fsum(number * other for number, _, other, _ in pairs)
    which = "the same layers" if len(pairs) == len(found.measured) else f"{len(pairs)} of these shapes"
    return [
        Sentence(
            f"{pairs[0][3]} takes {short(theirs, 's')} for {which}: ours takes {times(ours / theirs)} that."
        )
    ]


def _roof(peaks: Mapping[str, Any]) -> str:
    return (
        f"Roofs, measured just now: {short(peaks['mac_per_s'], 'MAC/s')}, and MACs per byte × "
        f"{short(peaks['bytes_per_s'], 'B/s')}; small layers run from cache, above the memory roof."
    )


def _how_sure(found: MeasuredModel) -> list[Block]:
    """What makes times uncertain, in one sentence; nothing where they are known well."""
    parts = [*_pace(found), *_uncertain(found)]
    return [Sentence(f"How sure: {'; '.join(parts)}.", "warn")] if parts else []


def _pace(found: MeasuredModel) -> list[str]:
    if not found.pace_change:
        return []
    known = found.pace_ci is not None
    bound = f"which alone may be ±{uncertainty(found.pace_ci)}" if known else "seen too few times for an ±"
    change = found.pace_change
    by = (
        percent(change) if change < 1 else f"a factor of {number(1 + change, '.1f' if change < 9 else '.0f')}"
    )
    return [f"the machine's pace changed by {by} meanwhile, {bound}"]


def _uncertain(found: MeasuredModel) -> list[str]:
    wide = sum(
        (one.ours.row.time_ci_s or math.inf) > _WIDE * (one.ours.row.time_s or math.inf)
        for one in found.measured
    )
    if not wide:
        return []
    text = f"{wide} of {count(len(found.measured), 'time')} may be off by more than ±{percent(_WIDE, 0)}"
    return [f"{text}: other processes, or too little time (--time-budget)"]


def _left_out(found: MeasuredModel) -> list[Block]:
    made: list[Block] = []
    if found.left_out:
        macs = sum(shape.macs for shape in found.left_out)
        why = _why_left_out(found) + ("" if found.cut_short else " (--time-budget)")
        first = found.left_out[0].layer.name.partition("/")[2]
        more = " …" if len(found.left_out) > 1 else ""
        what = f"{count(len(found.left_out), 'shape')}, {percent(macs / found.model.macs_known)} of MACs"
        made.append(Sentence(f"**not measured**: {what} ({first}{more}): {why}", "warn"))
    made += [
        Sentence(f"**not measured**: {one.shape.layer.name.partition('/')[2]}: {one.ours.row.reason}", "warn")
        for one in found.tried
        if one.failed
    ]
    peers = [one for one in found.measured if one.peer is not None and one.peer.row.time_s is None]
    made += [Note(f"{_failed_peer(peers)}.")] if peers else []
    return made


def _why_left_out(found: MeasuredModel) -> str:
    if found.lost:
        return f"the device was lost: {found.lost}"
    return "interrupted before" if found.interrupted else "no time was left"


def _failed_peer(peers: Sequence[MeasuredShape]) -> str:
    first = peers[0]
    assert first.peer is not None
    name = first.shape.layer.name.partition("/")[2]
    return f"{first.peer.name} failed on {count(len(peers), 'shape')}, {name}: {first.peer.row.reason}"
