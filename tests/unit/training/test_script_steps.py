"""Steps and losses that a script writes itself, in Keras's style, over slices and workers."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, copied, evaluation_of, job_of, on_workers, run_to_end, step

import disttrain as dt
from disttrain import layers, metrics
from disttrain.collectives import GroupBroken, SoloGroup
from disttrain.data.packing import unpack_x_y_sample_weight
from disttrain.errors import NonFiniteLoss, UsageError
from disttrain.layers.context import current
from disttrain.training.local import runner
from disttrain.training.step.engine import Engine

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(18, 3)).astype(np.float32), rng.normal(size=(18, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(1)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


class Base(dt.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.3)
        self.dense = layers.Dense(2, kernel_regularizer="l2")

    def call(self, x, training=False):
        return self.dense(self.drop(self.norm(x), training=training))


class KerasStep(Base):
    """The step of Keras's guide "customizing fit in torch"."""

    def train_step(self, data):
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        self.zero_grad()
        y_pred = self(x, training=True)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        loss.backward()
        trainable_weights = list(self.trainable_weights)
        gradients = [v.value.grad for v in trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, trainable_weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=len(x))
            else:
                metric.update_state(y, y_pred, sample_weight)
        return {m.name: m.result() for m in self.metrics}


def compiled(model, **arguments):
    model.compile(**{"optimizer": dt.optimizers.Adam(0.01), "loss": "mse", "metrics": ["mae"], **arguments})
    return model


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_the_step_of_keras_guide_gives_the_numbers_of_the_default_step(virtual_workers):
    def trained(kind):
        dt.clear_session()
        dt.set_random_seed(1)
        model = compiled(kind(name="same"))
        engine = run_to_end(Engine(job_of(model, virtual_workers, X, Y, batch_size=8, epochs=2, validation_split=0.3)))
        return model.get_weights(), engine.logs(engine.program.at(engine.program.ticks - 1))

    (ours, own_logs), (theirs, logs) = trained(KerasStep), trained(Base)
    assert own_logs.keys() == logs.keys() and own_logs == pytest.approx(logs, rel=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_super_train_step_may_be_extended_and_its_numbers_are_logged():
    class Extended(Base):
        def train_step(self, data):
            return {**super().train_step(data), "mine": 10.0}

        def test_step(self, data):
            return {**super().test_step(data), "mine": torch.tensor(5.0)}

    model = compiled(Extended())
    history = model.fit(X, Y, validation_data=(X, Y), epochs=2, verbose=0).history
    assert list(history) == ["loss", "mae", "mine", "val_loss", "val_mae", "val_mine"]
    assert history["mine"] == [10.0, 10.0] and history["val_mine"] == [5.0, 5.0]
    assert model.evaluate(X, Y, return_dict=True, verbose=0)["mine"] == 5.0


class Gan(dt.Model):
    """Two optimizers; the second update sees what the first has done."""

    def __init__(self):
        super().__init__()
        self.generator = dt.Sequential([dt.Input((2,)), layers.Dense(3), layers.BatchNormalization()])
        self.discriminator = dt.Sequential([dt.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dropout(0.2), layers.Dense(1)])
        self.d_metric, self.g_metric = metrics.Mean(name="d_loss"), metrics.Mean(name="g")

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def train_step(self, real):
        if isinstance(real, tuple):
            real = real[0]
        # Not the generator of the process, which these tests' workers, being threads, share.
        noise = torch.randn(len(real), 2, generator=current().generator(99, real.device))
        fake = self.generator(noise, training=True)
        self.zero_grad()
        d_loss = (self.discriminator(fake.detach(), training=True) ** 2).mean() + ((self.discriminator(real) - 1) ** 2).mean()
        d_loss.backward()
        weights = self.discriminator.trainable_weights
        with torch.no_grad():
            self.d_optimizer.apply([w.grad for w in weights], weights)
        self.zero_grad()
        g_loss = ((self.discriminator(self.generator(noise, training=True)) - 1) ** 2).mean()
        g_loss.backward()
        weights = self.generator.trainable_weights
        with torch.no_grad():
            self.g_optimizer.apply([w.grad for w in weights], weights)
        self.d_metric.update_state(d_loss, sample_weight=len(real))
        self.g_metric.update_state(g_loss, sample_weight=len(real))
        return {"d_loss": self.d_metric.result(), "g_loss": self.g_metric.result(), "noise": noise.mean()}


def gan() -> Gan:
    model = Gan()
    model.compile(dt.optimizers.Adam(0.02), dt.optimizers.SGD(0.05, momentum=0.9))
    return model


def test_two_optimizers_update_one_after_the_other_as_in_a_plain_loop():
    model = gan()
    real = torch.tensor(X[:8])
    copy = gan()
    copy.set_weights(model.get_weights())
    model.discriminator.layers[1].rate = copy.discriminator.layers[1].rate = 0.0
    d_optimizer = torch.optim.SGD(copy.discriminator.parameters(), lr=0.1)
    g_optimizer = torch.optim.SGD(copy.generator.parameters(), lr=0.1)
    model.compile(dt.optimizers.SGD(0.1), dt.optimizers.SGD(0.1))
    engine = Engine(job_of(model, 1, X[:8], batch_size=8, shuffle=False))
    seen = []
    model.generator.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    step(engine)
    noise = seen[0]
    d_loss = (copy.discriminator(copy.generator(noise, training=True).detach()) ** 2).mean() + ((copy.discriminator(real) - 1) ** 2).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_optimizer.zero_grad()
    ((copy.discriminator(copy.generator(noise, training=True)) - 1) ** 2).mean().backward()
    g_optimizer.step()
    for ours, theirs in zip(model.trainable_weights, copy.trainable_weights, strict=True):
        np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-6)
    assert engine.results()["d_loss"] == pytest.approx(d_loss.item(), rel=1e-5)


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("make", [lambda: (compiled(KerasStep()), (X, Y)), lambda: (gan(), (X,))], ids=["one optimizer", "two optimizers"])
def test_a_step_of_the_scripts_own_gives_the_same_bits_on_any_number_of_workers(make, workers):
    model, data = make()
    job = job_of(model, 4, *data, batch_size=8, epochs=2)  # the last batch holds two samples, fewer than slices
    expected = run_to_end(alone(job))
    for engine in on_workers(job, workers):
        assert bits(engine) == bits(expected) and engine.replica.train_logs == expected.replica.train_logs
    assert expected.replica.optimizer.iterations == 6 and all(
        state.optimizer.iterations == 6 for state in expected.replica.state.optimizers
    )


