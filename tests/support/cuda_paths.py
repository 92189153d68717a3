"""A few small layers for every CUDA kernel, meant to make every path of its source run.

They cover padding, stride and dilation that differ between rows and columns, groups, images, tiles that end
early on each side, several stages of the reduction, several work items of one block, several instances, and
each way in which operands lie. `tests/kernels/test_cuda_paths.py` checks them; `scripts/mutate_kernels.py`
tells what they catch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from cuda_cases import BOXED, check

from dibench.kernels import Variant, registry
from dibench.layer import Layer


@attrs.frozen
class PathCase:
    """One launch of a kernel. A knob that is not named has the value its header prefers, or its first."""

    layer: Layer
    knobs: Mapping[str, Any] = attrs.field(factory=dict)
    dtype: str = ""
    instances: int = 1
    sms: int = 0

    def settings(self, variant: Variant) -> dict[str, Any]:
        """A value for each knob."""
        usual = {name: 1 if legal == "any" else legal[0] for name, legal in variant.knobs.items()}
        chosen = {name: value for name, value in self.knobs.items() if name in variant.knobs}
        return {**usual, **variant.preferred(self.layer), **chosen}


CONV = Layer(N=2, C=6, H=7, W=9, K=10, R=3, S=2, stride_h=2, pad_h=1, pad_w=2, dil_w=2, groups=2)
WINDOW = Layer(N=1, C=5, H=8, W=11, K=7, R=3, S=3, stride_w=2, pad_h=2, pad_w=1, dil_h=2)
POINTS = Layer(N=2, C=10, H=5, W=7, K=11, R=1, S=1)
SPARSE_POINTS = Layer(N=2, C=3, H=7, W=6, K=5, R=1, S=1, stride_h=2, stride_w=3, pad_w=1)
ROWS = Layer.fc(N=5, C=20, K=37)
DEPTHWISE = Layer(N=2, C=3, H=6, W=7, K=6, R=2, S=3, stride_h=1, pad_h=1, pad_w=1, groups=3)

_BOXES = (
    PathCase(
        CONV, {"tile_p": 2, "tile_k": 2, "tile_c": 2, "taps": 2, "warps": 2, "stage_w": 1, "stage_x": 1},
        instances=2, sms=2,
    ),
    PathCase(
        WINDOW,
        {"tile_p": 4, "tile_k": 4, "tile_c": 3, "taps": 9, "window": 1, "lanes": "k", "cache": "cg"}
        | {"warps": 1, "stage_w": 0, "stage_x": 1},
    ),
    PathCase(
        WINDOW,
        {"tile_p": 2, "tile_k": 1, "tile_c": 1, "taps": 3, "window": 1, "cache": "cg", "warps": 4}
        | {"stage_w": 1, "stage_x": 0},
        instances=2,
    ),
    PathCase(
        POINTS, {"tile_p": 4, "tile_k": 4, "tile_c": 8, "lanes": "k", "warps": 2, "stage_w": 1}
        | {"stage_x": 0},
        sms=1,
    ),
    PathCase(SPARSE_POINTS, {"tile_p": 2, "tile_k": 2, "tile_c": 2, "warps": 1, "stage_x": 1}),
    PathCase(
        ROWS, {"tile_p": 2, "tile_k": 2, "tile_c": 8, "warps": 2, "stage_w": 1, "stage_x": 1}, instances=2
    ),
    PathCase(DEPTHWISE, {"tile_p": 4, "lanes": "k", "warps": 2, "stage_w": 0, "stage_x": 1}, sms=1),
)  # fmt: skip

LONG = Layer(N=1, C=37, H=9, W=9, K=70, R=3, S=3, pad_h=1, pad_w=1)
DENSE = Layer(N=3, C=41, H=6, W=12, K=35, R=1, S=1)
ODD_IMAGES = Layer(N=3, C=41, H=5, W=5, K=75, R=1, S=1)

# Of each kind of x (dense, rows, under windows) once with weights on 16 bytes, once without.
_GEMM = (
    PathCase(CONV, {"tile_k": 32, "tile_p": 32}, instances=2, sms=3),
    PathCase(attrs.evolve(LONG, C=36), {"tile_k": 64, "tile_p": 64}, sms=1),
    PathCase(attrs.evolve(DENSE, C=44), {"tile_k": 64, "tile_p": 64}),
    PathCase(Layer.fc(70, 75, 9), {"tile_k": 64, "tile_p": 64}, instances=2),
    PathCase(WINDOW, {"tile_k": 8, "tile_p": 256}),
    PathCase(attrs.evolve(DENSE, N=9), {"tile_k": 16, "tile_p": 256}, sms=1),
    PathCase(attrs.evolve(ODD_IMAGES, N=7, C=44, K=150), {"tile_k": 128, "tile_p": 128}, sms=1),
    PathCase(Layer.fc(37, 72, 75), {"tile_k": 32, "tile_p": 32}, sms=1),
    # Blocks that share a reduction: taps from the middle of their table on, whole images, rows.
    PathCase(LONG, {"tile_k": 32, "tile_p": 32, "splits": 4}, instances=2, sms=3),
    PathCase(attrs.evolve(LONG, C=40), {"tile_k": 32, "tile_p": 128, "splits": 16}, sms=1),
    PathCase(DENSE, {"tile_k": 64, "tile_p": 64, "splits": 3}),
    PathCase(attrs.evolve(DENSE, C=44), {"tile_k": 16, "tile_p": 256, "splits": 2}),
    PathCase(Layer.fc(37, 72, 75), {"tile_k": 64, "tile_p": 64, "splits": 4}, sms=2),
)

_TENSOR = (
    PathCase(CONV, {"tile_p": 32, "tile_k": 32}, instances=2, sms=3),
    PathCase(attrs.evolve(LONG, C=40), {"tile_p": 64, "tile_k": 64}, sms=1),
    PathCase(WINDOW, {"tile_p": 64, "tile_k": 64}),
    PathCase(Layer(N=2, C=144, H=7, W=10, K=144, R=1, S=1, groups=2), {"tile_p": 128, "tile_k": 64}, sms=1),
    PathCase(Layer.fc(37, 70, 75), {"tile_p": 32, "tile_k": 32}, sms=2),
    PathCase(Layer.fc(70, 72, 136), {"tile_p": 64, "tile_k": 128}, instances=2),
    # Blocks that share a reduction, in shares that begin at a tap and channel of their own.
    PathCase(attrs.evolve(LONG, C=40), {"tile_p": 64, "tile_k": 64, "splits": 8}, sms=3),
    PathCase(attrs.evolve(WINDOW, C=6), {"tile_p": 32, "tile_k": 32, "splits": 2}, instances=2),
    PathCase(Layer.fc(37, 70, 75), {"tile_p": 32, "tile_k": 32, "splits": 3}, sms=1),
    PathCase(
        Layer(N=2, C=144, H=7, W=10, K=144, R=1, S=1, groups=2),
        {"tile_p": 128, "tile_k": 64, "splits": 2},
        instances=2,
    ),
)

TALL = Layer(
    N=2, C=3, H=9, W=8, K=6, R=3, S=2, stride_h=2, pad_h=1, pad_w=2, dil_w=2, groups=3
)  # each input channel has two filters
WIDE = Layer(N=1, C=2, H=3, W=291, K=2, R=1, S=3, stride_h=2, pad_h=2, pad_w=1, groups=2)
BIG_FILTER = Layer(N=3, C=2, H=17, W=21, K=2, R=5, S=5, stride_w=2, pad_h=4, pad_w=3, groups=2)
_STRIPS = (
    PathCase(TALL, {"tile_p": 4}, instances=2, sms=1),
    PathCase(Layer(N=1, C=6, H=30, W=30, K=6, R=3, S=3, pad_h=1, pad_w=1, groups=6), {"tile_p": 7}, sms=2),
    PathCase(WIDE, {"tile_p": 4}),
    PathCase(BIG_FILTER, {"tile_p": 14}, instances=2),
)

_VECTORS = (
    PathCase(Layer.fc(3, 260, 4), {"tile_k": 1, "tile_p": 2, "warps": 2}, instances=2, sms=3),
    PathCase(Layer.fc(3, 75, 5), {"tile_k": 2, "tile_p": 2, "warps": 2}, sms=1),
    PathCase(Layer.fc(5, 530, 4), {"tile_k": 1, "tile_p": 4, "warps": 4}),
    PathCase(Layer.fc(1, 132, 9), {"tile_k": 4, "tile_p": 1, "warps": 1}, instances=2),
    PathCase(Layer.fc(11, 260, 19), {"tile_k": 8, "tile_p": 8, "warps": 2}, sms=2),
)

_FAST = {
    "conv_implicit_gemm": _GEMM,
    "conv_tensor_tf32": _TENSOR,
    "conv_tensor_half": _TENSOR,
    "depthwise_window": _STRIPS,
    "fc_matrix_vector": _VECTORS,
}


def cases_of(variant: Variant) -> Iterator[PathCase]:
    """The kernel's cases, of each data type; only such settings as its header allows."""
    assert variant.cuda is not None
    chosen = _FAST.get(variant.name, _BOXES if variant in BOXED else ())
    for case in chosen:
        case = attrs.evolve(case, knobs={"splits": 1, **case.knobs})  # alone, unless a case says otherwise
        if case.layer.op in variant.ops and variant.allows(case.layer, case.settings(variant)):
            for dtype in variant.cuda.dtypes:
                yield attrs.evolve(case, dtype=dtype)


