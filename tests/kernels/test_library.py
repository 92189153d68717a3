"""PyTorch's library as a backend: the same layers, windows and rows, and what was in force in each row.

What needs no PyTorch is tested everywhere, a GPU's side with a stand-in for what PyTorch tells of it.
"""

from __future__ import annotations

import csv
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest

from dibench import backends, kernels
from dibench.backends import torch_gpu
from dibench.backends.operands import operand, operand_shapes
from dibench.backends.torch_gpu import pieces
from dibench.backends.torch_library import TorchBackend
from dibench.check.reference import convolution
from dibench.cli import main
from dibench.errors import OutOfMemoryError, UserError
from dibench.kernels import library
from dibench.layer import Layer
from dibench.meters import open_meter
from dibench.plan import Case, load_plan, usual_case

LAYERS = (
    Layer(N=2, C=6, H=9, W=7, K=4, R=3, S=3, pad_h=1, pad_w=1, stride_h=2, stride_w=1),
    Layer(N=1, C=8, H=6, W=6, K=8, R=3, S=3, groups=8, pad_h=1, pad_w=1),
    Layer(N=2, C=8, H=5, W=5, K=12, R=1, S=1),
    Layer(N=1, C=8, H=6, W=6, K=4, R=3, S=3, groups=2, dil_h=2, dil_w=2, pad_h=2, pad_w=2),
    Layer.fc(N=3, C=20, K=10),
)


def case(layer: Layer, **fields: Any) -> Case:
    (variant,) = kernels.registry("torch").values()
    return usual_case(layer, variant, **fields)


def test_a_plan_names_the_library_as_its_variant() -> None:
    plan = load_plan("default", backend="torch")
    assert {one.variant for one in plan.cases} == {library.here().name}
    assert {one.layer.op for one in plan.cases} == set(kernels.OPERATORS)
    ours = {one.layer.shape for one in load_plan("default", backend="cpu").cases}
    assert {one.layer.shape for one in plan.cases} <= ours
    assert all(one.backend == "torch" and "format" in one.knobs for one in plan.cases)


def test_memory_format_is_a_knob_of_plans(tmp_path: Path) -> None:
    path = tmp_path / "formats.toml"
    path.write_text(
        "[[layers]]\nlayers = ['resnet50/layer1.0.conv2']\n"
        "[[kernels]]\nfast = true\nformat = ['nchw', 'nhwc']\n"
    )
    formats = [one.knobs["format"] for one in load_plan(path, backend="torch").cases if not one.sentinel]
    assert sorted(formats) == ["nchw", "nhwc"]
    path.write_text(path.read_text().replace("'nhwc'", "'nhcw'"))
    with pytest.raises(UserError, match=r"format: .*must be one of nchw, nhwc"):
        load_plan(path, backend="torch")


def test_multiprocessors_are_not_for_a_library(tmp_path: Path) -> None:
    path = tmp_path / "sms.toml"
    path.write_text("[plan]\nsms = 'half'\n[[layers]]\nnetworks = 'vgg16'\n[[kernels]]\nfast = true\n")
    with pytest.raises(UserError, match="sms: is for backends with multiprocessors, not for torch"):
        load_plan(path, backend="torch")


def test_no_modelled_joules_of_a_library() -> None:
    with pytest.raises(UserError, match="--meter: has no accesses of a library to model"):
        open_meter("model", "torch")
    assert open_meter("auto", "torch").source in ("rapl", "none")


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed here")
def test_without_pytorch_one_line_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "default", "--backend", "torch", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "needs PyTorch: pip install" in capsys.readouterr().err
    assert not (tmp_path / "out" / "sweep.csv").exists()


def gpu(**told: Any) -> TorchBackend:
    """A backend on what a PyTorch with a GPU tells, which computes nothing."""
    properties = SimpleNamespace(name="Card", uuid="1234", L2_cache_size=50_000_000)
    cuda = SimpleNamespace(
        get_device_properties=lambda _: properties, synchronize=lambda: None, empty_cache=lambda: None
    )
    return TorchBackend(SimpleNamespace(cuda=cuda, __version__="2.0", **told), on_gpu=True)


