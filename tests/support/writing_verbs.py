"""All verbs that write, each on inputs as small as can be.

A verb is run in a place of its own: a directory with its inputs, an older output where there can be one, and
`cache` and `tmp`, its $DIBENCH_CACHE and $TMPDIR. fault_bench.py runs it there under faults, fault_harms.py
says what is wrong then.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import campaign_stages
import fake_gpu
import published_files
import report_sweeps
from fake_backend import sweep_of
from study_frames import card

from dibench import networks
from dibench.layer import DIMENSIONS, Layer

LAYER = Layer(N=1, C=4, H=6, W=6, K=4, R=1, S=1, name="net/one")
REHEARSED = "--backend rehearsed_gpu:backend --meter rehearsed_gpu:meter"
REPLAYED = "--backend replayed_device:backend --meter replayed_device:meter"
SMALL = campaign_stages.SENTINEL

Run = Callable[[str], object]


@attrs.frozen
class Verb:
    """One verb, what it is given, and what it owns."""

    name: str
    words: str
    """Behind `python -m dibench`."""
    outputs: tuple[str, ...]
    """What it writes: files, or directories with all that is in them."""
    make: Callable[[Path, Run], None] = lambda place, run: None
    """Puts inputs and an older output into a place; runs other verbs there, undisturbed."""
    whole: str = ""
    """The directory of which all is old, or all is new."""
    grows: bool = False
    """Whether it adds to tables what is missing, so that what is there must stay."""
    patch: str = ""
    """`module:function`, for what a machine without a GPU lacks or what takes long."""
    again: tuple[int, ...] = (0,)
    """Exit statuses of the next run."""


# --- inputs


def tables(place: Path, run: Run) -> None:
    """Two tables of 24 layers each."""
    for name, seed in (("a", 1), ("b", 2)):
        card("uuid-1", 0.3, seed=seed).head(24).to_csv(place / f"{name}.csv", index=False)
    old(place, "out.json")


def fitted(place: Path, run: Run) -> None:
    tables(place, run)
    run("fit a.csv --draws 99 --json fit.json")


def old(place: Path, name: str) -> None:
    """What an earlier run of the verb wrote, as far as it matters here: something else."""
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = {".html": "<html>old</html>", ".svg": "<svg>old</svg>", ".csv": "old\n"}
    path.write_text(ends.get(path.suffix, '{"old": 1}\n'))


def only_json(place: Path, run: Run) -> None:
    old(place, "out.json")


def page(place: Path, run: Run) -> None:
    report_sweeps.write(place / "swept", report_sweeps.rows(5))
    old(place, "swept/report.html")


def theirs(place: Path, run: Run) -> None:
    cells = {"name": LAYER.name, **LAYER.dims, "dtype": "fp32", "time_s": 0.001}
    text = f"{','.join(cells)}\n{','.join(map(str, cells.values()))}\n"
    (place / "theirs.csv").write_text(text)
    old(place, "ours/sweep.csv")


def clone(place: Path, run: Run) -> None:
    layers = [layer.with_batch(32) for layer in networks.load("alexnet")]
    whole = published_files.whole("alexnet", (32, 3, 224, 224))
    published_files.write_logs(place / "clone", "A30", published_files.section(layers), whole)


def layer_table(place: Path) -> None:
    lines = [["name", *DIMENSIONS]]
    lines += [[f"net/{k}", *map(str, {**LAYER.dims, "K": k}.values())] for k in (4, 8)]
    (place / "net.csv").write_text("".join(",".join(line) + "\n" for line in lines))


def swept(place: Path, run: Run) -> None:
    """A sweep of which the last three rows are missing, as one that was killed leaves it."""
    run("sweep smoke --out out")
    drop(place / "out", 3)


def swept_gpu(place: Path, run: Run) -> None:
    layer_table(place)
    run(SWEEP_GPU)
    drop(place / "out", 2)


def drop(out: Path, number: int) -> None:
    """The last rows of a sweep, and their visits."""
    lines = (out / "sweep.csv").read_text().splitlines(keepends=True)
    (out / "sweep.csv").write_text("".join(lines[:-number]))
    gone = {line.partition(",")[0] for line in lines[-number:]}
    visits = (out / "visits.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in visits if json.loads(line)["case_id"] not in gone]
    (out / "visits.jsonl").write_text("".join(kept))


def parts(place: Path, run: Run) -> None:
    """Two shards, and an earlier merge of the first with a file that is somebody else's."""
    run("sweep smoke --shard 1/2 --out 1")
    run("sweep smoke --shard 2/2 --out 2")
    run("merge 1 --out out")
    (place / "out" / "notes.txt").write_text("mine")


