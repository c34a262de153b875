"""The callbacks' side of a fit: Keras's order, once for each boundary, and what becomes an order to the workers."""

from __future__ import annotations

import json

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
from disttrain.callbacks import CallbackList
from disttrain.callbacks.base import HOOKS
from disttrain.data import BatchPlan
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.hooks import FitHooks
from disttrain.training.program import BOUNDARIES, Kind, Program

SHORT = (
    ("on_train_batch_begin", "batch+"),
    ("on_train_batch_end", "batch-"),
    ("on_test_batch_begin", "test batch+"),
    ("on_test_batch_end", "test batch-"),
    ("on_test_begin", "test+"),
    ("on_test_end", "test-"),
    ("on_epoch_begin", "epoch+"),
    ("on_epoch_end", "epoch-"),
    ("on_train_begin", "train+"),
    ("on_train_end", "train-"),
)


class Order(dt.Callback):
    """Notes each hook; does what `acts` says at the hook of that note."""

    def __init__(self, acts=None) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.heard: list[str] = []  # the same, but for what a state brought
        self.acts = acts or {}

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.heard.append(text)
        if text in self.acts:
            self.acts[text](self.model)

    def state_dict(self):
        return {"notes": list(self.notes)}

    def load_state_dict(self, state):
        self.notes = list(state["notes"])


def _noting(hook: str, short: str):
    if "batch" in hook or "epoch" in hook:
        return lambda self, number, logs=None: self.note(f"{short} {number}")
    return lambda self, logs=None: self.note(short)


for _hook, _short in SHORT:
    setattr(Order, _hook, _noting(_hook, _short))


def stop(model) -> None:
    model.stop_training = True


def rate(value: float):
    def act(model) -> None:
        model.optimizer.learning_rate = value

    return act


def hooks_of(*callbacks, every=frozenset({Kind.TRAIN, Kind.VALIDATE}), epochs=2, validate=True, **arguments) -> FitHooks:
    """Hooks of a fit with two training steps and two of validation in each epoch."""
    model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
    model.compile(optimizer=dt.optimizers.SGD(0.1), loss="mse")
    plans = ((Kind.TRAIN, BatchPlan(4, 2)), (Kind.VALIDATE, BatchPlan(4, 2)))[: 1 + validate]
    program = Program(plans, epochs=epochs, every_batch=every, **arguments)
    params = {"verbose": 0, "epochs": epochs, "steps": 2}
    return FitHooks(CallbackList(list(callbacks), model=model, params=params, add_history=True), model, program)


def walk(hooks: FitHooks, tick: int = 0) -> list[BoundaryDecision]:
    """Go through the program as the workers do, from `tick` on; the decision given."""
    decision, program = [], hooks.program
    while (position := program.at(tick)).kind is not Kind.END:
        if position.kind not in BOUNDARIES:
            tick += 1
            continue
        logs = {"loss": 1.0} if position.phase is Kind.TRAIN else {"loss": 1.0, "val_loss": 2.0}
        decision.append(hooks.boundary(position, logs))
        if decision[-1].end_call:
            break
        tick = program.after_phase(position) if decision[-1].end_phase else tick + 1
    return decision


def test_hooks_come_in_the_order_of_keras():
    order = Order()
    hooks = hooks_of(order, epochs=1)
    hooks.begin()
    walk(hooks)
    assert order.notes == [
        "train+", "epoch+ 0", "batch+ 0", "batch- 0", "batch+ 1", "batch- 1",
        "test+", "test batch+ 0", "test batch- 0", "test batch+ 1", "test batch- 1", "test-", "epoch- 0", "train-",
    ]  # fmt: skip


def test_without_batch_boundaries_the_hooks_of_epochs_and_of_validation_are_called():
    order = Order()
    hooks = hooks_of(order, every=frozenset())
    hooks.begin()
    walk(hooks)
    assert order.notes == ["train+", *["epoch+ 0", "test+", "test-", "epoch- 0"], *["epoch+ 1", "test+", "test-", "epoch- 1"], "train-"]


