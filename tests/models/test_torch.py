"""PyTorch modules as models: nothing computed, nothing allocated, nothing missed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

from torch_nets import MobileNetV2, ResNet50, ViT  # noqa: E402 - after the check above

from dibench import models, networks  # noqa: E402 - after the check above
from dibench.cli import main  # noqa: E402 - after the check above
from dibench.errors import UserError  # noqa: E402 - after the check above
from dibench.layer import Layer  # noqa: E402 - after the check above
from dibench.models.model import Model  # noqa: E402 - after the check above

nn: Any = torch.nn
F: Any = torch.nn.functional


@pytest.mark.parametrize(
    ("network", "make", "parameters"),
    [
        ("resnet50", ResNet50, 25557032),
        ("mobilenet_v2", MobileNetV2, 3504872),
    ],
)
def test_a_network_is_its_published_table(network: str, make: Any, parameters: int) -> None:
    """Layers as in the table, parameters as torchvision publishes them."""
    with torch.device("meta"):
        module = make()
    model = models.load(module, shapes={"": "1,3,224,224"})
    table = sorted(layer.shape for layer in networks.load(network))
    assert sorted(layer.shape for layer in model.layers) == table
    assert model.not_covered == ()
    assert model.parameters == parameters
    if network == "resnet50":
        names = {layer.name.partition("/")[2] for layer in model.layers}
        assert names == {layer.name.partition("/")[2] for layer in networks.load(network)}


def test_vit_b_16_has_every_projection_and_lists_its_attention() -> None:
    with torch.device("meta"):
        module = ViT()
    model = models.load(module, shapes={"": "1,3,224,224"})
    # torchvision publishes 17.564 GFLOPS (of multiply-adds) and 86,567,656 parameters for vit_b_16.
    assert model.macs_known == 17563828224
    assert model.parameters == 86567656
    names = [layer.name.partition("/")[2] for layer in model.layers]
    assert names[1:5] == [
        "encoder.layers.0.self_attn.in_proj", "encoder.layers.0.self_attn.out_proj",
        "encoder.layers.0.linear1", "encoder.layers.0.linear2",
    ]  # fmt: skip
    assert model.layers[1].shape == Layer.fc(N=197, C=768, K=2304).shape
    assert {part.reason for part in model.not_covered} == {"product of two activations, no weight"}
    assert sum(part.macs or 0 for part in model.not_covered) == 12 * 2 * 197 * 197 * 768


class Functional(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(8, 2, 3, 3))
        self.v = nn.Parameter(torch.zeros(5, 8))
        self.experts = nn.Parameter(torch.zeros(4, 5, 6))

    def forward(self, x: Any) -> Any:
        x = F.conv2d(x, self.w, stride=2, padding=(1, 0), groups=2, dilation=(1, 2))
        x = F.linear(x.mean((2, 3)), self.v)
        x = torch.bmm(x.expand(4, *x.shape), self.experts)
        return torch.einsum("gnk,gmk->gnm", x, x)


def test_functional_calls_are_seen() -> None:
    model = models.load(Functional(), shapes={"": "3,4,9,9"})
    conv, fc, experts = model.layers
    assert conv.shape == Layer(
        N=3, C=4, H=9, W=9, K=8, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=0, dil_w=2, groups=2
    ).shape  # fmt: skip
    assert (conv.name, fc.name, fc.shape) == ("Functional/w", "Functional/v", Layer.fc(3, 8, 5).shape)
    # The same three inputs go to all four experts: a product with 4·6 output channels.
    assert experts.shape == Layer.fc(3, 5, 24).shape
    (part,) = model.not_covered
    assert (part.op, part.macs) == ("bmm", 4 * 3 * 3 * 6)


def test_a_weight_is_counted_once_however_pytorch_broadcasts_it() -> None:
    class Awkward(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 10, bias=False)

        def forward(self, x: Any) -> Any:
            return self.fc(
                x.flatten(2).transpose(1, 2)
            )  # not contiguous: PyTorch may run a batch of products

    (layer,) = models.load(Awkward(), shapes={"": "5,16,3,4"}).layers
    assert (layer.N, layer.weights, layer.macs) == (60, 160, 60 * 160)


def test_filters_computed_from_weights_are_weights() -> None:
    class Standardised(nn.Conv2d):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def forward(self, x: Any) -> Any:
            w = F.batch_norm(self.weight.reshape(1, len(self.weight), -1), None, None, training=True)
            return F.conv2d(x, w.reshape_as(self.weight), self.bias, self.stride, self.padding)

    model = models.load(nn.Sequential(Standardised(3, 8, 3), nn.ReLU()), shapes={"": "1,3,8,8"})
    assert [layer.name for layer in model.layers] == ["Sequential/0"]
    assert model.not_covered == ()


def test_what_is_no_layer_is_listed() -> None:
    class Rest(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 6, 3, 2)
            self.one = nn.Conv1d(6, 5, 3)
            self.cube = nn.Conv3d(1, 2, 2)
            self.bilinear = nn.Bilinear(5, 5, 3)

        def forward(self, x: Any) -> Any:
            y = self.up(x)
            z = self.one(y.flatten(2))
            self.cube(y.unsqueeze(1))
            return (
                self.bilinear(z.mT, z.mT),
                F.conv2d(x, x[:, :, :1, :1]),
                F.scaled_dot_product_attention(x, x, x),
            )

    model = models.load(Rest(), shapes={"": "1,4,5,5"})
    up, one = model.layers
    assert (up.name, up.transposed, up.macs) == ("Rest/up", True, 4 * 25 * 6 * 9)
    assert (up.weights, up.inputs, up.outputs) == (4 * 6 * 9, 4 * 25, 6 * 11 * 11)
    assert (one.name, one.H, one.R, one.P, one.macs) == ("Rest/one", 1, 1, 1, 5 * (11 * 11 - 2) * 6 * 3)
    macs = {part.name.partition("/")[2]: part.macs for part in model.not_covered}
    assert macs["cube"] == 2 * 5 * 10 * 10 * 8
    reasons = {part.reason for part in model.not_covered}
    assert "3-D convolution" in reasons
    assert "filter computed at run time" in reasons
    assert any(part.op == "trilinear" for part in model.not_covered)
    products = [part.macs for part in model.not_covered if "two activations" in part.reason]
    assert sum(macs or 0 for macs in products) == 4 * 2 * 5 * 5 * 5


def test_the_module_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4))
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    models.load(module, shapes={"": "2,4"})
    assert [part.training for part in module] == [True, True, False] and module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_several_inputs_by_name_and_type() -> None:
    class Text(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(50, 8), nn.Linear(8, 3)

        def forward(self, ids: Any, *, mask: Any) -> Any:
            return self.fc(self.embed(ids) * mask.unsqueeze(-1))

    model = models.load(Text(), shapes={"": "2,7:int64", "mask": "2,7"})
    assert [layer.shape for layer in model.layers] == [Layer.fc(14, 8, 3).shape]


SOURCE = """
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))

