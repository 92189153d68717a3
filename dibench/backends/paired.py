"""Our kernels and PyTorch's library on one GPU, in one process under one meter: `cuda+torch`.

Each case goes to the backend it is planned for, so both stand in one table and share baselines, temperature
history and the pool of repeats. Each gives all its memory back when a case closes, so that the other's next
case finds it. Where PyTorch cannot be used, its cases are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import attrs

from dibench.backends.cuda import CudaBackend
from dibench.backends.torch_library import TorchBackend
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.backends.base import Backend, Device, Prepared
    from dibench.plan import Case


class PairedBackend:
    """The GPU, by our kernels and by the library."""

    name = "cuda"

    def __init__(self, ours: Backend, theirs: Backend | UserError) -> None:
        self._ours, self._theirs = ours, theirs

    @classmethod
    def open(cls) -> PairedBackend:
        """Both, or ours alone where PyTorch does not see this GPU.

        Raises:
            UserError: our kernels cannot run here; the message names the remedy.
        """
        ours = CudaBackend.open()
        theirs: Backend | UserError
        try:
            opened = TorchBackend.open()
            theirs, seen = opened, opened.device().name
            if seen != ours.device().name:
                theirs = UserError("torch", f"must see {ours.device().name}", seen)
        except UserError as error:
            theirs = error
        except (ImportError, OSError, RuntimeError) as error:  # a broken installation is no reason to stop
            theirs = UserError("torch", f"cannot be used: {type(error).__name__}: {error}"[:200])
        return cls(ours, theirs)

    def device(self) -> Device:
        """The GPU; its facts name the library, or why there is none."""
        device = self._ours.device()
        if isinstance(self._theirs, UserError):
            return attrs.evolve(device, facts={**device.facts, "torch": str(self._theirs)})
        return attrs.evolve(device, facts={**self._theirs.device().facts, **device.facts})

    def peaks(self) -> Mapping[str, float]:
        """Peaks by our anchors."""
        return self._ours.peaks()

    def busy(self) -> AbstractContextManager[None]:
        """Our filler, whichever backend is next."""
        return self._ours.busy()

    def prepare(self, case: Case) -> Prepared:
        """Prepare a case by the backend it is planned for.

        Raises:
            UserError, OutOfMemoryError, DeviceFaultError: as that one; PyTorch cannot be used.
        """
        if case.backend != "torch":
            return self._ours.prepare(case)
        if isinstance(self._theirs, UserError):
            raise self._theirs
        return self._theirs.prepare(case)  # no filler: it would disturb cuDNN's choice of algorithm

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Prefetch for our kernels; the library needs no compiling."""
        self._ours.prefetch([case for case in cases if case.backend != "torch"])
