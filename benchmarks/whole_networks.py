"""Whole networks through PyTorch on this CPU, measured and predicted; `explain`'s changes, measured too.

    python -m benchmarks.whole_networks --out DIR                     # measure all: about half an hour
    python -m benchmarks.whole_networks --out DIR --time-budget 200s  # a slice; the same command goes on
    python -m benchmarks.whole_networks --from DIR                    # the tables again, measuring nothing

Layers of all 25 networks are fitted twice, by our CPU kernels and by PyTorch's library. Each fit predicts the
networks below, and what lies between their layers is fitted on all families but the one that is predicted.
Then the changes that `explain` ranks first are measured: the layers that leave and those that take their
place, by our kernels and by PyTorch. It needs PyTorch, torchvision and timm; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks import measured_changes, network_parts, network_tables
from benchmarks.network_tables import fit_of
from dibench.cli.options import duration_s
from dibench.errors import UserError
from dibench.measure.pace import Following, Paces
from dibench.study.table.network_rows import measured_models
from dibench.sweep.record import MANIFEST
from dibench.table import read_csv, table_of

PLAN = Path(__file__).with_suffix(".toml")
PARTS = "parts.csv"
BATCHES = "1,8"
CASE_BUDGET = "3s"
"""Of a network: the longest take a second each."""
AT_ONCE = 8
"""Networks of one sweep, which builds each of them before it begins."""

TORCHVISION = (
    "resnet50", "mobilenet_v2", "vgg16", "densenet121", "googlenet", "squeezenet1_1", "efficientnet_b0",
    "shufflenet_v2_x1_0", "resnet18", "alexnet", "regnet_y_400mf", "convnext_tiny", "inception_v3",
    "mobilenet_v3_large", "mnasnet1_0", "resnext50_32x4d", "squeezenet1_0", "vgg11", "wide_resnet50_2",
    "regnet_x_800mf",
)  # fmt: skip
TIMM = (
    "dla34", "ghostnet_100", "repvgg_a0", "hrnet_w18_small", "mobilenetv1_100", "legacy_xception",
    "inception_v4", "darknet53", "dpn68", "selecsls42b", "ese_vovnet19b_dw", "mixnet_s",
)  # fmt: skip
NETWORKS = (*(f"torchvision:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM))

LIBRARIES = {"torch": "PyTorch's library", "cpu": "our CPU kernels"}
"""Backends whose layers are fitted."""
TARGET = "5"
"""Of layers of changes, in percent: what a change saves is far less certain."""
LEAST_S = 20.0
"""A sweep is not begun with less time left."""


def network_sweeps() -> dict[str, list[str]]:
    """Arguments of each sweep of whole networks, by the folder that it fills."""
    found = {}
    for begin in range(0, len(NETWORKS), AT_ONCE):
        some = ",".join(NETWORKS[begin : begin + AT_ONCE])
        how = ["--backend", "torch", "--batch", BATCHES, "--case-budget", CASE_BUDGET]
        found[f"networks-{begin // AT_ONCE + 1}"] = ["--models", some, *how]
    return found


def measure(out: Path, deadline: float | None) -> bool:
    """Measure what is left, as far as the time goes; returns whether nothing is."""
    batches = [int(batch) for batch in BATCHES.split(",")]
    return (
        sweep(out / "layers-torch", [str(PLAN), "--backend", "torch"], deadline)
        and all(sweep(out / name, arguments, deadline) for name, arguments in network_sweeps().items())
        and sweep(out / "layers-cpu", [str(PLAN), "--backend", "cpu"], deadline)
        and sweep_changes(out, "cpu", deadline)
        and network_parts.write(out / PARTS, NETWORKS, batches, deadline)
        and sweep_changes(out, "torch", deadline)
    )


def sweep(folder: Path, arguments: list[str], deadline: float | None) -> bool:
    """Run or resume one sweep; returns whether it is complete."""
    if not is_complete(folder):
        budget = []
        if deadline is not None:
            left = deadline - time.monotonic()
            if left < LEAST_S:
                return False
            budget = ["--time-budget", f"{left:.0f}s"]
        command = ["-m", "dibench", "sweep", *arguments, "--out", str(folder), *budget]
        print("$ python", *command, file=sys.stderr)
        subprocess.run([sys.executable, *command], check=True, stdout=sys.stderr)
    return is_complete(folder)


def is_complete(folder: Path) -> bool:
    """Whether a sweep has nothing left to measure."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return False
    sessions = json.loads(manifest.read_text(encoding="utf-8"))["sessions"]
    return any(session["ended"] == "complete" for session in sessions)