def check_case(variant: Variant, case: PathCase) -> None:
    """Right and counted in both orders of threads and blocks, with the same bits."""
    how = {"dtype": case.dtype, "instances": case.instances, "sms": case.sms}
    forward, backward = (
        check(
            variant,
            case.layer,
            case.settings(variant),
            reverse_threads=order,
            reverse_blocks=order,
            sectors=order,
            **how,
        )
        for order in (False, True)
    )
    assert forward.y.tobytes() == backward.y.tobytes()


_INCLUDE = re.compile(r'#include "(\w+\.cuh)"\n')


def device_files(variant: Variant) -> tuple[Path, ...]:
    """The kernel's own file and the shared device headers that it brings, each once, itself last."""
    seen: list[Path] = []

    def visit(path: Path) -> None:
        for name in _INCLUDE.findall(path.read_text("utf-8")):
            if (path.parent / name).exists() and path.parent / name not in seen:
                visit(path.parent / name)
        seen.append(path)

    visit(variant.path)
    return tuple(seen)


def whole_source(variant: Variant, changed: Mapping[Path, str] | None = None) -> str:
    """The kernel's text with its device headers in place of their includes, some with other texts."""
    seen: set[str] = set()

    def text_of(path: Path) -> str:
        text = (changed or {}).get(path) or path.read_text("utf-8")

        def included(found: re.Match[str]) -> str:
            name = found[1]
            if not (path.parent / name).exists():
                return found[0]
            if name in seen:
                return ""
            seen.add(name)
            return text_of(path.parent / name).replace("#pragma once\n", "")

        return _INCLUDE.sub(included, text)

    return text_of(variant.path)


ALL = {variant.name: tuple(cases_of(variant)) for variant in registry("cuda").values()}
