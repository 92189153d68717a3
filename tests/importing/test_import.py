"""Anybody's table becomes one of the contract: the same rows by other names, units, separators, and forms."""

from __future__ import annotations

import csv
import gzip
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Run, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_sweeps import rows
from study_frames import energy_of, some_layers

from dibench.errors import UserError
from dibench.importing import Mapping, convert
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import KINDS, RESPONSES
from dibench.table import csv_line, format_value, read_csv

NAMES = {"N": "batch", "C": "c_in", "H": "in_h", "W": "in_w", "K": "c_out", "R": "kh", "S": "kw"}
REST = {"stride_h": "sh", "stride_w": "sw", "pad_h": "ph", "pad_w": "pw", "dil_h": "dh", "dil_w": "dw"}
THEIRS = NAMES | REST | {"groups": "group"}
SET = ["dtype=fp32", "energy_source=external:ina3221", "device=board"]
MAP = [f"{ours}={theirs}" for ours, theirs in THEIRS.items()]
TIMES = ["time_s=latency:ms", "energy_j=energy:mJ"]


def written(path: Path, table: list[dict[str, Any]], separator: str = ",") -> Path:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(table[0])
    writer.writerows([row[name] for name in table[0]] for row in table)
    path.write_text(out.getvalue())
    return path


def theirs(layer: Layer, latency: Any, energy: Any) -> dict[str, Any]:
    return {name: layer.dims[ours] for ours, name in THEIRS.items()} | {"latency": latency, "energy": energy}


def read_back(found: Any, path: Path) -> pd.DataFrame:
    path.write_bytes(b"".join(found.lines()))
    return read_csv(path)


sizes = st.integers(1, 40)


@st.composite
def any_layers(draw: st.DrawFn) -> Layer:
    """Every operator, also grouped, strided, dilated and padded ones."""
    groups = draw(st.sampled_from([1, 1, 2, 8]))
    r, s, dil = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 2))
    return Layer(
        N=draw(sizes),
        C=groups * draw(st.sampled_from([1, 3])),
        K=groups * draw(sizes),
        H=dil * r + draw(st.integers(0, 9)),
        W=dil * s + draw(st.integers(0, 9)),
        R=r,
        S=s,
        stride_h=draw(st.integers(1, 3)),
        pad_h=draw(st.integers(0, 2)),
        dil_h=dil,
        dil_w=dil,
        groups=groups,
    )


positive = st.decimals("0.000001", "1e6", places=6).filter(bool)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    table=st.lists(st.tuples(any_layers(), positive, positive), min_size=1, max_size=4),
    form=st.sampled_from([(",", False, False), (";", True, False), ("\t", False, True), (";", False, True)]),
)
def test_a_table_in_other_names_units_and_separators_is_the_same_rows(
    tmp_path: Path, table: list[tuple[Layer, Any, Any]], form: tuple[str, bool, bool]
) -> None:
    separator, comma, zipped = form
    path = written(tmp_path / "t.csv", [theirs(*row) for row in table], separator)
    text = path.read_text().replace(".", ",") if comma else path.read_text()
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    found = convert(path, Mapping.of_options([*MAP, *TIMES], SET))
    frame = read_back(found, tmp_path / "ours.csv")
    assert found.refused == [] and found.read == len(table)
    for (_, row), (layer, ms, mj) in zip(frame.iterrows(), table, strict=True):
        assert {name: row[name] for name in DIMENSIONS} == layer.dims
        assert row["op"] == layer.op
        assert [row[name] for name in ("macs", "weights", "inputs", "outputs", "ai")] == [
            layer.macs, layer.weights, layer.inputs, layer.outputs, layer.ai,
        ]  # fmt: skip
        assert (row["time_s"], row["energy_j"]) == (float(ms / 1000), float(mj / 1000))
        assert (row["device"], row["energy_source"], row["status"]) == ("board", "external:ina3221", "ok")
    again = convert(tmp_path / "ours.csv", Mapping())
    assert list(again.lines()) == list(found.lines()), "a table of the contract is taken as it is"