def test_every_hook_of_a_fit_is_in_these_tests():
    assert {hook for hook, _ in SHORT} == {hook for hook in HOOKS if "predict" not in hook} - {"on_batch_begin", "on_batch_end"}


def test_a_boundary_asked_for_again_runs_no_hook_again_and_gives_the_same_orders():
    order = Order({"epoch- 0": rate(0.05)})
    hooks = hooks_of(order, every=frozenset(), validate=False)
    hooks.begin()
    position = hooks.program.at(2)
    first = hooks.boundary(position, {"loss": 1.0})
    notes = list(order.notes)
    assert hooks.boundary(position, {"loss": 1.0}) == first == BoundaryDecision(learning_rate=0.05)
    assert order.notes == notes


def test_stopping_in_a_batch_hook_skips_to_the_validation_and_ends_the_call():
    order = Order({"batch- 0": stop})
    hooks = hooks_of(order, epochs=5)
    hooks.begin()
    decision = walk(hooks)
    assert [(o.end_phase, o.end_call) for o in decision] == [(True, False), (False, False), (False, False), (False, True)]
    assert order.notes == [
        "train+", "epoch+ 0", "batch+ 0", "batch- 0",
        "test+", "test batch+ 0", "test batch- 0", "test batch+ 1", "test batch- 1", "test-", "epoch- 0", "train-",
    ]  # fmt: skip


def test_stopping_the_evaluation_in_a_batch_hook_ends_that_validation_alone():
    order = Order({"test batch- 0": lambda model: setattr(model, "stop_evaluating", True)})
    hooks = hooks_of(order, epochs=2)
    hooks.begin()
    walk(hooks)
    rest = ["batch+ 0", "batch- 0", "batch+ 1", "batch- 1", "test+", "test batch+ 0", "test batch- 0", "test-"]
    assert order.notes == ["train+", "epoch+ 0", *rest, "epoch- 0", "epoch+ 1", *rest, "epoch- 1", "train-"]


def test_stopping_at_the_end_of_an_epoch_ends_the_call():
    order = Order({"epoch- 1": stop})
    hooks = hooks_of(order, epochs=5, every=frozenset(), validate=False)
    hooks.begin()
    assert [o.end_call for o in walk(hooks)] == [False, True]
    assert order.notes[-1] == "train-"


def test_a_wish_to_stop_from_an_earlier_fit_is_forgotten():
    hooks = hooks_of(Order(), every=frozenset(), validate=False, epochs=2)
    hooks.model.stop_training = True
    hooks.begin()
    assert [o.end_call for o in walk(hooks)] == [False, True]


@pytest.mark.parametrize("when", ["epoch- 0", "epoch+ 1"])
def test_a_learning_rate_set_by_a_callback_becomes_an_order(when):
    hooks = hooks_of(Order({when: rate(0.025)}), every=frozenset(), validate=False, epochs=3)
    hooks.begin()
    assert [o.learning_rate for o in walk(hooks)] == [0.025, None, None]


def test_weights_that_a_callback_changed_become_an_order():
    class Watch:
        def begin(self):
            pass

        def counters(self):
            return None

        def finalize(self):
            pass

        def changed(self):
            return {"kernel": np.ones(2)}

    hooks = hooks_of(Order(), every=frozenset(), validate=False, epochs=1)
    hooks.watch = Watch()
    hooks.begin()
    assert walk(hooks)[0].arrays["kernel"].tolist() == [1.0, 1.0]


