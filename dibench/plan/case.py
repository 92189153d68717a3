"""A case: one layer under one kernel with its knobs, and the id that anybody can find its row by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dibench.case_ids import id_of
from dibench.kernels import KNOBS, SUFFIXES, anchors, registry
from dibench.layer import Layer
from dibench.plan.boxes import default_box
from dibench.schema import NETWORK, Row, pack_knobs

if TYPE_CHECKING:
    from dibench.kernels import Variant

DTYPE = "fp32"


def _pairs(value: Iterable[Sequence[Any]]) -> tuple[tuple[str, int | str], ...]:
    """Knobs as a tuple of pairs, also where they come from JSON as lists."""
    return tuple((name, setting) for name, setting in value)


_COLUMNS = ("tile_p", "tile_k", "tile_c", "lanes")
"""Knobs with a column of their own; the others share the column `knobs`."""

_UNSAID = {"splits": 1}
"""Values at which ids and rows leave a knob out: the kernel is then what it was before it had the knob."""

_OF_A_NETWORK = ("N", "C", "H", "W")

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _convolution(layer: Layer) -> Layer:
    return layer.as_convolution


@attrs.frozen(kw_only=True)
class Case:
    """One layer under one kernel; its knobs are resolved to numbers, None where the kernel has no such."""

    layer: Layer = attrs.field(converter=_convolution)
    """What is run: of a transposed convolution that whose gradient it is."""
    backend: str
    variant: str
    dtype: str = DTYPE
    tile_p: int | None = None
    tile_k: int | None = None
    tile_c: int | None = None
    taps: int | None = None
    window: int | None = None
    further: tuple[tuple[str, int | str], ...] = attrs.field(default=(), converter=_pairs)
    """The kernel's knobs beyond these five, such as `lanes` and `warps` of CUDA kernels."""
    instances: int = 1
    sms: str = "all"
    """Blocks wherever there is room (`all`), or one to each of the `whole`, `half` or `quarter` of a GPU."""
    cold: bool = False
    """Operands come from memory in every launch, not from the last-level cache."""
    data: str = "uniform"
    seed: int = 1  # of operand values
    sentinel: bool = False
    network: str = ""
    """Names a whole network to build in place of the layer, whose N, C, H, W are then the network's input."""
    visits: int = 1  # to a metered GPU, at different times; one row in the end
    order: int = 1  # position in the plan, from 1
    together: int = 0
    """Cases with the same number, such as the halves of a twin, are measured on one device; 0: none."""

    @property
    def anchor(self) -> bool:
        """Whether the kernel is an anchor: it pins the energy of one level, and computes no layer."""
        return self.variant in anchors.registry()

    @property
    def op(self) -> str:
        """The layer's operator, or `anchor`."""
        return "anchor" if self.anchor else self.layer.op

    @property
    def knobs(self) -> dict[str, Any]:
        """The knobs the kernel has, by name: whole numbers, or words."""
        values = (self.tile_p, self.tile_k, self.tile_c, self.taps, self.window)
        box = {knob: value for knob, value in zip(KNOBS, values, strict=True) if value is not None}
        return {**box, **dict(self.further)}

    @property
    def told_knobs(self) -> dict[str, Any]:
        """The knobs that id and row have: all but those at the value that a kernel without them has."""
        return {name: value for name, value in self.knobs.items() if _UNSAID.get(name) != value}

    @property
    def box(self) -> tuple[int, int, int, int, int]:
        """tile_p, tile_k, tile_c, taps, window as csrc/cpu/kernel.h wants them: 0 where there is no knob."""
        return (
            self.tile_p or 0,
            self.tile_k or 0,
            self.tile_c or 0,
            self.taps or 0,
            self.window or 0,
        )

    @property
    def launch_knobs(self) -> dict[str, Any]:
        """How it is launched, where that is not the usual way: `sms`, `cold`."""
        return ({} if self.sms == "all" else {"sms": self.sms}) | ({"cold": 1} if self.cold else {})

    @property
    def key(self) -> str:
        """The text that the case's id is a hash of: JSON with sorted keys and no spaces.

        {"backend", "data", "dtype", "knobs": {the kernel's knobs and "instances"}, "layer": {the sixteen
        dimensions, none of an anchor}, "seed", "variant"}; the knobs have "splits" and "sms" where they are
        not 1 and "all", and "cold": 1 where it is; a whole network adds "network"; a sentinel, measured
        repeatedly, its "order".
        """
        content = {
            "backend": self.backend,
            "data": self.data,
            "dtype": self.dtype,
            "knobs": {**self.told_knobs, "instances": self.instances, **self.launch_knobs},
            "layer": {} if self.anchor else self.layer.dims,
            "seed": self.seed,
            "variant": self.variant,
        }
        if self.network:
            content["network"] = self.network
        if self.sentinel:
            content["order"] = self.order
        return _canonical(content)

    @property
    def case_id(self) -> str:
        """`c` and the first 16 hex digits of the SHA-256 of `key`.

        >>> layer = Layer.fc(N=1, C=2, K=3)
        >>> Case(layer=layer, backend="cpu", variant="fc_dot").case_id
        'c91ac3fe11f64aef2'
        """
        return id_of(self.key)

    def row(self) -> Row:
        """The case's row before anything is measured.

        >>> case = Case(layer=Layer.fc(N=1, C=2, K=3), backend="cpu", variant="fc_dot", cold=True)
        >>> (case.row().macs, case.row().knobs, case.row().status)
        (6, 'cold=1', '')
        """
        knobs = self.told_knobs
        apart = {name: knobs.pop(name) for name in _COLUMNS if name in knobs}
        row = Row(
            case_id=self.case_id,
            order=self.order,
            sentinel=int(self.sentinel),
            backend=self.backend,
            op=NETWORK if self.network else self.op,
            dtype=self.dtype,
            variant=self.variant,
            instances=self.instances,
            knobs=pack_knobs(knobs | self.launch_knobs),
            data=self.data,
            seed=self.seed,
        )
        if self.anchor:
            return row
        layer = self.layer
        sizes: dict[str, Any] = {
            **layer.dims,
            "macs": layer.macs,
            "weights": layer.weights,
            "inputs": layer.inputs,
            "outputs": layer.outputs,
            "ai": layer.ai,
        }
        if self.network:
            sizes = {name: sizes[name] for name in _OF_A_NETWORK}
        return attrs.evolve(row, name=layer.name, **sizes, stationarity=_stationarity(self), **apart)


def _stationarity(case: Case) -> str:
    """Of its kernel; empty of a library, and of a backend from elsewhere that has kernels of its own."""
    known = registry(case.backend) if case.backend in SUFFIXES else {}
    return known[case.variant].stationarity if case.variant in known else ""


def usual_case(layer: Layer, variant: Variant, **fields: Any) -> Case:
    """A layer under a kernel at the knob values that it has where a plan asks for none."""
    box = default_box(variant, layer, instances=fields.get("instances", 1))
    return with_knobs(layer, variant, box, **fields)


def with_knobs(layer: Layer, variant: Variant, knobs: Mapping[str, Any], **fields: Any) -> Case:
    """A layer under a kernel at these knob values."""
    return Case(layer=layer, backend=variant.backend, variant=variant.name, **knob_fields(knobs), **fields)


def knob_fields(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs as the fields of a case."""
    box = {name: value for name, value in knobs.items() if name in KNOBS}
    return {**box, "further": tuple((name, value) for name, value in knobs.items() if name not in KNOBS)}
