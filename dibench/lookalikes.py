"""Which column of somebody's table may be one of the contract, and which of the contract need no column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

DERIVED = ("op", "P", "Q", "macs", "weights", "inputs", "outputs", "ai", "status")
"""Columns of the contract that follow from others."""

_WORDS: dict[str, tuple[str, ...]] = {
    "N": ("batch", "batch_size", "images"),
    "C": ("in_channels", "input_channels", "cin", "ic", "in_features", "input_size"),
    "H": ("height", "image_size", "input_height", "in_height", "in_h", "ih", "hin", "img_size", "resolution"),
    "W": ("width", "image_size", "input_width", "in_width", "in_w", "iw", "win", "img_size", "resolution"),
    "K": ("out_channels", "output_channels", "cout", "oc", "filters", "out_features", "output_size"),
    "R": ("kernel", "kernel_size", "kernel_height", "kh", "filter_size", "filter_height"),
    "S": ("kernel", "kernel_size", "kernel_width", "kw", "filter_size", "filter_width"),
    "P": ("output_height", "out_height", "out_h", "oh", "hout"),
    "Q": ("output_width", "out_width", "out_w", "ow", "wout"),
    "stride_h": ("stride", "strides", "sh"),
    "stride_w": ("stride", "strides", "sw"),
    "pad_h": ("pad", "padding", "pads", "ph"),
    "pad_w": ("pad", "padding", "pads", "pw"),
    "dil_h": ("dilation", "dilations", "dh"),
    "dil_w": ("dilation", "dilations", "dw"),
    "groups": ("group", "n_groups", "num_groups"),
    "dtype": ("precision", "data_type", "datatype"),
    "name": ("layer", "layer_name", "model", "network"),
    "op": ("operator", "operation", "layer_type", "module", "type"),
    "device": ("gpu", "gpu_name", "hardware", "card", "platform", "cpu_model", "gpu_model"),
    "energy_source": ("sensor", "meter"),
    "time_s": ("time", "latency", "lat", "duration", "runtime", "elapsed", "step_time"),
    "energy_j": ("energy", "joules", "energy_consumed"),
    "power_w": ("power", "watts"),
}
"""What other tools call it."""

_UNIT = re.compile(r"_(ns|us|µs|ms|s|sec|seconds|nj|uj|mj|j|joules|wh|kwh|mw|w|watts)$")
_LEAST = 0.8
_BEHIND = 0.11  # in_channels is no doubt C, so out_channels need not be named


def lookalikes(column: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that may be this column, the likeliest first.

    >>> lookalikes("N", ["model", "batch_size", "cost"]), lookalikes("time_s", ["avg latency (ms)", "power"])
    (['batch_size'], ['avg latency (ms)'])
    """
    found = sorted(((_alike(column, name), name) for name in names), key=lambda one: -one[0])[:most]
    return [name for score, name in found if score >= max(_LEAST, found[0][0] - _BEHIND)]


def _alike(column: str, name: str) -> float:
    plain = _UNIT.sub("", re.sub(r"[^a-z0-9µ]+", "_", name.lower()).strip("_"))
    known = (_UNIT.sub("", column.lower()), *_WORDS.get(column, ()))
    if plain.replace("_", "") in (word.replace("_", "") for word in known):
        return 1.0
    if any(f"_{word}_" in f"_{plain}_" for word in known if len(word) > 2):
        return 0.9
    # Of words as short as kh and kw, one letter is the difference.
    return max((SequenceMatcher(None, word, plain).ratio() for word in known if len(word) > 3), default=0.0)


def remedy(column: str, names: Iterable[str]) -> str:
    """What to do about a column that a table lacks, to be said behind the rule."""
    if column in DERIVED:
        return ", which `dibench import` derives"
    close = lookalikes(column, names)
    if close:
        return f", perhaps {' or '.join(close)}: `dibench import` maps names and units"
    return ", which `dibench import` can set"
