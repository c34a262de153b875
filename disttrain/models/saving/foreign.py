"""Files that hold models in other formats, told by what is in them, and what to do with each."""

from __future__ import annotations

import os
from typing import Any

import fsspec

_HDF5, _PICKLE, _ZIP = b"\x89HDF\r\n\x1a\n", b"\x80", b"PK"

# By ending: what it is, and what to do.
_ENDINGS = {
    ".bin": ("a pickle of PyTorch, which could run code", "model.load_state_dict(torch.load(path, weights_only=True))"),
    ".ckpt": ("a checkpoint of TensorFlow or Lightning", "save it with Keras 3: model.save('model.keras')"),
    ".index": ("a checkpoint of TensorFlow", "save it with Keras 3: model.save('model.keras')"),
    ".npz": ("weights of Keras as NumPy arrays", "model.set_weights([...]) with the arrays of numpy.load(path)"),
    ".onnx": ("an ONNX graph, which holds no layers", "onnxruntime.InferenceSession(path)"),
    ".pb": ("a graph of TensorFlow", "save it with Keras 3: model.save('model.keras')"),
    ".pkl": ("a pickle, which could run code", "model.save('model.keras') where it was pickled"),
    ".pt": ("a pickle of PyTorch, which could run code", "model.load_state_dict(torch.load(path, weights_only=True))"),
    ".pt2": ("an exported program of PyTorch, which holds no layers", "torch.export.load(path).module()"),
    ".pth": ("a pickle of PyTorch, which could run code", "model.load_state_dict(torch.load(path, weights_only=True))"),
    ".tflite": ("a graph of LiteRT, which holds no layers", "the LiteRT interpreter"),
    ".weights.json": ("weights of Keras in several files", "model.save_weights('model.weights.h5') without max_shard_size"),
}


def refuse_foreign_path(path: Any, call: str, endings: str) -> None:
    """Raise ValueError for a folder, or for an ending that is another format's; say what it is and what to do.

    Args:
        call: what was called, for the error.
        endings: what would be right.
    """
    name = os.fspath(path)
    system, inner = fsspec.core.url_to_fs(name)
    if system.exists(inner) and system.isdir(inner):
        inside = {os.path.basename(item) for item in system.ls(inner, detail=False)}
        if "saved_model.pb" in inside or "keras_metadata.pb" in inside:
            raise _refusal(call, name, "a SavedModel folder of TensorFlow", "load it with Keras 2, then model.save('model.keras')")
        if "checkpoint" in inside or any(item.endswith(".index") for item in inside):
            raise _refusal(call, name, "a folder of TensorFlow checkpoints", "save it with Keras 3: model.save('model.keras')")
        raise _refusal(call, name, "a folder", f"a path ending in {endings}")
    if not system.exists(inner) and system.exists(f"{inner}.index"):
        raise _refusal(call, name, *_ENDINGS[".index"])
    for ending, (what, advice) in _ENDINGS.items():
        if name.endswith(ending):
            raise _refusal(call, name, what, advice)


def refuse_foreign_bytes(data: bytes, source: str) -> None:
    """Raise ValueError for a `.keras` file that is something else inside."""
    if data.startswith(_HDF5):
        raise _refusal("load_model", source, "an HDF5 file of Keras 2 under another name", _LEGACY)
    if data.startswith(_PICKLE):
        raise _refusal("load_model", source, "a pickle, which could run code", "model.save(path) where it was pickled")


def refuse_foreign_members(names: list[str], source: str) -> None:
    """Raise ValueError for a zip that is another format's."""
    if any(name.endswith("data.pkl") for name in names):
        raise _refusal("load_model", source, "a pickle of PyTorch, which could run code", _ENDINGS[".pt"][1])
    if "config.json" in names and "model.weights.h5" not in names:
        for other in names:
            if other.startswith("model.weights") and not other.endswith("/"):
                raise _refusal(
                    "load_model",
                    source,
                    f"a .keras file with its weights in {other}",
                    "model.save(path) without weights_format, in one file",
                )


def refuse_foreign_hdf5(file: Any, source: str) -> None:
    """Raise ValueError for an open HDF5 file that Keras 2 wrote."""
    if "model_weights" in file or "model_config" in file.attrs:
        raise _refusal("load", source, "a whole model as Keras 2 wrote it", _LEGACY)
    if "layer_names" in file.attrs:
        raise _refusal("load_weights", source, "weights as Keras 2 wrote them", "load them with Keras, then save_weights('x.weights.h5')")


def refuse_newer(metadata: Any, source: str) -> None:
    """Raise ValueError for a file of a later major version of Keras, whose format may be another."""
    version = str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3"
    major = version.split(".")[0]
    if major.isdigit() and int(major) != 3:
        raise _refusal("load_model", source, f"a file of Keras {version}", "a file that Keras 3 wrote")


_LEGACY = "load_model or load_weights of the same file under a name that ends in .h5"


def _refusal(call: str, source: str, what: str, advice: str) -> ValueError:
    return ValueError(f"{call}({source!r}): this is {what}.\n  expected  a file of Keras 3 or of this package\n  try  {advice}")
