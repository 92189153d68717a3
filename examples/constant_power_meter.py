"""A meter for a machine without an energy sensor: a constant power, such as a data sheet's, times time.

    PYTHONPATH=examples python -m dibench sweep smoke --meter constant_power_meter:meter --out /tmp/out

Rows say `energy_source = model`: energy computed from time alone is no measurement, and a fit on it says so.
For a real instrument, read it in `window` and leave the rest as it is.
"""

import time

from dibench.meters import Reading

WATTS = 65.0


class ConstantPower:
    """Joules are WATTS times the seconds of a window."""

    source = "model"
    has_variance = False  # a calculation: two windows of the same length read the same
    period_s = None
    facts = {"power_w": WATTS, "from": "data sheet"}  # recorded in the manifest

    def window(self, run, counts, launches):
        """Run all launches of a window; its seconds and joules."""
        begin = time.perf_counter()
        seconds = run()
        return Reading(seconds, WATTS * (time.perf_counter() - begin))


def meter():
    """What `--meter` opens."""
    return ConstantPower()
