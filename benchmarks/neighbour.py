"""A neighbour on one core: a process that computes in bursts, as another program on a shared machine does.

    python -m benchmarks.neighbour --share 0.35          # until Ctrl-C

Bursts last 0.1 to 1.5 s and come at random; over a minute the core is taken for about `share` of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

SHARE = 0.35
_SHORTEST_S, _LONGEST_S = 0.1, 1.5


@contextlib.contextmanager
def neighbour(share: float = SHARE, *, seed: int = 1) -> Iterator[None]:
    """Run a neighbour on the last core that this process may use; equal seeds give equal bursts.

    Args:
        share: of that core's time, 0 for none.
        seed: of the bursts.
    """
    if not share:
        yield
        return
    arguments = ["--share", str(share), "--seed", str(seed), "--parent", str(os.getpid())]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.neighbour", *arguments])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def run(share: float, seed: int, parent: int) -> None:
    """Compute in bursts on the last core, until the parent is gone."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    draws = random.Random(seed)
    while not parent or os.getppid() == parent:
        burst_s = draws.uniform(_SHORTEST_S, _LONGEST_S)
        end = time.monotonic() + burst_s
        while time.monotonic() < end:
            pass
        time.sleep(burst_s * (1 - share) / share * draws.uniform(0.5, 1.5))


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=SHARE, help="of the core's time, from 0 to 1")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal bursts")
    parser.add_argument("--parent", type=int, default=0, help="process with which to end")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        run(options.share, options.seed, options.parent)


if __name__ == "__main__":
    _main()
