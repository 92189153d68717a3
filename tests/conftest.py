"""Settings of every test run (one BLAS thread, its own cache); shared fixtures: machine code, reports."""

from __future__ import annotations

import itertools
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from command_line import Run
    from fake_gpu import FakeGpuBackend

# Threads of BLAS and OpenMP spin while they wait for each other. Where something else uses the cores, as
# other tests do, small products and short kernels then take many times as long. The program sets the same for
# itself. It must be set before the libraries are loaded; programs that tests start inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Compiled kernels are kept from run to run. The user's own cache is not used: it may hold a calibration, also
# of a replayed device, which would change the rows of a sweep.
CACHE = Path(__file__).parent.parent / "build" / "test-cache"
os.environ["DIBENCH_CACHE"] = str(CACHE)

collect_ignore = [] if find_spec("torch") else ["support/torch_nets.py"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    from dibench.cli import main

    def run_main(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run_main


@pytest.fixture
def gpu(tmp_path: Path) -> FakeGpuBackend:
    from fake_gpu import FakeGpuBackend

    return FakeGpuBackend(tmp_path / "cache")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # once, not by each of the processes that share the tests
        for found in ("calibration", "selftest"):
            shutil.rmtree(CACHE / found, ignore_errors=True)
    config.addinivalue_line("markers", "machine_code(of=): the test's `listings` are of these binaries.")


def pytest_make_parametrize_id(val: object) -> str | None:
    """A test of bytes is named by how many there are.

    Processes that share the tests must name them alike, and what a compressor writes may hold the time.
    """
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs a whole report is slow: making one takes seconds."""
    for item in items:
        if isinstance(item, pytest.Function) and any(
            name.startswith("report_of_") for name in item.fixturenames
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def _machine_code(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    from dibench.kernels.compilers import sass

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


@pytest.fixture(scope="session")
def report_of_a_processor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a report of every operator without an energy sensor; names are long and hostile."""
    from report_sweeps import HOSTILE, rows, write

    from dibench.report import write_report

    table = rows(300, seed=3)  # of seed 0, α has no bound, and a page without α is not what is looked at
    table[0]["name"] = "a_network_with_a_long_name/" + "a_layer_name_without_any_space_to_break_at" * 3
    table[3] |= {"status": "failed", "time_s": None, "energy_j": None, "reason": HOSTILE}
    for row in table:
        if row["op"] == "fc":
            row["name"] = f"{HOSTILE}/{HOSTILE}"
    folder = write(tmp_path_factory.mktemp("processor"), table)
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def report_of_a_campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a report of everything a campaign measures, α = 0.2."""
    from campaign_frames import campaign

    from dibench.report import write_report

    folder = tmp_path_factory.mktemp("campaign")
    campaign(alpha=0.2).to_csv(folder / "sweep.csv", index=False)
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def report_of_two_cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a report of two simulated models of cards, each with layers, twins and a lattice."""
    import pandas as pd
    from campaign_frames import campaign

    from dibench.report import write_report

    folder = tmp_path_factory.mktemp("cards")
    cards = [
        campaign(alpha=0.3, card="gpu-1", source="simulated", every=4),
        campaign(alpha=0.5, card="gpu-2", gain=1.08, source="simulated", every=5, seed=5).assign(
            device="another GPU"
        ),
    ]
    pd.concat(cards).to_csv(folder / "sweep.csv", index=False)
    write_report(folder)
    return folder
