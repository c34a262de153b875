"""A layer applied to every step of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.core.wrapper import Wrapper
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, map_shapes, map_structure, pack_like
from disttrain.layers.symbolic import Shape


class TimeDistributed(Wrapper):
    """The same layer, with the same weights, for every step.

    Args:
        layer: any layer or model that takes one tensor.

    Steps enter as further rows of one batch where that gives the same: where every sample counts for itself. A layer that looks at the
    whole batch (normalization that trains), keeps something from call to call, adds losses or metrics, or is not of this package is
    called for one step after the other, as Keras does with all.

    Input shape: `(batch, time, ...)`, 3 axes or more. Output shape: `(batch, time)` and what `layer` makes of the others.

    Raises:
        ValueError: `layer` is no layer; an input of fewer than 3 axes, or a mask that does not fit.

    Example:
        >>> from disttrain.layers import Conv2D
        >>> TimeDistributed(Conv2D(8, 3))(torch.zeros(2, 10, 16, 16, 3)).shape
        torch.Size([2, 10, 14, 14, 8])
    """

    supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built:
            self.layer.build(self._of_a_step(input_shape))

    def _of_a_step(self, shape: Any) -> Shape:
        if not isinstance(shape, list | tuple) or len(shape) < 3 or not all(size is None or isinstance(size, int) for size in shape):
            raise ValueError(f"{self._described()}: got an input of shape {shape}, expected 3 axes or more, (batch, time, ...).")
        return (shape[0], *shape[2:])

    def call(self, inputs: Tensor, training: bool = False, mask: Tensor | None = None) -> Any:
        shape = tuple(inputs.shape)
        self._of_a_step(shape)
        if mask is not None and tuple(mask.shape[:2]) != shape[:2]:
            raise ValueError(
                f"{self._described()}: The `mask` passed to the `TimeDistributed` layer has a shape of {tuple(mask.shape)}, "
                f"expected (batch, time, ...), here {shape[:2]} at first."
            )
        options: dict[str, Any] = {"training": training} if self.layer._signature.takes_training else {}
        given = mask if "mask" in self.layer._signature.call_names else None
        if _each_row_for_itself(self.layer, training):
            if given is not None:
                options["mask"] = given.reshape(-1, *given.shape[2:])
            outputs = self.layer(inputs.reshape(-1, *shape[2:]), **options)
            return map_structure(lambda output: self._cast(output.reshape(*shape[:2], *output.shape[1:])), outputs)
        steps = []
        for time in range(shape[1]):
            if given is not None:
                options["mask"] = given[:, time]
            steps.append(self.layer(inputs[:, time], **options))
        columns = zip(*(flatten(step) for step in steps), strict=True)
        return pack_like(steps[0], [self._cast(torch.stack(leaves, 1)) for leaves in columns])

    def _cast(self, output: Tensor) -> Tensor:
        return output.to(self._compute_dtype) if output.is_floating_point() else output

    def compute_output_shape(self, input_shape: Shape) -> Any:
        inner = self.layer.compute_output_shape(self._of_a_step(input_shape))
        return map_shapes(lambda shape: (shape[0], input_shape[1], *shape[1:]), inner)


def _each_row_for_itself(layer: Layer, training: bool) -> bool:
    """Is a row of the output, as far as classes of this package tell, a function of the same row of the input alone?"""
    for module in layer.modules():
        if not type(module).__module__.startswith("disttrain.") or type(module).__name__ in ("Lambda", "TorchModule"):
            return False
        if getattr(module, "activity_regularizer", None) is not None or getattr(module, "_row_states", None):
            return False
        if training and module._buffers:  # moving statistics, a power iteration
            return False
    return True
