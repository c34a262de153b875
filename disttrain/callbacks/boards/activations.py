"""What the layers give for some samples, from one forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from disttrain.layers.structure import flatten


def activations(model: Any, samples: Any) -> dict[str, np.ndarray]:
    """The outputs of the layers at the top of the model, by layer name; a layer with several outputs or calls has them numbered.

    Args:
        samples: what `model(...)` takes: an array, or arrays in lists, tuples and dicts.
    """
    found: dict[str, np.ndarray] = {}
    hooks = []

    def keep(layer: Any, _: Any, outputs: Any) -> None:
        for output in flatten(outputs):
            if not isinstance(output, torch.Tensor):
                continue
            name, number = layer.name, 1
            while name in found:
                name, number = f"{layer.name}_{number}", number + 1
            found[name] = output.detach().float().cpu().numpy().copy()  # a layer may work in place on the one before it

    try:
        for layer in model.layers:
            hooks.append(layer.register_forward_hook(keep))
        with torch.no_grad():
            model(samples, training=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found
