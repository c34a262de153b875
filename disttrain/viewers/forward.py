"""One forward pass, and what every layer gave in it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain.host_numbers import readable
from disttrain.layers import masking
from disttrain.layers.context import CallContext, call_context
from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.structure import flatten, map_structure
from disttrain.viewers import attention, graph, recurrent
from disttrain.viewers.packing import ViewError


@dataclass(frozen=True)
class Call:
    """One call of a layer: its outputs, and, where gates or scores may be asked for later, its arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any


@dataclass
class Recording:
    """What a forward pass gave; of a batch, the first sample is shown.

    Args:
        calls: by path, the calls of each layer in their order; a layer that was not reached has none.
        results: the outputs of the model, flat, in their order, without the batch axis.
    """

    calls: dict[str, list[Call]] = field(default_factory=dict)
    results: list[np.ndarray] = field(default_factory=list)

    def inputs(self, path: str) -> Call:
        """The newest call of a layer, whose `args` and `kwargs` are kept for recurrent and attention layers.

        Raises:
            ViewError: the pass did not reach the layer.
        """
        calls = self.calls.get(path)
        if not calls:
            raise ViewError(f"The layer {path!r} took no part in the pass for this input, so it has nothing to show.")
        return calls[-1]

    def output(self, path: str) -> np.ndarray:
        """The first output of the newest call, without the batch axis; bfloat16 as float32.

        Raises:
            ViewError: the pass did not reach the layer, or it gives no tensor.
        """
        leaves = [leaf for leaf in flatten(self.inputs(path).outputs) if isinstance(leaf, Tensor)]
        if not leaves:
            raise ViewError(f"The layer {path!r} gives no tensor, so there is nothing to show.")
        return first_sample(leaves[0])

    def output_count(self, path: str) -> int:
        """How many tensors the newest call gave."""
        return sum(isinstance(leaf, Tensor) for leaf in flatten(self.inputs(path).outputs))

    @property
    def size_bytes(self) -> int:
        """Of the memory that the tensors hold; what two of them share counts once."""
        sizes: dict[int, int] = {}
        for calls in self.calls.values():
            for call in calls:
                for leaf in flatten([list(call.args), call.kwargs, call.outputs]):
                    if isinstance(leaf, Tensor):
                        storage = leaf.untyped_storage()
                        sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())


def record(model: Any, inputs: Any, training: bool = False) -> Recording:
    """Call `model` on `inputs`, batch axis included, and keep what each layer gives.

    Nothing about the model changes: weights, statistics, kept states and flags are afterwards what they were, no gradients are computed,
    and random layers draw from a stream of their own. Calls of the model by other threads meanwhile are not recorded.

    Raises:
        ViewError: the model is not built, so that it has no weights to look at.
        Exception: what the model raises for inputs that do not fit.
    """
    recording = Recording()
    places: dict[int, list[str]] = {}
    modules: dict[int, Any] = {id(model): model}
    for path, layer in graph.layers(model).items():
        places.setdefault(id(layer), []).append(path)
        modules[id(layer)] = layer
        recording.calls[path] = []
    own_thread = threading.get_ident()
    overwriting = any(getattr(module, "inplace", False) for module in nn.Module.modules(model))  # a torch module may do that

    def keep(layer: Any, call: Call) -> None:
        for path in places.get(id(layer), ()):
            recording.calls[path].append(call)

    def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        if threading.get_ident() != own_thread:
            return
        wanted = recurrent.has_states(layer) or attention.has_scores(layer)
        outputs = map_structure(_copied, outputs) if overwriting else outputs
        keep(layer, Call(args if wanted else (), kwargs if wanted else {}, outputs))
        for start, value in _starts(layer, args[0] if args else kwargs.get("inputs")):
            keep(start, Call((), {}, value))

    with _hooks(modules.values(), hook), inference(model, inputs, training), torch.no_grad():
        outputs = model(inputs)
    recording.results = [first_sample(leaf) for leaf in flatten(outputs) if isinstance(leaf, Tensor)]
    return recording


@contextlib.contextmanager
def inference(model: Any, inputs: Any, training: bool = False) -> Iterator[None]:
    """Inside the block the model is called without leaving traces in it or in the random streams of the process.

    Raises:
        ViewError: the model is not built.
    """
    if not model.built:
        raise ViewError(f"The model {model.name!r} is not built yet, so it has no weights. Call it on data, or build(input_shape), first.")
    context = CallContext(training, key=0)
    context.masked = masking.any_mask([inputs], {})
    with _untouched(model, training), call_context(context):
        yield


def first_sample(tensor: Tensor) -> np.ndarray:
    """The first of the batch as an array; a tensor without axes as it is."""
    tensor = tensor.detach()
    tensor = tensor[0] if tensor.ndim else tensor
    tensor = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    return readable(tensor)


@contextlib.contextmanager
def _hooks(modules: Any, hook: Any) -> Iterator[None]:
    handles = []
    try:
        for module in modules:
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _untouched(model: nn.Module, training: bool) -> Iterator[None]:
    modules = list(nn.Module.modules(model))
    flags = [module.training for module in modules]
    losses = [module.__dict__.get("_call_losses") for module in modules]
    buffers = [(module, name, buffer, buffer.detach().clone(), buffer._version) for module in modules
               for name, buffer in module._buffers.items() if buffer is not None]  # fmt: skip
    with contextlib.ExitStack() as stack:
        if training:  # torch modules, unlike layers, draw from torch's own stream
            stack.enter_context(torch.random.fork_rng(devices=[]))
        try:
            yield
        finally:
            for module, flag, loss in zip(modules, flags, losses, strict=True):
                if module.training != flag:
                    module.training = flag
                if module.__dict__.get("_call_losses") is not loss:
                    module.__dict__["_call_losses"] = loss
            with torch.no_grad():
                for module, name, buffer, kept, version in buffers:
                    module._buffers[name] = buffer
                    if training or buffer._version != version:
                        buffer.copy_(kept)


def _starts(layer: Any, given: Any) -> list[tuple[InputLayer, Any]]:
    """(Input, value) of a model that was called with `given`: Inputs are not called themselves."""
    own = getattr(layer, "_graph", None)
    if own is not None and given is not None:
        starts = [own.layers[own.slots[slot].layer] for slot in own._input_slots]
        return list(zip(starts, own.match(given), strict=True))
    start = getattr(layer, "_input_layer", None)
    return [] if start is None or given is None else [(start, layer._fitted(given))]


def _copied(leaf: Any) -> Any:
    return masking.like(leaf, leaf.clone()) if isinstance(leaf, Tensor) else leaf
