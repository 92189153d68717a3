"""MACs and parameters by dibench, fvcore, torchinfo and onnx-tool, of the same modules.

    pip install fvcore torchinfo onnx-tool onnx onnxscript     # and torch
    python -m benchmarks.model_counters

Each counter has its own process for its time and memory; docs/models.md explains every difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

NETWORKS = ("ResNet50", "MobileNetV2", "ViT")
IMAGE = (1, 3, 224, 224)


def module(name: str) -> Any:
    import torch_nets

    return getattr(torch_nets, name)().eval()


def dibench_torch(name: str, _: Path) -> tuple[int, int]:
    import torch

    from dibench import models

    with torch.device("meta"):
        meta = module(name)
    model = models.load(meta, shapes={"": ",".join(map(str, IMAGE))})
    return model.macs_known, model.parameters or 0


def dibench_onnx(_: str, path: Path) -> tuple[int, int]:
    from dibench import models

    model = models.load(path)
    return model.macs_known, model.parameters or 0


def fvcore(name: str, _: Path) -> tuple[int, int]:
    import torch
    from fvcore.nn import FlopCountAnalysis

    net = module(name)
    count = FlopCountAnalysis(net, torch.zeros(IMAGE))
    count.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(count.total()), sum(parameter.numel() for parameter in net.parameters())


def torchinfo(name: str, _: Path) -> tuple[int, int]:
    import torchinfo

    summary = torchinfo.summary(module(name), input_size=IMAGE, verbose=0)
    return summary.total_mult_adds, summary.total_params


def onnx_tool(_: str, path: Path) -> tuple[int, int]:
    import numpy as np
    import onnx_tool

    model = onnx_tool.Model(str(path))
    model.graph.shape_infer({"x": np.zeros(IMAGE, np.float32)})
    model.graph.profile()
    return int(model.graph.macs[0]), int(model.graph.params)


COUNTERS: tuple[Callable[[str, Path], tuple[int, int]], ...] = (
    dibench_torch, dibench_onnx, fvcore, torchinfo, onnx_tool,
)  # fmt: skip


def export(name: str, folder: Path) -> Path:
    """Export the module to ONNX with PyTorch's own exporter."""
    import torch

    path, net = folder / f"{name}.onnx", module(name)
    for tensor in (*net.parameters(), *net.buffers()):  # equal ones would be written once
        tensor.data = torch.rand(tensor.shape).to(tensor.dtype)
    torch.onnx.export(net, (torch.zeros(IMAGE),), str(path), dynamo=False, input_names=["x"], verbose=False)
    return path


def peak_mb(pid: int | str) -> float:
    """The most memory that a process has held."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def count(counter: str, name: str, path: Path) -> None:
    """Print as JSON what one counter says, its seconds after imports, and its peak memory."""
    function = next(each for each in COUNTERS if each.__name__ == counter)
    begin = time.perf_counter()
    macs, parameters = function(name, path)
    seconds = time.perf_counter() - begin
    from dibench.models import onnx

    reader = onnx._reader()._process  # dibench reads ONNX in a process of its own
    peak = max(peak_mb("self"), 0 if reader is None else peak_mb(reader.pid))
    print(json.dumps([macs, parameters, seconds, peak]))


def main() -> None:
    """Print one line per network and counter."""
    warnings.simplefilter("ignore")
    if len(sys.argv) > 1:
        count(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'network':12} {'counter':14} {'MACs':>15} {'parameters':>12} {'s':>6} {'peak MB':>8}")
        for name in NETWORKS:
            path = export(name, Path(folder))
            for counter in COUNTERS:
                who = counter.__name__
                command = [sys.executable, "-m", "benchmarks.model_counters", who, name, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name:12} {who:14} failed: {done.stderr.strip().splitlines()[-1][:90]}")
                    continue
                macs, parameters, seconds, peak = json.loads(done.stdout.splitlines()[-1])
                print(f"{name:12} {who:14} {macs:>15,} {parameters:>12,} {seconds:>6.2f} {peak:>8.0f}")


if __name__ == "__main__":
    main()
