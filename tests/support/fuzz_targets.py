"""What fuzzing feeds, as bytes: plans, tables, headers, files of others and our own, layers, command lines.

A target returns or raises UserError; anything else is a bug. `tests/floor/test_fuzz.py` runs them for
seconds on mutations of real files, `scripts/fuzz.py` for hours with coverage (atheris).
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from dibench import kernels, plan
from dibench.errors import UserError
from dibench.kernels.formula import Formula, Scope
from dibench.layer import DIMENSIONS, Layer
from dibench.table import format_value, read_csv

ROOT = Path(__file__).parents[2]
LAYERS = (
    Layer(N=2, C=8, H=6, W=7, K=12, R=3, S=3, pad_h=1, pad_w=1),
    Layer(N=1, C=8, H=5, W=5, K=8, R=3, S=3, pad_h=1, pad_w=1, groups=8),
    Layer.fc(N=1, C=9, K=5),
)


def plan_target(data: bytes, folder: Path) -> None:
    """A plan file, read and planned."""
    path = folder / "plan.toml"
    path.write_bytes(data)
    plan.load_plan(path, backend="cpu")


def csv_target(data: bytes, folder: Path) -> None:
    """A table: read, its rows chosen for a fit, compared with itself, resumed and merged as a sweep's."""
    from dibench.study.table.rows import select
    from dibench.study.use.compare import compare
    from dibench.sweep import record
    from dibench.sweep.merge import merge

    path = folder / "sweep.csv"
    path.write_bytes(data)
    for use in (
        lambda: list(record.written(path)),
        lambda: record.RowsFile(path).close(),
        lambda: merge([folder], folder / "out"),
    ):
        with contextlib.suppress(UserError):
            use()
    path.write_bytes(data)  # Table cuts off a torn line
    frame = read_csv(path)
    with contextlib.suppress(UserError):
        compare(frame, frame)
    select(frame)


def header_target(data: bytes, folder: Path) -> None:
    """A kernel's source: its header read, then asked what it runs and counts."""
    for backend, suffix in kernels.SUFFIXES.items():
        path = folder / f"kernel{suffix}"
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            variant = kernels.read_variant(path, backend)
            for layer in LAYERS:
                knobs = {name: 1 if legal == "any" else legal[0] for name, legal in variant.knobs.items()}
                if variant.allows(layer, knobs):
                    with contextlib.suppress(UserError):
                        variant.counts_for(layer, knobs)
                    variant.preferred(layer)


def layer_target(data: bytes, folder: Path) -> None:
    """A layer's text; what it gives is a layer that its own text gives again."""
    layer = Layer.parse(data.decode("utf-8", "replace"))
    assert layer.macs > 0 and layer.P > 0 and layer.Q > 0


def formula_target(data: bytes, folder: Path) -> None:
    """A formula of a kernel's header, parsed and computed for a layer."""
    for layer in LAYERS:
        try:
            formula = Formula.parse(data.decode("utf-8", "replace"), Scope(DIMENSIONS))
        except ValueError as error:
            raise UserError("formula", str(error)) from None
        formula.value({"layer": layer, **layer.dims})


def json_target(data: bytes, folder: Path) -> None:
    """What `fit --json` wrote, a calibration, a manifest, visits: files of ours that may be anybody's."""
    from dibench.measure.calibration import kept_pool
    from dibench.study.use.fitted_model import open_fitted_model
    from dibench.sweep.visit_book import read_entries

    path = folder / "fit.json"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        kept_pool(path)
    with contextlib.suppress(UserError):
        read_entries(path)
    open_fitted_model(path, "di_weighted")


def onnx_target(data: bytes, folder: Path) -> None:
    """An ONNX file, read as `layers` reads it."""
    from dibench.models import onnx

    path = folder / "model.onnx"
    path.write_bytes(data)
    onnx.read(path, None, {})


PUBLISHED = (
    ("gpu-layers", "finalbench_all_operations_A30"),
    ("gpu-layers", "fullmodel_A30"),
    ("cpu-layers", "00_conv2d-raw.csv"),
    ("timm-times", "benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv"),
)


