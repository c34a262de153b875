"""What every optimizer does: clip, decay, update, count. A subclass brings the update rule and the names of its slots."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.schedules import LearningRateSchedule
from disttrain.optimizers.schedules import get as get_schedule

# Arguments of Keras's optimizers that exist here only in the value that changes nothing, so that Keras's configs can be read.
_ONLY_DEFAULT: dict[str, tuple[Any, ...]] = {
    "use_ema": (False,),
    "ema_momentum": (0.99,),
    "ema_overwrite_frequency": (None,),
    "loss_scale_factor": (None,),
    "gradient_accumulation_steps": (None,),
}
_COMMON = ("learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "name")

Slots = dict[str, list[Tensor]]


class Optimizer:
    """Base class.

    Args:
        learning_rate: a number, a `LearningRateSchedule` of the step, or a function without arguments.
        weight_decay: decoupled: `w -= w * weight_decay * learning_rate` before each update, never added to the gradient.
        clipnorm: longest gradient of a single variable (Euclidean norm).
        clipvalue: largest entry of a gradient, by size.
        global_clipnorm: longest gradient of all variables together. One kind of clipping only.
        name: in configs.

    Attributes:
        slot_names: the state kept for each variable, such as `("momentum", "velocity")`.
        elementwise: the rule treats every number alike, so variables may be handed over as one flat tensor.
        slots: after `build`, for each slot name a tensor for each variable.
        iterations: updates made so far; the schedule's step.
    """

    slot_names: tuple[str, ...] = ()
    elementwise: bool = True

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[[], float],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        self._refuse(unknown)
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {key: value for key, value in limits.items() if value is not None}
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in given.items())}): expected one kind of clipping at most."
            )
        for key, value in given.items():
            if not value > 0:
                raise ValueError(f"{type(self).__name__}({key}={value!r}): expected a number above 0, or None not to clip.")
        self.name = name or type(self).__name__.lower()
        self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm = weight_decay, clipnorm, clipvalue, global_clipnorm
        self._learning_rate = self._checked_rate(learning_rate)
        self.iterations = 0
        self.built = False
        self.slots: Slots = {}
        self._excluded: list[Tensor] = []
        self._excluded_names: list[str] = []
        self._names: list[str] | None = None

    # -- the rule, for subclasses ---------------------------------------------------------------------------------------------------

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        """The value of a slot before the first update."""
        return torch.zeros_like(param, memory_format=torch.contiguous_format)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        """The bare rule, in place: change `params` and `slots` by `grads`.

        Args:
            params, grads, slots: lists of equal length; any arrangement of the variables for an elementwise rule.
            step: updates before this one, 0 first.
            learning_rate: that of this step.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(self, params, grads, slots, step, learning_rate).")

    # -- the learning rate ----------------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The rate of the next update. Settable, unless it follows a schedule (TypeError)."""
        return self.current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule | Callable[[], float]) -> None:
        if self.has_schedule and not isinstance(value, LearningRateSchedule):
            raise TypeError(
                f"learning_rate={value!r}: this optimizer follows {type(self._learning_rate).__name__}, a schedule of the step.\n"
                "  try       an optimizer made with a number as its learning_rate, if callbacks are to change it"
            )
        self._learning_rate = self._checked_rate(value)

    @property
    def has_schedule(self) -> bool:
        """Is the learning rate a function of the step?"""
        return isinstance(self._learning_rate, LearningRateSchedule)

    def current_learning_rate(self) -> float:
        """The rate of the next update."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            return float(rate(self.iterations))
        return float(rate()) if callable(rate) else rate

    # -- state ----------------------------------------------------------------------------------------------------------------------

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        """Make the slots of `params` afresh; `iterations` stays. `names` are needed only to exclude variables from weight decay by name."""
        self.slots = {slot: [self.initial_slot(slot, param.detach()) for param in params] for slot in self.slot_names}
        self._names = None if names is None else list(names)
        self.built = True

    def named_slots(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The slots as `{"<slot>/<variable>": tensor}`, the tensors themselves, for variables called `names` in the order of `build`."""
        return {f"{slot}/{name}": tensor for slot, tensors in self.slots.items() for name, tensor in zip(names, tensors, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the slots, in JSON types; the learning rate is None where it is computed."""
        rate = self._learning_rate
        return {"iterations": self.iterations, "learning_rate": rate if isinstance(rate, float) else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.iterations = int(state["iterations"])
        if state.get("learning_rate") is not None and isinstance(self._learning_rate, float):
            self._learning_rate = float(state["learning_rate"])

    # -- one update -----------------------------------------------------------------------------------------------------------------

    @property
    def needs_variables(self) -> bool:
        """Must `apply` be given the variables one by one, because it treats them differently? Else one flat tensor will do."""
        return self.clipnorm is not None or self.global_clipnorm is not None or bool(self._excluded or self._excluded_names)

    @torch.no_grad()
    def apply(self, params: Sequence[Tensor], grads: Sequence[Tensor | None], slots: Slots | None = None) -> None:
        """Clip, decay the weights, update, count.

        Args:
            params: the variables of `build`, in its order, or the same numbers arranged otherwise if nothing `needs_variables`.
            grads: their gradients; variables with None are left alone.
            slots: the slots in the arrangement of `params`; the optimizer's own unless given.
        """
        params = list(params)
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
        decays = self._decays(params)
        if any(grad is None for grad in grads):
            present = [number for number, grad in enumerate(grads) if grad is not None]
            if not present:
                raise ValueError(
                    f"{type(self).__name__}.apply: no variable has a gradient.\n  expected  a loss that depends on the weights"
                )
            params = [params[number] for number in present]
            decays = [decays[number] for number in present]
            slots = {slot: [tensors[number] for number in present] for slot, tensors in slots.items()}
        rate = self.current_learning_rate()
        clipped = self.clip([grad for grad in grads if grad is not None])
        if self.weight_decay and (decayed := [param for param, decay in zip(params, decays, strict=True) if decay]):
            torch._foreach_mul_(decayed, 1.0 - self.weight_decay * rate)
        self.update(params, clipped, slots, self.iterations, rate)
        self.iterations += 1

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Tensor | None, Tensor]]) -> None:
        """`apply` on pairs of (gradient, variable), as a custom training loop has them."""
        pairs = list(grads_and_vars)
        self.apply([param for _, param in pairs], [grad for grad, _ in pairs])

    def clip(self, grads: list[Tensor]) -> list[Tensor]:
        """The gradients, one for each variable, no longer than the limits allow; new tensors where something is clipped."""
        if not grads:
            return grads
        if self.clipvalue is not None:
            return [grad.clamp(-self.clipvalue, self.clipvalue) for grad in grads]
        if self.clipnorm is not None:
            scales = self.clipnorm / torch.stack(torch._foreach_norm(grads)).clamp(min=self.clipnorm)
            return [grad * scale for grad, scale in zip(grads, scales.unbind(), strict=True)]
        if self.global_clipnorm is not None:
            # NaN and infinity stay visible: NaN passes through clamp, and infinity times a scale of 0 is NaN
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            scale = self.global_clipnorm / norm.clamp(min=self.global_clipnorm)
            return [grad * scale for grad in grads]
        return grads

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None, var_names: Sequence[str] | None = None) -> None:
        """Do not decay these variables, nor those whose name contains one of `var_names` (regular expressions), such as `"bias"`.

        Raises:
            ValueError: the optimizer was built already.
        """
        if self.built:
            raise ValueError("exclude_from_weight_decay() comes before the optimizer is built: call it before fit().")
        self._excluded, self._excluded_names = list(var_list or []), list(var_names or [])

    def _decays(self, params: list[Tensor]) -> list[bool]:
        """Whether each variable is decayed."""
        if not self.weight_decay or not (self._excluded or self._excluded_names):
            return [True] * len(params)
        names = self._names if self._names is not None else [str(getattr(param, "name", None) or "") for param in params]
        if self._excluded_names and not all(names):
            raise ValueError(
                f"exclude_from_weight_decay(var_names={self._excluded_names}): the variables have no names.\n"
                "  try       build(params, names), or exclude_from_weight_decay(var_list=[...])"
            )
        pattern = re.compile("|".join(self._excluded_names)) if self._excluded_names else None
        return [
            not any(param is other for other in self._excluded) and not (pattern is not None and pattern.search(name))
            for param, name in zip(params, names, strict=True)
        ]

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the optimizer, in JSON types, at its present learning rate; the slots are not part of it."""
        rate = self._learning_rate
        written: Any = self.current_learning_rate()
        if isinstance(rate, LearningRateSchedule):  # in the words of a `.keras` file
            written = {
                "module": "keras.optimizers.schedules",
                "class_name": type(rate).__name__,
                "config": rate.get_config(),
                "registered_name": None,
            }
        return {
            "name": self.name,
            "learning_rate": written,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """The inverse of `get_config`; reads Keras's configs too."""
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = get_schedule(config["learning_rate"])
        return cls(**config)

    def _checked_rate(self, rate: Any) -> float | LearningRateSchedule | Callable[[], float]:
        if isinstance(rate, LearningRateSchedule):
            return rate
        if isinstance(rate, Tensor) or hasattr(rate, "item"):  # a NumPy number or a tensor of one
            rate = rate.item()
        if isinstance(rate, int | float) and not isinstance(rate, bool):
            if not (rate >= 0 and math.isfinite(rate)):
                raise ValueError(f"{type(self).__name__}(learning_rate={rate!r}): expected a finite number, 0 or more.")
            return float(rate)
        if callable(rate):
            function: Callable[[], float] = rate
            return function
        raise ValueError(
            f"{type(self).__name__}(learning_rate={rate!r}): expected a number, a LearningRateSchedule or a function without arguments."
        )

    def _refuse(self, unknown: dict[str, Any]) -> None:
        for key, value in unknown.items():
            if key in _ONLY_DEFAULT:
                if value in _ONLY_DEFAULT[key] or key == "ema_momentum":
                    continue
                raise ValueError(
                    f"{type(self).__name__}({key}={value!r}): not supported; expected {_ONLY_DEFAULT[key][0]!r}, or leave it out."
                )
            own = [name for name in inspect.signature(type(self).__init__).parameters if name not in ("self", "unknown", "common")]
            names = list(dict.fromkeys([*own, *_COMMON]))
            nearest = difflib.get_close_matches(key, names, n=len(names), cutoff=0.0)
            raise ValueError(
                f"{type(self).__name__}({key}={value!r}): no such argument.\n  expected  one of {', '.join(nearest)}, nearest first"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self._learning_rate!r} iterations={self.iterations}>"


def fused(params: list[Tensor]) -> bool:
    """Can torch's fused kernels take these? They read and write each number once, where plain operations go over memory again and again."""
    return all(param.device.type in ("cpu", "cuda") and param.is_floating_point() for param in params)
