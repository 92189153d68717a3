"""A GPU's stand-in for tests; networks in PyTorch are not collected where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_gpu import FakeGpuBackend

collect_ignore = [] if find_spec("torch") else ["torch_nets.py"]


@pytest.fixture
def gpu(tmp_path: Path) -> FakeGpuBackend:
    from fake_gpu import FakeGpuBackend

    return FakeGpuBackend(tmp_path / "cache")
