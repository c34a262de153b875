"""The forward pass of a model as a program of its own, without layers: for PyTorch (`.pt2`) or as an ONNX graph."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from disttrain.layers.dtypes import DTYPES
from disttrain.layers.structure import flatten, is_shape, map_shapes, map_structure, pack_like
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.models.network import Network

_BATCH, _ELSEWHERE = 3, 11  # what stands for None while the program is recorded; 0 and 1 would become constants
_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
_OTHERS = ("litert", "openvino", "tf_saved_model")  # of Keras


def export(
    model: Network, path: Any, format: str | None = None, input_signature: Any = None, *, overwrite: bool = True, **options: Any
) -> None:
    """Write what `model` computes, without training.

    Args:
        path: a path or any fsspec URL, ending in `.pt2` or `.onnx`.
        format: "torch" or "onnx"; by the ending unless told.
        input_signature: `Input(...)`s or example tensors in the structure that the model is called with, where it is not the model's own:
            sizes that are None there may be any, the batch above all.
        options: go to `torch.export.export` or `torch.onnx.export`.

    Raises:
        ValueError: another format or ending, a model that is not built, operations that the format lacks.
        ImportError: the packages that write ONNX are not installed.
        FileExistsError: the file is there and `overwrite` is False.
    """
    name = os.fspath(path)
    chosen = _chosen(name, format)
    if not model.built:
        raise ValueError(f"{model._described()} has no weights yet: call it on data, or build(input_shape), before export.")
    signature = _signature(model) if input_signature is None else input_signature
    if chosen == "onnx":
        _need_onnx()
    sample, free = _samples(signature, model._own_device())
    with torch.no_grad():
        data = (_to_onnx if chosen == "onnx" else _to_torch)(model, sample, free, options)
    from disttrain.models.saving.files import write_bytes  # late: with all that reads and writes files

    write_bytes(path, data, overwrite)


class _Structured(nn.Module):
    """The model as a function of its inputs in their structure."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


class _Flat(nn.Module):
    """The model as a function of tensors one by one, which is all that ONNX knows."""

    def __init__(self, model: nn.Module, like: Any) -> None:
        super().__init__()
        self.model, self.like = model, map_structure(lambda _: None, like)

    def forward(self, *leaves: Tensor) -> Any:
        outputs = self.model(pack_like(self.like, list(leaves)), training=False)
        return tuple(flatten(outputs))


