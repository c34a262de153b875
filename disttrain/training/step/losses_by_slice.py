"""Is a loss of the script's own the same over a batch and over its slices? Tried on a few samples before the first step, and told."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from disttrain import losses
from disttrain.data.structure import map_structure, rows_in
from disttrain.layers.context import CallContext, call_context
from disttrain.losses import argument_order
from disttrain.losses.base import CalledAsInKeras
from disttrain.losses.divisors import Slice, within_slice
from disttrain.metrics import MeanMetricWrapper, Metric
from disttrain.training.compiled.loss import CompiledLoss
from disttrain.training.compiled.metrics import CompiledMetrics, Entry
from disttrain.training.step.asking import LabelMeans

SAMPLES = 8  # of so many is a loss tried: enough for pairs among those of one slice
_OF_A_SLICE = (losses.Circle, losses.Dice, losses.Tversky)  # ours that may be of what they see as a whole
_CLOSE = 1e-3  # relative: rounding is far below, a loss of another set of samples mostly far above


def wants_several(loss: CompiledLoss, metrics: CompiledMetrics | None) -> bool:
    """Is there a loss, or a function for a metric, of which nobody knows without trying?"""
    return any(_unknown(entry) for entry in _each(loss.given)) or (
        metrics is not None and any(callable(one) and not isinstance(one, Metric) and _unknown(one) for one in _each(metrics.functions))
    )


def _each(given: Any) -> Iterator[Any]:
    if isinstance(given, dict | list | tuple):
        for entry in given.values() if isinstance(given, dict) else given:
            yield from _each(entry)
    else:
        yield given


def tell_of_losses_by_slice(loss: CompiledLoss, metrics: CompiledMetrics | None, y: Any, y_pred: Any, slices: int) -> None:
    """Warn of losses, and of metrics that are functions, that are another number over a batch than over its slices.

    Such are those that compare the samples of a batch with each other.
    """
    rows = rows_in(y) if y is not None else 0
    if rows < 4 or loss.outputs is None:
        return
    names, several = loss.outputs.names, loss.outputs.count > 1
    targets, outputs = loss.outputs.aligned(y, "y", wanted=loss.wanted), loss.outputs.leaves(y_pred)
    tried = [(f"loss {getattr(one, 'name', type(one).__name__)!r}", number, one) for number, one in enumerate(loss.losses) if _unknown(one)]
    tried += [(f"metric {one.name!r}", one.output, _of_metric(one.metric)) for one in _functions(metrics)]
    for which, number, one in tried:
        if targets[number] is None:
            continue
        try:
            found = _both_ways(_unweighted(one), targets[number], outputs[number], rows)
        except Exception:  # an example is no batch: what fails for it may work for that, and else fails there
            continue
        if found is not None:
            _tell(which + (f" of output {names[number]!r}" if several else ""), found, rows, slices)


def tell_of_own_loss(model: Any, x: Any, y: Any, y_pred: Any, slices: int) -> None:
    """The same of a model's `compute_loss`; what that changes in buffers and metrics is undone."""
    rows = rows_in(y_pred)
    if rows < 4:
        return
    changed = [*model.buffers(), *(variable for metric in model.metrics for variable in metric.variables)]
    before = [tensor.detach().clone() for tensor in changed]
    try:
        found = _both_ways(lambda part, p, share: model.checked_loss(part[0], part[1], p, None, True), (x, y), y_pred, rows)
    except Exception:  # likewise
        return
    finally:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
    if found is not None:
        _tell(f"{type(model).__name__}.compute_loss", found, rows, slices)


def _unweighted(loss: Callable[..., Tensor]) -> Callable[[Any, Any, float], Tensor]:
    return lambda y, y_pred, share: loss(y, y_pred, None, share)


def _tell(which: str, found: tuple[float, float], rows: int, slices: int) -> None:
    whole, parts = found
    warnings.warn(
        f"{which} is no mean over samples: over {rows} of them it is {whole:.6g}, over the same cut in two {parts:.6g}.\n"
        f"  here      each batch is cut into {slices} slices, and what is computed is the mean of their numbers\n"
        "  try       one virtual worker, where samples of a whole batch are compared with each other; where it only divides by a\n"
        "            count of the batch: / disttrain.losses.batch_divisor(count)",
        stacklevel=6,
    )


def _functions(metrics: CompiledMetrics | None) -> list[Entry]:
    """The metrics that are functions of the script's own."""
    entries = () if metrics is None else metrics.entries
    return [entry for entry in entries if type(entry.metric) is MeanMetricWrapper and _unknown(entry.metric.fn)]


def _of_metric(metric: MeanMetricWrapper) -> Callable[..., Tensor]:
    return lambda y, y_pred, _, share: torch.as_tensor(metric.fn(y, y_pred)).double().mean()


def _unknown(loss: Any) -> bool:
    if loss is None or isinstance(loss, str):
        return isinstance(loss, str) and loss.lower() in ("circle", "dice", "tversky")
    loss = loss.called if isinstance(loss, CalledAsInKeras) else loss
    if isinstance(loss, _OF_A_SLICE):
        return True
    code = getattr(loss, "fn", loss)
    module = getattr(code, "__module__", None) or type(code).__module__
    return module == argument_order.__name__ or module.split(".")[0] not in ("disttrain", "torch", "builtins")


def _both_ways(value: Callable[[Any, Any, float], Tensor], y: Any, y_pred: Any, rows: int) -> tuple[float, float] | None:
    """(over all, over two unequal parts), where these differ and can be believed."""
    cut = rows - rows // 2 + (rows > 4)
    ranges = [(0, cut), (cut, rows)]
    whole = _together(value, y, y_pred, [(0, rows)], rows)
    again = _together(value, y, y_pred, [(0, rows)], rows, key=1)
    parts = _together(value, y, y_pred, ranges, rows)
    far = abs(whole - parts)
    if whole != again or not far < float("inf"):  # it draws, or says nothing of these samples
        return None
    return (whole, parts) if far > _CLOSE * max(abs(whole), abs(parts)) + 1e-6 else None


def _together(
    value: Callable[[Any, Any, float], Tensor], y: Any, y_pred: Any, ranges: list[tuple[int, int]], rows: int, key: int = 0
) -> float:
    """The sum over parts as the runtime makes it, counts of the whole of them included."""
    counts: list[list[Tensor]] = []
    for last in (False, True):  # first what each part counts, then the values
        total = 0.0
        for start, stop in ranges:
            seen: list[Tensor] = []

            def ask(count: Tensor, seen: list[Tensor] = seen, last: bool = last) -> Tensor:
                seen.append(count)
                return torch.stack([part[len(seen) - 1] for part in counts]).sum(0) if last else count

            share = (stop - start) / rows
            piece = [map_structure(operator.itemgetter(slice(start, stop)), part) for part in (y, y_pred)]
            with torch.no_grad(), ExitStack() as within:
                within.enter_context(call_context(CallContext(training=True, key=key, slice_fraction=share, rows=(start, stop, rows))))
                within.enter_context(within_slice(Slice(ask, share)))
                within.enter_context(LabelMeans())
                total += float(value(piece[0], piece[1], share)) * share
            if not last:
                counts.append(seen)
        if not last and not any(counts):
            break
    return total
