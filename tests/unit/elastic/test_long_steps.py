"""Who works is waited for, whatever it takes; who is told of what, and Ctrl-C at the moments at which it used to be lost."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from thread_runs import AtEpoch, EveryBatch, V, X, Y, driven, make_model, train, wait_until

import disttrain as dt
from disttrain import layers
from disttrain.elastic import activity
from disttrain.elastic.messages import Ready
from disttrain.errors import Interrupted
from disttrain.layers.context import current
from disttrain.testing.fake_cluster import FakeCluster, FaultPlan
from disttrain.training.local import runner


class Long(layers.Layer):
    """Some steps of a training take long: those whose batch holds a sample above 100."""

    seconds = 3.0
    slept = 0

    def call(self, x):
        context = current()
        if context.training and x.device.type != "meta" and bool((x > 100.0).any()):
            time.sleep(self.seconds)
            Long.slept += 1
        return torch.where(x > 100.0, x - 1000.0, x)


def make_long() -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(7)
    model = dt.Sequential(
        [dt.Input((6,)), Long(), layers.Dense(8, activation="relu"), layers.Dropout(0.3), layers.Dense(3, activation="softmax")]
    )
    model.compile(optimizer=dt.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy")
    Long.slept = 0
    return model


def long_x(batch: int) -> np.ndarray:
    x = X.copy()
    x[8 * batch : 8 * batch + 8] += 1000.0
    return x


def train_long(batch: int, callbacks: Any = None) -> tuple[str, dict[str, list[float]]]:
    model = make_long()
    history = model.fit(long_x(batch), Y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    return model.digest(), history.history


class Heavy(layers.Layer):
    """A job that takes a while to open in a worker."""

    seconds = 0.6
    opening, opens = threading.Event(), threading.Event()
    opens.set()

    def __setstate__(self, state):
        Heavy.opening.set()
        Heavy.opens.wait(300)
        time.sleep(self.seconds)
        super().__setstate__(state)

    def call(self, x):
        return x


class Hangs(layers.Layer):
    """Hangs once, in worker w1."""

    hung: ClassVar[list[str]] = []
    released = threading.Event()

    def call(self, x):
        if current().training and x.device.type != "meta" and threading.current_thread().name == "fake-w1" and not Hangs.hung:
            Hangs.hung.append("w1")
            Hangs.released.wait(300)
        return x


class Deadly(layers.Layer):
    """Ends the worker that opens it first."""

    opened: ClassVar[list[str]] = []
    die: Any = None

    def __setstate__(self, state):
        name = threading.current_thread().name.removeprefix("fake-")
        if not Deadly.opened:
            Deadly.opened.append(name)
            Deadly.die(name)
        super().__setstate__(state)

    def call(self, x):
        return x


@pytest.fixture
def quick_beats(monkeypatch):
    monkeypatch.setattr(activity, "BEAT_S", 0.03)


LIMITS = {
    "stop_limit_s": 1.0,
    "silence_limit_s": 1.0,
}  # what a busy machine may keep a thread waiting, and far below what a long step takes


def test_steps_longer_than_every_limit_cost_no_healthy_worker_when_one_dies_and_one_joins(quick_beats, monkeypatch):
    monkeypatch.setattr(Long, "seconds", 0.0)
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train_long(1)
    monkeypatch.setattr(Long, "seconds", 3.0)
    faults = FaultPlan().kill("w2", 1, "before")  # while the others are in, or come to, the long step
    with driven(3, faults, **LIMITS) as driver:
        assert train_long(1) == expected
        assert faults.all_fired
        assert Long.slept >= 4  # every slice of the long batch took so long
        assert [event["worker"] for event in driver.events("worker lost")] == ["w2"]
        assert not driver.events("kill") and not driver.events("restart")


def test_a_newcomer_that_asks_in_during_a_long_step_is_taken_in_after_it_and_nobody_is_killed(quick_beats):
    faults = FaultPlan().kill("w1", 0, "before")
    with driven(2, faults, **LIMITS) as driver:
        train_long(1, EveryBatch())
        assert faults.all_fired and not driver.events("kill")
        assert [event["worker"] for event in driver.events("worker lost")] == ["w1"]


def test_a_job_that_takes_longer_to_open_than_a_start_may_take_is_waited_for(quick_beats, monkeypatch):
    monkeypatch.setattr(Heavy, "seconds", 1.0)
    with driven(2, start_limit_s=0.3, wait_s=0.3) as driver:
        train(model=make_model(Heavy()))
        assert not driver.events("kill")


def test_whoever_the_others_wait_for_is_told_by_name_with_the_numbers(quick_beats, monkeypatch):
    from disttrain.controller import group
    from disttrain.orchestrator import patience

    monkeypatch.setattr(patience, "_SLOW_S", 0.3)
    monkeypatch.setattr(group, "_JUDGE_S", 0.05)
    x = X.copy()
    x[16] += 1000.0  # in one slice of the third batch, so one worker is slow and the other waits
    model = make_long()
    with driven(2) as driver:
        model.fit(x, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
        slow = driver.events("slow")
        told = [note for note in driver.notes if " has been " in note]
    assert slow and slow[0]["worker"] in ("w0", "w1")
    assert told[0].startswith(f"{slow[0]['worker']} has been computing tick 2 for ") and "the other waits" in told[0]


def test_a_worker_that_hangs_is_replaced_and_no_sample_is_blamed(quick_beats, monkeypatch):
    from disttrain.controller import group

    monkeypatch.setattr(group, "_JUDGE_S", 0.05)
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train(model=make_model(layers.Activation("linear")))
    try:
        with driven(2, hang_timeout_s=3.0, poison_limit=1) as driver:
            assert train(model=make_model(Hangs())) == expected
            Hangs.released.set()
            assert [event["worker"] for event in driver.events("kill")] == ["w1"]
            assert [note for note in driver.notes if note.endswith("without progress; 3 s are allowed: killed")]
    finally:
        Hangs.released.set()


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_a_later_call_opens_its_job_is_obeyed_after_one_step(tmp_path):
    with driven(2, url=str(tmp_path)) as driver:
        train()
        model = make_model(Heavy())
        Heavy.opening.clear()
        Heavy.opens.clear()

        def interrupt() -> None:
            Heavy.opening.wait(300)
            driver.interrupts = 1
            Heavy.opens.set()

        threading.Thread(target=interrupt, daemon=True).start()
        try:
            with pytest.raises(Interrupted):
                model.fit(X, Y, batch_size=8, epochs=50, verbose=0)
        finally:
            Heavy.opens.set()
        assert driver.events("committed")[-1]["step"] == 1


def lonely(monkeypatch) -> None:
    """Replacements never come."""
    original = FakeCluster.start_worker
    monkeypatch.setattr(FakeCluster, "start_worker", lambda self, worker: original(self, worker) if int(worker[1:]) < 2 else None)


def test_one_ctrl_c_while_training_waits_for_workers_commits_what_is_held_and_ends(monkeypatch, tmp_path):
    lonely(monkeypatch)
    with driven(2, FaultPlan().kill("w1", 1), url=str(tmp_path), every="1000steps", min_workers=2) as driver:
        threading.Thread(
            target=lambda: wait_until(lambda: driver.events("worker lost")) or setattr(driver, "interrupts", 1), daemon=True
        ).start()
        with pytest.raises(Interrupted):
            train()
        (lost,) = [note for note in driver.notes if " lost (" in note]
        assert lost.endswith("; training pauses until 2 workers are there, 1 is; the state is kept in memory")
        (saved,) = driver.events("committed")
        assert saved["step"] in (0, 1, 2)  # what w0 held: it may not have seen the sum of the tick before
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train()
    monkeypatch.undo()
    with driven(2, url=str(tmp_path)) as second:
        assert second.resume is not None and second.resume.name == saved["name"]
        assert train() == expected


def test_a_checkpoint_is_committed_while_training_waits_for_workers(monkeypatch, tmp_path):
    lonely(monkeypatch)
    with driven(2, FaultPlan().kill("w1", 1), url=str(tmp_path), every="1000steps", min_workers=2, wait_s=2.0) as driver:
        with pytest.raises(dt.errors.NotEnoughWorkers):
            train()
        assert len(driver.events("committed")) == 1


# -- while a callback works --------------------------------------------------------------------------------------------------------------


def test_while_a_callback_works_commits_go_on_deaths_are_heard_and_the_status_is_true(tmp_path):
    seen: dict[str, Any] = {}

    def works() -> None:
        driver.cluster.kill("w2")
        wait_until(lambda: driver.events("worker lost") and driver.events("committed"))
        wait_until(lambda: "w3" in driver.cluster.workers and Ready in driver.cluster.workers["w3"].reported)
        wait_until(lambda: len(driver._status()["workers"]) == 2)
        seen.update(driver._status())

    with driven(3, url=str(tmp_path), every="1steps") as driver:
        train([AtEpoch(0, works), EveryBatch()])
        assert seen["state"] == "running" and "w2" not in [worker["worker"] for worker in seen["workers"]]


def test_a_worker_lost_before_it_joined_is_told_with_its_reason(monkeypatch):
    with driven(2) as driver:
        monkeypatch.setattr(Deadly, "die", staticmethod(lambda name: driver.cluster.workers[name].die("killed by SIGSEGV")))
        train(model=make_model(Deadly()))
        assert f"worker {Deadly.opened[0]} lost before it joined: killed by SIGSEGV" in driver.notes