def test_a_group_that_breaks_between_two_updates_leaves_the_state_of_the_tick_before():
    job = job_of(gan(), 4, X, batch_size=8)
    expected = bits(run_to_end(alone(job)))
    stepped = threading.Event()
    seen = {}

    def work(engine: Engine) -> Engine:
        step(engine)
        if engine.workspace.group.rank == 1:
            stepped.wait()
            rounds = engine.workspace.reduce

            def breaking(*args, **kwargs):
                if seen.setdefault("rounds", 0) == 1:
                    engine.workspace.group.abort()
                seen["rounds"] += 1
                return rounds(*args, **kwargs)

            engine.workspace.reduce = breaking
            with pytest.raises(GroupBroken):
                step(engine)
            return engine
        before = bits(engine)
        stepped.set()
        with pytest.raises(GroupBroken):
            step(engine)
        seen["same"] = bits(engine) == before
        engine.attach(SoloGroup(), [(0, 4)])
        return run_to_end(engine)

    survivor = on_workers(job, 2, work)[0]
    assert seen["same"] and seen["rounds"] == 2
    assert bits(survivor) == expected


def test_the_state_of_every_optimizer_travels_to_another_engine():
    job = job_of(gan(), 2, X, batch_size=8, epochs=2)
    first, second = alone(job), alone(job)
    for _ in range(2):
        step(first)
    assert {"d_optimizer/momentum", "g_optimizer/momentum"} <= {name.rsplit("/", 1)[0] for name in first.replica.state_dict().tensors}
    second.replica.load_state_dict(copied(first))
    assert bits(run_to_end(second)) == bits(run_to_end(first))


def test_updates_that_differ_between_slices_are_refused():
    class Moody(Base):
        def train_step(self, data):
            x, y = data
            loss = ((self(x, training=True) - y) ** 2).mean()
            loss.backward()
            weights = self.trainable_weights
            if len(x) == 2 or float(x[0, 0]) > 0:
                self.optimizer.apply([w.grad for w in weights], weights)
            return {"loss": loss}

    x = np.ones((8, 3), np.float32)
    x[4:] = -1
    with pytest.raises(UsageError, match="different updates for different slices"):
        run_to_end(Engine(job_of(compiled(Moody()), 2, x, Y[:8], batch_size=8, shuffle=False)))


@pytest.mark.parametrize(
    ("returned", "says"),
    [(None, "returned NoneType"), ({"loss": torch.zeros(2)}, "expected a metric's result or a number"), ({"loss": "low"}, "'loss' as str")],
)
def test_what_is_no_dict_of_logs_is_refused(returned, says):
    class Odd(Base):
        def train_step(self, data):
            return returned

    with pytest.raises(UsageError, match=says):
        compiled(Odd()).fit(X, Y, verbose=0)


