"""Broken, truncated, huge and hostile ONNX files: one clear line each, nothing read that they name."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx")

import onnx_files as files  # noqa: E402 - after the check above
from onnx import TensorProto, helper  # noqa: E402 - after the check above
from onnx_files import field, varint  # noqa: E402 - after the check above

from dibench import models  # noqa: E402 - after the check above
from dibench.cli import main  # noqa: E402 - after the check above
from dibench.errors import UserError  # noqa: E402 - after the check above
from dibench.models import onnx as from_onnx  # noqa: E402 - after the check above
from dibench.models import onnx_file  # noqa: E402 - after the check above
from dibench.models.onnx_file import MOST_BYTES, MOST_NODES  # noqa: E402 - after the check above

node = helper.make_node
Make = Callable[[Path], Path]


def raw(content: bytes) -> Make:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def graph(nodes: list[Any], x: Any = (1, 3, 8, 8), w: Any = (4, 3, 3, 3), **more: Any) -> Make:
    return lambda path: files.save(
        path, nodes, [files.value("x", x)], [files.weight("w", w)] if w is not None else [], **more
    )


def truncated(path: Path) -> Path:
    whole = files.residual(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def nested_graphs(path: Path) -> Path:
    """A hundred graphs, each in a node of the one around it."""
    inner = b""
    for _ in range(100):
        inner = field(1, field(5, field(6, inner)))  # node { attribute { g {
    path.write_bytes(field(7, inner))
    return path


def nested_types(path: Path) -> Path:
    """A sequence of sequences of ... a thousand deep: protobuf's own limit meets it."""
    kind = b""
    for _ in range(1000):
        kind = field(4, field(1, kind))
    path.write_bytes(field(7, field(1, field(4, b"Relu")) + field(11, field(1, b"x") + field(2, kind))))
    return path


def functions_that_multiply(path: Path) -> Path:
    """Thirty functions that each call the next one ten times: 10^30 nodes when written out."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]

    def call(i: int) -> Any:
        return node(f"F{i}", ["a"], ["b"], domain="f")

    made = [
        helper.make_function("f", f"F{i}", ["a"], ["b"], [call(i + 1)] * 10, imports) for i in range(30)
    ]  # fmt: skip
    made.append(helper.make_function("f", "F30", ["a"], ["b"], [node("Relu", ["a"], ["b"])], imports))
    return files.save(
        path, [node("F0", ["x"], ["y"], domain="f")], [files.value("x", [1])], functions=made,
        opset_imports=imports,
    )  # fmt: skip


def function_that_calls_itself(path: Path) -> Path:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = [helper.make_function("f", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="f")], imports)]
    return files.save(
        path, [node("F", ["x"], ["y"], domain="f")], [files.value("x", [1])], functions=made,
        opset_imports=imports,
    )  # fmt: skip


def reshape(to: list[int]) -> Make:
    """Weights' product with an input of 192 elements in another shape."""

    def write(path: Path) -> Path:
        shape = helper.make_tensor("s", TensorProto.INT64, [len(to)], to)
        nodes = [node("Reshape", ["x", "s"], ["r"], name="r"), node("MatMul", ["r", "w"], ["y"])]
        return files.save(path, nodes, [files.value("x", [1, 3, 8, 8])], [shape, files.weight("w", [7, 2])])

    return write


def no_sizes(path: Path) -> Path:
    return files.save(
        path, [node("Conv", ["x", "w"], ["y"])], [files.value("x", None)], [files.weight("w", [4, 3, 3, 3])]
    )


RELU = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu"))
axes_without_end = field(
    7, RELU + field(11, field(1, b"x") + field(2, field(1, b"\x08\x01" + field(2, field(1, b"") * 300_000))))
)
CONV = [node("Conv", ["x", "w"], ["y"], name="c")]
MATMUL = [node("MatMul", ["x", "w"], ["y"], name="m")]
ACME = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
MAGIC = [node("Magic", ["x"], ["m"], domain="acme"), node("Conv", ["m", "w"], ["y"], name="c")]

