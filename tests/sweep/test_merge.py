"""Sweeps of several machines as one: joined to the last byte; what overlaps or contradicts is refused."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import ref

import attrs
import pytest
from fake_backend import sweep_of
from replayed_plans import plan_of, replayed

from dibench import files, kernels, schema, table
from dibench.cli import main
from dibench.errors import UserError
from dibench.plan.shard import Shard
from dibench.schema import Row
from dibench.sweep import kept_rows, record
from dibench.sweep.events import VisitEnded
from dibench.sweep.merge import gather, merge, read_run
from dibench.sweep.parts import read_part
from dibench.sweep.run import Sweep, run_sweep
from dibench.sweep.visit_book import Entry, VisitBook
from dibench.table import read_csv


def shard_sweep(index: int, of: int, names: list[str], **changes: Any) -> Sweep:
    """One shard of a plan of instantaneous cases."""
    sweep = sweep_of(names)
    cases = tuple(Shard(index, of).deal(sweep.plan.cases))
    plan = attrs.evolve(sweep.plan, cases=cases, shard=f"{index}/{of}")
    return attrs.evolve(sweep, plan=plan, **changes)


NAMES = [f"layer{number}" for number in range(7)]


@pytest.fixture(scope="module")
def measured_parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp(f"part{index}") for index in (1, 2, 3)]
    for index, folder in enumerate(folders, start=1):
        run_sweep(shard_sweep(index, 3, NAMES), folder)
    return folders


@pytest.fixture
def parts(measured_parts: list[Path], tmp_path: Path) -> list[Path]:
    """Three shards, to be spoiled."""
    return [Path(shutil.copytree(part, tmp_path / part.name)) for part in measured_parts]


def test_shards_merge_into_the_whole_sweep(parts: list[Path], tmp_path: Path) -> None:
    merged = merge(parts[::-1], tmp_path / "out")
    assert (len(merged.rows), merged.statuses, merged.missing_shards) == (7, {"ok": 7}, ())
    frame = read_csv(tmp_path / "out" / "sweep.csv")
    assert list(frame["name"]) == NAMES, "in the plan's order"
    lines = {line for part in parts for line in (part / "sweep.csv").read_bytes().splitlines()}
    assert set((tmp_path / "out" / "sweep.csv").read_bytes().splitlines()) == lines, "to the last byte"
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert manifest["plan"]["cases"] == 7 and len(manifest["sessions"]) == 3
    assert [one["shard"] for one in manifest["merged_from"]] == ["3/3", "2/3", "1/3"]
    with pytest.raises(UserError, match=r"shard: was 'merged'"):
        run_sweep(sweep_of(NAMES), tmp_path / "out")
    with pytest.raises(UserError, match="is merged already"):
        merge([tmp_path / "out"], tmp_path / "again")


def test_merge_holds_one_row_and_one_visit_at_a_time_and_reads_each_once(
    parts: list[Path], tmp_path: Path
) -> None:
    """A million rows of a GPU take 2 GB, and have two million visits of 7 kB; lines are copied as text."""
    known, most = {Row: list[ref[Any]](), Entry: list[ref[Any]]()}, {Row: 0, Entry: 0}

    def noted(made: Any) -> Any:
        kind = type(made)
        known[kind].append(ref(made))
        most[kind] = max(most[kind], sum(one() is not None for one in known[kind]))
        return made

    def of_line(line: str, make: Callable[[str], Entry] = Entry.of_line) -> Any:
        return noted(make(line))

    def read_rows(*given: Any) -> Any:
        return map(noted, table.read_rows(*given))

    with patch.object(Entry, "of_line", of_line), patch.object(kept_rows, "read_rows", read_rows):
        merged = merge(parts, tmp_path / "out")
    assert merged.visits == 7 == (tmp_path / "out" / record.VISITS).read_bytes().count(b"\n")
    assert len(known[Entry]) == len(known[Row]) == 7, "once each"
    assert max(most.values()) <= 2, "the one at hand, and the one before it"


def grown(part: Path, out: Path, rows: int, shard: str) -> Path:
    """A sweep of so many rows: those of a part over and over, each with its visit and an id of its own."""
    shutil.copytree(part, out)
    for name in (record.TABLE, record.VISITS):
        head, lines = "", (part / name).read_text().splitlines(keepends=True)
        if name == record.TABLE:
            head, *lines = lines
        case = schema.Row(case_id=read_csv(part / record.TABLE)["case_id"][0]).case_id
        line = next(line for line in lines if case in line)
        copies = (line.replace(case, f"c{shard[0]}{number:015}") for number in range(rows))
        (out / name).write_text(head + "".join(copies))
    of_identity(shard=shard)(out)
    return out


def test_what_merge_keeps_of_a_row_and_its_visits(parts: list[Path], tmp_path: Path) -> None:
    """As whole rows five million take 10 GB."""
    peaks, sizes = [], (50, 50, 250)  # what is imported and kept at the first call is no row's
    for turn, rows in enumerate(sizes):
        folder = tmp_path / str(turn)
        halves = [grown(parts[0], folder / f"{index}", rows, f"{index}/2") for index in (1, 2)]
        tracemalloc.start()
        assert len(merge(halves, folder / "out").rows) == 2 * rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / (2 * (sizes[2] - sizes[1])) < 1_000


def test_lines_that_are_not_as_dibench_writes_them_are_merged_in_its_form(
    parts: list[Path], tmp_path: Path
) -> None:
    """Blank lines, line ends of another system, numbers as a spreadsheet writes them."""
    whole = merge(parts, tmp_path / "whole")
    spoil_table(parts[0], lambda text: text.replace("\n", "\r\n").replace("\r\n", "\n", 1))
    spoil_table(parts[1], lambda text: text.replace("\n", "\n\n", 2).replace(",1,", ",1.0,"))
    merge(parts, tmp_path / "edited")
    assert (parts[0] / record.TABLE).read_bytes() not in (tmp_path / "edited" / record.TABLE).read_bytes()
    tables = [(tmp_path / name / record.TABLE).read_bytes() for name in ("whole", "edited")]
    assert tables[0] == tables[1] and len(whole.rows) == 7


def test_a_table_that_is_changed_while_it_is_merged_is_not_copied(parts: list[Path]) -> None:
    rows = read_part(parts[0]).rows
    spoil_table(parts[0], lambda text: text[:-1].replace("\n", "\n ", 1) + "\n")
    with pytest.raises(UserError, match=r"sweep\.csv: was changed while it was read: give the command again"):
        list(kept_rows.lines_of(rows))


def test_missing_shards_and_cases_are_told(parts: list[Path], tmp_path: Path) -> None:
    lines = (parts[0] / "sweep.csv").read_text().splitlines(keepends=True)
    (parts[0] / "sweep.csv").write_text("".join(lines[:-1]))
    merged = merge([parts[0], parts[2]], tmp_path / "out")
    assert merged.missing_shards == ("2/3",)
    assert [part.left for part in merged.parts] == [1, 0]


def test_the_device_mix_is_told(parts: list[Path], tmp_path: Path) -> None:
    spoil_manifest(parts[1], lambda m: m["device"].update(name="other", uuid="other-0"))
    spoil_table(parts[1], lambda text: text.replace("fake device,fake-0", "other,other-0"))
    spoil_table(parts[1], lambda text: text.replace('"fake-0"', '"other-0"'), "visits.jsonl")
    spoil_manifest(parts[1], lambda m: m["identity"].update(device="other"))
    merged = merge(parts, tmp_path / "out")
    assert merged.devices == {"fake device": 1, "other": 1}
    manifest = files.read_json_object(tmp_path / "out" / "manifest.json")
    assert manifest is not None and manifest["device"]["name"] == "fake device, other"
    assert "peaks" not in manifest, "peaks of two kinds of device are peaks of none"


def spoil_manifest(part: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((part / "manifest.json").read_text())
    change(manifest)
    (part / "manifest.json").write_text(json.dumps(manifest))


def spoil_table(part: Path, change: Callable[[str], str], name: str = "sweep.csv") -> None:
    (part / name).write_text(change((part / name).read_text()))


def of_identity(**changes: Any) -> Callable[[Path], None]:
    return lambda part: spoil_manifest(part, lambda m: m["identity"].update(changes))


def twice(part: Path) -> None:
    """A case of another shard here too."""
    foreign = (part.parent / "part10" / "sweep.csv").read_text().splitlines()[1]
    session = json.loads((part / "manifest.json").read_text())["sessions"][0]["session"]
    cells = foreign.split(",")
    cells[schema.NAMES.index("session")] = session
    spoil_table(part, lambda text: text + ",".join(cells) + "\n")


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another plan": (of_identity(**{"content of the plan (SHA-256)": "0"}), "content of the plan"),
    "other kernels": (
        of_identity(**{"kernel sources (SHA-256)": "0"}),
        "kernel sources (SHA-256): must be the",
    ),
    "another seed": (of_identity(seed=9), "seed: must be the same in all parts: 1 in"),
    "another meter": (of_identity(**{"energy source": "rapl"}), "energy source: must be the same"),
    "another target": (of_identity(target=0.7), "target: must be the same"),
    "another division": (of_identity(shard="2/4"), "shard: must divide the plan alike"),
    "the whole": (of_identity(shard=None), "shard: must divide the plan alike"),
    "the same shard": (of_identity(shard="1/3"), "shard: must be given once"),
    "a case twice": (twice, "case_id: must stand in one part only"),
    "another device": (
        lambda part: spoil_table(part, lambda text: text.replace("fake-0", "fake-1", 1)),
        "line 2: device_uuid: contradicts the manifest",
    ),
    "an unknown session": (
        lambda part: spoil_manifest(part, lambda m: m["sessions"].clear()),
        "line 2: session: contradicts the manifest",
    ),
    "a torn line": (lambda part: spoil_table(part, lambda text: text[:-40]), "is cut off"),
    "another header": (
        lambda part: spoil_table(part, lambda text: text.replace("case_id", "case", 1)),
        "table",
    ),
    "no manifest": (lambda part: (part / "manifest.json").unlink(), "has no manifest.json"),
    "no sweep's manifest": (lambda part: (part / "manifest.json").write_text("{}"), "is not the manifest"),
    "no JSON": (lambda part: (part / "manifest.json").write_text("{"), "is not JSON"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_overlaps_or_contradicts_is_refused_and_nothing_is_written(
    what: str, parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = SPOILED[what]
    spoil(parts[1])
    with pytest.raises(SystemExit) as exit_info:
        main(["merge", *map(str, parts), "--out", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert words in err and str(parts[1]) in err and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {part.name for part in parts}


@pytest.fixture(scope="module")
def visited_parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of a plan in visits, on a replayed GPU each; the second one ended between visits."""
    folder = tmp_path_factory.mktemp("visited")
    outs = []
    for index in (1, 2):
        plan = plan_of(folder, visits=2, per_op=2, shard=Shard(index, 2))
        outs.append(folder / f"half{index}")
        seen: list[VisitEnded] = []

        def stop(event: object, seen: list[VisitEnded] = seen, index: int = index) -> None:
            if isinstance(event, VisitEnded):
                seen.append(event)
                if index == 2 and len(seen) == 2:
                    raise KeyboardInterrupt

        run_sweep(replayed(plan, devices=(f"GPU-{index}",)), outs[-1], on_event=stop)
    return outs


