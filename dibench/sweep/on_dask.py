"""What runs in a Dask worker: it holds one device for one sweep (`cluster` is the sweep's side).

Requests and answers are JSON, so neither side needs the other's classes.
"""

from __future__ import annotations

import json

from dibench import __version__, kernels
from dibench.errors import UserError
from dibench.measure.settings import Settings
from dibench.sweep.crew import DeviceLostError, LocalDevice, Opening
from dibench.sweep.worker import case_from_json

_held: dict[str, LocalDevice] = {}
"""The device of this Dask worker (one at most), by the client of the sweep that uses it."""


def open_device(request_json: str) -> str:
    """Open the device for a sweep; answers `opened`, its description, or `error`."""
    request = json.loads(request_json)
    here = {"version": __version__, "sources": kernels.sources_sha(request["kernels"])}
    for what, name in (("version", "version of dibench"), ("sources", "kernel sources (SHA-256)")):
        if here[what] != request[what]:
            asked, own = str(request[what])[:16], str(here[what])[:16]
            return json.dumps({"error": f"{name} must be the same as the sweep's: {asked}, is {own}"})
    for client, device in list(_held.items()):
        if client in request["clients"] and client != request["client"]:
            return json.dumps({"error": "measures for another sweep: wait for it, or stop it"})
        del _held[client]
        device.close()  # of a sweep that was killed
    settings = Settings.from_json(request["settings"])
    device = LocalDevice(Opening(request["backend"], request["meter"], settings, request["limit_s"]))
    _held[request["client"]] = device
    try:
        device.open()
    except UserError as error:
        close(request["client"])
        return json.dumps({"error": str(error)})
    return json.dumps({"opened": device.setup.to_json()})


def peaks(client: str) -> str:
    """Measure the device's peaks; answers `peaks` or `error`."""
    try:
        return json.dumps({"peaks": _held[client].peaks()})
    except (UserError, KeyError) as error:
        return json.dumps({"error": str(error)})


def measure(client: str, cases_json: str, settings_json: str) -> str:
    """Measure the first of these cases (the others come next); answers `found`, a CaseResult, or `error`."""
    case, *upcoming = (case_from_json(fields) for fields in json.loads(cases_json))
    if client not in _held:
        return json.dumps({"error": "the worker was restarted"})
    try:
        found = _held[client].measure(case, Settings.from_json(json.loads(settings_json)), upcoming)
    except DeviceLostError as error:
        close(client)
        return json.dumps({"error": str(error)})
    return json.dumps({"found": found.to_json()})


def close(client: str) -> None:
    """Close the device of a sweep at once."""
    device = _held.pop(client, None)
    if device is not None:
        device.close()
