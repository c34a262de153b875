"""Samples in files: each exactly once an epoch, by an order that a function tells, and the bits of one process through losses, joins and
drivers that begin again."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shard_cases import KINDS, train_on
from thread_runs import AtEpoch, EveryBatch, Run, V, driven, wait_until

import disttrain as dt
from disttrain.data.plan import BatchPlan
from disttrain.data.shards.order import BlockPlan
from disttrain.elastic.messages import Ready
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where samples lie is kept in a folder of the tests'."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


_alone: dict[str, tuple[Any, ...]] = {}


def alone(kind: str) -> tuple[Any, ...]:
    """The fit in one process."""
    if kind not in _alone:
        with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
            _alone[kind] = train_on(kind)
    return _alone[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_and_a_death_change_nothing(kind: str):
    expected = alone(kind)
    assert len(expected[1]["loss"]) == len(expected[1]["val_loss"]) == 2
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


@pytest.mark.parametrize("kind", sorted({*KINDS} & {"parquet", "tar", "json lines, a drawn loader", "json lines, in steps"}))
def test_drivers_that_die_twice_in_one_epoch_are_gone_on_from_with_other_numbers_of_workers(kind: str):
    url = f"memory://{uuid.uuid4().hex}"
    for batch, workers in ((0, 2), (2, 1)):
        with driven(workers, url=url, every="1steps") as driver, pytest.raises(SystemError):
            train_on(kind, Crash(driver, 1, batch))
        assert driver.events("committed")
    with driven(3, url=url, every="1steps") as last:
        assert train_on(kind, EveryBatch()) == alone(kind)
        assert last.resume is not None and last.resume.tick > 0


def test_a_newcomer_takes_over_slices_in_the_middle_of_a_window():
    with driven(3, FaultPlan().kill("w1", 0)) as driver:

        def until_it_is_there() -> None:
            wait_until(lambda: "w3" in driver.cluster.workers and Ready in driver.cluster.workers["w3"].reported)

        assert train_on("tar", [AtEpoch(0, until_it_is_there), EveryBatch()]) == alone("tar")
        assert "w3" in driver.events("formed")[-1]["members"]


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)), workers=st.integers(1, 4))
def test_any_faults_at_any_reductions_change_nothing(data: Any, kind: str, workers: int):
    faults = FaultPlan()
    for worker in range(workers - 1):
        if data.draw(st.booleans(), f"w{worker} dies"):
            faults.kill(f"w{worker}", data.draw(st.integers(0, 4), "tick"), data.draw(st.sampled_from(["before", "after"]), "place"))
    with driven(workers, faults):
        assert train_on(kind) == alone(kind)


@given(
    rows=st.lists(st.integers(1, 9), min_size=1, max_size=12), batch=st.integers(1, 20), virtual=st.integers(1, 6),
    window=st.integers(1, 40), data_pass=st.integers(0, 2), steps=st.none() | st.integers(1, 7), drop_last=st.booleans(),
)  # fmt: skip
def test_every_pass_of_any_blocks_visits_each_sample_once(
    rows: list[int], batch: int, virtual: int, window: int, data_pass: int, steps: int | None, drop_last: bool
):
    bounds = np.concatenate([[0], np.cumsum(rows)])
    total = int(bounds[-1])
    if total < batch and drop_last:
        return
    plan = BlockPlan(total, batch, virtual, True, 3, steps, drop_last, bounds=bounds, window=window)
    assert sorted(plan.order(data_pass).tolist()) == list(range(total))
    listed = plan.order(data_pass)
    for step in range(plan.steps_per_pass):
        epoch, number = divmod(data_pass * plan.steps_per_pass + step, plan.steps)
        slices = [plan.indices(epoch, number, rank) for rank in range(virtual)]
        assert np.concatenate(slices).tolist() == listed[step * batch : (step + 1) * batch].tolist()
        assert [len(one) for one in slices] == [
            len(BatchPlan(total, batch, virtual, False, 3, steps, drop_last).indices(epoch, number, rank)) for rank in range(virtual)
        ]


def test_each_virtual_worker_goes_through_blocks_of_its_own_one_window_after_the_other():
    bounds = np.arange(0, 1601, 16)
    plan = BlockPlan(1600, 32, 4, True, 5, bounds=bounds, window=128)
    read = [[*{int(number) // 16 for step in range(50) for number in plan.indices(0, step, rank)}] for rank in range(4)]
    assert [len(blocks) for blocks in read] == [25, 25, 25, 25]  # a hundred blocks, none of them read for two
    first = [plan.indices(0, step, 0) // 16 for step in range(4)]  # four slices of eight: a window of 32
    assert len({int(block) for part in first for block in part}) == 2  # blocks of 16, and no more are open at once
    assert plan.order(0).tolist() != plan.order(1).tolist()
