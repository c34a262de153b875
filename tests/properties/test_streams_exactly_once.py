"""Each sample exactly once an epoch, in an order of the seed alone, through losses, joins and drivers that begin again: for data that are
read in their own order, the bits are those of one undisturbed process."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_cases import KINDS, train_on
from thread_runs import AtEpoch, EveryBatch, Run, V, driven, wait_until

import disttrain as dt
from disttrain.elastic.messages import Ready
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner


@pytest.fixture(autouse=True)
def own_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are threads of this process here, and share its generators with the reader: they must not seed them while it reads."""
    monkeypatch.setattr("disttrain.training.step.forward.seed_generators", lambda key: None)


_alone: dict[str, tuple[str, dict[str, list[float]]]] = {}


def alone(kind: str) -> tuple[str, dict[str, list[float]]]:
    """The fit in one process."""
    if kind not in _alone:
        with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
            _alone[kind] = train_on(kind)
    return _alone[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_and_a_death_in_the_second_epoch_change_nothing(kind: str):
    expected = alone(kind)
    assert len(expected[1]["loss"]) == len(expected[1]["val_loss"]) == 3

    with driven(2) as driver:

        def kill() -> None:
            driver.cluster.kill("w1")

        assert train_on(kind, [AtEpoch(0, kill), EveryBatch()]) == expected
        assert driver.events("worker lost")


class Crash(dt.Callback):
    """Ends the driver at a batch, once a checkpoint is committed."""

    def __init__(self, driver: Run, epoch: int, batch: int) -> None:
        super().__init__()
        self.driver, self.at, self.epoch = driver, (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) >= self.at and self.driver.events("committed"):
            raise SystemError("the driver dies")


@pytest.mark.parametrize("kind", KINDS)
def test_drivers_that_die_twice_in_one_epoch_are_gone_on_from_with_the_same_bits(kind: str):
    url = f"memory://{uuid.uuid4().hex}"
    for batch in (0, 2):
        with driven(2, url=url, every="1steps") as driver, pytest.raises(SystemError):
            train_on(kind, Crash(driver, 1, batch))
        assert driver.events("committed")
    with driven(3, url=url, every="1steps") as last:
        assert train_on(kind, EveryBatch()) == alone(kind)
        assert last.resume is not None and last.resume.tick > 0


@pytest.mark.parametrize("kind", ["an iterable dataset", "a generator function, in steps", "batches of its own", "a generator of its own"])
def test_all_workers_killed_go_back_to_a_checkpoint_and_the_reader_with_them(kind: str):
    with driven(2, url=f"memory://{uuid.uuid4().hex}", every="2steps") as driver:

        def everybody() -> None:
            for worker in list(driver.cluster.workers):
                driver.cluster.kill(worker)

        assert train_on(kind, [AtEpoch(1, everybody), EveryBatch()]) == alone(kind)
        assert driver.events("restart")


def test_a_newcomer_takes_over_slices_of_a_stream():
    kind = "an iterable dataset"
    with driven(3, FaultPlan().kill("w1", 0)) as driver:

        def until_it_is_there() -> None:
            wait_until(lambda: "w3" in driver.cluster.workers and Ready in driver.cluster.workers["w3"].reported)

        assert train_on(kind, [AtEpoch(0, until_it_is_there), EveryBatch()]) == alone(kind)
        assert "w3" in driver.events("formed")[-1]["members"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), workers=st.integers(1, 4))
def test_any_faults_at_any_reductions_change_nothing(data: Any, kind: str, workers: int):
    faults = FaultPlan()
    for worker in range(workers - 1):
        if data.draw(st.booleans(), f"w{worker} dies"):
            faults.kill(f"w{worker}", data.draw(st.integers(0, 4), "tick"), data.draw(st.sampled_from(["before", "after"]), "place"))
    with driven(workers, faults):
        assert train_on(kind) == alone(kind)
