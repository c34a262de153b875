"""A storage that is slow, hangs or refuses does not stop training: a save that is due meanwhile is put off, and they become one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from thread_runs import V, X, Y, driven, make_model, wait_until

import disttrain as dt
from disttrain.checkpoint import Store, list_checkpoints, load_newest
from disttrain.checkpoint.reader import read_manifest
from disttrain.elastic import shard_writer
from disttrain.elastic.saves_due import SavesDue, named
from disttrain.errors import InfrastructureError
from disttrain.rundir.digests import digest_of
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
    """In the place of `write_shard_insistently`: holds writers up while it is shut, and fails while it is broken."""

    def __init__(self) -> None:
        self.open, self.reached, self.broken, self.calls = threading.Event(), threading.Event(), False, 0
        self._lock, self._write = threading.Lock(), shard_writer.write_shard_insistently

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        held = self.open
        with self._lock:
            self.calls += 1
        self.reached.set()
        assert held.wait(300)
        if self.broken:
            raise OSError(5, "the disk says no")
        return self._write(*arguments, **named)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    held = Gate()
    monkeypatch.setattr(shard_writer, "write_shard_insistently", held)
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


def test_a_save_that_storage_does_not_take_is_given_up_and_the_next_one_is_made_from_other_memory(tmp_path, gate):
    expected, stuck, first = _alone(), [], gate.open
    with driven(2, url=str(tmp_path)) as run:

        def give_up() -> None:
            wait_until(lambda: gate.calls == 2)
            gate.open = threading.Event()
            for worker in run.cluster.workers.values():
                part = worker.member._shards._writing
                part.limit_s = 0.0
                stuck.append(part.thread)

        def answer() -> None:
            wait_until(lambda: run.events("save failed"))
            gate.open.set()

        assert _fit(OnEpochs({1: give_up, 2: answer, 3: lambda: wait_until(lambda: run.events("committed"))})) == expected
        assert "storage has not taken it within 0 s" in run.events("save failed")[0]["reason"]
        assert len(run.events("saving again")) == 1 and run.events("committed")[-1]["step"] == 18
        assert len(stuck) == 2 and all(thread.is_alive() for thread in stuck)
        first.set()
        for thread in stuck:
            thread.join(300)


def test_a_run_may_stop_where_a_checkpoint_cannot_be_written(tmp_path, gate):
    gate.open.set()
    gate.broken = True
    with pytest.raises(InfrastructureError) as stopped, driven(2, url=str(tmp_path), on_checkpoint_failure="stop"):
        _fit()
    assert "the disk says no" in str(stopped.value) and "--on-checkpoint-failure is stop" in str(stopped.value)


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


# -- what has not changed ---------------------------------------------------------------------------------------------------------------


def test_frozen_layers_are_written_twice_and_then_referred_to_and_one_bad_byte_costs_one_checkpoint_of_two_in_a_row(tmp_path):
    import numpy as np

    with driven(2, url=str(tmp_path), every="epoch") as run:
        frozen = dt.layers.Dense(64, name="frozen")
        model = dt.Sequential([dt.Input((64,)), frozen, dt.layers.Dense(1)])
        frozen.trainable = False
        model.compile("sgd", "mse")
        x, y = np.ones((8, 64), "float32"), np.ones((8, 1), "float32")
        settle = OnEpochs({epoch: lambda epoch=epoch: wait_until(lambda: len(run.events("committed")) >= epoch) for epoch in range(1, 6)})
        model.fit(x, y, batch_size=8, epochs=6, verbose=0, callbacks=[settle])
    store = Store(str(tmp_path))
    names = [info.name for info in list_checkpoints(store)]
    newest, before = read_manifest(store, names[0]), read_manifest(store, names[1])
    assert newest.refers and before.refers and not newest.refers & before.refers
    assert sum(file.nbytes - file.header_bytes for file in newest.files) < 64 * 65 * 4 / 2
    assert digest_of(str(tmp_path)) == model.digest()
    shared = next(file.path for own in newest.files for file in own.earlier)
    data = bytearray((tmp_path / shared).read_bytes())
    data[-1] ^= 1
    (tmp_path / shared).write_bytes(data)
    assert load_newest(store, names).manifest.name == before.name
