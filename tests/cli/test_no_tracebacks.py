"""What the system or a file refuses is one line that names the remedy; lost progress ends no measurement."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run, refused
from fake_backend import sweep_of
from processes import environment

from dibench import files, temporary
from dibench.cli.progress import Progress, said
from dibench.errors import UserError
from dibench.measure.calibration import kept_pool
from dibench.models.onnx_symbols import size_of
from dibench.sweep.run import run_sweep

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def test_json_that_is_nested_too_deeply_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(DEEP)
    assert "is nested too deeply" in refused(run, "explain", "vgg16", "--fit", str(tmp_path / "fit.json"))


def test_a_line_of_visits_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    run_sweep(sweep_of(["first"]), tmp_path)
    (tmp_path / "visits.jsonl").write_text(DEEP + "\n")
    with pytest.raises(UserError, match="is not a visit of this version"):
        run_sweep(sweep_of(["first", "last"]), tmp_path)


@pytest.mark.parametrize("df", ["NaN", "0", "-1", "null", '"x"', "1e999", DEEP])
@pytest.mark.parametrize("between", ["0.01", "NaN", "1e999", "-1"])
def test_a_kept_calibration_that_is_none_says_how_to_make_one(between: str, df: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(f'{{"between": {between}, "between_df": {df}}}')
    if (between, df) == ("0.01", "1e999"):
        assert kept_pool(path).variance == pytest.approx(1e-4), "a spread that is known exactly"
        return
    with pytest.raises(UserError, match=r"is not a calibration|nested too deeply"):
        kept_pool(path)


def test_no_usable_temporary_directory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "USUAL", ())
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, "/nowhere")
    said = refused(
        run, "sweep", "smoke", "--meter", "model", "--backend", "cpu", "--out", str(tmp_path / "out")
    )
    assert said == "dibench: no temporary directory can be written: set TMPDIR to one that can\n"


def test_ten_open_files_are_too_few(tmp_path: Path) -> None:
    command = f"ulimit -n 10; {sys.executable} -m dibench sweep smoke --meter model --out {tmp_path / 'out'}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "too many open files" in done.stderr and "ulimit -n 1024" in done.stderr


def test_a_path_with_a_byte_that_is_no_utf_8(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"b\xffd")
    run_sweep(sweep_of(["first"], command_line=["dibench", "sweep", str(out)]), out)
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None and manifest["command_line"][2] == str(out)
    assert run_sweep(sweep_of(["first"]), out).ended == "complete"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_with_the_remedy(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(
        UserError, match=r"is on a file system without locks .*: take an --out on a local disk"
    ):
        run_sweep(sweep_of(["first"]), tmp_path / "out")


@pytest.mark.parametrize("lost", ["full", "pipe"])
def test_progress_that_cannot_be_written_ends_no_measurement(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "w", buffering=1) as pipe,
        Path("/dev/full").open("w", buffering=1, encoding="utf-8") as full,
    ):
        stream = pipe if lost == "pipe" else full
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        with Progress(None) as progress:
            summary = run_sweep(sweep_of(["crash", "first", "last"]), tmp_path, on_event=progress.show)
        said("a line of a campaign")
        monkeypatch.undo()
        for closed in (pipe, full):
            try:
                closed.close()
            except OSError:
                continue
    assert summary.ended == "complete" and summary.left == 0


def test_a_symbol_of_500_terms_is_known_or_not() -> None:
    assert size_of(" + ".join(["n"] * 40), {"n": 2}) == 80
    assert size_of(" + ".join(["n"] * 500), {"n": 2}) is None
