"""A chain of layers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain import text
from disttrain.layers import masking
from disttrain.layers.core.input_layer import InputLayer
from disttrain.layers.core.torch_module import TorchModule, as_layer
from disttrain.layers.dtypes import DTYPES
from disttrain.layers.layer import Layer
from disttrain.layers.structure import flatten, is_shape, map_shapes
from disttrain.layers.symbolic import Node, SymbolicTensor
from disttrain.models.file_classes import named_in_files
from disttrain.models.functional import carrying, fits
from disttrain.models.model import Model


@named_in_files("Sequential")
class Sequential(Model):
    """Layers called one after the other.

    Args:
        layers: layers, torch modules, and first perhaps an `Input`, with which the model is built at once; without it, at the first
            call.

    Example:
        >>> from disttrain.layers import Dense, Input
        >>> Sequential([Input((3,)), Dense(2)]).output_shape
        (None, 2)
    """

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._autocast = False
        self._input_layer: InputLayer | None = None
        self._chain: list[Layer] = []
        self._symbolic: tuple[Any, Any] | None = None
        self._walked: list[tuple[Layer, Node]] = []  # the calls that the walk from the Input made
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer, or first of all an `Input`, at the end; with a known input shape it is built at once, unless `rebuild` is False."""
        self._append(layer)
        if rebuild:
            self._build_if_known()

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer off and return it."""
        if not self._chain:
            raise ValueError(f"{self._described()}.pop(): no layers.")
        layer = self._chain.pop()
        del self._modules[layer.name.replace(".", "_")]
        self._forget()
        if rebuild:
            self._build_if_known()
        return layer

    def _append(self, value: Any) -> None:
        if isinstance(value, SymbolicTensor) and value.node is not None and isinstance(value.node.layer, InputLayer):
            value = value.node.layer
        if isinstance(value, InputLayer):
            if self._input_layer is not None or self._chain:
                raise ValueError(
                    f"{self._described()}: Input must come first, once; the model has already been configured without this one."
                )
            self._set_input(value)
            return
        layer = as_layer(value)
        _check_one_argument(layer)
        key = layer.name.replace(".", "_")
        if key in self._modules:
            raise ValueError(f"{self._described()}: two layers are called {layer.name!r}.\n  try  name= in a constructor")
        if not self._chain and self._input_layer is None and layer._input_shape_hint is not None:
            self._set_input(InputLayer(layer._input_shape_hint))
        self._register(layer)
        self._chain.append(layer)
        self._forget()

    def _set_input(self, layer: InputLayer) -> None:
        self.__dict__["_input_layer"] = layer  # no child: it has no weights, and `layers` leaves it out as Keras does
        self._forget()

    def _forget(self) -> None:
        self.built, self._symbolic = False, None
        for layer, node in self._walked:  # so that `layer.output` is that of the next walk
            if layer._nodes and layer._nodes[-1] is node:
                layer._nodes.pop()
        self._walked = []

    def _build_if_known(self) -> None:
        if not self._chain:
            return
        if self._input_layer is not None:
            self.build(self._input_layer.batch_shape)
        else:
            first = self._chain[0]
            if isinstance(first, Model) and first.built and (first._graph is not None or getattr(first, "_input_layer", None) is not None):
                self.build(first.input_shape)
        if not self.built:
            self._structure_changed()

    # -- building and calling -------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Make every weight for inputs of `input_shape`, batch included.

        Raises:
            ValueError: no layers, or the model has an Input of another shape.
        """
        if not self._chain:
            raise ValueError(f"{self._described()} has no layers: add() some before building.")
        self._check_rebuild(input_shape)
        if self._input_layer is None and is_shape(input_shape):
            first = self._chain[0]
            of_text = self.__dict__.get("_given_text", False) or getattr(first, "_wants_text", False)
            layer = InputLayer(batch_shape=input_shape, dtype=text.NAME if of_text else first.dtype)
            layer._autocast = self._chain[0]._autocast  # whether integers become floats: not on the way into an Embedding
            self._set_input(layer)
        self._walk_symbolically(input_shape)
        self._structure_changed()

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.__dict__["_given_text"] = any(text.is_text(leaf) for leaf in flatten([list(args), kwargs]))
        module_first = self._input_layer is None and bool(self._chain) and isinstance(self._chain[0], TorchModule)
        if module_first and args and not (isinstance(args[0], Tensor) and args[0].is_floating_point()):
            # dicts, tokens, several tensors: their shapes are the module's own affair, and the layers after it build as they are reached
            self.built, self.__dict__["_ids_assigned"] = True, False
            return
        super()._build_for(args, kwargs)

    def _check_rebuild(self, input_shape: Any = None) -> None:
        if self._input_layer is not None and tuple(input_shape) != self._input_layer.batch_shape:
            raise ValueError(f"{self._described()}: build({tuple(input_shape)}), but its Input has shape {self._input_layer.batch_shape}.")

    def _walk_symbolically(self, input_shape: Any) -> None:
        start = self._input_layer.output if self._input_layer is not None else map_shapes(SymbolicTensor, input_shape)
        x = start
        for layer in self._chain:
            x = layer(x)
            self._walked.append((layer, layer._nodes[-1]))
        self._symbolic = (start, x)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        x = self._fitted(inputs)
        if mask is not None:
            x = carrying([x], mask)[0]
        for layer in self._chain:
            x = layer(x)
        return x

    def _fitted(self, x: Any) -> Any:
        """`x` of the rank and dtype of the Input, as a functional model would have it."""
        layer = self._input_layer
        if layer is None or not isinstance(x, Tensor):
            if layer is not None and isinstance(x, list | tuple | dict) and len(flatten(x)) == 1:
                return self._fitted(flatten(x)[0])
            if layer is not None and isinstance(x, list | tuple | dict) and len(flatten(x)) > 1:
                raise ValueError(f"{self._described()}: got {len(flatten(x))} tensors, expected one of shape {layer.batch_shape}.")
            return x
        given, dtype, shape = x, DTYPES.get(layer.dtype), layer.batch_shape
        if dtype is None or x.dtype is text.TEXT:
            x = text.fitted(x, layer.dtype, shape, f"{self._described()}: the input")
            if not fits(x[..., 0], shape):
                raise ValueError(f"{self._described()}: the input has shape {tuple(x.shape[:-1])}, expected {shape}, None for any size.")
            return x
        if x.dtype is not dtype and (layer._autocast or not dtype.is_floating_point or x.is_floating_point()):
            x = x.to(dtype)
        if x.ndim == len(shape) - 1 and shape[-1] == 1:
            x = x.unsqueeze(-1)
        elif x.ndim == len(shape) + 1 and x.shape[-1] == 1:
            x = x.squeeze(-1)
        if x is not given:
            masking.like(given, x)
        if not fits(x, shape):
            raise ValueError(f"{self._described()}: the input has shape {tuple(x.shape)}, expected {shape}, None for any size.")
        return x

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0]
        for layer in self._chain:
            if not layer.built:
                layer._build_for((x,), {})
            x = layer.compute_output_spec(x)
        return x

    # -- what is inside -------------------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return list(self._chain)

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError(
            "`Sequential.layers` attribute is reserved and should not be used. Use `add()` and `pop()` to change the layers in this model."
        )

    def _ends(self) -> tuple[Any, Any]:
        if self._symbolic is None:
            if not self.built or self._input_layer is None:
                raise ValueError(f"{self._described()} has no inputs and outputs before its input shape is known.")
            self._walk_symbolically(self._input_layer.batch_shape)
        assert self._symbolic is not None
        return self._symbolic

    @property
    def output_names(self) -> list[str] | None:
        return [self._chain[-1].name] if self._chain else None

    def get_config(self) -> dict[str, Any]:
        from disttrain.models.saving.serialize import serialize_object  # late: files load where one is read or written

        inside = [] if self._input_layer is None else [self._input_layer]
        config = {"name": self.name, "trainable": self._trainable, "dtype": self.dtype}
        config["layers"] = [serialize_object(layer) for layer in (*inside, *self._chain)]
        if self._input_layer is not None:
            config["build_input_shape"] = self._input_layer.batch_shape
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        if custom_objects:
            return super().from_config(config, custom_objects)
        from disttrain.models.saving.deserialize import deserialize_object  # late: files load where one is read or written

        for layer in config["layers"]:
            if not isinstance(layer, Layer) and not (isinstance(layer, dict) and "config" in layer):
                raise ValueError(f"the config of a Sequential holds {layer!r}. Expected a dictionary containing a 'config' key.")
        layers = [layer if isinstance(layer, Layer) else deserialize_object(layer) for layer in config["layers"]]
        model = cls(layers, name=config.get("name"))
        shape = config.get("build_input_shape")
        if not model.built and shape is not None and model._chain:
            model.build(map_shapes(tuple, shape))
        if config.get("trainable") is False:
            model.trainable = False
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_symbolic": None, "_walked": []}


def _check_one_argument(layer: Layer) -> None:
    required = [
        name
        for name, parameter in inspect.signature(layer.call).parameters.items()
        if parameter.default is parameter.empty and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        raise ValueError(f"{layer._described()} takes {', '.join(required)}: a Sequential gives one input.\n  try  a functional Model")