@pytest.fixture
def halves(visited_parts: list[Path], tmp_path: Path) -> list[Path]:
    """Those two shards, to be spoiled."""
    return [Path(shutil.copytree(part, tmp_path / part.name)) for part in visited_parts]


def test_the_visits_of_shards_are_joined_too(halves: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge(halves[::-1], out)
    visits = [(half / record.VISITS).read_bytes() for half in halves]
    assert (out / record.VISITS).read_bytes() == visits[1] + visits[0], "to the last byte"
    # Its rows follow from them, as they do in each half: those of a case on its own card.
    frame = read_csv(out / record.TABLE)
    book = VisitBook(out / record.VISITS, {})
    for row in record.written(out / record.TABLE):
        found = book.row(row)
        assert found is not None and (found.energy_j, found.ci_drift_j) == (row.energy_j, row.ci_drift_j)
    book.close()
    assert set(frame["device_uuid"]) == {"GPU-1", "GPU-2"} and (frame["status"] == "flagged").sum() >= 2


def spoil_visits(part: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = part / record.VISITS
    visits = [json.loads(line) for line in path.read_text().splitlines()]
    change(visits)
    path.write_text("".join(json.dumps(visit) + "\n" for visit in visits))


def visited_elsewhere(half: Path) -> None:
    """A visit, without a row yet, of a case that the other half measured."""
    foreign = json.loads((half.parent / "half1" / record.VISITS).read_text().splitlines()[0])
    spoil_visits(half, lambda visits: visits.append({**foreign, "device_uuid": "GPU-2"}))


SPOILED_VISITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no visits": (
        lambda half: (half / record.VISITS).unlink(),
        "has no visits.jsonl, of which its rows are made: copy it, too",
    ),
    "one too few": (
        lambda half: spoil_visits(half, lambda visits: visits.pop()),
        "contradicts visits.jsonl beside it, by which it is",
    ),
    "one too many": (
        lambda half: spoil_visits(half, lambda visits: visits.append(visits[-1])),
        "visits: contradicts visits.jsonl beside it, by which it is 2 (got 1)",
    ),
    "other launches": (
        lambda half: spoil_visits(half, lambda visits: visits[0]["visit"].update(launches=1)),
        "launches: contradicts visits.jsonl beside it, by which it is",
    ),
    "an unknown card": (
        lambda half: spoil_visits(half, lambda visits: visits[0].update(device_uuid="GPU-3")),
        "visits.jsonl: line 1: device_uuid: contradicts the manifest, which was written on",
    ),
    "a case visited twice": (visited_elsewhere, "case_id: must stand in one part only"),
    "a torn visit": (
        lambda half: (half / record.VISITS).write_bytes((half / record.VISITS).read_bytes()[:-40]),
        "visits.jsonl: is cut off: run its sweep again, which repairs it",
    ),
    "another file": (
        lambda half: (half / record.VISITS).write_text("{}\n"),
        "visits.jsonl: line 1: is not a visit",
    ),
}


