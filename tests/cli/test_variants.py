"""`variants` shows the whole family, to people and to programs."""

from __future__ import annotations

import json
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
    _, out, _ = run([], capsys)
    words = " ".join(out.split())
    for backend in ("cpu", "cuda"):
        for variant in kernels.registry(backend).values():
            assert variant.name in words
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
