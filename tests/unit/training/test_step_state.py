"""What a step changes beside its optimizer's weights: brought together over slices, or told by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import state_cases
import torch
from engine_runs import alone, bits, copied, job_of, run_to_end, step
from torch import nn

import disttrain as dt
from disttrain import layers
from disttrain.errors import NonFiniteLoss, UsageError
from disttrain.training.local import runner
from disttrain.training.step.engine import Engine

X, Y = np.ones((16, 2), np.float32), np.ones((16, 1), np.float32)


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(1)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


class Counting(dt.Model):
    """Moves a network that nobody trains by exactly 1 in each step, with Keras's words."""

    def __init__(self):
        super().__init__()
        self.net = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        self.target = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        self.target.trainable = False
        self.built = True

    def call(self, x):
        return self.net(x)

    def train_step(self, data):
        logs = super().train_step(data)
        self.target.set_weights([w + 1 for w in self.target.get_weights()])
        return logs


@pytest.mark.parametrize("virtual_workers", [1, 2, 3])
def test_set_weights_in_a_step_moves_a_target_once_for_each_step(virtual_workers):
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
        model = Counting()
        model.compile("sgd", "mse")
        before = model.target.get_weights()
        for moved in (4, 8):
            model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
            expected = before
            for _ in range(moved):
                expected = [w + 1 for w in expected]
            for now, then in zip(model.target.get_weights(), expected, strict=True):
                assert now.tobytes() == then.tobytes()


@pytest.mark.parametrize("name", ["target networks", "load_state_dict, a buffer set anew", "codes that follow the samples"])
def test_a_change_that_all_slices_make_alike_is_the_same_in_any_slices(name):
    def trained(virtual_workers):
        task = state_cases.step_task(name)
        engine = run_to_end(Engine(job_of(task.model, virtual_workers, task.x, task.y, batch_size=7, epochs=2)))
        return [array.double() for _, array in sorted(engine.replica.state_dict().tensors.items()) if array.is_floating_point()]

    for one, several in zip(trained(1)[:-1], trained(4)[:-1], strict=True):
        np.testing.assert_allclose(one, several, rtol=2e-5, atol=1e-6)


def test_what_a_step_moves_is_undone_with_the_step_and_travels_with_the_state():
    task = state_cases.step_task("target networks")
    x = task.x.copy()
    x[8] = np.nan
    job = job_of(task.model, 2, x, task.y, batch_size=4, shuffle=False)
    engine, other = alone(job), alone(job)
    start = bits(engine)
    for _ in range(2):
        step(engine)
    before = bits(engine)
    assert (
        before["model/target.0.weight"] != start["model/target.0.weight"] and before["model/hard.0.weight"] == start["model/hard.0.weight"]
    )
    with pytest.raises(NonFiniteLoss):
        step(engine)
    assert bits(engine) == before
    other.replica.load_state_dict(copied(engine))
    assert bits(other) == before


@pytest.mark.parametrize("clip", [lambda p: nn.utils.clip_grad_norm_(p, 0.05), lambda p: nn.utils.clip_grad_value_(p, 0.02)])
def test_clipping_in_a_step_clips_the_gradient_of_the_whole_batch(clip):
    def trained(virtual_workers):
        task = state_cases.step_task("SGD in a step")
        model = task.model

        def update(data):
            loss = model.loss_of(data)
            model.opt.zero_grad()
            loss.backward()
            norm = clip(list(model.net.parameters()))
            model.opt.step()
            model.norm = loss if norm is None else norm
            return model.norm

        model.update = update
        engine = run_to_end(Engine(job_of(model, virtual_workers, task.x * 10, task.y * 10, batch_size=7, epochs=2)))
        return engine.replica.train_logs, [p.detach().numpy() for p in model.net.parameters()]

    (one_logs, one), (logs, several) = trained(1), trained(4)
    assert logs["loss"] == pytest.approx(one_logs["loss"], rel=1e-5)
    for first, second in zip(one, several, strict=True):
        np.testing.assert_allclose(first, second, rtol=2e-5, atol=1e-6)


# -- attributes ---------------------------------------------------------------------------------------------------------------------------


def own_step(change, start=lambda self: None):
    class Own(dt.Model):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)
            self.opt = torch.optim.SGD(self.net.parameters(), lr=0.1)
            start(self)

        def call(self, x):
            return self.net(x)

        def train_step(self, data):
            x, y = data
            loss = ((self.net(x) - y) ** 2).mean()
            self.opt.zero_grad()
            loss.backward()
            self.opt.step()
            change(self, x)
            return {"loss": loss}

    model = Own()
    model.compile(loss="mse")
    return model


class Ema:
    """A helper as people write it: averages of weights in a dict."""

    def __init__(self, net):
        self.shadow = {name: p.detach().clone() for name, p in net.named_parameters()}

    def update(self, net):
        for name, p in net.named_parameters():
            self.shadow[name] = 0.9 * self.shadow[name] + 0.1 * p.detach() + 0.001


