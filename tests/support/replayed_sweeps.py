"""Visits to a replayed GPU, computed as arrays: thousands of them take seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt
from replay import HOPPER, REFERENCE_C, Card, Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.intervals import t_975
from dibench.measure.budget import Pool, VisitJoules, combine
from dibench.meters.ticks import MOST_IN_STEP, Power, counter_power, instant_power, sampled, settled

READ_S = 5e-3
VISIT_S, SETTLE_S, LONGEST_SETTLE_S = 3.0, 1.0, 3.0


@attrs.frozen
class Readings:
    """What a visit's readings say, before statistics."""

    launch_s: float
    counter: Power | str
    instant: Power | str
    celsius: float

    def estimate(self, power: Power) -> VisitJoules:
        return VisitJoules(power.power_w * self.launch_s, power.spread, power.tick, self.celsius)


def visit_of(gpu: SimulatedGpu, clock: ReplayedClock, load: Load, rng: np.random.Generator) -> Readings:
    """Filler, settling as the criterion says, then launches that run on for three seconds."""
    card = gpu.card
    with gpu.busy():
        clock.sleep(0.5)
    began = clock.now()
    while True:
        gpu.launch(load, max(1, round((SETTLE_S if clock.now() == began else 0.2) / load.launch_s)))
        t = read_times(began, clock.now(), rng)
        samples = sampled(t, gpu.instants_mw(t) * 1e-3, 0.1)
        if settled(samples) or clock.now() - began >= LONGEST_SETTLE_S:
            break
    begin, begin_c = clock.now(), gpu.temperature_c()
    launches = max(math.ceil(VISIT_S / load.launch_s), 1)
    seconds = gpu.launch(load, launches)
    end, end_c = clock.now(), gpu.temperature_c()
    t = read_times(begin, end, rng)
    launch_s = seconds / launches
    counter: Power | str = "no counter"
    if card.counter_s is not None:
        counter = counter_power(
            t,
            gpu.energies_mj(t).astype(float),
            begin,
            end,
            launch_s=launch_s,
            averaging_s=card.counter_s * card.averaging_s / card.power_s,
        )
    instant = instant_power(
        t,
        gpu.instants_mw(t) * 1e-3,
        begin,
        end,
        period_s=card.power_s,
        launch_s=launch_s,
        averaging_s=card.averaging_s,
    )
    return Readings(launch_s, counter, instant, (begin_c + end_c) / 2)


def read_times(begin: float, end: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    times = np.arange(begin, end, READ_S)
    return times + rng.uniform(0.0, 0.2 * READ_S, len(times))


@attrs.frozen
class Outcome:
    """A case of a replayed sweep against its truth, relative."""

    error: float
    half_width: float
    visits: int
    launch_s: float
    in_step: float
    naive: float
    """Half-width of the t-interval on the last visit's updates, as if independent and all there is."""


def sweep(
    seed: int,
    cards: tuple[Card, ...] = (HOPPER,),
    *,
    cases: int = 16,
    sentinels: int = 8,
    draw_launch_s: Callable[[np.random.Generator], float] = lambda rng: float(
        np.exp(rng.uniform(np.log(5e-6), np.log(2.0)))
    ),
) -> list[Outcome]:
    """Cases in random order with sentinels between, 1 or 3 visits each, on a card drawn from those given."""
    rng = np.random.default_rng(seed)
    card = drawn(cards, rng)
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, card, seed=seed)
    gpu.open_context()
    with gpu.busy():
        clock.sleep(30.0)
    reference_c = gpu.temperature_c()
    loads = [
        Load(float(rng.uniform(0.4, 0.95) * card.limit_w), draw_launch_s(rng), float(rng.uniform(-0.2, 0.2)))
        for _ in range(cases)
    ]
    visits = [1 if rng.random() < 0.6 else 3 for _ in loads]
    order = [case for case, number in enumerate(visits) for _ in range(number)] + [-1] * sentinels
    rng.shuffle(order)
    pool, made = Pool(), dict[int, list[tuple[VisitJoules, Power]]]()
    reference = Load(0.7 * card.limit_w, 1e-3)
    for case in order:
        found = visit_of(gpu, clock, reference if case < 0 else loads[case], rng)
        power = found.instant if card.counter_s is None else found.counter
        if isinstance(power, str):
            continue  # too few updates: such a row has no energy
        visit = found.estimate(power)
        pool.add(case, visit)
        made.setdefault(case, []).append((visit, power))
    return [
        outcome(load, card, made[case], pool, reference_c) for case, load in enumerate(loads) if case in made
    ]


def drawn(cards: tuple[Card, ...], rng: np.random.Generator) -> Card:
    """One of them, with a noise and a leakage of its own."""
    return attrs.evolve(
        cards[int(rng.integers(len(cards)))],
        ripple=float(rng.uniform(0.005, 0.02)),
        rho=float(rng.uniform(0.0, 0.5)),
        between=float(rng.uniform(0.001, 0.005)),
        leakage_per_c=float(rng.uniform(0.001, 0.003)),
    )


def outcome(
    load: Load, card: Card, visits: list[tuple[VisitJoules, Power]], pool: Pool, reference_c: float
) -> Outcome:
    """A case's visits against what a launch truly costs."""
    energy = combine([visit for visit, _ in visits], pool, reference_c)
    truth = load.joules(card) * (1 + card.leakage_per_c * (reference_c - REFERENCE_C))
    last = visits[-1][1]
    n, spread = len(last.steps_w), float(np.std(last.steps_w, ddof=1)) / last.power_w
    return Outcome(
        energy.energy_j / truth - 1,
        energy.ci_j / truth,
        len(visits),
        load.launch_s,
        max(power.in_step for _, power in visits),
        t_975(n - 1) * spread / math.sqrt(n),
    )


def usable(outcomes: list[Outcome]) -> list[Outcome]:
    """Those that are not flagged because sensor and launches run in step."""
    return [outcome for outcome in outcomes if outcome.in_step <= MOST_IN_STEP]
