"""The steps of a campaign: who is there, is it right, what can it resolve; measure; fit and report.

What needs a context of its own on the GPU runs as a process of its own: idle power is metered before there is
any, and a check that hangs is ended when its time is up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import attrs
import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.earlier import Earlier
    from dibench.stages import Campaign
    from dibench.sweep.run import Summary

_LEAST_S = 4.0
_HANG_S = 45.0
"""A case takes some six seconds, and some more where gigabytes of operands are drawn first."""


@attrs.frozen
class Card:
    """The GPU that a campaign runs on."""

    backend: str
    name: str
    uuid: str
    driver: str
    arch: int
    peer: bool
    """Whether PyTorch's library is there for it."""
    simulated: bool


def card(backend: str, *, need: bool) -> Card | None:
    """The GPU at hand, without a context on it; None where there is none and none is needed.

    Raises:
        UserError: there is none, but it is needed; the message says what is missing.
    """
    from dibench import backends, library
    from dibench.backends import cuda_driver
    from dibench.elsewhere import is_elsewhere

    if is_elsewhere(backend):
        device = backends.open_backend(backend).device()
        driver, arch = str(device.facts.get("driver")), int(device.facts.get("arch", 90))
        return Card(backend, device.name, device.uuid, driver, arch, False, True)
    if backend not in ("auto", "cuda"):
        raise UserError(
            "--backend", "must be auto, cuda or module:callable: a campaign is for a GPU", backend
        )
    gpu = cuda_driver.gpu()
    if isinstance(gpu, str):
        if need:
            raise UserError("campaign", f"needs an NVIDIA GPU: {gpu}; --dry-run shows what it would measure")
        return None
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # it looks without touching the GPU
    peer = library.here() is library.CUDNN
    name = backends.PAIRED if peer else "cuda"
    return Card(name, gpu.name, gpu.uuid, cuda_driver.driver_version(), gpu.arch, peer, False)


def earlier(paths: list[Path], card: Card | None, out: Path | None) -> Earlier:
    """What earlier runs measured on this model of card."""
    from dibench import variants
    from dibench.earlier import Earlier, read_earlier

    if not paths:
        return Earlier()
    if card is None:
        raise UserError("--resume", "needs the GPU, whose model the rows must be of")
    for path in paths:
        if out is not None and (path if path.is_dir() else path.parent).resolve() == out.resolve():
            raise UserError("--resume", "must not be --out: a directory goes on by itself", str(path))
    return read_earlier(
        paths,
        device=card.name,
        simulated=card.simulated,
        kernels=variants.kernel_shas("cuda"),
        sources_sha=variants.sources_sha("cuda"),
        but=out,
    )


def refuse_test_data(out: Path, card: Card) -> None:
    """Replayed joules never lie where measured ones are published: said before anything runs."""
    parts = out.resolve().parts
    if card.simulated and "results" in parts and parts[parts.index("results") + 1 :][:1] != ("local",):
        raise UserError("--out", "must not be under results/: simulated energy is test data", str(out))


def check(out: Path, card: Card, earlier: Earlier, limit_s: float) -> tuple[str, ...]:
    """Doctor, selftest and calibration, each at most so long; kernels that computed something wrong."""
    from dibench.cli.doctor import findings
    from dibench.files import read_json_object, write_json

    path = out / "selftest.json"
    found: dict[str, Any] = {"doctor": [attrs.asdict(finding) for finding in findings()]}
    for finding in found["doctor"]:
        if not finding["ok"] and finding["area"] in ("GPU", "energy"):
            typer.echo(f"doctor    {finding['what']}: no, {finding['seen']}")
    if card.simulated:
        typer.echo("selftest  not run: a device from elsewhere computes nothing")
        typer.echo("calibrate not run: a device from elsewhere has no sensor of its own")
        write_json(path, found)
        return ()
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "selftest.json"
        _child("selftest", ["selftest", "--backend", "cuda", "--once", "--json", str(told)], limit_s)
        found["selftest"] = read_json_object(told) or {"complete": False, "variants": {}}
    write_json(path, found)
    verdicts = found["selftest"]["variants"]
    wrong = tuple(name for name, verdict in verdicts.items() if verdict.startswith("failed"))
    if not found["selftest"]["complete"]:
        typer.echo(
            f"selftest  {len(verdicts)} variants were checked in time; the others are measured unchecked"
        )
    for name in wrong:
        typer.echo(f"selftest  {name} is not measured: {verdicts[name]}")
    _calibrate(out, card, earlier, limit_s)
    return wrong


