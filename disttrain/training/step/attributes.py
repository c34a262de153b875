"""Attributes of a model that no checkpoint holds: which of them a step leaves changed, and the way back."""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain.host_numbers import bytes_of
from disttrain.layers.layer import Layer
from disttrain.metrics import Metric
from disttrain.optimizers import Optimizer

_NONE = object()
_DEPTH, _MOST = 4, 4096  # how far objects in objects, and how many in one, are looked at
_KNOWN_ROOMS = ("torch", "disttrain", "torchmetrics", "numpy", "builtins", "keras", "functools", "collections", "logging", "threading")
_OF_MODULES = frozenset({*vars(nn.Module()), "_modules", "_parameters", "_buffers"})


class Scratch:
    """Attributes that a step sets before it reads them: while it waits for other slices, they are kept for it.

    Args:
        places: (module, attribute) of each.
    """

    def __init__(self, places: Sequence[tuple[nn.Module, str]] = ()) -> None:
        self._places = list(places)

    def save(self) -> list[tuple[Any, Any]]:
        """What they hold, and what lies in that."""
        values = [vars(module).get(name, _NONE) for module, name in self._places]
        return [(value, value.copy() if isinstance(value, list | dict | deque | set) else None) for value in values]

    def restore(self, kept: list[tuple[Any, Any]]) -> None:
        """The inverse of `save`."""
        for (module, name), (value, items) in zip(self._places, kept, strict=True):
            if value is _NONE:
                vars(module).pop(name, None)
                continue
            vars(module)[name] = value
            if isinstance(value, list | deque):
                _refill(value, list(items))
            elif isinstance(value, dict | set):
                value.clear()
                value.update(items)


class Attributes:
    """What the modules of a model hold in plain attributes: numbers, arrays, tensors that are no weights, lists, objects, generators.

    Modules of torch and of this package are known to keep none.

    Args:
        model: whose modules are looked at.
    """

    def __init__(self, model: nn.Module) -> None:
        own = _own_names()
        self._modules = [
            (name, module, own if isinstance(module, Layer) else _OF_MODULES)
            for name, module in model.named_modules()
            if type(module).__module__.split(".")[0] not in _KNOWN_ROOMS
        ]
        self._inside = {id(module) for module in model.modules()}
        self._weights = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}

    @property
    def any(self) -> bool:
        """Is there a module that could keep something?"""
        return bool(self._modules)

    def values(self) -> dict[str, Any]:
        """What stands for the value of each attribute, by its path: equal where the value is."""
        found: dict[str, Any] = {}
        for path, module, skipped in self._modules:
            for name, value in list(vars(module).items()):
                if name not in skipped:
                    self._note(f"{path}.{name}" if path else name, value, 0, found)
        return found

    def kept(self) -> Callable[[], None]:
        """What puts every attribute back to how it is now."""
        undone: list[Callable[[], None]] = []
        for _, module, skipped in self._modules:
            here = {name: value for name, value in vars(module).items() if name not in skipped}
            undone += [undo for value in here.values() for undo in self._undo(value, 0)]
            undone.append(lambda module=module, here=here, skipped=skipped: _put_back(module.__dict__, here, skipped))  # type: ignore[misc]

        def back() -> None:
            for undo in undone:
                undo()

        return back

    def holders(self, paths: Sequence[str]) -> Scratch:
        """The attributes of modules that these paths lie in."""
        found = []
        for path, module, _ in self._modules:
            for name in vars(module):
                whole = f"{path}.{name}" if path else name
                if any(other == whole or other.startswith((f"{whole}.", f"{whole}[")) for other in paths):
                    found.append((module, name))
        return Scratch(found)

    # -- one value ------------------------------------------------------------------------------------------------------------------

    def _note(self, path: str, value: Any, depth: int, found: dict[str, Any]) -> None:
        if len(found) > 16 * _MOST or self._is_known(value):
            return
        plain = _plain_value(value)
        if plain is not None:
            found[path] = plain
        elif depth < _DEPTH:
            items = list(_inside_of(value))
            found[path] = (type(value).__name__, len(items))
            for name, item in items[:_MOST]:
                self._note(f"{path}.{name}" if not isinstance(name, int) else f"{path}[{name}]", item, depth + 1, found)

    def _undo(self, value: Any, depth: int) -> Iterator[Callable[[], None]]:
        if self._is_known(value) or depth >= _DEPTH:
            return
        if isinstance(value, Tensor):
            kept = value.detach().clone()
            yield lambda: _copy(value, kept)
        elif isinstance(value, np.ndarray):
            array = value.copy()
            yield lambda: np.copyto(value, array)
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            yield lambda: _ignored(value.set_state(state))
        elif isinstance(value, np.random.Generator):
            bits = value.bit_generator.state
            yield lambda: setattr(value.bit_generator, "state", bits)
        elif isinstance(value, random.Random):
            drawn = value.getstate()
            yield lambda: value.setstate(drawn)
        elif isinstance(value, list | deque):
            items = list(value)
            yield lambda: _refill(value, items)
        elif isinstance(value, dict | set):
            copied = value.copy()
            yield lambda: (value.clear(), value.update(copied))[0]
        elif _is_plain_object(value):
            held = dict(vars(value))
            yield lambda: _put_back(vars(value), held, frozenset())
        for _, item in list(_inside_of(value))[:_MOST]:
            yield from self._undo(item, depth + 1)

    def _is_known(self, value: Any) -> bool:
        """Is it part of the state that is looked after elsewhere, or code?"""
        if id(value) in self._weights or id(value) in self._inside or isinstance(value, Metric | Optimizer):
            return True
        if isinstance(value, torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler | type) or callable(value):
            return not isinstance(value, nn.Module) and not _is_plain_object(value)
        return False


