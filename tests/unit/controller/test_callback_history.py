"""What the driver remembers of its callbacks: as much as somebody may ask for, and no more however long the run is."""

from __future__ import annotations

import gc
import json
from types import SimpleNamespace

import numpy as np
import pytest
from callback_model import FakeModel

from disttrain.callbacks import Callback, CallbackList, EarlyStopping, History
from disttrain.callbacks.capture import capture
from disttrain.controller.callback_history import CallbackHistory, StateForgotten


class Hooks:
    """The hooks of a fit, with a boundary after each epoch of one tick: after the boundary of epoch e the workers stand at tick e + 1."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = CallbackList([*callbacks], add_history=True, model=FakeModel())
        self.frozen = {"layers": [], "weights": []}
        self.trainability = SimpleNamespace(frozen=lambda: self.frozen)
        self.callbacks.on_train_begin()
        self.history = CallbackHistory(self, 0)
        self.epoch = 0

    def capture(self):
        captured, frozen = capture(self.callbacks), self.frozen
        return lambda: {**captured(), "frozen": frozen}

    def arrays(self):
        return self.callbacks.capture_arrays()

    def load_state(self, state, arrays):
        self.callbacks.load_state_dict(state)
        self.callbacks.load_state_arrays(arrays)

    def boundary(self, loss: float = 0.0) -> None:
        self.callbacks.model.weight = np.full(2, self.epoch, np.float32)
        self.callbacks.on_epoch_end(self.epoch, {"loss": loss})
        self.epoch += 1
        self.history.note(self.epoch)

    def losses(self, tick: int) -> list[float]:
        return self.history.at(tick).state.get("History", {"history": {}})["history"].get("loss", [])


def kept_arrays(hooks: Hooks) -> int:
    """How many different best weights are alive, but for the callback's own."""
    history = hooks.history
    states = {id(s): s for s in (history._first, history._before, history._newest, *(a.state for a in history._announced.values())) if s}
    return len({id(array) for state in states.values() for array in state.arrays.values()})


def test_the_weights_of_epochs_that_nobody_saves_are_let_go():
    hooks = Hooks(EarlyStopping(monitor="loss", restore_best_weights=True, patience=5))
    gc.collect()
    for epoch in range(200):  # each better than all before
        hooks.boundary(1.0 / (epoch + 1))
    assert kept_arrays(hooks) <= 2


def test_the_weights_of_a_save_stay_until_a_later_one_is_committed():
    hooks = Hooks(EarlyStopping(monitor="loss", restore_best_weights=True, patience=5))
    for epoch in range(30):
        hooks.boundary(1.0 / (epoch + 1))
        if epoch % 10 == 4:
            hooks.history.save_begun(epoch + 1)
    assert [float(hooks.history.at(tick).arrays["EarlyStopping/best_weights/0"][0]) for tick in (5, 15, 25)] == [4.0, 14.0, 24.0]
    hooks.history.save_committed(15)
    hooks.history.save_failed(25)
    with pytest.raises(StateForgotten, match="tick 5"):
        hooks.history.at(5)
    assert len(hooks.losses(15)) == 15
    with pytest.raises(StateForgotten, match="tick 25"):
        hooks.history.at(25)


def test_the_states_around_the_last_boundary_and_that_of_the_beginning_are_there():
    hooks = Hooks()
    for epoch in range(10):
        hooks.boundary(float(epoch))
    assert [len(hooks.losses(tick)) for tick in (0, 9, 10, 11)] == [0, 9, 10, 10]
    with pytest.raises(StateForgotten):
        hooks.history.at(8)


def test_saves_that_no_group_lived_to_complete_do_not_pile_up():
    hooks = Hooks(EarlyStopping(monitor="loss", restore_best_weights=True, patience=5))
    hooks.boundary(2.0)
    hooks.history.save_begun(1)
    hooks.history.at(1)  # all its parts are there
    hooks.history.save_committed(1)
    for epoch in range(1, 200):
        hooks.boundary(1.0 / (epoch + 1))
        hooks.history.save_begun(epoch + 1)
    assert kept_arrays(hooks) < 15
    assert hooks.losses(1) == [2.0]  # where the run would go back to
    assert len(hooks.losses(198)) == 198


def test_a_save_that_failed_and_was_begun_anew_by_the_next_generation_has_its_state():
    hooks = Hooks()
    for _ in range(3):
        hooks.boundary()
    hooks.history.save_begun(3)
    hooks.history.save_begun(3)  # the group broke and formed again where it stood
    for _ in range(5):
        hooks.boundary()
    hooks.history.save_failed(3)
    assert len(hooks.losses(3)) == 3


def test_after_going_back_the_boundaries_happen_anew():
    hooks = Hooks()
    for epoch in range(6):
        hooks.boundary(float(epoch))
        if epoch in (1, 4):
            hooks.history.save_begun(epoch + 1)
    hooks.history.save_committed(2)
    hooks.history.go_back_to(2)
    assert hooks.callbacks.history.history["loss"] == [0.0, 1.0]
    assert hooks.losses(4) == [0.0, 1.0] and hooks.losses(5) == [0.0, 1.0, 2.0, 3.0, 4.0]  # that one may yet be committed
    hooks.epoch = 2
    hooks.boundary(7.0)
    assert hooks.losses(2) == [0.0, 1.0] and hooks.losses(3) == [0.0, 1.0, 7.0]
    hooks.history.save_committed(5)
    hooks.history.go_back_to(5)
    assert hooks.callbacks.history.history["loss"] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_run_that_loses_everything_before_its_first_commit_begins_again():
    hooks = Hooks()
    for _ in range(4):
        hooks.boundary()
    hooks.history.go_back_to(0)
    assert hooks.callbacks.history.history == {}
    hooks.epoch = 0
    hooks.boundary(3.0)
    assert hooks.losses(1) == [3.0]


