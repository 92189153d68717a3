"""A convolution or fully-connected layer: its dimensions, checked, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter, index
from typing import Any

import attrs

from dibench import intensity
from dibench.errors import UserError

DIMENSIONS = (
    "N", "C", "H", "W", "K", "R", "S", "P", "Q",
    "stride_h", "stride_w", "pad_h", "pad_w", "dil_h", "dil_w", "groups",
)  # fmt: skip
"""The sixteen integers that define a layer, in the order of the CSV and of csrc/cpu/kernel.h."""

_get_shape: Callable[[Any], tuple[int, ...]] = attrgetter(*DIMENSIONS)
_MAY_BE_ZERO = ("pad_h", "pad_w")
_LARGEST = 2**31 - 1  # kernels index one dimension with 32 bits
_LARGEST_COUNT = 2**63 - 1  # and whole tensors, and MACs, with 64


def _whole_number(field: str, value: object) -> int:
    least = 0 if field in _MAY_BE_ZERO else 1
    try:
        number = index(value)  # type: ignore[arg-type]  # what has no __index__ is refused here
    except TypeError:
        raise UserError(field, "must be a whole number", value) from None
    if isinstance(value, bool):
        raise UserError(field, "must be a whole number", value)
    if not least <= number <= _LARGEST:
        raise UserError(field, f"must be from {least} to {_LARGEST}", number)
    return number


@attrs.frozen(kw_only=True)
class Layer:
    """One layer in the letters of cuDNN, Timeloop and Eyeriss.

    x[n,c,h,w] with C·H·W inputs an image, w[k,c,r,s] with C/groups channels, y[n,k,p,q]. A
    fully-connected layer has H = W = R = S = P = Q = 1. `pad_h` and `pad_w` are the padding before the
    first row and column. P and Q follow from equal padding at the end. If they are given, they say how much
    padding there is at the end: from none up to where the last window still begins on an input.

    A transposed convolution is the convolution whose gradient it is, with `transposed`: it has that one's
    dimensions, operator, multiply-adds and weights, and reads what that one writes. So N·K·P·Q are its inputs
    and N·C·H·W its outputs.

    Raises:
        UserError: a dimension breaks a rule; the message names dimension, rule and value.

    >>> layer = Layer(N=1, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1)
    >>> layer.op, layer.P, layer.macs
    ('standard', 56, 115605504)
    """

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    P: int = None  # type: ignore[assignment]  # None until __attrs_post_init__ derives it
    Q: int = None  # type: ignore[assignment]  # likewise
    stride_h: int = 1
    stride_w: int = 1
    pad_h: int = 0
    pad_w: int = 0
    dil_h: int = 1
    dil_w: int = 1
    groups: int = 1
    name: str = ""
    transposed: bool = False

    def __attrs_post_init__(self) -> None:
        for field in DIMENSIONS:
            if field not in ("P", "Q"):
                object.__setattr__(self, field, _whole_number(field, getattr(self, field)))
        for field in ("C", "K"):
            if getattr(self, field) % self.groups:
                raise UserError(field, f"must be a multiple of groups = {self.groups}", getattr(self, field))
        object.__setattr__(self, "P", self._output_size("P", "H", "R", "h"))
        object.__setattr__(self, "Q", self._output_size("Q", "W", "S", "w"))
        for what in ("macs", "inputs", "outputs", "weights"):
            if getattr(self, what) > _LARGEST_COUNT:
                raise UserError(what, f"must be at most {_LARGEST_COUNT}", getattr(self, what))

    def _output_size(self, output: str, size: str, filter_size: str, axis: str) -> int:
        """P or Q: from equal padding at both ends, or as given if some padding at the end explains it."""
        extent: int = getattr(self, size)
        pad, stride, dil = (getattr(self, f"{knob}_{axis}") for knob in ("pad", "stride", "dil"))
        span = dil * (getattr(self, filter_size) - 1) + 1
        given = getattr(self, output)
        derived = (extent + 2 * pad - span) // stride + 1  # below 1 where the filter does not fit
        if given is None:
            if span > extent + 2 * pad:
                what = f"must be at most {size} + 2*pad_{axis} = {extent + 2 * pad}"
                if dil > 1:
                    what = f"dil_{axis}*({filter_size} - 1) + 1 = {span} " + what
                raise UserError(filter_size, what, getattr(self, filter_size))
            return int(derived)
        given = _whole_number(output, given)
        least = max(1, (extent + pad - span) // stride + 1)  # no padding at the end
        most = max(derived, (extent + pad - 1) // stride + 1)  # the last window still begins on an input
        if not least <= given <= most:
            rule = f"must be {least}" if most == least else f"must be from {least} to {most}"
            raise UserError(output, rule + " for these dimensions", given)
        return given

    @classmethod
    def fc(cls, N: int, C: int, K: int, name: str = "") -> Layer:
        """A fully-connected layer: y[n,k] = sum over c of x[n,c]·w[k,c].

        >>> Layer.fc(N=1, C=4096, K=1000).op
        'fc'
        """
        return cls(N=N, C=C, H=1, W=1, K=K, R=1, S=1, name=name)

    @classmethod
    def parse(cls, text: str) -> Layer:
        """Parse `N=1,C=64,H=56,W=56,K=64,R=3,S=3,pad_h=1,pad_w=1`; what is left out has its default.

        Raises:
            UserError: an unknown, repeated or missing dimension, or no number where one is needed.
        """
        values: dict[str, int] = {}
        for part in text.replace(";", ",").split(","):
            key, sign, number = (piece.strip() for piece in part.partition("="))
            if not sign or key not in DIMENSIONS:
                raise UserError("layer", "must be NAME=NUMBER with a name of " + " ".join(DIMENSIONS), part)
            if key in values:
                raise UserError(key, "must be given once", text)
            if not re.fullmatch(r"-?[0-9]{1,12}", number):
                raise UserError(key, "must be a whole number", number)
            values[key] = int(number)
        return cls.from_dims(values)

    @classmethod
    def from_dims(cls, values: dict[str, Any], name: str = "") -> Layer:
        """The layer with these dimensions, from a TOML table or a CSV row."""
        for key in values:
            if key not in DIMENSIONS:
                raise UserError(str(key), "is not a layer dimension: " + " ".join(DIMENSIONS))
        for key in ("N", "C", "H", "W", "K", "R", "S"):
            if key not in values:
                raise UserError(key, "must be given")
        return cls(**values, name=name)

    @property
    def op(self) -> str:
        """The operator: fc, pointwise, standard, depthwise or grouped, decided in that order of rules."""
        if self.H == self.W == self.R == self.S == self.P == self.Q == self.groups == 1:
            return "fc"
        if self.groups == 1:
            return "pointwise" if self.R == self.S == 1 else "standard"
        return "depthwise" if self.groups == self.C else "grouped"

    @property
    def dims(self) -> dict[str, int]:
        """The sixteen dimensions by name, in the order of the CSV."""
        return dict(zip(DIMENSIONS, self.shape, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """The sixteen dimensions as a tuple: equal for layers that differ only in name."""
        return _get_shape(self)

    @property
    def macs(self) -> int:
        """Multiply-adds M, taps on padding included."""
        return int(intensity.macs(self.N, self.K, self.P, self.Q, self.C, self.groups, self.R, self.S))

    @property
    def weights(self) -> int:
        """Weight elements W."""
        return int(intensity.weights(self.K, self.C, self.groups, self.R, self.S))

    @property
    def inputs(self) -> int:
        """Input elements X, before padding."""
        return self._written if self.transposed else self._read

    @property
    def outputs(self) -> int:
        """Output elements Y."""
        return self._read if self.transposed else self._written

    @property
    def _read(self) -> int:
        return int(intensity.inputs(self.N, self.C, self.H, self.W))

    @property
    def _written(self) -> int:
        return int(intensity.outputs(self.N, self.K, self.P, self.Q))

    @property
    def activations(self) -> int:
        """Activation elements A = X + Y."""
        return self.inputs + self.outputs

    @property
    def ai(self) -> float:
        """Compulsory arithmetic intensity in MAC per element."""
        return float(intensity.arithmetic_intensity(self.macs, self.weights, self.activations))

    @property
    def kind(self) -> str:
        """The operator, and whether the layer is its transpose."""
        return f"{self.op}, transposed" if self.transposed else self.op

    @property
    def as_convolution(self) -> Layer:
        """The convolution whose gradient it is; any other layer is itself."""
        return attrs.evolve(self, transposed=False) if self.transposed else self

    def with_batch(self, N: int) -> Layer:
        """The same layer at another batch size."""
        return attrs.evolve(self, N=N)

    def renamed(self, name: str) -> Layer:
        """The same layer under another name."""
        return attrs.evolve(self, name=name)

    def __str__(self) -> str:
        defaults = {"stride_h": 1, "stride_w": 1, "pad_h": 0, "pad_w": 0, "dil_h": 1, "dil_w": 1, "groups": 1}
        return ",".join(f"{key}={value}" for key, value in self.dims.items() if defaults.get(key) != value)