def fails():
    raise RuntimeError("out of\\nluck")

def leaves():
    raise SystemExit("no parameters for you")

class Opens(nn.Module):
    def forward(self, x):
        return x[x.sum().item() > 0, 7]

number = 3
gives_number = lambda: 3
there = small()
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    return "my_nets"


@pytest.mark.parametrize("named", ["my_nets:small", "my_nets.py:small", "my_nets:there"])
def test_a_module_is_named_by_module_or_file_and_callable(source: str, named: str) -> None:
    model = models.load(named, shapes={"": "2,3,8,8"})
    assert (model.name, model.batch, len(model.layers)) == (named.rpartition(":")[2], 2, 2)


@pytest.mark.parametrize(
    ("named", "options", "message"),
    [
        (
            "my_nets:Opens",
            ["--input-shape", "1,3"],
            "Opens runs neither on shapes alone (it asks for numbers) nor",
        ),
        ("my_nets:fails", ["--input-shape", "1,3"], "my_nets:fails cannot be built: RuntimeError: out of"),
        ("my_nets:leaves", ["--input-shape", "1,3"], "cannot be built: SystemExit: no parameters for you"),
        (
            "my_nets:number",
            ["--input-shape", "1,3"],
            "model: must be a callable or a torch.nn.Module (got 'int')",
        ),
        ("my_nets:gives_number", ["--input-shape", "1,3"], "must give a torch.nn.Module (got 'int')"),
        ("my_nets:nothing", ["--input-shape", "1,3"], "must name something in my_nets (got 'nothing')"),
        ("no_such:thing", ["--input-shape", "1,3"], "cannot be built: ModuleNotFoundError: No module named"),
        ("nowhere.py:thing", ["--input-shape", "1,3"], "nowhere.py: no such file"),
        ("my_nets:small", [], "must be given the size of its input: --input-shape 1,3,224,224"),
        (
            "my_nets:small",
            ["--input-shape", "1,3,8,9"],
            "does not run on inputs of",
        ),
        ("my_nets:small", ["--input-shape", "1,3,8,8:text"], "must end in a type of PyTorch (got 'text')"),
        (
            "my_nets:small",
            ["--input-shape", "2,3,8,8", "-N", "4"],
            "--batch: must be that of --input-shape, 2, or N stand there for the batch, as in N,3,8,8",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(
    source: str, named: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["layers", named, *options])
    captured = capsys.readouterr()
    assert exit_info.value.code == 2
    assert message in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


def test_published_packages_are_asked_for_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get_model(name: str, weights: Any) -> Any:
        asked.append((name, weights))
        return nn.Sequential(nn.Conv2d(3, 8, 3))

    def create_model(name: str, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        module = nn.Sequential(nn.Conv2d(3, 8, 3))
        module.default_cfg = {"input_size": (3, 20, 20)}
        return module

    for package, member in (("torchvision", "models"), ("timm", "")):
        module: Any = types.ModuleType(package)
        monkeypatch.setitem(sys.modules, package, module)
        if member:
            inner: Any = types.ModuleType(f"{package}.{member}")
            inner.get_model = get_model
            monkeypatch.setitem(sys.modules, f"{package}.{member}", inner)
        else:
            module.create_model = create_model
    assert models.load("torchvision:resnet50", batch=2).layers[0].H == 224
    assert models.load("timm:small").layers[0].H == 20
    assert asked == [("resnet50", None), ("small", False)]


def test_a_product_unknown_to_dibench_is_listed() -> None:
    library = torch.library.Library("dibench_test", "DEF")
    library.define("magic(Tensor x) -> Tensor")
    library.impl("magic", lambda x: torch.empty_like(x), "Meta")

    class Magic(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def forward(self, x: Any) -> Any:
            return torch.ops.dibench_test.magic(x)

    (part,) = models.load(Magic(), shapes={"": "1,3"}).not_covered
    assert (part.op, part.macs, part.reason) == (
        "magic",
        None,
        "unknown operator of dibench_test: it may multiply",
    )


class Module(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    """A module of the attributes that it is given, and of a function of itself and its inputs."""

    def __init__(self, run: Any, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.run(self, *args, **named)


def shapes(model: Model) -> list[Layer]:
    return [layer.renamed("") for layer in model.layers]


def not_covered(model: Model) -> list[int | None]:
    return [part.macs for part in model.not_covered]


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("how", ["expand", "repeat", "expand_as"])
def test_queries_that_are_expanded_to_the_batch_are_projected_for_each_image(batch: int, how: str) -> None:
    """Sixteen queries an image, 64 wide: FlopCounterMode has 524,288 multiply-adds at batch 8."""

    def run(self: Any, x: Any) -> Any:
        every = {
            "expand": lambda: self.q.expand(len(x), -1, -1),
            "repeat": lambda: self.q.repeat(len(x), 1, 1),
            "expand_as": lambda: self.q.expand_as(x.new_empty(len(x), 16, 64)),
        }[how]()
        return self.wq(every)

    module = Module(run, q=nn.Parameter(torch.zeros(1, 16, 64)), wq=nn.Linear(64, 64))
    model = models.load(module, shapes={"": f"{batch},10,64"})
    assert shapes(model) == [Layer.fc(16 * batch, 64, 64)]


def test_a_product_of_two_parameters_is_no_layer() -> None:
    """A low-rank update: PyTorch multiplies a·b in every inference, so it is counted, beside x·(w + a·b)."""
    parts = {name: nn.Parameter(torch.zeros(size)) for name, size in {"a": (64, 4), "b": (4, 32)}.items()}
    w = nn.Parameter(torch.zeros(64, 32))
    model = models.load(
        Module(lambda self, x: x @ (self.w + self.a @ self.b), w=w, **parts), shapes={"": "8,64"}
    )
    assert shapes(model) == [Layer.fc(8, 64, 32)]
    assert not_covered(model) == [64 * 4 * 32]


def test_a_buffer_that_is_written_with_activations_is_no_weight() -> None:
    """A cache of 128 keys and values: only the projection has weights."""

    def run(self: Any, x: Any) -> Any:
        q, k, v = self.p(x).view(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        self.k[:, :, 5 : 5 + x.shape[1]] = k
        self.v[:, :, 5 : 5 + x.shape[1]] = v
        return torch.softmax(q @ self.k.mT, -1) @ self.v

    buffers = {name: nn.Buffer(torch.zeros(1, 4, 128, 16)) for name in "kv"}
    model = models.load(Module(run, p=nn.Linear(64, 192), **buffers), shapes={"": "1,3,64"})
    assert [(layer.name, layer.macs) for layer in model.layers] == [("Module/p", 36_864)]
    assert not_covered(model) == [24_576] * 2


def test_a_tensor_that_was_there_before_is_a_constant() -> None:
    constants = [torch.zeros(8, 6)]
    module = Module(lambda self, x: x @ self.dct @ constants[0].to(x.device), dct=torch.zeros(8, 8))
    model = models.load(module, shapes={"": "4,8"})
    assert [layer.name.partition("/")[2] for layer in model.layers][:1] == ["dct"]
    assert shapes(model) == [Layer.fc(4, 8, 8), Layer.fc(4, 8, 6)]
    assert model.not_covered == ()


def test_distances_are_a_product() -> None:
    module = Module(lambda self, x: torch.cdist(x, self.e.weight), e=nn.Embedding(512, 64))
    model = models.load(module, shapes={"": "30,64"})
    assert [(layer.name, layer.macs) for layer in model.layers] == [("Module/e", 983_040)]


def test_recurrent_layers_project_all_inputs_at_once() -> None:
    """T = 50, batch 2, 32 inputs, 64 hidden: 8,192 weights once and 16,384 at each step, as from ONNX."""
    model = models.load(nn.LSTM(32, 64, batch_first=True), shapes={"": "2,50,32"})
    assert shapes(model) == [Layer.fc(100, 32, 256), *[Layer.fc(2, 64, 256)] * 50]
    assert (model.macs, model.weights) == (2_457_600, 827_392)
    assert model.layers[0].name == "LSTM/weight_ih_l0"
    gru = models.load(nn.GRU(3, 5, num_layers=2, bidirectional=True), shapes={"": "7,4,3"})
    one = [Layer.fc(4, 5, 15)] * 7
    assert shapes(gru) == [Layer.fc(28, 3, 15), *one] * 2 + [Layer.fc(28, 10, 15), *one] * 2
    projected = models.load(nn.LSTM(3, 5, proj_size=2), shapes={"": "7,4,3"})
    assert shapes(projected) == [Layer.fc(28, 3, 20), *[Layer.fc(4, 2, 20), Layer.fc(4, 5, 2)] * 7]


def test_a_pad_before_a_convolution_is_its_padding() -> None:
    module = nn.Sequential(nn.ZeroPad2d((1, 1, 0, 1)), nn.Conv2d(3, 4, 3, padding=1), nn.ReflectionPad2d(1),
                           nn.Conv2d(4, 4, 3))  # fmt: skip
    first, second = models.load(module, shapes={"": "1,3,8,8"}).layers
    assert (first.H, first.W, first.pad_h, first.pad_w, first.P, first.Q) == (8, 8, 1, 2, 9, 10)
    assert (second.H, second.W, second.pad_h, second.P) == (9, 10, 1, 9)


@pytest.mark.parametrize("where", ["attribute", "dict", "object"])
def test_a_module_that_keeps_what_it_computed_stays_as_it_was(where: str) -> None:
    class Kept:
        mask: Any = None

    def run(self: Any, x: Any) -> Any:
        mask = (
            self.mask if where == "attribute" else self.cache.get("m") if where == "dict" else self.kept.mask
        )
        if mask is None:
            mask = torch.tril(torch.ones(8, 8, device=x.device))
        self.mask = self.kept.mask = self.cache["m"] = mask
        return self.fc(x) @ mask

    module = Module(run, fc=nn.Linear(8, 8), mask=None, cache={}, kept=Kept())
    assert models.load(module, shapes={"": "4,8"}).macs == 2 * 4 * 8 * 8
    assert module.mask is None and module.cache == {} and module.kept.mask is None
    x = torch.ones(4, 8)
    assert torch.equal(module(x), module.fc(x) @ torch.tril(torch.ones(8, 8)))


def test_a_module_that_asks_for_numbers_runs_on_real_ones_and_says_so() -> None:
    def run(self: Any, x: Any) -> Any:
        mask = torch.ones(x.shape[:2])
        h = self.fc(x)
        return h if mask.all() else h * mask[..., None]

    module = Module(run, fc=nn.Linear(64, 64))
    model = models.load(module, shapes={"": "2,10,64"})
    assert (model.macs, "asks for numbers" in model.note) == (81_920, True)
    assert models.load(nn.Linear(64, 64), shapes={"": "2,64"}).note == ""


def test_inputs_in_a_dict_or_a_tuple_are_named_by_their_place() -> None:
    pair = Module(
        lambda self, pair, batch: self.fc(batch["x"]) + self.fc(pair[0] * pair[1]), fc=nn.Linear(8, 8)
    )
    inputs = {"pair.0": "4,8", "pair.1": "4,8", "batch.x": "4,8"}
    assert models.load(pair, shapes=inputs).macs == 2 * 4 * 8 * 8
    whole = Module(lambda self, batch: self.fc(batch["x"]), fc=nn.Linear(8, 8))
    with pytest.raises(UserError, match=r"those in a dict or tuple as NAME\.KEY=1,3,8,8"):
        models.load(whole, shapes={"": "4,8"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of PyTorch itself
def test_modules_that_others_wrapped_are_read() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    exported = torch.export.export(plain.eval(), (torch.ones(1, 3, 16, 16),)).module()
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)))
    for module in (plain, exported, torch.compile(plain), normed):
        (layer,) = models.load(module, shapes={"": "1,3,16,16"}).layers
        assert (layer.macs, layer.name.rpartition("/")[2]) == (42_336, "0")
    lazy = models.load(nn.LazyLinear(4), shapes={"": "2,3"})
    assert shapes(lazy) == [Layer.fc(2, 3, 4)]


def test_a_train_of_the_users_own_is_not_called() -> None:
    class Trains(nn.Linear):  # type: ignore[misc]  # untyped base: PyTorch may be absent
        def train(self, mode: bool = True) -> Any:
            raise RuntimeError("epoch 1")

    assert models.load(Trains(3, 4), shapes={"": "2,3"}).macs == 24


FILE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from sibling import WIDTH

print("importing")

@dataclass
class Config:
    width: int = WIDTH

class Net(nn.Module):
    def __init__(self, config: Config = Config()):
        super().__init__()
        print("building")
        self.fc = nn.Linear(config.width, config.width)

    def forward(self, x):
        print("running")
        return self.fc(x)

def computes_while_built():
    return nn.Linear(3, len(torch.linspace(1, 8, 8).tolist()))
"""


def test_a_file_may_have_dataclasses_and_siblings_and_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sibling.py").write_text("WIDTH = 64")
    (tmp_path / "net.py").write_text(FILE)
    with pytest.raises(SystemExit) as exit_info:
        main(["layers", f"{tmp_path / 'net.py'}:Net", "--input-shape", "1,64", "--json"])
    captured = capsys.readouterr()
    assert exit_info.value.code == 0
    assert json.loads(captured.out)["macs_known"] == 4_096
    assert all(word in captured.err for word in ("importing", "building", "running"))
    model = models.load(f"{tmp_path / 'net.py'}:computes_while_built", shapes={"": "2,3"})
    assert shapes(model) == [Layer.fc(2, 3, 8)]


def test_a_file_of_a_package_imports_its_siblings(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "width.py").write_text("WIDTH = 5")
    (package / "net.py").write_text(
        "from torch import nn\nfrom .width import WIDTH\nmake = lambda: nn.Linear(WIDTH, WIDTH)\n"
    )
    assert models.load(f"{package / 'net.py'}:make", shapes={"": "2,5"}).macs == 50


# What others write, beside the usual layers.


@dataclasses.dataclass
class Batch:
    tokens: Any
    mask: Any


class Pair(NamedTuple):
    left: Any
    right: Any


class TakesFields(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, batch: Batch, pair: Pair, other: Any) -> Any:
        left, right = pair
        return self.fc(batch.tokens * batch.mask) + self.fc(left * right + other.x * other["y"])


def test_inputs_in_a_dataclass_or_a_named_tuple_are_named_by_their_field() -> None:
    """By the annotation, or, where there is none, as a dict whose values are attributes too."""
    fields = ("batch.tokens", "batch.mask", "pair.left", "pair.right", "other.x", "other.y")
    assert models.load(TakesFields(), shapes=dict.fromkeys(fields, "4,8")).macs == 2 * 4 * 8 * 8
    with pytest.raises(
        UserError, match=r"does not run on inputs of 4×8, .* no field x \(give inputs by name"
    ):
        models.load(TakesFields(), shapes=dict.fromkeys([*fields[:4], "other.z"], "4,8"))


def test_the_weight_that_is_copied_for_the_batch_counts_once() -> None:
    """8·10 rows meet 64·32 weights, whether those are expanded or copied in memory."""
    ways = {
        "repeat": lambda w: w.repeat(8, 1, 1),
        "clone": lambda w: w.expand(8, 64, 32).contiguous(),
        "turned": lambda w: w.mT.repeat(8, 1, 1).transpose(1, 2),
        "permuted": lambda w: w.mT.expand(8, 32, 64).clone().permute(0, 2, 1),
    }
    for way in ways.values():
        module = Module(
            lambda self, x, way=way: torch.bmm(x, way(self.w)), w=nn.Parameter(torch.zeros(64, 32))
        )
        assert shapes(models.load(module, shapes={"": "8,10,64"})) == [Layer.fc(80, 64, 32)]
    distances = Module(lambda self, x: torch.cdist(x, self.e), e=nn.Parameter(torch.zeros(1, 512, 64)))
    assert shapes(models.load(distances, shapes={"": "2,30,64"})) == [Layer.fc(60, 64, 512)]


def test_inputs_that_are_copied_to_each_expert_count_once() -> None:
    """The same ten rows go to four experts, each of which has its own weights."""
    experts = nn.Parameter(torch.zeros(4, 64, 32))
    module = Module(lambda self, x: torch.bmm(x.repeat(4, 1, 1), self.w), w=experts)
    assert shapes(models.load(module, shapes={"": "10,64"})) == [Layer.fc(10, 64, 4 * 32)]


def test_groups_of_rows_and_products_of_three() -> None:
    """Four experts of 64·32, 16 rows each; a bilinear form has 7 matrices of 6·5 for each of two rows."""
    w = nn.Parameter(torch.zeros(4, 64, 32, dtype=torch.bfloat16))
    ends = torch.tensor([16, 32, 48, 64], dtype=torch.int32)
    experts = [Layer(N=16, C=4 * 64, H=1, W=1, K=4 * 32, R=1, S=1, groups=4)]
    flat = Module(lambda self, x: torch._grouped_mm(x, self.w, offs=ends), w=w)
    stacked = Module(lambda self, x: torch._grouped_mm(x, self.w), w=w)
    assert shapes(models.load(flat, shapes={"": "64,64:bfloat16"})) == experts
    assert shapes(models.load(stacked, shapes={"": "4,16,64:bfloat16"})) == experts
    unequal = Module(lambda self, x: torch._grouped_mm(x, self.w, offs=ends), w=w)
    assert not_covered(models.load(unequal, shapes={"": "63,64:bfloat16"})) == [63 * 64 * 32]
    form = models.load(nn.Bilinear(6, 5, 7), shapes={"input1": "2,6", "input2": "2,5"})
    assert (form.layers, not_covered(form)) == ((), [2 * 7 * 6 * 5])
    grid = models.load(Module(lambda self, t: F.affine_grid(t, (2, 3, 4, 5), False)), shapes={"": "2,2,3"})
    assert (grid.layers, not_covered(grid)) == ((), [2 * 4 * 5 * 3 * 2])


def counts(model: Model) -> list[tuple[tuple[int, int] | None, int | None]]:
    return [(part.operands, part.outputs) for part in model.not_covered]


def test_a_product_of_two_activations_counts_each_element_once() -> None:
    """Four images of 3·10 times 10·5; where the four are one, however that is written, 30 elements."""
    sizes = {"x": "4,3,10", "y": "4,10,5"}
    plain = models.load(Module(lambda self, x, y: torch.baddbmm(x[:, :, :5], x, y)), shapes=sizes)
    assert (not_covered(plain), counts(plain)) == ([600], [((120, 200), 60)])
    ways = {
        "broadcast": lambda x: x,
        "expand": lambda x: x.expand(4, 3, 10),
        "repeat": lambda x: x.repeat(4, 1, 1),
        "clone": lambda x: x.expand(4, 3, 10).clone().double(),
        "scaled": lambda x: x.mT.repeat(4, 1, 1).mul_(3).mT / torch.tensor(2.0),
        "interleaved": lambda x: x.repeat_interleave(4, 0),
    }
    for name, way in ways.items():
        module = Module(lambda self, x, y, way=way: way(x) @ y.to(way(x).dtype))
        model = models.load(module, shapes={"x": "1,3,10", "y": "4,10,5"})
        assert (not_covered(model), counts(model)) == ([600], [((30, 200), 60)]), name


def test_copies_that_are_written_over_are_elements() -> None:
    def run(self: Any, x: Any, y: Any) -> Any:
        wide = x.repeat(4, 1, 1)
        wide[:, 1:] = y[:, :2, :5].repeat(1, 1, 2)
        return torch.bmm(wide, y) + torch.bmm(x.repeat(4, 1, 1) + wide, y)

    model = models.load(Module(run), shapes={"x": "1,3,10", "y": "4,10,5"})
    assert counts(model) == [((120, 200), 60)] * 2


def test_both_products_of_attention_have_their_elements() -> None:
    """Of two sequences of 10 tokens and four heads of 16; then eight heads of 64 over the keys of two."""
    heads = Module(lambda self, x: self.a(x, x, x, need_weights=False),
                   a=nn.MultiheadAttention(64, 4, batch_first=True))  # fmt: skip
    assert counts(models.load(heads, shapes={"": "2,10,64"})) == [((1280, 1280), 800), ((800, 1280), 1280)]
    shared = [((5120, 1280), 800), ((800, 1280), 5120)]
    sizes = {"q": "1,8,10,64", "k": "1,2,10,64", "v": "1,2,10,64"}

    def by_hand(self: Any, q: Any, k: Any, v: Any) -> Any:
        k, v = (one[:, :, None].expand(1, 2, 4, 10, 64).reshape(1, 8, 10, 64) for one in (k, v))
        return (q @ k.mT).softmax(-1) @ v

    fused = Module(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    for module in (Module(by_hand), fused):
        assert counts(models.load(module, shapes=sizes)) == shared


def test_attention_that_runs_as_one_operator_reads_queries_keys_and_values() -> None:
    """A module that asks for numbers runs on the CPU, where PyTorch has one kernel for it."""

    def run(self: Any, q: Any, k: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, k) if q.sum().item() < 1e9 else q

    model = models.load(Module(run), shapes={"q": "2,4,10,16", "k": "2,4,30,16"})
    assert not_covered(model) == [2 * 4 * 10 * 30 * (16 + 16)]
    assert counts(model) == [((1280, 2 * 3840), 1280)]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flexible_attention_is_counted_and_what_a_branch_holds_is_said() -> None:
    attend = importlib.import_module("torch.nn.attention.flex_attention").flex_attention

    def run(self: Any, x: Any) -> Any:
        return attend(*self.p(x).view(2, 10, 3, 4, 16).permute(2, 0, 3, 1, 4))

    model = models.load(Module(run, p=nn.Linear(64, 192)), shapes={"": "2,10,64"})
    assert model.macs == 20 * 64 * 192
    assert not_covered(model) == [2 * 4 * 10 * 10 * 2 * 16]
    branch = Module(lambda self, x: torch.cond(x.sum() > 0, self.f, self.f, (x,)), f=nn.Linear(8, 8))
    (part,) = models.load(branch, shapes={"": "4,8"}).not_covered
    assert part.reason == "inside cond, which may run it never or many times"


def test_what_went_through_numpy_is_no_constant() -> None:
    """But a tensor that was there before the run is one."""
    constant = torch.zeros(8, 8)
    module = Module(lambda self, x: self.f(torch.from_numpy(x.numpy())) @ constant, f=nn.Linear(8, 8))
    model = models.load(module, shapes={"": "4,8"})
    assert shapes(model) == [Layer.fc(4, 8, 8)] * 2
    assert model.not_covered == ()


def test_names_are_those_before_a_module_was_wrapped() -> None:
    wraps: dict[str, Any] = {
        "weight_norm": nn.utils.parametrizations.weight_norm,
        "spectral_norm": nn.utils.parametrizations.spectral_norm,
        "orthogonal": nn.utils.parametrizations.orthogonal,
        "pruned": lambda module: importlib.import_module("torch.nn.utils.prune").l1_unstructured(
            module, "weight", 0.5
        ),
        "compiled": torch.compile,
    }
    for wrap in wraps.values():
        (layer,) = models.load(nn.Sequential(wrap(nn.Linear(32, 32))), shapes={"": "2,32"}).layers
        assert layer == Layer.fc(2, 32, 32).renamed("Sequential/0")


def test_modules_that_wait_for_their_sizes() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(4))
    assert models.load(lazy, shapes={"": "2,3,8,8"}).macs == 2 * 36 * 27 * 8 + 2 * 288 * 4
    assert nn.parameter.is_lazy(lazy[0].weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of PyTorch itself
def test_what_cannot_be_run_says_the_way_out() -> None:
    program = torch.export.export(nn.Linear(8, 4), (torch.ones(2, 8),))
    assert models.load(program, shapes={"": "2,8"}).macs == 64
    with pytest.raises(UserError, match=r"is TorchScript: give the module that it was made from, or write"):
        models.load(torch.jit.script(nn.Linear(8, 4)), shapes={"": "2,8"})
    with pytest.raises(
        UserError, match=r"does not run on inputs of 2×3: .* whole numbers with --input-shape"
    ):
        models.load(nn.Embedding(10, 4), shapes={"": "2,3"})
    size = 2**31 - 1
    with pytest.raises(UserError, match=r"does not run on inputs of 2147483647×3×2147483647×2147483647: "):
        models.load(nn.Conv2d(3, 8, 3), shapes={"": f"{size},3,{size},{size}"})


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 2, "padding": 1, "output_padding": 1},
                                     {"stride": 3, "dilation": 2, "groups": 2}, {"padding": 2}])  # fmt: skip
@pytest.mark.parametrize("axes", [1, 2])
def test_a_transposed_convolution_has_pytorchs_sizes(options: dict[str, int], axes: int) -> None:
    module = (nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose2d)(4, 6, 3, **options)
    x = torch.rand(2, 4, *[7] * axes)
    (layer,) = models.load(module, shapes={"": ",".join(map(str, x.shape))}).layers
    assert layer.transposed
    assert (layer.inputs, layer.outputs, layer.weights) == (
        x.numel(), module(x).numel(), module.weight.numel()
    )  # fmt: skip
    assert layer.macs == x.numel() * module.weight[0].numel()