HOSTILE: list[tuple[str, Make, str]] = [
    ("empty", raw(b""), "is empty"),
    ("text", raw(b"this is no model at all, only text\n" * 9), "is not an ONNX file"),
    ("zeros", raw(bytes(5000)), "is not an ONNX file"),
    ("a pickle", raw(b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system"),
     "holds a pickle, which can run any code: export it to ONNX"),
    ("a web page", raw(b"<!DOCTYPE html><html>"), "is a page of HTML or XML, not a model"),
    ("a pointer", raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:12"), "run git lfs pull"),
    ("zip", raw(b"PK\x03\x04" + bytes(60)), "is a zip archive, as PyTorch and Keras write them"),
    ("weights", raw((40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}'), "holds weights and no graph"),
    ("onnxruntime's", raw(b"\x18\0\0\0ORTM" + bytes(60)), "is onnxruntime's own format: give the .onnx"),
    ("TensorFlow Lite's", raw(b"\x1c\0\0\0TFL3" + bytes(60)), "tf2onnx.convert --tflite FILE"),
    ("truncated", truncated, "is not an ONNX file, or is cut off"),
    ("no graph", raw(field(2, b"nobody")), "graph: must have at least one node"),
    ("endless number", raw(b"\xff" * 20), "is not an ONNX file, or is cut off"),
    ("length of 2^63", raw(varint(7 << 3 | 2) + varint(2**63)), "is not an ONNX file, or is cut off"),
    ("long text", raw(field(7, field(2, b"a" * (MOST_BYTES + 9)))),
     "must have at most 32 MB beside its weights"),
    ("deep graphs", nested_graphs, "is not an ONNX file, or is cut off"),
    ("deep types", nested_types, "protobuf cannot parse it"),
    ("functions that multiply", functions_that_multiply, "must have at most 500000 nodes"),
    ("recursive function", function_that_calls_itself, "function F: must not call itself"),
    ("cycle", graph([node("Add", ["x", "b"], ["a"], name="n"), node("Relu", ["a"], ["b"]), *CONV]),
     "node n: must come after what writes its input: the graph has a cycle or is out of order (got 'b')"),
    ("size of 2^40", graph(CONV, x=[1, 3, 2**40, 8]), "input x: must have sizes from 1 to 2147483647"),
    ("negative size", graph(CONV, x=[1, 3, -8, 8]), "input x: must have sizes from 1 to 2147483647"),
    ("size of zero", graph(CONV, x=[1, 3, 0, 8]), "input x: leaves axis 2 open: give --input-shape x="),
    ("filter of 2^40", graph(CONV, w=[2**40, 3, 3, 3]), "K: must be from 1 to 2147483647"),
    ("negative filter", graph(CONV, w=[4, 3, -3, 3]), "initializer: must not have a negative size (got -3)"),
    ("macs beyond 64 bits", graph(MATMUL, x=[2**30, 2**30], w=[2**30, 2**30]), "macs: must be at most"),
    ("channels disagree", graph(CONV, w=[4, 5, 3, 3]),
     "node c: C: must be groups * filter channels = 1 * 5 (got 3)"),
    ("filter too large", graph(CONV, w=[4, 3, 9, 9]), "node c: filter: must fit its padded input"),
    ("zero stride", graph([node("Conv", ["x", "w"], ["y"], name="c", strides=[0, 1])]), "node c: strides"),
    ("negative pads", graph([node("Conv", ["x", "w"], ["y"], name="c", pads=[-1] * 4)]),
     "node c: strides, pads"),
    ("one stride", graph([node("Conv", ["x", "w"], ["y"], name="c", strides=[1])]),
     "must be given for 2 axes"),
    ("groups of 0", graph([node("Conv", ["x", "w"], ["y"], name="c", group=0)]), "node c: "),
    ("unknown auto_pad", graph([node("Conv", ["x", "w"], ["y"], name="c", auto_pad="MAYBE")]),
     "auto_pad: must be"),
    ("conv of nothing", graph([node("Conv", [], ["y"], name="c")]), "name: c): Input 0 is out of bounds"),
    ("matrices disagree", graph(MATMUL, x=[2, 3], w=[4, 5]), "must agree in size"),
    ("open sizes", graph(CONV, x=["N", 3, "H", "W"]),
     "input x: leaves H, W open: give --input-shape x=1,3,?,?"),
    ("no sizes", no_sizes, "input x: has no shape: give it with --input-shape x="),
    ("unknown operator", graph(MAGIC, opset_imports=ACME),
     "node c: has no known input shape: the operator Magic"),
    ("reshape that loses", reshape([2, 7]),
     "node r: must keep the number of elements of 1×3×8×8: the file fixes"),
    ("contradiction", graph([node("Transpose", ["x"], ["t"], perm=[0, 9]), node("MatMul", ["t",
     "w"], ["y"])]),
     "contradicts itself: [ShapeInferenceError]"),
    ("axes without end", raw(axes_without_end), "input x: must have at most 8 axes (got 300000)"),
    ("shape that is gone", graph([node("Reshape", ["x", "s"], ["r"]), node("MatMul", ["r", "w"], ["y"])]),
     "node y: has no known input shape: nothing in the file writes (got 's')"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_a_hostile_file_is_one_line_and_status_2(
    tmp_path: Path, make: Make, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "bad.onnx")
    with pytest.raises(SystemExit) as exit_info:
        main(["layers", str(path)])
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith(f"dibench: {path}: ") and captured.err.count("\n") == 1
    assert (exit_info.value.code, captured.out) == (2, "")


def test_nodes_without_end_are_not_walked(tmp_path: Path) -> None:
    path = raw(field(7, field(1, b"") * (MOST_NODES + 1)))(tmp_path / "many.onnx")
    with pytest.raises(UserError, match=r"many\.onnx: graph: must have at most 500000 nodes \(got 500001\)"):
        models.load(path)


def test_a_file_that_needs_more_memory_than_it_may_is_one_line(tmp_path: Path) -> None:
    # Two bytes a node in the file, and some hundred in memory.
    path = raw(field(7, field(1, b"") * 12_000_000))(tmp_path / "many.onnx")
    with pytest.raises(
        UserError, match=r"many\.onnx: (needs more than \d+ MB|is not an ONNX|graph: must have)"
    ):
        models.load(path)


def test_weights_inside_the_file_go_before_anything_else_sees_it(tmp_path: Path) -> None:
    path = files.with_embedded_weights(tmp_path / "inside.onnx", C=4096, K=2048)
    assert path.stat().st_size > 2**25
    assert onnx_file.load(path).ByteSize() < 1000
    model = models.load(path)
    assert (model.layers[0].weights, model.parameters) == (2**23, 2**23)


def test_a_file_beyond_what_protobuf_parses_is_one_line(tmp_path: Path) -> None:
    path = files.with_embedded_weights(tmp_path / "huge.onnx", C=2**15, K=2**14)
    with pytest.raises(UserError, match=r"huge\.onnx: must be smaller than 2 GB, as protobuf"):
        models.load(path)


def test_a_batch_that_the_file_does_not_take_is_refused_not_miscounted(tmp_path: Path) -> None:
    flat = helper.make_tensor("s", TensorProto.INT64, [2], [1, 32])
    nodes = [
        node("Conv", ["x", "w"], ["a"]), node("Reshape", ["a", "s"], ["b"], name="flat"),
        node("Gemm", ["b", "v"], ["c"]),
    ]  # fmt: skip
    weights = [files.weight("w", [2, 3, 5, 5]), files.weight("v", [32, 5]), flat]
    path = files.save(tmp_path / "fixed.onnx", nodes, [files.value("x", [1, 3, 8, 8])], weights)
    assert len(models.load(path).layers) == 2
    with pytest.raises(
        UserError, match=r"node flat: must keep the number of elements of 4×2×4×4: the file fix"
    ):
        models.load(path, batch=4)
    token = files.save(
        tmp_path / "token.onnx",
        [node("Concat", ["x", "t"], ["y"], axis=1), node("MatMul", ["y", "w"], ["z"])],
        [files.value("x", [1, 3, 8])], [files.weight("t", [1, 1, 8]), files.weight("w", [8, 2])],
    )  # fmt: skip
    assert models.load(token).layers[0].N == 4
    with pytest.raises(UserError, match=r"graph: does not take these sizes: \[ShapeInferenceError\]"):
        models.load(token, batch=4)


def test_a_fixed_shape_behind_unknown_ones_is_not_trusted_at_other_sizes(tmp_path: Path) -> None:
    flat = helper.make_tensor("s", TensorProto.INT64, [2], [1, 8])
    nodes = [
        node("NonZero", ["x"], ["i"]), node("Reshape", ["i", "s"], ["r"], name="flat"),
        node("Cast", ["r"], ["f"], to=TensorProto.FLOAT), node("MatMul", ["f", "w"], ["y"]),
    ]  # fmt: skip
    path = files.save(
        tmp_path / "f.onnx", nodes, [files.value("x", [1, 4])], [flat, files.weight("w", [8, 3])]
    )
    assert len(models.load(path).layers) == 1
    with pytest.raises(UserError, match="node flat: fixes a shape in the file that may not fit other sizes"):
        models.load(path, batch=3)


@pytest.mark.parametrize("kind", ["missing", "folder", "link to itself", "pipe", "no end"])
def test_what_is_no_readable_file_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "no end":
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"it\.onnx: (cannot be read: |must be a file|no such file)"):
        models.load(path)


def test_external_data_is_never_opened_wherever_it_points(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    os.mkfifo(secret)  # whoever opens it to read waits forever
    inside = tmp_path / "model"
    inside.mkdir()
    w = onnx.TensorProto(name="w", dims=[4, 3, 3, 3], data_type=TensorProto.FLOAT, data_location=1)
    for key, text in (("location", "../secret"), ("offset", "0"), ("length", "432")):
        w.external_data.add(key=key, value=text)
    small = onnx.TensorProto(name="s", dims=[2], data_type=TensorProto.INT64, data_location=1)
    small.external_data.add(key="location", value=str(secret))
    nodes = [node("Conv", ["x", "w"], ["y"]), node("Reshape", ["y", "s"], ["z"])]
    path = files.save(inside / "m.onnx", nodes, [files.value("x", [1, 3, 8, 8])], [w, small])
    assert models.load(path).layers[0].macs == 4 * 36 * 27
    assert b"secret" not in onnx_file.load(path).SerializeToString()


def test_a_reader_that_dies_or_hangs_is_one_line_and_the_next_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.residual(tmp_path / "net.onnx")
    good: dict[str, Any] = {"shapes": {"x": "1,3,32,32"}}
    layers = models.load(path, **good).layers
    process = from_onnx._reader()._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    threading.Timer(0.3, process.kill).start()
    with pytest.raises(UserError, match=r"net\.onnx: ONNX's reader ended on it \(status -9\)"):
        models.load(path, **good)
    assert models.load(path, **good).layers == layers
    process = from_onnx._reader()._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(from_onnx, "TIME_LIMIT_S", 0.05)
    with pytest.raises(UserError, match=r"net\.onnx: takes more than 0 s"):
        models.load(path, **good)
    monkeypatch.undo()
    assert models.load(path, **good).layers == layers


def test_a_busy_reader_ends_with_its_killed_parent(tmp_path: Path) -> None:
    path = files.residual(tmp_path / "net.onnx", batch=1)
    code = """
import signal, sys, time
from dibench import models
from dibench.models import onnx
models.load(sys.argv[1], shapes={"x": "1,3,32,32"})
reader = onnx._reader()._process
reader.send_signal(signal.SIGSTOP)  # as one that is busy: it does not see that the pipe is closed
print(reader.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        reader = int(parent.stdout.readline())
        parent.kill()
    ended = time.monotonic() + 5
    while _lives(reader) and time.monotonic() < ended:
        time.sleep(0.01)
    assert not _lives(reader)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_the_onnx_package_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the onnx package to be read: pip install 'onnx>="):
        models.load(tmp_path / "net.onnx")


def test_names_from_a_file_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "\x1b[31m[bold]evil\x07" + "n" * 500
    path = files.save(
        tmp_path / "n.onnx", [node("MatMul", ["in\x1b", "w"], ["y"], name=name)],
        [files.value("in\x1b", [1, 3])],
        [files.weight("w", [3, 2])],
    )  # fmt: skip
    with pytest.raises(SystemExit) as exit_info:
        main(["layers", str(path)])
    out = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert "\x1b" not in out and "\x07" not in out
    assert "[bold]" in out and "n" * 130 not in out


def seeds(folder: Path) -> list[bytes]:
    residual = files.residual(folder / "residual.onnx", batch=1)
    data = onnx.load_model_from_string(residual.read_bytes())
    for dim in data.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 32
    nested = helper.make_graph([node("MatMul", ["x", "w"], ["t"])], "g", [], [files.value("t", None)])
    other = files.save(
        folder / "other.onnx",
        [
            node("If", ["c"], ["y"], then_branch=nested, else_branch=nested),
            node("Einsum", ["x", "w"], ["z"], equation="ab,bc->ac"),
            node("Reshape", ["z", "s"], ["r"]),
        ],
        [files.value("x", [2, 3]), files.value("c", [], TensorProto.BOOL)],
        [files.weight("w", [3, 4]), helper.make_tensor("s", TensorProto.INT64, [1], [-1])],
    )
    return [data.SerializeToString(), other.read_bytes()]


@example(seed=35451)  # the name of an axis that is no UTF-8
@example(seed=12461)  # two inputs of one name
@example(seed=125630)  # an overload that is no UTF-8
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutated_files_give_a_model_or_one_line(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    rng = random.Random(seed)
    data = bytearray(rng.choice(seeds(folder)))
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(data))
        change = rng.randrange(4)
        if change == 0:
            data[at] = rng.randrange(256)
        elif change == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            del data[at : at + rng.choice((1, 1, 4, 30))]
        else:
            data[at:at] = data[rng.randrange(len(data)) :][: rng.choice((1, 5, 40))]
        data = data or bytearray(b"\0")
    path = folder / "mutated.onnx"
    path.write_bytes(data)
    began = time.monotonic()
    try:
        model = models.load(path)
    except UserError as error:
        text = str(error)
        assert text.isprintable() and str(path) in text and len(text) < 1000
        assert "reader ended" not in text, "it must be understood, not only survived"
    else:
        assert all(layer.macs > 0 for layer in model.layers)
        assert "MACs" in model.coverage
    assert time.monotonic() - began < 10
