"""A run of a campaign: plan what is left of its stages, sweep it, then fit and report.

`before` checks kernels and sensor first. Each step reports what happens through `Campaign.say`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import backends, kernels, temporary
from dibench.backends import cuda_driver
from dibench.elsewhere import is_elsewhere
from dibench.errors import UserError
from dibench.files import read_json_object, replace_file
from dibench.kernels import library
from dibench.measure.settings import Settings
from dibench.plan.ordering import in_visits
from dibench.plan.stages import Stage, Stages, plan_campaign
from dibench.processes import Ended, run_verbs
from dibench.sweep import record
from dibench.sweep.duration import VISIT_S
from dibench.sweep.earlier_runs import read_earlier
from dibench.sweep.kept_rows import KeptRow, keep_rows
from dibench.sweep.parts import Joined, Part, has_result
from dibench.sweep.run import Summary, Sweep, run_sweep
from dibench.sweep.visit_book import NO_VISITS, Entries
from dibench.table import HEADER

if TYPE_CHECKING:
    from dibench.plan import Plan
    from dibench.sweep.events import Event

COUNTING_S = 45.0
"""Of the hardware's counters, once for all runs: ncu runs a dozen cases once for each of a few passes."""
_COUNTED_CASES = 12
_LEAST_S = 4.0
_HANG_S = 45.0
"""A case takes about six seconds, more where gigabytes of operands are drawn first."""
_MOST_DEATHS = 2
"""A new worker takes ten seconds to open its meter, and a hang 45 more, of few minutes."""


@attrs.frozen
class CampaignGpu:
    """The GPU that a campaign runs on."""

    own: str
    """The backend of our kernels: `cuda`, or `module:callable`."""
    name: str
    uuid: str
    driver: str
    arch: int
    no_library: str
    """Why PyTorch's library is not measured beside our kernels; empty where it is."""

    @property
    def backend(self) -> str:
        """What the sweep opens."""
        return self.own if self.no_library else backends.PAIRED

    @property
    def simulated(self) -> bool:
        """Whether it is a replayed card."""
        return self.own != "cuda"


@attrs.frozen(kw_only=True)
class Campaign:
    """What one run needs: its directory, GPU, stages, earlier runs and deadline."""

    out: Path
    gpu: CampaignGpu
    stages: Stages
    earlier: Joined
    meter: str
    seed: int
    deadline: float
    """Instant of `time.monotonic()` by which fit and report have ended, too."""
    closing_s: float
    """Seconds kept for fit and report."""
    check_s: float
    """The most seconds that selftest may take, and likewise calibration."""
    say: Callable[[str], None]

    def rows(self) -> tuple[KeptRow, ...]:
        """The rows of this run so far."""
        table = self.out / record.TABLE
        return tuple(keep_rows(table)) if table.is_file() else ()

    def joined(self) -> Joined:
        """What earlier runs measured that counts, and what this one measured."""
        manifest = read_json_object(self.out / record.MANIFEST) or {}
        visits = self.out / record.VISITS
        own = Part(self.out, manifest, self.rows(), Entries(visits) if visits.is_file() else NO_VISITS)
        return Joined((*self.earlier.parts, own), (*self.earlier.rows, *own.rows))


def find_gpu(backend: str) -> CampaignGpu | str:
    """The GPU of this machine, found without a context on it; where there is none, text that says why.

    Raises:
        UserError: that backend is for no GPU.
    """
    if is_elsewhere(backend):
        device = backends.open_backend(backend).device()
        driver, arch = str(device.facts.get("driver") or ""), int(device.facts.get("arch", 90))
        why = "a device from elsewhere has no library"
        return CampaignGpu(backend, device.name, device.uuid, driver, arch, why)
    if backend not in ("auto", "cuda"):
        raise UserError(
            "--backend", "must be auto, cuda or module:callable: a campaign is for a GPU", backend
        )
    gpu = cuda_driver.gpu()
    if isinstance(gpu, str):
        return gpu
    why = library.no_cudnn()  # loading it takes seconds: the worker does, and skips its cases if it must
    return CampaignGpu("cuda", gpu.name, gpu.uuid, cuda_driver.driver_version(), gpu.arch, why)


def earlier_runs(paths: Sequence[Path], gpu: CampaignGpu | None, out: Path | None) -> Joined:
    """What earlier runs measured on this model of card."""
    if not paths:
        return Joined()
    if gpu is None:
        raise UserError("--resume", "needs the GPU, whose model the rows must be of")
    for path in paths:
        if out is not None and (path if path.is_dir() else path.parent).resolve() == out.resolve():
            raise UserError("--resume", "must not be --out: what --out holds is resumed anyway", str(path))
    return read_earlier(paths, device=gpu.name, simulated=gpu.simulated, but=out)


def plan_rest(
    stages: Stages, earlier: Joined, gpu: CampaignGpu | None, seed: int, without: Collection[str] = ()
) -> Plan:
    """The plan of what earlier runs left, without kernels that were found wrong."""
    return plan_campaign(
        stages,
        seed=seed,
        done=earlier.done,
        without=without,
        again=gpu is not None and bool(earlier.rows) and gpu.uuid not in earlier.cards,
        first_order=earlier.last_order + 1,
    )