def kernels_there(place: Path) -> None:
    """Kernels for the rehearsed GPU are compiled once, in the cache of all tests."""
    ours = Path(os.environ["DIBENCH_CACHE"]) / "host"
    ours.mkdir(parents=True, exist_ok=True)
    if not (place / "cache" / "host").exists():
        (place / "cache" / "host").symlink_to(ours)


def rehearsed(place: Path, run: Run) -> None:
    kernels_there(place)
    run(CALIBRATE)
    (place / "few.toml").write_text(campaign_stages.few(conv_implicit_gemm="fp32"))
    old(place, "out.json")


def campaign(place: Path, run: Run) -> None:
    """A card that is checked and calibrated, so that a run is short; and a run that was killed.

    Its kernels have run on the harness; from now on their time and joules are replayed, which is quicker.
    """
    rehearsed(place, run)
    kept(place)
    run(f"{CAMPAIGN} {REHEARSED}")
    manifest = place / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("rehearsed_gpu:", "replayed_device:"))
    drop(place / "1", 1)


def kept(place: Path) -> None:
    """What `analysed_before` copies."""
    for name in ("fit.json", "report.html"):
        old(place, f"kept/{name}")


def dataset(place: Path, run: Run) -> None:
    """A run of a campaign as if a sensor had measured it, a dataset of a part of it, and a user's notes."""
    rehearsed(place, run)
    kept(place)
    run(f"{CAMPAIGN} {REHEARSED}")
    for name, around in (("sweep.csv", ",{},"), ("manifest.json", '"{}"')):
        path = place / "1" / name
        text = path.read_text().replace(around.format("simulated"), around.format("nvml_counter"))
        path.write_text(text)
    shutil.copytree(place / "1", place / "whole")
    drop(place / "1", 1)
    run("publish 1 --out out")
    shutil.rmtree(place / "1")
    (place / "whole").rename(place / "1")
    (place / "out" / "notes.txt").write_text("mine")


SWEEP_GPU = f"sweep net.csv {REPLAYED} --visits 2 --out out"
CALIBRATE = f"calibrate --brief {REPLAYED} --layer {SMALL} --json out.json"
CAMPAIGN = "campaign --stages few.toml --time-budget 400s --closing 10s --out 1"

