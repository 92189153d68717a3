"""`dibench.energy`: the joules of one's own code, as a block or as a decorator."""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

import attrs

from dibench.api.shown import Shown
from dibench.api.words import errors_in_python
from dibench.errors import UserError
from dibench.measure import own_code

if TYPE_CHECKING:
    from types import TracebackType

    from dibench.meters.spans import SpanMeter
    from dibench.show.blocks import Block

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@attrs.define(eq=False, repr=False)
class Spent(Shown):
    """What one block spent; filled when it ends.

    Joules are gross, and of the whole device: the processors with their memory, or the GPU.
    """

    name: str
    time_s: float | None = None
    """Seconds; None while the block runs."""
    energy_j: float | None = None
    """None where no sensor told it, and `reason` says why: never a zero, never a model."""
    energy_ci_j: float | None = None
    """Half-width of the interval that the sensor's updates leave at both edges."""
    energy_source: str = "none"
    """`rapl`, `nvml_counter`, `nvml_power` or `none`."""
    reason: str = "has not ended yet"
    """Why there are no joules, or why they are known only roughly; empty where they are good."""
    error: str = ""
    """The exception that ended the block; what was measured until then stands above."""

    @property
    def power_w(self) -> float | None:
        """Mean power."""
        return None if self.energy_j is None or not self.time_s else self.energy_j / self.time_s

    def to_json(self) -> dict[str, Any]:
        """Every figure; what is not known is None."""
        return attrs.asdict(self) | {"power_w": self.power_w}

    def _line(self) -> str:
        from dibench.show import spent

        return spent.in_a_line(self)

    def _blocks(self) -> Sequence[Block]:
        from dibench.show import spent

        return spent.blocks(self)


class Calls(list[Spent], Shown):
    """What each call of a function spent, in the order in which they ended."""

    def __init__(self, name: str) -> None:
        """No call yet."""
        super().__init__()
        self.name = name
        self.overlapped = False
        """Whether calls ran at the same time or inside each other, so that each holds joules of the other."""
        self._lock, self._running = threading.Lock(), 0

    def began(self) -> None:
        """A call begins."""
        with self._lock:
            self._running += 1
            self.overlapped = self.overlapped or self._running > 1

    def ended(self, spent: Spent) -> None:
        """It has ended."""
        with self._lock:
            self._running -= 1
            self.append(spent)

    __repr__ = Shown.__repr__

    @property
    def total(self) -> Spent:
        """All calls together: joules where every call has them and none overlapped; intervals add up."""
        known = [(one.energy_j, one.energy_ci_j or 0.0) for one in self if one.energy_j is not None]
        lost = len(self) - len(known)
        made = Spent(self.name, time_s=math.fsum(one.time_s or 0.0 for one in self), reason="")
        if lost or not self:
            why = next((one.reason for one in self if one.energy_j is None), "not called yet")
            made.reason = f"{lost} of {len(self)} calls have none: {why}" if lost < len(self) else why
            return made
        if self.overlapped:
            made.reason = "calls overlapped, so each holds joules of others; meter a block around them all"
            return made
        made.energy_j = math.fsum(joules for joules, _ in known)
        made.energy_ci_j = math.fsum(width for _, width in known)
        made.energy_source = self[0].energy_source
        return made

    def to_json(self) -> dict[str, Any]:
        """The total, and every call."""
        return {"total": self.total.to_json(), "calls": [one.to_json() for one in self]}

    def _line(self) -> str:
        from dibench.show import spent

        return spent.calls_in_a_line(self.total, self)

    def _blocks(self) -> Sequence[Block]:
        from dibench.show import spent

        return spent.calls(self.total, self)