def test_a_gradient_for_something_that_is_no_weight_is_refused_with_the_order_of_the_arguments():
    class Swapped(Base):
        def train_step(self, data):
            x, y = data
            ((self(x) - y) ** 2).mean().backward()
            weights = self.trainable_weights
            self.optimizer.apply(weights, [w.grad for w in weights])

    with pytest.raises(UsageError, match="gradients first, as in Keras"):
        compiled(Swapped()).fit(X, Y, verbose=0)


def test_a_loss_that_is_not_finite_puts_the_weights_back():
    x = X.copy()
    x[9] = np.nan
    engine = Engine(job_of(compiled(KerasStep()), 2, x, Y, batch_size=6, shuffle=False))
    step(engine)
    before = bits(engine)
    with pytest.raises(NonFiniteLoss, match="nan at step"):
        step(engine)
    assert bits(engine) == before


def test_compute_loss_may_be_written_anew_and_update_metrics():
    class Loss(Base):
        def __init__(self):
            super().__init__()
            self.custom = metrics.Mean(name="custom")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            self.custom.update_state(loss * 4, sample_weight=len(x))
            return loss

    model = compiled(Loss())
    history = model.fit(X, Y, batch_size=8, epochs=2, validation_split=0.3, verbose=0).history
    assert list(history) == ["custom", "loss", "mae", "val_custom", "val_loss", "val_mae"]
    np.testing.assert_allclose(history["custom"], np.multiply(history["loss"], 4), rtol=1e-5)
    np.testing.assert_allclose(history["val_custom"], np.multiply(history["val_loss"], 4), rtol=1e-5)
    job = job_of(model, 4, X, Y, batch_size=8)
    expected = run_to_end(alone(job))
    for engine in on_workers(job, 3):
        assert bits(engine) == bits(expected) and engine.replica.train_logs == expected.replica.train_logs


def test_a_compute_loss_from_before_keras_gave_it_training_is_called_without():
    class Old(Base):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return ((y_pred - y) ** 2).mean() + sum(self.losses)

    history = compiled(Old(), loss=None, metrics=None).fit(X, Y, verbose=0).history
    assert list(history) == ["loss"]


def test_a_model_of_its_own_loss_layers_needs_no_compiled_loss():
    class Sum(layers.Layer):
        def call(self, x):
            self.add_loss(x.sum())
            self.add_metric(x.abs().mean(), name="size")
            return x

    model = dt.Sequential([dt.Input((3,)), layers.Dense(2), Sum(), layers.Dense(1)])
    model.compile("adam")
    assert list(model.fit(X, verbose=0).history) == ["loss", "size"]
    plain = dt.Sequential([dt.Input((3,)), layers.Dense(2)])
    plain.compile("adam")
    with pytest.raises(UsageError, match="no loss to compute"):
        plain.fit(X, verbose=0)


def test_what_layers_log_is_the_mean_over_all_samples_whatever_the_slices():
    class Log(layers.Layer):
        def call(self, x):
            self.add_metric(x.sum(-1), name="row_sum")
            return x

    model = dt.Sequential([dt.Input((3,)), Log(), layers.Dense(2)])
    model.compile("sgd", "mse")
    for virtual_workers in (1, 4):
        engine = run_to_end(Engine(evaluation_of(model, virtual_workers, X, Y, batch_size=8)))
        assert engine.results()["row_sum"] == pytest.approx(X.sum(-1).astype(np.float64).mean(), rel=1e-5)


def test_metrics_names_and_order_are_those_of_keras():
    model = compiled(Base())
    assert model.metrics_names == ["loss", "compile_metrics"]
    assert model.evaluate(X, Y, verbose=0) == [model.evaluate(X, Y, verbose=0, return_dict=True)[name] for name in ("loss", "mae")]


def test_a_predict_step_of_the_scripts_own_gives_the_outputs():
    class Doubled(Base):
        def predict_step(self, data):
            return 2 * super().predict_step(data)

    model = compiled(Doubled())
    np.testing.assert_allclose(model.predict(X, verbose=0, batch_size=5), 2 * model(X).detach(), rtol=1e-6)


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_the_scripts_generators_are_left_alone_and_a_step_draws_the_same_each_time(virtual_workers):
    class Noisy(Base):
        def train_step(self, data):
            draws = torch.rand(()), np.random.rand(), random.random()
            logs = super().train_step(data)
            return {**logs, "drawn": sum(draws), "drawn_later": torch.rand(())}

    def losses():
        dt.clear_session()
        dt.set_random_seed(3)
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
            history = compiled(Noisy()).fit(X, Y, batch_size=8, epochs=2, verbose=0).history
        return history, torch.rand(1).item()

    first = losses()
    assert losses() == first and len({*first[0]["drawn"], *first[0]["drawn_later"]}) == 4