def gpu_case(layer: Layer, **fields: Any) -> Case:
    further = (("format", "nhwc"), ("benchmark", 0))
    return Case(layer=layer, backend="torch", variant="torch_cudnn", further=further, **fields)


def prepared(backend: TorchBackend, one: Case, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the backend asks of the layer's class, and the cells it makes of it."""
    asked: dict[str, Any] = {}

    def layer(_: Layer, **options: Any) -> SimpleNamespace:
        asked.update(options)
        return SimpleNamespace(cells={})

    monkeypatch.setattr("dibench.backends.torch_gpu.TorchGpuLayer", layer)
    asked["cells"] = dict(backend.prepare(one).cells)
    return asked


def test_each_row_says_what_was_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gpu_case(LAYERS[0], dtype="tf32", instances=3, data="normal", seed=7)
    asked = prepared(gpu(), one, monkeypatch)
    assert asked.pop("cells") == {"knobs": "format=nhwc;benchmark=0;tf32=1"}
    assert asked == {
        "data": "normal", "seed": 7, "dtype": "tf32", "instances": 3, "sets": 1, "channels_last": True,
        "benchmark": False,
    }  # fmt: skip
    single = prepared(gpu(), attrs.evolve(one, dtype="fp32"), monkeypatch)
    assert single["cells"] == {"knobs": "format=nhwc;benchmark=0;tf32=0"}


def test_cold_launches_take_turns_over_four_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer(N=8, C=64, H=56, W=56, K=64, R=3, S=3, pad_h=1, pad_w=1)
    asked = prepared(gpu(), gpu_case(layer, cold=True, instances=2), monkeypatch)
    bytes_of_one = 2 * 4 * (layer.weights + layer.inputs + layer.outputs)
    assert asked["cells"]["knobs"].endswith("cold=1")
    assert (asked["sets"] - 2) * bytes_of_one < 4 * 50_000_000 <= (asked["sets"] - 1) * bytes_of_one


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"variant": "torch_onednn"}, "variant: must be torch_cudnn"),
        ({"dtype": "fp64"}, "dtype: must be one of fp32, tf32, fp16, bf16"),
        ({"further": (("format", "nchw"),)}, "knobs: must be format, benchmark"),
        ({"sms": "half"}, "sms: must be all"),
    ],
)
def test_what_a_library_has_not_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        gpu().prepare(attrs.evolve(gpu_case(LAYERS[0]), **changed))


