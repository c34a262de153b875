"""The callbacks' side of a call: which hook runs at which boundary, and what the callbacks decided there.

Runs once, in the driver's process. At a boundary every worker waits, so the hooks see one state and decide once for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from disttrain.callbacks import CallbackList
from disttrain.callbacks.base import overrides
from disttrain.training.orders import Orders
from disttrain.training.program import Kind, Position, Program

if TYPE_CHECKING:
    from disttrain.training.engine import Engine
    from disttrain.training.job import Job

_SAMPLE_EVERY_S = 0.1


class WeightsWatch(Protocol):
    """Tells what callbacks did to the weights: the driver's model is brought up to date when one looks, and compared afterwards."""

    def changed(self) -> dict[str, np.ndarray] | None:
        """Weights by name if a hook changed them since the last call, else None."""


class FitHooks:
    """Runs the hooks of one fit in Keras's order.

    Args:
        callbacks: the list, with History and the progress bar in it.
        model: the driver's model.
        program: the ticks of the call.
        watch: None in one process, where hooks change the training weights directly.
        before_end: called before `on_train_end`; puts the optimizer's averages into the weights, where those are here.
    """

    def __init__(
        self, callbacks: CallbackList, model: Any, program: Program, watch: WeightsWatch | None = None,
        before_end: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.callbacks, self.model, self.program, self.watch, self._before_end = callbacks, model, program, watch, before_end
        self.handled = -1  # the last boundary whose hooks have run; a boundary is reported again after a failure, its hooks run once
        self.orders: dict[int, Orders] = {}
        self.logs: dict[str, Any] = {}
        self.ended = False

    def begin(self, state: dict[str, Any] | None = None, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Before the first tick, or with the `state` and `arrays` of a checkpoint before the tick it stands at."""
        self.model.stop_training = False
        self.callbacks.on_train_begin()
        epoch = self.program.initial_epoch
        if state is not None:
            self.load_state(state, arrays or {})
            epoch = state["epoch"]
        if epoch < self.program.epochs and not self.ended:
            self._begin_epoch(epoch)
        else:  # no epoch to train, or a checkpoint taken after the last one
            self.epoch = epoch
            self.end()

    def boundary(self, position: Position, logs: dict[str, Any]) -> Orders:
        """Run the hooks of the boundary at `position`; asked again for the same one, give the same orders."""
        if position.tick <= self.handled:
            return self.orders[position.tick]
        before = self.model.optimizer.learning_rate if self._has_plain_rate() else None
        if position.kind is Kind.BATCH_BOUNDARY:
            end_phase, end_call = self._batch(position, logs), False
        else:
            end_phase, end_call = False, self._epoch(position, logs)
        after = self.model.optimizer.learning_rate if self._has_plain_rate() else None
        orders = Orders(
            learning_rate=None if after is None or after == before else float(after),
            weights=self.watch.changed() if self.watch is not None else None,
            end_phase=end_phase,
            end_call=end_call,
        )
        self.handled = position.tick
        self.orders = {position.tick: orders}
        return orders

    def sample(self, position: Position, logs: dict[str, Any]) -> None:
        """Show the newest batch to callbacks that are content with one now and then."""
        self.callbacks.sample_batch(position.step, logs)

    def end(self) -> None:
        """After the last tick."""
        self.ended = True
        if self._before_end is not None:
            self._before_end()
        self.callbacks.on_train_end(self.logs)

    def state(self) -> dict[str, Any]:
        """What a restart needs, in JSON types, as of the last boundary."""
        return {
            "handled": self.handled, "epoch": self.epoch, "ended": self.ended, "callbacks": self.callbacks.state_dict(), "logs": self.logs,
        }  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that callbacks keep, such as the best weights so far."""
        return self.callbacks.state_arrays()

    def load_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `state` and `arrays`."""
        self.handled, self.epoch, self.ended, self.logs = state["handled"], state["epoch"], state["ended"], state["logs"]
        self.callbacks.load_state_dict(state["callbacks"])
        self.callbacks.load_state_arrays(arrays)
        self.model.stop_training = False

    def _has_plain_rate(self) -> bool:
        return self.model.optimizer is not None and not self.model.optimizer.has_schedule

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.callbacks.on_epoch_begin(epoch)
        if Kind.TRAIN in self.program.every_batch:
            self.callbacks.on_train_batch_begin(0)

    def _batch(self, position: Position, logs: dict[str, Any]) -> bool:
        """The hooks after one batch; True to skip the rest of the phase."""
        steps = self.program.plan(position.phase).steps
        last = position.step == steps - 1
        if position.phase is Kind.TRAIN:
            self.callbacks.on_train_batch_end(position.step, logs)
            if self.model.stop_training:
                return True
            if not last:
                self.callbacks.on_train_batch_begin(position.step + 1)
            return False
        logs = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if position.step < self.program.batches_per_hook:
            self.callbacks.on_test_begin()
            self.callbacks.on_test_batch_begin(0)
        self.callbacks.on_test_batch_end(position.step, logs)
        if not last:
            self.callbacks.on_test_batch_begin(position.step + 1)
        return False

    def _epoch(self, position: Position, logs: dict[str, Any]) -> bool:
        """The hooks after one epoch; True to end the call."""
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            if Kind.VALIDATE not in self.program.every_batch:
                self.callbacks.on_test_begin()
            self.callbacks.on_test_end(validation)
        logs = dict(sorted(logs.items()))
        self.callbacks.on_epoch_end(position.epoch, logs)
        self.logs = logs
        self.epoch = position.epoch + 1
        if self.model.stop_training or self.epoch >= self.program.epochs:
            self.end()
            return True
        self._begin_epoch(self.epoch)
        return False


class CallHooks:
    """Runs the batch hooks of an evaluate or predict in one process: for callbacks that have them, at every batch; for those that are
    content with less, now and then."""

    def __init__(self, callbacks: CallbackList | None, job: Job) -> None:
        self._model = job.model
        begin, end = ("predict_batch_begin", "predict_batch_end") if job.kind == "predict" else ("test_batch_begin", "test_batch_end")
        names = (f"on_{begin}", f"on_{end}")
        self._begin, self._end = names
        overriding = [] if callbacks is None else [callback for callback in callbacks.callbacks if overrides(callback, names)]
        self._every = [callback for callback in overriding if getattr(callback, "batch_hooks", "every") != "sampled"]
        self._sampled = [callback for callback in overriding if getattr(callback, "batch_hooks", "every") == "sampled"]
        self._steps = job.program.plans[0][1].steps
        self._per_hook = 1 if job.kind == "predict" else max(1, int(getattr(job.model, "steps_per_execution", 1)))
        self._shown = time.monotonic()
        self._stop = "stop_predicting" if job.kind == "predict" else "stop_evaluating"

    def next_look(self) -> float:
        """Until when batches may run without a hook between them, by the monotonic clock."""
        if self._every:
            return 0.0
        return self._shown + _SAMPLE_EVERY_S if self._sampled else math.inf

    def before(self, position: Position) -> bool:
        """Before a batch; True to end the call here."""
        if position.step and getattr(self._model, self._stop):
            return True
        if position.step % self._per_hook == 0:
            for callback in self._every:
                getattr(callback, self._begin)(position.step, {})
        return False

    def after_test(self, position: Position, engine: Engine) -> None:
        """After a batch of an evaluation."""
        callbacks = self._due(position)
        if callbacks:
            logs = dict(sorted(engine.results().items()))
            for callback in callbacks:
                getattr(callback, self._end)(position.step, dict(logs))

    def after_predict(self, position: Position, engine: Engine) -> None:
        """After a batch of a prediction."""
        for callback in self._due(position):
            getattr(callback, self._end)(position.step, {"outputs": engine.outputs_of(position)})

    def _due(self, position: Position) -> list[Any]:
        due = self._every if (position.step + 1) % self._per_hook == 0 or position.step == self._steps - 1 else []
        if self._sampled and (now := time.monotonic()) - self._shown >= _SAMPLE_EVERY_S:
            self._shown = now
            return [*due, *self._sampled]
        return due
