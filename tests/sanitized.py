"""Run by test_cpu_backend.py under the sanitizers: every kernel on small layers with all their edges.

    LD_PRELOAD=libasan.so python tests/sanitized.py build/cpu/sanitize/_cpu*.so

Each operand is an allocation of its own, so one element too far is a report and a non-zero exit.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
import sys

import numpy as np
from references import box, legal_knobs, operands

from dibench.layer import Layer
from dibench.reference import convolution
from dibench.variants import registry

LAYERS = [
    Layer(N=2, C=5, H=6, W=13, K=9, R=3, S=3, pad_h=1, pad_w=1),
    Layer(N=1, C=3, H=9, W=12, K=2, R=5, S=5, P=6, Q=7, stride_h=2, stride_w=2, pad_h=2, pad_w=2),
    Layer(N=1, C=2, H=9, W=15, K=3, R=7, S=7, stride_h=2, stride_w=2, pad_h=3, pad_w=3),
    Layer(N=1, C=1, H=15, W=23, K=2, R=11, S=11, stride_h=4, stride_w=4, pad_h=2, pad_w=2),
    Layer(N=1, C=4, H=1, W=17, K=3, R=1, S=7, pad_w=3),
    Layer(N=1, C=3, H=9, W=9, K=2, R=3, S=3, dil_h=2, dil_w=2, pad_h=2, pad_w=2),
    Layer(N=2, C=9, H=3, W=5, K=10, R=1, S=1),
    Layer(N=1, C=6, H=7, W=5, K=7, R=1, S=1, stride_h=2, stride_w=2),
    Layer(N=1, C=8, H=6, W=9, K=12, R=3, S=3, pad_h=1, pad_w=1, groups=4),
    Layer(N=2, C=3, H=6, W=19, K=3, R=3, S=3, pad_h=1, pad_w=1, groups=3),
    Layer(N=1, C=4, H=9, W=18, K=4, R=5, S=5, stride_h=2, stride_w=2, pad_h=2, pad_w=2, groups=4),
    Layer.fc(9, 17, 13),
    Layer.fc(1, 33, 20),
]


def main(path: str) -> None:
    loader = importlib.machinery.ExtensionFileLoader("_cpu", path)
    spec = importlib.util.spec_from_file_location("_cpu", path, loader=loader)
    assert spec is not None
    cpu = importlib.util.module_from_spec(spec)
    loader.exec_module(cpu)
    choose = random.Random(1)
    ran = 0
    for variant in registry("cpu").values():
        for layer in LAYERS:
            if layer.op not in variant.ops:
                continue
            legal = legal_knobs(variant, layer)
            for knobs in choose.sample(legal, min(8, len(legal))):
                x, w, y = operands(layer, 1, 3)
                cpu.launch(
                    variant.name, cpu.isas()[-1], layer.shape, box(knobs), x, w, y, choose.choice((1, 2)), 1
                )
                np.testing.assert_allclose(y[0], convolution(layer, x[0], w[0]), atol=1e-4)
                ran += 1
    if len(sys.argv) > 2:  # prove that the sanitizer would have spoken: a y that is one image short
        layer = Layer(N=2, C=1, H=64, W=64, K=1, R=1, S=1)
        x, w, y = operands(layer, 1, 3)
        x = x.ravel()[:-4096].copy().reshape(1, 1, 1, 64, 64)
        lies = np.lib.stride_tricks.as_strided(x, (1, 2, 1, 64, 64), (32768, 16384, 16384, 256, 4))
        cpu.launch("conv_no_reuse", cpu.isas()[-1], layer.shape, (0,) * 5, lies, w, y, 1, 1)
    print(ran, "launches")


if __name__ == "__main__":
    main(sys.argv[1])