class MeteredFunction(Protocol, Generic[P, R_co]):
    """A decorated function: called as before, and `spent` has what each call took."""

    spent: Calls

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method, bound to its object."""


@attrs.frozen
class _Open:
    """A block that runs."""

    spent: Spent
    meter: SpanMeter
    mark: Any


class Energy:
    """Made by `energy`: a context manager that may be entered again, and a decorator."""

    def __init__(self, name: str, meter: str, device: str) -> None:
        own_code.check(device, meter)
        self._name, self._meter, self._device = name, meter, device
        self._entered = threading.local()  # blocks of one thread end in the reverse order

    def __enter__(self) -> Spent:
        """Begin; the result is filled when the block ends."""
        opened = self._begin(self._name)
        self._blocks_here().append(opened)
        return opened.spent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """End; an exception goes on, and what was measured stays."""
        self._end(self._blocks_here().pop(), error)

    def __call__(self, function: Callable[P, R]) -> MeteredFunction[P, R]:
        """A function that meters each of its calls."""
        kinds: dict[Callable[[object], bool], str] = {
            inspect.iscoroutinefunction: "a coroutine",
            inspect.isasyncgenfunction: "an asynchronous generator",
            inspect.isgeneratorfunction: "a generator",
        }
        for is_kind, what in kinds.items():
            if is_kind(function):
                rule = f"cannot be {what}: other code runs between its parts; meter a block inside it"
                raise UserError("energy", rule, function.__name__)
        name = self._name or function.__qualname__
        spent = Calls(name)

        @functools.wraps(function)
        def metered(*args: P.args, **kwargs: P.kwargs) -> R:
            opened = self._begin(name)
            spent.began()
            error: BaseException | None = None
            try:
                return function(*args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                try:
                    self._end(opened, error)
                finally:
                    spent.ended(opened.spent)

        metered.spent = spent  # type: ignore[attr-defined]  # a function with one more attribute
        return metered  # type: ignore[return-value]

    @errors_in_python
    def _begin(self, name: str) -> _Open:
        meter = own_code.span_meter(self._device, self._meter)
        own_code.wait_for_device(self._device)
        return _Open(Spent(name), meter, meter.begin())

    def _end(self, opened: _Open, error: BaseException | None) -> None:
        spent = opened.spent
        spent.error = "" if error is None else type(error).__name__
        try:
            own_code.wait_for_device(self._device)
        finally:
            found = opened.meter.end(opened.mark)
            spent.time_s, spent.energy_j = found.time_s, found.energy_j
            spent.energy_ci_j, spent.reason = found.energy_ci_j, found.reason
            spent.energy_source = "none" if found.energy_j is None else opened.meter.source

    def _blocks_here(self) -> list[_Open]:
        if not hasattr(self._entered, "blocks"):
            self._entered.blocks = []
        blocks: list[_Open] = self._entered.blocks
        return blocks


@overload
def energy(name: str = "", *, meter: str = "auto", device: str = "cpu") -> Energy: ...


@overload
def energy(name: Callable[P, R]) -> MeteredFunction[P, R]: ...


def energy(name: Any = "", *, meter: str = "auto", device: str = "cpu") -> Any:
    """Meter a block of your own code, or each call of a function, by the machine's own sensor.

    The sensor is opened at the first use and kept. Blocks may nest, overlap and run in several threads: each
    gets all joules of the device while it ran, also those that others spent. On a GPU, work that PyTorch or
    CuPy launched is waited for at both edges; wait yourself for what is launched otherwise.

    Args:
        name: of the block; a function's own by default. `@dibench.energy` alone decorates, too.
        meter: `auto` takes a sensor that works. By name: `rapl`, for a GPU `nvml_counter` or `nvml_power`,
            or `none`; one that is named and refuses is an error.
        device: `cpu`, or `cuda`, or `cuda:1` as CUDA counts GPUs.

    Returns:
        For `with … as spent`: `spent.energy_j`, `.energy_ci_j`, `.time_s`, `.power_w`, `.energy_source`,
        `.reason`. Where no sensor works, or the block is too short for it, `energy_j` is None and `reason`
        says why. A decorated function has `.spent`, the list of its calls, with `.total` and `.summary()`.

    Raises:
        dibench.errors.UserError: no such meter or device; it decorates a generator or a coroutine; the meter
            that is named refuses.

    >>> with energy("sum", meter="none") as spent:
    ...     _ = sum(range(1000))
    >>> spent.energy_j, spent.reason
    (None, 'not asked for')
    >>> @energy("square", meter="none")
    ... def square(x): return x * x
    >>> square(3), len(square.spent)
    (9, 1)
    """
    if callable(name):
        return Energy("", meter, device)(name)
    return Energy(name, meter, device)
