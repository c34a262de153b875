"""The real driver's loop on workers that are threads: whoever dies, and when, the result is that of one undisturbed process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import pytest
from nccl_like import carrying_runs
from thread_runs import EPOCH_TICKS, AtEpoch, EveryBatch, Run, V, X, Y, driven, make_model, train, wait_until

import disttrain as dt
from disttrain import layers
from disttrain.checkpoint.local_files import LocalFiles
from disttrain.elastic.messages import Ready
from disttrain.errors import InfrastructureError, Interrupted, NonFiniteLoss, NotEnoughWorkers
from disttrain.layers.context import current
from disttrain.testing.fake_cluster import FakeCluster, FaultPlan
from disttrain.training.local import runner


@pytest.fixture(scope="module", autouse=True, params=["memory", "nccl_like"])
def carried(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test, with groups in memory, and with groups over a process group that has NCCL's manners."""
    with carrying_runs() if request.param == "nccl_like" else nullcontext():
        yield


@pytest.fixture(scope="module")
def alone() -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        return train()


# -- nobody dies ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_any_number_of_workers_gives_the_result_of_one_process(workers, alone):
    with driven(workers):
        assert train() == alone


def test_boundaries_after_every_batch_change_nothing(alone):
    with driven(2):
        assert train(EveryBatch()) == alone


def test_a_rate_that_a_callback_sets_before_the_first_epoch_counts_from_the_first_step():
    schedule = lambda epoch: 0.01 / (epoch + 1)  # noqa: E731
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train(dt.callbacks.LearningRateScheduler(schedule))
    with driven(2):
        assert train(dt.callbacks.LearningRateScheduler(schedule)) == expected


def test_evaluate_and_predict_after_a_fit_use_the_same_workers():
    def everything():
        model = make_model()
        train(model=model)
        return model.evaluate(X, Y, batch_size=7, verbose=0), model.predict(X, batch_size=7).tobytes()

    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = everything()
    with driven(3) as driver:
        assert everything() == expected
        assert set(driver.cluster.workers) == {"w0", "w1", "w2"}


# -- workers die ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("tick", [0, 1, 3, EPOCH_TICKS + 2, 2 * EPOCH_TICKS + 3], ids=lambda tick: f"tick {tick}")
@pytest.mark.parametrize("worker", ["w0", "w1", "w2"])
def test_a_worker_that_dies_at_a_reduction_costs_no_step_and_no_bit(worker, tick, place, alone):
    faults = FaultPlan().kill(worker, tick, place)
    with driven(3, faults) as driver:
        assert train() == alone
        assert faults.all_fired
        assert [event["worker"] for event in driver.events("worker lost")] == [worker]
        ticks = [event["tick"] for event in driver.events("formed")]
        assert not driver.events("restart")
        # where they stand: the one that died may have been the first to see the sum of the tick before, or of its own
        assert ticks == sorted(ticks) and max(0, tick - 1) <= ticks[1] <= tick + 1


def test_two_that_die_in_succession_cost_nothing(alone):
    faults = FaultPlan().kill("w0", 1, "after").kill("w1", 2, "before")
    with driven(4, faults):
        assert train() == alone
        assert faults.all_fired


def test_two_that_die_at_one_tick_cost_nothing(alone):
    faults = FaultPlan().kill("w0", 6, "before").kill("w1", 6, "before")
    with driven(4, faults):
        assert train() == alone


def test_a_death_during_the_transfer_to_a_newcomer_costs_nothing(alone):
    """A newcomer of generation 2 meets a death at the tick at which it joins, while states are shared."""
    faults = FaultPlan().kill("w1", 1).kill("w2", 2, "before")
    with driven(3, faults):
        assert train(EveryBatch()) == alone


def test_newcomers_take_the_places_of_the_dead(alone):
    faults = FaultPlan().kill("w1", 0)
    with driven(3, faults) as driver:

        def until_it_is_there() -> None:
            wait_until(lambda: "w3" in driver.cluster.workers and Ready in driver.cluster.workers["w3"].reported)

        assert train([AtEpoch(0, until_it_is_there), EveryBatch()]) == alone
        assert driver.events("formed")[-1]["members"] == [*sorted({"w0", "w2"}, key=driver.events("formed")[0]["members"].index), "w3"]


def test_a_worker_killed_while_all_wait_for_the_callbacks_costs_nothing(alone):
    with driven(3) as driver:
        kill = AtEpoch(0, lambda: driver.cluster.kill("w1"))
        assert train(kill) == alone
        assert kill.done and driver.events("worker lost")


def test_every_worker_killed_at_once_goes_on_from_the_newest_checkpoint(alone, tmp_path):
    with driven(2, url=str(tmp_path), every="1steps") as driver:

        def everybody() -> None:
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert train([AtEpoch(1, everybody), EveryBatch()]) == alone
        restart = driver.events("restart")
        assert len(restart) == 1 and restart[0]["restore"] is not None


def test_every_worker_killed_before_any_checkpoint_begins_anew(alone):
    with driven(2) as driver:
        assert train(AtEpoch(0, lambda: [driver.cluster.kill(worker) for worker in list(driver.cluster.workers)])) == alone
        assert driver.events("restart")[0]["tick"] == 0


@pytest.mark.parametrize("tick", [0, 1, 3])
@pytest.mark.parametrize("place", ["before", "after"])
def test_evaluate_and_predict_survive_a_death(tick, place):
    model = make_model()
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        evaluated, predicted = model.evaluate(X, Y, batch_size=8, verbose=0), model.predict(X, batch_size=8)
    faults = FaultPlan().kill("w1", tick, place)
    with driven(3, faults):
        assert model.evaluate(X, Y, batch_size=8, verbose=0) == evaluated
        assert faults.all_fired
    faults = FaultPlan().kill("w1", tick, place)
    with driven(3, faults):
        assert model.predict(X, batch_size=8).tobytes() == predicted.tobytes()
        assert faults.all_fired


