"""Model: layers that train together, with the files that hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from disttrain.layers.naming import auto_name
from disttrain.models.file_classes import named_in_files
from disttrain.models.network import Network


@named_in_files("Functional")
class Model(Network):
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
        super().__init__(inputs, outputs, name=name, trainable=trainable, **kwargs)

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
        from disttrain.models.summary import summary  # late: loads a table printer

        summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    # -- saving ---------------------------------------------------------------------------------------------------------------------

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **options: Any) -> None:
        """Write the whole model to a `.keras` file, which Keras 3 opens too, or to `.h5` as Keras 2 did; a path or any fsspec URL.

        Args:
            zipped: False writes a folder with the same content.
            options: `include_optimizer=False` leaves the optimizer's state out; `save_format` is Keras 2's, and told by the ending here.

        Raises:
            ValueError: another ending, a layer that is code.
            FileExistsError: the file is there and `overwrite` is False.
        """
        from disttrain.models.saving import save_model  # late: files load where one is read or written

        save_model(self, filepath, overwrite, zipped, **options)

    def to_json(self, **options: Any) -> str:
        """What the model is, without weights, as the JSON that Keras writes; `options` go to `json.dumps`. See `model_from_json`."""
        from disttrain.models.saving.keras_file import to_json  # late: files load where one is read or written

        return to_json(self, **options)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was told, in JSON types; None before it was called."""
        from disttrain.models.saving.compiling import compile_config  # late: files load where one is read or written

        return compile_config(self) if self.compiled else None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says."""
        from disttrain.models.saving.compiling import compile_from_config  # late: files load where one is read or written

        compile_from_config(self, config)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Write the weights to a `.weights.h5` file, as Keras does, or to `.safetensors`."""
        from disttrain.models.saving import save_weights  # late: files load where one is read or written

        save_weights(self, filepath, overwrite, max_shard_size)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False, *, step: int | None = None) -> None:
        """Read weights into this model; of a compiled one, the optimizer's state too, where it is there.

        Args:
            filepath: a `.keras`, `.weights.h5` or `.safetensors` file, the directory of a run, or one of its checkpoints, `RUN/NAME`.
            skip_mismatch: warn of what does not fit, and load the rest.
            by_name: load the layers whose names the file has, and leave the others alone: for a model that shares some layers.
            step: of a run, the checkpoint after so many updates, not the newest.

        Raises:
            ValueError: there misses a weight, or is one that the model does not have, or in another shape; then nothing is changed.
        """
        from disttrain.models.saving import load_weights  # late: files load where one is read or written

        load_weights(self, filepath, skip_mismatch, by_name, step=step)

    def _identity_of(self, job: Any) -> dict[str, Any]:
        from disttrain.models.call_identity import call_identity  # late: a fit that keeps nothing needs none

        return call_identity(job)

    def module_state_dict(self, name: str | None = None) -> dict[str, Tensor]:
        """The weights of the plain torch module inside, as its own `state_dict()` names them: for `net.load_state_dict(..., strict=True)`.

        Copies, tied weights under each of their names: `torch.save` and `safetensors.torch.save_file` write them as they are.

        Args:
            name: of the layer or attribute, where the model holds several modules.
        """
        from disttrain.models.module_state import module_state_dict  # late: few models are taken apart

        return module_state_dict(self, name)

    def export(
        self,
        filepath: Any,
        format: str | None = None,
        verbose: bool | None = None,
        input_signature: Any = None,
        *,
        overwrite: bool = True,
        **options: Any,
    ) -> None:
        """Write what the model computes without training as a program that needs no layers: `.pt2` for PyTorch, or `.onnx`.

        Args:
            filepath: `torch.export.load(path).module()` calls a `.pt2` as the model is called; a `.onnx` has an input for each tensor.
            format: "torch" or "onnx"; by the ending unless told.
            verbose: True says where it is written.
            input_signature: `Input(...)`s or example tensors, where the model does not know what it is called with.
            options: for `torch.export.export` or `torch.onnx.export`.
        """
        from disttrain.models.export import export  # late: files load where one is read or written

        export(self, filepath, format, input_signature, overwrite=overwrite, **options)
        if verbose:
            print(f"Saved artifact at '{filepath}'.")

    def get_config(self) -> dict[str, Any]:
        if self._graph is None or type(self).__init__ is not Model.__init__:
            return super().get_config()
        from disttrain.models.saving.graph_config import graph_config  # late: files load where one is read or written

        return {"name": self.name, "trainable": self._trainable, **graph_config(self._graph)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """The inverse of `get_config`; `custom_objects` are classes and functions that it may name beyond the package's own."""
        if custom_objects:
            from disttrain.models.saving.registry import custom_objects as also_known  # late: files load where one is read or written

            with also_known(custom_objects):
                return cls.from_config(config)
        if not {"layers", "input_layers", "output_layers"} <= set(config):
            return super().from_config(config)
        from disttrain.models.saving.graph_config import graph_ends  # late: files load where one is read or written

        inputs, outputs = graph_ends(config)
        return cls(inputs=inputs, outputs=outputs, name=config.get("name"), trainable=config.get("trainable", True))
