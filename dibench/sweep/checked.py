"""What the selftest found of each kernel on a device, cached so that nothing is checked twice.

A verdict counts for the kernel source, the device, the driver and the compiler that it was found with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from dibench import files
from dibench.errors import UserError
from dibench.kernels import compilers

RIGHT, NOT_HERE, FAILED = "right", "not for this GPU", "failed: "
"""Verdicts; the last one is followed by what is wrong."""


@attrs.frozen
class Checked:
    """The verdicts in one file."""

    path: Path
    device_uuid: str
    driver: str
    kernels: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """By variant: the verdict `found`, and what it is of: `source` (SHA-256), `compiler`, `small`."""

    @classmethod
    def read(cls, path: Path, device_uuid: str, driver: str) -> Checked:
        """The verdicts on a device under a driver; none if there is no file, or it is of another."""
        checked = cls(path, device_uuid, driver)
        with contextlib.suppress(UserError):
            found = files.read_json_object(path) or {}
            kernels = found.get("kernels")
            if (found.get("device_uuid"), found.get("driver")) == (device_uuid, driver) and isinstance(
                kernels, dict
            ):
                checked.kernels.update({name: one for name, one in kernels.items() if isinstance(one, dict)})
        return checked

    def known(self, sources: Mapping[str, str], compiler: str = "", *, small: bool = False) -> dict[str, str]:
        """The verdict of each variant whose source is still this one.

        Args:
            sources: SHA-256 by variant.
            compiler: only of kernels that it made; empty: whatever made them.
            small: whether the smallest layers are enough.
        """
        return {
            name: str(self.kernels[name].get("found"))
            for name, source in sources.items()
            if name in self.kernels
            and self.kernels[name].get("source") == source
            and (not compiler or self.kernels[name].get("compiler") == compiler)
            and (small or not self.kernels[name].get("small"))
        }

    def note(self, name: str, found: str, source: str, compiler: str = "", *, small: bool = False) -> None:
        """Add a verdict, and save."""
        self.kernels[name] = {"found": found, "source": source, "compiler": compiler, "small": small}
        self.save()

    def save(self) -> None:
        """Write the file; where it cannot be written, nothing is kept."""
        with contextlib.suppress(OSError, UserError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(self.path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"device_uuid": self.device_uuid, "driver": self.driver, "kernels": self.kernels}


def path_of(backend: str, device_uuid: str, driver: str) -> Path:
    """Where the verdicts of a device under a driver are kept.

    Args:
        backend: `cpu`, `host` or `cuda`, whose kernels they are of.
        device_uuid: may be empty, as is a harness's.
        driver: likewise.
    """
    name = "-".join(filter(None, (backend, device_uuid, driver))).replace("/", "_")
    return compilers.cache_directory() / "selftest" / f"{name}.json"
