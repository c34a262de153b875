"""Learning rates that a step of the script's own sets itself: numbers of optimizers, which all slices and workers must hold alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.errors import UsageError
from disttrain.optimizers.plain_values import like
from disttrain.optimizers.torch_optimizer import TorchOptimizer


class Rates:
    """The settings of torch's parameter groups that are numbers, and the learning rates of optimizers of ours.

    Args:
        optimizers: by the attribute of the model that holds them.
    """

    def __init__(self, optimizers: dict[str, Any]) -> None:
        self._owners: list[tuple[str, Any, str]] = []
        for name, optimizer in optimizers.items():
            if isinstance(optimizer, TorchOptimizer):
                for number, group in enumerate(optimizer.torch_optimizer.param_groups):
                    self._owners += [
                        (f"self.{name}.param_groups[{number}][{key!r}]", group, key) for key in group if _is_number(group[key])
                    ]
            elif isinstance(getattr(optimizer, "_learning_rate", None), float):
                self._owners.append((f"self.{name}.learning_rate", optimizer, "_learning_rate"))

    def __len__(self) -> int:
        return len(self._owners)

    def values(self) -> list[float]:
        """All of them."""
        return [float(owner[key] if isinstance(owner, dict) else getattr(owner, key)) for _, owner, key in self._owners]

    def set(self, values: Sequence[float]) -> None:
        """Give them these values."""
        for (_, owner, key), value, now in zip(self._owners, values, self.values(), strict=True):
            if value == now:
                continue
            if isinstance(owner, dict):
                owner[key] = like(owner[key], value)
            else:
                setattr(owner, key, value)

    def write(self, target: Tensor, values: Sequence[float], *, first: bool) -> None:
        """Into `target`, a vector of float64, what the first slice holds; and what each holds, to tell whether they differ."""
        target.copy_(target.new_tensor([*(values if first else [0.0] * len(values)), *values]))

    def read(self, source: Tensor, slices: int) -> None:
        """They become what the slices hold.

        Raises:
            UsageError: the slices hold different ones.
        """
        numbers = source.tolist()
        values, totals = numbers[: len(self)], numbers[len(self) :]
        for (name, _, _), value, total in zip(self._owners, values, totals, strict=True):
            if abs(total - value * slices) > 1e-9 * abs(value) * slices:
                raise UsageError(
                    f"the step set {name} differently for different slices of one batch.\n"
                    "  expected  the same for all of them, such as a function of self.optimizer.iterations\n"
                    "  try       a scheduler with step(value), which is given the mean over the slices; or a callback"
                )
        self.set(values)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1))
