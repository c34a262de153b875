"""Losses that divide by a count of the whole batch: slices stop, ask, and go on; on any number of workers, also with nothing to do."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_runs import alone, bits, job_of, on_workers, run_to_end, step
from torch import nn

import disttrain as dt
from disttrain import losses
from disttrain.errors import NonFiniteLoss, UsageError
from disttrain.training.program import Kind

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(11, 3)).astype("float32")
LABELS = np.array([0, -100, -100, 1, 2, -100, 1, 1, 0, 2, -100])


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(1)


def model_of(loss: Any, net: Any = None, **arguments: Any) -> Any:
    model = dt.Sequential([net or nn.Linear(3, 3)])
    model.compile(dt.optimizers.SGD(0.1), loss, **arguments)
    return model


def ignoring(y_true, y_pred):
    return F.cross_entropy(y_pred, y_true)


def test_torchs_mean_in_a_lambda_is_that_of_the_batch():
    net = nn.Linear(3, 3)
    expected = float(F.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(LABELS)).detach())
    for virtual_workers in (1, 2, 3, 11):
        engine = alone(job_of(model_of(ignoring, net), virtual_workers, X, LABELS, batch_size=11))
        step(engine)
        assert engine.results_of(Kind.TRAIN)["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_worker_without_a_slice_takes_part_in_the_questions():
    job = job_of(model_of(ignoring), 4, X, LABELS, batch_size=5, validation_data=(X, LABELS))  # 5, 5 and one sample: three workers idle
    expected = bits(run_to_end(alone(job)))
    for workers in (2, 4):
        for engine in on_workers(job, workers):
            assert bits(engine) == expected


def test_slices_may_ask_more_or_less_often():
    class Sometimes(dt.Model):
        def __init__(self):
            super().__init__()
            self.head = dt.layers.Dense(3)

        def call(self, x):
            return self.head(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = F.cross_entropy(y_pred, y)
            return loss + F.nll_loss(y_pred, y) if bool((y == 2).any()) else loss

    model = Sometimes()
    model.compile(dt.optimizers.SGD(0.1))
    job = job_of(model, 4, X, LABELS, batch_size=11, shuffle=False)
    expected = bits(run_to_end(alone(job)))
    for engine in on_workers(job, 3):
        assert bits(engine) == expected


def test_outside_a_training_the_count_is_ones_own():
    assert losses.batch_divisor(3.0).item() == 3.0
    assert losses.batch_divisor(torch.tensor(0.0), least=1.0).item() == 1.0


@pytest.mark.filterwarnings("ignore:.* is no mean over samples")  # a constant is no count
def test_too_many_numbers_are_refused():
    model = model_of(lambda y_true, y_pred: y_pred.sum() / losses.batch_divisor(torch.ones(17)).sum())
    with pytest.raises(UsageError, match="a count of 17 numbers"):
        step(alone(job_of(model, 2, X, LABELS, batch_size=11)))


@pytest.mark.parametrize("name", sorted(set(losses.CLASSES) - {"CTC", "Circle"}))  # sequences; a mean over positive values
def test_means_over_samples_ask_nobody(name):
    kind = losses.CLASSES[name]
    logits = {"from_logits": True} if "from_logits" in signature(kind).parameters else {}
    labels = np.abs(LABELS) % 3
    targets = labels if name.startswith("Sparse") or name == "CategoricalGeneralizedCrossEntropy" else np.eye(3)[labels]
    for loss in [kind(), kind(**logits)][: 1 + bool(logits)]:
        engine = alone(job_of(model_of(loss, nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1))), 3, X, targets, batch_size=11))
        assert engine.workspace.asking is None


def test_a_label_that_torch_would_ignore_is_no_class_of_ours():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises((IndexError, ValueError), match="-100"):
        loss(torch.tensor(LABELS), torch.zeros(11, 3))


def test_an_error_in_one_slice_ends_the_step_and_leaves_the_state():
    def failing(y_true, y_pred):
        if bool((y_true == 0).any()) and y_true.shape[0] < 11:
            raise ZeroDivisionError
        return F.cross_entropy(y_pred, y_true)

    engine = alone(
        job_of(model_of(failing, nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))), 3, X, np.append(LABELS[1:], 0), batch_size=11)
    )
    before = bits(engine)
    with pytest.raises(ZeroDivisionError):
        step(engine)
    assert bits(engine) == before


def test_a_batch_norm_beside_it_moves_as_without_questions():
    def run(loss):
        dt.clear_session()
        net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        torch.manual_seed(0)
        for param in net.parameters():
            nn.init.normal_(param)
        job = job_of(model_of(loss, net), 3, X, np.abs(LABELS) % 3, batch_size=11, shuffle=False)
        engine = alone(job)
        step(engine)
        return {name: value for name, value in engine.replica.state_dict().tensors.items() if "running" in name}

    asked, plain = run(ignoring), run(lambda y_true, y_pred: -y_pred.log_softmax(-1).gather(1, y_true[:, None]).mean())
    assert asked and all(torch.equal(asked[name], plain[name]) for name in asked)


def test_the_step_of_a_loss_that_is_not_finite_is_right_for_steps_of_ones_own():
    class Own(dt.Model):
        def __init__(self):
            super().__init__()
            self.head = dt.layers.Dense(3)

        def call(self, x):
            return self.head(x)

        def train_step(self, data):
            return super().train_step(data)

    x = X.copy()
    x[6] = np.nan
    model = Own()
    model.compile(dt.optimizers.SGD(0.1), losses.SparseCategoricalCrossentropy(from_logits=True))
    for virtual_workers in (1, 2):
        with pytest.raises(NonFiniteLoss, match=r"at step 2 \(epoch 1, batch 2\)"):
            run_to_end(alone(job_of(model, virtual_workers, x, np.abs(LABELS) % 3, batch_size=4, shuffle=False)))


def test_nobody_is_asked_where_every_label_is_seen_to_count():
    labels = np.abs(LABELS) % 3
    some, every, unseen = (
        alone(job_of(model_of(nn.CrossEntropyLoss()), 3, *data, batch_size=11))
        for data in ((X, LABELS), (X, labels), (torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(labels)),))
    )
    assert some.workspace.asking is not None and unseen.workspace.asking is not None
    assert every.workspace.asking is None
    weighted = model_of(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])))
    assert alone(job_of(weighted, 3, X, labels, batch_size=11)).workspace.asking is not None
