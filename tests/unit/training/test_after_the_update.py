"""What stands around the update: constraints, averages, loss scales, states of rows, other calls in the middle of a fit, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, copied, evaluation_of, job_of, on_workers, run_to_end, step

import disttrain as dt
from disttrain import layers
from disttrain.errors import DataError, RunMismatch
from disttrain.layers.context import current
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.local import runner
from disttrain.training.step.engine import Engine
from disttrain.training.step.replica import StateDict

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(24, 3)).astype(np.float32), rng.normal(size=(24, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(2)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


def dense(optimizer="sgd", **arguments) -> dt.Sequential:
    model = dt.Sequential([dt.Input((3,)), layers.Dense(2, **arguments)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_constraints_hold_after_each_update(virtual_workers):
    model = dense(dt.optimizers.SGD(0.5), kernel_constraint=dt.constraints.NonNeg(), bias_constraint=lambda w: w.clamp(-0.01, 0.01))
    engine = Engine(job_of(model, virtual_workers, X, Y, batch_size=6))
    free = dense(dt.optimizers.SGD(0.5))
    free.set_weights(model.get_weights())
    before = [weight.clone() for weight in model.weights]
    step(engine)
    step(Engine(job_of(free, virtual_workers, X, Y, batch_size=6)))
    assert torch.equal(model.weights[0], free.weights[0].relu()) and not torch.equal(model.weights[0], before[0])
    assert torch.equal(model.weights[1], free.weights[1].clamp(-0.01, 0.01))


def test_constraints_give_the_same_bits_on_any_number_of_workers():
    job = job_of(dense("adam", kernel_constraint="unit_norm"), 4, X, Y, batch_size=8, epochs=2)
    expected = bits(run_to_end(alone(job)))
    for engine in on_workers(job, 3):
        assert bits(engine) == expected


class Seen(dt.Callback):
    """What the weights were at the last two hooks."""

    def on_epoch_end(self, epoch, logs=None):
        self.at_epoch_end = self.model.get_weights()[0]

    def on_train_end(self, logs=None):
        self.at_train_end = self.model.get_weights()[0]


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_the_average_of_the_weights_takes_their_place_once_after_the_last_epoch(virtual_workers):
    seen = Seen()
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
        model = dense(dt.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
        model.fit(X, Y, batch_size=8, epochs=1, verbose=0, callbacks=[seen])
    average = model.optimizer.slots["average"][0].numpy()
    assert np.array_equal(model.get_weights()[0], average) and np.array_equal(seen.at_train_end, average)
    assert not np.array_equal(seen.at_epoch_end, average)


def test_weights_that_a_callback_puts_back_at_the_end_win_over_the_average():
    engine = alone(job_of(dense(dt.optimizers.SGD(0.1, use_ema=True)), 2, X, Y, batch_size=8))
    for _ in range(3):
        step(engine)
    name, tensor = engine.replica.model.named_weights()[0]
    engine.apply(BoundaryDecision(arrays={f"model/{name}": np.full(tuple(tensor.shape), 7.0, np.float32)}, end_call=True))
    assert torch.equal(tensor, torch.full_like(tensor, 7.0))
    bias = engine.replica.model.named_weights()[1][1]
    assert torch.equal(bias, engine.replica.optimizer.slots["average"][1])


def test_a_state_taken_after_the_end_is_not_averaged_again():
    engine = run_to_end(alone(job_of(dense(dt.optimizers.SGD(0.1, use_ema=True)), 2, X, Y, batch_size=8)))
    other = alone(engine.job)
    other.replica.load_state_dict(copied(engine))
    other.replica.finalize()
    assert bits(other) == bits(engine)


def test_a_scaled_loss_gives_the_numbers_of_a_plain_one():
    histories = []
    for optimizer in (dt.optimizers.Adam(0.01), dt.optimizers.LossScaleOptimizer(dt.optimizers.Adam(0.01), initial_scale=1024.0)):
        dt.set_random_seed(2)
        with runner.installed(runner.LocalRunner(runner._InProcess())):
            histories.append(dense(optimizer).fit(X, Y, batch_size=8, epochs=2, verbose=0).history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-6)


# -- half precision ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_losses_gradients_and_slots_in_float32_and_the_bits_over_workers(policy):
    def build():
        return dt.Sequential([dt.Input((3,)), layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dense(2)])

    dt.mixed_precision.set_global_policy(policy)
    try:
        model = build()
    finally:
        dt.mixed_precision.set_global_policy("float32")
    model.compile(dt.optimizers.Adam(0.01), "mse", metrics=["mae"])
    assert isinstance(model.optimizer, dt.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    exact = build()
    exact.compile(dt.optimizers.Adam(0.01), "mse", metrics=["mae"])
    exact.set_weights(model.get_weights())
    job = job_of(model, 4, X, Y, batch_size=8, epochs=3)
    engine = run_to_end(alone(job))
    assert {tensor.dtype for tensor in engine.replica.state_dict().tensors.values()} == {torch.float32, torch.float64}
    for other in on_workers(job, 3):
        assert bits(other) == bits(engine)
    loss = run_to_end(alone(job_of(exact, 4, X, Y, batch_size=8, epochs=3))).replica.train_logs["loss"]
    assert engine.replica.train_logs["loss"] == pytest.approx(loss, rel=0.1 if policy == "mixed_bfloat16" else 0.3)  # float16 skips steps
    assert model.predict(X[:2], verbose=0).dtype == (np.float32 if policy == "mixed_bfloat16" else np.float16)


def test_a_step_whose_scaled_gradients_overflow_is_skipped_and_halves_the_scale():
    model = dense(dt.optimizers.LossScaleOptimizer(dt.optimizers.SGD(0.1), initial_scale=2.0**127))
    engine = alone(job_of(model, 2, X * 100, Y, batch_size=8))
    before = [weight.clone() for weight in engine.replica.model.weights]
    step(engine)
    assert engine.replica.optimizer.iterations == 0 and engine.replica.optimizer.dynamic_scale == 2.0**126
    assert all(torch.equal(now, then) for now, then in zip(engine.replica.model.weights, before, strict=True))


# -- states of rows ---------------------------------------------------------------------------------------------------------------------


class Sums(layers.Layer):
    """The running sum of each row of the batch over the batches."""

    def __init__(self, batch: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.batch = batch

    def build(self, input_shape) -> None:
        self.total = self.add_row_state("total", (self.batch, input_shape[-1]))
        self.scale = self.add_weight("scale", (input_shape[-1],), "ones")

    def call(self, x):
        first, stop, _ = current().rows or (0, len(x), len(x))
        with torch.no_grad():
            self.total[first:stop] += x.detach()
        return self.total[first:stop].clone() * self.scale


def summing(batch: int = 6) -> dt.Sequential:
    model = dt.Sequential([Sums(batch)])
    model.compile(dt.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize("virtual_workers", [1, 4])
def test_row_states_go_on_from_batch_to_batch_in_training_evaluation_and_prediction(virtual_workers):
    model = summing()
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
        predicted = model.predict(X, batch_size=6, verbose=0)
        sums = X.reshape(4, 6, 3).cumsum(0)
        np.testing.assert_allclose(predicted, sums.reshape(24, 3), rtol=1e-5, atol=1e-6)
        model.fit(X, X, batch_size=6, shuffle=False, verbose=0)
        np.testing.assert_allclose(model.layers[0].total, 2 * sums[-1], rtol=1e-5, atol=1e-5)
        model.evaluate(X, X, batch_size=6, verbose=0)
        np.testing.assert_allclose(model.layers[0].total, 3 * sums[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [2, 3])
def test_row_states_of_slices_come_together_bit_for_bit(workers):
    model = summing()
    for job in (
        job_of(model, 4, X, X, batch_size=6, epochs=2, validation_data=(X[:12], X[:12])),
        evaluation_of(model, 4, X, X, batch_size=6),
    ):
        expected = bits(run_to_end(alone(job)))
        for engine in on_workers(job, workers):
            assert bits(engine) == expected


def test_batches_that_a_row_state_cannot_take_are_refused_at_the_door():
    with pytest.raises(DataError, match=r"keeps a state for each of 6 rows(.|\n)*batch_size=8(.|\n)*batch_size=6"):
        summing().fit(X, X, batch_size=8, verbose=0)
    with pytest.raises(DataError, match="22 samples, whose last batch holds 4"):
        summing().fit(X[:22], X[:22], batch_size=6, verbose=0)


# -- other calls in the middle ------------------------------------------------------------------------------------------------------------


class Busy(dt.Callback):
    """Uses the model in the middle of its training."""

    def __init__(self, action) -> None:
        super().__init__()
        self.action = action

    def on_epoch_begin(self, epoch, logs=None):
        self.action(self.model)


@pytest.mark.parametrize("virtual_workers", [1, 2])
@pytest.mark.parametrize(
    "action",
    [
        lambda model: model.evaluate(X, Y, verbose=0),
        lambda model: model.predict(X, verbose=0),
        lambda model: model.test_on_batch(X, Y),
    ],
    ids=["evaluate", "predict", "test_on_batch"],
)
def test_looking_at_the_model_from_a_callback_changes_nothing(action, virtual_workers):
    def trained(*callbacks):
        dt.clear_session()
        dt.set_random_seed(2)
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
            model = dense("adam")
            history = model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=list(callbacks)).history
            return history, model.digest()

    assert trained(Busy(action)) == trained()


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_training_on_the_model_from_a_callback_counts(virtual_workers):
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
        model, plain = dense(dt.optimizers.SGD(0.1)), dense(dt.optimizers.SGD(0.1))
        plain.set_weights(model.get_weights())
        model.fit(X, Y, epochs=2, shuffle=False, verbose=0, callbacks=[Busy(lambda m: m.train_on_batch(X, Y))])
        for _ in range(4):
            plain.train_on_batch(X, Y)
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_metrics_that_the_script_holds_show_the_last_results():
    metric = dt.metrics.MeanAbsoluteError(name="mine")
    model = dt.Sequential([dt.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[metric])
    history = model.fit(X, Y, batch_size=8, verbose=0)
    assert float(metric.result()) == pytest.approx(history.history["mine"][-1])


# -- resuming -----------------------------------------------------------------------------------------------------------------------------


class EveryBatch(dt.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch_size": 6}, "batch_size of the train steps: 8 then, 6 now"),
        ({"samples": 16}, "the number of samples of the train steps: 24 then, 16 now"),
        ({"steps_per_epoch": 2}, "the number of steps of the train steps: 3 then, 2 now"),
        ({"shuffle": False}, "shuffle of the train steps: True then, False now"),
        ({"validation_data": (X, Y)}, "validate steps: none then, some now"),
        ({"callbacks": [EveryBatch()]}, "callbacks with batch hooks"),
        ({"virtual_workers": 3}, "virtual workers: 2 then, 3 now"),
        ({"initial_epoch": 1}, "initial_epoch: 0 then, 1 now"),
    ],
)
def test_a_state_from_the_middle_of_another_call_is_refused_by_what_differs(changed, says):
    def job(samples=24, virtual_workers=2, **arguments):
        return job_of(dense(), virtual_workers, X[:samples], Y[:samples], **{"batch_size": 8, "epochs": 2, **arguments})

    engine = Engine(job())
    step(engine)
    where = StateDict({}, copied(engine).meta)
    Engine(job(epochs=5)).replica.load_state_dict(where, strict=False)  # more epochs are welcome
    with pytest.raises(RunMismatch, match=says):
        Engine(job(**changed)).replica.load_state_dict(where, strict=False)
    ended = StateDict({}, copied(run_to_end(engine)).meta)
    Engine(job(**changed)).replica.load_state_dict(ended, strict=False)  # at the end, ticks mean nothing any more
