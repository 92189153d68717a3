"""Layers for the paths of every CUDA kernel, on the harness, and that a wrong kernel is noticed there."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_paths import ALL, PathCase, check_case
from kernel_mutants import CAUGHT, NO_CODE, SAME_CODE, SURVIVED, Mutant, chosen, files, judge

from dibench.kernels import registry

CASES = [
    pytest.param(name, case, id=f"{name} {case.dtype} {number}")
    for name, cases in ALL.items()
    for number, case in enumerate(cases)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), CASES)
def test_each_layer_is_right_and_counted(name: str, case: PathCase) -> None:
    check_case(registry("cuda")[name], case)


def test_every_kernel_and_every_data_type_has_cases() -> None:
    for name, variant in registry("cuda").items():
        assert {case.dtype for case in ALL[name]} == set(variant.dtypes)
        assert {case.layer.op for case in ALL[name]} <= set(variant.ops)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", chosen(4, seed=19), ids=Mutant.shown)
def test_a_wrong_kernel_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    assert judge(mutant, tmp_path).outcome == CAUGHT


def test_a_mutant_without_meaning_is_told_from_one_that_survives(tmp_path: Path) -> None:
    """One that no compiler takes, and one whose machine code is the same, count neither way."""
    (path,) = (path for path in files() if path.name == "fc_matrix_vector.cu")

    def outcome(was: str, becomes: str) -> str:
        return judge(
            Mutant(path, "by hand", path.read_text("utf-8").index(was), was, becomes), tmp_path
        ).outcome

    assert outcome("constexpr int threads", "constexpr no threads") == NO_CODE
    assert outcome("threads = 32 * warps", "threads = warps * 32") == SAME_CODE
    assert outcome("of_warps[warps][sums]", "of_warps[warps + 1][sums]") == SURVIVED, "it is only longer"


def test_mutants_are_the_same_for_a_seed_and_lie_in_code() -> None:
    some = chosen(60, seed=1)
    assert some == chosen(60, seed=1) != chosen(60, seed=2)
    assert len({mutant.path for mutant in some}) == len(files())
    for mutant in some:
        line = mutant.text()[: mutant.begin].rpartition("\n")[2]
        assert "//" not in line and not line.lstrip().startswith("#")
