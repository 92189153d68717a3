"""The long run of CPU kernels under the sanitizers: `python scripts/fuzz_kernels.py --minutes 60`.

Dimensions are positive and otherwise anything: outputs beyond the image, strides near 2**31, groups that a
variant does not know. Each call is refused, or gives the convolution of its definition, in bounds and in
time. It stops at the first failure and prints the call and the report. `make test` runs 500 calls.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent.parent / "tests" / "support"
sys.path[:0] = [str(SUPPORT.parent.parent), str(SUPPORT)]


def main() -> None:
    """Build, run, and show the end of what was printed."""
    import processes
    from references import build

    from dibench import _cpu

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    library = build("sanitize", *processes.sanitized_isa(_cpu.isas()[-1]))
    print(f"seed {given.seed}", flush=True)
    command = [sys.executable, str(SUPPORT / "sanitized.py"), str(library), "inconsistent"]
    command += [str(given.seed), str(given.minutes), "minutes"]
    env = processes.sanitized(PYTHONMALLOC="malloc")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        (last,) = collections.deque(running.stdout, maxlen=1)
    print(last, end="")
    sys.exit(running.returncode != 0)


if __name__ == "__main__":
    main()
