"""A layer as pictures, lines, heat maps and bars: which array, laid out how."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.layer import Layer
from disttrain.layers.normalization.batch_normalization import BatchNormalization
from disttrain.models.summary import type_name
from disttrain.viewers import attention, graph, kernels, recurrent
from disttrain.viewers.forward import Recording
from disttrain.viewers.packing import Packed, ViewError, pack

_MOST_MAPS = 512  # in one answer
_MOST_NUMBERS = 16_000_000  # in one answer; fewer maps where they are large
_LONGEST_SIDE = 2048  # of a matrix of weights that is shown as one heat map
_AS_LINES = ("input", "convolutional", "pooling", "preprocessing", "reshaping", "activation")  # families whose (time, channels) are signals
_VIEWS = ("activations", "filters", "gates", "state", "attention")


def render(
    model: Any,
    recording: Recording | None,
    layer: str,
    view: str,
    *,
    exact: bool = False,
    start: int = 0,
    count: int | None = None,
) -> Packed:
    """What `view` shows of the layer at path `layer`.

    Args:
        recording: of the pass that is looked at; "filters" need none.
        view: "activations", "filters", "gates", "state" or "attention".
        exact: float32 values instead of bytes.
        start, count: which maps; at most 512 come at once, fewer where they are large, and `total` in the header says how many there are.

    Raises:
        ViewError: an unknown layer or view, a view that this layer lacks, a start or count outside of what there is.
    """
    if view not in _VIEWS:
        raise ViewError(f"There is no view {view!r}. The views are {', '.join(_VIEWS)}.")
    found = graph.find(model, layer)
    window = _Window(layer, view, exact, start, count)
    if view == "filters":
        return _filters(found, window)
    if recording is None:
        raise ViewError(f"The view {view!r} shows what a layer does with an input: choose one first.")
    if view == "activations":
        return _activations(found, recording.output(layer), window, _which(recording, layer))
    if view == "attention":
        if not attention.has_scores(found):
            raise _lacking(found, layer, view, "layers of attention, such as MultiHeadAttention")
        call = recording.inputs(layer)
        scores = attention.scores(found, call.args, call.kwargs)
        return window.packed(scores, "maps", scores.shape, ["head", "query", "key"], lambda head: f"head {head + 1}")
    able = recurrent.has_gates(found) if view == "gates" else recurrent.has_states(found)
    if not able:
        raise _lacking(found, layer, view, "LSTM, GRU and Bidirectional" if view == "gates" else "LSTM, GRU, SimpleRNN and Bidirectional")
    call = recording.inputs(layer)
    compute = recurrent.gates if view == "gates" else recurrent.states
    steps = compute(found, **recurrent.arguments(call.args, call.kwargs))
    maps = np.stack([values.T for values in steps.values()])
    axes = ["gate" if view == "gates" else "state", "unit", "time"]
    return window.packed(maps, "heatmap", maps.shape, axes, list(steps).__getitem__)


class _Window:
    """Which of the maps go into the answer."""

    def __init__(self, layer: str, view: str, exact: bool, start: int, count: int | None) -> None:
        self.layer, self.view, self.exact, self.start, self.count = layer, view, exact, start, count

    def of(self, total: int, numbers_a_map: int) -> range:
        """The maps of `total` that are asked for and that one answer holds.

        Raises:
            ViewError: a start or count outside of what there is.
        """
        if not 0 <= self.start < max(total, 1):
            raise ViewError(f"start={self.start}: the layer {self.layer!r} has {total} maps, counted from 0.")
        if self.count is not None and self.count < 1:
            raise ViewError(f"count={self.count}: expected 1 or more.")
        most = max(1, min(_MOST_MAPS, _MOST_NUMBERS // max(numbers_a_map, 1)))
        return range(self.start, min(total, self.start + min(most, self.count or most)))

    def packed(
        self,
        maps: Any,
        form: str,
        shape: tuple[int, ...],
        axes: list[str],
        label: Callable[..., str] | None = None,
        message: str | None = None,
        *,
        rank: int = 2,
    ) -> Packed:
        """The chosen ones of `maps`, whose last `rank` axes make a map; `label` names the map at the indices of the others."""
        outer = maps.shape[: maps.ndim - rank]
        total = math.prod(outer)
        chosen = self.of(total, math.prod(maps.shape[len(outer) :]))
        places = np.unravel_index(np.arange(chosen.start, chosen.stop), outer)  # of large layers only what is asked for is copied
        return pack(
            maps[places],
            layer=self.layer,
            view=self.view,
            form=form,
            shape=shape,
            axes=axes,
            total=total,
            start=chosen.start,
            labels=None if label is None else [label(*(int(index) for index in place)) for place in zip(*places, strict=True)],
            exact=self.exact,
            message=message,
        )


def _which(recording: Recording, path: str) -> str | None:
    """Which of several outputs, and of several calls, is shown."""
    outputs, calls = recording.output_count(path), len(recording.calls[path])
    output = f"The first of the {outputs} outputs of this layer" if outputs > 1 else "The output of this layer"
    if calls > 1:
        return f"{output} in the last of its {calls} calls."
    return f"{output}." if outputs > 1 else None


def _activations(layer: Layer, values: np.ndarray, window: _Window, message: str | None) -> Packed:
    if getattr(layer, "data_format", None) == "channels_first" and values.ndim > 1:
        values = np.moveaxis(values, 0, -1)
    shape = values.shape
    if values.ndim <= 1:
        return window.packed(values.reshape(1, 1, -1), "bars", shape, ["unit"], message=message)
    if values.ndim == 2:
        if _is_signal(layer):
            return window.packed(values.T[:, None, :], "lines", shape, ["time", "channel"], message=message)
        return window.packed(values.T[None], "heatmap", shape, ["unit", "time"], message=message)
    before = values.ndim - 3
    axes = [*(f"axis {axis + 1}" for axis in range(before)), "height", "width", "channel"]

    def label(*place: int) -> str:
        return f"slice {', '.join(str(index + 1) for index in place[:-1])}, channel {place[-1] + 1}"

    return window.packed(np.moveaxis(values, -1, -3), "maps", shape, axes, label if before else None, message)


def _is_signal(layer: Layer) -> bool:
    """Are (time, channels) of this layer a few signals, rather than a vector for each step?"""
    return isinstance(layer, InputLayer | BatchNormalization) or graph.family_of(layer) in _AS_LINES


def _filters(layer: Layer, window: _Window) -> Packed:
    kernel = kernels.kernel_of(layer)
    if kernel is None:
        raise _lacking(layer, window.layer, "filters", "convolutions, Dense and Embedding")
    weight = kernel.weight.detach().float().cpu().numpy()
    shape = weight.shape
    if kernel.kind in ("dense", "embedding"):
        message = kernel.message
        if max(shape) > _LONGEST_SIDE:
            message = f"Of {shape[0]} x {shape[1]} weights, the first {_LONGEST_SIDE} along each axis."
            weight = weight[:_LONGEST_SIDE, :_LONGEST_SIDE]
        axes = ["unit", "input"] if kernel.kind == "dense" else ["token", "feature"]
        return window.packed((weight.T if kernel.kind == "dense" else weight)[None], "heatmap", shape, axes, message=message)
    spatial, inputs = shape[:-2], shape[-2]
    names = [["length"], ["height", "width"], ["depth", "height", "width"]][len(spatial) - 1]
    axes = [*names, "input", "filter"]
    if kernel.kind == "convolution" and len(spatial) == 1 and inputs > 1:  # a filter is a picture of channels along time
        return window.packed(weight.transpose(2, 1, 0), "maps", shape, axes, message=kernel.message)
    if kernel.kind == "convolution" and len(spatial) == 2 and inputs == 3:
        return window.packed(weight.transpose(3, 0, 1, 2), "pictures", shape, axes, message=kernel.message, rank=3)
    slices = shape[0] if len(spatial) == 3 else 1
    maps = weight.reshape(slices, *((1,) if len(spatial) == 1 else ()), *shape[-4 if len(spatial) > 1 else -3 :])

    def label(one: int, two: int, three: int) -> str:
        return f"filter {one + 1}" + (f", input {two + 1}" if inputs > 1 else "") + (f", slice {three + 1}" if slices > 1 else "")

    form = "lines" if len(spatial) == 1 else "maps"
    maps = maps.transpose(4, 3, 0, 1, 2)  # (filters, inputs, slices, height, width)
    return window.packed(maps, form, shape, axes, label if inputs > 1 or slices > 1 else None, kernel.message)


def _lacking(layer: Layer, path: str, view: str, who: str) -> ViewError:
    return ViewError(f"The layer {path!r} is a {type_name(layer)}, which has no {view} to show; {who} have.")


__all__ = ["ViewError", "render"]
