"""For every test: one BLAS thread, and nothing collected that needs what is not installed; a GPU's stand-in."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_gpu import FakeGpuBackend

# BLAS threads wait for each other awake. On matrices as small as a fit's they gain little on idle cores, and
# where something else uses the cores, as it does in a suite, a product takes many times as long. Set before
# NumPy is imported; programs that tests start inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

collect_ignore = [] if find_spec("torch") else ["torch_nets.py"]


@pytest.fixture
def gpu(tmp_path: Path) -> FakeGpuBackend:
    from fake_gpu import FakeGpuBackend

    return FakeGpuBackend(tmp_path / "cache")
