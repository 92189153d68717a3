"""`manifest.json`: what was measured, where and with what, and what must not change for a sweep to resume.

Keys: `identity` (what resuming compares), `device` (name, uuid, facts), `devices` (a list, where there are
several), `reference_c` (the temperature that its energies are stated at, where it is visited), `driver`,
`cuda`, `peaks` (of the first device, measured at the beginning and the end, the larger of each: `mac_per_s`,
`bytes_per_s`, of a processor also `scalar_mac_per_s`, `l1_bytes`, `l1_bytes_per_s`, ...), `backend`,
`energy_source`,
`meter` (source, period_s, facts, in_visits), `plan` (name, sha, seed, shard, cases), `settings`,
`noise` (what repeats of the reference case told before the first row, and the target that it allows; null
where that was not measured), `windows` (what rows follow from: the target in force at the end, by how much
visits to each kernel differ, the machine's usual paces, how each kernel follows them), `sources_sha`,
`kernels` (the SHA-256 of each, of a campaign), `versions`, `command_line`, `source_revision`, `started_at`,
`ended_at` (UTC), `rows` (by status, at the end of the last session), `sessions` (one per start of the
program: session, started_at, ended_at, ended, rows, worker_restarts, revisited, came_good, command_line,
source_revision; `ended_at` stays null where the program was killed).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import __version__, files
from dibench.backends import openmp
from dibench.errors import UserError
from dibench.revision import commit_of
from dibench.sweep import record

if TYPE_CHECKING:
    from dibench.measure.pace import Paces
    from dibench.measure.settings import Settings
    from dibench.sweep.job import Sweep
    from dibench.sweep.noise import Noise
    from dibench.sweep.repeats import Repeats
    from dibench.sweep.worker import Setup


_DEVICE_FACTS = {**openmp.IDENTITY, "instruction set": "isa"}


def identity_of(sweep: Sweep, setup: Setup) -> dict[str, Any]:
    """What must be equal for a command to resume a sweep, named in words for the user.

    Args:
        sweep: of the command.
        setup: device and meter.
    """
    facts = setup.device.facts
    return {
        "device": setup.device.name,
        # A processor with half its cores (taskset, a smaller container) counts as another device.
        **{what: facts[key] for what, key in _DEVICE_FACTS.items() if key in facts},
        "backend": sweep.backend,
        "energy source": setup.meter.source,
        "plan": sweep.plan.name,
        "seed": sweep.plan.seed,
        "shard": sweep.plan.shard or None,
        "content of the plan (SHA-256)": sweep.plan.sha[:16],
        "kernel sources (SHA-256)": sweep.sources_sha[:16],
        **{name.replace("_", " "): value for name, value in _in_force(sweep.settings, setup).items()},
    }


def _in_force(settings: Settings, setup: Setup) -> dict[str, Any]:
    """The settings that this meter uses."""
    if setup.meter.in_visits:
        return attrs.asdict(settings.visit)
    unasked = ("visit", "between", "follows", "gives_up")
    return {name: value for name, value in attrs.asdict(settings).items() if name not in unasked}


def refuse_other(out: Path, earlier: Mapping[str, Any] | None, identity: Mapping[str, Any]) -> None:
    """Refuse to resume a sweep that differs, naming what differs and both values."""
    remedy = "take another --out, or --fresh to start over (the old files are renamed)"
    if earlier is None:
        return
    if not is_of_a_sweep(earlier):
        raise UserError("", f"is not the manifest of a sweep: {remedy}", where=out / record.MANIFEST)
    known = earlier["identity"]
    for what, now in identity.items():
        if known.get(what) != now:
            rule = f"was {known.get(what)!r} in the sweep that this directory holds, is {now!r} now: {remedy}"
            raise UserError(what, rule, where=out)


def is_of_a_sweep(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest has what resuming or merging needs."""
    try:
        tables = [manifest["identity"], manifest["meter"], manifest["peaks"], manifest["device"]["facts"]]
        numbers = [manifest["plan"]["cases"], *manifest["peaks"].values()]
        texts = [manifest["started_at"], *(session["session"] for session in manifest["sessions"])]
        texts += [text for device in devices_of(manifest) for text in device]
    except (KeyError, TypeError, AttributeError):
        return False
    kinds = ((tables, dict), (numbers, (int, float)), (texts, str))
    return all(isinstance(value, kind) for values, kind in kinds for value in values)


