"""Hardware counters beside ours: cases run once under NVIDIA's Nsight Compute, its CSV read and compared.

`python -m dibench.check.counters CASES.json` runs under ncu: it launches each case outside the profiler
until its operands are where they belong, then once inside. Kernels are replayed by running the program again
(`--replay-mode application`), not by restoring memory, so that caches are in every pass as the case has them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import files, kernels, temporary
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.processes import die_with, python_path
from dibench.schema import pack_knobs
from dibench.sweep.worker import case_from_json, case_to_json
from dibench.table import csv_line, format_value

if TYPE_CHECKING:
    from dibench.plan import Case

METRICS = {
    "fma_executed": "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum",
    "accesses_executed": "smsp__sass_thread_inst_executed_op_memory_pred_on.sum",
    "l1_load_sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
    "l1_store_sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
    "l1_load_bytes": "l1tex__t_bytes_pipe_lsu_mem_global_op_ld.sum",
    "l1_store_bytes": "l1tex__t_bytes_pipe_lsu_mem_global_op_st.sum",
    "l2_bytes": "lts__t_bytes.sum",
    "dram_read_bytes": "dram__bytes_read.sum",
    "dram_write_bytes": "dram__bytes_write.sum",
}
"""Our names for what ncu counts, all per launch. Names as in "Nsight Compute CLI: Metrics Comparison"."""

MMA_METRIC = "sm__inst_executed_pipe_tensor.sum"
"""Asked for where a case computes on tensor cores: `mma_executed`, instructions of warps."""

MACS_PER_MMA = {"tf32": 16 * 8 * 8, "fp16": 16 * 8 * 16, "bf16": 16 * 8 * 16}
"""Multiply-adds of one warp's `mma` instruction, shapes m16n8k8 and m16n8k16."""

_OPTIONS = (
    "--csv", "--print-units", "base", "--clock-control", "none", "--cache-control", "none",
    "--replay-mode", "application", "--profile-from-start", "off", "--target-processes", "all",
)  # fmt: skip
_PERMISSION = "ERR_NVGPUCTRPERM"
_PLACES = ("usr/local/cuda/bin/ncu", "opt/nvidia/nsight-compute/*/ncu", "usr/local/cuda-*/bin/ncu")

RATIOS = {
    "fma_ratio": ("fma_executed", "macs_executed"),
    "accesses_ratio": ("accesses_executed", "accesses"),
    "l1_load_sectors_ratio": ("l1_load_sectors", "load_sectors"),
    "dram_ratio": ("dram_bytes", "compulsory_bytes"),
}
"""Measured over ours. Expected, in this order: 1; 1 where nothing is staged; 1 ± 0.02; cold 1 ± 0.05."""

OURS = ("macs_executed", "accesses", "load_sectors", "compulsory_bytes")
COLUMNS = (
    "case_id", "op", "variant", "dtype", "instances", "cold", "knobs", *OURS,
    *METRICS, "dram_bytes", "mma_executed", *RATIOS, "mma_ratio", "status", "reason",
)  # fmt: skip


@attrs.frozen
class ProfiledLaunch:
    """One profiled launch: the kernel's name and what was counted, by the names of METRICS."""

    name: str
    counted: Mapping[str, float]


def find_ncu() -> str:
    """Where ncu is.

    Raises:
        UserError: it is not installed.
    """
    places = (path for place in _PLACES for path in sorted(Path("/").glob(place), reverse=True))
    found = shutil.which("ncu") or next(map(str, places), "")
    if not found:
        rule = "is not installed: it comes with the CUDA toolkit, or alone as package nsight-compute"
        raise UserError("ncu", f"Nsight Compute {rule}")
    return found


