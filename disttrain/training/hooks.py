"""The callbacks' side of a call: which hook runs at which boundary, and what the callbacks decided there.

Runs once, in the driver's process. At a boundary every worker waits, so the hooks see one state and decide once for all.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from disttrain.callbacks import CallbackList
from disttrain.callbacks.base import PREDICT_BATCH_HOOKS, TEST_BATCH_HOOKS, overrides
from disttrain.callbacks.capture import capture
from disttrain.telemetry import Telemetry
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.nested_calls import inside_hooks
from disttrain.training.program import Kind, Position, Program
from disttrain.training.trainability import Trainability

if TYPE_CHECKING:
    from disttrain.training.job import Job

_SAMPLE_EVERY_S = 0.1


class RemoteState(Protocol):
    """Tells what callbacks did to the state: the driver's model is brought up to date when one looks, and compared afterwards."""

    def changed(self) -> dict[str, np.ndarray] | None:
        """Weights and slots, by the names of `Replica.state_dict`, that a hook changed since the last call; None for none."""

    def resume(self) -> None:
        """The hooks where a checkpoint stands are about to run: the state is that of the checkpoint."""

    def begin(self) -> None:
        """The hooks of a boundary are about to run."""

    def counters(self) -> dict[str, dict[str, Any]] | None:
        """The `state_dict()` of every optimizer whose counters the hooks changed, by attribute of the model; None for none."""

    def finalize(self) -> None:
        """Put the optimizers' averages into the driver's weights, as the workers will into theirs."""


