"""Tables that an editor or a spreadsheet saved between two runs: read where clear, else told how to go on."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from fake_backend import plan_of, sweep_of

from dibench.errors import UserError
from dibench.plan import Case
from dibench.plan.build import sha_of
from dibench.schema import NAMES
from dibench.sweep import record
from dibench.sweep.events import FilesMended
from dibench.sweep.parts import read_part
from dibench.sweep.run import Summary, run_sweep
from dibench.table import read_csv

NAMES_OF_CASES = ["first", "refuse", "third", "last"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    run_sweep(sweep_of(NAMES_OF_CASES), tmp_path / "out")
    return tmp_path / "out"


def resumed(out: Path) -> tuple[Summary, list[str]]:
    """Again, and what was mended."""
    told: list[str] = []

    def on_event(event: Any) -> None:
        if isinstance(event, FilesMended):
            told.append(event.what)

    return run_sweep(sweep_of(NAMES_OF_CASES), out, on_event=on_event), told


def refusal(out: Path) -> str:
    before = (out / record.TABLE).read_bytes()
    with pytest.raises(UserError) as caught:
        resumed(out)
    assert (out / record.TABLE).read_bytes() == before, "and the table is as it was"
    assert "--fresh" not in str(caught.value)
    return str(caught.value)


def separated(by: str) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        file = io.StringIO()
        csv.writer(file, delimiter=by, lineterminator="\r\n").writerows(csv.reader(io.StringIO(text)))
        return file.getvalue().encode()

    return change


def european(text: str) -> bytes:
    """Semicolons, decimal commas, a mark: what a spreadsheet saves in much of the world."""
    rows = list(csv.reader(io.StringIO(text)))
    cells = [[re.sub(r"^(-?\d+)\.(\d+)", r"\1,\2", cell) for cell in row] for row in rows]
    file = io.StringIO()
    csv.writer(file, delimiter=";", lineterminator="\r\n").writerows(cells)
    return b"\xef\xbb\xbf" + file.getvalue().encode()


def moved_and_added(text: str) -> bytes:
    """Columns in another order, and one of the user's own."""
    rows = [[*reversed(row), note] for row, note in zip(csv.reader(io.StringIO(text)), "nabcd", strict=True)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(
        [["note" if c == "n" else c for c in row] for row in rows]
    )
    return file.getvalue().encode()


SAVES: dict[str, Callable[[str], bytes]] = {
    "a mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CRLF, no last newline": lambda text: text.replace("\n", "\r\n")[:-2].encode(),
}
"""Nothing but the text's form is different."""
EDITS: dict[str, Callable[[str], bytes]] = {
    "semicolons": separated(";"),
    "tabs": separated("\t"),
    "decimal commas": european,
    "moved and added columns": moved_and_added,
}


@pytest.mark.parametrize("save", SAVES)
def test_a_table_saved_in_another_form_is_the_same_table(out: Path, save: str) -> None:
    table = out / record.TABLE
    before = table.read_bytes()
    table.write_bytes(SAVES[save](before.decode()))
    summary, told = resumed(out)
    assert (summary.measured, summary.left, told) == (0, 0, [])
    assert table.read_bytes() == before and not list(out.glob("sweep-edited-*"))


@pytest.mark.parametrize("edit", EDITS)
def test_what_has_one_meaning_is_read_and_kept_beside(out: Path, edit: str) -> None:
    table = out / record.TABLE
    before = table.read_bytes()
    edited = EDITS[edit](before.decode())
    table.write_bytes(edited)
    summary, (told,) = resumed(out)
    assert (summary.measured, summary.left) == (0, 0)
    assert table.read_bytes() == before
    (aside,) = out.glob("sweep-edited-*.csv")
    assert aside.read_bytes() == edited
    assert told == f"sweep.csv was edited: 4 rows of it are read, and it is kept as {aside.name}"


@pytest.mark.parametrize("name", [record.TABLE, record.VISITS])
def test_a_last_line_that_lacks_only_its_newline_is_kept(out: Path, name: str) -> None:
    before = (out / name).read_bytes()
    (out / name).write_bytes(before[:-1])
    summary, told = resumed(out)
    assert (summary.measured, told) == (0, [])
    assert (out / name).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "then", "measured"),
    [
        (record.TABLE, "its row is written again", 1),
        (record.VISITS, "its case is visited again unless it has its row", 0),
    ],
)
def test_what_is_cut_off_is_said(out: Path, name: str, then: str, measured: int) -> None:
    before = (out / name).read_bytes()
    (out / name).write_bytes(before[:-30])
    torn = len(before[:-30].rpartition(b"\n")[2])
    summary, told = resumed(out)
    assert told == [f"{torn:,} bytes of a last line without end are cut off {name}: {then}"]
    assert summary.left == 0 and summary.measured == measured
    assert read_csv(out / record.TABLE)["case_id"].is_unique


