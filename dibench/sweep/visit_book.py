"""The visits of a sweep: one line of `visits.jsonl` each, and the rows of the table that they make.

Visits of a case, and what repeats tell of leakage and spread, are of one card each: sensors differ.

The lines are what was measured; rows follow from them. A case's visits are minutes apart, so a sweep may end
between them: its next command makes those that are missing. And what all visits together tell of temperature
and repeats is better known at the end than on the way, so rows are stated again when a command ends.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench import files
from dibench.errors import UserError
from dibench.intervals import Part
from dibench.measure import stays
from dibench.measure.budget import BETWEEN, Pool
from dibench.measure.stays import Stay
from dibench.sweep import record

if TYPE_CHECKING:
    from dibench.plan import Case

GAP_BOUND_S = 50e-6
"""A launch costs the GPU a microsecond or two beside the kernel: below this that is over two percent."""

SENTINELS = "sentinels"


class VisitBook:
    """All visits so far, open for appending; under the directory's lock only."""

    def __init__(self, path: Path, priors: Mapping[str, Part]) -> None:
        """Read what earlier commands wrote, without a torn last line.

        Args:
            path: of the file; made if needed.
            priors: what is known of the spread between visits of a device, by UUID, before any was made here.

        Raises:
            UserError: the file cannot be written, or a line is none of ours.
        """
        self._file = record.GrowingFile(path)
        self._priors = priors
        self._pools: dict[str, Pool] = {}
        self._of_case: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        try:
            self._read(path)
        except BaseException:
            self._file.close()
            raise

    def _read(self, path: Path) -> None:
        with files.explained(path):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                rule = "is not a visit of this version of dibench: take another --out, or --fresh"
                raise UserError(f"line {number}", rule, where=path) from None

    def _take(self, visit: dict[str, Any]) -> None:
        visit["stay"] = Stay.from_json(visit["stay"])
        visits, uuid = self._of_case[visit["case_id"]], str(visit["device_uuid"])
        if visits and visits[-1]["device_uuid"] != uuid:
            visits.clear()  # the card was lost: the case began anew on another
        visits.append(visit)
        if uuid not in self._pools:
            self._pools[uuid] = Pool(self._priors.get(uuid, BETWEEN))
        if (energy := visit["stay"].energy) is not None:
            self._pools[uuid].add(visit["group"], energy)

    def add(
        self, case: Case, uuid: str, found: Mapping[str, Any], stay: Mapping[str, Any], took_s: float
    ) -> None:
        """Write a visit down.

        Args:
            case: what was visited.
            uuid: of the device.
            found: the row's cells that are known without other visits.
            stay: `Stay.to_json` of it.
            took_s: seconds of all of it, preparing included.
        """
        visit = {
            "case_id": case.case_id,
            "device_uuid": uuid,
            "group": SENTINELS if case.sentinel else case.case_id,
            "visits": case.visits,
            "instances": case.instances,
            "cells": dict(found),
            "took_s": took_s,
            "stay": dict(stay),
        }
        self._file.append_line(json.dumps(visit, allow_nan=False).encode() + b"\n")
        self._take(visit)

    @property
    def reference_c(self) -> dict[str, float]:
        """The temperature that rows of a device are stated at, by its UUID."""
        stated = {uuid: pool.typical_c() for uuid, pool in self._pools.items()}
        return {uuid: celsius for uuid, celsius in stated.items() if celsius is not None}

    def device(self, case_id: str) -> str:
        """The device that a case is visited on; empty of a case never visited."""
        visits = self._of_case.get(case_id)
        return str(visits[-1]["device_uuid"]) if visits else ""

    def number(self, case_id: str) -> int:
        """Visits of a case so far, on that device."""
        return len(self._of_case.get(case_id, ()))

    def wants_more(self, case_id: str) -> bool:
        """Whether a case was visited, but not as often as planned."""
        visits = self._of_case.get(case_id, [])
        return bool(visits) and len(visits) < int(visits[-1]["visits"])

    def cells(self, case_id: str) -> dict[str, Any] | None:
        """The measured cells of a case's row, by all that is known now; None of a case never visited.

        A row is flagged whose case was not visited as often as planned, and one of a single instance whose
        launches take less than GAP_BOUND_S.
        """
        visits = self._of_case.get(case_id)
        if visits is None:
            return None
        last = visits[-1]
        found = [visit["stay"] for visit in visits]
        row = dict(last["cells"])
        row |= stays.cells(found, self._pools[str(last["device_uuid"])], last["instances"])
        doubts = []
        if len(visits) < last["visits"]:
            doubts.append(f"{len(visits)} of {last['visits']} visits")
        if last["instances"] == 1 and row["time_s"] < GAP_BOUND_S:
            doubts.append("gap_bound: a launch is so short that the gap to the next one counts")
        if doubts:
            row |= {"status": "flagged", "reason": "; ".join(filter(None, (*doubts, row["reason"])))}
        return row

    def close(self) -> None:
        """Leave a file of whole lines, on the disk."""
        self._file.close()
