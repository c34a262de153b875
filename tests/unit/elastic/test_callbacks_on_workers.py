"""What callbacks see and change of a state that lies on workers: the same as in one process, whoever dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from thread_runs import EPOCH_TICKS, AtEpoch, V, X, Y, driven, make_model, train, wait_until

import disttrain as dt
from disttrain import layers
from disttrain.elastic.messages import AtBoundary
from disttrain.elastic.shipping import Shipment
from disttrain.orchestrator import WorkerLost
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner


def alone(work: Callable[[], Any]) -> Any:
    """What it gives in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return work()


class Freezes(dt.Callback):
    """Freezes a layer after one epoch and thaws it after another."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch in (0, 2):
            self.model.layers[0].trainable = epoch == 2


class Swaps(dt.Callback):
    """Validates other weights than it trains, as an average over steps would be, and changes the slots beside them."""

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self) -> None:
        import torch

        velocity = self.model.optimizer.slots["velocity"][0]
        kernel = self.model.layers[0].kernel
        with torch.no_grad():
            kept = kernel.detach().clone()
            kernel.copy_(velocity)
            velocity.copy_(kept)


class Notes(dt.Callback):
    """Every hook of evaluate and predict, with what it was given."""

    def __init__(self, stop_after: int = 99) -> None:
        super().__init__()
        self.notes: list[Any] = []
        self.stop_after = stop_after

    def on_test_batch_begin(self, batch, logs=None):
        self.notes.append(("test+", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.notes.append(("test-", batch, dict(logs)))
        self.model.stop_evaluating = batch >= self.stop_after

    def on_predict_batch_begin(self, batch, logs=None):
        self.notes.append(("predict+", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.notes.append(("predict-", batch, logs["outputs"].tobytes()))
        self.model.stop_predicting = batch >= self.stop_after


class Gradients(dt.Callback):
    """The gradient at each epoch's end."""

    wants_gradients = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, bytes]] = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append({name: value.tobytes() for name, value in sorted(self.telemetry.gradients().items())})


# -- trainable --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "kills"), [(1, []), (3, []), (3, [(EPOCH_TICKS + 1, "before")]), (2, [(EPOCH_TICKS, "after")])])
def test_a_layer_frozen_and_thawed_by_a_callback_is_so_on_every_worker(workers, kills):
    expected = alone(lambda: train(Freezes(), epochs=4))
    assert expected != alone(lambda: train(epochs=4))
    faults = FaultPlan()
    for tick, place in kills:
        faults.kill("w1", tick, place)
    with driven(workers, faults):
        assert train(Freezes(), epochs=4) == expected
        assert faults.all_fired


def test_a_frozen_layer_keeps_its_weights_and_loses_its_slots():
    model = make_model()
    before = [weight.copy() for weight in model.layers[0].get_weights()]
    start = AtEpoch(0, lambda: None)
    start.on_train_begin = lambda logs=None: setattr(model.layers[0], "trainable", False)
    train(start, model=model)
    assert all((a == b).all() for a, b in zip(before, model.layers[0].get_weights(), strict=True))
    assert len(model.optimizer.slots["velocity"]) == len(model.trainable_weights)


def test_what_is_frozen_goes_back_with_the_checkpoint_when_every_worker_is_lost(tmp_path):
    expected = alone(lambda: train(Freezes(), epochs=5))
    with driven(2, url=str(tmp_path), every="epoch") as driver:

        def everybody() -> None:
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert train([Freezes(), AtEpoch(2, everybody)], epochs=5) == expected
        assert len(driver.events("restart")) == 1


def test_a_checkpoint_that_is_committed_after_all_were_lost_is_gone_on_from_with_what_was_frozen_in_it(tmp_path, monkeypatch):
    from disttrain.controller import commits

    commit = commits.commit

    def late(store, attempt, sequence, step, *rest):
        if step == 6:
            wait_until(lambda: driver.events("restart"))
        return commit(store, attempt, sequence, step, *rest)

    monkeypatch.setattr(commits, "commit", late)
    expected = alone(lambda: train(Freezes(), epochs=5))
    with driven(2, url=str(tmp_path), every="epoch") as driver:

        def everybody() -> None:
            wait_until(lambda: driver.controller.saving.busy)
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert train([Freezes(), AtEpoch(2, everybody)], epochs=5) == expected
        (restart,) = driver.events("restart")
        assert restart["tick"] == EPOCH_TICKS
        assert all(event["tick"] == 2 * EPOCH_TICKS for event in driver.events("newer checkpoint"))


