"""What every kernel must compute: the convolution in float64, straight from its definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from dibench.layer import Layer

_UNIT_ROUNDOFF = {"fp32": 2.0**-24, "fp16": 2.0**-23, "bf16": 2.0**-23, "tf32": 2.0**-23}
_OPERAND_ERROR = {"tf32": 2.0**-9}  # 10 bits of each factor are left
# Half the distance of two neighbouring numbers of a 16-bit type: from 1 to 2, and next to 0.
_OUTPUT_ROUNDING = {"fp16": (2.0**-11, 2.0**-25), "bf16": (2.0**-8, 2.0**-134)}


def convolution(layer: Layer, x: npt.NDArray[Any], w: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """y[n,k,p,q] = sum over c, r, s of w[k,c,r,s]·x[n, c, p·stride - pad + r·dil, ...] in float64.

    Args:
        layer: the shapes; taps on padding add nothing.
        x: inputs[N][C][H][W].
        w: weights[K][C/groups][R][S].

    >>> convolution(Layer.fc(N=1, C=2, K=1), np.array([3, 4]), np.array([10, 1])).tolist()
    [[[[34.0]]]]
    """
    g = layer.groups
    x64 = x.astype(np.float64).reshape(layer.N, g, layer.C // g, layer.H, layer.W)
    w64 = w.astype(np.float64).reshape(g, layer.K // g, layer.C // g, layer.R, layer.S)
    y = np.zeros((layer.N, g, layer.K // g, layer.P, layer.Q))
    for r, s in itertools.product(range(layer.R), range(layer.S)):
        h = np.arange(layer.P) * layer.stride_h - layer.pad_h + r * layer.dil_h
        v = np.arange(layer.Q) * layer.stride_w - layer.pad_w + s * layer.dil_w
        p, q = np.flatnonzero((h >= 0) & (h < layer.H)), np.flatnonzero((v >= 0) & (v < layer.W))
        if p.size and q.size:
            seen = x64[:, :, :, h[p][:, None], v[q]]
            inner = np.einsum("gkc,ngchv->ngkhv", w64[..., r, s], seen, optimize=True)
            y[:, :, :, p[:, None], q] += inner
    return y.reshape(layer.N, layer.K, layer.P, layer.Q)


def allowance(
    layer: Layer, x: npt.NDArray[Any], w: npt.NDArray[Any], dtype: str = "fp32"
) -> npt.NDArray[np.float64]:
    """How far a correct kernel may be off: (n + 1)·u·sum |w·x| for sums of n products in any order.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; u = 2⁻²⁴ of float32, twice that
    where tensor cores truncate. tf32 rounds the factors too. A 16-bit output is the sum rounded to the
    nearest number of its type: half the distance of its neighbours more, where the sum may be largest.
    """
    terms = layer.C // layer.groups * layer.R * layer.S
    relative = (terms + 1) * _UNIT_ROUNDOFF[dtype] + _OPERAND_ERROR.get(dtype, 0.0)
    off = relative * convolution(layer, np.abs(x), np.abs(w))
    if dtype not in _OUTPUT_ROUNDING:
        return off
    from_1, next_to_0 = _OUTPUT_ROUNDING[dtype]
    _, exponent = np.frexp(np.abs(convolution(layer, x, w)) + off)
    rounding: npt.NDArray[np.float64] = np.maximum(np.ldexp(from_1, exponent - 1), next_to_0)
    return off + rounding