def test_our_own_table_is_taken_as_it_is_also_after_pandas(tmp_path: Path) -> None:
    table = rows(40, source="rapl")
    ours = tmp_path / "ours.csv"
    ours.write_bytes(
        b"".join(
            map(csv_line, [list(table[0]), *([format_value(cell) for cell in row.values()] for row in table)])
        )
    )
    pd.read_csv(ours).to_csv(tmp_path / "pandas.csv")
    before = read_csv(ours)
    for path in (ours, tmp_path / "pandas.csv"):
        found = convert(path, Mapping())
        frame = read_back(found, tmp_path / "again.csv")
        shared = [name for name in before if name in KINDS]
        pd.testing.assert_frame_equal(frame[shared], before[shared])
        assert (found.assumed, found.refused) == ({}, [])


def test_options_and_a_toml_file_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'unpack = ["about"]\n[map]\n"H,W" = "size"\ntime_s = "t:ms / 4"\n[set]\ndtype = "fp32"\nN = 8\n'
    )
    said = ["H,W=size", "time_s=t:ms / 4"], ["dtype=fp32", "N=8"], ["about"]
    assert Mapping.of_options([str(tmp_path / "m.toml")]) == Mapping.of_options(*said)


def test_cells_that_hold_several_values_become_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'about,time,kernel\n"kind:Conv2d,batch:8,c:3,k:4,size:9,kernel:3,note:",2,(3; 5)\n'
        '"kind:Linear,batch:8,c:3,k:4",1,\nnothing,1,1\n"kind:ReLU,batch:8,c:3,k:4",1,\n'
        "nothing,1,1\n"
    )
    maps = [
        "N=batch",
        "C=c",
        "K=k",
        "H,W=size",
        "R=about.kernel",
        "S=kernel/5*3",
        "op=kind",
        "time_s=time:ms",
    ]
    maps[4:6] = ["R,S=kernel"]
    found = convert(path, Mapping.of_options(maps, ["dtype=fp32"], ["about"]))
    assert [(row["op"], row["R"], row["S"], row["macs"]) for row in found.rows] == [
        ("standard", 3, 5, 8 * 4 * 3 * 15 * 7 * 5),
        ("fc", 1, 1, 8 * 3 * 4),
    ]
    assert "about.kernel" in found.kept and found.rows[1]["size"] == ""
    assert [(one.line, one.field, one.value) for one in found.refused] == [
        (4, "about", "nothing"),
        (5, "op", "ReLU"),
        (6, "about", "nothing"),
    ]


def test_a_column_of_our_name_that_means_something_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("N,C,H,W,K,R,S,P,T,order\n1,4,8,8,4,3,3,61.5,2,first\n")
    maps = ["power_w=P", "time_s=T:ms", "energy_j=P:W*T:ms", "order="]
    found = convert(path, Mapping.of_options(maps, ["dtype=fp32", "energy_source=rapl"]))
    (row,) = found.rows
    assert (row["P"], row["power_w"], row["energy_j"], row["time_s"]) == (6, 61.5, 0.123, 0.002)
    assert (found.same, found.left_out) == (("N", "C", "H", "W", "K", "R", "S"), ("order",))


def test_lines_that_make_no_row_are_listed_and_the_others_kept(tmp_path: Path) -> None:
    layer = Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3)
    table = [theirs(layer, 1, 2) | {"op": "conv2d"} for _ in range(9)]
    table[1]["kh"] = 9
    table[2]["latency"] = table[2]["energy"] = "NA"
    table[3]["op"] = "MaxPool2d"
    table[4]["batch"] = "1.5"
    table[5]["latency"] = "?"
    table[6]["op"] = "ConvTranspose2d"
    table[7]["op"] = "depthwise"
    found = convert(written(tmp_path / "t.csv", table), Mapping.of_options([*MAP, *TIMES], SET))
    assert (found.read, len(found.rows)) == (9, 2)
    assert [(one.line, one.field, one.rule, one.value) for one in found.refused] == [
        (3, "R", "must be at most H + 2*pad_h = 8", 9),
        (
            4,
            "response",
            "must be in one of " + ", ".join(RESPONSES),
            None,
        ),
        (5, "op", "must be a convolution or a fully-connected layer", "MaxPool2d"),
        (6, "N", "must be a whole number", 1.5),
        (7, "latency", "must be a finite number or empty", "?"),
        (8, "op", "must be a convolution or a fully-connected layer", "ConvTranspose2d"),
        (9, "op", "must be standard for these dimensions", "depthwise"),
    ]


