"""Model: layers that train together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from disttrain.layers.context import CallContext
from disttrain.layers.inference import infer
from disttrain.layers.layer import Layer
from disttrain.layers.naming import auto_name
from disttrain.layers.signature import shapes_for_build
from disttrain.layers.structure import flatten, map_shapes, map_structure
from disttrain.layers.symbolic import SymbolicTensor
from disttrain.layers.tracking import adopt, assign_layer_ids
from disttrain.models.functional import Graph, carrying
from disttrain.models.trainer import Trainer


class Model(Trainer, Layer):
    """Layers that are compiled, trained and saved together; itself a layer.

    Either functional, `Model(inputs, outputs)` with the symbolic tensors of `Input` and of layers called on them, alone or in lists,
    tuples and dicts; or a subclass that makes layers in `__init__` and calls them in `call(self, inputs)`.

    Example:
        >>> from disttrain.layers import Dense, Input
        >>> x = Input((3,))
        >>> Model(x, Dense(2)(x)).count_params()
        8
    """

    def __init__(
        self,
        *args: Any,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        given = dict(zip(("inputs", "outputs", "name"), args, strict=False))
        if len(args) > 3:
            raise ValueError(f"{type(self).__name__}: got {len(args)} positional arguments, expected inputs, outputs and name at most.")
        inputs, outputs, name = given.get("inputs", inputs), given.get("outputs", outputs), given.get("name", name)
        if (inputs is None) != (outputs is None):
            raise ValueError(f"{type(self).__name__}(inputs=..., outputs=...): expected both or neither.")
        if type(self) is Model:
            if inputs is None:
                raise ValueError("Model(): expected inputs and outputs, or a subclass with call(self, inputs).")
            name = name or auto_name("Functional")
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
        if type(self).build is not Model.build:
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

    def digest(self) -> str:
        """sha256 of all weights with their names: equal exactly when every bit is."""
        from disttrain.models.digest import weights_digest

        return weights_digest(self.named_weights())

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print a table of the layers, their output shapes and weights; also before the model is built.

        Args:
            line_length, positions: of the table in characters, and where its columns end, as fractions of it.
            print_fn: is given the text; `print` unless told.
            expand_nested: show what is inside models and other layers with layers.
            show_trainable: say which layers training changes.
            layer_range: names, or regular expressions, of the first and the last layer to be shown.
        """
        from disttrain.models.summary import summary

        summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    # -- saving ---------------------------------------------------------------------------------------------------------------------

    def save(self, path: Any, overwrite: bool = True) -> None:
        """Write the whole model to a `.keras` file, which Keras 3 opens too; a path or any fsspec URL.

        Raises:
            ValueError: another ending, a layer that is code.
            FileExistsError: the file is there and `overwrite` is False.
        """
        from disttrain.models.saving import save_model

        save_model(self, path, overwrite=overwrite)

    def to_json(self, **options: Any) -> str:
        """What the model is, without weights, as the JSON that Keras writes; `options` go to `json.dumps`. See `model_from_json`."""
        from disttrain.models.saving.keras_file import to_json

        return to_json(self, **options)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was told, in JSON types; None before it was called."""
        from disttrain.models.saving.compiling import compile_config

        return compile_config(self) if self.compiled else None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says."""
        from disttrain.models.saving.compiling import compile_from_config

        compile_from_config(self, config)

    def save_weights(self, path: Any, overwrite: bool = True) -> None:
        """Write the weights to a `.weights.h5` file, as Keras does, or to `.safetensors`."""
        from disttrain.models.saving import save_weights

        save_weights(self, path, overwrite=overwrite)

    def load_weights(self, path: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Read weights from a `.keras`, `.weights.h5` or `.safetensors` file into this model; of a compiled one, the optimizer's state too.

        Args:
            skip_mismatch: warn of what does not fit, and load the rest.
            by_name: load the layers whose names the file has, and leave the others alone: for a model that shares some layers.

        Raises:
            ValueError: the file misses a weight, or has it in another shape.
        """
        from disttrain.models.saving import load_weights

        load_weights(self, path, skip_mismatch=skip_mismatch, by_name=by_name)

    def export(self, path: Any, format: str | None = None, input_signature: Any = None, **options: Any) -> None:
        """Write what the model computes without training as a program that needs no layers: `.pt2` for PyTorch, or `.onnx`.

        Args:
            path: `torch.export.load(path).module()` calls a `.pt2` as the model is called; a `.onnx` has an input for each tensor.
            format: "torch" or "onnx"; by the ending unless told.
            input_signature: `Input(...)`s or example tensors, where the model does not know what it is called with.
            options: for `torch.export.export` or `torch.onnx.export`.
        """
        from disttrain.models.export import export

        export(self, path, format, input_signature, **options)

    def get_config(self) -> dict[str, Any]:
        if self._graph is None or type(self).__init__ is not Model.__init__:
            return super().get_config()
        from disttrain.models.saving.graph_config import graph_config

        return {"name": self.name, "trainable": self._trainable, **graph_config(self._graph)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """The inverse of `get_config`; `custom_objects` are classes and functions that it may name beyond the package's own."""
        if custom_objects:
            from disttrain.models.saving.registry import custom_objects as also_known

            with also_known(custom_objects):
                return cls.from_config(config)
        if not {"layers", "input_layers", "output_layers"} <= set(config):
            return super().from_config(config)
        from disttrain.models.saving.graph_config import graph_ends

        inputs, outputs = graph_ends(config)
        return cls(inputs=inputs, outputs=outputs, name=config.get("name"), trainable=config.get("trainable", True))

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
