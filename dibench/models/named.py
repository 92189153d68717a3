"""Which model a text names, and which of its layers: `net.onnx`, `nets.py:make/conv1`, `resnet50/fc`.

What exists is what it says: a slash or a colon in the path of a file is part of that path.
"""

from __future__ import annotations

import re
from pathlib import Path

from dibench import networks
from dibench.models.formats import SUFFIXES

TABLES = (".csv", ".tsv", ".gz", ".parquet")
_FILES = (".onnx", *TABLES, *SUFFIXES)
_PLANS = (".toml", ".plan")


def is_model(text: str) -> bool:
    """Whether a text names a model, or would if there were such a file: and no plan, and no folder.

    >>> [is_model(text) for text in ("resnet50", "net.onnx", "nets.py:make", "my.toml", "smoke")]
    [True, True, True, False, False]
    """
    suffix = Path(text).suffix.lower()
    if text in networks.names():
        return True
    if suffix in _PLANS or Path(text).is_dir():
        return False
    return suffix in _FILES or (":" in text and not Path(text).is_file())


def has_inputs(text: str) -> bool:
    """Whether a model has inputs that can be given a size: an ONNX file or a module, and no table of layers.

    >>> [has_inputs(text) for text in ("resnet50", "layers.csv", "net.onnx", "nets.py:make")]
    [False, False, True, True]
    """
    if Path(text).suffix.lower() in TABLES or text in networks.names():
        return False
    return ":" not in text or not Path(text).is_file() or Path(text).suffix.lower() == ".onnx"


def is_dimensions(text: str) -> bool:
    """Whether a text is a layer's dimensions, and not a file of that name.

    >>> is_dimensions("N=1,C=64,H=56,W=56,K=64,R=3,S=3"), is_dimensions("resnet50/layer1.0.conv2")
    (True, False)
    """
    return bool(re.match(r"\s*[A-Za-z_]+\s*=", text)) and not Path(text).exists()


def split_layer(text: str) -> tuple[str, str]:
    """A model and the name of one of its layers, which is empty where the text names the model alone.

    >>> split_layer("resnet50/layer1.0.conv2"), split_layer("nets/my.onnx/stem/conv")
    (('resnet50', 'layer1.0.conv2'), ('nets/my.onnx', 'stem/conv'))
    >>> split_layer("lib/nets.py:make"), split_layer("lib/nets.py:make/conv/1")
    (('lib/nets.py:make', ''), ('lib/nets.py:make', 'conv/1'))
    """
    slashes = [at for at, letter in enumerate(text) if letter == "/"]
    prefixes = [text, *(text[:at] for at in reversed(slashes))]
    for prefix in prefixes:
        if Path(prefix).is_file():
            return prefix, text[len(prefix) + 1 :]
    where = _before_colon(text)
    if where:
        name, _, layer = text[len(where) + 1 :].partition("/")
        return f"{where}:{name}", layer
    for prefix in reversed(prefixes):  # no such file: which one is meant, its suffix says
        if Path(prefix).suffix.lower() in _FILES:
            return prefix, text[len(prefix) + 1 :]
    model, _, layer = text.partition("/")
    return model, layer


def beside(text: str, folder: str | Path) -> str:
    """A model as a file in that folder names it: paths are relative to the folder, other names are kept.

    >>> beside("my.onnx", "plans"), beside("nets.py:make", "plans"), beside("timm:resnet18", "plans")
    ('plans/my.onnx', 'plans/nets.py:make', 'timm:resnet18')
    """
    if text.partition("/")[0] in networks.names():
        return text
    path = str(Path(folder) / text)
    model, _ = split_layer(text)
    of_a_file = Path(model).suffix.lower() in _FILES or _before_colon(text).endswith(".py")
    return path if of_a_file or Path(split_layer(path)[0]).is_file() else text


def _before_colon(text: str) -> str:
    """What stands before the colon of `module:callable`; empty where there is none.

    A file with a colon in its path is found where it exists.
    """
    colons = [at for at, letter in enumerate(text) if letter == ":"]
    for at in reversed(colons):
        if Path(text[:at]).is_file():
            return text[:at]
    return text[: colons[0]] if colons else ""
