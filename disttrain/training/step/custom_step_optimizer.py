"""What `self.optimizer` is inside a `train_step` of the script's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from disttrain.errors import UsageError
from disttrain.optimizers.live_numbers import Count, Rate


class StepOptimizer:
    """Keras's optimizer as a step sees it: `apply(grads, trainable_variables)`, gradients first.

    The step runs once for each slice of the batch. What it applies are the gradients of its slice; the update is carried out once, with
    the sum over all slices, before `apply` returns. So the step may go on with the new weights.

    Args:
        name: the attribute of the model that holds it.
        optimizer: the real one; whatever is not here is asked of it.
        apply: takes (name, gradients, variables).
    """

    def __init__(self, name: str, optimizer: Any, apply: Callable[[str, list[Any], list[Any] | None], None]) -> None:
        self.__dict__.update(_name=name, _optimizer=optimizer, _apply=apply)

    def apply(self, grads: Sequence[Tensor | None], trainable_variables: Sequence[Tensor] | None = None) -> None:
        """Update `trainable_variables`, all that the optimizer has unless given, by their gradients."""
        self._apply(self._name, list(grads), None if trainable_variables is None else list(trainable_variables))

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Tensor | None, Tensor]]) -> None:
        """`apply` on pairs of (gradient, variable)."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])

    def minimize(self, loss: Any, *unused: Any, **also_unused: Any) -> None:
        """Not here: torch has no tape."""
        raise UsageError("optimizer.minimize() is not available.\n  try  loss.backward(), then optimizer.apply(grads, variables)")

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss as its gradient is to be taken."""
        scale = getattr(self._optimizer, "scale_loss", None)
        scaled: Tensor = loss if scale is None else scale(loss)
        return scaled

    def build(self, variables: Sequence[Tensor]) -> None:
        """Nothing: the runtime builds the optimizer for the variables that the step applies it to."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._optimizer, name)
        return type(found)(self) if isinstance(found, Count | Rate) else found  # what is assigned to those comes by here

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "iterations":
            raise UsageError(
                "optimizer.iterations counts the steps; a step that sets it would do so once for each slice of the batch.\n"
                "  try  set it in a callback, or before fit()"
            )
        setattr(self._optimizer, name, value)