@pytest.mark.parametrize("what", SPOILED_VISITS)
def test_visits_that_contradict_are_refused(what: str, halves: list[Path], tmp_path: Path) -> None:
    spoil, words = SPOILED_VISITS[what]
    spoil(halves[1])
    with pytest.raises(UserError) as refused:
        merge(halves, tmp_path / "out")
    assert words in str(refused.value) and str(halves[1]) in str(refused.value)
    assert not (tmp_path / "out").exists()


def as_runs(halves: list[Path]) -> Any:
    """The same as runs of a campaign whose joules a sensor measured, which only a GPU can make."""
    for half in halves:
        spoil_table(half, lambda text: text.replace(",simulated,", ",nvml_counter,"))
        manifest = (half / "manifest.json").read_text()
        (half / "manifest.json").write_text(manifest.replace('"simulated"', '"nvml_counter"'))
    return patch.object(kernels, "sources_sha", lambda _: json.loads(manifest)["sources_sha"])


def test_runs_of_a_campaign_may_have_been_killed_but_not_contradict_themselves(halves: list[Path]) -> None:
    with as_runs(halves):
        joined = gather(halves)
        visits = b"".join((half / record.VISITS).read_bytes() for half in halves)
        assert b"".join(joined.visit_lines()) == visits and len(joined.rows) == sum(
            len(p.rows) for p in joined.parts
        )
        again = gather([halves[0], *halves])
        assert again.rows == joined.rows, "each case of a card once"
        with (halves[0] / record.VISITS).open("a") as file:
            file.write('{"case_id": "cut o')
        spoil_table(halves[0], lambda text: text + "0123,4")
        assert gather(halves).rows == joined.rows
        spoil_visits(halves[1], lambda visits: visits.pop())
        with pytest.raises(UserError, match=r"contradicts visits\.jsonl beside it"):
            gather(halves)


