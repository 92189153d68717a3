"""What a campaign checks before it measures: sensor, machine, kernels. Only a missing sensor ends it.

Idle power is read first, before anything loads the GPU. Each check is a process of its own: what hangs is
ended. A kernel whose check fails is not measured; one for whose check there was no time is, and the
run says so. Without a calibration the spread of visits starts from what is known of other cards.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files, kernels
from dibench.errors import UserError
from dibench.measure import calibration
from dibench.meters.gpu import GpuMeter
from dibench.numbers import short
from dibench.processes import run_verbs
from dibench.sweep.crew import idle_of
from dibench.sweep.run import no_sensor
from dibench.sweep.selftest_verdicts import FAILED, NOT_HERE, RIGHT, CachedVerdicts, path_of

if TYPE_CHECKING:
    from dibench.sweep.campaign import Campaign

_SOURCES = ("auto", "nvml_counter", "nvml_power")
_HUNG_S = 20.0
"""All layers of a kernel take about a second: one that has run for this long does not end."""
_MOST_CRASHES = 3
_LEAST_S = 3.0
"""With less time a selftest checks nothing."""
_DOCTOR_S = 20.0
_CLOSING_S = 4.0
"""Of calibration: to write the result, and for a visit that settles later than the others."""


@attrs.frozen
class Checks:
    """What was found."""

    wrong: Mapping[str, str]
    """By variant that is not measured: what is wrong."""
    unchecked: tuple[str, ...]
    """Variants for whose check there was no time."""
    not_calibrated: str
    """Why there is no calibration; empty where there is one."""
    can_count: bool
    """Whether the hardware's counters may be read, which no run that counts has done."""


def check(run: Campaign) -> Checks:
    """Doctor, calibration and selftest; what is found lies beside the table too."""
    doctor = _doctor(run)
    why = _calibrate(run)
    wrong, unchecked = _selftest(run)
    checked = _verdicts(run)
    files.write_json(run.out / "selftest.json", {**checked.as_json(), "doctor": doctor})
    counted = any(_beside(_folders(run), "counters*.csv"))
    ncu = any(one["ok"] for one in doctor if one["what"] == "Nsight Compute") and not run.gpu.simulated
    return Checks(wrong, unchecked, why, ncu and not counted)


def idle_power(run: Campaign) -> Mapping[str, Any] | None:
    """What a meter finds of idle power, before anything loads the card; this process makes no context on it.

    Raises:
        UserError: no sensor gives joules.
    """
    source = run.meter.partition("+")[0]
    if source not in _SOURCES or run.gpu.simulated:
        return None
    try:
        meter = GpuMeter.open(source, run.gpu.uuid)
        meter.measure_idle()
    except UserError as error:
        raise no_sensor(run.gpu.name, str(error).removeprefix("--meter: ")) from None
    idle = f"idle {short(meter.idle.power_w, 'W')}" if meter.idle else f"idle power unknown: {meter.no_idle}"
    lacking = f"; not readable: {', '.join(meter.refused)}" if meter.refused else ""
    run.say(f"sensor    {meter.estimator}, {idle}{lacking}")
    return idle_of(meter.facts)


def _doctor(run: Campaign) -> list[dict[str, Any]]:
    """What doctor finds, for the record; what the campaign needs and lacks is told."""
    (ended,) = run_verbs(["doctor", "--json"], until=time.monotonic() + _DOCTOR_S)
    try:
        found: list[dict[str, Any]] = json.loads(ended.text)
    except ValueError:  # it failed; measuring may well work
        run.say(f"doctor    {ended.how}")
        return []
    for one in found if not run.gpu.simulated else ():
        if not one["ok"] and one["area"] in ("GPU", "energy", "machine"):
            run.say(f"doctor    {one['what']}: no, {one['seen']}")
    return found


def _verdicts(run: Campaign) -> CachedVerdicts:
    """What is kept of this card's kernels."""
    return CachedVerdicts.read(path_of("cuda", run.gpu.uuid, run.gpu.driver), run.gpu.uuid, run.gpu.driver)


def _folders(run: Campaign) -> list[Path]:
    """Where calibrations and verdicts of runs lie: those that are resumed, and its own."""
    return [*(part.folder for part in run.earlier.parts), run.out]


def _selftest(run: Campaign) -> tuple[dict[str, str], tuple[str, ...]]:
    """Check the kernels of the stages that were not checked on this card before.

    Returns:
        Those that are wrong, and why; those for whose check there was no time.
    """
    sources, needed = kernels.kernel_shas("cuda"), run.stages.variants
    checked = bring_checked(_folders(run), run.gpu.uuid, run.gpu.driver, sources)
    known = checked.known(sources, small=run.gpu.simulated)
    found = {name: known[name] for name in needed if known.get(name) in (RIGHT, NOT_HERE)}
    left = [name for name in needed if name not in found]
    if left:
        run.say(f"selftest  at most {run.check_s:.0f} s …")
        for name in left:
            checked.kernels.pop(name, None)  # found wrong before: it is checked again
        checked.save()
        found |= _check_in_turn(run, left, time.monotonic() + run.check_s)
    else:
        run.say("selftest  done before with these kernels, this card and driver")
    wrong = {name: verdict for name, verdict in found.items() if verdict.startswith(FAILED)}
    unchecked = tuple(name for name in needed if name not in found)
    for name, verdict in wrong.items():
        run.say(f"selftest  {name} is not measured: {verdict}")
    if unchecked:
        run.say(f"selftest  not checked in time, measured unchecked: {', '.join(unchecked)}")
    return wrong, unchecked