class Own(Callback):
    """State of a script's own, handed out as it is, and changed afterwards."""

    def __init__(self):
        super().__init__()
        self.seen, self.sums = {"losses": []}, np.zeros(2)

    def on_epoch_end(self, epoch, logs=None):
        self.seen["losses"].append(logs["loss"])
        self.sums += 1

    def state_dict(self):
        return self.seen

    def load_state_dict(self, state):
        self.seen = state

    def state_arrays(self):
        return {"sums": self.sums}

    def load_state_arrays(self, arrays):
        self.sums = arrays["sums"]


def test_what_a_callback_hands_out_and_goes_on_changing_was_noted_as_it_was():
    hooks = Hooks(Own())
    hooks.boundary(1.0)
    hooks.history.save_begun(1)
    hooks.boundary(2.0)
    noted = hooks.history.at(1)
    assert noted.state["Own"] == {"losses": [1.0]} and noted.arrays["Own/sums"].tolist() == [1.0, 1.0]
    hooks.history.go_back_to(1)
    hooks.epoch = 1
    hooks.boundary(5.0)  # takes what it is given back for its own, and changes that
    assert noted.state["Own"] == {"losses": [1.0]} and noted.arrays["Own/sums"].tolist() == [1.0, 1.0]
    assert hooks.history.at(2).state["Own"] == {"losses": [1.0, 5.0]}


class Annotated(History):
    """Adds to the state of its base."""

    def state_dict(self):
        return {**super().state_dict(), "note": "mine"}


def test_a_subclass_that_adds_to_the_state_is_captured_with_what_it_adds():
    hooks = Hooks(Annotated())
    hooks.boundary(1.0)
    hooks.boundary(float("nan"))
    state = hooks.history.at(2).state
    assert state["Annotated"] == {"history": {"loss": [1.0, "nan"]}, "epoch": [0, 1], "note": "mine"}
    json.dumps(state, allow_nan=False)


def test_a_boundary_copies_nothing_of_the_epochs_before_it():
    hooks = Hooks()

    class Counted(list):
        """Says when it is read through."""

        def __getitem__(self, place):
            assert not isinstance(place, slice), "a boundary has copied the whole list"
            return super().__getitem__(place)

        def __iter__(self):
            raise AssertionError("a boundary has read the whole list")

    hooks.boundary(0.0)
    hooks.callbacks.history.history["loss"] = Counted([0.0])
    for epoch in range(1, 50):
        hooks.boundary(float(epoch))
    assert hooks.history._newest.tick == 50
    hooks.callbacks.history.history["loss"] = [float(epoch) for epoch in range(50)]
    hooks.boundary(50.0)
    hooks.history.save_begun(51)
    assert hooks.losses(51) == [float(epoch) for epoch in range(51)]  # a checkpoint has all of it


def test_what_is_frozen_is_known_from_the_newest_commit_on():
    hooks = Hooks()
    for tick in range(1, 40):
        hooks.frozen = {"layers": [f"layer{tick}"], "weights": []}
        hooks.boundary()
        hooks.history.note_frozen(tick, hooks.frozen)
    hooks.history.save_begun(39)
    hooks.history.save_committed(38)
    assert [hooks.history.frozen_at(tick)["layers"] for tick in (38, 39, 50)] == [["layer38"], ["layer39"], ["layer39"]]
    assert len(hooks.history._frozen) == 2


def test_what_is_frozen_in_a_checkpoint_committed_late_is_known_though_the_callbacks_went_back_to_before_it():
    hooks = Hooks()
    hooks.boundary()  # tick 1
    hooks.frozen = {"layers": ["dense"], "weights": []}
    hooks.boundary()
    hooks.history.note_frozen(2, hooks.frozen)
    hooks.history.save_begun(2)
    hooks.history.pin(0)  # all were lost, and the workers begin anew
    assert hooks.history.frozen_at(0) == hooks.history.frozen_at(1) == {"layers": [], "weights": []}
    hooks.history.go_back_to(0)
    hooks.history.save_committed(2)
    assert hooks.history.frozen_at(2) == {"layers": ["dense"], "weights": []}
    hooks.history.pin(2)
    hooks.history.go_back_to(2)
    assert hooks.history.frozen_at(3) == {"layers": ["dense"], "weights": []}


def test_a_state_that_the_callbacks_go_back_to_is_kept_whatever_is_committed_until_they_do():
    hooks = Hooks()
    hooks.boundary()
    hooks.history.save_begun(1)
    hooks.history.save_committed(1)
    for _ in range(4):
        hooks.boundary()
    hooks.history.save_begun(5)
    hooks.history.pin(1)
    hooks.history.save_committed(5)
    hooks.history.go_back_to(1)
    assert hooks.history.at(1).tick == 1
