"""`publish`: what campaigns measured on one model of card, as a dataset to be committed under results/."""

from __future__ import annotations

import re
import shlex
import time
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, say
from dibench.errors import UserError

_LIMIT_S = 3600.0
_AGAIN = "python -m dibench campaign --time-budget 9m --out results/local/campaign/1"
_COUNTERS = "python -m dibench counters lattice --out RUN/counters.csv"


def publish(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Directories of a campaign's runs, or one above."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The dataset's directory; by default results/ and the card's name."),
    ] = None,
    json_file: Json = None,
) -> None:
    """Join a campaign's runs into a dataset: table, manifest, calibration, fit, report, and a README.

    An existing dataset is kept and grows. Simulated or modelled joules are refused.

    [bold]python -m dibench publish results/local/campaign[/bold]
    """
    from dibench import directories, files
    from dibench.plan.stages import load_stages
    from dibench.show.campaign import readme
    from dibench.show.markdown import markdown
    from dibench.show.sweeps import plain_merged
    from dibench.study.use.answers import open_answers
    from dibench.sweep import merge, record
    from dibench.sweep.campaign import analyse, standings

    check_json(json_file)
    read = cache(merge.read_run)  # each table once
    found = merge.gather(runs, read)
    device = next(iter(found.devices))
    folder = out or Path("results") / slug(device)
    directories.bring_back(folder)
    if (folder / record.TABLE).is_file():
        found = merge.gather([folder, *runs], read)
    else:
        directories.refuse_content(folder)
    for variant, number in found.stale.items():
        say(f"left out  {number} rows of {variant}: its source has changed since", err=True)
    with directories.whole_directory(folder) as new:
        found = merge.write(found, new, merge.of_runs(found))
        ended = analyse(new, new / "fit.json", time.monotonic() + _LIMIT_S)
        for verb, one in zip(("fit", "report"), ended, strict=True):
            if one.status != 0:
                raise UserError(verb, f"must work on {len(found.rows)} rows: {one.how}")
        fitted = ended[0].text.rstrip().replace(str(new), str(folder))
        arch = int(found.parts[-1].manifest["device"]["facts"].get("arch", 0))
        no_counters = f"hardware counters: `{_COUNTERS}` reads them, before publishing"
        made = shlex.join(["python", "-m", "dibench", "publish", *map(str, runs)])
        parts = readme(
            found,
            standings(load_stages(arch=arch).stages, found.rows),
            open_answers(new / "fit.json"),
            not_here=[] if (new / merge.COUNTERS).exists() else [no_counters],
            again=f"{_AGAIN} --resume results/{folder.name}",
            made=f"Made by `{made}`: do not edit the tables.",
        )
        files.replace_file(new / "README.md", files.encoded(markdown(parts)))

    def tell() -> None:
        say(f"{fitted}\n")
        say(f"{len(found.rows)} rows of {device} in {folder}: look at README.md, report.html; then commit")

    answer(json_file, lambda: plain_merged(found, folder) | {"left_out": dict(found.stale)}, tell)


def slug(device: str) -> str:
    """A card's name as a directory's.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "unnamed"