def test_history_sees_what_earlier_callbacks_add_and_sorts_the_names():
    class Adds(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = epoch * 10

    hooks = hooks_of(Adds(), every=frozenset())
    hooks.begin()
    walk(hooks)
    history = hooks.callbacks.history
    assert history.history == {"loss": [1.0, 1.0], "val_loss": [2.0, 2.0], "added": [0, 10]}
    assert history.epoch == [0, 1]


@pytest.mark.parametrize(
    ("tick", "before_validation", "again"),
    [
        (0, False, ["epoch+ 0", "batch+ 0"]),
        (1, False, ["epoch+ 0", "batch+ 1"]),
        (3, False, ["epoch+ 0"]),
        (4, True, ["epoch+ 0", "test+", "test batch+ 0"]),
        (5, False, ["epoch+ 0", "test+", "test batch+ 1"]),
        (7, False, ["epoch+ 0", "test+"]),
        (8, False, ["epoch+ 1", "batch+ 0"]),
    ],
)
def test_state_goes_to_another_process_as_json_and_goes_on_there(tick, before_validation, again):
    first, second = (hooks_of(Order(), epochs=3, before_validation=before_validation) for _ in range(2))
    first.begin()
    for boundary in range(tick + 1):
        if first.program.at(boundary).kind in BOUNDARIES:
            first.boundary(first.program.at(boundary), {"loss": 1.0, "val_loss": 2.0})
    second.begin(json.loads(json.dumps(first.state())), first.arrays())
    order, continued = first.callbacks.callbacks[0], second.callbacks.callbacks[0]
    assert continued.heard == ["train+", *again]  # what goes on is told again
    assert continued.notes == order.notes  # and counts for nothing
    walk(first, tick + 1)
    walk(second, tick + 1)
    assert continued.notes == order.notes
    assert second.callbacks.history.history == first.callbacks.history.history


def test_a_fit_resumed_after_its_last_tick_begins_no_epoch():
    first = hooks_of(Order({"epoch- 0": stop}), epochs=3, every=frozenset())
    first.begin()
    walk(first)
    second = hooks_of(Order(), epochs=3, every=frozenset())
    second.begin(json.loads(json.dumps(first.state())), first.arrays())
    assert second.callbacks.callbacks[0].notes == [*first.callbacks.callbacks[0].notes, "train-"]


def test_no_epoch_to_train_still_begins_and_ends():
    order = Order()
    hooks = hooks_of(order, epochs=2, initial_epoch=2)
    hooks.begin()
    assert order.notes == ["train+", "train-"]


# -- before validation, where it begins, what must not change ---------------------------------------------------------------------------


def test_a_boundary_before_validation_runs_its_first_hooks_there():
    hooks = hooks_of(Order(), every=frozenset({Kind.VALIDATE}), epochs=1, before_validation=True)
    hooks.begin()
    order = hooks.callbacks.callbacks[0]
    first = next(t for t in range(hooks.program.ticks) if hooks.program.at(t).kind is Kind.TEST_BOUNDARY)
    assert hooks.program.at(first - 1).kind is Kind.TRAIN and hooks.program.at(first + 1).kind is Kind.VALIDATE
    hooks.boundary(hooks.program.at(first), {"loss": 1.0})
    assert order.notes[-2:] == ["test+", "test batch+ 0"]
    walk(hooks, first + 1)
    assert order.notes.count("test+") == order.notes.count("test-") == 1


@pytest.mark.parametrize(("epoch", "batch", "step"), [(1, None, (1, 0)), (1, 1, (1, 1)), (0, 0, (0, 0)), (9, None, None)])
def test_a_callback_says_at_which_epoch_and_batch_to_begin(epoch, batch, step):
    def begin(model) -> None:
        model._initial_epoch, model._initial_batch = epoch, batch

    hooks = hooks_of(Order({"train+": begin}), epochs=2)
    hooks.begin()
    position = hooks.program.at(hooks.start_tick)
    assert (position.kind is Kind.END) if step is None else ((position.epoch, position.step) == step and position.kind is Kind.TRAIN)
    assert hooks.ended is (step is None)


def test_what_a_callback_freezes_becomes_an_order_and_a_part_of_the_state():
    def freeze(model) -> None:
        model.layers[0].trainable = False

    hooks = hooks_of(Order({"epoch- 0": freeze}), epochs=2)
    hooks.begin()
    decision = [order.frozen for order in walk(hooks)]
    name = hooks.model.layers[0].name
    assert [order for order in decision if order is not None] == [{"layers": [name], "weights": [f"{name}.kernel", f"{name}.bias"]}]
    other = hooks_of(Order(), epochs=2)
    state = json.loads(json.dumps(hooks.state()).replace(name, other.model.layers[0].name))
    other.begin(state, {})
    assert not other.model.layers[0].trainable and other.model.trainable_weights == []