def _check_in_turn(run: Campaign, left: list[str], until: float) -> dict[str, str]:
    """Verdicts by variant. While there is time, `selftest` starts again without the variant that ended it.

    It records each verdict at once, so if it ends early, the first variant without one is the cause.
    """
    found: dict[str, str] = {}
    for _ in range(_MOST_CRASHES):
        if not left or until - time.monotonic() < _LEAST_S:
            break
        begin, turn = time.time(), left[0]
        verb = ["selftest", "--backend", run.gpu.own, "--only", ",".join(left)]
        # A device from elsewhere runs kernels on the CPU.
        (ended,) = run_verbs([*verb, *(["--small"] if run.gpu.simulated else [])], until=until)
        checked = _verdicts(run)
        found |= {name: str(checked.kernels[name]["found"]) for name in left if name in checked.kernels}
        left = [name for name in left if name not in found]
        if ended.status in (0, 1, 2):  # it ended by itself
            if ended.status == 1 and left and turn in found:
                continue  # a kernel lost the device, which its verdict says; the others go on without it
            run.say(f"selftest  {ended.how}")
            break
        if not left or not checked.path.exists():  # the cache cannot be written: whose turn is not known
            break
        since_s = time.time() - max(begin, checked.path.stat().st_mtime)
        if ended.status is None and since_s < _HUNG_S:
            break  # nothing is wrong with it, its turn came late
        # It ended the check, or will not end. Not kept for the next run: it may have been the machine.
        hung = f"its check had not ended after {since_s:.0f} s"
        found[left[0]] = FAILED + (hung if ended.status is None else ended.how)
        left = left[1:]
    return found


def _calibrate(run: Campaign) -> str:
    """Calibrate the sensor on the sentinel's layer unless that was done; why not, where it failed."""
    kept, own = bring_calibration(_folders(run), run.gpu.uuid, run.gpu.driver), run.out / "calibration.json"
    if _usable(run, kept):
        run.say("calibrate done before on this card under this driver")
        files.replace_file(own, kept.read_bytes())
        return ""
    until = time.monotonic() + run.check_s
    source = run.meter.partition("+")[0]
    if source not in _SOURCES and not run.gpu.simulated:
        return f"the meter is {run.meter}, which has no noise of its own"
    run.say(f"calibrate at most {run.check_s:.0f} s …")
    verb = ["calibrate", "--brief", "--backend", run.gpu.own, "--layer", str(run.stages.sentinel.layer)]
    left_s = max(1.0, until - time.monotonic() - _CLOSING_S)
    (ended,) = run_verbs([*verb, "--meter", source, "--time-budget", f"{left_s:.0f}s"], until=until)
    if _usable(run, kept):
        run.say(f"calibrate kept as {kept}")
        files.replace_file(own, kept.read_bytes())
        return ""
    run.say(f"calibrate none ({ended.how}): the spread of visits begins with what is known of other cards")
    return ended.how


def _usable(run: Campaign, path: Path) -> bool:
    """Whether a sweep can start from that calibration; one that cannot be read is removed."""
    try:
        if path.is_file():
            calibration.kept_pool(path)
    except UserError as error:
        run.say(f"calibrate {error}: it is made again")
        path.unlink()
    return path.is_file()


def bring_calibration(folders: Iterable[Path], uuid: str, driver: str) -> Path:
    """Where the calibration of this card and driver is kept; one from an earlier run is copied there first.

    Args:
        folders: of earlier runs.
        uuid: of the card.
        driver: of the card.
    """
    kept = calibration.path_of(uuid, driver)
    for beside in _beside(folders, "calibration*.json"):
        with contextlib.suppress(UserError, OSError):  # it can be made again
            found = {} if kept.is_file() else files.read_json_object(beside) or {}
            if (found.get("device_uuid"), found.get("driver")) == (uuid, driver):
                kept.parent.mkdir(parents=True, exist_ok=True)
                files.replace_file(kept, beside.read_bytes())
    return kept


def bring_checked(
    folders: Iterable[Path], uuid: str, driver: str, sources: Mapping[str, str]
) -> CachedVerdicts:
    """The verdicts on kernels on this card and driver; those of earlier runs are kept here from now on.

    Args:
        folders: of earlier runs.
        uuid: of the card.
        driver: of the card.
        sources: SHA-256 of each present kernel source.
    """
    checked = CachedVerdicts.read(path_of("cuda", uuid, driver), uuid, driver)
    for beside in _beside(folders, "selftest*.json"):
        there = CachedVerdicts.read(beside, uuid, driver)
        new = set(there.known(sources, small=True)) - set(checked.known(sources, small=True))
        checked.kernels.update({name: there.kernels[name] for name in new})
    if checked.kernels:
        checked.save()
    return checked


def _beside(folders: Iterable[Path], pattern: str) -> Iterator[Path]:
    for folder in dict.fromkeys(folders):
        yield from sorted(folder.glob(pattern))
