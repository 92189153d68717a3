"""What kernel tests share: operands, random layers and knobs, builds of the extension."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import itertools
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from dibench.errors import UserError
from dibench.kernels import KNOBS, Variant
from dibench.layer import Layer

ROOT = Path(__file__).resolve().parents[2]
Floats = npt.NDArray[np.float32]


def operands(layer: Layer, instances: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """x, w of uniform values in [-1, 1) and a y poisoned with NaN, each with a leading instance dimension."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (instances, layer.N, layer.C, layer.H, layer.W)).astype(np.float32)
    w = rng.uniform(-1, 1, (instances, layer.K, layer.C // layer.groups, layer.R, layer.S)).astype(np.float32)
    y = np.full((instances, layer.N, layer.K, layer.P, layer.Q), np.nan, np.float32)
    return x, w, y


def box(knobs: Mapping[str, int]) -> tuple[int, ...]:
    """The knobs as the extension takes them: 0 for those that the variant lacks."""
    return tuple(knobs.get(name, 0) for name in KNOBS)


OPERATORS = ("standard", "standard", "depthwise", "grouped", "pointwise", "fc")


@st.composite
def layers(draw: st.DrawFn, ops: Collection[str] = OPERATORS) -> Layer:
    """Small layers of some operators: padding (more or less of it at the end), stride, dilation, groups."""
    op = draw(st.sampled_from([op for op in OPERATORS if op in ops]))
    if op == "fc":
        return Layer.fc(draw(st.integers(1, 9)), draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    groups = draw(st.integers(2, 4)) if op in ("depthwise", "grouped") else 1
    C = groups * (1 if op == "depthwise" else draw(st.integers(1, 9)))
    K = groups * draw(st.integers(1, 9))
    if op == "pointwise" and draw(
        st.booleans()
    ):  # as networks have it: outputs and inputs are the same positions
        H, W = draw(st.integers(1, 15)), draw(st.integers(1, 15))
        return Layer(N=draw(st.integers(1, 3)), C=C, H=H, W=W, K=K, R=1, S=1)
    filters = st.just(1) if op == "pointwise" else st.sampled_from([1, 2, 3, 3, 3, 5, 7, 11])
    R, S = draw(filters), draw(filters)
    if draw(st.booleans()):
        R = S
    sides = {}
    for axis, taps in (("h", R), ("w", S)):
        dil = draw(st.sampled_from([1, 1, 1, 2]))
        pad = draw(st.integers(0, taps))
        stride = 4 if taps == 11 else draw(st.sampled_from([1, 1, 2, 2, 3]))
        least = max(1, dil * (taps - 1) + 1 - 2 * pad)
        sides[axis] = (draw(st.integers(least, least + 14)), stride, pad, dil)
    (H, stride_h, pad_h, dil_h), (W, stride_w, pad_w, dil_w) = sides["h"], sides["w"]
    layer = Layer(
        N=draw(st.integers(1, 3)), C=C, H=H, W=W, K=K, R=R, S=S, stride_h=stride_h, stride_w=stride_w,
        pad_h=pad_h, pad_w=pad_w, dil_h=dil_h, dil_w=dil_w, groups=groups,
    )  # fmt: skip
    return with_end_padding(layer, draw(st.sampled_from([0, 1, -1, -2])))


def with_end_padding(layer: Layer, more: int) -> Layer:
    """The layer with so many more (or fewer) output rows and columns, where padding at the end allows it."""
    for P, Q in ((more, more), (more, 0), (0, more)):
        try:
            return Layer.from_dims({**layer.dims, "P": layer.P + P, "Q": layer.Q + Q})
        except UserError:
            continue
    return layer


def legal_knobs(variant: Variant, layer: Layer) -> list[dict[str, int]]:
    """Every setting of the variant's knobs that it allows for a layer; of "any" knobs some telling values."""
    telling = {
        "tile_p": {1, 2, 3, 5, 8, layer.Q, layer.P * layer.Q, layer.N},
        "tile_k": {1, 2, 3, layer.K // layer.groups},
        "tile_c": {1, 2, 3, layer.C // layer.groups},
        "taps": {1, layer.S, layer.R * layer.S},
    }
    values = [sorted(telling[name]) if legal == "any" else legal for name, legal in variant.knobs.items()]
    settings = (dict(zip(variant.knobs, chosen, strict=True)) for chosen in itertools.product(*values))
    return [knobs for knobs in settings if variant.allows(layer, knobs)]


@lru_cache
def extension(flavour: str) -> Any:
    """The extension as `count` (with `counts()`) or `release`, built by setup.py where anything changed."""
    return load_extension(build(flavour))


def load_extension(path: Path) -> Any:
    """A build of the extension, whichever others are loaded: pybind11 gives one of the same name again."""
    name = f"_{hashlib.sha256(bytes(path)).hexdigest()[:16]}._cpu"
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@lru_cache
def build(flavour: str, *options: str) -> Path:
    """Builds a flavour of the extension; where its library is."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--flavour", flavour, *options]
    if flavour == "release":  # only the objects matter here: leave the installed extension alone
        command += ["--build-lib", str(ROOT / "build" / "cpu" / "lib")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build" / "cpu" / flavour / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"


STRIPS = (
    Layer(N=2, C=300, H=31, W=30, K=1, R=3, S=3, pad_h=1, pad_w=1),  # strips of 16 and 15 rows, two images
    Layer(N=1, C=130, H=63, W=61, K=2, R=3, S=1, stride_h=2, stride_w=2, pad_h=2, pad_w=1),
    Layer(N=1, C=600, H=3, W=500, K=1, R=1, S=3),  # a row alone is more than a strip holds
    Layer(N=9, C=3, H=7, W=7, K=9, R=3, S=3, pad_h=1, pad_w=1),  # 5 and 4 images go together
    Layer(N=3, C=2, H=9, W=9, K=3, R=3, S=1, dil_h=2, pad_h=1),  # 2 images, and the last one by itself
)
"""Standard layers that are worked on in several strips, of rows or of images."""
