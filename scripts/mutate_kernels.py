"""How many wrong kernels the tests notice: `python scripts/mutate_kernels.py --count 200 --seed 19`.

Makes that many mutants of the CUDA kernels (one small change each: a deleted barrier, a bound that is off by
one, a swapped index, another constant), evenly over all kernel files and shared device headers, runs the
layers of tests/support/cuda_paths.py on each, and prints what became of it. Those that do not compile, or
compile to the same machine code, are replaced by others and counted apart. `make test` runs a few of them.
Each takes some seconds of one core; `--jobs 2` uses two. A long run can be cut: `--count 40`, and then, with
the number that the end of each part says, `--count 40 --from 45`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
from kernel_mutants import CAUGHT, SURVIVED, Mutant, Verdict, chosen, judge  # noqa: E402 - found only now


def judged(mutant: Mutant) -> Verdict:
    """In a process of the pool."""
    with tempfile.TemporaryDirectory() as folder:
        return judge(mutant, Path(folder))


def main() -> None:
    """Judge mutants until enough of them could have been caught; say which were not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="begin", help="mutants judged before")
    given = parser.parse_args()

    outcomes: Counter[str] = Counter()
    survivors = []
    with ProcessPoolExecutor(given.jobs) as pool:
        left = iter(chosen(given.begin + 100 * given.count, given.seed)[given.begin :])
        while (missing := given.count - outcomes[CAUGHT] - outcomes[SURVIVED]) > 0:
            batch = list(itertools.islice(left, missing))
            if not batch:
                break
            for verdict in pool.map(judged, batch):
                outcomes[verdict.outcome] += 1
                print(f"{verdict.outcome}: {verdict.mutant.shown()}  [{verdict.reason}]", flush=True)
                if verdict.outcome == SURVIVED:
                    survivors.append(verdict.mutant.shown())
    counted = outcomes[CAUGHT] + outcomes[SURVIVED]
    beside = [f"{number} {what}" for what, number in outcomes.items() if what not in (CAUGHT, SURVIVED)]
    print(f"\nseed {given.seed}: {outcomes[CAUGHT]} of {counted} caught; beside them {', '.join(beside)}")
    print(f"to go on: --from {given.begin + outcomes.total()}")
    for one in survivors:
        print("survived:", one)


if __name__ == "__main__":
    main()
