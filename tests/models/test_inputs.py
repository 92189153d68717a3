"""The sizes that a user gives for a model's inputs, and the batch in them: one meaning for every source."""

from __future__ import annotations

import pytest

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
