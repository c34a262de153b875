"""torch's own losses as torch means them: the outputs first, then the targets; as values, with what each counts in torch's mean.

Known are the classes of `torch.nn` and the functions of `torch.nn.functional`, also with keywords bound by `functools.partial`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disttrain import bounds
from disttrain.errors import DataError

NO_LABEL = torch.iinfo(torch.int64).min  # as `ignore_index`: every label counts, so that a mean is one over samples

# By the function: what its targets are like.
VALUES, CLASSES, LABELS, LABEL_LISTS = "values", "classes", "labels", "label lists"
_TARGETS: dict[str, str] = {
    "binary_cross_entropy": VALUES,
    "binary_cross_entropy_with_logits": VALUES,
    "cross_entropy": CLASSES,
    "hinge_embedding_loss": VALUES,
    "huber_loss": VALUES,
    "kl_div": VALUES,
    "l1_loss": VALUES,
    "mse_loss": VALUES,
    "multi_margin_loss": LABELS,
    "multilabel_margin_loss": LABEL_LISTS,
    "multilabel_soft_margin_loss": VALUES,
    "nll_loss": CLASSES,
    "poisson_nll_loss": VALUES,
    "smooth_l1_loss": VALUES,
    "soft_margin_loss": VALUES,
}
_FUNCTION_OF: dict[str, str] = {
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "CrossEntropyLoss": "cross_entropy",
    "HingeEmbeddingLoss": "hinge_embedding_loss",
    "HuberLoss": "huber_loss",
    "KLDivLoss": "kl_div",
    "L1Loss": "l1_loss",
    "MSELoss": "mse_loss",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "NLLLoss": "nll_loss",
    "NLLLoss2d": "nll_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "SoftMarginLoss": "soft_margin_loss",
}
_OF_MORE_TENSORS: dict[str, str] = {  # what they want beside or instead of outputs and targets
    "AdaptiveLogSoftmaxWithLoss": "the inputs of a last layer, whose weights it holds",
    "CTCLoss": "the lengths of inputs and targets",
    "CosineEmbeddingLoss": "two inputs",
    "GaussianNLLLoss": "a variance",
    "LinearCrossEntropyLoss": "the inputs of a last layer, whose weights it holds",
    "MarginRankingLoss": "two inputs",
    "TripletMarginLoss": "an anchor, a positive and a negative",
    "TripletMarginWithDistanceLoss": "an anchor, a positive and a negative",
    "cosine_embedding_loss": "two inputs",
    "ctc_loss": "the lengths of inputs and targets",
    "gaussian_nll_loss": "a variance",
    "linear_cross_entropy": "the weights of a last layer",
    "margin_ranking_loss": "two inputs",
    "triplet_margin_loss": "an anchor, a positive and a negative",
    "triplet_margin_with_distance_loss": "an anchor, a positive and a negative",
}


class TorchLoss:
    """One of torch's losses.

    Args:
        loss: a module, or a function.
        arguments: keywords of the function.

    Attributes:
        name: that of the function.
        reduction: torch's: "mean", "sum", "none" or "batchmean".
        counts: does torch's mean divide by something that only the targets tell: the weights of their classes, those not ignored?
    """

    def __init__(self, loss: Any, arguments: dict[str, Any] | None = None) -> None:
        arguments = dict(arguments or {})
        described = type(loss).__name__ if isinstance(loss, nn.Module) else loss.__name__
        self.name = _FUNCTION_OF.get(described, described)
        self.targets = _TARGETS[self.name]
        if arguments.keys() & {"size_average", "reduce"}:
            raise ValueError(
                f"loss={described} with size_average or reduce: torch has given them up.\n  try       reduction='mean' or 'sum'"
            )
        self._loss, self._arguments = loss, arguments
        self.reduction: str = self._setting("reduction", "mean")
        if self.reduction not in ("mean", "sum", "none", "batchmean"):
            raise ValueError(f"loss={described}(reduction={self.reduction!r}): expected 'mean', 'sum' or 'none'.")
        self.ignore_index = int(self._setting("ignore_index", -100))
        self.counts = self.targets == CLASSES and self.reduction == "mean"
        if isinstance(loss, nn.Module):
            self._each: Any = copy.copy(loss)  # shares the weights
            vars(self._each)["reduction"] = "none"
        self._check_weights(described)

    def _setting(self, name: str, default: Any = None) -> Any:
        return getattr(self._loss, name, default) if isinstance(self._loss, nn.Module) else self._arguments.get(name, default)

    def _check_weights(self, described: str) -> None:
        weight = self._setting("weight")
        if self.name.startswith("binary_cross_entropy") and isinstance(weight, Tensor) and weight.ndim > 1 and weight.shape[0] > 1:
            raise ValueError(
                f"loss={described} with a weight of shape {tuple(weight.shape)}: its first axis is that of a batch, which may be cut.\n"
                "  try       fit(sample_weight=...), or a weight of one axis for the outputs"
            )

    @property
    def weighs(self) -> bool:
        """Has each class a weight?"""
        return self._setting("weight") is not None

    def fitted(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """The targets in the shape and dtype that torch wants beside `y_pred`.

        Raises:
            DataError: shapes that do not fit. torch would broadcast `(n,)` against `(n, 1)` to `(n, n)`.
        """
        target = torch.as_tensor(y_true, device=y_pred.device)
        if self.targets == LABELS or self.targets == CLASSES:
            rows = y_pred.shape[:1] + y_pred.shape[2:] if y_pred.ndim > 1 else y_pred.shape[:0]
            several = y_pred.ndim > 1 and y_pred.shape[1] > 1
            if target.ndim == y_pred.ndim > 1 and target.shape[1] == 1 and several:
                target = target.squeeze(1)  # labels as a column
            if self.name == "cross_entropy" and target.shape == y_pred.shape:
                return target.to(y_pred.dtype)  # probabilities
            if target.shape != rows:
                raise self._mismatch(target, y_pred, f"labels {tuple(rows)}: torch's classes are axis 1 of the outputs")
            return target.long()
        if target.shape != y_pred.shape:
            if target.shape == (*y_pred.shape, 1) or (*target.shape, 1) == y_pred.shape:
                target = target.reshape(y_pred.shape)
            else:
                raise self._mismatch(target, y_pred, "equal shapes, but for a last axis of size 1")
        return target.long() if self.targets == LABEL_LISTS else target.to(y_pred.dtype)

    def _mismatch(self, target: Tensor, y_pred: Tensor, expected: str) -> DataError:
        shapes = f"the targets have shape {tuple(target.shape)}, the outputs {tuple(y_pred.shape)}"
        return DataError(f"torch's {self.name}: {shapes}.\n  expected  {expected}")

    def reduced(self, target: Tensor, y_pred: Tensor) -> Tensor:
        """What torch gives, by the reduction asked for; `target` as `fitted` gives it."""
        return self._call(self._loss, self.reduction, target, y_pred)

    def values(self, target: Tensor, y_pred: Tensor) -> Tensor:
        """The value of each sample, or each output, or each label."""
        return self._call(self._each if isinstance(self._loss, nn.Module) else self._loss, "none", target, y_pred)

    def _call(self, loss: Any, reduction: str, target: Tensor, y_pred: Tensor) -> Tensor:
        if bounds.guarded(target.device) and self.targets in (CLASSES, LABELS) and y_pred.ndim > 1 and not target.is_floating_point():
            but = self.ignore_index if self.targets == CLASSES else None
            target = bounds.kept_in(target, y_pred.shape[1], f"torch's {self.name}: labels", but=but)
        if isinstance(loss, nn.Module):
            if any(buffer.device != y_pred.device or buffer.dtype != y_pred.dtype for buffer in loss.buffers()):
                self._loss.to(y_pred.device, y_pred.dtype)
            return loss(y_pred, target)  # type: ignore[no-any-return]
        arguments = {name: value.to(y_pred) if isinstance(value, Tensor) else value for name, value in self._arguments.items()}
        return loss(y_pred, target, **{**arguments, "reduction": reduction})  # type: ignore[no-any-return]

    def shares(self, target: Tensor, values: Tensor) -> Tensor:
        """What each of `values` adds to the divisor of torch's mean."""
        if not self.counts or target.is_floating_point():
            return torch.ones_like(values)
        return divisor_shares(target, self._setting("weight"), self.ignore_index, values.dtype)

    def check_targets(self, y: np.ndarray[Any, Any], output_shape: tuple[int, ...]) -> None:
        """Look at all targets: raise DataError for a label that is no class."""
        if self.targets not in (CLASSES, LABELS) or len(output_shape) < 2 or not y.size:
            return
        classes = output_shape[1]
        if y.ndim == len(output_shape) and y.shape[1] == classes and (classes > 1 or y.dtype.kind == "f"):
            return  # probabilities
        counted = y[y != self.ignore_index] if self.targets == CLASSES else y
        if counted.size and (counted.min() < 0 or counted.max() >= classes):
            found = f"labels from {counted.min()} to {counted.max()}"
            raise DataError(f"torch's {self.name}: {found}.\n  expected  0 to {classes - 1}, the classes of the outputs")