def dataset_target(data: bytes, folder: Path) -> None:
    """A published file, for each source: of what is read, the table must keep its own contract."""
    from dibench.datasets import find
    from dibench.datasets.reading import TABLE, read, write

    for number, (source, name) in enumerate(PUBLISHED):
        with tempfile.TemporaryDirectory(dir=folder) as clone:
            (Path(clone) / name).write_bytes(data)
            try:
                found = read(find(source), Path(clone))
            except UserError:
                if number == len(PUBLISHED) - 1:
                    raise
                continue
            out = Path(clone) / "out"
            write(found, out)
            if found.rows:
                try:
                    read_csv(out / TABLE)
                except UserError as error:
                    raise AssertionError(f"{source} wrote a table that dibench refuses: {error}") from None


MEASURING = ("sweep", "measure", "selftest", "calibrate", "counters", "doctor")
"""Verbs that measure or start processes: of these only `sweep --dry-run` is run."""


def command_target(data: bytes, folder: Path) -> None:
    """A command line, one argument a line, in a directory of its own; a refusal is one line and status 2."""
    from dibench.cli import main

    arguments = data.decode("utf-8", "replace").replace("\0", "").split("\n")[:12]
    # What a file name could reach: only what lies here.
    arguments = [argument.replace("/", "").replace("..", "") for argument in arguments]
    if arguments[0] in MEASURING[1:]:
        arguments[1:] = ["--help", *arguments[1:]]
    if arguments[0] == "sweep":
        arguments.insert(1, "--dry-run")
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as end:
        if end.code not in (0, 1, 2, 3):
            raise AssertionError(f"exit status {end.code} of {arguments}") from end
        if end.code == 2 and err.getvalue().count("\n") != 1:
            raise AssertionError(f"not one line of {arguments}: {err.getvalue()}") from end
    finally:
        os.chdir(before)


Target = Callable[[bytes, Path], None]
TARGETS: dict[str, Target] = {
    "plan": plan_target,
    "csv": csv_target,
    "header": header_target,
    "dataset": dataset_target,
    "command": command_target,
    "layer": layer_target,
    "formula": formula_target,
    "json": json_target,
    "onnx": onnx_target,
}


def seeds(target: str) -> list[bytes]:
    """Real inputs to begin with."""
    if target == "plan":
        return [path.read_bytes() for path in sorted((ROOT / "dibench/presets").glob("*.toml"))]
    if target == "header":
        found = [
            path for kind, end in kernels.SUFFIXES.items() for path in (ROOT / "csrc" / kind).glob(f"*{end}")
        ]
        found.sort()
        return [path.read_bytes().partition(b"*/")[0] + b"*/" for path in found]
    if target == "csv":
        return [_table()]
    if target == "dataset":
        return _published()
    if target == "layer":
        return [",".join(f"{name}={size}" for name, size in layer.dims.items()).encode() for layer in LAYERS]
    if target == "formula":
        return [text.encode() for text in FORMULAS]
    if target == "json":
        return _json()
    if target == "onnx":
        return _onnx()
    return [line.replace(" ", "\n").encode() for line in COMMANDS]


