"""What a campaign looks at before it measures: doctor, selftest, calibration. None of them ends it.

What needs a context on the GPU runs as a process of its own: idle power is metered before there is any, and
what hangs is ended. A kernel whose check fails is not measured; one whose check did not come in time is, and
that is said; without a calibration the spread of visits begins with what is known of other cards.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.cli import child
from dibench.cli.campaign_view import say
from dibench.errors import UserError
from dibench.sweep.checked import FAILED, NOT_HERE, RIGHT

if TYPE_CHECKING:
    from dibench.cli.campaign_steps import Card
    from dibench.plan.stages import Stages
    from dibench.sweep.earlier import Earlier

SELFTEST, CALIBRATION = "selftest.json", "calibration.json"

_SOURCES = ("nvml_counter", "nvml_power")
_HUNG_S = 20.0
"""All layers of a kernel take about a second: one that took so long when time was up does not end."""
_MOST_CRASHES = 3
_REFUSED = 2  # exit status of what the user can correct
_LEAST_S = 3.0
"""A selftest that is begun with less time checks nothing."""


@attrs.frozen
class Checks:
    """What was found."""

    wrong: Mapping[str, str]
    """By variant that is not measured: what is wrong."""
    unchecked: tuple[str, ...]
    """Variants whose check did not come in time."""
    not_calibrated: str
    """Why there is no calibration; empty where there is one."""


def check(out: Path, card: Card, earlier: Earlier, found: Stages, meter: str, limit_s: float) -> Checks:
    """All three, selftest and calibration at most `limit_s` seconds each."""
    doctor = look(card)
    wrong, unchecked = check_kernels(out, card, earlier, found.variants, limit_s)
    why = calibrate(out, card, earlier, str(found.sentinel.layer), meter, limit_s)
    write(out, card, doctor)
    return Checks(wrong, unchecked, why)


def look(card: Card) -> list[dict[str, Any]]:
    """What doctor finds; what a campaign needs and lacks is said."""
    from dibench.check.doctor import findings

    try:
        found = [attrs.asdict(finding) for finding in findings()]
    except Exception as error:  # whatever it is, measuring may well work
        say(f"doctor    ended: {type(error).__name__}: {error}")
        return []
    missing = [one for one in found if not one["ok"] and one["area"] in ("GPU", "energy", "machine")]
    for one in missing if not card.simulated else ():
        say(f"doctor    {one['what']}: no, {one['seen']}")
    return found


def check_kernels(
    out: Path, card: Card, earlier: Earlier, needed: Sequence[str], limit_s: float
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Selftest of the kernels that are needed, as far as they have not been checked on this card before.

    Args:
        out: of this run; its own `selftest.json` counts too.
        card: the GPU.
        earlier: runs that are resumed, with what they found beside their tables.
        needed: variants in the order in which they are measured.
        limit_s: seconds that it may take.
    """
    from dibench import kernels
    from dibench.sweep.earlier import bring_checked

    sources = kernels.kernel_shas("cuda")
    checked = bring_checked([*earlier.tables, out / SELFTEST], card.uuid, card.driver, sources)
    known = checked.known(sources, small=card.simulated)
    found = {name: known[name] for name in needed if known.get(name) in (RIGHT, NOT_HERE)}
    left = [name for name in needed if name not in found]
    if left:
        say(f"selftest  at most {limit_s:.0f} s …")
        found |= _selftest(card, left, time.monotonic() + limit_s)
    else:
        say("selftest  done before with these kernels, this card and driver")
    wrong = {name: verdict for name, verdict in found.items() if verdict.startswith(FAILED)}
    unchecked = tuple(name for name in needed if name not in found)
    for name, verdict in wrong.items():
        say(f"selftest  {name} is not measured: {verdict}")
    if unchecked:
        say(f"selftest  not checked in time, measured unchecked: {', '.join(unchecked)}")
    return wrong, unchecked


def _selftest(card: Card, left: list[str], until: float) -> dict[str, str]:
    """Verdicts by variant: the verb, begun again without the variant that ended it, while there is time."""
    found: dict[str, str] = {}
    for _ in range(_MOST_CRASHES):
        if until - time.monotonic() < _LEAST_S:
            break
        told, ended, since_s = _told(card, left, until)
        found |= told.get("variants", {})
        left = [name for name in left if name not in found]
        turn = told.get("checking")
        if told.get("lost") and left:  # by a kernel that is known; the others go on without it
            continue
        if turn is None or ended.status == _REFUSED:  # all are done, or it cannot be done here
            say(f"selftest  {ended.how}")
            break
        if ended.status is None and since_s < _HUNG_S:
            break  # nothing is wrong with it but that its turn came late
        # It ended the check, or will not end. Not kept for the next run: it may have been the machine.
        hung = f"its check had not ended after {since_s:.0f} s"
        found[turn] = FAILED + (hung if ended.status is None else ended.how)
        left.remove(turn)
        if not left:
            break
    return found


def _told(card: Card, names: list[str], until: float) -> tuple[dict[str, Any], child.Ended, float]:
    """What the verb wrote down, how it ended, and seconds since it wrote last."""
    from dibench.files import read_json_object

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / SELFTEST
        arguments = ["selftest", "--backend", card.own, "--only", ",".join(names), "--json", str(path)]
        # A device from elsewhere runs kernels on the CPU.
        ended = child.run([*arguments, *(["--small"] if card.simulated else [])], until)
        told: dict[str, Any] = {}
        with contextlib.suppress(UserError):
            told = read_json_object(path) or {}
        since_s = time.time() - path.stat().st_mtime if told else 0.0
    return told, ended, since_s


def calibrate(out: Path, card: Card, earlier: Earlier, layer: str, meter: str, limit_s: float) -> str:
    """Calibrate the sensor on that layer unless that was done; empty, or why there is no calibration."""
    from dibench.sweep.earlier import bring_calibration

    kept = bring_calibration([*earlier.tables, out / CALIBRATION], card.uuid, card.driver)
    if _usable(kept):
        say("calibrate done before on this card under this driver")
        shutil.copyfile(kept, out / CALIBRATION)
        return ""
    why, until = "", time.monotonic() + limit_s
    sources = _SOURCES if meter == "auto" else (meter.partition("+")[0],)
    if not set(sources) <= set(_SOURCES) and not card.simulated:
        return f"the meter is {meter}, which has no noise of its own"
    say(f"calibrate at most {limit_s:.0f} s …")
    for source in sources:
        arguments = ["calibrate", "--brief", "--backend", card.own, "--meter", source, "--layer", layer]
        ended = child.run(arguments, until)
        if _usable(kept):
            say(f"calibrate {ended.how}")
            shutil.copyfile(kept, out / CALIBRATION)
            return ""
        why = why or ended.how
        if ended.status is None:
            break
    say(f"calibrate none ({why}): the spread of visits begins with what is known of other cards")
    return why


def _usable(path: Path) -> bool:
    """Whether a sweep can begin with it; one that it could not read would end it, and is removed."""
    from dibench.measure.calibration import kept_pool

    if not path.is_file():
        return False
    try:
        kept_pool(path)
    except UserError as error:
        say(f"calibrate {error}: it is made again")
        path.unlink()
        return False
    return True


def write(out: Path, card: Card, doctor: list[dict[str, Any]]) -> None:
    """What was checked, beside the table: the verdicts of this card's kernels, and doctor's findings."""
    from dibench.files import write_json
    from dibench.sweep.checked import Checked, path_of

    checked = Checked.read(path_of("cuda", card.uuid, card.driver), card.uuid, card.driver)
    write_json(out / SELFTEST, {**checked.as_json(), "doctor": doctor})