def profiled(ncu: str, cases: Sequence[Case], limit_s: float | None = None) -> list[ProfiledLaunch]:
    """The launches of these cases, profiled; the program runs once for each pass of counters.

    Args:
        ncu: where it is.
        cases: what is launched.
        limit_s: seconds after which ncu and what it runs are ended.

    Raises:
        UserError: ncu failed, counted nothing or was not done in time; the message says why.
    """
    with temporary.scratch() as directory:
        path = directory / "cases.json"
        write_cases(path, cases)
        tensor = any(case.dtype != "fp32" for case in cases)
        try:
            done = subprocess.run(
                command(ncu, path, tensor=tensor),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=limit_s,
                # C locale: numbers of the table are separated as `parse` expects.
                env={**os.environ, "PYTHONPATH": python_path(), "LC_ALL": "C"},
                preexec_fn=partial(die_with, os.getpid()),  # this process has one thread
            )
        except subprocess.TimeoutExpired:
            rule = f"must be done with {len(cases)} cases in {limit_s:.0f} s: give it more, or fewer --cases"
            raise UserError("--time-budget", rule) from None
    output = done.stdout + done.stderr
    if done.returncode:
        raise refusal(output) or UserError("ncu", f"failed: {_last_line(output)}", done.returncode)
    return parse(output)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as a table of `COLUMNS`.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [csv_line([format_value(row.get(name)) for name in COLUMNS]) for row in rows]
    files.replace_file(path, csv_line(COLUMNS) + b"".join(lines))


def command(ncu: str, cases: Path, *, tensor: bool) -> list[str]:
    """The command line that profiles the cases of a file."""
    metrics = [*METRICS.values(), *([MMA_METRIC] if tensor else [])]
    program = [sys.executable, "-m", "dibench.check.counters", str(cases)]
    return [ncu, *_OPTIONS, "--metrics", ",".join(metrics), *program]


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """The cases for the program that runs under ncu."""
    path.write_text(json.dumps([case_to_json(case) for case in cases]), encoding="utf-8")


def refusal(output: str) -> UserError | None:
    """Why ncu counted nothing, where its output says so."""
    if _PERMISSION in output:
        rule = (
            f"the driver keeps its counters from this user ({_PERMISSION}): run as root, or allow all users "
            "by `options nvidia NVreg_RestrictProfilingToAdminUsers=0` in /etc/modprobe.d, restart"
        )
        return UserError("ncu", rule)
    errors = [line.partition("==ERROR==")[2].strip() for line in output.splitlines() if "==ERROR==" in line]
    return UserError("ncu", f"failed: {' '.join(errors[0].split())[:300]}") if errors else None


def parse(output: str) -> list[ProfiledLaunch]:
    """The profiled launches in order, from what `ncu --csv --print-units base` prints.

    Lines that begin with `==`, and what the program itself printed, are skipped; the table begins at the line
    with "ID" and has one row for each launch and metric.

    Raises:
        UserError: there is no such table, or a column is missing; the message quotes ncu.
    """
    lines = output.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith('"ID",')), None)
    if begin is None:
        raise refusal(output) or UserError("ncu", "printed no table of counters: no kernel was profiled")
    rows = [line for line in lines[begin:] if line.startswith('"')]
    names = {metric: ours for ours, metric in METRICS.items()} | {MMA_METRIC: "mma_executed"}
    kernels: dict[str, tuple[str, dict[str, float]]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(rows))):
        missing = {"Kernel Name", "Metric Name", "Metric Value"} - set(row)
        if missing:
            raise UserError("ncu", f"printed a table without {', '.join(sorted(missing))}")
        _, counted = kernels.setdefault(row["ID"], (row["Kernel Name"].partition("(")[0], {}))
        value = _number(row["Metric Value"])
        if row["Metric Name"] in names and value is not None:
            counted[names[row["Metric Name"]]] = value
    return [ProfiledLaunch(name, counted) for name, counted in kernels.values()]


