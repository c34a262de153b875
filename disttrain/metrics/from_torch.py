"""A loss of torch's as a metric: called in torch's order, divided by what torch divides by."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain import torch_losses
from disttrain.metrics.base import Metric, divide
from disttrain.metrics.shapes import as_prediction, fitted_weights, without_gradient


class MeanOfTorchLoss(Metric):
    """The mean of one of torch's losses over all samples; its sum, where its reduction is `"sum"`.

    Args:
        torch_loss: the loss, as `torch_losses.find` gives it.
        name: the name in the logs; that of torch's function unless given.

    Variables: `total ()`, `count ()`: what torch's mean divides by, each part times the weight of its sample.
    """

    _direction = "down"

    def __init__(self, torch_loss: torch_losses.TorchLoss, name: str | None = None) -> None:
        super().__init__(None, name or torch_loss.name)
        self.torch_loss = torch_loss
        self.total = self.add_variable(name="total")
        self.count = self.add_variable(name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        mask: Tensor | None = getattr(y_pred, "_keras_mask", None)
        outputs, loss = as_prediction(without_gradient(y_pred)), self.torch_loss
        target = loss.fitted(y_true, outputs)
        values = loss.values(target, outputs).double()
        shares = loss.shares(target, values)
        if loss.reduction == "batchmean":
            shares = shares * (outputs.shape[0] / max(1, values.numel()))
        for name, weights in (("the mask of the predictions", mask), ("sample_weight", sample_weight)):
            if weights is not None:
                fitted = fitted_weights(weights, values, name)
                values, shares = values * fitted, shares * fitted
        self.total.add_(values.sum())
        self.count.add_(shares.sum())

    def result(self) -> Tensor:
        return self.total.clone() if self.torch_loss.reduction == "sum" else divide(self.total, self.count)

    def get_config(self) -> dict[str, Any]:
        """Holds the loss itself: it is code and belongs to the script."""
        return {"name": self.name, "torch_loss": self.torch_loss}
