"""Names the model files that cannot be read, by their suffix or first bytes, with the way to one that can."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dibench.errors import UserError

FIRST_BYTES = 64
"""How much of a file `check_content` looks at."""

TORCHSCRIPT = "give the module that it was made from, or write it with torch.onnx.export(…, dynamo=False)"
"""What to do with a module of TorchScript."""

_PICKLE = "holds a pickle, which can run any code: export it to ONNX, or name its code as module:callable"
_ORT = "is onnxruntime's own format: give the .onnx file that it was converted from"
_TFLITE = (
    "is a TensorFlow Lite model: convert it with python -m tf2onnx.convert --tflite FILE --output model.onnx"
)
_SAFETENSORS = "holds weights and no graph: name the model's code as module:callable, or export that to ONNX"
_GGUF = "holds weights of llama.cpp and no graph: export the model that they were made from to ONNX"
_KERAS = "is a Keras model: write it with model.export('model.onnx', format='onnx')"
_CORE_ML = "is a Core ML model: give the model that it was converted from, as ONNX"
_ENGINE = "is an engine compiled for one GPU: give the ONNX file that it was built from"
_CAFFE = "is a Caffe model: give its layers as a .csv table, or an ONNX file"

SUFFIXES = {
    **dict.fromkeys((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"), _PICKLE),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), _KERAS),
    **dict.fromkeys((".engine", ".plan", ".trt"), _ENGINE),
    **dict.fromkeys((".mlmodel", ".mlpackage"), _CORE_ML),
    **dict.fromkeys((".caffemodel", ".prototxt"), _CAFFE),
    ".ort": _ORT,
    ".tflite": _TFLITE,
    ".safetensors": _SAFETENSORS,
    ".gguf": _GGUF,
    ".pb": "is a TensorFlow graph: convert it with python -m tf2onnx.convert --graphdef FILE "
    "--inputs NAME:0 --outputs NAME:0 --output model.onnx (a SavedModel: --saved-model FOLDER)",
    ".pt2": "is an exported PyTorch program: give it to torch.onnx.export, or name a function that returns "
    "torch.export.load(FILE).module() as file.py:function",
    ".pdmodel": "is a Paddle model: convert it with paddle2onnx",
    ".xml": "is no ONNX file (OpenVINO's, perhaps): give the model that it was converted from, as ONNX",
}
_STARTS = {
    b"PK\x03\x04": "is a zip archive, as PyTorch and Keras write them: export the model to ONNX",
    b"\x89HDF": _KERAS,
    b"GGUF": _GGUF,
    b"\x80": _PICKLE,
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: run git lfs pull",
    b"<": "is a page of HTML or XML, not a model: was it downloaded from a page about the model?",
}


def check_suffix(path: Path) -> None:
    """Refuse a file, or a folder of TensorFlow, that cannot be read.

    Raises:
        UserError: says what the file is, and how to get one that can be read.
    """
    what = SUFFIXES.get(path.suffix.lower())
    if what == _PICKLE and _is_torchscript(path):
        what = f"is TorchScript: {TORCHSCRIPT}"
    if what is None and (path / "saved_model.pb").is_file():
        what = (
            "is a SavedModel of TensorFlow: convert it with python -m tf2onnx.convert --saved-model FOLDER "
        )
        what += "--output model.onnx"
    if what is not None:
        raise UserError("", what, where=path)


def _is_torchscript(path: Path) -> bool:
    """Whether a file is an archive with code beside its pickles; nothing in it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def check_content(path: Path) -> None:
    """Refuse a file that is called .onnx and begins like another kind of file.

    Raises:
        UserError: as above.
    """
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
    what = next((what for start, what in _STARTS.items() if head.startswith(start)), None)
    if head[4:8] == b"ORTM":
        what = _ORT
    elif head[4:8] == b"TFL3":
        what = _TFLITE
    elif head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 2**32:
        what = _SAFETENSORS
    if what is not None:
        raise UserError("", what, where=path)
