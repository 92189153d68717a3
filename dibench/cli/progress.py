"""Progress of a running sweep: a live bar on a terminal, elsewhere a plain line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from dibench.cli.output import say
from dibench.numbers import count, number, percent, shape_text, short, time_text, uncertainty
from dibench.show.characters import visible

if TYPE_CHECKING:
    from types import TracebackType

    from dibench.plan import Case
    from dibench.schema import Row
    from dibench.sweep.events import Event, SweepBegan
    from dibench.sweep.noise import Noise

_LINE_EVERY_S = 5.0
_FEW = 0.05  # of windows: as many are disturbed on a machine that does nothing else


def case_text(case: Case) -> str:
    """Layer, variant and knobs on one line.

    >>> from dibench.layer import Layer
    >>> from dibench.plan import Case
    >>> case_text(Case(layer=Layer.fc(8, 64, 10, "lenet/fc"), backend="cpu", variant="fc_dot", tile_p=4))
    'lenet/fc N8 fc_dot tile_p=4'
    """
    if case.anchor:
        return case.variant if case.sms == "all" else f"{case.variant} sms={case.sms}"
    batch = f" N{case.layer.N}" if case.layer.N > 1 else ""
    name = case.layer.name + batch if case.layer.name else shape_text(case.layer)
    knobs = "".join(f" {knob}={value}" for knob, value in case.knobs.items())
    return f"{name} {case.variant}{knobs}"


def noise_text(noise: Noise, asked: float) -> str:
    """What repeats of the reference case tell of this machine, and what follows.

    >>> from dibench.sweep.noise import Noise
    >>> noise_text(Noise("", 5, spread=0.004, reached=0.01, between=0.0, disturbed=0.0, target=0.02), 0.02)
    'the same case repeats within ±0.4%: quiet'
    >>> noisy = Noise("", 3, spread=0.06, reached=0.03, between=0.04, disturbed=0.4, target=0.05, visits=2)
    >>> print(noise_text(noisy, 0.02)) # doctest: +NORMALIZE_WHITESPACE
    the same case repeats within ±6%, others take 40% of the windows: each case is visited 2 times,
    aiming at ±5% instead of ±2%; those that miss it are measured again at the end
    """
    text = f"the same case repeats within ±{100 * noise.spread:.2g}%"
    if noise.quiet:
        return f"{text}: quiet"
    if noise.disturbed > _FEW:
        text += f", others take {percent(noise.disturbed, 0)} of the windows"
    instead = f" instead of ±{100 * asked:g}%" if noise.target > asked else ""
    visits = f"each case is visited {noise.visits} times, aiming at ±{100 * noise.target:g}%{instead}"
    return f"{text}: {visits}; those that miss it are measured again at the end"


def result_text(row: Row) -> str:
    """A row's result in a few words.

    >>> from dibench.schema import Row
    >>> result_text(Row(status="ok", time_s=0.00123, time_ci_s=0.0000123))
    '1.23 ms ±1.0%'
    """
    if row.time_s is None:
        return f"{row.status}: {row.reason}"
    interval = "" if row.time_ci_s is None else f" ±{uncertainty(row.time_ci_s / row.time_s)}"
    flag = f" flagged: {row.reason}" if row.status == "flagged" else ""
    return f"{short(row.time_s, 's')}{interval}{flag}"


class Progress:
    """Shows events on standard error; standard output is for the summary."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._done = self._total = self._again = 0
        self._revisits = False
        self._began_at = time.monotonic()
        self._last_line_at = 0.0
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("opening the device", total=None, rate="", left="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Show one event of a sweep."""
        from dibench.sweep.events import (
            CaseBegan,
            CaseEnded,
            CaseRevisited,
            CutShort,
            DeviceJoined,
            DeviceLost,
            DeviceRefused,
            FilesMended,
            NoiseMeasured,
            NoPeaks,
            RevisitsBegan,
            SweepBegan,
            VisitEnded,
            WorkerRestarted,
        )

        match event:
            case SweepBegan():
                self._open(event)
            case NoiseMeasured(noise, asked, steps):
                self._begin(steps)
                self._say(f"noise: {noise_text(noise, asked)}")
            case RevisitsBegan(cases):
                self._begin(cases)
                self._say(f"{count(cases, 'case')} measured again, the most disturbed first")
            case CaseRevisited(case, row):
                self._end(case, f"again: {result_text(row)}")
            case CaseBegan(case):
                if self._bar is not None:
                    self._bar.update(self._task, description=visible(case_text(case)), **self._pace())
            case VisitEnded(case, number, of, lost):
                self._total += lost
                self._end(case, "disturbed: again later" if lost else f"visit {number} of {of}")
            case CaseEnded(case, row):
                self._again += self._revisits and row.status == "flagged"
                self._end(case, result_text(row), failed=row.status == "failed")
            case CutShort(case, took_s, stuck):
                then = "it was stuck" if stuck else "the next command measures it"
                self._say(f"{case_text(case)}: ended at the deadline after {time_text(took_s)}: {then}")
            case WorkerRestarted(reason):
                self._say(f"{reason}; started a new one")
            case NoPeaks(reason):
                self._say(f"{reason}; continuing without")
            case FilesMended(what):
                self._say(what)
            case DeviceLost(reason):
                self._say(f"device lost: {reason}; the others continue")
            case DeviceRefused(reason):
                self._say(f"device left out: {reason}")
            case DeviceJoined(where):
                self._say(f"device joined: {where}")

    def _open(self, event: SweepBegan) -> None:
        because = f" ({event.because})" if event.because else ""
        self._say(
            f"{event.device}; energy: {event.energy_source}{because}; "
            f"{event.total - event.finished} cases to measure"
            + (f" in {event.steps} visits" if event.steps > event.total - event.finished else "")
            + (f", {event.finished} measured already" if event.finished else "")
        )
        self._begin(event.steps)
        self._revisits = event.revisits

    def _begin(self, steps: int) -> None:
        """Begin to count that many steps."""
        self._total, self._done, self._again, self._began_at = steps, 0, 0, time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, total=steps, completed=0)

    def _end(self, case: Case, result: str, *, failed: bool = False) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, total=self._total, completed=self._done, **self._pace())
            if failed:
                self._say(f"{case_text(case)}: {result}")
            return
        now = time.monotonic()
        due = now - self._last_line_at >= _LINE_EVERY_S or self._done == self._total
        if due or failed:
            self._last_line_at = now
            pace = self._pace()
            self._say(f"[{self._done}/{self._total}] {pace['left']}  {case_text(case)}  {result}")

    def _pace(self) -> dict[str, str]:
        """Rate and time left, from what this command measured so far and the time budget."""
        elapsed, measured = time.monotonic() - self._began_at, self._done
        if measured == 0 or elapsed <= 0:
            return {"rate": "", "left": ""}
        again = self._again / measured  # as many of the later cases will be disturbed, too
        left_s = (self._total - self._done + again * self._total) * elapsed / measured
        if self._deadline is not None:
            left_s = min(left_s, max(0.0, self._deadline - time.monotonic()))
        return {"rate": f"{number(60 * measured / elapsed, '.0f')}/min", "left": f"{time_text(left_s)} left"}

    def _say(self, line: str) -> None:
        if self._bar is None:
            said(line, err=True)
            return
        with contextlib.suppress(OSError):
            self._bar.console.print(visible(line), markup=False, highlight=False)


def said(line: str, *, err: bool = False) -> None:
    """Print a line, if anybody reads it: `2>/dev/full` or `2>&1 | head` ends no measurement."""
    with contextlib.suppress(OSError):
        say(line, err=err)


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    from dibench.cli.output import console

    return Bar(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", style="cyan"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        console=console(stderr=True),
        transient=True,
        refresh_per_second=2,  # drawing takes time on a core that is being measured
        expand=True,
    )
