"""`variants` shows the whole family, to people and to programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dibench import cli, kernels
from dibench.check import resources
from dibench.errors import UserError
from dibench.kernels.compilers import nvrtc


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["variants", *arguments])
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


def test_json_has_an_object_for_every_variant_and_operator(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["--json"], capsys)
    assert (status, err) == (0, "")
    listed = json.loads(out)
    expected = {
        (backend, variant.name, op)
        for backend in ("cpu", "cuda")
        for variant in kernels.registry(backend).values()
        for op in variant.ops
    }
    assert {(one["backend"], one["name"], one["op"]) for one in listed} == expected
    assert len(listed) == len(expected)
    one = next(one for one in listed if one["name"] == "conv_output_stationary" and one["backend"] == "cuda")
    assert one["stationarity"] == "output"
    assert one["knobs"]["tile_p"] == [1, 2, 4, 8] and one["knobs"]["tile_c"] == "any"
    assert one["arch"] == ">=60" and one["teaches"]


def test_five_operators_under_four_stationarities_on_both_backends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = json.loads(run(["--json"], capsys)[1])
    for backend in ("cpu", "cuda"):
        found = {(one["op"], one["stationarity"]) for one in listed if one["backend"] == backend}
        for op in kernels.OPERATORS:
            for stationarity in kernels.STATIONARITIES:
                assert (op, stationarity) in found


def test_the_table_names_every_variant_with_knobs_and_what_it_teaches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, brief, _ = run([], capsys)
    _, out, _ = run(["--full"], capsys)
    assert len(brief.splitlines()) <= 26, "one screen"
    words = " ".join(out.split())
    for backend in ("cpu", "cuda"):
        for variant in kernels.registry(backend).values():
            assert variant.name in words and variant.name in brief
            assert " ".join(variant.teaches.split()) in words
    assert "tile_p 1 2 4 8" in words and "sm_60" in words
    _, only, _ = run(["--backend", "cpu"], capsys)
    assert "cuda" not in only and "fc_dot" in only


def test_an_unknown_backend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--backend", "tpu"], capsys) == (
        2,
        "",
        "dibench: --backend: must be one of cpu, cuda (got 'tpu')\n",
    )


def test_resources_by_architecture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "ARCHS", (61, 90))
    few = {name: kernels.registry("cuda")[name] for name in ("conv_no_reuse", "conv_output_stationary")}
    monkeypatch.setattr(kernels, "registry", lambda backend: few if backend == "cuda" else {})
    monkeypatch.setattr(resources.needs, "__defaults__", ((61, 90),))
    status, out, _ = run(["--resources"], capsys)
    assert status == 0
    (line,) = (line for line in out.splitlines() if "conv_no_reuse" in line)
    registers = [int(cell.partition("/")[0]) for cell in line.split()[1:]]
    assert len(registers) == 2 and all(16 <= count <= 255 for count in registers)
    listed = json.loads(run(["--resources", "--json"], capsys)[1])
    needed: list[dict[str, Any]] = listed[0]["resources"]
    assert [(one["arch"], one["registers"]) for one in needed] == [
        ("sm_61", registers[0]),
        ("sm_90", registers[1]),
    ]
    assert all(one["spill_bytes"] == 0 for one in needed)


def test_resources_without_a_compiler_say_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(major: int) -> Any:
        raise UserError("nvrtc", f"CUDA {major}'s compiler is missing: pip install nvidia-cuda-nvrtc")

    monkeypatch.setattr(nvrtc, "compiler", missing)
    status, out, err = run(["--resources"], capsys)
    assert (status, out) == (2, "")
    assert err.strip().endswith("pip install nvidia-cuda-nvrtc")


# ---- --limits ----------------------------------------------------------------------------------------


def test_limits_of_a_layer_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["--limits", "mobilenet_v2/features.3.conv.1.0", "-N", "8"], capsys)
    assert status == 0
    (line,) = (line for line in out.splitlines() if "depthwise_window" in line)
    assert re.search(r"\d+ µs .*% DRAM", line)
    assert "H200" in out and "no GPU was asked" in out


def test_limits_as_json_are_one_object_for_each_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    layer = "N=1,C=16,H=14,W=14,K=32,R=1,S=1"
    listed = json.loads(run(["--limits", layer, "--arch", "80", "--dtype", "tf32", "--json"], capsys)[1])
    (one,) = listed
    assert (one["variant"], one["dtype"], one["arch"], one["card"]) == (
        "conv_tensor_tf32",
        "tf32",
        "sm_80",
        "A100",
    )
    assert one["registers"] <= 255 and one["blocks"] >= 1 and one["spill_bytes"] == 0
    assert 0 < one["share_of_peak"] < 1 and one["time_s"] > 0
    assert {"issue", "L1", "L2", "tensor"} == set(one["unit_shares"])


def test_limits_of_a_network_are_sums_over_its_layers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "net.csv"
    table.write_text("name,N,C,H,W,K,R,S\na,1,16,14,14,32,1,1\nb,1,16,14,14,32,1,1\n", "utf-8")
    told = json.loads(run(["--limits", str(table), "-N", "1", "--dtype", "fp32", "--json"], capsys)[1])
    (network,), layers = told["networks"], told["layers"]
    assert network["time_s"] == pytest.approx(2 * layers[0]["time_s"])
    assert sum(network["binds"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limits", "--arch", "91"], "--arch: must be one of 75, 80, 86, 89, 90, 100, 120 (got 91)"),
        (["--limits", "--dtype", "int8"], "--dtype: must be one of fp32, tf32, fp16, bf16 (got 'int8')"),
        (["--limits", "resnet50", "resnet50/fc"], "LAYER: must all be layers, or all networks"),
        (["resnet50/fc"], "LAYER: goes with --limits"),
    ],
)
def test_wrong_limits_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(arguments, capsys)
    assert (status, out) == (2, "")
    assert err.startswith(f"dibench: {message}") and err.count("\n") == 1
