"""Compilers of CUDA variants, and what they share.

`nvrtc` compiles for a GPU, which need not be present; `sass` disassembles the result; `dibench.backends.host`
compiles the same file for the CPU. This module has the generated constants, the geometry and arguments of a
launch, and the folder of compiled kernels.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.kernels import Variant, source_directory
from dibench.layer import DIMENSIONS, Layer

ELEMENT = {"fp32": "float", "tf32": "float", "fp16": "unsigned short", "bf16": "unsigned short"}
"""C++ type of an operand's element. 16-bit floats are passed as bits: NVRTC has no type for them."""


@attrs.frozen
class Geometry:
    """A launch: blocks and threads, both one-dimensional, and bytes of dynamic shared memory.

    `workspace_bytes`: of device memory that all blocks share, zero before the first launch; None where the
    kernel takes no such argument.
    """

    grid: int
    block: int
    shared_bytes: int
    workspace_bytes: int | None = None


def geometry(
    variant: Variant, layer: Layer, knobs: Mapping[str, Any], *, instances: int = 1, sms: int = 0
) -> Geometry:
    """Grid, block, shared memory and workspace of one launch, from the variant's header.

    Args:
        variant: a CUDA variant.
        layer: what is computed.
        knobs: a value for each of the variant's knobs.
        instances: independent copies of the layer in the launch.
        sms: most blocks, one to a multiprocessor; 0: as many as there is work for.
    """
    launch = _launch(variant)
    values = {"layer": layer, **layer.dims, **knobs, "instances": instances}
    grid = int(launch.grid.value(values))
    return Geometry(
        grid=min(grid, sms) if sms else grid,
        block=int(launch.block.value(values)),
        shared_bytes=int(launch.shared.value(values)),
        workspace_bytes=int(launch.workspace.value(values)) if launch.workspace else None,
    )


def kernel_arguments(layer: Layer, instances: int, *addresses: int) -> tuple[Any, ...]:
    """The arguments of a launch: the layer by value, instances, addresses of x, w, y, and of a workspace."""
    packed = (ctypes.c_int * len(DIMENSIONS))(*(layer.dims[name] for name in DIMENSIONS))
    return (packed, ctypes.c_int(instances), *map(ctypes.c_void_p, addresses))


def constants(
    variant: Variant, layer: Layer, knobs: Mapping[str, Any], *, dtype: str = "fp32", proof: bool = False
) -> str:
    """The text of constants.cuh for one compile: knobs and the dimensions that the header names.

    A knob of words becomes one constant for each word, and one for the chosen word; so does the data type.
    With `proof` the layer's sizes are static constants too (csrc/cuda/README.md).

    Raises:
        UserError: a data type that the variant does not have.
    """
    launch = _launch(variant)
    if dtype not in launch.dtypes:
        raise UserError("dtype", f"{variant.name} has {', '.join(launch.dtypes)}", dtype, where=variant.name)
    lines = ["// Generated for one compile.", "#pragma once", f"using T = {ELEMENT[dtype]};"]
    lines += [f"constexpr int dtype_{name} = {i};" for i, name in enumerate(ELEMENT)]
    lines.append(f"constexpr int dtype = dtype_{dtype};")
    for name, legal in variant.knobs.items():
        value = knobs[name]
        if isinstance(value, str):
            lines += [f"constexpr int {name}_{word} = {i};" for i, word in enumerate(legal)]
            value = f"{name}_{value}"
        lines.append(f"constexpr int {name} = {value};")
    lines += [f"constexpr int {name} = {layer.dims[name]};" for name in launch.constants]
    if proof:
        sizes = ", ".join(f"{name} = {layer.dims[name]}" for name in DIMENSIONS)
        lines += ["#define DIBENCH_PROOF", f"struct Layer {{ static constexpr int {sizes}; }};"]
    return "\n".join(lines) + "\n"


def device_headers() -> dict[str, str]:
    """The shared device headers of csrc/cuda by name."""
    return {
        path.name: path.read_text("utf-8") for path in sorted((source_directory() / "cuda").glob("*.cuh"))
    }


def cache_directory() -> Path:
    """The folder of compiled kernels: $DIBENCH_CACHE, else dibench in the user's cache directory."""
    if named := os.environ.get("DIBENCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dibench"


def _launch(variant: Variant) -> Any:
    if variant.cuda is None:
        raise UserError("variant", "must be a CUDA variant", variant.name)
    return variant.cuda
