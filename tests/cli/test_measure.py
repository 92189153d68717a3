"""The verb `measure`: one layer here, and PyTorch's beside it where that works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import types

import pytest

from dibench.backends import DeviceError
from dibench.cli import main
from dibench.errors import OutOfMemoryError

LAYER = "N=1,C=8,H=8,W=8,K=8,R=1,S=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("memory", "4 GB asked, 1 GB free"), DeviceError("CUDA, run: misaligned address")],
)
def test_ours_is_shown_whatever_becomes_of_the_peer(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(layer: object) -> None:
        raise error

    peer = types.ModuleType("dibench.backends.torch")
    peer.TorchLayer = fails  # type: ignore[attr-defined]  # a stand-in for the module
    monkeypatch.setitem(sys.modules, "dibench.backends.torch", peer)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    monkeypatch.setattr(sys.modules["dibench.cli.measure"], "_BUDGET_S", 0.1)
    with pytest.raises(SystemExit) as ended:
        main(["measure", LAYER, "--backend", "cpu", "--meter", "none"])
    said = capsys.readouterr().out
    assert not ended.value.code
    assert "pointwise_gemm" in said and "MAC/s" in said
    assert f"PyTorch 2.13.0: {error}" in " ".join(said.split())
