"""What no GPU, or not one of an architecture, can hold: refused by name, left out of plans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_gpu import FC

from dibench import kernels
from dibench.errors import UserError
from dibench.kernels import architectures
from dibench.plan import load_plan, presets


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("arch", [61, 90])
def test_every_case_of_a_preset_fits_the_gpu_it_is_planned_for(name: str, arch: int) -> None:
    plan = load_plan(name, backend="cuda", arch=arch)
    registry = kernels.registry("cuda")
    for case in plan.cases:
        if case.anchor:
            continue
        registry[case.variant].check(case.layer, case.knobs)
        architectures.check(registry[case.variant], case.layer, case.knobs, case.instances, arch)
    kinds = {
        (case.layer.op, registry[case.variant].fast or registry[case.variant].stationarity)
        for case in plan.cases
        if not case.anchor
    }
    if name in ("smoke", "default"):
        for op in kernels.OPERATORS:
            assert {kind for known, kind in kinds if known == op} == {True, *kernels.STATIONARITIES}


def test_what_no_gpu_can_hold_is_left_out_of_a_plan_with_limit_and_value(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[plan]\nsms = ["whole", "quarter"]\ncold = [false, true]\n'
        '[[layers]]\nlayers = ["N=1,C=8,H=7,W=7,K=8,R=1,S=1", "N=64,C=4096,H=96,W=96,K=8,R=1,S=1"]\n'
        '[[kernels]]\nvariants = ["conv_no_reuse"]\nlanes = ["p", "k"]\nwarps = 4\n'
    )
    planned = load_plan(plan, backend="cuda", arch=90)
    cases = [case for case in planned.cases if not case.sentinel]
    assert {(case.sms, case.cold, case.knobs["lanes"], case.knobs["warps"]) for case in cases} == {
        (sms, cold, lanes, 4) for sms in ("whole", "quarter") for cold in (False, True) for lanes in "pk"
    }
    assert planned.dropped == {f"conv_no_reuse: inputs: must be fewer than 2^31 = {2**31} elements": 2}
    with pytest.raises(UserError, match=r"sms: is for backends with multiprocessors, not for cpu"):
        load_plan(plan, backend="cpu")
    plan.write_text(plan.read_text().replace("warps = 4", "warps = 5"))
    with pytest.raises(UserError, match=r"warps: no case can use this value: .* must be one of .*\(got 5\)"):
        load_plan(plan, backend="cuda")
    plan.write_text('[[layers]]\nlayers = ["N=1,C=8,H=7,W=7,K=8,R=1,S=1"]\n')
    plan.write_text(plan.read_text() + '[[kernels]]\nvariants = ["conv_tensor_half"]\n')
    with pytest.raises(UserError, match=r"dtype: must be one of bf16, fp16 \(got 'fp32'\)"):
        load_plan(plan, backend="cuda")


def test_limits_of_an_architecture_are_named(tmp_path: Path) -> None:
    header = (kernels.source_directory() / "cuda" / "conv_no_reuse.cu").read_text()
    source = tmp_path / "hungry.cu"

    def refused(on: int, **changes: str) -> str:
        text = header
        for field, value in changes.items():
            text = re.sub(rf"^{field} *= .*$", f'{field} = "{value}"', text, count=1, flags=re.MULTILINE)
        source.write_text(text)
        hungry = kernels.read_variant(source, "cuda")
        with pytest.raises(UserError) as refusal:
            architectures.check(hungry, FC, {"lanes": "p", "cache": "ca", "warps": 8}, arch=on)
        return str(refusal.value)

    assert refused(90, shared="300000") == (
        "hungry: shared memory: must be at most 232448 bytes on sm_90 (got 300000)"
    )
    assert "at most 101376 bytes on sm_89 (got 150000)" in refused(89, shared="150000")
    assert refused(90, block="128 * warps + 32") == (
        "hungry: threads of a block: must be at most 1024 on sm_90 (got 1056)"
    )
    assert refused(90, grid="16777216") == (
        "hungry: threads of a launch: must be at most 2147483648 on sm_90 (got 4294967296)"
    )
    assert refused(75, arch=">=80") == "hungry: arch: must be at least sm_80 (got 'sm_75')"
