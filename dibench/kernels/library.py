"""PyTorch's convolutions and products as a variant: the knobs and data types that a plan may ask for.

Its source is not ours, so its accesses are not counted. Each row says in `knobs` which memory format was
used, whether TF32 was, and whether cuDNN chose its algorithm by trying.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from types import MappingProxyType

import attrs

KNOBS = ("format", "benchmark")


@attrs.frozen
class Library:
    """A library on one kind of device."""

    name: str
    dtypes: tuple[str, ...]
    knobs: Mapping[str, tuple[int | str, ...]]
    summary: str
    teaches: str


ONEDNN = Library(
    "torch_onednn",
    ("fp32", "bf16"),
    MappingProxyType({"format": ("nchw", "nhwc")}),
    "PyTorch's convolution or product on the CPU (oneDNN), no bias.",
    "What users would measure instead of our kernels.",
)
CUDNN = Library(
    "torch_cudnn",
    ("fp32", "tf32", "fp16", "bf16"),
    MappingProxyType({"format": ("nchw", "nhwc"), "benchmark": (1, 0)}),
    "PyTorch's convolution or product on the GPU (cuDNN, cuBLAS), no bias.",
    "What users would measure instead of our kernels.",
)


def no_cudnn() -> str:
    """Why PyTorch cannot use a GPU here; empty if it may be able to. Does not load it."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    if metadata.version("torch").endswith("+cpu"):
        return "PyTorch is installed for the CPU only"
    return ""


def here() -> Library:
    """cuDNN where PyTorch sees a GPU, else oneDNN: the library that this installation can measure."""
    if no_cudnn():
        return ONEDNN
    import torch

    return CUDNN if torch.cuda.is_available() else ONEDNN


def version() -> str:
    """The release of PyTorch, or `not installed`."""
    return metadata.version("torch") if find_spec("torch") else "not installed"
