"""What of a row follows from the rest: operator, output size, counts, status."""

from __future__ import annotations

import re
from typing import Any

from dibench.errors import UserError
from dibench.intensity import arithmetic_intensity
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import ANCHOR, CHOICES, NETWORK, RESPONSES, broken_rule

ENERGIES = tuple(name for name in RESPONSES if name.endswith("_j"))
DTYPES = {
    "float64": "fp64", "double": "fp64", "float32": "fp32", "float": "fp32", "float16": "fp16",
    "half": "fp16", "bfloat16": "bf16",
}  # fmt: skip
"""What PyTorch and NumPy call data types, as our kernels and fits name them."""

COUNTS = ("macs", "weights", "inputs", "outputs")
_SIZES = ("H", "W", "R", "S")
_PRODUCT = re.compile(r"conv|linear|dense|(?:^|_)fc|fully|gemm|matmul|inner.?product|addmm", re.IGNORECASE)
_NO_PRODUCT = re.compile(r"transpose|deconv|conv_?3d", re.IGNORECASE)


def derive(values: dict[str, Any]) -> None:
    """Fill what follows, and check what was given of it.

    Args:
        values: of a row, by column of the contract; None or empty where nothing is known.

    Raises:
        UserError: they contradict each other, or make no row; the message names column, rule and value.
    """
    values["op"] = _own_word(values.get("op") or "")
    dtype = (values.get("dtype") or "").removeprefix("torch.")
    values["dtype"] = DTYPES.get(dtype.lower(), dtype)
    if values["op"] == NETWORK:
        _derive_ai(values)
    elif values["op"] != ANCHOR:
        _derive_layer(values)
    elif any(values.get(name) is not None for name in DIMENSIONS):
        raise UserError("op", "must be a layer's where there are dimensions", ANCHOR)
    values["status"] = values.get("status") or "ok"
    known = {name for name in RESPONSES if values.get(name) is not None}
    if not known and values["status"] in ("ok", "flagged"):
        raise UserError("response", "must be in one of " + ", ".join(RESPONSES))
    if not known.intersection(ENERGIES):
        values["energy_source"] = values.get("energy_source") or "none"
    for name in ("status", "energy_source"):
        if rule := broken_rule(name, values.get(name) or ""):
            raise UserError(name, rule, values.get(name) or "")


def _own_word(op: str) -> str:
    """The operator if it is one of ours; empty for another word for a layer that the dimensions tell.

    >>> _own_word("fc"), _own_word("Conv2d")
    ('fc', '')
    """
    if not op or op in CHOICES["op"]:
        return op
    if _NO_PRODUCT.search(op) or not _PRODUCT.search(op):
        raise UserError("op", "must be a convolution or a fully-connected layer", op)
    return ""


def _derive_layer(values: dict[str, Any]) -> None:
    dims = {name: values[name] for name in DIMENSIONS if values.get(name) is not None}
    if not any(name in dims for name in _SIZES):  # as tables leave them empty for fully-connected layers
        dims |= dict.fromkeys(_SIZES, 1)
    layer = Layer.from_dims(dims)
    if values["op"] not in ("", layer.op):
        raise UserError("op", f"must be {layer.op} for these dimensions", values["op"])
    for name in COUNTS:
        own = getattr(layer, name)
        if values.get(name) not in (None, own):
            bias = "without the bias " if name == "macs" and values[name] == own + layer.outputs else ""
            rule = f"must be {own} {bias}for these dimensions, or left out by --map {name}="
            raise UserError(name, rule, values[name])
        values[name] = own
    values |= {**layer.dims, "op": layer.op, "ai": layer.ai}


def _derive_ai(values: dict[str, Any]) -> None:
    known = [values[name] for name in COUNTS if values.get(name) is not None]
    if len(known) == len(COUNTS) and values.get("ai") is None:
        macs, weights, inputs, outputs = known
        values["ai"] = float(arithmetic_intensity(macs, weights, inputs + outputs))
