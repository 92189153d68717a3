"""One kernel variant, and what its header says of a layer and knobs: limits, counts, preferred knobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import attrs

from dibench.errors import UserError
from dibench.kernels import library
from dibench.kernels.formula import Formula, FormulaError
from dibench.layer import Layer

KNOBS = ("tile_p", "tile_k", "tile_c", "taps", "window")
"""Knobs of CPU variants, in the order of `Box` in csrc/cpu/kernel.h."""

CUDA_KNOBS = (*KNOBS, "lanes", "cache", "warps", "stage_w", "stage_x", "splits")
"""Knobs of CUDA variants. Those that CPU variants lack are in the CSV columns `lanes` and `knobs`."""

PLAN_KNOBS = (*CUDA_KNOBS, *library.KNOBS)
"""All knobs that a plan may name."""

COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
"""Every header has a formula for each of these, in elements per launch and instance."""

SHARED_COUNTS = ("weight_reads_shared", "input_reads_shared")
"""A CUDA variant that stages operands adds these: how many of the reads are of shared memory."""

DTYPES = ("fp32", "tf32", "fp16", "bf16")
"""Of a kernel's inputs, weights and outputs. Sums are always fp32."""

LAYOUTS = ("channels_first", "channels_last")
"""How operands lie in memory: x[N][C][H][W], w[K][C/groups][R][S], y[N][K][P][Q], or channels last."""

MULTIPROCESSORS = 132
"""Of the GPU that a plan's knobs are chosen for, as a plan is the same wherever it is made: an H200's."""

STATIONARITIES = ("output", "weight", "input", "none")


@attrs.frozen
class CudaLaunch:
    """What the header of a CUDA variant adds: how it is compiled and launched (csrc/cuda/README.md)."""

    least_arch: int
    dtypes: tuple[str, ...]
    constants: tuple[str, ...]
    grid: Formula
    block: Formula
    shared: Formula
    spill_bytes: int
    layout: str
    workspace: Formula | None = None


@attrs.frozen
class Variant:
    """A kernel file, as its header describes it."""

    name: str
    backend: str
    ops: tuple[str, ...]
    stationarity: str
    fast: bool
    knobs: Mapping[str, tuple[Any, ...] | Literal["any"]]
    requires: tuple[Formula, ...]
    counts: Mapping[str, Formula]
    summary: str
    teaches: str
    path: Path
    cuda: CudaLaunch | None = None
    prefer: Mapping[str, Formula] = MappingProxyType({})
    without_cuda: tuple[str, ...] = ("fp32",)

    def preferred(
        self, layer: Layer, multiprocessors: int = MULTIPROCESSORS, instances: int = 1
    ) -> dict[str, Any]:
        """The knob values that the header prefers for a layer, of the knobs for which it says so.

        Args:
            layer: what is computed.
            multiprocessors: of the GPU, where it is known.
            instances: of the layer in a launch.
        """
        launch = {"multiprocessors": multiprocessors, "instances": instances}
        values = {"layer": layer, **layer.dims, **launch}
        return {name: formula.value(values) for name, formula in self.prefer.items()}

    @property
    def layout(self) -> str:
        """How operands lie in memory, one of LAYOUTS."""
        return self.cuda.layout if self.cuda else LAYOUTS[0]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Data types of operands that it can compute with."""
        return self.cuda.dtypes if self.cuda else self.without_cuda

    def check(self, layer: Layer, knobs: Mapping[str, Any]) -> None:
        """Refuse a layer or knobs that the variant cannot run.

        Raises:
            UserError: names the operator, knob or limit, and its values.
        """
        if layer.op not in self.ops:
            raise UserError("op", f"{self.name} runs {', '.join(self.ops)}", layer.op, where=self.name)
        for name in knobs:
            if name not in self.knobs:
                raise UserError(
                    name, f"is no knob of it (has {', '.join(self.knobs) or 'none'})", where=self.name
                )
        for name, legal in self.knobs.items():
            if name not in knobs:
                raise UserError(name, "must be given", where=self.name)
            value = knobs[name]
            if isinstance(value, str) and value in legal and legal != "any":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(name, "must be a whole number", value, where=self.name)
            if legal == "any":
                if value < 1:
                    raise UserError(name, "must be at least 1", value, where=self.name)
            elif value not in legal:
                raise UserError(name, f"must be one of {', '.join(map(str, legal))}", value, where=self.name)
        values = _values(layer, knobs)
        for formula in self.requires:
            if not formula.value(values):
                used = {name: values[name] for name in sorted(formula.names)} | dict(formula.lists)
                shown = ", ".join(f"{name} = {value}" for name, value in used.items())
                field = next((name for name in CUDA_KNOBS if name in formula.names), "layer")
                raise UserError(field, f"must satisfy {formula.text} with {shown}", where=self.name)

    def allows(self, layer: Layer, knobs: Mapping[str, Any]) -> bool:
        """Whether `check` would pass.

        Raises:
            FormulaError: a formula of the header cannot be computed.
        """
        try:
            self.check(layer, knobs)
        except FormulaError:
            raise
        except UserError:
            return False
        return True

    def counts_for(
        self, layer: Layer, knobs: Mapping[str, Any], lanes: int = 1, threads: int = 1, warp: int = 32
    ) -> dict[str, int]:
        """The exact numbers of elements accessed and multiply-adds done by one launch of one instance.

        Args:
            layer: what is computed.
            knobs: a value for each of the variant's knobs.
            lanes: floats in a vector of the CPU's instruction set (4, 8 or 16); in CUDA variants `lanes` is a
            knob. threads: threads of the launch. warp: lanes of a warp; 1 in a proof compile
            (csrc/cuda/README.md).
        """
        values = {"lanes": lanes, "threads": threads, "warp": warp, **_values(layer, knobs)}
        counts = {name: formula.value(values) for name, formula in self.counts.items()}
        for name, count in counts.items():
            if not isinstance(count, int):
                raise FormulaError(f"counts.{name}", "must be a whole number", count, where=self.name)
        return {name: int(count) for name, count in counts.items()}


def _values(layer: Layer, knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {"layer": layer, **layer.dims, **knobs}
