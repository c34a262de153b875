"""The hooks of a callback."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from disttrain.callbacks.arguments import refuse_unknown
from disttrain.telemetry import Telemetry

Logs = dict[str, Any]


class Callback:
    """Base class: override the hooks you need. They run once, in the process of the script, never on a worker.

    `self.model` is the model, and setting `self.model.stop_training = True` ends the training at the next batch or epoch boundary;
    `self.params` has `verbose`, `epochs` and `steps`. Logs hold the means of the epoch so far, as Python numbers; what a hook adds
    to the logs of `on_epoch_end`, later callbacks and History see.

    Attributes:
        batch_hooks: "every" if its batch hooks must see each batch: training then stops at each for them. "sampled" if the newest
            batch now and then is enough, as for a progress bar; may be set for an instance.
        wants_gradients: keep the gradient of each step, so that `self.telemetry.gradients()` gives it. It costs a copy a step.
        telemetry: what else there is to ask of the training: health, gradients, the run directory. None outside of a fit.

    Example:
        >>> class StopAtTarget(Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         if logs["accuracy"] > 0.99:
        ...             self.model.stop_training = True
    """

    batch_hooks: str = "every"
    wants_gradients: bool = False
    telemetry: Telemetry | None = None
    model: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012 - replaced whole by set_params, as in Keras; here for subclasses without super().__init__()

    def __new__(cls, *arguments: Any, **named: Any) -> Callback:
        refuse_unknown(cls, named)  # here, so that a misspelt argument of any callback is answered with the nearest names
        return super().__new__(cls)

    def __init__(self) -> None:
        self.model = None
        self.params = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Be told `verbose`, `epochs` and `steps`."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Be told the model."""
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart, in JSON types: counters, the best value so far."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; called after `on_train_begin`, and once more after the hooks that open the epoch and batch where
        the training goes on; without them for a fit that an earlier process finished."""

    def capture_state(self) -> Callable[[], dict[str, Any]]:
        """The state of now, for a checkpoint that may be written later or never: a function that gives what `state_dict` would give now.

        A copy, unless overridden. Do that beside `state_dict` where the state grows with the run: a boundary should cost no more the
        more there were before it. A list that only grows is captured by its length, see `History`.
        """
        state = copy.deepcopy(self.state_dict())
        return lambda: copy.deepcopy(state)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Arrays that must survive a restart, by name, such as the best weights so far."""
        return {}

    def capture_arrays(self) -> dict[str, np.ndarray]:
        """The arrays as they are now, whatever you change in them afterwards: copies, unless overridden beside `state_arrays`, as by a
        callback that only ever replaces its arrays by others."""
        return {name: array.copy() for name, array in self.state_arrays().items()}

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `state_arrays`; called after `load_state_dict`."""

    def abandon(self) -> None:
        """The call ended in an error, and no other hook follows: close what is open. Errors from here are passed over."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation, whose results have the prefix `val_`."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Another name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training batch; batches count from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training batch."""
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before `evaluate`, or the validation of an epoch."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After `evaluate`, or the validation of an epoch."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `evaluate` or of validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of `evaluate` or of validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of `predict`."""


def to_json(value: Any) -> Any:
    """A number, or nested lists of them, in JSON types: NaN and infinities, which JSON does not know, become strings."""
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`."""
    if isinstance(value, list):
        return [from_json(entry) for entry in value]
    return float(value) if isinstance(value, str) else value


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
PREDICT_BATCH_HOOKS = ("on_predict_batch_begin", "on_predict_batch_end")
TEST_BOUNDARY_HOOKS = ("on_test_begin", "on_test_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")


def overrides(callback: Any, hooks: tuple[str, ...]) -> bool:
    """Does it bring its own version of one of these hooks, in its class or on itself? Keras marks those of its base class."""
    for hook in hooks:
        own = getattr(type(callback), hook, None)
        inherited = own is None or own is getattr(Callback, hook) or getattr(own, "_is_default", False)
        if hook in vars(callback) or not inherited:
            return True
    return False
