"""The base of every layer: a `torch.nn.Module` with Keras's manners."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from disttrain import mixed_precision, regularizers, text, watch
from disttrain.alignment import on_border
from disttrain.layers import masking, torch_children, tracking
from disttrain.layers.config import accepted_arguments, for_constructor, known_arguments, simple_arguments, unwritten_arguments
from disttrain.layers.context import CallContext, call_context, enter, innermost, leave
from disttrain.layers.dtypes import DTYPES, dtype_name
from disttrain.layers.inference import infer
from disttrain.layers.input_spec import check_inputs
from disttrain.layers.naming import auto_name, building
from disttrain.layers.recomputation import follow_checkpoints
from disttrain.layers.signature import Signature, check_positional, shapes_for_build, signature_of
from disttrain.layers.stateless import stateless_call
from disttrain.layers.structure import flatten, map_shapes, map_structure
from disttrain.layers.symbolic import Node, Shape, SymbolicTensor, has_symbolic
from disttrain.layers.torch_calls import forward_as_call
from disttrain.layers.weight_holder import WeightHolder, cast_weights


class Layer(WeightHolder):
    """A function of tensors with weights of its own.

    Subclasses define `call(inputs, ...)`; those with weights also `build(input_shape)`, which makes them with `add_weight`; those
    with constructor arguments also `get_config()`. A layer is built at its first call, or as soon as its input shape is known.

    Args:
        activity_regularizer: a penalty on the output, divided by the batch size; a name, a Regularizer or a function.
        trainable: False freezes every weight.
        dtype: of the weights and of the computation, or a policy that names both (`mixed_precision`); float inputs are cast to that of
            the computation, integers are left alone. None is the global policy.
        name: unique in its model; made from the class where it is None.
        input_shape, input_dim: shape without the batch, as an old-style first layer of a Sequential has it.

    `training` is, first that is known: the explicit argument, what the enclosing call says, the default in `call`, False.

    A mask, bool with True for steps that count, rides on a tensor as `_keras_mask`. A `call` that takes `mask` (or `query_mask` beside
    `query`) is handed that of its argument; `supports_masking = True` passes it on to the output, `compute_mask` may give another.

    Raises:
        ValueError: an unknown keyword; inputs that `input_spec` refuses; a weight of an unknown size.
    """

    _layer_id: int = 0  # the name of this layer's random stream; see assign_layer_ids
    _output_keeps_dtype = False  # True where the output has the dtype of the input, such as in Flatten
    _starts_mask = False  # True where the output has a mask though no input has one, as with Masking
    supports_masking = False
    input_spec: Any = None  # an InputSpec, or a structure of them, that inputs are held to
    _needs_no_build = False  # True where there is nothing to make and nothing to check: built from the start, as in Keras
    _calls_itself = False  # True for a class whose `forward` is no `call` under torch's name
    _is_operation = False  # True for what an operator or a function of `dt.ops` makes between symbolic tensors
    _signature: Signature

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        if unwritten_arguments(cls):
            layer.__dict__["_simple_arguments"] = simple_arguments(cls, args, kwargs)
        return layer

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        autocast: bool = True,
        **unknown: Any,
    ) -> None:
        super().__init__()
        follow_checkpoints()
        if unknown:
            _refuse_unknown(type(self), unknown)
        if name is not None and (not isinstance(name, str) or "/" in name or not name):
            raise ValueError(f"name={name!r}: expected a string without '/', or None.")
        self.name = name or auto_name(type(self).__name__)
        self._set_policy(mixed_precision.get(dtype))
        self._autocast = autocast and self._compute_dtype.is_floating_point
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._trainable = bool(trainable)
        self._regularizers: dict[str, Any] = {}
        self._constraints: dict[str, Any] = {}
        self._row_states: set[str] = set()
        self._kept_dtype: set[str] = set()
        self._foreign: dict[str, nn.Module] | None = None  # children that are no layers: their train/eval flag follows `training`
        self._resting: torch_children.Resting = {}
        self._nodes: list[Node] = []
        self._call_losses: list[Tensor] = []
        self._build_shapes: dict[str, Any] | None = None
        self._input_shape_hint = (input_dim,) if input_dim is not None else None if input_shape is None else tuple(input_shape)
        self.built = self._needs_no_build and type(self).build is Layer.build
        self._building = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in cls.__dict__ and not cls.__dict__.get("_calls_itself"):
            forward_as_call(cls, Layer.forward)
        if "build" in cls.__dict__:
            cls.build = _once(cls.build)  # type: ignore[method-assign]
        if "compute_mask" in cls.__dict__:
            cls.supports_masking = cls.__dict__.get("supports_masking", True)
            cls._starts_mask = cls.__dict__.get("_starts_mask", True)
        if "call" in cls.__dict__ or "build" in cls.__dict__:
            cls._signature = signature_of(cls)  # type: ignore[arg-type]

    # -- for subclasses -------------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of `input_shape`, which has None for sizes that are not known, the batch among them."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself; subclasses name its arguments, first the tensor or tensors."""
        raise NotImplementedError(f"Layer {type(self).__name__} does not have a `call` method implemented.")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the output for `inputs` with `previous_mask`; a list of them for several outputs, None for no mask."""
        return previous_mask if self.supports_masking else None

    def add_metric(self, value: Any, name: str | None = None) -> None:
        """Log the mean of `value`, a scalar or a number for each sample, over the samples of an epoch under `name`."""
        context = innermost()
        if context is None:
            raise RuntimeError(f"{type(self).__name__} {self.name!r}: add_metric belongs inside call().")
        context.metrics.append((name or self.name, torch.as_tensor(value).detach()))

    def add_loss(self, loss: Any) -> None:
        """Add a scalar, or several, to the loss of the running forward pass."""
        context = innermost()
        if context is None:
            raise RuntimeError(f"{type(self).__name__} {self.name!r}: add_loss belongs inside call().")
        context.losses.extend(torch.as_tensor(item) for item in flatten(loss) if item is not None)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape that `call` gives for inputs of `input_shape`; without data, None where a size is not known."""
        if not self.built:
            self.build(input_shape)
        inputs = map_shapes(lambda shape: SymbolicTensor(shape, self.dtype), input_shape)
        return map_structure(lambda output: output.shape, infer(self, (inputs,), {}, self._described(), self._own_device()))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, in JSON types or objects that have a config of their own.

        A subclass whose constructor takes plain values need not define it: they are kept as they were given.

        Raises:
            NotImplementedError: the constructor took something else.
        """
        missing = unwritten_arguments(type(self))
        simple = self.__dict__.get("_simple_arguments")
        if missing and simple is None:
            raise NotImplementedError(
                f"{type(self).__name__}.__init__ takes {', '.join(sorted(missing))}, which get_config() does not hold.\n"
                "  expected  plain numbers, strings and lists of them, which are written by themselves\n"
                "  try  def get_config(self): return {**super().get_config(), "
                + ", ".join(f"{n!r}: self.{n}" for n in sorted(missing))
                + "}"
            )
        policy = self.dtype_policy
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": self.dtype if policy.name == self.dtype else policy,
        }
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return {**config, **(simple or {})}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The inverse of `get_config`."""
        layer = cls(**for_constructor(cls, config))
        if layer.trainable != config.get("trainable", layer.trainable):  # a constructor that does not take it
            layer.trainable = config["trainable"]
        return layer

    # -- calling --------------------------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and self.built:  # the way of nearly every call in a model, kept short
            inputs = args[0]
            context = innermost()
            if type(inputs) is not Tensor or self._foreign != {} or self._starts_mask or self._computes_otherwise:
                return self._call_slowly(args, kwargs)
            if context is None:
                return self._call_alone(inputs)
            if not context.masked:
                if self._autocast and inputs.dtype is not self._compute_dtype and inputs.is_floating_point():
                    inputs = inputs.to(self._compute_dtype)
                if not self._signature.takes_training:
                    outputs = self.call(inputs)
                elif context.training is None:
                    return self._call_slowly(args, kwargs)
                else:
                    outputs = self.call(inputs, training=context.training)
                if self.activity_regularizer is not None:
                    self._penalize_activity(outputs)
                return outputs
        return self._call_slowly(args, kwargs)

    def _call_alone(self, inputs: Tensor) -> Any:
        """The outermost call, on one tensor."""
        watch.sync_before_read()
        context = CallContext()
        context.masked = masking.mask_of(inputs) is not None
        enter(context)
        try:
            outputs = self._call_within(context, [self._beside_weights(self._as_input(inputs))], {})
        finally:
            leave()
            torch_children.wake()
        self._keep_losses(context)
        return outputs

    def _keep_losses(self, context: CallContext) -> None:
        if (context.losses or self._call_losses) and not torch.compiler.is_compiling():  # a trace would keep those of its example for ever
            self.__dict__["_call_losses"] = context.losses

    def _call_slowly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and isinstance(args[0], list | tuple) and text.holds_text(args[0]):
            args = (text.gathered(args[0]), *args[1:])
        check_positional(self, args)
        if has_symbolic(args, kwargs):
            return self._call_symbolically(args, kwargs)
        if args and isinstance(args[0], list | tuple) and _are_numbers(args[0]):
            args = (torch.as_tensor(args[0]), *args[1:])
        tensors: list[Any] = map_structure(self._as_input, list(args))
        kwargs = map_structure(self._as_input, kwargs)
        context = innermost()
        if context is not None:
            return self._call_within(context, tensors, kwargs)
        watch.sync_before_read()
        tensors, kwargs = map_structure(self._beside_weights, tensors), map_structure(self._beside_weights, kwargs)
        with call_context(CallContext()) as context:
            context.masked = masking.any_mask(tensors, kwargs)
            outputs = self._call_within(context, tensors, kwargs)
        torch_children.wake()
        self._keep_losses(context)
        return outputs

    def _call_within(self, context: CallContext, args: list[Any], kwargs: dict[str, Any]) -> Any:
        signature, before = self._signature, context.training
        training = kwargs.pop("training", None)
        training = before if training is None else bool(training)
        training = signature.training_default if training is None else training
        context.training = training
        try:
            if self.input_spec is not None and args:
                check_inputs(self.input_spec, args[0], self.name)
            if not self.built:
                self._build_for(tuple(args), kwargs)
            foreign = self._foreign
            if foreign is None:
                tracking.adopt(self)
                foreign = {name: child for name, child in self._modules.items() if child is not None and not isinstance(child, Layer)}
                if self.input_spec is None:  # else unknown for ever: a layer that checks its inputs does not take the short way
                    self.__dict__["_foreign"] = foreign
                if foreign:
                    torch_children.first_seen(self, foreign, self._resting)
                    if self._computes_otherwise and self._compute_dtype.is_floating_point:
                        torch_children.compute_in(foreign, DTYPES[self._policy.compute_dtype])
            if foreign:  # a frozen torch module infers, as a frozen BatchNormalization does
                torch_children.follow(foreign, self._resting, bool(training) and self._trainable)
            if signature.takes_training:
                kwargs["training"] = bool(training)
            if context.masked and signature.masks:
                masking.hand_over(signature, args, kwargs)
            if self._computes_otherwise:
                with cast_weights(self._weight_holders(), self._compute_dtype):
                    outputs = self.call(*args, **kwargs)
            else:
                outputs = self.call(*args, **kwargs)
        finally:
            context.training = before
        given = kwargs.get("mask")
        if self.supports_masking and (context.masked or self._starts_mask or given is not None):
            inputs = args[0] if args else next(iter(kwargs.values()), None)
            context.masked |= masking.put_on(outputs, self.compute_mask(inputs, masking.masks_of(inputs) if given is None else given))
        if self.activity_regularizer is not None:
            self._penalize_activity(outputs)
        return outputs

    def _call_symbolically(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.input_spec is not None and args:
            check_inputs(self.input_spec, args[0], self.name)
        if any(isinstance(leaf, SymbolicTensor) and leaf.dtype == text.NAME for leaf in flatten([list(args), kwargs])):
            text.check_takes_text(self)
        if not self.built:
            self._build_for(args, kwargs)
        outputs = self.compute_output_spec(*args, **kwargs)
        kept = map_structure(lambda leaf: leaf, args), map_structure(lambda leaf: leaf, kwargs)  # a caller may go on filling its lists
        self._nodes.append(Node(self, len(self._nodes), *kept, outputs))
        return outputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """What this layer gives for symbolic tensors, as symbolic tensors."""
        if type(self).compute_output_shape is Layer.compute_output_shape or len(args) != 1:
            return infer(self, args, kwargs, self._described(), self._own_device())
        shapes = self.compute_output_shape(map_structure(lambda leaf: leaf.shape, args[0]))
        dtype = flatten(args[0])[0].dtype if self._output_keeps_dtype else self.compute_dtype
        return map_shapes(lambda shape: SymbolicTensor(shape, dtype), shapes)

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_inference_mode_enabled():  # a weight made there could never be trained, and a predict may be the first call
            with torch.inference_mode(False), torch.no_grad():
                self._build_for(args, kwargs)
            return
        shapes = shapes_for_build(self._signature, args, kwargs)
        self.build(**shapes)
        device = self._device(args)
        if device is not None:
            self.to(device)

    def _check_rebuild(self, *args: Any, **kwargs: Any) -> None:
        """A second build does nothing; a class may refuse one for another shape."""

    def _device(self, args: Any) -> torch.device | None:
        return next((leaf.device for leaf in flatten(list(args)) if type(leaf) is Tensor), None)

    def _as_input(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
            return text.text_tensor(value)
        if isinstance(value, np.ndarray):
            weight = next(self.parameters(), None)
            value = on_border(torch.from_numpy(np.ascontiguousarray(value)))
            value = value if weight is None else value.to(weight.device)
        if self._autocast and isinstance(value, Tensor) and value.dtype is not self._compute_dtype and value.is_floating_point():
            return masking.like(value, value.to(self._compute_dtype))
        return value

    def _beside_weights(self, value: Any) -> Any:
        """An input of the outermost call where the weights are: a fit may have moved them to a GPU since the script made its tensors."""
        if not torch.cuda.is_initialized() or not isinstance(value, Tensor) or value.device.type != "cpu":
            return value
        own = self._own_device()
        if own is None or own.type == "cpu":
            return value
        moved, mask = value.to(own), masking.mask_of(value)
        if mask is not None:
            moved._keras_mask = mask.to(own)  # type: ignore[attr-defined]
        return moved

    def _penalize_activity(self, outputs: Any) -> None:
        context = innermost()
        for output in flatten(outputs):
            if isinstance(output, Tensor) and context is not None and self.activity_regularizer is not None:
                loss = self.activity_regularizer(output)
                context.losses.append(loss / output.shape[0] if output.ndim and output.shape[0] else loss)

    def stateless_call(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Call the layer with other values in the place of its weights, which stay as they are.

        Args:
            trainable_variables, non_trainable_variables: values, in the order of the lists of these names.

        Returns:
            (outputs, the non-trainable values after the call); with `return_losses` the losses too.
        """
        return stateless_call(self, trainable_variables, non_trainable_variables, args, kwargs, return_losses)

    @property
    def metrics(self) -> list[Any]:
        """The metrics that this layer, and the layers within it, hold as attributes."""
        found: dict[int, Any] = {}
        for module in self.modules():
            for value in vars(module).values():
                for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,):
                    if all(hasattr(item, wanted) for wanted in ("update_state", "reset_state", "result", "variables")):
                        found[id(item)] = item
        return list(found.values())

    @property
    def metrics_variables(self) -> list[Tensor]:
        """The sums of all `metrics`."""
        return [variable for metric in self.metrics for variable in metric.variables]

    @property
    def losses(self) -> list[Tensor]:
        """What the last outermost call added (`add_loss`, activity regularizers), then the penalties of the weights."""
        return [*self._call_losses, *self.regularization_losses()]

    # -- building and saving --------------------------------------------------------------------------------------------------------

    def _set_policy(self, policy: mixed_precision.DTypePolicy) -> None:
        self._policy = policy
        self.dtype = policy.variable_dtype
        self._compute_dtype = DTYPES[policy.compute_dtype]
        self._computes_otherwise = policy.compute_dtype != policy.variable_dtype

    def _weight_holders(self) -> list[WeightHolder]:
        """Whose weights `call` reads itself: this layer's, and those of children whose `call` it does not go through."""
        return [self]

    @property
    def dtype_policy(self) -> mixed_precision.DTypePolicy:
        """In which dtype weights are kept, and in which `call` computes."""
        return self._policy

    @property
    def compute_dtype(self) -> str:
        """The dtype that `call` computes in."""
        return dtype_name(self._compute_dtype)

    @property
    def variable_dtype(self) -> str:
        """The dtype that weights are kept in."""
        return self.dtype

    @property
    def input(self) -> Any:
        """The symbolic input of this layer's only call in a functional model."""
        node = self._only_node("input")
        return node.args[0] if node.args else next(iter(node.kwargs.values()), None)

    @property
    def output(self) -> Any:
        """The symbolic output of this layer's only call in a functional model."""
        return self._only_node("output").outputs

    def _only_node(self, wanted: str) -> Node:
        if len(self._nodes) != 1:
            raise ValueError(  # an AttributeError would come out of nn.Module as "no attribute"
                f"{self._described()}.{wanted}: the layer was called {len(self._nodes)} times on symbolic tensors, not once."
            )
        return self._nodes[0]

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes that this layer was built for; None if it was not."""
        if self._build_shapes is None:
            return None
        shapes = self._build_shapes
        if len(shapes) > 1:  # of several arguments, as in Keras, those that were given
            shapes = {name: shape for name, shape in shapes.items() if shape is not None}
            if not shapes:
                return None
        return {"shapes_dict": dict(shapes)} if len(shapes) > 1 else {"input_shape": next(iter(shapes.values()))}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build for the shapes of `get_build_config`."""
        names = self._signature.build_names
        not_given: dict[str, Any] = dict.fromkeys(names) if len(names) > 1 else {}
        if "input_shape" in config:
            self.build(_shapes(config["input_shape"]), **dict.fromkeys(list(not_given)[1:]))
        else:
            self.build(**{**not_given, **{name: _shapes(shape) for name, shape in config.get("shapes_dict", config).items()}})

    # -- being a module -------------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Without symbolic tensors, which reach other models, and losses, which hold the last pass in memory."""
        return {**self.__dict__, "_nodes": [], "_call_losses": [], "_foreign": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def extra_repr(self) -> str:
        return f"name={self.name}"


def _once(build: Callable[..., None]) -> Callable[..., None]:
    """`build`, so that a second call does nothing and `super().build()` may be called inside."""

    @functools.wraps(build)
    def wrapper(self: Layer, *args: Any, **kwargs: Any) -> None:
        if self._building:
            build(self, *args, **kwargs)
            return
        if self.built:
            self._check_rebuild(*args, **kwargs)
            return
        self._building = True
        try:
            with building(self.name):
                build(self, *args, **kwargs)
        finally:
            self._building = False
        names = list(inspect.signature(build).parameters)[1:]
        self._build_shapes = {**dict(zip(names, map(_shapes, args), strict=False)), **{name: _shapes(s) for name, s in kwargs.items()}}
        self.built = True
        self._foreign = None

    return wrapper


Layer.build = _once(Layer.build)  # type: ignore[method-assign]
Layer._signature = signature_of(Layer)


def _shapes(value: Any) -> Any:
    """A shape, or a structure of shapes, with tuples for shapes."""
    return value if value is None else map_shapes(lambda shape: tuple(shape), value)


def _are_numbers(value: list[Any] | tuple[Any, ...]) -> bool:
    """Is it a list, or lists of lists, that begins with a number: data, where a list of tensors is several arguments in one?"""
    first: Any = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    return isinstance(first, int | float)


def _refuse_unknown(cls: type, unknown: dict[str, Any]) -> None:
    name, value = next(iter(unknown.items()))
    valid = sorted(accepted_arguments(cls) | known_arguments())
    nearest = difflib.get_close_matches(name, valid, n=len(valid), cutoff=0.0)
    raise ValueError(f"{cls.__name__}({name}={value!r}): no such argument.\n  expected  one of {', '.join(nearest)}, nearest first")


__all__ = ["Layer", "Shape"]