@pytest.mark.parametrize(
    ("extra", "message"),
    [(0, ""), (1, "without the bias for"), (2, "for these dimensions, or left out by --map macs=")],
)
def test_a_count_that_contradicts_the_dimensions_is_refused_or_left_out(
    extra: int, message: str, tmp_path: Path
) -> None:
    layer = Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3)
    row = theirs(layer, 1, 2) | {
        "macs": layer.macs + (extra == 1) * layer.outputs + (extra == 2) * layer.macs
    }
    path = written(tmp_path / "t.csv", [row])
    maps = [*MAP, *TIMES]
    if message:
        with pytest.raises(UserError, match=rf"line 2: macs: must be {layer.macs} .*{message}"):
            convert(path, Mapping.of_options(maps, SET))
        maps.append("macs=")
    found = convert(path, Mapping.of_options(maps, SET))
    assert found.rows[0]["macs"] == layer.macs and found.left_out == (("macs",) if message else ())


def test_a_network_needs_no_layer(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("model,size,step_time,batch,gmacs,params,macts\nvit,160,5.426,1024,0.04,0.37,0.48\n")
    maps = [
        "name=model",
        "H,W=size",
        "N=batch",
        "time_s=step_time:ms",
        "macs=gmacs:G*batch",
        "weights=params:M",
    ]
    sets = ["op=network", "dtype=fp16", "C=3"]
    found = convert(path, Mapping.of_options([*maps, "inputs,outputs=macts:M*batch/2"], sets))
    frame = read_back(found, tmp_path / "ours.csv")
    row = frame.iloc[0]
    assert (row["name"], row["N"], row["C"], row["H"], row["W"]) == ("vit", 1024, 3, 160, 160)
    assert (row["macs"], row["weights"], row["outputs"]) == (40_960_000_000, 370_000, 245_760_000)
    assert row["ai"] == row["macs"] / (row["weights"] + row["inputs"] + row["outputs"])
    assert (row["time_s"], row["energy_source"]) == (0.005426, "none") and pd.isna(row["K"])


BAD = [
    ([], SET, "header: must have, or get by --map or --set, N (perhaps batch), C (perhaps c_in), "),
    (MAP[:-1], SET, "time_s or an energy (perhaps latency, energy)"),
    ([*MAP, *TIMES], ["dtype=fp32"], "energy_source (such as external:SENSOR)"),
    ([*MAP, *TIMES], SET[1:], "must have, or get by --map or --set, dtype"),
    ([*MAP[:-1], *TIMES], SET, "groups: would be 1 although there is group: --map groups=group, or --set it"),
    (
        [*MAP, "time_s=latncy:ms"],
        SET,
        "--map time_s=latncy:ms: must be a column of the table, perhaps latency",
    ),
    ([*MAP, *TIMES, "N=batch"], SET, "--map: must fill N once"),
    ([*MAP, *TIMES], [*SET, "N=1"], "--set: must fill N once"),
    (
        [*MAP, "time=latency"],
        SET,
        "--map: must fill a column of the contract, see `dibench/schema.py`, perhaps time_s",
    ),
    ([*MAP, "N,time_s=latency"], SET, "--map: must fill columns of one kind and unit (got 'N,time_s')"),
    ([*MAP, "energy_j,time_s=latency"], SET, "--map: must fill columns of one kind and unit"),
    (["latency"], SET, "--map: must be COLUMN=THEIRS[:UNIT] or a TOML file (got 'latency')"),
    (["none.toml"], SET, "none.toml: no such file"),
    ([*MAP, *TIMES], ["fp32"], "--set: must be COLUMN=VALUE (got 'fp32')"),
    ([*MAP, *TIMES], ["dtype=fp32", "energy_source=wattmeter"], "--set: energy_source: must be one of"),
    ([*MAP, *TIMES], [*SET, "visits=few"], "--set: visits: must be a whole number or empty (got 'few')"),
]


@pytest.mark.parametrize(("maps", "sets", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_a_mistake_is_one_line_with_what_may_be_meant(
    maps: list[str], sets: list[str], message: str, run: Run, tmp_path: Path
) -> None:
    path = written(tmp_path / "t.csv", [theirs(Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3), 1, 2)])
    words = [word for text in maps for word in ("--map", text)]
    words += [word for text in sets for word in ("--set", text)]
    assert message in refused(run, "import", path, *words, "-o", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("map = 3\n", "map: must be a table (got 3)"),
        ("[map]\nN = [1]\n", "map: N: must be text or a number (got [1])"),
        ("[maps]\n", "maps: is not a key here; known are map, set, unpack"),
        ("unpack = 'a'\n", "unpack: must be a list of columns (got 'a')"),
        ("map =\n", "is not a TOML file"),
        ("[map]\nHH = 'a'\n", "must fill a column of the contract"),
    ],
)
def test_a_wrong_mapping_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        Mapping.of_options([str(tmp_path / "m.toml")])
    assert str(caught.value).startswith(f"{tmp_path}/m.toml: ") and message in str(caught.value)


def test_the_table_goes_to_a_file_or_alone_to_standard_output(run: Run, tmp_path: Path) -> None:
    layer = Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3)
    path = written(tmp_path / "t.csv", [theirs(layer, 1, 2), theirs(layer, "", ""), theirs(layer, "", "")])
    words = [word for text in [*MAP, *TIMES] for word in ("--map", text)]
    words += [word for text in SET for word in ("--set", text)]
    status, out, err = run("import", path, *words)
    assert status == 0 and out.startswith("device,op,N,C,H,W") and out.count("\n") == 2
    assert err.startswith("1 row of 3 lines; 2 refused") and "lines 3-4" in err
    for said in (
        "time_s = latency:ms",
        "dtype = fp32",
        "P, Q, macs",
        "time_s 1.00 ms, energy_j 2.00 mJ, power_w 2.00 W",
    ):
        assert said in err
    status, told, err = run("import", path, *words, "-o", tmp_path / "new" / "sweep.csv")
    assert (status, err) == (0, "") and "1 row of 3 lines" in told
    assert (tmp_path / "new" / "sweep.csv").read_text() == out
    assert f"Next: python -m dibench fit {tmp_path}/new/sweep.csv" in told


