"""`datasets` teaches itself, and writes a directory that the analyses take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs
import pytest
from command_line import Run, refused, shown
from published_files import codecarbon, conv_facts, section, whole, write_logs

from dibench import files, networks
from dibench.datasets import gpu_layers, sources
from dibench.layer import Layer
from dibench.schema import broken_rule
from dibench.study.table.rows import select
from dibench.table import load

SOURCES = list(sources().values())


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of ml-operator-profiling with alexnet's layers and alexnet."""
    layers = [layer.with_batch(32) for layer in networks.load("alexnet")]
    folder = tmp_path / "clone" / "functional_general_benchmark"
    write_logs(folder, "A30", section(layers), whole("alexnet", (32, 3, 224, 224)))
    return folder.parent


def test_the_list_names_every_source_and_one_tells_the_command_that_gets_it(run: Run) -> None:
    said = shown(run, "datasets")
    for source in SOURCES:
        assert source.name in said and all(device in said for device in source.devices)
        assert source.licence in (one := shown(run, "datasets", source.name))
        assert all(command in one for command in source.commands)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_says_all_of_itself(run: Run, source: object) -> None:
    assert source in SOURCES
    (one,) = (each for each in SOURCES if each is source)
    said = shown(run, "datasets", one.name)
    for text in (one.url, one.commit[:12], one.licence, one.sensor, one.format, *one.answers, *one.limits):
        assert " ".join(text.split()) in said
    assert f"python -m dibench datasets {one.name} {one.url.rpartition('/')[2]} --out {one.name}" in said
    assert broken_rule("energy_source", one.energy_source) == ""
    assert len(one.commit) == 40 and int(one.commit, 16)


def test_what_is_written_is_a_sweep_s_directory(run: Run, clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = shown(run, "datasets", "gpu-layers", clone, "--out", out)
    assert "gpu-layers: 9 rows" in said
    assert f"python -m dibench fit {out}" in said
    table = load(out)
    assert len(table) == 9 and table["op"].tolist()[-1] == "network"
    selection = select(table)
    assert selection.setting["device"] == "NVIDIA A30" and selection.evidence
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None
    assert manifest["dataset"]["commit"] is None  # it is in no clone
    assert (manifest["dataset"]["lines"], manifest["dataset"]["lines_used"]) == (37, 9)
    assert manifest["energy_source"] == "external:nvidia-smi"
    assert manifest["command_line"][:3] == ["python", "-m", "dibench"]


def test_the_commit_is_that_of_the_clone(
    run: Run, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(clone, "init", "--quiet")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message", "made up")
    head = git(clone, "rev-parse", "HEAD")

    def commit(out: str, expected: str) -> str:
        folder = clone / "functional_general_benchmark"
        assert expected in shown(run, "datasets", "gpu-layers", folder, "-o", tmp_path / out)
        return str((files.read_json_object(tmp_path / out / "manifest.json") or {})["dataset"]["commit"])

    other = gpu_layers.SOURCE.commit[:12]
    assert commit("other", f"Commit {head[:12]}; the reader was written for {other}: compare") == head
    monkeypatch.setattr(gpu_layers, "SOURCE", attrs.evolve(gpu_layers.SOURCE, commit=head))
    assert commit("clean", f"Commit {head[:12]}, for which the reader was written.") == head
    with (clone / "functional_general_benchmark" / "fullmodel_A30").open("a") as file:
        file.write("\n")
    assert commit("changed", f"Commit {head[:12]} with changes, for which the reader") == head + "+"


def test_many_unread_lines_are_counted_and_the_first_shown(run: Run, tmp_path: Path) -> None:
    layer = Layer(N=1, C=2, H=9, W=9, K=4, R=3, S=3)
    facts = [conv_facts(layer, number) | {"macs": number} for number in range(12)]
    codecarbon(tmp_path / "00_conv2d-raw.csv", [(one, 30.0, 76.0) for one in facts])
    said = shown(run, "datasets", "cpu-layers", tmp_path, "--out", tmp_path / "out")
    assert "not read 12" in said and "… and 2 more, all in manifest.json." in said
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json") or {}
    assert len(manifest["dataset"]["lines_unread"]) == 12


def test_mistakes_are_one_line(run: Run, clone: Path, tmp_path: Path) -> None:
    assert "perhaps gpu-layers" in refused(run, "datasets", "gpu-layer")
    assert "--out: must be given" in refused(run, "datasets", "gpu-layers", clone)
    assert "PATH: must be given: your clone of" in refused(
        run, "datasets", "gpu-layers", "--out", tmp_path / "o"
    )
    assert "must be a clone of" in refused(
        run, "datasets", "gpu-layers", tmp_path / "no", "--out", tmp_path / "o"
    )
    message = refused(run, "datasets", "gpu-layers", clone, "--out", tmp_path)
    assert "must not exist yet, or be an empty directory" in message
