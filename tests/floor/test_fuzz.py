"""A short seeded run of what `scripts/fuzz.py` does for hours: no traceback, no hang."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, mutated, seeds

from dibench.errors import UserError

RUNS = {
    "plan": 60, "csv": 60, "header": 300, "dataset": 60, "command": 40,
    "layer": 300, "formula": 300, "json": 60, "onnx": 60,
}  # fmt: skip
LONGEST_S = 30


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def expired(number: int, frame: object) -> None:
        raise TimeoutError(f"hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_mutations_of_real_input_end_well_or_in_one_line(target: str, tmp_path: Path) -> None:
    source, known, refused = random.Random(2008_02565), seeds(target), 0
    for data in known:
        with contextlib.suppress(UserError):  # a plan for GPUs
            TARGETS[target](data, tmp_path)
    for _ in range(RUNS[target]):
        data = mutated(source, known)
        try:
            with at_most(LONGEST_S):
                TARGETS[target](data, tmp_path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error}, of {data!r}") from error
    assert target in ("header", "dataset", "command") or refused > RUNS[target] / 10, (
        "mutations must reach the rules"
    )
