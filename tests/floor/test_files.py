"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dibench import files
from dibench.errors import UserError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    files.write_json(path, {"rows": 1})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"manifest\.json: cannot be written: No space left"):
        files.write_json(path, {"rows": 2})
    assert files.read_json_object(path) == {"rows": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: (is not JSON|must be a JSON object)"):
        files.read_json_object(path)


def test_json_is_written_plain(tmp_path: Path) -> None:
    files.write_json(tmp_path / "m.json", {"when": Path("x"), "ü": [1, None]})
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")) == {"when": "x", "ü": [1, None]}


def test_a_list_may_be_made_while_it_is_written() -> None:
    def figures(of: Callable[[list[int]], object]) -> object:
        one = {"layers": of([1, 2]), "none": of([]), "text": "a\nb", "deeper": {"x": [1, {}], "y": of([3])}}
        return of([one, 4])  # type: ignore[list-item]  # lists of anything

    whole = json.dumps(figures(lambda one: one), indent=1)
    assert "".join(files.json_pieces(figures(iter))) == whole


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_what_is_no_regular_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.replace_file(pipe, b"figures")
        assert os.read(reader, 100) == b"figures"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "fit.json").symlink_to("disk/fit.json")
    files.replace_file(tmp_path / "fit.json", b"{}")
    assert (tmp_path / "fit.json").is_symlink()
    assert (tmp_path / "disk" / "fit.json").read_bytes() == b"{}"


def test_an_error_between_pieces_leaves_the_old_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.csv"
    files.replace_file(path, (b"%d\n" % number for number in range(3)))
    assert path.read_bytes() == b"0\n1\n2\n"

    def broken() -> Iterator[bytes]:
        yield b"new\n"
        raise RuntimeError("between two pieces")

    with pytest.raises(RuntimeError, match="between"):
        files.replace_file(path, broken())
    assert path.read_bytes() == b"0\n1\n2\n" and list(tmp_path.iterdir()) == [path]