def test_a_second_driver_finds_the_layer_frozen(tmp_path):
    class Stops(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    expected = alone(lambda: train(Freezes(), epochs=4))
    with driven(2, url=str(tmp_path), every="1steps"), pytest.raises(KeyboardInterrupt):
        train([Freezes(), Stops()], epochs=4)
    with driven(3, url=str(tmp_path)):
        assert train(Freezes(), epochs=4) == expected


# -- weights and slots ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [None, 4, 8])
def test_weights_and_slots_changed_for_validation_are_changed_on_every_worker(kill):
    expected = alone(lambda: train(Swaps()))
    assert expected[1]["val_loss"] != alone(train)[1]["val_loss"] and expected[0] == alone(train)[0]
    faults = FaultPlan() if kill is None else FaultPlan().kill("w2", kill)
    with driven(3, faults):
        assert train(Swaps()) == expected
        assert faults.all_fired


@pytest.mark.parametrize(("workers", "kill"), [(1, None), (3, None), (3, EPOCH_TICKS + 1)])
def test_what_a_callback_assigns_to_variables_reaches_every_worker(workers, kill):
    class Assigns(dt.Callback):
        """By a reference that it has held since before the training, too."""

        def set_model(self, model):
            super().set_model(model)
            self.kernel = model.layers[0].kernel

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.kernel.assign(self.kernel.numpy() * 0.5)
                self.model.layers[0].bias.assign_add(1.0)
                self.model.optimizer.learning_rate.assign(0.01)

    expected = alone(lambda: train(Assigns()))
    assert expected != alone(train)
    faults = FaultPlan() if kill is None else FaultPlan().kill("w1", kill, "before")
    with driven(workers, faults):
        assert train(Assigns()) == expected
        assert faults.all_fired


def test_slots_looked_at_in_a_callback_are_those_of_the_workers():
    def work() -> list[bytes]:
        model, seen = make_model(), []

        class Looks(dt.Callback):
            def on_epoch_end(self, epoch, logs=None):
                seen.append(b"".join(np.asarray(variable).tobytes() for variable in model.optimizer.slots["momentum"]))

        train(Looks(), model=model)
        return seen

    expected = alone(work)
    with driven(2):
        assert work() == expected


def test_a_whole_model_saved_by_a_callback_goes_on_as_it_would_have(tmp_path):
    class Committer(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.save(tmp_path / "model.keras")

    def rest() -> bytes:
        model = dt.load_model(tmp_path / "model.keras")
        assert model.optimizer.iterations == 3
        return b"".join(slot.numpy().tobytes() for slots in model.optimizer.slots.values() for slot in slots)

    def work() -> bytes:
        train(Committer())
        return rest()

    expected = alone(work)
    with driven(3):
        train(Committer())
    assert rest() == expected


# -- gradients, health ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_gradient_is_the_same_bits_on_any_number_of_workers(workers):
    def work() -> list[dict[str, bytes]]:
        callback = Gradients()
        train(callback)
        return callback.seen

    expected = alone(work)
    assert len(expected) == 3 and len(expected[0]) == 6
    with driven(workers):
        assert work() == expected


def test_the_gradient_is_that_of_the_loss_whatever_way_a_step_is_carried_out():
    def work(virtual_workers: int) -> dict[str, np.ndarray]:
        found = {}

        class Looks(Gradients):
            def on_train_batch_end(self, batch, logs=None):
                found.update(self.telemetry.gradients())

        dt.clear_session()
        dt.set_random_seed(1)
        model = dt.Sequential([dt.Input((6,)), layers.Dense(1, use_bias=False)])
        model.compile(optimizer=dt.optimizers.SGD(0.0, clipnorm=1e-3), loss="mse")
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
            model.fit(X[:8], Y[:8].astype(np.float32), batch_size=8, shuffle=False, verbose=0, callbacks=Looks())
        (name,) = found
        kernel = model.get_weights()[0]
        by_hand = 2 * X[:8].T @ (X[:8] @ kernel - Y[:8, None]) / 8
        np.testing.assert_allclose(found[name], by_hand, rtol=1e-5)
        return found

    assert set(work(1)) == set(work(4))


def test_health_tells_of_losses_saves_and_where_the_time_went(tmp_path):
    seen = []

    class Looks(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            threading.Event().wait(0.05)
            if epoch == 2:  # by now a save has been begun; its end is heard of between steps, or here
                wait_until(lambda: self.telemetry.health().saves)
            seen.append(self.telemetry.health())
            self.telemetry.tell("looked", epoch=epoch)

    faults = FaultPlan().kill("w1", EPOCH_TICKS + 1)
    with driven(3, faults, url=str(tmp_path), every="epoch") as driver:
        train([Looks(), EveryBatchOnce()])
        assert [event["epoch"] for event in driver.events("looked")] == [0, 1, 2]
    first, _, last = seen
    assert (first.workers, first.wanted_workers, first.steps, first.recoveries) == (3, 3, 3, ())
    assert [(recovery.step, recovery.workers) for recovery in last.recoveries] == [(4, 1)] or last.recoveries[0].workers == 1
    assert last.recovery_seconds > 0 and last.steps == 9 and last.callback_seconds >= 0.1
    assert {save.step for save in last.saves} <= {3, 6} and all(0 <= save.stall_seconds <= save.seconds for save in last.saves)
    assert {"w0", "w2"} <= set(last.paces) and all(pace.step_seconds > 0 for pace in last.paces.values())
    assert 0 < last.goodput < 1


class EveryBatchOnce(dt.Callback):
    """Batch boundaries, so that ticks are as many as can be."""


def test_telemetry_is_gone_after_the_fit():
    callback = Gradients()
    train(callback)
    assert callback.telemetry is None


# -- a loss that is no number -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("virtual_workers", [1, V])
@pytest.mark.parametrize("batch", [0, 1])
def test_terminate_on_nan_ends_the_training_before_the_step_that_would_spoil_it(virtual_workers, batch):
    def work() -> Any:
        model, x = make_model(), X.copy()
        x[8 * batch + 3] = np.nan
        notes: list[Any] = []
        seen = dt.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: notes.append((epoch, logs["loss"], "val_loss" in logs)))
        history = model.fit(
            x[:24], Y[:24], batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=(X[24:], Y[24:]),
            callbacks=[dt.callbacks.TerminateOnNaN(), seen],
        )  # fmt: skip
        assert model.optimizer.iterations == batch and model.stop_training
        assert repr(notes) == "[(0, nan, True)]" and len(history.history["val_loss"]) == 1
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
        return model.digest(), repr(history.history)

    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
        expected = work()
    if virtual_workers == V:
        with driven(3):
            assert work() == expected


# -- evaluate and predict ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tick", [None, 0, 1, 2, 3, 5])
@pytest.mark.parametrize("stop_after", [99, 1])
def test_batch_hooks_of_evaluate_and_predict_are_those_of_one_process(tick, stop_after):
    model = make_model()

    def work() -> Any:
        callback = Notes(stop_after)
        results = model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=callback)
        return results, callback.notes

    def predict() -> Any:
        callback = Notes(stop_after)
        return model.predict(X, batch_size=8, verbose=0, callbacks=callback).tobytes(), callback.notes

    expected, predicted = alone(work), alone(predict)
    assert len(expected[1]) == len(predicted[1]) == (8 if stop_after == 99 else 4)
    for call, result in ((work, expected), (predict, predicted)):
        faults = FaultPlan() if tick is None else FaultPlan().kill("w1", tick, "before")
        with driven(3, faults):
            assert call() == result


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("tick", [0, 1, 3, 4])
def test_a_stateful_model_predicts_the_same_when_a_worker_is_lost(tick, hooks):
    def work() -> Any:
        dt.clear_session()
        dt.set_random_seed(3)
        inputs = dt.Input((3, 2), batch_size=8)
        model = dt.Model(inputs, layers.LSTM(4, stateful=True)(inputs))
        callback = Notes()
        x = np.random.default_rng(0).normal(size=(40, 3, 2)).astype(np.float32)
        return model.predict(x, batch_size=8, verbose=0, callbacks=[callback] if hooks else None).tobytes(), callback.notes

    expected = alone(work)
    faults = FaultPlan().kill("w1", tick * (1 + hooks), "before")
    with driven(3, faults):
        assert work() == expected
        assert faults.all_fired


@pytest.mark.parametrize("workers", [1, 3])
def test_a_hook_that_looks_while_every_worker_dies_runs_again(workers):
    def work(die: Callable[[], None]) -> Any:
        model, seen = make_model(), {}

        class Looks(dt.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == 1:
                    die()
                seen[epoch] = [weight.tobytes() for weight in self.model.get_weights()]

        return train(Looks(), model=model), seen

    expected = alone(lambda: work(lambda: None))
    with driven(workers) as driver:
        put, left = driver.cluster.put, [1]
        driver.cluster.put = lambda job: put(Shipment(job.pickled, [part.copy() for part in job.buffers]))  # as a real one does

        def everybody() -> None:
            if left:
                left.clear()
                for worker in list(driver.cluster.workers):
                    driver.cluster.kill(worker)

        assert work(everybody) == expected
        assert len(driver.events("restart")) == 1


class Pair(dt.Model):
    """Two layers, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = layers.Dense(4, activation="tanh"), layers.Dense(3)
        self.mean = dt.metrics.Mean(name="loss")

    def compile(self, first_optimizer: Any, second_optimizer: Any) -> None:
        super().compile()
        self.first_optimizer, self.second_optimizer = first_optimizer, second_optimizer

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs))

    def train_step(self, data: Any) -> dict[str, Any]:
        import torch

        x = data[0] if isinstance(data, tuple) else data
        self.zero_grad()
        loss = (self(x, training=True) ** 2 - x[:, :3]).square().mean()
        loss.backward()
        with torch.no_grad():
            for layer, optimizer in ((self.first, self.first_optimizer), (self.second, self.second_optimizer)):
                if layer.trainable_weights:
                    optimizer.apply([weight.grad for weight in layer.trainable_weights], layer.trainable_weights)
        self.mean.update_state(loss, sample_weight=len(x))
        return {"loss": self.mean.result()}


class FreezesFirst(dt.Callback):
    """Freezes all that the first optimizer has, for two epochs, and notes how its rate and count stand."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.first_optimizer
        if epoch == 0:
            self.model.first.trainable = False
        if epoch == 1:
            optimizer.learning_rate = 0.001
        if epoch == 2:
            self.model.first.trainable = True
        self.notes.append((epoch, optimizer.iterations, float(optimizer.learning_rate), self.model.second_optimizer.iterations))


@pytest.mark.parametrize(("workers", "tick"), [(1, None), (3, 5), (2, 10)])
def test_an_optimizer_whose_weights_are_all_frozen_keeps_its_count_and_rate(workers, tick):
    def work() -> Any:
        dt.clear_session()
        dt.set_random_seed(5)
        model, freezes = Pair(), FreezesFirst()
        model(X[:1])
        model.compile(dt.optimizers.Adam(0.02), dt.optimizers.SGD(0.05, momentum=0.9))
        model.fit(X, batch_size=8, epochs=5, verbose=0, callbacks=[freezes])
        slots = {name: [part.numpy().tobytes() for part in parts] for name, parts in model.first_optimizer.slots.items()}
        return model.digest(), freezes.notes, slots

    expected = alone(work)
    assert [note[1] for note in expected[1]] == [4, 4, 4, 8, 12] and expected[1][-1][2] == pytest.approx(0.001)
    faults = FaultPlan() if tick is None else FaultPlan().kill("w1", tick, "before")
    with driven(workers, faults):
        assert work() == expected
        assert faults.all_fired


def test_a_second_driver_finds_all_that_one_optimizer_has_frozen(tmp_path):
    def work(*more: Any) -> Any:
        dt.clear_session()
        dt.set_random_seed(5)
        model, freezes = Pair(), FreezesFirst()
        model(X[:1])
        model.compile(dt.optimizers.Adam(0.02), dt.optimizers.SGD(0.05, momentum=0.9))
        model.fit(X, batch_size=8, epochs=5, verbose=0, callbacks=[freezes, *more])
        return model.digest(), freezes.notes[-1]

    class Dies(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    expected = alone(work)
    with driven(2, url=str(tmp_path), every="1steps"), pytest.raises(KeyboardInterrupt):
        work(Dies())
    with driven(3, url=str(tmp_path)) as second:
        assert second.resume is not None and second.resume.tick > 0
        assert work() == expected


def test_a_stop_that_was_asked_for_before_the_driver_died_is_still_asked_for(tmp_path):
    class Stops(dt.Callback):
        """Asks within the second epoch; that epoch's validation and its end still come."""

        def __init__(self, dies: bool) -> None:
            super().__init__()
            self.dies, self.epochs = dies, []

        def on_train_batch_end(self, batch, logs=None):
            if self.params["epochs"] and len(self.epochs) == 1 and batch == 0:
                self.model.stop_training = True

        def on_test_batch_end(self, batch, logs=None):
            if self.dies and len(self.epochs) == 1:
                wait_until(lambda: [save for save in driver.events("committed") if save["step"] >= 4])
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(epoch)

        def state_dict(self):
            return {"epochs": self.epochs}

        def load_state_dict(self, state):
            self.epochs = state["epochs"]

    expected = alone(lambda: train(Stops(dies=False)))
    assert len(expected[1]["loss"]) == 2
    with driven(2, url=str(tmp_path), every="1steps") as driver, pytest.raises(KeyboardInterrupt):
        train(Stops(dies=True))
    with driven(2, url=str(tmp_path)) as second:
        assert second.resume.tick > EPOCH_TICKS
        assert train(Stops(dies=False)) == expected


# -- checkpoints that many boundaries have passed since ------------------------------------------------------------------------------------


class Counts(dt.Callback):
    """Counts batches, tells the logs of it, and does something at the 155th; the count is a part of its state."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.count, self.act, self.done = 0, act, False

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == 155 and not self.done:
            self.done = True
            self.act()

    def on_epoch_end(self, epoch, logs=None):
        logs["count"] = self.count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def many_batches(callback: dt.Callback) -> Any:
    model = make_model()
    history = model.fit(X, Y, batch_size=4, epochs=22, verbose=0, callbacks=callback)
    return model.digest(), history.history


def test_callbacks_go_back_to_a_checkpoint_many_boundaries_ago(tmp_path):
    expected = alone(lambda: many_batches(Counts()))
    with driven(2, url=str(tmp_path), every="80steps") as driver:

        def everybody() -> None:
            wait_until(lambda: driver.events("committed"))
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert many_batches(Counts(everybody)) == expected
        assert len(driver.events("restart")) == 1


def test_a_checkpoint_that_is_long_under_way_has_the_counters_of_its_step(tmp_path, monkeypatch):
    from disttrain.elastic import shard_writer

    gate, write = threading.Event(), shard_writer.write_shard_insistently
    monkeypatch.setattr(
        shard_writer, "write_shard_insistently", lambda *arguments, **named: gate.wait(600.0) and write(*arguments, **named)
    )
    expected = alone(lambda: many_batches(Counts()))
    with driven(2, url=str(tmp_path), every="80steps") as driver:

        def die() -> None:
            gate.set()
            wait_until(lambda: driver.events("committed"))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            many_batches(Counts(die))
    with driven(2, url=str(tmp_path)) as second:
        assert second.resume.extra["meta"]["optimizer"]["iterations"] == 80
        assert many_batches(Counts()) == expected


class RatePerBatch(dt.Callback):
    """A learning rate that falls with a count of batches, and losses gathered in each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.losses = 0, []

    def on_epoch_begin(self, epoch, logs=None):
        self.losses = []

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1
        self.model.optimizer.learning_rate = 0.02 / self.count

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        logs["of_batches"] = sum(self.losses)

    def state_dict(self):
        return {"count": self.count, "losses": list(self.losses)}

    def load_state_dict(self, state):
        self.count, self.losses = state["count"], state["losses"]


@pytest.mark.parametrize("step", [4, 5])
def test_what_callbacks_count_at_the_beginning_of_epochs_and_batches_counts_once_over_a_restart(tmp_path, step):
    class Dies(dt.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == step:
                wait_until(lambda: [save for save in driver.events("committed") if save["step"] == step])
                raise KeyboardInterrupt

    expected = alone(lambda: train(RatePerBatch()))
    with driven(2, url=str(tmp_path), every="1steps") as driver, pytest.raises(KeyboardInterrupt):
        train([RatePerBatch(), Dies()])
    with driven(3, url=str(tmp_path)) as second:
        assert second.resume.extra["meta"]["optimizer"]["iterations"] == step
        assert train(RatePerBatch()) == expected


class Looks(dt.Callback):
    """Notes the state at the beginning of each epoch and at the end, and halves the rate after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}

    def _look(self, when: Any) -> None:
        optimizer = self.model.optimizer
        slots = [slot.numpy().tobytes() for slot in optimizer.slots["velocity"]]
        weights = [weight.tobytes() for weight in self.model.get_weights()]
        self.seen[when] = weights, slots, optimizer.iterations, float(optimizer.learning_rate)

    def on_epoch_begin(self, epoch, logs=None):
        self._look(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate *= 0.5

    def on_train_end(self, logs=None):
        self._look("end")


@pytest.mark.parametrize(("dies_at", "first_seen"), [(2, 2), (9, "end")])
def test_a_restarted_driver_shows_the_hooks_the_checkpoint_and_not_the_beginning(tmp_path, monkeypatch, dies_at, first_seen):
    class Dies(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == dies_at:
                wait_until(lambda: [save for save in driver.events("committed") if save["step"] == 3 * dies_at])
                raise KeyboardInterrupt

    def work(*callbacks: Any) -> Any:
        return train([*callbacks], epochs=4)

    undisturbed, looks = Looks(), Looks()
    expected = alone(lambda: work(undisturbed))

    def dies(directory: RunDirectory, call: int, record: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, driven(2, url=str(tmp_path), every="epoch") as driver:
        patched.setattr(RunDirectory, "finish_call", dies)  # all is done, but for the record that it is
        with pytest.raises(KeyboardInterrupt):
            work(Looks(), Dies())
    with driven(3, url=str(tmp_path)):
        assert work(looks) == expected
    assert next(iter(looks.seen)) == first_seen
    assert {when: undisturbed.seen[when] for when in looks.seen} == looks.seen


@pytest.mark.parametrize("kill", [None, 4, 6])
def test_a_validation_that_a_callback_ends_early_is_of_the_batches_until_then(kill):
    def work(stop_after: int) -> Any:
        model, notes = make_model(), Notes(stop_after)
        history = model.fit(X, Y, batch_size=5, epochs=2, validation_split=0.5, verbose=0, callbacks=notes)
        return model.digest(), history.history, notes.notes

    expected = alone(lambda: work(1))
    assert [note[1] for note in expected[2] if note[0] == "test-"] == [0, 1, 0, 1]
    assert expected[1]["val_loss"] != alone(lambda: work(99))[1]["val_loss"]
    faults = FaultPlan() if kill is None else FaultPlan().kill("w1", kill)
    with driven(3, faults):
        assert work(1) == expected
        assert faults.all_fired


def test_a_loss_that_is_heard_of_together_with_a_boundary_does_not_hang_the_hook_that_looks():
    class Looks(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["norm"] = float(sum(abs(weight).sum() for weight in self.model.get_weights()))

    expected = alone(lambda: train(Looks()))
    with driven(3) as driver:
        reports, waits = driver.cluster.reports, []

        def together(timeout_s: float) -> list[object]:
            heard = reports(timeout_s)
            if not waits and any(isinstance(report, AtBoundary) for report in heard):
                driver.cluster.kill("w0")  # which is asked for the weights
                while not any(isinstance(report, WorkerLost) for report in heard):
                    heard += reports(0.1)
                waits.append(time.monotonic())
            assert not waits or time.monotonic() - waits[0] < 20.0, "the loss is not heard of"
            return heard

        driver.cluster.reports = together
        assert train(Looks()) == expected
        assert driver.events("worker lost")
