"""Validate, predict and save with the moving average of the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from disttrain.callbacks.base import Callback, Logs


class SwapEMAWeights(Callback):
    """Puts the averages that an optimizer with `use_ema=True` keeps into the model for a validation, `evaluate` or `predict`, and the
    weights of the training back after it.

    Args:
        swap_on_epoch: also from the end of an epoch to the beginning of the next, for callbacks behind this one, such as ModelCheckpoint.

    The weights of the training are kept here meanwhile, one copy of them, and the averages stay where they are: the end of `fit` finds
    them there and leaves them in the model, stopped early or not.

    Raises:
        ValueError: the optimizer keeps no averages.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = bool(swap_on_epoch)
        self._kept: list[np.ndarray] | None = None  # the weights of the training, while the averages are in the model
        self._epoch: int | None = None
        self._launched = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._launched = self.telemetry is not None and self.telemetry.run_dir is not None
        self._optimizer()  # refused before the first step, not after the first epoch
        self._kept, self._epoch = None, None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch and epoch != self._epoch:  # else resumed within it, perhaps in its validation
            self._swap_out()
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap_in()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._kept = None  # what is in the model now is to stay: the averages, or what another callback has put back

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap_in()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap_out()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._swap_in()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._swap_out()

    def abandon(self) -> None:
        if not self._launched:  # there, the weights are the workers'
            self._swap_out()

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept, self._epoch = None, state["epoch"]  # load_state_arrays brings the weights, if there are any

    def state_arrays(self) -> dict[str, np.ndarray]:
        return {f"weights/{number}": weight for number, weight in enumerate(self._kept or [])}

    def capture_arrays(self) -> dict[str, np.ndarray]:
        return self.state_arrays()  # replaced by others, never changed

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self._kept = [arrays[f"weights/{number}"] for number in range(len(arrays))]

    def _swap_in(self) -> None:
        optimizer = self._optimizer()
        if self._kept is not None or not optimizer.built or not optimizer.iterations:  # swapped, or nothing averaged yet
            return
        weights, averages = self._weights(), optimizer.slots["average"]
        if len(weights) != len(averages):
            raise ValueError(
                f"SwapEMAWeights: the model has {len(weights)} trainable weights, the optimizer averages of {len(averages)}.\n"
                "  expected  one optimizer for all weights, and `trainable` as it was when the training began"
            )
        kept = [_array(weight) for weight in weights]
        _write(weights, averages)
        self._kept = kept

    def _swap_out(self) -> None:
        if self._kept is not None:
            _write(self._weights(), self._kept)
            self._kept = None

    def _weights(self) -> list[Any]:
        """Those that the optimizer was built on, in its order."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def _optimizer(self) -> Any:
        optimizer = getattr(self.model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                f"SwapEMAWeights: {'no optimizer' if optimizer is None else type(optimizer).__name__} keeps no averages of the weights.\n"
                "  expected  an optimizer with use_ema=True\n"
                "  try       model.compile(optimizer=disttrain.optimizers.Adam(use_ema=True), ...)"
            )
        return optimizer


def _array(weight: Any) -> np.ndarray:
    """A copy; float32 where NumPy lacks the dtype, which holds bfloat16 exactly."""
    import torch  # late: callbacks load without it

    value = weight.detach().cpu()
    return np.array((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def _write(weights: list[Any], values: list[Any]) -> None:
    """In place, so that whoever holds the weights sees it."""
    import torch  # late: callbacks load without it

    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            if tuple(value.shape) != tuple(weight.shape):  # copy_ would repeat the one along the other
                raise ValueError(
                    f"SwapEMAWeights: weights of shape {tuple(value.shape)} for one of {tuple(weight.shape)}: not of this model."
                )
            weight.copy_(value if isinstance(value, torch.Tensor) else torch.from_numpy(value))