def divisor_shares(target: Tensor, weight: Tensor | None, ignore_index: int, dtype: torch.dtype) -> Tensor:
    """By label, what torch's mean divides by: the weight of the class, 1 without weights, 0 for a label that is ignored."""
    counts = target != ignore_index
    if weight is None:
        return counts.to(dtype)
    target = bounds.kept_in(target, weight.shape[0], "labels", but=ignore_index)
    return torch.where(counts, weight.detach().to(target.device, dtype)[torch.where(counts, target, 0)], 0.0)


def find(thing: Any) -> TorchLoss | None:
    """The loss of torch that `thing` is, a class or a function of torch's, or a partial of one; None for anything else.

    Raises:
        ValueError: it is one that outputs and targets are not enough for.
    """
    if inspect.isclass(thing) and issubclass(thing, nn.Module) and _is_torchs(thing):
        _refuse_more_tensors(thing.__name__)
        thing = thing()
    if isinstance(thing, nn.Module):
        if _is_torchs(type(thing)):
            _refuse_more_tensors(type(thing).__name__)
        known: Any = next((kind for kind in type(thing).__mro__ if kind.__module__ == "torch.nn.modules.loss"), None)
        if known is None or type(thing).forward is not known.forward:
            return None
        _refuse_more_tensors(known.__name__)
        return TorchLoss(thing) if type(thing) is known else TorchLoss(_as(known, thing))
    arguments: dict[str, Any] = {}
    function = thing
    while isinstance(function, functools.partial) and not function.args:
        arguments = {**function.keywords, **arguments}
        function = function.func
    name = getattr(function, "__name__", "")
    if getattr(F, name, None) is not function or not name:
        return None
    _refuse_more_tensors(name)
    if name not in _TARGETS:
        raise ValueError(
            f"loss=torch.nn.functional.{name}: it is no loss of outputs and targets.\n"
            "  try       a function of your own: loss=lambda y_true, y_pred: ..."
        )
    return TorchLoss(function, arguments)


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.modules.")