def test_visits_saved_by_an_editor_are_visits(out: Path) -> None:
    visits = out / record.VISITS
    before = visits.read_bytes()
    for edited in (
        b"\xef\xbb\xbf" + before,
        before.replace(b"\n", b"\r\n"),
        before.decode().encode("utf-16"),
    ):
        visits.write_bytes(edited)
        assert resumed(out)[0].measured == 0
        assert visits.read_bytes() == before
    manifest = out / record.MANIFEST
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())
    assert resumed(out)[0].measured == 0


def test_ids_that_are_not_the_plans_are_refused(out: Path) -> None:
    table = out / record.TABLE
    text = table.read_text()
    third = plan_of(NAMES_OF_CASES).cases[2].case_id
    other = plan_of(["another"] * 9).cases[-1].case_id
    for changed in (other, "7"):
        table.write_text(text.replace(third, changed))
        told = refusal(out)
        assert (
            "line 4: case_id: must be of a case of this plan, something changed it: delete the line" in told
        )
        assert "or move the file away: its rows are written again from visits.jsonl" in told
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("7,")))
    assert resumed(out)[0].measured == 1, "the row; its case is not measured"
    assert sorted(read_csv(table)["order"]) == [1, 2, 3, 4]
    assert (out / record.VISITS).read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("rounded", ["1.23457E+15", "1,23457E+15", "1.83842266272513E+15", "2E+15"])
def test_an_id_that_a_spreadsheet_rounded_is_refused_by_all_that_read_tables(out: Path, rounded: str) -> None:
    """Two of them may look the same, and `fit` took a case for another."""
    table = out / record.TABLE
    third = plan_of(NAMES_OF_CASES).cases[2].case_id
    cell = f'"{rounded}"' if "," in rounded else rounded
    table.write_text(table.read_text().replace(third, cell))
    rule = "line 4: case_id: must be an id: a spreadsheet took it for a number and rounded it"
    assert rule in refusal(out) and rounded in refusal(out)
    with pytest.raises(UserError, match=rule):
        read_csv(table)


def test_moved_away_the_table_is_written_again(out: Path) -> None:
    table = out / record.TABLE
    before = read_csv(table)
    table.write_text("op,N\nfc,1\n")
    assert "or move the file away: its rows are written again from visits.jsonl, or measured" in refusal(out)
    table.rename(out / "away.csv")
    summary, _ = resumed(out)
    assert summary.left == 0
    again = read_csv(table).sort_values("order", ignore_index=True)
    same = ["case_id", "order", "time_s", "time_ci_s", "status", "reason", "device", "device_uuid"]
    assert again[same].equals(before[same])
    assert (out / record.VISITS).read_bytes().count(b"\n") == 3, "nothing was measured again"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\x00\x81 no text\n", "sweep.csv: line 1: must be text in UTF-8"),
        (b"op,N\nfc,1\n", "sweep.csv: header: must have the column case_id"),
        (",".join(NAMES).encode() + b"\nc1,many\n", "sweep.csv: line 2: must have"),
    ],
)
def test_what_is_no_such_table_is_one_line_with_a_remedy(out: Path, content: bytes, said: str) -> None:
    (out / record.TABLE).write_bytes(content)
    told = refusal(out)
    assert said in told and told.count("\n") == 0 and "move the file away" in told


def test_tables_with_ids_of_earlier_versions_are_read_and_resumed(out: Path) -> None:
    """The digits alone, in table and visits, under a plan of the same SHA-256."""
    cases = plan_of(NAMES_OF_CASES).cases
    ids = [case.case_id for case in cases]
    before = {name: (out / name).read_text() for name in (record.TABLE, record.VISITS)}
    for name, text in before.items():
        for case_id in ids:
            text = text.replace(case_id, case_id[1:])
        assert "".join(ids[0:1])[1:] in text
        (out / name).write_text(text)
    assert list(read_csv(out / record.TABLE)["case_id"]) == ids
    visits = list(read_part(out).visits or ())
    assert visits and {visit.case_id for visit in visits} | {visit.group for visit in visits} <= set(ids)
    summary, told = resumed(out)
    assert (summary.measured, summary.left, told) == (0, 0, [])
    assert (out / record.TABLE).read_text() == before[record.TABLE]


def test_the_sha_of_a_plan_is_that_of_earlier_versions() -> None:
    """It is part of what resuming compares."""
    assert sha_of(plan_of(["a", "b"]).cases) == (
        "1c104ca214d20c51781711658c9326a0c67fe3d8271527cb6fb384e718e9cf02"
    )


def test_no_id_is_a_number_to_a_spreadsheet() -> None:
    number = re.compile(r"[+-]?[\d.,]+([eE][+-]?\d+)?")
    cases = plan_of(["case"] * 300).cases
    assert not any(number.fullmatch(case.case_id) for case in cases)
    assert all(re.fullmatch("c[0-9a-f]{16}", case.case_id) for case in cases)
    assert any(number.fullmatch(digits) for digits in ("1838422662725131", "12345678901234e5"))
    one: Case = attrs.evolve(cases[0], order=2)
    assert json.loads(one.key) and one.case_id == cases[0].case_id
