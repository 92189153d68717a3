"""Labels of rows: an array of texts (n,) of which equal ones are one object, so that a row takes 8 bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.object_]


def labelled(values: Any, text: Callable[[Any], str] = str) -> Labels:
    """A text for each value; equal values are converted once."""
    import pandas as pd

    code, different = pd.factorize(np.asarray(values, dtype=object))
    return np.array([text(value) for value in different], dtype=object)[code]


def distinct(labels: Any) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """The different labels, sorted, and the place of each row's: `np.unique` without a sort of all.

    >>> distinct(np.array(["b", "a", "b"], dtype=object))
    (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
    """
    import pandas as pd

    code, found = pd.factorize(np.asarray(labels, dtype=object))
    different = np.array(found, dtype=np.str_)
    order = np.argsort(different)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return different[order], place[code]