def sweep_changes(out: Path, backend: str, deadline: float | None) -> bool:
    """Measure the layers of the changes that `explain` ranks first by the fit of the same kernels."""
    plan = out / f"changes-{backend}.toml"
    if not plan.is_file():
        measured_changes.write_plan(plan, changes(out, backend))
    return sweep(out / plan.stem, [str(plan), "--backend", backend, "--target", TARGET], deadline)


def changes(out: Path, backend: str) -> list[measured_changes.Ranked]:
    """The changes that `explain` ranks first."""
    fit = fit_of(read_csv(table_of(out / f"layers-{backend}")))
    return [one for name in measured_changes.NETWORKS for one in measured_changes.ranked(name, fit)]


def following(folder: Path) -> dict[str, Following]:
    """Of each kernel of a sweep, how it follows the machine's paces; empty where it has one of each."""
    found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["windows"]["pace"]
    return {variant: known for variant, own in found.items() if (known := Following.from_json(own))}


def usual_paces_s(folders: Iterable[Path]) -> Paces:
    """The usual paces of the machine in some sweeps; empty where it has one of each."""
    found = [own.usual_s for folder in folders for own in following(folder).values()]
    return tuple(map(median, zip(*found, strict=True)))


def at_pace(folder: Path, paces_s: Paces) -> pd.DataFrame:
    """A sweep's rows with times at other paces of the machine than that sweep's usual ones.

    A shared machine has more paces than one, and each sweep states its times at its own usual ones
    (`dibench.measure.pace`).
    """
    frame = read_csv(table_of(folder))
    for variant, own in following(folder).items():
        if paces_s:
            frame.loc[frame["variant"] == variant, "time_s"] *= own.slowdown(paces_s)
    return frame


def show(out: Path) -> None:
    """Print every table of what was measured."""
    of_networks = [out / name for name in network_sweeps() if is_complete(out / name)]
    if not of_networks:
        raise UserError(
            "--from", "must have a complete sweep of networks: measure with --out first", str(out)
        )
    paces_s = usual_paces_s(of_networks)
    measured = [at_pace(folder, paces_s) for folder in of_networks]
    networks = pd.concat(measured, ignore_index=True)
    models, unknown = measured_models(networks)
    for words in unknown:
        print(f"Left out: {words}", file=sys.stderr)
    fits = [backend for backend in LIBRARIES if is_complete(out / f"layers-{backend}")]
    tables = {
        LIBRARIES[backend]: list(
            network_tables.compared(at_pace(out / f"layers-{backend}", paces_s), networks, models)
        )
        for backend in fits
    }
    print("Predicted over measured, the sum of layers → the whole network; * outside the 95% interval\n")
    network_tables.show(tables)
    if (out / PARTS).is_file():
        print("\nWhat an inference through PyTorch is made of, by its profiler\n")
        network_parts.show(out / PARTS)
    for backend, what in LIBRARIES.items():
        if is_complete(out / f"changes-{backend}"):
            print(f"\nThe changes that `explain` ranks first, fitted and measured by {what}\n")
            paces_s = usual_paces_s([out / f"layers-{backend}"])
            frame = at_pace(out / f"changes-{backend}", paces_s)
            measured_changes.show(list(measured_changes.checked(changes(out, backend), frame)))


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="directory of the sweeps; an existing one is resumed")
    where.add_argument("--from", dest="kept", type=Path, help="an --out of earlier: its tables, no measuring")
    parser.add_argument("--time-budget", default="", help="end cleanly after 200s, 9m; go on later")
    options = parser.parse_args()
    try:
        _run(options.out, options.kept, options.time_budget)
    except UserError as error:
        parser.error(str(error))


def _run(out: Path | None, kept: Path | None, budget: str) -> None:
    if out is not None:
        deadline = time.monotonic() + duration_s("--time-budget", budget) if budget else None
        if not measure(out, deadline):
            print("More is left: the same command goes on.")
            return
    show(out or kept or Path())


if __name__ == "__main__":
    _main()
