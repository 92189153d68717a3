"""What a selftest found, written after each variant: into the cache and, where wanted, into a file.

If a kernel crashes or hangs the program, the file shows which: the one being checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dibench.elsewhere import is_elsewhere
from dibench.files import write_json
from dibench.kernels import kernel_shas
from dibench.sweep.checked import FAILED, NOT_HERE, RIGHT, Checked, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.backends import Backend
    from dibench.check.selftest import Verdict


@attrs.define
class Verdicts:
    """The verdicts of one run, and those that the cache has of earlier ones."""

    checked: Checked
    sources: dict[str, str]
    """SHA-256 of each variant's source."""
    compiler: str
    small: bool
    json_file: Path | None
    found: dict[str, str] = attrs.field(factory=dict)
    left: list[str] = attrs.field(factory=list)

    @classmethod
    def of(cls, backend: str, opened: Backend | None, *, small: bool, json_file: Path | None) -> Verdicts:
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
        checked = Checked.read(path_of(kernels, uuid, driver), uuid, driver)
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

    def add(self, verdict: Verdict) -> None:
        """A variant has been checked."""
        found = FAILED + verdict.failure if verdict.failure else RIGHT if verdict.cases else NOT_HERE
        self._note(verdict.variant, found)

    def lost(self, why: str) -> None:
        """The variant being checked lost the device; nothing after it can be checked."""
        self._note(self.left[0], f"{FAILED}the device is lost: {why}", lost=True)

    def _note(self, name: str, found: str, *, lost: bool = False) -> None:
        self.left.remove(name)
        self.found[name] = found
        self.checked.note(name, found, self.sources[name], self.compiler, small=self.small)
        self._write(lost=lost)

    def _write(self, *, lost: bool = False) -> None:
        if self.json_file is not None:
            told = {"complete": not self.left, "variants": self.found, "lost": lost}
            turn = {"checking": self.left[0]} if self.left and not lost else {}
            write_json(self.json_file, told | turn)