def _as(known: Any, thing: nn.Module) -> nn.Module:
    """A subclass that changes nothing of the pass, as its base."""
    twin = known.__new__(known)
    twin.__dict__.update(thing.__dict__)
    return twin  # type: ignore[no-any-return]


def _refuse_more_tensors(name: str) -> None:
    if name in _OF_MORE_TENSORS:
        raise ValueError(
            f"loss={name}: it needs {_OF_MORE_TENSORS[name]}, and compile(loss=...) hands over targets and outputs.\n"
            f"  try       compute_loss(self, x, y, y_pred, ...) of your own model, which calls it"
        )


_CROSS_ENTROPIES = {function: inspect.signature(function) for function in (F.cross_entropy, F.nll_loss)}


def label_mean(function: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor] | None:
    """(sum, count) of a call that gives torch's mean over labels; None for any other call."""
    signature = _CROSS_ENTROPIES.get(function)
    if signature is None:
        return None
    given = signature.bind(*args, **kwargs).arguments
    target = given["target"]
    if given.get("reduction", "mean") != "mean" or {"size_average", "reduce"} & {k for k, v in given.items() if v is not None}:
        return None
    if target.is_floating_point() or not target.numel():
        return None  # probabilities: a mean over samples
    if given.get("ignore_index", -100) == NO_LABEL and given.get("weight") is None:
        return None
    total = function(**{**given, "reduction": "sum"})
    shares = divisor_shares(target, given.get("weight"), given.get("ignore_index", -100), torch.float64)
    return total, shares.sum()
