"""A kernel's knobs on one layer, where a plan leaves them out, writes symbols or asks for too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError
from dibench.kernels import MULTIPROCESSORS
from dibench.kernels.counting.positions import row_length
from dibench.layer import Layer

if TYPE_CHECKING:
    from dibench.kernels import Variant


def room(layer: Layer) -> dict[str, int]:
    """The largest value on a layer of each knob, and of each symbol that a plan may write.

    A tile of positions does not leave its row; see counting.positions.row_length.
    """
    K, C = layer.K // layer.groups, layer.C // layer.groups
    row, taps = row_length(layer), layer.R * layer.S
    return {
        "tile_p": row, "tile_k": K, "tile_c": C, "taps": taps, "window": 1,
        "row": row, "K": K, "C": C, "S": layer.S, "RS": taps,
    }  # fmt: skip


def default_box(
    variant: Variant, layer: Layer, multiprocessors: int = MULTIPROCESSORS, instances: int = 1
) -> dict[str, Any]:
    """Values of the knobs that a plan leaves out.

    What the header prefers for the layer; else, of the box's knobs, the most that the layer has where any
    value is legal, and the smallest legal one otherwise; of other knobs the value that the header names
    first. `multiprocessors` says how large a GPU is that is known; `instances` of the layer share a launch.
    """
    most = room(layer)
    usual = {
        knob: most[knob] if legal == "any" else min(legal) if knob in most else _usual(knob, legal)
        for knob, legal in variant.knobs.items()
    }
    return {**usual, **variant.preferred(layer, multiprocessors, instances)}


def _usual(knob: str, legal: tuple[Any, ...]) -> Any:
    """Of a knob outside the box: operands are staged where they can be, blocks have 8 warps."""
    if knob.startswith("stage_"):
        return max(legal)
    return 8 if knob == "warps" and 8 in legal else legal[0]


def resolved(
    variant: Variant, left_out: Mapping[str, Any], asked: Mapping[str, int | str], most: Mapping[str, int]
) -> dict[str, Any] | UserError:
    """A value for each knob. What exceeds the layer is cut to the largest legal value on it.

    Args:
        variant: whose knobs.
        left_out: values of the knobs that the plan leaves out, see `default_box`; where the plan chooses the
            tile and not `splits`, one block works on each.
        asked: values as a plan writes them, symbols too.
        most: the largest values on the layer, see `room`.

    Returns:
        The values by knob; or the error, where a knob can have none.
    """
    box = dict(left_out)
    if variant.prefer.keys() & asked.keys() and "splits" in box:
        box["splits"] = 1  # how many blocks should share a tile is known of the preferred one only
    for knob, written in asked.items():
        if knob not in most:
            if written not in variant.knobs[knob]:
                return UserError(knob, "must be one of " + ", ".join(map(str, variant.knobs[knob])), written)
            box[knob] = written
            continue
        value = most[written] if isinstance(written, str) else written
        legal = variant.knobs[knob]
        if legal != "any" and not isinstance(written, str) and value not in legal:
            return UserError(knob, "must be one of " + ", ".join(map(str, legal)), value)
        # The tile of a fast kernel may be larger than a row.
        if value > most[knob] and not variant.fast:
            fitting = [most[knob]] if legal == "any" else [v for v in legal if v <= most[knob]]
            if not fitting:
                return UserError(knob, f"must be at most {most[knob]}", value)
            value = max(fitting)
        box[knob] = value
    return box
