"""What the selftest found of each kernel on a device, cached so that nothing is checked twice.

A verdict counts for the kernel source, the device, the driver and the compiler that it was found with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files
from dibench.elsewhere import is_elsewhere
from dibench.errors import UserError
from dibench.kernels import compilers, kernel_shas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.backends import Backend
    from dibench.check.selftest import KernelVerdict

RIGHT, NOT_HERE, FAILED = "right", "not for this GPU", "failed: "
"""Verdicts; the last one is followed by what is wrong."""


@attrs.frozen
class CachedVerdicts:
    """The verdicts in one file."""

    path: Path
    device_uuid: str
    driver: str
    kernels: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """By variant: the verdict `found`, and what it is of: `source` (SHA-256), `compiler`, `small`."""

    @classmethod
    def read(cls, path: Path, device_uuid: str, driver: str) -> CachedVerdicts:
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


@attrs.define
class RunVerdicts:
    """The verdicts of one run, and those that the cache has of earlier ones.

    They are written after each variant: if a kernel crashes or hangs the program, the file shows which.
    """

    checked: CachedVerdicts
    sources: dict[str, str]
    """SHA-256 of each variant's source."""
    compiler: str
    small: bool
    json_file: Path | None
    found: dict[str, str] = attrs.field(factory=dict)
    left: list[str] = attrs.field(factory=list)
    device_lost: bool = False

    @classmethod
    def of(cls, backend: str, opened: Backend | None, *, small: bool, json_file: Path | None) -> RunVerdicts:
        """Those of a backend on its device.

        Args:
            backend: its name.
            opened: None for the harness, which has no device.
            small: whether only the smallest layers are checked.
            json_file: written after each variant; None where no file is wanted.
        """
        device = opened.device() if opened else None
        facts = device.facts if device else {}
        uuid, driver = device.uuid if device else "", str(facts.get("driver") or "")
        kernels = "cuda" if is_elsewhere(backend) else backend
        checked = CachedVerdicts.read(path_of(kernels, uuid, driver), uuid, driver)
        compiler = " ".join(str(facts[key]) for key in ("compiler", "isa") if key in facts)
        sources = dict(kernel_shas("cpu" if backend == "cpu" else "cuda"))
        return cls(checked, sources, compiler, small, json_file)

    def right_before(self) -> set[str]:
        """Variants that an earlier run found right: same source, compiler, device and driver."""
        known = self.checked.known(self.sources, self.compiler, small=self.small)
        return {name for name, found in known.items() if found == RIGHT}

    def begin(self, names: Sequence[str]) -> None:
        """These variants are about to be checked, in this order."""
        self.left = list(names)
        self._write()

    def add(self, verdict: KernelVerdict) -> None:
        """A variant has been checked."""
        found = FAILED + verdict.failure if verdict.failure else RIGHT if verdict.cases else NOT_HERE
        self._note(verdict.variant, found)

    def lost(self, why: str) -> None:
        """The variant being checked lost the device; nothing after it can be checked."""
        self.device_lost = True
        self._note(self.left[0], f"{FAILED}the device is lost: {why}")

    def _note(self, name: str, found: str) -> None:
        self.left.remove(name)
        self.found[name] = found
        self.checked.note(name, found, self.sources[name], self.compiler, small=self.small)
        self._write()

    def as_json(self) -> dict[str, Any]:
        """Plain values: what was found so far, and what is being checked."""
        told = {"complete": not self.left, "variants": self.found, "lost": self.device_lost}
        turn = {"checking": self.left[0]} if self.left and not self.device_lost else {}
        return told | turn

    def _write(self) -> None:
        if self.json_file is not None:
            files.write_json(self.json_file, self.as_json())
