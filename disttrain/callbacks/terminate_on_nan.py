"""Stop when the loss is no longer a number."""

from __future__ import annotations

import math

from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.progress_bar import note


class TerminateOnNaN(Callback):
    """Stops the training at a batch whose `loss` is NaN or infinite.

    That batch is not applied: the weights are those before it, where Keras leaves the NaNs in them. It costs no stop at each batch.

    Args:
        raise_error: raise RuntimeError at once, instead of ending the training with its `on_train_end` hooks.
    """

    batch_hooks = "sampled"

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = bool(raise_error)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}: the loss became {loss}.\n"
                "  try       a smaller learning rate, or look for NaN in the data"
            )
        note(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