def test_a_gpu_without_memory_fails_the_row_and_other_errors_skip_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: str) -> Any:
        def layer(*_: Any, **__: Any) -> None:
            raise RuntimeError(text)

        monkeypatch.setattr("dibench.backends.torch_gpu.TorchGpuLayer", layer)

    failing("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(OutOfMemoryError, match="more memory than the GPU has"):
        gpu().prepare(gpu_case(LAYERS[0]))
    failing("CUDA error: too many resources requested for launch")
    with pytest.raises(backends.DeviceError, match="PyTorch: CUDA error: too many") as refused:
        gpu().prepare(gpu_case(LAYERS[0]))
    assert not isinstance(refused.value, backends.DeviceFaultError), "the GPU still works"
    failing("CUDA error: an illegal memory access was encountered")
    lost = gpu()
    monkeypatch.setattr(lost._torch.cuda, "synchronize", torch_gpu.TorchGpuLayer)  # fails as well
    with pytest.raises(backends.DeviceFaultError, match="the GPU is lost"):
        lost.prepare(gpu_case(LAYERS[0]))
    failing("FIND was unable to find an engine")
    with pytest.raises(UserError, match="is refused by PyTorch: FIND"):
        gpu().prepare(gpu_case(LAYERS[0]))


@pytest.mark.parametrize("sets", [1, 2, 3, 200, 256, 300, 1000])
def test_graphs_take_every_set_in_turn_across_calls(sets: int) -> None:
    begin, order = 0, []
    graphs = set()
    for n in (1, 7, 700, 700, 5, 256):
        found, begin = pieces(n, begin, sets)
        assert sum(size for _, size in found) == n
        assert all(0 < size <= 256 for _, size in found)
        order += [launch % sets for first, size in found for launch in range(first, first + size)]
        graphs |= set(found)
    assert order == [launch % sets for launch in range(len(order))]
    assert len(graphs) <= 20


def test_a_gpu_whose_sensor_refuses_leaves_energy_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from dibench.measure import instrument
    from dibench.measure.settings import Settings
    from dibench.meters.gpu import GpuMeter

    class Refusing(GpuMeter):
        def __init__(self) -> None:
            pass

        def measure_idle(self) -> None:
            raise UserError("--meter", "is not supported by this GPU")

    monkeypatch.setattr(
        "dibench.measure.instrument.open_meter",
        lambda name, *more: Refusing() if name == "auto" else open_meter(name, *more),
    )
    monkeypatch.setattr("dibench.backends.open_backend", lambda _: gpu())
    opened = instrument.open_instrument("torch", "auto", Settings())
    assert opened.meter.source == "none"
    assert "not supported" in opened.not_metered


def test_a_gpu_is_named_as_pytorch_names_it() -> None:
    told = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91000))
    device = gpu(backends=told, version=SimpleNamespace(cuda="12.8")).device()
    assert (device.name, device.uuid) == ("Card", "GPU-1234")
    assert device.facts["cudnn"] == 91000


# With PyTorch


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.op)
@pytest.mark.parametrize("form", ["nchw", "nhwc"])
def test_the_library_computes_the_layer(layer: Layer, form: str) -> None:
    pytest.importorskip("torch")
    one = attrs.evolve(case(layer), further=(("format", form),))
    made: Any = TorchBackend.open().prepare(one)
    x, w = (operand(shape, "uniform", 1, i)[0] for i, shape in enumerate(operand_shapes(layer, 1)[:2]))
    expected = convolution(layer, x, w)
    np.testing.assert_allclose(made.output().reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    assert made.cells == {"knobs": f"format={form};tf32=0"}


def test_launches_run_every_instance_and_take_sets_in_turn() -> None:
    pytest.importorskip("torch")
    from dibench.backends.torch import TorchLayer

    made = TorchLayer(LAYERS[2], instances=2, sets=3)
    ran: list[tuple[int, int]] = []
    outputs = [[run() for run in copies] for copies in made._sets]
    made._sets = [[partial(ran.append, (one, copy)) for copy in range(2)] for one in range(3)]
    made.launch(2)
    made.launch(2)
    assert ran == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (0, 0), (0, 1)]
    flat = [output.numpy() for copies in outputs for output in copies]
    assert all(not np.array_equal(flat[0], other) for other in flat[1:])


def test_a_sweep_of_the_library_is_a_table_like_any_other(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    plan = tmp_path / "two.toml"
    plan.write_text(
        "[plan]\nsentinel = 'N=1,C=8,H=6,W=6,K=8,R=3,S=3'\n"
        "[[layers]]\nlayers = ['N=1,C=8,H=6,W=6,K=8,R=3,S=3', 'N=4,C=64,H=1,W=1,K=32,R=1,S=1']\n"
        "[[kernels]]\nfast = true\ndtype = ['fp32', 'bf16']\n"
    )
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "sweep",
                str(plan),
                "--backend",
                "torch",
                "--meter",
                "none",
                "--case-budget",
                "0.1",
                "--out",
                str(out),
            ]
        )
    assert ended.value.code == 0
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert {row["status"] for row in rows} <= {"ok", "flagged"}
    assert {(row["backend"], row["variant"]) for row in rows} == {("torch", library.here().name)}
    assert {row["dtype"] for row in rows} == {"fp32", "bf16"}
    assert all(float(row["time_s"]) > 0 and "tf32=0" in row["knobs"] for row in rows)
    assert {row["device"] for row in rows} == {TorchBackend.open().device().name}
