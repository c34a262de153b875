"""Dynamic loss scaling, for training in float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number, refuse_unknown, whole_number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.keras_variables import Entry
from disttrain.optimizers.learning_rate import LearningRate
from disttrain.optimizers.live_numbers import Rate
from disttrain.optimizers.registry import deserialize, serialize

_INNERS = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


class LossScaleOptimizer(Optimizer):
    """Another optimizer, on gradients of a loss that is multiplied so that small ones do not vanish in float16.

    `scale_loss` multiplies by `dynamic_scale` and `apply` divides by it. Where a gradient is NaN or infinite the scale is halved and the
    step skipped: weights, slots and `iterations` stay. After `dynamic_growth_steps` good steps in a row the scale is doubled. The slots
    are those of the inner optimizer; the scale and the count of good steps are part of `state_dict`.

    State, as Keras orders it: its own `iteration` and `learning_rate` (both unused, 0), `step_counter`, `dynamic_scale`, then the
    variables of the inner optimizer.

    Args:
        inner_optimizer: the rule; its own `loss_scale_factor` is switched off.
        initial_scale: where the scale starts, above 0.
        dynamic_growth_steps: good steps until the scale is doubled, 1 or more.
        name: in configs.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        if not isinstance(inner_optimizer, Optimizer) or isinstance(inner_optimizer, LossScaleOptimizer):
            raise ValueError(f"LossScaleOptimizer(inner_optimizer={inner_optimizer!r}): expected one of the other optimizers.")
        defaults = {"use_ema": False, "ema_momentum": 0.99, "dynamic": True}  # what older configs hold, without effect
        for key in (*_INNERS, "dynamic"):
            if unknown.pop(key, defaults.get(key)) != defaults.get(key):
                instead = "loss_scale_factor" if key == "dynamic" else key
                raise ValueError(
                    f"LossScaleOptimizer does not support `{key}`: not an argument of its own.\n"
                    f"  try       set `{instead}` on the `inner_optimizer`{', and no wrapper' if key == 'dynamic' else ''}"
                )
        if unknown and "decay" not in unknown:
            raise ValueError(
                f"LossScaleOptimizer does not support arguments: `{'`, `'.join(unknown)}`: no such argument.\n"
                "  expected  inner_optimizer, initial_scale, dynamic_growth_steps, name"
            )
        refuse_unknown(self, unknown)
        # Not super().__init__(): all that it sets up is the inner optimizer's.
        self.inner_optimizer = inner_optimizer
        inner_optimizer.loss_scale_factor = None
        self.name = name or "loss_scale_optimizer"
        self.initial_scale = number(self, "initial_scale", initial_scale, "(0, inf)")
        self.dynamic_growth_steps = whole_number(self, "dynamic_growth_steps", dynamic_growth_steps, 1)
        self.dynamic_scale, self.step_counter = self.initial_scale, 0
        self.elementwise, self.slot_names = inner_optimizer.elementwise, inner_optimizer.slot_names

    # -- what is asked of the inner optimizer ---------------------------------------------------------------------------------------

    @property  # type: ignore[misc]
    def slots(self) -> Slots:  # type: ignore[override]
        """The slots of the inner optimizer."""
        return self.inner_optimizer.slots

    @property
    def built(self) -> bool:  # type: ignore[override]
        """Has the inner optimizer its slots?"""
        return self.inner_optimizer.built

    @property
    def calls(self) -> int:
        """Steps of the inner optimizer: those that were skipped do not count."""
        return self.inner_optimizer.calls

    @calls.setter
    def calls(self, value: int) -> None:
        self.inner_optimizer.calls = value

    @property
    def updates(self) -> int:
        return self.inner_optimizer.updates

    @property
    def needs_variables(self) -> bool:
        return self.inner_optimizer.needs_variables

    @property
    def learning_rate(self) -> Rate:
        """That of the inner optimizer, settable as there."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def has_schedule(self) -> bool:
        return self.inner_optimizer.has_schedule

    def current_learning_rate(self) -> float:
        return self.inner_optimizer.current_learning_rate()

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        self.inner_optimizer.build(params, names)

    def finalize_variable_values(self, params: Sequence[Tensor], slots: Slots | None = None) -> None:
        self.inner_optimizer.finalize_variable_values(params, slots)

    def exclude_from_weight_decay(self, var_list: Sequence[Tensor] | None = None, var_names: Sequence[str] | None = None) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    # -- scaling --------------------------------------------------------------------------------------------------------------------

    def scale_loss(self, loss: Any) -> Any:
        return loss * self.dynamic_scale

    @torch.no_grad()
    def apply_to(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        slots: Slots | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """As `Optimizer.apply_to`, for gradients of the scaled loss; or, where one of them is not finite, no step and half the scale."""
        if not self.built and slots is None:
            self.build(params)
        present = [grad for grad in grads if grad is not None]
        largest = torch.stack([norm.float() for norm in torch._foreach_norm(present, float("inf"))]) if present else torch.zeros(1)
        if not bool(torch.isfinite(largest).all()):
            self.step_counter, self.dynamic_scale = 0, self.dynamic_scale * 0.5
            return
        unscaled = iter(torch._foreach_div(present, self.dynamic_scale) if present else ())
        self.inner_optimizer.apply_to(params, [None if grad is None else next(unscaled) for grad in grads], slots, numbers)
        self.step_counter += 1
        if self.step_counter == self.dynamic_growth_steps:
            self.step_counter, self.dynamic_scale = 0, self.dynamic_scale * 2.0

    # -- state and configuration ----------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        inner = self.inner_optimizer.entries()
        counter, scale = torch.tensor(self.step_counter, dtype=torch.int32), torch.tensor(self.dynamic_scale, dtype=torch.float32)
        return [
            Entry("iteration", torch.zeros((), dtype=torch.int32), lambda value: None),
            Entry("learning_rate", torch.zeros(()), lambda value: None),
            Entry("step_counter", counter, lambda value: setattr(self, "step_counter", int(value))),
            Entry("dynamic_scale", scale, lambda value: setattr(self, "dynamic_scale", float(value))),
            *(Entry(f"inner_{entry.name}" if "/" not in entry.name else entry.name, entry.value, entry.write) for entry in inner),
        ]

    def state_dict(self) -> dict[str, Any]:
        own = {"dynamic_scale": self.dynamic_scale, "step_counter": self.step_counter}
        return {**self.inner_optimizer.state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner_optimizer.load_state_dict(state)
        self.dynamic_scale, self.step_counter = float(state["dynamic_scale"]), int(state["step_counter"])

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": serialize(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        config = dict(config)
        if isinstance(config.get("inner_optimizer"), dict):
            config["inner_optimizer"] = deserialize(config["inner_optimizer"], custom_objects)
        return cls(**config)

    def __repr__(self) -> str:
        return f"<LossScaleOptimizer dynamic_scale={self.dynamic_scale} inner_optimizer={self.inner_optimizer!r}>"
