"""The fixture `energy_benchmark`: pytest-benchmark's `benchmark`, then joules of the same call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import pytest

if TYPE_CHECKING:
    from dibench.measure.instrument import Instrument
    from dibench.schema import Row


class EnergyBenchmark:
    """The fixture: pytest-benchmark's `benchmark`, then joules of the same call.

    What it does not define is read from `benchmark` and set there: `group`, `name`, `stats`, `disabled`.
    """

    _OWN = ("benchmark", "_open_instrument", "_limits")

    def __init__(
        self, benchmark: Any, open_instrument: Callable[[], Instrument], limits: Mapping[str, float]
    ) -> None:
        """Wrap pytest-benchmark's fixture."""
        self.benchmark = benchmark
        self._open_instrument = open_instrument
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        """An attribute of `benchmark`."""
        if name in self._OWN:  # not set yet, as while it is copied
            raise AttributeError(name)
        return getattr(self.benchmark, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of `benchmark`, such as `group`."""
        if name in self._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.benchmark, name, value)

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Benchmark `function(*args, **kwargs)`, meter it, and return its result."""
        result = self.benchmark(function, *args, **kwargs)
        self._finish(_Rounds(function, args, kwargs))
        return result

    def pedantic(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        """Like `benchmark.pedantic`.

        A meter is too slow to be read around single calls. So calls are metered together with their `setup`
        and `teardown`, then these alone, and the difference is the call's.
        """
        result = self.benchmark.pedantic(
            target, args=args, kwargs=kwargs, setup=setup, teardown=teardown, **options
        )
        rounds = _Rounds(target, args, kwargs or {}, setup, teardown)
        self._finish(rounds, rounds.without_target() if setup or teardown else None)
        return result

    def weave(self, *_: Any, **__: Any) -> None:
        """Refused: the woven function is called by the code under test, where no window can begin.

        Raises:
            ValueError: always.
        """
        raise ValueError("energy_benchmark.weave: a woven call cannot be metered; benchmark.weave times it")

    patch = weave

    def launches(self, launch: Callable[[int], float], rounds: int = 5) -> None:
        """Benchmark something that times itself: `launch(n)` runs n times and returns the seconds of all."""
        self.benchmark.pedantic(launch, args=(1,), rounds=rounds, warmup_rounds=1)
        self._finish(launch)

    def _finish(self, launch: Callable[[int], float], beside: Callable[[int], float] | None = None) -> None:
        if self.disabled:
            return
        self.extra_info.update(self._metered(launch, beside))
        self._check()

    def _metered(
        self, launch: Callable[[int], float], beside: Callable[[int], float] | None
    ) -> dict[str, Any]:
        """What the meter read of one call; what `beside` takes is not the call's."""
        instrument = self._open_instrument()
        source = instrument.meter.source
        if source == "none":
            return {"energy_source": "none"}
        row = instrument.measured(_Calls(launch))
        if row.energy_j is not None and beside is not None:
            row = _difference(row, instrument.measured(_Calls(beside)))
        if row.energy_j is None:
            return {"energy_source": "none", "energy_reason": row.reason or "the meter read nothing"}
        names = ("energy_j", "energy_ci_j", "energy_above_idle_j", "energy_above_active_idle_j", "power_w")
        known = {name: cell for name in names if (cell := getattr(row, name)) is not None}
        reason = {"energy_reason": row.reason} if row.reason else {}
        counted = {"energy_windows": row.windows, "energy_calls": row.launches}
        return {"energy_source": source, **known, **counted, **reason}

    def _check(self) -> None:
        mean_s = float(self.benchmark.stats.stats.mean)
        limit_s, limit_j = self._limits.get("time_s"), self._limits.get("energy_j")
        if limit_s is not None and mean_s > limit_s:
            pytest.fail(f"energy_limit: {mean_s:.4g} s a call, at most {limit_s:g} s", pytrace=False)
        if limit_j is None:
            return
        if "energy_j" not in self.extra_info:
            why = self.extra_info.get("energy_reason") or "no sensor"
            pytest.skip(f"energy_limit: not checked, energy_source=none ({why})")
        energy_j, ci_j = self.extra_info["energy_j"], self.extra_info.get("energy_ci_j") or 0.0
        if energy_j - ci_j > limit_j:
            interval = f" ± {ci_j:.2g}" if ci_j else ""
            said = f"{energy_j:.4g}{interval} J a call ({self.extra_info['energy_source']})"
            pytest.fail(f"energy_limit: {said}, at most {limit_j:g} J", pytrace=False)


@attrs.frozen
class _Calls:
    """A callable in the form that a meter's windows launch."""

    launch: Callable[[int], float]
    counts: Mapping[str, int] = {}
    cells: Mapping[str, Any] = {}

    def close(self) -> None:
        """Nothing to release."""


@attrs.frozen
class _Rounds:
    """Calls of a function one after the other, each between set-up and tear-down; gives their seconds."""

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    setup: Callable[[], Any] | None = None
    teardown: Callable[..., Any] | None = None

    def __call__(self, times: int) -> float:
        target, args, kwargs = self.target, self.args, self.kwargs
        begin = time.perf_counter()
        for _ in range(times):
            if self.setup is not None:
                args, kwargs = self.setup() or (self.args, self.kwargs)
            target(*args, **kwargs)
            if self.teardown is not None:
                self.teardown(*args, **kwargs)
        return time.perf_counter() - begin

    def without_target(self) -> _Rounds:
        """The same rounds, with nothing called in them."""
        return attrs.evolve(self, target=lambda *_, **__: None)


def _difference(whole: Row, beside: Row) -> Row:
    """What the call itself takes: a round with it, less a round without."""
    if beside.energy_j is None or whole.energy_j is None:
        return attrs.evolve(
            whole, energy_j=None, reason=f"set-up alone: {beside.reason or 'nothing was read'}"
        )
    energy_j = whole.energy_j - beside.energy_j
    known = whole.energy_ci_j is not None and beside.energy_ci_j is not None
    ci_j = math.hypot(whole.energy_ci_j or 0.0, beside.energy_ci_j or 0.0)
    reasons = [one.reason for one in (whole, beside) if one.reason]
    if energy_j <= ci_j:
        share = f"{whole.energy_j:.3g} J with the call, {beside.energy_j:.3g} J without, ±{ci_j:.2g} J"
        return attrs.evolve(whole, energy_j=None, reason=f"set-up and tear-down take nearly all: {share}")
    above = {
        name: getattr(whole, name) - getattr(beside, name)
        for name in ("energy_above_idle_j", "energy_above_active_idle_j")
        if None not in (getattr(whole, name), getattr(beside, name))
    }
    return attrs.evolve(
        whole,
        energy_j=energy_j,
        energy_ci_j=ci_j if known else None,
        power_w=None,  # that of a difference is none that anything drew
        reason="; ".join(reasons),
        **above,
    )
