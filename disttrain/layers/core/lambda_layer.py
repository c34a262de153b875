"""Any function as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from disttrain.layers.inference import infer
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, map_shapes

_reader: list[Callable[[], Callable[..., Any]]] = []


def read_by(load: Callable[[], Callable[..., Any]]) -> None:
    """Have functions that a config holds as data read by what `load` gives: what files hold is read above the layers."""
    _reader[:] = [load]


class Lambda(Layer):
    """`function(inputs, **arguments)`. For trying things out: what has weights or is to be kept is better a Layer of its own.

    A file holds the name of a function, which `custom_objects` or `register` must know when it is loaded, and of a lambda its bytecode,
    which is read with `safe_mode=False` only.

    Args:
        function: takes the input, and `training` and `mask` if it has such arguments.
        output_shape: without the batch, where it cannot be inferred: a tuple, or a function of the input shape, batch included.
        mask: the mask of the output: a tensor, or a function of the inputs and their mask. None drops the mask.
        arguments: further keyword arguments.

    Raises:
        ValueError: `function` is no function, `arguments` no dict; a file names a function that is not known here.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(function, dict) and function.get("class_name") == "function":
            name = function.get("config")
            raise ValueError(
                f"Lambda: the file names the function {name!r}, which is not known here.\n"
                f"  try  load_model(path, custom_objects={{{name!r}: function}}), or @disttrain.register() on it"
            )
        if not callable(function):
            raise ValueError(f"Lambda(function={function!r}): expected a function of a tensor.")
        if arguments is not None and not isinstance(arguments, dict):
            raise ValueError(f"Lambda(arguments={arguments!r}): expected a dict of further keyword arguments.")
        self.function, self.arguments = function, dict(arguments or {})
        self._output_shape, self._mask = output_shape, mask
        self.supports_masking = self._starts_mask = mask is not None
        names = _argument_names(function)
        self._wants_training, self._wants_mask = "training" in names, "mask" in names

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        extra: dict[str, Any] = {"training": training} if self._wants_training else {}
        if self._wants_mask:
            extra["mask"] = mask
        return self.function(inputs, **self.arguments, **extra)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return self._mask(inputs, previous_mask) if callable(self._mask) else self._mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        if callable(self._output_shape):
            return self._output_shape(input_shape)
        batch = flatten(input_shape)[0]
        return map_shapes(lambda shape: (batch, *shape), self._output_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self._output_shape is not None:
            return super().compute_output_spec(*args, **kwargs)
        return infer(self, args, kwargs, self._described(), self._own_device())  # for the dtype, which a shape does not tell

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {**super().get_config(), "function": self.function}
        if self._output_shape is not None:
            config["output_shape"] = self._output_shape
        if self._mask is not None:
            config["mask"] = self._mask
        return {**config, "arguments": self.arguments}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None, safe_mode: bool | None = None) -> Any:
        """The inverse of `get_config`, and of what a file holds of it.

        Args:
            custom_objects: functions by the names that the config has for them.
            safe_mode: False reads a lambda that is written as bytecode, which could do anything; else one is refused.
        """
        if any(isinstance(config.get(name), dict) for name in ("function", "output_shape", "mask")):
            read = _reader[0]()
            config = {
                name: read(value, custom_objects, safe_mode) if isinstance(value, dict) and name != "dtype" else value
                for name, value in config.items()
            }
        shape = config.get("output_shape")
        if isinstance(shape, list):
            config = {**config, "output_shape": map_shapes(tuple, shape)}
        return super().from_config(config)


def _argument_names(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C, such as torch.relu
        return set()


__all__ = ["Lambda"]
