"""The steps of a campaign: who is there, what earlier runs measured; measure; fit and report."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import attrs

from dibench.cli import child
from dibench.cli.campaign_view import say
from dibench.errors import UserError
from dibench.sweep.duration import VISIT_S

if TYPE_CHECKING:
    from dibench.plan.campaign import Campaign
    from dibench.schema import Row
    from dibench.sweep.earlier import Earlier
    from dibench.sweep.run import Summary

_LEAST_S = 4.0
_HANG_S = 45.0
"""A case takes some six seconds, and some more where gigabytes of operands are drawn first."""
_MOST_DEATHS = 2
"""Another worker takes ten seconds to open its meter, a hang 45 more: minutes are short."""


@attrs.frozen
class Card:
    """The GPU that a campaign runs on."""

    own: str
    """The backend of our kernels: `cuda`, or `module:callable`."""
    backend: str
    """What the sweep opens: the same, or it with PyTorch's library."""
    name: str
    uuid: str
    driver: str
    arch: int
    no_library: str
    """Why PyTorch's library is not measured beside our kernels; empty where it is."""
    simulated: bool


def card(backend: str, *, need: bool) -> Card | None:
    """The GPU at hand, without a context on it; None where there is none and none is needed.

    Raises:
        UserError: there is none, but it is needed; the message says what is missing.
    """
    from dibench import backends
    from dibench.backends import cuda_driver
    from dibench.elsewhere import is_elsewhere
    from dibench.kernels import library

    if is_elsewhere(backend):
        device = backends.open_backend(backend).device()
        driver, arch = str(device.facts.get("driver") or ""), int(device.facts.get("arch", 90))
        why = "a device from elsewhere has no library"
        return Card(backend, backend, device.name, device.uuid, driver, arch, why, True)
    if backend not in ("auto", "cuda"):
        raise UserError(
            "--backend", "must be auto, cuda or module:callable: a campaign is for a GPU", backend
        )
    gpu = cuda_driver.gpu()
    if isinstance(gpu, str):
        if need:
            raise UserError("campaign", f"needs an NVIDIA GPU: {gpu}; --dry-run shows what it would measure")
        return None
    why = library.no_cudnn()  # loading it takes seconds: the worker does, and skips its cases if it must
    opened = "cuda" if why else backends.PAIRED
    return Card("cuda", opened, gpu.name, gpu.uuid, cuda_driver.driver_version(), gpu.arch, why, False)


def earlier(paths: list[Path], card: Card | None, out: Path | None) -> Earlier:
    """What earlier runs measured on this model of card."""
    from dibench import kernels
    from dibench.sweep.earlier import Earlier, read_earlier

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
        kernels=kernels.kernel_shas("cuda"),
        sources_sha=kernels.sources_sha("cuda"),
        but=out,
    )


def measure(
    found: Campaign, card: Card, meter: str, out: Path, deadline: float
) -> tuple[Summary, UserError | None]:
    """The sweep; where it is refused on the way, what it measured before, and why.

    Raises:
        UserError: it is refused before it measures anything.
    """
    from dibench import kernels
    from dibench.cli.progress import Progress
    from dibench.measure.settings import Settings
    from dibench.sweep import record
    from dibench.sweep.run import Summary, Sweep, run_sweep

    job = Sweep(
        plan=found.plan,
        backend=card.backend,
        meter=meter,
        settings=Settings(),
        sources_sha=kernels.sources_sha("cuda"),
        command_line=["python", "-m", "dibench", *sys.argv[1:]],
        kernel_shas=kernels.kernel_shas("cuda"),
    )
    before, begin = len(list(record.written(out / record.TABLE))), time.monotonic()
    try:
        with Progress(deadline) as progress:
            summary = run_sweep(
                job,
                out,
                deadline=deadline,
                on_event=progress.show,
                limit_s=_HANG_S,
                most_deaths=_MOST_DEATHS,
            )
            return summary, None
    except UserError as error:
        rows = list(record.written(out / record.TABLE))
        if len(rows) == before:
            raise
        refusal = error
    say(f"stopped   {refusal}")
    measured = len(rows) - before
    source = next((row.energy_source for row in rows if row.energy_source), "none")
    took_s, left = time.monotonic() - begin, len(found.plan.cases) - len(rows)
    return Summary(
        Counter(row.status for row in rows), measured, left, f"stopped: {refusal}", source, took_s
    ), refusal


def visit_s(out: Path) -> float:
    """Seconds of a visit here, preparing included; the usual ones where nothing was visited."""
    from dibench.sweep import record

    path = out / record.VISITS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return fmean(json.loads(line)["took_s"] for line in lines) if lines else VISIT_S


def all_rows(out: Path, earlier: Earlier) -> list[Row]:
    """Those of this run and of earlier ones."""
    from dibench.sweep import record

    return [*earlier.rows, *record.written(out / record.TABLE)]


def close(out: Path, rows: list[Row], manifest: Path, until: float) -> None:
    """Fit and report of these rows, into `out`; shown, or said why not.

    Both are made again at any time from what is measured: where time is up they are left for then.
    """
    from dibench.sweep import record

    with tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch)
        record.write(joined / record.TABLE, rows)
        if manifest.is_file():
            shutil.copyfile(manifest, joined / record.MANIFEST)
        until = max(until - 1.0, time.monotonic() + _LEAST_S)
        fit = ["fit", str(joined / record.TABLE), "--backend", "cuda", "--json", str(out / "fit.json")]
        with child.started(fit) as fitting, child.started(["report", str(joined)]) as reporting:
            fitted, reported = child.ended(fitting, until), child.ended(reporting, until)
        if fitted.status == 0:
            say(f"\n{fitted.text.rstrip()}\n")
        else:
            say(f"fit       {fitted.how}; python -m dibench fit makes it at any time")
        if reported.status == 0:
            shutil.move(joined / "report.html", out / "report.html")
            say("report    written")
        else:
            say(f"report    {reported.how}; python -m dibench report makes it at any time")
