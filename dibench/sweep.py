"""A sweep: every case of a plan measured once, one row each, however often the program is killed on the way.

The parent plans, records and decides; the worker measures. What identifies a sweep stands in its manifest,
and the same command goes on where the last one ended if all of it is still the same.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files, record
from dibench.errors import UserError
from dibench.manifest import Manifest, identity_of, refuse_other, set_aside, utc_now
from dibench.measure import Settings
from dibench.worker import Worker, WorkerDiedError, hang_limit_s

if TYPE_CHECKING:
    from dibench.plan import Case, Plan

_LOOK_AHEAD = 8
"""Cases that a backend may prepare for while one is measured: a GPU's kernels are compiled meanwhile."""


@attrs.frozen
class Opened:
    """Device and meter answered; `finished` of `total` cases stand in the table already."""

    device: str
    energy_source: str
    total: int
    finished: int


@attrs.frozen
class CaseBegan:
    """A case went to the worker."""

    case: Case


@attrs.frozen
class CaseEnded:
    """A row was written."""

    case: Case
    row: Mapping[str, Any]


@attrs.frozen
class WorkerRestarted:
    """The worker died and a new one took its place."""

    reason: str


Event = Opened | CaseBegan | CaseEnded | WorkerRestarted


@attrs.frozen
class Summary:
    """How a command ended."""

    statuses: Mapping[str, int]
    """Rows in the table by status."""
    measured: int
    """Rows that this command wrote."""
    left: int
    """Cases of the plan without a row."""
    ended: str
    """`complete`, `time budget` or `interrupted`."""
    energy_source: str
    elapsed_s: float
    kept_as: str = ""
    """Where `fresh` moved the earlier table."""


@attrs.frozen(kw_only=True)
class Sweep:
    """What to measure and how: all that two commands must share to continue one another.

    `sources_sha` identifies the kernel sources; `stationarity` names a variant's operand held in registers.
    """

    plan: Plan
    backend: str
    meter: str
    settings: Settings
    sources_sha: str
    stationarity: Callable[[str], str]
    command_line: Sequence[str] = ()


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    deadline: float | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    limit_s: float | None = None,
) -> Summary:
    """Measure the cases of a plan that have no row in `out` yet.

    Args:
        sweep: plan, backend, meter and settings.
        out: the directory of table and manifest; made if needed.
        deadline: instant of `time.monotonic()` that no case begun is expected to exceed.
        retry_failed: measure failed cases again.
        fresh: begin anew; an earlier table and manifest are renamed, once the new sweep can start.
        on_event: told what happens as it happens.
        limit_s: seconds after which a case counts as hung.

    Raises:
        UserError: another sweep runs there, the earlier one differs, device or meter cannot be had, the
            disk is full. What was measured is kept.
    """
    begin = time.monotonic()
    with record.Lock(out), _Device(sweep, limit_s or hang_limit_s(sweep.settings), on_event) as device:
        earlier = None if fresh else files.read_json_object(out / record.MANIFEST)
        identity = identity_of(sweep.plan, sweep.backend, sweep.settings, sweep.sources_sha, device.opened)
        refuse_other(out, earlier, identity)
        kept_as = set_aside(out) if fresh else ""
        peaks = earlier["peaks"] if earlier else device.peaks()
        manifest = Manifest(
            out,
            earlier,
            identity,
            plan=sweep.plan,
            settings=sweep.settings,
            sources_sha=sweep.sources_sha,
            command_line=sweep.command_line,
            opened=device.opened,
            peaks=peaks,
        )
        manifest.save()
        if retry_failed and (out / record.TABLE).exists():
            record.Table(out / record.TABLE).close()  # repaired before it is read
            record.drop_rows(out / record.TABLE, "failed")
        table = record.Table(out / record.TABLE)
        try:
            statuses = record.read_statuses(out / record.TABLE)
            finished = len(statuses)
            open_cases = [case for case in sweep.plan.cases if case.case_id not in statuses]
            on_event(Opened(device.name, manifest.energy_source, len(sweep.plan.cases), finished))
            loop = _Loop(sweep, device, table, statuses, manifest.session, on_event)
            ended = loop.run(open_cases, deadline)
        finally:
            table.close()
        counts = Counter(statuses.values())
        manifest.end(ended, len(statuses) - finished, counts, device.restarts)
    measured = len(statuses) - finished
    return Summary(
        statuses=counts,
        measured=measured,
        left=len(open_cases) - measured,
        ended=ended,
        energy_source=manifest.energy_source,
        elapsed_s=time.monotonic() - begin,
        kept_as=kept_as,
    )