VERBS = (
    Verb("sweep", "sweep smoke --out out", ("out",), swept, grows=True, patch="writing_verbs:of_fakes"),
    Verb("sweep --fresh", "sweep smoke --out out --fresh", ("out",), swept, grows=True,
         patch="writing_verbs:of_fakes"),
    Verb("sweep on a GPU", SWEEP_GPU, ("out",), swept_gpu, grows=True),
    Verb("campaign", f"{CAMPAIGN} {REPLAYED}", ("1", "cache"), campaign, grows=True,
         patch="writing_verbs:analysed_before"),
    Verb("publish", "publish 1 --out out", ("out",), dataset, whole="out",
         patch="writing_verbs:analysed_before"),
    Verb("merge", "merge 1 2 --out out", ("out",), parts, whole="out", patch="writing_verbs:of_fakes"),
    Verb("measure", f"measure {SMALL} --backend cpu --meter none --json out.json", ("out.json",), only_json,
         patch="writing_verbs:known_peaks"),
    Verb("datasets", "datasets gpu-layers clone --out out", ("out",), clone, whole="out", again=(0, 2)),
    Verb("import", "import theirs.csv --set energy_source=none --out ours --json out.json",
         ("ours", "out.json"), theirs),
    Verb("fit", "fit a.csv --draws 99 --json out.json", ("out.json",), tables),
    Verb("generality", "generality a.csv --subsets 100 --json out.json", ("out.json",), tables),
    Verb("report", "report swept", ("swept/report.html",), page),
    Verb("compare", "compare a.csv b.csv --json out.json", ("out.json",), tables),
    Verb("predict", "predict alexnet --fit fit.json --json out.json", ("out.json",), fitted),
    Verb("explain", "explain alexnet --fit fit.json --figures figures", ("figures",), fitted,
         patch="writing_verbs:coarse"),
    Verb("networks", "networks alexnet --json out.json", ("out.json",), only_json),
    Verb("layers", "layers alexnet --json out.json", ("out.json",), only_json),
    Verb("variants", "variants --backend cpu --json out.json", ("out.json",), only_json),
    Verb("doctor", "doctor --json out.json", ("out.json",), only_json),
    Verb("selftest", "selftest --backend cpu --only fc_dot --small --once", ("cache",)),
    Verb("calibrate", CALIBRATE, ("cache", "out.json"), rehearsed),
    Verb("counters", "counters smoke --cases 1 --out counters.csv", ("counters.csv",),
         lambda place, run: old(place, "counters.csv"), patch="writing_verbs:counted"),
)  # fmt: skip


# --- patches: called in the verb's process before it starts


def of_fakes() -> None:
    """Sweeps are of a device whose cases take no time."""
    verb = sys.modules["dibench.cli.sweep"]
    names = [f"layer {number}" for number in range(6)]

    def job(options: Any, *_: Any) -> Any:
        from dibench.plan.shard import Shard

        found = sweep_of(names)
        if not options.shard:
            return found
        index, of = map(int, options.shard.split("/"))
        cases = tuple(Shard(index, of).deal(found.plan.cases))
        return attrs.evolve(found, plan=attrs.evolve(found.plan, cases=cases, shard=options.shard))

    changes = {
        "_plan": lambda options, *_: job(options).plan,
        "_device": lambda *_: ("fake", ()),
        "_job": job,
    }
    for name, function in changes.items():
        setattr(verb, name, function)


def analysed_before() -> None:
    """Fit and report, which are verbs of their own here, are copied."""
    from dibench import files
    from dibench.processes import Ended as VerbEnded
    from dibench.sweep import campaign as steps

    def analyse(folder: Path, fit_json: Path, until: float) -> tuple[VerbEnded, VerbEnded]:
        for name in ("fit.json", "report.html"):
            files.replace_file(folder / name, Path("kept", name).read_bytes())
        return VerbEnded("", "", 0), VerbEnded("", "", 0)

    steps.analyse = analyse
    known: Any = sys.modules["dibench.study.use.answers"]
    known.open_answers = lambda path: None


def coarse() -> None:
    """Pictures of few dots, in one colour scheme."""
    figure_files: Any = importlib.import_module("dibench.show.figure_files")
    light = {"light": figure_files.themes()["light"]}
    figure_files._DOTS_PER_INCH = 10
    figure_files.themes = lambda: light


def known_peaks() -> None:
    """Nothing is measured before the layer."""
    from dibench.backends.cpu import CpuBackend

    known: Any = CpuBackend
    known.peaks = lambda self: {"mac_per_s": 1e10, "bytes_per_s": 1e10}


def counted() -> None:
    """A GPU, and an ncu that counts nothing."""
    from dibench.backends import cuda_driver
    from dibench.check import counters

    places: Any = counters, cuda_driver
    places[0].find_ncu = lambda: "ncu"
    places[0].profiled = lambda *_: []
    places[0].rows = lambda cases, _: (
        dict.fromkeys(counters.COLUMNS) | {"op": case.op, "variant": case.variant, "status": "ok"}
        for case in cases
    )
    places[1].gpu = lambda: fake_gpu.GPU
