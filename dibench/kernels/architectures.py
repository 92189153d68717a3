"""Limits of NVIDIA architectures on a launch, and the check that a launch keeps them.

CUDA C++ Programming Guide, appendix Compute Capabilities, table "Technical Specifications per Compute
Capability". Shared memory per block is the most that a kernel may opt in to. All architectures allow 1024
threads and 65,536 registers per block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.kernels import Variant
    from dibench.layer import Layer

KIB = 1024
SHARED_BYTES = {
    60: 48 * KIB, 61: 48 * KIB, 70: 96 * KIB, 75: 64 * KIB, 80: 163 * KIB, 86: 99 * KIB, 87: 163 * KIB,
    89: 99 * KIB, 90: 227 * KIB, 100: 227 * KIB, 103: 227 * KIB, 110: 227 * KIB, 120: 99 * KIB, 121: 99 * KIB,
}  # fmt: skip
"""Most shared memory of a block, dynamic and static together, by compute capability."""

MOST_THREADS = 1024
MOST_LAUNCHED = 2**31
"""Most threads of a launch: kernels count work items in 32 bits, up to one stride past the last."""

_INT = 2**31


def shared_bytes(arch: int) -> int:
    """Most shared memory of a block; an architecture that is not in the table has that of the next older one.

    >>> shared_bytes(90), shared_bytes(91)
    (232448, 232448)
    """
    return SHARED_BYTES[max((known for known in SHARED_BYTES if known <= arch), default=60)]


def check(
    variant: Variant, layer: Layer, knobs: Mapping[str, Any], instances: int = 1, arch: int | None = None
) -> None:
    """Refuse a launch that exceeds the limits of all GPUs, or of this architecture; CPU variants always pass.

    Args:
        variant: whose header gives grid, block and shared memory.
        layer: what is computed; offsets inside one operand are 32 bits wide.
        knobs: a value for each of the variant's knobs.
        instances: independent copies of the layer in the launch.
        arch: compute capability, 90 for sm_90; None checks only limits that hold for all.

    Raises:
        UserError: names the limit and the value.
    """
    launch = variant.cuda
    if launch is None:
        return
    where = variant.name
    if arch is not None and arch < launch.least_arch:
        raise UserError("arch", f"must be at least sm_{launch.least_arch}", f"sm_{arch}", where=where)
    for operand, elements in (
        ("weights", layer.weights),
        ("inputs", layer.inputs),
        ("outputs", layer.outputs),
    ):
        if elements >= _INT:
            rule = f"must be fewer than 2^31 = {_INT} elements"
            raise UserError(operand, rule, elements, where=where)
    values = {"layer": layer, **layer.dims, **knobs, "instances": instances}
    block, blocks, shared = (int(f.value(values)) for f in (launch.block, launch.grid, launch.shared))
    for what, value, most in (
        ("threads of a block", block, MOST_THREADS),
        ("threads of a launch", block * blocks, MOST_LAUNCHED),
        ("shared memory", shared, max(SHARED_BYTES.values()) if arch is None else shared_bytes(arch)),
    ):
        if value > most:
            unit = " bytes" if what == "shared memory" else ""
            device = "" if arch is None else f" on sm_{arch}"
            raise UserError(what, f"must be at most {most}{unit}{device}", value, where=where)