def finished(plan: Plan, measuring_s: float) -> set[str]:
    """Ids of the cases that have all their visits after so many seconds of measuring."""
    steps = in_visits([case.visits for case in plan.cases], plan.seed)
    made = Counter(index for index, _ in steps[: int(measuring_s / VISIT_S)])
    cases = ((plan.cases[index], number) for index, number in made.items())
    return {case.case_id for case, number in cases if number >= case.visits}


def measure(
    run: Campaign,
    plan: Plan,
    until: float,
    on_event: Callable[[Event], None],
    idle: Mapping[str, Any] | None = None,
) -> tuple[Summary, UserError | None]:
    """Sweep the plan until that instant; if an error ends it, what was measured before, and that error.

    `idle` is what a meter found of idle power before anything loaded the GPU.

    Raises:
        UserError: the error came before anything was measured.
    """
    job = Sweep(
        plan=plan,
        backend=run.gpu.backend,
        meter=run.meter,
        settings=Settings(),
        sources_sha=kernels.sources_sha("cuda"),
        command_line=["python", "-m", "dibench", *sys.argv[1:]],
        kernel_shas=kernels.kernel_shas("cuda"),
        limit_s=_HANG_S,
        most_deaths=_MOST_DEATHS,
        needs_sensor=run.meter not in ("model", "none"),
        idle=idle,
    )
    before, begin = len(run.rows()), time.monotonic()
    try:
        return run_sweep(job, run.out, deadline=until, on_event=on_event), None
    except UserError as error:
        rows = run.rows()
        if len(rows) == before:
            raise
        refusal = error
    summary = Summary(
        statuses=Counter(row.status for row in rows),
        measured=len(rows) - before,
        left=len(plan.cases) - len(rows),
        ended=f"stopped: {refusal}",
        energy_source=next((row.energy_source for row in rows if row.energy_source), "none"),
        elapsed_s=time.monotonic() - begin,
    )
    return summary, refusal


def count(run: Campaign) -> None:
    """Have ncu count what cases of the lattice execute, in the last seconds before fit and report."""
    table, until = run.out / "counters.csv", run.deadline - run.closing_s
    run.say(f"counters  at most {COUNTING_S:.0f} s …")
    budget = f"{max(1.0, until - time.monotonic() - _LEAST_S):.0f}s"
    verb = [
        "counters",
        "lattice",
        "--cases",
        str(_COUNTED_CASES),
        "--time-budget",
        budget,
        "--out",
        str(table),
    ]
    (ended,) = run_verbs(verb, until=until)
    run.say(f"counters  {f'kept as {table}' if ended.status == 0 else f'none ({ended.how})'}")


def close(run: Campaign) -> bool:
    """Fit and report of all rows, into the run's directory; whether the fit was made.

    The fit is shown; what was not made in time can be made at any time from what is measured.
    """
    manifest = run.out / record.MANIFEST
    with temporary.scratch() as joined:
        replace_file(joined / record.TABLE, chain([HEADER], run.joined().row_lines()))
        if manifest.is_file():
            replace_file(joined / record.MANIFEST, manifest.read_bytes())
        until = max(run.deadline - 1.0, time.monotonic() + _LEAST_S)
        fit, report = analyse(joined, run.out / "fit.json", until)
        if report.status == 0:
            replace_file(run.out / "report.html", (joined / "report.html").read_bytes())
    if fit.status == 0:
        run.say(f"\n{fit.text.rstrip()}\n")
    else:
        run.say(f"fit       {fit.how}; python -m dibench fit makes it at any time")
    later = f"{report.how}; python -m dibench report makes it at any time"
    run.say(f"report    {'written' if report.status == 0 else later}")
    return fit.status == 0


def analyse(folder: Path, fit_json: Path, until: float) -> tuple[Ended, Ended]:
    """Run `fit` and `report` of a directory side by side, at most until that instant."""
    fit = ["fit", str(folder / record.TABLE), "--backend", "cuda", "--json", str(fit_json)]
    fitted, reported = run_verbs(fit, ["report", str(folder)], until=until)
    return fitted, reported


@attrs.frozen
class Standing:
    """Where a stage stands: its cases, those with a result, those whose row is `ok`, visits that are left."""

    stage: Stage
    done: int
    ok: int
    visits_left: int


def standings(stages: Sequence[Stage], rows: Iterable[KeptRow]) -> list[Standing]:
    """Where every stage stands by these rows."""
    best: dict[str, str] = {}
    for row in rows:
        if has_result(row) and best.get(row.case_id) != "ok":
            best[row.case_id] = row.status
    result = []
    for stage in stages:
        there = [best[case.case_id] for case in stage.cases if case.case_id in best]
        left = sum(case.visits for case in stage.cases if case.case_id not in best)
        result.append(Standing(stage, len(there), there.count("ok"), left))
    return result
