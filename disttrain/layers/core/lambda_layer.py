"""Any function as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from disttrain.layers.layer import Layer


class Lambda(Layer):
    """`function(inputs, **arguments)`. For trying things out: code cannot be saved as data, so a model with one cannot be saved.

    Args:
        function: takes the input, and `training` if it has such an argument.
        output_shape: without the batch, where it cannot be inferred: a tuple, or a function of the input shape.
        arguments: further keyword arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: None = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mask is not None:
            raise ValueError("Lambda(mask=...) is not supported: masks do not travel between layers.")
        if not callable(function):
            raise ValueError(f"Lambda(function={function!r}): expected a function of a tensor.")
        self.function, self.arguments, self._output_shape = function, dict(arguments or {}), output_shape
        self._wants_training = "training" in inspect.signature(function).parameters if not inspect.isbuiltin(function) else False

    def call(self, inputs: Any, training: bool = False) -> Any:
        extra = {"training": training} if self._wants_training else {}
        return self.function(inputs, **self.arguments, **extra)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        return self._output_shape(input_shape) if callable(self._output_shape) else (input_shape[0], *self._output_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self._output_shape is not None:
            return super().compute_output_spec(*args, **kwargs)
        from disttrain.layers.inference import infer

        return infer(self, args, kwargs, self._described(), self._own_device())

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"Lambda {self.name!r} cannot be saved: its function is code, not data.\n"
            "  try  a Layer subclass with get_config(), registered with disttrain.models.saving.register"
        )
