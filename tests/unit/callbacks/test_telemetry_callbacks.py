import json
import math
import warnings

import numpy as np
import pytest

from disttrain.callbacks import CallbackList, Goodput, GradientNorms
from disttrain.callbacks.goodput import summary
from disttrain.telemetry import Health, Recovery


class Known:
    """A training that fares as told."""

    run_dir = None
    facts = {}  # noqa: RUF012

    def __init__(self, health=None, gradients=None):
        self._health, self._gradients, self.asked = health or Health(), gradients or {}, 0

    def health(self):
        return self._health

    def gradients(self):
        self.asked += 1
        return self._gradients

    def tell(self, event, **details):
        pass


HEALTH = Health(
    elapsed_seconds=200.0,
    recovery_seconds=20.0,
    save_seconds=1.0,
    data_seconds=3.0,
    callback_seconds=0.5,
    recoveries=(Recovery(7, 12.0, 1), Recovery(9, 8.0, 2)),
)


def listed(callback, telemetry):
    made = CallbackList([callback], add_history=True)
    made.set_telemetry(telemetry)
    made.on_train_begin()
    return made


def test_goodput_is_in_the_logs_of_each_epoch_and_in_history():
    both = listed(Goodput(), Known(HEALTH))
    both.on_epoch_end(0, {"loss": 1.0})
    assert both.history.history == {"goodput": [0.88], "loss": [1.0]}


def test_what_took_the_rest_of_the_time_is_there_when_asked():
    both, logs = listed(Goodput(parts=True), Known(HEALTH)), {}
    both.on_epoch_end(0, logs)
    assert logs == {
        "goodput": 0.88,
        "goodput/recovery_seconds": 20.0,
        "goodput/save_seconds": 1.0,
        "goodput/data_seconds": 3.0,
        "goodput/callback_seconds": 0.5,
    }


def test_the_end_says_what_was_lost_the_largest_first(capsys):
    listed(Goodput(), Known(HEALTH)).on_train_end()
    assert capsys.readouterr().out == (
        "Goodput 88.0 % of 200 s: losses of workers 10.0 % (2), waiting for data 1.5 %, checkpoints 0.5 % (0), callbacks 0.2 %.\n"
    )
    listed(Goodput(verbose=0), Known(HEALTH)).on_train_end()
    assert capsys.readouterr().out == ""


def test_a_training_without_losses_or_time_says_so():
    assert summary(Health()) == "Goodput 100.0 % of 0 s: nothing was lost."


def test_outside_of_a_training_there_is_nothing_to_say(capsys):
    logs = {}
    Goodput().on_epoch_end(0, logs)
    Goodput().on_train_end()
    GradientNorms().on_epoch_end(0, logs)
    assert logs == {} and capsys.readouterr().out == ""


GRADIENTS = {"dense.kernel": np.array([[3.0], [0.0]]), "dense.bias": np.array([4.0]), "out.kernel": np.array([12.0])}


def test_the_norm_over_all_weights_is_in_the_logs_of_each_epoch():
    telemetry = Known(gradients=GRADIENTS)
    both = listed(GradientNorms(), telemetry)
    for batch in range(3):
        both.sample_batch(batch)
    both.on_epoch_end(0, {"loss": 1.0})
    assert both.history.history == {"gradient_norm": [13.0], "loss": [1.0]} and telemetry.asked == 1
    assert both.needs_gradients and not both.needs_every_batch


def test_each_layer_has_its_norm_when_asked():
    both, logs = listed(GradientNorms(per_layer=True), Known(gradients=GRADIENTS)), {}
    both.on_epoch_end(0, logs)
    assert logs == {"gradient_norm": 13.0, "gradient_norm/dense": 5.0, "gradient_norm/out": 12.0}


def test_every_few_batches_it_is_measured_and_the_epoch_has_the_mean():
    telemetry = Known(gradients={"w": np.array([1.0])})
    both, seen = listed(GradientNorms(freq=2), telemetry), []
    assert both.needs_every_batch
    both.on_epoch_begin(0)
    for batch in range(5):
        telemetry._gradients = {"w": np.array([float(batch)])}
        logs = {"loss": 0.0}
        both.on_train_batch_end(batch, logs)
        seen.append(logs.get("gradient_norm"))
    logs = {}
    both.on_epoch_end(0, logs)
    assert seen == [None, 1.0, None, 3.0, None] and logs == {"gradient_norm": 2.0} and telemetry.asked == 2


def test_a_restart_within_an_epoch_keeps_what_was_measured():
    first = listed(GradientNorms(freq=1), Known(gradients={"w": np.array([1.0])}))
    first.on_epoch_begin(4)
    first.on_train_batch_end(0, {})
    second = listed(GradientNorms(freq=1), Known(gradients={"w": np.array([3.0])}))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.on_epoch_begin(4)
    second.on_train_batch_end(1, {})
    logs = {}
    second.on_epoch_end(4, logs)
    assert logs == {"gradient_norm": 2.0}


def test_a_gradient_that_is_no_number_is_warned_of_once_with_its_layers():
    both, logs = listed(GradientNorms(), Known(gradients={**GRADIENTS, "out.kernel": np.array([math.nan])})), {}
    with pytest.warns(UserWarning, match=r"NaN or infinite in out\."):
        both.on_epoch_end(0, logs)
    assert math.isnan(logs["gradient_norm"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.on_epoch_end(1, {})