def devices_of(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and uuid of every device of a sweep."""
    found = manifest.get("devices") or [manifest["device"]]
    return tuple((one["name"], one["uuid"]) for one in found)


def set_aside(out: Path) -> str:
    """Rename an earlier table and manifest, so that --fresh never deletes hours of measuring."""
    if not (out / record.TABLE).exists() and not (out / record.MANIFEST).exists():
        return ""
    moved = ""
    with files.explained(out):
        stamp = free_stamp(out)
        # The table first: a directory with only a manifest can resume, one with only a table cannot.
        for name in (record.TABLE, record.VISITS, record.KEPT, record.MANIFEST):
            stem, _, suffix = name.partition(".")
            with contextlib.suppress(FileNotFoundError):
                aside = out / f"{stem}-until-{stamp}.{suffix}"
                (out / name).rename(aside)
                moved = moved or aside.name
    return moved


def free_stamp(out: Path) -> str:
    """The time now, as a part of names that no file there has yet."""
    stamp = utc_now().replace(":", "").replace("-", "")
    while any(out.glob(f"*-{stamp}.*")):  # the clock was set back, or it is the same second
        stamp += "+"
    return stamp


class Manifest:
    """The manifest of a running sweep; `save` and `end` write it."""

    def __init__(
        self,
        out: Path,
        earlier: dict[str, Any] | None,
        identity: dict[str, Any],
        sweep: Sweep,
        setups: Sequence[Setup],
        peaks: Mapping[str, Any],
        held: Callable[[], object] = lambda: None,
    ) -> None:
        """Describe this session; nothing is written yet.

        Args:
            out: the sweep's directory.
            earlier: the manifest that lies there, of a sweep that this one continues.
            identity: see `identity_of`.
            sweep: what is measured.
            setups: the devices that are there, with their meters.
            peaks: of the first device.
            held: raises ChangedError where the directory's lock is not held any more.

        Raises:
            UserError: there is a table, but no manifest says what it holds.
        """
        if earlier is None and (out / record.TABLE).exists():
            rule = f"has no {record.MANIFEST} beside it: take another --out, or --fresh to start over"
            raise UserError("", rule, where=out / record.TABLE)
        sessions = earlier["sessions"] if earlier else []
        self._path, self._held = out / record.MANIFEST, held
        self._session = _new_session(sessions, sweep.command_line)
        self.session: str = self._session["session"]
        self.energy_source = setups[0].meter.source
        self._devices: dict[str, dict[str, Any]] = {}
        if earlier:
            one = {**earlier["device"], "meter": earlier["meter"], "reference_c": earlier.get("reference_c")}
            self._devices = {each["uuid"]: each for each in earlier.get("devices") or [one]}
        self._data: dict[str, Any] = {
            "identity": identity,
            "driver": setups[0].device.facts.get("driver"),
            "cuda": setups[0].device.facts.get("cuda"),
            "peaks": dict(peaks),
            "energy_source": self.energy_source,
            "meter": attrs.asdict(setups[0].meter),
            "noise": earlier.get("noise") if earlier else None,
            "windows": earlier.get("windows") if earlier else None,
            **_described(sweep),
            "source_revision": self._session["source_revision"],
            "started_at": earlier["started_at"] if earlier else self._session["started_at"],
            "ended_at": None,
            "rows": {},
            "sessions": [*sessions, self._session],
        }
        self.note_devices(setups)

    @property
    def peaks(self) -> Mapping[str, float]:
        """Of the first device; empty where they could not be measured."""
        return dict(self._data["peaks"])

    def raise_peaks(self, found: Mapping[str, float]) -> None:
        """Keep the larger of each peak: a disturbance lowers what is measured, nothing raises it."""
        peaks = self._data["peaks"]
        peaks.update({name: max(value, peaks.get(name, value)) for name, value in found.items()})

    def save(self) -> None:
        """Replace the file.

        Raises:
            UserError: it cannot be written, or another sweep may write here.
        """
        self._held()
        files.write_json(self._path, self._data)

    def note_devices(self, setups: Sequence[Setup]) -> None:
        """Note devices that measure in this session, beside those of earlier ones.

        Where all rows are of one device, `device` says it; of several `devices` is the list.
        """
        for each in setups:
            uuid = each.device.uuid
            stated = self._devices.get(uuid, {}).get("reference_c")
            self._devices[uuid] = {
                **attrs.asdict(each.device),
                "meter": attrs.asdict(each.meter),
                "reference_c": stated,
            }
        self._describe_devices()

    def add_device(self, setup: Setup) -> None:
        """Save a device that joined while others measured, before it has a row."""
        self.note_devices([setup])
        self.save()

    def state_at(self, reference_c: Mapping[str, float], counter_over_power: Mapping[str, float]) -> None:
        """Note of each device what the rows of all sessions follow from.

        Args:
            reference_c: the temperature at which energies are stated.
            counter_over_power: what its two estimators differ by at all visits, told in its meter's facts.
        """
        for uuid, celsius in reference_c.items():
            if uuid in self._devices:
                self._devices[uuid]["reference_c"] = celsius
        for uuid, ratio in counter_over_power.items():
            if uuid in self._devices:
                for meter in (self._devices[uuid]["meter"], self._data["meter"]):
                    if meter["facts"].get("uuid") == uuid:
                        meter["facts"]["counter_over_power"] = ratio
        self._describe_devices()

    def state_windows(self, target: float, repeats: Repeats, usual_pace_s: Paces) -> None:
        """Note what the rows of all sessions follow from where windows are measured.

        Args:
            target: relative half-width up to which rows are `ok`.
            repeats: by how much visits differ, and how kernels follow the machine's pace.
            usual_pace_s: of the machine, also where it has one pace only; empty where it is not known.
        """
        self._data["windows"] = {
            "target": target,
            "visits_differ_by": dict(sorted(repeats.between.items())),
            "usual_pace_s": list(usual_pace_s),
            "pace": {variant: attrs.asdict(one) for variant, one in sorted(repeats.follows.items())},
        }

    def _describe_devices(self) -> None:
        first, *others = self._devices.values()
        self._data["reference_c"] = first["reference_c"]
        self._data["device"] = {key: first[key] for key in ("name", "uuid", "facts")}
        if others:
            self._data["devices"] = [first, *others]

    @property
    def noise(self) -> Mapping[str, Any] | None:
        """Of the machine, as measured before the first row; None where it was not."""
        noise: Mapping[str, Any] | None = self._data["noise"]
        return noise

    def note_noise(self, noise: Noise) -> None:
        """Save the noise, before the first row that aims at what it allows."""
        self._data["noise"] = attrs.asdict(noise)
        self.save()

    def end(self, ended: str, statuses: Mapping[str, int], **facts: float | None) -> None:
        """Save how the session ended, with those further facts of it that are known."""
        now = utc_now()
        known = {name: value for name, value in facts.items() if value is not None}
        self._session |= {"ended_at": now, "ended": ended, **known}
        self._data |= {"ended_at": now, "rows": dict(statuses)}
        self.save()


def _new_session(sessions: Sequence[Mapping[str, Any]], command_line: Sequence[str]) -> dict[str, Any]:
    now = utc_now()
    name = f"{now.replace(':', '').replace('-', '')}-{os.getpid()}"
    while any(name == each["session"] for each in sessions):
        name += "+"  # the clock was set back, in a container whose process ids repeat
    return {
        "session": name,
        "started_at": now,
        "ended_at": None,
        "ended": None,
        "command_line": list(command_line),
        "source_revision": source_revision(),
    }


def _described(sweep: Sweep) -> dict[str, Any]:
    """What is measured, with what, by which command."""
    plan = sweep.plan
    return {
        "backend": sweep.backend,
        "plan": {
            "name": plan.name,
            "sha": plan.sha,
            "seed": plan.seed,
            "shard": plan.shard or None,
            "cases": len(plan.cases),
        },
        "settings": attrs.asdict(sweep.settings),
        "sources_sha": sweep.sources_sha,
        "kernels": dict(sweep.kernel_shas),
        "versions": {
            "dibench": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "command_line": list(sweep.command_line),
    }


def source_revision() -> str | None:
    """The commit of the checkout that this program runs from, with `+` if files changed; None without one."""
    return commit_of(Path(__file__))


def utc_now() -> str:
    """The time now, as table and manifest write it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
