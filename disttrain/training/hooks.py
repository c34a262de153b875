"""The callbacks' side of a call: which hook runs at which boundary, and what the callbacks decided there.

Runs once, in the driver's process. At a boundary every worker waits, so the hooks see one state and decide once for all.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from disttrain.callbacks import CallbackList
from disttrain.training.orders import Orders
from disttrain.training.program import Kind, Position, Program


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
    """

    def __init__(self, callbacks: CallbackList, model: Any, program: Program, watch: WeightsWatch | None = None) -> None:
        self.callbacks, self.model, self.program, self.watch = callbacks, model, program, watch
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
        if position.step == 0:
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
