"""One BLAS thread, what is collected, and what modules of tests share: a GPU's stand-in, machine code."""

from __future__ import annotations

import itertools
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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "machine_code(of=): the test's `listings` are of these binaries.")


@pytest.fixture(scope="module")
def _machine_code(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    from dibench.compilers import sass

    binaries = {
        item.name: list(marker.kwargs["of"](**item.callspec.params))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
        if (marker := item.get_closest_marker("machine_code"))
    }
    listings = iter(sass.disassemble(list(itertools.chain(*binaries.values()))))
    return {name: list(itertools.islice(listings, len(own))) for name, own in binaries.items()}


@pytest.fixture
def listings(request: pytest.FixtureRequest, _machine_code: dict[str, list[str]]) -> list[str]:
    """The SASS of what the test's marker `machine_code` compiles, from the test's parameters.

    The disassembler starts slowly: what all tests of a module want goes through it at once.
    """
    return _machine_code[request.node.name]