def test_other_verbs_say_what_import_can_do_about_a_missing_column(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [theirs(Layer(N=1, C=4, H=8, W=8, K=4, R=3, S=3), 1, 2)])
    assert "header: must have the column op, which `dibench import` derives" in refused(run, "fit", path)
    path.write_text("op\n")
    assert "must have the column N, which `dibench import` can set" in refused(run, "fit", path)
    path.write_text("op,batch_size\n")
    expected = "must have the column N, perhaps batch_size: `dibench import` maps names and units"
    assert expected in refused(run, "fit", path)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("torch.float32", "fp32"), ("Float16", "fp16"), ("tf32", "tf32"), ("int8", "int8")]
)
def test_data_types_have_the_names_of_fits(theirs: str, ours: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"N,C,H,W,K,R,S,time_s,precision\n1,4,8,8,4,3,3,1e-3,{theirs}\n")
    assert convert(path, Mapping.of_options(["dtype=precision"])).rows[0]["dtype"] == ours


def test_layers_that_nobody_measured_are_a_model(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("layer,c_in,c_out,size,k\nconv1,3,8,9,3\nconv2,8,8,7,1\n")
    maps = ["name=layer", "C=c_in", "K=c_out", "H,W=size", "R,S=k"]
    words = [word for text in maps for word in ("--map", text)]
    words += ["--set", "N=1", "--set", "dtype=fp32", "--set", "status=skipped"]
    (tmp_path / "mine").mkdir()
    assert run("import", path, *words, "-o", tmp_path / "mine")[0] == 0
    status, out, _ = run("layers", tmp_path / "mine" / "sweep.csv")
    assert status == 0 and "13,720 of 13,720 MACs" in out, "3·8·9·49 + 8·8·49"


TEXTS = st.sampled_from(
    [
        *("1", "2", "3.0", "0", "-1", "7", "64", "1e3", "1e400", "0.5", "NaN", "NA", "?", "µ"),
        *("fc", "standard", "conv", "network", "anchor", "none", "rapl", "external:x", "ok", "bad"),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_imported_is_a_table_of_the_contract(tmp_path: Path, data: st.DataObject) -> None:
    """Or a refusal in one line: of any cells under our columns' names, constants and formulas."""
    names = ["N", "C", "H", "W", "K", "R", "S", "dtype", "time_s", "status"]
    more = data.draw(st.lists(st.sampled_from(["op", "P", "groups", "macs", "energy_j", "x y"]), unique=True))
    columns = data.draw(st.permutations(names + more))
    lines = data.draw(st.lists(st.tuples(*[TEXTS | st.text(max_size=3)] * len(columns)), max_size=3))
    good = dict(zip(names, ["1", "4", "8", "8", "4", "3", "3", "fp32", "0.5", "ok"], strict=True))
    table = [[good.get(name, "") for name in columns], *map(list, lines)]
    at = data.draw(st.integers(0, len(columns) - 1))
    table[0][at] = data.draw(TEXTS)
    sets = data.draw(st.sampled_from([[], ["energy_source=rapl"], ["energy_source=rapl", "op=network"]]))
    path = tmp_path / "t.csv"
    path.write_bytes(b"".join(map(csv_line, [columns, *table])))
    try:
        found = convert(path, Mapping.of_options([], sets))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(read_back(found, tmp_path / "out.csv")) == len(found.rows)
        assert len(found.rows) + len(found.refused) == found.read


def test_the_page_does_what_it_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "import.md").read_text("utf-8")
    blocks = dict(re.findall(r"```(text|sh|toml)\n(.*?)```", page, re.DOTALL))
    (tmp_path / "theirs.csv").write_text(blocks["text"])
    (tmp_path / "mapping.toml").write_text(blocks["toml"])
    monkeypatch.chdir(tmp_path)
    command = blocks["sh"].replace("\\\n", "").splitlines()[0]
    status, told, _ = run(*shlex.split(command)[3:])
    assert status == 0 and "3 rows of 4 lines; 1 refused" in told and "line 4" in told and "MaxPool2d" in told
    frame = read_csv(tmp_path / "mine" / "sweep.csv")
    assert list(frame["op"]) == ["standard", "standard", "fc"] and list(frame["P"]) == [56, 56, 1]
    assert list(frame["time_s"]) == [0.000412, 0.00296, 0.000031]
    assert list(frame["energy_j"]) == [0.025338, 0.21904, 0.0012462]
    assert Mapping.of_options(["mapping.toml"]).unpack == ("config",)
    named = {name for text in re.findall(r"--(?:map|set) ([\w,]+)=", page) for name in text.split(",")}
    assert named - set(KINDS) == {"OURS"}, "columns that the contract has"


@pytest.mark.slow
def test_what_was_imported_is_fitted_reported_compared_and_predicts(run: Run, tmp_path: Path) -> None:
    layers = some_layers(60, seed=1)
    energy = energy_of(layers, alpha=0.7, noise=0.05, network_noise=0.02)
    table = [
        theirs(layer, 1e3 * joules / 50, 1e3 * joules) | {"layer": layer.name}
        for layer, joules in zip(layers, energy, strict=True)
    ]
    path = written(tmp_path / "t.csv", table)
    words = [word for text in [*MAP, *TIMES, "name=layer"] for word in ("--map", text)]
    words += [word for text in SET for word in ("--set", text)]
    out = tmp_path / "sweep.csv"
    assert run("import", path, *words, "-o", out)[0] == 0
    status, told, _ = run("fit", out, "--full", "--draws", "99", "--json", tmp_path / "fit.json")
    assert status == 0 and "Measured energy (energy_j, external:ina3221)" in told and "60" in told
    status, told, _ = run("predict", "resnet50", "--full", "--fit", tmp_path / "fit.json")
    assert status == 0 and "fitted on board (fp32, external:ina3221" in told
    assert run("compare", out, out)[0] in (0, 3)
    assert run("report", tmp_path)[0] == 0 and (tmp_path / "report.html").exists()
