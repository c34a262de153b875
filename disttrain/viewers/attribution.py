"""Which parts of an input an output depends on: gradient saliency, Grad-CAM, integrated gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import activations
from disttrain.layers import masking
from disttrain.layers.activation.activation import Activation
from disttrain.layers.activation.softmax import Softmax
from disttrain.layers.core.dense import Dense
from disttrain.layers.structure import flatten, pack_like
from disttrain.viewers import graph
from disttrain.viewers.forward import inference
from disttrain.viewers.input_specs import describe_inputs
from disttrain.viewers.packing import Packed, ViewError, pack

_METHODS = ("gradient", "gradcam", "integrated")
_MOST_CHANNELS = 16  # of a series (time, channels); what is wider is taken for a picture without a channel axis
_STEPS_AT_ONCE = 8
_MOST_NAMED = 8  # layers in a message


def attribute(
    model: Any,
    inputs: Any,
    method: str,
    *,
    target: int | None = None,
    layer: str | None = None,
    output: int = 0,
    steps: int = 32,
) -> Packed:
    """A map of the size of the input picture: how much each place matters for a class.

    Args:
        inputs: as the model takes them, one sample with its batch axis.
        method: "gradient", |d score / d input|, the largest of the channels; "gradcam" (Selvaraju et al. 2017), the feature maps of a
            layer weighted by their mean gradients, positive part, scaled to the picture; "integrated" (Sundararajan et al. 2017),
            gradients along the way from zeros times the input, |sum over the channels|.
        target: the class, or the unit of the output; None is the one of the largest value.
        layer: of "gradcam", whose maps; None is the last that gives (height, width, channels). Of the others, the input layer that is
            looked at; None is that of the first picture.
        output: of several outputs, which.
        steps: of the sum that stands for the integral.

    The score is the logit of the class where the output is a softmax that a `Dense`, an `Activation` or a `Softmax` computes last; else
    the output itself. Where the output has axes before that of the classes, it is the mean over them. The header says which, as `score`
    and `of_logits`, beside `method` and `target`. Neither weights nor their gradients change.

    Raises:
        ViewError: an unknown method, class, layer or output, inputs that have no gradients (tokens), a layer without feature maps.
    """
    if method not in _METHODS:
        raise ViewError(f"There is no method {method!r}. The methods are {', '.join(_METHODS)}.")
    if method == "gradcam":
        values, found = _grad_cam(model, inputs, target, layer, output)
    elif method == "integrated":
        contributions, found, _ = integrated_gradients(model, inputs, target=target, source=layer, output=output, steps=steps)
        values = np.abs(_over_channels(contributions, np.sum))
    else:
        with _scored(model, inputs, target, output, layer) as found:
            gradient = _gradient(found, found.source)
        values = _over_channels(np.abs(_array(gradient[0])), np.max)
    return _packed(values, method, found, layer)


def integrated_gradients(
    model: Any, inputs: Any, *, target: int | None = None, source: str | None = None, output: int = 0, steps: int = 32
) -> tuple[np.ndarray, Scored, float]:
    """(what each number of the input contributes, the score of the input, the score of zeros): contributions sum to the difference.

    The integral is a sum of `steps` values in the middle of as many parts of the way.
    """
    if steps < 1:
        raise ViewError(f"steps={steps}: expected 1 or more.")
    with _scored(model, inputs, target, output, source) as found:
        place, x = found.place, found.source.detach()
    total = torch.zeros_like(x)
    leaves = flatten(inputs)
    at_once = _STEPS_AT_ONCE if _any_batch(model) else 1
    middles = (torch.arange(steps, dtype=x.dtype, device=x.device) + 0.5) / steps
    for part in middles.split(at_once):
        rows = [_repeated(leaf, len(part)) for leaf in leaves]
        rows[place] = x * part.view(-1, *(1 for _ in x.shape[1:]))
        with _scored(model, pack_like(inputs, rows), found.target, output, source) as on_the_way:
            total += _gradient(on_the_way, on_the_way.source).sum(0, keepdim=True)
    rows = list(leaves)
    rows[place] = torch.zeros_like(x)
    with _scored(model, pack_like(inputs, rows), found.target, output, source) as nothing:
        baseline = nothing.score
    return _array((total * x / steps)[0]), found, baseline


@dataclass
class Scored:
    """A pass with gradients: of what, from what.

    Args:
        target: the class.
        score: of it, a number.
        of_logits: is the score from before a softmax?
        source: the input that is looked at, a leaf with gradients.
        place: its number among the inputs.
        total: the scores of all samples, summed.
        feature_maps: the outputs of (batch, height, width, channels) by path, the newest call, in the order of the calls.
    """

    target: int
    score: float
    of_logits: bool
    source: Tensor
    place: int
    total: Tensor
    feature_maps: dict[str, Tensor]


@contextlib.contextmanager
def _scored(
    model: Any, inputs: Any, target: int | None, output: int, source_layer: str | None = None, *, every_layer: bool = False
) -> Iterator[Scored]:
    leaves = flatten(inputs)
    place = _place(leaves) if source_layer is None or len(leaves) == 1 else _place_of(model, source_layer, inputs, leaves)
    source = leaves[place].detach().clone().requires_grad_()
    masking.like(leaves[place], source)
    rows = [source if number == place else leaf for number, leaf in enumerate(leaves)]
    end = _end(model, output)
    logits: list[Tensor] = []
    maps: dict[str, Tensor] = {}

    def before_softmax(layer: Any, args: tuple[Any, ...], result: Any) -> None:
        if args and isinstance(args[0], Tensor):
            logits.append(_logits(layer, args[0]))

    def keep(path: str) -> Callable[..., None]:
        def hook(layer: Any, args: tuple[Any, ...], result: Any) -> None:
            first = next((leaf for leaf in flatten(result) if isinstance(leaf, Tensor)), None)
            if first is not None and first.requires_grad:
                maps.pop(path, None)
                maps[path] = first

        return hook

    handles = [] if end is None else [end.register_forward_hook(before_softmax)]
    if every_layer:
        handles += [one.register_forward_hook(keep(path)) for path, one in graph.layers(model).items() if not graph.parts(one)]
    try:
        with torch.enable_grad(), inference(model, inputs):
            outputs = [leaf for leaf in flatten(model(pack_like(inputs, rows))) if isinstance(leaf, Tensor)]
            if not 0 <= output < len(outputs):
                raise ViewError(f"output={output}: the model has {len(outputs)} outputs, counted from 0.")
            values = logits[-1] if logits else outputs[output]
            if not values.is_floating_point():
                raise ViewError(f"The output is of dtype {str(values.dtype).removeprefix('torch.')}, which has no gradients.")
            values = values.reshape(len(values), -1, values.shape[-1] if values.ndim > 1 else 1).mean(1)
            units = values.shape[-1]
            chosen = int(values[0].argmax()) if target is None else target
            if not 0 <= chosen < units:
                raise ViewError(f"class={chosen}: the output has {units} units, counted from 0.")
            scores = values[:, chosen]
            yield Scored(chosen, float(scores[0].detach()), bool(logits), source, place, scores.sum(), maps)
    finally:
        for handle in handles:
            handle.remove()


def _gradient(scored: Scored, of: Tensor) -> Tensor:
    found = torch.autograd.grad(scored.total, of, allow_unused=True)[0] if scored.total.requires_grad else None
    if found is None:
        raise ViewError(
            "The class does not depend on this input by a function that has gradients, as with tokens or rounded values, "
            "so there is no attribution to show."
        )
    return found


def _grad_cam(model: Any, inputs: Any, target: int | None, layer: str | None, output: int) -> tuple[np.ndarray, Scored]:
    if layer is not None:
        graph.find(model, layer)
    with _scored(model, inputs, target, output, every_layer=True) as found:
        images = [
            path
            for path, values in found.feature_maps.items()
            if values.ndim == 4 and min(_channels_last(model, path, values).shape[1:3]) > 1
        ]
        if layer is None and not images:
            raise ViewError(
                "Grad-CAM needs a layer that gives (height, width, channels), and this model has none; the gradients need none."
            )
        if layer is not None and (layer not in found.feature_maps or found.feature_maps[layer].ndim != 4):
            able = ", ".join(images[-_MOST_NAMED:]) or "none; the gradients need none"
            raise ViewError(
                f"The layer {layer!r} gives no (height, width, channels) that depends on the input. Those that do, last: {able}."
            )
        path = images[-1] if layer is None else layer
        features = found.feature_maps[path]
        gradient = _channels_last(model, path, _gradient(found, features))[:1]
    features = _channels_last(model, path, features.detach())[:1]
    weights = gradient.mean((1, 2), keepdim=True)
    cam = torch.relu((features * weights).sum(-1)).float()
    size = _picture_size(found.source)
    if size is not None:
        cam = F.interpolate(cam[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return _array(cam[0]), found


def _channels_last(model: Any, path: str, values: Tensor) -> Tensor:
    return values.movedim(1, -1) if getattr(graph.find(model, path), "data_format", None) == "channels_first" else values


def _place_of(model: Any, layer: str, inputs: Any, leaves: list[Any]) -> int:
    """The number of the input that an input layer stands for."""
    names = [spec.name for spec in describe_inputs(model)]
    if layer not in names:
        raise ViewError(f"{layer!r} is no input of the model, whose inputs are: {', '.join(names) or 'without names'}.")
    place = names.index(layer)
    if isinstance(inputs, dict):
        place = next(number for number, leaf in enumerate(leaves) if leaf is inputs[layer])
    if not leaves[place].is_floating_point():
        raise ViewError(f"The input {layer!r} takes integers, which have no gradients, so there is no attribution to show.")
    return place


def _place(leaves: list[Any]) -> int:
    """The number of the input to look at: the first picture, else the first of numbers that are not tokens."""
    able = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1]
    if not able:
        raise ViewError("The inputs of this model are tokens, integers that have no gradients, so there is no attribution to show.")
    return next((number for number in able if leaves[number].ndim == 4), able[0])


def _end(model: Any, output: int) -> Any:
    """The layer that ends in the softmax of an output; None where there is none, or where it is called elsewhere too."""
    own = getattr(model, "_graph", None)
    if own is not None:
        refs = flatten(own.outputs)
        if output >= len(refs):
            return None
        slot = own.slots[refs[output].slot]
        layer, output = own.layers[slot.layer], slot.index
        if sum(call.layer == slot.layer for call in own.calls) > 1:
            return None
    elif getattr(model, "_chain", None):
        layer = model._chain[-1]
    else:
        return None
    if hasattr(layer, "get_layer"):
        return _end(layer, output)
    soft = getattr(layer, "activation", None) is activations.softmax
    return layer if (type(layer) in (Dense, Activation) and soft) or type(layer) is Softmax else None


def _logits(layer: Any, x: Tensor) -> Tensor:
    """What the softmax of `layer` was given, when the layer was given `x`."""
    if not isinstance(layer, Dense):
        return x
    y: Tensor = x.to(layer.kernel.dtype) @ layer.kernel
    return y if layer.bias is None else y + layer.bias


def _any_batch(model: Any) -> bool:
    """Can the model be called on a batch of any size?"""
    try:
        return all(tensor.shape[0] is None for tensor in model.inputs)
    except ValueError:  # defined by code
        return False


def _repeated(leaf: Any, count: int) -> Any:
    return masking.like(leaf, leaf[:1].expand(count, *leaf.shape[1:])) if isinstance(leaf, Tensor) else leaf


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().float().cpu().numpy()
    return array


def _is_series(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[1] <= _MOST_CHANNELS < shape[0]


def _picture_size(source: Tensor) -> tuple[int, int] | None:
    shape = tuple(source.shape[1:])
    return None if len(shape) not in (2, 3) or _is_series(shape) else (shape[0], shape[1])


def _over_channels(values: np.ndarray, reduce: Callable[..., Any]) -> np.ndarray:
    """One number for each place: of pictures (height, width), of series (time,), of vectors all."""
    if values.ndim >= 3 or _is_series(values.shape):
        values = reduce(values, axis=-1)
    return values.max(tuple(range(values.ndim - 2))) if values.ndim > 2 else values


def _packed(values: np.ndarray, method: str, found: Scored, layer: str | None) -> Packed:
    if values.ndim == 2:
        form, axes, maps = "maps", ["height", "width"], values[None]
    else:
        series = found.source.ndim == 3
        form, axes, maps = ("lines", ["time"], values[None, None]) if series else ("bars", ["unit"], values.reshape(1, 1, -1))
    packed = pack(maps, layer=layer or "", view="attribution", form=form, shape=values.shape, axes=axes)
    packed.header |= {"method": method, "target": found.target, "score": found.score, "of_logits": found.of_logits}
    return packed