def counts(self, x):
    self.steps += 1


def appends(self, x):
    self.buffer.append(x.mean().item())


def averages(self, x):
    self.running.mul_(0.9).add_(x.mean(), alpha=0.1)


def draws(self, x):
    torch.rand(3, generator=self.noise)


CARRIED = {
    "self.steps": (counts, lambda self: setattr(self, "steps", 0)),
    "self.buffer": (appends, lambda self: setattr(self, "buffer", [])),
    "self.running": (averages, lambda self: setattr(self, "running", torch.zeros(2))),
    "self.noise": (draws, lambda self: setattr(self, "noise", torch.Generator().manual_seed(3))),
    "self.ema.shadow.weight": (lambda self, x: self.ema.update(self.net), lambda self: setattr(self, "ema", Ema(self.net))),
}


@pytest.mark.parametrize("name", CARRIED)
def test_an_attribute_that_is_handed_on_from_step_to_step_is_told_by_name(name):
    model = own_step(*CARRIED[name])
    with pytest.raises(UsageError, match=rf"train_step changes .*{name}(.|\n)*register_buffer"):
        Engine(job_of(model, 2, X, Y, batch_size=8))
    with pytest.warns(UserWarning, match=name):
        Engine(job_of(model, 1, X, Y, batch_size=8))


def test_a_counter_in_one_slice_counts_as_in_a_plain_loop():
    model = own_step(counts, lambda self: setattr(self, "steps", 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert model.steps == 4


def starts_once(self, x):
    if not self.started:
        self.net.bias.data.copy_(x.mean(0)[:1])
        self.started = True


def test_a_start_that_happens_once_is_told_by_the_flag():
    with pytest.raises(UsageError, match=r"sets self.started once"):
        Engine(job_of(own_step(starts_once, lambda self: setattr(self, "started", False)), 2, X, Y, batch_size=8))


def test_weights_written_into_later_than_in_the_trial_stop_the_training_by_name():
    def sometimes(self, x):
        if x[0, 0] > 1:
            self.net.weight.data.mul_(0.5)

    x = X.copy()
    x[8:] = 2
    with pytest.raises(UsageError, match="wrote into weights that it left alone when it was tried out"):
        own_step(sometimes).fit(x, Y, batch_size=8, shuffle=False, verbose=0)


def test_a_test_step_that_writes_into_weights_is_refused():
    class Own(dt.Model):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def call(self, x):
            return self.net(x)

        def test_step(self, data):
            self.net.weight.data.mul_(0.5)
            return {"loss": self.net(data[0]).mean()}

    model = Own()
    model.compile("sgd", "mse")
    with pytest.raises(UsageError, match=r"test_step writes into self.net.weight"):
        model.evaluate(X, Y, verbose=0)


# -- the forward pass of code that nobody knows -------------------------------------------------------------------------------------------


class Follows(nn.Module):
    """Keeps an average of what it sees, in whatever it is told."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        start = torch.zeros(2)
        if kind == "buffer":
            self.register_buffer("seen", start)
        else:
            self.seen = nn.Parameter(start, requires_grad=False) if kind == "parameter" else start

    def forward(self, x):
        if self.training:
            mean = 0.9 * self.seen + 0.1 * x.detach().mean(0)
            if self.kind == "parameter":
                self.seen.data = mean
            else:
                self.seen = mean
        self.last = x
        return x + self.seen


def following(kind):
    model = dt.Sequential([dt.Input((2,)), layers.TorchModule(Follows(kind)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_a_buffer_that_a_module_sets_anew_is_the_same_in_any_slices():
    def trained(virtual_workers):
        dt.set_random_seed(1)
        dt.clear_session()
        x = np.arange(32, dtype=np.float32).reshape(16, 2)
        model = following("buffer")
        run_to_end(Engine(job_of(model, virtual_workers, x, Y, batch_size=8, shuffle=False)))
        return dict(model.named_weights())

    one, two = trained(1), trained(2)
    name = next(name for name in one if name.endswith("seen"))
    assert one[name].abs().sum() > 0
    torch.testing.assert_close(one[name], two[name])


@pytest.mark.parametrize(
    ("kind", "says"), [("tensor", r"changes self\.\S*seen from step to step"), ("parameter", r"writes into self\.\S*seen itself")]
)
def test_a_pass_that_changes_what_slices_cannot_bring_together_is_told_by_name(kind, says):
    with pytest.raises(UsageError, match=says):
        Engine(job_of(following(kind), 2, X, Y, batch_size=8))
    run_to_end(Engine(job_of(following(kind), 1, X, Y, batch_size=8)))


def test_an_embedding_that_renorms_its_weights_is_refused_in_slices():
    model = dt.Sequential(
        [dt.Input((2,), dtype="int32"), layers.TorchModule(nn.Embedding(4, 2, max_norm=0.1)), layers.Flatten(), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    with pytest.raises(UsageError, match="max_norm=None"):
        Engine(job_of(model, 2, np.ones((16, 2), np.int32), Y, batch_size=8))