def _number(text: str) -> float | None:
    """A count with thousands separated or not; None for n/a.

    >>> _number("1,234"), _number("n/a")
    (1234, None)
    """
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def rows(cases: Sequence[Case], kernels: Sequence[ProfiledLaunch]) -> Iterator[dict[str, Any]]:
    """One row for each case: ours, measured, measured over ours.

    Raises:
        UserError: the launches are not those of the cases.
    """
    if [kernel.name for kernel in kernels] != [case.variant for case in cases]:
        rule = f"must have profiled {len(cases)} launches, one of each case in order"
        raise UserError("ncu", rule, len(kernels))
    for case, kernel in zip(cases, kernels, strict=True):
        measured: dict[str, Any] = dict(kernel.counted)
        if {"dram_read_bytes", "dram_write_bytes"} <= set(measured):
            measured["dram_bytes"] = measured["dram_read_bytes"] + measured["dram_write_bytes"]
        row = {**_about(case), **ours(case), **measured}
        for ratio, (ncu, own) in RATIOS.items():
            known = row.get(ncu) is not None and row.get(own)
            row[ratio] = row[ncu] / row[own] if known else None
        if case.dtype in MACS_PER_MMA:
            row["fma_ratio"] = None  # what FFMA does there is not the product
            if row.get("mma_executed") is not None:
                row["mma_ratio"] = MACS_PER_MMA[case.dtype] * row["mma_executed"] / row["macs_executed"]
        yield {**row, "status": "ok", "reason": ""}


def _about(case: Case) -> dict[str, Any]:
    row = case.row()
    about = {name: getattr(row, name) for name in ("case_id", "op", "variant", "dtype", "instances")}
    return {**about, "cold": int(case.cold), "knobs": pack_knobs(case.knobs)}


def ours(case: Case) -> dict[str, Any]:
    """What the header's formulas and the shape say of one launch, all instances together."""
    counts = kernels.registry("cuda")[case.variant].counts_for(case.layer, case.knobs)
    accesses = sum(counts[name] for name in ("weight_reads", "input_reads", "output_reads", "output_writes"))
    elements = case.instances * (case.layer.weights + case.layer.activations)
    return {
        "macs_executed": case.instances * counts["macs_executed"],
        "accesses": case.instances * accesses,
        "load_sectors": _sectors(case),
        "compulsory_bytes": operand_bytes(elements, case.dtype),
    }


_MOST_HARNESS_MACS = 2_000_000


def _sectors(case: Case) -> int | None:
    """32-byte sectors of all loads as the harness counts them; of small cases only, since it is slow."""
    if case.layer.macs * case.instances > _MOST_HARNESS_MACS or case.dtype != "fp32":
        return None
    import numpy as np

    from dibench.backends import host
    from dibench.backends.operands import operand_shapes

    x, w = (np.zeros(shape, np.float32) for shape in operand_shapes(case.layer, case.instances)[:2])
    try:
        outcome = host.run(kernels.registry("cuda")[case.variant], case.layer, case.knobs, x, w)
    except (UserError, host.HostCompileError):  # no g++ beside the GPU
        return None
    # Partial sums are read back as often as they are written, but for the first time.
    outputs = outcome.sectors["output_sectors"]
    reads, writes = outcome.counts["output_reads"], outcome.counts["output_writes"]
    loaded = outputs * reads // (reads + writes)
    return int(outcome.sectors["weight_sectors"] + outcome.sectors["input_sectors"] + loaded)


def main(path: Path) -> None:
    """Run under ncu: every case of the file once inside the profiler."""
    from dibench.backends import DeviceError, open_backend
    from dibench.backends.cuda import CudaBackend

    backend = open_backend("cuda")
    assert isinstance(backend, CudaBackend)
    cases = [case_from_json(fields) for fields in json.loads(path.read_text("utf-8"))]
    backend.prefetch(cases)
    for case in cases:
        try:
            prepared = backend.prepare_layer(case)
            prepared.launch_profiled()
        except (UserError, DeviceError) as refused:  # told as ncu tells its own errors: see refusal()
            print(f"==ERROR== case {case.case_id}: {refused}", flush=True)
            sys.exit(1)
        prepared.close()


if __name__ == "__main__":
    die_with(os.getppid())  # ncu
    main(Path(sys.argv[1]))
