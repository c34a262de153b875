"""A network of layers: what a model computes and what is inside, without the files that hold it."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor, nn

from disttrain.layers.context import CallContext
from disttrain.layers.inference import infer
from disttrain.layers.layer import Layer
from disttrain.layers.signature import shapes_for_build
from disttrain.layers.structure import flatten, map_shapes, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.layers.tracking import adopt, assign_layer_ids
from disttrain.models.functional import Graph, carrying
from disttrain.models.state_tree import set_state_tree, state_tree
from disttrain.models.trainer import Trainer


class Network(Trainer, Layer):
    """Layers that are trained together; itself a layer. `Model` is this, with its files, tables and exports.

    Args:
        inputs, outputs: the ends of a graph, in symbolic tensors; both None for a subclass with a `call` of its own.
    """

    def __init__(self, inputs: Any = None, outputs: Any = None, *, name: str | None = None, trainable: bool = True, **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._graph: Graph | None = None
        self._ids_assigned = False
        if inputs is not None:
            self._set_graph(Graph(inputs, outputs, f"{type(self).__name__} {self.name!r}"))
        if not trainable:
            self.trainable = False

    def _set_graph(self, graph: Graph) -> None:
        self._graph = graph
        self._autocast = False  # each input has a dtype of its own
        for layer in graph.layers:
            self._register(layer)
        self.built = True
        self._structure_changed()

    def _register(self, layer: Layer) -> None:
        key = layer.name.replace(".", "_")
        if self._modules.get(key, layer) is not layer:
            raise ValueError(f"{self._described()}: two layers are called {layer.name!r}.\n  try  name= in a constructor")
        self._modules[key] = layer  # not add_module: a layer may be called "history" or "loss"

    def _structure_changed(self) -> None:
        self._foreign = None
        assign_layer_ids(self)
        self._ids_assigned = True

    # -- calling --------------------------------------------------------------------------------------------------------------------

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The outputs; a subclass without inputs and outputs defines its own."""
        if self._graph is None:
            raise NotImplementedError(f"{type(self).__name__} defines no call(self, inputs).")
        return self._graph.run(carrying(self._graph.match(inputs), mask))

    def _call_within(self, context: CallContext, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self._ids_assigned:
            return super()._call_within(context, args, kwargs)
        assign_layer_ids(self)
        outputs = super()._call_within(context, args, kwargs)
        self._structure_changed()  # layers may have come into being with the call
        return outputs

    def build(self, input_shape: Any) -> None:
        """Make every weight for inputs of `input_shape`, batch included, by calling the model on tensors without values."""
        inputs = map_shapes(lambda shape: SymbolicTensor(shape, self.dtype), input_shape)
        infer(self.call, (inputs,), {"training": False} if self._signature.takes_training else {}, self._described(), self._own_device())
        self._structure_changed()

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if type(self).build is not Network.build:
            super()._build_for(args, kwargs)
            return
        self._build_shapes = shapes_for_build(self._signature, args, kwargs)  # children build themselves as the call reaches them
        self.built = True

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self._graph is None or len(args) != 1:
            return infer(self, args, kwargs, self._described(), self._own_device())
        return self._graph.infer(self._graph.match(args[0]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        inputs = map_shapes(lambda shape: SymbolicTensor(shape, self.dtype), input_shape)
        return map_structure(lambda output: output.shape, self.compute_output_spec(inputs))

    # -- what is inside -------------------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers directly inside: of a functional model from inputs to outputs, Inputs included; else in the order they were set."""
        return [layer for layer in self._graph.layers if not layer._is_operation] if self._graph is not None else _layers_in(self)

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved and should not be used. Please use another name.")

    @property
    def operations(self) -> list[Layer]:
        """The layers, and among them what operators and functions of tensors made, such as `x + y`."""
        return list(self._graph.layers) if self._graph is not None else self.layers

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or by its place in `layers`.

        Raises:
            ValueError: no such layer; the names that exist are listed.
        """
        if (name is None) == (index is None):
            raise ValueError(f"get_layer(name={name!r}, index={index!r}): expected one of the two.")
        if index is not None:
            layers = self.layers
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"get_layer(index={index}): {self._described()} has {len(layers)} layers.")
            return layers[index]
        names = {layer.name: layer for layer in reversed(self.operations)}
        if name in names:
            return names[name]
        nearest = difflib.get_close_matches(str(name), names, n=len(names), cutoff=0.0)
        raise ValueError(f"get_layer({name!r}): no such layer.\n  expected  one of {', '.join(nearest)}, nearest first")

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, flat."""
        return flatten(self._ends()[0])

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, flat."""
        return flatten(self._ends()[1])

    @property
    def input(self) -> Any:
        """The symbolic inputs, in their structure."""
        return self._ends()[0]

    @property
    def output(self) -> Any:
        """The symbolic outputs, in their structure."""
        return self._ends()[1]

    @property
    def input_shape(self) -> Any:
        """The shape of each input."""
        return map_structure(lambda tensor: tensor.shape, self._ends()[0])

    @property
    def output_shape(self) -> Any:
        """The shape of each output."""
        return map_structure(lambda tensor: tensor.shape, self._ends()[1])

    def _ends(self) -> tuple[Any, Any]:
        if self._graph is None:
            raise ValueError(f"{self._described()} has no symbolic inputs and outputs: it is defined by its call().")
        return self._graph.ends()

    @property
    def output_names(self) -> list[str] | None:
        """What losses and metrics call the outputs: the names of the layers that give them; None where `call` is code."""
        return None if self._graph is None else self._graph.output_names()

    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, Any]:
        """Copies of all values in nested dicts: weights by their paths, the optimizer's variables, the sums of metrics.

        Args:
            value_format: "backend_tensor", or "numpy_array".
        """
        return state_tree(self, value_format)

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Set the values that a tree of `get_state_tree` holds, or a part of one.

        Raises:
            ValueError: something that the model does not have, or in another shape; nothing is changed then.
        """
        set_state_tree(self, state_tree)

    def digest(self) -> str:
        """sha256 of all weights with their names: equal exactly when every bit is."""
        from disttrain.models.digest import weights_digest  # late: loads the checkpoint engine

        return weights_digest(self.named_weights())

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and "_ids_assigned" in self.__dict__:
            self.__dict__["_ids_assigned"] = False
        elif not isinstance(value, nn.Module | Tensor) and hasattr(type(self), name) and name in self.__dict__.get("_modules", ()):
            object.__setattr__(self, name, value)  # `history` stays an attribute though a layer has that name
            return
        super().__setattr__(name, value)


def _layers_in(module: nn.Module) -> list[Layer]:
    """Child layers; containers of torch, such as ModuleList, are looked into."""
    adopt(module)
    found: list[Layer] = []
    for child in module._modules.values():
        if isinstance(child, Layer):
            if not any(child is other for other in found):
                found.append(child)
        elif isinstance(child, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            found += _layers_in(child)
    return found
