"""A storage that is slow, hangs or refuses does not stop training: a save that is due meanwhile is put off, and they become one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from thread_runs import V, X, Y, driven, make_model, wait_until

import disttrain as dt
from disttrain.elastic import shard_writer
from disttrain.elastic.saves_due import SavesDue, named
from disttrain.training.local import runner
from disttrain.training.program import Kind


def _fit(*callbacks: dt.Callback) -> str:
    model = make_model()
    model.fit(X, Y, batch_size=8, epochs=6, validation_split=0.2, verbose=0, callbacks=list(callbacks))
    return model.digest()


def _alone() -> str:
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return _fit()


class OnEpochs(dt.Callback):
    """Does things at the ends of epochs."""

    def __init__(self, acts: dict[int, Any]) -> None:
        super().__init__()
        self.acts = acts

    def on_epoch_end(self, epoch, logs=None):
        self.acts.pop(epoch, lambda: None)()


class Gate:
    """In the place of `write_shard`: holds writers up while it is shut, and fails while it is broken."""

    def __init__(self) -> None:
        self.open, self.reached, self.broken = threading.Event(), threading.Event(), False
        self._write = shard_writer.write_shard

    def __call__(self, *arguments: Any) -> Any:
        self.reached.set()
        assert self.open.wait(60.0)
        if self.broken:
            raise OSError(5, "the disk says no")
        return self._write(*arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    held = Gate()
    monkeypatch.setattr(shard_writer, "write_shard", held)
    return held


@pytest.mark.parametrize("every", ["1steps", "epoch"])
def test_training_goes_on_while_the_storage_hangs_and_saves_again_when_it_answers(tmp_path, gate, every):
    expected = _alone()
    with driven(2, url=str(tmp_path), every=every) as run:

        def answer() -> None:
            assert gate.reached.is_set(), "nothing was saved before the end of the fourth epoch"
            assert not run.events("committed"), "the storage hangs"
            gate.open.set()
            wait_until(lambda: run.events("committed"))

        assert _fit(OnEpochs({3: answer})) == expected
        steps = [event["step"] for event in run.events("committed")]
    assert steps == sorted(steps) and steps[-1] == 18, "the last step is kept in any case"
    assert steps[0] <= 3 and all(step == steps[0] or step > 9 for step in steps), "what was due meanwhile is one save, later"
    assert not run.events("save failed")


def test_a_save_that_fails_is_abandoned_with_a_word_and_the_next_one_says_that_it_works_again(tmp_path, gate):
    gate.open.set()
    gate.broken = True
    expected = _alone()
    with driven(2, url=str(tmp_path)) as run:

        def mend() -> None:
            wait_until(lambda: run.events("save failed"))
            gate.broken = False

        assert _fit(OnEpochs({2: mend})) == expected
        assert "the disk says no" in run.events("save failed")[0]["reason"]
        assert len(run.events("saving again")) == 1
        assert run.events("committed")[-1]["step"] == 18


# -- the rule alone ---------------------------------------------------------------------------------------------------------------------


class _Engine:
    """What the rule looks at."""

    trains = True

    def __init__(self, calls: int) -> None:
        self.replica = self
        self.optimizer = self
        self.calls = calls


def _begins(rule: SavesDue, calls: int, *told: str) -> bool:
    settings = type("Settings", (), {"every_steps": 2})()
    agreed = [name in told for name in ("save", "pause", "stop", "writing")]
    assert named(agreed) == set(told)
    return rule.begins(_Engine(calls), settings, Kind.TRAIN, agreed)  # type: ignore[arg-type]


def test_saves_that_are_due_while_somebody_writes_become_one_at_the_first_step_at_which_nobody_does():
    rule = SavesDue()
    assert _begins(rule, 2)
    assert [_begins(rule, calls, "writing") for calls in (3, 4, 5, 6)] == [False] * 4
    assert _begins(rule, 7)
    assert not _begins(rule, 9)
    assert _begins(rule, 9, "save")
    assert not _begins(rule, 9, "save", "writing")
    assert _begins(rule, 10)


def test_the_save_of_a_stop_is_made_in_any_case():
    assert _begins(SavesDue(), 3, "stop", "writing")
