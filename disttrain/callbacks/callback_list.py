"""Several callbacks as one, with History and the progress bar added."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from disttrain.callbacks.base import (
    HOOKS,
    PREDICT_BATCH_HOOKS,
    TEST_BATCH_HOOKS,
    TEST_BOUNDARY_HOOKS,
    TRAIN_BATCH_HOOKS,
    Callback,
    Logs,
    overrides,
)
from disttrain.callbacks.capture import capture, capture_arrays
from disttrain.callbacks.history import History
from disttrain.callbacks.progbar_logger import ProgbarLogger
from disttrain.callbacks.torch_schedulers import load_states, schedulers_in, states_of
from disttrain.telemetry import Telemetry

_PRINTS = frozenset({"on_epoch_end", "on_test_begin", "on_test_end"})  # hooks that often print, and run seldom
_SCHEDULERS = "schedulers of torch"  # no name of a class


class CallbackList(Callback):
    """Calls each callback in turn, the user's first, so that History records what they put into the logs.

    Args:
        callbacks: None, one callback, or lists of them, also nested; another CallbackList.
        add_history, add_progbar: add a History, a ProgbarLogger, unless there is one.
        model: handed to each callback.
        params: handed to each callback, as a dict or, as Keras has it, as further keywords: `epochs=10, steps=5, verbose=1`.

    Attributes:
        callbacks: all of them, in order.
        history: the History, or None.

    Raises:
        ValueError: something in the list is not a callback.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        params: dict[str, Any] | None = None,
        **more_params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Any] = _flat(callbacks)
        self.history: History | None = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._tell_list(self.callbacks)
        if model is not None:
            self.set_model(model)
        self.set_params({**(params or {}), **more_params})

    def append(self, callback: Any) -> None:
        """Add a callback after the others; it is told the model, the params and the telemetry that they know."""
        for one in _flat(callback):
            self.callbacks.append(one)
            if self.history is None and isinstance(one, History):
                self.history = one
            if self.model is not None:
                one.set_model(self.model)
            one.set_params(self.params)
            one.telemetry = self.telemetry
            self._tell_list([one])

    def _tell_list(self, callbacks: list[Any]) -> None:
        for callback in callbacks:
            getattr(callback, "set_callbacks", lambda _: None)(self)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def set_telemetry(self, telemetry: Telemetry | None) -> None:
        """Let every callback ask about the training that goes on; None once it is over."""
        self.telemetry = telemetry
        for callback in self.callbacks:
            callback.telemetry = telemetry

    @property
    def needs_gradients(self) -> bool:
        """Must the gradient of each step be kept, because a callback wants to see it?"""
        return any(getattr(callback, "wants_gradients", False) for callback in self.callbacks)

    @property
    def keeps_training(self) -> bool:
        """Does a callback keep full checkpoints of the training?"""
        return any(getattr(callback, "keeps_training", False) for callback in self.callbacks)

    @property
    def needs_every_batch(self) -> bool:
        """Must training stop at each batch, because a callback wants to see it?"""
        return any(_wants_each(callback, TRAIN_BATCH_HOOKS) for callback in self.callbacks)

    @property
    def needs_every_test_batch(self) -> bool:
        """Must evaluation stop at each batch, because a callback wants to see it?"""
        return any(_wants_each(callback, TEST_BATCH_HOOKS) for callback in self.callbacks)

    @property
    def needs_every_predict_batch(self) -> bool:
        """Must prediction stop at each batch, because a callback wants to see it?"""
        return any(_wants_each(callback, PREDICT_BATCH_HOOKS) for callback in self.callbacks)

    @property
    def needs_test_boundary(self) -> bool:
        """Must training stop before and after a validation, because a callback may change the weights for it?"""
        return any(_wants_each(callback, TEST_BOUNDARY_HOOKS) for callback in self.callbacks)

    def stops_at(self, batch: int, loss: float) -> bool:
        """Offer a loss of NaN or infinity to the callbacks that end the training at one; True if one of them did."""
        ending = self._ending_at_nan()
        for callback in ending:
            callback.on_train_batch_end(batch, {"loss": loss})
        return bool(ending)

    @property
    def ends_at_nan(self) -> bool:
        """Is there a callback that ends the training at a loss of NaN or infinity? Without, it is an error."""
        return bool(self._ending_at_nan())

    def _ending_at_nan(self) -> list[Any]:
        return ending_at_nan(self.callbacks)

    def abandon(self) -> None:
        """The call ended in an error: no progress bar, thread or file stays behind. Never raises: that error is what matters."""
        for callback in self.callbacks:
            with suppress(Exception):
                getattr(callback, "abandon", _nothing)()

    def sample_batch(self, batch: int, logs: Logs | None = None) -> None:
        """Show the newest training batch to the callbacks that are content with one now and then."""
        logs = plain(logs)
        for callback in self.callbacks:
            if getattr(callback, "batch_hooks", "every") == "sampled":
                callback.on_train_batch_end(batch, logs)

    def sample_validation(self, batch: int, steps: int | None, logs: Logs | None = None) -> None:
        """Show how far the validation within `fit` is, of which no callback need know."""
        for callback in self._bars():
            callback.show_validation(batch, steps, plain(logs))

    def state_dict(self) -> dict[str, Any]:
        """The states of the callbacks that have one, by class and number, such as `"EarlyStopping"` and `"EarlyStopping_1"`."""
        states = {key: callback.state_dict() for key, callback in self._keyed()}
        states[_SCHEDULERS] = {"counted": states_of(schedulers_in(self.callbacks))}
        return {key: state for key, state in states.items() if state and state != {"counted": []}}

    def capture_state(self) -> Callable[[], dict[str, Any]]:
        """Each callback's."""
        captured = [(key, capture(callback)) for key, callback in self._keyed()]
        if counted := states_of(schedulers_in(self.callbacks)):
            captured.append((_SCHEDULERS, lambda: copy.deepcopy({"counted": counted})))
        return lambda: {key: state for key, give in captured if (state := give())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`. A callback that the state does not know starts afresh, one that is gone is passed over."""
        for key, callback in self._keyed():
            if key in state:
                callback.load_state_dict(state[key])
        if _SCHEDULERS in state:
            load_states(schedulers_in(self.callbacks), state[_SCHEDULERS]["counted"])

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the callbacks, as `"EarlyStopping/best_weights/0"`."""
        return {f"{key}/{name}": array for key, callback in self._keyed() for name, array in callback.state_arrays().items()}

    def capture_arrays(self) -> dict[str, np.ndarray]:
        """`state_arrays` as they are now, whatever the callbacks change afterwards."""
        return {f"{key}/{name}": array for key, callback in self._keyed() for name, array in capture_arrays(callback).items()}

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `state_arrays`."""
        for key, callback in self._keyed():
            own = {name.removeprefix(f"{key}/"): array for name, array in arrays.items() if name.startswith(f"{key}/")}
            if own:
                callback.load_state_arrays(own)

    def _keyed(self) -> list[tuple[str, Any]]:
        counts: dict[str, int] = {}
        keyed = []
        for callback in self.callbacks:
            if not isinstance(callback, Callback):  # brought from elsewhere: it has hooks, not states
                continue
            name = type(callback).__name__
            number = counts.get(name, 0)
            counts[name] = number + 1
            keyed.append((f"{name}_{number}" if number else name, callback))
        return keyed

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._call("on_train_begin", plain(logs))
        self._after()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._call("on_train_end", plain(logs))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        logs = plain(logs)
        for callback in sorted(self.callbacks, key=lambda callback: not isinstance(callback, ProgbarLogger)):
            callback.on_epoch_begin(epoch, logs)  # the heading first: what others print belongs below it
        self._after()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        try:
            self._call("on_epoch_end", epoch, plain(logs))
        finally:  # an error of one leaves what another has to keep
            self._after()

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_batch_begin", batch, plain(logs))

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_batch_end", batch, plain(logs))

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_train_batch_begin", batch, plain(logs))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        try:
            self._call("on_train_batch_end", batch, plain(logs))
        finally:
            self._after()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._call("on_test_begin", plain(logs))

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._call("on_test_end", plain(logs))

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_test_batch_begin", batch, plain(logs))

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_test_batch_end", batch, plain(logs))

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._call("on_predict_begin", plain(logs))

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._call("on_predict_end", plain(logs))

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_predict_batch_begin", batch, plain(logs))

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._call("on_predict_batch_end", batch, plain(logs))

    def _after(self) -> None:
        """For those that look after the others."""
        for callback in self.callbacks:
            if isinstance(callback, Callback):
                callback.after_hooks()

    def _call(self, hook: str, *arguments: Any) -> None:
        if hook in _PRINTS:
            for callback in self._bars():
                callback.make_room()
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    def _bars(self) -> list[ProgbarLogger]:
        return [callback for callback in self.callbacks if isinstance(callback, ProgbarLogger)]


def plain(logs: Logs | None) -> Logs:
    """The same dict, with tensors and NumPy values turned into Python numbers or lists."""
    if logs is None:
        return {}
    for name, value in logs.items():
        if hasattr(value, "tolist"):
            logs[name] = value.tolist()
    return logs


def _nothing() -> None:
    pass


def _wants_each(callback: Any, hooks: tuple[str, ...]) -> bool:
    return getattr(callback, "batch_hooks", "every") != "sampled" and overrides(callback, hooks)


def _flat(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, list | tuple):
        return [callback for entry in callbacks for callback in _flat(entry)]
    if inspect.isclass(callbacks):
        raise ValueError(f"callbacks: {callbacks.__name__} is a class; expected an instance.\n  try       {callbacks.__name__}(...)")
    if not isinstance(callbacks, Callback) and not all(callable(getattr(callbacks, hook, None)) for hook in HOOKS):
        raise ValueError(f"callbacks: {callbacks!r} is not a callback.\n  expected  instances of disttrain.callbacks.Callback")
    return [callbacks]


def ending_at_nan(callbacks: Any) -> list[Any]:
    """Of what `fit` is given as callbacks, those that end a training at a loss of NaN or infinity."""
    given = getattr(callbacks, "callbacks", callbacks)
    several = given if isinstance(given, list | tuple) else [given]
    return [callback for callback in several if any(known.__name__ == "TerminateOnNaN" for known in type(callback).__mro__)]
