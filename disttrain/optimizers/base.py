"""What every optimizer does: unscale, accumulate, clip, decay, update, average, count. A subclass brings the update rule and its slots."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from disttrain import watch
from disttrain.errors import UsageError
from disttrain.identifiers import to_snake_case
from disttrain.optimizers import schedules
from disttrain.optimizers.argument_order import gradients_and_weights
from disttrain.optimizers.arguments import number, one_kind_of_clipping, refuse_unknown, whole_number
from disttrain.optimizers.clipping import clip_each_norm, clip_each_value, clip_global_norm
from disttrain.optimizers.keras_variables import KerasVariables
from disttrain.optimizers.learning_rate import HasLearningRate, LearningRate
from disttrain.optimizers.schedules import LearningRateSchedule
from disttrain.optimizers.weight_decay import which_decay
from disttrain.variables import Variable

Slots = dict[str, list[Tensor]]


class Optimizer(HasLearningRate, KerasVariables):
    """Base class.

    Args:
        learning_rate: a number, a `LearningRateSchedule` of the step, or a function without arguments.
        weight_decay: decoupled: `w -= w * weight_decay * learning_rate` before each update, never added to the gradient.
        clipnorm: longest gradient of a single variable (Euclidean norm).
        clipvalue: largest entry of a gradient, by size.
        global_clipnorm: longest gradient of all variables together. One kind of clipping only.
        use_ema: keep a moving average of the weights, which `finalize_variable_values`, at the end of `fit`, puts in their place.
        ema_momentum: memory of that average, 0 to 1.
        ema_overwrite_frequency: also put the average in the weights' place after every so many updates.
        loss_scale_factor: `scale_loss` multiplies the loss by it, `apply` divides the gradients, so that small float16 gradients live.
        gradient_accumulation_steps: update on every so many calls of `apply`, 2 or more, with the mean of the gradients since the last
            update. Schedules and `iterations` count the calls, an update rule's own count of steps counts the updates.
        name: in configs.

    One `apply` is, in Keras's order: divide by the loss scale; add to the accumulator, and go on only where an update is due; clip;
    decay; update; average; overwrite by the average where that is due. Constraints are the runtime's, after `apply`.

    Attributes:
        slot_names: the state that the rule keeps for each variable, such as `("momentum", "velocity")`.
        elementwise: the rule treats every number alike, so variables may be handed over as one flat tensor; in float32 and float64 with
            the same bits (torch rounds bfloat16 differently at the end of a tensor), if the rule adds, multiplies, divides and takes roots;
            for powers see `fused.powers`, for what else torch computes otherwise at the end of a tensor `fused.in_whole_vectors`.
        slots: after `build`, for each slot name a tensor for each variable, of its shape or one that broadcasts to it. Beside those of
            the rule: `average` with `use_ema`, `gradient_accumulator` with `gradient_accumulation_steps`.
        iterations: calls of `apply` so far; the schedule's step.
    """

    slot_names: tuple[str, ...] = ()
    elementwise: bool = True

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(self, unknown)
        one_kind_of_clipping(self, clipnorm=clipnorm, clipvalue=clipvalue, global_clipnorm=global_clipnorm)
        self.name = name or to_snake_case(type(self).__name__)
        self.weight_decay = None if weight_decay is None else number(self, "weight_decay", weight_decay)
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = bool(use_ema), number(self, "ema_momentum", ema_momentum, "[0, 1]")
        self.ema_overwrite_frequency, self.gradient_accumulation_steps = ema_overwrite_frequency, gradient_accumulation_steps
        if ema_overwrite_frequency is not None:
            whole_number(self, "ema_overwrite_frequency", ema_overwrite_frequency, 1)
        if gradient_accumulation_steps is not None:
            whole_number(self, "gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self.loss_scale_factor = None if loss_scale_factor is None else number(self, "loss_scale_factor", loss_scale_factor, "(0, inf)")
        self._learning_rate = self._checked_rate(learning_rate)
        self.calls = 0  # what `iterations` shows
        self._built = False
        self._slots: Slots = {}
        self._excluded: list[Tensor] = []
        self._excluded_names: list[str] = []
        self._decayed: list[bool] | None = None  # for each variable; None: all alike

    # -- the rule, for subclasses ---------------------------------------------------------------------------------------------------

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        """The value of one of the rule's slots before the first update."""
        return torch.zeros_like(param, memory_format=torch.contiguous_format)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        """The bare rule, in place: change `params` and `slots` by `grads`, which stay as they are.

        Args:
            params, grads, slots: lists of equal length; any arrangement of the variables for an elementwise rule.
            step: updates before this one, 0 first.
            learning_rate: that of this step.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(self, params, grads, slots, step, learning_rate).")

    def decay_and_update(
        self, params: list[Tensor], grads: list[Tensor], slots: Slots, learning_rate: float, numbers: Sequence[int] | None
    ) -> None:
        """Decay the weights, then the rule. `numbers` are the variables' places in `build`; None: all of them, in any arrangement."""
        if self.weight_decay:
            decayed = params
            if self._decayed is not None:
                decayed = [param for param, decays in zip(params, self.facts_of(self._decayed, params, numbers), strict=True) if decays]
            if decayed:
                torch._foreach_mul_(decayed, 1.0 - self.weight_decay * learning_rate)
        self.update(params, grads, slots, self.updates, learning_rate)

    def facts_of(self, facts: list[bool], params: Sequence[Tensor], numbers: Sequence[int] | None) -> list[bool]:
        """Of facts about each variable of `build`, those about `params`; `numbers` as in `decay_and_update`."""
        if numbers is not None:
            return [facts[place] for place in numbers]
        if len(facts) != len(params):
            raise ValueError(
                f"{type(self).__name__}.apply_to: {len(params)} of the {len(facts)} variables, which it treats differently.\n"
                "  expected  all of them, or numbers=[...]: their places in build()"
            )
        return facts

    # -- state ----------------------------------------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:  # type: ignore[override]
        watch.sync_before_read("slots")
        return self._built

    @property
    def slots(self) -> Slots:
        watch.sync_before_read("slots")
        return self._slots

    @slots.setter
    def slots(self, value: Slots) -> None:
        self._slots = value

    @property
    def updates(self) -> int:
        """Updates made so far: `iterations`, or with accumulation the whole groups in it."""
        return self.calls // self.gradient_accumulation_steps if self.gradient_accumulation_steps else self.calls

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        """Make the slots of `params` afresh; `iterations` stays. `names` serve what goes by names, such as `exclude_from_weight_decay`."""
        kept: Slots = {}
        if self.use_ema:  # from the weights themselves: the first update replaces it, and to finalize before that changes nothing
            kept["average"] = [param.detach().clone(memory_format=torch.contiguous_format) for param in params]
        if self.gradient_accumulation_steps:
            kept["gradient_accumulator"] = [torch.zeros_like(param, memory_format=torch.contiguous_format).detach() for param in params]
        own = {slot: [self.initial_slot(slot, param.detach()) for param in params] for slot in self.slot_names}
        self.slots = {**kept, **own}
        self._decayed = which_decay(params, names, self._excluded, self._excluded_names)
        self._built = True

    def named_slots(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The slots as `{"<slot>/<variable>": tensor}`, the tensors themselves, for variables called `names` in the order of `build`."""
        return {f"{slot}/{name}": tensor for slot, tensors in self.slots.items() for name, tensor in zip(names, tensors, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the slots, in JSON types; the learning rate is None where it is computed."""
        rate = self._learning_rate
        return {"iterations": self.calls, "learning_rate": rate if isinstance(rate, float) else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        if "param_groups" in state:
            raise UsageError(
                f"{type(self).__name__}.load_state_dict: this is the state of an optimizer of torch.\n"
                "  expected  what state_dict() of this optimizer gives\n"
                "  try       torch's optimizer with that state, opt.load_state_dict(state), in compile(opt): it goes on where it stopped"
            )
        self.calls = int(state["iterations"])
        if state.get("learning_rate") is not None and isinstance(self._learning_rate, float):
            self._learning_rate = float(state["learning_rate"])

    # -- one update -----------------------------------------------------------------------------------------------------------------

    @property
    def needs_variables(self) -> bool:
        """Must `apply` be given the variables one by one, because it treats them differently? Else one flat tensor will do."""
        excludes = bool(self.weight_decay and (self._excluded or self._excluded_names))
        return not self.elementwise or self.clipnorm is not None or self.global_clipnorm is not None or excludes

    def scale_loss(self, loss: Any) -> Any:
        """The loss whose gradients `apply` expects."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    @torch.no_grad()
    def apply(self, grads: Sequence[Tensor | None], trainable_variables: Sequence[Tensor] | None = None) -> None:
        """One step, as in Keras: gradients first, then the weights that they belong to. The other order is known by the weights.

        Raises:
            UsageError: nothing tells the gradients from the weights.
        """
        grads = [torch.as_tensor(grad) if isinstance(grad, np.ndarray) else grad for grad in grads]
        grads, params = gradients_and_weights(self, list(grads), None if trainable_variables is None else list(trainable_variables))
        self.apply_to(params, grads)
        constrain(params)

    @torch.no_grad()
    def apply_to(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        slots: Slots | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """One step with these gradients; see the class for what happens in which order.

        Args:
            params: the variables of `build`, in its order, or the same numbers arranged otherwise if nothing `needs_variables`.
            grads: their gradients, which stay as they are; variables with None are left alone, except by the averaging.
            slots: the slots in the arrangement of `params`; the optimizer's own unless given.
            numbers: for a part of the variables, their places in `build`; `slots` are theirs then.
        """
        params, present = list(params), list(grads)
        if slots is None:
            if not self.built:
                self.build(params)
            slots = self.slots
        for slot, tensors in slots.items():
            if len(tensors) != len(params):
                raise ValueError(
                    f"{type(self).__name__}.apply: {len(params)} variables, but {len(tensors)} of slot {slot!r}.\n"
                    "  expected  the variables that the optimizer was built with, all of them"
                )
        if any(grad is None for grad in present):
            places = [place for place, grad in enumerate(present) if grad is not None]
            if not places:
                raise ValueError(
                    f"{type(self).__name__}.apply: No gradients provided for any variable.\n  expected  a loss that depends on the weights"
                )
            some = {slot: [tensors[place] for place in places] for slot, tensors in slots.items()}
            named = places if numbers is None else [numbers[place] for place in places]
            self._update_if_due([params[p] for p in places], cast(list[Tensor], [present[p] for p in places]), some, slots, named)
        elif params:
            self._update_if_due(params, cast(list[Tensor], present), slots, slots, numbers)
        if self.use_ema and params:
            self._average(params, slots["average"])
        self.calls += 1

    def _update_if_due(
        self, params: list[Tensor], grads: list[Tensor], slots: Slots, all_slots: Slots, numbers: Sequence[int] | None
    ) -> None:
        if self.loss_scale_factor is not None:
            grads = list(torch._foreach_div(grads, self.loss_scale_factor))
        every = self.gradient_accumulation_steps
        if every:
            sums = slots["gradient_accumulator"]
            torch._foreach_add_(sums, grads)
            if (self.calls + 1) % every:
                return
            torch._foreach_div_(sums, float(every))
            grads = sums
        self.decay_and_update(params, self.clip(grads), slots, self.current_learning_rate(), numbers)
        if every:
            torch._foreach_zero_(all_slots["gradient_accumulator"])

    def _average(self, params: list[Tensor], averages: list[Tensor]) -> None:
        if self.updates == 0:
            torch._foreach_copy_(averages, params)
        else:
            torch._foreach_lerp_(averages, params, 1.0 - self.ema_momentum)
        if self.ema_overwrite_frequency and (self.updates + 1) % self.ema_overwrite_frequency == 0:
            torch._foreach_copy_(params, averages)

    @torch.no_grad()
    def finalize_variable_values(self, params: Sequence[Tensor], slots: Slots | None = None) -> None:
        """Put the moving average in the place of the weights, if there is one; the end of a training.

        Args:
            params, slots: as in `apply`.
        """
        if not self.use_ema or self.calls == 0:
            return
        averages = (self.slots if slots is None else slots)["average"]
        if len(averages) != len(params):
            raise ValueError(
                f"{type(self).__name__}.finalize_variable_values: {len(params)} variables, but {len(averages)} averages.\n"
                "  expected  the variables that the optimizer was built with, all of them"
            )
        torch._foreach_copy_(list(params), averages)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Tensor | None, Tensor]]) -> int:
        """A step by pairs of (gradient, variable), as a custom training loop has them; gives `iterations`."""
        pairs = list(grads_and_vars)
        grads = [torch.as_tensor(grad, dtype=param.dtype) if isinstance(grad, np.ndarray) else grad for grad, param in pairs]
        params = [param for _, param in pairs]
        self.apply_to(params, grads)
        constrain(params)
        return self.calls

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Tensor | None], trainable_variables: Sequence[Any]
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """(weights, variables of the optimizer) after a step from these values; those of the optimizer itself stay as they are.

        Raises:
            ValueError: the optimizer is not built, or the values are not those of its variables.
        """
        if not self.built:
            raise ValueError(f"To call stateless_apply, {type(self).__name__} must be built (i.e. its variables must have been created).")
        twin = copy.deepcopy(self)
        twin.load_variables(optimizer_variables)
        params = [torch.as_tensor(value).detach().clone() for value in trainable_variables]
        twin.apply_to(params, grads)
        return params, [variable.clone() for variable in twin.variables]

    def clip(self, grads: list[Tensor]) -> list[Tensor]:
        """The gradients, one for each variable, no longer than the limits allow; new tensors where something is clipped."""
        if self.clipnorm is not None:
            return clip_each_norm(grads, self.clipnorm)
        if self.global_clipnorm is not None:
            return clip_global_norm(grads, self.global_clipnorm)
        return grads if self.clipvalue is None else clip_each_value(grads, self.clipvalue)

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None, var_names: Sequence[str] | None = None) -> None:
        """Do not decay these variables, nor those whose name contains one of `var_names` (regular expressions), such as `"bias"`.

        Raises:
            ValueError: the optimizer was built already.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay() comes before the optimizer is built: call it before fit().")
        self._excluded, self._excluded_names = list(var_list or []), list(var_names or [])

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the optimizer, in JSON types, at its present learning rate; its state is not part of it."""
        rate = self._learning_rate
        return {
            "name": self.name,
            "learning_rate": schedules.serialize(rate) if isinstance(rate, LearningRateSchedule) else self.current_learning_rate(),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        """The inverse of `get_config`; reads Keras's configs too. `custom_objects`: your own schedules, by class name."""
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = schedules.get(config["learning_rate"], custom_objects)
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self._learning_rate!r} iterations={self.iterations}>"


@torch.no_grad()
def constrain(weights: Iterable[Tensor]) -> None:
    """Weights of layers become what their constraints make of them, as after each update of a training."""
    for weight in weights:
        if isinstance(weight, Variable) and weight.constraint is not None:
            weight.copy_(weight.constraint(weight.detach()))