def test_runs_are_gathered_by_reading_each_table_once(halves: list[Path]) -> None:
    with as_runs(halves), patch.object(kept_rows, "read_rows", wraps=table.read_rows) as read:
        once = cache(read_run)
        gather(halves, once)
        gather([halves[0], *halves], once)  # as publish does, into a dataset that is there
    assert [call.args[0] for call in read.call_args_list] == [half / record.TABLE for half in halves]


def test_runs_that_were_measured_differently_are_no_dataset(halves: list[Path]) -> None:
    of_identity(target=0.7)(halves[1])
    with as_runs(halves), pytest.raises(UserError, match="target: must be the same in all parts"):
        gather(halves)


def test_simulated_parts_are_not_joined_where_measured_ones_lie(halves: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must not be under results/: simulated energy is test data"):
        merge(halves, tmp_path / "results" / "h100")
    assert not (tmp_path / "results").exists()
    merge(halves, tmp_path / "results" / "local" / "h100")


def test_a_part_given_twice_and_parts_without_rows_are_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DIR: must be given once"):
        merge([parts[0], parts[1], parts[0].parent / "." / parts[0].name], tmp_path / "out")
    for part in parts:
        (part / record.TABLE).unlink()
    with pytest.raises(UserError, match=r"DIR: must have rows"):
        merge(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_destination_stays_as_it_is(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "notes", parts[0]):
        with pytest.raises(UserError, match=r"--out: must not exist yet"):
            merge(parts, out)


def test_a_merge_is_made_anew_when_its_sweeps_have_gone_on(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert len(merge(parts[:2], out).rows) == 5
    (out / "fit.json").write_text("{}")
    assert len(merge([part / record.TABLE for part in parts], out).rows) == 7, "a table names its sweep"
    assert len(read_csv(out / record.TABLE)) == 7
    assert (out / "fit.json").read_text() == "{}", "what others put there stays"
    with pytest.raises(UserError, match=r"--out: .* or an earlier merge of the same sweeps: give another"):
        merge(parts[:2], out)
    assert len(read_csv(out / record.TABLE)) == 7


def test_one_directory_resumes_only_its_own_shard(tmp_path: Path) -> None:
    run_sweep(shard_sweep(1, 2, NAMES), tmp_path)
    with pytest.raises(
        UserError, match=r"shard: was '1/2' in the sweep that this directory holds, is '2/2' now"
    ):
        run_sweep(shard_sweep(2, 2, NAMES), tmp_path)


def test_the_command_says_what_it_joined(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["merge", str(parts[0]), str(parts[1]), "--out", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert "5 rows of 2 sweeps (5 ok)" in out
    assert "missing  shards 3/3" in out
    assert "1 × fake device" in out
