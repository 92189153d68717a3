"""Devices that run kernels: what measuring asks of them, and how to open one by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.plan import Case

NAMES = ("auto", "cpu")
"""What `--backend` accepts."""

DATA = ("uniform", "normal", "zeros", "low_toggle")
"""Distributions of operand values (they change energy by up to 40%, so every row names its own)."""


@attrs.frozen
class Device:
    """What runs kernels: its model, an identity that outlives reboots, facts for the manifest."""

    name: str
    uuid: str
    facts: Mapping[str, Any]


class Prepared(Protocol):
    """One case on its device: operands in place, ready to launch."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Accesses by data type and executed multiply-adds, per launch and instance."""

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all, by the device's clock."""

    def close(self) -> None:
        """Give the operands' memory back."""


class Backend(Protocol):
    """One device and the kernels written for it."""

    @property
    def name(self) -> str:
        """The `backend` of the rows."""

    def device(self) -> Device:
        """What the kernels run on."""

    def peaks(self) -> Mapping[str, float]:
        """The most it reaches, measured now: `mac_per_s` (MAC/s) and `bytes_per_s` (B/s, reading)."""

    def prepare(self, case: Case) -> Prepared:
        """Put a case's operands in place.

        Raises:
            UserError: the variant's header or the device does not allow the case.
        """


def open_backend(name: str) -> Backend:
    """The backend of that name; `auto` is the best that this machine has.

    Raises:
        UserError: unknown name, or this installation cannot run it; the message says what is missing.
    """
    if name in ("auto", "cpu"):
        from dibench.backends.cpu import CpuBackend

        return CpuBackend()
    raise UserError("--backend", f"must be one of {', '.join(NAMES)}", name)
