"""Indices that no kernel of a GPU may see: the CPU stands for one here, on which kernels would end the process."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from thread_runs import driven

import disttrain as dt
from disttrain import bounds, layers, ops
from disttrain.bounds import Ledger, kept_in, watching
from disttrain.errors import DataError
from disttrain.training.local import runner

TOKENS = np.arange(48).reshape(16, 3) % 10
LABELS = np.arange(16) % 4


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(bounds, "guarded", lambda device: device.type != "meta")


def integers(*values):
    return torch.tensor(values)


# -- one tensor -------------------------------------------------------------------------------------------------------------------------


def test_on_a_cpu_indices_stay_as_they_are_and_the_kernel_says_what_is_wrong():
    given = integers(0, 12)
    assert kept_in(given, 10, "x: got indices") is given


def test_outside_a_step_an_index_outside_is_told_on_the_spot(as_on_a_gpu):
    assert kept_in(integers(0, 9), 10, "x: got indices").tolist() == [0, 9]
    with pytest.raises(DataError, match=r"x: got indices from -1 to 12, expected 0 to 9\."):
        kept_in(integers(-1, 12), 10, "x: got indices")


def test_inside_a_step_it_is_put_into_the_range_and_noted(as_on_a_gpu):
    ledger = Ledger()
    with watching(ledger):
        assert kept_in(integers(-3, 4, 12), 10, "x: got indices").tolist() == [0, 4, 9]
        assert kept_in(integers(5), 10, "x: got indices").tolist() == [5]
    assert ledger.wrong() == "x: got indices from -3 to 12, expected 0 to 9."
    assert ledger.wrong() is None


def test_a_value_that_does_not_count_may_lie_outside(as_on_a_gpu):
    ledger = Ledger()
    with watching(ledger):
        assert kept_in(integers(-100, 2, 7), 4, "labels", but=-100).tolist() == [-100, 2, 3]
    assert ledger.wrong() == "labels from 0 to 7, expected 0 to 3."


def test_a_loss_becomes_nan_only_where_something_lay_outside_and_keeps_its_bits_and_gradients_else(as_on_a_gpu):
    ledger, weight = Ledger(), torch.tensor(1.7, requires_grad=True)
    with watching(ledger):
        kept_in(integers(1, 2), 3, "a")
        loss = ledger.poisoned(weight * weight)
        loss.backward()
        assert loss.item() == (weight * weight).item() and weight.grad.item() == (2 * weight).item()
        kept_in(integers(3), 3, "a")
        assert ledger.poisoned(loss.detach()).isnan() and not ledger.poisoned(loss.detach()).isnan()
    assert ledger.wrong() == "a from 1 to 3, expected 0 to 2."


def test_a_prediction_of_any_length_gathers_few_notes(as_on_a_gpu):
    ledger = Ledger()
    with watching(ledger):
        for number in range(1000):
            kept_in(integers(number % 4), 3, "a")
        assert len(ledger._new) < 100 and len(ledger._excesses) < 100
        assert ledger.poisoned(torch.tensor(1.0)).isnan()


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: ops.take(torch.ones(4), torch.tensor([0, 4])), "take: indices from 0 to 4, expected 0 to 3"),
        (lambda: ops.take(torch.ones(4), torch.tensor([-5])), "take: indices from -1 to -1, expected 0 to 3"),
        (lambda: ops.take_along_axis(torch.ones(2, 3), torch.tensor([[3], [0]]), axis=1), "take_along_axis: indices from 0 to 3"),
        (lambda: layers.CategoryEncoding(3)(torch.tensor([0, 3])), "got indices from 0 to 3, expected 0 to 2"),
        (lambda: layers.Embedding(5, 2, name="words")(torch.tensor([5])), "Embedding 'words': got indices from 5 to 5, expected 0 to 4"),
        (lambda: dt.losses.get("sparse_categorical_crossentropy")([3], [[0.5, 0.5]]), "y_true has labels from 3 to 3, expected 0 to 1"),
        (lambda: dt.metrics.get("sparse_categorical_crossentropy")([3], [[0.5, 0.5]]), "y_true has labels from 3 to 3, expected 0 to 1"),
        (lambda: dt.losses.CTC()(torch.tensor([[7]]), torch.zeros(1, 4, 3)), "ctc: y_true has labels from 7 to 7, expected 0 to 2"),
        (lambda: dt.losses.get(torch.nn.CrossEntropyLoss())(torch.tensor([2]), torch.zeros(1, 2)), "cross_entropy: labels from 2 to 2"),
    ],
)
def test_what_looks_up_by_an_index_looks_at_it_first(work, says, as_on_a_gpu):
    with pytest.raises(ValueError, match=says):
        work()


# -- a model ----------------------------------------------------------------------------------------------------------------------------


def make_model():
    dt.clear_session()
    dt.set_random_seed(3)
    model = dt.Sequential(
        [dt.Input((3,), dtype="int64"), layers.Embedding(10, 4, name="words"), layers.Flatten(), layers.Dense(4, activation="softmax")]
    )
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Late:
    """A dataset whose last samples hold what lies outside, which nobody sees before they come up."""

    def __init__(self, token=0, label=0, at=13):
        self.token, self.label, self.at = token, label, at

    def __len__(self):
        return 16

    def __getitem__(self, number):
        bad = number == self.at
        return TOKENS[number] + bad * self.token, int(LABELS[number]) + bad * self.label


def fit(data, *, model=None, virtual_workers=1, **arguments):
    model = model or make_model()
    with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
        model.fit(data, batch_size=4, epochs=2, verbose=0, shuffle=False, **arguments)
    return model.digest()


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_looking_changes_no_bit_of_a_training(virtual_workers, as_on_a_gpu, monkeypatch):
    looked = fit(Late(), virtual_workers=virtual_workers)
    monkeypatch.setattr(bounds, "guarded", lambda device: False)
    assert fit(Late(), virtual_workers=virtual_workers) == looked


@pytest.mark.parametrize("virtual_workers", [1, 2])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (Late(token=50), "Embedding 'words': got indices from . to 5., expected 0 to 9"),
        (Late(label=9), "sparse_categorical_crossentropy: y_true has labels from . to 1., expected 0 to 3"),
    ],
)
def test_a_training_says_which_index_it_met_before_anything_is_updated_by_it(data, says, virtual_workers, as_on_a_gpu):
    model = make_model()
    with pytest.raises(DataError, match=says):
        fit(data, model=model, virtual_workers=virtual_workers)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_training_that_ends_at_nan_is_not_taken_for_that(as_on_a_gpu):
    with pytest.raises(DataError, match="Embedding 'words'"):
        fit(Late(token=50), callbacks=[dt.callbacks.TerminateOnNaN()])


def test_evaluate_predict_and_validation_say_it_at_their_end(as_on_a_gpu):
    model = make_model()
    with pytest.raises(DataError, match="Embedding 'words': got indices"):
        model.evaluate(Late(token=50), batch_size=4, verbose=0)
    with pytest.raises(DataError, match="Embedding 'words': got indices"):
        model.predict(Late(token=50), batch_size=4, verbose=0)
    with pytest.raises(DataError, match="Embedding 'words': got indices"):
        fit(Late(), model=model, validation_data=Late(token=50))


def test_a_step_of_the_scripts_own_says_it_too(as_on_a_gpu):
    class Own(dt.Model):
        def __init__(self):
            super().__init__()
            self.words, self.flat, self.out = layers.Embedding(10, 4, name="words"), layers.Flatten(), layers.Dense(4, activation="softmax")

        def call(self, x):
            return self.out(self.flat(self.words(x)))

        def test_step(self, data):
            x, y = data
            return {"loss": self.compute_loss(x, y, self(x)).detach() * 0.0}

    model = Own()
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    with pytest.raises(DataError, match="Embedding 'words': got indices"):
        model.evaluate(Late(token=50), batch_size=4, verbose=0)


@pytest.mark.parametrize("at", [12, 13, 14, 15])
def test_of_several_workers_the_one_that_has_seen_it_tells(at, as_on_a_gpu):
    with driven(3) as run, pytest.raises(DataError, match="Embedding 'words': got indices"):
        make_model().fit(Late(token=50, at=at), batch_size=4, epochs=1, verbose=0, shuffle=False)
    assert Counter(event["event"] for event in run.console.events)["worker lost"] == 0
