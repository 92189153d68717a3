"""A vendor's library as a variant: what a plan may ask of PyTorch's convolutions and products.

It has no source of ours and no counts: what it accesses is its own affair. Each row says in `knobs` what was
in force: the memory format, TF32, and whether cuDNN tried its algorithms before.
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
    """One library on one kind of device."""

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
    """Why this installation has no library for a GPU; empty where it may have one, without loading it."""
    if find_spec("torch") is None:
        return "PyTorch is not installed"
    if metadata.version("torch").endswith("+cpu"):
        return "PyTorch is installed for the CPU only"
    return ""


def here() -> Library:
    """cuDNN where PyTorch sees a GPU, else oneDNN: what one installation has, it can plan for."""
    if no_cudnn():
        return ONEDNN
    import torch

    return CUDNN if torch.cuda.is_available() else ONEDNN


def version() -> str:
    """The release of PyTorch, `not installed` without."""
    return metadata.version("torch") if find_spec("torch") else "not installed"