class _Device:
    """The worker and, after a crash, its successor."""

    def __init__(self, sweep: Sweep, limit_s: float, on_event: Callable[[Event], None]) -> None:
        self._sweep, self._limit_s, self._on_event = sweep, limit_s, on_event
        self.restarts = 0
        self.opened: dict[str, Any] = {}

    def __enter__(self) -> _Device:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._worker.close()

    @property
    def name(self) -> str:
        return str(self.opened["device"]["name"])

    def _start(self) -> None:
        self._worker = Worker(self._sweep.backend, self._sweep.meter, self._sweep.settings)
        try:
            opened = self._worker.open()
            same = ("uuid", "name")
            if self.opened and any(opened["device"][key] != self.opened["device"][key] for key in same):
                raise UserError("device", f"must stay {self.name}", opened["device"]["name"])
        except WorkerDiedError as death:
            self._worker.close()
            rule = f"{self._sweep.backend} could not be opened: {death}"
            raise UserError("--backend", rule) from None
        except BaseException:
            self._worker.close()
            raise
        self.opened = opened

    def peaks(self) -> dict[str, Any]:
        try:
            return self._worker.peaks()
        except WorkerDiedError as death:
            raise UserError(
                "--backend", f"{self._sweep.backend} could not measure its peaks: {death}"
            ) from None

    def measure(self, case: Case, upcoming: Sequence[Case] = ()) -> dict[str, Any]:
        """The measured cells; a crash is a failed case and one restart."""
        try:
            return self._worker.measure(case, self._limit_s, upcoming)
        except WorkerDiedError as death:
            self._worker.close()
            self._start()
            self.restarts += 1
            self._on_event(WorkerRestarted(str(death)))
            source = self.opened["meter"]["source"]
            return {"status": "failed", "reason": str(death), "energy_source": source}


class _Loop:
    """Case after case until there is none, no time, or an interrupt."""

    def __init__(
        self,
        sweep: Sweep,
        device: _Device,
        table: record.Table,
        statuses: dict[str, str],
        session: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self._sweep, self._device, self._table = sweep, device, table
        self._statuses, self._session, self._on_event = statuses, session, on_event
        self._expected = Expected(sweep.settings)

    def run(self, cases: Sequence[Case], deadline: float | None) -> str:
        try:
            for index, case in enumerate(cases):
                if deadline is not None and time.monotonic() + self._expected.seconds(case) > deadline:
                    return "time budget"
                self._one(case, cases[index + 1 : index + 1 + _LOOK_AHEAD])
        except KeyboardInterrupt:
            return "interrupted"
        return "complete"

    def _one(self, case: Case, upcoming: Sequence[Case]) -> None:
        self._on_event(CaseBegan(case))
        started_at, begin = utc_now(), time.monotonic()
        measured = self._device.measure(case, upcoming)
        device = self._device.opened["device"]
        row = {
            **record.case_cells(case, self._sweep.stationarity(case.variant)),
            "session": self._session,
            "started_at": started_at,
            "device": device["name"],
            "device_uuid": device["uuid"],
            **measured,
        }
        self._table.append(row)
        self._statuses[case.case_id] = row["status"]
        self._expected.learn(case, time.monotonic() - begin, row)
        self._on_event(CaseEnded(case, row))


class Expected:
    """How long the next case will take, learned from those before it: rather too long than too short."""

    def __init__(self, settings: Settings) -> None:
        self._walls = deque([settings.case_budget_s], maxlen=20)
        self._s_per_mac: dict[tuple[str, str], float] = {}

    def learn(self, case: Case, wall_s: float, row: Mapping[str, Any]) -> None:
        """Take a finished case into account."""
        self._walls.append(wall_s)
        if row.get("time_s"):
            key, rate = (case.layer.op, case.variant), row["time_s"] / case.layer.macs
            self._s_per_mac[key] = max(rate, self._s_per_mac.get(key, 0.0))

    def seconds(self, case: Case) -> float:
        """The longest of the last twenty cases, or a warm-up and a window of one launch each."""
        rate = self._s_per_mac.get((case.layer.op, case.variant), 0.0)
        return max(*self._walls, 2 * rate * case.layer.macs * case.instances, 0.0)
