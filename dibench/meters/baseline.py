"""Power without load, which is subtracted from energies."""

from __future__ import annotations

import math

import attrs


@attrs.frozen
class Baseline:
    """A power that is subtracted, the half-width of its 95% interval, and how warm the chip was."""

    power_w: float
    ci_w: float
    celsius: float | None = None

    def at(self, reference_c: float, leakage: float) -> Baseline:
        """The baseline on a chip of that temperature, if it grows with it as the energy of a load does.

        Leakage is known of loads; without one its share may be smaller or larger. So the whole correction is
        added to the interval.

        >>> round(Baseline(100.0, 0.0, 40.0).at(50.0, 0.002).power_w, 3)
        102.02
        """
        if self.celsius is None:
            return self
        change_w = self.power_w * math.expm1(leakage * (reference_c - self.celsius))
        return Baseline(self.power_w + change_w, math.hypot(self.ci_w, change_w), reference_c)

    def above(self, energy_j: float, time_s: float) -> tuple[float, float]:
        """Energy above this baseline and the baseline's part of its interval, for one launch.

        >>> Baseline(100.0, 1.0).above(0.5, 1e-3)
        (0.4, 0.001)
        """
        return energy_j - self.power_w * time_s, self.ci_w * time_s