class FitHooks:
    """Runs the hooks of one fit in Keras's order.

    Args:
        callbacks: the list, with History and the progress bar in it.
        model: the driver's model.
        program: the ticks of the call.
        watch: None in one process, where hooks change the training weights directly.
        telemetry: what callbacks may ask.
        before_end: called before `on_train_end`; puts the optimizer's averages into the weights, where those are here.
    """

    def __init__(
        self, callbacks: CallbackList, model: Any, program: Program, watch: RemoteState | None = None,
        before_end: Callable[[], None] | None = None, telemetry: Telemetry | None = None,
    ) -> None:  # fmt: skip
        self.callbacks, self.model, self.program, self.watch, self._before_end = callbacks, model, program, watch, before_end
        self.trainability = Trainability(model)
        self.start_tick = 0  # where the call begins; a callback may set another epoch or batch before the first step
        self._telemetry = telemetry
        self.first_iteration = 0  # the optimizer's count where the epoch began
        self.handled = -1  # the last boundary whose hooks have run; a boundary is reported again after a failure, its hooks run once
        self.decision: dict[int, BoundaryDecision] = {}
        self.logs: dict[str, Any] = {}
        self.ended = False

    def begin(self, state: dict[str, Any] | None = None, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Before the first tick, or with the `state` and `arrays` of a checkpoint before the tick it stands at."""
        with inside_hooks(self.program.key, -1):
            self._open(state, arrays)

    def _open(self, state: dict[str, Any] | None, arrays: dict[str, np.ndarray] | None) -> None:
        self.model.stop_training = False
        self.model._initial_epoch = self.model._initial_batch = None
        self.callbacks.set_telemetry(self._telemetry)
        self.callbacks.on_train_begin()
        epoch, batch = self.program.initial_epoch, 0
        if state is not None:
            self.load_state(state, arrays or {})
            if self.watch is not None:
                self.watch.resume()
            epoch = state["epoch"]
        elif self.model._initial_epoch is not None:
            epoch = min(max(int(self.model._initial_epoch), epoch), self.program.epochs)
            batch = int(self.model._initial_batch or 0)
            self.start_tick = self.program.tick_of(epoch, batch)
        if epoch < self.program.epochs and not self.ended:
            if state is None:
                self._begin_epoch(epoch, batch)
            else:
                self._begin_again(epoch, state, arrays or {})
        else:  # no epoch to train, or a checkpoint taken after the last one
            self.epoch = epoch
            self.end()
        self.trainability.changed()  # whatever those hooks froze is so from the first step on; later changes are counted from there

    def _begin_again(self, epoch: int, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Run the hooks that opened what goes on now: for a clock, say, that a state leaves out. What the state has is as it was."""
        ended = self.program.at(self.handled).phase if self.handled >= 0 else None  # that whose boundary was the last
        going = self.program.at(self.handled + 1)
        over = going.kind is not Kind.TRAIN or (going.step > 0 and self.program.plan(Kind.TRAIN).is_last(going.epoch, going.step - 1))
        self._begin_epoch(epoch, None if over or self.model.stop_training else going.step)
        if ended in (Kind.TEST_BOUNDARY, Kind.VALIDATE):
            self._begin_test(going.step if going.kind is Kind.VALIDATE else None)
        self.trainability.freeze(state["frozen"])
        self.callbacks.load_state_dict(state["callbacks"])
        self.callbacks.load_state_arrays(arrays)

    def boundary(self, position: Position, logs: dict[str, Any]) -> BoundaryDecision:
        """Run the hooks of the boundary at `position`; asked again for the same one, give the same decision."""
        if position.tick <= self.handled:
            return self.decision[position.tick]
        with inside_hooks(self.program.key, position.tick):
            decision = self._decide(position, logs)
        self.handled = position.tick
        self.decision = {position.tick: decision}
        return decision

    def _decide(self, position: Position, logs: dict[str, Any]) -> BoundaryDecision:
        if self.watch is not None:
            self.watch.begin()
        before = self.model.optimizer.current_learning_rate() if self._has_plain_rate() else None
        if position.kind is not Kind.BATCH_BOUNDARY and not math.isfinite(logs.get("loss", 0.0)) and not self.model.stop_training:
            self.callbacks.stops_at(self.model.optimizer.calls - self.first_iteration, logs["loss"])
        if position.kind is Kind.BATCH_BOUNDARY:
            end_phase, end_call = self._batch(position, logs), False
        elif position.kind is Kind.TEST_BOUNDARY:
            end_phase = end_call = False
            self._begin_test()
        else:
            end_phase, end_call = False, self._epoch(position, logs)
        after = self.model.optimizer.current_learning_rate() if self._has_plain_rate() else None
        return BoundaryDecision(
            learning_rate=None if after is None or after == before else float(after),
            optimizers=self.watch.counters() if self.watch is not None else None,
            arrays=self.watch.changed() if self.watch is not None else None,
            frozen=self.trainability.changed(),
            end_phase=end_phase,
            end_call=end_call,
        )

    def sample(self, position: Position, logs: dict[str, Any]) -> None:
        """Show the newest batch to callbacks that are content with one now and then."""
        with inside_hooks(self.program.key, position.tick):
            if position.kind is Kind.VALIDATE:
                self.callbacks.sample_validation(position.step, self.program.plan(Kind.VALIDATE).known_steps, logs)
            else:
                self.callbacks.sample_batch(position.step, logs)

    def end(self) -> None:
        """After the last tick."""
        self.ended = True
        if self._before_end is not None:
            self._before_end()
        if self.watch is not None:
            self.watch.finalize()
        self.callbacks.on_train_end(self.logs)

    def close(self, *, failed: bool) -> None:
        """The call is over; where it `failed`, let go of what callbacks keep open, such as a progress bar."""
        self.callbacks.set_telemetry(None)
        if failed:
            self.callbacks.abandon()

    def capture(self) -> Callable[[], dict[str, Any]]:
        """`state()` as of now, as a function that gives it later; cheap however long the run is, for few of them are ever asked for."""
        own = {"handled": self.handled, "epoch": self.epoch, "ended": self.ended, "stops": bool(self.model.stop_training)}
        logs, frozen, callbacks = copy.deepcopy(self.logs), self.trainability.frozen(), capture(self.callbacks)
        return lambda: {**own, "callbacks": callbacks(), "logs": copy.deepcopy(logs), "frozen": copy.deepcopy(frozen)}

    def state(self) -> dict[str, Any]:
        """What a restart needs, in JSON types, as of the last boundary."""
        return self.capture()()

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that callbacks keep, such as the best weights so far, as they are now."""
        return self.callbacks.capture_arrays()

    def load_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `state` and `arrays`."""
        self.handled, self.epoch, self.ended, self.logs = state["handled"], state["epoch"], state["ended"], state["logs"]
        self.trainability.freeze(state["frozen"])
        self.callbacks.load_state_dict(state["callbacks"])
        self.callbacks.load_state_arrays(arrays)
        self.model.stop_training = state.get("stops", False)  # asked for, and not yet seen to

    def _has_plain_rate(self) -> bool:
        return self.model.optimizer is not None and not self.model.optimizer.has_schedule

    def _begin_epoch(self, epoch: int, batch: int | None = 0) -> None:
        self.epoch = epoch
        self.first_iteration = self.model.optimizer.calls if self.model.optimizer is not None else 0
        self.callbacks.on_epoch_begin(epoch)
        if batch is not None and Kind.TRAIN in self.program.every_batch:
            self.callbacks.on_train_batch_begin(batch)

    def _batch(self, position: Position, logs: dict[str, Any]) -> bool:
        """The hooks after one batch; True to skip the rest of the phase."""
        last = self.program.plan(position.phase).is_last(position.epoch, position.step)
        if position.phase is Kind.TRAIN:
            self.callbacks.on_train_batch_end(position.step, logs)
            if self.model.stop_training:
                return True
            if not last:
                self.callbacks.on_train_batch_begin(position.step + 1)
            return False
        logs = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if position.step < self.program.batches_per_hook and not self.program.before_validation:
            self._begin_test()
        self.callbacks.on_test_batch_end(position.step, logs)
        if self.model.stop_evaluating:
            return True
        if not last:
            self.callbacks.on_test_batch_begin(position.step + 1)
        return False

    def _begin_test(self, batch: int | None = 0) -> None:
        self.model.stop_evaluating = False
        self.callbacks.on_test_begin()
        if batch is not None and Kind.VALIDATE in self.program.every_batch:
            self.callbacks.on_test_batch_begin(batch)

    def _epoch(self, position: Position, logs: dict[str, Any]) -> bool:
        """The hooks after one epoch; True to end the call."""
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            if not self.program.before_validation and Kind.VALIDATE not in self.program.every_batch:
                self._begin_test()
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
    """Runs the hooks of batches in an evaluate or predict: at every batch for callbacks that have them, which makes boundaries in the
    program; now and then for those that are content with that."""

    def __init__(self, callbacks: CallbackList | None, job: Job) -> None:
        self._model, self._program = job.model, job.program
        predicts = job.kind == "predict"
        hooks = PREDICT_BATCH_HOOKS if predicts else TEST_BATCH_HOOKS
        self._begin, self._end = hooks
        overriding = [] if callbacks is None else [callback for callback in callbacks.callbacks if overrides(callback, hooks)]
        self._every = [callback for callback in overriding if getattr(callback, "batch_hooks", "every") != "sampled"]
        self._sampled = [callback for callback in overriding if getattr(callback, "batch_hooks", "every") == "sampled"]
        self._stop = "stop_predicting" if predicts else "stop_evaluating"
        self._plan = job.program.plans[0][1]
        self.handled = -1
        self._ended = False
        self._shown = time.monotonic()

    def begin(self) -> None:
        """Before the first batch."""
        self._show(self._every, self._begin, 0, {})

    def next_look(self) -> float:
        """Until when batches may run without a hook between them, by the monotonic clock."""
        return self._shown + _SAMPLE_EVERY_S if self._sampled else math.inf

    def boundary(self, position: Position, logs: dict[str, Any]) -> BoundaryDecision:
        """Run the hooks of the boundary at `position`, once; `logs` are the results so far, or `{"outputs": ...}` of the batch."""
        if position.tick > self.handled:
            self.handled = position.tick
            self._show(self._every, self._end, position.step, logs)
            self._ended = getattr(self._model, self._stop)
            if not self._ended and not self._plan.is_last(position.epoch, position.step):
                self._show(self._every, self._begin, position.step + 1, {})
        return BoundaryDecision(end_call=self._ended)

    def sample(self, position: Position, logs: dict[str, Any]) -> None:
        """Show the newest batch to callbacks that are content with one now and then."""
        self._shown = time.monotonic()
        self._show(self._sampled, self._end, position.step, logs)

    def _show(self, callbacks: list[Any], hook: str, step: int, logs: dict[str, Any]) -> None:
        with inside_hooks(self._program.key, step):
            for callback in callbacks:
                getattr(callback, hook)(step, dict(sorted(logs.items())))
