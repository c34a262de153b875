"""Do the targets or the outputs come first? Keras hands a function (y_true, y_pred), torch's losses take (input, target)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_OUTPUT_WORDS = frozenset(
    {
        "input",
        "inputs",
        "log_input",
        "logit",
        "logits",
        "output",
        "outputs",
        "pred",
        "preds",
        "predicted",
        "prediction",
        "predictions",
        "scores",
        "y_hat",
        "y_pred",
        "yhat",
        "ypred",
    }
)
_TARGET_WORDS = frozenset(["gt", "ground_truth", "label", "labels", "target", "targets", "true", "truth", "y_true", "ytrue"])


def targets_first(thing: Any) -> Callable[[Any, Any], Any]:
    """A function or module of the script's own as one of (y_true, y_pred).

    A function is called as in Keras. A module's `forward` takes the outputs first, as torch's do, unless its parameters say otherwise.

    Raises:
        ValueError: a function whose parameters say that the outputs come first, a module whose parameters say nothing, or that has
            weights of its own.
    """
    first, second = _first_two(thing.forward if isinstance(thing, nn.Module) else thing)
    says_outputs = first in _OUTPUT_WORDS and second in _TARGET_WORDS
    says_targets = first in _TARGET_WORDS and second in _OUTPUT_WORDS
    described = type(thing).__name__ if isinstance(thing, nn.Module) else getattr(thing, "__name__", type(thing).__name__)
    if not isinstance(thing, nn.Module):
        if says_outputs:
            raise ValueError(
                f"loss={described}({first}, {second}): a function is called with (y_true, y_pred), as in Keras; this has the other order.\n"
                f"  try       loss=lambda y_true, y_pred: {described}(y_pred, y_true)"
            )
        return thing  # type: ignore[no-any-return]
    if any(param.requires_grad for param in thing.parameters()):
        raise ValueError(
            f"loss={described}: the module has weights of its own, which training would leave as they are.\n"
            "  try       an attribute of the model, called in compute_loss(self, x, y, y_pred, ...)"
        )
    if says_targets:
        return thing
    if not says_outputs and not isinstance(thing, nn.modules.loss._Loss):
        raise ValueError(
            f"loss={described}: do outputs or targets come first in forward({first}, {second})? Keras and torch differ in that.\n"
            f"  try       loss=lambda y_true, y_pred: module(y_pred, y_true)"
        )
    return OutputsFirst(thing)


class OutputsFirst:
    """A module that takes outputs first, as a function of (y_true, y_pred).

    Attributes:
        reduction: the module's, where it has one.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.reduction = getattr(module, "reduction", None)
        self.__name__ = type(module).__name__

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        if any(buffer.device != y_pred.device for buffer in self.module.buffers()):
            self.module.to(y_pred.device)
        return self.module(y_pred, y_true)


def _first_two(function: Any) -> tuple[str, str]:
    """The names of the first two parameters; empty where they cannot be known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return "", ""
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first, second, *_ = [*names, "", ""]
    return first.lower(), second.lower()
