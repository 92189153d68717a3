"""Whole networks through PyTorch: one inference of the real module is one launch.

Weights are the module's initial ones and inputs are drawn as a layer's are, since the cost is measured and
not the answer. On a GPU inferences run in CUDA graphs, as layers do; a network that cannot be captured gets
a `failed` row that says so. An inference includes what lies between the layers: activations, pooling,
normalisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.backends.operands import operand
from dibench.backends.torch import TorchLayer, keep_freed_memory
from dibench.backends.torch_gpu import TorchGpuLayer, set_up
from dibench.models.torch_source import build

if TYPE_CHECKING:
    from dibench.plan import Case


class TorchNetwork(TorchLayer):
    """A network on the CPU."""

    def __init__(self, torch: Any, case: Case, threads: int) -> None:
        keep_freed_memory()
        torch.set_num_threads(threads)
        kind = torch.bfloat16 if case.dtype == "bf16" else torch.float32
        self._start(torch, [[_call(torch, case, "cpu", kind)]])


class TorchGpuNetwork(TorchGpuLayer):
    """A network on the first GPU."""

    most_in_graph = 8  # inferences, each of hundreds of kernels that take memory in the graph

    def __init__(self, torch: Any, case: Case) -> None:
        kind = set_up(torch, case.dtype, benchmark=bool(case.knobs["benchmark"]))
        self._start(torch, [[_call(torch, case, "cuda", kind)]])


def _call(torch: Any, case: Case, device: str, kind: Any) -> Any:
    torch.manual_seed(case.seed)
    module = build(case.network, device=device)[0].to(kind).eval()
    layer = case.layer
    x = torch.from_numpy(operand((layer.N, layer.C, layer.H, layer.W), case.data, case.seed, 0))
    x = x.to(device, kind)
    if case.knobs["format"] == "nhwc":
        last = {"memory_format": torch.channels_last}
        module, x = module.to(**last), x.contiguous(**last)
    return lambda: module(x)