COMMANDS = (
    "sweep smoke --out o --seed 1 --shard 1/3 --meter none --target 2 --case-budget 1s --time-budget 9m",
    "sweep twins --visits 3 --backend cpu --fresh --retry-failed",
    "layers mobilenet_v2 --alpha 0.3 --json --batch 8 --csv",
    "networks --alpha 0.4",
    "variants conv_no_reuse --backend cuda --json",
    "fit sweep.csv --draws 99 --json f.json --device d --twins",
    "compare a.csv b.csv --fail-above 3% --json",
    "merge a b --out c",
    "predict resnet50 --fit f.json --batch 1,8 --model ai --compare vgg16 --all",
    "explain resnet50 --fit f.json",
    "report dir --figures x",
    "import sweep.csv --map N=batch --map time_s=t:ms/n --map m.toml --set dtype=fp32 --unpack a -o o.csv",
    "measure vgg16 --batch 2 --meter auto",
    "--version",
)
FORMULAS = (
    "ceil_div(K, 8) * C",
    "N * K * P * Q * C // groups * R * S",
    "min(P * Q, 32) if R == 1 else max(R, S)",
    "sum(ceil_div(Q - q, 4) * S for q in range(Q) if q % stride_w == 0)",
    "(H + 2 * pad_h - dil_h * (R - 1) - 1) // stride_h + 1",
)
WORDS = (
    b"-1", b"0", b"1e999", b"nan", b"inf", b"99999999999999999999", b"2147483648", b"-", b"--", b"=", b"\n",
    b"\xff", b"\0", b"'", b'"', b"[", b"]", b"{", b"}", b"[[layers]]\n", b"1/0", b"2**99", b"9" * 400, b"/",
    b"%", b"true", b"[variant]\n", b"all", b"any", b",,", b"N=1,C=1", b"\xe2\x88\x9a", b"**9**9",
    b"--help", b"()",
    b"layer", b"ceil_div(", b"range", b"\r", b"_", b"0x1", b"1_0", b".5", b"anchor", b"failed", b"skipped",
)  # fmt: skip


def _table() -> bytes:
    from report_sweeps import rows

    table = rows(8, source="rapl")
    lines = [",".join(table[0]), *(",".join(map(format_value, row.values())) for row in table)]
    return ("\n".join(lines) + "\n").encode()


def _published() -> list[bytes]:
    """A file of each format, with a line or two."""
    import published_files as made

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conv2d.csv"
        made.codecarbon(path, [(made.conv_facts(LAYERS[0], number), 30.0, 76.0) for number in (1, 2)])
        timm = (
            "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size\nvgg,224,10,100.,1\n"
        )
        logs = [made.section(LAYERS), made.whole("alexnet", (32, 3, 224, 224))]
        return [*("\n".join(log).encode() for log in logs), path.read_bytes(), timm.encode()]


def _json() -> list[bytes]:
    """A fit of a few layers, a calibration, and a line of visits."""
    from fake_backend import sweep_of
    from study_frames import measured

    from dibench import study
    from dibench.files import json_text
    from dibench.sweep.run import run_sweep

    with tempfile.TemporaryDirectory() as folder:
        run_sweep(sweep_of(["first"]), Path(folder) / "out")
        swept = [(Path(folder) / "out" / name).read_bytes() for name in ("visits.jsonl", "manifest.json")]
    fit = json_text(study.fit(measured(40), draws=99).to_json()).encode()
    return [fit, b'{"between": 0.003, "between_df": 12.5}', *swept]


def _onnx() -> list[bytes]:
    import onnx_files

    with tempfile.TemporaryDirectory() as folder:
        return [onnx_files.from_table(Path(folder) / "model.onnx", LAYERS).read_bytes()]


def mutated(random: random.Random, known: list[bytes]) -> bytes:
    """A real input with some bytes, words or lines changed, dropped, doubled or taken from another."""
    data = bytearray(random.choice(known))
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(data) + 1)
        length = random.choice((1, 2, 8, 40))
        match random.randrange(7):
            case 0:
                data[at : at + length] = random.randbytes(random.choice((0, 1, length)))
            case 1:
                data[at:at] = random.choice(WORDS)
            case 2:
                other = random.choice(known)
                begin = random.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + 8 * length]
            case 3:  # a value: what stands between separators
                data = bytearray(_replace_value(random, bytes(data)))
            case 4:
                lines = bytes(data).split(b"\n")
                lines.insert(random.randrange(len(lines)), random.choice(lines))
                data = bytearray(b"\n".join(lines))
            case 5:
                lines = bytes(data).split(b"\n")
                del lines[random.randrange(len(lines))]
                data = bytearray(b"\n".join(lines))
            case _:
                del data[at : at + length]
    return bytes(data)


def _replace_value(random: random.Random, data: bytes) -> bytes:
    ends = [i for i, byte in enumerate(data) if byte in b",=\n []\"'"]
    if len(ends) < 2:
        return data
    at = random.randrange(len(ends) - 1)
    return data[: ends[at] + 1] + random.choice(WORDS) + data[ends[at + 1] :]