def test_too_few_workers_for_too_long_is_told(monkeypatch):
    def start_nobody(self, worker):
        if int(worker[1:]) < 2:
            original(self, worker)

    original = FakeCluster.start_worker
    monkeypatch.setattr(FakeCluster, "start_worker", start_nobody)
    with driven(2, FaultPlan().kill("w1", 1), min_workers=2, wait_s=0.3), pytest.raises(NotEnoughWorkers, match="2"):
        train()


# -- the script's own errors ------------------------------------------------------------------------------------------------------------


class Fails(layers.Layer):
    """Divides by zero in the third training step of a worker. The count stands outside: a layer that counts in itself is refused."""

    slices: ClassVar[Counter[int]] = Counter()

    def call(self, x):
        if current().training:
            self.slices[id(self)] += 1
            if self.slices[id(self)] > 2 * V:
                raise ZeroDivisionError("the user's own mistake")
        return x


def test_an_error_of_the_script_is_raised_once_with_the_traceback_of_the_worker():
    with driven(3) as driver:
        with pytest.raises(ZeroDivisionError, match="the user's own mistake") as raised:
            train(model=make_model(Fails()))
        assert 'raise ZeroDivisionError("the user' in raised.value.worker_traceback
        assert not driver.events("worker lost")


def test_a_loss_that_is_not_finite_ends_the_call_and_is_not_retried():
    model = make_model()
    x = X.copy()
    x[:] = np.nan
    with driven(3) as driver:
        with pytest.raises(NonFiniteLoss, match=r"step 1 \(epoch 1, batch 1\)"):
            model.fit(x, Y, batch_size=8, verbose=0)
        assert len(driver.events("formed")) == 1


def test_an_error_in_a_callback_passes_through():
    def act() -> None:
        raise LookupError("in a callback")

    with driven(2), pytest.raises(LookupError, match="in a callback"):
        train(AtEpoch(1, act))


# -- saving and resuming ----------------------------------------------------------------------------------------------------------------


class Crash(dt.Callback):
    """Ends the driver in the middle of the second epoch, as soon as a checkpoint from within an epoch is committed."""

    def __init__(self, driver: Run | None = None) -> None:
        super().__init__()
        self.driver = driver

    def on_train_batch_end(self, batch, logs=None):
        if self.driver is not None and any(event["step"] % 3 for event in self.driver.events("committed")):
            raise SystemError("the driver dies")


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_second_driver_goes_on_from_the_checkpoint_with_the_same_result(workers, kind, tmp_path):
    url = str(tmp_path) if kind == "file" else f"memory://{tmp_path.name}-{workers}"
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train(epochs=8)
    with driven(2, url=url, every="2steps") as first, pytest.raises(SystemError):
        train(Crash(first), epochs=8)
    with driven(workers, url=url, every="2steps") as second:
        assert second.resume is not None and second.resume.tick > 0
        assert train(Crash(), epochs=8) == expected
        assert second.events("formed")[0]["tick"] == second.resume.tick


def test_a_request_to_stop_commits_the_step_and_the_next_driver_goes_on(tmp_path, alone):
    class Interrupt(dt.Callback):
        def on_train_batch_end(self, batch, logs=None):
            driver.interrupts = 1

    with driven(2, url=str(tmp_path), every="100steps") as driver, pytest.raises(Interrupted):
        train(Interrupt())
    assert [event["step"] for event in driver.events("committed")] == [2]  # asked after the first step, done with the second
    with driven(3, url=str(tmp_path), every="100steps") as second:
        assert train(EveryBatch()) == alone
        assert second.resume.extra["meta"]["optimizer"]["iterations"] == 2


def test_a_save_that_fails_is_abandoned_with_a_warning_and_training_goes_on(tmp_path, alone, monkeypatch):
    write, failures = LocalFiles.write, []

    def fails_once(self, path, chunks):
        if not failures:
            failures.append(path)
            raise OSError(5, "Input/output error")
        write(self, path, chunks)

    monkeypatch.setattr(LocalFiles, "write", fails_once)
    with driven(2, url=str(tmp_path)) as driver:
        assert train() == alone
        assert len(driver.events("save failed")) == 1
        assert driver.events("committed")


def test_storage_that_is_away_for_good_costs_the_checkpoints_and_the_run_is_not_called_finished(tmp_path, alone, monkeypatch):
    def fails(self, path, chunks):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalFiles, "write", fails)
    model = make_model()
    with driven(2, url=str(tmp_path)) as driver, pytest.raises(InfrastructureError, match="could not be kept"):
        train(model=model)
    assert model.digest() == alone[0]  # the script has it all the same
    assert driver.events("save failed") and not driver.events("committed")


def test_what_callbacks_keep_comes_back_with_the_checkpoint(tmp_path):
    def early() -> Any:
        return dt.callbacks.EarlyStopping("val_loss", patience=2, min_delta=10.0)  # never better by that much

    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        expected = train([early()], epochs=8)
    assert len(expected[1]["loss"]) == 3
    with driven(2, url=str(tmp_path), every="1steps") as first, pytest.raises(SystemError):
        train([early(), Crash(first)], epochs=8)
    with driven(2, url=str(tmp_path), every="1steps"):
        assert train([early(), Crash()], epochs=8) == expected
