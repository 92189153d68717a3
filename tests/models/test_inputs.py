"""The sizes that a user gives for a model's inputs, and the batch in them: one meaning for every source."""

from __future__ import annotations

from typing import Any

import pytest

import dibench
from dibench import models
from dibench.errors import UserError
from dibench.models.inputs import at_batch, parse_inputs


@pytest.mark.parametrize(
    ("texts", "batch", "shapes", "marked"),
    [
        (["1,3,8,8"], None, {"": "1,3,8,8"}, None),
        (["128,2,64"], None, {"": "128,2,64"}, None),
        (["1,3,8,8"], 4, {"": "4,3,8,8"}, None),
        (["4,3,8,8"], 4, {"": "4,3,8,8"}, None),
        (["N,3,8,8"], None, {"": "1,3,8,8"}, 1),
        (["128,N,64"], 4, {"": "128,4,64"}, 4),
        (["ids=1x77:int64", "mask=77,77", "t=1:int64"], 4,
         {"ids": "4x77:int64", "mask": "77,77", "t": "4:int64"}, None),
        (["ids=N,77:int64", "t=1:int64"], 4, {"ids": "4,77:int64", "t": "1:int64"}, 4),
        (["x=10,3"], 10, {"x": "10,3"}, None),
    ],
)  # fmt: skip
def test_a_batch_stands_where_the_shape_says(
    texts: list[str], batch: int | None, shapes: dict[str, str], marked: int | None
) -> None:
    assert at_batch(parse_inputs(texts), batch) == (shapes, marked)


@pytest.mark.parametrize("text", ["4,3,8,8", "10,3,8,8"])
def test_a_batch_that_the_shape_contradicts_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"--batch: must be that of --input-shape, \d+, or N .* N,3,8,8 \(got 2\)"
    ):
        at_batch({"": text}, 2)


@pytest.mark.parametrize("text", ["N3,8", "NN,8", "n,8", "1,3,N8"])
def test_an_n_that_marks_no_size_is_no_shape(text: str) -> None:
    with pytest.raises(UserError, match="--input-shape: must be at most 8 whole numbers"):
        parse_inputs([text])


def test_a_module_has_the_batch_that_is_marked() -> None:
    torch = pytest.importorskip("torch")
    model = models.load(torch.nn.Linear(64, 32), batch=4, shapes={"": "128,N,64"})
    assert (model.batch, model.input_shapes, model.macs) == (4, {"": (128, 4, 64)}, 128 * 4 * 64 * 32)


def test_shapes_are_taken_as_numbers_and_several_go_by_position() -> None:
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):  # type: ignore[misc,name-defined]  # PyTorch is imported at run time
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = torch.nn.Linear(8, 4), torch.nn.Linear(3, 2)

        def forward(self, wide: object, narrow: object) -> object:
            return self.wide(wide), self.narrow(narrow)

    linear = torch.nn.Linear(8, 8)
    for one in ((1, 8), [1, 8], torch.Size([1, 8]), [(1, 8)], "1,8", ["1,8"]):
        assert dibench.layers(linear, input_shape=one).macs == 64
    assert dibench.layers(linear, input_shape=(1, 8), batch=5).macs == 5 * 64
    assert dibench.layers(Two(), input_shape=[(1, 8), (1, 3)]).macs == 8 * 4 + 3 * 2
    assert dibench.layers(Two(), input_shape=[(1, 8), (1, 3)], batch=2).macs == 2 * (8 * 4 + 3 * 2)


@pytest.mark.parametrize("given", [8, None, {"x": 8}, (1, 8.5), (1, None), [(1, 8), None], [()], (0, 8)])
def test_what_is_no_shape_is_refused_in_a_line(given: Any) -> None:
    with pytest.raises(UserError, match=r"^input_shape"):
        dibench.layers("some.onnx", input_shape=given)
