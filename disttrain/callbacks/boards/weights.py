"""Weights, gradients and activations as what is drawn of them: distributions and pictures, under Keras's tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from disttrain.callbacks.boards.images import image_summary, weight_image
from disttrain.host_numbers import readable

Named = Iterable[tuple[str, np.ndarray]]


def weights_of(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Each weight as an array, by its place: `dense/kernel`."""
    for name, weight in model.named_weights():
        tensor = weight.detach().cpu()
        yield name.replace(".", "/"), readable(tensor)


def histograms(arrays: Named, kind: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(tag, values) of what has numbers to show; NaN and infinities have no place in a distribution."""
    for name, values in arrays:
        finite = values if values.dtype.kind in "biu" else values[np.isfinite(values)]
        if finite.size:
            yield f"{name.replace('.', '/')}{f'/{kind}' if kind else ''}/histogram", finite


def image_summaries(arrays: Named) -> Iterator[Any]:
    """A `Summary` of each that has a picture."""
    for name, values in arrays:
        pixels = weight_image(values)
        if pixels is not None:
            yield image_summary(f"{name}/image", pixels)
