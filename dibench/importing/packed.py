"""Columns whose cells hold several values, as a column for each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

_PAIR = re.compile(r"\s*[\"']?([^:=\"']+?)[\"']?\s*[:=]\s*(.*?)\s*")


def pairs_of(text: str) -> dict[str, str]:
    """The values of `key:value,…` or `key=value;…`, by key.

    Raises:
        ValueError: a part is no such pair.

    >>> pairs_of("module:Conv2d,batch:8,free:"), pairs_of("taps=3;sms=half"), pairs_of('{"a": 1}')
    ({'module': 'Conv2d', 'batch': '8', 'free': ''}, {'taps': '3', 'sms': 'half'}, {'a': '1'})
    """
    text = text.strip().strip("{}")
    found = {}
    for part in text.split("," if "," in text else ";"):
        if part.strip():
            pair = _PAIR.fullmatch(part)
            if pair is None:
                raise ValueError(text)
            found[pair[1]] = pair[2].strip("\"'")
    return found


def new_names(column: str, keys: Iterable[str], taken: Collection[str]) -> Mapping[str, str]:
    """Key → the name of its column: the key, with that of the packed column before it where it is taken.

    >>> new_names("about", ["batch", "name"], {"name", "about"})
    {'batch': 'batch', 'name': 'about.name'}
    """
    return {key: f"{column}.{key}" if key in taken else key for key in keys}
