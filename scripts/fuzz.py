"""The long run of fuzzing: `python scripts/fuzz.py --inputs 100000`, or `fuzz.py plan csv --minutes 60`.

It mutates real inputs until so many were fed or the time is over; every target gets the same time. Each
distinct failure (a traceback, ten seconds of processor time, more than 2 GB) is printed once, and its input
kept in build/fuzz/. With `--coverage`, atheris (pip install '.[fuzz]') runs one target, keeps inputs that
reach new lines, and stops at a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
KEPT = ROOT / "build" / "fuzz"
NAMES = ("plan", "csv", "header", "dataset", "command", "layer", "formula", "json", "onnx")
LONGEST_S, MOST_BYTES = 10, 2**31


def by_coverage(name: str, minutes: float, seed: int) -> None:
    """Fuzz one target with atheris; its corpus is build/fuzz/corpus-NAME."""
    import atheris

    with atheris.instrument_imports(include=["dibench"]):
        from fuzz_targets import TARGETS, seeds

        from dibench import cli, study  # noqa: F401 - to be instrumented now
        from dibench.errors import UserError
        from dibench.study.table import rows  # noqa: F401 - likewise
        from dibench.study.use import compare  # noqa: F401 - likewise

    corpus = KEPT / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(content)

    folder = Path(tempfile.mkdtemp())

    def once(data: bytes) -> None:
        with contextlib.suppress(UserError):
            TARGETS[name](data, folder)

    for content in seeds(name):
        once(content)  # load now what is imported at first use, which takes time
    limits = [
        f"-max_total_time={round(60 * minutes)}",
        f"-timeout={10 * LONGEST_S}",
        f"-rss_limit_mb={MOST_BYTES >> 20}",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-seed={seed}", f"-artifact_prefix={KEPT}/", str(corpus)], once)
    atheris.Fuzz()


def by_mutation(names: list[str], minutes: float, inputs: int, seed: int) -> int:
    """Fuzz all targets, always the one that had least time; returns the number of distinct failures."""
    from fuzz_targets import TARGETS, mutated, seeds

    from dibench.errors import UserError

    def expired(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than {LONGEST_S} s")

    signal.signal(signal.SIGPROF, expired)  # of processor time: a slow machine is not a hang
    signal.signal(signal.SIGALRM, expired)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.RLIM_INFINITY))
    source, known, failures = random.Random(seed), {name: seeds(name) for name in names}, set()
    spent, fed, refused = dict.fromkeys(names, 0.0), Counter[str](), Counter[str]()
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as temporary:
        while time.monotonic() < end and fed.total() < inputs:
            name = min(names, key=spent.__getitem__)
            folder = Path(temporary) / f"{name}{fed[name] // 1000}"
            folder.mkdir(exist_ok=True)
            data, began = mutated(source, known[name]), time.process_time()
            fed[name] += 1
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            signal.alarm(60 * LONGEST_S)
            try:
                TARGETS[name](data, folder)
            except UserError:
                refused[name] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    break
                where = traceback.extract_tb(error.__traceback__)[-1]
                key = (name, type(error).__name__, where.filename, where.lineno)
                if key not in failures:
                    failures.add(key)
                    KEPT.mkdir(parents=True, exist_ok=True)
                    kept = KEPT / f"{name}-{len(failures)}"
                    kept.write_bytes(data)
                    print(f"\n{kept}")
                    traceback.print_exception(error, limit=-6)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.alarm(0)
                spent[name] += time.process_time() - began
    for name in names:
        print(f"{name}: {fed[name]:,} inputs, {refused[name]:,} refused")
    print(f"{fed.total():,} inputs, {len(failures)} distinct failures")
    return len(failures)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument(
        "--minutes", type=float, default=0, help="10, where --inputs does not say when to end"
    )
    parser.add_argument("--inputs", type=int, default=0, help="end after so many")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--coverage", action="store_true", help="one target, by atheris")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(NAMES):
        parser.error(f"TARGET must be of {', '.join(NAMES)} (got {', '.join(unknown)})")
    names = given.targets or list(NAMES)
    print(f"seed {given.seed}", flush=True)
    os.chdir(tempfile.mkdtemp())
    minutes = given.minutes or (math.inf if given.inputs else 10)
    if given.coverage:
        by_coverage(names[0], min(minutes, 60), given.seed)
    else:
        sys.exit(bool(by_mutation(names, minutes, given.inputs or sys.maxsize, given.seed)))


if __name__ == "__main__":
    main()
