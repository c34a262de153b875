"""Metrics that the script wrote: do their states add up, and does all that they keep lie in them? Tried on an example, before any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.errors import UsageError
from disttrain.metrics import Metric
from disttrain.training.compiled.loss import single_precision
from disttrain.training.compiled.metrics import CompiledMetrics
from disttrain.training.compiled.outputs import Outputs

_OURS = ("disttrain", "torch", "torchmetrics")


def is_own(metric: Any) -> bool:
    """Is it a metric whose class the script wrote?"""
    return isinstance(metric, Metric) and type(metric).__module__.split(".")[0] not in _OURS


def check_own_metrics(compiled: CompiledMetrics, y: Any, y_pred: Any, *, in_parts: bool) -> None:
    """Try the script's own metrics on an example; their states are as before then.

    Args:
        in_parts: are the states of slices, or of steps on several workers, added up?

    Raises:
        UsageError: `update_state` changes an attribute that is no variable; or, `in_parts`, a variable that is no sum over batches.
    """
    outputs: Outputs | None = compiled.outputs
    if outputs is None or y is None:
        return
    try:
        targets, predictions = outputs.aligned(y, "y"), outputs.leaves(y_pred)
    except Exception:  # told where it is trained
        return
    for entry in compiled.entries:
        if is_own(entry.metric) and targets[entry.output] is not None:
            _check(entry.metric, targets[entry.output], single_precision(predictions[entry.output]), in_parts)


def _check(metric: Metric, y: Any, y_pred: Any, in_parts: bool) -> None:
    before = [variable.detach().clone() for variable in metric.variables]
    back = _kept(metric)
    other = y_pred * 0.5 if isinstance(y_pred, Tensor) and y_pred.is_floating_point() else y_pred
    try:
        with torch.no_grad():
            metric.reset_state()
            starts = [variable.name for variable in metric.variables if bool((variable != 0).any())]
            alone, seen = _states(metric, [(y, y_pred)]), _plain(metric)
            of_other = _states(metric, [(y, other)])
            together = _states(metric, [(y, y_pred), (y, y_pred), (y, other)])
            now = _plain(metric)
    except Exception:  # an example is no batch: what fails for it may work for that, and else fails there
        return
    finally:
        back()
        for variable, value in zip(metric.variables, before, strict=False):
            variable.copy_(value)
    described = f"metric {metric.name!r}: {type(metric).__name__}"
    moved = sorted(name for name, value in now.items() if name in seen and seen[name] != value)
    if moved:
        raise UsageError(
            f"{described}.update_state keeps something in self.{moved[0]}, which is no variable: no worker sends it to the others.\n"
            "  expected  sums in variables: self.total = self.add_weight(name='total'), self.total.assign_add(...)\n"
            "  try       for values of every sample, a torchmetrics.Metric with add_state(name, default=[], dist_reduce_fx='cat')"
        )
    if starts:
        raise UsageError(
            f"{described}.reset_state sets its variable {starts[0]!r} to another number than 0, which every slice would add.\n"
            "  expected  variables that are sums and start at 0\n"
            "  try       for a largest or smallest value, a torchmetrics.Metric with add_state(..., dist_reduce_fx='max')"
        )
    wrong = [
        variable.name
        for variable, one, another, sum_ in zip(metric.variables, alone, of_other, together, strict=True)
        if not torch.allclose(2 * one + another, sum_, rtol=1e-5, atol=1e-9, equal_nan=True)
    ]
    if in_parts and wrong:
        raise UsageError(
            f"{described}.update_state does not add to its variable {wrong[0]!r}, and the states of slices and workers are added up.\n"
            "  expected  variables that each batch adds to, assign_add(...), and a result made from the sums\n"
            "  try       for a largest or smallest value, a torchmetrics.Metric with add_state(..., dist_reduce_fx='max')"
        )


def _states(metric: Metric, batches: Sequence[tuple[Any, Any]]) -> list[Tensor]:
    for variable in metric.variables:
        variable.zero_()
    for y, y_pred in batches:
        metric.update_state(y, y_pred)
    return [variable.detach().as_subclass(Tensor).clone() for variable in metric.variables]


def _kept(metric: Metric) -> Callable[[], None]:
    """What puts the attributes back to how they are now, collections of them included."""
    values = dict(vars(metric))
    items = {name: value.copy() for name, value in values.items() if type(value) in (list, dict, set)}

    def back() -> None:
        vars(metric).clear()
        vars(metric).update(values)
        for name, kept in items.items():
            values[name].clear()
            (values[name].extend if isinstance(kept, list) else values[name].update)(kept)

    return back


def _plain(metric: Metric) -> dict[str, Any]:
    """What tells whether an attribute changed: numbers as they are, collections by how much they hold."""
    return {
        name: len(value) if isinstance(value, list | dict | set) else value
        for name, value in vars(metric).items()
        if isinstance(value, list | dict | set | int | float | str)
    }