def _plain_value(value: Any) -> Any:
    """What is equal where the value is, for a value without parts; else None."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Tensor):
        return ("tensor", tuple(value.shape), str(value.dtype), _tensor_bytes(value))
    if isinstance(value, np.ndarray):
        return (
            "array",
            value.shape,
            str(value.dtype),
            _hashed(repr(value.tolist()).encode() if value.dtype == object else value.tobytes()),
        )
    if isinstance(value, torch.Generator):
        return ("generator", _tensor_bytes(value.get_state()))
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return _hashed(repr(value.getstate()).encode())
    return None


def _inside_of(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple | deque):
        yield from enumerate(value)
    elif isinstance(value, set | frozenset):
        yield from enumerate(sorted(value, key=repr))
    elif isinstance(value, nn.Module):  # one that hides in a tuple or an object: a teacher that no optimizer shall find
        yield from nn.Module.named_parameters(value)
        yield from value.named_buffers()
    elif _is_plain_object(value):
        yield from vars(value).items()


def _is_plain_object(value: Any) -> bool:
    """Is it an object of a class that somebody wrote for this model?"""
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, type | nn.Module)
        and type(value).__module__.split(".")[0] not in _KNOWN_ROOMS
        and type(value).__name__ not in ("function", "method", "module", "partial")
    )


def _tensor_bytes(tensor: Tensor) -> Any:
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return "opaque"
    return _hashed(bytes_of(tensor.cpu()).numpy().tobytes()) if tensor.numel() else b""


def _hashed(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _copy(target: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        if target.shape == value.shape and not target.is_inference():
            target.detach().copy_(value)


def _refill(target: Any, items: list[Any]) -> None:
    target.clear()
    target.extend(items)


def _put_back(held: dict[str, Any], values: dict[str, Any], skipped: frozenset[str]) -> None:
    for name in [name for name in held if name not in values and name not in skipped]:
        del held[name]
    for name, value in values.items():
        if held.get(name) is not value or name not in held:
            held[name] = value


def _ignored(value: object) -> None:
    """Nothing: for what is called for its effect."""


@functools.cache
def _own_names() -> frozenset[str]:
    """The attributes that every layer and model has from its base classes."""
    return frozenset({*vars(Layer(name="any")), *_OF_MODULES, *_OF_TRAINING})


_OF_TRAINING = frozenset(
    {
        "_compile_arguments", "_compile_loss", "_compile_metrics", "_graph", "_ids_assigned", "_loss_tracker", "_of_torchmetrics",
        "_on_batch", "_output_trackers", "_torch_optimizers", "history", "jit_compile", "optimizer", "run_eagerly",
        "steps_per_execution", "stop_evaluating", "stop_predicting", "stop_training",
    }
)  # fmt: skip
