"""Packing a job for the workers: structure as one pickle, every array and tensor beside it, so that nothing large is copied twice.

A script's own classes and functions, and modules that lie beside it, travel by value. This pickle crosses only between the processes of
one run; nothing that lasts is written this way.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn

from disttrain.alignment import copy_of


@dataclass(frozen=True)
class Shipment:
    """A pickle and the arrays that belong to it, as bytes."""

    pickled: bytes
    buffers: list[Any]


def _tensor(data: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], parameter: bool, requires_grad: bool) -> Tensor:
    tensor = copy_of(data).view(dtype).view(shape) if data.size else torch.empty(shape, dtype=dtype)
    return nn.Parameter(tensor, requires_grad=requires_grad) if parameter else tensor.requires_grad_(requires_grad)


def _code(build: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return build(*arguments).replace(co_filename=filename)


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """As cloudpickle, with the name of the file, which that leaves out from 3.1.3 on: tracebacks show the script's lines."""
    build, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return _code, (build, arguments, code.co_filename)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Takes each tensor alone: torch's own way pickles the whole storage that a view lies in."""

    dispatch_table: ClassVar = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) and type(obj) in (Tensor, nn.Parameter) and obj.device.type != "meta" and obj.layout == torch.strided:
            data = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            return _tensor, (data, obj.dtype, tuple(obj.shape), isinstance(obj, nn.Parameter), obj.requires_grad)
        return super().reducer_override(obj)


def pack(value: Any, script_folder: Path | None = None) -> Shipment:
    """`value` as a shipment; modules that lie in `script_folder` travel by value."""
    buffers: list[Any] = []
    with _by_value(script_folder):
        stream = io.BytesIO()
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return Shipment(stream.getvalue(), [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers])


def unpack(shipment: Shipment) -> Any:
    """What was packed. Arrays may be read-only views of the shipment's memory; tensors are copies."""
    return pickle.loads(shipment.pickled, buffers=shipment.buffers)


def travels(error: BaseException) -> BaseException | None:
    """The exception, if it comes out of a pickle as it went in; some cannot."""
    try:
        return pickle.loads(cloudpickle.dumps(error)) and error
    except Exception:
        return None


_real_paths: dict[str, str] = {}  # of the modules' files: each takes system calls, and there are thousands of modules


def _real(path: str) -> str:
    """Without links; one that is relative hangs on the working directory, and is looked up each time."""
    found = _real_paths.get(path)
    if found is None:
        found = os.path.realpath(path)
        if os.path.isabs(path):
            _real_paths[path] = found
    return found


@contextmanager
def _by_value(folder: Path | None) -> Iterator[None]:
    """Let cloudpickle take the script's neighbours by value: other machines may not have the files."""
    modules: list[ModuleType] = []
    if folder is not None:
        registered = cloudpickle.list_registry_pickle_by_value()
        inside = os.path.join(os.path.realpath(folder), "")
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None)
            if name == "__main__" or name in registered or not origin or "site-packages" in origin or name.split(".")[0] == "disttrain":
                continue
            if _real(origin).startswith(inside):
                modules.append(module)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
