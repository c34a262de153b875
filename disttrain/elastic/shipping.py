"""Packing a job for the workers: structure as one pickle, every array and tensor beside it, so that nothing large is copied twice.

A script's own classes and functions, and modules that lie beside it, travel by value. This pickle crosses only between the processes of
one run; nothing that lasts is written this way.
"""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn

from disttrain.alignment import copy_of
from disttrain.data.mapped import reduced
from disttrain.elastic.module_travel import by_value, reduce_module
from disttrain.elastic.parametrized import is_parametrized, reduce_parametrized
from disttrain.elastic.unshippable import explain, find
from disttrain.errors import UsageError
from disttrain.host_numbers import bytes_of
from disttrain.variables import State, Variable, Weight, as_variable


@dataclass(frozen=True)
class Shipment:
    """A pickle and the arrays that belong to it, as bytes."""

    pickled: bytes
    buffers: list[Any]


def _tensor(data: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], parameter: bool, requires_grad: bool) -> Tensor:
    tensor = copy_of(data).view(dtype).view(shape) if data.size else torch.empty(shape, dtype=dtype)
    return nn.Parameter(tensor, requires_grad=requires_grad) if parameter else tensor.requires_grad_(requires_grad)


def _variable(kind: type[Variable], facts: dict[str, Any], *tensor: Any) -> Variable:
    made: Variable = as_variable(_tensor(*tensor), kind, **facts)
    return made


def _code(build: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    return build(*arguments).replace(co_filename=filename)


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    """As cloudpickle, with the name of the file, which that leaves out from 3.1.3 on: tracebacks show the script's lines."""
    build, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return _code, (build, arguments, code.co_filename)


def _operator(name: str) -> Any:
    return reduce(getattr, name.split("."), torch.ops)  # `aten.relu`, `aten.relu.default`


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Takes each tensor alone: torch's own way pickles the whole storage that a view lies in. Modules of every kind go by name."""

    dispatch_table: ClassVar = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) and type(obj) in (Tensor, nn.Parameter) and obj.device.type != "meta" and obj.layout == torch.strided:
            data = bytes_of(obj.cpu()).numpy()
            return _tensor, (data, obj.dtype, tuple(obj.shape), isinstance(obj, nn.Parameter), obj.requires_grad)
        if type(obj) in (Weight, State) and obj.device.type != "meta":
            data = bytes_of(obj.cpu()).numpy()
            return _variable, (type(obj), obj.facts(), data, obj.dtype, tuple(obj.shape), False, False)
        if isinstance(obj, np.ndarray):
            return reduced(obj) or NotImplemented
        if type(obj).__module__ == "torch._ops" and type(obj).__name__ in ("OpOverload", "OpOverloadPacket"):
            return _operator, (str(obj),)
        if issubclass(type(obj), ModuleType):  # not isinstance: proxies lie about their class
            return reduce_module(obj)
        if is_parametrized(obj):
            return reduce_parametrized(obj)
        return super().reducer_override(obj)


class _Nowhere(io.RawIOBase):
    """Takes every byte and keeps none."""

    def write(self, data: Any) -> int:
        return len(data)


def pack(value: Any, script_folder: Path | None = None, began: Collection[str] | None = None) -> Shipment:
    """`value` as a shipment; modules that lie in `script_folder`, or were found by a `sys.path` of the script's own, travel by value.

    Args:
        began: `sys.path` before the script ran; None where that is not known.

    Raises:
        UsageError: a part of it does not pickle; named as the script calls it, with the line.
    """
    buffers: list[Any] = []
    with by_value(script_folder, began):
        stream = io.BytesIO()
        try:
            _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
        except Exception as error:  # of any kind: what is being pickled raises what it likes
            raise UsageError(explain(find(value, _pickles), error)) from error
    return Shipment(stream.getvalue(), [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers])


def _pickles(value: Any) -> bool:
    try:
        _Pickler(_Nowhere(), protocol=5, buffer_callback=lambda buffer: None).dump(value)
    except Exception:
        return False
    return True


def unpack(shipment: Shipment) -> Any:
    """What was packed. Arrays may be read-only views of the shipment's memory; tensors are copies."""
    return pickle.loads(shipment.pickled, buffers=shipment.buffers)


def travels(error: BaseException) -> BaseException | None:
    """The exception, if it comes out of a pickle as it went in; some cannot."""
    try:
        return pickle.loads(cloudpickle.dumps(error)) and error
    except Exception:
        return None
