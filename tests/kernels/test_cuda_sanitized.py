"""Every CUDA variant under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import subprocess
import sys

from processes import sanitized

ALL_VARIANTS = """
from dibench.backends import host
host.build = lambda *a, _build=host.build, **k: _build(*a, **k, sanitize=True)
from cuda_cases import CUDA, check, extremes
from dibench.layer import Layer

layers = [
    Layer(N=1, C=6, H=5, W=7, K=10, R=3, S=3, pad_h=1, pad_w=1, groups=2),
    Layer(N=2, C=5, H=3, W=5, K=9, R=1, S=1),
    Layer(N=2, C=3, H=5, W=6, K=3, R=3, S=3, pad_h=1, pad_w=1, groups=3),
    Layer.fc(3, 10, 9),
]
for variant in CUDA:
    layer = next(layer for layer in layers if layer.op in variant.ops)
    check(variant, layer, extremes(variant, layer)[1], instances=2, sectors=False)
    print(variant.name)
"""


def test_no_variant_oversteps() -> None:
    from dibench.kernels import registry

    done = subprocess.run(
        [sys.executable, "-c", ALL_VARIANTS],
        capture_output=True,
        text=True,
        check=False,
        env=sanitized(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(registry("cuda"))