def _calibrate(out: Path, card: Card, earlier: Earlier, limit_s: float) -> None:
    from dibench.earlier import bring_calibration

    kept = bring_calibration(earlier.tables, card.uuid, card.driver)
    if kept.is_file():
        typer.echo("calibrate done before on this card under this driver")
    else:
        _child("calibrate", ["calibrate", "--brief"], limit_s)
    if kept.is_file():
        shutil.copyfile(kept, out / "calibration.json")


def measure(found: Campaign, card: Card, meter: str, out: Path, deadline: float) -> Summary:
    """The sweep."""
    from dibench import variants
    from dibench.cli.progress import Progress
    from dibench.measure.settings import Settings
    from dibench.sweep.run import Sweep, run_sweep

    cuda = variants.registry("cuda")
    job = Sweep(
        plan=found.plan,
        backend=card.backend,
        meter=meter,
        settings=Settings(),
        sources_sha=variants.sources_sha("cuda"),
        stationarity=lambda name: cuda[name].stationarity if name in cuda else "",
        command_line=["python", "-m", "dibench", *sys.argv[1:]],
        kernel_shas=variants.kernel_shas("cuda"),
    )
    with Progress(deadline) as progress:
        return run_sweep(job, out, deadline=deadline, on_event=progress.show, limit_s=_HANG_S)


def visit_s(out: Path) -> float:
    """Seconds of a visit here, preparing included; the usual ones where nothing was visited."""
    from dibench.cli.campaign_view import VISIT_S
    from dibench.sweep import record

    path = out / record.VISITS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return fmean(json.loads(line)["took_s"] for line in lines) if lines else VISIT_S


def close(out: Path, earlier: Earlier, deadline: float) -> list[dict[str, str]]:
    """Fit and report of this run and the earlier ones together; all their rows, as text.

    Both are made again at any time from what is measured: where time is up they are left for then.
    """
    import csv

    from dibench import schema
    from dibench.sweep import record

    with (out / record.TABLE).open(encoding="utf-8", newline="") as file:
        own = list(csv.DictReader(file))
    rows = [*({name: row.get(name, "") for name in schema.NAMES} for row in earlier.rows), *own]
    with tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch)
        with (joined / record.TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, schema.NAMES, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        shutil.copyfile(out / record.MANIFEST, joined / record.MANIFEST)
        fit = ["fit", str(joined / record.TABLE), "--backend", "cuda", "--json", str(out / "fit.json")]
        left_s = max(_LEAST_S, deadline - time.monotonic() - 1.0)
        with _started(fit) as fitting, _started(["report", str(joined)]) as reporting:
            until = time.monotonic() + left_s
            _ended("fit", fitting, until, show=True)
            _ended("report", reporting, until)
        if (joined / "report.html").is_file():
            shutil.move(joined / "report.html", out / "report.html")
    return rows


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path}


def _started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dibench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(),
    )


def _child(name: str, arguments: list[str], limit_s: float) -> None:
    """A verb in a process of its own; its last line is told, or that its time was up."""
    typer.echo(f"{name:<9} at most {limit_s:.0f} s …")
    with _started(arguments) as process:
        _ended(name, process, time.monotonic() + limit_s)


def _ended(name: str, process: subprocess.Popen[str], until: float, *, show: bool = False) -> None:
    try:
        text, _ = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        typer.echo(f"{name:<9} its time was up")
        return
    except BaseException:
        process.kill()
        raise
    if show and not process.returncode:
        typer.echo(f"\n{text.rstrip()}\n")
    elif lines := text.strip().splitlines():
        typer.echo(f"{name:<9} {lines[-1] if name != 'report' or process.returncode else 'written'}")