def _to_torch(model: Network, sample: Any, free: Any, options: dict[str, Any]) -> bytes:
    shapes = map_structure(lambda leaf: {axis: _dim(axis, torch.export.Dim.DYNAMIC) for axis in leaf.axes} or None, free)
    with _named_failures(model, "torch"):
        program = torch.export.export(_Structured(model), (sample,), **{"dynamic_shapes": {"inputs": shapes}, "strict": False, **options})
        _check_free(program, flatten(free))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _check_free(program: Any, free: list[_Free]) -> None:
    """Refuse a program for which a size that was to be any became that of the sample: it would run for no other."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name, leaf in zip(program.graph_signature.user_inputs, free, strict=False):
        for axis in leaf.axes:
            size = values[name].shape[axis]
            if isinstance(size, int) or size.node.maybe_as_int() is not None:
                raise ValueError(
                    f"axis {axis} of {leaf.name!r} cannot be of any size here, as with recurrent layers and their time.\n"
                    f"  try  input_signature=Input(shape) with that size, or format='onnx'"
                )


def _to_onnx(model: Network, sample: Any, free: Any, options: dict[str, Any]) -> bytes:
    from disttrain.models.onnx_sort import stable_sort_translation  # late: optional packages

    batch = torch.export.Dim("batch")
    shapes = tuple({axis: _dim(axis, batch) for axis in leaf.axes} or None for leaf in flatten(free))
    outputs = model.output_names
    settings: dict[str, Any] = {
        "dynamic_shapes": {"leaves": shapes},
        "input_names": [leaf.name for leaf in flatten(free)],
        "output_names": _unique(outputs) if outputs else None,
        "custom_translation_table": stable_sort_translation(),
        "verbose": False,
        **options,
    }
    with _named_failures(model, "onnx"), _quiet():
        program = torch.onnx.export(_Flat(model, sample), tuple(flatten(sample)), dynamo=True, **settings)
    assert program is not None
    try:
        return bytes(program.model_proto.SerializeToString())
    except ValueError as error:
        raise ValueError(f"{model._described()} is too large for one ONNX file, whose limit is 2 GiB: {error}") from error


class _Free:
    """The name of an input, and its axes of any size."""

    def __init__(self, name: str, axes: list[int]) -> None:
        self.name, self.axes = name, axes


def _samples(signature: Any, device: Any) -> tuple[Any, Any]:
    """(tensors to record the program with, a `_Free` for each), in the structure of `signature`."""
    leaves = flatten(signature)
    names = _unique([getattr(leaf, "name", None) or f"input_{number}" for number, leaf in enumerate(leaves)])
    samples, free = [], []
    for leaf, name in zip(leaves, names, strict=True):
        if isinstance(leaf, SymbolicTensor) and leaf.dtype not in DTYPES:
            raise ValueError(
                f"export: input {leaf.name!r} is text, which no exported program takes.\n"
                "  try  export the model from the numbers on: Model(vectorized, outputs), and run the text layers beside it"
            )
        if isinstance(leaf, SymbolicTensor):
            sizes = [size if size is not None else _ELSEWHERE if axis else _BATCH for axis, size in enumerate(leaf.shape)]
            samples.append(torch.zeros(sizes, dtype=DTYPES[leaf.dtype], device=device))
            free.append(_Free(name, [axis for axis, size in enumerate(leaf.shape) if size is None]))
        elif hasattr(leaf, "shape"):
            value = torch.as_tensor(leaf, device=device)
            if value.ndim and value.shape[0] == 1:
                value = torch.cat([value] * _BATCH)
            samples.append(value)
            free.append(_Free(name, [0] if value.ndim else []))
        else:
            raise ValueError(f"export(input_signature=...): {leaf!r} is neither what Input() gave nor a tensor.")
    return pack_like(signature, samples), pack_like(signature, free)


def _signature(model: Network) -> Any:
    """What the model is called with, as far as it knows."""
    if model._graph is not None or getattr(model, "_input_layer", None) is not None:
        inputs = model.input
        alone = isinstance(inputs, list | tuple) and len(inputs) == 1
        return inputs[0] if alone else inputs
    shapes = getattr(model, "_build_shapes", None)
    if not shapes:
        raise ValueError(f"export: what {model._described()} is called with is not known.\n  try  input_signature=Input(...)")
    shape = next(iter(shapes.values()))
    return SymbolicTensor(shape, model.dtype) if is_shape(shape) else map_shapes(lambda inner: SymbolicTensor(inner, model.dtype), shape)


def _dim(axis: int, batch: Any) -> Any:
    """The batch must stay free; another axis does unless something in the model depends on its size."""
    return torch.export.Dim.AUTO if axis else batch


def _chosen(name: str, format: str | None) -> str:
    if format is None:
        format = next((known for known, ending in _ENDINGS.items() if name.endswith(ending)), None)
        if format is None:
            raise ValueError(f"export({name!r}): expected a path ending in .pt2 (PyTorch) or .onnx.")
    if format in _OTHERS:
        raise ValueError(
            f"export(format={format!r}): it needs TensorFlow or OpenVINO.\n  expected  'torch' or 'onnx'\n"
            "  try  model.save('model.keras'), and export it from Keras"
        )
    if format not in _ENDINGS:
        raise ValueError(f"export(format={format!r}): expected 'torch' or 'onnx'.")
    if not name.endswith(_ENDINGS[format]):
        raise ValueError(f"export({name!r}, format={format!r}): expected a path ending in {_ENDINGS[format]}.")
    return format


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ONNX is written by packages that are not installed: {error}\n  try  pip install 'disttrain[onnx]'") from error


@contextmanager
def _named_failures(model: Network, format: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()
        text = "\n  ".join(line for line in reason[:12] if line.strip())
        raise ValueError(
            f"{model._described()} cannot be exported to {format}: {type(error).__name__}: {text}\n"
            "  try  layers whose call() decides nothing by the values of tensors; for a fixed batch, Input(..., batch_size=...)"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the packages that write ONNX, which tell the user nothing to do."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # layers are told by an argument that they do not train, not by this flag
            warnings.filterwarnings("ignore", "Exporting a model while it is in training mode", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, unique = 0, name
        while unique in found:
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found
