"""`publish`: what campaigns measured on one model of card, as a dataset to be committed under results/."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.sweep.dataset import Dataset

_LIMIT_S = 3600.0


def publish(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Directories of a campaign's runs, or one above."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The dataset's directory; by default results/ and the card's name."),
    ] = None,
) -> None:
    """Join a campaign's runs into a dataset: table, manifest, calibration, fit, report, and a README.

    A dataset that lies there already is kept and grows. Simulated or modelled joules are refused.

    [bold]python -m dibench publish results/local/campaign[/bold]
    """
    from dibench.cli import campaign_readme
    from dibench.cli.campaign_view import say
    from dibench.sweep import dataset, record

    found = dataset.gather(runs)
    folder = out or Path("results") / slug(found.device)
    if (folder / record.TABLE).is_file():
        found = dataset.gather([folder, *runs])
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("--out", "must be a dataset, an empty directory, or not exist", str(folder))
    for variant, number in found.stale.items():
        say(f"left out  {number} rows of {variant}: its source has changed since")
    with _whole(folder) as new:
        dataset.write(found, new)
        _analyse(found, new)
        campaign_readme.write_dataset_readme(new, found, runs, folder.name)
    say(f"{len(found.rows)} rows of {found.device} in {folder}: look at README.md, report.html; then commit")


def slug(device: str) -> str:
    """A card's name as a directory's.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "unnamed"


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A directory beside, which takes the place of `folder` when all of it is there."""
    from dibench.files import explained

    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield beside
        with explained(folder):
            beside.chmod(0o755)
            old = beside.with_name(beside.name + ".old")
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _analyse(found: Dataset, folder: Path) -> None:
    """Fit and report, by their own verbs; the fit is shown."""
    from dibench.cli import child
    from dibench.cli.campaign_view import say
    from dibench.sweep import record

    fit = ["fit", str(folder / record.TABLE), "--backend", "cuda", "--json", str(folder / "fit.json")]
    until = time.monotonic() + _LIMIT_S
    with child.started(fit) as fitting, child.started(["report", str(folder)]) as reporting:
        ended = {"fit": child.ended(fitting, until), "report": child.ended(reporting, until)}
    for verb, one in ended.items():
        if one.status != 0:
            raise UserError(verb, f"must work on {len(found.rows)} rows: {one.how}")
    say(f"{ended['fit'].text.rstrip()}\n")
