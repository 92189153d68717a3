from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

sources: str
"""SHA-256 of the sources that this build is made of."""

def isas() -> list[str]: ...
def variants() -> list[str]: ...
def vector_lanes(isa: str) -> int: ...
def launch(
    variant: str,
    isa: str,
    layer: Sequence[int],
    box: Sequence[int],
    x: npt.NDArray[np.float32],
    w: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    threads: int = 1,
    launches: int = 1,
) -> float: ...
def scratch_bytes(variant: str, isa: str, layer: Sequence[int], threads: int) -> int: ...
def peak_flops(isa: str, threads: int, seconds: float) -> float: ...
def peak_bandwidth(threads: int, bytes: int, seconds: float) -> float: ...
def counts(
    variant: str,
    isa: str,
    layer: Sequence[int],
    box: Sequence[int],
    x: npt.NDArray[np.float32],
    w: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    threads: int = 1,
) -> dict[str, int]: ...
